"""Channels into pixels and back: reshaping and permuting, no table of their own."""

from __future__ import annotations

from ..core.tensor import Tensor
from .common import as_tensor_argument
from .shape import clone, permute, reshape

__all__ = ["channel_shuffle", "pixel_shuffle", "pixel_unshuffle"]


def _check(input: Tensor, factor: int, name: str, what: str) -> None:
    if input.ndim < 3:
        raise RuntimeError(
            f"{name} expects input to have at least 3 dimensions, but got input with {input.ndim} dimension(s)"
        )
    if factor <= 0:
        raise RuntimeError(f"{name} expects a positive {what}, but got {factor}")


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(..., C * r**2, H, W) as (..., C, H * r, W * r): r**2 channels give each square of r * r pixels.

    Raises:
        RuntimeError: fewer than three axes, or channels that cannot be divided by r**2.

    >>> import chainrule as cr
    >>> cr.pixel_shuffle(cr.arange(4.0).reshape(4, 1, 1), 2).tolist()
    [[[0.0, 1.0], [2.0, 3.0]]]
    """
    input = as_tensor_argument(input)
    r = upscale_factor
    _check(input, r, "pixel_shuffle", "upscale_factor")
    *batch, channels, height, width = input.shape
    if channels % (r * r):
        raise RuntimeError(
            f"pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, "
            f"but input.size(-3)={channels} is not divisible by {r * r}"
        )
    b = len(batch)
    parts = reshape(input if r > 1 else clone(input), (*batch, channels // (r * r), r, r, height, width))
    parts = permute(parts, (*range(b), b, b + 3, b + 1, b + 4, b + 2))
    return reshape(parts, (*batch, channels // (r * r), height * r, width * r))


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(..., C, H * r, W * r) as (..., C * r**2, H, W): the inverse of `pixel_shuffle`.

    Raises:
        RuntimeError: fewer than three axes, or a height or width that cannot be divided by r.
    """
    input = as_tensor_argument(input)
    r = downscale_factor
    _check(input, r, "pixel_unshuffle", "downscale_factor")
    *batch, channels, height, width = input.shape
    for what, size, axis in (("height", height, -2), ("width", width, -1)):
        if size % r:
            raise RuntimeError(
                f"pixel_unshuffle expects {what} to be divisible by downscale_factor, but input.size({axis})={size} is "
                f"not divisible by {r}"
            )
    b = len(batch)
    parts = reshape(input if r > 1 else clone(input), (*batch, channels, height // r, r, width // r, r))
    parts = permute(parts, (*range(b), b, b + 2, b + 4, b + 1, b + 3))
    return reshape(parts, (*batch, channels * r * r, height // r, width // r))


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """The channels of (N, C, ...), in groups one after the other, dealt out in turns.

    Raises:
        RuntimeError: fewer than three axes, or channels that cannot be divided into the groups.

    >>> import chainrule as cr
    >>> cr.channel_shuffle(cr.arange(4).reshape(1, 4, 1), 2).reshape(-1).tolist()
    [0, 2, 1, 3]
    """
    input = as_tensor_argument(input)
    _check(input, groups, "channel_shuffle", "number of groups to divide channels in")
    batch, channels, *rest = input.shape
    if channels % groups:
        raise RuntimeError(
            f"Number of channels must be divisible by groups. Got {channels} channels and {groups} groups."
        )
    parts = reshape(input, (batch, groups, channels // groups, *rest))
    return reshape(permute(parts, (0, 2, 1, *range(3, parts.ndim))), input.shape)
