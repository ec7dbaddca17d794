"""Softmax, cross entropy and normalisation layers: SciPy and closed forms as oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.special

import chainrule as cr
from chainrule.core.tensor import make_tensor
from chainrule.ops.normalisation import batch_norm, cross_entropy, instance_norm, largest_along, nll_loss, softmin

from ..duck import DuckArray, unwrap

RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 5))
LABELS = np.array([0, 4, 2, 2, 1, 3])


def tensor(values: Any, **kwargs: Any) -> cr.Tensor:
    return cr.tensor(np.asarray(values), dtype=cr.float64, **kwargs)


# ----- softmax --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_softmax_and_its_logarithm_equal_scipys(dim: int) -> None:
    np.testing.assert_allclose(cr.softmax(tensor(X), dim).numpy(), scipy.special.softmax(X, dim))
    np.testing.assert_allclose(cr.log_softmax(tensor(X), axis=dim).numpy(), scipy.special.log_softmax(X, dim))
    np.testing.assert_allclose(softmin(tensor(X), dim).numpy(), scipy.special.softmax(-X, dim))


@pytest.mark.parametrize("shape", [(40, 50), (3, 4, 400), (2000, 1), (1030,), (5, 2000), (600, 2)])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_the_largest_along_an_axis_is_numpys(dtype: str, shape: tuple[int, ...]) -> None:
    x = RNG.normal(size=shape).astype(dtype)
    x[-1] = -np.inf
    x.flat[3], x.flat[-2], x.flat[x.size // 2] = np.nan, np.inf, np.nan
    for array in (x, x[::-1], x.T, np.repeat(x, 2, 0)[::2]):
        for axis in {-1, 0, array.ndim - 1}:
            expected = np.max(array, axis=axis, keepdims=True)
            np.testing.assert_array_equal(largest_along(array, axis), expected)


def test_log_softmax_is_exact_where_softmax_is_zero() -> None:
    x = cr.tensor([0.0, -1000.0])
    assert cr.softmax(x, 0).tolist() == [1.0, 0.0]
    assert cr.log_softmax(x, 0).tolist() == [0.0, -1000.0]


def test_masked_elements_get_no_probability_and_no_gradient() -> None:
    x = tensor([1.0, -np.inf, 2.0], requires_grad=True)
    out = cr.softmax(x, 0)
    assert out[1].item() == 0.0
    out[0].backward()
    assert x.grad[1].item() == 0.0
    assert np.isfinite(x.grad.numpy()).all()


def test_softmax_leaves_its_argument_as_it_was() -> None:
    x = X.copy()
    cr.softmax(cr.from_numpy(x), 1)
    cr.log_softmax(cr.from_numpy(x), 1)
    np.testing.assert_array_equal(x, X)


@pytest.mark.parametrize("function", [cr.softmax, cr.log_softmax])
def test_softmax_of_nothing_of_numbers_and_of_half_precision(function: Any) -> None:
    assert function(cr.zeros(0, 3), 0).shape == (0, 3)
    assert function(cr.zeros(2, 0), 1).shape == (2, 0)
    assert function(tensor(3.0), 0).shape == ()
    assert function(cr.from_numpy(np.ones(3, np.float16)), 0).dtype == cr.float16


def test_softmax_of_integers_needs_a_dtype() -> None:
    with pytest.raises(RuntimeError, match="dtype="):
        cr.softmax(cr.tensor([1, 2]), 0)
    assert cr.softmax(cr.tensor([1, 1]), 0, dtype=cr.float64).tolist() == [0.5, 0.5]


# ----- cross entropy --------------------------------------------------------------------------------------------------


def expected_losses(x: np.ndarray = X, labels: np.ndarray = LABELS) -> np.ndarray:
    return -scipy.special.log_softmax(x, 1)[np.arange(len(labels)), labels]


def test_cross_entropy_is_the_mean_of_negative_log_probabilities() -> None:
    loss = cross_entropy(tensor(X), cr.tensor(LABELS))
    assert loss.item() == pytest.approx(expected_losses().mean())
    assert cross_entropy(tensor(X), cr.tensor(LABELS), reduction="sum").item() == pytest.approx(expected_losses().sum())
    np.testing.assert_allclose(cross_entropy(tensor(X), cr.tensor(LABELS), reduction="none").numpy(), expected_losses())


def test_the_gradient_of_cross_entropy_is_softmax_minus_one_hot() -> None:
    x = tensor(X, requires_grad=True)
    (cross_entropy(x, cr.tensor(LABELS)) * 3).backward()
    np.testing.assert_allclose(x.grad.numpy(), (scipy.special.softmax(X, 1) - np.eye(5)[LABELS]) / 2)


def test_the_fast_path_and_the_composition_agree_twice_differentiated() -> None:
    results = []
    for extra in ({}, {"ignore_index": 3}):  # a class as ignore_index excludes the fast path
        keep = LABELS != 3
        x = tensor(X[keep], requires_grad=True)
        loss = cross_entropy(x, cr.tensor(LABELS[keep]), **extra)
        (first,) = cr.autograd.grad(loss, x, create_graph=True)
        (second,) = cr.autograd.grad((first * tensor(X[keep]) ** 2).sum(), x)
        results.append((loss.detach().numpy(), first.detach().numpy(), second.numpy()))
    for fast, composed in zip(*results, strict=True):
        np.testing.assert_allclose(fast, composed, rtol=1e-10)


def test_logits_may_be_written_to_after_the_loss() -> None:
    x = tensor(X, requires_grad=True)
    logits = x * 1.0
    loss = cross_entropy(logits, cr.tensor(LABELS))
    logits.zero_()
    loss.backward()
    np.testing.assert_allclose(x.grad.numpy(), (scipy.special.softmax(X, 1) - np.eye(5)[LABELS]) / 6)


def test_a_graph_can_be_used_twice() -> None:
    x = tensor(X, requires_grad=True)
    loss = cross_entropy(x, cr.tensor(LABELS))
    loss.backward(retain_graph=True)
    once = x.grad.numpy().copy()
    loss.backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * once)


def test_huge_logits_neither_overflow_nor_lose_the_loss() -> None:
    x = cr.tensor([[1000.0, 0.0], [0.0, 0.0]], requires_grad=True)
    loss = cross_entropy(x, cr.tensor([1, 0]))
    assert loss.item() == pytest.approx((1000 + np.log(2)) / 2)
    loss.backward()
    np.testing.assert_allclose(x.grad.numpy(), [[0.5, -0.5], [-0.25, 0.25]])


@pytest.mark.parametrize("label", [5, -1, -(2**62)])
def test_a_label_out_of_range_names_itself_and_the_number_of_classes(label: int) -> None:
    labels = np.where(LABELS == 1, label, LABELS)
    for reduction in ("mean", "none"):
        with pytest.raises(IndexError, match=f"Target {label} is out of bounds: there are 5 classes"):
            cross_entropy(tensor(X), cr.tensor(labels), reduction=reduction)


def test_ignored_labels_count_for_nothing() -> None:
    labels = np.where(LABELS == 2, -100, LABELS)
    keep = LABELS != 2
    x = tensor(X, requires_grad=True)
    loss = cross_entropy(x, cr.tensor(labels))
    assert loss.item() == pytest.approx(expected_losses()[keep].mean())
    loss.backward()
    np.testing.assert_array_equal(x.grad.numpy()[~keep], 0)


def test_weights_weigh_classes_and_the_mean() -> None:
    weight = np.array([0.1, 2.0, 0.3, 4.0, 0.5])
    loss = cross_entropy(tensor(X), cr.tensor(LABELS), tensor(weight))
    assert loss.item() == pytest.approx((expected_losses() * weight[LABELS]).sum() / weight[LABELS].sum())


def test_label_smoothing_is_cross_entropy_with_smoothed_probabilities() -> None:
    smooth = np.eye(5)[LABELS] * 0.9 + 0.1 / 5
    by_label = cross_entropy(tensor(X), cr.tensor(LABELS), label_smoothing=0.1)
    by_probability = cross_entropy(tensor(X), tensor(smooth))
    assert by_label.item() == pytest.approx(by_probability.item())
    assert by_label.item() == pytest.approx(-(smooth * scipy.special.log_softmax(X, 1)).sum(1).mean())


def test_one_sample_and_images_are_accepted() -> None:
    assert cross_entropy(tensor(X[0]), cr.tensor(2)).item() == pytest.approx(expected_losses(X[:1], np.array([2]))[0])
    images = RNG.standard_normal((2, 5, 3, 4))
    labels = RNG.integers(0, 5, (2, 3, 4))
    flat = np.moveaxis(images, 1, -1).reshape(-1, 5)
    loss = cross_entropy(tensor(images), cr.tensor(labels))
    assert loss.item() == pytest.approx(expected_losses(flat, labels.reshape(-1)).mean())


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.int64])
def test_labels_of_any_integer_type_are_accepted(kind: Any) -> None:
    loss = cross_entropy(tensor(X), cr.from_numpy(LABELS.astype(kind)))
    assert loss.item() == pytest.approx(expected_losses().mean())


def test_arrays_of_another_library_stay_with_it() -> None:
    x = make_tensor(DuckArray(X), None).requires_grad_()
    labels = make_tensor(DuckArray(LABELS), None)
    loss = cross_entropy(x, labels)
    assert isinstance(loss.array, DuckArray)
    assert float(unwrap(loss.array)) == pytest.approx(expected_losses().mean())
    loss.backward(make_tensor(DuckArray(np.ones(())), None))
    np.testing.assert_allclose(unwrap(x.grad.array), (scipy.special.softmax(X, 1) - np.eye(5)[LABELS]) / 6)


def test_wrong_shapes_and_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(6,\).*\(5,\)"):
        cross_entropy(tensor(X), cr.tensor(LABELS[:5]))
    with pytest.raises(RuntimeError, match="Expected target size"):
        cross_entropy(cr.zeros(2, 3, 5), cr.zeros(2, 4, dtype=cr.int64))
    with pytest.raises(RuntimeError, match="floating point type for target"):
        cross_entropy(tensor(X), cr.zeros(6, 5, dtype=cr.int64))
    with pytest.raises(RuntimeError, match="ignore_index"):
        cross_entropy(tensor(X), cr.ones(6, 5), ignore_index=1)
    with pytest.raises(RuntimeError, match="5 classes"):
        cross_entropy(tensor(X), cr.ones(6, 5), tensor([1.0]))
    with pytest.raises(RuntimeError, match="probabilities"):
        cross_entropy(tensor(X), tensor(X[:, :4]))
    with pytest.raises(ValueError, match="average"):
        cross_entropy(tensor(X), cr.tensor(LABELS), reduction="average")
    with pytest.raises(RuntimeError, match="label_smoothing"):
        cross_entropy(tensor(X), cr.tensor(LABELS), label_smoothing=2.0)
    with pytest.raises(RuntimeError, match="5 classes"):
        nll_loss(tensor(X), cr.tensor(LABELS), tensor([1.0]))
    with pytest.raises(RuntimeError, match="integer"):
        nll_loss(tensor(X), tensor(LABELS))


def test_the_mean_over_no_labels_is_nan() -> None:
    assert np.isnan(cross_entropy(cr.zeros(0, 3), cr.from_numpy(np.zeros(0, np.int64))).item())
    assert np.isnan(cross_entropy(tensor(X), cr.tensor(np.full(6, -100))).item())


# ----- layers ---------------------------------------------------------------------------------------------------------


def test_layer_norm_has_mean_0_and_variance_1() -> None:
    out = cr.layer_norm(tensor(X * 3 + 7), 5, eps=0.0).numpy()
    np.testing.assert_allclose(out.mean(1), 0, atol=1e-12)
    np.testing.assert_allclose(out.var(1), 1)


def test_layer_norm_scales_and_shifts() -> None:
    weight, bias = RNG.standard_normal((2, 5))
    plain = cr.layer_norm(tensor(X), (5,)).numpy()
    got = cr.layer_norm(tensor(X), (5,), tensor(weight), tensor(bias))
    np.testing.assert_allclose(got.numpy(), plain * weight + bias)


def test_what_layer_norm_saved_and_what_it_would_compute_again_give_one_gradient() -> None:
    """A recorded backward pass computes the deviation anew; a plain one uses the saved one."""
    weights = tensor(RNG.standard_normal(X.shape))
    for function in (lambda x: cr.layer_norm(x, 5), lambda x: cr.rms_norm(x, 5), lambda x: cr.group_norm(x, 1)):
        x = tensor(X, requires_grad=True)
        (plain,) = cr.autograd.grad((function(x) * weights).sum(), x)
        (recorded,) = cr.autograd.grad((function(x) * weights).sum(), x, create_graph=True)
        np.testing.assert_allclose(plain.numpy(), recorded.detach().numpy(), atol=1e-12)


def test_rms_norm_divides_by_the_root_mean_square() -> None:
    got = cr.rms_norm(tensor(X), 5, eps=0.1).numpy()
    np.testing.assert_allclose(got, X / np.sqrt((X**2).mean(1, keepdims=True) + 0.1))


def test_layer_norm_names_the_shapes_that_do_not_fit() -> None:
    with pytest.raises(RuntimeError, match=r"\[\*, 4\], but got input of size \[6, 5\]"):
        cr.layer_norm(tensor(X), 4)


def test_group_norm_needs_groups_of_equal_size() -> None:
    with pytest.raises(RuntimeError, match="divisible by num_groups"):
        cr.group_norm(tensor(X), 2)


def test_weights_that_do_not_fit_the_normalised_axes_are_named() -> None:
    with pytest.raises(RuntimeError, match=r"weight should contain 6 elements.*\(2, 6, 3\), not \(4,\)"):
        cr.group_norm(cr.ones(2, 6, 3), 2, cr.ones(4))
    for norm in (cr.layer_norm, cr.rms_norm):
        with pytest.raises(RuntimeError, match=r"same shape as normalized_shape, but got \(1,\) and .*\(5,\)"):
            norm(tensor(X), (5,), cr.ones(1))
    with pytest.raises(RuntimeError, match=r"got \(3,\)"):
        cr.layer_norm(tensor(X), 5, cr.ones(5), cr.ones(3))


IMAGES = RNG.standard_normal((4, 3, 5, 2)) * 2 + 1


def test_batch_norm_in_training_normalises_each_channel_and_moves_the_running_statistics() -> None:
    mean, variance = cr.zeros(3, dtype=cr.float64), cr.ones(3, dtype=cr.float64)
    out = batch_norm(tensor(IMAGES), mean, variance, training=True, momentum=0.25, eps=1e-14).numpy()
    np.testing.assert_allclose(out.mean((0, 2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(out.var((0, 2, 3)), 1)
    np.testing.assert_allclose(mean.numpy(), 0.25 * IMAGES.mean((0, 2, 3)))
    np.testing.assert_allclose(variance.numpy(), 0.75 + 0.25 * IMAGES.var((0, 2, 3), ddof=1))


def test_batch_norm_in_evaluation_uses_the_running_statistics() -> None:
    mean, variance = tensor([1.0, 2.0, 3.0]), tensor([1.0, 4.0, 9.0])
    got = batch_norm(tensor(IMAGES), mean, variance, tensor([1.0, 2.0, 3.0]), eps=0.0).numpy()
    want = IMAGES - np.reshape([1, 2, 3], (3, 1, 1))
    np.testing.assert_allclose(got, want)


def test_batch_norm_refuses_what_cannot_be_normalised() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        batch_norm(cr.zeros(1, 3), None, None, training=True)
    with pytest.raises(RuntimeError, match="running_mean should contain 3 elements"):
        batch_norm(tensor(IMAGES), cr.zeros(2), cr.ones(3))
    with pytest.raises(RuntimeError, match="must be given"):
        batch_norm(tensor(IMAGES), None, None)
    with pytest.raises(ValueError, match="eps must be positive"):
        batch_norm(tensor(IMAGES), None, None, training=True, eps=0.0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4), (0, 3, 4, 4), (2, 3, 0)])
def test_an_empty_batch_leaves_the_running_statistics_as_they_were(shape: tuple[int, ...]) -> None:
    mean, variance, weight = tensor([1.0, 2.0, 3.0]), tensor([1.0, 4.0, 9.0]), tensor([1.0] * 3).requires_grad_()
    out = batch_norm(cr.zeros(*shape), mean, variance, weight, training=True)
    out.sum().backward()
    assert out.shape == shape and mean.tolist() == [1, 2, 3] and variance.tolist() == [1, 4, 9]
    assert weight.grad.tolist() == [0, 0, 0]


def test_a_single_sample_without_batch_takes_its_label_as_a_number_or_alone() -> None:
    alone = cross_entropy(tensor(X[0]), cr.tensor([1]))
    assert alone.shape == () and alone.item() == cross_entropy(tensor(X[0]), cr.tensor(1)).item()


def test_instance_norm_normalises_each_channel_of_each_sample() -> None:
    out = instance_norm(tensor(IMAGES), eps=0.0).numpy()
    np.testing.assert_allclose(out.mean((2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(out.var((2, 3)), 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cross_entropy_of_logits_in_any_layout_has_softmax_minus_one_hot_as_gradient(dtype: Any) -> None:
    values, labels = RNG.normal(size=(6, 5)).astype(dtype), np.array([0, 4, 2, 2, 1, 3])
    expected = np.exp(values - scipy.special.logsumexp(values, axis=1, keepdims=True))
    expected[np.arange(6), labels] -= 1
    wide = np.zeros((6, 10), dtype)
    wide[:, ::2] = values
    for x in (values, np.asfortranarray(values), wide[:, ::2], np.ascontiguousarray(values[::-1, ::-1])[::-1, ::-1]):
        given = cr.from_numpy(x).requires_grad_()
        cr.nn.functional.cross_entropy(given, cr.from_numpy(labels)).backward()
        np.testing.assert_allclose(given.grad.numpy(), expected / 6, rtol=1e-5, atol=1e-7)
