"""What depends on order: sorting, the k largest, medians, quantiles, extremes with their positions, counting values.

Positions have no derivative. They are computed on the arrays; the values are then taken from the tensor at those
positions, so the gradient goes back to exactly the elements that were chosen (`selection.py`).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..core.dtypes import default_float, refuse_complex
from ..core.forward import TENSOR_FUNCS, array_function, cast, implements, wrap_forward_fn
from ..core.table import backward
from ..core.tensor import Tensor, make_tensor
from ..core.tracing import as_it_is
from .common import as_tensor_argument, attach, normalize_axis, numpy_names
from .indexing import index_add
from .reduction import _max, _min, need_elements, reduced_axis, ties_back
from .selection import permute_along_tensor, select_tensor, take_along_tensor

__all__ = [
    "argmax",
    "argmin",
    "argsort",
    "bincount",
    "bucketize",
    "histc",
    "kthvalue",
    "max",
    "median",
    "min",
    "mode",
    "msort",
    "nanmedian",
    "nanquantile",
    "quantile",
    "searchsorted",
    "sort",
    "topk",
    "unique",
    "unique_consecutive",
]


class ValuesIndices(NamedTuple):
    """The results of operations that say where they found their values."""

    values: Tensor
    indices: Tensor


def constant(array: Any) -> Tensor:
    """A tensor for an array that no gradient reaches."""
    return make_tensor(np.asarray(array) if isinstance(array, np.generic) else array, None)


# ----- the table: the middle of all elements --------------------------------------------------------------------------


@array_function
def lower_median(x: Any) -> Any:
    """The middle element of all, the lower one of two; NaN if there is one."""
    n = math.prod(x.shape)
    flat = np.sort(np.reshape(x, (-1,)))
    return np.where(np.isnan(flat[-1]), flat[-1], flat[(n - 1) // 2]) if x.dtype.kind == "f" else flat[(n - 1) // 2]


@array_function
def lower_nanmedian(x: Any) -> Any:
    """The middle element, the lower one of two, of all that are numbers; NaN if there are none."""
    flat = np.sort(np.reshape(x, (-1,)))
    numbers = np.sum(~np.isnan(flat))
    return np.take(flat, np.maximum(numbers - 1, 0) // 2)


def median_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_{x_i} L = \frac{[x_i = out]}{\sum_j [x_j = out]} \nabla_{out} L$: equal elements share evenly"""
    return ties_back(grad_out, out, x)


backward(lower_median, 0)(median_back)
backward(lower_nanmedian, 0)(median_back)
_lower_median = wrap_forward_fn(lower_median)
_lower_nanmedian = wrap_forward_fn(lower_nanmedian)

# ----- extremes -------------------------------------------------------------------------------------------------------


def _arg(function: Any, input: Any, dim: int | None, keepdim: bool, name: str) -> Any:
    """Positions of extremes as an int64 array."""
    array = as_tensor_argument(input).array
    refuse_complex(name, array)
    axis = reduced_axis(dim, array.ndim)
    need_elements(array, axis, name, IndexError)
    return function(array, axis=axis, keepdims=keepdim)


@numpy_names
def argmax(input: Any, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the largest element is, along an axis or in the flattened tensor; the first of equal ones.

    Raises:
        IndexError: there is no element to choose.
    """
    return constant(_arg(np.argmax, input, dim, keepdim, "argmax"))


@numpy_names
def argmin(input: Any, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the smallest element is, along an axis or in the flattened tensor; the first of equal ones.

    Raises:
        IndexError: there is no element to choose.
    """
    return constant(_arg(np.argmin, input, dim, keepdim, "argmin"))


def _chosen(input: Any, indices: Any, axis: int, keepdim: bool) -> ValuesIndices:
    """The elements at `indices`, one for each line along `axis`."""
    chosen: Any = constant(indices)  # given as a tensor, so that a write to it is noticed at backward
    values = select_tensor(input, chosen, axis, keepdim)
    if keepdim:
        chosen = np.expand_dims(chosen, axis)
    return ValuesIndices(values, chosen)


def _no_axes(input: Any) -> ValuesIndices:
    """The answer for a tensor without axes: a copy, at position 0."""
    return ValuesIndices(TENSOR_FUNCS[np.copy](input), constant(np.zeros((), np.int64)))


def _extreme(input: Any, dim: Any, keepdim: bool, name: str) -> Any:
    full, elementwise, position = (_max, np.maximum, np.argmax) if name == "max" else (_min, np.minimum, np.argmin)
    input = as_tensor_argument(input)
    refuse_complex(name, input.array)
    if dim is None:
        need_elements(input, None, name)
        return full(input)
    if isinstance(dim, (Tensor, np.ndarray)):
        return TENSOR_FUNCS[elementwise](input, dim)
    axis = normalize_axis(int(dim), input.ndim)
    if not input.ndim:
        return _no_axes(input)
    need_elements(input, axis, name)
    return _chosen(input, position(input.array, axis=axis), axis, keepdim)


@numpy_names
def max(input: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """The largest of all elements; along `dim` as a named tuple (values, indices); or of two tensors, elementwise.

    Equal elements share the gradient evenly, except along `dim`, where it goes to the one that `indices` names.

    Raises:
        RuntimeError, IndexError: there is no element to choose.

    >>> import chainrule as cr
    >>> x = cr.tensor([[1.0, 5.0], [7.0, 2.0]])
    >>> cr.max(x).item(), cr.max(x, 1).indices.tolist(), cr.max(x, cr.tensor(3.0)).tolist()
    (7.0, [1, 0], [[3.0, 5.0], [7.0, 3.0]])
    """
    return _extreme(input, dim if other is None else as_tensor_argument(other), keepdim, "max")


@numpy_names
def min(input: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """The smallest of all elements; along `dim` as a named tuple (values, indices); or of two tensors, elementwise.

    Raises:
        RuntimeError, IndexError: there is no element to choose.
    """
    return _extreme(input, dim if other is None else as_tensor_argument(other), keepdim, "min")


# ----- sorting --------------------------------------------------------------------------------------------------------


def _order(x: Any, axis: int, descending: bool) -> Any:
    """The positions of a stable sort; NaN counts as largest."""
    refuse_complex("sort", x)
    if not descending:
        return np.argsort(x, axis=axis, stable=True)
    backwards = np.argsort(np.flip(x, axis), axis=axis, stable=True)
    return np.flip(x.shape[axis] - 1 - backwards, axis)


@numpy_names
def sort(input: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> ValuesIndices:
    """The elements in order along an axis, and where they were: a named tuple (values, indices). Always stable.

    >>> import chainrule as cr
    >>> cr.sort(cr.tensor([3.0, 1.0, 2.0])).indices.tolist()
    [1, 2, 0]
    """
    input = as_tensor_argument(input)
    refuse_complex("sort", input.array)
    axis = normalize_axis(dim, input.ndim)
    if not input.ndim:
        return _no_axes(input)
    indices = constant(_order(input.array, axis, descending))
    return ValuesIndices(permute_along_tensor(input, indices, axis), indices)


@numpy_names
def argsort(input: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """The positions that sort the tensor along an axis."""
    array = as_tensor_argument(input).array
    axis = normalize_axis(dim, array.ndim)
    return constant(_order(array, axis, descending) if array.ndim else np.zeros((), np.int64))


def msort(input: Any) -> Tensor:
    """The tensor sorted along its first axis."""
    return sort(input, 0).values


@numpy_names
def topk(input: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> ValuesIndices:
    """The k largest (smallest) elements along an axis in order, and where they are: a named tuple (values, indices).

    Raises:
        RuntimeError: the axis has fewer than `k` elements.
    """
    input = as_tensor_argument(input)
    refuse_complex("topk", input.array)
    k = int(k)
    axis = normalize_axis(dim, input.ndim)
    n = input.shape[axis] if input.ndim else 1
    if not 0 <= k <= n:
        raise RuntimeError(f"selected index k out of range: k is {k}, dimension {dim} has {n} elements")
    if not input.ndim:
        return _no_axes(input)
    x = input.array
    first = (slice(None),) * axis + (slice(0, k),)
    if 0 < k < n and n > 512:  # a partition finds them in linear time; only they are then sorted
        last = (slice(None),) * axis + (slice(n - k, n),)
        found = np.argpartition(x, n - k, axis=axis)[last] if largest else np.argpartition(x, k - 1, axis=axis)[first]
        order = _order(np.take_along_axis(x, found, axis), axis, largest)
        indices = np.take_along_axis(found, order, axis)
    else:
        indices = _order(x, axis, largest)[first]
    chosen = constant(indices)
    return ValuesIndices(take_along_tensor(input, chosen, axis), chosen)


@numpy_names
def kthvalue(input: Any, k: int, dim: int = -1, keepdim: bool = False) -> ValuesIndices:
    """The k-th smallest element (1 is the smallest) along an axis, and where it is.

    Raises:
        RuntimeError: `k` is not between 1 and the number of elements.
    """
    input = as_tensor_argument(input)
    axis = normalize_axis(dim, input.ndim)
    n = input.shape[axis] if input.ndim else 1
    if input.ndim:
        need_elements(input, axis, "kthvalue")
    if not 1 <= k <= n:
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {dim}: k is {k}, size {n}")
    if not input.ndim:
        return _no_axes(input)
    return _chosen(input, np.take(_order(input.array, axis, False), k - 1, axis=axis), axis, keepdim)


# ----- medians, modes, quantiles --------------------------------------------------------------------------------------


def _median(input: Any, dim: Any, keepdim: bool, skip_nan: bool) -> Any:
    input = as_tensor_argument(input)
    x = input.array
    refuse_complex("median", x)
    if dim is None:
        if not math.prod(x.shape):
            return constant(np.full((), np.nan, x.dtype))
        return (_lower_nanmedian if skip_nan else _lower_median)(input)
    axis = normalize_axis(int(dim), input.ndim)
    if not input.ndim:
        return _no_axes(input)
    need_elements(input, axis, "median")
    n = x.shape[axis]
    order = _order(x, axis, False)
    numbers = np.sum(~np.isnan(x), axis=axis, keepdims=True)
    place = np.maximum(numbers - 1, 0) // 2
    if not skip_nan:
        place = np.where(numbers < n, numbers, place)  # the first NaN
    indices = np.squeeze(np.take_along_axis(order, place, axis), axis)
    return _chosen(input, indices, axis, keepdim)


@numpy_names
def median(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle element, the lower one of two (NumPy's `np.median` takes their mean); NaN if there is one.

    Of all elements as a tensor; along `dim` as a named tuple (values, indices).
    """
    return _median(input, dim, keepdim, skip_nan=False)


@numpy_names
def nanmedian(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """`median` of the elements that are numbers."""
    return _median(input, dim, keepdim, skip_nan=True)


@numpy_names
def mode(input: Any, dim: int = -1, keepdim: bool = False) -> ValuesIndices:
    """The most frequent element along an axis, the smallest of several, and where it was last."""
    input = as_tensor_argument(input)
    refuse_complex("mode", input.array)
    axis = normalize_axis(dim, input.ndim)
    if not input.ndim:
        return _no_axes(input)
    need_elements(input, axis, "mode")
    x = np.moveaxis(input.array, axis, -1)
    order = np.argsort(x, axis=-1, stable=True)
    ordered = np.take_along_axis(x, order, -1)
    place = np.arange(x.shape[-1])
    first = np.ones_like(ordered[..., :1], dtype=bool)
    starts = np.concatenate((first, ordered[..., 1:] != ordered[..., :-1]), axis=-1)
    length = place - np.maximum.accumulate(np.where(starts, place, 0), axis=-1)  # of the run of equals up to here
    last = np.argmax(length, axis=-1)  # the first run that gets longest: the smallest value
    indices = np.squeeze(np.take_along_axis(order, np.expand_dims(last, -1), -1), -1)
    return _chosen(input, indices, axis, keepdim)


INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


def _quantile(input: Any, q: Any, dim: Any, keepdim: bool, interpolation: str, skip_nan: bool) -> Tensor:
    input = as_tensor_argument(input)
    name = "nanquantile" if skip_nan else "quantile"
    if input.array.dtype.kind != "f":
        raise RuntimeError(f"{name}() input tensor must be either float or double dtype, got {input.dtype}")
    if interpolation not in INTERPOLATIONS:
        raise RuntimeError(
            f"{name}() interpolation must be one of {', '.join(INTERPOLATIONS)}, but got {interpolation!r}"
        )
    if not math.prod(input.shape):
        raise RuntimeError(f"{name}() input tensor must be non-empty, got shape {input.shape}")
    q = q if isinstance(q, Tensor) else constant(np.asarray(q, input.array.dtype))
    if q.ndim > 1:
        raise RuntimeError(f"{name}() q must be a scalar or 1D tensor, got shape {q.shape}")
    if q.array.dtype != input.array.dtype:
        raise RuntimeError(f"{name}() q tensor must be same dtype as the input tensor: {q.dtype} and {input.dtype}")
    if np.any((q.array < 0) | (q.array > 1)):
        raise RuntimeError(f"{name}() q values must be in the range [0, 1], got {q.tolist()}")
    ndim = input.ndim
    axis = -1 if dim is None else normalize_axis(int(dim), ndim)
    lines: Any = np.reshape(input, (-1,)) if dim is None or not ndim else np.moveaxis(input, axis, -1)
    ordered = sort(lines, -1).values
    values = ordered.array
    numbers = np.sum(~np.isnan(values), axis=-1, keepdims=True)
    count = numbers if skip_nan else np.full_like(numbers, values.shape[-1])
    ranks = np.reshape(q, (-1,)) * np.maximum(count - 1, 0).astype(values.dtype)  # (..., number of q)
    place = ranks.array
    if interpolation in ("lower", "higher", "nearest"):
        rounding: dict[str, Any] = {"lower": np.floor, "higher": np.ceil, "nearest": np.round}
        rounded = rounding[interpolation](place)
        result = take_along_tensor(ordered, rounded.astype(np.int64), -1)
    else:
        below = take_along_tensor(ordered, np.floor(place).astype(np.int64), -1)
        above = take_along_tensor(ordered, np.ceil(place).astype(np.int64), -1)
        weight = ranks - np.floor(place) if interpolation == "linear" else 0.5
        result = below + (above - below) * weight
    if not skip_nan:
        result = np.where(numbers < values.shape[-1], math.nan, result)
    result = np.moveaxis(result, -1, 0)  # (number of q, ...)
    if keepdim and ndim:
        kept = (1,) * ndim if dim is None else tuple(1 if i == axis else n for i, n in enumerate(input.shape))
        result = np.reshape(result, (-1, *kept))
    elif dim is None or not ndim:
        result = np.reshape(result, (-1,))
    return result[0] if q.ndim == 0 else result  # type: ignore[no-any-return]


@numpy_names
def quantile(
    input: Any, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """The q-th quantiles (0 <= q <= 1) along an axis or of all elements; several q make a leading axis.

    Raises:
        RuntimeError: the input is empty or not floating; q is out of range; unknown `interpolation`.

    >>> import chainrule as cr
    >>> cr.quantile(cr.tensor([0.0, 1.0, 2.0]), 0.25).item()
    0.5
    """
    return _quantile(input, q, dim, keepdim, interpolation, skip_nan=False)


@numpy_names
def nanquantile(
    input: Any, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """`quantile` of the elements that are numbers."""
    return _quantile(input, q, dim, keepdim, interpolation, skip_nan=True)


# ----- searching and counting: no derivatives -------------------------------------------------------------------------


def searchsorted(
    sorted_sequence: Any,
    input: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Any = None,
) -> Tensor:
    """Where each element of `input` would have to be inserted into a sorted sequence to keep its order.

    Args:
        sorted_sequence: (n,), or (..., n) with the leading axes of `input`.
        input: (..., m) tensor or a number.
        out_int32: give int32 positions instead of int64.
        right: insert behind equal elements.
        side: "left" or "right", as `right`.
        sorter: positions that sort `sorted_sequence`.

    Raises:
        RuntimeError: the leading axes differ; `side` and `right` contradict each other.
    """
    if side not in (None, "left", "right"):
        raise RuntimeError(f"searchsorted(): side can only be 'left' or 'right' but got {side}")
    if right and side == "left":
        raise RuntimeError("searchsorted(): side and right can't be opposites, got side='left' and right=True")
    sequence, values = as_tensor_argument(sorted_sequence).array, as_tensor_argument(input).array
    if sorter is not None:
        sequence = np.take_along_axis(sequence, as_tensor_argument(sorter).array, -1)
    where: Any = "right" if right or side == "right" else "left"
    if sequence.ndim <= 1:
        found = np.searchsorted(sequence, values, side=where)
    else:
        if sequence.shape[:-1] != values.shape[:-1]:
            raise RuntimeError(
                "searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries "
                f"tensor and input value tensor must match, but we got {sequence.shape} and {values.shape}"
            )
        found = np.empty(values.shape, np.int64)
        for line in np.ndindex(*sequence.shape[:-1]):
            found[line] = np.searchsorted(sequence[line], values[line], side=where)
    return constant(as_it_is(found).astype(np.int32 if out_int32 else np.int64))


def bucketize(input: Any, boundaries: Any, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """The number of the bucket between sorted `boundaries` that each element falls into."""
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


def histc(input: Any, bins: int = 100, min: Any = 0, max: Any = 0) -> Tensor:
    """How many elements fall into each of `bins` equal parts of [min, max] (of the data's range if they are equal).

    Raises:
        RuntimeError: the input has integers, `bins` is not positive, or `max` is smaller than `min`.
    """
    array = as_tensor_argument(input).array
    if array.dtype.kind != "f":
        raise RuntimeError(f"histc: expected a floating point tensor, got {array.dtype}")
    if bins <= 0:
        raise RuntimeError(f"bins must be > 0, but got {bins}")
    low, high = float(min), float(max)
    if low == high and array.size:
        low, high = float(array.min()), float(array.max())
    if low == high:
        low, high = low - 1, high + 1
    if low > high:
        raise RuntimeError(f"max must be larger than min, got min {low} and max {high}")
    if not (math.isfinite(low) and math.isfinite(high)):
        raise RuntimeError(f"range of [{low}, {high}] is not finite")
    return constant(np.histogram(array, bins, (low, high))[0].astype(array.dtype))


def _added_up(weights: Tensor, places: Any, length: int) -> Tensor:
    """The sums of the weights that have the same place, for weights that need a gradient."""
    if weights.array.shape != places.shape:
        raise RuntimeError(f"weights should have the same shape as the input, {places.shape}, got {weights.shape}")
    kind = weights.array.dtype if weights.array.dtype.kind == "f" else np.float64
    nothing = constant(np.zeros(length, kind))
    return index_add(nothing, 0, constant(places), weights)


def bincount(input: Any, weights: Any = None, minlength: int = 0) -> Tensor:
    """How often each of 0, 1, 2, ... occurs in a 1-D tensor, or the sum of the `weights` at its places.

    Raises:
        RuntimeError: the input is not 1-D, of integers that are not negative.
    """
    array = as_tensor_argument(input).array
    if array.ndim != 1 or array.dtype.kind not in "iu" or (array.size and array.min() < 0):
        raise RuntimeError(f"bincount only supports 1-d non-negative integral inputs, got {array.dtype}{array.shape}")
    if isinstance(weights, Tensor) and weights.requires_grad:
        length = int(np.max(array, initial=minlength - 1)) + 1
        sums: Any = _added_up(weights, array, length)
        return sums.to(np.float32 if weights.array.dtype == np.float32 else np.float64)  # type: ignore[no-any-return]
    given = None if weights is None else as_tensor_argument(weights).array
    counts = np.bincount(array, given, minlength)
    return constant(counts.astype(given.dtype) if given is not None and given.dtype == np.float32 else counts)


def unique(
    input: Any,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The different elements in order (slices along `dim`); on request where each came from, and how often."""
    input = as_tensor_argument(input)
    array = input.array
    axis = None if dim is None else normalize_axis(dim, array.ndim)
    values, inverse, counts = np.unique(array, return_inverse=True, return_counts=True, axis=axis)
    inverse = inverse.reshape(array.shape if axis is None else (-1,))
    results = [constant(inverse)] * return_inverse + [constant(counts)] * return_counts
    found = _different(input, values, axis)
    return (found, *results) if results else found


def _different(input: Tensor, values: Any, axis: int | None) -> Tensor:
    """What `np.unique` has found; where a gradient is needed, each value is taken from its first place."""
    if not input.requires_grad:
        return constant(values)
    first = np.unique(input.array, return_index=True, axis=axis)[1]
    return _taken(input, first, axis)


def _taken(input: Tensor, index: Any, axis: int | None) -> Tensor:
    """The elements of a flattened tensor, or its slices along an axis."""
    result: Any = np.take(np.reshape(input, (-1,)) if axis is None else input, index, axis=axis or 0)
    return result  # type: ignore[no-any-return]


def unique_consecutive(
    input: Any, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The first element (slice along `dim`) of every run of equal ones; on request its number and length."""
    input = as_tensor_argument(input)
    array = input.array
    lines = array.reshape(-1, 1) if dim is None else np.moveaxis(array, normalize_axis(dim, array.ndim), 0)
    flat = lines.reshape(lines.shape[0], -1)
    starts = np.ones(len(flat), bool)
    starts[1:] = np.any(flat[1:] != flat[:-1], axis=1)
    first = np.flatnonzero(starts)
    inverse = np.cumsum(starts) - 1
    counts = np.diff(np.append(first, len(flat)))
    results: list[Any] = [_taken(input, first, None if dim is None else normalize_axis(dim, array.ndim))]
    if return_inverse:
        results.append(constant(inverse.reshape(array.shape) if dim is None else inverse))
    if return_counts:
        results.append(constant(counts))
    return tuple(results) if len(results) > 1 else results[0]


attach(max, min, argmax, argmin, sort, argsort, msort, topk, kthvalue, median, nanmedian, mode, quantile, nanquantile)
attach(histc, bincount, unique, unique_consecutive)

# ----- NumPy's names, signatures and defaults -------------------------------------------------------------------------


@implements(np.argmax)
def _numpy_argmax(a: Any, axis: int | None = None, out: None = None, *, keepdims: bool = False) -> Tensor:
    return argmax(a, axis, keepdims)


@implements(np.argmin)
def _numpy_argmin(a: Any, axis: int | None = None, out: None = None, *, keepdims: bool = False) -> Tensor:
    return argmin(a, axis, keepdims)


@implements(np.nanargmax)
def _numpy_nanargmax(a: Any, axis: int | None = None) -> Tensor:
    return constant(np.nanargmax(a.array, axis=axis))


@implements(np.nanargmin)
def _numpy_nanargmin(a: Any, axis: int | None = None) -> Tensor:
    return constant(np.nanargmin(a.array, axis=axis))


@implements(np.sort)
def _numpy_sort(a: Any, axis: int | None = -1, kind: Any = None, order: None = None, *, stable: Any = None) -> Tensor:
    return sort(np.reshape(a, (-1,)) if axis is None else a, -1 if axis is None else axis).values


@implements(np.argsort)
def _numpy_argsort(
    a: Any, axis: int | None = -1, kind: Any = None, order: None = None, *, stable: Any = None
) -> Tensor:
    return argsort(np.reshape(a, (-1,)) if axis is None else a, -1 if axis is None else axis)


def _numpy_quantiles(a: Any, q: Any, axis: Any, keepdims: bool, method: str, skip_nan: bool) -> Any:
    a = as_tensor_argument(a)
    refuse_complex("quantile", a.array)
    if a.array.dtype.kind != "f":
        a = cast(a, default_float())
    if not isinstance(q, Tensor):
        q = constant(np.asarray(q, a.array.dtype))
    if isinstance(axis, tuple):
        axes = tuple(i % a.ndim for i in axis)
        kept = tuple(1 if i in axes else n for i, n in enumerate(a.shape))
        rest = tuple(i for i in range(a.ndim) if i not in axes)
        flat = np.reshape(np.transpose(a, rest + axes), (*(a.shape[i] for i in rest), -1))
        result = _quantile(flat, q, -1, False, method, skip_nan)
        return np.reshape(result, (*q.shape, *kept)) if keepdims else result
    return _quantile(a, q, axis, keepdims, method, skip_nan)


@implements(np.quantile)
def _numpy_quantile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
) -> Any:
    return _numpy_quantiles(a, q, axis, keepdims, method, False)


@implements(np.nanquantile)
def _numpy_nanquantile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
) -> Any:
    return _numpy_quantiles(a, q, axis, keepdims, method, True)


@implements(np.percentile)
def _numpy_percentile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
) -> Any:
    q = q / 100 if isinstance(q, Tensor) else np.asarray(q) / 100
    return _numpy_quantiles(a, q, axis, keepdims, method, False)


@implements(np.median)
def _numpy_median(
    a: Any, axis: Any = None, out: None = None, overwrite_input: bool = False, keepdims: bool = False
) -> Any:
    return _numpy_quantiles(a, 0.5, axis, keepdims, "midpoint", False)


@implements(np.nanmedian)
def _numpy_nanmedian(
    a: Any, axis: Any = None, out: None = None, overwrite_input: bool = False, keepdims: bool = False
) -> Any:
    return _numpy_quantiles(a, 0.5, axis, keepdims, "midpoint", True)


@implements(np.searchsorted)
def _numpy_searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> Tensor:
    return searchsorted(a, v, side=side, sorter=sorter)


@implements(np.digitize)
def _numpy_digitize(x: Any, bins: Any, right: bool = False) -> Tensor:
    return constant(np.digitize(as_tensor_argument(x).array, as_tensor_argument(bins).array, right=right))


@implements(np.bincount)
def _numpy_bincount(x: Any, weights: Any = None, minlength: int = 0) -> Tensor:
    return bincount(x, weights, minlength)


@implements(np.histogram)
def _numpy_histogram(
    a: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None
) -> tuple[Tensor, Tensor]:
    """Counts and edges are constants, whatever they were computed from; sums of weights are not."""
    plain = [as_tensor_argument(v).array if isinstance(v, Tensor) else v for v in (a, bins, weights)]
    counts, edges = np.histogram(plain[0], plain[1], range=range, density=density, weights=plain[2])
    if not (isinstance(weights, Tensor) and weights.requires_grad):
        return constant(counts), constant(edges)
    values = np.ravel(plain[0])
    inside = (values >= edges[0]) & (values <= edges[-1])
    places = np.minimum(np.searchsorted(edges, values[inside], "right") - 1, len(edges) - 2)
    chosen: Any = np.reshape(weights, (-1,))
    sums: Any = _added_up(chosen[constant(inside)], places, len(edges) - 1)
    return sums / (np.sum(sums) * constant(np.diff(edges))) if density else sums, constant(edges)


@implements(np.unique)
def _numpy_unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: Any = None,
    *,
    equal_nan: bool = True,
) -> Any:
    numpy_unique: Any = np.unique
    needed = ar.requires_grad
    found = numpy_unique(ar.array, return_index or needed, return_inverse, return_counts, axis, equal_nan=equal_nan)
    if not needed:
        return tuple(map(constant, found)) if isinstance(found, tuple) else constant(found)
    _, first, *rest = found
    results = [_taken(ar, first, axis), *([constant(first)] if return_index else []), *map(constant, rest)]
    return tuple(results) if len(results) > 1 else results[0]
