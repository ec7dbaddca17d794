"""Padding layers: further elements at the ends of the last axes."""

from __future__ import annotations

from typing import Any, ClassVar

from ..core.tensor import Tensor
from . import functional as F
from .module import Module

__all__ = [
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]


class _Pad(Module):
    """What all share: `padding` is (before, after) for the last axis, then for the one before it, or one number."""

    axes: ClassVar[int]

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = tuple(padding) if isinstance(padding, (tuple, list)) else (padding,) * (2 * self.axes)

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.padding}"


class _PadByIndex(_Pad):
    """Padding with the input's own elements, which is known for one number of axes only."""

    mode: ClassVar[str]
    refusal: ClassVar[type[Exception]] = NotImplementedError

    def forward(self, input: Tensor) -> Tensor:
        """The padded input."""
        n = self.axes
        if input.ndim not in (n + 1, n + 2) or len(self.padding) != 2 * n:
            raise self.refusal(
                f"{type(self).__name__} expected {n + 1}D or {n + 2}D input (got {input.ndim}D input of shape "
                f"{input.shape}) and {2 * n} widths (got {self.padding})"
            )
        return F.pad(input, self.padding, self.mode)


class _ConstantPad(_Pad):
    value: float

    def forward(self, input: Tensor) -> Tensor:
        """The padded input."""
        return F.pad(input, self.padding, "constant", self.value)


class _ConstantPadOfValue(_ConstantPad):
    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def extra_repr(self) -> str:
        """The settings."""
        return f"padding={self.padding}, value={self.value}"


class _ZeroPad(_ConstantPad):
    def __init__(self, padding: Any) -> None:
        super().__init__(padding)
        self.value = 0.0


class _CircularPad(_PadByIndex):
    mode = "circular"
    refusal = ValueError


class CircularPad1d(_CircularPad):
    """(N, C, L) with further elements at both ends that continue from the other end; the batch may be missing.

    >>> import chainrule as cr
    >>> cr.nn.CircularPad1d(1)(cr.tensor([[[1.0, 2.0, 3.0]]])).tolist()
    [[[3.0, 1.0, 2.0, 3.0, 1.0]]]
    """

    axes = 1


class CircularPad2d(_CircularPad):
    """(N, C, H, W) with further elements at both ends that continue from the other end; the batch may be missing.

    >>> import chainrule as cr
    >>> cr.nn.CircularPad2d(1)(cr.zeros(2, 3, 4, 5)).shape
    (2, 3, 6, 7)
    """

    axes = 2


class CircularPad3d(_CircularPad):
    """(N, C, D, H, W) with further elements at both ends that continue from the other end; the batch may be missing.

    >>> import chainrule as cr
    >>> cr.nn.CircularPad3d(1)(cr.zeros(2, 3, 4, 5, 6)).shape
    (2, 3, 6, 7, 8)
    """

    axes = 3


class _ReflectionPad(_PadByIndex):
    mode = "reflect"


class ReflectionPad1d(_ReflectionPad):
    """(N, C, L) with further elements at both ends that mirror the input; the batch may be missing.

    >>> import chainrule as cr
    >>> cr.nn.ReflectionPad1d(1)(cr.tensor([[[1.0, 2.0, 3.0]]])).tolist()
    [[[2.0, 1.0, 2.0, 3.0, 2.0]]]
    """

    axes = 1


class ReflectionPad2d(_ReflectionPad):
    """(N, C, H, W) with further elements at both ends that mirror the input; the batch may be missing.

    >>> import chainrule as cr
    >>> cr.nn.ReflectionPad2d(1)(cr.zeros(2, 3, 4, 5)).shape
    (2, 3, 6, 7)
    """

    axes = 2


class ReflectionPad3d(_ReflectionPad):
    """(N, C, D, H, W) with further elements at both ends that mirror the input; the batch may be missing.

    >>> import chainrule as cr
    >>> cr.nn.ReflectionPad3d(1)(cr.zeros(2, 3, 4, 5, 6)).shape
    (2, 3, 6, 7, 8)
    """

    axes = 3


class _ReplicationPad(_PadByIndex):
    mode = "replicate"


class ReplicationPad1d(_ReplicationPad):
    """(N, C, L) with further elements at both ends that repeat the border; the batch may be missing.

    >>> import chainrule as cr
    >>> cr.nn.ReplicationPad1d(1)(cr.tensor([[[1.0, 2.0, 3.0]]])).tolist()
    [[[1.0, 1.0, 2.0, 3.0, 3.0]]]
    """

    axes = 1


class ReplicationPad2d(_ReplicationPad):
    """(N, C, H, W) with further elements at both ends that repeat the border; the batch may be missing.

    >>> import chainrule as cr
    >>> cr.nn.ReplicationPad2d(1)(cr.zeros(2, 3, 4, 5)).shape
    (2, 3, 6, 7)
    """

    axes = 2


class ReplicationPad3d(_ReplicationPad):
    """(N, C, D, H, W) with further elements at both ends that repeat the border; the batch may be missing.

    >>> import chainrule as cr
    >>> cr.nn.ReplicationPad3d(1)(cr.zeros(2, 3, 4, 5, 6)).shape
    (2, 3, 6, 7, 8)
    """

    axes = 3


class ConstantPad1d(_ConstantPadOfValue):
    """(N, C, L) with further elements of one value at both ends.

    >>> import chainrule as cr
    >>> cr.nn.ConstantPad1d(1, 3.5)(cr.tensor([[[1.0, 2.0, 3.0]]])).tolist()
    [[[3.5, 1.0, 2.0, 3.0, 3.5]]]
    """

    axes = 1


class ConstantPad2d(_ConstantPadOfValue):
    """(N, C, H, W) with further elements of one value at both ends.

    >>> import chainrule as cr
    >>> cr.nn.ConstantPad2d(1, 3.5)(cr.zeros(2, 3, 4, 5)).shape
    (2, 3, 6, 7)
    """

    axes = 2


class ConstantPad3d(_ConstantPadOfValue):
    """(N, C, D, H, W) with further elements of one value at both ends.

    >>> import chainrule as cr
    >>> cr.nn.ConstantPad3d(1, 3.5)(cr.zeros(2, 3, 4, 5, 6)).shape
    (2, 3, 6, 7, 8)
    """

    axes = 3


class ZeroPad1d(_ZeroPad):
    """(N, C, L) with further zeros at both ends.

    >>> import chainrule as cr
    >>> cr.nn.ZeroPad1d(1)(cr.tensor([[[1.0, 2.0, 3.0]]])).tolist()
    [[[0.0, 1.0, 2.0, 3.0, 0.0]]]
    """

    axes = 1


class ZeroPad2d(_ZeroPad):
    """(N, C, H, W) with further zeros at both ends.

    >>> import chainrule as cr
    >>> cr.nn.ZeroPad2d(1)(cr.zeros(2, 3, 4, 5)).shape
    (2, 3, 6, 7)
    """

    axes = 2


class ZeroPad3d(_ZeroPad):
    """(N, C, D, H, W) with further zeros at both ends.

    >>> import chainrule as cr
    >>> cr.nn.ZeroPad3d(1)(cr.zeros(2, 3, 4, 5, 6)).shape
    (2, 3, 6, 7, 8)
    """

    axes = 3
