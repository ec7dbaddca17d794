"""The gradients of slices of one array as one array that is written once.

The gradient of a slice is an array of zeros with the slice's part filled in. Where slices cover all of an array, as
queries, keys and values do or the gates of a recurrent cell, the sum of these is their parts side by side.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ...ops.indexing import getitem_adjoint
from ..graph import Graph, Node

__all__ = ["run"]

MOST = 64  # parts


class Part(NamedTuple):
    """The part of an array from `first` up to `last` on an axis."""

    first: int
    last: int
    axis: int
    values: Node


def run(graph: Graph) -> bool:
    """Rewrite the sums of such gradients."""
    return graph.rewrite(side_by_side)


def side_by_side(node: Node) -> Node | None:
    """A sum of filled parts that cover their array, each element once."""
    if node.op is not np.add or node.shape is None:
        return None
    parts: list[Part] = []
    for term in terms(node):
        part = part_of(term, node) if isinstance(term, Node) else None
        if part is None or len(parts) == MOST:
            return None
        parts.append(part)
    parts.sort(key=lambda part: part.first)
    axis = parts[0].axis
    ends = [0, *(part.last for part in parts)]
    if any(part.axis != axis for part in parts) or [part.first for part in parts] != ends[:-1]:
        return None
    if ends[-1] != node.shape[axis]:
        return None
    values = in_heads([part.values for part in parts], axis)
    shape = list(values[0].shape or ())
    shape[axis] = sum((value.shape or ())[axis] for value in values)
    joined = node.like(np.concatenate, values, axis=axis)
    joined.shape = tuple(shape)
    return joined if joined.shape == node.shape else node.like(np.reshape, joined, node.shape)


def terms(node: Node) -> Iterator[Any]:
    """What a sum of sums adds up."""
    waiting: list[Any] = [node]
    while waiting:
        term = waiting.pop()
        if not isinstance(term, Node):
            yield term
        elif term.op is np.add and not term.kwargs:
            waiting += term.args
        else:
            yield term


def part_of(node: Node, total: Node) -> Part | None:
    """The part that the gradient of a slice fills; None for anything else, or for a slice in several axes."""
    if node.op is not getitem_adjoint or (node.shape, node.dtype) != (total.shape, total.dtype):
        return None
    values, index, shape = node.args
    index = next((expanded(index, i, len(shape)) for i, item in enumerate(index) if item is Ellipsis), index)
    found = None
    for axis, (item, size) in enumerate(zip(index, shape, strict=False)):
        if isinstance(item, slice) and all(x is None or type(x) is int for x in (item.start, item.stop, item.step)):
            first, last, _ = item.indices(size)
        elif type(item) is int:
            first, last = item % size, item % size + 1
        else:
            return None
        if (first, last) != (0, size):
            found = (first, last, axis)
    if found is None:
        return None
    first, last, axis = found
    want = (*shape[:axis], last - first, *shape[axis + 1 :])
    if math.prod(values.shape) != math.prod(want):  # there are steps, or parts of several axes, or values are spread
        return None
    if values.shape != want:  # an index took the axis away
        values = Node(np.reshape, (values, want), None, want, values.dtype, line=node.line, formula=node.formula)
    return Part(first, last, axis, values)


def expanded(index: tuple[Any, ...], place: int, axes: int) -> tuple[Any, ...]:
    """An index of so many axes with slices of everything in the place of its Ellipsis."""
    return (*index[:place], *(slice(None),) * (axes - len(index) + 1), *index[place + 1 :])


def in_heads(values: list[Node], axis: int) -> list[Node]:
    """The values before a reshape that joined their last axes, if all had such: joining them now saves a copy."""
    before = []
    for value in values:
        shape = value.shape or ()
        inner = value.args[0] if value.op is np.reshape else None
        if not isinstance(inner, Node) or inner.shape is None or len(inner.shape) < len(shape):
            return values
        if inner.shape[:axis] != shape[:-1]:  # so that the axis is the last one
            return values
        before.append(inner)
    return before if len({(inner.shape or ())[axis + 1 :] for inner in before}) == 1 else values
