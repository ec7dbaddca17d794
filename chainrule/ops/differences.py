"""`gradient`: derivatives of a function that is known at points, by central differences."""

from __future__ import annotations

from typing import Any

from ..core.tensor import Tensor
from .common import as_tensor_argument, normalize_axes
from .shape import cat, part, reshape

__all__ = ["gradient"]


def gradient(input: Any, *, spacing: Any = None, dim: Any = None, edge_order: int = 1) -> tuple[Tensor, ...]:
    """The derivative of samples along each axis: second order inside, of order `edge_order` at the two ends.

    Args:
        spacing: the distance between points (1), one for each axis, or for each axis the points' coordinates.
        dim: an axis or several; all if left out.

    Raises:
        RuntimeError: an axis with too few points; a number of spacings or coordinates that does not fit.

    >>> import chainrule as cr
    >>> cr.gradient(cr.tensor([1.0, 4.0, 9.0, 16.0]))[0].tolist()
    [3.0, 4.0, 6.0, 7.0]
    """
    input = as_tensor_argument(input)
    if edge_order not in (1, 2):
        raise RuntimeError(f"torch.gradient only supports edge_order=1 and edge_order=2, got {edge_order}")
    alone = dim is None and isinstance(spacing, (tuple, list))
    axes = tuple(range(len(spacing))) if alone and len(spacing) < input.ndim else normalize_axes(dim, input.ndim)
    steps = list(spacing) if isinstance(spacing, (tuple, list)) else [1 if spacing is None else spacing] * len(axes)
    if len(steps) != len(axes):
        raise RuntimeError(f"torch.gradient expected spacing for each of the {len(axes)} axes, got {len(steps)}")
    return tuple(_along(input, axis, step, edge_order) for axis, step in zip(axes, steps, strict=True))


def _along(input: Tensor, axis: int, step: Any, edge_order: int) -> Tensor:
    points = input.shape[axis] if input.ndim else 0
    if points <= edge_order:
        raise RuntimeError(
            "torch.gradient expected each dimension size to be at least edge_order+1, "
            f"got {points} along axis {axis} of {input.shape}"
        )

    def at(start: int, stop: int | None) -> Tensor:
        return part(input, axis, slice(start, stop))

    if isinstance(step, Tensor) and step.ndim:
        if step.shape != (points,):
            raise RuntimeError(
                f"torch.gradient expected a coordinate for each of the {points} points along axis {axis}, got "
                f"shape {step.shape}"
            )
        gaps = reshape(step[1:] - step[:-1], tuple(points - 1 if i == axis else 1 for i in range(input.ndim)))

        def gap(start: int, stop: int | None) -> Any:
            return part(gaps, axis, slice(start, stop))
    else:

        def gap(start: int, stop: int | None) -> Any:
            return step

    even = not (isinstance(step, Tensor) and step.ndim)
    # Fornberg (1988): the weights of three points at distances a and b; of equal ones the point between has none
    a, b = gap(0, -1), gap(1, None)
    inside = [] if points < 3 else [
        (at(2, None) - at(0, -2)) / (2 * step) if even else
        at(0, -2) * (-b / (a * (a + b))) + at(1, -1) * ((b - a) / (a * b)) + at(2, None) * (a / (b * (a + b)))
    ]  # fmt: skip
    if edge_order == 1:
        first = (at(1, 2) - at(0, 1)) / gap(0, 1)
        last = (at(points - 1, None) - at(points - 2, points - 1)) / gap(points - 2, None)
    else:
        a, b = gap(0, 1), gap(1, 2)
        first = (
            at(0, 1) * (-(2 * a + b) / (a * (a + b))) + at(1, 2) * ((a + b) / (a * b)) + at(2, 3) * (-a / (b * (a + b)))
        )
        a, b = gap(points - 3, points - 2), gap(points - 2, None)
        last = (
            at(points - 3, points - 2) * (b / (a * (a + b)))
            + at(points - 2, points - 1) * (-(a + b) / (a * b))
            + at(points - 1, None) * ((2 * b + a) / (b * (a + b)))
        )
    return cat([first, *inside, last], axis)
