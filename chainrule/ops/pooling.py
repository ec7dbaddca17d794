"""Pooling: a window moves over the last axes and leaves one number, its maximum, mean or p-norm, at each place.

Maxima are found by comparing strided slices of the input, one for each place in the window; where windows are of no
equal size, an index of their elements takes the slices' place. Means are linear maps along each axis.
Read next: `resampling.py`, those maps.
"""

from __future__ import annotations

import functools
import itertools
import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..core.forward import array_function, wrap_forward_fn
from ..core.table import backward, result_may_change
from ..core.tensor import Tensor, make_tensor
from ..random import numbers_of
from .common import as_tensor_argument
from .elementwise import abs as _abs
from .elementwise import pow as _pow
from .kernels import compiled
from .resampling import AxisMap, resample_tensor
from .shape import reshape, sum_at

__all__ = [
    "adaptive_avg_pool1d",
    "avg_pool1d",
    "max_pool1d",
    "max_pool1d_with_indices",
    "max_pool2d",
    "max_pool3d",
]

ndarray = np.ndarray
WHOLE = slice(None)
CHUNK = 2**19  # bytes
BY_ELEMENT = 64  # multiplications that take as long as an element of a pooling
MANY = 16  # elements of a window, from which on they are no longer compared one after the other


class Window(NamedTuple):
    """How a window moves along one axis of `size` elements."""

    size: int
    kernel: int
    stride: int
    padding: int
    dilation: int
    out: int  # at how many places it stands

    @property
    def distinct(self) -> bool:
        """Whether no element lies in two windows."""
        return self.out <= 1 or self.stride >= (self.kernel - 1) * self.dilation + 1

    @property
    def needed(self) -> tuple[int, int]:
        """How many elements the windows reach beyond both ends."""
        last = (self.out - 1) * self.stride + (self.kernel - 1) * self.dilation + 1 - self.padding
        return self.padding, max(0, last - self.size)


class Range(NamedTuple):
    """For one element of the window: which elements of the axis it sees, and from which places."""

    source: slice
    target: slice


@functools.lru_cache(4096)
def _ranges(window: Window) -> tuple[Range, ...]:
    """A `Range` for each element of the window, empty ones included."""
    size, kernel, stride, padding, dilation, out = window
    ranges = []
    for k in range(kernel):
        shift = k * dilation - padding
        first = max(0, -(shift // stride))  # the first place with place * stride + shift >= 0
        end = max(first, min(out, (size - 1 - shift) // stride + 1))
        start = first * stride + shift
        stop = start + (end - first - 1) * stride + 1 if end > first else start
        ranges.append(Range(slice(start, stop, stride), slice(first, end)))
    return tuple(ranges)


class Offset(NamedTuple):
    """One element of a window over several axes: indices of what it sees and from where, and its distance."""

    source: tuple[Any, ...]
    target: tuple[Any, ...]
    step: int  # from the window's first element, in the flattened axes


@functools.lru_cache(1024)
def _offsets(windows: tuple[Window, ...]) -> tuple[Offset, ...]:
    """The elements of a window in the order in which PyTorch looks at them."""
    strides = _strides(tuple(w.size for w in windows))
    offsets = []
    for ks in itertools.product(*(range(w.kernel) for w in windows)):
        ranges = [_ranges(w)[k] for w, k in zip(windows, ks, strict=True)]
        source = (..., *(r.source for r in ranges))
        target = (..., *(r.target for r in ranges))
        step = sum(k * w.dilation * stride for k, w, stride in zip(ks, windows, strides, strict=True))
        offsets.append(Offset(source, target, step))
    return tuple(offsets)


def _strides(sizes: tuple[int, ...]) -> list[int]:
    return [math.prod(sizes[i + 1 :]) for i in range(len(sizes))]


def _sizes(windows: tuple[Window, ...]) -> tuple[int, ...]:
    return tuple(w.size for w in windows)


def _lowest(kind: Any) -> Any:
    return -math.inf if kind.kind == "f" else np.iinfo(kind).min


# ----- the table: elements that an index names ---------------------------------------------------------------------


def _flat_index(index: Any, size: int) -> Any:
    """An index into the last axis of an array of shape (..., size) as one into the flattened array."""
    rows = math.prod(index.shape[:-1])
    return index if rows == 1 else index + np.reshape(np.arange(rows) * size, (*index.shape[:-1], 1))


@array_function
def pick(x: Any, index: Any) -> Any:
    """`out[..., i] = x[..., index[..., i]]`; the index's other axes are those of `x`, or 1."""
    if type(x) is ndarray and type(index) is ndarray:
        n = x.shape[-1]
        rows = np.arange(math.prod(x.shape[:-1])).reshape(*x.shape[:-1], 1)
        return np.take(x.reshape(-1), index + rows * n) if x.size else x.take(index)
    return np.take_along_axis(x, np.reshape(index, (*(1,) * (x.ndim - index.ndim), *index.shape)), -1)


@array_function
def place(values: Any, index: Any, size: int) -> Any:
    """Zeros with a last axis of a size, with `values` added where `pick` reads: its adjoint."""
    if index.shape != values.shape:
        index = np.broadcast_to(index, values.shape)
    return sum_at(values, _flat_index(index, size), (*values.shape[:-1], size))


@backward(pick, 0)
def pick_back(grad_out: Any, out: Any, x: Any, index: Any) -> Any:
    r"""$\nabla_{x_j} L = \sum_{i : index_i = j} \nabla_{out_i} L$"""
    return place(grad_out, index, x.shape[-1])


@backward(place, 0)
def place_back(grad_out: Any, out: Any, values: Any, index: Any, size: int) -> Any:
    r"""$\nabla_{values_i} L = \nabla_{out_j} L$ where $j = index_i$"""
    return pick(grad_out, index)


@array_function
def unpool(values: Any, index: Any, size: int) -> Any:
    """Zeros with a last axis of a size, with `values` at the places that an index names; the last to come remains."""
    shape = (*values.shape[:-1], size)
    flat = np.reshape(_flat_index(index, size), (-1,))
    if type(values) is ndarray:
        out = np.zeros(math.prod(shape), values.dtype)
        out[flat] = values.reshape(-1)
        return out.reshape(shape)
    last = np.full(math.prod(shape), -1)
    last[flat] = np.arange(flat.size)
    taken = np.take(np.reshape(values, (-1,)), np.maximum(last, 0)) if flat.size else np.zeros_like(values, shape=shape)
    return np.where(np.reshape(last >= 0, shape), np.reshape(taken, shape), 0)


@backward(unpool, 0)
def unpool_back(grad_out: Any, out: Any, values: Any, index: Any, size: int) -> Any:
    r"""$\nabla_{values_i} L = \nabla_{out_j} L$ where $j = index_i$"""
    return pick(grad_out, index)


def _planes(x: Any, n: int) -> Any:
    """The last n axes as one."""
    shape = tuple(x.shape)
    return np.reshape(x, (*shape[: len(shape) - n], math.prod(shape[len(shape) - n :])))


def _unplanes(x: Any, sizes: Any) -> Any:
    """The last axis as several."""
    return np.reshape(x, (*x.shape[:-1], *sizes))


# ----- the table: the maximum of a window --------------------------------------------------------------------------


def _max_along(x: Any, axis: int, window: Window) -> Any:
    """The maxima of windows along one axis of a NumPy array."""
    lead = (WHOLE,) * axis
    ranges = [r for r in _ranges(window) if r.target.stop > r.target.start]
    full = [r for r in ranges if r.target == slice(0, window.out)]
    if full:
        ranges = [r for r in ranges if r not in full]
        out = x[(*lead, full[0].source)]
        if len(full) == 1:
            out = out.copy()
        for i, r in enumerate(full[1:]):
            out = np.maximum(out, x[(*lead, r.source)], out=out if i else None)
    else:
        out = np.full((*x.shape[:axis], window.out, *x.shape[axis + 1 :]), _lowest(x.dtype), x.dtype)
    for source, target in ranges:
        part = out[(*lead, target)]
        np.maximum(part, x[(*lead, source)], out=part)
    return out


def _padded(x: Any, windows: tuple[Window, ...]) -> Any:
    """`x` with the lowest number wherever windows reach beyond it."""
    widths = ((0, 0),) * (x.ndim - len(windows)) + tuple(w.needed for w in windows)
    return np.pad(x, widths, mode="constant", constant_values=_lowest(x.dtype))


def _seen(padded: Any, windows: tuple[Window, ...]) -> Any:
    """For each element of the window, what it sees of the padded input from all places."""
    for ks in itertools.product(*(range(w.kernel) for w in windows)):
        index = tuple(
            slice(k * w.dilation, k * w.dilation + (w.out - 1) * w.stride + 1, w.stride)
            for k, w in zip(ks, windows, strict=True)
        )
        yield padded[(..., *index)]


@array_function
def _max_pool(x: Any, windows: tuple[Window, ...]) -> Any:
    """The maximum of each window over the last `len(windows)` axes."""
    if type(x) is ndarray:
        kernels = compiled(x.size * BY_ELEMENT, x)
        if kernels is not None:
            shape = (*x.shape[: x.ndim - len(windows)], *(w.out for w in windows))
            result = kernels.layer(_max_pool, (x,), (windows,), shape)
            if result is not None:
                return result
        return _by_planes(_max_of_planes, windows, x)
    return functools.reduce(np.maximum, _seen(_padded(x, windows), windows)) + np.zeros((), x.dtype)


def _max_of_planes(windows: tuple[Window, ...], x: Any) -> Any:
    first = x.ndim - len(windows)
    for i in range(len(windows) - 1, -1, -1):
        x = _max_along(x, first + i, windows[i])
    return x


def _by_planes(function: Callable[..., Any], windows: tuple[Window, ...], x: Any, *others: Any) -> Any:
    """`function(windows, x, *others)`, a few planes at a time, so that all steps find them in the cache."""
    n = len(windows)
    volume = math.prod(_sizes(windows))
    if x.nbytes < 4 * CHUNK or not x.flags.c_contiguous or x.ndim == n:
        return function(windows, x, *others)
    rows = max(1, CHUNK // (volume * x.itemsize))
    arrays = [a.reshape(-1, *a.shape[-n:]) for a in (x, *others)]
    result: Any = None
    for start in range(0, arrays[0].shape[0], rows):
        part = function(windows, *(a[start : start + rows] for a in arrays))
        if result is None:
            result = np.empty((arrays[0].shape[0], *part.shape[1:]), part.dtype)
        result[start : start + rows] = part
    return result.reshape(*x.shape[:-n], *result.shape[1:])


@array_function
def _max_index(x: Any, out: Any, windows: tuple[Window, ...]) -> Any:
    """Where in the flattened last axes of `x` each window's first maximum stands; the last NaN, if there is one."""
    steps = _grid(windows, [np.arange(w.kernel) * w.dilation for w in windows]).reshape(-1)
    if type(x) is not ndarray or type(out) is not ndarray:
        index = _first_of_seen(x, out, windows)
    elif len(steps) >= MANY and all((w.out * w.kernel, w.stride, w.dilation) == (w.size, w.kernel, 1) for w in windows):
        index = np.take(steps, _first_of_blocks(x, windows))
    else:
        index = np.take(steps, _first_by_comparing(x, out, windows))
    index = index + _grid(windows, [np.arange(w.out) * w.stride - w.padding for w in windows])
    return np.maximum(index, 0) if any(w.padding and w.dilation > w.size for w in windows) else index


def _grid(windows: tuple[Window, ...], places: list[Any]) -> Any:
    """Positions in the flattened axes for all combinations of places along each."""
    parts = (p * stride for p, stride in zip(places, _strides(_sizes(windows)), strict=True))
    return functools.reduce(np.add.outer, parts)


def _first_by_comparing(x: Any, out: Any, windows: tuple[Window, ...]) -> Any:
    """Which element of each window is its first maximum."""
    offsets = _offsets(windows)
    which = np.zeros(out.shape, np.int16 if len(offsets) < 2**15 else np.int64)
    free = np.ones(out.shape, bool)
    for k, (source, target, _) in enumerate(offsets):
        hit = x[source] == out[target]
        hit &= free[target]
        free[target] ^= hit
        np.copyto(which[target], k, where=hit)
    if free.any():
        for k, (source, target, _) in enumerate(offsets):
            np.copyto(which[target], k, where=np.isnan(x[source]))
    return which


def _first_of_blocks(x: Any, windows: tuple[Window, ...]) -> Any:
    """Which element of each window is its first maximum, for large windows that fill the input side by side."""
    n, lead = len(windows), x.shape[: x.ndim - len(windows)]
    blocks = x.reshape(*lead, *(size for w in windows for size in (w.out, w.kernel)))
    order = (*range(len(lead)), *range(len(lead), blocks.ndim, 2), *range(len(lead) + 1, blocks.ndim, 2))
    blocks = blocks.transpose(order)
    return np.argmax(blocks.reshape(*blocks.shape[: len(lead) + n], -1), axis=-1)


def _first_of_seen(x: Any, out: Any, windows: tuple[Window, ...]) -> Any:
    """On arrays of another library, how far each window's first maximum is from its start."""
    step: Any = 0
    free: Any = True
    for seen, offset in zip(_seen(_padded(x, windows), windows), _offsets(windows), strict=True):
        inside = np.zeros(tuple(w.out for w in windows), bool)
        inside[offset.target] = True
        hit = ((seen == out) & free | (seen != seen)) & inside
        free = free & ~hit
        step = np.where(hit, offset.step, step)
    return step


@array_function
def _spread_maxima(values: Any, out: Any, x: Any, windows: tuple[Window, ...]) -> Any:
    """Zeros in the shape of `x`, with the value for each window (of `values`) added at its first maximum."""
    arrays = type(x) is ndarray and type(values) is ndarray and type(out) is ndarray
    kernels = compiled(x.size * BY_ELEMENT, x, values, out) if arrays else None
    if kernels is not None:
        result = kernels.layer(_spread_maxima, (values, out, x), (windows,), x.shape)
        if result is not None:
            return result
    if arrays and out.size and not np.isnan(np.max(out)):
        return _by_planes(_spread_by_comparing, windows, x, out, values)
    index = _planes(_max_index(x, out, windows), len(windows))
    return _unplanes(place(_planes(values, len(windows)), index, math.prod(_sizes(windows))), _sizes(windows))


def _spread_by_comparing(windows: tuple[Window, ...], x: Any, out: Any, values: Any) -> Any:
    """`_spread_maxima` on NumPy arrays without NaN, an axis at a time.

    The first row that has the window's maximum, and the first such element in that row, is the first in the window.
    """
    first = x.ndim - len(windows)
    stages = [x]  # the maxima along the last axis, along the last two axes, ...
    for i in range(len(windows) - 1, 0, -1):
        stages.append(_max_along(stages[-1], first + i, windows[i]))
    for i, window in enumerate(windows):
        stage = stages.pop()
        values = _spread_along(values, out, stage, first + i, window)
        out = stage
    return values


def _spread_along(values: Any, out: Any, x: Any, axis: int, window: Window) -> Any:
    """`_spread_maxima` along one axis.

    Values are multiplied by 0 and 1 as if their bits were integers: one pass, and infinite ones stay away from zeros.
    """
    kind = values.dtype
    in_pairs = window == (2 * window.out, 2, 2, 0, 1, window.out) and axis == x.ndim - 1
    if in_pairs and kind == np.float32 and sys.byteorder == "little":
        return _spread_in_pairs(values, out, x)
    bits = np.dtype(f"i{kind.itemsize}")
    numbers = values.view(bits)
    ranges = _ranges(window)
    covered = window.distinct and sum(r.target.stop - r.target.start for r in ranges) == window.size
    result = np.empty_like(x, dtype=kind) if covered else np.zeros_like(x, dtype=kind)
    result_bits = result.view(bits)
    lead = (WHOLE,) * axis
    free: Any = None
    for k, (source, target) in enumerate(ranges):
        seen = (*lead, source)
        full = target == slice(0, window.out)
        there = (*lead, target)
        if k == window.kernel - 1 and full and free is not None:
            hit = free
        else:
            hit = x[seen] == (out if full else out[there])
            if free is None:
                if full:
                    free = ~hit
                else:
                    free = np.ones(out.shape, bool)
                    free[there] = ~hit
            else:
                here = free if full else free[there]
                hit &= here
                here ^= hit
        chosen = numbers if full else numbers[there]
        if window.distinct:
            np.multiply(chosen, hit, out=result_bits[seen])
        else:
            result[seen] += np.multiply(chosen, hit).view(kind)
    return result


def _spread_in_pairs(values: Any, out: Any, x: Any) -> Any:
    """`_spread_along` for windows of two that fill the last axis: a value is one half of a number twice as wide."""
    wide = values.view(np.uint32).astype(np.uint64, order="C")
    second = (x[..., ::2] != out).astype(np.uint64, order="C")
    second <<= np.uint64(5)  # 32 bits
    wide <<= second
    return wide.view(np.float32)


@array_function
def _root(x: Any, p: float) -> Any:
    """`x ** (1 / p)`; its derivative at 0 counts as 0."""
    return x ** (1.0 / p)


@backward(_root, 0)
def root_back(grad_out: Any, out: Any, x: Any, p: float) -> Any:
    r"""$\nabla_x L = \frac{x^{1/p - 1}}{p} \nabla_{out} L$, and $0$ where $x = 0$"""
    return grad_out * np.where(x == 0, 0, out / (p * np.where(x == 0, 1, x)))


@array_function
def _constant(x: Any) -> Any:
    """`x`, without a derivative."""
    return x


@backward(_max_pool, 0)
def max_pool_back(grad_out: Any, out: Any, x: Any, windows: tuple[Window, ...]) -> Any:
    r"""$\nabla_{x_j} L = \sum_i \nabla_{out_i} L$ over the windows $i$ whose first maximum is $x_j$"""
    return _spread_maxima(grad_out, _constant(out), _constant(x), windows)


result_may_change(_max_pool)


@backward(_spread_maxima, 0)
def spread_maxima_back(grad_out: Any, out: Any, values: Any, maxima: Any, x: Any, windows: tuple[Window, ...]) -> Any:
    r"""$\nabla_{values_i} L = \nabla_{out_j} L$ where $x_j$ is the first maximum of window $i$"""
    n = len(windows)
    picked = pick(_planes(grad_out, n), _planes(_max_index(x, maxima, windows), n))
    return np.reshape(picked, values.shape)


wrap_forward_fn(_constant, is_differentiable=False)
_max_pool_tensor = wrap_forward_fn(_max_pool)
wrap_forward_fn(_spread_maxima)
_max_index_tensor = wrap_forward_fn(_max_index, is_differentiable=False)
_root_tensor = wrap_forward_fn(_root)
pick_tensor = wrap_forward_fn(pick)
wrap_forward_fn(place)
_unpool_tensor = wrap_forward_fn(unpool)


# ----- arguments ---------------------------------------------------------------------------------------------------


def as_tuple(value: Any, n: int, name: str, what: str) -> tuple[int, ...]:
    """One size for each of n axes.

    Raises:
        RuntimeError: neither one number nor n.
        TypeError: not integers.
    """
    numbers = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if len(numbers) not in (1, n):
        raise RuntimeError(f"{name}: {what} must either be a single int, or a tuple of {n} ints, got {value}")
    try:
        numbers = tuple(k.__index__() for k in numbers)
    except (AttributeError, TypeError):
        raise TypeError(f"{name}(): argument '{what}' must be int or a tuple of ints, got {value!r}") from None
    return numbers * n if len(numbers) == 1 else numbers


def check_dimensions(input: Tensor, n: int, name: str) -> None:
    """Refuse what is neither (N, C, ...) nor (C, ...) with n further axes, none of them empty."""
    shape = input.shape
    if input.ndim not in (n + 1, n + 2) or 0 in shape[1 if input.ndim == n + 2 else 0 :]:
        raise RuntimeError(
            f"{name}: Expected {n + 1}D or {n + 2}D (batch mode) tensor with optional 0 dim batch size for input, and "
            f"Expected input's non-batch dimensions to have positive length, but got: {list(shape)}"
        )


def _windows(
    input: Tensor, n: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool, name: str
) -> tuple[Window, ...]:
    """The windows along the last n axes.

    Raises:
        RuntimeError: sizes, strides, paddings or dilations that make no sense, or windows larger than the input.
    """
    kernels = as_tuple(kernel_size, n, name, "kernel_size")
    empty = stride is None or (isinstance(stride, (tuple, list)) and not stride)
    strides = kernels if empty else as_tuple(stride, n, name, "stride")
    paddings = as_tuple(padding, n, name, "padding")
    dilations = as_tuple(dilation, n, name, "dilation")
    for what, numbers in (("kernel_size", kernels), ("stride", strides), ("dilation", dilations)):
        if min(numbers) <= 0:
            raise RuntimeError(f"{name}: {what} must be greater than zero, but got {_one_or_all(numbers)}")
    for kernel, pad, step in zip(kernels, paddings, dilations, strict=True):
        if pad < 0:
            raise RuntimeError(f"{name}: pad must be non-negative, but got pad: {pad}")
        if pad > kernel // 2:
            raise RuntimeError(
                f"{name}: pad should be at most half of effective kernel size, but got pad={pad}, "
                f"kernel_size={kernel} and dilation={step}"
            )
    check_dimensions(input, n, name)
    windows = []
    for size, kernel, step, pad, apart in zip(input.shape[-n:], kernels, strides, paddings, dilations, strict=True):
        room = size + 2 * pad - apart * (kernel - 1) - 1
        out = (room + (step - 1 if ceil_mode else 0)) // step + 1
        if ceil_mode and (out - 1) * step >= size + pad:  # the last window must start within the input
            out -= 1
        windows.append(Window(size, kernel, step, pad, apart, out))
    if any(w.out < 1 for w in windows):
        sizes = tuple(w.out for w in windows)
        raise RuntimeError(
            f"{name}: Given input size: {tuple(input.shape[-n:])}. Calculated output size: {sizes}. Output size is too "
            f"small. Invalid computed output size: {min(sizes)} (kernel_size {kernels}, stride {strides}, padding "
            f"{paddings}, dilation {dilations})"
        )
    return tuple(windows)


def _one_or_all(numbers: tuple[int, ...]) -> Any:
    return numbers[0] if len(set(numbers)) == 1 else numbers


def _check_type(input: Tensor, name: str, kinds: str = "f") -> None:
    if input.array.dtype.kind not in kinds:
        raise RuntimeError(f'"{name}" not implemented for {input.dtype}')


# ----- maxima ------------------------------------------------------------------------------------------------------


def _max_pool_nd(
    n: int,
    input: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    input = as_tensor_argument(input)
    name = f"max_pool{n}d"
    _check_type(input, name, "fiu")
    windows = _windows(input, n, kernel_size, stride, padding, dilation, ceil_mode, name)
    values = _max_pool_tensor(input, windows)
    if not return_indices:
        return values
    return values, _max_index_tensor(input, make_tensor(values.array, None), windows)


def max_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum of each window over the last axis of (N, C, L) or (C, L).

    Args:
        input: real tensor.
        kernel_size: how many elements a window has.
        stride: how far apart windows are; as `kernel_size` if left out.
        padding: how many elements of minus infinity are thought of at both ends.
        dilation: how far apart the elements of a window are.
        ceil_mode: also windows that leave the input at its end.
        return_indices: also return where each maximum stands along the axis.

    Raises:
        RuntimeError: the input has another number of axes, or no window fits into it.

    >>> import chainrule as cr
    >>> cr.max_pool1d(cr.tensor([[1.0, 3.0, 2.0, 4.0]]), 2).tolist()
    [[3.0, 4.0]]
    """
    return _max_pool_nd(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum of each window over the last two axes of (N, C, H, W) or (C, H, W); arguments as for `max_pool1d`.

    The gradient goes to the first maximum of a window. Indices count along the flattened H and W.

    >>> import chainrule as cr
    >>> values, places = cr.max_pool2d(cr.arange(16.0).reshape(1, 4, 4), 2, return_indices=True)
    >>> values.tolist(), places.tolist()
    ([[[5.0, 7.0], [13.0, 15.0]]], [[[5, 7], [13, 15]]])
    """
    return _max_pool_nd(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum of each window over the last three axes of (N, C, D, H, W) or (C, D, H, W); see `max_pool1d`."""
    return _max_pool_nd(3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


# ----- maxima put back ---------------------------------------------------------------------------------------------


def _unpooled_size(n: int, input: Tensor, kernel_size: Any, stride: Any, padding: Any, output_size: Any) -> Any:
    name = f"max_unpool{n}d"
    kernels = as_tuple(kernel_size, n, name, "kernel_size")
    strides = kernels if stride is None else as_tuple(stride, n, name, "stride")
    paddings = as_tuple(padding, n, name, "padding")
    least = [
        (size - 1) * step + kernel - 2 * pad
        for size, kernel, step, pad in zip(input.shape[-n:], kernels, strides, paddings, strict=True)
    ]
    if output_size is None:
        sizes = tuple(least)
    else:
        sizes = tuple(output_size)
        if len(sizes) == n + 2:
            sizes = sizes[2:]
        if len(sizes) != n:
            raise ValueError(
                f"output_size should be a sequence containing {n} or {n + 2} elements, but it has a length of "
                f"'{len(sizes)}'"
            )
        for axis, (size, want, step) in enumerate(zip(sizes, least, strides, strict=True)):
            if not want - step < size < want + step:
                raise ValueError(
                    f'invalid output_size "{sizes}" (dim {axis} must be between {want - step} and {want + step})'
                )
    if min(sizes) < 0:
        raise ValueError(f"max_unpooling: output_size must contain non-negative spatial dimensions, but got {sizes}")
    return sizes


def _max_unpool_nd(
    n: int, input: Any, indices: Any, kernel_size: Any, stride: Any, padding: Any, output_size: Any
) -> Tensor:
    input, indices = as_tensor_argument(input), as_tensor_argument(indices)
    name = f"max_unpool{n}d"
    index = indices.array
    if index.dtype.kind not in "iu":
        raise RuntimeError(f"{name}: elements in indices should be type int64 but got: {indices.dtype}")
    if input.ndim not in (n + 1, n + 2):
        raise RuntimeError(
            f"{name}: Input to {name} should be a {n + 1}d or {n + 2}d Tensor, but got: {list(input.shape)}"
        )
    if indices.shape != input.shape:
        raise RuntimeError(
            f"{name}: Expected shape of indices to be same as that of the input tensor ({list(input.shape)}) but got "
            f"indices tensor with shape: {list(indices.shape)}"
        )
    sizes = _unpooled_size(n, input, kernel_size, stride, padding, output_size)
    volume = math.prod(sizes)
    if type(index) is ndarray and index.size and (index.min() < 0 or index.max() >= volume):
        wrong = index[(index < 0) | (index >= volume)].flat[0]
        raise RuntimeError(f"{name}: found an invalid max index: {wrong} (output volumes are of size {list(sizes)})")
    batch = input.shape[:-n]
    result = _unpool_tensor(reshape(input, (*batch, math.prod(input.shape[-n:]))), _planes(index, n), volume)
    return reshape(result, (*batch, *sizes))


def max_unpool1d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """Zeros with each element of (N, C, L) or (C, L) where `max_pool1d` had found it.

    Args:
        input: what `max_pool1d` returned.
        indices: the places that it returned with `return_indices=True`.
        kernel_size: that of `max_pool1d`, as are `stride` and `padding`.
        output_size: the size of the input of `max_pool1d`, where several are possible.

    Raises:
        RuntimeError: an index lies outside the result, or the indices have another shape than the input.
        ValueError: `output_size` is not possible.
    """
    return _max_unpool_nd(1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """Zeros with each element of (N, C, H, W) or (C, H, W) where `max_pool2d` had found it; see `max_unpool1d`.

    >>> import chainrule as cr
    >>> values, places = cr.max_pool2d(cr.arange(4.0).reshape(1, 2, 2), 2, return_indices=True)
    >>> max_unpool2d(values, places, 2).tolist()
    [[[0.0, 0.0], [0.0, 3.0]]]
    """
    return _max_unpool_nd(2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """Zeros with each element of (N, C, D, H, W) or (C, D, H, W) where `max_pool3d` had found it."""
    return _max_unpool_nd(3, input, indices, kernel_size, stride, padding, output_size)


# ----- means -------------------------------------------------------------------------------------------------------


@functools.lru_cache(1024)
def _mean_map(window: Window, count_include_pad: bool, counted: bool = True) -> AxisMap:
    """The mean (the sum, without `counted`) of windows along an axis."""
    index = np.full((window.kernel, window.out), -1)
    for row, (source, target) in zip(index, _ranges(window), strict=True):
        row[target] = np.arange(source.start, source.stop, source.step)
    if count_include_pad:  # what lies beyond the padding does not count
        starts = np.arange(window.out) * window.stride - window.padding
        counts = np.minimum(starts + window.kernel, window.size + window.padding) - starts
    else:
        counts = np.sum(index >= 0, axis=0)
    return AxisMap(window.size, index, after=1 / counts if counted else 1.0)


@functools.lru_cache(1024)
def _divided(axis_map: AxisMap, divisor: int) -> AxisMap:
    result = AxisMap(axis_map.size, axis_map.index, after=1 / divisor)
    return result


def _avg_pool_nd(
    n: int,
    input: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None = None,
) -> Tensor:
    input = as_tensor_argument(input)
    name = f"avg_pool{n}d"
    _check_type(input, name, "fc")
    if divisor_override is not None and divisor_override == 0:
        raise RuntimeError(f"{name}: divisor must be not zero")
    windows = _windows(input, n, kernel_size, stride, padding, 1, ceil_mode, name)
    if n == 3 and any(w.kernel > w.size for w in windows):
        kernels = tuple(w.kernel for w in windows)
        raise RuntimeError(f"{name}: input image {tuple(input.shape[-n:])} smaller than kernel size {kernels}")
    counted = divisor_override is None
    maps = [_mean_map(w, bool(count_include_pad), counted) for w in windows]
    if divisor_override is not None:
        maps[0] = _divided(maps[0], divisor_override)
    return resample_tensor(input, tuple(maps))  # type: ignore[no-any-return]


def avg_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window over the last axis of (N, C, L) or (C, L).

    Args:
        input: floating tensor.
        kernel_size: how many elements a window has.
        stride: how far apart windows are; as `kernel_size` if left out.
        padding: how many zeros are thought of at both ends.
        ceil_mode: also windows that leave the input at its end.
        count_include_pad: whether the zeros of the padding count as elements.

    Raises:
        RuntimeError: the input has another number of axes, or no window fits into it.

    >>> import chainrule as cr
    >>> cr.avg_pool1d(cr.tensor([[1.0, 3.0, 2.0, 4.0]]), 2).tolist()
    [[2.0, 3.0]]
    """
    return _avg_pool_nd(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad)


def avg_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window over the last two axes of (N, C, H, W) or (C, H, W); arguments as for `avg_pool1d`.

    Args:
        divisor_override: divide each window's sum by this.

    >>> import chainrule as cr
    >>> cr.nn.functional.avg_pool2d(cr.arange(16.0).reshape(1, 4, 4), 2).tolist()
    [[[2.5, 4.5], [10.5, 12.5]]]
    """
    return _avg_pool_nd(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool3d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window over the last three axes of (N, C, D, H, W) or (C, D, H, W); see `avg_pool2d`."""
    return _avg_pool_nd(3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def _lp_pool_nd(n: int, input: Any, norm_type: Any, kernel_size: Any, stride: Any, ceil_mode: bool) -> Tensor:
    input = as_tensor_argument(input)
    if norm_type == math.inf:
        return _max_pool_nd(n, _abs(input), kernel_size, stride, 0, 1, ceil_mode, False)  # type: ignore[no-any-return]
    if norm_type == -math.inf:
        return -_max_pool_nd(n, -_abs(input), kernel_size, stride, 0, 1, ceil_mode, False)  # type: ignore[no-any-return]
    means = _avg_pool_nd(n, _pow(input, norm_type), kernel_size, stride, 0, ceil_mode, True)
    elements = math.prod(as_tuple(kernel_size, n, f"lp_pool{n}d", "kernel_size"))
    return _root_tensor(means * elements, norm_type)  # type: ignore[no-any-return]


def lp_pool1d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """The root of the sum of powers, `sum(x**p) ** (1 / p)`, of each window of (N, C, L) or (C, L).

    Args:
        norm_type: p; infinity gives the largest absolute value.
    """
    return _lp_pool_nd(1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """`sum(x**p) ** (1 / p)` of each window of (N, C, H, W) or (C, H, W).

    >>> import chainrule as cr
    >>> lp_pool2d(cr.tensor([[[3.0, 4.0]]]), 2, (1, 2)).tolist()
    [[[5.0]]]
    """
    return _lp_pool_nd(2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """`sum(x**p) ** (1 / p)` of each window of (N, C, D, H, W) or (C, D, H, W)."""
    return _lp_pool_nd(3, input, norm_type, kernel_size, stride, ceil_mode)


def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """The input, each element divided by `(k + alpha * mean of squares of neighbouring channels) ** beta`.

    Args:
        input: (N, C, ...).
        size: how many channels are neighbours, the channel itself among them.

    Raises:
        ValueError: fewer than three axes.
    """
    input = as_tensor_argument(input)
    if input.ndim < 3:
        raise ValueError(f"Expected 3D or higher dimensionality input (got {input.ndim} dimensions)")
    if not input.array.size:
        return input
    channels = input.shape[1]
    neighbours = _mean_map(Window(channels, size, 1, size // 2, 1, channels), False, False)
    means = resample_tensor(input * input, (_divided(neighbours, size),) + (None,) * (input.ndim - 2))
    return input / _pow(means * alpha + k, beta)


# ----- windows that fit the wanted size ----------------------------------------------------------------------------


def _wanted_sizes(input: Tensor, n: int, output_size: Any, name: str) -> tuple[int, ...]:
    """The wanted size of each of the last n axes; None stands for the input's."""
    several = isinstance(output_size, (tuple, list))
    if several and len(output_size) not in (1, n):
        number = {1: "one int", 2: "two ints", 3: "three ints"}[n]
        raise RuntimeError(f"{name}: 'output_size' should contain {number}, got {output_size}")
    if n > 1 and input.ndim <= n:
        raise ValueError(f"{name}: Input dimension should be at least {n + 1}, got shape {list(input.shape)}")
    wanted = tuple(output_size) if several else (output_size,)
    wanted = wanted * n if len(wanted) == 1 else wanted
    sizes = tuple(
        have if want is None else want.__index__() for want, have in zip(wanted, input.shape[-n:], strict=True)
    )
    if min(sizes) < 0:
        raise RuntimeError(f"{name}: elements of output_size must be greater than or equal to 0 but received {sizes}")
    return sizes


@functools.lru_cache(1024)
def _adaptive_ranges(size: int, out: int) -> tuple[Any, Any]:
    """First elements and ends of the `out` nearly equal, possibly overlapping parts of an axis."""
    places = np.arange(out)
    return places * size // max(out, 1), -(-(places + 1) * size // max(out, 1))


@functools.lru_cache(1024)
def _adaptive_map(size: int, out: int) -> AxisMap:
    starts, ends = _adaptive_ranges(size, out)
    within = np.arange(int((ends - starts).max(initial=0)))[:, None]
    return AxisMap(size, np.where(starts + within < ends, starts + within, -1), after=1 / (ends - starts))


def _adaptive_avg_pool_nd(n: int, input: Any, output_size: Any) -> Tensor:
    input = as_tensor_argument(input)
    name = f"adaptive_avg_pool{n}d"
    _check_type(input, name, "fc")
    sizes = _wanted_sizes(input, n, output_size, name)
    check_dimensions(input, n, name)
    maps = tuple(_adaptive_map(have, want) for have, want in zip(input.shape[-n:], sizes, strict=True))
    return resample_tensor(input, maps)  # type: ignore[no-any-return]


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """The means of `output_size` nearly equal parts of the last axis of (N, C, L) or (C, L).

    Raises:
        RuntimeError: the input has another number of axes, or a size is negative.

    >>> import chainrule as cr
    >>> cr.adaptive_avg_pool1d(cr.tensor([[1.0, 3.0, 5.0]]), 2).tolist()
    [[2.0, 4.0]]
    """
    return _adaptive_avg_pool_nd(1, input, output_size)


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """The means of nearly equal parts of the last two axes of (N, C, H, W) or (C, H, W).

    Args:
        output_size: how many parts: (H, W), one number for both; None leaves an axis as it is.
    """
    return _adaptive_avg_pool_nd(2, input, output_size)


def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """The means of nearly equal parts of the last three axes of (N, C, D, H, W) or (C, D, H, W)."""
    return _adaptive_avg_pool_nd(3, input, output_size)


def _max_of_named(input: Tensor, positions: Any, inside: Any, n: int, return_indices: bool) -> Any:
    """The maxima of windows of any shape.

    Args:
        input: (..., n axes).
        positions: where in the flattened last n axes the elements of each window stand, (..., n axes, elements);
            leading axes broadcast to the input's.
        inside: which of them belong to the window.
    """
    planes = _planes(input, n)
    x = planes.array
    sizes = positions.shape[-n - 1 : -1]
    elements = positions.shape[-1]
    index = positions.reshape(*positions.shape[: -n - 1], math.prod(sizes) * elements)
    seen = np.reshape(pick(x, index), (*x.shape[:-1], math.prod(sizes), elements))
    which = np.argmax(np.where(inside.reshape(math.prod(sizes), elements), seen, _lowest(x.dtype)), axis=-1)
    index = np.broadcast_to(index.reshape(*index.shape[:-1], math.prod(sizes), elements), seen.shape)
    best = np.take_along_axis(index, np.expand_dims(which, -1), -1)[..., 0]
    values = reshape(pick_tensor(planes, best), (*input.shape[:-n], *sizes))
    return (values, make_tensor(_unplanes(best, sizes), None)) if return_indices else values


def _adaptive_max_pool_nd(n: int, input: Any, output_size: Any, return_indices: bool) -> Any:
    input = as_tensor_argument(input)
    name = f"adaptive_max_pool{n}d"
    _check_type(input, name, "fiu")
    sizes = _wanted_sizes(input, n, output_size, name)
    check_dimensions(input, n, name)
    have = input.shape[-n:]
    if 0 in sizes:
        empty = input[(..., *(slice(0, min(s, 1)) for s in sizes))].expand(*input.shape[:-n], *sizes)
        return (empty, make_tensor(np.zeros(empty.shape, np.int64), None)) if return_indices else empty
    if all(h % s == 0 for h, s in zip(have, sizes, strict=True)):
        kernel = tuple(h // s for h, s in zip(have, sizes, strict=True))
        return _max_pool_nd(n, input, kernel, kernel, 0, 1, False, return_indices)
    return _max_of_named(input, *_adaptive_positions(have, sizes), n, return_indices)


@functools.lru_cache(64)
def _adaptive_positions(have: tuple[int, ...], sizes: tuple[int, ...]) -> tuple[Any, Any]:
    """The positions and the membership that `_max_of_named` asks for."""
    n = len(have)
    positions: Any = np.zeros((1,) * (2 * n), int)
    inside: Any = np.ones((1,) * (2 * n), bool)
    for axis, (size, out, stride) in enumerate(zip(have, sizes, _strides(have), strict=True)):
        starts, ends = _adaptive_ranges(size, out)
        elements = starts[:, None] + np.arange(int((ends - starts).max()))
        shape = [1] * (2 * n)
        shape[axis], shape[n + axis] = elements.shape
        positions = positions + (np.minimum(elements, ends[:, None] - 1) * stride).reshape(shape)
        inside = inside & (elements < ends[:, None]).reshape(shape)
    return positions.reshape(*sizes, -1), inside.reshape(*sizes, -1)


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The maxima of `output_size` nearly equal parts of the last axis of (N, C, L) or (C, L)."""
    return _adaptive_max_pool_nd(1, input, output_size, return_indices)


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The maxima of nearly equal parts of the last two axes of (N, C, H, W) or (C, H, W).

    Args:
        output_size: how many parts: (H, W), one number for both; None leaves an axis as it is.
        return_indices: also return where in the flattened H and W each maximum stands.
    """
    return _adaptive_max_pool_nd(2, input, output_size, return_indices)


def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The maxima of nearly equal parts of the last three axes of (N, C, D, H, W) or (C, D, H, W)."""
    return _adaptive_max_pool_nd(3, input, output_size, return_indices)


# ----- windows at random places ------------------------------------------------------------------------------------


def _random_starts(samples: Any, size: int, out: int, kernel: int) -> Any:
    """Where the windows of each plane start: steps of two neighbouring lengths, in an order that a sample decides.

    Args:
        samples: a number between 0 and 1 for each plane.
    """
    last = np.full((*samples.shape, 1), size - kernel)
    if out == 1:
        return last
    alpha = np.asarray((size - kernel) / (out - 1), samples.dtype)
    offset = np.floor(samples * alpha)[..., None]
    starts = np.floor((np.arange(out - 1, dtype=samples.dtype) + samples[..., None]) * alpha) - offset
    return np.concatenate([starts.astype(np.int64), last], axis=-1)


def _fractional_max_pool_nd(
    n: int, input: Any, kernel_size: Any, output_size: Any, output_ratio: Any, samples: Any, return_indices: bool
) -> Any:
    input = as_tensor_argument(input)
    name = f"fractional_max_pool{n}d"
    if output_size is None and output_ratio is None:
        raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
    _check_type(input, name)
    check_dimensions(input, n, name)
    have = input.shape[-n:]
    if output_size is None:
        ratios = tuple(output_ratio) if isinstance(output_ratio, (tuple, list)) else (output_ratio,) * n
        if len(ratios) != n:
            raise ValueError(f"{name} requires output_ratio to either be a single number or {n} of them")
        output_size = tuple(int(size * ratio) for size, ratio in zip(have, ratios, strict=True))
    sizes = as_tuple(output_size, n, name, "output_size")
    kernels = as_tuple(kernel_size, n, name, "kernel_size")
    for size, out, kernel in zip(have, sizes, kernels, strict=True):
        if out < 1 or out + kernel - 1 > size - (n == 3):
            raise RuntimeError(
                f"{name}: pool size {kernel} with output size {out} is too large relative to input size {size}"
            )
    single = input.ndim == n + 1
    planes = (1 if single else input.shape[0], input.shape[-n - 1])
    kind = input.array.dtype
    if samples is None:
        numbers = numbers_of(None).random((*planes, n)).astype(kind)
    else:
        numbers = as_tensor_argument(samples).array
        if single and numbers.shape[1:] == (*planes[1:], n):
            numbers = numbers[:1]  # PyTorch reads the first sample's, however many there are
        if numbers.shape != (*planes, n):
            raise RuntimeError(f"{name}: expected _random_samples of shape {(*planes, n)}, got {numbers.shape}")
    positions: Any = 0
    for axis, (size, out, kernel, stride) in enumerate(zip(have, sizes, kernels, _strides(have), strict=True)):
        sample = numbers[..., n - 1 - axis] if n == 2 else numbers[..., axis]  # PyTorch's order
        elements = _random_starts(sample, size, out, kernel)[..., None] + np.arange(kernel)
        shape = [1] * (2 * n)
        shape[axis], shape[n + axis] = out, kernel
        positions = positions + (elements * stride).reshape(*planes, *shape)
    positions = positions.reshape(*(planes[1:] if single else planes), *sizes, -1)
    inside = np.ones((*sizes, positions.shape[-1]), bool)
    return _max_of_named(input, positions, inside, n, return_indices)


def fractional_max_pool2d(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """The maxima of windows at random steps over (N, C, H, W) or (C, H, W) (Graham 2014).

    Args:
        output_size: how many windows: (H, W) or one number for both.
        output_ratio: in its place, how many windows there are for each element.

    Raises:
        ValueError: neither size nor ratio.
        RuntimeError: the windows do not fit into the input.
    """
    samples = _random_samples
    return _fractional_max_pool_nd(2, input, kernel_size, output_size, output_ratio, samples, return_indices)


def fractional_max_pool3d(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """The maxima of windows at random steps over (N, C, D, H, W) or (C, D, H, W); see `fractional_max_pool2d`."""
    samples = _random_samples
    return _fractional_max_pool_nd(3, input, kernel_size, output_size, output_ratio, samples, return_indices)


# ----- values and places -------------------------------------------------------------------------------------------


def _with_indices(pool: Callable[..., Any]) -> Callable[..., Any]:
    """A pooling function with `return_indices=True`, whatever is said."""
    position = pool.__code__.co_varnames.index("return_indices")

    @functools.wraps(pool)
    def with_indices(*args: Any, **kwargs: Any) -> Any:
        if len(args) > position:
            return pool(*args[:position], True, *args[position + 1 :], **kwargs)
        return pool(*args, **{**kwargs, "return_indices": True})

    with_indices.__name__ = with_indices.__qualname__ = f"{pool.__name__}_with_indices"
    with_indices.__doc__ = f"`{pool.__name__}` with `return_indices=True`."
    return with_indices


max_pool1d_with_indices = _with_indices(max_pool1d)
max_pool2d_with_indices = _with_indices(max_pool2d)
max_pool3d_with_indices = _with_indices(max_pool3d)
adaptive_max_pool1d_with_indices = _with_indices(adaptive_max_pool1d)
adaptive_max_pool2d_with_indices = _with_indices(adaptive_max_pool2d)
adaptive_max_pool3d_with_indices = _with_indices(adaptive_max_pool3d)
fractional_max_pool2d_with_indices = _with_indices(fractional_max_pool2d)
fractional_max_pool3d_with_indices = _with_indices(fractional_max_pool3d)
