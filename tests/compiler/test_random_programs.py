"""Random programs: eager, compiled, and compiled with each pass left out, agree in values and gradients."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule.compiler import compile
from chainrule.compiler.kernels import compiling
from chainrule.compiler.passes import PASSES
from chainrule.nn import functional as F
from tests.compiler.programs import interpreted

UNARY: list[Any] = [
    cr.exp, cr.tanh, cr.sin, cr.sigmoid, cr.relu, cr.neg, cr.abs, cr.square, F.gelu, F.silu,
    lambda x: cr.log(x * x + 1), lambda x: cr.sqrt(x * x + 0.5), lambda x: x * 1, lambda x: x - 0.0,
    lambda x: x.softmax(-1), lambda x: x.clamp(-1, 1), lambda x: x.detach() + x, lambda x: x.double().to(x.dtype),
]  # fmt: skip
SHAPED: list[Any] = [
    lambda x: x.T, lambda x: x.T.T, lambda x: x[1:], lambda x: x[:, ::2], lambda x: x.reshape(-1), lambda x: x.flip(0),
    lambda x: x.unsqueeze(0), lambda x: x[0], lambda x: cr.cat([x, x], 0), lambda x: x.repeat(2, 1),
    lambda x: x[cr.tensor([0, 0])],
]  # fmt: skip
REDUCE: list[Any] = [
    lambda x: x.sum(), lambda x: x.sum(0), lambda x: x.mean(-1, keepdim=True), lambda x: x.max(), lambda x: x.amax(0),
    lambda x: x.var(0), lambda x: cr.logsumexp(x, -1), lambda x: x.cumsum(0),
]  # fmt: skip
BINARY: list[Any] = [
    cr.add,
    cr.sub,
    cr.mul,
    lambda x, y: x / (y * y + 1),
    cr.maximum,
    lambda x, y: cr.where(x > y, x, y * 2),
]
WRITES: list[Any] = [
    lambda x, y: x.mul_(2), lambda x, y: x.add_(y.sum()), lambda x, y: x.zero_(), lambda x, y: x[0].add_(1),
    lambda x, y: x.T.mul_(3), lambda x, y: x.__setitem__(0, y.sum()), lambda x, y: x.__setitem__(slice(1), 7.0),
]  # fmt: skip

step = st.one_of(
    st.tuples(st.just("unary"), st.integers(0, len(UNARY) - 1), st.integers(0, 20)),
    st.tuples(st.just("shaped"), st.integers(0, len(SHAPED) - 1), st.integers(0, 20)),
    st.tuples(st.just("reduce"), st.integers(0, len(REDUCE) - 1), st.integers(0, 20)),
    st.tuples(st.just("binary"), st.integers(0, len(BINARY) - 1), st.integers(0, 400)),
    st.tuples(st.just("matmul"), st.just(0), st.integers(0, 400)),
    st.tuples(st.just("write"), st.integers(0, len(WRITES) - 1), st.integers(0, 400)),
)
programs = st.lists(step, min_size=1, max_size=12)


def run(program: Any, x: Any, w: Any, extra: Any) -> list[Any]:
    """The values of a program, and the gradients of their sum."""
    values = [x, w, extra]
    owned: list[Any] = []  # what may be written to
    for kind, which, place in program:
        a = values[place % len(values)]
        b = values[place // 20 % len(values)]
        try:
            if kind == "unary":
                new = UNARY[which](a)
            elif kind == "shaped":
                new = SHAPED[which](a) if a.ndim == 2 else a.reshape(-1)
            elif kind == "reduce":
                new = REDUCE[which](a) if a.ndim else a * 2
            elif kind == "binary":
                new = BINARY[which](a, b)
            elif kind == "matmul":
                new = a @ b
            elif owned:
                target = owned[place % len(owned)]
                if target.ndim == 2:
                    WRITES[which](target, b.detach())
                continue
            else:
                new = a.clone()
                owned.append(new)
        except (RuntimeError, IndexError, ValueError) as error:
            if "hape" in str(error) or "size" in str(error) or "dim" in str(error) or "broadcast" in str(error):
                continue  # the operands do not fit
            raise
        if new.numel() > 200:
            continue
        values.append(new)
        if kind == "unary" and which % 2:
            owned.append(values[-1].clone())
            values.append(owned[-1])
    loss = sum((v.to(cr.float64) * (i + 1)).sum() for i, v in enumerate(values))
    results = [v.detach().clone() for v in values[3:]]
    results += [g for g in cr.autograd.grad(loss, [x, w], allow_unused=True) if g is not None]
    return results


def check(program: Any, dtype: Any, leave_out: Any) -> None:
    random = np.random.default_rng(0)
    x, w, extra = (random.normal(size=shape).astype(dtype) for shape in ((3, 4), (4, 3), (3, 4)))

    def inputs() -> list[Any]:
        return [
            cr.tensor(x, dtype=dtype, requires_grad=True), cr.tensor(w, dtype=dtype, requires_grad=True),
            cr.tensor(extra, dtype=dtype),
        ]  # fmt: skip

    with np.errstate(all="ignore"):
        try:
            expected = run(program, *inputs())
        except RuntimeError as error:
            if "inplace" in str(error) or "in-place" in str(error):
                return  # a value that the way back needs was overwritten: the program is refused, compiled or not
            raise
        compiled = compile(lambda *args: run(program, *args), leave_out=leave_out)
        for _ in range(2):
            found = compiled(*inputs())
            assert len(found) == len(expected)
            for got, want in zip(found, expected, strict=True):
                assert (got.dtype, got.shape) == (want.dtype, want.shape)
                scale = float(np.max(np.abs(want.numpy()), initial=1.0))
                rtol = 1e-12 if dtype == np.float64 else 1e-5
                if np.isfinite(scale):
                    np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=rtol, atol=rtol * scale)
                else:
                    np.testing.assert_array_equal(np.isfinite(got.numpy()), np.isfinite(want.numpy()))


EXAMPLES = int(os.environ.get("CHAINRULE_TEST_PROGRAMS", "300"))  # how many programs
SETTINGS = settings(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)


@pytest.mark.usefixtures("numpy_only")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_random_programs(dtype: Any) -> None:
    settings(SETTINGS, max_examples=EXAMPLES)(given(programs)(lambda program: check(program, dtype, ())))()


@pytest.mark.usefixtures("numpy_only")
@pytest.mark.parametrize("name", [*PASSES, "all"])
def test_random_programs_without_a_pass(name: str) -> None:
    leave_out = tuple(PASSES) if name == "all" else (name,)
    count = max(1, EXAMPLES // 7)
    settings(SETTINGS, max_examples=count)(given(programs)(lambda program: check(program, np.float64, leave_out)))()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_random_programs_with_kernels_that_python_runs(dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    monkeypatch.setenv("CHAINRULE_KERNELS", "1")
    monkeypatch.setattr(compiling, "kernel", interpreted)
    count = max(1, EXAMPLES // 4)
    settings(SETTINGS, max_examples=count)(given(programs)(lambda program: check(program, dtype, ())))()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_random_programs_with_compiled_kernels(dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    monkeypatch.setenv("CHAINRULE_KERNELS", "1")
    count = max(1, EXAMPLES // 50)
    settings(SETTINGS, max_examples=count)(given(programs)(lambda program: check(program, dtype, ())))()
