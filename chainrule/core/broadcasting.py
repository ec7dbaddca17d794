"""The reverse of broadcasting: a gradient is summed over the axes along which its value was copied."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["unbroadcast"]


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
        broadcasted = np.add.reduce(broadcasted, axis=tuple(range(extra)))
        have = broadcasted.shape
    axes = tuple(i for i, (want, size) in enumerate(zip(shape, have, strict=False)) if want == 1 and size != 1)
    if axes:
        broadcasted = np.add.reduce(broadcasted, axis=axes, keepdims=True)
    if broadcasted.shape != shape:
        raise ValueError(f"shape {tuple(shape)} does not broadcast to shape {tuple(have)}")
    return broadcasted
