"""Compute what depends on no input now, where that is small; fill functions of a known value stay as they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph import CONSTANT, INPUT, Graph, Node, map_nodes

__all__ = ["run", "uniform_value"]

LARGEST = 1 << 16  # bytes of a result that is kept in the program

# what gives an array filled with one number: function -> the number, from the call's arguments
FILLS: dict[Any, Any] = {
    np.zeros: lambda node: 0,
    np.zeros_like: lambda node: 0,
    np.ones: lambda node: 1,
    np.ones_like: lambda node: 1,
    np.full: lambda node: node.args[1],
    np.full_like: lambda node: node.args[1],
}


def uniform_value(node: Node) -> Any:
    """The one number with which an array is filled, as a Python number; None where that is not known."""
    if node.op is CONSTANT:
        array = node.args[0]
        if array.size and not array.flags.writeable:
            first = array.reshape(-1)[0]
            alike = bool(np.all(array == first)) and (first != 0 or array.tobytes() == first.tobytes() * array.size)
            return first.item() if alike else None  # 0.0 and -0.0 are equal
        return None
    if node.op in FILLS:
        value = FILLS[node.op](node)
        if not isinstance(value, (int, float, bool)) or node.dtype is None:
            return None
        return value if node.dtype.kind in "fc" else np.full((), value, node.dtype).item()
    if node.op is np.broadcast_to or node.op is np.reshape:
        return uniform_value(node.args[0]) if isinstance(node.args[0], Node) else node.args[0]
    return None


def run(graph: Graph) -> bool:
    """Replace calls whose arguments are all constants by their results."""

    def rule(node: Node) -> Node | None:
        if node.op in (INPUT, CONSTANT) or node.effect or node.shape is None or node.dtype is None:
            return None
        if node.op in FILLS:
            value = FILLS[node.op](node)
            if node.size == 1 and isinstance(value, (int, float, bool)):
                return constant(np.full(node.shape, value, node.dtype), node)
            return None
        operands = node.operands()
        if not operands or any(operand.op is not CONSTANT for operand in operands) or node.nbytes > LARGEST:
            return None
        if any(operand.args[0].flags.writeable for operand in operands):
            return None  # somebody may write to it
        result = node.op(*map_nodes(node.args, lambda n: n.args[0]), **map_nodes(node.kwargs, lambda n: n.args[0]))
        return constant(np.asarray(result), node)

    return graph.rewrite(rule)


def constant(array: np.ndarray[Any, Any], origin: Node) -> Node:
    """A node for an array that nobody else can write to."""
    array = np.array(array)
    array.flags.writeable = False
    return Node(CONSTANT, (array,), None, array.shape, array.dtype, name=origin.name, line=origin.line)
