"""Sums along long axes keep their digits in compiled programs, with and without kernels, as they do in eager ones."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest

import chainrule as cr

random = np.random.default_rng(0)
REDUCTIONS: dict[str, tuple[Any, Any]] = {
    "sum": (lambda x, **more: x.sum(**more), lambda x, **more: x.sum(**more)),
    "mean": (lambda x, **more: x.mean(**more), lambda x, **more: x.mean(**more)),
    "var": (lambda x, **more: x.var(**more), lambda x, **more: x.var(ddof=1, **more)),
    "std": (lambda x, **more: x.std(correction=0, **more), lambda x, **more: x.std(**more)),
}
CASES = [  # shapes, and the axes that are summed; 100,003 is prime, and is cut
    ((200_000, 3), 0),
    ((100_003, 2), 0),
    ((3, 60_000, 2), 1),
    ((30_000, 3, 2), (0, 1)),
    ((2, 30_000, 1, 3), (0, 2, 1)),
    ((9000, 4), 1),
]


KERNELS = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="no Numba")


@pytest.mark.parametrize(  # kernels are the same with and without keepdims
    ("keepdims", "kernels"), [(False, "0"), (True, "0"), pytest.param(False, "1", marks=KERNELS)]
)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_are_as_exact_as_in_double_precision(
    name: str, keepdims: bool, kernels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAINRULE_KERNELS", kernels)
    ours, numpys = REDUCTIONS[name]
    for shape, axes in CASES:
        x = (1000 + random.normal(size=shape)).astype(np.float32)
        program = cr.compile(lambda x, axes=axes: ours(x, dim=axes, keepdim=keepdims))
        found = program(cr.from_numpy(x)).numpy()
        wanted = numpys(x.astype(np.float64), axis=axes, keepdims=keepdims)
        assert found.dtype == np.float32 and found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=2e-7)  # the mean of four has an error, too


def test_the_gradient_of_a_long_variance_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    def gradient(x: Any) -> Any:
        (found,) = cr.autograd.grad(x.var(0).sum(), x)
        return found

    x = (1000 + random.normal(size=(200_000, 2))).astype(np.float32)
    exact = 2 * (x.astype(np.float64) - x.mean(0, dtype=np.float64)) / (len(x) - 1)
    found = cr.compile(gradient)(cr.from_numpy(x).requires_grad_()).numpy()
    np.testing.assert_allclose(found, exact, atol=1e-4 * np.abs(exact).max())
