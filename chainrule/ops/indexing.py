"""Reading and writing parts of tensors: indexing as NumPy and PyTorch have it, gather and scatter, masks, where.

An index without arrays gives a view. What reads has as its adjoint what adds into zeros, and the other way round, so
that all orders of derivatives work. Read next: `core/views.py`, how writes are recorded.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from ..core.broadcasting import unbroadcast
from ..core.dtypes import CATEGORY
from ..core.forward import TENSOR_FUNCS, array_function, cast, promote, wrap_forward_fn
from ..core.grad_mode import grad_mode
from ..core.recipe import NO_KWARGS
from ..core.table import adds_to, backward
from ..core.tensor import Tensor, make_tensor
from ..core.tracing import bounded, checked, lift
from ..core.views import become_view, check_writable, note_write, replace, write_in_place, write_part, write_region
from .common import as_tensor_argument, attach, attach_in_place, normalize_axis, numbers_as, numpy_names
from .shape import _diagonal, _two_axes, broadcast_shapes, broadcast_tensors, expand, part, ravel, reshape, sum_at

__all__ = [
    "argwhere",
    "diagonal_scatter",
    "gather",
    "getitem",
    "index_add",
    "index_copy",
    "index_fill",
    "index_put",
    "index_reduce",
    "index_select",
    "masked_fill",
    "masked_scatter",
    "masked_select",
    "narrow",
    "narrow_copy",
    "nonzero",
    "put",
    "scatter",
    "scatter_add",
    "scatter_reduce",
    "select",
    "select_scatter",
    "slice_scatter",
    "take",
    "take_along_dim",
    "tril_indices",
    "triu_indices",
    "unravel_index",
    "where",
]

ndarray = np.ndarray
WHOLE = slice(None)

# ----- the table: indexing ----------------------------------------------------------------------------------------


@array_function
def getitem(x: Any, index: Any) -> Any:
    """`x[index]`, by NumPy's rules on arrays."""
    if type(x) is ndarray and type(index) is tuple and len(index) == 1:
        only = index[0]
        if type(only) is ndarray and only.dtype.kind in "iu" and x.flags.c_contiguous and x.ndim:
            return x.take(only, 0)  # quicker; would copy an array that is not contiguous
    try:
        return x[index]
    except RuntimeError:  # an item may hold the indices of many samples under vmap
        for item in index:
            override = getattr(type(item), "__chainrule_function__", None)
            if override is not None and type(x) is ndarray:
                return override(item, getitem, (x, index), {})
        raise


def arrays_of(index: Any) -> tuple[Any, ...]:
    """An index without tensors: NumPy would take one of a single element for a number."""
    return tuple(item.array if isinstance(item, Tensor) else item for item in index)


@array_function
def getitem_adjoint(values: Any, index: Any, shape: Any) -> Any:
    """Zeros of a shape, with `values` added at the elements that `index` reads."""
    index = arrays_of(index)
    for item in index:
        if hasattr(item, "as_number"):  # a traced index
            return item.__chainrule_function__(getitem_adjoint, (values, index, shape), {})
    if isinstance(values, (ndarray, np.generic)):
        arrays = [i for i, item in enumerate(index) if type(item) is ndarray]
        if not arrays or all(index[i].dtype.kind == "b" for i in arrays):  # each element is read at most once
            out = np.zeros(shape, values.dtype)
            out[index] = values
            return out
        if arrays == [len(index) - 1] and all(item == WHOLE for item in index[:-1]):
            axis = len(index) - 1
            return add_along(shape, axis, index[axis], np.asarray(values))
    return sum_at(values, np.arange(math.prod(shape)).reshape(shape)[index], shape)


def add_along(shape: Any, axis: int, index: Any, values: Any) -> Any:
    """Zeros of a shape, with slices of `values` added at the places along an axis that an integer array names.

    Args:
        index: integers of any shape, within the axis.
        values: the index's shape in the place of `axis`.
    """
    size = shape[axis]
    places = index.reshape(-1)
    if places.size and places.min() < 0:
        places = np.where(places < 0, places + size, places)
    before, after = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    rows = values.reshape(before, places.size, after)
    if before != 1:
        rows = np.moveaxis(rows, 1, 0)
    rows = rows.reshape(places.size, before * after)
    if places.size and np.bincount(places).max() == 1:
        total = np.zeros((size, before * after), values.dtype)
        total[places] = rows
    elif rows.size < 20_000 or values.dtype.kind not in "fc" or values.dtype.itemsize < 4:
        positions = places[:, None] * (before * after) + np.arange(before * after)
        total = sum_at(rows, positions, (size, before * after))
    else:  # a product with the matrix that has a one for each row
        from scipy.sparse import csc_array

        ones = np.ones(places.size, values.dtype)
        total = csc_array((ones, places, np.arange(places.size + 1)), shape=(size, places.size)) @ rows
    if before != 1:
        total = np.moveaxis(total.reshape(size, before, after), 0, 1)
    return total.reshape(shape)


@backward(getitem, 0)
def getitem_back(grad_out: Any, out: Any, x: Any, index: Any) -> Any:
    r"""$\nabla_{x_i} L = \sum_{j : \text{index}_j = i} (\nabla_{out} L)_j$"""
    return getitem_adjoint(grad_out, index, tuple(x.shape))


@adds_to(getitem_back)
def getitem_add(total: Any, grad_out: Any, out: Any, x: Any, index: Any) -> bool:
    """Slices of one array are most often all of it: their gradients together are written once."""
    if all(type(item) in BASIC for item in index):
        total[index] += grad_out
        return True
    return False


@backward(getitem_adjoint, 0)
def getitem_adjoint_back(grad_out: Any, out: Any, values: Any, index: Any, shape: Any) -> Any:
    r"""$\nabla_{values} L = (\nabla_{out} L)_{\text{index}}$"""
    return getitem(grad_out, arrays_of(index))


@backward(np.take, 0)
def take_back(grad_out: Any, out: Any, x: Any, indices: Any, axis: Any = None) -> Any:
    r"""$\nabla_{x_i} L = \sum_{j : \text{indices}_j = i} (\nabla_{out} L)_j$"""
    if not hasattr(indices, "dtype"):
        indices = np.asarray(indices)
    if axis is None:
        return np.reshape(getitem_adjoint(grad_out, (indices,), (x.size,)), x.shape)
    return getitem_adjoint(grad_out, (WHOLE,) * (axis % x.ndim) + (indices,), tuple(x.shape))


@backward(np.where, 1)
def where_back1(grad_out: Any, out: Any, condition: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_x L = [condition] \nabla_{out} L$"""
    return unbroadcast(np.where(condition, grad_out, 0), x)


@backward(np.where, 2)
def where_back2(grad_out: Any, out: Any, condition: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_y L = [\text{not } condition] \nabla_{out} L$"""
    return unbroadcast(np.where(condition, 0, grad_out), y)


# ----- the table: along an axis, by an index for each element ------------------------------------------------------


def _places(index: Any, axis: int, shape: Any) -> Any:
    """Where, in a flattened array of a shape, `gather` reads for each element of an index."""
    strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    places = np.where(index < 0, index + shape[axis], index) * strides[axis]
    for i, n in enumerate(index.shape):
        if i != axis:
            places = places + (np.arange(n) * strides[i]).reshape((-1,) + (1,) * (index.ndim - i - 1))
    return places


@array_function
def _gather(x: Any, axis: int, index: Any) -> Any:
    """`out[i][j][k] = x[index[i][j][k]][j][k]` for axis 0, and so on."""
    if x.shape[:axis] + x.shape[axis + 1 :] != index.shape[:axis] + index.shape[axis + 1 :]:
        x = x[tuple(WHOLE if i == axis else slice(n) for i, n in enumerate(index.shape))]
    return np.take_along_axis(x, index, axis)


@array_function
def _scatter_add(x: Any, axis: int, index: Any, values: Any) -> Any:
    """A copy of `x` with `values` added where `gather` reads."""
    return x + sum_at(values, _places(index, axis, x.shape), tuple(x.shape))


@array_function
def _lasting(places: Any, size: int) -> Any:
    """Which of several writes remain, where some go to one place: the last one to each."""
    order = np.arange(places.size)
    last = np.empty(size, np.int64)
    last[places] = order
    return last[places] == order


@array_function
def _scatter(x: Any, axis: int, index: Any, values: Any) -> Any:
    """A copy of `x` with `values` in the places where `gather` reads."""
    places = _places(index, axis, x.shape).reshape(-1)
    if type(x) is ndarray and type(values) is ndarray:
        out = x.flatten()
        out[places] = values.reshape(-1)
        return out.reshape(x.shape)
    last = np.full(math.prod(x.shape), -1)  # the value that each place gets
    last[places] = np.arange(places.size)
    last = last.reshape(x.shape)
    if not places.size:
        return x + np.zeros_like(x)
    return np.where(last >= 0, np.take(np.reshape(values, (-1,)), np.maximum(last, 0)), x)


@backward(_gather, 0)
def gather_back(grad_out: Any, out: Any, x: Any, axis: int, index: Any) -> Any:
    r"""$\nabla_x L = \mathrm{scatter\_add}(0, index, \nabla_{out} L)$"""
    return _scatter_add(np.zeros(x.shape, grad_out.dtype), axis, index, grad_out)


@backward(_scatter_add, 0)
def scatter_add_back0(grad_out: Any, out: Any, x: Any, axis: int, index: Any, values: Any) -> Any:
    r"""$\nabla_x L = \nabla_{out} L$"""
    return grad_out


@backward(_scatter_add, 3)
def scatter_add_back3(grad_out: Any, out: Any, x: Any, axis: int, index: Any, values: Any) -> Any:
    r"""$\nabla_{values} L = \mathrm{gather}(\nabla_{out} L, index)$"""
    return _gather(grad_out, axis, index)


@backward(_scatter, 0)
def scatter_back0(grad_out: Any, out: Any, x: Any, axis: int, index: Any, values: Any) -> Any:
    r"""$\nabla_x L = \mathrm{scatter}(\nabla_{out} L, index, 0)$"""
    return _scatter(grad_out, axis, index, np.zeros(index.shape, grad_out.dtype))


@backward(_scatter, 3)
def scatter_back3(grad_out: Any, out: Any, x: Any, axis: int, index: Any, values: Any) -> Any:
    r"""$\nabla_{values} L = \mathrm{gather}(\nabla_{out} L, index)$, zero for a value that a later one replaced"""
    kept = _lasting(_places(index, axis, x.shape).reshape(-1), math.prod(x.shape)).reshape(index.shape)
    return np.where(kept, _gather(grad_out, axis, index), 0)


@array_function
def _index_add(x: Any, axis: int, index: Any, values: Any) -> Any:
    """A copy of `x` with slices of `values` added at the places along an axis that a vector of integers names."""
    return x + getitem_adjoint(values, (WHOLE,) * axis + (index,), tuple(x.shape))


@array_function
def _index_copy(x: Any, axis: int, index: Any, values: Any) -> Any:
    """A copy of `x` with slices of `values` at the places along an axis that a vector of integers names."""
    if type(x) is ndarray and type(values) is ndarray:
        out = x.copy()
        out[(WHOLE,) * axis + (index,)] = values
        return out
    last = np.full(x.shape[axis], -1)
    last[index] = np.arange(index.size)
    there = np.reshape(last >= 0, (-1,) + (1,) * (x.ndim - axis - 1))
    return np.where(there, np.take(values, np.maximum(last, 0), axis=axis), x) if index.size else x + np.zeros_like(x)


@backward(_index_add, 0)
def index_add_back0(grad_out: Any, out: Any, x: Any, axis: int, index: Any, values: Any) -> Any:
    r"""$\nabla_x L = \nabla_{out} L$"""
    return grad_out


@backward(_index_add, 3)
def index_add_back3(grad_out: Any, out: Any, x: Any, axis: int, index: Any, values: Any) -> Any:
    r"""$\nabla_{values} L = (\nabla_{out} L)_{index}$"""
    return np.take(grad_out, index, axis=axis)


@backward(_index_copy, 0)
def index_copy_back0(grad_out: Any, out: Any, x: Any, axis: int, index: Any, values: Any) -> Any:
    r"""$\nabla_x L = \nabla_{out} L$ with zeros at the index"""
    return _index_copy(grad_out, axis, index, np.zeros(values.shape, grad_out.dtype))


@backward(_index_copy, 3)
def index_copy_back3(grad_out: Any, out: Any, x: Any, axis: int, index: Any, values: Any) -> Any:
    r"""$\nabla_{values} L = (\nabla_{out} L)_{index}$, zero for a slice that a later one replaced"""
    kept = np.reshape(_lasting(index, x.shape[axis]), (-1,) + (1,) * (x.ndim - axis - 1))
    return np.where(kept, np.take(grad_out, index, axis=axis), 0)


# ----- the table: reductions over what an index sends to one place -------------------------------------------------

EXTREMES = {"amax": np.maximum, "amin": np.minimum}


def _start(reduce: str, kind: Any) -> Any:
    """The neutral element of a reduction, for results that do not include what was there before."""
    if reduce == "prod":
        return 1
    if kind.kind == "b":
        return reduce == "amin"
    if kind.kind in "iu":
        return np.iinfo(kind).min if reduce == "amax" else np.iinfo(kind).max
    return -math.inf if reduce == "amax" else math.inf


@array_function
def _scatter_reduce(x: Any, axis: int, index: Any, values: Any, reduce: str) -> Any:
    """A copy of `x`, reduced with `values` ("amax" or "amin") in the places where `gather` reads."""
    places = _places(index, axis, x.shape).reshape(-1)
    ufunc = EXTREMES[reduce]
    if type(x) is ndarray and type(values) is ndarray:
        out = x.flatten()
        ufunc.at(out, places, values.reshape(-1))
        return out.reshape(x.shape)
    order = np.argsort(places, kind="stable")
    out, flat = np.reshape(x, (-1,)), np.reshape(values, (-1,))
    counts = np.bincount(places, minlength=out.size)
    first = np.cumsum(counts) - counts
    for round_ in range(int(counts.max(initial=0))):  # each place's next value
        take = order[np.minimum(first + round_, places.size - 1)]
        out = np.where(counts > round_, ufunc(out, np.take(flat, take)), out)
    return np.reshape(out, x.shape)


def _shares(out: Any, x: Any, axis: int, index: Any, values: Any) -> tuple[Any, Any]:
    """For each element of `x` and of `values`, its share of a maximum: shared evenly among ties."""
    kind = out.dtype
    mine = np.astype(x == out, kind)
    theirs = np.astype(values == _gather(out, axis, index), kind)
    total = _scatter_add(mine, axis, index, theirs)
    return mine / np.where(total == 0, 1, total), theirs / _gather(np.where(total == 0, 1, total), axis, index)


@backward(_scatter_reduce, 0)
def scatter_reduce_back0(grad_out: Any, out: Any, x: Any, axis: int, index: Any, values: Any, reduce: str) -> Any:
    r"""$\nabla_{x_i} L = \nabla_{out_i} L / n_i$ where $x_i = out_i$, which $n_i$ elements equal; else $0$"""
    return grad_out * _shares(out, x, axis, index, values)[0]


@backward(_scatter_reduce, 3)
def scatter_reduce_back3(grad_out: Any, out: Any, x: Any, axis: int, index: Any, values: Any, reduce: str) -> Any:
    r"""$\nabla_{values_j} L = \nabla_{out_i} L / n_i$ where $values_j = out_i$, $i = index_j$; else $0$"""
    return _gather(grad_out, axis, index) * _shares(out, x, axis, index, values)[1]


# ----- an index as it is recorded ---------------------------------------------------------------------------------

BASIC = (int, slice, type(None), type(Ellipsis))


def _item(item: Any, copy: bool) -> Any:
    """One item of an index: a number, a slice, None, Ellipsis, a bool, or an array of integers or booleans."""
    if isinstance(item, Tensor):
        item = item.array
        if item.dtype == np.uint8:  # as PyTorch, where masks were of this type once
            warnings.warn(
                "indexing with dtype uint8 is deprecated, it means a mask: use a dtype bool instead", stacklevel=4
            )
            item = item.astype(bool)
    elif isinstance(item, (list, tuple, range)):
        item = np.asarray(
            [np.asarray(i) for i in item] if any(isinstance(i, (Tensor, list, tuple)) for i in item) else item
        )
        if not item.size:
            item = item.astype(np.int64)
        copy = False
    elif isinstance(item, slice):
        return slice(*(n if n is None or type(n) is int else n.__index__() for n in (item.start, item.stop, item.step)))
    elif isinstance(item, (*BASIC, bool)):
        return item
    elif isinstance(item, np.bool_):
        return bool(item)
    if hasattr(item, "dtype"):
        if item.dtype.kind not in "iub":
            raise IndexError(
                f"tensors used as indices must be long, int, byte or bool tensors, got {item.dtype} of shape "
                f"{tuple(item.shape)}"
            )
        if not item.ndim and isinstance(item, (ndarray, np.generic)):
            return item.item()
        return item.copy() if copy else item
    if hasattr(item, "__index__"):
        return item.__index__()
    raise IndexError(
        "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices (got "
        f"{type(item).__name__})"
    )


def as_index(index: Any, ndim: int, copy: bool) -> tuple[tuple[Any, ...], bool]:
    """An index as a tuple whose result is an array even where all axes are given numbers, and whether it is basic.

    Args:
        copy: take copies of arrays, which the caller may change later.
    """
    kind = type(index)
    if kind is int:
        return ((index,) if ndim > 1 else (index, Ellipsis)), True
    if kind is slice and type(index.start) in (int, type(None)) and type(index.stop) in (int, type(None)):
        return (index,), True
    items = tuple(_item(i, copy) for i in index) if kind is tuple else (_item(index, copy),)
    basic = all(type(i) in BASIC for i in items)
    if basic and all(type(i) is int for i in items):
        items = (*items, Ellipsis)
    return items, basic


def _is_mask(item: Any) -> bool:
    return isinstance(item, ndarray) and item.dtype.kind == "b"


def _axes_taken(item: Any) -> int:
    """How many of the tensor's axes an item of an index uses up."""
    if item is None or item is Ellipsis or type(item) is bool:
        return 0
    return int(item.ndim) if _is_mask(item) else 1


def _in_two_steps(items: tuple[Any, ...], ndim: int) -> tuple[tuple[Any, ...], tuple[Any, ...]] | None:
    """The numbers of an index first, then its arrays, where NumPy would place the result's axes unlike PyTorch.

    NumPy counts a number as an array when others are there; then, separated by a slice, their axes go to the front.
    """
    is_array = [not isinstance(i, BASIC) or type(i) is bool for i in items]
    if not any(type(i) is int for i in items) or not any(is_array):
        return None
    advanced = [i for i, item in enumerate(items) if is_array[i] or type(item) is int]
    if advanced[-1] - advanced[0] + 1 == len(advanced):
        return None
    used = [_axes_taken(item) for item in items]
    first: list[Any] = []
    second: list[Any] = []
    for i, item in enumerate(items):
        if type(item) is int:
            first.append(item)
        elif item is Ellipsis:
            first.append(Ellipsis)
            second.extend([WHOLE] * (ndim - sum(used)))
        elif is_array[i]:
            first.extend([WHOLE] * used[i])
            second.append(item)
        else:
            first.append(item)
            second.append(WHOLE)
    return tuple(first), tuple(second)


def _refused(error: IndexError, index: tuple[Any, ...], shape: Any) -> IndexError:
    """NumPy's error with PyTorch's words, and both shapes for a mask."""
    text = str(error).replace("for axis", "for dimension")
    for i, item in enumerate(index):
        if _is_mask(item) and "boolean index" in text:
            return IndexError(
                f"The shape of the mask {list(item.shape)} at index {i} does not match the shape of the indexed tensor "
                f"{list(shape)} at index {i}"
            )
    if "too many indices" in text:
        return IndexError(
            f"too many indices for tensor of dimension {len(shape)} (shape {tuple(shape)}, index {index})"
        )
    return IndexError(f"{text} (indexed tensor: shape {tuple(shape)})")


_getitem = wrap_forward_fn(getitem, view=True)
_getitem_adjoint = wrap_forward_fn(getitem_adjoint)


def _getitem_tensor(input: Tensor, index: Any) -> Tensor:
    """`input[index]`: a view if the index holds no arrays, otherwise a copy.

    Raises:
        IndexError: out of range, too many indices, or a mask of another shape.
    """
    array = input.array
    if type(index) is int and type(array) is ndarray and input.node() is None:
        return _row(input, array, index)
    items, basic = as_index(index, array.ndim, copy=input.node() is not None)
    try:
        if not basic:
            steps = _in_two_steps(items, array.ndim)
            if steps is not None:
                return _getitem(_getitem(input, steps[0]), steps[1])  # type: ignore[no-any-return]
        return _getitem(input, items)  # type: ignore[no-any-return]
    except IndexError as error:
        raise _refused(error, items, array.shape) from None


def _row(input: Tensor, array: Any, index: int) -> Tensor:
    """`input[index]` for a tensor that no gradient goes to, quickly: what data sets do for each sample."""
    items = (index,) if array.ndim > 1 else (index, Ellipsis)
    try:
        result = make_tensor(array[items], None)
    except IndexError as error:
        raise _refused(error, items, array.shape) from None
    become_view(result, input, getitem, (items,), NO_KWARGS)
    return result


TENSOR_FUNCS[getitem] = _getitem_tensor


def _setitem(self: Tensor, index: Any, value: Any) -> None:
    """Write into the part of this tensor that an index selects; `value` is broadcast and cast.

    Raises:
        IndexError: out of range, too many indices, or a mask of another shape.
        RuntimeError: the shapes do not fit, or the tensor must not be written to.
    """
    array = self.array
    recording = grad_mode()
    follows = isinstance(value, Tensor) and value.node() is not None
    tracked = bool(recording) and (follows or self.node() is not None)
    items, basic = as_index(index, array.ndim, copy=tracked)
    steps = None if basic else _in_two_steps(items, array.ndim)
    try:
        if steps is not None:
            _setitem(_getitem(self, steps[0]), steps[1], value)
            return
        if not tracked:
            check_writable(self, "__setitem__")
            _write(array, items, value)
            note_write(self, "__setitem__")
            return
        if basic:
            _write_view(self, _getitem(self, items), value)
            return
        if any(_is_foreign(item) and item.dtype.kind == "b" for item in items):
            _write_masked(self, items, value)
            return
        places = tuple(np.zeros(i.shape, i.dtype) if _is_foreign(i) else i for i in items)
        shape = np.broadcast_to(np.int8(0), array.shape)[places].shape
    except IndexError as error:
        raise _refused(error, items, array.shape) from None
    items, value = _without_repeats(items, _fitted(value, shape, array), array.shape)
    write_part(self, value, (getitem, (items,), {}), "__setitem__")


def _is_foreign(item: Any) -> bool:
    """Whether an item of an index is an array of another library, or one of many samples under vmap."""
    return hasattr(item, "__array_function__") and not isinstance(item, (ndarray, np.generic))


def _write_masked(target: Tensor, items: tuple[Any, ...], value: Any) -> None:
    """`target[mask] = value` for one number, and a mask whose values cannot be looked at."""
    if len(items) != 1 or np.ndim(value) or items[0].ndim > target.ndim:
        raise RuntimeError("an index by such a mask takes one number to write: use where(mask, x, y) for others")
    mask = np.reshape(items[0], items[0].shape + (1,) * (target.ndim - items[0].ndim))
    write_in_place(target, "__setitem__", lambda before: _where(mask, value, before))


def _without_repeats(items: tuple[Any, ...], value: Tensor, shape: Any) -> tuple[tuple[Any, ...], Tensor]:
    """An index and a value to write that name each element once: of several writes to one, the last remains."""
    traced, mapped = (any(hasattr(type(i), name) for i in items) for name in ("as_number", "__fit_gradient__"))
    if value.requires_grad and (traced or mapped):
        # in a trace, or of many samples, how many remain is not known: the others' gradients end here
        every = make_tensor(np.arange(math.prod(shape)).reshape(shape), None)
        places = _getitem(lift(every) if traced else every, items).array
        kept = np.reshape(_lasting(np.reshape(places, (-1,)), math.prod(shape)), value.shape)
        return items, _where(make_tensor(kept, None), value, value.detach())
    arrays = [i for i in items if isinstance(i, ndarray) and i.dtype.kind in "iu"]
    if not arrays:
        return items, value
    if len(arrays) == 1:
        counted = arrays[0].reshape(-1)
        if not counted.size or (counted.min() >= 0 and np.bincount(counted).max() == 1):
            return items, value
    places = np.arange(math.prod(shape)).reshape(shape)[items].reshape(-1)
    kept = np.flatnonzero(_lasting(places, math.prod(shape)))
    if kept.size == places.size:
        return items, value
    return np.unravel_index(places[kept], shape), ravel(value)[kept]


def _write(array: Any, items: tuple[Any, ...], value: Any) -> None:
    if isinstance(value, Tensor):
        value = value.array
    elif isinstance(value, (list, tuple)):
        value = np.asarray([np.asarray(v) for v in value])
    try:
        array[items] = value
    except ValueError:
        region = np.broadcast_to(np.int8(0), array.shape)[items]
        raise _mismatch(np.shape(value), region.shape) from None


def _mismatch(have: Any, want: Any) -> RuntimeError:
    return RuntimeError(
        f"shape mismatch: value tensor of shape {list(have)} cannot be broadcast to indexing result of shape "
        f"{list(want)}"
    )


def _fitted(value: Any, shape: Any, like: Any) -> Tensor:
    """A value in the type of an array and in a shape, by recorded operations."""
    if not isinstance(value, Tensor):
        value = make_tensor(numbers_as(value, like.dtype), None)
    elif value.array.dtype != like.dtype:
        value = cast(value, like.dtype)
    if value.shape == shape:
        return value  # type: ignore[no-any-return]
    extra = value.ndim - len(shape)
    if extra > 0 and all(n == 1 for n in value.shape[:extra]):  # NumPy and PyTorch drop these when assigning
        value = reshape(value, value.shape[extra:])
    try:
        return expand(value, shape)
    except RuntimeError:
        raise _mismatch(value.shape, shape) from None


def _write_view(target: Tensor, region: Tensor, value: Any) -> None:
    check_writable(region, "__setitem__")
    if isinstance(value, Tensor) and _is_same_view(region, value):
        return  # `y[i] += v` has written through the view already
    replace(region, _fitted(value, region.shape, region.array), "__setitem__")


def _is_same_view(region: Tensor, value: Tensor) -> bool:
    """Whether a value is the very region that it is to be written to, and in the graph as such."""
    ours, theirs = region._alias, value._alias
    if ours is None or theirs is None or ours.base is None or theirs.base is not ours.base or not theirs.recorded:
        return False
    a, b = region.array, value.array
    return bool(
        type(a) is ndarray
        and a.dtype == b.dtype
        and a.shape == b.shape
        and a.strides == b.strides
        and a.__array_interface__["data"] == b.__array_interface__["data"]
    )


# ----- along an axis ----------------------------------------------------------------------------------------------

_take = wrap_forward_fn(np.take)
_gather_tensor = wrap_forward_fn(_gather)
_scatter_tensor = wrap_forward_fn(_scatter)
_scatter_add_tensor = wrap_forward_fn(_scatter_add)
_index_add_tensor = wrap_forward_fn(_index_add)
_index_copy_tensor = wrap_forward_fn(_index_copy)
_scatter_reduce_tensor = wrap_forward_fn(_scatter_reduce)
_where = wrap_forward_fn(np.where)
_write_region = wrap_forward_fn(write_region)


def _integers(index: Any, name: str) -> Tensor:
    index = as_tensor_argument(index)
    if index.array.dtype.kind not in "iu":
        raise RuntimeError(f"{name}(): Expected dtype int32/int64 for index, got {index.dtype} of shape {index.shape}")
    return index  # type: ignore[no-any-return]


def _within(index: Tensor, size: int, name: str, lowest: int = 0) -> Tensor:
    """The index, of whose values all are places from `lowest` on; in a trace that is left to the program."""
    values = index.array
    if hasattr(values, "as_number") and not lowest:
        reads = name in ("gather", "index_select")
        return make_tensor(bounded(values, size) if reads else checked(values, size), None)
    if isinstance(values, ndarray) and values.size and (values.min() < lowest or values.max() >= size):
        wrong = int(values.min()) if values.min() < lowest else int(values.max())
        kind = RuntimeError if name in ("gather", "scatter", "scatter_add", "scatter_reduce") else IndexError
        raise kind(
            f"index {wrong} is out of bounds for dimension with size {size} ({name}, index of shape {index.shape})"
        )
    return index


@numpy_names
def select(input: Any, dim: int, index: int) -> Tensor:
    """The slice at one place along an axis, without it; a view."""
    if input.ndim == 0:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    axis = normalize_axis(dim, input.ndim)
    size = input.shape[axis]
    index = int(index)
    if not -size <= index < size:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(input.shape)} at dimension {dim}"
        )
    return part(input, axis, index)


@numpy_names
def narrow(input: Any, dim: int, start: Any, length: int) -> Tensor:
    """`length` places from `start` along an axis; a view.

    >>> import chainrule as cr
    >>> cr.arange(5).narrow(0, 1, 3)
    Tensor(array([1, 2, 3]), requires_grad=False)
    """
    if input.ndim == 0:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    axis = normalize_axis(dim, input.ndim)
    size, first = input.shape[axis], int(start)
    if not -size <= first <= size:
        raise IndexError(f"start out of range (expected to be in range of [{-size}, {size}], but got {first})")
    first = first + size if first < 0 else first
    if length < 0 or first + length > size:
        raise RuntimeError(f"start ({first}) + length ({length}) exceeds dimension size ({size}).")
    return part(input, axis, slice(first, first + length))


@numpy_names
def narrow_copy(input: Any, dim: int, start: Any, length: int) -> Tensor:
    """`narrow`, copied."""
    return narrow(input, dim, start, length).clone()  # type: ignore[no-any-return]


@numpy_names
def index_select(input: Any, dim: int, index: Any) -> Tensor:
    """The slices at the places along an axis that a vector of integers names; a copy.

    Raises:
        IndexError: a place out of range, or the index is no vector.

    >>> import chainrule as cr
    >>> cr.tensor([10.0, 20.0, 30.0]).index_select(0, cr.tensor([2, 0, 2]))
    Tensor(array([30., 10., 30.], dtype=float32), requires_grad=False)
    """
    index = _integers(index, "index_select")
    if index.ndim > 1:
        raise IndexError(f"index_select(): Index is supposed to be a vector, got shape {index.shape}")
    axis = normalize_axis(dim, input.ndim)
    if input.ndim == 0:
        _within(index, 1, "index_select")
        return reshape(_take(reshape(input, (1,)), reshape(index, (-1,)), 0), ())
    index = _within(index, input.shape[axis], "index_select")
    return _take(input, reshape(index, (-1,)), axis)  # type: ignore[no-any-return]


def _along(name: str, input: Any, dim: int, index: Any) -> tuple[Tensor, int, Tensor, Any]:
    """The arguments of gather and scatter: a number becomes a vector of one; and the shape to give back, if so."""
    input = as_tensor_argument(input)
    index = _integers(index, name)
    axis = normalize_axis(dim, input.ndim)
    final: Any = None
    if input.ndim == 0:
        final = ()
        input = reshape(input, (1,))
        if index.ndim == 0:
            index = reshape(index, (1,))
    elif index.ndim == 0 and input.ndim == 1:
        index = reshape(index, (1,))
        final = () if name == "gather" else None
    if index.array.size and index.ndim != input.ndim:
        raise RuntimeError(
            f"{name}(): Index tensor must have the same number of dimensions as input tensor, got shapes "
            f"{index.shape} and {input.shape}"
        )
    if not index.array.size and index.ndim != input.ndim:
        index = make_tensor(np.zeros((0,) * input.ndim, np.int64), None)
        final = (0,) if name == "gather" else final
    for i, (n, m) in enumerate(zip(index.shape, input.shape, strict=True)):
        if i != axis and n > m and index.array.size:
            raise RuntimeError(
                f"Size does not match at dimension {i} expected index {list(index.shape)} to be no larger than self "
                f"{list(input.shape)} apart from dimension {axis} ({name})"
            )
    return input, axis, _within(index, input.shape[axis], name), final


@numpy_names
def gather(input: Any, dim: int, index: Any, *, sparse_grad: bool = False) -> Tensor:
    """Elements along an axis, chosen for each position: `out[i][j] = input[index[i][j]][j]` for `dim=0`.

    Args:
        index: integers, as many axes as the input, no larger except along `dim`.

    Raises:
        RuntimeError: shapes do not fit, or a place out of range.

    >>> import chainrule as cr
    >>> cr.tensor([[1.0, 2.0], [3.0, 4.0]]).gather(1, cr.tensor([[1], [0]]))
    Tensor(array([[2.],
           [3.]], dtype=float32), requires_grad=False)
    """
    given = as_tensor_argument(index).shape
    input, axis, index, final = _along("gather", input, dim, index)
    if not index.array.size:
        return reshape(ravel(input)[:0], given)
    result = _gather_tensor(input, axis, index)
    return result if final is None else reshape(result, given)


def _source(name: str, input: Tensor, index: Tensor, src: Any) -> Tensor:
    """What is scattered, in the index's shape and the input's type."""
    if not isinstance(src, (Tensor, ndarray)):
        return expand(make_tensor(numbers_as(src, input.array.dtype), None), index.shape)
    src = as_tensor_argument(src)
    if src.array.dtype != input.array.dtype:
        raise RuntimeError(f"{name}(): Expected self.dtype to be equal to src.dtype, got {input.dtype} and {src.dtype}")
    if src.ndim == 0 and index.array.size <= 1:
        return reshape(src, index.shape) if index.array.size else expand(src, index.shape)
    if src.ndim != index.ndim or any(n > m for n, m in zip(index.shape, src.shape, strict=True)):
        raise RuntimeError(f"{name}(): Expected index {list(index.shape)} to be no larger than src {list(src.shape)}")
    return src if src.shape == index.shape else src[tuple(slice(n) for n in index.shape)]  # type: ignore[no-any-return]


@numpy_names
def scatter(
    input: Any, dim: int, index: Any, src: Any = None, *, value: Any = None, reduce: str | None = None
) -> Tensor:
    """A copy with `src` (a tensor, or one number) written where `gather` reads; or added or multiplied there.

    >>> import chainrule as cr
    >>> cr.zeros(3).scatter(0, cr.tensor([2]), 5.0)
    Tensor(array([0., 0., 5.], dtype=float32), requires_grad=False)
    """
    if src is None:
        src = value
        if isinstance(value, Tensor) and not value.ndim:  # a number in a tensor
            kind = as_tensor_argument(input).array.dtype
            src = expand(value if value.array.dtype == kind else cast(value, kind), as_tensor_argument(index).shape)
    if reduce in ("add", "multiply"):
        return scatter_reduce(input, dim, index, src, "sum" if reduce == "add" else "prod")
    if reduce is not None:
        raise RuntimeError(f"reduce argument must be either add or multiply, got {reduce}")
    input, axis, index, final = _along("scatter", input, dim, index)
    result = _scatter_tensor(input, axis, index, _source("scatter", input, index, src))
    return result if final is None else reshape(result, final)


@numpy_names
def scatter_add(input: Any, dim: int, index: Any, src: Any) -> Tensor:
    """A copy with `src` added where `gather` reads; repeated places add up."""
    input, axis, index, final = _along("scatter_add", input, dim, index)
    result = _scatter_add_tensor(input, axis, index, _source("scatter_add", input, index, src))
    return result if final is None else reshape(result, final)


@numpy_names
def scatter_reduce(input: Any, dim: int, index: Any, src: Any, reduce: str, *, include_self: bool = True) -> Tensor:
    """A copy with `src` reduced into the places where `gather` reads.

    Args:
        reduce: "sum", "prod", "mean", "amax" or "amin".
        include_self: whether the values of `input` at these places count.
    """
    input, axis, index, final = _along("scatter_reduce", input, dim, index)
    result = _reduced(input, axis, index, _source("scatter_reduce", input, index, src), reduce, include_self)
    return result if final is None else reshape(result, final)


def _reduced(input: Tensor, axis: int, index: Tensor, src: Tensor, reduce: str, include_self: bool) -> Tensor:
    if reduce not in ("sum", "mean", "prod", *EXTREMES):
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}")
    kind = input.array.dtype
    if not include_self:
        start = 0 if reduce in ("sum", "mean") else _start(reduce, kind)
        neutral = np.broadcast_to(np.asarray(start, kind), index.shape)
        input = _scatter_tensor(input, axis, index, make_tensor(neutral, None))
    if reduce == "prod":
        return input * _products(input.shape, axis, index.array, src)
    if reduce in EXTREMES:
        return _scatter_reduce_tensor(input, axis, index, src, reduce)  # type: ignore[no-any-return]
    total = _scatter_add_tensor(input, axis, index, src)
    if reduce == "sum":
        return total  # type: ignore[no-any-return]
    ones = np.ones(index.shape, kind)
    counts = _scatter_add(np.zeros(input.shape, kind), axis, index.array, ones) + (1 if include_self else 0)
    counts = np.where(counts < 1, 1, counts).astype(kind)
    if kind.kind in "iu":
        return make_tensor(total.array // counts, None)
    return total / counts  # type: ignore[no-any-return]


def _slices(name: str, input: Any, dim: int, index: Any, source: Any) -> tuple[Tensor, int, Tensor, Tensor, bool]:
    """The arguments of index_add and its like, with at least one axis; and whether the input had none."""
    input, source, index = as_tensor_argument(input), as_tensor_argument(source), _integers(index, name)
    if index.ndim > 1:
        raise IndexError(f"{name}(): Index is supposed to be a vector, got shape {index.shape}")
    axis = normalize_axis(dim, input.ndim)
    number = input.ndim == 0
    input = reshape(input, (1,)) if number else input
    index = reshape(index, (-1,))
    if source.array.dtype != input.array.dtype:
        raise RuntimeError(
            f"{name}(): self ({input.dtype}) and source ({source.dtype}) expected to have the same dtype"
        )
    wanted = (*input.shape[:axis], index.shape[0], *input.shape[axis + 1 :])
    if source.shape != wanted:
        one = source.ndim == 0 and number
        if name == "index_copy":
            one = source.ndim == 0 or (number and source.ndim == 1)
        if source.array.size != math.prod(wanted) or not one:
            raise RuntimeError(
                f"{name}(): Number of indices {index.shape[0]} and shapes of source {tuple(source.shape)} and self "
                f"{tuple(input.shape)} do not fit along dimension {axis}: expected source of shape {wanted}"
            )
        source = reshape(source, wanted)
    return input, axis, _within(index, input.shape[axis], name), source, number


def _products(shape: Any, axis: int, index: Any, src: Tensor) -> Tensor:
    """For each place the product of what goes to it: pairs are multiplied until one factor is left everywhere.

    No division, so that zeros are right in derivatives of all orders.
    """
    places = _places(index, axis, shape).reshape(-1)
    order = np.argsort(places, kind="stable")
    places, factors = places[order], _take(ravel(src), order, 0)
    while places.size:
        starts = np.flatnonzero(np.concatenate([[True], places[1:] != places[:-1]]))
        if starts.size == places.size:
            break
        rank = np.arange(places.size) - np.repeat(starts, np.diff(starts, append=places.size))
        even = np.flatnonzero(rank % 2 == 0)
        partner = np.minimum(even + 1, places.size - 1)
        paired = (places[partner] == places[even]) & (partner > even)
        factors = _take(factors, even, 0) * where(paired, _take(factors, partner, 0), 1)
        places = places[even]
    ones = make_tensor(np.ones(math.prod(shape), src.array.dtype), None)
    return reshape(_scatter_tensor(ones, 0, places, factors), shape)


@numpy_names
def index_add(input: Any, dim: int, index: Any, source: Any, *, alpha: Any = 1) -> Tensor:
    """A copy with `alpha` times the slices of `source` added at the places along an axis that a vector names."""
    input, axis, index, source, number = _slices("index_add", input, dim, index, source)
    result = _index_add_tensor(input, axis, index, source if alpha == 1 else source * alpha)
    return reshape(result, ()) if number else result


@numpy_names
def index_copy(input: Any, dim: int, index: Any, source: Any) -> Tensor:
    """A copy with the slices of `source` at the places along an axis that a vector of integers names."""
    input, axis, index, source, number = _slices("index_copy", input, dim, index, source)
    result = _index_copy_tensor(input, axis, index, source)
    return reshape(result, ()) if number else result


@numpy_names
def index_fill(input: Any, dim: int, index: Any, value: Any) -> Tensor:
    """A copy with one number at the places along an axis that a vector of integers names."""
    if isinstance(value, Tensor):
        if value.ndim:
            raise RuntimeError(
                f"index_fill_ only supports a 0-dimensional value tensor, but got tensor with {value.ndim} "
                "dimension(s)."
            )
        value = value if value.array.dtype == input.array.dtype else cast(value, input.array.dtype)
    else:
        value = make_tensor(numbers_as(value, input.array.dtype), None)
    index = _integers(index, "index_fill")
    if index.ndim > 1:
        raise RuntimeError(f"index_fill: Index has to be a vector/scalar, got shape {index.shape}")
    axis = normalize_axis(dim, input.ndim)
    count = index.array.size
    shape = (*input.shape[:axis], count, *input.shape[axis + 1 :]) if input.ndim else (count,)
    if not isinstance(index.array, ndarray) or (count and index.array.min() < 0):
        size = input.shape[axis] if input.ndim else 1
        _within(index, size, "index_fill", -size)
        index = make_tensor(np.where(index.array < 0, index.array + size, index.array), None)
    return index_copy(input, axis, reshape(index, (-1,)), expand(value, shape))


@numpy_names
def index_reduce(input: Any, dim: int, index: Any, source: Any, reduce: str, *, include_self: bool = True) -> Tensor:
    """A copy with the slices of `source` reduced ("prod", "mean", "amax", "amin") into the places a vector names."""
    input, axis, index, source, number = _slices("index_reduce", input, dim, index, source)
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(f"reduce argument must be either prod, mean, amax or amin, got {reduce}.")
    each = expand(reshape(index, (-1,) + (1,) * (input.ndim - axis - 1)), source.shape)
    result = _reduced(input, axis, each, source, reduce, include_self)
    return reshape(result, ()) if number else result


def index_put(input: Any, indices: Any, values: Any, accumulate: bool = False) -> Tensor:
    """A copy with `values` at (or, with `accumulate`, added at) the elements that a tuple of index tensors names."""
    input = as_tensor_argument(input)
    items, _ = as_index(tuple(WHOLE if i is None else i for i in indices), input.ndim, copy=True)
    items = tuple(x for i in items for x in (np.nonzero(i) if _is_foreign(i) and i.dtype.kind == "b" else (i,)))
    places = tuple(np.zeros(i.shape, i.dtype) if _is_foreign(i) else i for i in items)
    try:
        shape = np.broadcast_to(np.int8(0), input.shape)[places].shape
    except IndexError as error:
        raise _refused(error, items, input.shape) from None
    values = as_tensor_argument(values)
    if values.array.dtype != input.array.dtype:
        raise RuntimeError(
            f"Index put requires the source and destination dtypes match, got {input.dtype} for the destination "
            f"and {values.dtype} for the source."
        )
    values = _fitted(values, shape, input.array)
    if accumulate:
        return input + _getitem_adjoint(values, items, tuple(input.shape))  # type: ignore[no-any-return]
    items, values = _without_repeats(items, values, input.shape)
    return _write_region(input, values, ((getitem, (items,), {}),))  # type: ignore[no-any-return]


def take(input: Any, index: Any) -> Tensor:
    """The elements of the flattened tensor at the given places, in the index's shape."""
    index = _integers(index, "take")
    size = input.array.size
    if index.array.size and not size:
        raise IndexError("take(): tried to take from an empty tensor")
    _within(index, size, "take", -size)
    return _take(ravel(input), index, 0)  # type: ignore[no-any-return]


def put(input: Any, index: Any, source: Any, accumulate: bool = False) -> Tensor:
    """A copy with `source` at (or added at) the given places of the flattened tensor."""
    index = _integers(index, "put")
    source = as_tensor_argument(source)
    if source.array.size != index.array.size:
        raise RuntimeError(
            f"put_(): Expected source and index to have the same number of elements, but got source.numel() = "
            f"{source.array.size}, index.numel() = {index.array.size}"
        )
    if source.array.dtype != input.array.dtype:
        raise RuntimeError(
            f"put_(): self and source expected to have the same dtype, but got self.dtype = {input.dtype} and "
            f"source.dtype = {source.dtype}"
        )
    size = input.array.size
    _within(index, size, "put", -size)
    places = checked(np.where(index.array < 0, index.array + size, index.array).reshape(-1), size)
    operation = _index_add_tensor if accumulate else _index_copy_tensor
    return reshape(operation(ravel(input), 0, make_tensor(places, None), ravel(source)), input.shape)


@numpy_names
def take_along_dim(input: Any, indices: Any, dim: int | None = None) -> Tensor:
    """`gather`, where the index and the input are broadcast to each other except along `dim`."""
    indices = _integers(indices, "take_along_dim")
    if dim is None:
        return gather(ravel(input), 0, ravel(indices))
    if input.ndim != indices.ndim:
        raise RuntimeError(
            f"take_along_dim(): input and indices should have the same number of dimensions, but got "
            f"{input.ndim} dimensions for input, and {indices.ndim} dimensions for indices"
        )
    return _take_along(input, indices, normalize_axis(dim, input.ndim))


def _take_along(input: Any, indices: Any, axis: int) -> Tensor:
    ours, theirs = list(input.shape), list(indices.shape)
    common = list(
        broadcast_shapes(
            [1 if i == axis else n for i, n in enumerate(ours)], [1 if i == axis else n for i, n in enumerate(theirs)]
        )
    )
    common[axis] = ours[axis]
    input = expand(input, common)
    common[axis] = theirs[axis]
    return _gather_tensor(input, axis, expand(indices, common))  # type: ignore[no-any-return]


# ----- masks ------------------------------------------------------------------------------------------------------


def _mask(mask: Any, name: str) -> Tensor:
    mask = as_tensor_argument(mask)
    if mask.array.dtype.kind != "b":
        raise RuntimeError(f"{name}: expected BoolTensor for mask, got {mask.dtype} of shape {mask.shape}")
    return mask  # type: ignore[no-any-return]


def where(condition: Any, input: Any = None, other: Any = None) -> Any:
    """`input` where the condition holds and `other` elsewhere, broadcast; given only a condition, where it holds.

    >>> import chainrule as cr
    >>> x = cr.tensor([-1.0, 2.0])
    >>> cr.where(x > 0, x, 0.0)
    Tensor(array([0., 2.], dtype=float32), requires_grad=False)
    """
    if input is None and other is None:
        return nonzero(condition, as_tuple=True)
    if isinstance(condition, Tensor) and condition.array.dtype.kind != "b":
        condition = make_tensor(condition.array.astype(bool), None)
    if not isinstance(input, Tensor) and not isinstance(other, Tensor):
        input = as_tensor_argument(input)
    values = promote((input, other))
    try:
        return _where(condition, *values)
    except ValueError:
        broadcast_shapes(*(np.shape(getattr(x, "array", x)) for x in (condition, *values)))
        raise


def masked_fill(input: Any, mask: Any, value: Any) -> Tensor:
    """One number where the mask holds, the tensor elsewhere."""
    mask = _mask(mask, "masked_fill")
    if isinstance(value, Tensor):
        if value.ndim:
            raise RuntimeError(
                f"masked_fill_ only supports a 0-dimensional value tensor, but got tensor with {value.ndim} "
                "dimension(s)."
            )
        value = value if value.array.dtype == input.array.dtype else cast(value, input.array.dtype)
    else:
        number = np.asarray(value)
        boolean = input.array.dtype.kind == "b"  # takes any real number, as a truth value
        if CATEGORY[number.dtype.kind] > (2 if boolean else CATEGORY[input.array.dtype.kind]):
            raise RuntimeError(f"value cannot be converted to type {input.dtype} without overflow: {value}")
        value = make_tensor(number.astype(input.array.dtype), None)
    return where(mask, value, input)  # type: ignore[no-any-return]


def masked_select(input: Any, mask: Any) -> Tensor:
    """The elements where the mask holds, as a vector; tensor and mask are broadcast to each other."""
    mask = _mask(mask, "masked_select")
    input, mask = broadcast_tensors(input, mask)
    return input[mask] if input.ndim else reshape(input, (1,))[reshape(mask, (1,))]


def masked_scatter(input: Any, mask: Any, source: Any) -> Tensor:
    """The elements of `source`, in order, where the mask holds; the tensor elsewhere.

    Raises:
        RuntimeError: the source has fewer elements than the mask has places.
    """
    mask = _mask(mask, "masked_scatter")
    source = as_tensor_argument(source)
    if source.array.dtype != input.array.dtype:
        raise RuntimeError(
            f"masked_scatter: expected self and source to have same dtypes but got {input.dtype} and {source.dtype}"
        )
    input, mask = broadcast_tensors(input, mask)
    if isinstance(mask.array, ndarray):  # else NumPy refuses an order that is too long
        count = int(np.count_nonzero(mask.array))
        if count > source.array.size:
            raise RuntimeError(
                f"masked_scatter: expected source to have at least {count} elements, one for each true place of the "
                f"mask, got {source.array.size}"
            )
        if not source.array.size:
            return input.clone()  # type: ignore[no-any-return]
    order = np.maximum(np.cumsum(mask.array).reshape(mask.shape) - 1, 0)
    return where(mask, _take(ravel(source), order, 0), input)  # type: ignore[no-any-return]


def nonzero(input: Any, *, as_tuple: bool = False) -> Any:
    """Where the elements are not zero: a row of indices for each, or with `as_tuple` a vector for each axis."""
    array = as_tensor_argument(input).array
    if as_tuple:
        found = np.nonzero(np.atleast_1d(array))
        return tuple(make_tensor(i, None) for i in found)
    return make_tensor(np.argwhere(array), None)


def argwhere(input: Any) -> Tensor:
    """A row of indices for each element that is not zero."""
    return nonzero(input)  # type: ignore[no-any-return]


def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None) -> Tensor:
    """The rows and columns of the lower triangle of a (row, col) matrix, as a (2, n) tensor."""
    return make_tensor(np.stack(np.tril_indices(row, offset, col)).astype(np.int64 if dtype is None else dtype), None)


def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None) -> Tensor:
    """The rows and columns of the upper triangle of a (row, col) matrix, as a (2, n) tensor."""
    return make_tensor(np.stack(np.triu_indices(row, offset, col)).astype(np.int64 if dtype is None else dtype), None)


def unravel_index(indices: Any, shape: Any) -> tuple[Tensor, ...]:
    """For places in a flattened tensor of a shape, the index along each axis."""
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    return tuple(make_tensor(np.asarray(i), None) for i in np.unravel_index(as_tensor_argument(indices).array, shape))


# ----- copies with a part replaced --------------------------------------------------------------------------------


def _with_region(name: str, input: Any, src: Any, step: Any) -> Tensor:
    input, src = as_tensor_argument(input), as_tensor_argument(src)
    func, rest, kwargs = step
    shape = func(np.broadcast_to(np.int8(0), input.shape), *rest, **kwargs).shape
    if src.shape != shape:
        raise RuntimeError(
            f"expected src to have a size equal to the slice of self. src size = {list(src.shape)}, slice size "
            f"= {list(shape)} ({name})"
        )
    if src.array.dtype != input.array.dtype:
        src = cast(src, input.array.dtype)
    return _write_region(input, src, (step,))  # type: ignore[no-any-return]


def diagonal_scatter(input: Any, src: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A copy with `src` on a diagonal."""
    return _with_region("diagonal_scatter", input, src, (_diagonal, (offset, *_two_axes(dim1, dim2, input.ndim)), {}))


@numpy_names
def select_scatter(input: Any, src: Any, dim: int, index: int) -> Tensor:
    """A copy with `src` at one place along an axis."""
    axis = normalize_axis(dim, input.ndim)
    if not -input.shape[axis] <= index < input.shape[axis]:
        raise IndexError(
            f"select_scatter(): index {index} out of range for tensor of size {list(input.shape)} at dimension {dim}"
        )
    return _with_region("select_scatter", input, src, (getitem, ((WHOLE,) * axis + (index, Ellipsis),), {}))


@numpy_names
def slice_scatter(
    input: Any, src: Any, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """A copy with `src` in a slice along an axis."""
    axis = normalize_axis(dim, input.ndim)
    return _with_region("slice_scatter", input, src, (getitem, ((WHOLE,) * axis + (slice(start, end, step),),), {}))


# ----- methods ----------------------------------------------------------------------------------------------------

attach(select, narrow, narrow_copy, index_select, gather, scatter, scatter_add, scatter_reduce, index_add, index_copy)
attach(index_fill, index_reduce, index_put, take, put, take_along_dim, masked_fill, masked_select, masked_scatter)
attach(nonzero, argwhere, diagonal_scatter, select_scatter, slice_scatter)
attach(
    __getitem__=_getitem_tensor,
    __setitem__=_setitem,
    where=lambda self, condition, other: where(condition, self, other),
)
attach_in_place(scatter, scatter_add, scatter_reduce, index_add, index_copy, index_fill, index_reduce, index_put, put)
attach_in_place(masked_fill, masked_scatter)
