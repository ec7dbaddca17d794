"""`chainrule.version`: the PyTorch whose interface is followed, and that there is no CUDA in it."""

from __future__ import annotations

from typing import Final

from ..absent import absent as _absent
from ..stand_in import TORCH_VERSION

__all__ = ["__version__", "cuda", "debug", "git_version", "hip"]

__version__ = f"{TORCH_VERSION}+chainrule"
debug = False
cuda: Final = None
hip: Final = None
xpu: Final = None
git_version = ""

__getattr__ = _absent("chainrule.version")
