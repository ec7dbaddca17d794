"""What a forward pass leaves for its backward pass, where the backward functions of several arguments share much work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.tensor import Tensor

__all__ = ["Memory", "remembered"]


class Memory:
    """What one call leaves for its backward pass: given as the last argument, used by plain gradients only.

    A recorded backward pass, whose result will be differentiated, starts from the tensors themselves.

    Attributes:
        steps: what the forward pass computed.
        seed: the gradients of the outputs for which `gradients` was computed.
        gradients: what the backward functions of all arguments share.
    """

    __slots__ = ("gradients", "seed", "steps")

    def __init__(self) -> None:
        self.steps: Any = None
        self.seed: Any = None
        self.gradients: Any = None

    def __repr__(self) -> str:
        return "Memory()"


def remembered(saved: Memory | None, grad_out: tuple[Any, ...], compute: Callable[[], Any]) -> Any:
    """`compute()`, once for the backward functions of all arguments.

    They are given the same `grad_out`. It must be a tuple, as operations with several outputs get it: the engine makes
    a new one for each pass, while an array could be the same one with other numbers in it.
    """
    if saved is None or isinstance(grad_out[0], Tensor):
        return compute()
    if saved.seed is not grad_out:
        saved.gradients = compute()
        saved.seed = grad_out
    return saved.gradients
