"""Sums, means, products, extremes, norms, scans: NumPy is the oracle forward, closed forms and differences backward."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import chainrule as cr
from chainrule.core.forward import TENSOR_FUNCS
from chainrule.ops.scan import linear_recurrence

from ..duck import DuckArray, unwrap

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 3, 4))


def tensor(values: Any, **kwargs: Any) -> cr.Tensor:
    return cr.tensor(np.asarray(values), dtype=cr.float64, **kwargs)


def gradient(function: Any, x: np.ndarray) -> np.ndarray:
    leaf = cr.tensor(x, dtype=x.dtype, requires_grad=True)
    function(leaf).backward()
    assert leaf.grad is not None
    assert leaf.grad.array.dtype == x.dtype
    return leaf.grad.numpy()


# ----- NumPy's functions on tensors -----------------------------------------------------------------------------------

SAME_AS_NUMPY = [
    np.sum, np.mean, np.prod, np.max, np.amax, np.min, np.amin, np.var, np.std, np.ptp, np.median, np.average,
    np.nansum, np.nanmean, np.nanmax, np.nanmin, np.nanmedian, np.all, np.any, np.count_nonzero, np.argmax, np.argmin,
    np.nanargmax, np.nanargmin,
]  # fmt: skip


@pytest.mark.parametrize("function", SAME_AS_NUMPY)
@pytest.mark.parametrize("axis", [None, 0, -1])
def test_numpy_functions_give_numpys_values(function: Any, axis: int | None) -> None:
    got = function(tensor(X), axis=axis)
    assert isinstance(got, cr.Tensor)
    np.testing.assert_allclose(got.numpy(), function(X, axis=axis))


@pytest.mark.parametrize("function", [np.sum, np.mean, np.prod, np.max, np.min, np.var, np.std, np.all, np.any])
def test_numpy_functions_take_several_axes_and_keepdims(function: Any) -> None:
    got = function(tensor(X), axis=(0, 2), keepdims=True)
    np.testing.assert_allclose(got.numpy(), function(X, axis=(0, 2), keepdims=True))


@pytest.mark.parametrize("ufunc", [np.add, np.multiply, np.maximum, np.minimum, np.logical_and, np.logical_or])
def test_ufunc_reduce_takes_the_first_axis_by_default(ufunc: Any) -> None:
    np.testing.assert_allclose(ufunc.reduce(tensor(X)).numpy(), ufunc.reduce(X))
    np.testing.assert_allclose(ufunc.reduce(tensor(X), axis=None).numpy(), ufunc.reduce(X, axis=None))
    got = ufunc.reduce(tensor(X), axis=(0, 1), keepdims=True).numpy()
    np.testing.assert_allclose(got, ufunc.reduce(X, axis=(0, 1), keepdims=True))


@pytest.mark.parametrize("ufunc", [np.add, np.multiply, np.maximum, np.minimum, np.logaddexp])
def test_ufunc_accumulate_is_differentiable(ufunc: Any) -> None:
    np.testing.assert_allclose(ufunc.accumulate(tensor(X), axis=1).numpy(), ufunc.accumulate(X, axis=1))
    assert ufunc.accumulate(tensor(X, requires_grad=True)).requires_grad


@pytest.mark.parametrize(
    "call",
    [
        lambda a: np.cumsum(a), lambda a: np.cumsum(a, 1), lambda a: np.cumprod(a, axis=-1), lambda a: np.diff(a),
        lambda a: np.diff(a, 2, 1), lambda a: np.diff(a, axis=0, prepend=a[:1]), lambda a: np.ediff1d(a),
        lambda a: np.trapezoid(a, dx=0.5), lambda a: np.std(a, ddof=1), lambda a: np.var(a, 0, correction=1),
        lambda a: np.quantile(a, 0.3), lambda a: np.quantile(a, [0.1, 0.9], axis=1, keepdims=True),
        lambda a: np.percentile(a, 40, axis=(0, 1)), lambda a: np.nanquantile(a, 0.25, axis=0),
        lambda a: np.average(a, axis=2, weights=np.array([1.0, 2.0, 3.0, 4.0])),
        lambda a: np.average(a, weights=np.abs(X)), lambda a: np.sort(a), lambda a: np.sort(a, None),
        lambda a: np.argsort(a, 0), lambda a: np.cov(a[0]), lambda a: np.corrcoef(a[0]),
        lambda a: np.cov(a[0], rowvar=False, bias=True), lambda a: np.sum(a, dtype=np.float32),
        lambda a: np.searchsorted(np.array([-1.0, 0.0, 1.0]), a), lambda a: np.digitize(a, np.array([-1.0, 0.0])),
        lambda a: np.histogram(a, 4)[0], lambda a: np.unique(a),
        lambda a: np.ediff1d(a, (1, 0)), lambda a: np.ediff1d(a, to_begin=5.0, to_end=[[7.0, 8.0]]),
        lambda a: np.average(a, returned=True)[1], lambda a: np.linalg.qr(a[0], mode="r"),
        lambda a: np.average(np.where(a == a[0, 0, 0], np.nan, a), returned=True)[1],
    ],
)  # fmt: skip
def test_numpy_calls_of_all_forms_give_numpys_values(call: Any) -> None:
    got = call(tensor(X))
    assert isinstance(got, cr.Tensor)
    want = call(X)
    assert got.numpy().dtype == np.asarray(want).dtype
    np.testing.assert_allclose(got.numpy(), want)


def test_equal_steps_leave_the_point_between_out_of_its_derivative() -> None:
    x = np.array([1.0, 2.0, np.nan, 4.0, 5.0, np.inf])
    np.testing.assert_array_equal(np.gradient(tensor(x), 0.5).numpy(), np.gradient(x, 0.5))


@pytest.mark.parametrize("function", [np.median, np.nanmedian, np.sort, np.max, np.argmin], ids=lambda f: f.__name__)
def test_no_imaginary_part_is_dropped_by_what_orders_numbers(function: Any) -> None:
    with pytest.raises(NotImplementedError, match="no order"):
        function(cr.tensor([1 + 2j, 3 + 1j, 2j]))


def test_numpys_deviation_and_pytorchs_have_different_corrections() -> None:
    x = tensor([1.0, 3.0])
    assert np.std(x).item() == 1.0
    assert x.std().item() == math.sqrt(2)
    assert x.std(unbiased=False).item() == x.std(False).item() == x.std(correction=0).item() == 1.0


def test_out_is_refused() -> None:
    with pytest.raises(TypeError, match="out="):
        np.sum(tensor(X), out=np.zeros(()))


# ----- shapes, types, arguments ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sum", "mean", "prod", "amax", "amin", "var", "std", "nansum", "logsumexp", "norm"])
def test_dim_and_axis_keepdim_and_keepdims_are_synonyms(name: str) -> None:
    function = getattr(cr, name)
    ours, theirs = function(tensor(X), dim=1, keepdim=True), function(tensor(X), axis=1, keepdims=True)
    assert ours.shape == (2, 1, 4)
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    with pytest.raises(TypeError, match="one argument"):
        function(tensor(X), dim=1, axis=1)


@pytest.mark.parametrize("name", ["sum", "mean", "prod", "amax", "norm", "logsumexp", "all", "cumsum", "cummax"])
def test_an_axis_out_of_range_is_an_index_error(name: str) -> None:
    with pytest.raises(IndexError, match=r"expected to be in range of \[-3, 2\], but got 3"):
        getattr(cr, name)(tensor(X), dim=3)


def test_an_axis_named_twice_is_refused() -> None:
    with pytest.raises(RuntimeError, match="more than once"):
        cr.sum(tensor(X), (0, -3))


@pytest.mark.parametrize("name", ["sum", "mean", "prod", "amax", "amin", "logsumexp", "cumsum", "cumprod"])
def test_a_tensor_without_axes_accepts_dim_0(name: str) -> None:
    x = tensor(1.5, requires_grad=True)
    out = getattr(cr, name)(x, dim=0)
    assert out.shape == ()
    out.backward()
    assert x.grad.item() == 1.0


def test_an_empty_dim_reduces_everything() -> None:
    assert cr.sum(tensor(X), []).shape == cr.amax(tensor(X), ()).shape == ()


@pytest.mark.parametrize("kind", [np.bool_, np.uint8, np.int8, np.int32, np.int64])
def test_integers_are_added_up_as_int64(kind: Any) -> None:
    x = cr.from_numpy(np.ones(300, kind))
    for function in (cr.sum, cr.prod, lambda t: cr.cumsum(t, 0), lambda t: cr.cumprod(t, 0)):
        assert function(x).dtype == cr.int64
    assert cr.sum(x).item() == 300


def test_the_mean_of_integers_is_refused_unless_a_dtype_is_given() -> None:
    with pytest.raises(RuntimeError, match=r"mean\(\): could not infer output dtype"):
        cr.tensor([1, 2]).mean()
    assert cr.tensor([1, 2]).mean(dtype=cr.float32).item() == 1.5


def test_the_sum_of_half_precision_keeps_its_type_and_mean_does_not_overflow() -> None:
    x = cr.from_numpy(np.full(1000, 100.0, np.float16)).requires_grad_()
    mean = x.mean()
    assert mean.dtype == cr.float16
    assert mean.item() == 100.0
    mean.backward()
    assert x.grad.dtype == cr.float16


def test_dtype_changes_the_type_of_the_sum_and_not_of_the_gradient() -> None:
    x = cr.tensor([1.0, 2.0], requires_grad=True)
    total = x.sum(dtype=cr.float64)
    assert total.dtype == cr.float64
    total.backward()
    assert x.grad.dtype == cr.float32


def test_sums_of_nothing_are_0_and_products_1() -> None:
    empty = cr.zeros(0, 3)
    assert empty.sum().item() == 0.0
    assert empty.prod().item() == 1.0
    np.testing.assert_array_equal(empty.prod(0).numpy(), np.ones(3))
    assert math.isnan(empty.mean().item())
    assert math.isnan(empty.var().item())


@pytest.mark.parametrize("name", ["max", "min", "amax", "amin", "aminmax"])
def test_extremes_of_nothing_raise(name: str) -> None:
    with pytest.raises(RuntimeError, match=rf"{name}\(\): Expected reduction dim to be specified"):
        getattr(cr, name)(cr.zeros(0))
    with pytest.raises(IndexError, match="Expected reduction dim 1 to have non-zero size"):
        getattr(cr, name)(cr.zeros(2, 0), dim=1)
    assert cr.amax(cr.zeros(0, 2), 1).shape == (0,)


def test_views_of_any_stride_are_reduced() -> None:
    view = X[::-1, ::2, ::-1]
    for name in ("sum", "prod", "var", "logsumexp"):
        function = getattr(cr, name)
        got = function(cr.from_numpy(view), dim=1)
        np.testing.assert_allclose(got.numpy(), function(tensor(view.copy()), dim=1).numpy())


def test_all_and_any_of_bytes_are_bytes() -> None:
    x = cr.from_numpy(np.array([1, 0], np.uint8))
    assert cr.all(x).dtype == cr.any(x).dtype == cr.uint8
    assert cr.all(cr.tensor([1.0, 0.0])).dtype == cr.bool


# ----- gradients ------------------------------------------------------------------------------------------------------


def test_the_gradient_of_a_sum_is_the_same_for_every_element() -> None:
    np.testing.assert_array_equal(
        gradient(lambda x: (x.sum(1) * tensor([1.0, 2.0])).sum(), X[0, :2]), [[1, 1, 1, 1], [2, 2, 2, 2]]
    )


def test_a_large_sum_spreads_its_gradient_without_sharing_memory_with_another_tensor() -> None:
    x = cr.zeros(200, 200, requires_grad=True)
    x.sum().backward()
    x.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.full((200, 200), 2.0))
    x.grad.array[0, 0] = 5.0
    assert x.grad.array[0, 1] == 2.0


@pytest.mark.parametrize("x", [[2.0, 3.0, 4.0], [2.0, 0.0, 4.0], [0.0, 3.0, 0.0]])
def test_products_with_zeros_have_right_first_and_second_derivatives(x: list[float]) -> None:
    leaf = tensor(x, requires_grad=True)
    (first,) = cr.autograd.grad(leaf.prod(), leaf, create_graph=True)
    a, b, c = x
    np.testing.assert_array_equal(first.detach().numpy(), [b * c, a * c, a * b])
    (second,) = cr.autograd.grad(first[0], leaf)
    np.testing.assert_array_equal(second.numpy(), [0, c, b])


@pytest.mark.parametrize("function", [cr.amax, cr.max, lambda x: cr.amax(x, 0)])
def test_equal_largest_elements_share_the_gradient_evenly(function: Any) -> None:
    np.testing.assert_array_equal(gradient(function, np.array([1.0, 3.0, 3.0])), [0, 0.5, 0.5])


def test_the_norm_of_zeros_has_gradient_zero() -> None:
    for p in (2, 1, 3, 0.5, 1.5, math.inf, 0):
        np.testing.assert_array_equal(gradient(lambda x, p=p: cr.norm(x, p), np.zeros(3)), np.zeros(3))


def test_the_deviation_of_equal_numbers_has_gradient_zero() -> None:
    np.testing.assert_array_equal(gradient(cr.std, np.ones(3)), np.zeros(3))


@pytest.mark.parametrize("p", [0, 0.5, 1, 2, 3, math.inf, -math.inf, -2])
def test_norms_equal_numpys(p: float) -> None:
    x = X[0, 0]
    assert cr.norm(tensor(x), p).item() == pytest.approx(np.linalg.norm(x, p))


def test_the_nuclear_norm_is_the_sum_of_singular_values() -> None:
    assert cr.norm(tensor(X[0]), "nuc").item() == pytest.approx(np.linalg.norm(X[0], "nuc"))


def test_logsumexp_of_minus_infinity_is_minus_infinity() -> None:
    assert cr.logsumexp(tensor([-math.inf, -math.inf]), 0).item() == -math.inf
    assert cr.logsumexp(tensor([math.inf, 1.0]), 0).item() == math.inf


def test_logsumexp_does_not_overflow() -> None:
    x = np.array([1000.0, 1001.0], np.float32)
    assert cr.logsumexp(cr.from_numpy(x), 0).item() == pytest.approx(1001.31326)
    np.testing.assert_allclose(gradient(lambda t: cr.logsumexp(t, 0), x), [0.26894143, 0.7310586], rtol=1e-4)


def test_nan_counts_for_nothing_in_nansum_and_nanmean() -> None:
    x = np.array([1.0, np.nan, 3.0])
    np.testing.assert_array_equal(gradient(cr.nansum, x), [1, 0, 1])
    np.testing.assert_array_equal(gradient(cr.nanmean, x), [0.5, 0, 0.5])


def test_renorm_leaves_short_slices_as_they_are() -> None:
    x = tensor([[3.0, 4.0], [0.3, 0.4]])
    np.testing.assert_allclose(cr.renorm(x, 2, 0, 1.0).numpy(), [[0.6, 0.8], [0.3, 0.4]], rtol=1e-6)


def test_var_mean_returns_both() -> None:
    variance, mean = cr.var_mean(tensor(X), dim=1)
    np.testing.assert_allclose(variance.numpy(), X.var(1, ddof=1))
    np.testing.assert_allclose(mean.numpy(), X.mean(1))


def test_aminmax_is_a_named_tuple() -> None:
    both = cr.aminmax(tensor(X), dim=0)
    np.testing.assert_array_equal(both.min.numpy(), X.min(0))
    np.testing.assert_array_equal(both.max.numpy(), X.max(0))


# ----- scans ----------------------------------------------------------------------------------------------------------


@given(arrays.arrays(np.float64, arrays.array_shapes(max_dims=3, max_side=9), elements=st.floats(-2, 2)), st.booleans())
def test_a_recurrence_equals_its_loop(drive: np.ndarray, reverse: bool) -> None:
    decay = np.random.default_rng(1).uniform(-1, 1, drive.shape)
    for axis in range(drive.ndim):
        a, d = np.moveaxis(decay, axis, 0), np.moveaxis(drive, axis, 0)
        want = d.copy()
        for i in range(1, len(d)):
            if reverse:
                want[-1 - i] += a[-i] * want[-i]
            else:
                want[i] += a[i] * want[i - 1]
        want = np.moveaxis(want, 0, axis)
        np.testing.assert_allclose(linear_recurrence(decay, drive, axis, reverse), want, atol=1e-12)
        duck = linear_recurrence(DuckArray(decay), DuckArray(drive), axis, reverse)
        np.testing.assert_allclose(unwrap(duck), want, atol=1e-12)


def test_a_recurrence_leaves_its_arguments_as_they_were() -> None:
    decay, drive = np.full(5, 2.0), np.ones(5)
    linear_recurrence(decay, drive, 0)
    linear_recurrence(decay, drive, 0, True)
    np.testing.assert_array_equal(decay, np.full(5, 2.0))
    np.testing.assert_array_equal(drive, np.ones(5))


def test_cumprod_with_zeros_has_the_derivative_of_its_polynomials() -> None:
    x = np.array([2.0, 0.0, 3.0, 0.0])
    got = gradient(lambda t: cr.cumprod(t, 0).sum(), x)
    a, b, c, d = x
    np.testing.assert_array_equal(got, [1 + b + b * c + b * c * d, a + a * c + a * c * d, a * b + a * b * d, a * b * c])


def test_logcumsumexp_survives_numbers_far_apart() -> None:
    x = np.array([-1000.0, 0.0, 1000.0])
    np.testing.assert_array_equal(cr.logcumsumexp(tensor(x), 0).numpy(), x)
    np.testing.assert_array_equal(gradient(lambda t: cr.logcumsumexp(t, 0).sum(), x), np.ones(3))
    start = np.array([-math.inf, 0.0])
    np.testing.assert_array_equal(gradient(lambda t: cr.logcumsumexp(t, 0)[1], start), [0, 1])


def test_the_running_maximum_names_the_last_of_equals() -> None:
    values, indices = cr.cummax(tensor([1.0, 3.0, 3.0, 2.0]), 0)
    np.testing.assert_array_equal(values.numpy(), [1, 3, 3, 3])
    np.testing.assert_array_equal(indices.numpy(), [0, 1, 2, 2])


def test_the_gradient_of_a_running_maximum_collects_where_it_was_found() -> None:
    got = gradient(lambda x: cr.cummax(x, 0).values.sum(), np.array([1.0, 3.0, 2.0]))
    np.testing.assert_array_equal(got, [1, 2, 0])


def test_diff_of_more_steps_than_elements_is_empty_and_has_gradient_zero() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    out = cr.diff(x, n=5)
    assert out.shape == (0,)
    out.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [0, 0])


def test_diff_joins_prepend_and_append() -> None:
    x = tensor([1.0, 4.0], requires_grad=True)
    first = tensor([0.0], requires_grad=True)
    out = cr.diff(x, prepend=first, append=tensor([9.0]))
    np.testing.assert_array_equal(out.detach().numpy(), [1, 3, 5])
    out[0].backward()
    assert first.grad.item() == -1.0


def test_trapezoids_over_given_points_equal_numpys() -> None:
    points = np.sort(RNG.standard_normal(4))
    np.testing.assert_allclose(cr.trapezoid(tensor(X), tensor(points)).numpy(), np.trapezoid(X, points))
    running = cr.cumulative_trapezoid(tensor(X), tensor(points))
    np.testing.assert_allclose(running[..., -1].numpy(), np.trapezoid(X, points))


def test_trapezoid_needs_a_point_for_each_sample() -> None:
    with pytest.raises(RuntimeError, match="one `x` value for each sample"):
        cr.trapezoid(tensor(X), tensor([1.0, 2.0]))


def test_cumsum_in_place_is_recorded() -> None:
    x = tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x * 1.0
    y.cumsum_(0)
    y[2].backward()
    np.testing.assert_array_equal(x.grad.numpy(), [1, 1, 1])


def test_weighted_covariance_equals_numpys() -> None:
    rows, repeats, importance = X[0], np.array([1, 2, 1, 3]), np.array([0.5, 1.0, 2.0, 0.1])
    got = cr.cov(tensor(rows), fweights=cr.tensor(repeats), aweights=tensor(importance))
    np.testing.assert_allclose(got.numpy(), np.cov(rows, fweights=repeats, aweights=importance))


def test_distances_between_all_pairs_of_rows() -> None:
    from scipy.spatial.distance import pdist

    np.testing.assert_allclose(cr.pdist(tensor(X[0])).numpy(), pdist(X[0]))


def test_every_reduction_of_numpy_is_registered_under_its_ufunc_method() -> None:
    for ufunc in (np.add, np.multiply, np.maximum, np.minimum):
        assert (ufunc, "reduce") in TENSOR_FUNCS
        assert (ufunc, "accumulate") in TENSOR_FUNCS


@pytest.mark.parametrize("shape", [(400_000, 2), (2, 200_000, 3), (200_000, 3, 4)])
@pytest.mark.parametrize("name", ["sum", "mean", "var", "std"])
def test_a_long_first_axis_is_added_up_as_exactly_as_the_last(name: str, shape: tuple[int, ...]) -> None:
    """Number after number into one sum, a float32 loses what counts: the variance came out twice as large."""
    axis: Any = shape.index(max(shape))
    x = (np.random.default_rng(0).standard_normal(shape) + 1000).astype("f4")
    for array, axes in ((x, axis), (np.asfortranarray(x), axis), (x, (axis, len(shape) - 1)), (x[..., 1:], None)):
        wide = array.astype(float)
        tensor = cr.from_numpy(array).requires_grad_()
        wanted = getattr(np, name)(wide, axis=axes, **({"ddof": 1} if name in ("var", "std") else {}))
        found = getattr(tensor, name)(axes, keepdim=axes is not None)
        np.testing.assert_allclose(found.detach().numpy().reshape(wanted.shape), wanted, rtol=5e-6)
        assert found.dtype == cr.float32 and (axes is None or found.ndim == x.ndim)
        if name == "var":  # its derivative, 2 (x - mean) / (n - 1)
            found.sum().backward()
            n = array.size // wanted.size
            slope = 2 * (wide - wide.mean(axis=axes, keepdims=True)) / (n - 1)
            np.testing.assert_allclose(tensor.grad.numpy() * n, slope * n, atol=2e-3)
