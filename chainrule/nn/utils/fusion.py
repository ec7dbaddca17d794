"""Batch normalisation made part of the layer before it, for evaluation."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from ...core.tensor import Tensor
from ..module import Module
from ..parameter import Parameter

__all__ = ["fuse_conv_bn_eval", "fuse_conv_bn_weights", "fuse_linear_bn_eval", "fuse_linear_bn_weights"]

M = TypeVar("M", bound=Module)


def fuse_conv_bn_weights(
    conv_w: Tensor,
    conv_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:
    """The weight and bias of a convolution that does what a convolution and a batch norm in evaluation do."""
    scale: Any = (bn_rv + bn_eps).rsqrt()
    scale = scale if bn_w is None else scale * bn_w
    shape = [1, -1] if transpose else [-1, 1]
    weight = conv_w * scale.reshape(*shape, *[1] * (conv_w.ndim - 2))
    bias = -bn_rm * scale if conv_b is None else (conv_b - bn_rm) * scale
    bias = bias if bn_b is None else bias + bn_b
    return (
        Parameter(weight.detach().to(conv_w.dtype), conv_w.requires_grad),
        Parameter(bias.detach().to(conv_w.dtype), conv_w.requires_grad if conv_b is None else conv_b.requires_grad),
    )


def fuse_conv_bn_eval(conv: M, bn: Module, transpose: bool = False) -> M:
    """A copy of a convolution that does what it and the batch norm after it do in evaluation.

    Raises:
        AssertionError: one of them is in training mode.
    """
    if conv.training or bn.training:
        raise AssertionError("Fusion only for eval!")
    fused = copy.deepcopy(conv)
    fused.weight, fused.bias = fuse_conv_bn_weights(
        fused.weight, fused.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias, transpose
    )
    return fused


def fuse_linear_bn_weights(
    linear_w: Tensor, linear_b: Tensor | None, bn_rm: Tensor, bn_rv: Tensor, bn_eps: float, bn_w: Tensor, bn_b: Tensor
) -> tuple[Parameter, Parameter]:
    """The weight and bias of a linear layer that does what a linear layer and a batch norm in evaluation do."""
    return fuse_conv_bn_weights(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b)


def fuse_linear_bn_eval(linear: M, bn: Module) -> M:
    """A copy of a linear layer that does what it and the batch norm after it do in evaluation.

    Raises:
        AssertionError: one of them is in training mode, or their features differ in number.
    """
    if linear.training or bn.training:
        raise AssertionError("Fusion only for eval!")
    if linear.out_features != bn.num_features and bn.num_features != 1:
        raise AssertionError(f"linear has {linear.out_features} features, the batch norm {bn.num_features}")
    return fuse_conv_bn_eval(linear, bn)
