"""Reverse-mode automatic differentiation with PyTorch's interface on NumPy arrays."""

from __future__ import annotations

from typing import Any as _Any

from .allocator import keep_freed_memory as _keep_freed_memory
from .core.backprop import backprop as backprop
from .core.broadcasting import unbroadcast as unbroadcast
from .core.dtypes import *  # noqa: F403
from .core.dtypes import bool_ as bool  # noqa: F401
from .core.dtypes import dtype as dtype
from .core.forward import array_function as array_function
from .core.forward import implements as implements
from .core.forward import result_type as result_type
from .core.forward import wrap_forward_fn as wrap_forward_fn
from .core.grad_mode import *  # noqa: F403
from .core.recipe import Recipe as Recipe
from .core.sort import sorted_computational_graph as sorted_computational_graph
from .core.sort import topological_sort as topological_sort
from .core.table import BACK_FUNCS as BACK_FUNCS
from .core.table import EACH as EACH
from .core.table import BackwardFuncLookup as BackwardFuncLookup
from .core.table import backward as backward
from .core.tensor import Tensor as Tensor
from .core.tensor import device as device
from .ops import MODULES as _MODULES
from .random import *  # noqa: F403

_keep_freed_memory()

for _module in _MODULES:
    for _name in _module.__all__:
        globals()[_name] = getattr(_module, _name)

__version__ = "0.1.0"

_ROOMS = frozenset(("autograd", "explain", "fft", "func", "linalg", "nn", "optim", "special", "testing"))
_LAZY = {"draw": "explain"}  # name -> the room it comes from


def __getattr__(name: str) -> _Any:
    """Rooms that the engine does not need are imported when first used, so that `import chainrule` is quick."""
    import importlib

    if name in _ROOMS:
        try:
            return importlib.import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
    elif name in _LAZY:
        return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS, *_LAZY})
