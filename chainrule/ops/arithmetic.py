"""Sums, products, quotients: the operators of arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.broadcasting import unbroadcast
from ..core.forward import wrap_forward_fn
from ..core.table import backward
from ..core.tensor import Tensor
from .common import attach, in_place

__all__ = [
    "add",
    "div",
    "divide",
    "mul",
    "multiply",
    "neg",
    "negative",
    "positive",
    "reciprocal",
    "rsub",
    "sub",
    "subtract",
    "true_divide",
]

# ----- the table --------------------------------------------------------------------------------------------------


@backward(np.add, 0)
def add_back0(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_x L = \nabla_{out} L$"""
    return unbroadcast(grad_out, x)


@backward(np.add, 1)
def add_back1(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_y L = \nabla_{out} L$"""
    return unbroadcast(grad_out, y)


@backward(np.subtract, 0)
def subtract_back0(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_x L = \nabla_{out} L$"""
    return unbroadcast(grad_out, x)


@backward(np.subtract, 1)
def subtract_back1(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_y L = -\nabla_{out} L$"""
    return unbroadcast(-grad_out, y)


@backward(np.multiply, 0)
def multiply_back0(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_x L = y \nabla_{out} L$"""
    return unbroadcast(grad_out * y, x)


@backward(np.multiply, 1)
def multiply_back1(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_y L = x \nabla_{out} L$"""
    return unbroadcast(grad_out * x, y)


@backward(np.true_divide, 0)
def true_divide_back0(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_x L = \nabla_{out} L / y$"""
    return unbroadcast(grad_out / y, x)


@backward(np.true_divide, 1)
def true_divide_back1(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_y L = -\frac{x}{y^2} \nabla_{out} L$"""
    return unbroadcast(-grad_out * (x / y) / y, y)


@backward(np.negative, 0)
def negative_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = -\nabla_{out} L$"""
    return -grad_out


@backward(np.positive, 0)
def positive_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \nabla_{out} L$"""
    return grad_out


@backward(np.reciprocal, 0)
def reciprocal_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = -\frac{1}{x^2} \nabla_{out} L$"""
    return -grad_out * out * out


# ----- the operations ---------------------------------------------------------------------------------------------

_add = wrap_forward_fn(np.add, promotes=True)
_subtract = wrap_forward_fn(np.subtract, promotes=True)
multiply = mul = wrap_forward_fn(np.multiply, promotes=True)
true_divide = wrap_forward_fn(np.true_divide, floating=True)
negative = neg = wrap_forward_fn(np.negative)
positive = wrap_forward_fn(np.positive)
reciprocal = wrap_forward_fn(np.reciprocal, floating=True)


def add(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """`input + alpha * other`, broadcast.

    >>> import chainrule as cr
    >>> cr.add(cr.tensor([1.0, 2.0]), cr.tensor([10.0]), alpha=2)
    Tensor(array([21., 22.], dtype=float32), requires_grad=False)
    """
    return _add(input, other if alpha == 1 else multiply(other, alpha))  # type: ignore[no-any-return]


def subtract(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """`input - alpha * other`, broadcast."""
    return _subtract(input, other if alpha == 1 else multiply(other, alpha))  # type: ignore[no-any-return]


sub = subtract


def rsub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """`other - alpha * input`, broadcast."""
    return subtract(other, input, alpha=alpha)


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """`input / other`, broadcast; with `rounding_mode` "trunc" or "floor" rounded, and without a gradient there."""
    if rounding_mode is None:
        return true_divide(input, other)  # type: ignore[no-any-return]
    from . import elementwise

    if rounding_mode == "floor":
        return elementwise.floor_divide(input, other)
    if rounding_mode == "trunc":
        return elementwise.trunc_divide(input, other)
    raise RuntimeError(f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'")


divide = div


def _add_(self: Tensor, other: Any, alpha: Any = 1) -> Tensor:
    """Add `alpha * other` to this tensor; returns it."""
    return in_place(add, "add_")(self, other, alpha=alpha)


def _sub_(self: Tensor, other: Any, alpha: Any = 1) -> Tensor:
    """Subtract `alpha * other` from this tensor; returns it."""
    return in_place(subtract, "sub_")(self, other, alpha=alpha)


attach(add, subtract, div, negative, positive, reciprocal, sub=subtract, mul=mul, multiply=multiply, divide=div)
attach(true_divide=true_divide, neg=negative, add_=_add_, sub_=_sub_, subtract_=_sub_)
attach(__add__=_add, __sub__=_subtract, __mul__=multiply, __truediv__=true_divide, __neg__=negative, __pos__=positive)
attach(
    __radd__=lambda self, other: _add(other, self),
    __rsub__=lambda self, other: _subtract(other, self),
    __rmul__=lambda self, other: multiply(other, self),
    __rtruediv__=lambda self, other: true_divide(other, self),
    __rdiv__=lambda self, other: true_divide(other, self),
)
mul_, div_ = in_place(multiply, "mul_"), in_place(div, "div_")
attach(mul_=mul_, multiply_=mul_, div_=div_, divide_=div_, true_divide_=div_)
attach(neg_=in_place(negative, "neg_"), negative_=in_place(negative, "negative_"))
attach(reciprocal_=in_place(reciprocal, "reciprocal_"))
attach(__iadd__=_add_, __isub__=_sub_, __imul__=mul_, __itruediv__=div_)
add_, sub_ = _add_, _sub_
__all__ += ["add_", "sub_"]
