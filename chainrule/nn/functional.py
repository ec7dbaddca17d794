"""Layers, activations and losses as functions, under PyTorch's names.

Those with a derivative of their own come from the table in `chainrule.ops`; the rest are written with them here.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..absent import absent as _absent
from ..core.grad_mode import no_grad
from ..core.tensor import Tensor, make_tensor
from ..core.tracing import bounded, checked
from ..ops.activation import celu as celu
from ..ops.activation import celu_ as celu_
from ..ops.activation import elu as elu
from ..ops.activation import elu_ as elu_
from ..ops.activation import gelu as gelu
from ..ops.activation import hardshrink as hardshrink
from ..ops.activation import hardsigmoid as hardsigmoid
from ..ops.activation import hardswish as hardswish
from ..ops.activation import hardtanh as hardtanh
from ..ops.activation import hardtanh_ as hardtanh_
from ..ops.activation import leaky_relu as leaky_relu
from ..ops.activation import leaky_relu_ as leaky_relu_
from ..ops.activation import logsigmoid as logsigmoid
from ..ops.activation import mish as mish
from ..ops.activation import prelu as prelu
from ..ops.activation import relu as _relu
from ..ops.activation import relu6 as relu6
from ..ops.activation import relu_ as relu_
from ..ops.activation import selu as selu
from ..ops.activation import selu_ as selu_
from ..ops.activation import sigmoid as sigmoid
from ..ops.activation import silu as silu
from ..ops.activation import softplus as softplus
from ..ops.activation import softshrink as softshrink
from ..ops.activation import softsign as softsign
from ..ops.activation import tanhshrink as tanhshrink
from ..ops.activation import threshold as threshold
from ..ops.activation import threshold_ as threshold_
from ..ops.common import as_tensor_argument, numpy_names
from ..ops.contraction import bilinear as bilinear
from ..ops.contraction import linear_operation
from ..ops.convolution import conv1d as conv1d
from ..ops.convolution import conv2d as conv2d
from ..ops.convolution import conv3d as conv3d
from ..ops.convolution import conv_tbc as conv_tbc
from ..ops.convolution import conv_transpose1d as conv_transpose1d
from ..ops.convolution import conv_transpose2d as conv_transpose2d
from ..ops.convolution import conv_transpose3d as conv_transpose3d
from ..ops.convolution import fold as fold
from ..ops.convolution import unfold as unfold
from ..ops.elementwise import abs as _abs
from ..ops.elementwise import clamp, exp, log, minimum, sqrt
from ..ops.elementwise import tanh as tanh
from ..ops.grid import affine_grid as affine_grid
from ..ops.grid import grid_sample as grid_sample
from ..ops.indexing import gather, where
from ..ops.interpolation import interpolate as interpolate
from ..ops.interpolation import upsample as upsample
from ..ops.interpolation import upsample_bilinear as upsample_bilinear
from ..ops.interpolation import upsample_nearest as upsample_nearest
from ..ops.loss import elementwise_binary_cross_entropy
from ..ops.normalisation import _legacy_reduction as legacy_reduction
from ..ops.normalisation import batch_norm as batch_norm
from ..ops.normalisation import cross_entropy as cross_entropy
from ..ops.normalisation import group_norm as group_norm
from ..ops.normalisation import instance_norm as instance_norm
from ..ops.normalisation import layer_norm as layer_norm
from ..ops.normalisation import log_softmax as _log_softmax
from ..ops.normalisation import nll_loss as nll_loss
from ..ops.normalisation import reduced
from ..ops.normalisation import rms_norm as rms_norm
from ..ops.normalisation import softmax as _softmax
from ..ops.normalisation import softmin as _softmin
from ..ops.pixels import channel_shuffle as channel_shuffle
from ..ops.pixels import pixel_shuffle as pixel_shuffle
from ..ops.pixels import pixel_unshuffle as pixel_unshuffle
from ..ops.pooling import adaptive_avg_pool1d as adaptive_avg_pool1d
from ..ops.pooling import adaptive_avg_pool2d as adaptive_avg_pool2d
from ..ops.pooling import adaptive_avg_pool3d as adaptive_avg_pool3d
from ..ops.pooling import adaptive_max_pool1d as adaptive_max_pool1d
from ..ops.pooling import adaptive_max_pool1d_with_indices as adaptive_max_pool1d_with_indices
from ..ops.pooling import adaptive_max_pool2d as adaptive_max_pool2d
from ..ops.pooling import adaptive_max_pool2d_with_indices as adaptive_max_pool2d_with_indices
from ..ops.pooling import adaptive_max_pool3d as adaptive_max_pool3d
from ..ops.pooling import adaptive_max_pool3d_with_indices as adaptive_max_pool3d_with_indices
from ..ops.pooling import avg_pool1d as avg_pool1d
from ..ops.pooling import avg_pool2d as avg_pool2d
from ..ops.pooling import avg_pool3d as avg_pool3d
from ..ops.pooling import fractional_max_pool2d as fractional_max_pool2d
from ..ops.pooling import fractional_max_pool2d_with_indices as fractional_max_pool2d_with_indices
from ..ops.pooling import fractional_max_pool3d as fractional_max_pool3d
from ..ops.pooling import fractional_max_pool3d_with_indices as fractional_max_pool3d_with_indices
from ..ops.pooling import local_response_norm as local_response_norm
from ..ops.pooling import lp_pool1d as lp_pool1d
from ..ops.pooling import lp_pool2d as lp_pool2d
from ..ops.pooling import lp_pool3d as lp_pool3d
from ..ops.pooling import max_pool1d as max_pool1d
from ..ops.pooling import max_pool1d_with_indices as max_pool1d_with_indices
from ..ops.pooling import max_pool2d as max_pool2d
from ..ops.pooling import max_pool2d_with_indices as max_pool2d_with_indices
from ..ops.pooling import max_pool3d as max_pool3d
from ..ops.pooling import max_pool3d_with_indices as max_pool3d_with_indices
from ..ops.pooling import max_unpool1d as max_unpool1d
from ..ops.pooling import max_unpool2d as max_unpool2d
from ..ops.pooling import max_unpool3d as max_unpool3d
from ..ops.reduction import logsumexp as logsumexp
from ..ops.reduction import mean, norm
from ..ops.reduction import pdist as pdist
from ..ops.reduction import sum as _sum
from ..ops.shape import broadcast_tensors
from ..ops.shape import flatten as flatten
from ..ops.shape import pad as pad
from ..ops.special import xlogy
from ..random import numbers_of
from .attention_functions import multi_head_attention_forward as multi_head_attention_forward
from .attention_functions import scaled_dot_product_attention as scaled_dot_product_attention
from .bags import embedding_bag as embedding_bag
from .ctc import ctc_loss as ctc_loss

linear = linear_operation

# ----- activations ------------------------------------------------------------------------------------------------


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(input, 0); the gradient at 0 is 0."""
    return relu_(input) if inplace else _relu(input)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half along an axis, times the sigmoid of the second half.

    Raises:
        RuntimeError: the axis has an odd length.
    """
    if input.ndim == 0:
        raise RuntimeError("glu does not support 0-dimensional tensors")
    if input.shape[dim] % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {dim} is size {input.shape[dim]}")
    first, second = input.chunk(2, dim)
    return first * sigmoid(second)  # type: ignore[no-any-return]


def rrelu(
    input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """Leaky ReLU whose slopes are drawn from [lower, upper] in training and are their mean otherwise."""
    if not training:
        return leaky_relu(input, (lower + upper) / 2, inplace)
    slopes = numbers_of(None).uniform(lower, upper, input.shape).astype(input.array.dtype)
    result = where(input >= 0, input, input * make_tensor(slopes, None))
    return _into(input, result, "rrelu_") if inplace else result


def _into(target: Tensor, result: Tensor, name: str) -> Tensor:
    from ..core.views import write_in_place

    return write_in_place(target, name, lambda _: result)


def _axis_or_guess(dim: int | None, ndim: int, name: str) -> int:
    """PyTorch's old guess for the axis of a softmax that is not told."""
    if dim is not None:
        return dim
    warnings.warn(f"Implicit dimension choice for {name} has been deprecated: write dim=", stacklevel=3)
    return 0 if ndim in (0, 1, 3) else 1


@numpy_names
def softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """exp(input), scaled to sum to 1 along an axis."""
    return _softmax(input, _axis_or_guess(dim, input.ndim, "softmax"), dtype)


@numpy_names
def log_softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """The logarithm of softmax along an axis, without overflow."""
    return _log_softmax(input, _axis_or_guess(dim, input.ndim, "log_softmax"), dtype)


@numpy_names
def softmin(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """softmax(-input) along an axis."""
    return _softmin(input, _axis_or_guess(dim, input.ndim, "softmin"), dtype)


def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """A sample of the Gumbel-softmax distribution (Jang et al. 2017); `hard` makes it one-hot with a soft gradient."""
    noise = numbers_of(None).gumbel(size=logits.shape).astype(logits.array.dtype)
    soft = softmax((logits + make_tensor(noise, None)) / tau, dim)
    if not hard:
        return soft
    sharp = (soft == soft.amax(dim, keepdim=True)).to(soft.dtype)
    return sharp - soft.detach() + soft  # type: ignore[no-any-return]


# ----- dropout ----------------------------------------------------------------------------------------------------


def _check_dropout(p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _kept(shape: tuple[int, ...], p: float) -> Any:
    """Where dropout keeps an element."""
    return numbers_of(None).random(shape, dtype=np.float32) >= np.float32(p)


def _dropped(input: Tensor, p: float, training: bool, inplace: bool, shape: tuple[int, ...]) -> Tensor:
    _check_dropout(p)
    if not training or p == 0:
        return input
    mask = _kept(shape, p).astype(input.array.dtype) if p < 1 else np.zeros(shape, input.array.dtype)
    if p < 1:
        mask *= 1 / (1 - p)
    return input.mul_(make_tensor(mask, None)) if inplace else input * make_tensor(mask, None)


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """In training each element becomes 0 with probability p, and the others grow by 1 / (1 - p).

    Raises:
        ValueError: p is no probability.
    """
    return _dropped(input, p, training, inplace, input.shape)


def _channels(input: Tensor, spatial: int, name: str) -> tuple[int, ...]:
    """The shape of a mask with one entry for each channel of (N, C, ...) or (C, ...)."""
    if input.ndim not in (spatial + 1, spatial + 2):
        raise RuntimeError(
            f"{name}: Expected {spatial + 1}D or {spatial + 2}D input, but received a {input.ndim}D input"
        )
    return (*input.shape[: input.ndim - spatial], *(1,) * spatial)


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """`dropout` of whole channels of (N, C, L) or (C, L)."""
    return _dropped(input, p, training, inplace, _channels(input, 1, "dropout1d"))


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """`dropout` of whole channels of (N, C, H, W) or (C, H, W)."""
    return _dropped(input, p, training, inplace, _channels(input, 2, "dropout2d"))


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """`dropout` of whole channels of (N, C, D, H, W) or (C, D, H, W)."""
    return _dropped(input, p, training, inplace, _channels(input, 3, "dropout3d"))


def _alpha_dropped(input: Tensor, p: float, training: bool, inplace: bool, shape: tuple[int, ...]) -> Tensor:
    """Dropout that keeps mean 0 and variance 1 behind SELU (Klambauer et al. 2017): dropped elements become -1.758."""
    _check_dropout(p)
    if not training or p == 0:
        return input
    low = -1.7580993408473766
    kind = input.array.dtype
    mask = _kept(shape, p).astype(kind)
    scale = 1 / math.sqrt((1 - p) * (1 + p * low * low)) if p < 1 else 0.0
    shift = ((1 - mask) * (low * scale) - low * scale * p).astype(kind)
    result = input * make_tensor((mask * scale).astype(kind), None) + make_tensor(shift, None)
    return _into(input, result, "alpha_dropout_") if inplace else result


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout that keeps the mean and variance of activations behind SELU."""
    return _alpha_dropped(input, p, training, inplace, input.shape)


def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """`alpha_dropout` of whole channels of (N, C, ...)."""
    return _alpha_dropped(input, p, training, inplace, input.shape[:2] + (1,) * (input.ndim - 2))


# ----- embedding --------------------------------------------------------------------------------------------------


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """The rows of `weight` with the given numbers: integers of any shape (...) give (..., columns).

    Args:
        input: row numbers.
        weight: (rows, columns).
        padding_idx: a row that gets no gradient.
        max_norm: longer rows that are used are shortened to this norm, in place.
        norm_type: of which p-norm.
        scale_grad_by_freq: divide each row's gradient by how often it was used.
        sparse: warned about; gradients are dense, with the same values.

    Raises:
        IndexError: a number is no row's.
    """
    if sparse and weight.requires_grad:
        warnings.warn("sparse=True: there are no sparse tensors here, the weight's gradient is dense", stacklevel=2)
    numbers = as_tensor_argument(input).array
    rows = weight.shape[0]
    if numbers.dtype.kind not in "iu":
        raise RuntimeError(f"embedding: expected integer row numbers, got a tensor of {numbers.dtype}")
    if isinstance(numbers, np.ndarray) and numbers.size and (numbers.min() < 0 or numbers.max() >= rows):
        wrong = numbers[(numbers < 0) | (numbers >= rows)].flat[0]
        raise IndexError(
            f"index out of range in self: {wrong} is no row of an embedding with {rows} rows (0 to {rows - 1})"
        )
    if padding_idx is not None:
        if not -rows <= padding_idx < rows:
            raise AssertionError(f"Padding_idx must be within num_embeddings: {padding_idx} with {rows} rows")
        padding_idx %= rows
    numbers = bounded(numbers, rows)
    if max_norm is not None:
        _shorten_rows(weight, np.unique(numbers), max_norm, norm_type)
    result = weight[make_tensor(numbers, None)]
    if not numbers.ndim:  # which gives a view
        result = result.clone()
    if result.requires_grad and (padding_idx is not None or scale_grad_by_freq):
        scale = np.ones(numbers.shape, weight.array.dtype)
        if scale_grad_by_freq:
            uses = np.take(np.bincount(np.reshape(numbers, (-1,)), minlength=rows), numbers)
            scale = np.astype(scale / uses, weight.array.dtype)
        if padding_idx is not None:
            scale = np.where(numbers == padding_idx, 0, scale)
        factor = make_tensor(np.expand_dims(scale, -1), None)
        result.register_hook(lambda gradient: gradient * factor)
    return result


def _shorten_rows(weight: Tensor, rows: Any, max_norm: float, norm_type: float) -> None:
    with no_grad():
        lengths = np.linalg.norm(weight.array[rows], ord=norm_type, axis=1)
        long = lengths > max_norm
        if long.any():
            scale = (max_norm / (lengths[long] + 1e-7)).astype(weight.array.dtype)
            weight[make_tensor(rows[long], None)] = make_tensor(weight.array[rows[long]] * scale[:, None], None)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Class numbers of shape (...) as rows of zeros with a one, (..., num_classes).

    Raises:
        RuntimeError: no integers, a negative class, or one too large for `num_classes`.

    >>> import chainrule as cr
    >>> one_hot(cr.tensor([0, 2])).tolist()
    [[1, 0, 0], [0, 0, 1]]
    """
    numbers = tensor.array
    if numbers.dtype.kind not in "iu":
        raise RuntimeError(f"one_hot is only applicable to index tensor of type LongTensor, got {tensor.dtype}")
    if not numbers.size and num_classes <= 0:
        raise RuntimeError("Can not infer total number of classes from empty tensor.")
    known = isinstance(numbers, np.ndarray)
    if known and numbers.size and numbers.min() < 0:
        raise RuntimeError(f"Class values must be non-negative, got {numbers.min()}")
    if num_classes == -1:
        num_classes = int(numbers.max()) + 1
    elif known and numbers.size and numbers.max() >= num_classes:
        raise RuntimeError(f"Class values must be smaller than num_classes: {numbers.max()} with {num_classes} classes")
    numbers = checked(numbers, num_classes)
    return make_tensor((np.expand_dims(numbers, -1) == np.arange(num_classes)).astype(np.int64), None)


# ----- distances --------------------------------------------------------------------------------------------------


def normalize(input: Tensor, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: None = None) -> Tensor:
    """The input divided by its p-norm along an axis, or by eps if that is larger."""
    return input / clamp(norm(input, p, dim, keepdim=True), min=eps)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors along an axis; lengths below eps count as eps."""
    x1, x2 = broadcast_tensors(x1, x2)
    lengths = [clamp(norm(x, 2, dim, keepdim=True), min=eps) for x in (x1, x2)]
    return _sum((x1 / lengths[0]) * (x2 / lengths[1]), dim)


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The p-norm of `x1 - x2 + eps` along the last axis."""
    return norm(x1 - x2 + eps, p, -1, keepdim=keepdim)


# ----- losses -----------------------------------------------------------------------------------------------------


def _pair(input: Any, target: Any, name: str) -> tuple[Tensor, Tensor]:
    """Input and target as tensors, with PyTorch's warning where they have to be broadcast."""
    input, target = as_tensor_argument(input), as_tensor_argument(target)
    if input.shape != target.shape:
        warnings.warn(
            f"Using a target size {target.shape} that is different to the input size {input.shape} in {name}. This "
            "will likely lead to incorrect results due to broadcasting. Please ensure they have the same size.",
            stacklevel=3,
        )
    return input, target


def _weighted(loss: Tensor, weight: Any, reduction: str) -> Tensor:
    """Losses of elements with weights: the mean is divided by the sum of the weights."""
    if weight is None:
        return reduced(loss, reduction)  # type: ignore[no-any-return]
    loss = loss * weight
    if reduction == "mean":
        return _sum(loss) / _sum(weight.expand_as(loss))
    return reduced(loss, reduction)  # type: ignore[no-any-return]


def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """The square of `input - target`, reduced."""
    input, target = _pair(input, target, "mse_loss")
    difference = input - target
    return _weighted(difference * difference, weight, legacy_reduction(size_average, reduce, reduction))


def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """The absolute value of `input - target`, reduced."""
    input, target = _pair(input, target, "l1_loss")
    return _weighted(_abs(input - target), weight, legacy_reduction(size_average, reduce, reduction))


def _square_then_straight(distance: Any, bend: float) -> Any:
    """`distance^2 / 2` up to a bend, and a line from there on; without the square of what lies beyond."""
    near = clamp(distance, max=bend)
    return near * (distance - 0.5 * near)


def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """`d^2 / (2 beta)` where `|d| < beta` and `|d| - beta / 2` elsewhere, d = input - target, reduced."""
    if beta < 0:
        raise RuntimeError(f"smooth_l1_loss does not support negative values for beta, got {beta}")
    input, target = _pair(input, target, "smooth_l1_loss")
    distance = _abs(input - target)
    loss = _square_then_straight(distance, beta) / beta if beta else distance
    return reduced(loss, legacy_reduction(size_average, reduce, reduction))  # type: ignore[no-any-return]


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """`d^2 / 2` where `|d| <= delta` and `delta (|d| - delta / 2)` elsewhere, d = input - target, reduced."""
    if not isinstance(delta, (int, float)):
        raise TypeError(f"huber_loss: delta must be a float or int, got: {type(delta)}")
    if delta <= 0:
        raise RuntimeError(f"huber_loss does not support non-positive values for delta, got {delta}")
    input, target = _pair(input, target, "huber_loss")
    loss = _square_then_straight(_abs(input - target), delta)
    return _weighted(loss, weight, reduction)


def _same_shape(input: Any, target: Any, what: str) -> tuple[Tensor, Tensor]:
    input, target = as_tensor_argument(input), as_tensor_argument(target)
    if input.shape != target.shape:
        raise ValueError(f"{what}: target size {target.shape} must be the same as input size {input.shape}")
    return input, target


def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """`-(y log x + (1 - y) log(1 - x))` for probabilities x, with weights, reduced; logarithms count as -100 at least.

    Raises:
        ValueError: the shapes differ.
        RuntimeError: an input outside [0, 1].
    """
    input, target = _same_shape(input, target, "binary_cross_entropy")
    x = input.array
    if isinstance(x, np.ndarray) and x.size and not (x.min() >= 0 and x.max() <= 1):
        raise RuntimeError(
            f"all elements of input should be between 0 and 1, got values from {x.min()} to {x.max()}: "
            "use binary_cross_entropy_with_logits for logits"
        )
    loss = elementwise_binary_cross_entropy(input, target)
    if weight is not None:
        loss = loss * weight
    return reduced(loss, legacy_reduction(size_average, reduce, reduction))  # type: ignore[no-any-return]


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Binary cross entropy of sigmoid(input), without overflow; `pos_weight` multiplies the part of y = 1.

    Raises:
        ValueError: the shapes differ.
    """
    input, target = _same_shape(input, target, "binary_cross_entropy_with_logits")
    if pos_weight is None:
        loss = (1 - target) * input - logsigmoid(input)
    else:
        loss = (1 - target) * input - (1 + (pos_weight - 1) * target) * logsigmoid(input)
    if weight is not None:
        loss = loss * weight
    return reduced(loss, legacy_reduction(size_average, reduce, reduction))  # type: ignore[no-any-return]


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> Tensor:
    """The cross entropy of `linear(input, linear_weight, linear_bias)`.

    Args:
        input: (N, in) or (in,).
        linear_weight: (C, in), or (C, *places, in) for logits (N, C, *places).
        linear_bias: the weight's shape without its last size.
        options: PyTorch's settings for less memory; only None.

    Raises:
        NotImplementedError: options are given.
    """
    if options is not None:
        raise NotImplementedError("linear_cross_entropy: options (PyTorch's chunking) must be None")
    sizes = linear_weight.shape[:-1]
    flat_bias = None if linear_bias is None else linear_bias.reshape(-1)
    logits = linear(input, linear_weight.reshape(-1, linear_weight.shape[-1]), flat_bias)
    return cross_entropy(
        logits.reshape(*input.shape[:-1], *sizes),
        target,
        weight=weight,
        ignore_index=-100 if ignore_index is None else ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )


def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """`target (log target - input)` for log-probabilities; `reduction="batchmean"` divides by the first size."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    input, target = as_tensor_argument(input), as_tensor_argument(target)
    loss = exp(target) * (target - input) if log_target else xlogy(target, target) - target * input
    if reduction == "batchmean":
        return _sum(loss) / (input.shape[0] if input.ndim else 1)
    if reduction == "mean":
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size. "
            "'batchmean' divides only by the batch size, and aligns with the KL div math definition.",
            stacklevel=2,
        )
    return reduced(loss, reduction)  # type: ignore[no-any-return]


def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: Any = None,
    eps: float = 1e-8,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """The negative log-likelihood of counts under Poisson rates (or, by default, log-rates) `input`."""
    loss = exp(input) - target * input if log_input else input - target * log(input + eps)
    if full:  # Stirling's approximation of log(target!)
        stirling = xlogy(target, target) - target + 0.5 * log(2 * math.pi * where(target > 1, target, 1.0))
        loss = loss + where(target > 1, stirling, 0.0)
    return reduced(loss, legacy_reduction(size_average, reduce, reduction))  # type: ignore[no-any-return]


def gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """The negative log-likelihood of targets under normal distributions with means `input` and variances `var`.

    Raises:
        ValueError: a negative variance, or one whose shape does not fit.
    """
    if not isinstance(var, Tensor):
        var = make_tensor(np.full(input.shape, var, input.array.dtype), None)
    if type(var.array) is np.ndarray and np.any(var.array < 0):
        raise ValueError("var has negative entry/entries")
    if var.shape != input.shape:
        if input.shape[:-1] == var.shape:
            var = var.unsqueeze(-1)
        elif input.ndim != var.ndim or [b for a, b in zip(input.shape, var.shape, strict=True) if a != b] != [1]:
            raise ValueError(f"var is of incorrect size: {var.shape} for input of shape {input.shape}")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(reduction + " is not valid")
    with no_grad():
        missing = clamp(var, min=eps) - var
    var = var + missing  # clamped forward, while the gradient goes through everywhere
    difference = input - target
    loss = 0.5 * (log(var) + difference * difference / var)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return reduced(loss, reduction)  # type: ignore[no-any-return]


def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """The input where the target is 1, `max(0, margin - input)` where it is -1, reduced."""
    zero = make_tensor(np.zeros((), input.array.dtype), None)
    loss = where(target != 1, clamp(margin - input, min=0), zero) + where(target != -1, input, zero)
    return reduced(loss, legacy_reduction(size_average, reduce, reduction))  # type: ignore[no-any-return]


def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """`max(0, -target (input1 - input2) + margin)`, reduced.

    Raises:
        RuntimeError: different numbers of axes.
    """
    if not input1.ndim == input2.ndim == target.ndim:
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: input1: "
            f"{tuple(input1.shape)}, input2: {tuple(input2.shape)}, target: {tuple(target.shape)}"
        )
    loss = clamp(-target * (input1 - input2) + margin, min=0)
    return reduced(loss, legacy_reduction(size_average, reduce, reduction))  # type: ignore[no-any-return]


def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """`1 - cos` where the target is 1, `max(0, cos - margin)` where it is -1, reduced.

    Raises:
        RuntimeError: inputs that are neither (N, D) nor (D,), or a target that does not fit.
    """
    if (target.ndim, input1.ndim) not in ((0, 1), (1, 2)) or input1.ndim != input2.ndim:
        raise RuntimeError(
            f"{target.ndim}D target tensor expects {target.ndim + 1}D input tensors, but found inputs with sizes "
            f"{input1.shape} and {input2.shape}"
        )
    tiny = 1e-12  # as PyTorch adds it under the root
    product = _sum(input1 * input2, -1)
    cosine = product / sqrt((_sum(input1 * input1, -1) + tiny) * (_sum(input2 * input2, -1) + tiny))
    loss = where(target == 1, 1 - cosine, clamp(cosine - margin, min=0))
    loss = where(_abs(target) == 1, loss, make_tensor(np.zeros((), loss.array.dtype), None))
    return reduced(loss, legacy_reduction(size_average, reduce, reduction))  # type: ignore[no-any-return]


def soft_margin_loss(
    input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
) -> Tensor:
    """`log(1 + exp(-target input))`, reduced."""
    loss = softplus(-target * input, threshold=math.inf)
    return reduced(loss, legacy_reduction(size_average, reduce, reduction))  # type: ignore[no-any-return]


def check_labels(name: str, labels: Any, lowest: int, classes: int) -> None:
    """Refuse labels that are no classes, where their values are known.

    Raises:
        RuntimeError: names the label and the number of classes.
    """
    if isinstance(labels, np.ndarray) and labels.size and (labels.min() < lowest or labels.max() >= classes):
        wrong = labels[(labels < lowest) | (labels >= classes)].flat[0]
        raise RuntimeError(
            f"{name}: argument #2 'target' is out of range: label {wrong} with {classes} classes ({lowest} to "
            f"{classes - 1})"
        )


def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """`sum over i != y of max(0, margin - x[y] + x[i])^p / classes` for x of shape (N, C) or (C,), reduced."""
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    scores = input if input.ndim == 2 else input.reshape(1, -1)
    labels = target.reshape(-1)
    if labels.shape[0] != scores.shape[0]:
        raise RuntimeError(
            "multi_margin_loss: target tensor should be 1-D with size equal to the number of input samples (batch "
            f"size). Expected target size {[scores.shape[0]]}, but got {list(target.shape)}"
        )
    classes = scores.shape[1]
    if weight is not None and weight.shape != (classes,):
        raise RuntimeError(f"inconsistent weight size, expected {classes} but got {list(weight.shape)}")
    check_labels("multi_margin_loss", labels.array, 0, classes)
    own = gather(scores, 1, labels.unsqueeze(1))
    gaps = relu(margin - own + scores)  # which is flat where the margin is just kept
    if p == 2:
        gaps = gaps * gaps
    if weight is not None:
        gaps = gaps * weight[labels].unsqueeze(1)
    others = (1 - one_hot(labels, scores.shape[1])).to(gaps.dtype)
    loss = _sum(gaps * others, 1) / scores.shape[1]
    loss = loss.reshape(target.shape) if input.ndim != 2 else loss
    return reduced(loss, legacy_reduction(size_average, reduce, reduction))  # type: ignore[no-any-return]


def multilabel_margin_loss(
    input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
) -> Tensor:
    """`sum of max(0, 1 - x[y] + x[i]) / classes` over labels y and non-labels i; labels end at the first -1."""
    if input.shape != target.shape:
        raise RuntimeError(f"inconsistent target size: {target.shape} for labels of shape {input.shape}")
    scores = input.reshape(-1, input.shape[-1]) if input.ndim else input.reshape(1, 1)
    labels = target.array.reshape(scores.shape)
    check_labels("multilabel_margin_loss", labels, -1, scores.shape[1])
    listed = np.logical_and.accumulate(labels >= 0, axis=1)
    is_label = np.any((labels[:, :, None] == np.arange(scores.shape[1])) & listed[:, :, None], axis=1)
    own = gather(scores, 1, make_tensor(np.where(listed, labels, 0).astype(np.int64), None)).unsqueeze(2)
    pairs = (listed[:, :, None] & ~is_label[:, None, :]).astype(scores.array.dtype)
    loss = _sum(clamp(1 - own + scores.unsqueeze(1), min=0) * make_tensor(pairs, None), (1, 2)) / scores.shape[1]
    loss = loss.reshape(input.shape[:-1])
    return reduced(loss, legacy_reduction(size_average, reduce, reduction))  # type: ignore[no-any-return]


def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """The mean over classes of the binary cross entropy of sigmoid(input), reduced over the rest."""
    loss = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    if weight is not None:
        loss = loss * weight
    return reduced(mean(loss, -1), legacy_reduction(size_average, reduce, reduction))  # type: ignore[no-any-return]


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """`max(0, |anchor - positive| - |anchor - negative| + margin)` in p-norms, reduced."""
    return triplet_margin_with_distance_loss(
        anchor,
        positive,
        negative,
        distance_function=lambda x, y: pairwise_distance(x, y, p, eps),
        margin=margin,
        swap=swap,
        reduction=legacy_reduction(size_average, reduce, reduction),
    )


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """`max(0, d(anchor, positive) - d(anchor, negative) + margin)`, reduced.

    Args:
        swap: use the distance between positive and negative where that is smaller (Balntas et al. 2016).
    """
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: "
            f"anchor {anchor.ndim}D, positive {positive.ndim}D, and negative {negative.ndim}D inputs"
        )
    distance = pairwise_distance if distance_function is None else distance_function
    far = distance(anchor, negative)
    if swap:
        far = minimum(far, distance(positive, negative))
    return reduced(clamp(distance(anchor, positive) - far + margin, min=0), reduction)  # type: ignore[no-any-return]


__getattr__ = _absent(__name__)
