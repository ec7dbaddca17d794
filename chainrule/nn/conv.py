"""Convolutions as layers, transposed ones, and sliding blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ..core.tensor import Tensor
from ..ops.convolution import Sizes, sizes_of
from . import functional as F
from . import init
from .linear import empty_parameter
from .module import Module

__all__ = [
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Fold",
    "Unfold",
]

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class Convolution(Module):
    """What all convolutions share: the settings, a number for each of `spatial` axes, and the parameters.

    Weights and biases start uniform on (-1/sqrt(k), 1/sqrt(k)), where k numbers reach each result: He et al. 2015 with
    a = sqrt(5).
    """

    spatial: int
    transposed = False
    operation: Callable[..., Tensor]
    padding: Sizes | str

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        output_padding: Any,
        groups: int,
        bias: bool,
        padding_mode: str,
        dtype: Any,
    ) -> None:
        super().__init__()
        if groups <= 0:
            raise ValueError(f"groups must be a positive integer, got {groups}")
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels % groups:
                raise ValueError(f"{name} must be divisible by groups, got {name}={channels} and groups={groups}")
        if padding_mode not in PADDING_MODES:
            raise ValueError(f"padding_mode must be one of {PADDING_MODES}, but got padding_mode='{padding_mode}'")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = self._numbers(kernel_size, "kernel_size")
        self.stride = self._numbers(stride, "stride")
        self.padding = padding if isinstance(padding, str) else self._numbers(padding, "padding")
        self.dilation = self._numbers(dilation, "dilation")
        self.output_padding = self._numbers(output_padding, "output_padding")
        self.groups = groups
        self.padding_mode = padding_mode
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(f"Invalid padding string {padding!r}, should be one of 'same', 'valid'")
            if padding == "same" and any(step != 1 for step in self.stride):
                raise ValueError(f"padding='same' is not supported for strided convolutions, got stride={self.stride}")
        first, second = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        self.weight = empty_parameter(first, second // groups, *self.kernel_size, dtype=dtype)
        if bias:
            self.bias = empty_parameter(out_channels, dtype=dtype)
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def _numbers(self, value: Any, name: str) -> Sizes:
        return sizes_of(value, name, self.spatial, type(self).__name__)

    def reset_parameters(self) -> None:
        """Draw new values for weight and bias."""
        inputs = math.prod(self.weight.shape[1:])
        if not inputs:
            return
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(inputs)
            init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        """The sizes, and the settings that are not the default."""
        shown = {"kernel_size": self.kernel_size, "stride": self.stride}
        plain: tuple[tuple[str, Any, Any], ...] = (
            ("padding", self.padding, (0,) * self.spatial),
            ("dilation", self.dilation, (1,) * self.spatial),
            ("output_padding", self.output_padding, (0,) * self.spatial),
            ("groups", self.groups, 1),
            ("bias", self.bias is not None, True),
            ("padding_mode", self.padding_mode, "zeros"),
        )
        shown.update((name, value) for name, value, default in plain if value != default)
        settings = ", ".join(f"{name}={value}" for name, value in shown.items())
        return f"{self.in_channels}, {self.out_channels}, {settings}"


class _Conv(Convolution):
    """A convolution that is not transposed."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, 0, groups, bias, padding_mode, dtype
        )

    def _pads(self) -> list[int]:
        """What `functional.pad` is to add, for the modes other than zeros."""
        if self.padding == "valid":
            return [0, 0] * self.spatial
        if isinstance(self.padding, str):
            totals = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            pairs = [(total // 2, total - total // 2) for total in totals]
        else:
            pairs = [(p, p) for p in self.padding]
        return [n for pair in reversed(pairs) for n in pair]

    def forward(self, input: Tensor) -> Tensor:
        """The convolution plus bias."""
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            input = F.pad(input, self._pads(), self.padding_mode)
            padding = 0
        return type(self).operation(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class _ConvTranspose(Convolution):
    """A transposed convolution."""

    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}, got "{padding_mode}"')
        if isinstance(padding, str):
            raise TypeError(f"{type(self).__name__}: padding must be an integer or a tuple of them, got {padding!r}")
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            output_padding,
            groups,
            bias,
            padding_mode,
            dtype,
        )

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """The transposed convolution plus bias.

        Args:
            input: (N, C, *spatial) or (C, *spatial).
            output_size: the spatial sizes that are wanted, in place of `output_padding`; a stride above 1 leaves a
                choice.

        Raises:
            ValueError: no `output_padding` gives that size.
        """
        further = self.output_padding if output_size is None else self._further(input, tuple(output_size))
        return type(self).operation(
            input, self.weight, self.bias, self.stride, self.padding, further, self.groups, self.dilation
        )

    def _further(self, input: Tensor, wanted: Sizes) -> Sizes:
        """The `output_padding` for a result of the `wanted` sizes."""
        lead = input.ndim - self.spatial
        if len(wanted) == input.ndim:
            wanted = wanted[lead:]
        if len(wanted) != self.spatial:
            raise ValueError(
                f"{type(self).__name__}: for {input.ndim}D input, output_size must have {self.spatial} or {input.ndim} "
                f"elements (got {len(wanted)})"
            )
        numbers = zip(input.shape[lead:], self.stride, self._numbers(self.padding, "padding"), strict=True)
        least = [
            (n - 1) * step - 2 * p + d * (k - 1) + 1
            for (n, step, p), d, k in zip(numbers, self.dilation, self.kernel_size, strict=True)
        ]
        most = [n + step - 1 for n, step in zip(least, self.stride, strict=True)]
        if any(not low <= size <= high for low, size, high in zip(least, wanted, most, strict=True)):
            raise ValueError(
                f"requested an output size of {wanted}, but valid sizes range from {least} to {most} (for an input of "
                f"{tuple(input.shape[lead:])})"
            )
        return tuple(size - low for size, low in zip(wanted, least, strict=True))


class Conv1d(_Conv):
    """The cross-correlation of (N, C, L) or (C, L) with `out_channels` kernels, plus a bias.

    Args:
        in_channels: C.
        out_channels: the channels of the result.
        kernel_size: how many neighbours a result sees.
        stride: the distance between windows.
        padding: a number of elements added to both ends, "same" or "valid".
        dilation: the distance between the elements of a window.
        groups: how many groups of channels are kept apart.
        bias: whether there is a bias.
        padding_mode: what is added: "zeros", "reflect", "replicate" or "circular".

    Attributes:
        weight: (out_channels, in_channels / groups, kernel_size).
        bias: (out_channels,) or None.

    >>> import chainrule as cr
    >>> Conv1d(3, 8, 5, stride=2, padding=2)(cr.ones(4, 3, 10)).shape
    (4, 8, 5)
    """

    spatial = 1
    operation = staticmethod(F.conv1d)


class Conv2d(_Conv):
    """The cross-correlation of (N, C, H, W) or (C, H, W) with `out_channels` kernels, plus a bias.

    Arguments as for `Conv1d`; sizes are one number, or one for each of the two axes.

    Attributes:
        weight: (out_channels, in_channels / groups, *kernel_size).
        bias: (out_channels,) or None.

    >>> import chainrule as cr
    >>> Conv2d(3, 8, 3, padding="same")
    Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1), padding=same)
    >>> Conv2d(3, 8, 3, padding="same")(cr.ones(4, 3, 10, 12)).shape
    (4, 8, 10, 12)
    """

    spatial = 2
    operation = staticmethod(F.conv2d)


class Conv3d(_Conv):
    """The cross-correlation of (N, C, D, H, W) or (C, D, H, W) with `out_channels` kernels, plus a bias.

    Arguments as for `Conv1d`; sizes are one number, or one for each of the three axes.

    >>> import chainrule as cr
    >>> Conv3d(1, 2, 3)(cr.ones(1, 1, 5, 5, 5)).shape
    (1, 2, 3, 3, 3)
    """

    spatial = 3
    operation = staticmethod(F.conv3d)


class ConvTranspose1d(_ConvTranspose):
    """The gradient of `Conv1d` for its input, as a layer: makes (N, C, L) longer by the stride.

    Args:
        in_channels: C.
        out_channels: the channels of the result.
        kernel_size: how many results an element reaches.
        stride: the distance between what neighbours reach.
        padding: how much is cut off at both ends.
        output_padding: how much is added at the end, below stride or dilation.
        groups: how many groups of channels are kept apart.
        bias: whether there is a bias.
        dilation: the distance between the elements of a window.
        padding_mode: "zeros".

    Attributes:
        weight: (in_channels, out_channels / groups, kernel_size).
        bias: (out_channels,) or None.

    >>> import chainrule as cr
    >>> ConvTranspose1d(3, 8, 4, stride=2, padding=1)(cr.ones(4, 3, 10)).shape
    (4, 8, 20)
    """

    spatial = 1
    operation = staticmethod(F.conv_transpose1d)


class ConvTranspose2d(_ConvTranspose):
    """The gradient of `Conv2d` for its input, as a layer; arguments as for `ConvTranspose1d`.

    >>> import chainrule as cr
    >>> layer = ConvTranspose2d(3, 8, 3, stride=2, padding=1)
    >>> layer(cr.ones(4, 3, 5, 5)).shape, layer(cr.ones(4, 3, 5, 5), output_size=(10, 9)).shape
    ((4, 8, 9, 9), (4, 8, 10, 9))
    """

    spatial = 2
    operation = staticmethod(F.conv_transpose2d)


class ConvTranspose3d(_ConvTranspose):
    """The gradient of `Conv3d` for its input, as a layer; arguments as for `ConvTranspose1d`.

    >>> import chainrule as cr
    >>> ConvTranspose3d(1, 2, 2, stride=2)(cr.ones(1, 1, 3, 3, 3)).shape
    (1, 2, 6, 6, 6)
    """

    spatial = 3
    operation = staticmethod(F.conv_transpose3d)


class Unfold(Module):
    """The sliding blocks of images as columns: (N, C, H, W) gives (N, C * K * K, blocks).

    >>> import chainrule as cr
    >>> Unfold(kernel_size=(2, 3))(cr.ones(2, 5, 3, 4)).shape
    (2, 30, 4)
    """

    def __init__(self, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, input: Tensor) -> Tensor:
        """The columns."""
        return F.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        """The settings."""
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}, stride={self.stride}"


class Fold(Module):
    """Images of `output_size` as the sum of their sliding blocks, given as columns (N, C * K * K, blocks).

    >>> import chainrule as cr
    >>> Fold(output_size=(4, 5), kernel_size=(2, 2))(cr.ones(1, 3 * 2 * 2, 12)).shape
    (1, 3, 4, 5)
    """

    def __init__(
        self, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, input: Tensor) -> Tensor:
        """The images."""
        return F.fold(input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        """The settings."""
        return (
            f"output_size={self.output_size}, kernel_size={self.kernel_size}, dilation={self.dilation}, "
            f"padding={self.padding}, stride={self.stride}"
        )
