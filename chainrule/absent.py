"""How chainrule says that it lacks something of PyTorch's. The names, and why, are in `absent_names.py`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any, NoReturn

__all__ = ["PAGE", "Unsupported", "absent", "explain", "reason_for", "refuse", "refused"]

PAGE = "docs/reference/pytorch.md"


class Unsupported(NotImplementedError):
    """Something of PyTorch's that exists here by name only was used; the message says what to do instead."""


def reason_for(owner: str, name: str) -> str | None:
    """Why `owner` ("torch", "torch.Tensor", "torch.nn", ...) has no `name` here; None if PyTorch has none either."""
    from .absent_names import ABSENT

    for reason, names in ABSENT.get(owner, {}).items():
        if name in names.split():
            return reason
    return None


def explain(owner: str, name: str) -> str:
    """The message for a name that is not there."""
    reason = reason_for(owner, name)
    return f"chainrule has no {owner}.{name}{f': {reason}' if reason else ''}; see {PAGE}"


def absent(module: str, elsewhere: dict[str, str] | None = None) -> Callable[[str], Any]:
    """The `__getattr__` of a module of this package that stands for one of PyTorch's: says what is missing, and why.

    Args:
        elsewhere: names that are kept in other modules of the package, "module" or "module:name", and are imported
            when they are first asked for.
    """
    owner = "torch" + module.removeprefix("chainrule").removeprefix(".platform")
    kept = elsewhere or {}

    def __getattr__(name: str) -> Any:
        if name in kept:
            place, _, attribute = kept[name].partition(":")
            found = importlib.import_module(place)
            return getattr(found, attribute) if attribute else found
        message = f"module {module!r} has no attribute {name!r}" if name.startswith("__") else explain(owner, name)
        raise AttributeError(message, name=name, obj=sys.modules.get(module))

    return __getattr__


def refuse(what: str, instead: str) -> NoReturn:
    """Say that a thing exists by name only.

    Raises:
        Unsupported: always.
    """
    raise Unsupported(f"chainrule has no {what}: {instead}; see {PAGE}")


def refused(what: str, instead: str) -> Callable[..., NoReturn]:
    """A function that can be imported, and says what to do instead when it is called."""

    def function(*args: Any, **kwargs: Any) -> NoReturn:
        refuse(what, instead)

    function.__name__ = function.__qualname__ = what.rpartition(".")[2]
    function.__doc__ = f"Raises Unsupported: {instead}."
    return function
