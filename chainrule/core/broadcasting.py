"""The reverse of broadcasting: a gradient is summed over the axes along which its value was copied."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

__all__ = ["sum_of_rows", "unbroadcast"]

ndarray = np.ndarray
FEW = 1 << 14  # elements that are summed by BLAS in any order
MANY = 1 << 17  # rows that are summed by NumPy: ones for them all would be kept


def sum_of_rows(x: Any) -> Any:
    """The sum over the first axis of a matrix; by BLAS, in half the time of `np.add.reduce` or less, and as exactly."""
    if type(x) is ndarray and (kind := x.dtype.char) in "fd":
        rows = len(x)
        if rows <= MANY and (x.size < FEW or x.flags.forc):
            return row_of_ones(rows, kind).dot(x)
    return np.add.reduce(x, axis=0)


@functools.lru_cache(maxsize=64)
def row_of_ones(length: int, kind: str) -> np.ndarray[Any, Any]:
    """Ones, shared by all callers: not to be written to."""
    ones = np.ones(length, kind)
    ones.flags.writeable = False
    return ones


def unbroadcast(broadcasted: Any, original: Any) -> Any:
    r"""Sum a gradient of a broadcast array down to the shape of the array that was broadcast.

    $$\nabla_x L = \sum_{\text{broadcast axes}} \nabla_{x_b} L$$

    Args:
        broadcasted: gradient with the broadcast shape.
        original: the array (or anything with a `shape`) whose shape the result takes.

    Raises:
        ValueError: `original` does not broadcast to the shape of `broadcasted`.

    >>> import numpy as np
    >>> unbroadcast(np.ones((4, 2)), np.zeros(2))
    array([4., 4.])
    """
    shape = original.shape
    have = broadcasted.shape
    if have == shape:
        return broadcasted
    extra = len(have) - len(shape)
    if extra > 0:
        if shape and have[extra:] == shape and type(broadcasted) is np.ndarray and broadcasted.flags.c_contiguous:
            return sum_of_rows(broadcasted.reshape(math.prod(have[:extra]), math.prod(shape))).reshape(shape)
        broadcasted = np.add.reduce(broadcasted, axis=tuple(range(extra)))
        have = broadcasted.shape
    axes = tuple(i for i, (want, size) in enumerate(zip(shape, have, strict=False)) if want == 1 and size != 1)
    if axes:
        broadcasted = np.add.reduce(broadcasted, axis=axes, keepdims=True)
    if broadcasted.shape != shape:
        raise ValueError(f"shape {tuple(shape)} does not broadcast to shape {tuple(have)}")
    return broadcasted
