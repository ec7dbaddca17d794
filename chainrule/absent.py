"""What PyTorch has and chainrule has not, and why: the one source of the messages and of docs/pytorch.md."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NoReturn

__all__ = ["ABSENT", "Unsupported", "absent", "reason_for", "refuse"]

PAGE = "docs/pytorch.md"

# ----- the names --------------------------------------------------------------------------------------------------

# for each of PyTorch's modules and classes: why -> the names
ABSENT: dict[str, dict[str, str]] = {
    "torch": {
        "compilation is not there yet; leave the call out": "compile compiler export fx library",
    },
}


class Unsupported(NotImplementedError):
    """Something of PyTorch's that exists here by name only was used; the message says what to do instead."""


def reason_for(owner: str, name: str) -> str | None:
    """Why `owner` ("torch", "torch.Tensor", "torch.nn", ...) has no `name` here; None if PyTorch has none either."""
    for reason, names in ABSENT.get(owner, {}).items():
        if name in names.split():
            return reason
    return None


def explain(owner: str, name: str) -> str:
    """The message for a name that is not there."""
    reason = reason_for(owner, name)
    return f"chainrule has no {owner}.{name}{f': {reason}' if reason else ''}; see {PAGE}"


def absent(module: str) -> Callable[[str], Any]:
    """The `__getattr__` of a module of this package that stands for one of PyTorch's: says what is missing, and why."""
    owner = "torch" + module.removeprefix("chainrule")

    def __getattr__(name: str) -> NoReturn:
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


class Absent:
    """A method or attribute that PyTorch's class has and ours has not: asking for it raises AttributeError."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: object, owner: type | None = None) -> NoReturn:
        raise AttributeError(explain(self.owner, self.name), name=self.name, obj=instance)
