"""Where eager operations find compiled kernels for large work: `compiler/eager.py`, if Numba is installed.

Rooms above this one are not imported here; that one is looked up by its name, at the first work that is large enough.
So small programs import no compiler, and without Numba everything is NumPy's.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from typing import Any

import numpy as np

from ..core.tracing import recorder

__all__ = ["BY_ELEMENT", "LARGE", "compiled"]

LARGE = 4_000_000  # multiplications from which a kernel is used: in a loop it soon earns back what loading takes
BY_ELEMENT = 64  # multiplications that take as long as what NumPy does with an element in several operations
FLOATS = frozenset((np.dtype(np.float32), np.dtype(np.float64)))


@functools.cache
def _module() -> Any:
    """`compiler/eager.py`; None where kernels cannot be compiled."""
    if any(importlib.util.find_spec(name) is None for name in ("numba", "llvmlite")):
        return None
    return importlib.import_module("chainrule.compiler.eager")


def compiled(work: int, *arrays: Any) -> Any:
    """The module of kernels, if there is one, so much work is worth it, and kernels take such arrays.

    CHAINRULE_COMPILE=0 and CHAINRULE_KERNELS=0 turn kernels off.

    Args:
        work: multiplications.
        arrays: what the kernel is to be given; None for what is left out.
    """
    if work < LARGE or any(a is not None and (type(a) is not np.ndarray or a.dtype != arrays[0].dtype) for a in arrays):
        return None
    if arrays[0].dtype not in FLOATS:
        return None
    settings = os.environ
    if settings.get("CHAINRULE_COMPILE", "1") == "0" or settings.get("CHAINRULE_KERNELS", "1") == "0":
        return None
    if recorder.get() is not None:  # the compiler tries a function out, for which it will have kernels of its own
        return None
    return _module()
