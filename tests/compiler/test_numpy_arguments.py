"""Compiled functions that are given NumPy's arrays, and mix them with tensors."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr

A = np.random.default_rng(0).standard_normal((4, 3))
W = np.array([0.1, -0.7, 1.3])  # none of them a number of float32

# NumPy's functions of an array and a tensor; the oracle is NumPy with arrays in both places
MIXED: dict[str, Callable[[Any, Any], Any]] = {
    "append": lambda a, w: np.append(a, w),
    "average of the array": lambda a, w: np.average(a[0], weights=w * w),
    "average of the tensor": lambda a, w: np.average(w, weights=a[0]),
    "clip": lambda a, w: np.clip(a, -1, w),
    "concatenate": lambda a, w: np.concatenate([a[0], w]),
    "cov": lambda a, w: np.cov(a[0], w),
    "cross": lambda a, w: np.cross(a, w),
    "dot": lambda a, w: np.dot(a, w),
    "einsum": lambda a, w: np.einsum("ij,j->i", a, w),
    "inner": lambda a, w: np.inner(a, w),
    "interp": lambda a, w: np.interp(a[0], np.arange(3.0), w),
    "kron": lambda a, w: np.kron(a[0], w),
    "logaddexp": lambda a, w: np.logaddexp(a, w),
    "matmul": lambda a, w: a @ w,
    "maximum": lambda a, w: np.maximum(a, w),
    "outer": lambda a, w: np.outer(a[0], w),
    "solve": lambda a, w: np.linalg.solve(a[:3], w),
    "stack": lambda a, w: np.stack([a[0], w]),
    "tensordot": lambda a, w: np.tensordot(a, w, 1),
    "trapezoid": lambda a, w: np.trapezoid(w, a[0]),
    "vecdot": lambda a, w: np.vecdot(a, w),
    "vdot": lambda a, w: np.vdot(a[0], w),
    "where": lambda a, w: np.where(a > 0, a, w),
}


@pytest.mark.parametrize("name", MIXED)
def test_an_argument_of_float64_keeps_its_digits_beside_a_tensor(name: str) -> None:
    function = MIXED[name]
    w = cr.from_numpy(W)
    out = cr.compile(lambda a: function(a, w))(A)
    expected = function(A, W)
    assert out.dtype == cr.float64
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("make", [cr.as_tensor, cr.from_numpy, cr.asarray])
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.complex128, np.int64])
def test_a_tensor_of_an_argument_has_the_arguments_type(make: Callable[[Any], Any], kind: type) -> None:
    a = W.astype(kind)
    out = cr.compile(lambda a: make(a) * 2)(a)
    assert out.numpy().dtype == make(a).numpy().dtype
    np.testing.assert_array_equal(out.numpy(), make(a).numpy() * 2)


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64])
def test_new_tensor_of_an_argument_has_the_type_of_the_tensor(kind: type) -> None:
    out = cr.compile(lambda a: cr.from_numpy(W).new_tensor(a) * 2)(W.astype(kind))
    np.testing.assert_array_equal(out.numpy(), W.astype(kind) * 2.0)


def test_the_tensor_of_from_numpy_shares_memory_with_the_argument() -> None:
    def twice(a: Any) -> None:
        cr.from_numpy(a).mul_(2)

    a = W.copy()
    cr.compile(twice)(a)
    np.testing.assert_array_equal(a, W * 2)


def test_the_gradient_of_a_function_written_for_numpy_keeps_its_digits() -> None:
    def loss(w: Any, x: Any, y: Any) -> Any:
        return np.mean((np.dot(x, w) - y) ** 2)

    x, y = A, np.array([0.3, -0.2, 0.9, 0.1])
    found = cr.compile(cr.func.grad(loss))(W, x, y)
    np.testing.assert_allclose(found, 2 * x.T @ (x @ W - y) / 4, rtol=1e-13)


def test_a_place_of_an_argument_fills_a_tensor() -> None:
    w = cr.from_numpy(W)
    out = cr.compile(lambda a: w.clone().fill_(a[0, 1]))(A)
    np.testing.assert_array_equal(out.numpy(), np.full(3, A[0, 1]))


def test_a_number_that_changes_is_told_to_be_passed_as_an_array() -> None:
    @cr.compile
    def scaled(x: Any, factor: Any) -> Any:
        return x * factor

    with pytest.warns(UserWarning, match=r"np\.asarray\(number\)"):
        for factor in range(12):
            scaled(A, np.float64(factor))

    @cr.compile
    def scaled_by_array(x: Any, factor: Any) -> Any:
        return x * factor

    for factor in range(12):
        np.testing.assert_array_equal(scaled_by_array(A, np.asarray(np.float64(factor))), A * factor)
    assert scaled_by_array.traces == 1


def put_in_order(x: Any) -> Any:
    y = x.copy()
    y.sort(axis=0)
    return y


METHODS: dict[str, Callable[[Any], Any]] = {
    "argpartition": lambda x: x.argpartition(1, axis=0)[1],
    "choose": lambda x: (x.real > 0).astype(np.int64).choose([x, -x]),
    "conj": lambda x: x.conj(),
    "conjugate": lambda x: x.conjugate().T @ x,
    "cumprod": lambda x: x.cumprod(axis=1),
    "dot": lambda x: x.T.dot(x),
    "flatten": lambda x: x.flatten(),
    "flatten by columns": lambda x: x.flatten("F"),
    "mT": lambda x: x.mT,
    "searchsorted": lambda x: np.sort(x[0].real).searchsorted(x[1].real),
    "sort": put_in_order,
    "trace": lambda x: x.trace(),
}


@pytest.mark.parametrize("kind", [np.float64, np.complex128])
@pytest.mark.parametrize("name", METHODS)
def test_methods_of_an_argument_are_numpys(name: str, kind: Any) -> None:
    x = (A + 1j * A[::-1]).astype(kind) if kind is np.complex128 else A.copy()
    before = x.copy()
    found, expected = cr.compile(METHODS[name])(x), METHODS[name](x)
    assert np.asarray(found).dtype == np.asarray(expected).dtype
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("kernels", ["0", "1"])
@pytest.mark.parametrize(
    ("function", "x"),
    [
        (lambda x: (-2.0) ** x, np.array([1.0, 2.0, 3.0])),
        (lambda x: np.where(x > -1, x * 2.5, 0.0) + 1, np.array([1, 255], np.uint8)),
        (lambda x: np.where(x == 300, x * 2.5, 0.0) + 1, np.array([1, 44], np.uint8)),
        (lambda x: x * complex(1, np.inf) + complex(np.nan, -np.inf), np.array([1.0, -2.0])),
        (lambda x: np.copysign(1, (x * complex(-0.0, -1.0)).imag), np.array([1.0, -2.0])),
        (lambda x: np.power(x, 0.5) * 2 + 1, np.array([-np.inf, -0.0, 4.0])),
        (lambda x: x.clip(2) + x.clip(max=1) + x.clip(0.5, 1.5), np.array([1.0, 3.0, np.nan])),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_bounds_signs_and_infinite_parts_of_numbers_are_as_in_numpy(
    function: Any, x: Any, kernels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAINRULE_KERNELS", kernels)
    found, expected = cr.compile(function)(x), function(x)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(np.copysign(1, found.real), np.copysign(1, expected.real))
    np.testing.assert_array_equal(found, expected)
