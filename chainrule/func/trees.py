"""Nested lists, tuples, named tuples and dicts of values, taken apart and put together again.

A tree is a value, or a list, tuple, named tuple or dict of trees; None is a tree without values. Dicts keep the order
in which their keys were inserted.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

__all__ = ["Structure", "flatten", "leaf_paths", "map_leaves", "unflatten"]


class Structure(NamedTuple):
    """A tree without its values: the container's type, a dict's keys, the children's structures."""

    kind: Any  # type of the container; None for an empty tree; VALUE for a value
    keys: tuple[Any, ...]
    children: tuple[Structure, ...]
    size: int  # how many values
    default: Any = None  # what a defaultdict makes for a missing key

    def __str__(self) -> str:
        inner = list(map(str, self.children))
        if self.kind is VALUE:
            return "*"
        if self.kind is None:
            return "None"
        if issubclass(self.kind, dict):
            return "{" + ", ".join(f"{k!r}: {c}" for k, c in zip(self.keys, inner, strict=True)) + "}"
        if issubclass(self.kind, list):
            return "[" + ", ".join(inner) + "]"
        name = self.kind.__name__ if hasattr(self.kind, "_fields") else ""
        return f"{name}({', '.join(inner)}{',' if len(inner) == 1 else ''})"


PLAIN = (OrderedDict, dict, list, tuple)
VALUE = object()
LEAF = Structure(VALUE, (), (), 1)
EMPTY = Structure(None, (), (), 0)


def flatten(tree: Any) -> tuple[list[Any], Structure]:
    """The values of a tree from left to right, and its structure.

    >>> values, structure = flatten({"w": [1.0, 2.0], "b": (3.0, None)})
    >>> values, str(structure)
    ([1.0, 2.0, 3.0], "{'w': [*, *], 'b': (*, None)}")
    >>> unflatten(structure, values)
    {'w': [1.0, 2.0], 'b': (3.0, None)}
    """
    values: list[Any] = []
    return values, _take_apart(tree, values)


def _take_apart(tree: Any, values: list[Any]) -> Structure:
    if tree is None:
        return EMPTY
    if isinstance(tree, dict):
        keys: tuple[Any, ...] = tuple(tree)
        items = list(tree.values())
    elif isinstance(tree, (list, tuple)):
        keys, items = (), list(tree)
    else:
        values.append(tree)
        return LEAF
    children = tuple(_take_apart(item, values) for item in items)
    default = getattr(tree, "default_factory", None)
    return Structure(kind_of(tree), keys, children, sum(child.size for child in children), default)


def kind_of(tree: Any) -> Any:
    """The type of a container as it is put together: its own, or a plain one where it has attributes besides."""
    kind: Any = type(tree)
    if kind in PLAIN or hasattr(kind, "_fields") or not getattr(tree, "__dict__", None):
        return kind
    return next(plain for plain in PLAIN if isinstance(tree, plain))


def unflatten(structure: Structure, values: Iterable[Any]) -> Any:
    """The tree of this structure with these values.

    Raises:
        ValueError: their number is not the structure's.
    """
    values = list(values)
    if len(values) != structure.size:
        raise ValueError(f"the structure {structure} holds {structure.size} values, but {len(values)} were given")
    return _put_together(structure, iter(values))


def _put_together(structure: Structure, values: Iterator[Any]) -> Any:
    kind, keys, children, _, default = structure
    if kind is VALUE:
        return next(values)
    if kind is None:
        return None
    items = [_put_together(child, values) for child in children]
    if hasattr(kind, "_fields"):
        return kind(*items)
    if kind in (list, tuple):
        return kind(items)
    if issubclass(kind, tuple):
        return tuple.__new__(kind, items)
    tree = kind.__new__(kind)  # without what the class's own __init__ would ask for
    if issubclass(kind, list):
        tree.extend(items)
        return tree
    if issubclass(kind, defaultdict):
        tree.default_factory = default
    for key, item in zip(keys, items, strict=True):
        tree[key] = item
    return tree


def map_leaves(function: Callable[[Any], Any], tree: Any) -> Any:
    """The tree with `function` applied to each value."""
    values, structure = flatten(tree)
    return unflatten(structure, map(function, values))


def leaf_paths(structure: Structure, start: str = "") -> list[str]:
    """For each value how it is reached, such as `['w'][0]`, for messages."""
    kind, keys, children = structure[:3]
    if kind is VALUE:
        return [start]
    if kind is None:
        return []
    if issubclass(kind, dict):
        steps = [f"[{key!r}]" for key in keys]
    elif hasattr(kind, "_fields"):
        steps = [f".{field}" for field in kind._fields]
    else:
        steps = [f"[{i}]" for i in range(len(children))]
    return [path for step, child in zip(steps, children, strict=True) for path in leaf_paths(child, start + step)]
