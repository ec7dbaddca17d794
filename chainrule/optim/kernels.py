"""Arithmetic of the steps: `scal` and `axpy` in place, and the walk over a parameter in pieces that fit the cache.

A step reads and writes the same few arrays several times. BLAS does x *= a and y += a * x in a third of the time of
NumPy's ufuncs, on small arrays as on large ones; large arrays are taken in pieces, so that an optimiser's ten
operations read memory once.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Kernels", "in_pieces", "kernels_for"]

PIECE = 9984  # numbers in a piece: 39 KB of float32, and so few that OpenBLAS starts no threads (it does from 10,000)


class Kernels(NamedTuple):
    """`scal(a, x)`: x *= a. `axpy(x, y, None, a)`: y += a * x. The order of arguments is BLAS's."""

    scal: Callable[..., Any]
    axpy: Callable[..., Any]


def _scal(a: float, x: Any) -> None:
    x *= a


def _axpy(x: Any, y: Any, _: None, a: float) -> None:
    y += x * a


PLAIN = Kernels(_scal, _axpy)  # for arrays that BLAS cannot write to: strided, half precision, other libraries'


def _blas_module() -> Any:
    """SciPy's compiled BLAS, without the rest of `scipy.linalg`, which takes 0.2 seconds to import."""
    if "scipy.linalg.blas" not in sys.modules:
        import importlib.machinery
        import importlib.util

        import scipy

        try:
            spec = importlib.machinery.PathFinder.find_spec("_fblas", [f"{path}/linalg" for path in scipy.__path__])
            if spec is not None and spec.loader is not None:
                module = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(module)
                return module
        except ImportError:
            pass
    from scipy.linalg import blas

    return blas


@functools.cache
def blas_kernels(char: str) -> Kernels | None:
    """BLAS's functions for an element type, given by NumPy's letter; None where BLAS has none."""
    letter = {"f": "s", "d": "d", "F": "s", "D": "d"}.get(char)  # complex arrays are worked on as real ones
    if letter is None:
        return None
    module = _blas_module()
    return Kernels(getattr(module, f"{letter}scal"), getattr(module, f"{letter}axpy"))


def kernels_for(array: Any) -> Kernels | None:
    """BLAS's functions if they can write to this array once it is flat: in C order, writeable, not empty."""
    return blas_kernels(array.dtype.char) if type(array) is np.ndarray and array.flags.carray and array.size else None


def as_real(array: Any) -> Any:
    """A complex array seen as real, with one more axis for the parts; another array as it is."""
    if array.dtype.kind != "c":
        return array
    return array[..., None].view(np.float64 if array.dtype.itemsize == 16 else np.float32)


def in_pieces(
    update: Callable[..., None],
    parameter: Any,
    gradient: Any,
    state: tuple[Any, ...],
    settings: tuple[Any, ...],
    maximize: bool = False,
    decay: float = 0.0,
) -> None:
    """Call `update(kernels, x, g, *state, *settings)` on real pieces of a parameter, its gradient and its state.

    `update` works element by element, and writes to x and to the state in place.

    Args:
        update: the function.
        parameter, gradient: arrays of one shape.
        state: further arrays of that shape.
        settings: numbers that `update` needs.
        maximize: turn the gradient round.
        decay: add this much of the parameter to the gradient.

    Raises:
        RuntimeError: the gradient has another shape, because somebody else than backward() set it; or the parameter
            cannot be written.
    """
    if gradient.shape != parameter.shape:
        raise RuntimeError(
            f"a parameter of shape {parameter.shape} has a gradient of shape {gradient.shape}; they must be the same"
        )
    if type(parameter) is np.ndarray and not parameter.flags.writeable:
        raise RuntimeError(
            f"a parameter of shape {parameter.shape} cannot be written: several elements of an expanded tensor are one "
            "in memory, and some arrays are read-only. Give the optimizer a copy, parameter.detach().clone()"
        )
    kernels = kernels_for(parameter)
    flat = kernels is not None
    dtype = parameter.dtype
    for array in state:
        flat = flat and array.flags.carray and array.dtype == dtype
    if flat:
        if gradient.dtype != dtype:
            gradient = gradient.astype(dtype)
        arrays = [parameter.reshape(-1), gradient.reshape(-1)]
        arrays += [array.reshape(-1) for array in state]
        if dtype.kind == "c":
            arrays = [array.view(array.real.dtype) for array in arrays]
    else:
        kernels = PLAIN
        arrays = [as_real(array) for array in (parameter, gradient, *state)]
    size = arrays[0].size if flat else 0
    for start in range(0, max(size, 1), PIECE):
        pieces = [array[start : start + PIECE] for array in arrays] if size > PIECE else arrays
        if maximize:
            pieces[1] = -pieces[1]
        if decay:
            pieces[1] = pieces[1] + pieces[0] * decay
        update(kernels, *pieces, *settings)
