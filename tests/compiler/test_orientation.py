"""Matrices that compiled programs keep turned between products: what they compute stays the same."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule import compile, nn, optim
from chainrule.compiler.graph import Node
from chainrule.nn import functional as F

from .test_passes import Build, after

CASES: dict[str, tuple[Callable[[Build], Any], list[str]]] = {
    "few rows by a matrix": (
        lambda b: _layer(b, 16, 512, 512),
        [
            "transpose = transpose(x, (1, 0))",
            "out_turned = dot(w, transpose)",
            "reshape = reshape(bias, (512, 1))",
            "sum_turned = add(out_turned, reshape)",
            "total = sum(sum_turned, axis=1)",
            "return total",
        ],
    ),
    "as many rows stay": (
        lambda b: _layer(b, 512, 512, 512),
        [
            "transpose = transpose(w)",
            "out = dot(x, transpose)",
            "sum = add(out, bias)",
            "total = sum(sum, axis=0)",
            "return total",
        ],
    ),
    "little work stays": (
        lambda b: _layer(b, 4, 16, 16),
        [
            "transpose = transpose(w)",
            "out = dot(x, transpose)",
            "sum = add(out, bias)",
            "total = sum(sum, axis=0)",
            "return total",
        ],
    ),
    "a result stays": (
        lambda b: b("out", np.dot, b.input("x", 16, 512), b("transpose", np.transpose, b.input("w", 512, 512))),
        ["transpose = transpose(w)", "out = dot(x, transpose)", "return out"],
    ),
    "what something else reads stays": (
        lambda b: b(
            "y",
            np.reshape,
            b("out", np.dot, b.input("x", 16, 512), b("transpose", np.transpose, b.input("w", 512, 512))),
            (512, 16),
        ),
        ["transpose = transpose(w)", "out = dot(x, transpose)", "y = reshape(out, (512, 16))", "return y"],
    ),
    "what meets an array of the user's stays": (
        lambda b: b(
            "total",
            np.sum,
            b(
                "y",
                np.add,
                b("out", np.dot, b.input("x", 16, 512), b("transpose", np.transpose, b.input("w", 512, 512))),
                b.input("z", 16, 512),
            ),
            axis=0,
        ),
        [
            "transpose = transpose(w)",
            "out = dot(x, transpose)",
            "y = add(out, z)",
            "total = sum(y, axis=0)",
            "return total",
        ],
    ),
}


def _layer(b: Build, rows: int, columns: int, inside: int) -> Node:
    w = b("transpose", np.transpose, b.input("w", columns, inside))
    out = b("out", np.dot, b.input("x", rows, inside), w)
    return b("total", np.sum, b("sum", np.add, out, b.input("bias", columns)), axis=0)


@pytest.mark.parametrize("case", CASES)
def test_matrices_are_turned_where_their_products_gain(case: str) -> None:
    make, expected = CASES[case]
    assert after("orientation", make) == expected


# ----- programs -----

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "relu": cr.relu,
    "tanh": cr.tanh,
    "leaky": lambda x: F.leaky_relu(x, 0.1),
    "mask": lambda x: cr.where(x > 0.1, x * 2, -x),
    "by a column": lambda x: x * cr.arange(x.shape[0], dtype=x.dtype).reshape(-1, 1),
    "by a row": lambda x: x - cr.linspace(0, 1, x.shape[1], dtype=x.dtype),
    "by a row, which wants its gradient": lambda x: x * x.sum(0),
    "centred": lambda x: x - x.mean(1, keepdim=True),
    "dropout": lambda x: F.dropout(x, 0.5),
    "by a sum": lambda x: x / (1 + x.abs().sum()),
    "halves": lambda x: cr.cat([x[:, 1::2], x[:, ::2]], 1),
    "in place": lambda x: x.clone().mul_(1.5),
    "columns": lambda x: x.cumsum(0),
}
SIZES = st.sampled_from([48, 64, 130, 256])
SHAPES = st.tuples(st.sampled_from([1, 2, 5, 16, 33]), SIZES, SIZES, SIZES)


def gradients(model: Any, names: tuple[str, ...], x: Any, weight: Any) -> list[Any]:
    hidden = x
    for layer, name in zip(model, names, strict=False):
        hidden = ACTIVATIONS[name](layer(hidden))
    loss = (hidden * weight).sum() + (hidden.amax(0) ** 2).sum()
    return [loss, *cr.autograd.grad(loss, [x, *model.parameters()])]


@pytest.mark.usefixtures("numpy_only")
@settings(max_examples=40, deadline=None)
@given(SHAPES, st.tuples(*[st.sampled_from([*ACTIVATIONS])] * 3), st.booleans())
def test_a_stack_of_layers_gives_the_same_gradients(shape: Any, names: tuple[str, ...], bias: bool) -> None:
    batch, *sizes = shape
    cr.manual_seed(0)
    layers = [nn.Linear(n, m, bias=bias, dtype=cr.float64) for n, m in zip([sizes[0], *sizes], sizes, strict=False)]
    model = nn.ModuleList(layers)
    x = cr.randn(batch, sizes[0], dtype=cr.float64, requires_grad=True)
    weight = cr.randn(batch, sizes[-1], dtype=cr.float64)
    cr.manual_seed(3)
    expected = gradients(model, names, x, weight)
    cr.manual_seed(3)
    found = compile(lambda x, weight: gradients(model, names, x, weight))(x, weight)
    for a, b in zip(found, expected, strict=True):
        a, b = a.detach().numpy(), b.detach().numpy()
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12 * max(1, abs(b).max()))
        assert a.flags.c_contiguous


@pytest.mark.parametrize("kernels", ["0", "1"])
def test_training_with_turned_activations_stays_together(kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_KERNELS", kernels)
    x, y = cr.randn(20, 300, dtype=cr.float64), cr.randint(0, 7, (20,))

    def train(compiled: bool) -> tuple[list[float], list[Any], Any]:
        cr.manual_seed(0)
        sizes = (300, 256, 256, 7)
        layers = [nn.Linear(n, m, dtype=cr.float64) for n, m in itertools.pairwise(sizes)]
        model = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.Tanh(), layers[2])
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        run = compile(step) if compiled else step
        losses = [run(x, y).item() for _ in range(20)]
        gradients: list[Any] = [p.grad for p in model.parameters()]
        pairs = zip(model.parameters(), gradients, strict=True)
        return losses, [(p.detach().numpy(), g.numpy()) for p, g in pairs], run

    expected, found = train(False), train(True)
    assert "np.dot(model_0_weight, x.T" in found[2].source
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-10)
    for mine, theirs in zip(found[1], expected[1], strict=True):
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12)
            assert a.flags.c_contiguous
