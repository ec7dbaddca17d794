"""Operations that move data about without computing: reshaping, permuting, joining, splitting, repeating, padding.

Results are views where PyTorch's are. NumPy's own functions of this kind, on tensors, are in `numpy_forms.py`.
Read next: `indexing.py`.
"""

from __future__ import annotations

import builtins
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.broadcasting import unbroadcast
from ..core.dtypes import as_numpy_dtype, dtype
from ..core.forward import array_function, cast, promote, wrap_forward_fn
from ..core.grad_mode import mode, recording_mode
from ..core.table import EACH, backward
from ..core.tensor import Tensor, is_array, make_tensor
from ..core.views import write_in_place
from .common import as_tensor_argument, attach, attach_in_place, normalize_axes, normalize_axis, numbers_as, numpy_names

__all__ = [
    "adjoint",
    "as_strided",
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "block_diag",
    "broadcast_shapes",
    "broadcast_tensors",
    "broadcast_to",
    "cartesian_prod",
    "cat",
    "chunk",
    "clone",
    "column_stack",
    "combinations",
    "concat",
    "concatenate",
    "constant_pad_nd",
    "diag",
    "diag_embed",
    "diagflat",
    "diagonal",
    "dsplit",
    "dstack",
    "fill",
    "flatten",
    "flip",
    "fliplr",
    "flipud",
    "hsplit",
    "hstack",
    "meshgrid",
    "moveaxis",
    "movedim",
    "pad",
    "permute",
    "ravel",
    "repeat_interleave",
    "reshape",
    "roll",
    "rot90",
    "row_stack",
    "split",
    "split_with_sizes",
    "squeeze",
    "stack",
    "swapaxes",
    "swapdims",
    "t",
    "tensor_split",
    "tile",
    "trace",
    "transpose",
    "tril",
    "triu",
    "unbind",
    "unflatten",
    "unsqueeze",
    "vsplit",
    "vstack",
]

# ----- the table: shapes ------------------------------------------------------------------------------------------


@backward(np.reshape, 0)
def reshape_back(grad_out: Any, out: Any, x: Any, shape: Any, order: Any = "C", copy: Any = None) -> Any:
    r"""$\nabla_x L = \mathrm{reshape}(\nabla_{out} L, \mathrm{shape}(x))$"""
    return np.reshape(grad_out, x.shape, order=order) if order != "C" else np.reshape(grad_out, x.shape)


@backward(np.squeeze, 0)
def squeeze_back(grad_out: Any, out: Any, x: Any, axis: Any = None) -> Any:
    r"""$\nabla_x L = \mathrm{reshape}(\nabla_{out} L, \mathrm{shape}(x))$"""
    return np.reshape(grad_out, x.shape)


@backward(np.expand_dims, 0)
def expand_dims_back(grad_out: Any, out: Any, x: Any, axis: Any) -> Any:
    r"""$\nabla_x L = \mathrm{reshape}(\nabla_{out} L, \mathrm{shape}(x))$"""
    return np.reshape(grad_out, x.shape)


@backward(np.transpose, 0)
def transpose_back(grad_out: Any, out: Any, x: Any, axes: Any = None) -> Any:
    r"""$\nabla_x L = \mathrm{transpose}(\nabla_{out} L, \mathrm{argsort}(axes))$"""
    if axes is None:
        return np.transpose(grad_out)
    inverse = [0] * len(axes)
    for position, axis in enumerate(axes):
        inverse[axis] = position
    return np.transpose(grad_out, inverse)


@backward(np.swapaxes, 0)
def swapaxes_back(grad_out: Any, out: Any, x: Any, axis1: Any, axis2: Any) -> Any:
    r"""$\nabla_x L = \mathrm{swapaxes}(\nabla_{out} L, axis_1, axis_2)$"""
    return np.swapaxes(grad_out, axis1, axis2)


@backward(np.broadcast_to, 0)
def broadcast_to_back(grad_out: Any, out: Any, x: Any, shape: Any) -> Any:
    r"""$\nabla_x L = \sum_{\text{broadcast axes}} \nabla_{out} L$"""
    return unbroadcast(grad_out, x)


@backward(np.copy, 0)
def copy_back(grad_out: Any, out: Any, x: Any, order: Any = "K") -> Any:
    r"""$\nabla_x L = \nabla_{out} L$"""
    return grad_out


@array_function
def _fill(x: Any, value: Any) -> Any:
    """`value` in the shape of `x`; `x` counts as an argument, with gradient zero."""
    return np.broadcast_to(value, x.shape)


@backward(_fill, 0)
def fill_back0(grad_out: Any, out: Any, x: Any, value: Any) -> Any:
    r"""$\nabla_x L = 0$"""
    return np.zeros_like(grad_out)


@backward(_fill, 1)
def fill_back1(grad_out: Any, out: Any, x: Any, value: Any) -> Any:
    r"""$\nabla_{value} L = \sum_{\text{broadcast axes}} \nabla_{out} L$"""
    return unbroadcast(grad_out, value)


# ----- the table: joining -----------------------------------------------------------------------------------------


@array_function
def _concatenate(*arrays: Any, axis: int = 0) -> Any:
    """Arrays one after the other along an existing axis."""
    return np.concatenate(arrays, axis=axis)


@backward(_concatenate, EACH)
def concatenate_back(grad_out: Any, out: Any, *arrays: Any, axis: int = 0, argnum: int = 0) -> Any:
    r"""$\nabla_{x_i} L = (\nabla_{out} L)_{\text{the part of } x_i}$"""
    start = builtins.sum(a.shape[axis] for a in arrays[:argnum])
    part = slice(start, start + arrays[argnum].shape[axis])
    return grad_out[(slice(None),) * (axis % out.ndim) + (part, ...)]


@array_function
def _stack(*arrays: Any, axis: int = 0) -> Any:
    """Arrays of one shape along a new axis."""
    return np.stack(arrays, axis=axis)


@backward(_stack, EACH)
def stack_back(grad_out: Any, out: Any, *arrays: Any, axis: int = 0, argnum: int = 0) -> Any:
    r"""$\nabla_{x_i} L = (\nabla_{out} L)_i$"""
    return grad_out[(slice(None),) * (axis % out.ndim) + (argnum, ...)]


# ----- the table: repeating, reversing, shifting ------------------------------------------------------------------


@backward(np.tile, 0)
def tile_back(grad_out: Any, out: Any, x: Any, reps: Any) -> Any:
    r"""$\nabla_x L = \sum_{\text{copies}} \nabla_{out} L$"""
    reps = (reps,) if isinstance(reps, int) else tuple(reps)
    reps = (1,) * (x.ndim - len(reps)) + reps
    shape = (1,) * (len(reps) - x.ndim) + tuple(x.shape)
    copies = np.reshape(grad_out, tuple(itertools.chain.from_iterable(zip(reps, shape, strict=True))))
    return np.reshape(np.sum(copies, axis=tuple(range(0, 2 * len(reps), 2))), x.shape)


@array_function
def _flip(x: Any, axis: Any) -> Any:
    """The elements in reverse order along axes; a copy, as PyTorch's."""
    return np.copy(np.flip(x, axis), order="C")


@backward(_flip, 0)
def flip_back(grad_out: Any, out: Any, x: Any, axis: Any) -> Any:
    r"""$\nabla_x L = \mathrm{flip}(\nabla_{out} L, axis)$"""
    return np.flip(grad_out, axis)


@backward(np.roll, 0)
def roll_back(grad_out: Any, out: Any, x: Any, shift: Any, axis: Any = None) -> Any:
    r"""$\nabla_x L = \mathrm{roll}(\nabla_{out} L, -shift, axis)$"""
    back = tuple(-s for s in shift) if isinstance(shift, (tuple, list)) else -shift
    return np.roll(grad_out, back, axis)


@array_function
def _constant_pad(x: Any, widths: Any, value: Any = 0) -> Any:
    """`x` with `widths[i] = (before, after)` further elements, all `value`, at the ends of axis `i`."""
    if type(x) is np.ndarray:
        shape = tuple(n + before + after for n, (before, after) in zip(x.shape, widths, strict=True))
        out = np.full(shape, value, x.dtype) if value else np.zeros(shape, x.dtype)
        out[tuple(slice(before, before + n) for n, (before, _) in zip(x.shape, widths, strict=True))] = x
        return out
    return np.pad(x, widths, mode="constant", constant_values=value)


@backward(_constant_pad, 0)
def constant_pad_back(grad_out: Any, out: Any, x: Any, widths: Any, value: Any = 0) -> Any:
    r"""$\nabla_x L = (\nabla_{out} L)_{\text{without the padding}}$"""
    inner = tuple(slice(before, before + n) for n, (before, _) in zip(x.shape, widths, strict=True))
    return grad_out[(*inner, ...)]


# ----- the table: diagonals, windows, strides ---------------------------------------------------------------------


def sum_at(values: Any, positions: Any, shape: tuple[int, ...]) -> Any:
    """Zeros of a shape, with each of `values` added at its position in the flattened result."""
    size = math.prod(shape)
    positions = np.reshape(positions, (-1,))
    values = np.reshape(values, (-1,))
    if values.dtype.kind == "c":
        total = np.bincount(positions, np.real(values), size) + 1j * np.bincount(positions, np.imag(values), size)
    elif values.dtype.kind == "f":
        total = np.bincount(positions, values, size)
    else:
        total = np.zeros(size, values.dtype)
        np.add.at(total, positions, values)
    return np.reshape(np.astype(total, values.dtype, copy=False), shape)


def _positions(shape: tuple[int, ...]) -> Any:
    return np.arange(math.prod(shape)).reshape(shape)


def _owned(values: Any) -> bool:
    """Whether results for `values` are NumPy arrays of our own, that may be filled in place."""
    return isinstance(values, (np.ndarray, np.generic))


@array_function
def _diagonal(x: Any, offset: int, axis1: int, axis2: int) -> Any:
    """The elements `x[..., i, ..., i + offset, ...]`, as a last axis; a view that can be written to."""
    out = np.diagonal(x, offset, axis1, axis2)
    if type(out) is np.ndarray and x.flags.writeable:
        out.flags.writeable = True
    return out


@array_function
def _place_diagonal(values: Any, shape: Any, offset: int, axis1: int, axis2: int) -> Any:
    """Zeros of a shape with `values` on a diagonal: the adjoint of `_diagonal`."""
    if _owned(values):
        out = np.zeros(shape, values.dtype)
        _diagonal(out, offset, axis1, axis2)[...] = values
        return out
    return sum_at(values, np.diagonal(_positions(shape), offset, axis1, axis2), shape)


@backward(_diagonal, 0)
def diagonal_back(grad_out: Any, out: Any, x: Any, offset: int, axis1: int, axis2: int) -> Any:
    r"""$\nabla_x L = \mathrm{diag}(\nabla_{out} L)$"""
    return _place_diagonal(grad_out, tuple(x.shape), offset, axis1, axis2)


@backward(_place_diagonal, 0)
def place_diagonal_back(grad_out: Any, out: Any, values: Any, shape: Any, offset: int, axis1: int, axis2: int) -> Any:
    r"""$\nabla_{values} L = \mathrm{diagonal}(\nabla_{out} L)$"""
    return _diagonal(grad_out, offset, axis1, axis2)


@backward(np.tril, 0)
def tril_back(grad_out: Any, out: Any, x: Any, k: int = 0) -> Any:
    r"""$\nabla_x L = \mathrm{tril}(\nabla_{out} L, k)$"""
    return np.tril(grad_out, k)


@backward(np.triu, 0)
def triu_back(grad_out: Any, out: Any, x: Any, k: int = 0) -> Any:
    r"""$\nabla_x L = \mathrm{triu}(\nabla_{out} L, k)$"""
    return np.triu(grad_out, k)


@array_function
def _unfold(x: Any, axis: int, size: int, step: int) -> Any:
    """All windows of `size` elements along an axis, `step` apart, as a last axis; a view."""
    if type(x) is np.ndarray:
        distinct = size <= step and x.flags.writeable  # no element lies in two windows
        windows = np.lib.stride_tricks.sliding_window_view(x, size, axis, writeable=distinct)
    else:
        windows = np.lib.stride_tricks.sliding_window_view(x, size, axis)
    return windows[(slice(None),) * axis + (slice(None, None, step), ...)]


@array_function
def _fold(values: Any, shape: Any, axis: int, size: int, step: int) -> Any:
    """The sum of windows along an axis into zeros of a shape: the adjoint of `_unfold`."""
    if _owned(values):
        out = np.zeros(shape, values.dtype)
        count = values.shape[axis]
        before: tuple[Any, ...] = (slice(None),) * axis
        for i in range(size):
            out[(*before, slice(i, i + step * (count - 1) + 1, step), ...)] += values[..., i]
        return out
    return sum_at(values, _unfold(_positions(shape), axis, size, step), shape)


@backward(_unfold, 0)
def unfold_back(grad_out: Any, out: Any, x: Any, axis: int, size: int, step: int) -> Any:
    r"""$\nabla_{x_i} L = \sum_{\text{windows } w \ni i} \nabla_{out_w} L$"""
    return _fold(grad_out, tuple(x.shape), axis, size, step)


@backward(_fold, 0)
def fold_back(grad_out: Any, out: Any, values: Any, shape: Any, axis: int, size: int, step: int) -> Any:
    r"""$\nabla_{values} L = \mathrm{unfold}(\nabla_{out} L)$"""
    return _unfold(grad_out, axis, size, step)


@array_function
def _as_strided(x: Any, size: Any, stride: Any, offset: int) -> Any:
    """The view of a contiguous array with strides (in elements) of one's own."""
    if type(x) is np.ndarray:
        flat = x.reshape(-1)[offset:]
        strides = tuple(s * x.itemsize for s in stride)
        return np.lib.stride_tricks.as_strided(flat, size, strides, writeable=x.flags.writeable)
    return np.reshape(x, (-1,))[_as_strided(_positions(x.shape), size, stride, offset)]


@array_function
def _place_strided(values: Any, shape: Any, size: Any, stride: Any, offset: int) -> Any:
    """The adjoint of `_as_strided`: zeros of a shape, the values added where they were taken."""
    return sum_at(values, _as_strided(_positions(shape), size, stride, offset), shape)


@backward(_as_strided, 0)
def as_strided_back(grad_out: Any, out: Any, x: Any, size: Any, stride: Any, offset: int) -> Any:
    r"""$\nabla_{x_i} L = \sum_{j \text{ taken from } i} \nabla_{out_j} L$"""
    return _place_strided(grad_out, tuple(x.shape), size, stride, offset)


@backward(_place_strided, 0)
def place_strided_back(grad_out: Any, out: Any, values: Any, shape: Any, size: Any, stride: Any, offset: int) -> Any:
    r"""$\nabla_{values} L = \mathrm{as\_strided}(\nabla_{out} L)$"""
    return _as_strided(grad_out, size, stride, offset)


# ----- reshaping --------------------------------------------------------------------------------------------------

_reshape = wrap_forward_fn(np.reshape, view=True)
_squeeze = wrap_forward_fn(np.squeeze, view=True)
_expand_dims = wrap_forward_fn(np.expand_dims, view=True)
_transpose = wrap_forward_fn(np.transpose, view=True)
_swapaxes = wrap_forward_fn(np.swapaxes, view=True)
_broadcast_to = wrap_forward_fn(np.broadcast_to, view=True)
_copy = wrap_forward_fn(np.copy)
_fill_like = wrap_forward_fn(_fill)


def as_sizes(sizes: tuple[Any, ...], named: Any = None) -> tuple[int, ...]:
    """`f(2, 3)` and `f((2, 3))` as (2, 3), and `named` if the sizes were given by name.

    Raises:
        TypeError: they were given twice.
    """
    if named is not None:
        if sizes:
            raise TypeError(f"sizes are given twice, as {sizes} and by name as {named}")
        sizes = (named,)
    if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
        sizes = tuple(sizes[0])
    for n in sizes:
        if type(n) is not int:
            return tuple(int(n) for n in sizes)
    return sizes


def reshape(input: Any, *sizes: Any, shape: Any = None) -> Tensor:
    """The elements in another shape, `reshape(x, (2, 3))` or `x.reshape(2, 3)`; -1 stands for what is left.

    A view where the memory allows it, otherwise a copy.

    Raises:
        RuntimeError: the numbers of elements differ.

    >>> import chainrule as cr
    >>> cr.arange(6).reshape(2, -1).shape
    (2, 3)
    """
    input = as_tensor_argument(input)
    shape = as_sizes(sizes, shape)
    try:
        return _reshape(input, shape)  # type: ignore[no-any-return]
    except ValueError:
        size = input.array.size
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {size} (shape {input.shape})") from None


def view(input: Tensor, *shape: Any, size: Any = None, **named: Any) -> Tensor:
    """The elements in another shape, never copied; or, given a dtype, the same bits as another type.

    Raises:
        RuntimeError: the numbers of elements differ, or the memory's order does not allow it.
    """
    if named and (size is not None or shape or named.keys() != {"dtype"}):
        raise TypeError(f"view() takes a shape, size= or dtype=, got {', '.join(named)}")
    kind = named["dtype"] if named else shape[0] if len(shape) == 1 else None
    if isinstance(kind, (dtype, np.dtype, type)):
        return _view_as_type(input, as_numpy_dtype(kind))
    result = reshape(input, *shape, shape=size)
    if result._alias is None and result.array.size:
        raise RuntimeError(
            f"view size {result.shape} is not compatible with input tensor's size {input.shape} and stride "
            f"{stride(input)} (at least one dimension spans across two contiguous subspaces). Use .reshape(...) "
            "instead."
        )
    return result


@array_function
def _bits(x: Any, wanted: Any) -> Any:
    """The same memory read as another type."""
    return x.view(wanted)


_view_bits = wrap_forward_fn(_bits, is_differentiable=False, view=True)


def _view_as_type(input: Tensor, wanted: np.dtype[Any]) -> Tensor:
    if wanted == input.array.dtype:
        return view(input, *input.shape) if input.ndim else reshape(input, ())
    return _view_bits(input, wanted)  # type: ignore[no-any-return]


def view_as(input: Tensor, other: Tensor) -> Tensor:
    """`view` in the shape of `other`."""
    return view(input, tuple(other.shape))


def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    """`reshape` to the shape of `other`."""
    return reshape(input, tuple(other.shape))


@numpy_names
def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The axes from `start_dim` to `end_dim` as one.

    >>> import chainrule as cr
    >>> cr.zeros(2, 3, 4).flatten(1).shape
    (2, 12)
    """
    shape = input.shape
    start, end = normalize_axis(start_dim, len(shape)), normalize_axis(end_dim, len(shape))
    if start > end:
        raise RuntimeError(f"flatten() has invalid args: start_dim {start_dim} cannot come after end_dim {end_dim}")
    if not shape:
        return reshape(input, (1,))
    if start == end:
        return input  # type: ignore[no-any-return]
    return reshape(input, (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))


@numpy_names
def unflatten(input: Any, dim: int, sizes: Any) -> Tensor:
    """One axis as several of the given sizes; one of them may be -1."""
    axis = normalize_axis(dim, input.ndim)
    sizes = as_sizes((sizes,))
    size = input.shape[axis]
    known = math.prod(n for n in sizes if n != -1)
    if -1 in sizes:
        sizes = tuple(size // max(known, 1) if n == -1 else n for n in sizes)
    if math.prod(sizes) != size:
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {dim} ({size}) in "
            "the input tensor"
        )
    return reshape(input, (*input.shape[:axis], *sizes, *input.shape[axis + 1 :]))


def ravel(input: Any) -> Tensor:
    """All elements in one axis."""
    return reshape(input, (-1,))


@numpy_names
def squeeze(input: Any, dim: Any = None) -> Tensor:
    """Without the axes of size 1; with `dim`, an axis or several, only without those of them that have size 1.

    >>> import chainrule as cr
    >>> cr.zeros(1, 2, 1).squeeze(0).shape
    (2, 1)
    """
    shape = input.shape
    axes = normalize_axes(dim, len(shape)) if dim is not None or shape else ()
    return _squeeze(input, tuple(a for a in axes if shape and shape[a] == 1))  # type: ignore[no-any-return]


@numpy_names
def unsqueeze(input: Any, dim: int) -> Tensor:
    """With a further axis of size 1 in front of axis `dim`.

    >>> import chainrule as cr
    >>> cr.zeros(2, 3).unsqueeze(-1).shape
    (2, 3, 1)
    """
    return _expand_dims(input, normalize_axis(dim, input.ndim + 1))  # type: ignore[no-any-return]


# ----- permuting --------------------------------------------------------------------------------------------------


def permute(input: Any, *order: Any, dims: Any = None, axes: Any = None) -> Tensor:
    """The axes in another order, `permute(x, (1, 0))` or `x.permute(1, 0)`; a view.

    Raises:
        RuntimeError: not each axis is named once.

    >>> import chainrule as cr
    >>> cr.zeros(2, 3, 4).permute(2, 0, 1).shape
    (4, 2, 3)
    """
    order = as_sizes(order, dims if axes is None else axes)
    if len(order) != input.ndim:
        raise RuntimeError(
            f"permute: number of dimensions in the tensor input does not match the length of the desired ordering of "
            f"dimensions i.e. input.dim() = {input.ndim} is not equal to len(dims) = {len(order)}"
        )
    return _transpose(input, normalize_axes(order, input.ndim))  # type: ignore[no-any-return]


@numpy_names
def transpose(input: Any, dim0: int, dim1: int) -> Tensor:
    """Two axes exchanged; a view."""
    ndim = input.ndim
    first, second = normalize_axis(dim0, ndim), normalize_axis(dim1, ndim)
    return _swapaxes(input, first, second) if ndim else _reshape(input, ())  # type: ignore[no-any-return]


def swapaxes(input: Any, axis0: int, axis1: int) -> Tensor:
    """Two axes exchanged; a view."""
    return transpose(input, axis0, axis1)


def swapdims(input: Any, dim0: int, dim1: int) -> Tensor:
    """Two axes exchanged; a view."""
    return transpose(input, dim0, dim1)


def t(input: Any) -> Tensor:
    """A matrix transposed; a vector or a number as it is.

    Raises:
        RuntimeError: more than two axes.
    """
    if input.ndim > 2:
        raise RuntimeError(
            f"t() expects a tensor with <= 2 dimensions, but self is {input.ndim}D (shape {input.shape}): use "
            "mT or permute"
        )
    return _transpose(input)  # type: ignore[no-any-return]


def _reversed(input: Any) -> Tensor:
    """All axes in reverse order."""
    return _transpose(input)  # type: ignore[no-any-return]


def _matrix_transpose(input: Any) -> Tensor:
    if input.ndim < 2:
        raise RuntimeError(
            f"tensor.mT is only supported on matrices or batches of matrices. Got {input.ndim}-D tensor."
        )
    return transpose(input, -2, -1)


def adjoint(input: Any) -> Tensor:
    """Matrices transposed and conjugated."""
    result = _matrix_transpose(input)
    return np.conjugate(result) if result.array.dtype.kind == "c" else result  # type: ignore[return-value]


def _hermitian(input: Any) -> Tensor:
    if input.ndim not in (0, 2):
        raise RuntimeError(f"tensor.H is only supported on matrices (2-D tensors). Got {input.ndim}-D tensor.")
    result = _transpose(input)
    return np.conjugate(result) if result.array.dtype.kind == "c" else result  # type: ignore[no-any-return]


def movedim(input: Any, source: Any, destination: Any) -> Tensor:
    """Axes moved to other places, the rest in their order; a view."""
    ndim = input.ndim
    sources, destinations = normalize_axes(source, ndim), normalize_axes(destination, ndim)
    if len(sources) != len(destinations):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({source} dims) should contain the same number of "
            f"dims as destination ({destination} dims)"
        )
    if not ndim:
        return _reshape(input, ())  # type: ignore[no-any-return]
    order = [axis for axis in range(ndim) if axis not in sources]
    for place, axis in sorted(zip(destinations, sources, strict=True)):
        order.insert(place, axis)
    return _transpose(input, tuple(order))  # type: ignore[no-any-return]


def moveaxis(input: Any, source: Any, destination: Any) -> Tensor:
    """Axes moved to other places, the rest in their order; a view."""
    return movedim(input, source, destination)


# ----- broadcasting -----------------------------------------------------------------------------------------------


def broadcast_to(input: Any, size: Any) -> Tensor:
    """The tensor with axes of size 1 repeated, and axes added in front, to fill a shape; a view.

    Raises:
        RuntimeError: it does not broadcast to that shape.
    """
    return expand(as_tensor_argument(input), size)


def expand(input: Tensor, *sizes: Any, size: Any = None) -> Tensor:
    """`broadcast_to`, where a size of -1 keeps the axis as it is.

    >>> import chainrule as cr
    >>> cr.zeros(3, 1).expand(2, -1, 4).shape
    (2, 3, 4)
    """
    wanted = as_sizes(sizes, size)
    have = tuple(input.shape)
    extra = len(wanted) - len(have)
    if extra < 0:
        raise RuntimeError(
            f"expand(sizes={list(wanted)}): the number of sizes provided ({len(wanted)}) must be greater or "
            "equal to the "
            f"number of dimensions in the tensor ({len(have)})"
        )
    shape = tuple(have[i - extra] if n == -1 and i >= extra else n for i, n in enumerate(wanted))
    for i, n in enumerate(shape):
        if n < 0 or (i >= extra and have[i - extra] not in (1, n)):
            existing = have[i - extra] if i >= extra else "none"
            raise RuntimeError(
                f"The expanded size of the tensor ({n}) must match the existing size ({existing}) at non-singleton "
                f"dimension {i}.  Target sizes: {list(wanted)}.  Tensor sizes: {list(have)}"
            )
    if shape[extra:] == have and all(n == 1 for n in shape[:extra]):
        return _reshape(input, shape)  # type: ignore[no-any-return]
    return _broadcast_to(input, shape)  # type: ignore[no-any-return]


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """`expand` to the shape of `other`."""
    return expand(input, tuple(other.shape))


def broadcast_shapes(*shapes: Any) -> tuple[int, ...]:
    """The shape that all shapes broadcast to.

    Raises:
        RuntimeError: there is none.
    """
    shapes = tuple((s,) if isinstance(s, int) else tuple(s) for s in shapes)
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        text = ", ".join(map(str, shapes))
        raise RuntimeError(
            f"Shape mismatch: objects cannot be broadcast to a single shape: {text}; counted from the right, sizes "
            "must be equal or 1"
        ) from None


def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """The tensors, each broadcast to the shape common to all; views."""
    given = _listed(tensors)
    shape = broadcast_shapes(*(x.shape for x in given))
    return tuple(expand(x, shape) for x in given)


def _listed(tensors: tuple[Any, ...]) -> list[Any]:
    """`f(a, b)` and `f([a, b])` as [a, b], all tensors."""
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tuple(tensors[0])
    return [as_tensor_argument(x) for x in tensors]


# ----- joining ----------------------------------------------------------------------------------------------------

_concatenate_tensors = wrap_forward_fn(_concatenate)
_stack_tensors = wrap_forward_fn(_stack)


def _not_empty(tensors: Any, name: str) -> list[Any]:
    given = [as_tensor_argument(x) for x in tensors]
    if not given:
        raise RuntimeError(f"{name} expects a non-empty list of tensors")
    return given


@numpy_names
def cat(tensors: Any, dim: int = 0) -> Tensor:
    """The tensors one after the other along an existing axis.

    Args:
        tensors: list or tuple of tensors whose shapes differ only along `dim`.

    Raises:
        RuntimeError: other sizes differ, or the list is empty.

    >>> import chainrule as cr
    >>> cr.cat([cr.zeros(2, 3), cr.ones(1, 3)]).shape
    (3, 3)
    """
    given = _not_empty(tensors, "cat()")
    kept = [x for x in given if x.shape != (0,)] or given  # an empty vector goes with anything, as in PyTorch
    ndim = kept[0].ndim
    if ndim == 0:
        raise RuntimeError("zero-dimensional tensor (at position 0) cannot be concatenated: use stack")
    axis = normalize_axis(dim, ndim)
    first = kept[0].shape
    for i, x in enumerate(kept):
        if x.ndim != ndim or any(n != m for k, (n, m) in enumerate(zip(first, x.shape, strict=True)) if k != axis):
            raise RuntimeError(
                f"Sizes of tensors must match except in dimension {axis}. Expected shape {tuple(first)} but got "
                f"{tuple(x.shape)} for tensor number {i} in the list."
            )
    return _concatenate_tensors(*_one_type(kept), axis=axis)  # type: ignore[no-any-return]


concat = concatenate = cat


def _one_type(tensors: list[Any]) -> Any:
    kind = tensors[0].array.dtype
    return tensors if all(x.array.dtype is kind for x in tensors) else promote(tuple(tensors))


@numpy_names
def stack(tensors: Any, dim: int = 0) -> Tensor:
    """Tensors of one shape along a new axis.

    Raises:
        RuntimeError: shapes differ, or the list is empty.

    >>> import chainrule as cr
    >>> cr.stack([cr.zeros(3), cr.ones(3)], dim=1).shape
    (3, 2)
    """
    given = _not_empty(tensors, "stack")
    first = given[0].shape
    for i, x in enumerate(given):
        if x.shape != first:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(first)} at entry 0 and "
                f"{list(x.shape)} at entry {i}"
            )
    return _stack_tensors(*_one_type(given), axis=normalize_axis(dim, len(first) + 1))  # type: ignore[no-any-return]


def _atleast(x: Any, ndim: int) -> Any:
    if x.ndim >= ndim:
        return x
    if x.ndim == 0:
        return reshape(x, (1,) * ndim)
    if ndim == 2:
        return unsqueeze(x, 0)
    return reshape(x, (1, x.shape[0], 1)) if x.ndim == 1 else unsqueeze(x, -1)


def _atleast_all(tensors: tuple[Any, ...], ndim: int) -> Any:
    if len(tensors) == 1 and not isinstance(tensors[0], (tuple, list)):
        return _atleast(as_tensor_argument(tensors[0]), ndim)
    return tuple(_atleast(x, ndim) for x in _listed(tensors))


def atleast_1d(*tensors: Any) -> Any:
    """Each tensor with at least one axis."""
    return _atleast_all(tensors, 1)


def atleast_2d(*tensors: Any) -> Any:
    """Each tensor with at least two axes: a vector becomes a row."""
    return _atleast_all(tensors, 2)


def atleast_3d(*tensors: Any) -> Any:
    """Each tensor with at least three axes: a vector of n becomes (1, n, 1), a matrix (m, n, 1)."""
    return _atleast_all(tensors, 3)


def hstack(tensors: Any) -> Tensor:
    """Side by side: along the second axis, or the only one."""
    given = [_atleast(x, 1) for x in _not_empty(tensors, "hstack")]
    return cat(given, dim=0 if given[0].ndim == 1 else 1)


def vstack(tensors: Any) -> Tensor:
    """One below the other: along the first axis; vectors are rows."""
    return cat([_atleast(x, 2) for x in _not_empty(tensors, "vstack")], dim=0)


row_stack = vstack


def dstack(tensors: Any) -> Tensor:
    """One behind the other: along the third axis."""
    return cat([_atleast(x, 3) for x in _not_empty(tensors, "dstack")], dim=2)


def column_stack(tensors: Any) -> Tensor:
    """Side by side; vectors are columns."""
    given = [reshape(x, (-1, 1)) if x.ndim < 2 else x for x in _not_empty(tensors, "column_stack")]
    return cat(given, dim=1)


def block_diag(*tensors: Any) -> Tensor:
    """The matrix with the given matrices along its diagonal; a vector is a row."""
    blocks = [_atleast(as_tensor_argument(x), 2) for x in tensors] or [make_tensor(np.zeros((1, 0), np.float32), None)]
    if any(x.ndim > 2 for x in blocks):
        raise RuntimeError(
            f"block_diag(): Input tensors must have 2 or fewer dimensions, got shapes {[x.shape for x in blocks]}"
        )
    width = builtins.sum(x.shape[1] for x in blocks)
    rows = []
    start = 0
    for x in blocks:
        end = start + x.shape[1]
        rows.append(_constant_pad_tensor(x, ((0, 0), (start, width - end))))
        start = end
    return cat(rows)


def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Tensor, ...]:
    """Coordinates of a grid: each vector along an axis of its own.

    Args:
        indexing: "ij" (PyTorch's default): axis i belongs to vector i; "xy": the first two are exchanged.
    """
    if indexing not in (None, "ij", "xy"):
        raise RuntimeError(f'meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    given = _listed(tensors)
    for x in given:
        if x.ndim > 1:
            raise RuntimeError(f"meshgrid expects vectors, got shape {x.shape}")
    n = len(given)
    shape = tuple(x.array.size for x in given)
    grids = [expand(reshape(x, (1,) * i + (-1,) + (1,) * (n - i - 1)), shape) for i, x in enumerate(given)]
    return tuple(transpose(g, 0, 1) for g in grids) if indexing == "xy" and n > 1 else tuple(grids)


def cartesian_prod(*tensors: Any) -> Tensor:
    """All combinations of one element of each vector, a row each."""
    given = _listed(tensors)
    if len(given) == 1:
        return given[0]  # type: ignore[no-any-return]
    return stack([ravel(g) for g in meshgrid(*given)], dim=1)


def combinations(input: Any, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All combinations of `r` elements of a vector, a row each."""
    if input.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(input.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        return make_tensor(np.empty(0, input.array.dtype), None)
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = np.array(list(choose(range(input.shape[0]), r)), dtype=np.int64).reshape(-1, r)
    return input[rows]  # type: ignore[no-any-return]


# ----- splitting --------------------------------------------------------------------------------------------------


def part(input: Any, axis: int, index: Any) -> Tensor:
    """`input[:, ..., index]`, the index at a (non-negative) axis."""
    return input[(slice(None),) * axis + (index,)]  # type: ignore[no-any-return]


def _pieces(input: Any, axis: int, bounds: Sequence[int]) -> tuple[Tensor, ...]:
    return tuple(part(input, axis, slice(a, b)) for a, b in itertools.pairwise(bounds))


def _axis_of(input: Any, dim: int, name: str) -> int:
    if input.ndim == 0:
        raise RuntimeError(f"{name} expects at least a 1-dimensional tensor")
    return normalize_axis(dim, input.ndim)


@numpy_names
def split(tensor: Any, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Consecutive parts along an axis, views: all of one size but the last, or of the given sizes.

    >>> import chainrule as cr
    >>> [x.shape for x in cr.zeros(5).split(2)]
    [(2,), (2,), (1,)]
    """
    axis = _axis_of(tensor, dim, "split")
    size = tensor.shape[axis]
    if not isinstance(split_size_or_sections, (tuple, list)):
        step = int(split_size_or_sections)
        if step < 0 or (step == 0 and size):
            raise RuntimeError(f"split expects split_size be non-negative, but got split_size={step} for size {size}")
        bounds = [*range(0, size, max(step, 1)), size] if size else [0, 0]
        return _pieces(tensor, axis, bounds)
    sections = [int(n) for n in split_size_or_sections]
    if builtins.sum(sections) != size or any(n < 0 for n in sections):
        raise RuntimeError(
            f"split_with_sizes expects split_sizes to sum exactly to {size} (input tensor's size at dimension {axis}), "
            f"but got split_sizes={sections}"
        )
    return _pieces(tensor, axis, [0, *itertools.accumulate(sections)])


@numpy_names
def _split_method(self: Tensor, split_size: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Consecutive parts along an axis, views: all of one size but the last, or of the given sizes."""
    return split(self, split_size, dim)


@numpy_names
def split_with_sizes(input: Any, split_sizes: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Consecutive parts of the given sizes along an axis."""
    return split(input, list(split_sizes), dim)


@numpy_names
def chunk(input: Any, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` consecutive parts along an axis, all of one size but the last; views."""
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    axis = _axis_of(input, dim, "chunk")
    size = input.shape[axis]
    if size == 0:
        return _pieces(input, axis, [0] * (chunks + 1))
    return split(input, -(-size // chunks), axis)


@numpy_names
def tensor_split(input: Any, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Consecutive parts along an axis: that many, of nearly one size, or cut at the given places; views."""
    axis = _axis_of(input, dim, "tensor_split")
    size = input.shape[axis]
    where = indices_or_sections
    if isinstance(where, (Tensor, np.ndarray)):
        where = where.tolist()
    if not isinstance(where, (tuple, list)):
        if where <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {where}")
        short, more = divmod(size, where)
        return _pieces(input, axis, [i * short + min(i, more) for i in range(where + 1)])
    cuts = [0, *(slice(int(i)).indices(size)[1] for i in where), size]
    return tuple(part(input, axis, slice(a, max(a, b))) for a, b in itertools.pairwise(cuts))


def _even_split(input: Any, where: Any, axis: int, name: str) -> tuple[Tensor, ...]:
    if input.ndim < max(axis, 0) + 1:
        raise RuntimeError(
            f"{name} requires a tensor with at least {axis + 1} dimension, but got a tensor with {input.ndim} "
            "dimensions!"
        )
    if isinstance(where, int) and (where <= 0 or input.shape[axis] % where):
        raise RuntimeError(
            f"{name} attempted to split along dimension {axis}, but the size of the dimension {input.shape[axis]} is "
            f"not divisible by the split_size {where}!"
        )
    return tensor_split(input, where, axis)


def hsplit(input: Any, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Parts along the second axis, or the only one: equal ones, or cut at the given places."""
    return _even_split(input, indices_or_sections, 0 if input.ndim == 1 else (1 if input.ndim else 0), "hsplit")


def vsplit(input: Any, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Parts along the first axis of a tensor of two axes or more."""
    if input.ndim < 2:
        raise RuntimeError(
            f"vsplit requires a tensor with at least 2 dimension, but got a tensor with {input.ndim} dimensions!"
        )
    return _even_split(input, indices_or_sections, 0, "vsplit")


def dsplit(input: Any, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Parts along the third axis."""
    return _even_split(input, indices_or_sections, 2, "dsplit")


@numpy_names
def unbind(input: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along an axis, without it; views.

    >>> import chainrule as cr
    >>> a, b = cr.zeros(2, 3).unbind()
    >>> a.shape
    (3,)
    """
    if input.ndim == 0:
        raise RuntimeError("Dimension specified as 0 but tensor has no dimensions")
    axis = normalize_axis(dim, input.ndim)
    return tuple(part(input, axis, i) for i in range(input.shape[axis]))


# ----- repeating, reversing, shifting -----------------------------------------------------------------------------

_tile = wrap_forward_fn(np.tile)
_flip_axes = wrap_forward_fn(_flip)
_roll = wrap_forward_fn(np.roll)


def repeat(input: Tensor, *counts: Any, repeats: Any = None) -> Tensor:
    """Copies of the tensor beside each other, that many along each axis; further axes are added in front.

    Raises:
        RuntimeError: fewer numbers than axes.
    """
    counts = as_sizes(counts, repeats)
    if len(counts) < input.ndim:
        raise RuntimeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor: "
            f"{len(counts)} < {input.ndim}"
        )
    return _tile(input, counts)  # type: ignore[no-any-return]


def tile(input: Any, *counts: Any, dims: Any = None) -> Tensor:
    """`repeat`, where missing numbers in front are ones."""
    return _tile(input, as_sizes(counts, dims))  # type: ignore[no-any-return]


@numpy_names
def repeat_interleave(
    input: Any, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Each element along an axis (of the flattened tensor, without `dim`) that many times in a row.

    Args:
        repeats: a number, or an integer tensor with one number for each element of the axis. Given only one tensor of
            counts, the result is the index that repeats so.
    """
    if repeats is None:
        counts = as_tensor_argument(input).array
        return make_tensor(np.repeat(np.arange(counts.shape[0]), counts), None)
    if dim is None:
        input, dim = ravel(input), 0
    if input.ndim == 0:
        input = reshape(input, (1,))
    axis = normalize_axis(dim, input.ndim)
    size = input.shape[axis]
    if isinstance(repeats, (Tensor, np.ndarray, list, tuple)):
        counts = np.asarray(repeats.array if isinstance(repeats, Tensor) else repeats)
        if counts.size != 1:
            if counts.size != size:
                raise RuntimeError(
                    f"repeats must have the same size as input along dim, but got {counts.size} and {size}"
                )
            return np.take(input, np.repeat(np.arange(size), counts), axis=axis)  # type: ignore[return-value]
        repeats = int(counts.item())
    if repeats < 0:
        raise RuntimeError(f"Repeats must be non-negative, got {repeats}")
    before, after = input.shape[: axis + 1], input.shape[axis + 1 :]
    copies = expand(unsqueeze(input, axis + 1), (*before, repeats, *after))
    result = reshape(copies, (*before[:-1], size * repeats, *after))
    return clone(result) if repeats == 1 or size == 1 else result  # which gives a view


@numpy_names
def flip(input: Any, *axes: Any, dims: Any = None, dim: Any = None) -> Tensor:
    """The elements in reverse order along the given axes; a copy.

    >>> import chainrule as cr
    >>> cr.arange(3).flip(0)
    Tensor(array([2, 1, 0]), requires_grad=False)
    """
    dims = axes if dims is None and dim is None else (dims if dim is None else dim,)
    return _flip_axes(input, normalize_axes(as_sizes(dims), input.ndim) if input.ndim else ())  # type: ignore[no-any-return]


def fliplr(input: Any) -> Tensor:
    """Columns in reverse order."""
    if input.ndim < 2:
        raise RuntimeError(f"Input must be >= 2-d, got shape {input.shape}")
    return flip(input, (1,))


def flipud(input: Any) -> Tensor:
    """Rows in reverse order."""
    if input.ndim < 1:
        raise RuntimeError(f"Input must be >= 1-d, got shape {input.shape}")
    return flip(input, (0,))


@numpy_names
def roll(input: Any, shifts: Any, dims: Any = None, *, dim: Any = None) -> Tensor:
    """The elements shifted along axes (of the flattened tensor, without `dims`); what falls off comes in again."""
    dims = dim if dims is None else dims
    shifts = tuple(shifts) if isinstance(shifts, (tuple, list)) else (shifts,)
    if dims is None or (isinstance(dims, (tuple, list)) and not dims):
        if len(shifts) != 1:
            raise RuntimeError(f"shifts and dimensions must align. shifts: {len(shifts)}, dims:0")
        return _roll(input, int(shifts[0]))  # type: ignore[no-any-return]
    dims = tuple(dims) if isinstance(dims, (tuple, list)) else (dims,)
    if len(shifts) != len(dims):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(dims)}")
    if not input.ndim:
        return clone(input)
    return _roll(input, tuple(int(s) for s in shifts), tuple(normalize_axis(d, input.ndim) for d in dims))  # type: ignore[no-any-return]


def rot90(input: Any, k: int = 1, dims: Any = (0, 1)) -> Tensor:
    """Turned `k` quarters from the first of two axes towards the second."""
    if len(dims) != 2 or input.ndim < 2:
        raise RuntimeError(
            f"rot90 expects two dims and a tensor of at least two, got dims {dims} and shape {input.shape}"
        )
    a, b = normalize_axes(tuple(dims), input.ndim)
    k %= 4
    if k == 0:
        return clone(input)
    if k == 2:
        return flip(input, (a, b))
    return transpose(flip(input, (b,)), a, b) if k == 1 else flip(transpose(input, a, b), (b,))


# ----- padding ----------------------------------------------------------------------------------------------------

_constant_pad_tensor = wrap_forward_fn(_constant_pad)
PAD_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def pad(input: Any, pad: Any, mode: str = "constant", value: Any = None) -> Tensor:
    """Further elements at the ends of the last axes.

    Args:
        pad: (before, after) for the last axis, then for the one before it, and so on; negative numbers cut off.
        mode: "constant" (with `value`, else 0), "reflect", "replicate" or "circular".

    >>> import chainrule as cr
    >>> cr.nn.functional.pad(cr.tensor([[1.0, 2.0]]), (1, 0))
    Tensor(array([[0., 1., 2.]], dtype=float32), requires_grad=False)
    """
    input = as_tensor_argument(input)
    numbers = as_sizes((pad,))
    ndim = input.ndim
    if len(numbers) % 2 or len(numbers) > 2 * ndim:
        raise RuntimeError(
            f"Padding length should be divisible by 2 and at most twice the number of dimensions of the input. "
            f"Padding length: {len(numbers)}, input shape {input.shape}"
        )
    pairs = [(numbers[i], numbers[i + 1]) for i in range(0, len(numbers), 2)]
    widths = [(0, 0)] * (ndim - len(pairs)) + pairs[::-1]
    for i, (before, after) in enumerate(widths):
        if input.shape[i] + before + after < 0:
            raise RuntimeError(
                f"The input size {input.shape[i]}, plus negative padding {before} and {after}, resulted in a negative "
                f"output size, which is invalid. Check dimension {i} of your input."
            )
    if mode != "replicate" and any(n < 0 for n in numbers):
        cut = tuple(
            slice(max(-before, 0), n - max(-after, 0)) for n, (before, after) in zip(input.shape, widths, strict=True)
        )
        input = input[cut]
        widths = [(max(before, 0), max(after, 0)) for before, after in widths]
    if mode == "constant":
        return _constant_pad_tensor(input, tuple(widths), 0 if value is None else value)  # type: ignore[no-any-return]
    if mode not in PAD_MODES:
        raise NotImplementedError(f"Unrecognised padding mode {mode}: use constant, reflect, replicate or circular")
    if value is not None and value != 0:
        raise ValueError(f'Padding mode "{mode}" doesn\'t take in value argument')
    return _pad_by_index(input, widths, PAD_MODES[mode])


_pad = pad  # for functions with an argument of that name


def _pad_by_index(input: Tensor, widths: Any, numpy_mode: Any) -> Tensor:
    """The padding whose elements are copies of the tensor's own, an axis at a time."""
    for axis, (before, after) in enumerate(widths):
        if before or after:
            size = input.shape[axis]
            if numpy_mode == "reflect" and max(before, after) >= size:
                raise RuntimeError(
                    f"Padding size should be less than the corresponding input dimension, but got: padding ({before}, "
                    f"{after}) at dimension {axis} of input {list(input.shape)}"
                )
            if numpy_mode == "edge":
                if not size:
                    raise RuntimeError(f"replicate padding of axis {axis}, which is empty: input shape {input.shape}")
                index = np.clip(np.arange(-before, size + after), 0, size - 1)
            else:
                index = np.pad(np.arange(size), (before, after), mode=numpy_mode)
            input = np.take(input, index, axis=axis)  # type: ignore[assignment]
    return input


def constant_pad_nd(input: Any, pad: Any, value: Any = 0) -> Tensor:
    """`nn.functional.pad` with a constant."""
    return _pad(input, pad, "constant", value)


# ----- diagonals, triangles, windows ------------------------------------------------------------------------------

_diagonal_of = wrap_forward_fn(_diagonal, view=True)
_diagonal_from = wrap_forward_fn(_place_diagonal)
_tril = wrap_forward_fn(np.tril)
_triu = wrap_forward_fn(np.triu)
_windows = wrap_forward_fn(_unfold, view=True)
_strided = wrap_forward_fn(_as_strided, view=True)
for _function in (_fold, _place_strided):
    wrap_forward_fn(_function)


def _two_axes(dim1: int, dim2: int, ndim: int) -> tuple[int, int]:
    axis1, axis2 = normalize_axis(dim1, ndim), normalize_axis(dim2, ndim)
    if axis1 == axis2:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return axis1, axis2


def diagonal(input: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The elements of a diagonal of two axes, as a last axis; a view.

    >>> import chainrule as cr
    >>> cr.arange(6).reshape(2, 3).diagonal(1)
    Tensor(array([1, 5]), requires_grad=False)
    """
    return _diagonal_of(input, offset, *_two_axes(dim1, dim2, input.ndim))  # type: ignore[no-any-return]


def diag_embed(input: Any, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Zeros with the last axis of the tensor on a diagonal of two new axes."""
    size = input.shape[-1] + abs(offset)
    axis1, axis2 = _two_axes(dim1, dim2, input.ndim + 1)
    rest = iter(input.shape[:-1])
    shape = tuple(size if i in (axis1, axis2) else next(rest) for i in range(input.ndim + 1))
    return _diagonal_from(input, shape, offset, axis1, axis2)  # type: ignore[no-any-return]


def diag(input: Any, diagonal: int = 0) -> Tensor:
    """A matrix's diagonal (a copy), or the matrix with a vector on its diagonal.

    Raises:
        RuntimeError: neither a vector nor a matrix.
    """
    if input.ndim == 1:
        return diag_embed(input, diagonal)
    if input.ndim == 2:
        return clone(_diagonal_of(input, diagonal, 0, 1))
    raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input.ndim}D (shape {input.shape})")


def diagflat(input: Any, offset: int = 0) -> Tensor:
    """The matrix with all elements on a diagonal."""
    return diag_embed(ravel(input), offset)


def trace(input: Any) -> Tensor:
    """The sum of a matrix's diagonal."""
    if input.ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {input.ndim} (shape {input.shape})")
    return np.sum(diagonal(input))  # type: ignore[no-any-return]


def _matrix_axes(input: Any, name: str) -> None:
    if input.ndim < 2:
        raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions, got shape {input.shape}")


def tril(input: Any, diagonal: int = 0) -> Tensor:
    """Zero above a diagonal of the last two axes."""
    _matrix_axes(input, "tril")
    return _tril(input, diagonal)  # type: ignore[no-any-return]


def triu(input: Any, diagonal: int = 0) -> Tensor:
    """Zero below a diagonal of the last two axes."""
    _matrix_axes(input, "triu")
    return _triu(input, diagonal)  # type: ignore[no-any-return]


def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """All windows of `size` elements along an axis, `step` apart, as a last axis; a view.

    >>> import chainrule as cr
    >>> cr.arange(5).unfold(0, 3, 2).tolist()
    [[0, 1, 2], [2, 3, 4]]
    """
    axis = normalize_axis(dimension, input.ndim)
    length = input.shape[axis] if input.ndim else 1
    if not 0 <= size <= length:
        raise RuntimeError(f"maximum size for tensor at dimension {dimension} is {length} but size is {size}")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    if not input.ndim:
        return reshape(input, (size,)) if size else reshape(input, (1,))[:0]
    if size == 0:
        windows = expand(
            unsqueeze(part(input, axis, slice(0, 1)), -1), (*input.shape[:axis], 1, *input.shape[axis + 1 :], 1)
        )
        return expand(windows, (*input.shape[:axis], length // step + 1, *input.shape[axis + 1 :], 1))[..., :0]
    return _windows(input, axis, size, step)  # type: ignore[no-any-return]


def as_strided(input: Any, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """The view of a contiguous tensor's memory with a shape, strides and an offset (in elements) of one's own.

    Raises:
        RuntimeError: the tensor is not contiguous, or the view would leave its memory.
    """
    size, stride, offset = as_sizes((size,)), as_sizes((stride,)), storage_offset or 0
    if not is_contiguous(input):
        raise RuntimeError(f"as_strided: the tensor of shape {input.shape} is not contiguous; use contiguous() first")
    last = offset + builtins.sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if math.prod(size) and (offset < 0 or min(stride, default=0) < 0 or last >= input.array.size):
        raise RuntimeError(
            f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {offset} are out of bounds for "
            f"memory of {input.array.size} elements"
        )
    return _strided(input, size, stride, offset)  # type: ignore[no-any-return]


# ----- copies and writes --------------------------------------------------------------------------------------------


def clone(input: Any, *, memory_format: Any = None) -> Tensor:
    """A copy; the gradient goes through."""
    return _copy(input)  # type: ignore[no-any-return]


def contiguous(input: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor itself if its elements lie in memory in order, otherwise a copy in which they do."""
    return input if is_contiguous(input) else _copy(input, order="C")


def is_contiguous(input: Tensor, memory_format: Any = None) -> bool:
    """Whether the elements lie in memory in order."""
    flags = getattr(input.array, "flags", None)
    return True if flags is None else bool(flags.c_contiguous)


def fill(input: Any, value: Any) -> Tensor:
    """A tensor like `input` that holds one number."""
    if isinstance(value, Tensor):
        if value.ndim:
            raise RuntimeError(
                f"fill only supports 0-dimension value tensor but got tensor with {value.ndim} dimensions."
            )
        value = value if value.array.dtype == input.array.dtype else cast(value, input.array.dtype)
        return clone(_fill_like(input, value))
    if isinstance(value, np.generic):
        value = value.item()
    if is_array(value) and not value.ndim:
        return fill(input, make_tensor(value, None))
    if not isinstance(value, (bool, int, float, complex)):
        raise TypeError(f"fill expects a number or a 0-d tensor, got {type(value).__name__}")
    wanted = make_tensor(numbers_as(value, input.array.dtype), None)
    return clone(_fill_like(input, wanted))


def fill_(self: Tensor, value: Any) -> Tensor:
    """Write one number everywhere; returns the tensor."""
    return write_in_place(self, "fill_", lambda before: fill(before, value))


def zero_(self: Tensor) -> Tensor:
    """Write zeros everywhere; returns the tensor."""
    return write_in_place(self, "zero_", lambda before: fill(before, 0))


def copy_(self: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """Write another tensor's values, broadcast and cast, into this one; returns it."""
    source = as_tensor_argument(src)
    if source.array.dtype != self.array.dtype:
        source = cast(source, self.array.dtype)
    source = expand(source, self.shape)
    return write_in_place(self, "copy_", lambda before: _fill_like(before, source))


def set_(self: Tensor, source: Any = None) -> Tensor:
    """Take another tensor's memory.

    Raises:
        RuntimeError: the tensor is part of a graph.
    """
    if self.requires_grad:
        raise RuntimeError("set_() on a tensor that requires grad is not possible: assign to .data, or use copy_()")
    self.data = Tensor([]) if source is None else source
    return self


def _reshaped_in_place(operation: Any, name: str) -> Any:
    """The in-place form of a view: this tensor itself becomes the view of what it was."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if self.requires_grad and self.is_leaf:
            raise RuntimeError(f"a leaf Variable that requires grad is being used in an in-place operation ({name})")
        alias = self._alias
        if alias is not None and alias.base is None and alias.storage.viewed:
            raise RuntimeError(
                f"{name}: other tensors may share this tensor's memory, in its shape {self.shape}; use "
                f"{name[:-1]}() and give the result a name"
            )
        before = make_tensor(self.array, self.node(), alias)
        token = None if before._node is None else mode.set(recording_mode())  # no number changes, whatever the mode
        try:
            result = operation(before, *args, **kwargs)
        finally:
            if token is not None:
                mode.reset(token)
        self.array, self._node, self._alias = result.array, result._node, result._alias
        return self

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"`{name[:-1]}`, of this tensor itself; returns it."
    return method


def stride(self: Tensor, dim: int | None = None) -> Any:
    """The distance in memory, in elements, from one element to the next along each axis, or along one."""
    strides = tuple(s // self.array.itemsize for s in self.array.strides)
    return strides if dim is None else strides[normalize_axis(dim, len(strides))]


# ----- methods ----------------------------------------------------------------------------------------------------

attach(view, view_as, reshape_as, flatten, unflatten, ravel, squeeze, unsqueeze, transpose, swapaxes, swapdims, t)
attach(
    adjoint, movedim, moveaxis, broadcast_to, expand, expand_as, repeat, tile, repeat_interleave, flip, fliplr, flipud
)
attach(roll, rot90, split_with_sizes, chunk, tensor_split, hsplit, vsplit, dsplit, unbind, diagonal, diag_embed)
attach(
    diag, diagflat, trace, tril, triu, unfold, as_strided, clone, contiguous, is_contiguous, fill_, zero_, copy_, set_
)
attach(stride)
attach(reshape=reshape, permute=permute, split=_split_method)
for _name, _getter in (
    ("T", _reversed),
    ("mT", _matrix_transpose),
    ("mH", adjoint),
    ("H", _hermitian),
):
    setattr(Tensor, _name, property(_getter))
for _view in (squeeze, unsqueeze, transpose, swapaxes, swapdims, t):
    attach(**{f"{_view.__name__}_": _reshaped_in_place(_view, f"{_view.__name__}_")})
attach_in_place(tril, triu)
