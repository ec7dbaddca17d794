"""NumPy's functions of samples and sequences, with NumPy's signatures and rules, on tensors; imported when first used.

Interpolation, differences, spaced numbers, running sums, statistics without NaNs, arrangement.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..core.dtypes import as_numpy_dtype, to_complex
from ..core.forward import TENSOR_FUNCS, array_function, cast, implements, wrap_forward_fn
from ..core.tensor import Tensor, make_tensor
from .common import as_tensor_argument, is_complex, normalize_axes, normalize_axis
from .differences import gradient
from .indexing import _gather_tensor
from .numpy_forms import _np_take_along_axis, filled, plain, together, typed
from .shape import ravel

__all__: list[str] = []


def in_type(x: Any, dtype: Any) -> Any:
    return x if dtype is None else cast(x, as_numpy_dtype(dtype))


# ----- interpolation and differences ------------------------------------------------------------------------------


@array_function
def _interval(xp: Any, x: Any) -> Any:
    """For each number the last of the points that is not above it, and not the last of all."""
    return np.clip(np.searchsorted(xp, x, side="right") - 1, 0, xp.shape[0] - 2)


_interval_tensor = wrap_forward_fn(_interval, is_differentiable=False)


@implements(np.interp)
def _np_interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> Any:
    x, xp = together(x, xp)
    (fp,) = together(fp)
    if xp.ndim != 1 or xp.shape != fp.shape or not xp.shape[0]:
        raise ValueError(f"np.interp needs vectors xp and fp of one length, got shapes {xp.shape} and {fp.shape}")
    if period is not None:
        if not np.all(plain(period)):
            raise ValueError("period must be a non-zero value")
        left, right, period = None, None, abs(period)
        x, xp = x % period, xp % period
        order = np.argsort(xp)
        xp, fp = xp[order], fp[order]
        xp = np.concatenate([xp[-1:] - period, xp, xp[:1] + period])
        fp = np.concatenate([fp[-1:], fp, fp[:1]])
    below, above = x < xp[0], x > xp[-1]
    result = fp[0]
    if xp.shape[0] > 1:
        place = ravel(_interval_tensor(xp, x))
        start, end, value, at_end = (
            np.reshape(_gather_tensor(points, 0, index), x.shape) for points in (xp, fp) for index in (place, place + 1)
        )
        slope = (at_end - value) / (end - start)
        result = value + slope * np.where(below | above, 0, x - start)
    result = np.where(above, fp[-1] if right is None else right, result)
    return np.where(below, fp[0] if left is None else left, result)


@implements(np.gradient)
def _np_gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    (f,) = together(f)
    axes = normalize_axes(axis, f.ndim)
    if edge_order not in (1, 2) or any(f.shape[i] <= edge_order for i in axes):
        raise ValueError(
            f"np.gradient takes edge_order 1 or 2 and needs more points than that along each axis: got {edge_order}, "
            f"shape {f.shape}"
        )
    if len(varargs) == 1 and not np.ndim(varargs[0]):
        varargs *= len(axes)
    if varargs and len(varargs) != len(axes):
        raise TypeError(f"np.gradient: invalid number of arguments: {len(varargs)} spacings for {len(axes)} axes")
    spacing = [typed(v, f.array.dtype) if np.ndim(v) else v for v in varargs] or [1] * len(axes)
    results = gradient(f, spacing=spacing, dim=axes, edge_order=edge_order)
    return results[0] if len(results) == 1 else results


@implements(np.unwrap)
def _np_unwrap(p: Any, discont: Any = None, axis: int = -1, *, period: Any = 2 * math.pi) -> Any:
    values = plain(p)
    jumps = np.unwrap(values, discont, axis, period=plain(period)) - values  # whole periods: their number is constant
    if isinstance(period, Tensor):
        return p + make_tensor(np.rint(jumps / period.array), None) * period
    return p + make_tensor(jumps, None)


# ----- spaced numbers ---------------------------------------------------------------------------------------------


def _spaced(start: Any, stop: Any, num: int, endpoint: bool, axis: int) -> tuple[Any, Any]:
    """Equally spaced numbers along a new axis, and their distance."""
    if num < 0:
        raise ValueError(f"Number of samples, {num}, must be non-negative.")
    start, stop = np.broadcast_arrays(*together(start, stop))
    gaps = num - 1 if endpoint else num
    step = (stop - start) / gaps if gaps > 0 else (stop - start) * math.nan
    places = np.reshape(np.arange(num), (-1,) + (1,) * start.ndim)
    exact = int(endpoint and num > 1)  # the end as it was given
    numbers = np.expand_dims(start, 0) + (places[: num - exact] * step if gaps > 0 else places * 0)
    return np.moveaxis(np.concatenate([numbers, np.expand_dims(stop, 0)[:exact]]), 0, axis), step


@implements(np.linspace)
def _np_linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
    *,
    device: Any = None,
) -> Any:
    numbers, step = _spaced(start, stop, num, endpoint, axis)
    if dtype is not None and as_numpy_dtype(dtype).kind in "iu":
        numbers = np.floor(numbers)
    return (in_type(numbers, dtype), step) if retstep else in_type(numbers, dtype)


@implements(np.logspace)
def _np_logspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: Any = 10.0, dtype: Any = None, axis: int = 0
) -> Any:
    start, stop, base = together(start, stop, base)
    if base.ndim:
        start, stop, base = np.broadcast_arrays(start, stop, base)
        base = np.expand_dims(base, axis)
    return in_type(base ** _spaced(start, stop, num, endpoint, axis)[0], dtype)


@implements(np.geomspace)
def _np_geomspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0) -> Any:
    start, stop = np.broadcast_arrays(*together(start, stop))
    if any(type(x.array) is np.ndarray and np.any(x.array == 0) for x in (start, stop)):
        raise ValueError("Geometric sequence cannot include zero")
    powers = np.exp(_spaced(0, np.log(stop / start), num, endpoint, 0)[0])
    numbers: Any = np.expand_dims(start, 0) * powers
    if endpoint and num > 1:  # the end as it was given
        numbers = np.concatenate([numbers[:-1], np.expand_dims(stop, 0)])
    return in_type(np.moveaxis(numbers, 0, axis), dtype)


# ----- running sums and products; statistics without NaNs ---------------------------------------------------------


def _cumulative(function: Any, scan: Any, first: int) -> None:
    def cumulative(
        x: Any, /, *, axis: Any = None, dtype: Any = None, out: None = None, include_initial: bool = False
    ) -> Any:
        no_out(function, out)
        x = np.atleast_1d(x)
        if axis is None:
            if x.ndim != 1:
                raise ValueError("For arrays which have more than one dimension ``axis`` argument is required.")
            axis = 0
        axis = normalize_axis(axis, x.ndim)
        result = TENSOR_FUNCS[scan](x, axis=axis, dtype=dtype)
        if not include_initial:
            return result
        start = filled(first, (*x.shape[:axis], 1, *x.shape[axis + 1 :]), result)
        return np.concatenate([start, result], axis=axis)

    implements(function)(cumulative)


_cumulative(np.cumulative_sum, np.cumsum, 0)
_cumulative(np.cumulative_prod, np.cumprod, 1)


def no_out(function: Any, out: Any) -> None:
    if out is not None:
        raise TypeError(f"np.{function.__name__} on Tensors takes no out=")


@implements(np.nancumsum)
def _np_nancumsum(a: Any, axis: Any = None, dtype: Any = None, out: None = None) -> Any:
    no_out(np.nancumsum, out)
    return np.cumsum(in_type(np.where(np.isnan(a), 0, a), dtype), axis=axis)


@implements(np.nancumprod)
def _np_nancumprod(a: Any, axis: Any = None, dtype: Any = None, out: None = None) -> Any:
    no_out(np.nancumprod, out)
    return np.cumprod(in_type(np.where(np.isnan(a), 1, a), dtype), axis=axis)


@implements(np.nanprod)
def _np_nanprod(a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False) -> Any:
    no_out(np.nanprod, out)
    return np.prod(in_type(np.where(np.isnan(a), 1, a), dtype), axis=axis, keepdims=keepdims)


@implements(np.nanvar)
def _np_nanvar(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    mean: Any = None,
    correction: Any = None,
) -> Any:
    no_out(np.nanvar, out)
    (a,) = together(in_type(a, dtype))
    missing = np.isnan(a)
    mean = np.nanmean(a, axis=axis, keepdims=True) if mean is None else mean
    distance = np.where(missing, 0, a - mean)
    square = np.real(distance * np.conj(distance)) if is_complex(distance) else distance * distance
    total = np.sum(square, axis=axis, keepdims=keepdims)
    freedom = np.sum(~plain(missing), axis=axis, keepdims=keepdims) - (ddof if correction is None else correction)
    return total / make_tensor(np.where(freedom > 0, freedom, math.nan).astype(total.array.dtype), None)


@implements(np.nanstd)
def _np_nanstd(a: Any, axis: Any = None, dtype: Any = None, out: None = None, *args: Any, **kwargs: Any) -> Any:
    return np.sqrt(_np_nanvar(a, axis, dtype, out, *args, **kwargs))


@implements(np.nanpercentile)
def _np_nanpercentile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
) -> Any:
    no_out(np.nanpercentile, out)
    q = q / 100 if isinstance(q, Tensor) else np.asarray(q) / 100
    return TENSOR_FUNCS[np.nanquantile](a, q, axis, method=method, keepdims=keepdims)


# ----- functions applied to parts ---------------------------------------------------------------------------------


@implements(np.apply_along_axis)
def _np_apply_along_axis(func1d: Callable[..., Any], axis: int, arr: Any, *args: Any, **kwargs: Any) -> Any:
    arr = as_tensor_argument(arr)
    axis = normalize_axis(axis, arr.ndim)
    lines = np.moveaxis(arr, axis, -1)
    places = lines.shape[:-1]
    if 0 in places:
        raise ValueError("Cannot apply_along_axis when any iteration dimensions are 0")
    results = np.stack(together(*(func1d(lines[i], *args, **kwargs) for i in np.ndindex(*places)), floating=False))
    shape = results.shape[1:]
    results = np.reshape(results, (*places, *shape))
    return np.moveaxis(results, range(len(places), results.ndim), range(axis, axis + len(shape)))


@implements(np.apply_over_axes)
def _np_apply_over_axes(func: Callable[..., Any], a: Any, axes: Any) -> Any:
    ndim = np.ndim(a)
    for axis in np.ravel(axes):
        axis = normalize_axis(int(axis), ndim)
        result = func(a, axis)
        a = result if result.ndim == ndim else np.expand_dims(result, axis)
        if a.ndim != ndim:
            raise ValueError("function is not returning an array of the correct shape")
    return a


def _outer(ufunc: np.ufunc) -> Callable[..., Any]:
    def outer(a: Any, b: Any) -> Any:
        a, b = together(a, b, floating=False)
        return ufunc(np.reshape(a, a.shape + (1,) * b.ndim), b)

    return outer


for _ufunc in [f for f in TENSOR_FUNCS if isinstance(f, np.ufunc) and f.signature is None and f.nin == 2]:
    TENSOR_FUNCS[_ufunc, "outer"] = _outer(_ufunc)


@implements(np.piecewise)
def _np_piecewise(x: Any, condlist: Any, funclist: Any, *args: Any, **kw: Any) -> Any:
    x = as_tensor_argument(x)
    conditions = [plain(c) for c in condlist] if isinstance(condlist, (list, tuple)) else plain(condlist)
    if np.ndim(conditions) == 0 or (x.ndim and not isinstance(conditions[0], (list, np.ndarray))):
        conditions = [conditions]
    conditions = [np.asarray(c, bool) for c in conditions]
    if len(funclist) == len(conditions) + 1:
        conditions.append(~np.any(np.stack(conditions), axis=0))
    elif len(funclist) != len(conditions):
        n = len(conditions)
        raise ValueError(f"with {n} condition(s), either {n} or {n + 1} functions are expected")
    result = make_tensor(np.zeros_like(x.array), None)
    for condition, value in zip(conditions, funclist, strict=True):
        if not callable(value):
            result[condition] = value
        elif np.any(condition):
            result[condition] = value(x[condition], *args, **kw)
    return result


# ----- arrangement ------------------------------------------------------------------------------------------------


def _leaves(arrays: Any) -> Iterator[Any]:
    if isinstance(arrays, tuple):
        raise TypeError("np.block takes lists of arrays, and lists of such lists; got a tuple")
    if not isinstance(arrays, list):
        yield arrays
    for item in arrays if isinstance(arrays, list) else ():
        yield from _leaves(item)


@implements(np.block)
def _np_block(arrays: Any) -> Any:
    tensors = together(*_leaves(arrays), floating=False)
    depth, first = 0, arrays
    while isinstance(first, list) and first:
        depth, first = depth + 1, first[0]
    ndim = max(depth, *(t.ndim for t in tensors))
    blocks = iter(tensors)

    def join(part: Any, level: int) -> Any:
        if isinstance(part, list) != (level < depth) or (level < depth and not part):
            raise ValueError(f"List depths are mismatched, or a list is empty: expected {depth} levels everywhere")
        if isinstance(part, list):
            return np.concatenate([join(item, level + 1) for item in part], axis=level - depth)
        block = next(blocks)
        return np.reshape(block, (1,) * (ndim - block.ndim) + block.shape)

    return join(arrays, 0)


@implements(np.resize)
def _np_resize(a: Any, new_shape: Any) -> Any:
    shape = (new_shape,) if isinstance(new_shape, (int, np.integer)) else tuple(new_shape)
    a = ravel(a)
    if not a.shape[0]:
        return filled(0, shape, a)
    return np.reshape(np.take(a, np.arange(math.prod(shape)) % a.shape[0]), shape)


@implements(np.trim_zeros)
def _np_trim_zeros(filt: Any, trim: str = "fb", axis: Any = None) -> Any:
    if trim.lower() not in ("fb", "bf", "f", "b"):
        raise ValueError(f"unexpected character(s) in `trim`: {trim!r}")
    index = [slice(None)] * filt.ndim
    for i in normalize_axes(axis, filt.ndim):
        others = tuple(k for k in range(filt.ndim) if k != i)
        there = np.flatnonzero(np.any(plain(filt) != 0, axis=others))
        first, end = (int(there[0]), int(there[-1]) + 1) if there.size else (filt.shape[i], filt.shape[i])
        index[i] = slice(first if "f" in trim.lower() else 0, end if "b" in trim.lower() else None)
    return filt[tuple(index)]


@implements(np.partition)
def _np_partition(a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect", order: None = None) -> Any:
    if axis is None:
        a, axis = ravel(a), -1
    return _np_take_along_axis(a, make_tensor(np.argpartition(plain(a), plain(kth), axis), None), axis)


@implements(np.sort_complex)
def _np_sort_complex(a: Any) -> Any:
    (a,) = together(a)
    a = _np_take_along_axis(a, make_tensor(np.argsort(plain(a), axis=-1), None), -1)
    return a if a.array.dtype.kind == "c" else cast(a, to_complex(a.array.dtype))
