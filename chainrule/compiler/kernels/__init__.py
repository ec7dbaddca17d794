"""Compiled kernels: their text, elementary functions that vectorise, and the store of machine code on disk."""

from __future__ import annotations

import functools
import importlib.util
import os
from typing import Any

__all__ = ["elementary_functions", "has_numba"]


@functools.cache
def has_numba() -> bool:
    """Whether Numba is installed."""
    return importlib.util.find_spec("numba") is not None


def elementary_functions() -> Any:
    """The module of elementary functions; None where kernels cannot be compiled, or CHAINRULE_KERNELS is 0."""
    if not has_numba() or os.environ.get("CHAINRULE_KERNELS", "1") == "0":
        return None
    from . import elementary

    return elementary
