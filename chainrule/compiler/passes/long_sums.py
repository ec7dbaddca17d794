"""Sums along a long axis that is not the last are added up in parts, as eager does it: `add_up` in `ops/reduction.py`.

Number after number to one sum, which is how NumPy and kernels add along such an axis, a million of them lose half of
float32's digits. The same goes for means, variances and standard deviations.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from ...ops.reduction import LONG
from ..graph import Graph, Node
from ..tracer import UfuncMethod

__all__ = ["run"]

SHORTEST = 64  # numbers in a part
ADD = UfuncMethod(np.add, "reduce")


def run(graph: Graph) -> bool:
    """Rewrite the reductions of a graph."""

    def rule(node: Node) -> Node | None:
        write = FORMS.get(node.op) if callable(node.op) else None
        if write is None or not node.args or len(node.args) > 2 or node.dtype not in (np.float32, np.float64):
            return None
        given: dict[str, Any] = {"axis": 0 if node.op == ADD else None, "keepdims": False, "ddof": 0}
        names = set(given) - (set() if write in (variance, deviation) else {"ddof"})
        given |= dict(zip(("axis",), node.args[1:], strict=False)) | node.kwargs
        x, axis, ddof = node.args[0], given["axis"], given["ddof"]
        if set(node.kwargs) - names or type(ddof) not in (int, float):
            return None
        if not isinstance(x, Node) or x.shape is None or x.dtype != node.dtype or not isinstance(axis, (int, tuple)):
            return None  # a sum over all axes is over a vector
        count = len(x.shape)
        axes = tuple(sorted(i % count for i in ((axis,) if isinstance(axis, int) else axis)))
        return None if long_axis(x.shape, axes) is None else write(node, x, axes, ddof)

    return graph.rewrite(rule)


def long_axis(shape: tuple[int, ...], axes: tuple[int, ...]) -> int | None:
    """The axis among those that are summed along which too many numbers would be added to one sum."""
    dense = max((i for i, size in enumerate(shape) if size > 1), default=0)
    if len(shape) == len(axes):
        return None
    first = max((i for i in axes if i != dense), key=lambda i: shape[i], default=dense)
    return None if first == dense or shape[first] < 2 * LONG else first


def new(node: Node, op: Any, args: tuple[Any, ...], shape: tuple[int, ...], **kwargs: Any) -> Node:
    """A node on the way to another one."""
    return Node(op, args, kwargs, shape, node.dtype, line=node.line, formula=node.formula)


def without(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for i, size in enumerate(shape) if i not in axes)


def added_up(node: Node, x: Node, axes: tuple[int, ...]) -> Node:
    """The sum of x along some axes, in parts."""
    shape = x.shape or ()
    first = long_axis(shape, axes)
    if first is None:
        return new(node, np.sum, (x,), without(shape, axes), axis=axes)
    size = shape[first]
    part = next((size // k for k in range(-(-size // LONG), size // SHORTEST + 1) if size % k == 0), 0)
    if not part:  # what is left over when it is cut into whole parts is added at the end
        before, cut = (slice(None),) * first, size // LONG * LONG
        ends = (slice(0, cut), slice(cut, size))
        sizes = (cut, size - cut)
        pieces = [
            new(node, operator.getitem, (x, (*before, end)), (*shape[:first], length, *shape[first + 1 :]))
            for end, length in zip(ends, sizes, strict=True)
        ]
        ends_added_up = tuple(added_up(node, piece, axes) for piece in pieces)
        return new(node, np.add, ends_added_up, without(shape, axes))
    parts = (*shape[:first], size // part, part, *shape[first + 1 :])
    inside = tuple(i if i < first else i + 1 for i in axes)  # the axis of parts itself comes last
    sums = new(node, np.sum, (new(node, np.reshape, (x, parts), parts),), without(parts, inside), axis=inside)
    place = first - sum(i < first for i in axes)
    return new(node, np.sum, (sums,), without(sums.shape or (), (place,)), axis=(place,))


def in_shape(node: Node, found: Node) -> Node:
    """A result in the shape of the node that it is for: with axes of one element that were summed, if they are kept."""
    return found if found.shape == node.shape else new(node, np.reshape, (found, node.shape), node.shape or ())


def total(node: Node, x: Node, axes: tuple[int, ...], ddof: float) -> Node:
    """np.sum."""
    return in_shape(node, added_up(node, x, axes))


def mean(node: Node, x: Node, axes: tuple[int, ...], ddof: float) -> Node:
    """np.mean."""
    found = added_up(node, x, axes)
    count = math.prod((x.shape or ())[i] for i in axes)
    return in_shape(node, new(node, np.true_divide, (found, count), found.shape or ()))


def variance(node: Node, x: Node, axes: tuple[int, ...], ddof: float) -> Node:
    """np.var: the mean of squared distances from the mean."""
    shape = x.shape or ()
    kept = tuple(1 if i in axes else size for i, size in enumerate(shape))
    count = math.prod(shape[i] for i in axes)
    middle = added_up(node, x, axes)
    middle = new(node, np.true_divide, (middle, count), middle.shape or ())
    centred = new(node, np.subtract, (x, new(node, np.reshape, (middle, kept), kept)), shape)
    found = added_up(node, new(node, np.multiply, (centred, centred), shape), axes)
    return in_shape(node, new(node, np.true_divide, (found, max(count - ddof, 0)), found.shape or ()))


def deviation(node: Node, x: Node, axes: tuple[int, ...], ddof: float) -> Node:
    """np.std."""
    found = variance(node, x, axes, ddof)
    return new(node, np.sqrt, (found,), found.shape or ())


FORMS: dict[Any, Callable[[Node, Node, tuple[int, ...], float], Node]] = {
    np.sum: total,
    ADD: total,
    np.mean: mean,
    np.var: variance,
    np.std: deviation,
}
