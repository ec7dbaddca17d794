"""Random programs of views, in-place writes and arithmetic: every gradient is the slope of the program.

A program is a list of steps, drawn from a seed; each takes tensors made so far, writes to some, and adds one more. Its
loss weighs all tensors at the end. The oracle is finite differences of the loss; PyTorch, where it is installed, runs
the same programs and must agree in values, gradients and flags wherever both accept them.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr

Step = tuple[str, int, int, int, float]  # name, two operands, a small integer, a number between 0 and 1

VIEWS: dict[str, Callable[..., Any]] = {
    "slice": lambda m, x, y, i, u: x[..., 1:] if x.ndim else x,
    "row": lambda m, x, y, i, u: x[i % x.shape[0]] if x.ndim and x.shape[0] else x,
    "transpose": lambda m, x, y, i, u: x.transpose(0, -1) if x.ndim > 1 else x,
    "reshape": lambda m, x, y, i, u: x.reshape(-1),
    "unsqueeze": lambda m, x, y, i, u: x.unsqueeze(0),
    "squeeze": lambda m, x, y, i, u: x.squeeze(),
    "expand": lambda m, x, y, i, u: x.unsqueeze(0).expand(2, *x.shape),
    "narrow": lambda m, x, y, i, u: x.narrow(-1, 0, 1),
    "diagonal": lambda m, x, y, i, u: x.diagonal() if x.ndim == 2 else x,
    "chunk": lambda m, x, y, i, u: x.chunk(2, -1)[0],
    "split": lambda m, x, y, i, u: x.split(2, -1)[-1],
    "unbind": lambda m, x, y, i, u: x.unbind(0)[i % x.shape[0]],
}
OPERATIONS: dict[str, Callable[..., Any]] = {
    "clone": lambda m, x, y, i, u: x.clone(),
    "multiply": lambda m, x, y, i, u: x * y,
    "add": lambda m, x, y, i, u: x + y * u,
    "exp": lambda m, x, y, i, u: x.tanh().exp(),
    "square": lambda m, x, y, i, u: x**2,
    "mean": lambda m, x, y, i, u: x.mean(),
    "cat": lambda m, x, y, i, u: m.cat([x, x], 0),
    "repeat rows": lambda m, x, y, i, u: x[[0, 0]],
}


def assign(x: Any, index: Any, value: Any) -> Any:
    x[index] = value
    return x


def add_to(x: Any, y: Any) -> Any:
    x += y
    return x


WRITES: dict[str, Callable[..., Any]] = {
    "mul_": lambda m, x, y, i, u: x.mul_(y),
    "add_": lambda m, x, y, i, u: x.add_(y, alpha=2),
    "sub_": lambda m, x, y, i, u: x.sub_(y),
    "div_": lambda m, x, y, i, u: x.div_(y * y + 1),
    "+=": lambda m, x, y, i, u: add_to(x, y),
    "tanh_": lambda m, x, y, i, u: x.tanh_(),
    "fill_": lambda m, x, y, i, u: x.fill_(u),
    "zero_": lambda m, x, y, i, u: x.zero_(),
    "copy_": lambda m, x, y, i, u: x.copy_(y),
    "write a row": lambda m, x, y, i, u: assign(x, i % x.shape[0], y[i % y.shape[0]] if y.ndim else y),
    "write a column": lambda m, x, y, i, u: assign(x, (..., slice(0, 1)), u),
    "write through a view": lambda m, x, y, i, u: (
        assign(x.transpose(0, -1), ..., y.transpose(0, -1) if y.ndim > 1 else y),
        x,
    )[1],
}
KINKS: dict[str, Callable[..., Any]] = {  # finite differences may straddle these; PyTorch alone judges them
    "relu_": lambda m, x, y, i, u: x.relu_(),
    "clamp_": lambda m, x, y, i, u: x.clamp_(-u, u),
    "write by mask": lambda m, x, y, i, u: assign(x, x > u - 0.5, u),
    "masked_fill_": lambda m, x, y, i, u: x.masked_fill_(y > 0, u),
    "where": lambda m, x, y, i, u: m.where(x > 0, x, y),
    "detach": lambda m, x, y, i, u: x.detach(),
}
SMOOTH = {**VIEWS, **OPERATIONS, **WRITES}
ALL = {**SMOOTH, **KINKS}


def draw(seed: int, names: list[str]) -> list[Step]:
    chance = random.Random(seed)
    count = chance.randint(3, 9)
    return [
        (
            chance.choice(names),
            chance.randrange(3 + n),
            chance.randrange(3 + n),
            chance.randrange(4),
            chance.random(),
        )
        for n in range(count)
    ]


def run(m: Any, steps: list[Step], a: Any, b: Any) -> tuple[Any, list[Any], list[Any]]:
    """The loss, the two leaves, and all tensors of a program, under the library `m`."""
    constant = np.linspace(-1.0, 1.5, 12).reshape(3, 4)
    leaves = [m.tensor(value, dtype=m.float64, requires_grad=True) for value in (a, b)]
    tensors = [leaf * 1 for leaf in leaves] + [m.tensor(constant, dtype=m.float64)]
    for name, first, second, i, u in steps:
        tensors.append(ALL[name](m, tensors[first], tensors[second], i, u))
    loss = 0
    for tensor in tensors:
        if tensor.requires_grad:
            weights = m.arange(tensor.numel(), dtype=m.float64).reshape(tensor.shape)
            loss = loss + (tensor * weights).sum()
    return loss, leaves, tensors


def start() -> tuple[Any, Any]:
    generator = np.random.default_rng(0)
    return generator.standard_normal((3, 4)), generator.standard_normal((3, 4))


REFUSED = (RuntimeError, IndexError, ValueError, TypeError)


@pytest.mark.parametrize("block", range(4))
def test_gradients_of_random_programs_are_their_slopes(block: int) -> None:
    names, a, b, step, compared = list(SMOOTH), *start(), 1e-6, 0
    for seed in range(300 * block, 300 * (block + 1)):
        steps = draw(seed, names)
        try:
            loss, leaves, _ = run(cr, steps, a, b)
            loss.backward()
        except REFUSED:
            continue
        compared += 1
        for which, leaf in enumerate(leaves):
            slopes = np.zeros((3, 4))
            for at in np.ndindex(3, 4):
                values = []
                for sign in (step, -step):
                    moved = [a.copy(), b.copy()]
                    moved[which][at] += sign
                    values.append(run(cr, steps, *moved)[0].item())
                slopes[at] = (values[0] - values[1]) / (2 * step)
            found = np.zeros((3, 4)) if leaf.grad is None else leaf.grad.numpy()
            scale = 1 + np.abs(slopes).max()
            assert np.allclose(found, slopes, rtol=1e-4, atol=1e-5 * scale), (seed, steps, found, slopes)
    assert compared >= 50, compared


def outcome(m: Any, steps: list[Step]) -> Any:
    """Gradients, flags and values of a program; None where it is refused."""
    try:
        loss, leaves, tensors = run(m, steps, *start())
        if not isinstance(loss, int):
            loss.backward()
    except REFUSED:
        return None
    gradients = [None if leaf.grad is None else np.array(leaf.grad.numpy()) for leaf in leaves]
    flags = [(tensor.requires_grad, tensor.is_leaf) for tensor in tensors]
    return gradients, flags, [np.array(tensor.detach().numpy()) for tensor in tensors]


def overlaps(steps: list[Step]) -> bool:
    """Whether a write may read from memory that it writes to, where PyTorch's result depends on its loop's order."""
    return any(name in WRITES and first != second for name, first, second, _, _ in steps)


@pytest.mark.parametrize("block", range(4))
def test_random_programs_do_what_pytorch_does(block: int) -> None:
    torch = pytest.importorskip("torch")
    warnings.filterwarnings("ignore", module="torch")
    names, compared = list(ALL), 0
    for seed in range(1000 * block, 1000 * (block + 1)):
        steps = draw(seed, names)
        ours, theirs = outcome(cr, steps), outcome(torch, steps)
        if ours is None or theirs is None:
            continue
        if not all(np.allclose(x, y, equal_nan=True) for x, y in zip(ours[2], theirs[2], strict=True)):
            assert overlaps(steps), (seed, steps)
            continue
        compared += 1
        assert ours[1] == theirs[1], (seed, steps)
        for x, y in zip(ours[0], theirs[0], strict=True):
            assert (x is None) == (y is None), (seed, steps)
            assert x is None or np.allclose(x, y, equal_nan=True), (seed, steps, x, y)
    assert compared >= 200, compared
