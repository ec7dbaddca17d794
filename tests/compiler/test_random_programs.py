"""Random programs: eager, compiled, and compiled with each pass left out, agree in values and gradients."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule.compiler import TraceError, compile
from chainrule.compiler.kernels import compiling
from chainrule.compiler.passes import PASSES
from chainrule.nn import functional as F
from tests.compiler.programs import interpreted

UNARY: list[Any] = [
    cr.exp, cr.tanh, cr.sin, cr.sigmoid, cr.relu, cr.neg, cr.abs, cr.square, F.gelu, F.silu,
    lambda x: cr.log(x * x + 1), lambda x: cr.sqrt(x * x + 0.5), lambda x: x * 1, lambda x: x - 0.0,
    lambda x: x.softmax(-1), lambda x: x.clamp(-1, 1), lambda x: x.detach() + x, lambda x: x.double().to(x.dtype),
    lambda x: F.dropout(x, 0.3), lambda x: x + cr.rand_like(x), lambda x: x.masked_fill(x > 0.5, -1.0),
    lambda x: F.leaky_relu(x), lambda x: x ** 3, lambda x: 1 / (x * x + 2), lambda x: x.sign() * x.floor(),
    lambda x: (x.clamp(-9, 9) * 2).round().half().mul(3).add(1).to(x.dtype),
    lambda x: x.clamp(-9, 9).floor().to(cr.float16).sum(-1, keepdim=True).to(x.dtype) * x,
]  # fmt: skip
SHAPED: list[Any] = [
    lambda x: x.T, lambda x: x.T.T, lambda x: x[1:], lambda x: x[:, ::2], lambda x: x.reshape(-1), lambda x: x.flip(0),
    lambda x: x.unsqueeze(0), lambda x: x[0], lambda x: cr.cat([x, x], 0), lambda x: x.repeat(2, 1),
    lambda x: x[cr.tensor([0, 0])], lambda x: x[::2, 1::2], lambda x: x[..., -1:], lambda x: x[:, None, 1:],
    lambda x: x.sort(-1).values, lambda x: x.sort(0, descending=True)[0], lambda x: x.roll(1, 0), lambda x: x.tril(),
    lambda x: x.gather(1, x.argsort(1)), lambda x: x.diagonal(), lambda x: cr.stack([x, x * 2], 1),
    lambda x: x.cumsum(1),
    lambda x: cr.zeros_like(x).scatter(1, x.argsort(1), x), lambda x: x.split(1, 1)[0],
    lambda x: F.pad(x, (1, 0, 0, 2)),
    lambda x: x.expand(2, *x.shape), lambda x: F.layer_norm(x, x.shape[-1:]), lambda x: F.log_softmax(x, 0),
    lambda x: x.topk(1, 1).values, lambda x: x.as_strided((2, 2), (1, 1)) * 2, lambda x: x.unfold(1, 2, 1),
]  # fmt: skip
REDUCE: list[Any] = [
    lambda x: x.sum(), lambda x: x.sum(0), lambda x: x.mean(-1, keepdim=True), lambda x: x.max(), lambda x: x.amax(0),
    lambda x: x.var(0), lambda x: cr.logsumexp(x, -1), lambda x: x.cumsum(0), lambda x: x.amin(-1, keepdim=True),
    lambda x: x.max(-1).values, lambda x: x.norm(), lambda x: x.prod(-1), lambda x: x.sum(tuple(range(x.ndim))),
    lambda x: x.sum(tuple(range(0, x.ndim, 2)), keepdim=True), lambda x: x.amax(tuple(range(x.ndim))[::-2]),
    lambda x: x.mean(x.ndim // 2), lambda x: x.std(tuple(range(x.ndim - 1, -1, -2)), correction=0), lambda x: x.min(),
    lambda x: x.logsumexp(tuple(range(1, x.ndim)) or 0), lambda x: x.sum(-2 if x.ndim > 1 else 0),
    lambda x: x - x.mean(0), lambda x: x.softmax(0), lambda x: x.argmin(0) * x.sum(), lambda x: x.var(-1, keepdim=True),
    lambda x: cr.count_nonzero(x, 0) * x.sum(), lambda x: x.norm(1, 0), lambda x: x.cumprod(-1),
]  # fmt: skip
BINARY: list[Any] = [
    cr.add,
    cr.sub,
    cr.mul,
    lambda x, y: x / (y * y + 1),
    cr.maximum,
    lambda x, y: cr.where(x > y, x, y * 2),
    lambda x, y: x * y.sum(),
    lambda x, y: cr.lerp(x, y, 0.25) if x.dtype == y.dtype else x + y,
    lambda x, y: x.float() + y.double(),
    lambda x, y: x.float() * y.float(),
]
MIXED = (8, 9)  # of BINARY, those that make other element types
WRITES: list[Any] = [
    lambda x, y: x.mul_(2), lambda x, y: x.add_(y.sum()), lambda x, y: x.zero_(), lambda x, y: x[0].add_(1),
    lambda x, y: x.T.mul_(3), lambda x, y: x.__setitem__(0, y.sum()), lambda x, y: x.__setitem__(slice(1), 7.0),
    lambda x, y: x[:, ::2].mul_(y.mean()), lambda x, y: x.diagonal().add_(1), lambda x, y: x.masked_fill_(x > 1, 0.5),
    lambda x, y: x[1:].copy_(x[:1] * 2), lambda x, y: x[..., 0].T[::2].sub_(y.max()),
    lambda x, y: x.view(-1)[3:].neg_(),
    lambda x, y: x.index_add_(0, cr.tensor([0, 0]), x[:2].detach().clone()), lambda x, y: x.copy_(y.sum()),
    lambda x, y: x.__setitem__((slice(None), cr.tensor([1, 0])), 2.0),
    lambda x, y: x[0:1, 1:].unsqueeze(0).squeeze().add_(3),
    lambda x, y: x.__setitem__(x.detach() > 0, -3.0), lambda x, y: x.normal_(), lambda x, y: x.clamp_(max=y.sum()),
]  # fmt: skip
COUNTED: list[Any] = [  # integers and truth values of numbers
    lambda x: x > 0, lambda x: (x * 3).floor().long(), lambda x: x.argmax(-1), lambda x: x.argsort(-1),
    lambda x: (x > 0) & (x < 1), lambda x: (x > 0).sum(-1), lambda x: (x.abs() * 7).int().cumsum(0),
    lambda x: ~(x <= 0),
    lambda x: x.isfinite(), lambda x: cr.arange(x.shape[0]) * 2,
]  # fmt: skip
OF_COUNTS: list[Any] = [
    lambda i, j: i + j, lambda i, j: i * 2, lambda i, j: i.long() // 2, lambda i, j: i.long() % 3, lambda i, j: i.sum(),
    lambda i, j: i == j, lambda i, j: i.long().clamp(0, 2), lambda i, j: cr.where(i > j, i, j),
    lambda i, j: i.long() - j,
    lambda i, j: i.long() ** 2, lambda i, j: i.bool() | j.bool(), lambda i, j: cr.maximum(i, j),
    lambda i, j: i.long() << 1, lambda i, j: i.to(cr.int8) * 100, lambda i, j: i.to(cr.uint8) - j.to(cr.uint8),
    lambda i, j: i.int().cumsum(0) if i.ndim else i, lambda i, j: i.bool() ^ j.bool(), lambda i, j: i.int() & j.int(),
    lambda i, j: i.short().abs().sum(-1) if i.ndim else i, lambda i, j: i.T.flip(0) if i.ndim == 2 else ~i.bool(),
    lambda i, j: i.to(cr.int8) // 3 if i.dtype != cr.bool else i.any(), lambda i, j: i.float().sqrt().isnan(),
    lambda i, j: i.amax(0) if i.ndim and i.numel() else i, lambda i, j: i.int() > j.byte(),
]  # fmt: skip
WITH_COUNTS: list[Any] = [  # numbers again
    lambda x, i: x * i, lambda x, i: x + i.to(x.dtype), lambda x, i: cr.where(i > 0, x, -x),
    lambda x, i: x[i.long().reshape(-1)[:2].abs() % x.shape[0]], lambda x, i: x * i.sum(), lambda x, i: i / (x * x + 1),
    lambda x, i: x.masked_fill(i.bool(), 2.0), lambda x, i: x.index_select(0, i.long().reshape(-1).abs() % x.shape[0]),
    lambda x, i: x.gather(-1, i.long().abs() % x.shape[-1]),
    lambda x, i: x.index_add(0, i.long().view(-1)[:1] * 0, x[:1]),
    lambda x, i: F.one_hot(i.long().abs() % 4, 4).to(x.dtype) * x.sum(), lambda x, i: i.float().mean() + x,
]  # fmt: skip
KINDS = {
    "unary": (UNARY, 20),
    "shaped": (SHAPED, 20),
    "reduce": (REDUCE, 20),
    "binary": (BINARY, 400),
    "matmul": ([None], 400),
    "write": (WRITES, 400),
    "counted": (COUNTED, 20),
    "of counts": (OF_COUNTS, 400),
    "with counts": (WITH_COUNTS, 400),
}

step = st.one_of(
    *(
        st.tuples(st.just(kind), st.integers(0, len(choices) - 1), st.integers(0, places))
        for kind, (choices, places) in KINDS.items()
    )
)
programs = st.lists(step, min_size=1, max_size=12)


LAYOUTS: list[Any] = [  # how arrays lie in memory
    lambda a: a,
    np.asfortranarray,
    lambda a: np.array(a[::-1, ::-1])[::-1, ::-1],
    lambda a: np.repeat(np.repeat(a, 2, 0), 3, 1)[::2, ::3],
    lambda a: np.asfortranarray(a[:, ::-1])[:, ::-1],
]
SHAPES = [(3, 4), (1, 1), (1, 4), (3, 1), (0, 3), (2, 0), (9, 17), (4, 4)]
settings_of = st.tuples(st.sampled_from(SHAPES), st.integers(0, len(LAYOUTS) - 1), st.booleans())


def run(program: Any, second: bool, *given: Any) -> list[Any]:
    """The values of a program, and the gradients of their sum; and gradients of a sum of these."""
    x, w, extra, scalar, changing, whole, flags = given
    values = [x, w, extra, scalar, changing]
    counts: list[Any] = [cr.arange(extra.shape[1]), whole, flags]
    owned: list[Any] = [changing]  # what may be written to
    old: list[Any] = []  # copies of it from before
    for kind, which, place in program:
        a = values[place % len(values)]
        b = values[place // 20 % len(values)]
        i = counts[place % len(counts)]
        j = counts[place // 20 % len(counts)]
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
            elif kind == "counted":
                new = COUNTED[which](a.detach()) if a.ndim else a > 0
            elif kind == "of counts":
                new = OF_COUNTS[which](i, j)
            elif kind == "with counts":
                new = WITH_COUNTS[which](b, i) if b.ndim else b * i.sum()
            elif place % 4:
                target = owned[place % len(owned)]
                if place % 3 == 0:
                    old.append((target.T if place % 2 else target[..., 1:]).clone() if target.ndim == 2 else target)
                    values.append(old[-1])
                if target.ndim == 2:
                    WRITES[which](target, b.detach())
                continue
            else:
                new = (changing if place % 8 else a).clone()
                owned.append(new)
        except (RuntimeError, IndexError, ValueError) as error:
            words = (
                "hape",
                "size",
                "dim",
                "broadcast",
                "dtype",
                "out of",
                "bounds",
                "expected",
                "empty",
                "index",
                "1D",
                "ZeroDivision",
            )
            if not isinstance(error, TraceError) and any(word in str(error) for word in words):
                continue  # the operands do not fit
            raise
        if new.numel() > MOST:
            continue
        if kind in ("counted", "of counts"):
            counts.append(new)
            continue
        values.append(new)
        if kind == "unary" and which % 2:
            owned.append(values[-1].clone())
            values.append(owned[-1])
    loss = sum((v.to(cr.float64) * (i + 1)).sum() for i, v in enumerate(values))
    results = [v.detach().clone() for v in (*values[5:], *old, *counts)]
    gradients = cr.autograd.grad(loss, [x, w], allow_unused=True, create_graph=second)
    results += [g.detach() for g in gradients if g is not None]
    if second:
        again = sum(((g * g).sum() for g in gradients if g is not None and g.requires_grad), cr.zeros(()))
        if again.requires_grad:
            found = cr.autograd.grad(again.to(cr.float64), [x, w], allow_unused=True)
            results += [g for g in found if g is not None]
    return results


MOST = 5000  # elements of a value


def check(program: Any, dtype: Any, leave_out: Any, setting: Any = (SHAPES[0], 0, False)) -> None:
    random = np.random.default_rng(0)
    shape, layout, second = setting
    shapes = (shape, shape[::-1], shape)
    x, w, extra = (LAYOUTS[layout](random.normal(size=shape).astype(dtype)) for shape in shapes)
    start = random.normal(size=shape).astype(dtype)
    scalar = np.array(random.normal(), dtype)
    whole, flags = LAYOUTS[layout](random.integers(-5, 9, shape)), LAYOUTS[layout](random.random(shape) > 0.5)
    mixed = dtype == np.float32 or any(kind == "binary" and which in MIXED for kind, which, _ in program)

    def inputs() -> list[Any]:
        cr.manual_seed(3)
        return [
            cr.from_numpy(x).requires_grad_(), cr.from_numpy(w).requires_grad_(),
            *map(cr.from_numpy, (extra, scalar, LAYOUTS[layout](start.copy()), whole, flags)),
        ]  # fmt: skip

    compiled = compile(lambda *args: run(program, second, *args), leave_out=leave_out)
    with np.errstate(all="ignore"):
        try:
            given = inputs()
            expected = [*run(program, second, *given), given[4]]
        except RuntimeError as error:
            if "inplace" not in str(error) and "in-place" not in str(error):
                raise
            with pytest.raises(RuntimeError, match="inplace|in-place"):
                compiled(*inputs())
            return  # a value that the way back needs was overwritten: the program is refused
        for _ in range(2):
            given = inputs()
            found = [value.numpy() for value in (*compiled(*given), given[4])]
            assert_close(found, [value.numpy() for value in expected], mixed, second)


def assert_close(found: list[Any], expected: list[Any], mixed: bool, second: bool) -> None:
    """Same shapes and types, and values that differ by rounding; which infinities and NaN there are is all the same.

    A second derivative may be what is left where large terms cancel: it is as right as the largest value of all.
    """
    assert len(found) == len(expected)
    rtol = 1e-5 if mixed else 1e-12
    scales = [float(np.max(np.abs(want), initial=1.0)) for want in expected if want.dtype.kind == "f"]
    largest = max(filter(np.isfinite, scales), default=1.0) if second else 1.0
    for got, want in zip(found, expected, strict=True):
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
        if want.dtype.kind != "f":
            np.testing.assert_array_equal(got, want)
            continue
        scale = float(np.max(np.abs(want), initial=largest))
        if np.isfinite(scale):
            np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * scale)
        else:
            np.testing.assert_array_equal(np.isfinite(got), np.isfinite(want))


EXAMPLES = int(os.environ.get("CHAINRULE_TEST_PROGRAMS", "300"))  # how many programs
SETTINGS = settings(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)


@pytest.mark.usefixtures("numpy_only")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_random_programs(dtype: Any) -> None:
    settings(SETTINGS, max_examples=EXAMPLES)(
        given(programs, settings_of)(lambda program, setting: check(program, dtype, (), setting))
    )()


@pytest.mark.usefixtures("numpy_only")
@pytest.mark.parametrize("name", [*PASSES, "all"])
def test_random_programs_without_a_pass(name: str) -> None:
    leave_out = tuple(PASSES) if name == "all" else (name,)
    count = max(1, EXAMPLES // 7)
    settings(SETTINGS, max_examples=count)(
        given(programs, settings_of)(lambda program, setting: check(program, np.float64, leave_out, setting))
    )()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_random_programs_with_kernels_that_python_runs(dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    monkeypatch.setenv("CHAINRULE_KERNELS", "1")
    monkeypatch.setattr(compiling, "kernel", interpreted)
    count = max(1, EXAMPLES // 4)
    settings(SETTINGS, max_examples=count)(
        given(programs, settings_of)(lambda program, setting: check(program, dtype, (), setting))
    )()


WENT_WRONG: list[Any] = [  # programs, and their settings
    (
        [("unary", 0, 12), ("counted", 5, 7), ("matmul", 0, 349), ("matmul", 0, 376), ("shaped", 9, 19),
         ("with counts", 2, 148)],
        ((1, 1), 3, False),
    ),
    ([("matmul", 0, 307), ("with counts", 10, 91), ("write", 3, 143), ("unary", 22, 17)], ((4, 4), 0, False)),
    ([("write", 1, 301), ("write", 12, 307)], ((3, 4), 3, False)),
    ([("write", 0, 1), ("shaped", 29, 4)], ((3, 4), 2, False)),
    ([("shaped", 4, 14), ("write", 8, 91)], ((1, 4), 4, False)),
    ([("unary", 13, 0), ("write", 14, 307), ("write", 9, 231)], ((4, 4), 0, False)),
]  # fmt: skip


@pytest.mark.parametrize(("program", "setting"), WENT_WRONG)
def test_programs_that_went_wrong_once_with_kernels(
    program: Any, setting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numba")
    monkeypatch.setenv("CHAINRULE_KERNELS", "1")
    monkeypatch.setattr(compiling, "kernel", interpreted)
    check(program, np.float64, (), setting)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_random_programs_with_compiled_kernels(dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    monkeypatch.setenv("CHAINRULE_KERNELS", "1")
    count = max(1, EXAMPLES // 50)
    settings(SETTINGS, max_examples=count)(
        given(programs, settings_of)(lambda program, setting: check(program, dtype, (), setting))
    )()


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64"])
def test_whole_numbers_that_grow_too_large_go_round_in_kernels(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    monkeypatch.setenv("CHAINRULE_KERNELS", "1")
    random, limits = np.random.default_rng(0), np.iinfo(dtype)
    a, b = (random.integers(limits.min, limits.max, (5, 6)).astype(dtype) for _ in range(2))

    def run(a: Any, b: Any) -> Any:
        whole = [a + b, a - b, a * b, cr.square(a), -a, a.abs(), (a + b) * 3 - a, cr.maximum(a * 3, b - a)]
        whole += [cr.where(a > b, a - b, b - a)]
        return [value.double() + 1 for value in whole] + [((a + b) > 3).double() * 2, (a - b).sum(0) * 2.0]

    def by_numpy(a: Any, b: Any) -> Any:
        whole = [a + b, a - b, a * b, np.square(a), -a, np.abs(a), (a + b) * 3 - a, np.maximum(a * 3, b - a)]
        whole += [np.where(a > b, a - b, b - a)]
        return [value + 1.0 for value in whole] + [((a + b) > 3) * 2.0, (a - b).sum(0, dtype=np.int64) * 2.0]

    compiled = compile(run)
    with np.errstate(over="ignore"):
        for found, wanted in zip(compiled(cr.from_numpy(a), cr.from_numpy(b)), by_numpy(a, b), strict=True):
            np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-6)
