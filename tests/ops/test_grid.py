"""Reading between the elements: grid_sample and affine_grid."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn import functional as F

from ..duck import DuckArray, unwrap

SCIPY_MODES = {"zeros": "constant", "border": "nearest"}


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape))


def points(*shape: int, seed: int = 0, reach: float = 1.5) -> np.ndarray:
    return np.asarray(np.random.default_rng([seed, *shape]).uniform(-reach, reach, shape))


def leaf(array: Any) -> cr.Tensor:
    return cr.tensor(array, dtype=cr.float64, requires_grad=True)


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align_corners", [True, False])
def test_linear_sampling_equals_scipys(n: int, padding_mode: str, align_corners: bool) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    sizes = (5, 6, 4)[:n]
    x, grid = numbers(2, 3, *sizes), points(2, 7, *(1,) * (n - 1), n)
    got = F.grid_sample(
        cr.tensor(x, dtype=cr.float64),
        cr.tensor(grid, dtype=cr.float64),
        padding_mode=padding_mode,
        align_corners=align_corners,
    ).numpy()
    size = np.array(sizes)
    places = grid[..., ::-1].reshape(2, 7, n)
    places = (places + 1) / 2 * (size - 1) if align_corners else ((places + 1) * size - 1) / 2
    mode = SCIPY_MODES.get(padding_mode, "mirror" if align_corners else "reflect")
    for i, c in np.ndindex(2, 3):
        plane, where = x[i, c], places[i]
        if padding_mode == "zeros":  # SciPy cuts off at the last element
            plane, where = np.pad(plane, 1), np.clip(where + 1, -1, size + 2)
        want = ndimage.map_coordinates(plane, where.T, order=1, mode=mode)
        np.testing.assert_allclose(got[i, c].reshape(-1), want, atol=1e-12)


def test_the_nearest_element_is_read() -> None:
    x = cr.arange(4.0).reshape(1, 1, 2, 2)
    grid = cr.tensor([[[[-0.9, -0.8], [0.7, -1.0], [-0.2, 0.9], [3.0, 0.0]]]])
    assert F.grid_sample(x, grid, "nearest", align_corners=True).tolist() == [[[[0, 1, 2, 0]]]]
    assert F.grid_sample(x, grid, "nearest", "border", align_corners=True).tolist()[0][0][0][:3] == [0, 1, 2]


def test_bicubic_sampling_at_the_elements_gives_the_elements() -> None:
    x = numbers(1, 2, 5, 6)
    identity = cr.tensor([[[1.0, 0, 0], [0, 1.0, 0]]], dtype=cr.float64)
    for align_corners in (True, False):
        grid = F.affine_grid(identity, (1, 2, 5, 6), align_corners)
        got = F.grid_sample(cr.tensor(x, dtype=cr.float64), grid, "bicubic", align_corners=align_corners)
        np.testing.assert_allclose(got.numpy(), x, atol=1e-12)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
def test_derivatives_in_image_and_grid_equal_finite_differences(mode: str, padding_mode: str) -> None:
    x, grid = leaf(numbers(1, 2, 4, 3)), leaf(points(1, 3, 2, 2))

    def sampled(x: cr.Tensor, grid: cr.Tensor) -> cr.Tensor:
        return F.grid_sample(x, grid, mode, padding_mode, align_corners=False) ** 2

    assert cr.autograd.gradcheck(sampled, (x, grid))
    assert cr.autograd.gradgradcheck(sampled, (x, grid))


def test_derivatives_in_volumes_equal_finite_differences() -> None:
    x, grid = leaf(numbers(1, 2, 3, 4, 3)), leaf(points(1, 2, 1, 2, 3))
    assert cr.autograd.gradcheck(lambda x, g: F.grid_sample(x, g, align_corners=True) ** 2, (x, grid))


def test_the_gradient_of_the_grid_is_zero_for_the_nearest_element() -> None:
    x, grid = cr.ones(1, 1, 2, 2), cr.zeros(1, 1, 1, 2, requires_grad=True)
    F.grid_sample(x, grid, "nearest", align_corners=True).sum().backward()
    assert grid.grad.tolist() == [[[[0, 0]]]]


def test_what_is_outside_stays_outside_however_large_the_numbers() -> None:
    x = cr.full((1, 1, 2, 2), math.inf)
    grid = cr.tensor([[[[9.0, 0.0], [math.inf, 0.0], [-math.inf, 5.0]]]])
    assert F.grid_sample(x, grid, align_corners=True).tolist() == [[[[0, 0, 0]]]]
    y = cr.arange(4.0).reshape(1, 1, 2, 2)
    nowhere = cr.tensor([[[[math.nan, math.nan]]]])
    assert F.grid_sample(y, nowhere, align_corners=True).item() == 0.0  # NaN counts as -1, the first element


def test_grids_of_affine_maps_lie_on_the_elements() -> None:
    identity = cr.tensor([[[1.0, 0, 0], [0, 1.0, 0]]])
    assert F.affine_grid(identity, (1, 1, 2, 3), align_corners=True)[0, 0].tolist() == [[-1, -1], [0, -1], [1, -1]]
    assert F.affine_grid(identity, (1, 1, 2, 2), align_corners=False)[0, 1].tolist() == [[-0.5, 0.5], [0.5, 0.5]]
    turn = cr.tensor([[[0.0, 1, 0], [-1, 0.0, 0]]])  # a quarter
    x = cr.arange(4.0).reshape(1, 1, 2, 2)
    turned = F.grid_sample(x, F.affine_grid(turn, (1, 1, 2, 2), align_corners=False), align_corners=False)
    np.testing.assert_allclose(turned.numpy()[0, 0], np.rot90(x.numpy()[0, 0], -1), atol=1e-6)


def test_a_spatial_transformer_learns_a_shift() -> None:
    rng = np.random.default_rng(0)
    x = cr.tensor(np.cumsum(np.cumsum(rng.standard_normal((1, 1, 9, 9)), 2), 3), dtype=cr.float64)
    true = cr.tensor([[[1.0, 0, 0.1], [0, 1.0, -0.15]]], dtype=cr.float64)
    target = F.grid_sample(x, F.affine_grid(true, x.shape, False), align_corners=False, padding_mode="border")
    theta = cr.tensor([[[1.0, 0, 0], [0, 1.0, 0]]], dtype=cr.float64, requires_grad=True)
    first = last = None
    for _ in range(60):
        out = F.grid_sample(x, F.affine_grid(theta, x.shape, False), align_corners=False, padding_mode="border")
        loss = ((out - target) ** 2).mean()
        (gradient,) = cr.autograd.grad(loss, theta)
        theta = (theta.detach() - 0.005 * gradient).requires_grad_()
        first, last = first if first is not None else loss.item(), loss.item()
    assert last < 0.1 * first


def test_arrays_of_other_libraries_are_sampled() -> None:
    x, grid = numbers(1, 2, 4, 3), points(1, 3, 2, 2)
    ours = [leaf(x), leaf(grid)]
    ducks = [cr.Tensor(DuckArray(a), dtype=cr.float64).requires_grad_() for a in (x, grid)]
    for arguments in (ours, ducks):
        F.grid_sample(*arguments, align_corners=False).sum().backward()
    for duck, tensor in zip(ducks, ours, strict=True):
        np.testing.assert_allclose(unwrap(duck.grad.array), tensor.grad.numpy())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x, g: F.grid_sample(x, g, "cubic"), ValueError, "expected mode"),
        (lambda x, g: F.grid_sample(x, g, padding_mode="wrap"), ValueError, "expected padding_mode"),
        (lambda x, g: F.grid_sample(x[0], g, align_corners=False), RuntimeError, "same number of dimensions"),
        (lambda x, g: F.grid_sample(x, g[..., :1], align_corners=False), RuntimeError, "size 2 in last dimension"),
        (lambda x, g: F.grid_sample(x, cr.cat([g, g]), align_corners=False), RuntimeError, "same batch size"),
        (lambda x, g: F.grid_sample(x, g.double(), align_corners=False), RuntimeError, "same dtype"),
        (lambda x, g: F.grid_sample(x[..., :0], g, align_corners=False), RuntimeError, "non-empty"),
        (
            lambda x, g: F.grid_sample(x[None], cr.zeros(1, 1, 1, 1, 3), "bicubic", align_corners=False),
            RuntimeError,
            "bicubic interpolation only supports 4D",
        ),
        (lambda x, g: cr.grid_sampler(x, g, 3, 0, False), RuntimeError, "no mode 3"),
        (lambda x, g: F.affine_grid(cr.zeros(1, 2, 2), (1, 1, 2, 2), False), ValueError, "2D affine matrices"),
        (lambda x, g: F.affine_grid(cr.zeros(1, 2, 3).long(), (1, 1, 2, 2), False), ValueError, "floating point"),
        (lambda x, g: F.affine_grid(cr.zeros(1, 2, 3), (1, 1, 2), False), NotImplementedError, "4D and 5D"),
        (lambda x, g: F.affine_grid(cr.zeros(1, 2, 3), (1, 1, 0, 2), False), ValueError, "non-zero"),
    ],
)
def test_bad_arguments_are_refused(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(cr.zeros(1, 1, 2, 2), cr.zeros(1, 1, 1, 2))


def test_leaving_the_corners_open_warns() -> None:
    with pytest.warns(UserWarning, match="align_corners"):
        F.grid_sample(cr.zeros(1, 1, 2, 2), cr.zeros(1, 1, 1, 2))
    with pytest.warns(UserWarning, match="align_corners"):
        F.affine_grid(cr.zeros(1, 2, 3), (1, 1, 2, 2))


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("n", [2, 3])
def test_sampling_equals_that_of_torch(mode: str, padding_mode: str, align_corners: bool, n: int) -> None:
    torch = pytest.importorskip("torch")
    if mode == "bicubic" and n == 3:
        mode = "bilinear"
    arrays = numbers(2, 3, *(5, 4, 6)[:n]), points(2, *(3, 4, 2)[:n], n, reach=2.5)
    ours, theirs = [leaf(a) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]
    out = F.grid_sample(*ours, mode, padding_mode, align_corners)
    want = torch.nn.functional.grid_sample(*theirs, mode, padding_mode, align_corners)
    np.testing.assert_allclose(out.detach().numpy(), want.detach().numpy(), rtol=1e-10, atol=1e-12)
    weights = numbers(*want.shape, seed=1)
    out.backward(cr.tensor(weights, dtype=cr.float64))
    want.backward(torch.tensor(weights))
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=1e-9, atol=1e-10)
