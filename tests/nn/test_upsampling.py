"""Resizing: every mode against its definition, other libraries, and finite differences; pixels and channels."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn import functional as F

from ..duck import DuckArray, unwrap


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape))


def leaf(array: Any, dtype: Any = cr.float64) -> cr.Tensor:
    return cr.tensor(array, dtype=dtype, requires_grad=True)


# ----- interpolation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "out"), [(4, 8), (5, 3), (3, 7), (1, 4), (6, 6)])
@pytest.mark.parametrize("align_corners", [True, False])
def test_linear_interpolation_reads_between_the_elements(size: int, out: int, align_corners: bool) -> None:
    x = numbers(2, 3, size)
    if align_corners:
        places = np.linspace(0, size - 1, out)
    else:
        places = np.clip((np.arange(out) + 0.5) * size / out - 0.5, 0, size - 1)
    want = np.array([[np.interp(places, np.arange(size), row) for row in rows] for rows in x])
    got = F.interpolate(cr.tensor(x, dtype=cr.float64), size=out, mode="linear", align_corners=align_corners)
    np.testing.assert_allclose(got.numpy(), want)


@pytest.mark.parametrize("align_corners", [True, False])
def test_bilinear_and_trilinear_interpolation_are_linear_along_each_axis(align_corners: bool) -> None:
    x = numbers(1, 2, 3, 4, 5)
    sizes = (5, 3, 9)
    want = x
    for axis, size in zip((2, 3, 4), sizes, strict=True):
        rows = np.moveaxis(want, axis, -1)
        flat = cr.tensor(rows.reshape(1, -1, rows.shape[-1]), dtype=cr.float64)
        line = F.interpolate(flat, size=size, mode="linear", align_corners=align_corners).numpy()
        want = np.moveaxis(line.reshape(*rows.shape[:-1], size), -1, axis)
    got = F.interpolate(cr.tensor(x, dtype=cr.float64), size=sizes, mode="trilinear", align_corners=align_corners)
    np.testing.assert_allclose(got.numpy(), want)
    plane = F.interpolate(
        cr.tensor(x[:, :, 0], dtype=cr.float64), size=(4, 9), mode="bilinear", align_corners=align_corners
    )
    volume = cr.tensor(x[:, :, :1], dtype=cr.float64)
    same = F.interpolate(volume, size=(1, 4, 9), mode="trilinear", align_corners=align_corners)
    np.testing.assert_allclose(plane.numpy(), same[:, :, 0].numpy())


def test_linear_zoom_with_aligned_corners_equals_scipys() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    x = numbers(6, 7)
    want = ndimage.map_coordinates(
        x, np.meshgrid(np.linspace(0, 5, 11), np.linspace(0, 6, 4), indexing="ij"), order=1, mode="nearest"
    )
    got = F.interpolate(cr.tensor(x[None, None], dtype=cr.float64), (11, 4), mode="bilinear", align_corners=True)
    np.testing.assert_allclose(got.numpy()[0, 0], want)


@pytest.mark.parametrize("mode", ["bicubic"])
@pytest.mark.parametrize("align_corners", [True, False])
def test_cubic_interpolation_is_exact_for_lines_inside(mode: str, align_corners: bool) -> None:
    x = np.broadcast_to(np.arange(12.0), (1, 1, 3, 12))
    got = F.interpolate(cr.tensor(x, dtype=cr.float64), (3, 20), mode=mode, align_corners=align_corners).numpy()
    places = np.linspace(0, 11, 20) if align_corners else (np.arange(20) + 0.5) * 12 / 20 - 0.5
    inside = (places >= 1) & (places <= 10)
    error = np.abs(got[0, 0, :, inside] - places[inside][:, None])
    assert error.max() < 0.13  # a = -0.75 does not reproduce lines exactly, but its errors are bounded


def test_nearest_modes_repeat_and_choose_elements() -> None:
    x = cr.tensor([[[1.0, 2.0, 3.0]]])
    assert F.interpolate(x, scale_factor=2).tolist() == [[[1, 1, 2, 2, 3, 3]]]
    assert F.interpolate(x, size=2).tolist() == [[[1, 2]]]
    assert F.interpolate(x, size=2, mode="nearest-exact").tolist() == [[[1, 3]]]
    image = cr.arange(6).reshape(1, 1, 2, 3)
    want = np.repeat(np.repeat(image.numpy(), 7, 2), 6, 3)
    np.testing.assert_array_equal(F.interpolate(image, scale_factor=(7, 6)).numpy(), want)


def test_area_is_adaptive_average_pooling() -> None:
    x = cr.tensor(numbers(1, 2, 7, 9), dtype=cr.float64)
    np.testing.assert_array_equal(
        F.interpolate(x, (3, 4), mode="area").numpy(), F.adaptive_avg_pool2d(x, (3, 4)).numpy()
    )


def test_a_given_scale_counts_unless_it_is_to_be_recomputed() -> None:
    x = cr.tensor(numbers(1, 1, 5), dtype=cr.float64)
    kept = F.interpolate(x, scale_factor=1.5, mode="linear")
    again = F.interpolate(x, scale_factor=1.5, mode="linear", recompute_scale_factor=True)
    assert kept.shape == again.shape == (1, 1, 7)
    np.testing.assert_array_equal(again.numpy(), F.interpolate(x, size=7, mode="linear").numpy())
    places = np.clip((np.arange(7) + 0.5) / 1.5 - 0.5, 0, 4)
    np.testing.assert_allclose(kept.numpy()[0, 0], np.interp(places, np.arange(5), x.numpy()[0, 0]))


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "lanczos"])
def test_smoothing_keeps_constants_and_widens_the_filter(mode: str) -> None:
    ones = cr.ones(1, 1, 9, 12, dtype=cr.float64)
    np.testing.assert_allclose(F.interpolate(ones, (4, 5), mode=mode, antialias=True).numpy(), 1)
    fine = cr.tensor(np.indices((16, 16)).sum(0)[None, None] % 2, dtype=cr.float64)  # a chessboard
    smooth = F.interpolate(fine, (4, 4), mode=mode, antialias=True).numpy()
    assert np.abs(smooth - 0.5).max() < 0.05


MODES = [
    ("nearest", 3, {}),
    ("nearest-exact", 4, {}),
    ("area", 4, {}),
    ("linear", 3, {"align_corners": False}),
    ("bilinear", 4, {"align_corners": True}),
    ("bilinear", 4, {"antialias": True}),
    ("bicubic", 4, {"align_corners": False}),
    ("trilinear", 5, {"align_corners": False}),
]


@pytest.mark.parametrize(("mode", "ndim", "options"), MODES, ids=str)
@pytest.mark.parametrize("scale", [0.6, 1.7])
def test_derivatives_equal_finite_differences(mode: str, ndim: int, options: Any, scale: float) -> None:
    x = leaf(numbers(*(1, 2, 4, 3, 4)[:ndim]))

    def resized(x: cr.Tensor) -> cr.Tensor:
        return F.interpolate(x, scale_factor=scale, mode=mode, **options) ** 2

    assert cr.autograd.gradcheck(resized, (x,))
    assert cr.autograd.gradgradcheck(resized, (x,))


@pytest.mark.parametrize(("mode", "ndim", "options"), MODES, ids=str)
def test_arrays_of_other_libraries_are_resized(mode: str, ndim: int, options: Any) -> None:
    array = numbers(*(1, 2, 4, 3, 4)[:ndim])
    x, duck = leaf(array), cr.Tensor(DuckArray(array), dtype=cr.float64).requires_grad_()
    out, want = (F.interpolate(t, scale_factor=1.7, mode=mode, **options) for t in (duck, x))
    np.testing.assert_allclose(unwrap(out.array), want.detach().numpy())
    (out * out).sum().backward()
    (want * want).sum().backward()
    np.testing.assert_allclose(unwrap(duck.grad.array), x.grad.numpy())


@pytest.mark.parametrize("dtype", [cr.float16, cr.float32, cr.float64])
def test_resizing_keeps_the_element_type(dtype: Any) -> None:
    x = leaf(numbers(1, 2, 4, 5), dtype)
    for mode in ("nearest", "bilinear", "bicubic", "area"):
        out = F.interpolate(x, scale_factor=2, mode=mode)
        assert out.dtype == dtype
        x.grad = None
        out.sum().backward()
        assert x.grad.dtype == dtype


def test_bytes_are_rounded() -> None:
    x = cr.tensor([[[[0, 255]]]], dtype=cr.uint8)
    out = F.interpolate(x, (1, 3), mode="bilinear", align_corners=True)
    assert out.dtype == cr.uint8 and out.tolist() == [[[[0, 128, 255]]]]


def test_the_older_names_warn_and_work() -> None:
    x = cr.tensor(numbers(1, 1, 2, 2))
    with pytest.warns(UserWarning, match="deprecated"):
        np.testing.assert_array_equal(
            F.upsample_bilinear(x, scale_factor=2).numpy(),
            F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True).numpy(),
        )
    with pytest.warns(UserWarning, match="deprecated"):
        np.testing.assert_array_equal(F.upsample(x, 4).numpy(), F.interpolate(x, 4).numpy())
    with pytest.warns(UserWarning, match="deprecated"):
        F.upsample_nearest(x, 4)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ValueError, "either size or scale_factor"),
        ({"size": 4, "scale_factor": 2}, ValueError, "only one of size or scale_factor"),
        ({"size": (4, 4, 4)}, ValueError, "same number of spatial dimensions"),
        ({"size": 4.5}, TypeError, "expected size to be one of int"),
        ({"size": 4, "align_corners": True}, ValueError, "align_corners option"),
        ({"size": 4, "mode": "linear"}, NotImplementedError, "linear mode needs 3D input"),
        ({"size": 4, "mode": "trilinear"}, NotImplementedError, "trilinear mode needs 5D input"),
        ({"size": 4, "mode": "cubic"}, NotImplementedError, "cubic"),
        ({"size": 4, "antialias": True}, ValueError, "Anti-alias option"),
        ({"size": 4, "mode": "lanczos"}, ValueError, "requires antialias"),
        ({"size": 4, "recompute_scale_factor": True}, ValueError, "recompute_scale_factor"),
        ({"scale_factor": 0.1}, RuntimeError, "should be greater than 0"),
    ],
)
def test_bad_arguments_are_refused(options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        F.interpolate(cr.ones(1, 2, 3, 3), **options)


# ----- pixels and channels -------------------------------------------------------------------------------------------


def test_pixel_shuffle_puts_channels_beside_each_other() -> None:
    x = numbers(2, 18, 2, 4)
    got = F.pixel_shuffle(cr.tensor(x, dtype=cr.float64), 3).numpy()
    assert got.shape == (2, 2, 6, 12)
    for n, c, i, j in itertools.product(range(2), range(2), range(6), range(12)):
        assert got[n, c, i, j] == x[n, c * 9 + (i % 3) * 3 + j % 3, i // 3, j // 3]
    np.testing.assert_array_equal(F.pixel_unshuffle(cr.tensor(got, dtype=cr.float64), 3).numpy(), x)


def test_channel_shuffle_deals_the_groups_out() -> None:
    x = cr.arange(6).reshape(1, 6, 1, 1)
    assert F.channel_shuffle(x, 2).reshape(-1).tolist() == [0, 3, 1, 4, 2, 5]
    assert F.channel_shuffle(x, 3).reshape(-1).tolist() == [0, 2, 4, 1, 3, 5]


def test_shuffles_without_a_batch_and_with_empty_axes() -> None:
    assert F.pixel_shuffle(cr.zeros(4, 2, 3), 2).shape == (1, 4, 6)
    assert F.pixel_shuffle(cr.zeros(5, 6, 4, 2, 3), 2).shape == (5, 6, 1, 4, 6)
    assert F.pixel_unshuffle(cr.zeros(1, 4, 0), 2).shape == (4, 2, 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.pixel_shuffle(cr.zeros(2, 2), 2), "at least 3 dimensions"),
        (lambda: F.pixel_shuffle(cr.zeros(3, 2, 2), 2), "divisible by the square"),
        (lambda: F.pixel_shuffle(cr.zeros(4, 2, 2), 0), "positive upscale_factor"),
        (lambda: F.pixel_unshuffle(cr.zeros(1, 3, 2), 2), "height to be divisible"),
        (lambda: F.pixel_unshuffle(cr.zeros(1, 2, 3), 2), "width to be divisible"),
        (lambda: F.channel_shuffle(cr.zeros(1, 4, 2), 3), "divisible by groups"),
    ],
)
def test_shapes_that_cannot_be_shuffled_are_refused(call: Any, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        call()


# ----- layers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "shown"),
    [
        (nn.Upsample(scale_factor=2), "Upsample(scale_factor=2.0, mode='nearest')"),
        (nn.Upsample((3, 4), mode="bilinear"), "Upsample(size=(3, 4), mode='bilinear')"),
        (nn.UpsamplingNearest2d(scale_factor=2), "UpsamplingNearest2d(scale_factor=2.0, mode='nearest')"),
        (nn.UpsamplingBilinear2d(5), "UpsamplingBilinear2d(size=5, mode='bilinear')"),
        (nn.PixelShuffle(2), "PixelShuffle(upscale_factor=2)"),
        (nn.PixelUnshuffle(2), "PixelUnshuffle(downscale_factor=2)"),
        (nn.ChannelShuffle(2), "ChannelShuffle(groups=2)"),
    ],
)
def test_layers_show_their_settings_and_run(layer: nn.Module, shown: str) -> None:
    assert repr(layer) == shown
    assert layer(cr.zeros(1, 4, 6, 6)).ndim == 4


# ----- beside PyTorch ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "ndim", "options"), MODES, ids=str)
@pytest.mark.parametrize(
    "how", [{"size": 7}, {"size": 3}, {"scale_factor": 1.7}, {"scale_factor": 0.6, "recompute_scale_factor": True}]
)
def test_interpolation_equals_that_of_torch(mode: str, ndim: int, options: Any, how: Any) -> None:
    torch = pytest.importorskip("torch")
    array = numbers(*(2, 3, 5, 4, 6)[:ndim])
    x, theirs = leaf(array), torch.tensor(array, requires_grad=True)
    out = F.interpolate(x, **how, mode=mode, **options)
    want = torch.nn.functional.interpolate(theirs, **how, mode=mode, **options)
    np.testing.assert_allclose(out.detach().numpy(), want.detach().numpy(), rtol=1e-10, atol=1e-12)
    weights = numbers(*want.shape, seed=1)
    out.backward(cr.tensor(weights, dtype=cr.float64))
    want.backward(torch.tensor(weights))
    np.testing.assert_allclose(x.grad.numpy(), theirs.grad.numpy(), rtol=1e-10, atol=1e-12)
