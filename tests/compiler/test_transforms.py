"""`vmap`, Jacobians and Hessians inside compiled functions: what vmap holds meets traced arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn import functional as F

pytestmark = pytest.mark.usefixtures("numpy_only")

LOSSES: dict[str, Callable[[Any], Any]] = {
    "conv": lambda x: (F.conv1d(x.reshape(1, 1, 6), x[:3].reshape(1, 1, 3)) ** 2).sum(),
    "cumprod": lambda x: x.cumprod(0).sum(),
    "det": lambda x: cr.linalg.det(x[:4].reshape(2, 2)),
    "gather": lambda x: (x[cr.tensor([0, 0, 2])] ** 3).sum(),
    "index_add": lambda x: (cr.zeros(3, dtype=cr.float64).index_add(0, cr.tensor([0, 1, 1]), x[:3]) ** 3).sum(),
    "logcumsumexp": lambda x: x.logcumsumexp(0).sum(),
    "maxima of windows": lambda x: (F.max_pool1d(x.reshape(1, 1, 6), 2) ** 3).sum(),
    "prod": lambda x: (x**4).sum() + x.prod(),
    "softmax": lambda x: (x.softmax(0) ** 2).sum(),
    "sort": lambda x: (x.sort()[0] ** 3 * cr.arange(6.0)).sum(),
    "topk": lambda x: (x.topk(2)[0] ** 3).sum(),
    "triangle": lambda x: cr.linalg.solve_triangular(x[:4].reshape(2, 2), x[4:].reshape(2, 1), upper=True).sum(),
    "where": lambda x: cr.where(x > 0, x**3, x**2).sum(),
}
POINT = np.array([0.7, -1.1, 0.4, 1.9, -0.3, 1.2])


def differences(function: Callable[[Any], Any]) -> Any:
    """The derivative of an array of a point's numbers, by central differences."""
    steps = 1e-6 * np.eye(len(POINT))
    columns = [(function(POINT + step) - function(POINT - step)) / 2e-6 for step in steps]
    return np.stack(columns, axis=-1)


@pytest.mark.parametrize("name", LOSSES)
def test_a_compiled_hessian_is_the_difference_of_gradients(name: str) -> None:
    loss = LOSSES[name]
    compiled = cr.compile(lambda x: cr.func.hessian(loss)(x))
    expected = differences(lambda x: cr.func.grad(loss)(cr.from_numpy(x)).numpy())
    np.testing.assert_allclose(compiled(cr.from_numpy(POINT)).numpy(), expected, rtol=1e-6, atol=1e-6)


def test_what_vmap_maps_meets_what_it_does_not_on_either_side() -> None:
    @cr.compile
    def scaled(w: Any, xs: Any) -> Any:
        return cr.vmap(lambda x: w * x + x * w + np.maximum(w, x) - cr.where(w > x, w, x))(xs)

    w, xs = np.array([1.0, -2.0]), np.array([[3.0, 4.0], [0.5, -6.0], [1.0, 1.0]])
    np.testing.assert_allclose(scaled(cr.from_numpy(w), cr.from_numpy(xs)).numpy(), 2 * w * xs)


def test_largest_elements_give_their_gradients_to_their_places() -> None:
    @cr.compile
    def gradient(x: Any) -> Any:
        return cr.func.grad(lambda x: (x.topk(2, dim=0)[0] * cr.tensor([[1.0], [10.0]])).sum())(x)

    x = cr.tensor([[1.0, 9.0], [5.0, 2.0], [3.0, 4.0]])
    assert gradient(x).tolist() == [[0.0, 1.0], [1.0, 0.0], [10.0, 10.0]]
    assert "add_along" in gradient.source
