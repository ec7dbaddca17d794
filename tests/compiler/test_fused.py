"""Kernels made from functions in NumPy, for rows of any number and length."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import chainrule as cr
import chainrule.nn.functional as F
from chainrule.ops.kernels import Fused
from chainrule.testing import gradcheck, gradgradcheck
from tests.compiler import test_eager
from tests.compiler.test_eager import assert_same_as_numpys, needs_numba, numbers

pytestmark = needs_numba
calls, used_for_any_work = test_eager.calls, test_eager.used_for_any_work  # fixtures
F4, F8 = np.dtype(np.float32), np.dtype(np.float64)
ON_ROWS = {"_softmax", "softmax_back", "_log_softmax", "log_softmax_back"}
KNOWN = [
    (which, settings)
    for which in Fused.known
    for settings in which.usual or ({"axis": -1} if which.function.__name__ in ON_ROWS else {},)
]
IDS = ["-".join([which.function.__name__.strip("_"), *map(str, settings.values())]) for which, settings in KNOWN]


@pytest.fixture(autouse=True)
def none_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test makes is not compiled together with the package's own."""
    monkeypatch.setattr(Fused, "known", list(Fused.known))


@pytest.fixture(scope="module", autouse=True)
def compiled_at_once() -> None:
    """All kernels of the package, which one by one would take long."""
    if importlib.util.find_spec("numba") is not None:
        from chainrule.compiler.kernels.cache import load_kernels
        from chainrule.compiler.kernels.fused import fused_text

        load_kernels([fused_text(which, dtype, settings).text for dtype in (F4, F8) for which, settings in KNOWN])


def text(function: Any, takes: str, **kwargs: Any) -> str:
    """What the kernel of a function does, in float32."""
    from chainrule.compiler.kernels.fused import fused_text

    source = fused_text(Fused(function, takes, usual=(), **kwargs), F4, {}).text.source
    return source[source.index("def ") :]


def arguments(which: Fused, rows: int, columns: int, dtype: Any) -> list[Any]:
    """Positive numbers in shapes that a function takes."""
    shapes = {"n": (rows, columns), "rc": (rows, columns), "r1": (rows, 1), "c": (columns,)}
    made: list[Any] = []
    for i, kind in enumerate(which.takes):
        made.append(None if kind == "-" else 0.5 + i / 8 if kind == "f" else abs(numbers(*shapes[kind], dtype=dtype)))
    return made


# ----- those of the package -----


@pytest.mark.parametrize("dtype", [F4, F8], ids=str)
@pytest.mark.parametrize(("which", "settings"), KNOWN, ids=IDS)
def test_a_kernel_computes_what_its_function_does(which: Fused, settings: Any, dtype: Any) -> None:
    for rows, columns in ((1, 1), (1, 40), (33, 1), (3, 7), (64, 64), (300, 70)):
        given = arguments(which, rows, columns, dtype)
        wide = [a.astype(F8) if isinstance(a, np.ndarray) else a for a in given]
        expected = which.function(*wide, **settings)
        found = which(*given, **settings)
        if not isinstance(expected, tuple):
            expected, found = (expected,), (found,)
        for a, b in zip(found, expected, strict=True):
            assert a.dtype == dtype
            np.testing.assert_allclose(a, b, rtol=2e-5 if dtype == F4 else 1e-13, atol=1e-6 if dtype == F4 else 1e-14)
        for position, result in zip(which.over, found, strict=False):
            assert result.ctypes.data == given[position].ctypes.data


def activations() -> dict[str, Any]:
    """Operations whose large work kernels do, one number or one row at a time."""
    return {
        "sigmoid": cr.sigmoid, "logsigmoid": F.logsigmoid, "softplus": F.softplus, "silu": F.silu, "mish": F.mish,
        "elu": F.elu, "celu": lambda x: F.celu(x, 1.5), "selu": F.selu, "softsign": F.softsign,
        "leaky_relu": F.leaky_relu, "steep": lambda x: F.leaky_relu(x, 1.5), "hardsigmoid": F.hardsigmoid,
        "hardswish": F.hardswish, "softshrink": F.softshrink, "hardshrink": lambda x: F.hardshrink(x, 0.25),
        "scaled": lambda x: F.softplus(x, 2.0, 5.0), "softmax": lambda x: F.softmax(x, -1),
        "log_softmax": lambda x: F.log_softmax(x, 1), "softmin": lambda x: F.softmin(x, -1),
    }  # fmt: skip


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", activations())
def test_activations_by_kernels_are_those_of_numpy(
    name: str, dtype: str, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    edges = np.array([0.0, -0.0, 0.25, -0.25, 0.5, -0.5, 3.0, -3.0, 20.0, 20.5, -20.0, 80.0, -80.0, 1e-30, 2.5])
    x = np.stack([edges.astype(dtype), numbers(15, dtype=dtype) * 3])
    function = activations()[name]
    assert_same_as_numpys(function, [x], monkeypatch)
    assert len(calls) == 2
    assert_same_as_numpys(lambda x: function(x.t()), [x.T.copy()], monkeypatch)


@pytest.mark.parametrize("name", activations())
def test_nan_and_infinity_by_kernels_are_those_of_numpy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [[np.nan, 1, 2], [np.inf, 1, 2], [-np.inf, 1, 2], [-np.inf, -np.inf, -np.inf], [np.inf, np.inf, -np.inf]]
    found = []
    for switch in "10":
        monkeypatch.setenv("CHAINRULE_KERNELS", switch)
        x = cr.tensor(rows, requires_grad=True)
        with np.errstate(all="ignore"):
            out = activations()[name](x)
            out.backward(cr.ones_like(out))
        found.append((out.detach().numpy(), x.grad.numpy()))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", activations())
def test_derivatives_by_kernels_are_finite_differences(name: str) -> None:
    x = np.array([[0.1, -0.7, 1.3, 4.0], [-2.2, 0.6, -0.4, 2.0]])
    given = cr.from_numpy(x).requires_grad_()
    assert gradcheck(activations()[name], (given,))
    assert gradgradcheck(activations()[name], (given,))


def test_after_some_settings_further_ones_are_numpys_work(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from chainrule.compiler import eager

    monkeypatch.setattr(eager, "SIZES", 1)
    monkeypatch.setattr(eager, "families", {})
    eager.fused_kernel.cache_clear()
    with cr.no_grad():
        for slope, kernel in ((0.125, True), (0.375, False), (0.125, True), (0.625, False)):
            calls.clear()
            x = numbers(5)
            np.testing.assert_array_equal(
                F.leaky_relu(cr.from_numpy(x), slope).numpy(), np.maximum(x, x * F4.type(slope))
            )
            assert bool(calls) == kernel
    eager.fused_kernel.cache_clear()


def test_a_kernel_and_that_of_its_backward_function_are_compiled_together(monkeypatch: pytest.MonkeyPatch) -> None:
    from chainrule.compiler.kernels import cache

    jobs: list[list[str]] = []
    compile_all = cache.compile_all

    def noting(given: Any) -> Any:
        jobs.append([job[1] for job in given])
        return compile_all(given)

    monkeypatch.setattr(cache, "compile_all", noting)
    x = cr.from_numpy(numbers(7)).requires_grad_()
    F.softplus(x, 0.8125, 21.0).sum().backward()
    F.softplus(x, 0.8125, 21.0).sum().backward()
    assert jobs in ([], [["softplus_kernel", "softplus_back_kernel"]])  # none where they are on disk


def test_numbers_that_are_no_python_numbers_are_numpys_work(calls: list[str]) -> None:
    from chainrule.ops.activation import _leaky_relu

    x = numbers(5)
    np.testing.assert_array_equal(_leaky_relu(x, F4.type(0.5)), np.maximum(x, x / 2))
    assert not calls
    _leaky_relu(x, negative_slope=0.5)
    assert calls == ["leaky_relu_kernel"]


def test_each_is_compiled_once_for_all_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    from chainrule.compiler.kernels import cache

    for which, settings in KNOWN:
        which(*arguments(which, 5, 6, F4), **settings)

    def compile_all(jobs: Any) -> Any:
        raise AssertionError(f"{[job[1] for job in jobs]} would be compiled")

    monkeypatch.setattr(cache, "compile_all", compile_all)
    for which, settings in KNOWN:
        for size in ((1, 1), (4, 9), (2, 5000)):
            assert which(*arguments(which, *size, F4), **settings) is not None


def test_no_text_of_a_kernel_needs_scipy_in_single_precision() -> None:
    script = """
import sys
import numpy as np
from chainrule.ops import activation
from chainrule.compiler.kernels.fused import fused_text
from chainrule.ops.kernels import Fused
for which in Fused.known:
    for settings in which.usual:
        fused_text(which, np.dtype("f4"), settings)
print("scipy.special" in sys.modules)
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


# ----- texts -----


def centre(x: Any, weight: Any) -> Any:
    """Rows without their means, with weights."""
    return (x - np.sum(x, axis=-1, keepdims=True) / x.shape[-1]) * weight


def test_the_number_of_columns_is_asked_of_an_array() -> None:
    assert text(centre, "rc c") == (
        """\
def centre_kernel(first, last, x, weight, out):
    separate()
    columns = x.shape[1]
    for r in range(first, last):
        sum = float32(0.0)
        for c in range(columns):
            sum = plus(sum, x[r, c])
        divide = sum / float32(columns)
        for c in range(columns):
            out[r, c] = (x[r, c] - divide) * weight[c]"""
    )


def test_a_number_and_what_is_left_out_are_arguments() -> None:
    def scale(x: Any, nothing: Any, factor: float) -> Any:
        assert nothing is None
        return x * factor + factor

    assert text(scale, "n - f", over=(0,)) == (
        """\
def scale_kernel(first, last, x, factor):
    separate()
    for i in range(first, last):
        x[i] = (x[i] * float32(factor)) + float32(factor)"""
    )


def test_a_loop_for_a_text_by_hand_has_the_names_it_is_given() -> None:
    from chainrule.compiler.kernels.fused import loop_text

    def both(total: Any, x: Any) -> Any:
        return total + x, x * x

    assert loop_text(both, F4, ("squares",)) == (
        """\
for i in range(total.size):
    add_value = total[i] + x[i]
    multiply_value = x[i] * x[i]
    total[i] = add_value
    squares[i] = multiply_value"""
    )


# ----- what cannot be -----


def of_rows(x: Any) -> Any:
    """Needs all rows."""
    return x - np.sum(x, axis=0)


def by_count(x: Any) -> Any:
    """Depends on the number of rows."""
    return (x + 1) / x.shape[0]


def by_length(x: Any) -> Any:
    """Has the number of columns in another number."""
    return (x + 1) * (1 / x.shape[-1])


def sorted_rows(x: Any) -> Any:
    """Is no loop."""
    return np.sort(x, axis=-1) + 1


def twice(x: Any) -> Any:
    """Gives a result twice."""
    y = x * 2 + 1
    return y, y


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (of_rows, "not one loop|adds up"),
        (by_count, "depends on the number of rows"),
        (by_length, "depends on the number of rows, or on that of columns"),
        (sorted_rows, "not one loop"),
        (twice, "a result twice"),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_a_function_that_is_not_row_by_row_is_refused(function: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        text(function, "rc")


def spread(x: Any, factor: Any) -> Any:
    """Reads a row again for its second result."""
    total = np.sum(x, axis=-1, keepdims=True)
    return x * total + factor, (x + factor) * np.sum(x * total, axis=-1, keepdims=True)


def test_an_argument_that_is_read_after_the_result_is_not_written_over() -> None:
    def shifted(x: Any, y: Any) -> Any:
        return x + np.sum(x * y, axis=-1, keepdims=True) * np.sum(y, axis=-1, keepdims=True), y * 2

    both = text(shifted, "rc rc", over=(0, 1))
    assert "out" not in both
    with pytest.raises(ValueError, match="x is read when it has been written over"):
        text(spread, "rc rc", over=(0,))


def test_arguments_of_other_shapes_are_refused() -> None:
    which = Fused(centre, "rc c", usual=())
    with pytest.raises(ValueError, match=r"centre: argument 1 is of shape \(4,\), not \(5,\)"):
        which(numbers(3, 5), numbers(4))


def test_read_only_arrays_and_those_in_another_order_are_taken() -> None:
    which = Fused(centre, "rc c", usual=())
    x, weight = np.asfortranarray(numbers(6, 10))[:, ::-2], numbers(5)
    x.flags.writeable = weight.flags.writeable = False
    np.testing.assert_allclose(which(x, weight), centre(x.astype(F8), weight), rtol=1e-5, atol=1e-6)


def test_of_no_elements_numpy_computes() -> None:
    which = Fused(centre, "rc c", usual=())
    assert which(numbers(0, 5), numbers(5)) is None
    assert which(numbers(5, 0), numbers(0)) is None


def test_without_numba_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "numba" else find(name, *rest))
    assert Fused(centre, "rc c", usual=())(numbers(3, 5), numbers(5)) is None
