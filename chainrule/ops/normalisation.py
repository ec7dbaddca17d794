"""Softmax and its relatives, normalisation to mean 0 and variance 1, and the classification losses on top of them.

Two of the functions here take a last argument `saved`: what the caller has computed anyway and the backward function
would otherwise compute again. It is used for plain gradients only; a recorded backward pass, whose result will be
differentiated, starts from the tensor itself.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from ..core.broadcasting import sum_of_rows, unbroadcast
from ..core.dtypes import as_numpy_dtype
from ..core.forward import array_function, cast, record, wrap_forward_fn
from ..core.grad_mode import grad_mode
from ..core.table import backward, result_may_change
from ..core.tensor import Tensor, make_tensor
from ..core.tracing import bounded, recorder
from .common import as_tensor_argument, attach, is_complex, normalize_axis, numpy_names
from .kernels import Fused
from .memory import Memory
from .reduction import count, mean, sum
from .selection import select_tensor

__all__ = ["group_norm", "layer_norm", "log_softmax", "rms_norm", "softmax"]

# ----- the table: softmax ---------------------------------------------------------------------------------------------

SHORT = 1024  # elements of rows whose maxima are found sooner by argmax
MANY = 1024  # elements of all rows from which on that pays


def largest_along(x: Any, axis: int) -> Any:
    """`np.max(x, axis, keepdims=True)` of an ndarray; by argmax in rows that are short, which NumPy finds sooner.

    Both stop at NaN: the first one is the maximum.
    """
    rows = axis in (-1, x.ndim - 1) and x.size >= MANY and x.dtype.char in "fd" and x.flags.c_contiguous
    if not rows or not 1 < (columns := x.shape[axis]) <= SHORT:
        return np.maximum.reduce(x, axis=axis, keepdims=True)
    places = x.reshape(-1, columns).argmax(axis=1)
    places += np.arange(0, x.size, columns)
    return x.reshape(-1).take(places).reshape(*x.shape[:-1], 1)


@array_function
def _softmax(x: Any, axis: int) -> Any:
    """`exp(x) / sum(exp(x))` along an axis; the largest element is subtracted first, so nothing overflows."""
    if type(x) is np.ndarray and x.dtype.kind == "f" and x.size:
        found = softmax_rows.along_rows(axis, x)
        if found is not None:
            return found
        out = x - largest_along(x, axis)
        np.exp(out, out=out)
        out /= np.add.reduce(out, axis=axis, keepdims=True)
        return out
    if not math.prod(x.shape):
        return np.exp(x)
    exponentials = np.exp(x - np.max(np.real(x) if is_complex(x) else x, axis=axis, keepdims=True))
    return exponentials / np.sum(exponentials, axis=axis, keepdims=True)


@backward(_softmax, 0)
def softmax_back(grad_out: Any, out: Any, x: Any, axis: int) -> Any:
    r"""$\nabla_x L = out \left(\nabla_{out} L - \sum_{axis} out \nabla_{out} L\right)$"""
    if type(grad_out) is np.ndarray:
        found = softmax_back_rows.along_rows(axis, grad_out, out, None)
        if found is not None:
            return found
    weighted = grad_out * out
    return weighted - out * np.sum(weighted, axis=axis, keepdims=True)


softmax_rows, softmax_back_rows = Fused(_softmax, "rc", usual=()), Fused(softmax_back, "rc rc -", usual=())
softmax_back_fused = Fused(softmax_back, "rc rc -", over=(0,), usual=({"axis": -1},))


@array_function
def _log_softmax(x: Any, axis: int) -> Any:
    """The logarithm of `softmax`, exact where that is 0 in floating point."""
    if not math.prod(x.shape):
        return np.exp(x)
    if type(x) is np.ndarray and x.dtype.kind == "f":
        found = log_softmax_rows.along_rows(axis, x)
        if found is not None:
            return found
        out = x - largest_along(x, axis)
        out -= np.log(np.add.reduce(np.exp(out), axis=axis, keepdims=True))
        return out
    shifted = x - np.max(np.real(x) if is_complex(x) else x, axis=axis, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))


@backward(_log_softmax, 0)
def log_softmax_back(grad_out: Any, out: Any, x: Any, axis: int) -> Any:
    r"""$\nabla_x L = \nabla_{out} L - e^{out} \sum_{axis} \nabla_{out} L$"""
    if type(grad_out) is np.ndarray:
        found = log_softmax_back_rows.along_rows(axis, grad_out, out, None)
        if found is not None:
            return found
    return grad_out - np.exp(out) * np.sum(grad_out, axis=axis, keepdims=True)


log_softmax_rows = Fused(_log_softmax, "rc", usual=())
log_softmax_back_rows = Fused(log_softmax_back, "rc rc -", usual=())


# ----- the table: cross entropy of class numbers ----------------------------------------------------------------------


@functools.lru_cache(maxsize=64)
def _constants(lines: int, classes: int, dtype: Any) -> tuple[Any, Any, Any, Any]:
    """For a (lines, classes) array: where its lines begin when flattened; ones, and what averages lines by `dot`."""
    constants = (
        np.arange(lines) * classes,
        np.ones(classes, dtype),
        np.ones(lines, dtype),
        np.full(lines, 1 / lines, dtype),
    )
    for array in constants:
        array.flags.writeable = False
    return constants


@array_function
def mean_cross_entropy(x: Any, target: Any, saved: Any = None) -> Any:
    """The mean over lines of `-log(softmax(x))[target]`.

    Args:
        x: (N, C) logits.
        target: (N,) integers from 0 to C - 1.
        saved: `softmax(x)` minus one-hot(target), where that is known.
    """
    picked = select_along_classes(_log_softmax(x, 1), target)
    return np.sum(picked) / -x.shape[0]


def select_along_classes(x: Any, target: Any) -> Any:
    """`x[i, target[i]]` for x of shape (N, C)."""
    return np.squeeze(np.take_along_axis(x, np.expand_dims(target, 1), 1), 1)


def one_hot(target: Any, classes: int, dtype: Any) -> Any:
    """(N, C): 1 at the target's class, 0 elsewhere."""
    return np.astype(np.expand_dims(target, 1) == np.arange(classes), dtype)


@backward(mean_cross_entropy, 0)
def mean_cross_entropy_back(grad_out: Any, out: Any, x: Any, target: Any, saved: Any = None) -> Any:
    r"""$\nabla_x L = \frac{1}{N} (\mathrm{softmax}(x) - \mathrm{onehot}(target)) \nabla_{out} L$"""
    if saved is None or isinstance(grad_out, Tensor):
        saved = _softmax(x, 1) - one_hot(target, x.shape[1], x.dtype)
    return saved * (grad_out / x.shape[0])


# ----- the table: mean 0, variance 1 ----------------------------------------------------------------------------------


def inverse_deviation(x: Any, axis: Any, eps: float, centred: bool = True) -> Any:
    """`1 / sqrt(variance + eps)` along axes, or `1 / sqrt(mean of squares + eps)`; axes are kept with size 1."""
    n = count(x.shape, axis) or 1  # of an empty axis every mean is of nothing: the result has no elements either
    if centred:
        x = x - np.sum(x, axis=axis, keepdims=True) / n
    return 1 / np.sqrt(np.sum(x * x, axis=axis, keepdims=True) / n + eps)


@array_function
def standardize(x: Any, axis: Any, eps: float, centred: bool = True, saved: Any = None) -> Any:
    """`(x - mean) / sqrt(variance + eps)` along axes; without the mean where `centred` is False.

    Args:
        x: real array.
        axis: the axes over which mean and variance are taken.
        eps: added to the variance.
        centred: subtract the mean.
        saved: the mean (None if not `centred`) and `inverse_deviation` where they are known.
    """
    if saved is not None:
        return (x - saved[0]) * saved[1] if centred else x * saved[1]
    inverse = inverse_deviation(x, axis, eps, centred)
    return (x - np.sum(x, axis=axis, keepdims=True) / (count(x.shape, axis) or 1) if centred else x) * inverse


@backward(standardize, 0)
def standardize_back(
    grad_out: Any, out: Any, x: Any, axis: Any, eps: float, centred: bool = True, saved: Any = None
) -> Any:
    r"""$\nabla_x L = \frac{1}{\sigma} \left(\nabla_{out} L - \overline{\nabla_{out} L}
    - out \, \overline{out \nabla_{out} L}\right)$, bars for means; without the first one where not centred"""
    n = count(x.shape, axis) or 1
    known = saved is not None and not isinstance(grad_out, Tensor)
    inverse = saved[1] if known else inverse_deviation(x, axis, eps, centred)
    result = grad_out - out * (np.sum(grad_out * out, axis=axis, keepdims=True) / n)
    if centred:
        result = result - np.sum(grad_out, axis=axis, keepdims=True) / n
    return result * inverse


# ----- the table: layer normalisation ---------------------------------------------------------------------------------


@array_function
def normalise_layer(
    x: Any, weight: Any, bias: Any, axis: tuple[int, ...], eps: float, saved: Memory | None = None
) -> Any:
    """`standardize(x) * weight + bias` over the last axes.

    Args:
        x: real array.
        weight: of the shape of those axes, or None.
        bias: likewise.
        axis: the last axes.
        eps: added to the variance.
        saved: where the standardised rows and their inverse deviations are left.
    """
    if not _plain_rows(x, weight, bias):
        out = standardize(x, axis, eps)
        out = out if weight is None else out * weight
        return out if bias is None else out + bias
    size = count(x.shape, axis)
    rows = x.reshape(-1, size)
    scale, shift = (
        usual if given is None else given.reshape(-1)
        for given, usual in zip((weight, bias), _ones_and_zeros(size, x.dtype), strict=True)
    )
    found = layer_fused(rows, scale, shift, float(eps))
    if found is not None:
        out, *steps = found
        if saved is not None:
            saved.steps = steps
        return out.reshape(x.shape)
    average = _ones_and_zeros(size, x.dtype)[0] / size
    rows = rows - rows.dot(average)[:, None]
    inverse = (rows * rows).dot(average)
    inverse += eps
    np.sqrt(inverse, out=inverse)
    inverse = np.divide(1, inverse, out=inverse)[:, None]
    rows *= inverse
    if saved is not None:
        saved.steps = rows, inverse
    out = rows.copy() if weight is None else rows * scale
    if bias is not None:
        out += shift
    return out.reshape(x.shape)


@functools.lru_cache(maxsize=64)
def _ones_and_zeros(size: int, dtype: Any) -> tuple[Any, Any]:
    constants = np.ones(size, dtype), np.zeros(size, dtype)
    for array in constants:
        array.flags.writeable = False
    return constants


def _plain_rows(x: Any, *others: Any) -> bool:
    """Whether all are NumPy arrays of one single or double precision type, or None."""
    return type(x) is np.ndarray and x.dtype.char in "fd" and x.size > 0 and all(
        other is None or (type(other) is np.ndarray and other.dtype is x.dtype) for other in others
    )  # fmt: skip


@backward(normalise_layer, 0)
def normalise_layer_back_x(
    grad_out: Any, out: Any, x: Any, weight: Any, bias: Any, axis: Any, eps: float, saved: Any = None
) -> Any:
    r"""$\nabla_x L = \frac{1}{\sigma} \left(g - \overline{g} - \hat{x} \, \overline{\hat{x} g}\right)$ with
    $g = weight \nabla_{out} L$ and $\hat{x} = (x - \overline{x}) / \sigma$, bars for means over the last axes"""
    if saved is None or saved.steps is None or not _plain_rows(grad_out, weight):
        gradient = grad_out if weight is None else grad_out * weight
        return standardize_back(gradient, standardize(x, axis, eps), x, axis, eps)
    rows, inverse = saved.steps
    size = rows.shape[1]
    scale = _ones_and_zeros(size, rows.dtype)[0] if weight is None else weight.reshape(-1)
    found = layer_back_fused(grad_out.reshape(rows.shape), rows, scale, inverse)
    if found is not None:
        return found.reshape(x.shape)
    average = scale / size
    gradient = grad_out.reshape(-1, size)
    scaled = gradient * rows
    along = scaled.dot(average)[:, None]
    np.multiply(rows, along, out=scaled)
    scaled += gradient.dot(average)[:, None]
    result = np.subtract(gradient if weight is None else gradient * scale, scaled, out=scaled)
    result *= inverse
    return result.reshape(x.shape)


def layer(x: Any, weight: Any, bias: Any, eps: float) -> tuple[Any, Any, Any]:
    """What `normalise_layer` gives for rows, and what it leaves for its backward function."""
    rows = standardize(x, -1, eps)
    return rows * weight + bias, rows, inverse_deviation(x, -1, eps)


def layer_back(grad_out: Any, rows: Any, weight: Any, inverse: Any) -> Any:
    """`normalise_layer_back_x` from what was left."""
    return standardize_back(grad_out * weight, rows, rows, -1, 0.0, saved=(None, inverse))


layer_fused = Fused(layer, "rc c c f")
layer_back_fused = Fused(layer_back, "rc rc c r1")


@backward(normalise_layer, 1)
def normalise_layer_back_weight(
    grad_out: Any, out: Any, x: Any, weight: Any, bias: Any, axis: Any, eps: float, saved: Any = None
) -> Any:
    r"""$\nabla_{weight} L = \sum_{rows} \hat{x} \nabla_{out} L$"""
    if saved is None or saved.steps is None or not _plain_rows(grad_out):
        return unbroadcast(grad_out * standardize(x, axis, eps), weight)
    rows = saved.steps[0]
    return sum_of_rows(grad_out.reshape(rows.shape) * rows).reshape(weight.shape)


@backward(normalise_layer, 2)
def normalise_layer_back_bias(
    grad_out: Any, out: Any, x: Any, weight: Any, bias: Any, axis: Any, eps: float, saved: Any = None
) -> Any:
    r"""$\nabla_{bias} L = \sum_{rows} \nabla_{out} L$"""
    return unbroadcast(grad_out, bias)


result_may_change(standardize)

# ----- the operations: softmax ----------------------------------------------------------------------------------------

_softmax_tensor = wrap_forward_fn(_softmax)
_log_softmax_tensor = wrap_forward_fn(_log_softmax)
_mean_cross_entropy = wrap_forward_fn(mean_cross_entropy)
_standardize = wrap_forward_fn(standardize)
_normalise_layer = wrap_forward_fn(normalise_layer)


def _along_axis(operation: Any, input: Any, dim: int, dtype: Any, name: str) -> Any:
    input = as_tensor_argument(input)
    if dtype is not None:
        input = cast(input, as_numpy_dtype(dtype))
    if input.array.dtype.kind not in "fc":
        raise RuntimeError(f'"{name}" not implemented for {input.dtype}: give dtype=, or convert with .float()')
    if not input.ndim:
        normalize_axis(dim, 0)
        return operation(input.reshape(1), 0).reshape(())
    return operation(input, normalize_axis(dim, input.ndim))


@numpy_names
def softmax(input: Any, dim: int, dtype: Any = None) -> Tensor:
    """`exp(input)`, scaled to sum to 1 along an axis.

    >>> import chainrule as cr
    >>> cr.softmax(cr.tensor([0.0, 0.0, -1000.0]), 0).tolist()
    [0.5, 0.5, 0.0]
    """
    return _along_axis(_softmax_tensor, input, dim, dtype, "softmax")  # type: ignore[no-any-return]


@numpy_names
def log_softmax(input: Any, dim: int, dtype: Any = None) -> Tensor:
    """The logarithm of `softmax` along an axis."""
    return _along_axis(_log_softmax_tensor, input, dim, dtype, "log_softmax")  # type: ignore[no-any-return]


@numpy_names
def softmin(input: Any, dim: int, dtype: Any = None) -> Tensor:
    """`softmax(-input)` along an axis."""
    return softmax(-as_tensor_argument(input), dim, dtype)


# ----- the operations: losses -----------------------------------------------------------------------------------------


def reduced(loss: Any, reduction: str) -> Any:
    """A loss for each element as PyTorch's `reduction` wants it: "none", "mean" or "sum".

    Raises:
        ValueError: another `reduction`.
    """
    if reduction == "mean":
        return mean(loss)
    if reduction == "sum":
        return sum(loss)
    if reduction == "none":
        return loss
    raise ValueError(f"{reduction} is not a valid value for reduction: use 'mean', 'sum' or 'none'")


def _legacy_reduction(size_average: Any, reduce: Any, reduction: str) -> str:
    """PyTorch's two old flags as a `reduction`."""
    if size_average is None and reduce is None:
        return reduction
    if reduce is False:
        return "none"
    return "sum" if size_average is False else "mean"


def _check_classes(target: Any, classes: int, ignore_index: int, used: Any) -> None:
    if type(target) is not np.ndarray:  # reading a value back from a device would wait for it
        return
    outside = used & ((target < 0) | (target >= classes))
    if outside.any():
        raise IndexError(
            f"Target {int(target[outside].reshape(-1)[0])} is out of bounds: there are {classes} classes, so labels "
            f"run from 0 to {classes - 1} (ignore_index is {ignore_index})"
        )


def _check_class_weight(weight: Any, classes: int) -> None:
    if weight is not None and weight.shape != (classes,):
        raise RuntimeError(f"weight must have a number for each of the {classes} classes, got shape {weight.shape}")


def take_classes(values: Any, labels: Any) -> Any:
    """`values[labels]` for a vector of values."""
    if type(labels) is np.ndarray and type(values) is np.ndarray:
        return values[labels]
    return np.reshape(np.take_along_axis(values, np.reshape(labels, (-1,)), 0), labels.shape)


def _class_weights(weight: Any, labels: Any, used: Any, dtype: Any) -> Any:
    """How much each label counts: its class's weight, or 1; 0 where it is ignored."""
    if weight is None:
        return np.astype(used, dtype)
    weights = as_tensor_argument(weight).array
    return np.astype(np.where(used, take_classes(weights, np.where(used, labels, 0)), 0), dtype)


def nll_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """The negative log-likelihood: `-input[.., target, ..]`, weighted by class.

    Args:
        input: (N, C), (C,) or (N, C, d1, ...) log-probabilities.
        target: (N,), () or (N, d1, ...) class numbers.
        weight: (C,) weight of each class.
        ignore_index: a target that counts for nothing.
        reduction: "mean" (weighted), "sum" or "none".

    Raises:
        IndexError: a target is no class.
        ValueError, RuntimeError: the shapes do not fit.
    """
    input = as_tensor_argument(input)
    reduction = _legacy_reduction(size_average, reduce, reduction)
    labels = as_tensor_argument(target).array
    if labels.dtype.kind not in "iu":
        raise RuntimeError(f"expected class numbers (an integer tensor) as target, got {labels.dtype}")
    if not input.ndim:
        raise RuntimeError("expected input of shape (C,), (N, C) or (N, C, d1, ...), got a tensor of shape ()")
    axis = 0 if input.ndim == 1 else 1
    wanted = input.shape[:axis] + input.shape[axis + 1 :]
    if labels.shape == (1,) and not axis:
        labels = np.reshape(labels, ())
    if labels.shape != wanted:
        other_count = not axis or labels.shape[:1] != wanted[:1]  # PyTorch's choice of the exception
        raise (ValueError if other_count else RuntimeError)(
            f"Expected target size {wanted} for input of shape {input.shape}, got a target of shape {labels.shape}"
        )
    classes = input.shape[axis]
    used = labels != ignore_index
    _check_classes(labels, classes, ignore_index, used)
    _check_class_weight(weight, classes)
    factor = _class_weights(weight, labels, used, input.array.dtype)
    picked = select_tensor(input, np.where(used, bounded(labels, classes), 0), axis)
    loss = np.where(used, -picked * make_tensor(factor, None), 0)
    if reduction != "mean":
        return reduced(loss, reduction)  # type: ignore[no-any-return]
    with np.errstate(invalid="ignore"):  # no target counts: NaN
        return sum(loss) / sum(make_tensor(factor, None))


def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The cross entropy between the softmax of logits and targets.

    Args:
        input: (N, C), (C,) or (N, C, d1, ...) logits.
        target: class numbers of the shape without C, or probabilities of the input's shape.
        weight: (C,) weight of each class.
        ignore_index: a class number that counts for nothing.
        reduction: "mean", "sum" or "none".
        label_smoothing: the part of each target that is spread evenly over all classes.

    Raises:
        IndexError: a target is no class.
        ValueError, RuntimeError: the shapes do not fit; `label_smoothing` is not between 0 and 1.
    """
    if weight is None and reduction == "mean" and not label_smoothing and size_average is None and reduce is None:
        loss = _plain_cross_entropy(input, target, ignore_index)
        if loss is not None:
            return loss
    input, target = as_tensor_argument(input), as_tensor_argument(target)
    reduction = _legacy_reduction(size_average, reduce, reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    if not input.ndim:
        raise RuntimeError("expected input of shape (C,), (N, C) or (N, C, d1, ...), got a tensor of shape ()")
    axis = 0 if input.ndim == 1 else 1
    log_probabilities = log_softmax(input, axis)
    if target.array.dtype.kind == "f":
        if ignore_index >= 0:
            raise RuntimeError("cross_entropy: ignore_index is not supported for targets that are probabilities")
        return _soft_cross_entropy(  # type: ignore[no-any-return]
            log_probabilities, target, weight, axis, reduction, label_smoothing
        )
    if target.shape == input.shape and input.ndim > 1:
        raise RuntimeError(
            f"Expected floating point type for target with class probabilities, got {target.dtype} of the input's "
            f"shape {input.shape}"
        )
    loss = nll_loss(log_probabilities, target, weight, ignore_index=ignore_index, reduction=reduction)
    if not label_smoothing:
        return loss
    classes = input.shape[axis]
    labels = target.array
    used = labels != ignore_index
    weighted = log_probabilities if weight is None else log_probabilities * _along_classes(weight, axis, input.ndim)
    smooth: Any = np.where(used, -sum(weighted, axis), 0)
    if reduction == "mean":
        smooth = sum(smooth) / sum(make_tensor(_class_weights(weight, labels, used, input.array.dtype), None))
    else:
        smooth = reduced(smooth, reduction)
    return loss * (1 - label_smoothing) + smooth * (label_smoothing / classes)  # type: ignore[no-any-return]


def _along_classes(weight: Any, axis: int, ndim: int) -> Any:
    return as_tensor_argument(weight).reshape(*(-1 if i == axis else 1 for i in range(ndim)))


def _soft_cross_entropy(
    log_probabilities: Any, target: Any, weight: Any, axis: int, reduction: str, label_smoothing: float
) -> Any:
    """Cross entropy with a probability for each class as target."""
    shape = log_probabilities.shape
    if target.shape != shape:
        other_count = target.shape[:1] != shape[:1]  # PyTorch's choice of the exception
        raise (ValueError if other_count else RuntimeError)(
            f"target of probabilities must have the input's shape {shape}, got {target.shape}"
        )
    _check_class_weight(weight, shape[axis])
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / shape[axis]
    if weight is not None:
        log_probabilities = log_probabilities * _along_classes(weight, axis, len(shape))
    loss = -sum(target * log_probabilities, axis)
    if reduction == "mean":
        return sum(loss) / (math.prod(shape) / shape[axis])
    return reduced(loss, reduction)


def _plain_cross_entropy(input: Any, target: Any, ignore_index: int) -> Tensor | None:
    """The most used case, in few NumPy calls: (N, C) logits, class numbers, mean. None where it is another case."""
    if not isinstance(input, Tensor) or not isinstance(target, Tensor):
        return None
    x, labels = input.array, target.array
    if (
        type(x) is not np.ndarray
        or type(labels) is not np.ndarray
        or x.ndim != 2
        or labels.dtype != np.int64
        or labels.shape != x.shape[:1]
        or not x.size
        or x.dtype.char not in "fd"
    ):
        return None
    lines, classes = x.shape
    unsigned = labels.view(np.uint64)  # in which negative numbers are large
    if 0 <= ignore_index < classes or unsigned[unsigned.argmax()] >= classes:
        return None  # something is ignored, or out of range
    starts, ones, one_each, average = _constants(lines, classes, x.dtype)
    flat = labels + starts
    largest = x.take(x.argmax(1) + starts) if classes <= SHORT else np.maximum.reduce(x, axis=1)
    out = np.subtract(x, largest.reshape(-1, 1), order="C")  # of which `reshape` makes a view, to write to
    picked = out.take(flat)
    probabilities = np.exp(out, out=out)
    totals = probabilities.dot(ones)  # BLAS sums short lines in half the time of np.add.reduce
    loss = np.asarray((np.log(totals) - picked).dot(average))
    result = make_tensor(loss, None)
    node = input._node if input._alias is None else input.node()
    if node is not None and grad_mode():
        probabilities /= totals.reshape(-1, 1)
        each = probabilities.reshape(-1)
        each[flat] = each[flat] - one_each
        raw = (x, labels, probabilities)
        result._node = record(mean_cross_entropy, raw, {}, (input, target, None), (node, None, None), loss)
    return result


# ----- the operations: layers -----------------------------------------------------------------------------------------


def standardized(input: Any, axis: Any, eps: float, centred: bool = True) -> Any:
    """`standardize` on a tensor; what the backward function needs is computed once."""
    x = input.array
    plain = type(x) is np.ndarray
    if not (plain or recorder.get() is not None) or x.dtype.itemsize < 4 or not x.size:
        return _standardize(input, axis, eps, centred)
    total: Any = np.add.reduce if plain else np.sum
    n = count(x.shape, axis)
    average = None
    if centred:
        average = total(x, axis=axis, keepdims=True) / n
        x = x - average
    inverse = 1 / np.sqrt(total(x * x, axis=axis, keepdims=True) / n + eps)
    return _standardize(input, axis, eps, centred, (average, inverse))


def _affine(normalised: Any, weight: Any, bias: Any) -> Any:
    if weight is not None:
        normalised = normalised * weight
    return normalised if bias is None else normalised + bias


def _last_axes(input: Any, normalized_shape: Any, name: str) -> tuple[int, ...]:
    wanted = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not wanted or tuple(input.shape[-len(wanted) :]) != wanted:
        raise RuntimeError(
            f"{name}: given normalized_shape={list(wanted)}, expected input with shape [*, {str(list(wanted))[1:-1]}], "
            f"but got input of size {list(input.shape)}"
        )
    return tuple(range(input.ndim - len(wanted), input.ndim))


def _check_last(input: Any, axes: tuple[int, ...], *parameters: Any) -> None:
    for parameter in parameters:
        if parameter is not None and parameter.shape != input.shape[axes[0] :]:
            raise RuntimeError(
                f"Expected weight and bias to be of same shape as normalized_shape, but got {parameter.shape} and "
                f"normalized_shape = {input.shape[axes[0] :]}"
            )


def layer_norm(
    input: Any,
    normalized_shape: Any,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-05,
    cudnn_enable: bool = True,
) -> Tensor:
    """The input with mean 0 and variance 1 over its last axes, then scaled by `weight` and shifted by `bias`.

    Args:
        input: (..., *normalized_shape).
        normalized_shape: the sizes of the last axes.
        weight: tensor of `normalized_shape`, or None.
        bias: tensor of `normalized_shape`, or None.
        eps: added to the variance.

    Raises:
        RuntimeError: the input does not end in `normalized_shape`, or weight or bias has another shape.
    """
    input = as_tensor_argument(input)
    axes = _last_axes(input, normalized_shape, "layer_norm")
    _check_last(input, axes, weight, bias)
    if _plain_rows(input.array, *(None if p is None else p.array for p in (weight, bias))):
        return _normalise_layer(input, weight, bias, axes, eps, Memory())  # type: ignore[no-any-return]
    return _affine(standardized(input, axes, eps), weight, bias)  # type: ignore[no-any-return]


def rms_norm(input: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Tensor:
    """The input divided by the root of the mean of its squares over its last axes, then scaled by `weight`.

    `eps` is added to the mean; it is the type's smallest step at 1 if left out.
    """
    input = as_tensor_argument(input)
    axes = _last_axes(input, normalized_shape, "rms_norm")
    _check_last(input, axes, weight)
    eps = float(np.finfo(input.array.dtype).eps) if eps is None else eps
    return _affine(standardized(input, axes, eps, False), weight, None)  # type: ignore[no-any-return]


def _per_channel(parameter: Any, ndim: int) -> Any:
    """A (C,) tensor in the shape that broadcasts along axis 1 of an (N, C, ...) one."""
    return None if parameter is None else as_tensor_argument(parameter).reshape(1, -1, *(1,) * (ndim - 2))


def group_norm(
    input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-05, cudnn_enabled: bool = True
) -> Tensor:
    """An (N, C, ...) tensor with mean 0 and variance 1 over each group of channels.

    Raises:
        RuntimeError: the channels do not divide into `num_groups` groups, or there is no channel axis; weight or bias
            has not one number for each channel.
    """
    input = as_tensor_argument(input)
    if input.ndim < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {input.ndim}")
    samples, channels = input.shape[:2]
    if num_groups <= 0 or channels % num_groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of shape "
            f"{input.shape} and num_groups={num_groups}"
        )
    _check_channels(input, weight=weight, bias=bias)
    groups = input.reshape(samples, num_groups, math.prod(input.shape[1:]) // num_groups)
    normalised = standardized(groups, 2, eps).reshape(*input.shape)
    return _affine(normalised, _per_channel(weight, input.ndim), _per_channel(bias, input.ndim))  # type: ignore[no-any-return]


def _update(running: Any, batch: Any, momentum: float) -> None:
    """`running = (1 - momentum) * running + momentum * batch`, in place and unrecorded."""
    if running is not None:
        running.array[...] = (1 - momentum) * running.array + momentum * batch


def _running_update(x: Any, axes: tuple[int, ...], running_mean: Any, running_var: Any, momentum: float) -> None:
    n = count(x.shape, axes)
    if not n or (running_mean is None and running_var is None):  # an empty batch says nothing
        return
    batch_axes = tuple(range(x.ndim - 1)) if x.ndim < 1 else axes
    averages = np.mean(x, axis=batch_axes)
    variances = np.var(x, axis=batch_axes) * (n / max(n - 1, 1))
    if averages.ndim == 2:  # a mean for each sample and channel: the mean over samples
        averages, variances = np.mean(averages, 0), np.mean(variances, 0)
    _update(running_mean, averages, momentum)
    _update(running_var, variances, momentum)


def _with_running(input: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
    ndim = input.ndim
    average, variance = (_per_channel(make_tensor(t.array, None), ndim) for t in (running_mean, running_var))
    return (input - average) * make_tensor((1 / np.sqrt(variance.array + eps)).astype(input.array.dtype), None)


def batch_norm(
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-05,
) -> Tensor:
    """An (N, C, ...) tensor with mean 0 and variance 1 over each channel, then scaled and shifted.

    In training with the batch's own mean and variance, which also move the running ones by `momentum`, in place; else
    with the running ones.

    Raises:
        ValueError: training with one value for each channel, or with an eps that is not positive.
        RuntimeError: no training and no running statistics, or sizes that are not the number of channels.
    """
    input = as_tensor_argument(input)
    if input.array.shape == (0,):
        return input * 1.0  # type: ignore[no-any-return]
    if input.ndim < 2:
        raise RuntimeError(f"batch_norm expects an input of shape (N, C, ...), got {input.shape}")
    _check_channels(input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if training:
        axes = (0, *range(2, input.ndim))
        if eps <= 0:
            raise ValueError(f"batch_norm: eps must be positive during training, but got {eps}")
        if count(input.shape, axes) == 1:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {input.shape}")
        normalised = standardized(input, axes, eps)
        _running_update(input.array, axes, running_mean, running_var, momentum)
    else:
        if running_mean is None or running_var is None:
            raise RuntimeError("batch_norm: running_mean and running_var must be given when training=False")
        normalised = _with_running(input, running_mean, running_var, eps)
    return _affine(normalised, _per_channel(weight, input.ndim), _per_channel(bias, input.ndim))  # type: ignore[no-any-return]


def instance_norm(
    input: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-05,
) -> Tensor:
    """An (N, C, ...) tensor with mean 0 and variance 1 over each channel of each sample, then scaled and shifted.

    Raises:
        ValueError: one value for each channel.
    """
    input = as_tensor_argument(input)
    _check_channels(input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if use_input_stats:
        axes = tuple(range(2, input.ndim))
        if count(input.shape, axes) == 1:
            raise ValueError(f"Expected more than 1 spatial element when training, got input size {input.shape}")
        normalised = standardized(input, axes, eps)
        _running_update(input.array, axes, running_mean, running_var, momentum)
    else:
        normalised = _with_running(input, running_mean, running_var, eps)
    return _affine(normalised, _per_channel(weight, input.ndim), _per_channel(bias, input.ndim))  # type: ignore[no-any-return]


def _check_channels(input: Any, **parameters: Any) -> None:
    for name, parameter in parameters.items():
        if parameter is not None and parameter.shape != (input.shape[1],):
            raise RuntimeError(
                f"{name} should contain {input.shape[1]} elements, one for each channel of the input of shape "
                f"{input.shape}, not {parameter.shape}"
            )


attach(softmax, log_softmax)
