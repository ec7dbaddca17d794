"""Nested containers as leaves and what is left of them: `torch.utils._pytree`, with None as a leaf."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque, namedtuple
from typing import Any

import pytest

import chainrule as cr
from chainrule.utils import _pytree as pytree

Point = namedtuple("Point", "x y")
TREES: list[Any] = [
    3,
    None,
    [],
    (1, [2, (3,)], None),
    {"b": 1, "a": {"c": [2]}},
    OrderedDict(z=1, a=2),
    Point(1, [2, 3]),
    deque([1, 2], maxlen=5),
    defaultdict(list, a=1),
]


@pytest.mark.parametrize("tree", TREES, ids=repr)
def test_a_tree_taken_apart_and_put_together_is_the_tree(tree: Any) -> None:
    leaves, spec = pytree.tree_flatten(tree)
    again = pytree.tree_unflatten(leaves, spec)
    assert again == tree and type(again) is type(tree)
    assert spec.num_leaves == len(leaves) == len(pytree.tree_leaves(tree))
    assert getattr(again, "maxlen", 0) == getattr(tree, "maxlen", 0)


@pytest.mark.parametrize("tree", TREES, ids=repr)
def test_leaves_are_pytorchs(tree: Any) -> None:
    pytest.importorskip("torch")
    from torch.utils import _pytree as theirs

    assert pytree.tree_leaves(tree) == theirs.tree_leaves(tree)
    assert pytree.tree_map(str, tree) == theirs.tree_map(str, tree)


def test_maps_go_over_several_trees_and_over_chosen_leaves() -> None:
    assert pytree.tree_map(lambda a, b: a + b, {"k": [1, 2]}, {"k": [10, 20]}) == {"k": [11, 22]}
    tree = [cr.ones(2), "name", (cr.ones(3), 4)]
    shapes = pytree.tree_map_only(cr.Tensor, lambda t: tuple(t.shape), tree)
    assert shapes == [(2,), "name", ((3,), 4)]
    assert pytree.tree_any_only(int, lambda n: n == 4, tree) and not pytree.tree_all(cr.is_tensor, tree)
    assert pytree.tree_leaves([(1, 2), 3], is_leaf=lambda x: isinstance(x, tuple)) == [(1, 2), 3]


def test_a_registered_class_is_a_container() -> None:
    class Pair:
        def __init__(self, a: Any, b: Any) -> None:
            self.a, self.b = a, b

    pytree.register_pytree_node(Pair, lambda p: ((p.a, p.b), None), lambda items, _: Pair(*items))
    doubled = pytree.tree_map(lambda n: 2 * n, {"pair": Pair(1, 2)})["pair"]
    assert (doubled.a, doubled.b) == (2, 4)


def test_trees_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="built differently"):
        pytree.tree_map(max, [1, 2], (1, 2))
    with pytest.raises(ValueError, match="2 leaves, 1 were given"):
        pytree.tree_unflatten([1], pytree.tree_structure([1, 2]))
