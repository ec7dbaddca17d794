"""What a forward pass leaves for its backward pass, and what the backward functions of several arguments share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.forward import Several
from ..core.tensor import Tensor

__all__ = ["Memory", "remembered"]


class Memory:
    """What one call leaves for its backward pass in `steps`: given as the last argument, used for plain gradients only.

    A recorded backward pass, whose result will be differentiated, starts from the tensors themselves.
    """

    __slots__ = ("steps",)

    def __init__(self) -> None:
        self.steps: Any = None

    def __repr__(self) -> str:
        return "Memory()"

    def recall(self, gradient: Any) -> Any:
        """`steps`, unless the backward pass that brings this gradient is recorded."""
        return None if isinstance(gradient, Tensor) else self.steps


def remembered(grad_out: Any, compute: Callable[[], Any]) -> Any:
    """`compute()`, once for the backward functions of all arguments in one backward pass.

    The engine gives them one object, `grad_out`, that holds the gradients of the outputs and is made anew for each
    pass of an operation with several outputs: it keeps the result as long as it lives.
    """
    if type(grad_out) is not Several:
        return compute()
    try:
        return grad_out.shared
    except AttributeError:
        grad_out.shared = compute()
        return grad_out.shared
