"""What the user calls things: names that were given, variables of the calling program, paths in a module."""

from __future__ import annotations

import re
import sys
import weakref
from collections.abc import Iterable, Iterator, Mapping
from types import FrameType
from typing import Any

import numpy as np

from ..core.recipe import NOT_THE_USER, Leaf, Recipe
from ..core.tensor import Tensor
from ..nn.module import Module

__all__ = ["Names", "name", "user_frame"]

# names that Python and interactive shells give to what was computed last, none of them the user's
KEPT_BY_SHELLS = re.compile(r"__.*|_\d*|_[iod]h|_i+\d*|In|Out")

_given: dict[int, tuple[weakref.ref[Tensor], str]] = {}


def name(tensor: Tensor, name: str) -> Tensor:
    """Give a tensor the name that `explain`, `draw` and `why` call it by; returns the tensor.

    Raises:
        TypeError: not a tensor, or the name is no text.

    >>> import chainrule as cr
    >>> w = cr.name(cr.tensor([1.0, 2.0], requires_grad=True), "weights")
    >>> "weights" in cr.draw(w.sum()).source
    True
    """
    if not isinstance(tensor, Tensor) or not isinstance(name, str):
        raise TypeError(f"name takes a Tensor and a text, got {type(tensor).__name__} and {type(name).__name__}")
    key = id(tensor)
    _given[key] = weakref.ref(tensor, lambda _: _given.pop(key, None)), name
    return tensor


def user_frame() -> FrameType | None:
    """The innermost frame outside this package."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(NOT_THE_USER):
        frame = frame.f_back
    return frame


class Names:
    """Finds the name of a tensor or of a node.

    Args:
        pairs: names that take precedence: name -> tensor, or pairs of them.
        frame: whose variables are looked at; the caller's outside this package if left out.
    """

    def __init__(
        self, pairs: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]] = (), frame: FrameType | None = None
    ) -> None:
        self._things: dict[int, str] = {}
        self._nodes: dict[Recipe | Leaf, str] = {}
        for text, tensor in pairs.items() if isinstance(pairs, Mapping) else pairs:
            self._add(tensor, str(text))
        for reference, text in list(_given.values()):
            given = reference()
            if given is not None:
                self._add(given, text)
        frame = frame or user_frame()
        if frame is not None:
            inside = frame.f_locals
            self._variables(dict(inside))
            if frame.f_globals is not inside:
                self._variables({k: v for k, v in frame.f_globals.items() if k not in inside})
        self.taken = frozenset(self._nodes.values()) | frozenset(self._things.values())

    def _variables(self, variables: dict[str, Any]) -> None:
        modules = []
        for text, value in variables.items():
            if not text.isidentifier() or KEPT_BY_SHELLS.fullmatch(text):
                continue
            if isinstance(value, (Tensor, np.ndarray)):
                self._add(value, text)
            elif isinstance(value, Module):
                modules.append((text, value))
            elif isinstance(value, (list, tuple)) and len(value) <= 100:
                for i, item in enumerate(value):
                    self._add(item, f"{text}[{i}]")
            elif type(value) is dict and len(value) <= 100:
                for key, item in value.items():
                    self._add(item, f"{text}[{key!r}]")
        for text, module in sorted(modules, key=lambda pair: -sum(1 for _ in pair[1].modules())):  # the whole first
            for path, value in _parts_of(module):
                self._add(value, f"{text}.{path}")

    def _add(self, value: Any, text: str) -> None:
        if isinstance(value, Tensor):
            self._things.setdefault(id(value), text)
            node = value._node if value._alias is None else value.node()
            if node is not None:
                self._nodes.setdefault(node, text)
        elif isinstance(value, np.ndarray):
            self._things.setdefault(id(value), text)

    def of_node(self, node: Recipe | Leaf) -> str | None:
        """The name of the value that a node of the graph stands for."""
        return self._nodes.get(node)

    def of_tensor(self, tensor: Any) -> str | None:
        """The name of a tensor or an array, by identity."""
        return self._things.get(id(tensor))


def _parts_of(module: Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()
