"""Lazy layers: the number of features that come in is found at the first call.

A lazy layer's parameters have no shape until then, but are the same objects afterwards, so that an optimiser may be
given them before. The layer then becomes one of the ordinary class.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..core.tensor import Tensor
from ..random import fork_rng
from . import conv, linear, normalization
from .module import Module
from .parameter import UninitializedBuffer, UninitializedParameter, is_lazy

__all__ = [
    "LazyBatchNorm1d",
    "LazyBatchNorm2d",
    "LazyBatchNorm3d",
    "LazyConv1d",
    "LazyConv2d",
    "LazyConv3d",
    "LazyConvTranspose1d",
    "LazyConvTranspose2d",
    "LazyConvTranspose3d",
    "LazyInstanceNorm1d",
    "LazyInstanceNorm2d",
    "LazyInstanceNorm3d",
    "LazyLinear",
]

if TYPE_CHECKING:
    _Base = Module
else:
    _Base = object  # mixed in before the layer's class


class LazyModuleMixin(_Base):
    """For a module whose parameters get their shapes at the first call: mix it in, and define `initialize_parameters`.

    `cls_to_become`, if it is given, is the module's class from then on.
    """

    cls_to_become: ClassVar[type[Module] | None] = None

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Give all parameters and buffers their shapes and values; called with the arguments of the first call."""
        raise NotImplementedError(f"initialize_parameters is not implemented for {type(self).__name__}")

    def has_uninitialized_params(self) -> bool:
        """Whether a parameter or buffer of this module alone has no shape yet."""
        return any(is_lazy(t) for t in itertools.chain(self._parameters.values(), self._buffers.values()))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.cls_to_become is not None or self.has_uninitialized_params():
            self.initialize_parameters(*args, **kwargs)
            if self.has_uninitialized_params():
                raise RuntimeError(f"module {type(self).__name__} has not been fully initialized")
            if self.cls_to_become is not None:
                self.__class__ = self.cls_to_become  # type: ignore[assignment]
                return self(*args, **kwargs)
        return super().__call__(*args, **kwargs)


class _LazyLayer(LazyModuleMixin):
    """A layer of this package without the first argument of its constructor."""

    counted: ClassVar[str]  # the attribute that says how many features come in

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        assert self.cls_to_become is not None
        settings = (args, kwargs)
        with fork_rng():  # the random numbers are drawn when the shapes are known
            model = self._ordinary(settings, self._least(args, kwargs))
        self.__dict__.update(model.__dict__)
        self.__dict__["_lazy_settings"] = settings
        setattr(self, self.counted, 0)
        for name, parameter in self._parameters.items():
            if parameter is not None:
                self._parameters[name] = UninitializedParameter(dtype=parameter.dtype)
        for name, buffer in self._buffers.items():
            if buffer is not None and buffer.ndim:
                self._buffers[name] = UninitializedBuffer(dtype=buffer.dtype)

    def _ordinary(self, settings: tuple[tuple[Any, ...], dict[str, Any]], count: int) -> Module:
        args, kwargs = settings
        assert self.cls_to_become is not None
        return self.cls_to_become(count, *args, **kwargs)

    def _least(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
        """A number of features that the constructor accepts."""
        return 1

    def _count(self, input: Tensor) -> int:
        """How many features an input has."""
        raise NotImplementedError

    def reset_parameters(self) -> None:
        """Nothing: the parameters have no shapes yet."""

    def reset_running_stats(self) -> None:
        """Nothing: the buffers have no shapes yet."""

    def initialize_parameters(self, input: Tensor, *args: Any, **kwargs: Any) -> None:
        """Shapes and values as an ordinary layer's for this input; what was loaded keeps its values."""
        if not isinstance(input, Tensor):
            raise TypeError(f"{type(self).__name__}: input must be a Tensor, but got {type(input).__name__}")
        model = self._ordinary(self._lazy_settings, self._count(input))
        for mine, theirs in ((self._parameters, model._parameters), (self._buffers, model._buffers)):
            for name, tensor in mine.items():
                if is_lazy(tensor):
                    tensor.materialize(theirs[name].shape)
                    np.copyto(tensor.array, theirs[name].array)
        registries = {"_parameters", "_buffers", "_modules", "training"}
        for name, value in model.__dict__.items():
            if name not in registries and not name.endswith(("_hooks", "_set")):
                self.__dict__[name] = value
        del self.__dict__["_lazy_settings"]


class LazyLinear(_LazyLayer, linear.Linear):
    """`Linear(in_features, ...)`, where in_features is the size of the first input's last axis.

    >>> import chainrule as cr
    >>> layer = LazyLinear(4)
    >>> layer(cr.ones(2, 3)).shape, layer
    ((2, 4), Linear(in_features=3, out_features=4, bias=True))
    """

    cls_to_become = linear.Linear
    counted = "in_features"

    def _count(self, input: Tensor) -> int:
        return int(input.shape[-1])


class _LazyConv(_LazyLayer):
    counted = "in_channels"

    def _least(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
        place = 5  # after out_channels, kernel_size, stride, padding, and dilation or output_padding
        return int(kwargs.get("groups", args[place] if len(args) > place else 1))

    def _count(self, input: Tensor) -> int:
        axes = self.spatial + 2
        if input.ndim not in (axes, axes - 1):
            raise RuntimeError(
                f"Expected {axes - 1}D (unbatched) or {axes}D (batched) input to {type(self).__name__}, but got input "
                f"of size: {input.shape}"
            )
        return int(input.shape[-self.spatial - 1])


class LazyConv1d(_LazyConv, conv.Conv1d):
    """`Conv1d(in_channels, ...)`, where in_channels is that of the first input."""

    cls_to_become = conv.Conv1d


class LazyConv2d(_LazyConv, conv.Conv2d):
    """`Conv2d(in_channels, ...)`, where in_channels is that of the first input."""

    cls_to_become = conv.Conv2d


class LazyConv3d(_LazyConv, conv.Conv3d):
    """`Conv3d(in_channels, ...)`, where in_channels is that of the first input."""

    cls_to_become = conv.Conv3d


class LazyConvTranspose1d(_LazyConv, conv.ConvTranspose1d):
    """`ConvTranspose1d(in_channels, ...)`, where in_channels is that of the first input."""

    cls_to_become = conv.ConvTranspose1d


class LazyConvTranspose2d(_LazyConv, conv.ConvTranspose2d):
    """`ConvTranspose2d(in_channels, ...)`, where in_channels is that of the first input."""

    cls_to_become = conv.ConvTranspose2d


class LazyConvTranspose3d(_LazyConv, conv.ConvTranspose3d):
    """`ConvTranspose3d(in_channels, ...)`, where in_channels is that of the first input."""

    cls_to_become = conv.ConvTranspose3d


class _LazyNorm(_LazyLayer):
    counted = "num_features"

    def _count(self, input: Tensor) -> int:
        self._check(input)
        single = isinstance(self, normalization._InstanceNorm) and input.ndim == self.dimensions[0]
        return int(input.shape[0 if single else 1])


class LazyBatchNorm1d(_LazyNorm, normalization.BatchNorm1d):
    """`BatchNorm1d(num_features, ...)`, where num_features is that of the first input."""

    cls_to_become = normalization.BatchNorm1d


class LazyBatchNorm2d(_LazyNorm, normalization.BatchNorm2d):
    """`BatchNorm2d(num_features, ...)`, where num_features is that of the first input."""

    cls_to_become = normalization.BatchNorm2d


class LazyBatchNorm3d(_LazyNorm, normalization.BatchNorm3d):
    """`BatchNorm3d(num_features, ...)`, where num_features is that of the first input."""

    cls_to_become = normalization.BatchNorm3d


class _LazyInstanceNorm(_LazyNorm):
    """Has parameters and running statistics unless told otherwise, in contrast to the ordinary layer, as in PyTorch."""

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(eps, momentum, affine, track_running_stats, device, dtype, bias=bias)


class LazyInstanceNorm1d(_LazyInstanceNorm, normalization.InstanceNorm1d):
    """`InstanceNorm1d(num_features, ...)`, where num_features is that of the first input."""

    cls_to_become = normalization.InstanceNorm1d


class LazyInstanceNorm2d(_LazyInstanceNorm, normalization.InstanceNorm2d):
    """`InstanceNorm2d(num_features, ...)`, where num_features is that of the first input."""

    cls_to_become = normalization.InstanceNorm2d


class LazyInstanceNorm3d(_LazyInstanceNorm, normalization.InstanceNorm3d):
    """`InstanceNorm3d(num_features, ...)`, where num_features is that of the first input."""

    cls_to_become = normalization.InstanceNorm3d
