"""Orders of arguments of PyTorch's older programs: the number before the tensors, as in `p.add_(-lr, gradient)`.

PyTorch still takes them, with a warning, and so do the methods here.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from ..core.tensor import Tensor
from .common import attach

__all__: list[str] = []


def _number_first(name: str, keyword: str, tensors: int) -> Callable[..., Any]:
    """A method that may be given the number that multiplies before its tensors; otherwise by its keyword."""
    method = getattr(Tensor, name)

    @functools.wraps(method)
    def either(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        if len(args) == tensors + 1 and isinstance(args[-1], Tensor) and not isinstance(args[0], Tensor):
            warnings.warn(
                f"{name}({keyword}, ...) is an old order of arguments: write {name}(..., {keyword}={keyword})",
                UserWarning,
                stacklevel=2,
            )
            return method(self, *args[1:], **{keyword: args[0]}, **kwargs)
        return method(self, *args, **kwargs)

    return either


ORDERS = {"add_": ("alpha", 1), "sub_": ("alpha", 1)}
ORDERS.update(dict.fromkeys(("addcmul", "addcmul_", "addcdiv", "addcdiv_"), ("value", 2)))
attach(**{name: _number_first(name, *order) for name, order in ORDERS.items()})
