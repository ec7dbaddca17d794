"""Taking elements along an axis by computed positions: what sorting, medians and running extremes stand on.

`take_along` and `add_along` are each other's transpose; `permute_along` is the case in which the positions are a
permutation, `select` the case of one position for each line.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.forward import array_function, wrap_forward_fn
from ..core.table import backward

# ----- the table ------------------------------------------------------------------------------------------------------


def positions(size: int, axis: int, ndim: int) -> Any:
    """`arange(size)` along one of `ndim` axes."""
    return np.reshape(np.arange(size), [-1 if i == axis % ndim else 1 for i in range(ndim)])


@array_function
def take_along(x: Any, indices: Any, axis: int) -> Any:
    """`out[.., i, ..] = x[.., indices[.., i, ..], ..]` along an axis; the other axes are those of `x`."""
    return np.take_along_axis(x, indices, axis)


@array_function
def add_along(values: Any, indices: Any, size: int, axis: int) -> Any:
    """Zeros of length `size` along an axis, with `values` added at `indices`: the transpose of `take_along`."""
    if type(values) is np.ndarray and type(indices) is np.ndarray:
        axis = axis % values.ndim
        out = np.zeros((*values.shape[:axis], size, *values.shape[axis + 1 :]), values.dtype)
        grid = list(np.ogrid[tuple(slice(n) for n in values.shape)])
        grid[axis] = indices
        np.add.at(out, tuple(grid), values)
        return out
    lead = np.moveaxis(values, axis, -1)
    one_hot = np.expand_dims(np.moveaxis(indices, axis, -1), -1) == np.arange(size)
    return np.moveaxis(np.sum(np.where(one_hot, np.expand_dims(lead, -1), 0), axis=-2), -1, axis)


@backward(take_along, 0)
def take_along_back(grad_out: Any, out: Any, x: Any, indices: Any, axis: int) -> Any:
    r"""$\nabla_{x_j} L = \sum_{i: indices_i = j} \nabla_{out_i} L$"""
    return add_along(grad_out, indices, x.shape[axis], axis)


@backward(add_along, 0)
def add_along_back(grad_out: Any, out: Any, values: Any, indices: Any, size: int, axis: int) -> Any:
    r"""$\nabla_{values_i} L = \nabla_{out_{indices_i}} L$"""
    return take_along(grad_out, indices, axis)


@array_function
def permute_along(x: Any, indices: Any, axis: int) -> Any:
    """`take_along` where each line of `indices` is a permutation."""
    return np.take_along_axis(x, indices, axis)


@backward(permute_along, 0)
def permute_along_back(grad_out: Any, out: Any, x: Any, indices: Any, axis: int) -> Any:
    r"""$\nabla_{x_{indices_i}} L = \nabla_{out_i} L$"""
    return permute_along(grad_out, np.argsort(indices, axis=axis), axis)


@array_function
def select(x: Any, indices: Any, axis: int, keepdims: bool = False) -> Any:
    """One element of each line of `x` along an axis: `out = x[.., indices, ..]`; `indices` lacks that axis."""
    if type(x) is np.ndarray and x.ndim == 2 and type(indices) is np.ndarray:
        lines = np.arange(indices.shape[0])
        out = x[lines, indices] if axis % 2 else x[indices, lines]
        return out.reshape((-1, 1) if axis % 2 else (1, -1)) if keepdims else out
    out = np.take_along_axis(x, np.expand_dims(indices, axis), axis)
    return out if keepdims else np.squeeze(out, axis)


@backward(select, 0)
def select_back(grad_out: Any, out: Any, x: Any, indices: Any, axis: int, keepdims: bool = False) -> Any:
    r"""$\nabla_{x_j} L = [j = indices] \nabla_{out} L$"""
    chosen = np.expand_dims(indices, axis) == positions(x.shape[axis], axis, len(x.shape))
    return np.where(chosen, grad_out if keepdims else np.expand_dims(grad_out, axis), 0)


# ----- the operations -------------------------------------------------------------------------------------------------

take_along_tensor = wrap_forward_fn(take_along)
add_along_tensor = wrap_forward_fn(add_along)
permute_along_tensor = wrap_forward_fn(permute_along)
select_tensor = wrap_forward_fn(select)
