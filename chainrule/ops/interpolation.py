"""Resizing: signals, images and volumes in another number of elements along their last axes.

Each mode is a linear map along each axis; all that this module does is to make these maps, by PyTorch's conventions
for where the elements lie.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.forward import cast
from ..core.tensor import Tensor
from .common import as_tensor_argument
from .elementwise import clamp, round
from .pooling import _adaptive_avg_pool_nd
from .resampling import AxisMap, resample_tensor

__all__: list[str] = []

AXES = {"linear": 1, "bilinear": 2, "bicubic": 2, "lanczos": 2, "trilinear": 3}
MODES = "nearest | linear | bilinear | bicubic | trilinear | lanczos | area | nearest-exact"

# ----- the map of an axis ------------------------------------------------------------------------------------------


def _ratio(size: int, out: int, align_corners: bool, scale: float | None) -> float:
    """How far apart in the input the elements of the result lie."""
    if align_corners:
        return (size - 1) / (out - 1) if out > 1 else 0.0
    return 1.0 / scale if scale is not None and scale > 0 else size / out


def _places(size: int, out: int, align_corners: bool, scale: float | None) -> Any:
    """Where in the input the elements of the result lie."""
    ratio = _ratio(size, out, align_corners, scale)
    return np.arange(out) * ratio if align_corners else (np.arange(out) + 0.5) * ratio - 0.5


@functools.lru_cache(1024)
def _nearest_map(size: int, out: int, exact: bool, scale: float | None) -> AxisMap:
    if size == out and scale in (None, 1.0):
        index = np.arange(out)
    else:
        ratio = np.float32(_ratio(size, out, False, scale))
        places = (np.arange(out, dtype=np.float32) + np.float32(0.5 if exact else 0)) * ratio
        index = np.minimum(np.floor(places).astype(np.int64), size - 1)
    return AxisMap(size, index[None])


@functools.lru_cache(1024)
def _linear_map(size: int, out: int, align_corners: bool, scale: float | None) -> AxisMap:
    if size == out:
        return AxisMap(size, np.arange(out)[None])
    places = np.maximum(_places(size, out, align_corners, scale), 0)
    first = np.minimum(places.astype(np.int64), size - 1)
    part = np.clip(places - first, 0, 1)
    return AxisMap(size, np.stack([first, np.minimum(first + 1, size - 1)]), np.stack([1 - part, part]))


@functools.lru_cache(1024)
def _cubic_map(size: int, out: int, align_corners: bool, scale: float | None) -> AxisMap:
    places = _places(size, out, align_corners, scale)
    first = np.floor(places)
    around = np.arange(-1, 3)[:, None]
    index = np.clip(first.astype(np.int64) + around, 0, size - 1)
    return AxisMap(size, index, cubic(places - first - around))


def cubic_near(d: Any, a: float = -0.75) -> Any:
    """The weight of a neighbour at a distance of at most 1, for interpolation by cubic convolution (Keys 1981)."""
    return ((a + 2) * d - (a + 3)) * d * d + 1


def cubic_far(d: Any, a: float = -0.75) -> Any:
    """The weight of a neighbour at a distance between 1 and 2."""
    return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a


def cubic(distance: Any, a: float = -0.75) -> Any:
    """The weight of a neighbour at any distance."""
    d = np.abs(distance)
    return np.where(d <= 1, cubic_near(d, a), np.where(d < 2, cubic_far(d, a), 0.0))


def _triangle(distance: Any) -> Any:
    return np.maximum(1 - np.abs(distance), 0)


def _smooth_cubic(distance: Any) -> Any:
    return cubic(distance, -0.5)


def _lanczos(distance: Any) -> Any:
    return np.where(np.abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0.0)


FILTERS: dict[str, tuple[Callable[[Any], Any], int]] = {
    "bilinear": (_triangle, 1),
    "bicubic": (_smooth_cubic, 2),
    "lanczos": (_lanczos, 3),
}


@functools.lru_cache(1024)
def _smoothing_map(size: int, out: int, align_corners: bool, scale: float | None, mode: str) -> AxisMap:
    """The map whose filter, in making smaller, becomes as wide as the elements of the result lie apart."""
    function, reach = FILTERS[mode]
    ratio = _ratio(size, out, align_corners, scale)
    width = max(ratio, 1.0)
    centers = (np.arange(out) + 0.5) * ratio
    starts = np.maximum((centers - reach * width + 0.5).astype(np.int64), 0)
    ends = np.minimum((centers + reach * width + 0.5).astype(np.int64), size)
    index = starts + np.arange(int((ends - starts).max()))[:, None]
    weights = np.where(index < ends, function((index - centers + 0.5) / width), 0.0)
    total = weights.sum(0)
    return AxisMap(size, np.where(index < ends, index, -1), weights / np.where(total == 0, 1, total))


# ----- the operations ----------------------------------------------------------------------------------------------


def _each(value: Any, n: int, what: str, shape: tuple[int, ...]) -> list[Any]:
    """One size or factor for each of n axes."""
    if not isinstance(value, (tuple, list)):
        return [value] * n
    if len(value) != n:
        raise ValueError(
            f"Input and {what} must have the same number of spatial dimensions, but got input with spatial dimensions "
            f"of {list(shape[2:])} and {what} of {value}. Please provide input tensor in (N, C, d1, d2, ...,dK) format "
            f"and {what} in (o1, o2, ...,oK) format."
        )
    return list(value)


def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """The input in another size along its last axes: (N, C, L), (N, C, H, W) or (N, C, D, H, W).

    Args:
        input: floating tensor (integers too for the nearest modes, uint8 for bilinear and bicubic).
        size: the wanted size of each axis, or one number for all.
        scale_factor: in its place, how many times the input's size.
        mode: "nearest", "nearest-exact", "area", "linear" (3D), "bilinear", "bicubic", "lanczos" (4D), "trilinear"
            (5D).
        align_corners: the middles of the corner elements stay where they are, otherwise the outer corners.
        recompute_scale_factor: take the factors from the sizes after rounding.
        antialias: in making smaller, widen the filter ("bilinear", "bicubic" and "lanczos").

    Raises:
        ValueError: arguments that contradict each other.
        NotImplementedError: a mode for another number of axes.
        RuntimeError: a size of 0.

    >>> import chainrule as cr
    >>> x = cr.tensor([[[0.0, 2.0]]])
    >>> interpolate(x, scale_factor=2).tolist(), interpolate(x, size=3, mode="linear", align_corners=True).tolist()
    ([[[0.0, 0.0, 2.0, 2.0]]], [[[0.0, 1.0, 2.0]]])
    """
    input = as_tensor_argument(input)
    n = input.ndim - 2
    plain = mode in ("nearest", "area", "nearest-exact")
    if plain and align_corners is not None:
        raise ValueError(
            "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | trilinear"
        )
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is None and scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    if recompute_scale_factor and size is not None:
        raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
    if antialias and not (mode in FILTERS and n == 2):
        raise ValueError(
            "Anti-alias option is restricted to bilinear, bicubic, and lanczos modes and requires a 4-D tensor as input"
        )
    if n not in (1, 2, 3) or not (plain or mode in AXES):
        raise NotImplementedError(
            f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {input.ndim}D) for the modes: {MODES} (got "
            f"{mode})"
        )
    if not plain and AXES[mode] != n:
        raise NotImplementedError(f"Got {input.ndim}D input, but {mode} mode needs {AXES[mode] + 2}D input")
    if mode == "lanczos":
        if align_corners:
            raise ValueError("Lanczos mode does not support align_corners=True")
        if not antialias:
            raise ValueError("Lanczos mode requires antialias=True")
    have = input.shape[2:]
    scales: list[Any] = [None] * n
    if size is not None:
        sizes = _each(size, n, "output size", input.shape)
        if not all(hasattr(s, "__index__") for s in sizes):
            raise TypeError(f"expected size to be one of int or a tuple of {n} ints, but got {size!r}")
        sizes = [s.__index__() for s in sizes]
    else:
        scales = [float(s) for s in _each(scale_factor, n, "scale_factor", input.shape)]
        sizes = [math.floor(h * s) for h, s in zip(have, scales, strict=True)]
        if recompute_scale_factor or mode == "area":
            scales = [None] * n
    if mode == "area":
        return _adaptive_avg_pool_nd(n, input, tuple(sizes))
    if min(have) < 1 or min(sizes) < 1 or input.shape[1] < 1:
        raise RuntimeError(
            f"Input and output sizes should be greater than 0, but got input of shape {list(input.shape)} and output "
            f"size {sizes}"
        )
    if n == 2 and mode == "nearest":  # images that keep their size stay as they are, whatever the factor was
        scales = [None if h == s else scale for h, s, scale in zip(have, sizes, scales, strict=True)]
    if antialias and sizes == list(have):
        scales = [None] * n
    maps = tuple(
        _map_of(mode, h, s, bool(align_corners), scale, antialias)
        for h, s, scale in zip(have, sizes, scales, strict=True)
    )
    kind = input.array.dtype
    if plain or kind.kind in "fc":
        return resample_tensor(input, maps)  # type: ignore[no-any-return]
    if kind != np.uint8:
        raise RuntimeError(f'"interpolate" in mode {mode} not implemented for {input.dtype}')
    result = round(resample_tensor(cast(input, np.dtype(np.float32)), maps))
    return cast(clamp(result, 0, 255), kind)


def _map_of(mode: str, size: int, out: int, align_corners: bool, scale: float | None, antialias: bool) -> AxisMap:
    if mode in ("nearest", "nearest-exact"):
        return _nearest_map(size, out, mode == "nearest-exact", scale)
    if antialias:
        return _smoothing_map(size, out, align_corners, scale, mode)
    return (_cubic_map if mode == "bicubic" else _linear_map)(size, out, align_corners, scale)


def _warn_deprecated(name: str) -> None:
    warnings.warn(f"`nn.functional.{name}` is deprecated. Use `nn.functional.interpolate` instead.", stacklevel=3)


def upsample(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> Tensor:
    """The older name of `interpolate`."""
    _warn_deprecated("upsample")
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` in mode "nearest"."""
    _warn_deprecated("upsample_nearest")
    return interpolate(input, size, scale_factor, mode="nearest")


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` in mode "bilinear" with aligned corners."""
    _warn_deprecated("upsample_bilinear")
    return interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)
