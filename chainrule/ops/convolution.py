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
import operator
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..core.forward import array_function, wrap_forward_fn
from ..core.table import backward
from ..core.tensor import Tensor
from .common import as_tensor_argument
from .elementwise import at_least_zero
from .kernels import compiled
from .parallel import shared_out

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

WASTE = 16  # columns of whole planes may be longer by this, divided by the outputs that each of them is multiplied with
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
def layout_of(
    spatial: Sizes, kernel: Sizes, size: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes, outputs: int = 1
) -> Layout:
    """The layout for an input of sizes `spatial`, a result of sizes `size`, and as many `outputs` in a group.

    Raises:
        RuntimeError: the windows would reach behind the end of the padded input.
    """
    padded = tuple(n + before + after for n, (before, after) in zip(spatial, padding, strict=True))
    reach = [(n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip(size, stride, dilation, kernel, strict=True)]
    if any(r > n for r, n in zip(reach, padded, strict=True)):
        raise RuntimeError(f"{size} windows reach over {tuple(reach)} elements, and the padded input has {padded}")
    spacing = tuple(math.prod(padded[i + 1 :]) for i in range(len(padded)))
    planes = (size[0], *padded[1:])
    gapless = all(step == 1 or n == 1 for step, n in zip(stride, size, strict=True))
    fused = gapless and math.prod(planes) <= (1 + min(1, WASTE / outputs)) * math.prod(size)
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


def blocks(samples: int, rows: int, outputs: int, groups: int, length: int) -> Iterator[tuple[slice, int, int]]:
    """How the samples are worked off: (samples, products, samples in a product), block by block.

    Args:
        samples: how many there are.
        rows: of the columns of all groups.
        outputs: of all groups.
        groups: how many.
        length: columns of a sample.
    """
    together = max(1, BLOCK // max(1, rows * length))
    small = (rows // groups) * (outputs // groups) * length <= SMALL_PRODUCT
    for first in range(0, samples, together):
        count = min(together, samples - first)
        yield slice(first, first + count), *((count, 1) if small else (1, count))


def columns_of(
    x: Any, layout: Layout, kernel: Sizes, stride: Sizes, dilation: Sizes, outputs: int, groups: int
) -> Iterator[tuple[slice, int, int, Any]]:
    """The windows block by block: (samples, s, m, columns), for `s` products of `m` samples each.

    The columns have shape (s, groups, C / groups * kernel, m * length); the next block will lie in their memory.
    """
    samples, channels = x.shape[:2]
    dtype = computing_type(x)
    item = dtype.itemsize
    volume, rows = math.prod(layout.padded), channels * math.prod(kernel)
    copied = layout.fused or x.shape[2:] != layout.padded or x.dtype != dtype or not x.flags.c_contiguous
    steps = tuple(spacing * item for spacing in layout.spacing)
    run: tuple[Any, Any] = (layout.grid, tuple(step * s for step, s in zip(stride, steps, strict=True)))
    if layout.fused:
        run = (layout.length,), (item,)
    taps = tuple(d * s for d, s in zip(dilation, steps, strict=True))
    padded: Any = None
    for block, s, m in blocks(samples, rows, outputs, groups, layout.length):
        source = x[block]
        if padded is None:
            matrix = np.empty(s * m * rows * layout.length, dtype)
            if copied:
                beyond = layout.spacing[0] if layout.fused else 0  # windows of whole planes reach behind the end
                memory = np.zeros(s * m * channels * volume + beyond, dtype)
                padded = memory[: s * m * channels * volume].reshape(s * m, channels, *layout.padded)
        if copied:
            padded[(slice(s * m), slice(None), *layout.inside)] = source
            source = padded
        shape = (s, channels, *kernel, m, *run[0])
        sample = channels * volume * item
        strides = (sample * m, volume * item, *taps, sample, *run[1])
        columns = matrix[: math.prod(shape)]
        np.copyto(columns.reshape(shape), np.lib.stride_tricks.as_strided(source, shape, strides))
        yield block, s, m, columns.reshape(s, groups, rows // groups, m * layout.length)


def computing_type(x: Any) -> Any:
    """The element type to compute in: float32 for float16, for which BLAS has no products."""
    return np.dtype(np.float32) if x.dtype == np.float16 else x.dtype


def spread(g: Any, s: int, m: int, layout: Layout, groups: int) -> Any:
    """A block of a result (s * m, O, *size) as matrices (s, groups, O / groups, m * length), zero between positions."""
    channels, size = g.shape[1], g.shape[2:]
    shape = (s, groups, channels // groups, m * layout.length)
    dtype = computing_type(g)
    if layout.grid == size:
        if m == 1 and g.dtype == dtype:
            return g.reshape(shape)
        matrix = np.empty((s, channels, m, *layout.grid), dtype)
    else:
        matrix = np.zeros((s, channels, m, *layout.grid), dtype)
    matrix[(slice(None), slice(None), slice(None), *map(slice, size))] = by_product(g, s, m)
    return matrix.reshape(shape)


def spread_lines(g: Any, s: int, m: int, layout: Layout, groups: int) -> Any:
    """`spread` with lines and columns exchanged, also in memory: (s, groups, m * length, O / groups)."""
    channels, size = g.shape[1], g.shape[2:]
    make = np.empty if layout.grid == size else np.zeros
    matrix = make((s, m, *layout.grid, channels), computing_type(g))
    block = g.reshape(s, m, channels, *size)
    matrix[(slice(None), slice(None), *map(slice, size))] = np.moveaxis(block, 2, -1)
    return np.swapaxes(matrix.reshape(s, m * layout.length, groups, channels // groups), 1, 2)


def by_product(block: Any, s: int, m: int) -> Any:
    """A block (s * m, C, *sizes) as it lies in products: (s, C, m, *sizes)."""
    return block[:, :, None] if m == 1 else np.swapaxes(block, 0, 1)[None]


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
    return np.pad(apart, ((0, 0), (0, 0), *((w.start, n - w.stop) for w, n in zip(window, padded, strict=True))))


@backward(windows, 0)
def windows_back(grad_out: Any, out: Any, x: Any, **settings: Any) -> Any:
    r"""$\nabla_{x_i} L = \sum_{\text{windows } w \ni i} \nabla_{out_{w, i}} L$"""
    return add_windows(grad_out, spatial=x.shape[2:], **settings)


@backward(add_windows, 0)
def add_windows_back(grad_out: Any, out: Any, columns: Any, *, spatial: Sizes, **settings: Any) -> Any:
    r"""$\nabla_{columns_{w, i}} L = \nabla_{out_i} L$"""
    return windows(grad_out, **settings)


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
        settings = settings_of(size, stride, padding, dilation, groups)
        shape = (samples, outputs, *size)
        out = by_kernel(convolve, (x, w, bias), shape, samples * w.size * math.prod(size), settings)
        return _convolve_arrays(x, w, bias, **settings) if out is None else out
    else:
        columns = windows(x, kernel=kernel, size=size, stride=stride, padding=padding, dilation=dilation)
        columns = np.reshape(columns, (samples, groups, columns.shape[1] // groups, math.prod(size)))
        out = np.reshape(np.matmul(grouped(w, groups), columns), (samples, outputs, *size))
    return out if bias is None else out + along_channels(bias, len(size))


def rectified_convolve(x: Any, w: Any, bias: Any = None, **settings: Any) -> Any:
    """`maximum(convolve(x, w, bias), 0)` of ndarrays, taken while the results are in the cache."""
    samples, size = x.shape[0], settings["size"]
    pointwise = is_pointwise(x.shape[2:], w.shape[2:], size, settings["padding"])
    if pointwise or compiled(samples * w.size * math.prod(size), x, w, bias) is not None:
        out = convolve(x, w, bias, **settings)
        return at_least_zero(out, out=out)
    return _convolve_arrays(x, w, bias, **settings, rectified=True)


def settings_of(size: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes, groups: int) -> dict[str, Any]:
    """The keywords of an operation of this file."""
    return {"size": size, "stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


def by_kernel(operation: Any, arrays: tuple[Any, ...], shape: Sizes, cost: int, settings: dict[str, Any]) -> Any:
    """The result of an operation of this file by a kernel, where there is one; else None.

    Args:
        arrays: the operands.
        shape: of the result.
        cost: the multiplications that it takes.
        settings: the operation's keywords.
    """
    kernels = compiled(cost, *arrays)
    return None if kernels is None else kernels.layer(operation, arrays, (), shape, **settings)


def grouped(w: Any, groups: int) -> Any:
    """The weight (O, C / groups, *kernel) as matrices (groups, O / groups, C / groups * prod(kernel))."""
    return np.reshape(w, (groups, w.shape[0] // groups, math.prod(w.shape[1:])))


def along_channels(bias: Any, spatial: int) -> Any:
    """A vector (O,) in the shape (O, 1, ...) that broadcasts along the channels."""
    return np.reshape(bias, (bias.shape[0], *(1,) * spatial))


def _convolve_arrays(
    x: Any,
    w: Any,
    bias: Any,
    size: Sizes,
    stride: Sizes,
    padding: Pairs,
    dilation: Sizes,
    groups: int,
    rectified: bool = False,
) -> Any:
    samples, outputs, kernel = x.shape[0], w.shape[0], w.shape[2:]
    layout = layout_of(x.shape[2:], kernel, size, stride, padding, dilation, outputs // groups)
    matrix = grouped(w, groups).astype(computing_type(w), copy=False)
    out = np.empty((samples, outputs, *size), x.dtype)
    shift = None if bias is None else bias.reshape(outputs, 1, *(1,) * len(size))
    positions = (slice(None), slice(None), slice(None), *map(slice, size))

    def work(part: slice) -> None:
        for block, s, m, columns in columns_of(x[part], layout, kernel, stride, dilation, outputs, groups):
            product = np.matmul(matrix, columns).reshape(s, outputs, m, *layout.grid)[positions]
            target = by_product(out[part][block], s, m)
            if shift is None:
                np.copyto(target, product, casting="same_kind")
            else:
                np.add(product, shift, out=target, casting="same_kind")
            if rectified:
                done = out[part][block]
                at_least_zero(done, out=done)

    shared_out(work, samples, samples * w.size * layout.length)
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
    plain = type(g) is np.ndarray and type(w) is np.ndarray and not is_pointwise(size, kernel, positions, padding)
    if plain and np.isfinite(np.vdot(w, w)):  # zeros around g times an infinite weight would be NaN
        settings = settings_of(size, stride, padding, dilation, groups)
        shape = (samples, channels, *size)
        out = by_kernel(convolve_input, (g, w, bias), shape, samples * w.size * math.prod(positions), settings)
        if out is not None:
            return out
        out = _convolve_input_arrays(g, w, **settings)
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
    if channels == groups == g.shape[1] and all(step == 1 for step in stride):
        # a channel for itself: a convolution with the weight turned round, whose result needs no adding up of windows
        reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        around = tuple((r - a, n + a - m) for r, n, m, (a, _) in zip(reach, size, g.shape[2:], padding, strict=True))
        if min(map(min, around)) >= 0:
            turned = np.ascontiguousarray(np.flip(w, tuple(range(2, w.ndim))))  # BLAS takes no negative strides
            return _convolve_arrays(g, turned, None, size, stride, around, dilation, groups)
    layout = layout_of(size, kernel, g.shape[2:], stride, padding, dilation, g.shape[1] // groups)
    dtype = computing_type(g)
    matrix = np.swapaxes(grouped(w, groups).astype(dtype, copy=False), 1, 2)
    taps = len(layout.offsets)
    volume = math.prod(layout.padded)
    beyond = layout.spacing[0] if layout.fused else 0
    one_output = g.shape[1] == groups  # the products of each kernel's place are those with one number a channel
    numbers = matrix.reshape(channels, taps, 1, 1) if one_output else matrix
    every = (slice(None),) * 3
    out = np.empty((samples, channels, *size), g.dtype)

    def work(part: slice) -> None:
        for block, s, m in blocks(part.stop - part.start, channels * taps, g.shape[1], groups, layout.length):
            matrices = spread(g[part][block], s, m, layout, groups)
            if one_output:
                lines = matrices.reshape(s, groups, m, layout.length)
                if groups not in (1, channels):
                    lines = np.repeat(lines, channels // groups, axis=1)
                products = (lines * numbers[:, i] for i in range(taps))
            else:
                columns = np.matmul(matrix, matrices).reshape(s, channels, taps, m, layout.length)
                products = (columns[:, :, i] for i in range(taps))
            total = np.zeros((s, channels, m, volume + beyond), dtype)
            if layout.fused:
                for start, product in zip(layout.offsets, products, strict=True):
                    total[:, :, :, start : start + layout.length] += product
                padded = total[:, :, :, :volume].reshape(s, channels, m, *layout.padded)
            else:
                padded = total.reshape(s, channels, m, *layout.padded)
                for window, product in zip(layout.windows, products, strict=True):
                    padded[every + window] += product.reshape(s, channels, m, *layout.grid)
            by_product(out[part][block], s, m)[...] = padded[every + layout.inside]

    shared_out(work, samples, samples * w.size * layout.length)
    return out


@array_function
def convolve_weight(
    x: Any, g: Any, *, size: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes, groups: int = 1
) -> Any:
    """The gradient of `convolve` for its weight, given x (N, C, *spatial) and g (N, O, *positions).

    The kernel has the sizes `size`, the result the shape (O, C / groups, *size).
    """
    samples, channels = x.shape[:2]
    outputs, positions = g.shape[1], g.shape[2:]
    shape = (outputs, channels // groups, *size)
    if type(x) is np.ndarray and type(g) is np.ndarray:
        settings = settings_of(size, stride, padding, dilation, groups)
        cost = samples * math.prod(shape) * math.prod(positions)
        out = by_kernel(convolve_weight, (x, g), shape, cost, settings)
        return _convolve_weight_arrays(x, g, **settings).reshape(shape) if out is None else out
    columns = windows(x, kernel=size, size=positions, stride=stride, padding=padding, dilation=dilation)
    columns = np.reshape(columns, (samples, groups, columns.shape[1] // groups, math.prod(positions)))
    by_group = np.reshape(g, (samples, groups, outputs // groups, math.prod(positions)))
    return np.reshape(np.sum(np.matmul(by_group, np.swapaxes(columns, 2, 3)), axis=0), shape)


def _convolve_weight_arrays(
    x: Any, g: Any, size: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes, groups: int
) -> Any:
    outputs, rows = g.shape[1], x.shape[1] * math.prod(size)
    layout = layout_of(x.shape[2:], size, g.shape[2:], stride, padding, dilation, outputs // groups)
    shape = (groups, rows // groups, outputs // groups)

    def work(part: slice) -> Any:
        total = np.zeros(shape, computing_type(x))
        for block, s, m, columns in columns_of(x[part], layout, size, stride, dilation, outputs, groups):
            # small products of several columns are quicker with the lines of g^T in memory, all others without
            if m == 1 and outputs >= 16 * groups:
                matrices = spread_lines(g[part][block], s, m, layout, groups)
            else:
                matrices = np.swapaxes(spread(g[part][block], s, m, layout, groups), 2, 3)
            products = np.matmul(columns, matrices)
            total += products[0] if s == 1 else np.add.reduce(products, axis=0)
        return total

    samples = x.shape[0]
    total = functools.reduce(np.add, shared_out(work, samples, samples * math.prod(shape) * layout.length))
    if layout.fused and layout.grid != g.shape[2:] and not np.all(np.isfinite(total)):
        # between the lines of whole planes, zeros have been multiplied with elements of x, infinite ones as well
        layout = layout_of(x.shape[2:], size, g.shape[2:], stride, padding, dilation, sys.maxsize)
        total = functools.reduce(np.add, shared_out(work, samples, samples * math.prod(shape) * layout.length))
    return np.ascontiguousarray(np.swapaxes(total, 1, 2)).astype(x.dtype, copy=False)


# Every backward function hands on the settings: stride, padding, dilation and groups.


@backward(convolve, 0)
def convolve_back0(grad_out: Any, out: Any, x: Any, w: Any, bias: Any = None, *, size: Sizes, **settings: Any) -> Any:
    r"""$\nabla_{x_i} L = \sum_{s p + d k - q = i} w_k \nabla_{out_p} L$, with stride s, dilation d and padding q"""
    return convolve_input(grad_out, w, size=x.shape[2:], **settings)


@backward(convolve, 1)
def convolve_back1(grad_out: Any, out: Any, x: Any, w: Any, bias: Any = None, *, size: Sizes, **settings: Any) -> Any:
    r"""$\nabla_{w_k} L = \sum_p x_{s p + d k - q} \nabla_{out_p} L$, with stride s, dilation d and padding q"""
    return convolve_weight(x, grad_out, size=w.shape[2:], **settings)


@backward(convolve_input, 0)
def convolve_input_back0(
    grad_out: Any, out: Any, g: Any, w: Any, bias: Any = None, *, size: Sizes, **settings: Any
) -> Any:
    r"""$\nabla_{g_p} L = \sum_k w_k \nabla_{out_{s p + d k - q}} L$, with stride s, dilation d and padding q"""
    return convolve(grad_out, w, size=g.shape[2:], **settings)


@backward(convolve_input, 1)
def convolve_input_back1(
    grad_out: Any, out: Any, g: Any, w: Any, bias: Any = None, *, size: Sizes, **settings: Any
) -> Any:
    r"""$\nabla_{w_k} L = \sum_p g_p \nabla_{out_{s p + d k - q}} L$, with stride s, dilation d and padding q"""
    return convolve_weight(grad_out, g, size=w.shape[2:], **settings)


@backward(convolve, 2)
@backward(convolve_input, 2)
def convolve_back2(grad_out: Any, out: Any, x: Any, w: Any, bias: Any = None, **settings: Any) -> Any:
    r"""$\nabla_{bias} L = \sum_{n, p} \nabla_{out_{n, p}} L$"""
    n, channels = grad_out.shape[:2]
    lines = np.reshape(grad_out, (n, channels, math.prod(grad_out.shape[2:])))
    return np.sum(np.sum(lines, axis=2), axis=0)  # line by line: twice as quick as both axes at once


@backward(convolve_weight, 0)
def convolve_weight_back0(grad_out: Any, out: Any, x: Any, g: Any, *, size: Sizes, **settings: Any) -> Any:
    r"""$\nabla_{x_i} L = \sum_{s p + d k - q = i} g_p \nabla_{out_k} L$, with stride s, dilation d and padding q"""
    return convolve_input(g, grad_out, size=x.shape[2:], **settings)


@backward(convolve_weight, 1)
def convolve_weight_back1(grad_out: Any, out: Any, x: Any, g: Any, *, size: Sizes, **settings: Any) -> Any:
    r"""$\nabla_{g_p} L = \sum_k x_{s p + d k - q} \nabla_{out_k} L$, with stride s, dilation d and padding q"""
    return convolve(x, grad_out, size=g.shape[2:], **settings)


_convolve = wrap_forward_fn(convolve)
_convolve_input = wrap_forward_fn(convolve_input)
_convolve_weight = wrap_forward_fn(convolve_weight)
_windows = wrap_forward_fn(windows)
_add_windows = wrap_forward_fn(add_windows)

# ----- the settings of an operation -----------------------------------------------------------------------------------


def sizes_of(value: Any, argument: str, count: int, name: str) -> Sizes:
    """A setting as a number for each spatial dimension: one number stands for all.

    Raises:
        TypeError: it is no integer and no sequence of integers.
        RuntimeError: a sequence of another length.
    """
    if type(value) is int:
        return (value,) * count
    try:
        numbers = tuple(map(operator.index, value)) if hasattr(value, "__len__") else (operator.index(value),)
    except TypeError:
        raise TypeError(
            f"{name}(): argument '{argument}' must be tuple of ints, not {type(value).__name__}: {value!r}"
        ) from None
    if len(numbers) == 1:
        return numbers * count
    if len(numbers) != count:
        raise RuntimeError(
            f"{name}: expected {argument} to be a single integer value or a list of {count} values to match the "
            f"convolution dimensions, but got {argument}={list(numbers)}"
        )
    return numbers


class Setting(NamedTuple):
    """How a public operation was called: all that its result's shape depends on, and nothing else."""

    name: str
    input: Sizes
    weight: Sizes
    bias: Sizes | None
    stride: Sizes
    padding: Sizes | str
    dilation: Sizes
    groups: int
    output_padding: Sizes | None  # None where the convolution is not transposed


@functools.lru_cache(maxsize=1024)
def keywords_of(setting: Setting) -> dict[str, Any]:
    """The keywords of `convolve` or `convolve_input` for an operation.

    Raises:
        RuntimeError: the shapes do not fit, or a number is out of range.
    """
    name, input, weight, _, stride, padding, dilation, groups, output_padding = setting
    count = len(stride)
    transposed = output_padding is not None
    check_numbers(setting)
    check_shapes(setting)
    spatial, kernel = input[-count:], weight[2:]
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    pairs: Pairs
    if padding == "same":
        if any(step != 1 for step in stride):
            raise RuntimeError("padding='same' is not supported for strided convolutions")
        pairs = tuple((r // 2, r - r // 2) for r in reach)
    elif isinstance(padding, str):
        if padding != "valid":
            raise RuntimeError(f"Invalid padding string: '{padding}', it should be 'same' or 'valid'")
        pairs = ((0, 0),) * count
    else:
        pairs = tuple((p, p) for p in padding)
    if transposed:
        size = tuple(
            (n - 1) * step - before - after + r + more + 1
            for n, step, (before, after), r, more in zip(
                spatial, stride, pairs, reach, output_padding or (), strict=True
            )
        )
        if min(spatial, default=1) < 1 or min(size, default=1) < 1:
            raise RuntimeError(
                f"{name}: Given input size per channel: ({times(spatial)}). Calculated output size per channel: "
                f"({times(size)}). Output size is too small"
            )
    else:
        padded = tuple(n + before + after for n, (before, after) in zip(spatial, pairs, strict=True))
        if any(n < r + 1 for n, r in zip(padded, reach, strict=True)):
            raise RuntimeError(
                f"{name}: Calculated padded input size per channel: ({times(padded)}). Kernel size: "
                f"({times([r + 1 for r in reach])}). Kernel size can't be greater than actual input size"
            )
        size = tuple((n - r - 1) // step + 1 for n, r, step in zip(padded, reach, stride, strict=True))
    return {"size": size, "stride": stride, "padding": pairs, "dilation": dilation, "groups": groups}


def times(numbers: Any) -> str:
    """Sizes as PyTorch's messages write them: 5 x 5."""
    return " x ".join(map(str, numbers))


def check_numbers(setting: Setting) -> None:
    """Refuse numbers that are out of range, whatever the shapes.

    Raises:
        RuntimeError: names the number.
    """
    name, stride, dilation = setting.name, setting.stride, setting.dilation
    if min(stride) < 1:
        raise RuntimeError(f"{name}: non-positive stride is not supported, got stride={list(stride)}")
    if not isinstance(setting.padding, str) and min(setting.padding) < 0:
        raise RuntimeError(f"{name}: negative padding is not supported, got padding={list(setting.padding)}")
    if min(dilation) < 1:
        raise RuntimeError(f"{name}: dilation should be greater than zero, but got {list(dilation)}")
    if setting.groups < 1:
        raise RuntimeError(f"{name}: non-positive groups is not supported, got groups={setting.groups}")
    if setting.output_padding is None:
        return
    if min(setting.output_padding) < 0:
        raise RuntimeError(f"{name}: negative output_padding is not supported, got {list(setting.output_padding)}")
    if any(more >= max(s, d) for more, s, d in zip(setting.output_padding, stride, dilation, strict=True)):
        raise RuntimeError(
            f"{name}: output padding must be smaller than either stride or dilation, but got output_padding: "
            f"{list(setting.output_padding)}, stride: {list(stride)}, dilation: {list(dilation)}"
        )


def check_shapes(setting: Setting) -> None:
    """Refuse shapes that do not fit each other.

    Raises:
        RuntimeError: names the shapes.
    """
    name, input, weight, bias, groups = setting.name, setting.input, setting.weight, setting.bias, setting.groups
    count = len(setting.stride)
    transposed = setting.output_padding is not None
    if len(input) not in (count + 1, count + 2):
        raise RuntimeError(
            f"Expected {count + 1}D (unbatched) or {count + 2}D (batched) input to {name}, but got input of size: "
            f"{list(input)}"
        )
    shown = f"weight of size {list(weight)}"
    if len(weight) != count + 2:
        raise RuntimeError(f"{name}: expected {count + 2}-dimensional weight, but got {shown}")
    if min(weight[2:]) < 1:
        raise RuntimeError(f"{name}: kernel size should be greater than zero, but got {shown}")
    if weight[0] < groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be at least {groups} at dimension 0, but got {shown} instead"
        )
    if weight[0] % groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, but got {shown} "
            "instead"
        )
    given = "transposed=1" if transposed else f"groups={groups}"
    channels = input[-count - 1]
    expected = weight[0] if transposed else weight[1] * groups
    if channels != expected:
        raise RuntimeError(
            f"Given {given}, {shown}, expected input{list(input)} to have {expected} channels, but got {channels} "
            "channels instead"
        )
    outputs = weight[1] * groups if transposed else weight[0]
    if bias is not None and bias != (outputs,):
        raise RuntimeError(
            f"Given {given}, {shown}, expected bias to be 1-dimensional with {outputs} elements, but got bias of size "
            f"{list(bias)} instead"
        )


def check_types(name: str, input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """Refuse operands of different element types, and booleans.

    Raises:
        RuntimeError: names the types.
    """
    kind = input.array.dtype
    for what, other in (("weight", weight), ("bias", bias)):
        if other is not None and other.array.dtype != kind:
            raise RuntimeError(
                f"{name}: Input type ({kind}) and {what} type ({other.array.dtype}) should be the same: convert one "
                "with .to(other.dtype)"
            )
    if kind.kind == "b":
        raise NotImplementedError(f"{name} is not implemented for bool")


def _convolution(
    name: str,
    count: int,
    input: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    output_padding: Any = None,
) -> Tensor:
    """The operation behind all public ones; transposed where `output_padding` is given."""
    input, weight = as_tensor_argument(input), as_tensor_argument(weight)
    bias = None if bias is None else as_tensor_argument(bias)
    transposed = output_padding is not None
    keywords = keywords_of(
        Setting(
            name,
            input.array.shape,
            weight.array.shape,
            None if bias is None else bias.array.shape,
            sizes_of(stride, "stride", count, name),
            padding if isinstance(padding, str) and not transposed else sizes_of(padding, "padding", count, name),
            sizes_of(dilation, "dilation", count, name),
            operator.index(groups),
            sizes_of(output_padding, "output_padding", count, name) if transposed else None,
        )
    )
    check_types(name, input, weight, bias)
    operation = _convolve_input if transposed else _convolve
    if input.ndim == count + 2:
        return operation(input, weight, bias, **keywords)  # type: ignore[no-any-return]
    return operation(input.unsqueeze(0), weight, bias, **keywords).squeeze(0)  # type: ignore[no-any-return]


# ----- the operations -------------------------------------------------------------------------------------------------


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The cross-correlation of (N, C, L) or (C, L) with a weight (O, C / groups, K), plus a bias (O,).

    `padding` is a number of zeros for both ends, "same" (as many positions as the input has) or "valid" (none).

    Raises:
        RuntimeError: shapes or types do not fit; the kernel is longer than the padded input.

    >>> import chainrule as cr
    >>> cr.conv1d(cr.tensor([[[1.0, 2.0, 4.0, 8.0]]]), cr.tensor([[[-1.0, 1.0]]]))
    Tensor(array([[[1., 2., 4.]]], dtype=float32), requires_grad=False)
    """
    return _convolution("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The cross-correlation of (N, C, H, W) or (C, H, W) with a weight (O, C / groups, K, K), plus a bias (O,).

    Settings are one number or one for each of the two axes; `padding` may also be "same" or "valid".

    Raises:
        RuntimeError: shapes or types do not fit; the kernel is larger than the padded input.

    >>> import chainrule as cr
    >>> cr.conv2d(cr.ones(1, 3, 8, 8), cr.ones(4, 3, 3, 3), padding="same", dilation=2).shape
    (1, 4, 8, 8)
    """
    return _convolution("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The cross-correlation of (N, C, D, H, W) or (C, D, H, W) with (O, C / groups, K, K, K), plus a bias (O,).

    Raises:
        RuntimeError: shapes or types do not fit; the kernel is larger than the padded input.
    """
    return _convolution("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """The gradient of `conv1d` for its input: (N, C, L) with a weight (C, O / groups, K) gives (N, O, L').

    `L' = (L - 1) * stride - 2 * padding + dilation * (K - 1) + output_padding + 1`.

    Raises:
        RuntimeError: shapes or types do not fit; `output_padding` is not below stride or dilation.

    >>> import chainrule as cr
    >>> cr.conv_transpose1d(cr.tensor([[[1.0, 2.0]]]), cr.tensor([[[1.0, 10.0]]]), stride=2)
    Tensor(array([[[ 1., 10.,  2., 20.]]], dtype=float32), requires_grad=False)
    """
    return _convolution("conv_transpose1d", 1, input, weight, bias, stride, padding, dilation, groups, output_padding)


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """The gradient of `conv2d` for its input: (N, C, H, W) with a weight (C, O / groups, K, K) gives (N, O, H', W').

    Raises:
        RuntimeError: shapes or types do not fit; `output_padding` is not below stride or dilation.

    >>> import chainrule as cr
    >>> cr.conv_transpose2d(cr.ones(1, 3, 4, 4), cr.ones(3, 2, 3, 3), stride=2, padding=1, output_padding=1).shape
    (1, 2, 8, 8)
    """
    return _convolution("conv_transpose2d", 2, input, weight, bias, stride, padding, dilation, groups, output_padding)


def conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """The gradient of `conv3d` for its input: (N, C, D, H, W) with a weight (C, O / groups, K, K, K).

    Raises:
        RuntimeError: shapes or types do not fit; `output_padding` is not below stride or dilation.
    """
    return _convolution("conv_transpose3d", 3, input, weight, bias, stride, padding, dilation, groups, output_padding)


def convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> Tensor:
    """A convolution, transposed or not, in as many dimensions as the weight has beyond its first two."""
    count = as_tensor_argument(weight).ndim - 2
    if count < 1:
        raise RuntimeError(f"weight should have at least three dimensions, got {list(weight.shape)}")
    further = output_padding if transposed else None
    return _convolution("convolution", count, input, weight, bias, stride, padding, dilation, groups, further)


def conv_tbc(input: Tensor, weight: Tensor, bias: Tensor, pad: int = 0) -> Tensor:
    """`conv1d` of (time, batch, channels) with a weight (K, channels, O) and a bias (O,).

    Raises:
        RuntimeError: shapes do not fit.
    """
    if input.ndim != 3 or weight.ndim != 3:
        raise RuntimeError(
            f"conv_tbc: Input must have 3 dims: time, batch, in_channel, and weight K, in_channel, out_channel; got "
            f"{tuple(input.shape)} and {tuple(weight.shape)}"
        )
    return conv1d(input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, padding=pad).permute(2, 0, 1)  # type: ignore[no-any-return]


# ----- sliding blocks -------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=256)
def blocks_of(
    name: str, spatial: Sizes, kernel_size: Sizes, dilation: Sizes, padding: Sizes, stride: Sizes
) -> dict[str, Any]:
    """The keywords of `windows` for an image of sizes `spatial`; the number of blocks may be negative.

    Raises:
        RuntimeError: a number is out of range.
    """
    for what, numbers in (("kernel size", kernel_size), ("dilation", dilation), ("stride", stride)):
        if min(numbers) < 1:
            raise RuntimeError(f"{name}: {what} should be greater than zero, but got {list(numbers)}")
    if min(padding) < 0:
        raise RuntimeError(f"{name}: padding should be non-negative, but got {list(padding)}")
    size = tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(spatial, padding, dilation, kernel_size, stride, strict=True)
    )
    pairs = tuple((p, p) for p in padding)
    return {"kernel": kernel_size, "size": size, "stride": stride, "padding": pairs, "dilation": dilation}


def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """The sliding blocks of images as columns: (N, C, H, W) gives (N, C * K * K, blocks).

    Raises:
        RuntimeError: the input is no image, or smaller than a block.

    >>> import chainrule as cr
    >>> cr.nn.functional.unfold(cr.arange(9.0).reshape(1, 1, 3, 3), 2).shape
    (1, 4, 4)
    """
    input = as_tensor_argument(input)
    if input.ndim not in (3, 4):
        raise RuntimeError(
            f"unfold: Expected 3D or 4D (batch mode) tensor for input with shape (N, C, H, W), but got: "
            f"{list(input.shape)}"
        )
    settings = (
        sizes_of(value, what, 2, "unfold")
        for what, value in (
            ("kernel_size", kernel_size),
            ("dilation", dilation),
            ("padding", padding),
            ("stride", stride),
        )
    )
    keywords = blocks_of("unfold", input.array.shape[-2:], *settings)
    if min(keywords["size"]) < 1:
        raise RuntimeError(
            f"unfold: Given input with spatial size {input.shape[-2:]}, kernel_size={keywords['kernel']}, dilation="
            f"{keywords['dilation']}, padding={sizes_of(padding, 'padding', 2, 'unfold')}, calculated shape of the "
            f"array of sliding blocks as {keywords['size']}, but its components must be at least one."
        )
    if input.ndim == 4:
        return _windows(input, **keywords)  # type: ignore[no-any-return]
    return _windows(input.unsqueeze(0), **keywords).squeeze(0)  # type: ignore[no-any-return]


def fold(
    input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """Images (N, C, *output_size) as the sum of their sliding blocks, given as columns (N, C * K * K, blocks).

    Raises:
        RuntimeError: the columns are not those of an image of that size.

    >>> import chainrule as cr
    >>> cr.nn.functional.fold(cr.ones(1, 4, 4), (3, 3), 2)
    Tensor(array([[[[1., 2., 1.],
             [2., 4., 2.],
             [1., 2., 1.]]]], dtype=float32), requires_grad=False)
    """
    input = as_tensor_argument(input)
    if input.ndim not in (2, 3):
        raise RuntimeError(f"fold: Expected 2D or 3D (batch mode) tensor for input, but got: {list(input.shape)}")
    settings = [
        sizes_of(value, what, 2, "fold")
        for what, value in (
            ("output_size", output_size),
            ("kernel_size", kernel_size),
            ("dilation", dilation),
            ("padding", padding),
            ("stride", stride),
        )
    ]
    keywords = blocks_of("fold", *settings)
    rows, blocks = input.shape[-2:]
    if rows % math.prod(keywords["kernel"]):
        raise RuntimeError(
            "fold: Expected size of input's dimension 1 to be divisible by the product of kernel_size, but got "
            f"input.size(1)={rows} and kernel_size={keywords['kernel']}."
        )
    if min(keywords["size"]) < 1 or math.prod(keywords["size"]) != blocks:
        raise RuntimeError(
            f"fold: Given output_size={settings[0]}, kernel_size={settings[1]}, dilation={settings[2]}, padding="
            f"{settings[3]}, stride={settings[4]}, expected size of input's dimension 2 to match the calculated number "
            f"of sliding blocks {' * '.join(map(str, keywords['size']))}, but got input.size(2)={blocks}."
        )
    if input.ndim == 3:
        return _add_windows(input, spatial=settings[0], **keywords)  # type: ignore[no-any-return]
    return _add_windows(input.unsqueeze(0), spatial=settings[0], **keywords).squeeze(0)  # type: ignore[no-any-return]
