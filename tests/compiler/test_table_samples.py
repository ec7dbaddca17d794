"""Every sample of the table, compiled: values, gradients and second gradients are those of the eager run."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.compiler import compile
from chainrule.compiler.passes import fusion
from chainrule.core.backprop import grad
from chainrule.core.tensor import make_tensor
from chainrule.ops import linalg

from ..table_samples.common import Sample
from ..test_table import IDS, SAMPLES, operation, positions


def program(sample: Sample, order: int) -> Any:
    """The sample's outputs, and gradients of a weighted sum of them up to an order."""
    call = operation(sample)

    def run(*values: Any) -> list[Any]:
        outputs = call(*values)
        results = [out for out in outputs if out.requires_grad]
        everything = list(outputs)
        for _ in range(order):
            if not results:
                break
            loss: Any = sum((np.real(r) * weights(r)).sum() for r in results)
            found = grad(loss, values, create_graph=True, allow_unused=True)
            results = [g for g in found if g is not None and g.requires_grad]
            everything += [g for g in found if g is not None]
        return [out.detach() for out in everything]

    return run


def weights(result: Any) -> Any:
    count = int(np.prod(result.shape))
    return np.cos(np.arange(count, dtype=np.finfo(result.dtype).dtype)).reshape(result.shape)


def agrees(sample: Sample) -> Any:
    """Assert that a sample computes the same compiled and eagerly, twice; returns the compiled function."""
    order = 2 if sample.second_order else 1
    run = program(sample, order)
    leaves = [make_tensor(np.array(sample.args[i]), None).requires_grad_() for i in positions(sample)]
    expected = run(*leaves)
    compiled = compile(run)
    found = compiled(*leaves)  # no sample depends on values
    again = compiled(*leaves)
    for got, more, want in zip(found, again, expected, strict=True):
        assert got.dtype == want.dtype and got.shape == want.shape
        tolerance = 1e-5 if got.dtype in (np.float32, np.complex64) else 1e-12
        scale = np.max(np.abs(want.numpy()), where=np.isfinite(want.numpy()), initial=1.0)
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=tolerance, atol=tolerance * scale)
        np.testing.assert_array_equal(got.numpy(), more.numpy())
    assert not any(isinstance(leaf.array, cr.compiler.tracer.Tracer) for leaf in leaves)
    return compiled


@pytest.mark.usefixtures("numpy_only")
@pytest.mark.parametrize("sample", SAMPLES, ids=IDS)
def test_a_compiled_sample_agrees_with_the_eager_run(sample: Sample) -> None:
    agrees(sample)


OTHERS: tuple[Any, ...] = (
    np.zeros_like,
    lambda array: np.round(array) + 0.0,
    lambda array: np.full_like(array, array.flat[0] if array.size else 0),
)


@pytest.mark.usefixtures("numpy_only")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("part", range(4))
def test_a_program_is_right_for_other_values_than_it_was_traced_with(part: int) -> None:
    """Zeros, ties and repetitions, at which eager functions may take a shorter way; singular matrices may raise."""
    for sample, name in list(zip(SAMPLES, IDS, strict=True))[part::4]:
        run = program(sample, 1)
        arrays = [np.array(sample.args[i]) for i in positions(sample)]
        compiled = compile(run)
        compiled(*(make_tensor(array, None).requires_grad_() for array in arrays))
        for other in OTHERS:
            leaves = [make_tensor(np.asarray(other(array), array.dtype), None).requires_grad_() for array in arrays]
            try:
                expected = run(*leaves)
            except (ArithmeticError, RuntimeError, ValueError):
                continue  # not among the values that it takes
            try:
                found = compiled(*leaves)
            except np.linalg.LinAlgError:
                continue
            for got, want in zip(found, expected, strict=True):
                assert got.dtype == want.dtype, name
                scale = np.max(np.abs(want.numpy()), where=np.isfinite(want.numpy()), initial=1.0)
                np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-9, atol=1e-11 * scale, err_msg=name)
        assert compiled.traces == 1, name


# ----- kernels -----

SINGLE = {"f": np.dtype(np.float32), "c": np.dtype(np.complex64)}


def in_single_precision(sample: Sample) -> Sample:
    """The sample with float32 in the place of float64."""

    def single(value: Any) -> Any:
        kind = value.dtype.kind if isinstance(value, np.ndarray) else ""
        return value.astype(SINGLE[kind]) if kind in SINGLE else value

    kwargs = {key: single(value) for key, value in sample.kwargs.items()}
    return dataclasses.replace(sample, args=tuple(map(single, sample.args)), kwargs=kwargs)


def forms() -> Iterator[Any]:
    """Samples with their element type, and whether loops are shared among threads, for kernels to be compiled.

    Each function of the table once, ufuncs in both types; all samples in all forms where CHAINRULE_TEST_KERNELS is 1.
    """
    everything = os.environ.get("CHAINRULE_TEST_KERNELS", "0") == "1"
    seen: dict[Any, int] = {}
    for sample, name in zip(SAMPLES, IDS, strict=True):
        if sample.function in seen and not everything:
            continue
        number = seen.setdefault(sample.function, len(seen))
        for single, threads in itertools.product((True, False), repeat=2):
            in_both = isinstance(sample.function, np.ufunc)
            if everything or (threads == bool(number & 2) and (in_both or single == bool(number & 1))):
                form = ("float32" if single else "float64") + ("-threads" if threads else "")
                yield pytest.param(sample, single, threads, id=f"{name}-{form}")


@pytest.mark.parametrize(("sample", "single", "threads"), list(forms()))
def test_a_sample_agrees_with_kernels(
    sample: Sample, single: bool, threads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numba")
    monkeypatch.setenv("CHAINRULE_KERNELS", "1")
    monkeypatch.setenv("CHAINRULE_NUM_THREADS", "2")
    if threads:
        monkeypatch.setattr(fusion, "LARGE", 1)
    agrees(in_single_precision(sample) if single else sample)


# complex numbers beside real ones, and arrays in the order of columns, which kernels do not take
AWKWARD = [s for s in SAMPLES if s.function is linalg.cofactors or (s.function is np.reshape and s.kwargs)]


@pytest.mark.parametrize("sample", AWKWARD, ids=range(len(AWKWARD)))
def test_a_sample_that_kernels_do_not_take_whole_agrees(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    monkeypatch.setenv("CHAINRULE_KERNELS", "1")
    agrees(sample)


@pytest.mark.parametrize("order", ["C", "F", "A"])
def test_reshapes_by_columns(order: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.arange(6.0).reshape(2, 3)
    for kernels in ("0", "1"):
        monkeypatch.setenv("CHAINRULE_KERNELS", kernels)
        for function in (
            lambda x: np.exp(np.reshape(x * 2, (3, -1), order=order) + 1),
            lambda x: np.exp(np.reshape(np.transpose(x) * 2, 6, order=order)),
            lambda x: np.exp(np.ravel(x * 2, order=order)) - 1,
        ):
            np.testing.assert_allclose(compile(function)(x), function(x), rtol=1e-15)
