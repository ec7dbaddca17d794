"""The processor's vector registers, which decide how many sums a kernel keeps at once."""

from __future__ import annotations

import functools
from typing import Any

from ...ops.kernels import features

__all__ = ["lanes_of", "register_bytes", "register_count", "tile_height", "tile_width"]


@functools.cache
def register_bytes() -> int:
    """The size of a vector register."""
    if features().get("AVX512F"):
        return 64
    return 32 if features().get("AVX2") else 16


@functools.cache
def register_count() -> int:
    """How many there are."""
    return 32 if features().get("AVX512F") or features().get("NEON") else 16


def lanes_of(dtype: Any) -> int:
    """How many numbers of a type a register holds."""
    return register_bytes() // int(dtype.itemsize)


# ----- a tile of a matrix product, which stays in registers beside a row of the right matrix and a factor -----


def tile_height() -> int:
    """Its rows: enough sums that products need not wait for each other."""
    return 6


def tile_width() -> int:
    """The vectors of its rows."""
    return 4 if register_count() >= 32 else 2
