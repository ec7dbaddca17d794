"""Leave out what nobody uses."""

from __future__ import annotations

from ..graph import INPUT, Graph, Node

__all__ = ["run"]


def run(graph: Graph) -> bool:
    """Drop nodes that lead to no output; inputs stay, and so does what has an effect."""
    used: set[Node] = set()
    stack = [*graph.outputs, *(node for node in graph.nodes if node.effect)]
    while stack:
        node = stack.pop()
        if node not in used:
            used.add(node)
            stack += node.operands()
    kept = [node for node in graph.nodes if node in used or node.op is INPUT]
    changed = len(kept) != len(graph.nodes)
    graph.nodes = kept
    return changed
