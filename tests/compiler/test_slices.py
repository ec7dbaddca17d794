"""Programs that split an array and use the parts: their gradients come together as in eager ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import compile
from chainrule.nn import functional as F

pytestmark = pytest.mark.usefixtures("numpy_only")


def heads(x: Any) -> Any:
    q, k, v = (part.view(2, 6, 2, 3).transpose(1, 2) for part in x.split(6, dim=2))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def gates(x: Any) -> Any:
    a, b, c = x.chunk(3, dim=-1)
    return a.sigmoid() * b.tanh() + c * c


def rows(x: Any) -> Any:
    first, *others = x.unbind(0)
    return first.exp() + sum(other * other for other in others)


def overlapping(x: Any) -> Any:
    return x[..., :12].exp() * x[..., 6:]


def one_twice(x: Any) -> Any:
    return x[:, :3].sin() * x[:, 3:].cos() + x[:, :3] ** 2


def with_itself(x: Any) -> Any:
    return x[:1] * x[1:] + x.sum(0)


@pytest.mark.parametrize("function", [heads, gates, rows, overlapping, one_twice, with_itself])
def test_parts_of_an_array_give_its_gradient(function: Callable[[Any], Any]) -> None:
    x = cr.randn(2, 6, 18, dtype=cr.float64, requires_grad=True)

    def gradient(x: Any) -> Any:
        out = function(x)
        (first,) = cr.autograd.grad((out * out).sum(), x, create_graph=True)
        (second,) = cr.autograd.grad((first * first.sin()).sum(), x)
        return out, first, second

    found = compile(gradient)
    for a, b in zip(found(x), gradient(x), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-11, atol=1e-13)
    assert ("np.concatenate" in found.source) == (function is not overlapping), found.source
