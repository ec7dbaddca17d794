"""Random programs of matrices so large that kernels compute their products, with what follows and training steps."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule import optim
from chainrule.compiler import compile
from chainrule.nn import functional as F
from chainrule.ops import contraction
from tests.compiler.programs import weights

pytestmark = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="kernels need Numba")

AFTER: list[Any] = [  # of a matrix, one with as many elements, a row and a column
    lambda x, y, row, column: cr.relu(x), lambda x, y, row, column: x + row, lambda x, y, row, column: x * row,
    lambda x, y, row, column: x + column, lambda x, y, row, column: x * 0.5, lambda x, y, row, column: x + y,
    lambda x, y, row, column: y - x, lambda x, y, row, column: x * y, lambda x, y, row, column: x * (y > 0),
    lambda x, y, row, column: x.masked_fill(y < 0, 0.25), lambda x, y, row, column: cr.where(x > 0, x, y),
    lambda x, y, row, column: x.clamp(-1, 1), lambda x, y, row, column: cr.maximum(x, y),
    lambda x, y, row, column: F.leaky_relu(x), lambda x, y, row, column: x * x, lambda x, y, row, column: -x,
    lambda x, y, row, column: F.dropout(x, 0.25), lambda x, y, row, column: x / (column * column + 1),
    lambda x, y, row, column: cr.tanh(x), lambda x, y, row, column: x.abs() + y, lambda x, y, row, column: x.sign() * y,
    lambda x, y, row, column: x.clone().add_(row), lambda x, y, row, column: x.clone().mul_(y.detach()).relu_(),
    lambda x, y, row, column: x.softmax(-1), lambda x, y, row, column: x.double().to(x.dtype),
    lambda x, y, row, column: x.detach() + x, lambda x, y, row, column: x - x.mean(0), lambda x, y, row, column: x.T,
    lambda x, y, row, column: x.reshape(-1, x.shape[0]), lambda x, y, row, column: x.flip(1),
    lambda x, y, row, column: F.silu(x), lambda x, y, row, column: x.floor() + x,
    lambda x, y, row, column: cr.add(x, y, alpha=0.5), lambda x, y, row, column: cr.lerp(x, y, 0.25),
]  # fmt: skip
CHEAP = 18  # of them what kernels of products take along
SUMS: list[Any] = [
    lambda x: x.sum(0), lambda x: x.sum(1), lambda x: x.sum(), lambda x: x.mean(0), lambda x: (x * x).sum(0),
    lambda x: (x > 0).sum(0) * 0.5 + x.sum(0), lambda x: x.amax(0), lambda x: x.var(0), lambda x: x.sum(0, True),
    lambda x: x.mean(), lambda x: x[1:].sum(0), lambda x: x.sum(0).square(), lambda x: x.norm(), lambda x: x.argmax(1),
]  # fmt: skip
FORMS: list[Any] = [  # of products
    lambda x, y, row: x @ y, lambda x, y, row: F.linear(x, y.T), lambda x, y, row: F.linear(x, y.T, row),
    lambda x, y, row: cr.addmm(row, x, y), lambda x, y, row: cr.einsum("ij,jk->ik", x, y),
    lambda x, y, row: (y.T @ x.T).T, lambda x, y, row: F.linear(x.unsqueeze(0), y.T, row)[0],
    lambda x, y, row: cr.addmm(row, x, y, beta=0.5, alpha=2), lambda x, y, row: F.linear(x, y.T.clone(), row),
]  # fmt: skip
OPTIMIZERS: list[Any] = [
    lambda p: optim.SGD(p, lr=0.01), lambda p: optim.SGD(p, lr=0.01, momentum=0.9, weight_decay=0.1),
    lambda p: optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True, maximize=True), lambda p: optim.Adam(p, lr=0.01),
    lambda p: optim.AdamW(p, lr=0.01, amsgrad=True), lambda p: optim.RMSprop(p, lr=0.01),
    lambda p: optim.SGD(p, lr=0.01, weight_decay=0.1), lambda p: optim.SGD(p, lr=0.0),
]  # fmt: skip
UPDATES: list[Any] = [  # by hand
    lambda p: p.sub_(p.grad * 0.01), lambda p: p.add_(p.grad, alpha=-0.01), lambda p: p.copy_(p - 0.01 * p.grad),
    lambda p: p.mul_(0.9).sub_(p.grad.clamp(-1, 1)), lambda p: p.sub_(0.01 * p.grad / (p.grad.norm() + 1)),
    lambda p: p.data.sub_(0.01 * p.grad) if p.ndim == 2 else None, lambda p: p.T.sub_(0.01 * p.grad.T),
    lambda p: p[1:].sub_(0.01 * p.grad[1:]), lambda p: p.grad.mul_(2) * p.sub_(p.grad),
]  # fmt: skip
LAYOUTS: list[Any] = [  # how a matrix lies in memory
    lambda a: a, np.asfortranarray, lambda a: np.array(a[::-1, ::-1])[::-1, ::-1],
    lambda a: np.repeat(a, 2, 1)[:, ::2],
]  # fmt: skip
DIMS = [8, 9, 64, 65, 100, 128, 130, 150, 193, 257]
INNER = [8, 31, 64, 128, 385, 520, 1030]


class Setting:
    """What surrounds a program: sizes, layouts, what is differentiated, how parameters change.

    Attributes:
        sizes: of the three dimensions that matrices have.
        order: of the derivatives, 0 to 2.
        update: a number of OPTIMIZERS or, beyond them, of UPDATES; None for none.
    """

    def __init__(self, numbers: Any) -> None:
        rows, inner, columns, layout, order, update, shown, seed = numbers
        self.sizes = (DIMS[rows % len(DIMS)], INNER[inner % len(INNER)], DIMS[columns % len(DIMS)])
        self.layouts = [LAYOUTS[layout // len(LAYOUTS) ** k % len(LAYOUTS)] for k in range(4)]
        self.order = order
        self.update = update if order else None
        self.shown = shown
        self.seed = seed


STEPS = st.one_of(
    st.tuples(st.just("product"), st.integers(0, len(FORMS) - 1), st.integers(0, 999)),
    st.tuples(st.just("after"), st.integers(0, CHEAP - 1), st.integers(0, 999)),
    st.tuples(st.just("after"), st.integers(0, len(AFTER) - 1), st.integers(0, 999)),
    st.tuples(st.just("sum"), st.integers(0, len(SUMS) - 1), st.integers(0, 999)),
)
PROGRAMS = st.lists(STEPS, min_size=1, max_size=7)
SETTINGS_OF = st.tuples(
    st.integers(0, 99), st.integers(0, 99), st.integers(0, 99), st.sampled_from([0, 0, 0, *range(64)]),
    st.sampled_from([0, 1, 1, 1, 2]), st.one_of(st.none(), st.integers(0, len(OPTIMIZERS) + len(UPDATES) - 1)),
    st.integers(0, 3), st.integers(0, 999),
).map(Setting)  # fmt: skip


def run(program: Any, setting: Setting, parameters: list[Any], x: Any, y: Any) -> tuple[list[Any], Any]:
    """The results of a program, and the sum that is differentiated.

    A step takes what the last one has made, so that loops follow products; what no later step reads is a result.
    """
    values = [x, *parameters[:3], y]
    vectors = {vector.shape[0]: vector for vector in parameters[3:]}
    read: set[int] = set()
    for kind, which, place in program:
        at = len(values) - 1 if place % 4 else place // 4 % len(values)
        a = values[at]
        if kind == "product":
            if a.ndim != 2:
                continue
            turned = [(i, turn) for i in range(len(values)) for turn in (False, True) if values[i].ndim == 2]
            turned = turned[place % len(turned) :] + turned[: place % len(turned)]
            for i, turn in turned:
                b = values[i].T if turn else values[i]
                left = a if a.shape[1] == b.shape[0] else a.T
                if left.shape[1] == b.shape[0] and b.shape[1] in vectors:
                    values.append(FORMS[which](left, b, vectors[b.shape[1]]))
                    read |= {i, at}
                    break
        elif kind == "after":
            if a.ndim != 2 or a.shape[1] not in vectors or a.shape[0] not in vectors:
                continue
            others = [i for i, value in enumerate(values) if value.shape == a.shape]
            i = others[place % len(others)]
            values.append(AFTER[which](a, values[i], vectors[a.shape[1]], vectors[a.shape[0]][:, None]))
            read |= {i, at}
        elif a.ndim == 2:
            values.append(SUMS[which](a))
            if place % 5:
                read.add(at)
    results = [value for i, value in enumerate(values) if i > 4 and (i not in read or i % 4 == setting.shown)]
    sums = [value for value in results if value.requires_grad]
    # numbers near 1, so that products of many are as well
    loss = sum(((value * weights(value)).to(cr.float64).sum() / value.numel() ** 0.5 for value in sums), cr.zeros(()))
    return results, loss


def make(setting: Setting, dtype: Any) -> tuple[list[Any], list[Any]]:
    """Parameters: three matrices and a vector for each size; and what a program is given: two matrices."""
    random = np.random.default_rng(setting.seed)
    rows, inner, columns = setting.sizes

    def matrix(k: int, *shape: int) -> Any:
        return cr.from_numpy(setting.layouts[k]((random.normal(size=shape) / shape[1] ** 0.5).astype(dtype)))

    first, second = matrix(0, columns, inner), matrix(1, inner, columns)
    parameters = [first, second, matrix(2, columns, columns)]
    parameters += [cr.from_numpy(random.normal(size=size).astype(dtype)) for size in dict.fromkeys(setting.sizes)]
    given = [matrix(3, rows, inner), matrix(0, rows, columns)]
    return [parameter.requires_grad_() for parameter in parameters], given


def outcome(program: Any, setting: Setting, dtype: Any, wrap: Any) -> list[Any]:
    """What a program computes, and in training what becomes of its parameters, as arrays."""
    parameters, (x, y) = make(setting, dtype)
    x.requires_grad_(setting.order > 0 and setting.shown % 2 == 0)
    leaves = [*parameters, *([x] if x.requires_grad else [])]
    optimizer = None
    if setting.update is not None and setting.update < len(OPTIMIZERS):
        optimizer = OPTIMIZERS[setting.update](parameters)

    def differentiate(x: Any, y: Any) -> list[Any]:
        results, loss = run(program, setting, parameters, x, y)
        found = [value.detach() for value in results]
        if not loss.requires_grad or setting.order == 0:
            return found
        second = setting.order == 2
        gradients = cr.autograd.grad(loss, leaves, allow_unused=True, create_graph=second)
        gradients = [gradient for gradient in gradients if gradient is not None]
        found += [gradient.detach() for gradient in gradients]
        again = sum(((g * g).sum() for g in gradients if second and g.requires_grad), cr.zeros(()))
        if again.requires_grad:
            more = cr.autograd.grad(again, leaves, allow_unused=True)
            found += [gradient for gradient in more if gradient is not None]
        return found

    def train(x: Any, y: Any) -> list[Any]:
        for parameter in parameters:
            parameter.grad = None
        results, loss = run(program, setting, parameters, x, y)
        if loss.requires_grad:
            loss.backward()
            if optimizer is not None:
                optimizer.step()
            else:
                with cr.no_grad():
                    for parameter in parameters:
                        if parameter.grad is not None:
                            UPDATES[(setting.update or 0) - len(OPTIMIZERS)](parameter)
        return [value.detach() for value in (*results, loss)]

    step = wrap(differentiate if setting.update is None else train)
    found, kept = [], []
    for count in range(2 if setting.update is None else 3):
        cr.manual_seed(count)
        results = step(x, y)
        if setting.update is not None:
            found += [parameter.detach().numpy().copy() for parameter in parameters]
            kept += [(p.grad, p.grad.numpy().copy()) for p in parameters if p.grad is not None]
        found += [value.detach().numpy().copy() for value in results]
    for gradient, values in kept:
        np.testing.assert_array_equal(gradient.numpy(), values)  # later steps do not write to it
        found.append(values)
    return found


def check(program: Any, setting: Setting, dtype: Any) -> Any:
    """Assert that a compiled program computes what the eager one does; returns the compiled function.

    In single precision it may be no further from the truth, which is the eager program in double precision, than a few
    times what the eager one is.
    """
    made: list[Any] = []

    def wrap(function: Any) -> Any:
        made.append(compile(function))
        return made[0]

    with np.errstate(all="ignore"):
        wanted = outcome(program, setting, dtype, lambda step: step)
        truth = wanted if dtype == np.float64 else outcome(program, setting, np.float64, lambda step: step)
        found = outcome(program, setting, dtype, wrap)
        rounding = 2e-6 if dtype == np.float32 else 1e-12  # which optimisers that divide by gradients make more of
        assert_no_worse(found, wanted, truth, rounding if setting.update is None else 100 * rounding)
    return made[0]


def assert_no_worse(found: list[Any], wanted: list[Any], truth: list[Any], rounding: float) -> None:
    """Same shapes and types, and values that are about as near to the truth as those that are wanted.

    What counts is how far these are from it anywhere, relative to the largest of the values so far: a single number may
    be nearer by chance.
    """
    assert [(x.shape, x.dtype) for x in found] == [(x.shape, x.dtype) for x in wanted]
    scale, worst, left = 1.0, 0.0, []
    for got, want, exact in zip(found, wanted, truth, strict=True):
        if got.dtype.kind != "f":
            if rounding < 1e-9:  # else a maximum may be another one's
                np.testing.assert_array_equal(got, want)
            continue
        np.testing.assert_array_equal(np.isfinite(got), np.isfinite(want))
        finite = np.isfinite(want) & np.isfinite(exact)
        got, want, exact = (np.where(finite, x, 0).astype(np.float64) for x in (got, want, exact))
        scale = max(scale, float(np.max(np.abs(exact), initial=0.0)))
        worst = max(worst, float(np.max(np.abs(want - exact), initial=0.0)) / scale)
        left.append((got, want, scale))
    for got, want, scale in left:
        np.testing.assert_allclose(got, want, rtol=0, atol=(4 * worst + rounding) * scale)


EXAMPLES = int(os.environ.get("CHAINRULE_TEST_PROGRAMS", "300"))  # how many programs
QUIET = settings(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)


@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_random_programs_of_products(dtype: Any, threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_KERNELS", "1")
    monkeypatch.setenv("CHAINRULE_NUM_THREADS", threads)
    monkeypatch.setattr(contraction, "LARGE", 0)
    monkeypatch.setattr(contraction, "features", lambda: {"AVX512F": True})

    def one(program: Any, setting: Setting) -> None:
        check(program, setting, dtype)

    settings(QUIET, max_examples=max(1, EXAMPLES // 50))(given(PROGRAMS, SETTINGS_OF)(one))()
