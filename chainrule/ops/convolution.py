"""Convolutions in any number of dimensions, transposed ones, and the windows they look through (unfold, fold).

A convolution is linear in its input `x` and in its weight `w`. Weighted by a gradient `g` of its result it is one sum

    sum over p, k of  g[p] * x[stride * p + dilation * k - padding] * w[k]

over the positions p of the result and k of the kernel. The three functions of the table are the derivatives of that sum
with respect to one of the three: `convolve` (g), `convolve_input` (x; the transposed convolution) and `convolve_weight`
(w). So each is the derivative of the others, to any order.

Each works on blocks of samples: the windows are copied into the columns of a matrix, of which BLAS does the rest
(Chellapilla et al. 2006, "High performance convolutional neural networks for document processing"). Along an axis that
is read without gaps, whole planes are copied rather than lines: the columns then also hold positions between the end
of one line and the start of the next, which are cut off or zero where it counts.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..core.forward import array_function, wrap_forward_fn
from ..core.table import backward
from ..core.tensor import Tensor
from .common import as_tensor_argument

__all__ = [
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_tbc",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "convolution",
]

Sizes = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]

# ----- windows --------------------------------------------------------------------------------------------------------

MOST_WASTE = 1.3  # how much longer the columns of whole planes may be than those of the result's positions
SMALL_PRODUCT = 1_000_000  # multiplications up to which OpenBLAS has quick one-threaded kernels
BLOCK = 1 << 21  # elements of a block of columns: few calls of BLAS, and the block stays in the last cache


class Layout(NamedTuple):
    """Where the windows lie in memory.

    Attributes:
        padded: the input's spatial sizes with padding.
        spacing: how many elements lie between neighbours along each padded axis.
        grid: the spatial shape of a sample's columns: the result's, or that of whole planes.
        fused: whether the grid is that of whole planes.
        length: the number of a sample's columns.
        inside: the input's place in the padded array.
        offsets: the places of the kernel, in elements of the padded array.
        windows: for each of them, the slices of the padded array that it meets.
    """

    padded: Sizes
    spacing: Sizes
    grid: Sizes
    fused: bool
    length: int
    inside: tuple[slice, ...]
    offsets: Sizes
    windows: tuple[tuple[slice, ...], ...]


@functools.lru_cache(maxsize=256)
def layout_of(spatial: Sizes, kernel: Sizes, size: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes) -> Layout:
    """The layout for an input of sizes `spatial` and a result of sizes `size`."""
    padded = tuple(n + before + after for n, (before, after) in zip(spatial, padding, strict=True))
    spacing = tuple(math.prod(padded[i + 1 :]) for i in range(len(padded)))
    planes = (size[0], *padded[1:])
    gapless = all(step == 1 or n == 1 for step, n in zip(stride, size, strict=True))
    fused = gapless and math.prod(planes) <= MOST_WASTE * math.prod(size)
    grid = planes if fused else size
    places = list(itertools.product(*(range(0, d * k, d) for d, k in zip(dilation, kernel, strict=True))))
    return Layout(
        padded,
        spacing,
        grid,
        fused,
        math.prod(grid),
        tuple(slice(before, before + n) for n, (before, _) in zip(spatial, padding, strict=True)),
        tuple(sum(i * s for i, s in zip(place, spacing, strict=True)) for place in places),
        tuple(
            tuple(slice(i, i + (n - 1) * step + 1, step) for i, n, step in zip(place, size, stride, strict=True))
            for place in places
        ),
    )


def columns_of(
    x: Any, layout: Layout, kernel: Sizes, stride: Sizes, dilation: Sizes, dtype: Any, at_once: int
) -> Iterator[tuple[int, int, Any]]:
    """Blocks of samples as matrices: (first, last, columns), columns of shape (C, *kernel, samples, length).

    The memory of a block is used again for the next.
    """
    samples, channels = x.shape[:2]
    volume = math.prod(layout.padded)
    most = min(at_once, samples)
    copied = layout.fused or x.shape[2:] != layout.padded or x.dtype != dtype or not x.flags.c_contiguous
    if copied:
        beyond = layout.spacing[0] if layout.fused else 0  # the last windows of whole planes reach behind the end
        memory = np.zeros(most * channels * volume + beyond, dtype)
        padded = memory[: most * channels * volume].reshape(most, channels, *layout.padded)
    matrix = np.empty(channels * math.prod(kernel) * most * layout.length, dtype)
    item = np.dtype(dtype).itemsize
    steps = tuple(s * item for s in layout.spacing)
    for first in range(0, samples, most):
        last = min(first + most, samples)
        count = last - first
        if copied:
            padded[(slice(count), slice(None), *layout.inside)] = x[first:last]
            source = padded
        else:
            source = x[first:last]
        run, run_steps = (
            ((layout.length,), (item,))
            if layout.fused
            else (layout.grid, tuple(step * s for step, s in zip(stride, steps, strict=True)))
        )
        shape = (channels, *kernel, count, *run)
        strides = (
            volume * item,
            *(d * s for d, s in zip(dilation, steps, strict=True)),
            channels * volume * item,
            *run_steps,
        )
        columns = matrix[: math.prod(shape)].reshape(shape)
        np.copyto(columns, np.lib.stride_tricks.as_strided(source, shape, strides))
        yield first, last, columns


def samples_at_once(rows: int, outputs: int, groups: int, length: int) -> int:
    """How many samples make a block: few for quick small products, or as many as fit the cache."""
    work = max(1, (rows // groups) * (outputs // groups) * length)
    if 2 * work <= SMALL_PRODUCT:
        return SMALL_PRODUCT // work
    return max(1, BLOCK // max(1, rows * length))


def computing_type(x: Any) -> Any:
    """The element type to compute in: float32 for float16, for which BLAS has no products."""
    return np.dtype(np.float32) if x.dtype == np.float16 else x.dtype


def spread(g: Any, layout: Layout, groups: int, dtype: Any) -> Any:
    """Samples of a result (n, O, *size) as matrices (groups, O / groups, n * length), zero between the positions."""
    n, channels = g.shape[:2]
    if layout.grid == g.shape[2:]:
        if n == 1 and g.dtype == dtype:
            return g.reshape(groups, channels // groups, -1)
        matrix = np.empty((channels, n, *layout.grid), dtype)
    else:
        matrix = np.zeros((channels, n, *layout.grid), dtype)
    matrix[(slice(None), slice(None), *map(slice, g.shape[2:]))] = np.swapaxes(g, 0, 1)
    return matrix.reshape(groups, channels // groups, -1)


def is_pointwise(spatial: Sizes, kernel: Sizes, size: Sizes, padding: Pairs) -> bool:
    """Whether each window is one element, and each element a window."""
    return spatial == size and math.prod(kernel) == 1 and not any(map(any, padding))


# ----- the table: unfold and fold -------------------------------------------------------------------------------------


@array_function
def windows(x: Any, *, kernel: Sizes, size: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes) -> Any:
    """The windows of x (N, C, *spatial) as columns: (N, C * prod(kernel), prod(size))."""
    samples, channels = x.shape[:2]
    layout = layout_of(x.shape[2:], kernel, size, stride, padding, dilation)
    if any(map(any, padding)):
        x = np.pad(x, ((0, 0), (0, 0), *padding))
    parts = [x[(slice(None), slice(None), *window)] for window in layout.windows]
    return np.reshape(np.stack(parts, axis=2), (samples, channels * len(parts), math.prod(size)))


@array_function
def add_windows(
    columns: Any, *, kernel: Sizes, size: Sizes, spatial: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes
) -> Any:
    """The sum of windows, given as columns (N, C * prod(kernel), prod(size)), in an array (N, C, *spatial)."""
    samples, channels = columns.shape[0], columns.shape[1] // math.prod(kernel)
    layout = layout_of(spatial, kernel, size, stride, padding, dilation)
    columns = np.reshape(columns, (samples, channels, math.prod(kernel), *size))
    inside = (slice(None), slice(None), *layout.inside)
    if type(columns) is np.ndarray:
        total = np.zeros((samples, channels, *layout.padded), columns.dtype)
        for i, window in enumerate(layout.windows):
            total[(slice(None), slice(None), *window)] += columns[:, :, i]
        return total[inside] if any(map(any, padding)) else total
    placed = [between_zeros(columns[:, :, i], layout.padded, window) for i, window in enumerate(layout.windows)]
    return functools.reduce(np.add, placed)[inside]


def between_zeros(x: Any, padded: Sizes, window: tuple[slice, ...]) -> Any:
    """x (N, C, *size) at the place of a window in zeros (N, C, *padded), made without writing."""
    size = x.shape[2:]
    steps = tuple(w.step for w in window)
    apart = np.reshape(x, (*x.shape[:2], *(n for pair in zip(size, (1,) * len(size), strict=True) for n in pair)))
    apart = np.pad(apart, ((0, 0), (0, 0), *(pair for step in steps for pair in ((0, 0), (0, step - 1)))))
    apart = np.reshape(apart, (*x.shape[:2], *(n * step for n, step in zip(size, steps, strict=True))))
    apart = apart[(slice(None), slice(None), *(slice(w.stop - w.start) for w in window))]
    return np.pad(
        apart, ((0, 0), (0, 0), *((w.start, n - w.stop) for w, n in zip(window, padded, strict=True)))
    )


@backward(windows, 0)
def windows_back(
    grad_out: Any, out: Any, x: Any, kernel: Sizes, size: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes
) -> Any:
    r"""$\nabla_{x_i} L = \sum_{\text{windows } w \ni i} \nabla_{out_{w, i}} L$"""
    return add_windows(
        grad_out, kernel=kernel, size=size, spatial=x.shape[2:], stride=stride, padding=padding, dilation=dilation
    )


@backward(add_windows, 0)
def add_windows_back(
    grad_out: Any,
    out: Any,
    columns: Any,
    kernel: Sizes,
    size: Sizes,
    spatial: Sizes,
    stride: Sizes,
    padding: Pairs,
    dilation: Sizes,
) -> Any:
    r"""$\nabla_{columns_{w, i}} L = \nabla_{out_i} L$"""
    return windows(grad_out, kernel=kernel, size=size, stride=stride, padding=padding, dilation=dilation)


# ----- the table: convolution -----------------------------------------------------------------------------------------


@array_function
def convolve(
    x: Any,
    w: Any,
    bias: Any = None,
    *,
    size: Sizes,
    stride: Sizes,
    padding: Pairs,
    dilation: Sizes,
    groups: int = 1,
) -> Any:
    """The convolution of x (N, C, *spatial) and w (O, C / groups, *kernel): (N, O, *size), plus bias (O,)."""
    samples, channels = x.shape[:2]
    outputs, kernel = w.shape[0], w.shape[2:]
    if is_pointwise(x.shape[2:], kernel, size, padding):
        out = grouped(w, groups) @ np.reshape(x, (samples, groups, channels // groups, math.prod(size)))
        out = np.reshape(out, (samples, outputs, *size))
    elif type(x) is np.ndarray and type(w) is np.ndarray:
        return _convolve_arrays(x, w, bias, size, stride, padding, dilation, groups)
    else:
        columns = windows(x, kernel=kernel, size=size, stride=stride, padding=padding, dilation=dilation)
        columns = np.reshape(columns, (samples, groups, columns.shape[1] // groups, math.prod(size)))
        out = np.reshape(np.matmul(grouped(w, groups), columns), (samples, outputs, *size))
    return out if bias is None else out + along_channels(bias, len(size))


def grouped(w: Any, groups: int) -> Any:
    """The weight (O, C / groups, *kernel) as matrices (groups, O / groups, C / groups * prod(kernel))."""
    return np.reshape(w, (groups, w.shape[0] // groups, math.prod(w.shape[1:])))


def along_channels(bias: Any, spatial: int) -> Any:
    """A vector (O,) in the shape (O, 1, ...) that broadcasts along the channels."""
    return np.reshape(bias, (bias.shape[0], *(1,) * spatial))


def _convolve_arrays(
    x: Any, w: Any, bias: Any, size: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes, groups: int
) -> Any:
    samples, outputs, kernel = x.shape[0], w.shape[0], w.shape[2:]
    layout = layout_of(x.shape[2:], kernel, size, stride, padding, dilation)
    dtype = computing_type(x)
    matrix = grouped(w, groups).astype(dtype, copy=False)
    at_once = samples_at_once(x.shape[1] * math.prod(kernel), outputs, groups, layout.length)
    out = np.empty((samples, outputs, *size), x.dtype)
    shift = None if bias is None else bias.reshape(outputs, 1, *(1,) * len(size))
    crop = (slice(None), slice(None), *map(slice, size))
    for first, last, columns in columns_of(x, layout, kernel, stride, dilation, dtype, at_once):
        product = np.matmul(matrix, columns.reshape(groups, matrix.shape[2], -1))
        product = product.reshape(outputs, last - first, *layout.grid)[crop]
        target = np.swapaxes(out[first:last], 0, 1)
        if shift is None:
            np.copyto(target, product, casting="same_kind")
        else:
            np.add(product, shift, out=target, casting="same_kind")
    return out


@array_function
def convolve_input(
    g: Any,
    w: Any,
    bias: Any = None,
    *,
    size: Sizes,
    stride: Sizes,
    padding: Pairs,
    dilation: Sizes,
    groups: int = 1,
) -> Any:
    """The transposed convolution of g (N, O, *positions) and w (O, C / groups, *kernel): (N, C, *size), plus bias (C,).

    It is the gradient of `convolve` for its input, which had the sizes `size`.
    """
    samples, positions, kernel = g.shape[0], g.shape[2:], w.shape[2:]
    channels = w.shape[1] * groups
    if type(g) is np.ndarray and type(w) is np.ndarray and not is_pointwise(size, kernel, positions, padding):
        out = _convolve_input_arrays(g, w, size, stride, padding, dilation, groups)
        if bias is not None:
            out += along_channels(bias, len(size))
        return out
    columns = np.reshape(g, (samples, groups, g.shape[1] // groups, math.prod(positions)))
    columns = np.matmul(np.swapaxes(grouped(w, groups), 1, 2), columns)
    if is_pointwise(size, kernel, positions, padding):
        out = np.reshape(columns, (samples, channels, *size))
    else:
        columns = np.reshape(columns, (samples, channels * math.prod(kernel), math.prod(positions)))
        out = add_windows(
            columns, kernel=kernel, size=positions, spatial=size, stride=stride, padding=padding, dilation=dilation
        )
    return out if bias is None else out + along_channels(bias, len(size))


def _convolve_input_arrays(
    g: Any, w: Any, size: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes, groups: int
) -> Any:
    samples, kernel, channels = g.shape[0], w.shape[2:], w.shape[1] * groups
    layout = layout_of(size, kernel, g.shape[2:], stride, padding, dilation)
    dtype = computing_type(g)
    matrix = np.swapaxes(grouped(w, groups).astype(dtype, copy=False), 1, 2)
    taps = len(layout.offsets)
    volume = math.prod(layout.padded)
    beyond = layout.spacing[0] if layout.fused else 0
    at_once = samples_at_once(channels * taps, g.shape[1], groups, layout.length)
    out = np.empty((samples, channels, *size), g.dtype)
    inside = (slice(None), slice(None), *layout.inside)
    for first in range(0, samples, at_once):
        part = g[first : first + at_once]
        n = len(part)
        columns = np.matmul(matrix, spread(part, layout, groups, dtype)).reshape(channels, taps, n, layout.length)
        total = np.zeros((channels, n, volume + beyond), dtype)
        if layout.fused:
            for i, start in enumerate(layout.offsets):
                total[:, :, start : start + layout.length] += columns[:, i]
            padded = total[:, :, :volume].reshape(channels, n, *layout.padded)
        else:
            padded = total.reshape(channels, n, *layout.padded)
            for i, window in enumerate(layout.windows):
                padded[(slice(None), slice(None), *window)] += columns[:, i].reshape(channels, n, *layout.grid)
        out[first : first + at_once] = np.swapaxes(padded[inside], 0, 1)
    return out


@array_function
def convolve_weight(
    x: Any, g: Any, *, size: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes, groups: int = 1
) -> Any:
    """The gradient of `convolve` for its weight with a kernel of `size`, from x (N, C, *spatial) and g (N, O, *positions)."""
    samples, channels = x.shape[:2]
    outputs, positions = g.shape[1:2][0], g.shape[2:]
    shape = (outputs, channels // groups, *size)
    if type(x) is np.ndarray and type(g) is np.ndarray:
        return _convolve_weight_arrays(x, g, size, stride, padding, dilation, groups).reshape(shape)
    columns = windows(x, kernel=size, size=positions, stride=stride, padding=padding, dilation=dilation)
    columns = np.reshape(columns, (samples, groups, columns.shape[1] // groups, math.prod(positions)))
    by_group = np.reshape(g, (samples, groups, outputs // groups, math.prod(positions)))
    return np.reshape(np.sum(np.matmul(by_group, np.swapaxes(columns, 2, 3)), axis=0), shape)


def _convolve_weight_arrays(
    x: Any, g: Any, kernel: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes, groups: int
) -> Any:
    layout = layout_of(x.shape[2:], kernel, g.shape[2:], stride, padding, dilation)
    dtype = computing_type(x)
    outputs = g.shape[1]
    rows = x.shape[1] * math.prod(kernel)
    total = np.zeros((groups, outputs // groups, rows // groups), dtype)
    at_once = samples_at_once(rows, outputs, groups, layout.length)
    for first, last, columns in columns_of(x, layout, kernel, stride, dilation, dtype, at_once):
        columns = columns.reshape(groups, rows // groups, -1)
        total += np.matmul(spread(g[first:last], layout, groups, dtype), np.swapaxes(columns, 1, 2))
    return total.astype(x.dtype, copy=False)


def _over_channels(gradient: Any) -> Any:
    """The sum of (N, O, *size) for each channel."""
    n, channels = gradient.shape[:2]
    lines = np.reshape(gradient, (n, channels, math.prod(gradient.shape[2:])))
    if type(lines) is np.ndarray and lines.dtype.char in "fd":  # BLAS sums lines in half the time of np.sum
        return np.dot(lines.reshape(n * channels, -1), np.ones(lines.shape[2], lines.dtype)).reshape(n, channels).sum(0)
    return np.sum(lines, axis=(0, 2))


@backward(convolve, 0)
def convolve_back0(
    grad_out: Any,
    out: Any,
    x: Any,
    w: Any,
    bias: Any = None,
    *,
    size: Sizes,
    stride: Sizes,
    padding: Pairs,
    dilation: Sizes,
    groups: int = 1,
) -> Any:
    r"""$\nabla_{x_i} L = \sum_{s p + d k - q = i} w_k \nabla_{out_p} L$, with stride s, dilation d and padding q"""
    settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return convolve_input(grad_out, w, size=x.shape[2:], **settings)


@backward(convolve, 1)
def convolve_back1(
    grad_out: Any,
    out: Any,
    x: Any,
    w: Any,
    bias: Any = None,
    *,
    size: Sizes,
    stride: Sizes,
    padding: Pairs,
    dilation: Sizes,
    groups: int = 1,
) -> Any:
    r"""$\nabla_{w_k} L = \sum_p x_{s p + d k - q} \nabla_{out_p} L$, with stride s, dilation d and padding q"""
    settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return convolve_weight(x, grad_out, size=w.shape[2:], **settings)


@backward(convolve, 2)
def convolve_back2(
    grad_out: Any,
    out: Any,
    x: Any,
    w: Any,
    bias: Any = None,
    *,
    size: Sizes,
    stride: Sizes,
    padding: Pairs,
    dilation: Sizes,
    groups: int = 1,
) -> Any:
    r"""$\nabla_{bias} L = \sum_{n, p} \nabla_{out_{n, p}} L$"""
    return _over_channels(grad_out)


@backward(convolve_input, 0)
def convolve_input_back0(
    grad_out: Any,
    out: Any,
    g: Any,
    w: Any,
    bias: Any = None,
    *,
    size: Sizes,
    stride: Sizes,
    padding: Pairs,
    dilation: Sizes,
    groups: int = 1,
) -> Any:
    r"""$\nabla_{g_p} L = \sum_k w_k \nabla_{out_{s p + d k - q}} L$, with stride s, dilation d and padding q"""
    settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return convolve(grad_out, w, size=g.shape[2:], **settings)


@backward(convolve_input, 1)
def convolve_input_back1(
    grad_out: Any,
    out: Any,
    g: Any,
    w: Any,
    bias: Any = None,
    *,
    size: Sizes,
    stride: Sizes,
    padding: Pairs,
    dilation: Sizes,
    groups: int = 1,
) -> Any:
    r"""$\nabla_{w_k} L = \sum_p g_p \nabla_{out_{s p + d k - q}} L$, with stride s, dilation d and padding q"""
    settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return convolve_weight(grad_out, g, size=w.shape[2:], **settings)


@backward(convolve_input, 2)
def convolve_input_back2(
    grad_out: Any,
    out: Any,
    g: Any,
    w: Any,
    bias: Any = None,
    *,
    size: Sizes,
    stride: Sizes,
    padding: Pairs,
    dilation: Sizes,
    groups: int = 1,
) -> Any:
    r"""$\nabla_{bias} L = \sum_{n, i} \nabla_{out_{n, i}} L$"""
    return _over_channels(grad_out)


@backward(convolve_weight, 0)
def convolve_weight_back0(
    grad_out: Any,
    out: Any,
    x: Any,
    g: Any,
    *,
    size: Sizes,
    stride: Sizes,
    padding: Pairs,
    dilation: Sizes,
    groups: int = 1,
) -> Any:
    r"""$\nabla_{x_i} L = \sum_{s p + d k - q = i} g_p \nabla_{out_k} L$, with stride s, dilation d and padding q"""
    settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return convolve_input(g, grad_out, size=x.shape[2:], **settings)


@backward(convolve_weight, 1)
def convolve_weight_back1(
    grad_out: Any,
    out: Any,
    x: Any,
    g: Any,
    *,
    size: Sizes,
    stride: Sizes,
    padding: Pairs,
    dilation: Sizes,
    groups: int = 1,
) -> Any:
    r"""$\nabla_{g_p} L = \sum_k x_{s p + d k - q} \nabla_{out_k} L$, with stride s, dilation d and padding q"""
    settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return convolve(x, grad_out, size=g.shape[2:], **settings)


_convolve = wrap_forward_fn(convolve)
_convolve_input = wrap_forward_fn(convolve_input)
_convolve_weight = wrap_forward_fn(convolve_weight)
_windows = wrap_forward_fn(windows)
_add_windows = wrap_forward_fn(add_windows)
