"""The topological sort."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainrule as cr


class Node:
    def __init__(self, *children: Node) -> None:
        self.children = list(children)


def children(node: Node) -> list[Node]:
    return node.children


@given(
    st.integers(1, 12).flatmap(lambda n: st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=40))
)
def test_every_node_comes_once_and_after_its_children(pairs: list[tuple[int, int]]) -> None:
    edges: dict[int, list[int]] = {i: [] for i in range(12)}
    for a, b in pairs:
        if a != b:
            edges[max(a, b)].append(min(a, b))  # towards smaller numbers: no cycle
    order = cr.topological_sort(11, edges.__getitem__)
    assert len(order) == len(set(order))
    assert order[-1] == 11
    for node in order:
        assert all(order.index(child) < order.index(node) for child in edges[node])


def test_a_cycle_raises_value_error() -> None:
    a, b = Node(), Node()
    a.children, b.children = [b], [a]
    with pytest.raises(ValueError, match="cycle"):
        cr.topological_sort(a, children)


def test_a_node_that_is_its_own_child_raises_value_error() -> None:
    a = Node()
    a.children = [a]
    with pytest.raises(ValueError, match="cycle"):
        cr.topological_sort(a, children)


def test_a_diamond_is_no_cycle() -> None:
    bottom = Node()
    left, right = Node(bottom), Node(bottom)
    assert cr.topological_sort(Node(left, right), children)[0] is bottom


def test_the_computational_graph_starts_with_the_tensor_itself() -> None:
    a, b = (cr.tensor([v], requires_grad=True) for v in (1.0, 2.0))
    c = a * b
    d = c + a
    order = cr.sorted_computational_graph(d)
    assert order[0] is d
    assert {id(t) for t in order} == {id(t) for t in (a, b, c, d)}
    assert [id(t) for t in order].index(id(c)) < [id(t) for t in order].index(id(a))


def test_a_graph_that_was_made_circular_by_hand_raises_at_backward_and_leaves_grad_alone() -> None:
    a = cr.tensor([1.0], requires_grad=True)
    b = a * 2
    c = b * 3
    assert b.recipe is not None
    b.recipe._edges = (c.recipe, None)
    with pytest.raises(ValueError, match="cycle"):
        c.backward()
    assert a.grad is None


def test_a_million_operations_go_forward_backward_and_away() -> None:
    x = cr.tensor(np.ones(1, np.float32), requires_grad=True)
    y = x
    for _ in range(1_000_000):
        y = y + 1.0
    y.backward()
    assert x.grad is not None
    assert x.grad.item() == 1.0
    for _ in range(1_000_000):
        y = y.detach() if y.recipe is None else y + 1.0
    del y


def test_a_graph_never_run_backward_is_released_without_recursion() -> None:
    x = cr.tensor(np.ones(1, np.float32), requires_grad=True)
    y = x
    for _ in range(300_000):
        y = y * 1.0
    del y
