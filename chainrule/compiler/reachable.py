"""What a function can reach: the tensors, modules and optimisers that it closes over.

The walk begins at the function and follows what its code names: cells, globals, defaults, attributes, items. It goes
through containers and objects, not into modules of Python or into chainrule's own code.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.tensor import Tensor

__all__ = ["Found", "names_in", "present", "walk"]

ATOMS = (str, bytes, int, float, complex, bool, type(None), np.ndarray, np.generic, np.dtype, types.ModuleType, range)
PACKAGE = __name__.partition(".")[0]


class Found:
    """The objects of interest, each with the path by which it was reached first.

    Attributes:
        tensors: tensor -> path, such as `model.fc1.weight`.
        modules: those of `chainrule.nn`, in the order in which they were found.
        optimizers: what has groups of parameters and state.
        bindings: (namespace, name, value): the names through which the function reaches them.
        containers: (path, container, items): lists, sets and dicts on the way, as they were.
    """

    def __init__(self) -> None:
        self.tensors: dict[Tensor, str] = {}
        self.modules: dict[Any, str] = {}
        self.optimizers: dict[Any, str] = {}
        self.bindings: list[tuple[Any, Any, Any]] = []
        self.containers: list[tuple[str, Any, list[Any]]] = []

    def changed(self) -> str:
        """What of the names and containers is not as it was found: a description, empty where all is."""
        for namespace, name, value in self.bindings:
            if present(namespace, name) is not value:
                what = name if name is not None else "a variable of the enclosing function"
                return f"assigns to {what}, which it closes over"
        for path, container, items in self.containers:
            now = contents(container)
            if len(now) != len(items) or any(x is not y for x, y in zip(now, items, strict=True)):
                return f"changes the {type(container).__name__} {path}, which it closes over"
        return ""


def present(namespace: Any, name: Any) -> Any:
    """What a cell or a global name refers to now."""
    return namespace.cell_contents if name is None else namespace.get(name)


def contents(container: Any) -> list[Any]:
    """The items of a container, in order."""
    return [*container.keys(), *container.values()] if isinstance(container, dict) else list(container)


def names_in(code: types.CodeType) -> set[str]:
    """The global names and attributes that a function's code mentions, nested functions included."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= names_in(constant)
    return names


def walk(*roots: tuple[str, Any]) -> Found:
    """Everything of interest that is reachable from the roots, given as (name, object)."""
    from ..nn.module import Module
    from ..optim.optimizer import Optimizer

    found = Found()
    seen: set[int] = set()
    stack = list(reversed(roots))
    while stack:
        path, value = stack.pop()
        if id(value) in seen or isinstance(value, ATOMS):
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            found.tensors.setdefault(value, path)
            continue
        if isinstance(value, Module):
            found.modules.setdefault(value, path)
        if isinstance(value, Optimizer):
            found.optimizers.setdefault(value, path)
            groups = [(f"{path}.params", group["params"]) for group in value.param_groups]
            stack += reversed(groups)
            continue
        stack += reversed(list(children(path, value, found)))
    return found


def children(path: str, value: Any, found: Found) -> Iterator[tuple[str, Any]]:
    """What an object leads to, with paths."""
    if isinstance(value, types.FunctionType):
        yield from of_function(path, value, found)
    elif isinstance(value, types.MethodType):
        yield path, value.__self__
        yield path, value.__func__
    elif isinstance(value, (list, tuple, set, frozenset)):
        if not isinstance(value, (tuple, frozenset)):
            found.containers.append((path, value, list(value)))
        for i, item in enumerate(value):
            yield f"{path}.{i}", item
    elif isinstance(value, dict):
        found.containers.append((path, value, contents(value)))
        for key, item in list(value.items()):
            yield (f"{path}.{key}" if isinstance(key, (str, int)) else path), item
    elif isinstance(value, type):
        return
    elif hasattr(value, "_modules") and hasattr(value, "_parameters"):
        for registry in (value._parameters, value._buffers, value._modules):
            for name, item in registry.items():
                yield join(path, name), item
        for name, item in vars(value).items():
            if name not in ("_parameters", "_buffers", "_modules") and not name.endswith("_hooks"):
                yield join(path, name), item
        yield from of_class(path, type(value), found)
    else:
        if isinstance(value, types.PartialType if hasattr(types, "PartialType") else ()):
            yield path, value.func
        for name in ("func", "args", "keywords", "__wrapped__"):
            item = getattr(value, name, None) if callable(value) else None
            if item is not None:
                yield path, item
        for name, item in list(getattr(value, "__dict__", {}).items()):
            yield join(path, name), item
        yield from of_class(path, type(value), found)


def join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def of_class(path: str, kind: type, found: Found) -> Iterator[tuple[str, Any]]:
    """What the methods of a user's class lead to."""
    for base in kind.__mro__:
        module = str(getattr(base, "__module__", ""))
        if base is object or module.partition(".")[0] in (PACKAGE, "builtins"):
            continue
        for item in vars(base).values():
            function = getattr(item, "__func__", item)
            if isinstance(function, types.FunctionType):
                yield path, function


def of_function(path: str, function: types.FunctionType, found: Found) -> Iterator[tuple[str, Any]]:
    """What a function's cells, defaults and globals lead to."""
    if str(function.__module__).partition(".")[0] == PACKAGE:
        wrapped = getattr(function, "__wrapped__", None)
        if wrapped is not None:
            yield path, wrapped
        return
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            content = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
        found.bindings.append((cell, None, content))
        yield name, content
    namespace = function.__globals__
    for name in sorted(names_in(code)):
        if name in namespace:
            found.bindings.append((namespace, name, namespace[name]))
            yield name, namespace[name]
    for item in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        yield path, item
