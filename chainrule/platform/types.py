"""`chainrule.types`: names for annotations."""

from __future__ import annotations

import builtins
from typing import Any, TypeAlias

from ..absent import absent as _absent
from ..core.tensor import Size as _Size
from ..core.tensor import Tensor as Tensor
from ..core.tensor import device as _device

_TensorOrTensors: TypeAlias = Tensor | tuple[Tensor, ...]
_size: TypeAlias = _Size | list[int] | tuple[int, ...]
_int, _float, _bool = builtins.int, builtins.float, builtins.bool
Number: TypeAlias = builtins.int | builtins.float | builtins.bool
Device: TypeAlias = _device | str | builtins.int | None
FileLike: TypeAlias = Any

__getattr__ = _absent("chainrule.types")
