"""NumPy's functions that write into an array, on tensors: recorded, as all writes are; imported when first used.

A tensor that needs no gradient may also be written into an array; one that does raises, its gradient would be lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.forward import TENSOR_FUNCS, implements
from ..core.tensor import Tensor, make_tensor
from ..core.views import write_in_place
from .common import normalize_axis
from .indexing import _scatter_tensor, getitem_adjoint
from .indexing import where as choose
from .numpy_forms import plain, typed
from .shape import expand, ravel, reshape

__all__: list[str] = []


def writes(function: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make the decorated function what NumPy's does when the array to be written is a tensor."""

    def register(on_tensors: Callable[..., None]) -> Callable[..., None]:
        @implements(function)
        def write(target: Any, *args: Any, **kwargs: Any) -> None:
            if isinstance(target, Tensor):
                on_tensors(target, *args, **kwargs)
            else:
                arrays = {name: _array(value) for name, value in kwargs.items()}
                function(target, *map(_array, args), **arrays)

        return write

    return register


def _array(value: Any) -> Any:
    return np.asarray(value) if isinstance(value, Tensor) else value


def _write_places(target: Tensor, name: str, places: Any, values: Any) -> None:
    """Write to places of the flattened tensor; values that are too few are repeated."""
    values = ravel(typed(values, target.array.dtype))
    if not places.size:
        return
    if not values.shape[0]:
        raise ValueError(f"{name}: there are {places.size} places to write to, and no values")
    values = np.take(values, np.arange(places.size) % values.shape[0])
    index = make_tensor(places, None)
    write_in_place(target, name, lambda before: reshape(_scatter_tensor(ravel(before), 0, index, values), target.shape))


@writes(np.copyto)
def _np_copyto(dst: Any, src: Any, casting: Any = "same_kind", where: Any = True) -> None:
    source = plain(src) if hasattr(src, "dtype") else np.asarray(src)
    weak = not hasattr(src, "dtype") and source.dtype.kind in "biufc"
    kind = source.dtype.type(0).item() if weak else source
    if not np.can_cast(np.result_type(kind, dst.array.dtype) if weak else source.dtype, dst.array.dtype, casting):
        raise TypeError(f"Cannot cast array data from {source.dtype} to {dst.array.dtype} by the rule {casting!r}")
    value = expand(typed(src, dst.array.dtype), dst.shape)
    mask = plain(where)
    write_in_place(dst, "np.copyto", lambda before: value if mask is True else choose(mask, value, before))


@writes(np.put)
def _np_put(a: Any, ind: Any, v: Any, mode: str = "raise") -> None:
    size = a.array.size
    places = np.asarray(plain(ind)).reshape(-1)
    if mode == "wrap":
        places = places % size
    elif mode == "clip":
        places = np.clip(places, 0, size - 1)
    elif places.size and (places.min() < -size or places.max() >= size):
        raise IndexError(f"np.put: indices {places.min()} to {places.max()} are out of bounds for size {size}")
    _write_places(a, "np.put", np.where(places < 0, places + size, places), v)


@writes(np.place)
def _np_place(arr: Any, mask: Any, vals: Any) -> None:
    mask = np.asarray(plain(mask), bool)
    if mask.size != arr.array.size:
        raise ValueError(f"place: mask and data must be the same size, got shapes {mask.shape} and {arr.shape}")
    _write_places(arr, "np.place", np.flatnonzero(mask), vals)


@writes(np.putmask)
def _np_putmask(a: Any, mask: Any, values: Any) -> None:
    mask = np.asarray(plain(mask), bool)
    if mask.size != a.array.size:
        raise ValueError(f"putmask: mask and data must be the same size, got shapes {mask.shape} and {a.shape}")
    places = np.flatnonzero(mask)
    values = ravel(typed(values, a.array.dtype))
    if values.shape[0]:  # values that are too few are repeated over all places, written to or not
        values = np.take(values, places % values.shape[0])
    _write_places(a, "np.putmask", places, values)


@writes(np.put_along_axis)
def _np_put_along_axis(arr: Any, indices: Any, values: Any, axis: int | None = -1) -> None:
    places = np.asarray(plain(indices))
    if axis is None:
        if places.ndim != 1:
            raise ValueError("when axis=None, `indices` must have a single dimension.")
        _np_put(arr, places, expand(typed(values, arr.array.dtype), places.shape))
        return
    axis = normalize_axis(axis, arr.ndim)
    if places.ndim != arr.ndim:
        raise ValueError(f"`indices` and `arr` must have the same number of dimensions: {places.ndim} and {arr.ndim}")
    size = arr.shape[axis]
    if places.size and (places.min() < -size or places.max() >= size):
        raise IndexError(f"np.put_along_axis: an index is out of bounds for axis {axis} with size {size}")
    shape = (*arr.shape[:axis], places.shape[axis], *arr.shape[axis + 1 :])
    index = make_tensor(np.broadcast_to(places, shape), None)
    value = expand(typed(values, arr.array.dtype), shape)
    write_in_place(arr, "np.put_along_axis", lambda before: _scatter_tensor(before, axis, index, value))


@writes(np.fill_diagonal)
def _np_fill_diagonal(a: Any, val: Any, wrap: bool = False) -> None:
    if a.ndim < 2:
        raise ValueError("array must be at least 2-d")
    if a.ndim > 2 and len(set(a.shape)) > 1:
        raise ValueError(f"All dimensions of input must be of equal length, got shape {a.shape}")
    width = a.shape[1]
    step = width + 1 if a.ndim == 2 else 1 + int(np.cumprod(a.shape[:-1]).sum())
    end = width * width if a.ndim == 2 and not wrap else None
    _write_places(a, "np.fill_diagonal", np.arange(a.array.size)[:end:step], val)


# ----- accumulation at an index -----------------------------------------------------------------------------------


def _adds_at(ufunc: np.ufunc) -> None:
    def at(target: Any, index: Any, values: Any) -> None:
        if not isinstance(target, Tensor):
            ufunc.at(target, plain(index), np.asarray(values))
            return
        places = np.arange(target.array.size).reshape(target.shape)[plain(index)]
        amounts = ravel(expand(typed(values, target.array.dtype), places.shape))
        total = getitem_adjoint(amounts, (places.reshape(-1),), (target.array.size,))
        write_in_place(target, f"np.{ufunc.__name__}.at", lambda before: ufunc(before, reshape(total, target.shape)))

    TENSOR_FUNCS[ufunc, "at"] = at


_adds_at(np.add)
_adds_at(np.subtract)
