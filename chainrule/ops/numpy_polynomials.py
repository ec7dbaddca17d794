"""NumPy's products of sequences and its polynomials (highest power first) on tensors; imported when first used."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..core.forward import array_function, implements, wrap_forward_fn
from ..core.table import backward
from ..core.tensor import Tensor
from .common import real_like
from .linalg import eigvals
from .matrices import vander
from .numpy_forms import filled, plain, together
from .shape import expand, ravel

__all__: list[str] = []

# ----- the table: products of sequences ---------------------------------------------------------------------------


@array_function
def _convolve(a: Any, v: Any, mode: Any = "full") -> Any:
    """The product of two sequences: all of it, or ("valid") where `v`, which is not longer than `a`, lies in `a`."""
    return np.convolve(a, v, mode)


@backward(_convolve, 0)
def convolve_back0(grad_out: Any, out: Any, a: Any, v: Any, mode: str = "full") -> Any:
    r"""$\nabla_{a_i} L = \sum_k v_{k-i} (\nabla_{out} L)_k$, counted from the first place of the whole product"""
    return real_like(_convolve(grad_out, v[::-1], mode="valid" if mode == "full" else "full"), a)


@backward(_convolve, 1)
def convolve_back1(grad_out: Any, out: Any, a: Any, v: Any, mode: str = "full") -> Any:
    r"""$\nabla_{v_j} L = \sum_k a_{k-j} (\nabla_{out} L)_k$, counted from the first place of the whole product"""
    if mode == "full":
        return real_like(_convolve(grad_out, a[::-1], mode="valid"), v)
    return real_like(_convolve(a[::-1], grad_out, mode="valid"), v)


_product = wrap_forward_fn(_convolve)


@implements(np.convolve)
def _np_convolve(a: Any, v: Any, mode: str = "full") -> Any:
    a, v = (_sequence(x, "np.convolve") for x in together(a, v, floating=False))
    if a.shape[0] < v.shape[0]:
        a, v = v, a
    if mode == "same":
        start = (v.shape[0] - 1) // 2
        return _product(a, v, mode="full")[start : start + a.shape[0]]
    if mode not in ("full", "valid"):
        raise ValueError(f"mode must be one of 'full', 'same' or 'valid', got {mode!r}")
    return _product(a, v, mode=mode)


@implements(np.correlate)
def _np_correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    a, v = (_sequence(x, "np.correlate") for x in together(a, v, floating=False))
    if a.shape[0] < v.shape[0]:  # NumPy turns the result of the exchanged arguments round
        return np.conj(_np_correlate(v, a, mode)[::-1])
    return _np_convolve(a, np.conj(v)[::-1], mode)


def _sequence(x: Tensor, name: str) -> Tensor:
    if x.ndim > 1:
        raise ValueError(f"{name} takes sequences, got shape {x.shape}")
    if not x.array.size:
        raise ValueError(f"{name}: a sequence is empty")
    return x if x.ndim else x.reshape(1)


# ----- values, sums, products -------------------------------------------------------------------------------------


@implements(np.polyval)
def _np_polyval(p: Any, x: Any) -> Any:
    p, x = together(p, x, floating=False)
    y = np.zeros_like(x)
    for i in range(p.shape[0]):
        y = y * x + p[i]
    return y


def _aligned(a1: Any, a2: Any) -> tuple[Any, Any]:
    """Both polynomials with as many coefficients as the longer has."""
    a1, a2 = (np.atleast_1d(a) for a in together(a1, a2, floating=False))
    count = max(a1.shape[0], a2.shape[0])
    a1, a2 = (np.pad(a, (count - a.shape[0], 0)) if a.shape[0] < count else a for a in (a1, a2))
    return a1, a2


@implements(np.polyadd)
def _np_polyadd(a1: Any, a2: Any) -> Any:
    a1, a2 = _aligned(a1, a2)
    return a1 + a2


@implements(np.polysub)
def _np_polysub(a1: Any, a2: Any) -> Any:
    a1, a2 = _aligned(a1, a2)
    return a1 - a2


@implements(np.polymul)
def _np_polymul(a1: Any, a2: Any) -> Any:
    return _np_convolve(*(_from_first(a) for a in together(a1, a2, floating=False)))


def _from_first(p: Any) -> Any:
    """The coefficients from the first that is not zero, where the numbers are known."""
    p = np.atleast_1d(p)
    if type(p.array) is not np.ndarray or not p.array.size or p.array[0] != 0:
        return p
    there = np.flatnonzero(p.array)
    return p[there[0] if there.size else -1 :]


@implements(np.polydiv)
def _np_polydiv(u: Any, v: Any) -> tuple[Any, Any]:
    u, v = (np.atleast_1d(a) for a in together(u, v))
    scale = 1 / v[0]
    rest: Any = u
    quotient: list[Any] = []
    for _ in range(u.shape[0] - v.shape[0] + 1):
        factor = scale * rest[0]
        quotient.append(factor)
        rest = np.concatenate([rest[1 : v.shape[0]] - factor * v[1:], rest[v.shape[0] :]])
    if not rest.shape[0]:
        rest = filled(0, (1,), u)
    there = np.flatnonzero(~np.isclose(plain(rest), 0, rtol=1e-14))
    rest = rest[there[0] if there.size else rest.shape[0] - 1 :]
    return np.stack(quotient) if quotient else filled(0, (1,), u), rest


# ----- derivatives, integrals, roots, fits ------------------------------------------------------------------------


@implements(np.polyder)
def _np_polyder(p: Any, m: int = 1) -> Any:
    if m < 0:
        raise ValueError("Order of derivative must be positive (see polyint)")
    (p,) = together(p, floating=False)
    for _ in range(m):
        p = p[:-1] * np.arange(p.shape[0] - 1, 0, -1)
    return p


@implements(np.polyint)
def _np_polyint(p: Any, m: int = 1, k: Any = None) -> Any:
    if m < 0:
        raise ValueError("Order of integral must be positive (see polyder)")
    p, constants = together(p, 0 if k is None else k)
    constants = ravel(constants)
    if constants.shape[0] == 1:
        constants = expand(constants, (max(m, 1),))
    if constants.shape[0] < m:
        raise ValueError(f"k must be a scalar or a rank-1 array of length 1 or >m, got shape {constants.shape}")
    for i in range(m):
        p = np.concatenate([p / np.arange(p.shape[0], 0, -1), constants[i : i + 1]])
    return p


@implements(np.poly)
def _np_poly(seq_of_zeros: Any) -> Any:
    (zeros,) = together(seq_of_zeros)
    if zeros.ndim == 2 and zeros.shape[0] == zeros.shape[1] > 0:
        zeros = eigvals(zeros)
    elif zeros.ndim > 1:
        raise ValueError(f"input must be 1d or non-empty square 2d array, got shape {zeros.shape}")
    zeros = ravel(zeros)
    coefficients = filled(1, (1,), zeros)
    factors: Any = np.stack([filled(1, zeros.shape, zeros), -zeros], axis=1)
    for factor in factors:
        coefficients = _product(coefficients, factor)
    values = plain(zeros)
    in_pairs = values.dtype.kind == "c" and np.all(np.sort(values) == np.sort(np.conj(values)))
    return np.real(coefficients) if in_pairs else coefficients


@implements(np.roots)
def _np_roots(p: Any) -> Any:
    (p,) = together(p)
    if p.ndim > 1:
        raise ValueError(f"Input must be a rank-1 array, got shape {p.shape}")
    there = np.flatnonzero(plain(p))
    if not there.size:
        return p[:0]
    zeros_at_zero = p.shape[0] - 1 - int(there[-1])
    p = p[there[0] : there[-1] + 1]
    order = p.shape[0] - 1
    if not order:
        return filled(0, (zeros_at_zero,), p)
    companion = np.concatenate([np.expand_dims(-p[1:] / p[0], 0), np.eye(order, dtype=p.array.dtype)[:-1]])
    found = eigvals(companion)
    return np.concatenate([found, filled(0, (zeros_at_zero,), found)])


implements(np.vander)(vander)


@implements(np.polyfit)
def _np_polyfit(
    x: Any, y: Any, deg: int, rcond: Any = None, full: bool = False, w: Any = None, cov: Any = False
) -> Any:
    x, y, w = together(x, y, 1 if w is None else w)
    order = int(deg) + 1
    if x.ndim != 1 or not x.shape[0] or y.ndim not in (1, 2) or x.shape[0] != y.shape[0] or order < 1:
        raise TypeError(
            f"np.polyfit needs a vector x, a vector or matrix y with as many rows and deg >= 0, got shapes {x.shape} "
            f"and {y.shape} and deg {deg}"
        )
    rcond = x.shape[0] * np.finfo(x.array.dtype).eps if rcond is None else rcond
    w = expand(w, x.shape)
    left = vander(x, order) * np.expand_dims(w, -1)
    right = y * (np.expand_dims(w, -1) if y.ndim == 2 else w)
    scale = np.sqrt(np.sum(left * left, axis=0))
    left = left / scale
    solution, residuals, rank, singular = np.linalg.lstsq(left, right, rcond)
    coefficients = np.transpose(np.transpose(solution) / scale)
    if full:
        return coefficients, residuals, rank, singular, rcond
    if type(rank.array) is np.ndarray and rank.array != order:
        warnings.warn("Polyfit may be poorly conditioned", np.exceptions.RankWarning, stacklevel=2)
    if not cov:
        return coefficients
    base = np.linalg.inv(np.transpose(left) @ left) / np.outer(scale, scale)
    if cov == "unscaled":
        return coefficients, base
    if x.shape[0] <= order:
        raise ValueError(f"{x.shape[0]} points are too few to scale the covariance of {order} coefficients")
    factor = residuals / (x.shape[0] - order)
    return coefficients, base * factor if y.ndim == 1 else np.expand_dims(base, -1) * factor
