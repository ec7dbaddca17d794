"""Pooling layers: a window moves over the input and leaves its maximum, its mean or its p-norm at each place."""

from __future__ import annotations

from typing import Any, ClassVar

from ..core.tensor import Tensor
from . import functional as F
from .module import Module

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "FractionalMaxPool2d",
    "FractionalMaxPool3d",
    "LPPool1d",
    "LPPool2d",
    "LPPool3d",
    "LocalResponseNorm",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MaxUnpool1d",
    "MaxUnpool2d",
    "MaxUnpool3d",
]


def _each(value: Any, n: int) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * n


# ----- maxima ------------------------------------------------------------------------------------------------------


class _MaxPool(Module):
    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def extra_repr(self) -> str:
        """The settings."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"ceil_mode={self.ceil_mode}"
        )

    @property
    def _settings(self) -> tuple[Any, ...]:
        return self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices


class MaxPool1d(_MaxPool):
    """The maximum of each window: (N, C, L) to (N, C, L'); the batch may be missing.

    >>> import chainrule as cr
    >>> cr.nn.MaxPool1d(2)(cr.tensor([[1.0, 3.0, 2.0, 4.0]])).tolist()
    [[3.0, 4.0]]
    """

    def forward(self, input: Tensor) -> Any:
        """The maxima, and with `return_indices` their places."""
        return F.max_pool1d(input, *self._settings)


class MaxPool2d(_MaxPool):
    """The maximum of each window: (N, C, H, W) to (N, C, H', W'); the batch may be missing.

    >>> import chainrule as cr
    >>> cr.nn.MaxPool2d(2)(cr.zeros(8, 3, 28, 28)).shape
    (8, 3, 14, 14)
    """

    def forward(self, input: Tensor) -> Any:
        """The maxima, and with `return_indices` their places."""
        return F.max_pool2d(input, *self._settings)


class MaxPool3d(_MaxPool):
    """The maximum of each window: (N, C, D, H, W) to (N, C, D', H', W'); the batch may be missing.

    >>> import chainrule as cr
    >>> cr.nn.MaxPool3d(2)(cr.zeros(8, 3, 4, 6, 8)).shape
    (8, 3, 2, 3, 4)
    """

    def forward(self, input: Tensor) -> Any:
        """The maxima, and with `return_indices` their places."""
        return F.max_pool3d(input, *self._settings)


class _MaxUnpool(Module):
    axes: ClassVar[int]

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        self.kernel_size = _each(kernel_size, self.axes)
        self.stride = _each(kernel_size if stride is None else stride, self.axes)
        self.padding = _each(padding, self.axes)

    def extra_repr(self) -> str:
        """The settings."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """Puts what `MaxPool1d` found back where it was, among zeros: (N, C, L) to (N, C, L').

    >>> import chainrule as cr
    >>> values, places = cr.nn.MaxPool1d(2, return_indices=True)(cr.tensor([[1.0, 3.0, 4.0, 2.0]]))
    >>> cr.nn.MaxUnpool1d(2)(values, places).tolist()
    [[0.0, 3.0, 4.0, 0.0]]
    """

    axes = 1

    def forward(self, input: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        """Zeros with the maxima at their places."""
        return F.max_unpool1d(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool2d(_MaxUnpool):
    """Puts what `MaxPool2d` found back where it was, among zeros: (N, C, H, W) to (N, C, H', W').

    >>> import chainrule as cr
    >>> values, places = cr.nn.MaxPool2d(2, return_indices=True)(cr.zeros(1, 3, 6, 6))
    >>> cr.nn.MaxUnpool2d(2)(values, places).shape
    (1, 3, 6, 6)
    """

    axes = 2

    def forward(self, input: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        """Zeros with the maxima at their places."""
        return F.max_unpool2d(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool3d(_MaxUnpool):
    """Puts what `MaxPool3d` found back where it was, among zeros: (N, C, D, H, W) to (N, C, D', H', W').

    >>> import chainrule as cr
    >>> values, places = cr.nn.MaxPool3d(2, return_indices=True)(cr.zeros(1, 3, 4, 4, 4))
    >>> cr.nn.MaxUnpool3d(2)(values, places).shape
    (1, 3, 4, 4, 4)
    """

    axes = 3

    def forward(self, input: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        """Zeros with the maxima at their places."""
        return F.max_unpool3d(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class _FractionalMaxPool(Module):
    axes: ClassVar[int]

    def __init__(
        self,
        kernel_size: Any,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Any = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if output_size is None and output_ratio is None:
            raise ValueError(f"{name} requires specifying either an output size, or a pooling ratio")
        if output_size is not None and output_ratio is not None:
            raise ValueError("only one of output_size and output_ratio may be specified")
        self.kernel_size = _each(kernel_size, self.axes)
        self.return_indices = return_indices
        self.output_size = None if output_size is None else _each(output_size, self.axes)
        self.output_ratio = None if output_ratio is None else _each(output_ratio, self.axes)
        if self.output_ratio is not None and not all(0 < ratio < 1 for ratio in self.output_ratio):
            raise ValueError(f"output_ratio must be between 0 and 1 (got {output_ratio})")
        self.register_buffer("_random_samples", _random_samples)

    @property
    def _settings(self) -> tuple[Any, ...]:
        return self.kernel_size, self.output_size, self.output_ratio, self.return_indices, self._random_samples


class FractionalMaxPool2d(_FractionalMaxPool):
    """The maxima of windows at random steps: (N, C, H, W) to (N, C, H', W') of a given size or ratio.

    >>> import chainrule as cr
    >>> cr.nn.FractionalMaxPool2d(2, output_size=(5, 4))(cr.zeros(1, 3, 8, 8)).shape
    (1, 3, 5, 4)
    """

    axes = 2

    def forward(self, input: Tensor) -> Any:
        """The maxima, and with `return_indices` their places."""
        return F.fractional_max_pool2d(input, *self._settings)


class FractionalMaxPool3d(_FractionalMaxPool):
    """The maxima of windows at random steps: (N, C, D, H, W) to (N, C, D', H', W') of a given size or ratio.

    >>> import chainrule as cr
    >>> cr.nn.FractionalMaxPool3d(2, output_ratio=0.5)(cr.zeros(1, 3, 8, 8, 8)).shape
    (1, 3, 4, 4, 4)
    """

    axes = 3

    def forward(self, input: Tensor) -> Any:
        """The maxima, and with `return_indices` their places."""
        return F.fractional_max_pool3d(input, *self._settings)


# ----- means and norms ---------------------------------------------------------------------------------------------


class _AvgPool(Module):
    kernel_size: Any
    stride: Any
    padding: Any

    def extra_repr(self) -> str:
        """The settings."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(_AvgPool):
    """The mean of each window: (N, C, L) to (N, C, L'); the batch may be missing.

    >>> import chainrule as cr
    >>> cr.nn.AvgPool1d(2)(cr.tensor([[1.0, 3.0, 2.0, 4.0]])).tolist()
    [[2.0, 3.0]]
    """

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size = _each(kernel_size, 1)
        self.stride = _each(kernel_size if stride is None else stride, 1)
        self.padding = _each(padding, 1)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        """The means."""
        return F.avg_pool1d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


class _AvgPoolWithDivisor(_AvgPool):
    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    @property
    def _settings(self) -> tuple[Any, ...]:
        return (
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )


class AvgPool2d(_AvgPoolWithDivisor):
    """The mean of each window: (N, C, H, W) to (N, C, H', W'); the batch may be missing.

    >>> import chainrule as cr
    >>> cr.nn.AvgPool2d(3, stride=2, padding=1)(cr.zeros(8, 3, 28, 28)).shape
    (8, 3, 14, 14)
    """

    def forward(self, input: Tensor) -> Tensor:
        """The means."""
        return F.avg_pool2d(input, *self._settings)


class AvgPool3d(_AvgPoolWithDivisor):
    """The mean of each window: (N, C, D, H, W) to (N, C, D', H', W'); the batch may be missing.

    >>> import chainrule as cr
    >>> cr.nn.AvgPool3d(2)(cr.zeros(8, 3, 4, 6, 8)).shape
    (8, 3, 2, 3, 4)
    """

    def forward(self, input: Tensor) -> Tensor:
        """The means."""
        return F.avg_pool3d(input, *self._settings)


class _LPPool(Module):
    def __init__(self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> None:
        super().__init__()
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode

    def extra_repr(self) -> str:
        """The settings."""
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )

    @property
    def _settings(self) -> tuple[Any, ...]:
        return float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode


class LPPool1d(_LPPool):
    """The root of the sum of powers, `sum(x**p) ** (1 / p)`, of each window of (N, C, L).

    >>> import chainrule as cr
    >>> cr.nn.LPPool1d(2, 2)(cr.tensor([[3.0, 4.0]])).tolist()
    [[5.0]]
    """

    def forward(self, input: Tensor) -> Tensor:
        """The norms."""
        return F.lp_pool1d(input, *self._settings)


class LPPool2d(_LPPool):
    """The root of the sum of powers, `sum(x**p) ** (1 / p)`, of each window of (N, C, H, W).

    >>> import chainrule as cr
    >>> cr.nn.LPPool2d(2, 2)(cr.ones(1, 1, 4, 4)).shape
    (1, 1, 2, 2)
    """

    def forward(self, input: Tensor) -> Tensor:
        """The norms."""
        return F.lp_pool2d(input, *self._settings)


class LPPool3d(_LPPool):
    """The root of the sum of powers, `sum(x**p) ** (1 / p)`, of each window of (N, C, D, H, W).

    >>> import chainrule as cr
    >>> cr.nn.LPPool3d(2, 2)(cr.ones(1, 1, 4, 4, 4)).shape
    (1, 1, 2, 2, 2)
    """

    def forward(self, input: Tensor) -> Tensor:
        """The norms."""
        return F.lp_pool3d(input, *self._settings)


class LocalResponseNorm(Module):
    """Each element divided by `(k + alpha * mean of squares of neighbouring channels) ** beta`: (N, C, ...).

    >>> import chainrule as cr
    >>> cr.nn.LocalResponseNorm(2)(cr.ones(1, 4, 3, 3)).shape
    (1, 4, 3, 3)
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input: Tensor) -> Tensor:
        """The normalised input."""
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


# ----- of a wanted size --------------------------------------------------------------------------------------------


class _Adaptive(Module):
    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def extra_repr(self) -> str:
        """The settings."""
        return f"output_size={self.output_size}"


class _AdaptiveMaxPool(_Adaptive):
    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = return_indices


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The maxima of `output_size` nearly equal parts of (N, C, L).

    >>> import chainrule as cr
    >>> cr.nn.AdaptiveMaxPool1d(2)(cr.tensor([[1.0, 3.0, 2.0]])).tolist()
    [[3.0, 3.0]]
    """

    def forward(self, input: Tensor) -> Any:
        """The maxima, and with `return_indices` their places."""
        return F.adaptive_max_pool1d(input, self.output_size, self.return_indices)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The maxima of nearly equal parts of (N, C, H, W); None in `output_size` leaves an axis as it is.

    >>> import chainrule as cr
    >>> cr.nn.AdaptiveMaxPool2d((5, None))(cr.zeros(1, 3, 8, 9)).shape
    (1, 3, 5, 9)
    """

    def forward(self, input: Tensor) -> Any:
        """The maxima, and with `return_indices` their places."""
        return F.adaptive_max_pool2d(input, self.output_size, self.return_indices)


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The maxima of nearly equal parts of (N, C, D, H, W); None in `output_size` leaves an axis as it is.

    >>> import chainrule as cr
    >>> cr.nn.AdaptiveMaxPool3d(2)(cr.zeros(1, 3, 8, 9, 10)).shape
    (1, 3, 2, 2, 2)
    """

    def forward(self, input: Tensor) -> Any:
        """The maxima, and with `return_indices` their places."""
        return F.adaptive_max_pool3d(input, self.output_size, self.return_indices)


class AdaptiveAvgPool1d(_Adaptive):
    """The means of `output_size` nearly equal parts of (N, C, L).

    >>> import chainrule as cr
    >>> cr.nn.AdaptiveAvgPool1d(2)(cr.tensor([[1.0, 3.0, 5.0]])).tolist()
    [[2.0, 4.0]]
    """

    def forward(self, input: Tensor) -> Tensor:
        """The means."""
        return F.adaptive_avg_pool1d(input, self.output_size)


class AdaptiveAvgPool2d(_Adaptive):
    """The means of nearly equal parts of (N, C, H, W); None in `output_size` leaves an axis as it is.

    >>> import chainrule as cr
    >>> cr.nn.AdaptiveAvgPool2d(1)(cr.zeros(1, 3, 8, 9)).shape
    (1, 3, 1, 1)
    """

    def forward(self, input: Tensor) -> Tensor:
        """The means."""
        return F.adaptive_avg_pool2d(input, self.output_size)


class AdaptiveAvgPool3d(_Adaptive):
    """The means of nearly equal parts of (N, C, D, H, W); None in `output_size` leaves an axis as it is.

    >>> import chainrule as cr
    >>> cr.nn.AdaptiveAvgPool3d((5, 7, 9))(cr.zeros(1, 3, 8, 9, 10)).shape
    (1, 3, 5, 7, 9)
    """

    def forward(self, input: Tensor) -> Tensor:
        """The means."""
        return F.adaptive_avg_pool3d(input, self.output_size)
