"""NumPy's own functions of shape and indexing, with NumPy's signatures and rules, on tensors.

Those that programs use less often stand in the other modules of that name, which `LATE` has imported at first use:
`numpy_sequences`, `numpy_polynomials`, `numpy_writes` and `numpy_values`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.dtypes import default_float
from ..core.forward import LATE, TENSOR_FUNCS, cast, implements, result_numpy_dtype
from ..core.lists import loses_gradient
from ..core.tensor import Tensor, is_array, make_tensor
from .common import as_tensor_argument, normalize_axes, normalize_axis, numbers_as
from .conversion import to
from .indexing import _gather_tensor, _take, _take_along, nonzero, where
from .shape import (
    _constant_pad_tensor,
    _copy,
    _flip_axes,
    _matrix_transpose,
    _reshape,
    _squeeze,
    _tile,
    _transpose,
    _tril,
    _triu,
    _windows,
    atleast_1d,
    atleast_2d,
    atleast_3d,
    broadcast_tensors,
    cat,
    clone,
    column_stack,
    diag,
    diagflat,
    diagonal,
    dsplit,
    dstack,
    expand,
    fliplr,
    flipud,
    hsplit,
    hstack,
    meshgrid,
    movedim,
    ravel,
    repeat_interleave,
    rot90,
    stack,
    tensor_split,
    unbind,
    vsplit,
    vstack,
)

__all__: list[str] = []
LATE += [f"{__package__}.numpy_{concept}" for concept in ("sequences", "polynomials", "writes", "values")]

# ----- arguments --------------------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """An argument with arrays in the place of tensors, in lists and tuples as well."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(plain, value))
    return value.array if isinstance(value, Tensor) else value


def typed(value: Any, dtype: np.dtype[Any]) -> Any:
    """An argument as a tensor of a type."""
    if isinstance(value, Tensor):
        return value if value.array.dtype == dtype else cast(value, dtype)
    return make_tensor(np.astype(value, dtype) if is_array(value) else np.asarray(value, dtype), None)


def together(*values: Any, floating: bool = True) -> tuple[Any, ...]:
    """Arguments as tensors of one type; numbers and lists of them take the type of the tensors and arrays beside them.

    Args:
        floating: make integers the default float.
    """
    given = [
        np.stack(together(*value, floating=False))
        if isinstance(value, (list, tuple)) and any(isinstance(item, Tensor) for item in value)
        else value
        for value in values
    ]
    kinds = (x if isinstance(x, Tensor) or is_array(x) else np.asarray(x).dtype.type(0).item() for x in given)
    dtype = result_numpy_dtype(tuple(kinds))
    if floating and dtype.kind in "biu":
        dtype = default_float()
    return tuple(typed(x, dtype) for x in given)


def filled(value: Any, shape: tuple[int, ...], like: Any) -> Any:
    """A tensor full of one number, of the type of another."""
    return make_tensor(np.full(shape, value, like.array.dtype), None)


# ----- shapes -----------------------------------------------------------------------------------------------------


@implements(np.ravel)
def _np_ravel(a: Any, order: str = "C") -> Any:
    return _reshape(a, (-1,)) if order == "C" else _reshape(a, (-1,), order=order)


@implements(np.squeeze)
def _np_squeeze(a: Any, axis: Any = None) -> Any:
    if axis is None:
        axis = tuple(i for i, n in enumerate(a.shape) if n == 1)
    return _squeeze(a, axis)


@implements(np.moveaxis)
def _np_moveaxis(a: Any, source: Any, destination: Any) -> Any:
    source, destination = (x if isinstance(x, (int, np.integer)) else tuple(x) for x in (source, destination))
    return movedim(a, source, destination)


@implements(np.rollaxis)
def _np_rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    axis = normalize_axis(axis, a.ndim)
    start = start + a.ndim if start < 0 else start
    order = [i for i in range(a.ndim) if i != axis]
    order.insert(start - 1 if axis < start else start, axis)
    return _transpose(a, tuple(order))


@implements(np.matrix_transpose)
def _np_matrix_transpose(x: Any) -> Any:
    return _matrix_transpose(x)


@implements(np.broadcast_to)
def _np_broadcast_to(array: Any, shape: Any, subok: bool = False) -> Any:
    return expand(array, (shape,) if isinstance(shape, int) else tuple(shape))


@implements(np.broadcast_arrays)
def _np_broadcast_arrays(*args: Any, subok: bool = False) -> Any:
    return broadcast_tensors(*args)


@implements(np.copy)
def _np_copy(a: Any, order: str = "K", subok: bool = False) -> Any:
    return _copy(a) if order == "K" else _copy(a, order=order)


@implements(np.concatenate)
def _np_concatenate(arrays: Any, axis: Any = 0, **kwargs: Any) -> Any:
    dtype = kwargs.pop("dtype", None)
    if any(v is not None for k, v in kwargs.items() if k == "out"):
        raise TypeError("np.concatenate on Tensors takes no out")
    arrays = [as_tensor_argument(a) for a in arrays]
    if axis is None:
        arrays, axis = [ravel(a) for a in arrays], 0
    result = cat(arrays, axis)
    return result if dtype is None else to(result, dtype)


@implements(np.stack)
def _np_stack(arrays: Any, axis: int = 0, **kwargs: Any) -> Any:
    dtype = kwargs.pop("dtype", None)
    result = stack(arrays, axis)
    return result if dtype is None else to(result, dtype)


@implements(np.append)
def _np_append(arr: Any, values: Any, axis: Any = None) -> Any:
    return _np_concatenate((arr, values), axis)


for _numpy, _ours in (
    (np.vstack, vstack),
    (np.hstack, hstack),
    (np.dstack, dstack),
    (np.column_stack, column_stack),
):
    TENSOR_FUNCS[_numpy] = lambda tup, *, dtype=None, casting=None, _ours=_ours: (
        _ours(tup) if dtype is None else to(_ours(tup), dtype)
    )
TENSOR_FUNCS.update({np.atleast_1d: atleast_1d, np.atleast_2d: atleast_2d, np.atleast_3d: atleast_3d})


@implements(np.split)
def _np_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    if isinstance(indices_or_sections, int) and ary.shape[axis] % indices_or_sections:
        raise ValueError("array split does not result in an equal division")
    return list(tensor_split(ary, indices_or_sections, axis))


@implements(np.array_split)
def _np_array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    return list(tensor_split(ary, indices_or_sections, axis))


@implements(np.hsplit)
def _np_hsplit(ary: Any, indices_or_sections: Any) -> Any:
    return list(hsplit(ary, indices_or_sections))


@implements(np.vsplit)
def _np_vsplit(ary: Any, indices_or_sections: Any) -> Any:
    return list(vsplit(ary, indices_or_sections))


@implements(np.dsplit)
def _np_dsplit(ary: Any, indices_or_sections: Any) -> Any:
    return list(dsplit(ary, indices_or_sections))


@implements(np.unstack)
def _np_unstack(x: Any, /, *, axis: int = 0) -> Any:
    return unbind(x, axis)


@implements(np.repeat)
def _np_repeat(a: Any, repeats: Any, axis: Any = None) -> Any:
    return repeat_interleave(a, repeats, axis)


@implements(np.tile)
def _np_tile(A: Any, reps: Any) -> Any:
    return _tile(A, (reps,) if isinstance(reps, (int, np.integer)) else tuple(int(n) for n in reps))


@implements(np.flip)
def _np_flip(m: Any, axis: Any = None) -> Any:
    return _flip_axes(m, normalize_axes(axis, m.ndim))


TENSOR_FUNCS[np.fliplr] = fliplr
TENSOR_FUNCS[np.flipud] = flipud


@implements(np.rot90)
def _np_rot90(m: Any, k: int = 1, axes: Any = (0, 1)) -> Any:
    return rot90(m, k, axes)


@implements(np.pad)
def _np_pad(array: Any, pad_width: Any, mode: str = "constant", **kwargs: Any) -> Any:
    if isinstance(pad_width, dict):
        widths = np.zeros((array.ndim, 2), int)
        for axis, width in pad_width.items():
            widths[axis] = width
    else:
        widths = np.broadcast_to(np.asarray(pad_width), (array.ndim, 2))
    pairs = tuple((int(before), int(after)) for before, after in widths)
    if mode == "constant":
        value = kwargs.pop("constant_values", 0)
        if kwargs or np.ndim(value):
            raise TypeError(
                f"np.pad on Tensors takes one number as constant_values, got {value} and "
                f"{', '.join(kwargs) or 'nothing else'}"
            )
        if loses_gradient(value):
            return np.where(np.pad(np.ones(array.shape, bool), pairs), _constant_pad_tensor(array, pairs, 0), value)
        return _constant_pad_tensor(array, pairs, value.item() if hasattr(value, "item") else value)
    if kwargs or mode not in ("edge", "reflect", "symmetric", "wrap"):
        raise TypeError(
            f"np.pad on Tensors knows constant, edge, reflect, symmetric and wrap, without options; got {mode} {kwargs}"
        )
    for axis, (before, after) in enumerate(pairs):
        if before or after:
            index = np.pad(np.arange(array.shape[axis]), (before, after), mode=mode)  # type: ignore[call-overload]
            array = np.take(array, index, axis=axis)
    return array


@implements(np.diag)
def _np_diag(v: Any, k: int = 0) -> Any:
    return diag(v, k)


@implements(np.diagflat)
def _np_diagflat(v: Any, k: int = 0) -> Any:
    return diagflat(v, k)


@implements(np.diagonal)
def _np_diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    return diagonal(a, offset, axis1, axis2)


@implements(np.linalg.diagonal)
def _np_linalg_diagonal(x: Any, /, *, offset: int = 0) -> Any:
    return diagonal(x, offset, -2, -1)


@implements(np.trace)
def _np_trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None) -> Any:
    return np.sum(diagonal(a, offset, axis1, axis2), axis=-1)


@implements(np.linalg.trace)
def _np_linalg_trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    return np.sum(diagonal(x, offset, -2, -1), axis=-1)


@implements(np.tril)
def _np_tril(m: Any, k: int = 0) -> Any:
    return _tril(m, k)


@implements(np.triu)
def _np_triu(m: Any, k: int = 0) -> Any:
    return _triu(m, k)


@implements(np.lib.stride_tricks.sliding_window_view)
def _np_windows(x: Any, window_shape: Any, axis: Any = None, *, subok: bool = False, writeable: bool = False) -> Any:
    sizes = (window_shape,) if isinstance(window_shape, int) else tuple(window_shape)
    axes = tuple(range(x.ndim)) if axis is None else normalize_axes(axis, x.ndim)
    for place, size in zip(axes, sizes, strict=True):
        x = _windows(x, place, size, 1)
    return x


@implements(np.meshgrid)
def _np_meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> Any:
    if sparse:
        raise TypeError("np.meshgrid on Tensors takes no sparse=True: the axes broadcast as they are")
    return meshgrid(*(ravel(as_tensor_argument(x)) for x in xi), indexing=indexing)


def _values_of(x: Any) -> Any:
    return x.array if isinstance(x, Tensor) else x


@implements(np.zeros_like)
def _np_zeros_like(a: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, **_: Any) -> Any:
    return make_tensor(np.zeros_like(a.array, dtype=dtype, shape=shape), None)


@implements(np.ones_like)
def _np_ones_like(a: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, **_: Any) -> Any:
    return make_tensor(np.ones_like(a.array, dtype=dtype, shape=shape), None)


@implements(np.empty_like)
def _np_empty_like(
    prototype: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, **_: Any
) -> Any:
    return make_tensor(np.empty_like(prototype.array, dtype=dtype, shape=shape), None)


@implements(np.full_like)
def _np_full_like(
    a: Any, fill_value: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, **_: Any
) -> Any:
    if isinstance(fill_value, Tensor):
        target = np.empty_like(_values_of(a), dtype=dtype, shape=shape)
        value = fill_value if fill_value.array.dtype == target.dtype else cast(fill_value, target.dtype)
        return clone(expand(value, target.shape))
    return make_tensor(np.full_like(a.array, fill_value, dtype=dtype, shape=shape), None)


@implements(np.shape)
def _np_shape(a: Any) -> Any:
    return a.array.shape


@implements(np.ndim)
def _np_ndim(a: Any) -> Any:
    return a.array.ndim


@implements(np.size)
def _np_size(a: Any, axis: Any = None) -> Any:
    return np.size(a.array, axis)


# ----- indexing ---------------------------------------------------------------------------------------------------


def _array(x: Any) -> Any:
    return x.array if isinstance(x, Tensor) else np.asarray(x)


@implements(np.take)
def _np_take(a: Any, indices: Any, axis: Any = None, out: Any = None, mode: str = "raise") -> Any:
    if out is not None:
        raise TypeError("np.take on Tensors takes no out")
    places = _array(indices)
    if not isinstance(a, Tensor):
        return make_tensor(np.asarray(np.take(a, places, axis, mode=mode)), None)  # type: ignore[call-overload]
    if axis is None:
        a, axis = ravel(a), 0
    axis = normalize_axis(axis, a.ndim)
    if mode == "wrap":
        places = places % a.shape[axis]
    elif mode == "clip":
        places = np.clip(places, 0, a.shape[axis] - 1)
    return _take(a, indices if isinstance(indices, Tensor) and mode == "raise" else places, axis)


@implements(np.take_along_axis)
def _np_take_along_axis(arr: Any, indices: Any, axis: Any = -1) -> Any:
    arr, indices = as_tensor_argument(arr), as_tensor_argument(indices)
    if axis is None:
        return _gather_tensor(ravel(arr), 0, indices)
    return _take_along(arr, indices, normalize_axis(axis, arr.ndim))


@implements(np.where)
def _np_where(condition: Any, x: Any = None, y: Any = None) -> Any:
    return where(condition, x, y)


@implements(np.choose)
def _np_choose(a: Any, choices: Any, out: Any = None, mode: str = "raise") -> Any:
    index = _array(a)
    count = len(choices)
    if mode == "wrap":
        index = index % count
    elif mode == "clip":
        index = np.clip(index, 0, count - 1)
    elif index.size and (index.min() < 0 or index.max() >= count):
        raise ValueError("invalid entry in choice array")
    result = choices[0]
    for i in range(1, count):
        result = where(make_tensor(np.asarray(index == i), None), choices[i], result)
    return expand(as_tensor_argument(result), np.broadcast_shapes(index.shape, result.shape))


@implements(np.select)
def _np_select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    result = default
    for condition, choice in reversed(list(zip(condlist, choicelist, strict=True))):
        result = where(condition, choice, result)
    return result


@implements(np.extract)
def _np_extract(condition: Any, arr: Any) -> Any:
    return ravel(as_tensor_argument(arr))[np.nonzero(_array(condition).ravel())[0]]


@implements(np.compress)
def _np_compress(condition: Any, a: Any, axis: Any = None, out: Any = None) -> Any:
    return _np_take(as_tensor_argument(a), np.nonzero(_array(condition))[0], axis)


@implements(np.delete)
def _np_delete(arr: Any, obj: Any, axis: Any = None) -> Any:
    if axis is None:
        arr, axis = ravel(arr), 0
    kept = np.delete(np.arange(arr.shape[axis]), obj if isinstance(obj, (int, slice)) else _array(obj))
    return _np_take(arr, kept, axis)


@implements(np.insert)
def _np_insert(arr: Any, obj: Any, values: Any, axis: Any = None) -> Any:
    arr = as_tensor_argument(arr)
    values = as_tensor_argument(numbers_as(values, arr.array.dtype) if isinstance(values, (int, float)) else values)
    if axis is None:
        arr, axis = ravel(arr), 0
    axis = normalize_axis(axis, arr.ndim)
    size = arr.shape[axis]
    place: Any = obj if isinstance(obj, slice) else _array(obj)
    if isinstance(place, slice):
        place = np.arange(size)[place]
    if place.ndim == 0:  # one place: `values` may have several slices for it
        count = values.shape[axis] if values.ndim == arr.ndim else 1
    else:
        count = place.size if place.size > 1 else max(1, values.shape[axis] if values.ndim == arr.ndim else 1)
    values = cast(values, arr.array.dtype) if values.array.dtype != arr.array.dtype else values
    values = expand(values, (*arr.shape[:axis], count, *arr.shape[axis + 1 :]))
    order = np.insert(np.arange(size), place, np.arange(size, size + count))
    return _np_take(np.concatenate([arr, values], axis=axis), order, axis)


@implements(np.argwhere)
def _np_argwhere(a: Any) -> Any:
    return nonzero(a)


@implements(np.nonzero)
def _np_nonzero(a: Any) -> Any:
    return nonzero(a, as_tuple=True)


@implements(np.flatnonzero)
def _np_flatnonzero(a: Any) -> Any:
    return make_tensor(np.flatnonzero(a.array), None)


@implements(np.ix_)
def _np_ix(*args: Any) -> Any:
    return tuple(make_tensor(i, None) for i in np.ix_(*(_array(a) for a in args)))


@implements(np.unravel_index)
def _np_unravel_index(indices: Any, shape: Any, order: Any = "C") -> Any:
    return tuple(make_tensor(np.asarray(i), None) for i in np.unravel_index(_array(indices), shape, order))


@implements(np.ravel_multi_index)
def _np_ravel_multi_index(multi_index: Any, dims: Any, mode: Any = "raise", order: Any = "C") -> Any:
    return make_tensor(np.asarray(np.ravel_multi_index(tuple(_array(i) for i in multi_index), dims, mode, order)), None)
