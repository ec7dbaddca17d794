"""Whole modules in a checkpoint: a class by name and its values, and never code of the file's.

The way back takes a class only if the program has imported it already, and only if it is a module's; makes the object
without its constructor, and puts the values into it without asking its class. A function, such as a layer's activation,
is one of `nn.functional`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pickle import UnpicklingError
from types import FunctionType, ModuleType
from typing import Any

from .. import nn
from ..core.tensor import Tensor
from ..nn import functional as F
from ..nn.module import Module
from ..nn.parameter import Parameter, is_lazy

__all__ = [
    "cannot_be_saved",
    "class_named",
    "empty_module",
    "fill_module",
    "function_named",
    "name_of_class",
    "name_of_function",
]

LAYERS, FUNCTIONS = nn.__name__, F.__name__
STATE_METHODS = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__")
MEMBERS: dict[str, Callable[[Any], bool]] = {  # the registries that a module cannot do without
    "_parameters": lambda value: value is None or isinstance(value, Parameter),
    "_buffers": lambda value: value is None or isinstance(value, Tensor),
    "_modules": lambda value: value is None or isinstance(value, Module),
}


def _found(module: str, name: str) -> Any:
    """What has this name in a module that is imported; nothing is imported, and no `__getattr__` asked."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = vars(found).get(part) if isinstance(found, (ModuleType, type)) else None
    return found


# ----- names ------------------------------------------------------------------------------------------------------


def name_of_class(kind: type[Module]) -> tuple[str, str] | str:
    """The module and name under which a module's class is found again; or a text that says why it cannot be.

    >>> from chainrule import nn
    >>> name_of_class(nn.LSTM)
    ('chainrule.nn', 'LSTM')
    """
    for method in STATE_METHODS:
        if getattr(kind, method, None) is not getattr(Module, method, None):
            return f"its class defines {method}"
    if _found(LAYERS, kind.__name__) is kind:
        return LAYERS, kind.__name__
    if _found(kind.__module__, kind.__qualname__) is kind:
        return kind.__module__, kind.__qualname__
    return f"its class is not found as {kind.__module__}.{kind.__qualname__}"


def class_named(module: str, name: str) -> type[Module] | None:
    """A module's class by its name, if the program has imported it. PyTorch's layers have other values than ours."""
    found = None if module.partition(".")[0] == "torch" else _found(module, name)
    if not isinstance(found, type) or not issubclass(found, Module):
        return None
    return found if isinstance(name_of_class(found), tuple) else None


def name_of_function(function: Any) -> tuple[str, str] | None:
    """The name of a function of `nn.functional`."""
    name = getattr(function, "__name__", "")
    return (FUNCTIONS, name) if type(function) is FunctionType and function_named(FUNCTIONS, name) is function else None


def function_named(module: str, name: str) -> Any:
    """A function of `nn.functional` by its name; None if there is none."""
    found = _found(FUNCTIONS, name) if module == FUNCTIONS and not name.startswith("_") else None
    return found if type(found) is FunctionType else None


# ----- objects ----------------------------------------------------------------------------------------------------


def empty_module(kind: type[Module]) -> Callable[[], Module]:
    """What makes an object of the class, without its constructor."""
    return lambda: object.__new__(kind)


def fill_module(module: Module, state: Any) -> None:
    """Put its values into an empty module.

    Raises:
        UnpicklingError: they are not those of a module.
    """
    name = type(module).__name__
    if type(state) is not dict or not all(type(key) is str for key in state) or type(state.get("training")) is not bool:
        raise UnpicklingError(f"the pickle is damaged: the state of a {name}")
    for registry, fits in MEMBERS.items():
        members = state.get(registry)
        if type(members) is not dict or not all(type(key) is str and fits(value) for key, value in members.items()):
            raise UnpicklingError(f"the pickle is damaged: {registry} of a {name}")
    Module.__setstate__(module, state)


def cannot_be_saved(module: Module) -> str | None:
    """Why a module cannot be saved whole; None if it can, as far as its class goes."""
    found = name_of_class(type(module))
    if isinstance(found, str):
        return found
    lazy = any(is_lazy(tensor) for tensor in (*module._parameters.values(), *module._buffers.values()))
    return "its parameters have no shapes yet" if lazy else None
