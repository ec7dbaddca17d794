"""The order of the backward pass: a node comes after everything that it was computed from.

Iterative, so a chain of a million operations needs no stack. Read next: `backprop.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from .tensor import Tensor

__all__ = ["sorted_computational_graph", "topological_sort"]

Node = TypeVar("Node")


def topological_sort(root: Node, get_children: Callable[[Node], Iterable[Node | None]]) -> list[Node]:
    """All nodes reachable from `root`, each after its children; `root` is last. `None` stands for no child.

    Raises:
        ValueError: there is a cycle.

    >>> topological_sort("c", {"c": ["a", "b"], "b": ["a"], "a": []}.get)
    ['a', 'b', 'c']
    """
    order: list[Node] = []
    entered: set[Node] = set()
    done: set[Node] = set()
    stack = [root]
    while stack:
        node = stack[-1]
        if node in entered:  # met again: all its children are done
            stack.pop()
            if node not in done:
                done.add(node)
                order.append(node)
            continue
        entered.add(node)
        for child in get_children(node):
            if child is not None and child not in done:
                if child in entered:
                    raise ValueError(f"cycle detected: {child!r} is computed from itself")
                stack.append(child)
        if stack[-1] is node:  # no children to wait for
            stack.pop()
            done.add(node)
            order.append(node)
    return order


def sorted_computational_graph(tensor: Tensor) -> list[Tensor]:
    """The tensors from which `tensor` was computed, itself first: reverse topological order.

    >>> import chainrule as cr
    >>> a = cr.tensor([1.0], requires_grad=True)
    >>> b = a.exp()
    >>> [t is s for t, s in zip(sorted_computational_graph(b * a), (None, b, a))]
    [False, True, True]
    """

    def parents(t: Tensor) -> list[Tensor]:
        return [] if t.recipe is None else list(t.recipe.parents.values())

    return topological_sort(tensor, parents)[::-1]
