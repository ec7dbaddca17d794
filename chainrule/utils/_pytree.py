"""`torch.utils._pytree`, the part that programs use: nested containers taken apart into leaves, and put together again.

Unlike the trees of `chainrule.func`, None is a leaf here, and classes can be registered as containers.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

__all__ = [
    "PyTree",
    "TreeSpec",
    "register_pytree_node",
    "tree_all",
    "tree_all_only",
    "tree_any",
    "tree_any_only",
    "tree_flatten",
    "tree_iter",
    "tree_leaves",
    "tree_map",
    "tree_map_",
    "tree_map_only",
    "tree_structure",
    "tree_unflatten",
]

PyTree = Any


class Node(NamedTuple):
    """How a kind of container is taken apart into (children, the rest), and put together from them."""

    flatten: Callable[[Any], tuple[Iterable[Any], Any]]
    unflatten: Callable[[list[Any], Any], Any]


class TreeSpec(NamedTuple):
    """A tree without its leaves: the container's type (None for a leaf), what is kept of it, the children's specs."""

    type: Any
    context: Any
    children_specs: tuple[TreeSpec, ...]

    @property
    def num_leaves(self) -> int:
        """How many leaves the tree has."""
        return sum(child.num_leaves for child in self.children_specs) if self.type is not None else 1

    def is_leaf(self) -> bool:
        """Whether the tree is a leaf."""
        return self.type is None


LEAF = TreeSpec(None, None, ())


def _keyed(kind: Callable[[Any], Any]) -> Node:
    return Node(lambda tree: (tree.values(), list(tree)), lambda items, keys: kind(zip(keys, items, strict=True)))


NODES: dict[Any, Node] = {
    tuple: Node(lambda tree: (tree, None), lambda items, _: tuple(items)),
    list: Node(lambda tree: (tree, None), lambda items, _: items),
    dict: _keyed(dict),
    OrderedDict: _keyed(OrderedDict),
    defaultdict: Node(
        lambda tree: (tree.values(), (tree.default_factory, list(tree))),
        lambda items, rest: defaultdict(rest[0], zip(rest[1], items, strict=True)),
    ),
    deque: Node(lambda tree: (tree, tree.maxlen), deque),
}
NAMED = Node(lambda tree: (tree, type(tree)), lambda items, kind: kind(*items))


def register_pytree_node(
    cls: type, flatten_fn: Callable[[Any], Any], unflatten_fn: Callable[[Any, Any], Any], **names: Any
) -> None:
    """Make a class a container.

    Args:
        cls: the class.
        flatten_fn: its children and what else is needed to make it again.
        unflatten_fn: the object, from new children and the rest.
        names: what PyTorch's exporter wants to know; not used.
    """
    NODES[cls] = Node(flatten_fn, unflatten_fn)


def _node(tree: Any) -> Any:
    kind: Any = type(tree)
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return NODES.get(kind, NAMED)
    return NODES.get(kind)


def _take_apart(tree: Any, leaves: list[Any], is_leaf: Callable[[Any], bool] | None) -> TreeSpec:
    node = _node(tree)
    if node is None or (is_leaf is not None and is_leaf(tree)):
        leaves.append(tree)
        return LEAF
    items, context = node.flatten(tree)
    return TreeSpec(type(tree), context, tuple(_take_apart(item, leaves, is_leaf) for item in items))


def tree_flatten(tree: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> tuple[list[Any], TreeSpec]:
    """The leaves from left to right, and the rest.

    >>> leaves, spec = tree_flatten({"a": [1, 2], "b": (3, None)})
    >>> leaves, spec.num_leaves
    ([1, 2, 3, None], 4)
    >>> tree_unflatten([5, 6, 7, 8], spec)
    {'a': [5, 6], 'b': (7, 8)}
    """
    leaves: list[Any] = []
    return leaves, _take_apart(tree, leaves, is_leaf)


def tree_unflatten(leaves: Iterable[Any], treespec: TreeSpec) -> PyTree:
    """The tree of a spec with these leaves.

    Raises:
        ValueError: there are more or fewer than the spec has.
    """
    leaves = list(leaves)
    if len(leaves) != treespec.num_leaves:
        raise ValueError(f"tree_unflatten: the spec has {treespec.num_leaves} leaves, {len(leaves)} were given")
    return _put_together(treespec, iter(leaves))


def _put_together(spec: TreeSpec, leaves: Iterator[Any]) -> Any:
    if spec.type is None:
        return next(leaves)
    items = [_put_together(child, leaves) for child in spec.children_specs]
    return NODES.get(spec.type, NAMED).unflatten(items, spec.context)


def tree_leaves(tree: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> list[Any]:
    """The leaves from left to right."""
    return tree_flatten(tree, is_leaf)[0]


def tree_iter(tree: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> Iterator[Any]:
    """An iterator over the leaves."""
    return iter(tree_leaves(tree, is_leaf))


def tree_structure(tree: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> TreeSpec:
    """The tree without its leaves."""
    return tree_flatten(tree, is_leaf)[1]


def tree_map(
    func: Callable[..., Any], tree: PyTree, *rests: PyTree, is_leaf: Callable[[Any], bool] | None = None
) -> PyTree:
    """The tree of what a function gives for each leaf, and for the leaves of other trees at the same place.

    Raises:
        ValueError: the other trees are built otherwise.
    """
    leaves, spec = tree_flatten(tree, is_leaf)
    others = []
    for rest in rests:
        more, other = tree_flatten(rest, is_leaf)
        if other != spec:
            raise ValueError(f"tree_map: the trees are built differently: {spec} and {other}")
        others.append(more)
    return tree_unflatten(map(func, leaves, *others), spec)


def tree_map_(
    func: Callable[..., Any], tree: PyTree, *rests: PyTree, is_leaf: Callable[[Any], bool] | None = None
) -> PyTree:
    """Call a function on each leaf for what it does; returns the tree."""
    tree_map(func, tree, *rests, is_leaf=is_leaf)
    return tree


def _selector(types: Any) -> Callable[[Any], bool]:
    if isinstance(types, (type, tuple)):
        return lambda leaf: isinstance(leaf, types)
    return types  # type: ignore[no-any-return]


def tree_map_only(
    type_or_types_or_pred: Any, func: Callable[[Any], Any], tree: PyTree, is_leaf: Callable[[Any], bool] | None = None
) -> PyTree:
    """`tree_map` on the leaves of some types, or for which a function says True; the others stay."""
    chosen = _selector(type_or_types_or_pred)
    return tree_map(lambda leaf: func(leaf) if chosen(leaf) else leaf, tree, is_leaf=is_leaf)


def tree_all(pred: Callable[[Any], bool], tree: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> bool:
    """Whether something holds for all leaves."""
    return all(map(pred, tree_leaves(tree, is_leaf)))


def tree_any(pred: Callable[[Any], bool], tree: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> bool:
    """Whether something holds for a leaf."""
    return any(map(pred, tree_leaves(tree, is_leaf)))


def tree_all_only(
    type_or_types: Any, pred: Callable[[Any], bool], tree: PyTree, is_leaf: Callable[[Any], bool] | None = None
) -> bool:
    """Whether something holds for all leaves of some types."""
    return all(map(pred, filter(_selector(type_or_types), tree_leaves(tree, is_leaf))))


def tree_any_only(
    type_or_types: Any, pred: Callable[[Any], bool], tree: PyTree, is_leaf: Callable[[Any], bool] | None = None
) -> bool:
    """Whether something holds for a leaf of some types."""
    return any(map(pred, filter(_selector(type_or_types), tree_leaves(tree, is_leaf))))
