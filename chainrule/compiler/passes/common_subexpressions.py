"""Compute what occurs more than once only once."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph import CONSTANT, INPUT, Graph, Node

__all__ = ["run"]


def run(graph: Graph) -> bool:
    """Replace a call by an earlier one of the same function with the same arguments."""
    known: dict[Any, Node] = {}

    def rule(node: Node) -> Node | None:
        if node.effect or node.op is INPUT:
            return None
        try:
            key = (node.op, frozen(node.args), frozen(node.kwargs))
            return known.setdefault(key, node)
        except TypeError:  # an argument that cannot be compared
            return None

    return graph.rewrite(rule)


def frozen(value: Any) -> Any:
    """An argument as something that can be compared and hashed; numbers of different types are different."""
    if isinstance(value, Node):
        return value
    if isinstance(value, (tuple, list)):
        return (type(value), *map(frozen, value))
    if isinstance(value, dict):
        return tuple(sorted((key, frozen(item)) for key, item in value.items()))
    if isinstance(value, slice):
        return ("slice", frozen(value.start), frozen(value.stop), frozen(value.step))
    if isinstance(value, np.ndarray):
        number = not value.ndim and not value.flags.writeable
        return (value.dtype, value.tobytes(), CONSTANT) if number else (id(value), CONSTANT)
    if isinstance(value, (float, complex, np.generic)):
        return (type(value), repr(value))  # 0.0 and -0.0 are equal
    hash(value)
    return (type(value), value)
