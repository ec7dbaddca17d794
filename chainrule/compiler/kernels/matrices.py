"""The parts of a matrix product, which the kernels of `products.py` call: see there for their order. Needs Numba.

Their names end in the type of the numbers: `pack_float32`, `multiply_float32`, `depth_float32`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from .intrinsics import as_shape, row_of
from .registers import lanes_of, tile_height, tile_width
from .vectors import load, multiply_tile, store, store_tile, transpose_block

__all__ = []

Function = Callable[..., Any]
part: Callable[[Function], Function] = numba.njit(inline="always", error_model="numpy", no_cpython_wrapper=True)
DEPTH = 512  # of the inner dimension, at most, in a block


def make_panel(lanes: int, count: int) -> tuple[Function, Function]:
    """Functions for panels of `count` vectors: one that copies a panel, one that multiplies by it."""
    height, step = tile_height(), count * lanes
    size = height * step

    @part
    def pack(b: Any, pitch: Any, turned: Any, k0: Any, deep: Any, n: Any, panels: Any, at: Any) -> None:
        whole = deep // lanes * lanes if turned else 0
        for k in range(0, whole, lanes):
            for j in range(0, step, lanes):
                transpose_block(b, (n + j) * pitch + k0 + k, pitch, panels, at + k * step + j, step)
        for k in range(whole, deep):
            if turned:
                for j in range(step):
                    panels[at + k * step + j] = b[(n + j) * pitch + k0 + k]
            else:
                store(panels, at + k * step, load(b, (k0 + k) * pitch + n, count, lanes), lanes)

    @part
    def multiply(
        a: Any, down: Any, along: Any, panels: Any, at: Any, k0: Any, deep: Any, r0: Any, r1: Any, n: Any, old: Any,
        out: Any,
    ) -> None:  # fmt: skip
        rows, columns = out.shape
        result, edge = as_shape(out, (out.size,)), row_of(size, panels)
        for r in range(r0, r1, height):
            m = min(r, rows - height)
            sums = multiply_tile(a, m * down + k0 * along, down, along, panels, at, deep, height, count)
            if m == r and not old:
                store_tile(result, m * columns + n, columns, sums, count, k0 > 0)
            else:
                store_tile(edge, 0, step, sums, count, False)
                for i in range(r - m, height):
                    kept, new = out[m + i, n + old : n + step], edge[i * step + old : (i + 1) * step]
                    for j in range(kept.size):
                        kept[j] = kept[j] + new[j] if k0 else new[j]

    return pack, multiply


def make(dtype: Any) -> tuple[Function, Function, Function]:
    """The functions for one type of numbers."""
    lanes = lanes_of(dtype)
    step = tile_width() * lanes
    pack_wide, multiply_wide = make_panel(lanes, tile_width())
    pack_narrow, multiply_narrow = make_panel(lanes, 1)

    @part
    def pack(right: Any, turned: Any, k0: Any, deep: Any, start: Any, stop: Any, panels: Any) -> None:
        """Copy rows k0 to k0 + deep of columns `start` to `stop`: wide panels, then narrow ones."""
        b, pitch = as_shape(right, (right.size,)), right.shape[1]
        narrow = start + (stop - start) // step * step
        for n in range(start, narrow, step):
            pack_wide(b, pitch, turned, k0, deep, n, panels, (n - start) * deep)
        for n in range(narrow, stop, lanes):
            pack_narrow(b, pitch, turned, k0, deep, min(n, stop - lanes), panels, (n - start) * deep)

    @part
    def multiply(
        left: Any, turned: Any, panels: Any, k0: Any, deep: Any, r0: Any, r1: Any, start: Any, stop: Any, n0: Any,
        out: Any,
    ) -> None:  # fmt: skip
        """Add the products of this block to rows r0 to r1 of columns n0 to n0 + step, or to `stop`."""
        a, pitch = as_shape(left, (left.size,)), left.shape[1]
        down, along = (1, pitch) if turned else (pitch, 1)
        if n0 + step <= stop:
            multiply_wide(a, down, along, panels, (n0 - start) * deep, k0, deep, r0, r1, n0, 0, out)
        else:
            for n in range(n0, stop, lanes):
                begin = min(n, stop - lanes)
                multiply_narrow(a, down, along, panels, (n - start) * deep, k0, deep, r0, r1, begin, n - begin, out)

    @part
    def depth(inner: Any) -> Any:
        """How much of the inner dimension is taken at a time: blocks of about one size, of whole vectors."""
        blocks = -(-inner // DEPTH)
        return -(-inner // (blocks * lanes)) * lanes

    return pack, multiply, depth


for kind in ("float32", "float64"):
    for function_name, made in zip(("pack", "multiply", "depth"), make(np.dtype(kind)), strict=True):
        globals()[f"{function_name}_{kind}"] = made
        __all__.append(f"{function_name}_{kind}")
