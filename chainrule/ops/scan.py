"""Scans: running sums, products, extremes; differences and integrals over a grid.

The derivatives of running products and of the running log-sum-exp are running sums with a factor that changes from
place to place, `linear_recurrence`. Its own derivative is one as well, so all orders come from the same two rules, and
nothing is ever divided by an element that may be zero.
"""

from __future__ import annotations

import builtins
import math
from typing import Any, NamedTuple

import numpy as np

from ..core.dtypes import as_numpy_dtype, default_float, refuse_complex
from ..core.forward import TENSOR_FUNCS, array_function, cast, implements, wrap_forward_fn
from ..core.table import backward
from ..core.tensor import Tensor, make_tensor
from .common import (
    as_tensor_argument,
    attach,
    attach_in_place,
    is_complex,
    normalize_axis,
    numbers_as,
    numpy_names,
)
from .elementwise import complex_logaddexp
from .reduction import _accumulating, in_type, shifted
from .selection import take_along_tensor

__all__ = [
    "cummax",
    "cummin",
    "cumprod",
    "cumsum",
    "cumulative_trapezoid",
    "diff",
    "logcumsumexp",
    "trapezoid",
    "trapz",
]

# ----- the table: running sums ----------------------------------------------------------------------------------------


def part(x: Any, axis: int, start: int | None, stop: int | None) -> Any:
    """`x[start:stop]` along an axis."""
    return x[(slice(None),) * (axis % x.ndim) + (slice(start, stop),)]


@backward(np.cumsum, 0)
def cumsum_back(grad_out: Any, out: Any, x: Any, axis: int | None = None) -> Any:
    r"""$\nabla_{x_i} L = \sum_{j \geq i} \nabla_{out_j} L$"""
    if not x.shape or axis is None:
        flat = np.reshape(grad_out, (-1,))
        return np.reshape(np.flip(np.cumsum(np.flip(flat, 0), axis=0), 0), x.shape)
    return np.flip(np.cumsum(np.flip(grad_out, axis), axis=axis), axis)


@array_function
def linear_recurrence(decay: Any, drive: Any, axis: int, reverse: bool = False) -> Any:
    """`out[i] = decay[i] * out[i - 1] + drive[i]` along an axis, from `out[0] = drive[0]`; `decay[0]` is not used.

    With `reverse` the transpose: `out[i] = decay[i + 1] * out[i + 1] + drive[i]`, from the last element.
    Pairs of steps are joined into one, again and again (Blelloch, "Prefix sums and their applications", 1990):
    about log2(n) passes over the arrays.

    >>> linear_recurrence(np.array([9.0, 2.0, 2.0]), np.array([1.0, 1.0, 1.0]), 0)
    array([1., 3., 7.])
    """
    n = drive.shape[axis]
    if type(drive) is np.ndarray and type(decay) is np.ndarray:
        out, factors = drive.copy(), decay.copy()
        ahead, behind = out, factors
        if reverse:
            ahead, behind = np.flip(out, axis), np.roll(np.flip(factors, axis), 1, axis)
        step = 1
        while step < n:
            factor = part(behind, axis, step, None)
            part(ahead, axis, step, None)[...] += factor * part(ahead, axis, None, n - step)
            factor[...] = factor * part(behind, axis, None, n - step)
            step *= 2
        return out
    if reverse:
        turned = np.roll(np.flip(decay, axis), 1, axis=axis)
        return np.flip(linear_recurrence(turned, np.flip(drive, axis), axis), axis)
    step = 1
    while step < n:
        factor = part(decay, axis, step, None)
        later = part(drive, axis, step, None) + factor * part(drive, axis, None, n - step)
        drive = np.concatenate((part(drive, axis, None, step), later), axis=axis)
        if 2 * step < n:
            joined = factor * part(decay, axis, None, n - step)
            decay = np.concatenate((part(decay, axis, None, step), joined), axis=axis)
        step *= 2
    return drive


@backward(linear_recurrence, 0)
def linear_recurrence_back0(grad_out: Any, out: Any, decay: Any, drive: Any, axis: int, reverse: bool = False) -> Any:
    r"""$\nabla_{decay_i} L = out_{i-1} \nabla_{drive_i} L$; reversed $out_i \nabla_{drive_{i-1}} L$"""
    grad_drive = linear_recurrence_back1(grad_out, out, decay, drive, axis, reverse)
    source, target = (grad_drive, out) if reverse else (out, grad_drive)
    return shifted(source, axis, 0) * target


@backward(linear_recurrence, 1)
def linear_recurrence_back1(grad_out: Any, out: Any, decay: Any, drive: Any, axis: int, reverse: bool = False) -> Any:
    r"""$\nabla_{drive_i} L = \nabla_{out_i} L + decay_{i+1} \nabla_{drive_{i+1}} L$; forwards if reversed"""
    return linear_recurrence(decay, grad_out, axis, not reverse)


# ----- the table: running products ------------------------------------------------------------------------------------


@backward(np.cumprod, 0)
def cumprod_back(grad_out: Any, out: Any, x: Any, axis: int | None = None) -> Any:
    r"""$\nabla_{x_i} L = \sum_{j \geq i} \left(\prod_{k \leq j, k \neq i} x_k\right) \nabla_{out_j} L$"""
    if not x.shape or axis is None:
        flat = np.reshape(x, (-1,))
        return np.reshape(cumprod_back(np.reshape(grad_out, (-1,)), np.reshape(out, (-1,)), flat, 0), x.shape)
    return shifted(out, axis, 1) * linear_recurrence(x, grad_out, axis, True)


@array_function
def _logcumsumexp(x: Any, axis: int) -> Any:
    """The log of the running sum of exponentials."""
    if not is_complex(x):
        return np.logaddexp.accumulate(x, axis=axis)
    sums = [part(x, axis, 0, 1)]
    for i in range(1, x.shape[axis]):  # step by step: the imaginary part of the result is not reduced to one turn
        sums.append(complex_logaddexp(sums[-1], part(x, axis, i, i + 1)))
    return np.concatenate(sums, axis=axis)


@backward(_logcumsumexp, 0)
def logcumsumexp_back(grad_out: Any, out: Any, x: Any, axis: int) -> Any:
    r"""$\nabla_{x_i} L = \sum_{j \geq i} e^{x_i - out_j} \nabla_{out_j} L$"""
    finite = np.where(np.isfinite(out), out, 0)
    shrink = np.exp(shifted(out, axis, -math.inf) - finite)  # never more than 1, so nothing overflows
    return np.exp(x - finite) * linear_recurrence(shrink, grad_out, axis, True)


# ----- the table: differences -----------------------------------------------------------------------------------------


@backward(np.diff, 0)
def diff_back(grad_out: Any, out: Any, x: Any, n: int = 1, axis: int = -1) -> Any:
    r"""$\nabla_{x_i} L = \nabla_{out_{i-1}} L - \nabla_{out_i} L$, $n$ times"""
    size = x.shape[axis]
    if n >= size:
        return np.zeros_like(x)
    shape = [n if i == axis % x.ndim else m for i, m in enumerate(x.shape)]
    border = np.zeros(shape, x.dtype)
    transposed = np.diff(np.concatenate((border, grad_out, border), axis=axis), n, axis)
    return -transposed if n % 2 else transposed


# ----- the operations -------------------------------------------------------------------------------------------------

linear_recurrence_tensor = wrap_forward_fn(linear_recurrence)
_cumsum = wrap_forward_fn(np.cumsum)
_cumprod = wrap_forward_fn(np.cumprod)
_logcumsumexp_tensor = wrap_forward_fn(_logcumsumexp)
_diff = wrap_forward_fn(np.diff)


def _along(input: Tensor, dim: int) -> int | None:
    """The axis of a scan; None for a tensor without axes, which is its own scan."""
    axis = normalize_axis(dim, input.ndim)
    return axis if input.ndim else None


def _in_single(scan: Any, input: Tensor, axis: int | None) -> Any:
    """A scan, of half precision in single: one that is rounded after each of many steps goes astray."""
    if axis is None:
        return _whole(input)
    kind = input.array.dtype
    if kind != np.float16:
        return scan(input, axis=axis)
    return cast(scan(cast(input, np.dtype(np.float32)), axis=axis), kind)


@numpy_names
def cumsum(input: Any, dim: int, *, dtype: Any = None) -> Tensor:
    """The running sum along an axis; integers are added up as int64.

    >>> import chainrule as cr
    >>> cr.cumsum(cr.tensor([1.0, 2.0, 3.0]), 0)
    Tensor(array([1., 3., 6.], dtype=float32), requires_grad=False)
    """
    input = _accumulating(input, dtype)
    axis = _along(input, dim)
    return in_type(_in_single(_cumsum, input, axis), dtype)  # type: ignore[no-any-return]


@numpy_names
def cumprod(input: Any, dim: int, *, dtype: Any = None) -> Tensor:
    """The running product along an axis; its gradient is right where elements are zero."""
    input = _accumulating(input, dtype)
    axis = _along(input, dim)
    return in_type(_in_single(_cumprod, input, axis), dtype)  # type: ignore[no-any-return]


def _whole(input: Tensor) -> Any:
    """A copy: what a scan of a tensor without axes is."""
    return TENSOR_FUNCS[np.positive](input) if input.array.dtype.kind != "b" else make_tensor(input.array.copy(), None)


@numpy_names
def logcumsumexp(input: Any, dim: int) -> Tensor:
    """The log of the running sum of exponentials along an axis, without overflow."""
    input = as_tensor_argument(input)
    if input.array.dtype.kind not in "fc":
        input = cast(input, default_float())
    axis = _along(input, dim)
    if axis is None or not input.array.size:
        return _whole(input)  # type: ignore[no-any-return]
    return _logcumsumexp_tensor(input, axis=axis)  # type: ignore[no-any-return]


class RunningExtreme(NamedTuple):
    """What `cummax` and `cummin` return."""

    values: Tensor
    indices: Tensor


def _running_extreme(ufunc: Any, input: Any, dim: int) -> RunningExtreme:
    input = as_tensor_argument(input)
    x = input.array
    refuse_complex("cummax" if ufunc is np.maximum else "cummin", x)
    axis = _along(input, dim)
    if axis is None:
        return RunningExtreme(_whole(input), make_tensor(np.zeros((), np.int64), None))
    values = ufunc.accumulate(x, axis=axis)
    shape = [-1 if i == axis else 1 for i in range(x.ndim)]
    here = (x == values) | (x != x)
    indices = np.maximum.accumulate(np.where(here, np.reshape(np.arange(x.shape[axis]), shape), 0), axis=axis)
    chosen = make_tensor(indices, None)  # given as a tensor, so that a write to it is noticed at backward
    return RunningExtreme(take_along_tensor(input, chosen, axis), chosen)


@numpy_names
def cummax(input: Any, dim: int) -> RunningExtreme:
    """The largest element so far along an axis, and where it is: a named tuple (values, indices)."""
    return _running_extreme(np.maximum, input, dim)


@numpy_names
def cummin(input: Any, dim: int) -> RunningExtreme:
    """The smallest element so far along an axis, and where it is: a named tuple (values, indices)."""
    return _running_extreme(np.minimum, input, dim)


@numpy_names
def diff(input: Any, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> Tensor:
    """The n-th difference of neighbours along an axis, after `prepend` and `append` were joined to it.

    Raises:
        RuntimeError: the input has no axes, or `n` is negative.

    >>> import chainrule as cr
    >>> cr.diff(cr.tensor([1.0, 4.0, 9.0]))
    Tensor(array([3., 5.], dtype=float32), requires_grad=False)
    """
    input = as_tensor_argument(input)
    if not input.ndim:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    axis = normalize_axis(dim, input.ndim)
    if not n:
        return _whole(input)  # type: ignore[no-any-return]
    parts = [p for p in (prepend, input, append) if p is not None]
    if len(parts) > 1:
        input = TENSOR_FUNCS[np.concatenate](parts, axis=axis)
    return _diff(input, n=builtins.min(n, input.shape[axis]), axis=axis)  # type: ignore[no-any-return]


def _trapezoids(y: Any, x: Any, dx: Any, dim: int) -> Any:
    """The areas of the strips between neighbouring samples, along `dim`."""
    y = as_tensor_argument(y)
    axis = normalize_axis(dim, y.ndim)
    if not y.ndim:
        raise IndexError("trapezoid: the samples need an axis, got a tensor of shape ()")
    widths = dx
    if x is not None:
        x = as_tensor_argument(x)
        if x.ndim == 1:
            if x.shape[0] != y.shape[axis]:
                raise RuntimeError(f"There must be one `x` value for each sample: {x.shape[0]} for {y.shape[axis]}")
            widths = np.reshape(_diff(x), [-1 if i == axis else 1 for i in range(y.ndim)])
        else:
            behind = y.ndim - axis  # counted from the back, x and y broadcast
            widths = _diff(x, axis=-behind) if x.ndim >= behind and x.shape[-behind] > 1 else 0.0
    sums = part(y, axis, 1, None) + part(y, axis, None, -1)
    return sums * widths / 2.0, axis - y.ndim


@numpy_names
def trapezoid(y: Any, x: Any = None, *, dx: Any = None, dim: int = -1) -> Tensor:
    """The integral of samples `y` along an axis by the trapezoidal rule, at points `x` or at distance `dx` (1).

    >>> import chainrule as cr
    >>> cr.trapezoid(cr.tensor([1.0, 2.0, 3.0])).item()
    4.0
    """
    areas, axis = _trapezoids(y, x, 1 if dx is None else dx, dim)
    return TENSOR_FUNCS[np.sum](areas, axis=axis)  # type: ignore[no-any-return]


trapz = trapezoid


@numpy_names
def cumulative_trapezoid(y: Any, x: Any = None, *, dx: Any = None, dim: int = -1) -> Tensor:
    """The running integral of samples `y` by the trapezoidal rule: one element fewer than `y` along `dim`."""
    areas, axis = _trapezoids(y, x, 1 if dx is None else dx, dim)
    return cumsum(areas, axis)


attach(cumsum, cumprod, cummax, cummin, logcumsumexp, diff)
attach_in_place(cumsum, cumprod)

# ----- NumPy's names, signatures and defaults -------------------------------------------------------------------------


def _numpy_scan(operation: Any, function: Any, ufunc: Any) -> None:
    def scan(a: Any, axis: int | None = None, dtype: Any = None, out: None = None) -> Any:
        if out is not None:
            raise TypeError(f"np.{function.__name__} on Tensors takes no out=")
        return operation(a if dtype is None else cast(a, as_numpy_dtype(dtype)), axis=axis)

    implements(function)(scan)
    TENSOR_FUNCS[ufunc, "accumulate"] = lambda a, axis=0, dtype=None, out=None: scan(a, axis, dtype, out)


_numpy_scan(_cumsum, np.cumsum, np.add)
_numpy_scan(_cumprod, np.cumprod, np.multiply)
TENSOR_FUNCS[np.maximum, "accumulate"] = lambda a, axis=0: cummax(a, axis).values
TENSOR_FUNCS[np.minimum, "accumulate"] = lambda a, axis=0: cummin(a, axis).values
TENSOR_FUNCS[np.logaddexp, "accumulate"] = lambda a, axis=0: logcumsumexp(a, axis)


@implements(np.diff)
def _numpy_diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Tensor:
    a = as_tensor_argument(a)
    shape = [1 if i == axis % a.ndim else size for i, size in enumerate(a.shape)] if a.ndim else []

    def end(x: Any) -> Any:
        if x is None or np.ndim(x):
            return x
        return np.broadcast_to(x if isinstance(x, Tensor) else as_tensor_argument(numbers_as(x, a.array.dtype)), shape)

    return diff(a, n, axis, end(prepend), end(append))


@implements(np.ediff1d)
def _numpy_ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Tensor:
    between: Any = diff(np.reshape(ary, (-1,)), 1, 0)
    kind = between.array.dtype

    def end(values: Any) -> list[Any]:
        if values is None:
            return []
        values = numbers_as(values, kind) if isinstance(values, (int, float)) else values
        return [np.reshape(cast(as_tensor_argument(values), kind), (-1,))]

    return np.concatenate([*end(to_begin), between, *end(to_end)])  # type: ignore[return-value]


@implements(np.trapezoid)
def _numpy_trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Tensor:
    return trapezoid(y, x, dx=dx, dim=axis)
