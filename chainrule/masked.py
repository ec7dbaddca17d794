"""`chainrule.masked`: reductions and normalisations of the elements that a mask chooses, as `torch.masked` has them.

A mask is a boolean tensor that broadcasts to the input; where it is False, an element counts as if it were not there.
Each function fills such elements with what does not change its result, and calls the ordinary operation.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .absent import absent as _absent
from .core.dtypes import as_numpy_dtype as _as_numpy_dtype
from .core.dtypes import default_float as _default_float
from .core.dtypes import to_real as _to_real
from .core.tensor import Tensor, make_tensor
from .core.tracing import as_it_is
from .ops import elementwise as _elementwise
from .ops import indexing as _indexing
from .ops import linalg as _linalg
from .ops import normalisation as _normalisation
from .ops import reduction as _reduction
from .ops import scan as _scan
from .ops import sorting as _sorting
from .ops.common import normalize_axes as _axes

__all__ = [
    "amax",
    "amin",
    "argmax",
    "argmin",
    "cumprod",
    "cumsum",
    "log_softmax",
    "logaddexp",
    "logsumexp",
    "mean",
    "median",
    "norm",
    "normalize",
    "prod",
    "softmax",
    "softmin",
    "std",
    "sum",
    "var",
]


def _filled(input: Tensor, mask: Any, number: float) -> Tensor:
    """The input with a number in place of the elements that do not count."""
    if mask is None:
        return input
    if mask.ndim > input.ndim:
        raise IndexError(f"_input_mask expected broadcastable mask, got mask of shape {mask.shape} for {input.shape}")
    return _indexing.where(mask.to(bool), input, make_tensor(np.asarray(number).astype(input.array.dtype), None))  # type: ignore[no-any-return]


def _lowest(input: Tensor) -> Any:
    kind = input.array.dtype
    return np.iinfo(kind).min if kind.kind in "iu" else -math.inf


def _highest(input: Tensor) -> Any:
    kind = input.array.dtype
    return np.iinfo(kind).max if kind.kind in "iu" else math.inf


def _as(result: Tensor, dtype: Any, input: Tensor) -> Tensor:
    return result.to(input.array.dtype if dtype is None else dtype)  # type: ignore[no-any-return]


def _count(input: Tensor, dim: Any, keepdim: bool, mask: Any) -> Tensor:
    """How many elements count."""
    counted = np.ones(input.shape, bool) if mask is None else np.broadcast_to(mask.array.astype(bool), input.shape)
    axes = _axes(dim, input.ndim) if input.ndim else None
    return make_tensor(as_it_is(np.sum(counted, axis=axes, keepdims=bool(keepdim))), None)


# ----- sums and products ------------------------------------------------------------------------------------------


def sum(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Tensor:
    """The sum of the elements that count, 0 if none does.

    >>> import chainrule as cr
    >>> x, mask = cr.tensor([[1, 2, 3], [4, 5, 6]]), cr.tensor([[True, False, True], [False, False, False]])
    >>> cr.masked.sum(x, 1, mask=mask)
    Tensor(array([4, 0]), requires_grad=False)
    """
    return _reduction.sum(_filled(input, mask, 0), _axes(dim, input.ndim), keepdim=bool(keepdim), dtype=dtype)


def prod(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Tensor:
    """The product of the elements that count, 1 if none does."""
    result = _filled(input, mask, 1)
    for axis in sorted(_axes(dim, input.ndim), reverse=True):
        result = _reduction.prod(result, axis, keepdim=bool(keepdim), dtype=dtype)
    return result


def cumsum(input: Tensor, dim: int, *, dtype: Any = None, mask: Any = None) -> Tensor:
    """Sums up to each place along an axis."""
    return _as(_scan.cumsum(_filled(input, mask, 0), dim, dtype=dtype), dtype, input)


def cumprod(input: Tensor, dim: int, *, dtype: Any = None, mask: Any = None) -> Tensor:
    """Products up to each place along an axis."""
    return _as(_scan.cumprod(_filled(input, mask, 1), dim, dtype=dtype), dtype, input)


# ----- largest and smallest ---------------------------------------------------------------------------------------


def amax(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Tensor:
    """The largest element that counts; the lowest number of the type if none does."""
    filled = _filled(input, mask, _lowest(input))
    return _as(_reduction.amax(filled, _axes(dim, input.ndim), bool(keepdim)), dtype, input)


def amin(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Tensor:
    """The smallest element that counts; the highest number of the type if none does."""
    filled = _filled(input, mask, _highest(input))
    return _as(_reduction.amin(filled, _axes(dim, input.ndim), bool(keepdim)), dtype, input)


def argmax(
    input: Tensor, dim: int | None = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None
) -> Tensor:
    """The place of the largest element that counts."""
    return _as(_sorting.argmax(_filled(input, mask, _lowest(input)), dim, bool(keepdim)), dtype, input)


def argmin(
    input: Tensor, dim: int | None = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None
) -> Tensor:
    """The place of the smallest element that counts."""
    return _as(_sorting.argmin(_filled(input, mask, _highest(input)), dim, bool(keepdim)), dtype, input)


# ----- statistics -------------------------------------------------------------------------------------------------


def mean(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Tensor:
    """The mean of the elements that count, NaN if none does.

    Raises:
        ValueError: an integer type.
    """
    kind = input.array.dtype if dtype is None else _as_numpy_dtype(dtype)
    if kind.kind not in "fc":
        raise ValueError(f"mean(): the dtype must be floating point or complex, got {kind}: give dtype=")
    total = sum(input, dim, keepdim=keepdim, dtype=dtype, mask=mask)
    return total / _count(input, dim, keepdim, mask)


def median(input: Tensor, dim: int = -1, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Tensor:
    """The lower median along an axis of the elements that count, NaN if none does.

    Raises:
        ValueError: an integer type, and a row in which nothing counts.
    """
    floating = input.array.dtype.kind == "f"
    values = input if floating else input.to(_default_float())
    result: Tensor = _sorting.nanmedian(_filled(values, mask, math.nan), dim, bool(keepdim)).values
    if floating:
        return result
    if np.any(np.isnan(result.array)):
        raise ValueError("masked median expects no fully masked out rows if dtype is not floating point")
    return _as(result, dtype, input)


def norm(
    input: Tensor,
    ord: float | None = 2.0,
    dim: Any = None,
    *,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Any = None,
) -> Tensor:
    """The vector norm of the elements that count."""
    filled = _filled(input, mask, math.inf if ord == -math.inf else 0)
    axes = _axes(dim, input.ndim)
    return _linalg.vector_norm(filled, ord, axes, bool(keepdim), dtype=dtype)  # type: ignore[no-any-return]


def var(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Any = None,
) -> Tensor:
    """The variance of the elements that count, NaN if none does."""
    if unbiased is not None and correction is not None:
        raise AssertionError("var(): unbiased and correction are two ways of saying one thing, give one")
    taken = (1.0 if unbiased is None else float(unbiased)) if correction is None else float(correction)
    kind = input.array.dtype if dtype is None else _as_numpy_dtype(dtype)
    kind = kind if kind.kind in "fc" else np.dtype(np.float32)
    centre = sum(input, dim, keepdim=True, dtype=kind, mask=mask) / _count(input, dim, True, mask)
    difference = input - centre
    square = difference * difference.conj() if difference.array.dtype.kind == "c" else difference * difference
    total = sum(square, dim, keepdim=keepdim, dtype=kind, mask=mask)
    freedom = _count(input, dim, keepdim, mask).array.astype(_to_real(kind))
    return total / make_tensor(np.maximum(freedom - taken, 0), None)


def std(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Any = None,
) -> Tensor:
    """The standard deviation of the elements that count, NaN if none does."""
    variance = var(input, dim, unbiased, correction=correction, keepdim=keepdim, dtype=dtype, mask=mask)
    return _elementwise.sqrt(variance)  # type: ignore[no-any-return]


# ----- exponentials -----------------------------------------------------------------------------------------------


def logsumexp(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Tensor:
    """The logarithm of the sum of the exponentials of the elements that count."""
    filled = _filled(input, mask, _lowest(input))
    return _as(_reduction.logsumexp(filled, _axes(dim, input.ndim), bool(keepdim)), dtype, input)


def logaddexp(
    input: Tensor, other: Tensor, *, dtype: Any = None, input_mask: Any = None, other_mask: Any = None
) -> Tensor:
    """The logarithm of the sum of two exponentials; one that does not count is left out."""
    left, right = _filled(input, input_mask, -math.inf), _filled(other, other_mask, -math.inf)
    return _as(_elementwise.logaddexp(left, right), dtype, input)


def softmax(input: Tensor, dim: int, *, dtype: Any = None, mask: Any = None) -> Tensor:
    """Softmax among the elements that count; the others get 0."""
    return _normalisation.softmax(_filled(input, mask, _lowest(input)), dim, dtype=dtype)


def log_softmax(input: Tensor, dim: int, *, dtype: Any = None, mask: Any = None) -> Tensor:
    """Log-softmax among the elements that count; the others get minus infinity."""
    return _normalisation.log_softmax(_filled(input, mask, _lowest(input)), dim, dtype=dtype)


def softmin(input: Tensor, dim: int, *, dtype: Any = None, mask: Any = None) -> Tensor:
    """Softmin among the elements that count; the others get 0."""
    return _normalisation.softmax(-_filled(input, mask, _highest(input)), dim, dtype=dtype)


def normalize(
    input: Tensor, ord: float, dim: int, *, eps: float = 1e-12, dtype: Any = None, mask: Any = None
) -> Tensor:
    """The elements that count, divided by their norm along an axis (at least `eps`)."""
    length = norm(input, ord, dim, keepdim=True, dtype=dtype, mask=mask)
    smallest = make_tensor(np.full((), eps, length.array.dtype), None)
    return _filled(input, mask, 0) / _elementwise.maximum(length, smallest)  # type: ignore[no-any-return]


__getattr__ = _absent(__name__)
