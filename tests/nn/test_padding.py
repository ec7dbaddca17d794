"""Padding layers: their elements, gradients, settings and errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

MODES = {"Circular": "wrap", "Reflection": "reflect", "Replication": "edge", "Zero": "constant"}
SIZES = (4, 5, 6)


@pytest.mark.parametrize("kind", MODES)
@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("batch", [(2, 3), (3,)])
def test_padding_layers_pad_as_numpy_does(kind: str, n: int, batch: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal((*batch, *SIZES[:n]))
    widths = tuple(range(1, 2 * n + 1)) if kind != "Reflection" else (2, 1) * n
    widths = tuple(min(w, 3) for w in widths)
    pairs = [(widths[2 * i], widths[2 * i + 1]) for i in range(n)][::-1]
    want = np.pad(x, [(0, 0)] * len(batch) + pairs, mode=MODES[kind])
    layer = getattr(nn, f"{kind}Pad{n}d")(widths)
    np.testing.assert_array_equal(layer(cr.tensor(x, dtype=cr.float64)).numpy(), want)
    layer = getattr(nn, f"{kind}Pad{n}d")(2)
    want = np.pad(x, [(0, 0)] * len(batch) + [(2, 2)] * n, mode=MODES[kind])
    np.testing.assert_array_equal(layer(cr.tensor(x, dtype=cr.float64)).numpy(), want)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_constant_padding_has_a_value(n: int) -> None:
    x = np.ones((2, 3, *SIZES[:n]))
    want = np.pad(x, [(0, 0)] * 2 + [(1, 1)] * n, constant_values=3.5)
    np.testing.assert_array_equal(getattr(nn, f"ConstantPad{n}d")(1, 3.5)(cr.tensor(x)).numpy(), want)


@pytest.mark.parametrize("kind", MODES)
def test_gradients_of_padding_equal_finite_differences(kind: str) -> None:
    x = cr.tensor(np.random.default_rng(0).standard_normal((1, 2, 4, 5)), dtype=cr.float64, requires_grad=True)
    layer = getattr(nn, f"{kind}Pad2d")((1, 2, 3, 0))
    assert cr.autograd.gradcheck(lambda x: layer(x) ** 2, (x,))
    assert cr.autograd.gradgradcheck(lambda x: layer(x) ** 2, (x,))


@pytest.mark.parametrize(
    ("layer", "shown"),
    [
        (nn.ZeroPad2d(1), "ZeroPad2d((1, 1, 1, 1))"),
        (nn.ReflectionPad1d((1, 2)), "ReflectionPad1d((1, 2))"),
        (nn.ConstantPad1d(2, 0.5), "ConstantPad1d(padding=(2, 2), value=0.5)"),
        (nn.CircularPad3d(1), "CircularPad3d((1, 1, 1, 1, 1, 1))"),
    ],
)
def test_padding_layers_show_their_settings(layer: nn.Module, shown: str) -> None:
    assert repr(layer) == shown


@pytest.mark.parametrize(
    ("layer", "shape", "error"),
    [
        (nn.CircularPad2d(1), (4, 4), ValueError),
        (nn.ReflectionPad2d(1), (4, 4), NotImplementedError),
        (nn.ReplicationPad1d(1), (2, 3, 4, 4), NotImplementedError),
        (nn.ReflectionPad2d((1, 1)), (2, 3, 4, 4), NotImplementedError),
        (nn.ReflectionPad1d(4), (2, 3, 4), RuntimeError),
    ],
)
def test_inputs_that_cannot_be_padded_are_refused(layer: Any, shape: tuple[int, ...], error: type[Exception]) -> None:
    with pytest.raises(error):
        layer(cr.zeros(*shape))


def test_constant_padding_takes_any_number_of_axes() -> None:
    assert nn.ZeroPad2d(1)(cr.zeros(3, 4)).shape == (5, 6)
    assert nn.ZeroPad2d(-1)(cr.zeros(1, 1, 4, 5)).shape == (1, 1, 2, 3)


@pytest.mark.parametrize("kind", ["Circular", "Reflection", "Replication"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_padding_layers_equal_those_of_torch(kind: str, n: int) -> None:
    torch = pytest.importorskip("torch")
    array = np.random.default_rng(1).standard_normal((2, 3, *SIZES[:n]))
    x, theirs = cr.tensor(array, dtype=cr.float64, requires_grad=True), torch.tensor(array, requires_grad=True)
    out, want = getattr(nn, f"{kind}Pad{n}d")(3)(x), getattr(torch.nn, f"{kind}Pad{n}d")(3)(theirs)
    np.testing.assert_array_equal(out.detach().numpy(), want.detach().numpy())
    (out**2).sum().backward()
    (want**2).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), theirs.grad.numpy())
