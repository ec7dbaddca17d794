"""Where a program finds its inputs each time it runs, and where it puts what it changed.

A program refers to the tensors that its function closes over, not to their values: a state dict that is loaded, or a
learning rate that a scheduler sets, takes effect in the next run.
"""

from __future__ import annotations

from typing import Any

from ..core.tensor import Tensor, make_tensor

__all__ = ["Argument", "Gradient", "OfTensor", "Reference", "Seed", "Setting", "State"]


class Reference:
    """Says how to read one input: `fetch(arguments)` gives an array or a number."""

    __slots__ = ("name",)
    name: str

    def fetch(self, arguments: list[Any]) -> Any:
        """The present value; `arguments` are the call's, flattened."""
        raise NotImplementedError


class Argument(Reference):
    """An array or tensor among the arguments of the call."""

    __slots__ = ("index",)

    def __init__(self, index: int, name: str) -> None:
        self.index = index
        self.name = name

    def fetch(self, arguments: list[Any]) -> Any:
        """The argument's array."""
        value = arguments[self.index]
        return value.array if isinstance(value, Tensor) else value


class Seed(Reference):
    """The gradient of a result, which the backward program is given."""

    __slots__ = ("index",)

    def __init__(self, index: int, name: str) -> None:
        self.index = index
        self.name = name


class OfTensor(Reference):
    """The array of a tensor that the function closes over."""

    __slots__ = ("tensor",)

    def __init__(self, tensor: Tensor, name: str) -> None:
        self.tensor = tensor
        self.name = name

    def fetch(self, arguments: list[Any]) -> Any:
        """The tensor's array."""
        return self.tensor.array


class Gradient(Reference):
    """The `.grad` that a tensor has when the program starts."""

    __slots__ = ("tensor",)

    def __init__(self, tensor: Tensor, name: str) -> None:
        self.tensor = tensor
        self.name = name

    def fetch(self, arguments: list[Any]) -> Any:
        """The gradient's array."""
        gradient = self.tensor.grad
        assert gradient is not None
        return gradient.array


class State(Reference):
    """What an optimiser keeps for a parameter, by name."""

    __slots__ = ("key", "optimizer", "parameter")

    def __init__(self, optimizer: Any, parameter: Any, key: str, name: str) -> None:
        self.optimizer = optimizer
        self.parameter = parameter
        self.key = key
        self.name = name

    def fetch(self, arguments: list[Any]) -> Any:
        """The state's array."""
        return self.optimizer.state[self.parameter][self.key].array


class Setting(Reference):
    """A number in an optimiser's group, such as the learning rate."""

    __slots__ = ("group", "index", "key", "optimizer")

    def __init__(self, optimizer: Any, group: int, key: str, index: int | None, name: str) -> None:
        self.optimizer = optimizer
        self.group = group
        self.key = key
        self.index = index  # of one of several numbers, such as the first of Adam's betas
        self.name = name

    def fetch(self, arguments: list[Any]) -> Any:
        """The number."""
        value = self.optimizer.param_groups[self.group][self.key]
        return value if self.index is None else value[self.index]


def give_gradient(tensor: Tensor, array: Any) -> None:
    """Set `.grad` to a new tensor."""
    tensor.grad = make_tensor(array, None)
