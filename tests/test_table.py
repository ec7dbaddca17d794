"""Every entry of the table: its derivative by finite differences, first and second order, on all kinds of arrays.

The samples stand in tests/table_samples/, a file a family. The oracle is the forward function itself, shifted a little
along random directions. An operation without samples or a formula fails here.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.backprop import grad
from chainrule.core.forward import TENSOR_FUNCS
from chainrule.core.table import EACH
from chainrule.core.tensor import make_tensor
from chainrule.core.views import note_write

from . import table_samples
from .duck import DuckArray, unwrap
from .table_samples.common import Sample

FAMILIES = [m.name for m in pkgutil.iter_modules(table_samples.__path__) if m.name != "common"]
SAMPLES: list[Sample] = [
    sample for name in FAMILIES for sample in importlib.import_module(f"{table_samples.__name__}.{name}").SAMPLES
]
IDS = [str(sample) for sample in SAMPLES]
ENTRIES = [
    (function, position)
    for function, position in cr.BACK_FUNCS
    if str(getattr(function, "__module__", "")).startswith("chainrule")
    or isinstance(function, np.ufunc)
    or str(getattr(function, "__module__", "")).startswith("numpy")
]


def differentiable(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fc"


def positions(sample: Sample) -> list[int]:
    """The arguments that have a backward function and are differentiable in this sample."""
    each = (sample.function, EACH) in cr.BACK_FUNCS.back_funcs
    return [
        i
        for i, value in enumerate(sample.args)
        if differentiable(value) and (each or (sample.function, i) in cr.BACK_FUNCS.back_funcs)
    ]


def flat(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]


def operation(sample: Sample) -> Any:
    """The sample's call as a function of its differentiable arguments, returning its floating outputs."""
    where = positions(sample)
    tensor_function = TENSOR_FUNCS[sample.function]

    def call(*values: Any) -> list[Any]:
        args = list(sample.args)
        for i, value in zip(where, values, strict=True):
            args[i] = value
        recorded = any(isinstance(value, cr.Tensor) for value in values)
        outputs = (tensor_function if recorded else sample.function)(*args, **sample.kwargs)
        if sample.gauge is not None:
            outputs = sample.gauge(outputs)
        return [out for out in flat(outputs) if out is not None and out.dtype.kind in "fc"]

    return call


def random_like(rng: np.random.Generator, array: Any, hermitian: bool = False) -> np.ndarray:
    direction = rng.standard_normal(np.shape(array))
    if array.dtype.kind == "c":
        direction = direction + 1j * rng.standard_normal(np.shape(array))
    if hermitian:
        direction = (direction + np.conj(np.swapaxes(direction, -1, -2))) / 2
    return np.asarray(direction)


def inner(a: Any, b: Any) -> float:
    """The real inner product of complex arrays: Re(sum(conj(a) * b))."""
    return float(np.real(np.sum(np.conj(a) * b)))


def gradients(sample: Sample, values: list[Any], seeds: list[Any], create: bool = False) -> tuple[list[Any], list[Any]]:
    """The inputs as leaves and the gradients of the sample's outputs, weighted by `seeds`."""
    leaves = [make_tensor(value, None).requires_grad_() for value in values]
    outputs = operation(sample)(*leaves)
    tracked = [(out, seed) for out, seed in zip(outputs, seeds, strict=True) if out.requires_grad]
    found = grad(
        [out for out, _ in tracked],
        leaves,
        [seed if isinstance(seed, cr.Tensor) else make_tensor(seed, None) for _, seed in tracked],
        create_graph=create,
        allow_unused=True,
    )
    return leaves, list(found)


def step_of(values: list[Any]) -> float:
    return 1e-5


def close(analytical: float, numerical: float, what: str) -> None:
    assert analytical == pytest.approx(numerical, rel=2e-4, abs=2e-5), what


def test_every_entry_of_the_table_has_samples() -> None:
    tested = {(sample.function, i) for sample in SAMPLES for i in positions(sample)}
    functions = {sample.function for sample in SAMPLES}
    machine = {"take_output", "write_region"}  # operations of the engine itself: tests/core
    machine |= {"from_samples", "to_samples"}  # those of vmap: tests/func
    missing = [
        f"{getattr(function, '__name__', function)} argument {position}"
        for function, position in ENTRIES
        if (function, position) not in tested
        and not (position is EACH and function in functions)
        and getattr(function, "__name__", "") not in machine
    ]
    assert not missing, f"no samples in tests/table_samples for: {', '.join(missing)}"


def test_every_entry_of_the_table_states_its_formula() -> None:
    missing = []
    for function, position in ENTRIES:
        try:
            formula = cr.BACK_FUNCS.formula(function, position)
            assert re.search(r"\\nabla", formula), formula
        except KeyError as error:
            missing.append(str(error))
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("sample", SAMPLES, ids=IDS)
def test_gradient_equals_finite_differences(sample: Sample) -> None:
    rng = np.random.default_rng(0)
    where = positions(sample)
    assert where, "the sample has no argument that can be differentiated"
    call = operation(sample)
    values = [sample.args[i] for i in where]
    seeds = [random_like(rng, out) for out in call(*values)]
    _, found = gradients(sample, values, seeds)
    step = step_of(values)
    for k, (value, gradient) in enumerate(zip(values, found, strict=True)):
        if gradient is not None:
            assert gradient.shape == value.shape
            assert gradient.array.dtype == value.dtype
        for _ in range(3):
            direction = random_like(rng, value, hermitian=sample.symmetric and k == 0)
            plus, minus = (
                [np.asarray(v + sign * step * direction) if j == k else v for j, v in enumerate(values)]
                for sign in (1, -1)
            )
            change = sum(
                (inner(seed, a) - inner(seed, b)) / (2 * step)
                for seed, a, b in zip(seeds, call(*plus), call(*minus), strict=True)
            )
            analytical = 0.0 if gradient is None else inner(gradient.array, direction)
            close(analytical, change, f"argument {where[k]}")


@pytest.mark.parametrize(
    "sample", [s for s in SAMPLES if s.second_order], ids=[str(s) for s in SAMPLES if s.second_order]
)
def test_second_gradient_equals_finite_differences_of_the_first(sample: Sample) -> None:
    rng = np.random.default_rng(1)
    where = positions(sample)
    values = [sample.args[i] for i in where]
    seeds = [random_like(rng, out) for out in operation(sample)(*values)]
    weights = [random_like(rng, value) for value in values]

    def first(values: list[Any], seeds: list[Any]) -> float:
        _, found = gradients(sample, values, seeds)
        return sum(inner(w, g.array) for w, g in zip(weights, found, strict=True) if g is not None)

    seed_leaves = [make_tensor(seed, None).requires_grad_() for seed in seeds]
    leaves, found = gradients(sample, values, list(seed_leaves), create=True)
    ends = [(g, make_tensor(w, None)) for g, w in zip(found, weights, strict=True) if g is not None and g.requires_grad]
    second: tuple[Any, ...] = (None,) * (len(leaves) + len(seed_leaves))
    if ends:
        second = grad([g for g, _ in ends], [*leaves, *seed_leaves], [w for _, w in ends], allow_unused=True)
    step = step_of(values)
    for k, (point, gradient) in enumerate(zip([*values, *seeds], second, strict=True)):
        for _ in range(2):
            direction = random_like(rng, point, hermitian=sample.symmetric and k == 0)
            shifted = [
                [np.asarray(p + sign * step * direction) if j == k else p for j, p in enumerate([*values, *seeds])]
                for sign in (1, -1)
            ]
            n = len(values)
            numerical = (first(shifted[0][:n], shifted[0][n:]) - first(shifted[1][:n], shifted[1][n:])) / (2 * step)
            analytical = 0.0 if gradient is None else inner(gradient.array, direction)
            what = f"argument {where[k]}" if k < n else f"the gradient of output {k - n}"
            assert analytical == pytest.approx(numerical, rel=1e-3, abs=1e-4), what


@pytest.mark.parametrize("sample", SAMPLES, ids=IDS)
def test_single_precision_stays_single(sample: Sample) -> None:
    where = positions(sample)
    narrow = {np.dtype("float64"): np.float32, np.dtype("complex128"): np.complex64}
    args = [a.astype(narrow.get(a.dtype, a.dtype)) if isinstance(a, np.ndarray) else a for a in sample.args]
    single = Sample(sample.function, tuple(args), sample.kwargs, gauge=sample.gauge)
    values = [args[i] for i in where]
    rng = np.random.default_rng(2)
    seeds64 = [random_like(rng, out) for out in operation(sample)(*[sample.args[i] for i in where])]
    outputs = operation(single)(*[make_tensor(v, None) for v in values])
    seeds = [seed.astype(out.array.dtype) for seed, out in zip(seeds64, outputs, strict=True)]
    _, found = gradients(single, values, seeds)
    _, wide = gradients(sample, [sample.args[i] for i in where], seeds64)
    for value, gradient, reference in zip(values, found, wide, strict=True):
        if gradient is None or reference is None:
            assert gradient is reference
            continue
        assert gradient.array.dtype == value.dtype
        scale = 1 + np.max(np.abs(reference.array), initial=0)
        np.testing.assert_allclose(gradient.array, reference.array, rtol=5e-3, atol=5e-4 * scale)


@pytest.mark.parametrize("sample", SAMPLES, ids=IDS)
def test_backward_functions_themselves_keep_the_type(sample: Sample) -> None:
    """Each backward function gives its argument's type, without help from the engine's cast at the leaves."""
    narrow = {np.dtype("float64"): np.float32, np.dtype("complex128"): np.complex64}
    args = [a.astype(narrow.get(a.dtype, a.dtype)) if isinstance(a, np.ndarray) else a for a in sample.args]
    out = sample.function(*args, **sample.kwargs)
    several = isinstance(out, tuple)
    seed = np.ones if sample.gauge is None else np.zeros  # ones would depend on what the gauge leaves open
    seeds = tuple(seed(np.shape(o), o.dtype) for o in flat(out))
    for i in positions(sample):
        got = cr.BACK_FUNCS.get_back_func(sample.function, i)(
            seeds if several else seeds[0], tuple(out) if several else out, *args, **sample.kwargs
        )
        if got is not None:
            assert got.dtype == args[i].dtype, f"argument {i}"
            assert got.shape == args[i].shape, f"argument {i}"


@pytest.mark.parametrize("sample", [s for s in SAMPLES if s.duck], ids=[str(s) for s in SAMPLES if s.duck])
def test_duck_arrays_go_forward_and_backward(sample: Sample) -> None:
    rng = np.random.default_rng(3)
    where = positions(sample)
    values = [sample.args[i] for i in where]
    seeds = [random_like(rng, out) for out in operation(sample)(*values)]
    _, expected = gradients(sample, values, seeds)
    ducks = [DuckArray(a) if isinstance(a, np.ndarray) and a.dtype.kind in "fc" else a for a in sample.args]
    duck_sample = Sample(sample.function, tuple(ducks), sample.kwargs, gauge=sample.gauge)
    args = list(ducks)
    leaves = []
    for i in where:
        args[i] = make_tensor(ducks[i], None).requires_grad_()
        leaves.append(args[i])
    outputs = TENSOR_FUNCS[sample.function](*args, **duck_sample.kwargs)
    if sample.gauge is not None:
        outputs = sample.gauge(outputs)
    outputs = [out for out in flat(outputs) if out is not None and out.dtype.kind in "fc"]
    pairs = [
        (out, make_tensor(DuckArray(seed), None)) for out, seed in zip(outputs, seeds, strict=True) if out.requires_grad
    ]
    found = grad([out for out, _ in pairs], leaves, [seed for _, seed in pairs], allow_unused=True)
    for got, want in zip(found, expected, strict=True):
        if want is None:
            assert got is None
        else:
            assert isinstance(got.array, DuckArray)
            np.testing.assert_allclose(unwrap(got.array), want.array, rtol=1e-9, atol=1e-12)


# ----- what is saved is watched -----------------------------------------------------------------------------------


def overwrite(tensor: cr.Tensor) -> None:
    """Other numbers in the tensor's memory, zeros among them, as an in-place operation would leave them."""
    rng = np.random.default_rng(2)
    array = tensor.array
    array[...] = np.where(array == 0, 3.7, np.where(rng.random(array.shape) < 0.4, 0.0, 0.3 - 2.5 * array))
    note_write(tensor, "overwrite")


def gradients_after_a_write(sample: Sample, place: int | None, order: int) -> list[Any] | None:
    """The sample's gradients of an order where a floating argument, or a result (those come after the arguments), is
    overwritten just before the last pass; None where that is noticed.
    """
    rng = np.random.default_rng(0)
    where = positions(sample)
    args = [make_tensor(a.copy(), None) if differentiable(a) else a for a in sample.args]
    leaves = [args[i].requires_grad_() for i in where]
    results = [x for x in flat(TENSOR_FUNCS[sample.function](*args, **sample.kwargs)) if isinstance(x, cr.Tensor)]
    ends = [x * 1 for x in results if x.requires_grad]
    for _ in range(order - 1):
        weights = [make_tensor(random_like(rng, x.array), None) for x in ends]
        found = grad(ends, leaves, weights, allow_unused=True, create_graph=True)
        ends = [g for g in found if g is not None and g.requires_grad]
    weights = [make_tensor(random_like(rng, x.array), None) for x in ends]
    if place is not None:
        written = [*args, *results][place] if place < len(args) + len(results) else None
        if isinstance(written, cr.Tensor) and written.array.flags.writeable and differentiable(written.array):
            overwrite(written)
    try:
        found = grad(ends, leaves, weights, allow_unused=True) if ends else ()
    except RuntimeError as error:
        assert "modified by an inplace operation" in str(error)
        return None
    return [None if g is None else g.array for g in found]


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(
    "sample", [s for s in SAMPLES if s.gauge is None], ids=[str(s) for s in SAMPLES if s.gauge is None]
)
def test_a_write_to_what_was_saved_is_noticed_or_changes_nothing(sample: Sample, order: int) -> None:
    if order > 1 and not sample.second_order:
        return
    expected = gradients_after_a_write(sample, None, order)
    for place in range(len(sample.args) + 3):
        found = gradients_after_a_write(sample, place, order)
        if found is not None:
            for a, b in zip(expected or (), found, strict=True):
                assert (a is None) == (b is None) and (a is None or np.allclose(a, b, equal_nan=True)), f"place {place}"
