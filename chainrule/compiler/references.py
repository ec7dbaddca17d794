"""Where a program finds its inputs each time it runs, and where it puts what it changed.

A program refers to the tensors that its function closes over, not to their values: a state dict that is loaded, or a
learning rate that a scheduler sets, takes effect in the next run.
"""

from __future__ import annotations

from typing import Any

from ..core.tensor import Tensor

__all__ = ["Argument", "Gradient", "OfTensor", "Reference", "Seed", "Setting", "State"]


class Reference:
    """Says how to find one input, given the call's flattened arguments."""

    __slots__ = ("name",)
    name: str

    def holder(self, arguments: Any) -> Any:
        """The tensor, array or number itself.

        Raises:
            LookupError: there is none at present.
        """
        raise NotImplementedError

    def fetch(self, arguments: Any) -> Any:
        """The present value: an array or a number."""
        held = self.holder(arguments)
        return held.array if isinstance(held, Tensor) else held


class Argument(Reference):
    """An array or tensor among the arguments of the call."""

    __slots__ = ("index",)

    def __init__(self, index: int, name: str) -> None:
        self.index = index
        self.name = name

    def holder(self, arguments: Any) -> Any:
        """The argument."""
        return arguments[self.index]


class Seed(Reference):
    """The gradient of a result, which the backward program is given."""

    __slots__ = ("index",)

    def __init__(self, index: int, name: str) -> None:
        self.index = index
        self.name = name


class OfTensor(Reference):
    """A tensor that the function closes over."""

    __slots__ = ("tensor",)

    def __init__(self, tensor: Tensor, name: str) -> None:
        self.tensor = tensor
        self.name = name

    def holder(self, arguments: Any) -> Any:
        """The tensor."""
        return self.tensor


class Gradient(Reference):
    """The `.grad` that a tensor has when the program starts."""

    __slots__ = ("of",)

    def __init__(self, of: Reference) -> None:
        self.of = of
        self.name = f"{of.name}_grad"

    def holder(self, arguments: Any) -> Any:
        """The gradient; zeros' place is never asked for, since a program that reads gradients finds them."""
        gradient = self.of.holder(arguments)._grad
        if gradient is None:
            raise LookupError(f"{self.name} is None")
        return gradient


class State(Reference):
    """What an optimiser keeps for a parameter, by name."""

    __slots__ = ("key", "optimizer", "parameter")

    def __init__(self, optimizer: Any, parameter: Any, key: str, name: str) -> None:
        self.optimizer = optimizer
        self.parameter = parameter
        self.key = key
        self.name = name

    def holder(self, arguments: Any) -> Any:
        """The state: a tensor, or a number."""
        kept = self.optimizer.state.get(self.parameter)
        if not kept or kept.get(self.key) is None:
            raise LookupError(f"{type(self.optimizer).__name__} has no {self.key!r} for a parameter")
        return kept[self.key]


class Setting(Reference):
    """A number in an optimiser's group, such as the learning rate."""

    __slots__ = ("group", "index", "key", "optimizer")

    def __init__(self, optimizer: Any, group: int, key: str, index: int | None, name: str) -> None:
        self.optimizer = optimizer
        self.group = group
        self.key = key
        self.index = index  # of one of several numbers, such as the first of Adam's betas
        self.name = name

    def holder(self, arguments: Any) -> Any:
        """The number, or a tensor of one."""
        value = self.optimizer.param_groups[self.group][self.key]
        return value if self.index is None else value[self.index]
