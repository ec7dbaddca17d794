"""Reductions: sums, means, products, extremes, variances and norms over some axes or all.

Each gradient is the reduced gradient, spread over the axes that were reduced (`spread`), times something. Reductions
that also say where they found their value (`max(x, dim)`, `median`) are in `sorting.py`, running ones in `scan.py`.
"""

from __future__ import annotations

import builtins
import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..core.broadcasting import unbroadcast
from ..core.dtypes import as_numpy_dtype, default_float, refuse_complex
from ..core.forward import TENSOR_FUNCS, array_function, cast, implements, record, wrap_forward_fn
from ..core.grad_mode import grad_mode
from ..core.table import backward, name_of
from ..core.tensor import Tensor, make_tensor
from ..core.tracing import as_it_is
from .common import as_tensor_argument, attach, attach_in_place, is_complex, normalize_axes, normalize_axis, numpy_names

__all__ = [
    "all",
    "amax",
    "amin",
    "aminmax",
    "any",
    "count_nonzero",
    "dist",
    "logsumexp",
    "mean",
    "nanmean",
    "nansum",
    "norm",
    "pdist",
    "prod",
    "renorm",
    "std",
    "std_mean",
    "sum",
    "var",
    "var_mean",
]

SMALL = 1 << 13  # elements; copying so few costs less than making a broadcast view

# ----- axes ---------------------------------------------------------------------------------------------------------


def reduced_axis(dim: Any, ndim: int) -> Any:
    """PyTorch's `dim` as NumPy's `axis`: None where everything is reduced, which is what an empty `dim` means as well.

    Raises:
        IndexError: out of range.
        RuntimeError: an axis is named twice.
    """
    if dim is None:
        return None
    if isinstance(dim, (tuple, list)):
        axes = normalize_axes(tuple(dim), ndim)
        return axes if axes and ndim else None
    axis = normalize_axis(int(dim), ndim)
    return axis if ndim else None


def count(shape: tuple[int, ...], axis: Any) -> int:
    """How many elements go into each element of a reduction over `axis`."""
    if axis is None:
        return math.prod(shape)
    if not isinstance(axis, tuple):
        return shape[axis] if shape else 1
    return math.prod(shape[i] for i in axis)


def kept_shape(shape: tuple[int, ...], axis: Any) -> tuple[int, ...]:
    """The shape after a reduction over `axis` with `keepdims`."""
    if axis is None:
        return (1,) * len(shape)
    axes = {i % len(shape) for i in (axis if isinstance(axis, tuple) else (axis,))}
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


@array_function
def spread(reduced: Any, shape: tuple[int, ...], axis: Any = None, keepdims: bool = False) -> Any:
    """The transpose of a sum: what has been reduced over `axis`, repeated to `shape`; maybe as a read-only view.

    >>> spread(np.array([1.0, 2.0]), (2, 3), axis=1)
    array([[1., 1., 1.],
           [2., 2., 2.]])
    """
    if not keepdims and axis is not None and reduced.ndim < len(shape):
        reduced = np.reshape(reduced, kept_shape(shape, axis))
    if isinstance(reduced, (np.ndarray, np.generic)) and math.prod(shape) <= SMALL:
        out = np.empty(shape, reduced.dtype)
        out[...] = reduced
        return out
    return np.broadcast_to(reduced, shape)


# ----- the table: sums ------------------------------------------------------------------------------------------------


@backward(spread, 0)
def spread_back(
    grad_out: Any, out: Any, reduced: Any, shape: tuple[int, ...], axis: Any = None, keepdims: bool = False
) -> Any:
    r"""$\nabla_{reduced} L = \sum_{axis} \nabla_{out} L$"""
    return np.sum(grad_out, axis=axis, keepdims=keepdims) if shape else grad_out


@backward(np.sum, 0)
def sum_back(grad_out: Any, out: Any, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    r"""$\nabla_x L = \nabla_{out} L$, the same for every summand"""
    return spread(grad_out, x.shape, axis, keepdims)


@backward(np.mean, 0)
def mean_back(grad_out: Any, out: Any, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    r"""$\nabla_x L = \frac{1}{n} \nabla_{out} L$, n elements in each mean"""
    return spread(grad_out / builtins.max(count(x.shape, axis), 1), x.shape, axis, keepdims)


@backward(np.nansum, 0)
def nansum_back(grad_out: Any, out: Any, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    r"""$\nabla_x L = \nabla_{out} L$ where $x$ is a number, 0 where it is NaN"""
    return np.where(np.isnan(x), 0, spread(grad_out, x.shape, axis, keepdims))


# ----- the table: products --------------------------------------------------------------------------------------------


def first_along(axis: int, shape: tuple[int, ...]) -> Any:
    """A mask, broadcastable to `shape`, of the first position along an axis."""
    line = np.arange(shape[axis]) == 0
    return np.reshape(line, [-1 if i == axis % len(shape) else 1 for i in range(len(shape))])


def shifted(x: Any, axis: int, first: float) -> Any:
    """Every element replaced by the one before it along an axis; at the beginning by `first`."""
    return np.where(first_along(axis, x.shape), first, np.roll(x, 1, axis=axis))


def product_of_others(x: Any, axis: Any) -> Any:
    """The product, along one or several axes, of all other elements; right where some are zero."""
    if not x.shape:
        return np.ones_like(x)
    if axis is None:
        return np.reshape(product_of_others(np.reshape(x, (-1,)), 0), x.shape)
    if isinstance(axis, tuple):
        axes = normalize_axes(axis, x.ndim)
        order = (*(i for i in range(x.ndim) if i not in axes), *axes)
        moved = np.transpose(x, order)
        flat = np.reshape(moved, (*moved.shape[: x.ndim - len(axes)], count(x.shape, axes)))
        back = tuple(int(i) for i in np.argsort(order))
        return np.transpose(np.reshape(product_of_others(flat, -1), moved.shape), back)
    before = shifted(np.cumprod(x, axis=axis), axis, 1)
    after = np.flip(shifted(np.cumprod(np.flip(x, axis), axis=axis), axis, 1), axis)
    return before * after


@backward(np.prod, 0)
def prod_back(grad_out: Any, out: Any, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    r"""$\nabla_{x_i} L = \left(\prod_{j \neq i} x_j\right) \nabla_{out} L$"""
    return spread(grad_out, x.shape, axis, keepdims) * product_of_others(x, axis)


# ----- the table: extremes --------------------------------------------------------------------------------------------


def ties_back(grad_out: Any, out: Any, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    r"""$\nabla_{x_i} L = \frac{[x_i = out]}{\sum_j [x_j = out]} \nabla_{out} L$: equal elements share evenly"""
    chosen = np.astype(x == spread(out, x.shape, axis, keepdims), x.dtype)
    share = chosen / np.sum(chosen, axis=axis, keepdims=True)
    return share * spread(grad_out, x.shape, axis, keepdims)


backward(np.max, 0)(ties_back)
backward(np.min, 0)(ties_back)

# ----- the table: spread around the mean ------------------------------------------------------------------------------


@backward(np.var, 0)
def var_back(grad_out: Any, out: Any, x: Any, axis: Any = None, ddof: float = 0, keepdims: bool = False) -> Any:
    r"""$\nabla_x L = \frac{2}{n - ddof} \overline{(x - \bar{x})} \nabla_{out} L$"""
    freedom = count(x.shape, axis) - ddof
    centred = x - (_mean_of_array if type(x) is np.ndarray else np.mean)(x, axis=axis, keepdims=True)
    factor = 2 / freedom if freedom > 0 else math.inf
    return spread(grad_out, x.shape, axis, keepdims) * (np.conj(centred) * factor)


@backward(np.std, 0)
def std_back(grad_out: Any, out: Any, x: Any, axis: Any = None, ddof: float = 0, keepdims: bool = False) -> Any:
    r"""$\nabla_x L = \frac{1}{(n - ddof) out} \overline{(x - \bar{x})} \nabla_{out} L$, 0 where out = 0"""
    zero = out == 0
    grad_variance = np.where(zero, 0, grad_out / (2 * np.where(zero, 1, out)))
    return var_back(grad_variance, None, x, axis, ddof, keepdims)


# ----- the table: norms -----------------------------------------------------------------------------------------------


@array_function
def vector_norm(x: Any, ord: Any = 2, axis: Any = None, keepdims: bool = False) -> Any:
    """The norm of the elements along axes, taken as a vector. `ord`: any real number, 0 counts what is not zero."""
    if ord == 2 and axis is None and not keepdims and type(x) is np.ndarray and x.dtype.char in "fd":
        flat = x.reshape(-1)
        return np.sqrt(np.dot(flat, flat))
    wide = np.astype(x, np.float32) if x.dtype == np.float16 else x
    size = wide if ord == 2 and not is_complex(x) else np.abs(wide)
    if ord == 2:
        out = np.sqrt(np.sum(size * size, axis=axis, keepdims=keepdims))
    elif ord == 1:
        out = np.sum(size, axis=axis, keepdims=keepdims)
    elif ord == 0:
        out = np.sum(np.astype(size != 0, size.dtype), axis=axis, keepdims=keepdims)
    elif ord in (math.inf, -math.inf):
        out = (np.max if ord > 0 else np.min)(size, axis=axis, keepdims=keepdims)
    else:
        out = np.sum(size**ord, axis=axis, keepdims=keepdims) ** (1 / ord)
    return np.astype(out, x.dtype) if wide is not x else out


def where_not_zero(x: Any, value: Any) -> Any:
    """`value()`, and 0 where x is 0. Its own derivative there stays what it is: a norm has no second one at 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        result = value()
    return np.where(np.equal(x, 0), np.zeros((), result.dtype), result)


@backward(vector_norm, 0)
def vector_norm_back(grad_out: Any, out: Any, x: Any, ord: Any = 2, axis: Any = None, keepdims: bool = False) -> Any:
    r"""$\nabla_x L = \left(\frac{|x|}{out}\right)^{p-1} \frac{\bar{x}}{|x|} \nabla_{out} L$, 0 where $x = 0$"""
    gradient = spread(grad_out, x.shape, axis, keepdims)
    norm = spread(out, x.shape, axis, keepdims)
    if ord == 0:
        return np.zeros_like(x)
    if ord == 2:
        return gradient * where_not_zero(norm, lambda: np.conj(x) / norm)
    size = np.abs(x)
    zero = np.equal(size, 0)
    direction = np.conj(x) / (size + zero) * np.logical_not(zero) if is_complex(x) else np.sign(x)
    if ord == 1:
        return direction * gradient
    if ord in (math.inf, -math.inf):
        chosen = np.astype(np.equal(size, norm), gradient.dtype)
        return direction * (gradient * (chosen / np.sum(chosen, axis=axis, keepdims=True)))
    power = where_not_zero(size, lambda: size ** (ord - 1))
    return direction * power * where_not_zero(norm, lambda: gradient * norm ** (1 - ord))


# ----- the table: log-sum-exp -----------------------------------------------------------------------------------------


@array_function
def _logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """`log(sum(exp(x)))` without overflow: the largest element is taken out first."""
    if not count(x.shape, axis):
        return np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims))
    largest = np.max(np.real(x) if is_complex(x) else x, axis=axis, keepdims=True)
    largest = np.where(np.isfinite(largest), largest, 0)
    total = np.log(np.sum(np.exp(x - largest), axis=axis, keepdims=keepdims))
    return total + np.reshape(largest, total.shape)


@backward(_logsumexp, 0)
def logsumexp_back(grad_out: Any, out: Any, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    r"""$\nabla_x L = e^{x - out} \nabla_{out} L$"""
    return spread(grad_out, x.shape, axis, keepdims) * np.exp(x - spread(out, x.shape, axis, keepdims))


# ----- the operations -------------------------------------------------------------------------------------------------

spread_tensor = wrap_forward_fn(spread)
_vector_norm = wrap_forward_fn(vector_norm)
_logsumexp_tensor = wrap_forward_fn(_logsumexp)
_nansum = wrap_forward_fn(np.nansum)


def _reduction(
    numpy_function: Callable[..., Any], on_arrays: Callable[..., Any], ordered: bool = False
) -> Callable[..., Any]:
    """The hot path of a reduction: `on_arrays(x, axis, keepdims)` computes `numpy_function` on ndarrays, faster."""
    general = wrap_forward_fn(numpy_function, ordered=ordered)

    def tensor_func(input: Any, axis: Any = None, keepdims: bool = False, **more: Any) -> Any:
        if not isinstance(input, Tensor) or type(x := input.array) is not np.ndarray:
            return general(input, axis=axis, keepdims=keepdims, **more)
        if ordered:
            refuse_complex(name_of(numpy_function), x)
        out = on_arrays(x, axis, keepdims, **more)
        if type(out) is not np.ndarray:
            out = np.asarray(out)
        result = make_tensor(out, None)
        node = input._node if input._alias is None else input.node()
        if node is not None and grad_mode():
            kwargs = {"axis": axis, "keepdims": keepdims, **more} if axis is not None or keepdims or more else {}
            result._node = record(numpy_function, (x,), kwargs, (input,), (node,), out)
        return result

    return tensor_func


LONG = 4096  # numbers added one after the other, from which on digits are lost that count


def add_up(x: Any, axis: Any, keepdims: Any = False) -> Any:
    """`np.add.reduce` of an ndarray, as exact along the first axis as along the last.

    NumPy adds in pairs along the axis whose elements lie side by side. Along others it adds number after number to one
    sum, in which a million of them lose half of float32's digits: so a long one is added up in parts first.
    """
    if x.size < LONG or x.ndim < 2 or x.dtype.kind not in "fc" or (axis is None and x.flags.c_contiguous):
        return np.add.reduce(x, axis=axis, keepdims=keepdims)
    axes = normalize_axes(axis, x.ndim)
    dense = min((i for i in range(x.ndim) if x.shape[i] > 1), key=lambda i: abs(x.strides[i]))
    first = max((i for i in axes if i != dense), key=lambda i: x.shape[i], default=dense)
    if first == dense or x.shape[first] < LONG:
        return np.add.reduce(x, axis=axis, keepdims=keepdims)
    before = (slice(None),) * first
    parts = (x[(*before, slice(i, i + LONG))] for i in range(0, x.shape[first], LONG))
    return np.add.reduce(np.stack([np.add.reduce(part, axis=axes, keepdims=keepdims) for part in parts]), axis=0)


def _mean_of_array(x: Any, axis: Any, keepdims: Any) -> Any:
    n = count(x.shape, axis)
    if not n:
        with np.errstate(invalid="ignore"):
            return np.true_divide(np.add.reduce(x, axis=axis, keepdims=keepdims), n)
    if x.dtype.itemsize < 4 or x.dtype.kind not in "fc":
        return np.mean(x, axis=axis, keepdims=keepdims)
    return add_up(x, axis, keepdims) / n


def _var_of_array(x: Any, axis: Any, keepdims: Any, ddof: float = 0) -> Any:
    if x.size < LONG or x.dtype.itemsize < 4 or x.dtype.kind != "f":
        return np.var(x, axis=axis, keepdims=keepdims, ddof=ddof)
    centred = x - _mean_of_array(x, axis, True)
    centred *= centred
    return add_up(centred, axis, keepdims) / float(builtins.max(count(x.shape, axis) - ddof, 0))


_sum = _reduction(np.sum, add_up)
_prod = _reduction(np.prod, lambda x, axis, keepdims: np.multiply.reduce(x, axis=axis, keepdims=keepdims))
_max = _reduction(np.max, lambda x, axis, keepdims: np.maximum.reduce(x, axis=axis, keepdims=keepdims), True)
_min = _reduction(np.min, lambda x, axis, keepdims: np.minimum.reduce(x, axis=axis, keepdims=keepdims), True)
_mean = _reduction(np.mean, _mean_of_array)
_var = _reduction(np.var, _var_of_array)
_std = _reduction(np.std, lambda x, axis, keepdims, ddof=0: np.sqrt(_var_of_array(x, axis, keepdims, ddof)))


def in_type(input: Any, dtype: Any) -> Any:
    """The tensor in a type, if one is given and it has another."""
    return input if dtype is None or input.array.dtype == dtype else cast(input, as_numpy_dtype(dtype))


def _accumulating(input: Any, dtype: Any) -> Any:
    """The tensor in the type in which it is added up: integers and booleans as int64."""
    input = as_tensor_argument(input)
    if dtype is None and input.array.dtype.kind in "biu":
        dtype = np.dtype("int64")
    return in_type(input, dtype)


def _need_floating(input: Any, name: str) -> Any:
    input = as_tensor_argument(input)
    if input.array.dtype.kind not in "fc":
        raise RuntimeError(
            f"{name}(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. "
            f"Got: {input.dtype}; convert it with .float() or give dtype="
        )
    return input


def need_elements(input: Any, axis: Any, name: str, error: type[Exception] = RuntimeError) -> None:
    """Refuse to reduce no elements, where there is no result for that.

    Raises:
        IndexError: an axis of `axis` has size 0.
        RuntimeError: all axes are reduced and there is no element (or `error`).
    """
    if axis is None:
        if not math.prod(input.shape):
            raise error(
                f"{name}(): Expected reduction dim to be specified for input.numel() == 0 (shape {input.shape}). "
                "Specify the reduction dim with the 'dim' argument."
            )
        return
    for i in axis if isinstance(axis, tuple) else (axis,):
        if not input.shape[i]:
            raise IndexError(
                f"{name}(): Expected reduction dim {i} to have non-zero size, the input has shape {input.shape}."
            )


@numpy_names
def sum(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum over an axis, several, or all; integers are added up as int64.

    >>> import chainrule as cr
    >>> x = cr.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> cr.sum(x).item(), cr.sum(x, 1).shape, cr.sum(x, 1, True).shape
    (10.0, (2,), (2, 1))
    """
    if dtype is not None or not isinstance(input, Tensor) or input.array.dtype.kind in "biu":
        input = _accumulating(input, dtype)
    total = _sum(input, reduced_axis(dim, input.array.ndim), keepdim)
    return total if dtype is None else in_type(total, dtype)  # type: ignore[no-any-return]


@numpy_names
def mean(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The mean over an axis, several, or all.

    Raises:
        RuntimeError: the input has integers and no `dtype` is given.
    """
    if dtype is not None or not isinstance(input, Tensor) or input.array.dtype.kind in "biu":
        input = _need_floating(in_type(as_tensor_argument(input), dtype), "mean")
    return _mean(input, reduced_axis(dim, input.array.ndim), keepdim)  # type: ignore[no-any-return]


@numpy_names
def prod(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The product over an axis or all.

    >>> import chainrule as cr
    >>> x = cr.tensor([2.0, 0.0, 4.0], requires_grad=True)
    >>> cr.prod(x).backward()
    >>> x.grad
    Tensor(array([0., 8., 0.], dtype=float32), requires_grad=False)
    """
    input = _accumulating(input, dtype)
    return in_type(_prod(input, reduced_axis(dim, input.ndim), keepdim), dtype)  # type: ignore[no-any-return]


def _extreme(operation: Callable[..., Any], input: Any, dim: Any, keepdim: bool, name: str) -> Tensor:
    input = as_tensor_argument(input)
    axis = reduced_axis(dim, input.ndim)
    need_elements(input, axis, name)
    return operation(input, axis, keepdim)  # type: ignore[no-any-return]


@numpy_names
def amax(input: Any, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The largest element over an axis, several, or all; equal ones share the gradient evenly.

    Raises:
        RuntimeError, IndexError: there is no element to choose.
    """
    return _extreme(_max, input, dim, keepdim, "amax")


@numpy_names
def amin(input: Any, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The smallest element over an axis, several, or all; equal ones share the gradient evenly.

    Raises:
        RuntimeError, IndexError: there is no element to choose.
    """
    return _extreme(_min, input, dim, keepdim, "amin")


class MinMax(NamedTuple):
    """What `aminmax` returns."""

    min: Tensor
    max: Tensor


@numpy_names
def aminmax(input: Any, *, dim: int | None = None, keepdim: bool = False) -> MinMax:
    """The smallest and the largest element over an axis or all, as a named tuple (min, max)."""
    return MinMax(
        _extreme(_min, input, dim, keepdim, "aminmax"),
        _extreme(_max, input, dim, keepdim, "aminmax"),
    )


# ----- variance and deviation -----------------------------------------------------------------------------------------


def _deviation(
    operation: Callable[..., Any], input: Any, dim: Any, unbiased: Any, keepdim: bool, correction: Any
) -> Any:
    input = as_tensor_argument(input)
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None:
        if correction is not None:
            raise TypeError(f"give unbiased={unbiased} or correction={correction}, not both")
        correction = int(bool(unbiased))
    if input.array.dtype.kind not in "fc":
        raise RuntimeError(
            f"std and var only support floating point and complex dtypes, got {input.dtype}: convert with .float()"
        )
    axis = reduced_axis(dim, input.ndim)
    ddof = 1 if correction is None else correction
    if count(input.shape, axis) > ddof:
        return operation(input, axis=axis, ddof=ddof, keepdims=keepdim)
    with np.errstate(all="ignore"), warnings.catch_warnings():  # NaN, as PyTorch has it
        warnings.simplefilter("ignore", RuntimeWarning)
        return operation(input, axis=axis, ddof=ddof, keepdims=keepdim)


@numpy_names
def var(
    input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: Any = None
) -> Tensor:
    """The variance over an axis, several, or all: squared distances from the mean, divided by `n - correction`.

    `correction` is 1 unless it is given or `unbiased` is False (NumPy's `np.var` has 0).

    >>> import chainrule as cr, numpy as np
    >>> x = cr.tensor([1.0, 3.0])
    >>> cr.var(x).item(), cr.var(x, correction=0).item(), np.var(x).item()
    (2.0, 1.0, 1.0)
    """
    return _deviation(_var, input, dim, unbiased, keepdim, correction)  # type: ignore[no-any-return]


@numpy_names
def std(
    input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: Any = None
) -> Tensor:
    """The standard deviation over an axis, several, or all: the root of `var`. Where it is 0, its gradient is too."""
    return _deviation(_std, input, dim, unbiased, keepdim, correction)  # type: ignore[no-any-return]


def _mean_beside(input: Any, dim: Any, keepdim: bool) -> Tensor:
    return mean(input, None if isinstance(dim, bool) else dim, keepdim)


@numpy_names
def var_mean(
    input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: Any = None
) -> tuple[Tensor, Tensor]:
    """`(var, mean)` with the same arguments."""
    return var(input, dim, unbiased, keepdim, correction=correction), _mean_beside(input, dim, keepdim)


@numpy_names
def std_mean(
    input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: Any = None
) -> tuple[Tensor, Tensor]:
    """`(std, mean)` with the same arguments."""
    return std(input, dim, unbiased, keepdim, correction=correction), _mean_beside(input, dim, keepdim)


# ----- NaN as missing -------------------------------------------------------------------------------------------------


@numpy_names
def nansum(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum of the elements that are numbers."""
    input = _accumulating(input, dtype)
    total = _nansum(input, axis=reduced_axis(dim, input.ndim), keepdims=keepdim)
    return in_type(total, dtype)  # type: ignore[no-any-return]


@numpy_names
def nanmean(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The mean of the elements that are numbers; NaN where there are none."""
    input = _need_floating(in_type(as_tensor_argument(input), dtype), "nanmean")
    axis = reduced_axis(dim, input.ndim)
    numbers = np.sum(~np.isnan(input.array), axis=axis, keepdims=keepdim)
    with np.errstate(all="ignore"):
        total = _nansum(input, axis=axis, keepdims=keepdim)
        return total / make_tensor(np.astype(np.reshape(numbers, total.shape), input.array.real.dtype), None)  # type: ignore[no-any-return]


# ----- norms and distances --------------------------------------------------------------------------------------------


@numpy_names
def norm(
    input: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, out: None = None, dtype: Any = None
) -> Tensor:
    """The p-norm over an axis, several, or all; `p="fro"` is 2, `p="nuc"` the sum of a matrix's singular values.

    Raises:
        RuntimeError: the input has integers; unknown `p`.

    >>> import chainrule as cr
    >>> x = cr.tensor([3.0, 4.0])
    >>> cr.norm(x).item(), cr.norm(x, 1).item(), cr.norm(x, float("inf")).item()
    (5.0, 7.0, 4.0)
    """
    input = _need_floating(in_type(as_tensor_argument(input), dtype), "norm")
    if isinstance(p, str):
        if p == "nuc":
            from . import linalg

            return linalg.matrix_norm(input, "nuc", (-2, -1) if dim is None else dim, keepdim)  # type: ignore[no-any-return]
        if p != "fro":
            raise RuntimeError(f'norm(): p must be a number, "fro" or "nuc", got {p!r}')
        p = 2
    p = 2 if p is None else p
    axis = reduced_axis(dim, input.ndim)
    if p in (math.inf, -math.inf):
        need_elements(input, axis, "norm")
    return _vector_norm(input, ord=p, axis=axis, keepdims=keepdim)  # type: ignore[no-any-return]


def dist(input: Any, other: Any, p: Any = 2) -> Tensor:
    """The p-norm of `input - other`, broadcast."""
    return norm(input - other, p)


def pdist(input: Any, p: float = 2) -> Tensor:
    """The p-norm of the difference of every two rows i < j of an (N, M) tensor: N (N - 1) / 2 numbers.

    Raises:
        RuntimeError: the input has another number of axes, or `p` is negative.
    """
    input = as_tensor_argument(input)
    if input.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got shape {input.shape}")
    if p < 0:
        raise RuntimeError(f"pdist only supports non-negative p values, got {p}")
    first, second = np.triu_indices(input.shape[0], 1)
    return norm(input[first] - input[second], p, 1)


def renorm(input: Any, p: float, dim: int, maxnorm: float) -> Tensor:
    """The tensor with every slice along `dim` scaled down to the p-norm `maxnorm` where its norm is larger."""
    input = as_tensor_argument(input)
    axis = normalize_axis(dim, input.ndim)
    others = tuple(i for i in range(input.ndim) if i != axis)
    norms = _vector_norm(input, ord=p, axis=others, keepdims=True)
    return input * np.where(norms > maxnorm, maxnorm / (norms + 1e-7), 1.0)  # type: ignore[no-any-return]


@numpy_names
def logsumexp(input: Any, dim: Any, keepdim: bool = False) -> Tensor:
    """`log(sum(exp(input)))` over an axis or several, without overflow.

    >>> import chainrule as cr
    >>> round(cr.logsumexp(cr.tensor([1000.0, 1000.0]), 0).item(), 3)
    1000.693
    """
    input = as_tensor_argument(input)
    if input.array.dtype.kind not in "fc":
        input = cast(input, default_float())
    with np.errstate(divide="ignore"):
        return _logsumexp_tensor(input, axis=reduced_axis(dim, input.ndim), keepdims=keepdim)  # type: ignore[no-any-return]


# ----- truth and counts -----------------------------------------------------------------------------------------------


def _truth(numpy_function: Callable[..., Any], input: Any, dim: Any, keepdim: bool) -> Tensor:
    array = as_tensor_argument(input).array
    out = as_it_is(numpy_function(array, axis=reduced_axis(dim, array.ndim), keepdims=keepdim))
    return make_tensor(out.astype(np.uint8) if array.dtype == np.uint8 else out, None)


@numpy_names
def all(input: Any, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether all elements over an axis, several, or all are true."""
    return _truth(np.all, input, dim, keepdim)


@numpy_names
def any(input: Any, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether any element over an axis, several, or all is true."""
    return _truth(np.any, input, dim, keepdim)


@numpy_names
def count_nonzero(input: Any, dim: Any = None) -> Tensor:
    """How many elements over an axis, several, or all are not zero, as int64."""
    array = as_tensor_argument(input).array
    return make_tensor(as_it_is(np.count_nonzero(array, axis=reduced_axis(dim, array.ndim))), None)


def sum_to_size(self: Tensor, *size: Any) -> Tensor:
    """The tensor summed down to a shape that would broadcast to its own.

    Raises:
        RuntimeError: the shape would not.
    """
    shape = tuple(size[0]) if len(size) == 1 and isinstance(size[0], (tuple, list)) else size
    try:
        return unbroadcast(self, np.empty(shape, np.uint8))  # type: ignore[no-any-return]
    except ValueError:
        raise RuntimeError(f"size {list(shape)} is not expandable to size {list(self.shape)}") from None


attach(sum_to_size)

attach(sum, mean, prod, amax, amin, aminmax, var, std, nansum, nanmean, norm, dist, renorm, logsumexp)
attach(all, any, count_nonzero)
attach_in_place(renorm)

# ----- NumPy's names, signatures and defaults -------------------------------------------------------------------------


def _with_choice(operation: Callable[..., Any], join: Any, identity: Any) -> Callable[..., Any]:
    """A reduction that takes NumPy's `where`, the elements that count, and `initial`, one more element.

    Args:
        join: the function of two elements, which `initial` takes part in; None where there is no such number.
        identity: what changes nothing, or None.
    """

    def reduction(a: Any, axis: Any, keepdims: bool, initial: Any, where: Any) -> Any:
        if where is not True:
            stand_in = identity if initial is None else initial if identity is None else identity
            if stand_in is None:
                raise ValueError(
                    f"reduction operation {join.__name__!r} does not have an identity, so to use a where mask one has "
                    "to specify 'initial'"
                )
            a = np.where(where, a, stand_in)
        result = operation(a, axis=axis, keepdims=keepdims)
        return result if initial is None else join(result, initial)

    return reduction


def _numpy_reduction(operation: Callable[..., Any], functions: Any, ufuncs: Any, typed: bool) -> None:
    """Register NumPy's functions of the form `f(a, axis, dtype, out, keepdims, initial, where)`, and ufuncs' `reduce`.

    Args:
        typed: whether the functions take `dtype`; ufuncs' methods do.
    """

    def whole(
        a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False, initial: Any = None,
        where: Any = True,
    ) -> Any:  # fmt: skip
        if out is not None:
            raise TypeError(f"np.{functions[0].__name__} on Tensors takes no out=")
        return operation(in_type(a, dtype), axis, keepdims, initial, where)

    def untyped(a: Any, axis: Any = None, out: None = None, keepdims: bool = False, **options: Any) -> Any:
        return whole(a, axis, None, out, keepdims, **options)

    def reduce(a: Any, axis: Any = 0, *args: Any, **kwargs: Any) -> Any:
        return whole(a, axis, *args, **kwargs)

    implements(*functions)(whole if typed else untyped)
    for ufunc in ufuncs:
        TENSOR_FUNCS[ufunc, "reduce"] = reduce


for _operation, _join, _identity, _functions, _ufuncs in (
    (_sum, np.add, 0, (np.sum,), (np.add,)),
    (_prod, np.multiply, 1, (np.prod,), (np.multiply,)),
    (_nansum, np.add, 0, (np.nansum,), ()),
    (_max, np.maximum, None, (np.max, np.amax), (np.maximum,)),
    (_min, np.minimum, None, (np.min, np.amin), (np.minimum,)),
    (all, np.logical_and, True, (np.all,), (np.logical_and,)),
    (any, np.logical_or, False, (np.any,), (np.logical_or,)),
):
    _typed = _operation in (_sum, _prod, _nansum)
    _numpy_reduction(_with_choice(_operation, _join, _identity), _functions, _ufuncs, _typed)


def _chosen(a: Any, where: Any, axis: Any, keepdims: bool) -> tuple[Any, Any]:
    """The elements that count, zeros in the place of others, and how many they are along the axes."""
    where = np.broadcast_to(np.asarray(where), a.shape)
    number = np.sum(where, axis=axis, keepdims=keepdims).astype(a.array.real.dtype)
    return np.where(where, a, 0), as_tensor_argument(np.asarray(number))


@implements(np.mean)
def _numpy_mean(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False, *, where: Any = True
) -> Any:
    if out is not None:
        raise TypeError("np.mean on Tensors takes no out=")
    a = in_type(a, dtype)
    if where is True:
        return _mean(a, axis=axis, keepdims=keepdims)
    chosen, number = _chosen(a, where, axis, keepdims)
    return _sum(chosen, axis=axis, keepdims=keepdims) / number


def _numpy_deviation(operation: Callable[..., Any], function: Any) -> None:
    @implements(function)
    def deviation(
        a: Any,
        axis: Any = None,
        dtype: Any = None,
        out: None = None,
        ddof: float = 0,
        keepdims: bool = False,
        *,
        correction: Any = None,
        where: Any = True,
        mean: Any = None,
    ) -> Any:
        if out is not None:
            raise TypeError(f"np.{function.__name__} on Tensors takes no out=")
        ddof = ddof if correction is None else correction
        a = in_type(a, dtype)
        if where is True and mean is None:
            return operation(a, axis=axis, ddof=ddof, keepdims=keepdims)
        mean = np.mean(a, axis, keepdims=True, where=where) if mean is None else mean
        squares, number = _chosen(np.square(np.abs(a - mean)), where, axis, keepdims)
        variance = _sum(squares, axis=axis, keepdims=keepdims) / (number - ddof)
        return np.sqrt(variance) if function is np.std else variance


_numpy_deviation(_var, np.var)
_numpy_deviation(_std, np.std)


@implements(np.nanmean)
def _numpy_nanmean(a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False) -> Tensor:
    return nanmean(a, axis, keepdims, dtype=dtype)


@implements(np.nanmax)
def _numpy_nanmax(a: Any, axis: Any = None, out: None = None, keepdims: bool = False) -> Any:
    return _max(np.where(np.isnan(a), -math.inf, a), axis, keepdims)


@implements(np.nanmin)
def _numpy_nanmin(a: Any, axis: Any = None, out: None = None, keepdims: bool = False) -> Any:
    return _min(np.where(np.isnan(a), math.inf, a), axis, keepdims)


@implements(np.ptp)
def _numpy_ptp(a: Any, axis: Any = None, out: None = None, keepdims: bool = False) -> Any:
    return _max(a, axis, keepdims) - _min(a, axis, keepdims)


@implements(np.average)
def _numpy_average(
    a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False
) -> Any:
    a = as_tensor_argument(a)
    if weights is None:
        average = _mean(a, axis, keepdims)
        return (average, np.full_like(average, count(a.shape, axis))) if returned else average
    weights = as_tensor_argument(weights)
    if weights.shape != a.shape:
        if axis is None or isinstance(axis, tuple) or weights.shape != (a.shape[axis],):
            raise TypeError(f"np.average: weights of shape {weights.shape} do not fit shape {a.shape}, axis={axis}")
        weights = np.reshape(weights, [-1 if i == axis % a.ndim else 1 for i in range(a.ndim)])
    total = _sum(np.broadcast_to(weights, a.shape), axis, keepdims)
    average = _sum(a * weights, axis, keepdims) / total
    return (average, total) if returned else average


@implements(np.count_nonzero)
def _numpy_count_nonzero(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    return make_tensor(np.asarray(np.count_nonzero(a.array, axis=axis, keepdims=keepdims)), None)
