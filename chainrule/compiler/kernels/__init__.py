"""Compiled kernels: their text, elementary functions that vectorise, and the store of machine code on disk.

`generate.py` writes a kernel's text, `machine_code.py` compiles it, usually in a process of its own (`helpers.py`),
`cache.py` keeps the result on disk, `loading.py` makes it a function, and `compiling.py` is what programs call.
"""

from __future__ import annotations

import functools
import importlib.util
import os

__all__ = ["ELEMENTARY", "elementary_functions", "has_numba"]

# the functions in elementary.py, which is imported only to compile
ELEMENTARY = frozenset(
    f"{name}_{kind}"
    for name in """atan cos cosh erf exp exp2 expm1 log log10 log1p log2 pow sigmoid sin sinh tanh""".split()
    for kind in ("float32", "float64")
)


@functools.cache
def has_numba() -> bool:
    """Whether Numba is installed; does not import it."""
    return all(importlib.util.find_spec(name) is not None for name in ("numba", "llvmlite"))


def elementary_functions() -> frozenset[str] | None:
    """The names of the elementary functions; None where kernels cannot be compiled, or CHAINRULE_KERNELS is 0."""
    return ELEMENTARY if has_numba() and os.environ.get("CHAINRULE_KERNELS", "1") != "0" else None
