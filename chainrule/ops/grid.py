"""Reading images and volumes at places between their elements: `grid_sample`, and the grids of affine maps.

A place is a differentiable tensor; which elements surround it is not, so all that needs a rule of its own is how a
grid's coordinate becomes a place.
"""

from __future__ import annotations

import functools
import math
import operator
import warnings
from typing import Any

import numpy as np

from ..core.forward import array_function, wrap_forward_fn
from ..core.table import backward
from ..core.tensor import Tensor, make_tensor
from .common import as_tensor_argument
from .contraction import matmul
from .interpolation import cubic_far, cubic_near
from .pooling import pick_tensor
from .shape import _constant_pad_tensor, permute, reshape, stack

__all__ = ["affine_grid_generator", "grid_sampler", "grid_sampler_2d", "grid_sampler_3d"]

ZEROS, BORDER, REFLECTION = range(3)
PADDING_MODES = ("zeros", "border", "reflection")
MODES = ("bilinear", "nearest", "bicubic")

# ----- the table ---------------------------------------------------------------------------------------------------


def _limits(size: int, align_corners: bool) -> tuple[float, float]:
    """Between which places a coordinate is reflected: the middles of the corner elements, or their edges."""
    return (0.0, size - 1.0) if align_corners else (-0.5, size - 0.5)


def _reflected(places: Any, size: int, align_corners: bool) -> tuple[Any, Any]:
    """Places reflected at both ends until they lie inside, and the signs of that in the derivative."""
    low, high = _limits(size, align_corners)
    span = high - low
    if span == 0:
        return places * 0, places * 0
    distance = np.abs(places - low)
    turns = np.floor(distance / span)
    rest = distance - turns * span
    odd = np.remainder(turns, 2) == 1
    slope = np.where(odd, -1, 1) * np.where(places < low, -1, 1)
    return np.where(odd, high - rest, low + rest), slope


def _unnormalized(x: Any, size: int, align_corners: bool) -> Any:
    """Coordinates from -1 to 1 as places from 0 to size - 1; NaN counts as -1."""
    x = np.where(np.isnan(x), -1, x)
    return (x + 1) * ((size - 1) / 2) if align_corners else ((x + 1) * size - 1) / 2


def _inside(places: Any, size: int, padding: int, align_corners: bool) -> tuple[Any, Any]:
    """Places as the padding has them, and the derivative of that."""
    slope: Any = 1
    low, high = 0, size - 1
    if padding == ZEROS:  # however far outside: all is zero there
        low, high = -4, size + 3
    elif padding == REFLECTION:
        places, slope = _reflected(places, size, align_corners)
    return np.clip(places, low, high), np.where((places > low) & (places < high), slope, 0)


@array_function
def source_places(x: Any, size: int, padding: int, align_corners: bool) -> Any:
    """Where along an axis of `size` elements the coordinates `x`, from -1 to 1, are read.

    Args:
        padding: ZEROS, BORDER or REFLECTION.
        align_corners: -1 and 1 are the middles of the corner elements, not their edges.
    """
    places = _unnormalized(x, size, align_corners)
    return np.astype(_inside(places, size, padding, align_corners)[0], x.dtype)


@backward(source_places, 0)
def source_places_back(grad_out: Any, out: Any, x: Any, size: int, padding: int, align_corners: bool) -> Any:
    r"""$\nabla_x L = \pm \frac{size - 1}{2} \nabla_{out} L$, $\frac{size}{2}$ without aligned corners, 0 outside"""
    slope = _inside(_unnormalized(x, size, align_corners), size, padding, align_corners)[1]
    return grad_out * np.astype(slope * ((size - 1 if align_corners else size) / 2), x.dtype)


_source_places = wrap_forward_fn(source_places)


@array_function
def _unbounded_places(x: Any, size: int, align_corners: bool) -> Any:
    """As `source_places`, before the padding is considered."""
    return np.astype(_unnormalized(x, size, align_corners), x.dtype)


@backward(_unbounded_places, 0)
def unbounded_places_back(grad_out: Any, out: Any, x: Any, size: int, align_corners: bool) -> Any:
    r"""$\nabla_x L = \frac{size - 1}{2} \nabla_{out} L$, $\frac{size}{2}$ without aligned corners"""
    return grad_out * ((size - 1 if align_corners else size) / 2)


_unbounded_places_tensor = wrap_forward_fn(_unbounded_places)

# ----- sampling ----------------------------------------------------------------------------------------------------


def _flat(places: Any, sizes: tuple[int, ...]) -> Any:
    """The position in the flattened axes for whole places along each; the position behind the last, if one is outside.

    Args:
        places: for each axis an array of whole numbers.
    """
    inside: Any = True
    index: Any = 0
    for place, size in zip(places, sizes, strict=True):
        inside = inside & (place >= 0) & (place <= size - 1)
        index = index * size + np.clip(place, 0, size - 1)
    return np.where(inside, index, math.prod(sizes)).astype(np.int64)


def _sampled(planes: Tensor, index: Any) -> Tensor:
    """(N, C, P) of planes (N, C, S) for an index (N, P)."""
    return pick_tensor(planes, np.expand_dims(index, 1))  # type: ignore[no-any-return]


def grid_sampler(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:
    """`nn.functional.grid_sample` with its modes as numbers: bilinear, nearest, bicubic; zeros, border, reflection."""
    input, grid = as_tensor_argument(input), as_tensor_argument(grid)
    n = input.ndim - 2
    _check(input, grid, n)
    if interpolation_mode not in range(3) or padding_mode not in range(3):
        raise RuntimeError(
            f"grid_sampler(): no mode {interpolation_mode} with padding {padding_mode}: the modes are 0 (bilinear), 1 "
            "(nearest), 2 (bicubic), the paddings 0 (zeros), 1 (border), 2 (reflection)"
        )
    if interpolation_mode == 2 and n != 2:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")
    batch, channels, *sizes = input.shape
    points = grid.shape[1:-1]
    coordinates = [reshape(grid[..., n - 1 - i], (batch, math.prod(points))) for i in range(n)]
    planes = reshape(input, (batch, channels, math.prod(sizes)))
    planes = _constant_pad_tensor(planes, ((0, 0), (0, 0), (0, 1)))  # one more element, zero, for all that is outside
    sample = (_bilinear, _nearest, _bicubic)[interpolation_mode]
    return reshape(
        sample(planes, coordinates, tuple(sizes), padding_mode, bool(align_corners)), (batch, channels, *points)
    )


def _check(input: Tensor, grid: Tensor, n: int) -> None:
    shapes = f"input of shape {list(input.shape)} and grid of shape {list(grid.shape)}"
    if n not in (2, 3) or grid.ndim != input.ndim:
        raise RuntimeError(
            f"grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but got {shapes}"
        )
    if grid.shape[-1] != n:
        raise RuntimeError(f"grid_sampler(): expected grid to have size {n} in last dimension, but got {shapes}")
    if grid.shape[0] != input.shape[0]:
        raise RuntimeError(f"grid_sampler(): expected grid and input to have same batch size, but got {shapes}")
    if 0 in input.shape[1:]:
        raise RuntimeError(f"grid_sampler(): expected input to have non-empty spatial dimensions, but got {shapes}")
    if input.array.dtype != grid.array.dtype:
        raise RuntimeError(
            f"grid_sampler(): expected input and grid to have same dtype, but input has {input.dtype} and grid has "
            f"{grid.dtype}"
        )


def _weighted(planes: Tensor, places: Any, weights: Any, sizes: tuple[int, ...]) -> Tensor:
    """The weighted sum of the elements around each point, (N, C, P).

    Args:
        planes: (N, C, S + 1).
        places: for each axis an array (N, K, P): whole places, K for each point.
        weights: for each axis their weights, tensors of that shape.
    """
    n = len(sizes)
    batch, points = planes.shape[0], places[0].shape[-1]
    shapes = [(batch, *(p.shape[1] if i == axis else 1 for i in range(n)), points) for axis, p in enumerate(places)]
    index = _flat([p.reshape(shape) for p, shape in zip(places, shapes, strict=True)], sizes)
    weight = functools.reduce(operator.mul, (reshape(w, shape) for w, shape in zip(weights, shapes, strict=True)))
    around = math.prod(p.shape[1] for p in places)
    seen = _sampled(planes, index.reshape(batch, around * points))
    seen = reshape(seen, (batch, planes.shape[1], around, points)) * reshape(weight, (batch, 1, around, points))
    return np.sum(seen, axis=2)  # type: ignore[no-any-return]


def _bilinear(planes: Tensor, coordinates: Any, sizes: Any, padding: int, align_corners: bool) -> Tensor:
    places, weights = [], []
    for c, size in zip(coordinates, sizes, strict=True):
        place = _source_places(c, size, padding, align_corners)
        first = np.floor(place.array)
        part = place - make_tensor(first, None)
        places.append(np.stack([first, first + 1], axis=1))
        weights.append(stack((1 - part, part), 1))
    return _weighted(planes, places, weights, sizes)


def _nearest(planes: Tensor, coordinates: Any, sizes: Any, padding: int, align_corners: bool) -> Tensor:
    places = [_source_places(c, size, padding, align_corners) for c, size in zip(coordinates, sizes, strict=True)]
    result = _sampled(planes, _flat([np.round(place.array) for place in places], sizes))
    if any(place.requires_grad for place in places):  # the gradient is zero, not missing
        result = result + (sum(places) * 0).unsqueeze(1)
    return result


def _bicubic(planes: Tensor, coordinates: Any, sizes: Any, padding: int, align_corners: bool) -> Tensor:
    places, weights = [], []
    for c, size in zip(coordinates, sizes, strict=True):
        place = _unbounded_places_tensor(c, size, align_corners)
        first = np.floor(place.array)
        part = place - make_tensor(first, None)
        places.append(np.stack([_inside(first + i, size, padding, align_corners)[0] for i in range(-1, 3)], axis=1))
        weights.append(stack((cubic_far(part + 1), cubic_near(part), cubic_near(1 - part), cubic_far(2 - part)), 1))
    rows = (  # one after the other, which takes a quarter of the memory
        _weighted(planes, [places[0][:, i : i + 1], places[1]], [weights[0][:, i : i + 1], weights[1]], sizes)
        for i in range(4)
    )
    return functools.reduce(operator.add, rows)


def grid_sampler_2d(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:
    """`grid_sampler` for images, (N, C, H, W)."""
    return grid_sampler(input, grid, interpolation_mode, padding_mode, align_corners)


def grid_sampler_3d(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:
    """`grid_sampler` for volumes, (N, C, D, H, W)."""
    return grid_sampler(input, grid, interpolation_mode, padding_mode, align_corners)


def _aligned(align_corners: bool | None) -> bool:
    if align_corners is None:
        warnings.warn(
            "Default grid_sample and affine_grid behavior has changed to align_corners=False since 1.3.0. Please "
            "specify align_corners=True if the old behavior is desired.",
            stacklevel=3,
        )
    return bool(align_corners)


def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """The input, read at the places that a grid names; differentiable in both.

    Args:
        input: (N, C, H, W) or (N, C, D, H, W).
        grid: (N, height, width, 2) or (N, depth, height, width, 3): x, y (and z) from -1 to 1.
        mode: "bilinear" (in volumes trilinear), "nearest", or, for images, "bicubic".
        padding_mode: what is outside: "zeros", the nearest "border" element, or the input's "reflection".
        align_corners: -1 and 1 are the middles of the corner elements, not their edges.

    Raises:
        ValueError: an unknown mode.
        RuntimeError: shapes or types that do not go together.

    >>> import chainrule as cr
    >>> image = cr.arange(4.0).reshape(1, 1, 2, 2)
    >>> grid_sample(image, cr.zeros(1, 1, 1, 2), align_corners=True).item()
    1.5
    """
    if mode not in MODES:
        raise ValueError(
            f"nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: '{mode}'"
        )
    if padding_mode not in PADDING_MODES:
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or 'reflection', but got: "
            f"'{padding_mode}'"
        )
    aligned = _aligned(align_corners)
    return grid_sampler(input, grid, MODES.index(mode), PADDING_MODES.index(padding_mode), aligned)


# ----- grids -------------------------------------------------------------------------------------------------------


def _span(size: int, align_corners: bool, kind: Any) -> Any:
    """The coordinates of the elements of an axis."""
    if size <= 1:
        return np.zeros(size, kind)
    edge = 1.0 if align_corners else (size - 1) / size
    return np.linspace(-edge, edge, size).astype(kind)


def affine_grid_generator(theta: Tensor, size: Any, align_corners: bool) -> Tensor:
    """`nn.functional.affine_grid` without its checks."""
    spatial = tuple(size)[2:]
    n = len(spatial)
    kind = theta.array.dtype
    axes = np.meshgrid(*(_span(s, align_corners, kind) for s in spatial), indexing="ij")
    base = np.stack([*(a.reshape(-1) for a in axes[::-1]), np.ones(math.prod(spatial), kind)], axis=-1)
    points = matmul(make_tensor(base, None), permute(theta, (0, 2, 1)))
    return reshape(points, (theta.shape[0], *spatial, n))


def affine_grid(theta: Tensor, size: Any, align_corners: bool | None = None) -> Tensor:
    """The grids for `grid_sample` that turn, scale and shift images or volumes.

    Args:
        theta: affine maps, (N, 2, 3) for images and (N, 3, 4) for volumes.
        size: the wanted result's, (N, C, H, W) or (N, C, D, H, W).
        align_corners: -1 and 1 are the middles of the corner elements, not their edges.

    Raises:
        ValueError: theta is not floating or has another shape, or a size is not positive.
        NotImplementedError: a size of another length.

    >>> import chainrule as cr
    >>> identity = cr.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    >>> affine_grid(identity, (1, 1, 1, 2), align_corners=False).tolist()
    [[[[-0.5, 0.0], [0.5, 0.0]]]]
    """
    theta = as_tensor_argument(theta)
    aligned = _aligned(align_corners)
    size = tuple(int(s) for s in size)
    if theta.array.dtype.kind != "f":
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    n = len(size) - 2
    if n not in (2, 3):
        raise NotImplementedError(
            f"affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms. Got size {size}."
        )
    if theta.ndim != 3 or theta.shape[1:] != (n, n + 1):
        raise ValueError(
            f"Expected a batch of {n}D affine matrices of shape Nx{n}x{n + 1} for size {size}. Got {theta.shape}."
        )
    if aligned and min(size[2:]) == 1:
        warnings.warn(
            "affine_grid puts the only element of an axis of size 1 at 0 when align_corners=True", stacklevel=2
        )
    elif min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {size}")
    return affine_grid_generator(theta, size, aligned)
