"""Pooling: maxima, means, norms, of windows and of nearly equal parts; forward, backward, ties, errors, layers."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn import functional as F

from ..duck import DuckArray, unwrap


def numbers(*shape: int, seed: int = 0, ties: bool = False) -> np.ndarray:
    x = np.random.default_rng([seed, *shape]).standard_normal(shape)
    return np.round(x) if ties else x


def leaf(array: Any, dtype: Any = cr.float64) -> cr.Tensor:
    return cr.tensor(array, dtype=dtype, requires_grad=True)


def windows_of(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> list[list[int]]:
    """For each place of a window along an axis, what it sees, by PyTorch's definition."""
    room = (size + 2 * padding - dilation * (kernel - 1) - 1) / stride
    count = (math.ceil(room) if ceil_mode else math.floor(room)) + 1
    if ceil_mode and (count - 1) * stride >= size + padding:
        count -= 1
    return [
        [p for p in range(i * stride - padding, i * stride - padding + dilation * kernel, dilation) if 0 <= p < size]
        for i in range(count)
    ]


def pooled_by_hand(x: np.ndarray, axes: list[list[list[int]]], reduce: Any) -> np.ndarray:
    """`reduce` of what each combination of windows sees over the last axes."""
    lead = x.ndim - len(axes)
    out = np.empty((*x.shape[:lead], *(len(a) for a in axes)))
    for place in itertools.product(*(range(len(a)) for a in axes)):
        seen = x
        for axis, (windows, i) in enumerate(zip(axes, place, strict=True)):
            seen = np.take(seen, windows[i], axis=lead + axis)
        out[(..., *place)] = reduce(seen, tuple(range(lead, x.ndim)))
    return out


SETTINGS = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 1, "padding": 1},
    {"kernel_size": 2, "stride": 3},
    {"kernel_size": 3, "stride": 2, "ceil_mode": True},
    {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
]
SIZES = {1: (9,), 2: (7, 8), 3: (5, 6, 7)}
MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVG = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
UNPOOL = {1: F.max_unpool1d, 2: F.max_unpool2d, 3: F.max_unpool3d}


def axes_of(sizes: tuple[int, ...], settings: dict[str, Any]) -> list[list[list[int]]]:
    kernel = settings["kernel_size"]
    rest = settings.get("stride", kernel), settings.get("padding", 0), settings.get("dilation", 1)
    return [windows_of(size, kernel, *rest, settings.get("ceil_mode", False)) for size in sizes]


# ----- maxima ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("settings", [*SETTINGS, {"kernel_size": 2, "dilation": 2}], ids=str)
def test_max_pool_is_the_maximum_of_what_each_window_sees(n: int, settings: dict[str, Any]) -> None:
    x = numbers(2, 3, *SIZES[n], ties=True)
    want = pooled_by_hand(x, axes_of(SIZES[n], settings), np.max)
    np.testing.assert_array_equal(MAX[n](cr.tensor(x, dtype=cr.float64), **settings).numpy(), want)
    np.testing.assert_array_equal(MAX[n](cr.tensor(x[0], dtype=cr.float64), **settings).numpy(), want[0])


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("settings", [*SETTINGS, {"kernel_size": 2, "dilation": 2}], ids=str)
def test_the_gradient_of_max_pool_goes_to_the_first_maximum_that_the_indices_name(
    n: int, settings: dict[str, Any]
) -> None:
    x = leaf(numbers(2, 3, *SIZES[n], ties=True))
    out, indices = MAX[n](x, **settings, return_indices=True)
    assert indices.dtype == cr.int64 and not indices.requires_grad
    flat = x.detach().numpy().reshape(2, 3, -1)
    places = indices.numpy().reshape(2, 3, -1)
    np.testing.assert_array_equal(np.take_along_axis(flat, places, 2), out.detach().numpy().reshape(2, 3, -1))
    positions = np.arange(math.prod(SIZES[n]), dtype=float).reshape(1, 1, *SIZES[n])
    axes = axes_of(SIZES[n], settings)
    firsts = pooled_by_hand(
        np.stack(np.broadcast_arrays(x.detach().numpy(), positions)), axes, _first_place_of_the_maximum
    )[0]
    np.testing.assert_array_equal(indices.numpy(), firsts)
    seed = numbers(*out.shape, seed=1)
    out.backward(cr.tensor(seed, dtype=cr.float64))
    want = np.zeros(flat.shape)
    for row, column in np.ndindex(2, 3):
        np.add.at(want[row, column], places[row, column], seed[row, column].reshape(-1))
    np.testing.assert_allclose(x.grad.numpy().reshape(2, 3, -1), want)


def _first_place_of_the_maximum(both: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """The position of the first maximum, for values and positions stacked in front."""
    values, positions = both.reshape(*both.shape[: axes[0]], -1)
    which = np.argmax(values, axis=-1)[..., None]
    return np.broadcast_to(np.take_along_axis(positions, which, -1)[..., 0], both.shape[: axes[0]])


def test_ties_after_relu_leave_one_gradient_for_each_window() -> None:
    x = leaf(np.zeros((2, 3, 4, 4)))
    F.max_pool2d(x, 2).sum().backward()
    want = np.zeros((4, 4))
    want[::2, ::2] = 1
    np.testing.assert_array_equal(x.grad.numpy(), np.broadcast_to(want, (2, 3, 4, 4)))


@pytest.mark.parametrize("shape", [(2, 3, 6, 8), (2, 3, 10), (2, 2, 4, 2, 6), (3, 1, 7, 4)])
def test_pairs_of_single_precision_send_every_gradient_to_the_first_maximum(shape: tuple[int, ...]) -> None:
    array = numbers(*shape, ties=True).astype("f4")
    array.reshape(-1)[::7], array.reshape(-1)[1::11] = -np.inf, -0.0
    x = leaf(array, cr.float32)
    out, indices = MAX[len(shape) - 2](x, 2, return_indices=True)
    seed = numbers(*out.shape, seed=1).astype("f4")
    seed.reshape(-1)[:2] = np.nan, np.inf
    out.backward(cr.from_numpy(seed))
    want = np.zeros((*shape[:2], math.prod(shape[2:])), "f4")
    places = indices.numpy().reshape(*shape[:2], -1)
    np.put_along_axis(want, places, seed.reshape(places.shape), 2)
    np.testing.assert_array_equal(x.grad.numpy().reshape(want.shape), want)


@pytest.mark.parametrize("shape", [(4, 8, 64, 65), (40, 1, 66, 70)])
@pytest.mark.parametrize("settings", [SETTINGS[0], SETTINGS[1]], ids=str)
def test_large_inputs_that_are_taken_a_few_planes_at_a_time_give_the_same(
    shape: tuple[int, ...], settings: dict[str, Any]
) -> None:
    array = numbers(*shape, ties=True)
    array = np.concatenate([array] * (1 + 2**22 // array.nbytes))
    x, parts = leaf(array), [leaf(part) for part in array]
    out = F.max_pool2d(x, **settings)
    outs = [F.max_pool2d(part, **settings) for part in parts]
    np.testing.assert_array_equal(out.detach().numpy(), np.stack([o.detach().numpy() for o in outs]))
    (out * out).sum().backward()
    for o in outs:
        (o * o).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.stack([part.grad.numpy() for part in parts]))


def test_inputs_of_any_memory_layout_give_the_same_maxima_and_gradients() -> None:
    array = numbers(2, 3, 6, 7, ties=True)
    seed = numbers(2, 3, 3, 4, seed=1)
    found = []
    for layout in (
        array,
        np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
        np.ascontiguousarray(array[..., ::-1])[..., ::-1],
    ):
        x = cr.from_numpy(layout).requires_grad_()
        out = F.max_pool2d(x, 3, 2, 1)
        out.backward(cr.from_numpy(seed))
        found.append((out.detach().numpy(), x.grad.numpy()))
    for out, gradient in found[1:]:
        np.testing.assert_array_equal(out, found[0][0])
        np.testing.assert_array_equal(gradient, found[0][1])


def test_minus_infinity_everywhere_still_has_a_place_and_a_gradient() -> None:
    x = leaf(np.full((1, 3, 3), -np.inf))
    out, indices = F.max_pool2d(x, 3, 2, 1, return_indices=True)
    assert indices.tolist() == [[[0, 1], [3, 4]]]
    out.backward(cr.ones(1, 2, 2, dtype=cr.float64))
    assert x.grad.tolist() == [[[1, 1, 0], [1, 1, 0], [0, 0, 0]]]


def test_nan_wins_and_takes_the_gradient() -> None:
    x = leaf([[[1.0, math.nan], [5.0, 2.0]]])
    out, indices = F.max_pool2d(x, 2, return_indices=True)
    assert math.isnan(out.item()) and indices.item() == 1
    out.backward(cr.ones(1, 1, 1, dtype=cr.float64))
    assert x.grad.tolist() == [[[0, 1], [0, 0]]]


def test_an_infinite_gradient_does_not_reach_the_other_elements() -> None:
    x = leaf([[[1.0, 3.0], [5.0, 2.0]]])
    F.max_pool2d(x, 2).backward(cr.full((1, 1, 1), math.inf, dtype=cr.float64))
    assert x.grad.tolist() == [[[0, 0], [math.inf, 0]]]


@pytest.mark.parametrize("dtype", [cr.float16, cr.float32, cr.float64])
def test_pooling_keeps_the_element_type(dtype: Any) -> None:
    for pool in (F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d):
        x = leaf(numbers(2, 3, 6, 6), dtype)
        out = pool(x, 3)
        assert out.dtype == dtype
        out.sum().backward()
        assert x.grad.dtype == dtype and x.grad.shape == x.shape


def test_max_pool_takes_integers_and_empty_batches() -> None:
    assert F.max_pool1d(cr.tensor([[1, 5, 2, 3]]), 2).tolist() == [[5, 3]]
    assert F.max_pool2d(cr.zeros(0, 3, 4, 4), 2).shape == (0, 3, 2, 2)
    assert F.avg_pool2d(cr.zeros(0, 3, 4, 4), 2).shape == (0, 3, 2, 2)
    x = cr.zeros(0, 3, 4, 4, requires_grad=True)
    F.max_pool2d(x, 2).sum().backward()
    assert x.grad.shape == (0, 3, 4, 4)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_unpooling_puts_maxima_back_and_its_gradient_takes_them_from_there(n: int) -> None:
    x = cr.tensor(numbers(2, 3, *(6,) * n), dtype=cr.float64)
    values, indices = MAX[n](x, 2, return_indices=True)
    values = leaf(values.numpy())
    back = UNPOOL[n](values, indices, 2)
    assert back.shape == x.shape
    kept = back.detach().numpy() != 0
    np.testing.assert_array_equal(back.detach().numpy()[kept], x.numpy()[kept])
    assert kept.sum() == values.numel()
    seed = numbers(*x.shape, seed=1)
    back.backward(cr.tensor(seed, dtype=cr.float64))
    want = np.take_along_axis(seed.reshape(2, 3, -1), indices.numpy().reshape(2, 3, -1), 2)
    np.testing.assert_array_equal(values.grad.numpy().reshape(2, 3, -1), want)


def test_unpooling_to_a_given_size() -> None:
    x = cr.tensor(numbers(1, 1, 5, 5))
    values, indices = F.max_pool2d(x, 2, return_indices=True)
    assert F.max_unpool2d(values, indices * 0, 2).shape == (1, 1, 4, 4)
    assert F.max_unpool2d(values, indices, 2, output_size=(5, 5)).shape == (1, 1, 5, 5)
    assert F.max_unpool2d(values, indices, 2, output_size=x.shape).shape == (1, 1, 5, 5)


# ----- means and norms ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_avg_pool_is_the_mean_of_what_each_window_sees(n: int, settings: dict[str, Any]) -> None:
    x = numbers(2, 3, *SIZES[n])
    want = pooled_by_hand(x, axes_of(SIZES[n], settings), np.mean)
    got = AVG[n](cr.tensor(x, dtype=cr.float64), **settings, count_include_pad=False)
    np.testing.assert_allclose(got.numpy(), want)


@pytest.mark.parametrize("settings", [SETTINGS[1], SETTINGS[2]], ids=str)
def test_avg_pool_counts_the_padding_unless_told_otherwise(settings: dict[str, Any]) -> None:
    x = numbers(2, 3, 7, 8)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    want = pooled_by_hand(padded, axes_of((9, 10), {**settings, "padding": 0}), np.mean)
    np.testing.assert_allclose(F.avg_pool2d(cr.tensor(x, dtype=cr.float64), **settings).numpy(), want)


def test_a_divisor_takes_the_place_of_the_count() -> None:
    x = cr.arange(16.0).reshape(1, 4, 4)
    assert F.avg_pool2d(x, 2, divisor_override=1).tolist() == [[[10, 18], [42, 50]]]
    assert F.avg_pool3d(x.reshape(1, 1, 4, 4), (1, 2, 2), divisor_override=2).tolist() == [[[[5, 9], [21, 25]]]]


@pytest.mark.parametrize("p", [1, 2, 3])
def test_lp_pool_is_the_p_norm_of_each_window(p: int) -> None:
    x = np.abs(numbers(2, 3, 7, 8))
    want = pooled_by_hand(x, axes_of((7, 8), {"kernel_size": 2}), lambda s, axes: (s**p).sum(axes) ** (1 / p))
    np.testing.assert_allclose(F.lp_pool2d(cr.tensor(x, dtype=cr.float64), p, 2).numpy(), want)


def test_lp_pool_of_infinite_order_is_the_largest_absolute_value() -> None:
    x = cr.tensor([[1.0, -3.0, 2.0, 0.0]])
    assert F.lp_pool1d(x, math.inf, 2).tolist() == [[3.0, 2.0]]


def test_the_gradient_of_lp_pool_is_zero_where_a_window_is_zero() -> None:
    x = leaf([[0.0, 0.0, 3.0, 4.0]])
    F.lp_pool1d(x, 2, 2).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [[0, 0, 0.6, 0.8]])


@pytest.mark.parametrize("shape", [(2, 5, 4), (2, 6, 3, 4), (1, 4, 2, 3, 2)])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_local_response_norm_divides_by_neighbouring_channels(shape: tuple[int, ...], size: int) -> None:
    x = numbers(*shape)
    want = np.empty_like(x)
    for c in range(shape[1]):
        around = x[:, max(0, c - size // 2) : c + (size - 1) // 2 + 1]
        want[:, c] = x[:, c] / (2 + 0.5 * (around**2).sum(1) / size) ** 0.75
    got = F.local_response_norm(cr.tensor(x, dtype=cr.float64), size, alpha=0.5, k=2)
    np.testing.assert_allclose(got.numpy(), want)


# ----- of a wanted size --------------------------------------------------------------------------------------------


def parts_of(size: int, out: int) -> list[list[int]]:
    return [list(range(math.floor(i * size / out), math.ceil((i + 1) * size / out))) for i in range(out)]


@pytest.mark.parametrize(
    ("sizes", "wanted"), [((7,), (3,)), ((6, 8), (3, 2)), ((7, 5), (1, 1)), ((5, 3), (8, 3)), ((5, 6, 7), (2, 6, 3))]
)
def test_adaptive_pools_reduce_nearly_equal_parts(sizes: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    n = len(sizes)
    array = numbers(2, 3, *sizes)
    axes = [parts_of(size, out) for size, out in zip(sizes, wanted, strict=True)]
    for name, reduce in (("avg", np.mean), ("max", np.max)):
        x = leaf(array)
        out = getattr(F, f"adaptive_{name}_pool{n}d")(x, wanted)
        np.testing.assert_allclose(out.detach().numpy(), pooled_by_hand(array, axes, reduce))
        out.backward(cr.ones_like(out))
        np.testing.assert_allclose(x.grad.sum().item(), out.numel())  # each output passes on a sum of 1


def test_adaptive_max_pool_names_its_places() -> None:
    x = cr.tensor(numbers(2, 3, 7, 5), dtype=cr.float64)
    for wanted in ((3, 2), (7, 5), (1, 1)):
        values, indices = F.adaptive_max_pool2d(x, wanted, return_indices=True)
        flat, places = x.numpy().reshape(2, 3, -1), indices.numpy().reshape(2, 3, -1)
        np.testing.assert_array_equal(np.take_along_axis(flat, places, 2).reshape(values.shape), values.numpy())


def test_none_leaves_an_axis_as_it_is() -> None:
    x = cr.zeros(1, 2, 7, 9)
    assert F.adaptive_avg_pool2d(x, (3, None)).shape == (1, 2, 3, 9)
    assert F.adaptive_max_pool2d(x, (None, 1)).shape == (1, 2, 7, 1)
    assert F.adaptive_avg_pool2d(x, (0, 2)).shape == (1, 2, 0, 2)
    assert F.adaptive_max_pool2d(x, (0, 2)).shape == (1, 2, 0, 2)


def test_fractional_max_pool_takes_maxima_of_windows_within_the_input() -> None:
    cr.manual_seed(0)
    x = leaf(numbers(2, 3, 9, 10))
    values, indices = F.fractional_max_pool2d(x, (2, 3), output_ratio=0.5, return_indices=True)
    assert values.shape == (2, 3, 4, 5)
    places = indices.numpy()
    rows, columns = places // 10, places % 10
    assert np.all(np.diff(rows, axis=2) >= -1) and np.all(np.diff(columns, axis=3) >= -2)
    flat = x.detach().numpy().reshape(2, 3, -1)
    np.testing.assert_array_equal(
        np.take_along_axis(flat, places.reshape(2, 3, -1), 2), values.detach().numpy().reshape(2, 3, -1)
    )
    values.sum().backward()
    assert x.grad.sum().item() == values.numel()


# ----- derivatives of higher order, other arrays --------------------------------------------------------------------


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: F.max_pool2d(x, 3, 2, 1),
        lambda x: F.avg_pool2d(x, 3, 2, 1, True, False),
        lambda x: F.adaptive_max_pool2d(x, (2, 3)),
        lambda x: F.adaptive_avg_pool2d(x, (2, 3)),
        lambda x: F.lp_pool2d(x * x, 3, 2),
        lambda x: F.local_response_norm(x, 3, 0.5),
    ],
    ids=["max", "avg", "adaptive max", "adaptive avg", "lp", "lrn"],
)
def test_first_and_second_derivatives_equal_finite_differences(pool: Any) -> None:
    x = leaf(numbers(2, 3, 5, 6))
    assert cr.autograd.gradcheck(lambda x: pool(x) ** 2, (x,))
    assert cr.autograd.gradgradcheck(lambda x: pool(x) ** 2, (x,))


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: F.max_pool2d(x, 3, 2, 1),
        lambda x: F.avg_pool2d(x, 3, 2, 1),
        lambda x: F.adaptive_max_pool2d(x, (2, 3)),
        lambda x: F.adaptive_avg_pool2d(x, (2, 3)),
    ],
    ids=["max", "avg", "adaptive max", "adaptive avg"],
)
def test_arrays_of_other_libraries_are_pooled(pool: Any) -> None:
    array = numbers(2, 3, 5, 6)
    x, duck = leaf(array), cr.Tensor(DuckArray(array), dtype=cr.float64).requires_grad_()
    pool(x).sum().backward()
    out = pool(duck)
    out.sum().backward()
    np.testing.assert_allclose(unwrap(out.array), pool(x).detach().numpy())
    np.testing.assert_allclose(unwrap(duck.grad.array), x.grad.numpy())


# ----- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: F.max_pool2d(x, 2, padding=2), RuntimeError, "pad should be at most half"),
        (lambda x: F.max_pool2d(x, 2, padding=-1), RuntimeError, "pad must be non-negative"),
        (lambda x: F.max_pool2d(x, 0), RuntimeError, "kernel_size must be greater than zero"),
        (lambda x: F.max_pool2d(x, 2, 0), RuntimeError, "stride must be greater than zero"),
        (lambda x: F.max_pool2d(x, 2, dilation=0), RuntimeError, "dilation must be greater than zero"),
        (lambda x: F.max_pool2d(x, 9), RuntimeError, "Output size is too small"),
        (lambda x: F.max_pool2d(x, (2, 2, 2)), RuntimeError, "single int, or a tuple of 2 ints"),
        (lambda x: F.max_pool2d(x, 2.5), TypeError, "kernel_size"),
        (lambda x: F.max_pool1d(x, 2), RuntimeError, "Expected 2D or 3D"),
        (lambda x: F.max_pool2d(x[:, :0], 2), RuntimeError, "non-batch dimensions"),
        (lambda x: F.max_pool2d(x.to(cr.complex64), 2), RuntimeError, "not implemented"),
        (lambda x: F.avg_pool2d(x, 2, divisor_override=0), RuntimeError, "divisor must be not zero"),
        (lambda x: F.avg_pool2d(x.to(cr.int64), 2), RuntimeError, "not implemented"),
        (lambda x: F.adaptive_avg_pool2d(x, (1, 2, 3)), RuntimeError, "should contain two ints"),
        (lambda x: F.adaptive_avg_pool2d(x, -1), RuntimeError, "greater than or equal to 0"),
        (lambda x: F.adaptive_max_pool2d(x[0, 0], 1), ValueError, "at least 3"),
        (lambda x: F.adaptive_avg_pool2d(x[None], 1), RuntimeError, "Expected 3D or 4D"),
        (lambda x: F.local_response_norm(x[0, 0], 2), ValueError, "Expected 3D or higher"),
        (lambda x: F.fractional_max_pool2d(x, 2), ValueError, "either an output_size or an output_ratio"),
        (lambda x: F.fractional_max_pool2d(x, 3, 7), RuntimeError, "too large"),
        (lambda x: F.max_unpool2d(x, cr.zeros(2, 3, 6, 5, dtype=cr.int64), 2), RuntimeError, "shape of indices"),
        (lambda x: F.max_unpool2d(x, x, 2), RuntimeError, "int64"),
        (lambda x: F.max_unpool2d(x, cr.full(x.shape, 999), 2), RuntimeError, "invalid max index: 999"),
        (lambda x: F.max_unpool2d(x, cr.zeros_like(x).long(), 2, output_size=(3, 3)), ValueError, "output_size"),
        (lambda x: F.max_unpool2d(x, cr.zeros_like(x).long(), 2, output_size=(9,)), ValueError, "output_size"),
        (lambda x: nn.FractionalMaxPool2d(2), ValueError, "output size, or a pooling ratio"),
        (lambda x: nn.FractionalMaxPool2d(2, 3, 0.5), ValueError, "only one"),
        (lambda x: nn.FractionalMaxPool2d(2, output_ratio=1.5), ValueError, "between 0 and 1"),
    ],
)
def test_bad_arguments_are_refused(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(cr.ones(2, 3, 6, 6))


# ----- layers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "shown"),
    [
        (nn.MaxPool2d(2), "MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)"),
        (nn.AvgPool1d(3, 2), "AvgPool1d(kernel_size=(3,), stride=(2,), padding=(0,))"),
        (nn.AvgPool2d(3, 2), "AvgPool2d(kernel_size=3, stride=2, padding=0)"),
        (nn.MaxUnpool2d(2), "MaxUnpool2d(kernel_size=(2, 2), stride=(2, 2), padding=(0, 0))"),
        (nn.AdaptiveAvgPool2d((1, None)), "AdaptiveAvgPool2d(output_size=(1, None))"),
        (nn.LPPool2d(2, 3), "LPPool2d(norm_type=2, kernel_size=3, stride=None, ceil_mode=False)"),
        (nn.LocalResponseNorm(3), "LocalResponseNorm(3, alpha=0.0001, beta=0.75, k=1.0)"),
    ],
)
def test_layers_show_their_settings(layer: nn.Module, shown: str) -> None:
    assert repr(layer) == shown


def test_layers_do_what_the_functions_do() -> None:
    x = cr.tensor(numbers(2, 3, 8, 8), dtype=cr.float64)
    for layer, function in (
        (nn.MaxPool2d(3, 2, 1, ceil_mode=True), lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True)),
        (nn.AvgPool2d(3, 2, 1, False, False), lambda x: F.avg_pool2d(x, 3, 2, 1, False, False)),
        (nn.AdaptiveMaxPool2d(3), lambda x: F.adaptive_max_pool2d(x, 3)),
        (nn.AdaptiveAvgPool2d(3), lambda x: F.adaptive_avg_pool2d(x, 3)),
        (nn.LPPool2d(2, 2), lambda x: F.lp_pool2d(x, 2, 2)),
        (nn.LocalResponseNorm(2), lambda x: F.local_response_norm(x, 2)),
    ):
        np.testing.assert_array_equal(layer(x).numpy(), function(x).numpy())
    values, places = nn.MaxPool2d(2, return_indices=True)(x)
    np.testing.assert_array_equal(nn.MaxUnpool2d(2)(values, places).numpy(), F.max_unpool2d(values, places, 2).numpy())


# ----- beside PyTorch -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("seed", range(8))
def test_pools_equal_those_of_torch(n: int, seed: int) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng([seed, n])
    array = np.round(rng.standard_normal((2, 3, *rng.integers(5, 9, n))) * 2)
    kernel, stride, ceil_mode = int(rng.integers(2, 5)), int(rng.integers(1, 4)), bool(rng.integers(2))
    padding = int(rng.integers(0, kernel // 2 + 1))
    wanted = tuple(int(w) for w in rng.integers(1, 7, n))
    calls = (
        (f"max_pool{n}d", (kernel, stride, padding, 1, ceil_mode)),
        (f"avg_pool{n}d", (kernel, stride, padding, ceil_mode, bool(rng.integers(2)))),
        (f"adaptive_max_pool{n}d", (wanted,)),
        (f"adaptive_avg_pool{n}d", (wanted,)),
        (f"lp_pool{n}d", (3, kernel, stride, ceil_mode)),
    )
    for name, args in calls:
        x, theirs = leaf(array), torch.tensor(array, requires_grad=True)
        out, want = getattr(F, name)(x, *args), getattr(torch.nn.functional, name)(theirs, *args)
        np.testing.assert_allclose(out.detach().numpy(), want.detach().numpy(), rtol=1e-12, err_msg=name)
        weights = rng.standard_normal(want.shape)
        out.backward(cr.tensor(weights, dtype=cr.float64))
        want.backward(torch.tensor(weights))
        np.testing.assert_allclose(x.grad.numpy(), theirs.grad.numpy(), rtol=1e-10, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("n", [2, 3])
def test_fractional_pools_equal_those_of_torch_for_the_same_samples(n: int) -> None:
    torch = pytest.importorskip("torch")
    array, samples = numbers(2, 3, *(8, 9, 10)[:n]), np.random.default_rng(0).random((2, 3, n))
    name = f"fractional_max_pool{n}d"
    args = (2, (3, 5, 4)[:n], None, True)
    out, places = getattr(F, name)(cr.tensor(array, dtype=cr.float64), *args, cr.tensor(samples, dtype=cr.float64))
    want, their_places = getattr(torch.nn.functional, name)(torch.tensor(array), *args, torch.tensor(samples))
    np.testing.assert_array_equal(out.numpy(), want.numpy())
    np.testing.assert_array_equal(places.numpy(), their_places.numpy())


@pytest.mark.parametrize("n", [1, 2, 3])
def test_with_indices_returns_them_whatever_is_said(n: int) -> None:
    x = cr.randn(2, 3, *(6,) * n)
    for name, args in ((f"max_pool{n}d", (2, 2, 0, 1, False)), (f"adaptive_max_pool{n}d", (3,))):
        plain, with_indices = getattr(cr.nn.functional, name), getattr(cr.nn.functional, f"{name}_with_indices")
        wanted = plain(x, *args, return_indices=True)
        for got in (
            with_indices(x, *args),
            with_indices(x, *args, False),
            with_indices(x, *args, return_indices=False),
        ):
            assert [t.tolist() for t in got] == [t.tolist() for t in wanted]
        assert with_indices.__name__ == f"{name}_with_indices"
