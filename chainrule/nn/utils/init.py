"""Making a module without drawing values that are replaced anyway."""

from __future__ import annotations

import inspect
from typing import Any

from ..module import Module

__all__ = ["skip_init"]


def skip_init(module_cls: type[Module], *args: Any, **kwargs: Any) -> Module:
    """A module of a class that takes `device`, with whatever values its parameters begin with.

    Raises:
        RuntimeError: the class is no module, or does not take `device`.
    """
    if not (isinstance(module_cls, type) and issubclass(module_cls, Module)):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    if "device" not in inspect.signature(module_cls).parameters and not any(
        p.kind is p.VAR_KEYWORD for p in inspect.signature(module_cls).parameters.values()
    ):
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    kwargs.pop("device", None)
    return module_cls(*args, **kwargs)
