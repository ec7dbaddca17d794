"""Sorting, selecting, searching, counting: NumPy is the oracle, PyTorch's documented choices are spelled out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import chainrule as cr
from chainrule.core.tensor import make_tensor
from chainrule.testing import gradcheck

from ..duck import DuckArray, unwrap

RNG = np.random.default_rng(0)
X = RNG.permutation(60).reshape(3, 4, 5).astype(np.float64)


def tensor(values: Any, **kwargs: Any) -> cr.Tensor:
    return cr.tensor(np.asarray(values), dtype=cr.float64, **kwargs)


def gradient_of_ones(function: Any, x: Any) -> np.ndarray:
    leaf = tensor(x, requires_grad=True)
    function(leaf).sum().backward()
    return leaf.grad.numpy()


# ----- sorting --------------------------------------------------------------------------------------------------------


@given(arrays.arrays(np.float64, (4, 6), elements=st.integers(0, 5).map(float)), st.sampled_from([0, 1, -1]))
def test_sorting_is_stable_both_ways(x: np.ndarray, axis: int) -> None:
    values, indices = cr.sort(tensor(x), axis)
    np.testing.assert_array_equal(values.numpy(), np.sort(x, axis))
    np.testing.assert_array_equal(indices.numpy(), np.argsort(x, axis, stable=True))
    values, indices = cr.sort(tensor(x), axis, descending=True)
    np.testing.assert_array_equal(indices.numpy(), np.argsort(-x, axis, stable=True))
    np.testing.assert_array_equal(values.numpy(), -np.sort(-x, axis))


def test_the_gradient_of_a_sort_goes_back_to_each_elements_place() -> None:
    x = tensor([3.0, 1.0, 2.0], requires_grad=True)
    cr.sort(x).values.backward(tensor([10.0, 20.0, 30.0]))
    np.testing.assert_array_equal(x.grad.numpy(), [30, 10, 20])


def test_nan_is_the_largest() -> None:
    x = tensor([np.nan, 1.0, 2.0])
    np.testing.assert_array_equal(cr.sort(x).indices.numpy(), [1, 2, 0])
    np.testing.assert_array_equal(cr.sort(x, descending=True).indices.numpy(), [0, 2, 1])
    np.testing.assert_array_equal(cr.topk(x, 1).indices.numpy(), [0])


def test_unsigned_and_boolean_tensors_sort_in_descending_order() -> None:
    assert cr.from_numpy(np.array([1, 3, 2], np.uint8)).sort(descending=True).values.tolist() == [3, 2, 1]
    assert cr.tensor([False, True]).sort(descending=True).indices.tolist() == [1, 0]


@pytest.mark.parametrize("n", [7, 2000])
@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("dim", [0, 1])
def test_topk_equals_a_sort(n: int, largest: bool, dim: int) -> None:
    x = np.stack([RNG.permutation(n).astype(np.float64) for _ in range(2)], 1 - dim)
    values, indices = cr.topk(tensor(x), 3, dim, largest)
    ordered = cr.sort(tensor(x), dim, descending=largest)
    part = (slice(0, 3), slice(None)) if dim == 0 else (slice(None), slice(0, 3))
    np.testing.assert_array_equal(values.numpy(), ordered.values.numpy()[part])
    np.testing.assert_array_equal(indices.numpy(), ordered.indices.numpy()[part])


def test_the_gradient_of_topk_reaches_only_what_was_chosen() -> None:
    np.testing.assert_array_equal(gradient_of_ones(lambda x: cr.topk(x, 2).values, [1.0, 4.0, 3.0]), [0, 1, 1])


def test_topk_of_too_many_raises() -> None:
    with pytest.raises(RuntimeError, match="k is 9, dimension -1 has 5 elements"):
        cr.topk(tensor(X), 9)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_kthvalue_counts_from_one(k: int) -> None:
    values, indices = cr.kthvalue(tensor(X), k)
    np.testing.assert_array_equal(values.numpy(), np.sort(X)[..., k - 1])
    np.testing.assert_array_equal(indices.numpy(), np.argsort(X)[..., k - 1])


@pytest.mark.parametrize("k", [0, 6])
def test_kthvalue_out_of_range_raises(k: int) -> None:
    with pytest.raises(RuntimeError, match=f"k is {k}, size 5"):
        cr.kthvalue(tensor(X), k)


def test_sorting_arrays_of_another_library_stays_with_them() -> None:
    for call in (
        lambda x: cr.sort(x, 1, descending=True).values,
        lambda x: cr.topk(x, 2, 0).values,
        lambda x: cr.max(x, 1).values,
        lambda x: cr.median(x, 0).values,
        lambda x: cr.kthvalue(x, 2, 1).values,
        lambda x: cr.cummax(x, 1).values,
    ):
        leaf = make_tensor(DuckArray(X[0]), None).requires_grad_()
        out = call(leaf)
        assert isinstance(out.array, DuckArray)
        np.testing.assert_array_equal(unwrap(out.array), call(tensor(X[0])).numpy())
        out.backward(make_tensor(DuckArray(np.ones(out.shape)), None))
        np.testing.assert_array_equal(unwrap(leaf.grad.array), gradient_of_ones(call, X[0]))


# ----- extremes, medians, modes ---------------------------------------------------------------------------------------


def test_max_has_three_forms() -> None:
    x = tensor(X)
    assert cr.max(x).item() == 59
    along = x.max(1, keepdim=True)
    assert along.values.shape == along.indices.shape == (3, 1, 5)
    np.testing.assert_array_equal(along.indices.numpy()[:, 0], X.argmax(1))
    np.testing.assert_array_equal(cr.max(x, tensor(30.0)).numpy(), np.maximum(X, 30))
    np.testing.assert_array_equal(cr.min(x, other=tensor(30.0)).numpy(), np.minimum(X, 30))


def test_max_along_an_axis_gives_the_whole_gradient_to_the_named_element() -> None:
    np.testing.assert_array_equal(gradient_of_ones(lambda x: cr.max(x, 0).values, [2.0, 2.0, 1.0]), [1, 0, 0])


def test_argmax_of_nothing_is_an_index_error() -> None:
    with pytest.raises(IndexError, match=r"argmax\(\)"):
        cr.argmax(cr.zeros(0))


def test_the_median_of_an_even_number_is_the_lower_one() -> None:
    x = tensor([4.0, 1.0, 3.0, 2.0])
    assert cr.median(x).item() == 2.0
    assert np.median(x).item() == 2.5
    assert cr.median(x, 0).indices.item() == 3


def test_a_nan_makes_the_median_nan_and_nanmedian_skips_it() -> None:
    x = tensor([[4.0, np.nan, 1.0], [1.0, 2.0, 3.0]])
    assert np.isnan(cr.median(x).item())
    values, indices = cr.median(x, 1)
    np.testing.assert_array_equal(values.numpy(), [np.nan, 2])
    np.testing.assert_array_equal(indices.numpy(), [1, 1])
    np.testing.assert_array_equal(cr.nanmedian(x, 1).values.numpy(), [1, 2])
    assert cr.nanmedian(x).item() == 2.0


def test_equal_medians_share_the_gradient_evenly() -> None:
    np.testing.assert_array_equal(gradient_of_ones(cr.median, [2.0, 2.0, 5.0, 1.0]), [0.5, 0.5, 0, 0])


def test_the_median_of_integers_is_an_integer() -> None:
    assert cr.median(cr.tensor([3, 1, 2])).dtype == cr.int64


def test_the_mode_is_the_smallest_of_the_most_frequent() -> None:
    values, indices = cr.mode(tensor([[3.0, 1.0, 3.0, 1.0], [5.0, 4.0, 4.0, 6.0]]))
    np.testing.assert_array_equal(values.numpy(), [1, 4])
    np.testing.assert_array_equal(indices.numpy(), [3, 2])


# ----- quantiles ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interpolation", ["linear", "lower", "higher", "midpoint", "nearest"])
@pytest.mark.parametrize("dim", [None, 0, 2])
@pytest.mark.parametrize("keepdim", [False, True])
def test_quantiles_equal_numpys(interpolation: Any, dim: int | None, keepdim: bool) -> None:
    for q in (0.3, [0.0, 0.55, 1.0]):
        got = cr.quantile(tensor(X), tensor(q), dim, keepdim, interpolation=interpolation)
        want = np.quantile(X, q, axis=dim, keepdims=keepdim, method=interpolation)
        np.testing.assert_allclose(got.numpy(), want)


def test_nanquantile_skips_nan() -> None:
    x = np.where(X % 7 == 0, np.nan, X)
    np.testing.assert_allclose(cr.nanquantile(tensor(x), 0.4, 1).numpy(), np.nanquantile(x, 0.4, axis=1))
    assert np.isnan(cr.quantile(tensor(x), 0.4).item())


@pytest.mark.parametrize(("q", "match"), [(1.5, "range"), ([[0.5]], "scalar or 1D")])
def test_wrong_quantiles_are_refused(q: Any, match: str) -> None:
    with pytest.raises(RuntimeError, match=match):
        cr.quantile(tensor(X), tensor(q))


def test_an_unknown_interpolation_is_refused() -> None:
    with pytest.raises(RuntimeError, match="'cubic'"):
        cr.quantile(tensor(X), 0.5, interpolation="cubic")


def test_a_quantile_is_differentiable_in_its_position() -> None:
    q = tensor(0.25, requires_grad=True)
    cr.quantile(tensor([0.0, 10.0, 30.0]), q).backward()
    assert q.grad.item() == 20.0


# ----- searching and counting -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["left", "right"])
def test_searchsorted_searches_line_by_line(side: Any) -> None:
    edges, values = np.sort(RNG.integers(0, 9, (3, 4))), RNG.integers(0, 9, (3, 6))
    got = cr.searchsorted(cr.tensor(edges), cr.tensor(values), side=side, out_int32=True)
    assert got.dtype == cr.int32
    want = [np.searchsorted(e, v, side) for e, v in zip(edges, values, strict=True)]
    np.testing.assert_array_equal(got.numpy(), want)


def test_searchsorted_needs_equal_leading_axes() -> None:
    with pytest.raises(RuntimeError, match="must match"):
        cr.searchsorted(cr.zeros(2, 3), cr.zeros(3, 3))
    with pytest.raises(RuntimeError, match="opposites"):
        cr.searchsorted(cr.zeros(3), cr.zeros(3), right=True, side="left")


def test_bucketize_names_the_bucket() -> None:
    assert cr.bucketize(tensor([1.0, 2.0, 9.0]), tensor([1.0, 3.0, 5.0])).tolist() == [0, 1, 3]
    assert cr.bucketize(tensor([1.0, 2.0, 9.0]), tensor([1.0, 3.0, 5.0]), right=True).tolist() == [1, 1, 3]


def test_bincount_counts_or_adds_weights() -> None:
    x = cr.tensor([0, 2, 2])
    assert cr.bincount(x, minlength=5).tolist() == [1, 0, 2, 0, 0]
    assert cr.bincount(x, tensor([0.5, 1.0, 2.0])).tolist() == [0.5, 0.0, 3.0]
    with pytest.raises(RuntimeError, match="non-negative"):
        cr.bincount(cr.tensor([-1]))


def test_histc_takes_the_datas_range_by_default() -> None:
    assert cr.histc(tensor([0.0, 1.0, 1.0, 4.0]), 4).tolist() == [1, 2, 0, 1]
    assert cr.histc(tensor([0.0, 1.0, 5.0]), 2, 0, 2).tolist() == [1, 1]
    with pytest.raises(RuntimeError, match="max must be larger"):
        cr.histc(tensor([0.0]), 2, 3, 1)


def test_unique_says_where_elements_came_from_and_how_often() -> None:
    values, inverse, counts = cr.unique(cr.tensor([[3, 1], [1, 2]]), return_inverse=True, return_counts=True)
    assert (values.tolist(), inverse.tolist(), counts.tolist()) == ([1, 2, 3], [[2, 0], [0, 1]], [2, 1, 1])
    assert cr.unique(cr.tensor([[1, 2], [1, 2], [0, 1]]), dim=0).tolist() == [[0, 1], [1, 2]]


def test_unique_consecutive_finds_runs() -> None:
    found = cr.unique_consecutive(cr.tensor([1, 1, 2, 1, 1]), return_inverse=True, return_counts=True)
    assert [t.tolist() for t in found] == [[1, 2, 1], [0, 0, 1, 2, 2], [2, 1, 2]]
    assert cr.unique_consecutive(cr.tensor([[1, 2], [1, 2], [0, 1]]), dim=0).tolist() == [[1, 2], [0, 1]]


# ----- gradients of what is chosen or added up --------------------------------------------------------------------


def test_different_elements_carry_the_gradients_of_their_first_places() -> None:
    x = tensor([3.0, 1.0, 3.0, 2.0]).requires_grad_()
    for call in (cr.unique, np.unique, lambda t: np.unique(t, return_counts=True)[0]):
        (gradient,) = cr.autograd.grad((call(x) * tensor([1.0, 10.0, 100.0])).sum(), x)
        assert gradient.tolist() == [100, 1, 0, 10]
    rows = tensor([[1.0, 2.0], [0.0, 1.0], [1.0, 2.0]]).requires_grad_()
    (gradient,) = cr.autograd.grad((cr.unique(rows, dim=0)[1] * 5).sum(), rows)
    assert gradient.tolist() == [[5, 5], [0, 0], [0, 0]]
    runs, counts = cr.unique_consecutive(tensor([2.0, 2.0, 1.0]).requires_grad_(), return_counts=True)
    assert runs.requires_grad and counts.tolist() == [2, 1]


@pytest.mark.parametrize("density", [False, True])
def test_weights_of_bins_have_gradients(density: bool) -> None:
    data = np.array([0.1, 0.4, 0.5, 0.9, 1.0, 7.0])
    weights = tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).requires_grad_()
    found, edges = np.histogram(data, bins=2, range=(0, 1), weights=weights, density=density)
    want = np.histogram(data, bins=2, range=(0, 1), weights=weights.detach().numpy(), density=density)
    np.testing.assert_allclose(found.detach().numpy(), want[0])
    np.testing.assert_allclose(edges.numpy(), want[1])
    assert gradcheck(lambda w: np.histogram(data, bins=2, range=(0, 1), weights=w, density=density)[0], (weights,))


def test_weights_that_are_counted_have_gradients() -> None:
    places = cr.tensor([0, 2, 2])
    weights = tensor([0.5, 1.0, 2.0]).requires_grad_()
    for call in (cr.bincount, np.bincount):
        found = call(places, weights, 4)
        assert found.tolist() == [0.5, 0, 3, 0] and found.dtype == cr.float64
        (gradient,) = cr.autograd.grad((found * tensor([1.0, 2.0, 3.0, 4.0])).sum(), weights)
        assert gradient.tolist() == [1, 3, 3]
    with pytest.raises(RuntimeError, match="same shape"):
        cr.bincount(places, weights[:2])


@pytest.mark.parametrize("name", ["intersect1d", "union1d", "setdiff1d", "setxor1d"])
def test_sets_that_would_lose_a_gradient_are_refused(name: str) -> None:
    with pytest.raises(RuntimeError, match="gradient would be lost"):
        getattr(np, name)(tensor([1.0, 2.0]).requires_grad_(), tensor([2.0]))
