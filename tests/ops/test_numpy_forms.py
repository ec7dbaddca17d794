"""NumPy's functions on tensors, with NumPy's signatures: values are NumPy's own, gradients finite differences."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.testing import gradcheck, gradgradcheck

RNG = np.random.default_rng(0)
V = RNG.standard_normal(6)
W = RNG.standard_normal(4)
M = RNG.standard_normal((3, 4))
CUBE = RNG.standard_normal((2, 3, 4))
Z = RNG.standard_normal(4) + 1j * RNG.standard_normal(4)
POSITIVE = RNG.uniform(0.5, 2.0, 4)
HOLES = M.copy()
HOLES[0, 1] = HOLES[2, 0] = HOLES[2, 3] = np.nan
KNOTS = np.array([-1.0, 0.0, 0.7, 2.0])
AT = np.array([[-1.5, -0.3, 0.2], [0.9, 1.9, 2.5]])
UNEVEN = np.array([0.0, 0.4, 1.0, 1.3, 2.0, 3.1])

# name -> (a call of arrays or tensors, the arrays)
DIFFERENTIABLE: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "apply_along_axis": (lambda a: np.apply_along_axis(lambda r: r * r[0], 0, a), (M,)),
    "apply_along_axis, to numbers": (lambda a: np.apply_along_axis(lambda r: (r * r).sum(), 1, a), (CUBE,)),
    "apply_along_axis, to matrices": (lambda a: np.apply_along_axis(lambda r: np.outer(r, r), 1, a), (CUBE,)),
    "apply_over_axes": (lambda a: np.apply_over_axes(np.sum, a * a, [0, -1]), (CUBE,)),
    "block": (lambda a, b: np.block([[a, np.ones((3, 1))], [b, 2.0]]), (M, W)),
    "block of vectors": (lambda a, b: np.block([a, b, 1.0]), (V, W)),
    "convolve": (lambda a, b: np.convolve(a, b), (V, W)),
    "convolve same": (lambda a, b: np.convolve(a, b, "same"), (W, V)),
    "convolve valid": (lambda a, b: np.convolve(a, b, "valid"), (W, V)),
    "convolve with a list": (lambda a: np.convolve(a, [0.1, 0.7]), (V,)),
    "convolve complex": (lambda a, b: np.convolve(a, b), (Z, V)),
    "correlate": (lambda a, b: np.correlate(a, b), (V, W)),
    "correlate full": (lambda a, b: np.correlate(a, b, "full"), (W, V)),
    "correlate same": (lambda a, b: np.correlate(a, b, "same"), (W, V)),
    "correlate complex": (lambda a, b: np.correlate(a, b, "full"), (Z, V)),
    "correlate with complex": (lambda a, b: np.correlate(a, b, "same"), (W[:3], Z)),
    "cumulative_prod": (lambda a: np.cumulative_prod(a, axis=1), (M,)),
    "cumulative_sum": (lambda a: np.cumulative_sum(a, axis=0, include_initial=True), (M,)),
    "cumulative_sum of a vector": (lambda a: np.cumulative_sum(a), (V,)),
    "diff, numbers at the ends": (lambda a, b: np.diff(a, prepend=0.1, append=b[0], axis=0), (M, W)),
    "ediff1d, numbers at the ends": (lambda a: np.ediff1d(a, to_begin=[0.1, 0.2], to_end=0.3), (M,)),
    "insert a number": (lambda a: np.insert(a, 1, 0.1), (M,)),
    "pad with a tensor": (lambda a, b: np.pad(a, 1, constant_values=b[0]), (M, W)),
    "sum where": (lambda a: np.sum(a, axis=0, where=HOLES == HOLES, initial=2.0), (M,)),
    "prod where": (lambda a: np.prod(a, axis=1, where=HOLES == HOLES, keepdims=True), (M,)),
    "mean where": (lambda a: np.mean(a, axis=(0, 1), where=HOLES == HOLES), (M,)),
    "max where": (lambda a: np.max(a, axis=0, where=HOLES == HOLES, initial=-5.0), (M,)),
    "min, a number": (lambda a: np.min(a, axis=1, initial=-0.3), (M,)),
    "nansum where": (lambda a: np.nansum(a, axis=1, where=[True, True, False, True]), (HOLES,)),
    "std where": (lambda a: np.std(a, axis=0, where=HOLES == HOLES, ddof=0.5), (M,)),
    "var where": (lambda a: np.var(a, axis=1, where=HOLES == HOLES, keepdims=True), (M,)),
    "var about a number": (lambda a, b: np.var(a, axis=0, mean=b[None]), (M, W)),
    "maximum.reduce where": (lambda a: np.maximum.reduce(a, where=HOLES == HOLES, initial=-9.0), (M,)),
    "add.reduce with a number": (lambda a: np.add.reduce(a, initial=3.0), (M,)),
    "geomspace": (lambda a, b: np.geomspace(a, b, 5), (POSITIVE, POSITIVE[::-1].copy())),
    "geomspace, negative": (lambda a: np.geomspace(-a, -8.0, 4, endpoint=False, axis=-1), (POSITIVE,)),
    "geomspace, complex": (lambda a, b: np.geomspace(a, b, 5), (Z, Z[::-1] + 1)),
    "gradient": (lambda a: np.gradient(a), (V,)),
    "gradient, two axes": (lambda a: np.gradient(a, 0.5), (M,)),
    "gradient, an axis": (lambda a: np.gradient(a, 0.5, axis=1, edge_order=2), (M,)),
    "gradient, uneven": (lambda a, x: np.gradient(a, x, edge_order=2), (V, UNEVEN)),
    "gradient, a list": (lambda a: np.gradient(a, [0.0, 0.1, 0.3], axis=0), (M,)),
    "gradient, mixed": (lambda a: np.gradient(a, UNEVEN[:3], 2.0), (M,)),
    "interp": (lambda x, xp, fp: np.interp(x, xp, fp), (AT, KNOTS, W)),
    "interp, outside": (lambda x, fp: np.interp(x, KNOTS, fp, left=-3.0, right=7.0), (AT, W)),
    "interp, periodic": (lambda x, fp: np.interp(x, KNOTS[::-1], fp, period=4.1), (AT, W)),
    "interp, complex": (lambda x, fp: np.interp(x, KNOTS, fp), (AT, Z)),
    "interp, one point": (lambda x, fp: np.interp(x, [0.5], fp), (AT, W[:1])),
    "interp at a number": (lambda fp: np.interp(0.3, KNOTS, fp), (W,)),
    "linspace": (lambda a, b: np.linspace(a, b, 5), (W, POSITIVE)),
    "linspace, numbers": (lambda a: np.linspace(a, 1.1, 4, endpoint=False), (np.array(0.3),)),
    "linspace, axis and step": (lambda a: np.linspace(a, 1.1, 4, retstep=True, axis=-1), (W,)),
    "linspace, one": (lambda a: np.linspace(a, 1.1, 1), (W,)),
    "logspace": (lambda a, b: np.logspace(a, b, 4), (W, POSITIVE)),
    "logspace, base": (lambda a, b: np.logspace(a, 1.5, 4, base=b), (W, POSITIVE)),
    "nancumprod": (lambda a: np.nancumprod(a, axis=1), (HOLES,)),
    "nancumsum": (lambda a: np.nancumsum(a), (HOLES,)),
    "nanpercentile": (lambda a: np.nanpercentile(a, [30, 80], axis=1), (HOLES,)),
    "nanprod": (lambda a: np.nanprod(a, axis=0, keepdims=True), (HOLES,)),
    "nanstd": (lambda a: np.nanstd(a), (HOLES,)),
    "nanvar": (lambda a: np.nanvar(a, axis=1, ddof=0.5, keepdims=True), (HOLES,)),
    "nanvar, complex": (lambda a: np.nanvar(a), (Z,)),
    "outer of a ufunc": (lambda a, b: np.subtract.outer(a, b), (M, V)),
    "outer of maximum": (lambda a: np.maximum.outer(a, V), (W,)),
    "partition": (lambda a: np.partition(a, 1, axis=1), (CUBE,)),
    "partition of all": (lambda a: np.partition(a, (2, 5), axis=None), (M,)),
    "piecewise": (lambda a: np.piecewise(a, [a < 0, a > 1], [lambda x: x * x, np.sin, 3.0]), (V,)),
    "piecewise, one condition": (lambda a: np.piecewise(a, a < 0, [lambda x, k: k * x, lambda x, k: x**k], 2.0), (V,)),
    "poly": (lambda a: np.poly(a), (W,)),
    "poly of complex": (lambda a: np.poly(a), (Z,)),
    "poly of a matrix": (lambda a: np.poly(a), (CUBE[:, :2, 0] * 3,)),
    "polyadd": (lambda a, b: np.polyadd(a, b), (W, V)),
    "polyder": (lambda a: np.polyder(a, 2), (V,)),
    "polydiv": (lambda a, b: np.polydiv(a, b), (V, W)),
    "polydiv, shorter": (lambda a, b: np.polydiv(a, b), (W, V)),
    "polyfit": (lambda a, b: np.polyfit(a, b, 2), (UNEVEN, V)),
    "polyfit, weights": (lambda b, w: np.polyfit(UNEVEN, b, 1, w=w), (RNG.standard_normal((6, 2)), UNEVEN + 0.5)),
    "polyfit, covariance": (lambda b: np.polyfit(UNEVEN, b, 1, cov=True), (V,)),
    "polyint": (lambda a: np.polyint(a, 2, k=[0.3, 0.1]), (V,)),
    "polyint, no constant": (lambda a: np.polyint(a), (V,)),
    "polymul": (lambda a, b: np.polymul(a, b), (W, V)),
    "polymul, zeros in front": (lambda b: np.polymul([0.0, 0.0, 2.0], b), (V,)),
    "polysub": (lambda a, b: np.polysub(a, b), (V, W)),
    "polyval": (lambda p, x: np.polyval(p, x), (W, M)),
    "polyval of a list": (lambda x: np.polyval([0.1, 0.2, 0.3], x), (M,)),
    "resize": (lambda a: np.resize(a, (3, 5)), (M,)),
    "resize, smaller": (lambda a: np.resize(a, 5), (M,)),
    "sort_complex": (lambda a: np.sort_complex(a), (Z,)),
    "sort_complex of real": (lambda a: np.sort_complex(a), (M,)),
    "trim_zeros": (lambda a: np.trim_zeros(a), (np.array([0, 0, 1.5, 0, 2.5, 0]),)),
    "trim_zeros, front": (lambda a: np.trim_zeros(a, "f"), (np.array([0, 0, 1.5, 0, 2.5, 0]),)),
    "unwrap": (lambda a: np.unwrap(a * 4), (V,)),
    "unwrap, period": (lambda a: np.unwrap(a * 9, axis=0, period=5), (M,)),
    "unwrap, a tensor as period": (lambda a, p: np.unwrap(a * 9, period=p), (V, np.array(5.0))),
    "vander": (lambda a: np.vander(a, 3, increasing=True), (np.array([0.0, 1.0, -2.0, 0.5]),)),
}
# where a finite difference moves an exact zero into the result, or the function is linear and cheap to check by eye
NO_DIFFERENCES = {"trim_zeros", "trim_zeros, front"}


def parts(result: Any) -> list[Any]:
    return list(result) if isinstance(result, (tuple, list)) else [result]


def leaf(array: Any) -> cr.Tensor:
    return cr.tensor(array, dtype=cr.dtype(np.asarray(array).dtype), requires_grad=True)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_values_are_numpys(name: str) -> None:
    call, arrays = DIFFERENTIABLE[name]
    found, expected = parts(call(*map(leaf, arrays))), parts(call(*arrays))
    assert len(found) == len(expected)
    assert any(ours.requires_grad for ours in found)
    for ours, theirs in zip(found, expected, strict=True):
        assert isinstance(ours, cr.Tensor)
        assert ours.shape == np.shape(theirs)
        assert ours.array.dtype == theirs.dtype
        np.testing.assert_allclose(ours.array, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients_are_finite_differences(name: str) -> None:
    call, arrays = DIFFERENTIABLE[name]
    filled = [np.where(np.isnan(a), 0.5, a) for a in arrays]
    missing = [np.isnan(a) for a in arrays]

    def function(*tensors: cr.Tensor) -> Any:
        # NaNs are put in here: a difference at a NaN is none
        holed = [np.where(m, np.nan, t) if m.any() else t for m, t in zip(missing, tensors, strict=True)]
        return tuple(parts(call(*holed)))

    if name not in NO_DIFFERENCES:
        gradcheck(function, tuple(map(leaf, filled)), atol=1e-4)


@pytest.mark.parametrize("name", ["convolve same", "interp", "polyval", "polyfit", "gradient, uneven", "nanvar"])
def test_second_gradients_are_finite_differences(name: str) -> None:
    call, arrays = DIFFERENTIABLE[name]
    gradgradcheck(lambda *x: tuple(parts(call(*x))), tuple(leaf(np.nan_to_num(a)) for a in arrays), atol=1e-4)


@pytest.mark.parametrize("name", ["convolve", "interp", "linspace", "polyval", "geomspace", "nanvar", "gradient"])
def test_single_precision_stays_single(name: str) -> None:
    call, arrays = DIFFERENTIABLE[name]
    result = call(*(leaf(a.astype(np.float32)) for a in arrays))
    assert all(r.dtype == cr.float32 for r in parts(result))


def test_numbers_and_lists_take_the_type_of_the_tensors_beside_them_without_losing_digits() -> None:
    x = leaf(np.array([1.0]))
    assert np.polyval([0.1], x).item() == 0.1
    assert np.linspace(x, 0.1, 2)[1].item() == 0.1
    assert np.polyval([0.1, 0.2], cr.tensor([1.0])).dtype == cr.float32
    assert np.polyval([1, 2], cr.tensor([3])).tolist() == [5]


MIXED: dict[str, Any] = {  # functions of a (3, 4) array and four numbers
    "average": lambda x, v: np.average(x, axis=1, weights=v),
    "cov": lambda x, v: np.cov(x, aweights=[1.0, 2.0, 1.0, 3.0]) * np.sum(np.multiply(np.ones_like(x), v)),
    "trapezoid": lambda x, v: np.trapezoid(x, x=v, axis=1),
    "where": lambda x, v: np.where([True, False, True, False], x, v),
    "concatenate": lambda x, v: np.concatenate([x[0], v]),
    "vstack": lambda x, v: np.vstack([x, v]),
    "column_stack": lambda x, v: np.column_stack([x.T, v]),
    "clip": lambda x, v: np.clip(x, v, 5.0),
    "append": lambda x, v: np.append(x, v),
    "insert": lambda x, v: np.insert(x, 1, v, axis=0),
    "select": lambda x, v: np.select([x > 0, x < -0.5], [x, v], default=0.1),
    "choose": lambda x, v: np.choose([0, 1, 0, 1], [x[0], v]),
    "dot": lambda x, v: np.dot(x, v),
    "matmul": lambda x, v: np.matmul(x, v),
    "outer": lambda x, v: np.outer(x[0], v),
    "kron": lambda x, v: np.kron(v, x),
    "einsum": lambda x, v: np.einsum("ij,j->i", x, v),
    "add": lambda x, v: np.add(v, x),
    "multiply": lambda x, v: np.multiply(x, v),
    "maximum": lambda x, v: np.maximum(x, v),
    "solve": lambda x, v: np.linalg.solve(x[:, :3].T @ x[:, :3], v[:3]),
    "multi_dot": lambda x, v: np.linalg.multi_dot([x, x.T, x, v]),
    "meshgrid": lambda x, v: np.stack(np.meshgrid(x[0], v)),
}


@pytest.mark.parametrize("name", MIXED)
def test_a_list_keeps_its_digits_and_the_gradients_of_tensors_in_it(name: str) -> None:
    function, given = MIXED[name], [0.1, 0.2, 0.3, 0.7]
    expected = function(M, np.array(given))
    np.testing.assert_allclose(function(leaf(M), given).detach().numpy(), expected, rtol=1e-14)
    if name == "cov":
        return
    parts, whole = [leaf(value) for value in given[:3]], leaf(np.array(given))
    seed = cr.tensor(RNG.standard_normal(expected.shape), dtype=cr.float64)
    found, right = function(leaf(M), [*parts, given[3]]), function(leaf(M), whole)
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-14)
    found.backward(seed)
    right.backward(seed)
    np.testing.assert_allclose([part.grad.item() for part in parts], whole.grad.numpy()[:3], rtol=1e-12)
    with cr.no_grad():
        assert not function(leaf(M), [*parts, given[3]]).requires_grad
    assert function(cr.tensor(M, dtype=cr.float32), given).dtype == cr.float32


def test_a_tensor_made_of_tensors_warns_that_it_has_no_gradient() -> None:
    part = leaf(2.0)
    for make in (cr.tensor, cr.Tensor, cr.as_tensor):
        with pytest.warns(UserWarning, match="stack"):
            assert not make([part, part]).requires_grad


def test_coefficients_may_be_a_list_of_tensors() -> None:
    a, b = leaf(np.array(2.0)), leaf(np.array(3.0))
    y = np.polyval([a, b, 1.0], leaf(np.array([2.0])))
    y.backward()
    assert (y.item(), a.grad.item(), b.grad.item()) == (15.0, 4.0, 2.0)


def test_roots_are_numpys_and_have_gradients() -> None:
    p = np.array([0.0, 1.0, -6.0, 11.0, -6.0, 0.0, 0.0])
    found = np.roots(leaf(p))
    np.testing.assert_allclose(np.sort(found.array.real), np.sort(np.roots(p)), atol=1e-8)
    assert gradcheck(lambda p: np.sum(np.roots(p) ** 2), leaf(p[1:5]), atol=1e-3)
    assert np.roots(cr.zeros(3)).shape == (0,)
    assert np.roots(cr.tensor([2.0, 0.0])).tolist() == [0.0]


def test_polyfit_in_full_gives_numpys_five_results() -> None:
    ours, theirs = np.polyfit(leaf(UNEVEN), V, 2, full=True), np.polyfit(UNEVEN, V, 2, full=True)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.detach().numpy() if isinstance(a, cr.Tensor) else a, b, rtol=1e-6)


def test_interp_gives_no_gradient_outside_and_a_finite_one_at_infinity() -> None:
    x, fp = leaf(np.array([-np.inf, -2.0, 0.5, np.inf])), leaf(W)
    np.interp(x, KNOTS, fp).backward()
    slope = (W[2] - W[1]) / 0.7
    np.testing.assert_allclose(x.grad.array, [0, 0, slope, 0])
    assert np.all(np.isfinite(fp.grad.array))
    assert np.isnan(np.interp(cr.tensor([np.nan]), KNOTS, W).item())


def test_piecewise_calls_each_function_only_where_its_condition_holds() -> None:
    x = leaf(np.array([-1.0, 4.0]))
    y = np.piecewise(x, [x > 0], [np.sqrt, 0.0])
    y.backward()
    np.testing.assert_array_equal(x.grad.array, [0.0, 0.25])
    assert np.piecewise(cr.tensor(2.0), [True, False], [lambda v: v + 1, 0.0]).item() == 3.0


def test_nan_statistics_of_nothing_are_nan() -> None:
    x = cr.tensor([[np.nan, np.nan], [1.0, 3.0]])
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(np.nanvar(x, axis=1).array, [np.nan, 1.0])


# ----- writes -----------------------------------------------------------------------------------------------------

INDEX = np.array([[0, 2, 2, 1], [1, 1, 0, 2]])
WRITES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "add.at": (lambda a, v: np.add.at(a, [0, 2, 0], v), (M, RNG.standard_normal((3, 4)))),
    "add.at, a mask": (lambda a, v: np.add.at(a, M > 0, v), (M, np.array(1.5))),
    "subtract.at": (lambda a, v: np.subtract.at(a, (slice(None), [1, 1]), v), (M, W[:2])),
    "copyto": (lambda a, v: np.copyto(a, v), (M, W)),
    "copyto where": (lambda a, v: np.copyto(a, v, where=M > 0), (M, W)),
    "copyto a number": (lambda a: np.copyto(a, 2.5, where=[True, False, True, False]), (M,)),
    "fill_diagonal": (lambda a, v: np.fill_diagonal(a, v), (M, W[:2])),
    "fill_diagonal wrap": (lambda a: np.fill_diagonal(a, 7, wrap=True), (RNG.standard_normal((7, 3)),)),
    "fill_diagonal, no wrap": (lambda a: np.fill_diagonal(a, 7), (RNG.standard_normal((7, 3)),)),
    "fill_diagonal of a cube": (lambda a, v: np.fill_diagonal(a, v), (RNG.standard_normal((3, 3, 3)), W[:3])),
    "place": (lambda a, v: np.place(a, M > 0, v), (M, W[:2])),
    "put": (lambda a, v: np.put(a, [0, 5, -1], v), (M, W[:2])),
    "put twice in one place": (lambda a, v: np.put(a, [3, 5, 3], v), (M, W[:3])),
    "put clip": (lambda a, v: np.put(a, [-3, 50], v, mode="clip"), (M, W[:2])),
    "put wrap": (lambda a, v: np.put(a, [-3, 50], v, mode="wrap"), (M, W[:2])),
    "put_along_axis": (lambda a, v: np.put_along_axis(a, INDEX, v, 0), (M, RNG.standard_normal((2, 4)))),
    "put_along_axis, broadcast": (lambda a, v: np.put_along_axis(a, INDEX[:, :1], v, 0), (M, W)),
    "put_along_axis, flat": (lambda a, v: np.put_along_axis(a, np.array([1, 7]), v, None), (M, W[:2])),
    "putmask": (lambda a, v: np.putmask(a, M > 0, v), (M, W[:3])),
    "putmask, same shape": (lambda a, v: np.putmask(a, M > 0, v), (M, 2 * M)),
}


@pytest.mark.parametrize("name", WRITES)
def test_writes_are_numpys_and_differentiable(name: str) -> None:
    write, arrays = WRITES[name]
    expected = arrays[0].copy()
    assert write(expected, *arrays[1:]) is None

    def written(target: cr.Tensor, *values: cr.Tensor) -> cr.Tensor:
        target = target * 1
        write(target, *values)
        return target

    leaves = tuple(map(leaf, arrays))
    np.testing.assert_allclose(written(*leaves).array, expected, rtol=1e-14)
    gradcheck(written, leaves)


def test_a_write_through_a_view_reaches_its_base() -> None:
    x, v = leaf(M), leaf(W[:2])
    y = x * 1
    np.put(y.T[1], [0, 2], v)
    np.testing.assert_array_equal(y.array[[0, 2], 1], W[:2])
    (y * M).sum().backward()
    np.testing.assert_array_equal(v.grad.array, M[[0, 2], 1])
    assert x.grad.array[0, 1] == x.grad.array[2, 1] == 0


def test_a_write_to_what_a_recipe_saved_raises_at_backward() -> None:
    x = leaf(V)
    y = np.exp(x)
    z = y.sum()
    np.fill_diagonal(np.reshape(y, (2, 3)), 0.0)
    with pytest.raises(RuntimeError, match="fill_diagonal"):
        z.backward()


@pytest.mark.parametrize("name", WRITES)
def test_a_leaf_that_requires_grad_is_not_written(name: str) -> None:
    write, arrays = WRITES[name]
    with pytest.raises(RuntimeError, match="leaf"):
        write(leaf(arrays[0]), *arrays[1:])


def test_an_array_takes_only_tensors_that_need_no_gradient() -> None:
    a = np.zeros(3)
    for write in (
        lambda v: np.copyto(a, v),
        lambda v: np.add.at(a, [0, 1, 2], v),
        lambda v: np.put(a, [0, 1, 2], v),
        lambda v: np.place(a, [True] * 3, v),
        lambda v: np.putmask(a, [True] * 3, v),
        lambda v: np.put_along_axis(a, np.arange(3), v, 0),
        lambda v: np.fill_diagonal(a.reshape(1, 3), v[:1]),
    ):
        with pytest.raises(RuntimeError, match="detach"):
            write(leaf(V[:3]))
        a[:] = 0
        write(leaf(V[:3]).detach())
        assert a[0] == V[0]


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda t: np.copyto(cr.zeros(3, dtype=cr.int64), t), TypeError),
        (lambda t: np.put(t, [9], 1.0), IndexError),
        (lambda t: np.put_along_axis(t, np.array([9]), 1.0, 0), IndexError),
        (lambda t: np.place(t, [True] * 6, []), ValueError),
        (lambda t: np.putmask(t, [True] * 5, 1.0), ValueError),
        (lambda t: np.fill_diagonal(t, 1.0), ValueError),
        (lambda t: np.convolve(t, []), ValueError),
        (lambda t: np.convolve(np.reshape(t, (2, 3)), t), ValueError),
        (lambda t: np.convolve(t, t, "other"), ValueError),
        (lambda t: np.interp(t, t, t[:2]), ValueError),
        (lambda t: np.gradient(t, 1.0, 2.0), TypeError),
        (lambda t: np.gradient(t[:1]), ValueError),
        (lambda t: np.gradient(t, edge_order=3), ValueError),
        (lambda t: np.linspace(t, 1.0, -1), ValueError),
        (lambda t: np.geomspace(t, 0.0), ValueError),
        (lambda t: np.cumulative_sum(np.reshape(t, (2, 3))), ValueError),
        (lambda t: np.polyder(t, -1), ValueError),
        (lambda t: np.polyint(t, -1), ValueError),
        (lambda t: np.polyint(t, 3, k=[1.0, 2.0]), ValueError),
        (lambda t: np.polyfit(t, t[:2], 1), TypeError),
        (lambda t: np.poly(np.reshape(t, (2, 3))), ValueError),
        (lambda t: np.block([[t], t]), ValueError),
        (lambda t: np.block([(t, t)]), TypeError),
        (lambda t: np.piecewise(t, [t > 0], [1.0, 2.0, 3.0]), ValueError),
        (lambda t: np.trim_zeros(t, "x"), ValueError),
        (lambda t: np.nanprod(t, out=cr.zeros(1)), TypeError),
    ],
)
def test_wrong_arguments_raise_numpys_exceptions(call: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        call(cr.ones(6, dtype=cr.float64))


# ----- functions without a derivative -----------------------------------------------------------------------------

COUNTS = np.array([3, 1, 2, 3, 1])
CONSTANT: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "argpartition": (lambda a: np.argpartition(a, 2), (V,)),
    "array2string": (lambda a: np.array2string(a, precision=2), (V,)),
    "array_repr": (lambda a: np.array_repr(a), (V,)),
    "array_str": (lambda a: np.array_str(a), (V,)),
    "can_cast": (lambda a: np.can_cast(a, np.float32), (V,)),
    "common_type": (lambda a, b: np.common_type(a, b), (V, Z)),
    "diag_indices_from": (lambda a: np.diag_indices_from(a), (CUBE[0, :, :3],)),
    "einsum_path": (lambda a, b: np.einsum_path("ij,j->i", a, b), (M, W)),
    "histogram2d": (lambda a, b: np.histogram2d(a, b, bins=3), (V, UNEVEN)),
    "histogram_bin_edges": (lambda a: np.histogram_bin_edges(a, bins=4), (V,)),
    "histogramdd": (lambda a: np.histogramdd(a, bins=2), (M[:, :2],)),
    "intersect1d": (lambda a: np.intersect1d(a, [1, 2]), (COUNTS,)),
    "isin": (lambda a: np.isin(a, [1, 2]), (COUNTS,)),
    "lexsort": (lambda a, b: np.lexsort((a, b)), (V, UNEVEN)),
    "may_share_memory": (lambda a: np.may_share_memory(a, a), (V,)),
    "min_scalar_type": (lambda a: np.min_scalar_type(a), (V,)),
    "packbits": (lambda a: np.packbits(a), (COUNTS > 1,)),
    "result_type": (lambda a: np.result_type(a, np.float32), (V,)),
    "setdiff1d": (lambda a: np.setdiff1d(a, [1]), (COUNTS,)),
    "setxor1d": (lambda a: np.setxor1d(a, [1, 5]), (COUNTS,)),
    "shares_memory": (lambda a, b: np.shares_memory(a, b), (V, W)),
    "tril_indices_from": (lambda a: np.tril_indices_from(a, -1), (M,)),
    "triu_indices_from": (lambda a: np.triu_indices_from(a), (M,)),
    "union1d": (lambda a: np.union1d(a, [7, 1]), (COUNTS,)),
    "unique_all": (lambda a: np.unique_all(a), (COUNTS,)),
    "unique_counts": (lambda a: np.unique_counts(a), (COUNTS,)),
    "unique_inverse": (lambda a: np.unique_inverse(a), (COUNTS,)),
    "unique_values": (lambda a: np.unique_values(a), (COUNTS,)),
    "unpackbits": (lambda a: np.unpackbits(a), (COUNTS.astype(np.uint8),)),
}


def same(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, (tuple, list)):
        assert type(ours) is type(theirs)
        for a, b in zip(ours, theirs, strict=True):
            same(a, b)
    elif isinstance(theirs, np.ndarray):
        assert isinstance(ours, cr.Tensor) and not ours.requires_grad
        np.testing.assert_array_equal(ours.array, theirs)
        assert ours.array.dtype == theirs.dtype
    else:
        assert ours == theirs


@pytest.mark.parametrize("name", CONSTANT)
def test_functions_without_a_derivative_give_numpys_results(name: str) -> None:
    call, arrays = CONSTANT[name]
    tensors = [leaf(a) if a.dtype.kind in "fc" else cr.from_numpy(a) for a in arrays]
    same(call(*tensors), call(*arrays))


def test_files_take_tensors_unless_a_gradient_would_be_lost() -> None:
    for save in (np.save, np.savetxt, np.savez, np.savez_compressed):
        with pytest.raises(RuntimeError, match="detach"):
            save(io.BytesIO(), leaf(V))
        save(io.BytesIO(), leaf(V).detach())
    file = io.BytesIO()
    np.savez(file, a=cr.tensor([1.0, 2.0]))
    file.seek(0)
    assert np.load(file)["a"].tolist() == [1.0, 2.0]


def test_weights_of_a_histogram_must_need_no_gradient() -> None:
    for call in (
        lambda w: np.histogram2d(cr.tensor(V), UNEVEN, 2, weights=w),
        lambda w: np.histogramdd(M, 2, weights=w),
    ):
        with pytest.raises(RuntimeError, match="detach"):
            call(leaf(V))
    counts, _, _ = np.histogram2d(cr.tensor(V), UNEVEN, 2, weights=cr.tensor(V))
    assert counts.array.sum() == pytest.approx(V.sum())


# ----- the modules behind them ------------------------------------------------------------------------------------


def run(script: str) -> str:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()


def test_the_seldom_used_are_imported_when_they_are_first_called() -> None:
    script = """
import sys, numpy as np, chainrule as cr
print("chainrule.ops.numpy_sequences" in sys.modules)
print(np.interp(cr.tensor([0.5]), [0, 1], [0, 2]).item())
print("chainrule.ops.numpy_sequences" in sys.modules)
"""
    assert run(script).split() == ["False", "1.0", "True"]


def test_what_a_user_registered_for_a_numpy_function_stays() -> None:
    script = """
import numpy as np, chainrule as cr
cr.implements(np.interp)(lambda x, xp, fp: "mine")
np.convolve(cr.ones(2), [1.0])
print(np.interp(cr.ones(2), [0], [0]))
"""
    assert run(script) == "mine"


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "int64", "int32", "bool", "complex64"])
@pytest.mark.parametrize("numbers", [[1.5, 2.0], [1, 2], [1.5 + 1j, 2], [True, False]], ids=str)
def test_a_list_counts_as_the_tensor_that_it_makes_in_operators_and_in_numpys_functions(
    kind: str, numbers: list[Any]
) -> None:
    torch = pytest.importorskip("torch")
    tensor = cr.ones(2).to(getattr(cr, kind))
    expected = str((torch.ones(2).to(getattr(torch, kind)) + torch.tensor(numbers)).dtype).removeprefix("torch.")
    for function in (lambda t, x: t + x, lambda t, x: x + t, np.add, np.multiply, lambda t, x: np.add(x, t)):
        assert function(tensor, numbers).numpy().dtype == expected


def test_a_list_beside_float16_is_not_rounded_to_it() -> None:
    t = cr.ones(2, dtype=cr.float16)
    for function in (lambda: np.add(t, [0.1, 1e5]), lambda: t + [0.1, 1e5]):
        np.testing.assert_array_equal(function().numpy(), np.float32(1) + np.array([0.1, 1e5], np.float32))
