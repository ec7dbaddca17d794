"""Linear algebra: solving, inverting, decomposing, norms. The functions of `torch.linalg` and their derivatives.

Gradients travel conjugated (see `core/table.py`), so the rule of a holomorphic function has plain transposes. Where a
function itself conjugates (Cholesky, the decompositions with orthogonal factors, pseudo-inverse), the published
formulas are for PyTorch's gradient; there the rule conjugates what comes in and what goes out. Sources: M. B. Giles,
"Collected Matrix Derivative Results for Forward and Reverse Mode Algorithmic Differentiation" (2008); S. F. Walter,
"Structured Higher-Order Algorithmic Differentiation" (2012); G. H. Golub and V. Pereyra, SIAM J. Numer. Anal. 10
(1973).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..core.broadcasting import unbroadcast
from ..core.dtypes import as_numpy_dtype, to_complex, to_real
from ..core.forward import array_function, cast, implements, wrap_forward_fn
from ..core.table import backward
from ..core.tensor import Tensor, make_tensor
from ..core.tracing import as_it_is, recorder
from .common import as_tensor_argument, attach, is_complex, normalize_axes, numpy_names, real_like
from .contraction import chain_matmul, cross_along, matmul, transposed, vecdot_last
from .reduction import _vector_norm

__all__ = [
    "cholesky",
    "det",
    "inverse",
    "logdet",
    "matrix_exp",
    "matrix_power",
    "slogdet",
]

ndarray = np.ndarray


class LinAlgError(RuntimeError, np.linalg.LinAlgError):
    """A matrix is singular, not positive definite, or an algorithm did not converge."""


# ----- what the rules share ---------------------------------------------------------------------------------------


def conj(x: Any) -> Any:
    """The complex conjugate; a real array as it is."""
    return np.conjugate(x) if is_complex(x) else x


def adjoint(x: Any) -> Any:
    """The conjugate transpose of each matrix."""
    return conj(transposed(x))


def columns_times(x: Any, scale: Any) -> Any:
    """Each matrix with its columns scaled: x @ diag(scale)."""
    return x * np.expand_dims(scale, -2)


def diagonal_of(x: Any) -> Any:
    return np.diagonal(x, axis1=-2, axis2=-1)


def eye_of(n: int, x: Any) -> Any:
    """The identity in the type of `x`."""
    return np.eye(n, dtype=x.dtype)


def quotient(numerator: Any, divisor: Any) -> Any:
    """numerator / divisor, and 0 for 0 / 0: what does not enter the loss needs no gap between its values."""
    nothing = np.logical_and(np.equal(numerator, 0), np.equal(divisor, 0))
    return numerator / (divisor + nothing)


def off_diagonal(x: Any) -> Any:
    """Each square matrix with zeros on its diagonal."""
    return x * np.logical_not(np.eye(x.shape[-1], dtype=bool))


def refuse_phase(name: str, quantity: Any) -> None:
    """Refuse a loss that depends on the arbitrary phase of singular or eigenvectors, where that can be seen.

    Raises:
        RuntimeError: `quantity`, the loss's derivative for those phases, is not zero.
    """
    if type(quantity) is ndarray and not np.allclose(quantity, 0, rtol=1e-2, atol=1e-2):
        raise RuntimeError(
            f"{name}: the vectors are determined only up to a factor exp(i phi), and this loss depends on that factor, "
            "so it has no gradient: make it of quantities without it, such as abs(V) or V @ V.mH"
        )


# ----- the table: solving and inverting ---------------------------------------------------------------------------


@backward(np.linalg.solve, 0)
def solve_back0(grad_out: Any, out: Any, a: Any, b: Any) -> Any:
    r"""$\nabla_a L = -(a^{-T}\, \nabla_{out} L)\, out^T$"""
    if b.ndim == 1:
        grad_b = np.linalg.solve(transposed(a), np.expand_dims(grad_out, -1))
        return unbroadcast(-grad_b * np.expand_dims(out, -2), a)
    return unbroadcast(-np.matmul(np.linalg.solve(transposed(a), grad_out), transposed(out)), a)


@backward(np.linalg.solve, 1)
def solve_back1(grad_out: Any, out: Any, a: Any, b: Any) -> Any:
    r"""$\nabla_b L = a^{-T}\, \nabla_{out} L$"""
    if b.ndim == 1:
        grad_b = np.linalg.solve(transposed(a), np.expand_dims(grad_out, -1))
        return unbroadcast(np.reshape(grad_b, grad_b.shape[:-1]), b)
    return unbroadcast(np.linalg.solve(transposed(a), grad_out), b)


@array_function
def solve_triangular_matrix(a: Any, b: Any, lower: bool = False, unit_diagonal: bool = False) -> Any:
    """The x with a @ x = b for triangular a; the other triangle is not looked at.

    A zero on the diagonal divides: infinities and NaN, no error.

    Shapes: a (..., n, n), b (..., n, k).
    """
    if type(a) is ndarray and type(b) is ndarray and a.size and b.size:
        if a.ndim == b.ndim == 2:
            return solve_one_triangle(a, b, lower, unit_diagonal)
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        all_a, all_b = np.broadcast_to(a, batch + a.shape[-2:]), np.broadcast_to(b, batch + b.shape[-2:])
        out = np.empty(all_b.shape, np.result_type(a, b))
        for index in np.ndindex(batch):
            out[index] = solve_one_triangle(all_a[index], all_b[index], lower, unit_diagonal)
        return out
    triangle = np.tril if lower else np.triu
    if unit_diagonal:
        return np.linalg.solve(triangle(a, -1 if lower else 1) + eye_of(a.shape[-1], a), b)
    return np.linalg.solve(triangle(a), b)


def solve_one_triangle(a: Any, b: Any, lower: bool, unit_diagonal: bool) -> Any:
    """What `solve_triangular_matrix` computes, for one matrix that is an array, by LAPACK and BLAS."""
    from scipy.linalg import get_blas_funcs, get_lapack_funcs

    turned = not a.flags.f_contiguous
    of_a = {"lower": lower != turned, "trans": int(turned)}
    trtrs = get_lapack_funcs("trtrs", (a, b))  # on one thread where trsm would wake others for a small matrix
    x, info = trtrs(a.T if turned else a, b, unitdiag=unit_diagonal, **of_a)
    if info == 0:
        return x
    trsm = get_blas_funcs("trsm", (a, b))  # divides by zeros as well
    return trsm(1.0, a.T if turned else a, b, diag=unit_diagonal, lower=lower != turned, trans_a=int(turned))


@backward(solve_triangular_matrix, 0)
def solve_triangular_back0(
    grad_out: Any, out: Any, a: Any, b: Any, lower: bool = False, unit_diagonal: bool = False
) -> Any:
    r"""$\nabla_a L = -\mathrm{tri}\left((a^{-T}\, \nabla_{out} L)\, out^T\right)$"""
    grad_b = solve_triangular_matrix(transposed(a), grad_out, lower=not lower, unit_diagonal=unit_diagonal)
    product = unbroadcast(-np.matmul(grad_b, transposed(out)), a)
    k = 1 if unit_diagonal else 0
    return np.tril(product, -k) if lower else np.triu(product, k)


@backward(solve_triangular_matrix, 1)
def solve_triangular_back1(
    grad_out: Any, out: Any, a: Any, b: Any, lower: bool = False, unit_diagonal: bool = False
) -> Any:
    r"""$\nabla_b L = a^{-T}\, \nabla_{out} L$"""
    grad_b = solve_triangular_matrix(transposed(a), grad_out, lower=not lower, unit_diagonal=unit_diagonal)
    return unbroadcast(grad_b, b)


@backward(np.linalg.inv, 0)
def inv_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = -out^T\, (\nabla_{out} L)\, out^T$"""
    inverse_transposed = transposed(out)
    return -np.matmul(inverse_transposed, np.matmul(grad_out, inverse_transposed))


@array_function
def pseudo_inverse(x: Any, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Any:
    """The Moore-Penrose inverse; singular values up to max(atol, rtol * the largest) count as zero."""
    if 0 in x.shape[-2:]:
        return np.zeros((*x.shape[:-2], x.shape[-1], x.shape[-2]), x.dtype)
    u, s, vh = np.linalg.svd(x, full_matrices=False, hermitian=hermitian)
    kept = s > np.expand_dims(tolerance(s, x, atol, rtol), -1)
    inverse_values = kept / np.where(kept, s, np.ones_like(s))
    return np.matmul(adjoint(vh), np.expand_dims(inverse_values, -1) * adjoint(u))


def tolerance(s: Any, x: Any, atol: Any, rtol: Any) -> Any:
    """Up to where singular values are taken for zero; PyTorch's defaults."""
    if rtol is None:
        rtol = np.finfo(s.dtype).eps * max(x.shape[-2:]) if atol is None else 0.0
    return np.maximum(0.0 if atol is None else atol, rtol * np.max(s, axis=-1))


@backward(pseudo_inverse, 0)
def pinv_back(grad_out: Any, out: Any, x: Any, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Any:
    r"""$\overline{\nabla_x L} = -P^H G P^H + (I - xP)\, G^H P P^H + P^H P\, G^H (I - Px)$ with
    $P = out, G = \overline{\nabla_{out} L}$"""
    return conj(pinv_gradient(conj(grad_out), out, x))


def pinv_gradient(g: Any, p: Any, x: Any) -> Any:
    """PyTorch's gradient for x from PyTorch's gradient g for its pseudo-inverse p (Golub and Pereyra)."""
    ph, gh = adjoint(p), adjoint(g)
    left = np.matmul(np.matmul(gh, p), ph)
    right = np.matmul(ph, np.matmul(p, gh))
    return (
        -np.matmul(ph, np.matmul(g, ph))
        + (left - np.matmul(x, np.matmul(p, left)))
        + (right - np.matmul(np.matmul(right, p), x))
    )


@array_function
def least_squares(a: Any, b: Any, rcond: float | None = None) -> Any:
    """The x of least norm that minimises the norm of a @ x - b. Shapes: a (..., m, n), b (..., m, k), x (..., n, k)."""
    if type(a) is ndarray and a.ndim == b.ndim == 2 and a.size:
        return np.linalg.lstsq(a, b, rcond=rcond)[0]
    return np.matmul(pseudo_inverse(a, rtol=rcond), b)


@backward(least_squares, 0)
def least_squares_back0(grad_out: Any, out: Any, a: Any, b: Any, rcond: float | None = None) -> Any:
    r"""$\overline{\nabla_a L} = \nabla_P\, \mathrm{pinv}$ at $P = a^+$ for the gradient $G\, b^H$,
    $G = \overline{\nabla_{out} L}$"""
    p = pseudo_inverse(a, rtol=rcond)
    return conj(unbroadcast(pinv_gradient(np.matmul(conj(grad_out), adjoint(b)), p, a), a))


@backward(least_squares, 1)
def least_squares_back1(grad_out: Any, out: Any, a: Any, b: Any, rcond: float | None = None) -> Any:
    r"""$\nabla_b L = (a^+)^T\, \nabla_{out} L$"""
    return unbroadcast(np.matmul(transposed(pseudo_inverse(a, rtol=rcond)), grad_out), b)


# ----- the table: determinants ------------------------------------------------------------------------------------


@backward(np.linalg.det, 0)
def det_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \mathrm{cof}(x)\, \nabla_{out} L$, with $\mathrm{cof}(x) = \det(x)\, x^{-T}$"""
    return cofactors(x) * np.expand_dims(grad_out, (-2, -1))


@array_function
def cofactors(x: Any) -> Any:
    """The matrix of cofactors of each square matrix, det(x) x^-T; also where x is singular."""
    if type(x) is ndarray:
        try:
            inverse_transposed = transposed(np.linalg.inv(x))
        except np.linalg.LinAlgError:
            pass
        else:
            size = np.abs(x).sum((-2, -1)) * np.abs(inverse_transposed).sum((-2, -1))
            if np.all(size * np.finfo(x.dtype).eps < 1e-4):
                return np.linalg.det(x)[..., None, None] * inverse_transposed
    u, s, vh = np.linalg.svd(x)
    scale = np.expand_dims(np.linalg.det(u) * np.linalg.det(vh), -1) * products_of_others(s, 1)
    return np.matmul(columns_times(conj(u), scale), conj(vh))


@backward(cofactors, 0)
def cofactors_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \det(x)\left(s\, x^{-1} - x^{-1} (\nabla_{out} L)\, x^{-1}\right)^T$ with
    $s = \mathrm{tr}(x^{-1} \nabla_{out} L)$, by way of singular values, which may be zero"""
    u, s, vh = np.linalg.svd(x)
    inner = np.matmul(np.matmul(adjoint(u), grad_out), adjoint(vh))  # in the basis in which x is diag(s)
    pairs = products_of_others(s, 2)
    diagonal = np.matmul(pairs, np.expand_dims(diagonal_of(inner), -1))
    scaled = np.eye(x.shape[-1], dtype=x.dtype) * diagonal - pairs * transposed(inner)
    phase = np.expand_dims(np.linalg.det(u) * np.linalg.det(vh), (-2, -1))
    return phase * np.matmul(np.matmul(conj(u), scaled), conj(vh))


def products_of_others(s: Any, count: int) -> Any:
    """For each value, or each pair of values (zeros for a value with itself), the product of all the others."""
    n = s.shape[-1]
    chosen = np.eye(n, dtype=bool)
    if count == 2:
        chosen = chosen[:, None, :] | chosen[None, :, :]
        s = np.expand_dims(s, -2)
    others = np.prod(np.expand_dims(s, -2) * ~chosen + chosen, axis=-1)
    return off_diagonal(others) if count == 2 else others


@backward(np.linalg.slogdet, 0)
def slogdet_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \left(\nabla_{logabsdet} L + i\, \mathrm{Im}(sign\, \nabla_{sign} L)\right) x^{-T}$"""
    grad_sign, grad_log = grad_out
    scale = grad_log
    if is_complex(x):
        scale = grad_log + 1j * np.imag(grad_sign * out[0])
    return np.expand_dims(scale, (-2, -1)) * transposed(np.linalg.inv(x))


# ----- the table: decompositions ----------------------------------------------------------------------------------


@backward(np.linalg.cholesky, 0)
def cholesky_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\overline{\nabla_x L} = \tfrac{1}{2} L^{-H} \left(\Phi + \mathrm{tril}(\Phi, -1)^H\right) L^{-1}$, with
    $L = out,\ \Phi = \mathrm{tril}(L^H\, \overline{\nabla_{out} L})$"""
    lower = np.tril(np.full((x.shape[-1],) * 2, 1.0, dtype=to_real(as_numpy_dtype(x.dtype))))
    phi = np.matmul(adjoint(out), conj(grad_out)) * lower
    middle = (phi + adjoint(phi * np.tril(lower, -1))) / 2  # PyTorch keeps an imaginary diagonal as well
    left = solve_triangular_matrix(adjoint(out), middle, lower=False)
    return conj(transposed(solve_triangular_matrix(transposed(out), transposed(left), lower=False)))


@backward(np.linalg.eigh, 0)
def eigh_back(grad_out: Any, out: Any, x: Any, UPLO: str = "L") -> Any:
    r"""$\overline{\nabla_x L} = \mathrm{herm}\left(V \left(\mathrm{diag}(\nabla_w L) +
    \frac{V^H G}{w_j - w_i}\right) V^H\right)$, with $w, V = out,\ G = \overline{\nabla_V L}$, where herm takes the
    Hermitian part"""
    w, v = out
    inner = np.matmul(adjoint(v), conj(grad_out[1]))
    if is_complex(x):
        refuse_phase("linalg.eigh", np.imag(diagonal_of(inner)))
    gaps = np.expand_dims(w, -2) - np.expand_dims(w, -1)
    middle = quotient(off_diagonal(inner), gaps)
    gradient = np.matmul(np.matmul(v, middle) + columns_times(v, grad_out[0]), adjoint(v))
    return conj(gradient + adjoint(gradient)) / 2


@backward(np.linalg.eigvalsh, 0)
def eigvalsh_back(grad_out: Any, out: Any, x: Any, UPLO: str = "L") -> Any:
    r"""$\overline{\nabla_x L} = V\, \mathrm{diag}(\nabla_{out} L)\, V^H$ with the eigenvectors $V$ of $x$"""
    _, v = np.linalg.eigh(x, UPLO)  # type: ignore[call-overload]
    return conj(np.matmul(columns_times(v, grad_out), adjoint(v)))


class EigResult(NamedTuple):
    """Eigenvalues and eigenvectors."""

    eigenvalues: Any
    eigenvectors: Any


@array_function
def eigen(x: Any) -> Any:
    """The eigenvalues and eigenvectors of each square matrix, always complex."""
    w, v = np.linalg.eig(x)
    wanted = to_complex(as_numpy_dtype(x.dtype)) if not is_complex(x) else x.dtype
    return EigResult(np.astype(w, wanted), np.astype(v, wanted))


@backward(eigen, 0)
def eigen_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\overline{\nabla_x L} = V^{-H} \left(\mathrm{diag}(\overline{\nabla_w L}) +
    \frac{V^H G - V^H V\, \mathrm{Re}\,\mathrm{diag}(V^H G)}{\overline{w_j - w_i}}\right) V^H$, with
    $w, V = out,\ G = \overline{\nabla_V L}$"""
    w, v = out
    vh = adjoint(v)
    inner = np.matmul(vh, conj(grad_out[1]))
    diagonal = diagonal_of(inner)
    refuse_phase("linalg.eig", np.imag(diagonal))
    inner = inner - columns_times(np.matmul(vh, v), np.real(diagonal))
    gaps = conj(np.expand_dims(w, -2) - np.expand_dims(w, -1))
    middle = quotient(off_diagonal(inner), gaps)
    product = np.matmul(middle, vh) + np.expand_dims(conj(grad_out[0]), -1) * vh
    return real_like(conj(np.linalg.solve(vh, product)), x)


@array_function
def eigenvalues(x: Any) -> Any:
    """The eigenvalues of each square matrix, always complex."""
    w = np.linalg.eigvals(x)
    return w if is_complex(x) else np.astype(w, to_complex(as_numpy_dtype(x.dtype)))


@backward(eigenvalues, 0)
def eigenvalues_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \left(V\, \mathrm{diag}(\nabla_{out} L)\, V^{-1}\right)^T$ with the eigenvectors $V$ of $x$"""
    _, v = eigen(x)
    gradient = np.linalg.solve(transposed(v), np.expand_dims(grad_out, -1) * transposed(v))
    return real_like(gradient, x)


@backward(np.linalg.svd, 0)
def svd_back(grad_out: Any, out: Any, x: Any, full_matrices: bool = True) -> Any:
    r"""$\overline{\nabla_x L} = U \left(\mathrm{diag}(\nabla_s L) + \frac{K(U^H G_U)\, s_j + s_i\, K(V^H G_V)}
    {s_j^2 - s_i^2}\right) V^H + (I - UU^H) \frac{G_U}{s_j} V^H + U \frac{G_{V^H}}{s_i} (I - VV^H)$, with
    $U, s, V^H = out,\ G = \overline{\nabla L},\ K(A) = A - A^H$"""
    u, s, vh = out
    grad_u, grad_s, grad_vh = conj(grad_out[0]), grad_out[1], conj(grad_out[2])
    m, n = x.shape[-2:]
    k = min(m, n)
    if full_matrices and m != n:
        u, grad_u = kept_vectors(u, grad_u, k, "U")
        vh, grad_vh = (transposed(part) for part in kept_vectors(transposed(vh), transposed(grad_vh), k, "Vh"))
    of_u = np.matmul(adjoint(u), grad_u)
    of_v = np.matmul(vh, adjoint(grad_vh))
    skew_u, skew_v = of_u - adjoint(of_u), of_v - adjoint(of_v)
    row, column = np.expand_dims(s, -2), np.expand_dims(s, -1)
    gaps = (row - column) * (row + column)
    middle = quotient(off_diagonal(skew_u * row + column * skew_v), gaps)
    if is_complex(x):
        phase = diagonal_of(skew_u)
        refuse_phase("linalg.svd", np.imag(phase + diagonal_of(skew_v)))
        middle = middle + np.eye(k, dtype=x.dtype) * np.expand_dims(quotient(phase, 2 * s), -2)
    inner = np.matmul(u, middle) + columns_times(u, grad_s)
    if m > k:
        rest = quotient(grad_u, row)
        inner = inner + (rest - np.matmul(u, np.matmul(adjoint(u), rest)))
    gradient = np.matmul(inner, vh)
    if n > k:
        rest = quotient(grad_vh, column)
        gradient = gradient + np.matmul(u, rest - np.matmul(np.matmul(rest, adjoint(vh)), vh))
    return conj(gradient)


def kept_vectors(vectors: Any, gradient: Any, k: int, name: str) -> tuple[Any, Any]:
    """The singular vectors that belong to singular values, out of the full matrices, and their gradient.

    Raises:
        RuntimeError: the loss depends on one of the others, which are not determined by the matrix.
    """
    more = gradient[..., k:]
    if type(more) is ndarray and np.any(more):
        raise RuntimeError(
            f"linalg.svd: the loss depends on columns of {name} beyond the {k} singular values; they are an arbitrary "
            "basis and have no gradient: use full_matrices=False"
        )
    return vectors[..., :k], gradient[..., :k]


@backward(np.linalg.svdvals, 0)
def svdvals_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\overline{\nabla_x L} = U\, \mathrm{diag}(\nabla_{out} L)\, V^H$ with the singular vectors $U, V$ of $x$"""
    u, _, vh = np.linalg.svd(x, full_matrices=False)
    return conj(np.matmul(columns_times(u, grad_out), vh))


@backward(np.linalg.qr, 0)
def qr_back(grad_out: Any, out: Any, x: Any, mode: str = "reduced") -> Any:
    r"""$\overline{\nabla_x L} = \left(G_Q + Q\, \mathrm{sym}(\mathrm{triu}(G_R R^H - Q^H G_Q))\right) R^{-H}$, with
    $Q, R = out,\ G = \overline{\nabla L},\ \mathrm{sym}(A) = A + A^H$ with half its diagonal"""
    q, r = out
    grad_q, grad_r = conj(grad_out[0]), conj(grad_out[1])
    m, n = x.shape[-2:]
    if mode == "complete" and m > n:
        raise RuntimeError(
            f"linalg.qr: the derivative is not implemented when mode='complete' and nrows > ncols ({m} > {n}): the "
            "added columns of Q are an arbitrary basis; use mode='reduced'"
        )
    if m >= n:
        return conj(qr_gradient(grad_q, grad_r, q, r))
    rest = grad_r[..., m:]  # the columns of R behind the square part are Q^H x
    grad_q = grad_q + np.matmul(x[..., m:], adjoint(rest))
    square = qr_gradient(grad_q, grad_r[..., :m], q, r[..., :m])
    return conj(np.concatenate((square, np.matmul(q, rest)), axis=-1))


def qr_gradient(grad_q: Any, grad_r: Any, q: Any, r: Any) -> Any:
    """PyTorch's gradient for a matrix with at least as many rows as columns from those of its factors."""
    upper = np.triu(np.matmul(grad_r, adjoint(r)) - np.matmul(adjoint(q), grad_q))
    symmetric = upper + adjoint(upper)
    halves = np.full((r.shape[-1],) * 2, 1.0, dtype=to_real(as_numpy_dtype(r.dtype)))
    symmetric = symmetric * (halves - np.eye(r.shape[-1], dtype=halves.dtype) / 2)
    return solve_right(conj(r), np.matmul(q, symmetric) + grad_q)


def solve_right(r: Any, b: Any) -> Any:
    """The x with x @ r^T = b for upper triangular r."""
    return transposed(solve_triangular_matrix(r, transposed(b), lower=False))


class LUResult(NamedTuple):
    """Permutation, lower and upper triangular factor."""

    P: Any
    L: Any
    U: Any


@array_function
def lu_decomposition(x: Any) -> Any:
    """P, L, U with x = P @ L @ U. Shapes: x (..., m, n), P (..., m, m), L (..., m, k), U (..., k, n), k = min(m, n)."""
    from scipy.linalg import lu as scipy_lu

    if not x.size:  # SciPy loses the shapes of an empty batch
        *batch, m, n = x.shape
        p = np.zeros((*batch, m, m), x.dtype) + np.eye(m, dtype=x.dtype)
        return LUResult(p, np.zeros((*batch, m, min(m, n)), x.dtype), np.zeros((*batch, min(m, n), n), x.dtype))
    p, lower, upper = scipy_lu(x, check_finite=False)
    return LUResult(p.astype(x.dtype), lower, upper)


@backward(lu_decomposition, 0)
def lu_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = P\, L^{-T} \left(\mathrm{tril}(L^T \nabla_L L, -1) +
    \mathrm{triu}(\nabla_U L\; U^T)\right) U^{-T}$ with $P, L, U = out$, for square $x$; the rows
    or columns beyond the square follow by substitution"""
    p, lower, upper = out
    _, grad_lower, grad_upper = grad_out
    m, n = x.shape[-2:]
    k = min(m, n)
    l1, u1 = lower[..., :k, :], upper[..., :k]
    of_lower = np.matmul(transposed(l1), grad_lower[..., :k, :])
    of_upper = np.matmul(grad_upper[..., :k], transposed(u1))
    if n > k:
        of_lower = of_lower - np.matmul(grad_upper[..., k:], transposed(upper[..., k:]))
    if m > k:
        of_upper = of_upper - np.matmul(transposed(lower[..., k:, :]), grad_lower[..., k:, :])
    middle = np.tril(of_lower, -1) + np.triu(of_upper)
    gradient = solve_right(u1, solve_triangular_matrix(transposed(l1), middle, lower=False, unit_diagonal=True))
    if n > k:
        rest = solve_triangular_matrix(transposed(l1), grad_upper[..., k:], lower=False, unit_diagonal=True)
        gradient = np.concatenate((gradient, rest), axis=-1)
    if m > k:
        gradient = np.concatenate((gradient, solve_right(u1, grad_lower[..., k:, :])), axis=-2)
    return np.matmul(p, gradient)


# ----- the table: functions of matrices, norms --------------------------------------------------------------------


@array_function
def matrix_exponential(x: Any) -> Any:
    """The exponential of each square matrix."""
    if not x.size:
        return x.copy()
    from scipy.linalg import expm

    return np.asarray(expm(x)).astype(x.dtype, copy=False)


@backward(matrix_exponential, 0)
def matrix_exp_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \exp\begin{pmatrix} x^T & \nabla_{out} L \\ 0 & x^T \end{pmatrix}_{12}$"""
    n = x.shape[-1]
    xt = transposed(x)
    above = np.concatenate((xt, grad_out), axis=-1)
    below = np.concatenate((np.zeros(x.shape, x.dtype), xt), axis=-1)
    return matrix_exponential(np.concatenate((above, below), axis=-2))[..., :n, n:]


# ----- what the operations share ----------------------------------------------------------------------------------


def decomposition(function: Any, **options: Any) -> Callable[..., Any]:
    """The operation for a function of matrices, with PyTorch's error for singular ones."""
    operation = wrap_forward_fn(function, **options)

    @functools.wraps(operation)
    def converted(*args: Any, **kwargs: Any) -> Any:
        try:
            return operation(*args, **kwargs)
        except np.linalg.LinAlgError as error:
            shapes = " and ".join(str(tuple(a.shape)) for a in args if isinstance(a, Tensor))
            raise LinAlgError(f"linalg.{operation.__name__}: {error} (shape {shapes})") from None

    return converted


_solve = decomposition(np.linalg.solve, promotes=True)
_solve_triangular = decomposition(solve_triangular_matrix, promotes=True)
_inv = decomposition(np.linalg.inv)
_pinv = decomposition(pseudo_inverse)
_least_squares = decomposition(least_squares, promotes=True)
_det = decomposition(np.linalg.det)
_slogdet = decomposition(np.linalg.slogdet)
_cholesky = decomposition(np.linalg.cholesky)
_eigh = decomposition(np.linalg.eigh)
_eigvalsh = decomposition(np.linalg.eigvalsh)
_eig = decomposition(eigen)
_eigvals = decomposition(eigenvalues)
_svd = decomposition(np.linalg.svd)
_svdvals = decomposition(np.linalg.svdvals)
_qr = decomposition(np.linalg.qr)
_lu = decomposition(lu_decomposition)
_matrix_exp = decomposition(matrix_exponential)
wrap_forward_fn(cofactors)


def matrices(name: str, x: Any, square: bool = False, argument: str = "A") -> Tensor:
    """An argument as a tensor of matrices of a floating type.

    Raises:
        RuntimeError: it has fewer than two dimensions, is not square where it must be, or holds integers.
    """
    x = as_tensor_argument(x)
    if x.ndim < 2:
        raise RuntimeError(f"linalg.{name}: The input tensor {argument} must have at least 2 dimensions, got {x.shape}")
    if square and x.shape[-1] != x.shape[-2]:
        raise RuntimeError(
            f"linalg.{name}: {argument} must be batches of square matrices, but they are {x.shape[-2]} by "
            f"{x.shape[-1]} matrices (shape {x.shape})"
        )
    return floating(name, x)


def floating(name: str, x: Tensor) -> Tensor:
    kind = x.array.dtype
    if kind.kind not in "fc" or kind.itemsize == 2:
        raise RuntimeError(
            f"linalg.{name}: Expected a floating point or complex tensor as input (float32 or wider). Got {x.dtype}: "
            "convert it with .float()"
        )
    return x


def numbers_of(value: Any) -> Any:
    """A tolerance: a number, or the values of a tensor."""
    if isinstance(value, Tensor):
        return value.array.astype(np.float64)
    return value


# ----- solving and inverting --------------------------------------------------------------------------------------


def is_vector_case(a: Any, b: Any) -> bool:
    """Whether `b` is a (batch of) vectors, by PyTorch's rule."""
    return b.ndim == 1 or (a.ndim - 1 == b.ndim and tuple(b.shape) == tuple(a.shape[:-1]))


@implements(np.linalg.solve)
def solve(A: Any, B: Any, *, left: bool = True) -> Any:
    """The X with A @ X = B, or X @ A = B for `left=False`.

    Shapes: A (..., n, n), B (..., n, k) or (..., n); batches are broadcast.

    Raises:
        LinAlgError: A is singular.
        RuntimeError: A is not square, or the shapes do not fit.

    >>> import chainrule as cr
    >>> cr.linalg.solve(cr.tensor([[2.0, 0.0], [0.0, 4.0]]), cr.tensor([2.0, 2.0]))
    Tensor(array([1. , 0.5], dtype=float32), requires_grad=False)
    """
    A, B = matrices("solve", A, square=True), floating("solve", as_tensor_argument(B))
    vector = is_vector_case(A, B)
    if vector and not left:
        raise RuntimeError("linalg.solve: Vector broadcasting of the left hand side is not supported for left=False")
    if vector and B.ndim > 1:
        X = solve(A, np.expand_dims(B, -1))
        return np.reshape(X, X.shape[:-1])
    if not left:
        return transposed(solve(transposed(A), transposed(B)))
    rows = B.shape[-1] if vector else B.shape[-2]
    if rows != A.shape[-1]:
        raise RuntimeError(
            f"linalg.solve: Incompatible shapes of A and B for the equation AX = B ({A.shape} and {B.shape})"
        )
    return _solve(A, B)


def solve_triangular(A: Any, B: Any, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:
    """The X with A @ X = B (X @ A = B for `left=False`) for triangular A; the other triangle is not looked at.

    Shapes: A (..., n, n), B (..., n, k); batches are broadcast.
    """
    A = matrices("solve_triangular", A, square=True)
    B = matrices("solve_triangular", B, argument="B")
    if not left:
        return transposed(solve_triangular(transposed(A), transposed(B), upper=not upper, unitriangular=unitriangular))
    if B.shape[-2] != A.shape[-1]:
        raise RuntimeError(
            f"linalg.solve_triangular: Incompatible shapes of A and B for the equation AX = B ({A.shape} and {B.shape})"
        )
    return _solve_triangular(A, B, lower=not upper, unit_diagonal=unitriangular)


@implements(np.linalg.inv)
def inv(A: Any) -> Tensor:
    """The inverse of each matrix.

    Raises:
        LinAlgError: a matrix is singular.

    >>> import chainrule as cr
    >>> cr.linalg.inv(cr.tensor([[2.0]]))
    Tensor(array([[0.5]], dtype=float32), requires_grad=False)
    """
    return _inv(matrices("inv", A, square=True))  # type: ignore[no-any-return]


def inverse(input: Any) -> Tensor:
    """The inverse of each matrix, as `linalg.inv`."""
    return inv(input)


def pinv(A: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = None, atol: Any = None) -> Tensor:
    """The pseudo-inverse (Moore-Penrose) of each matrix: (..., m, n) gives (..., n, m).

    Singular values up to max(atol, rtol * the largest) count as zero; `rtol` is max(m, n) times the type's epsilon if
    neither is given; `rcond` is its older name.
    """
    return _pinv(  # type: ignore[no-any-return]
        matrices("pinv", A, square=hermitian),
        atol=numbers_of(atol),
        rtol=numbers_of(rtol if rcond is None else rcond),
        hermitian=bool(hermitian),
    )


@implements(np.linalg.pinv)
def _np_pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Tensor:
    return pinv(a, rtol=rcond if rcond is not None else rtol, hermitian=hermitian)


class LstsqResult(NamedTuple):
    """What `lstsq` returns."""

    solution: Any
    residuals: Any
    rank: Any
    singular_values: Any


def lstsq(A: Any, B: Any, rcond: float | None = None, *, driver: str | None = None) -> LstsqResult:
    """The X that minimises the norm of A @ X - B: solution, residuals, rank, singular values.

    Shapes: A (..., m, n), B (..., m, k) or (..., m). As in PyTorch, the residuals (sums of
    squares) are given by the drivers "gels", "gelsd" and "gelss" where m > n and every matrix has full rank, the
    singular values by "gelsd" and "gelss"; elsewhere they are empty.
    """
    A, B = matrices("lstsq", A), floating("lstsq", as_tensor_argument(B))
    vector = is_vector_case(A, B)
    right = np.expand_dims(B, -1) if vector else B
    m, n = A.shape[-2:]
    if right.shape[-2] != m:
        raise RuntimeError(
            f"linalg.lstsq: A of shape {A.shape} has {m} rows and B of shape {B.shape} {right.shape[-2]}"
        )
    solution = _least_squares(A, right, rcond=rcond)
    s = np.linalg.svdvals(A.array)
    rtol = np.finfo(s.dtype).eps * max(m, n) if rcond is None else rcond
    rank = np.count_nonzero(s > rtol * s[..., :1], axis=-1)
    batch = solution.shape[:-2]
    residuals = np.real(np.reshape(solution, (-1,))[:0])
    if m > n and driver not in (None, "gelsy") and np.all(rank == n):
        error = np.abs(matmul(A, solution) - right)
        residuals = np.sum(error * error, axis=-2)
        if vector:
            residuals = np.reshape(residuals, batch)
    return LstsqResult(
        np.reshape(solution, solution.shape[:-1]) if vector else solution,
        residuals,
        make_tensor(np.zeros(0, np.int64), None) if driver == "gels" else as_tensor_argument(rank),
        make_tensor(s if driver in ("gelsd", "gelss") else np.zeros(0, s.dtype), None),
    )


@implements(np.linalg.lstsq)
def _np_lstsq(a: Any, b: Any, rcond: float | None = None) -> tuple[Any, Any, Any, Any]:
    return lstsq(a, b, rcond, driver="gelsd")


class InvExResult(NamedTuple):
    """A result, and for each matrix 0 or a positive number where the algorithm failed."""

    inverse: Any
    info: Any


class CholeskyExResult(NamedTuple):
    """A factor, and for each matrix 0 or a positive number where it is not positive definite."""

    L: Any
    info: Any


class SolveExResult(NamedTuple):
    """A solution, and for each matrix 0 or a positive number where it is singular."""

    result: Any
    info: Any


def _with_info(operation: Any, batch: tuple[int, ...], shape: tuple[int, ...], like: Any, check_errors: bool) -> Any:
    try:
        return operation(), make_tensor(np.zeros(batch, np.int32), None)
    except LinAlgError:
        if check_errors or recorder.get() is not None:  # a compiled program raises where eager gives NaNs
            raise
    return make_tensor(np.full(shape, np.nan, like.array.dtype), None), make_tensor(np.ones(batch, np.int32), None)


def inv_ex(A: Any, *, check_errors: bool = False) -> InvExResult:
    """`inv`, and instead of an error NaNs and a positive `info` where a matrix of the batch is singular."""
    A = matrices("inv_ex", A, square=True)
    return InvExResult(*_with_info(lambda: inv(A), A.shape[:-2], A.shape, A, check_errors))


def cholesky_ex(A: Any, *, upper: bool = False, check_errors: bool = False) -> CholeskyExResult:
    """`cholesky`, and instead of an error NaNs and a positive `info` where a matrix is not positive definite."""
    A = matrices("cholesky_ex", A, square=True)
    return CholeskyExResult(*_with_info(lambda: cholesky(A, upper=upper), A.shape[:-2], A.shape, A, check_errors))


def solve_ex(A: Any, B: Any, *, left: bool = True, check_errors: bool = False) -> SolveExResult:
    """`solve`, and instead of an error NaNs and a positive `info` where a matrix of the batch is singular."""
    A, B = matrices("solve_ex", A, square=True), as_tensor_argument(B)
    return SolveExResult(*_with_info(lambda: solve(A, B, left=left), A.shape[:-2], B.shape, B, check_errors))


# ----- determinants -----------------------------------------------------------------------------------------------


class SlogdetResult(NamedTuple):
    """Sign (or phase) and logarithm of the absolute value of determinants."""

    sign: Any
    logabsdet: Any


@implements(np.linalg.det)
def det(A: Any) -> Tensor:
    """The determinant of each square matrix; its gradient exists for singular matrices as well.

    >>> import chainrule as cr
    >>> cr.linalg.det(cr.tensor([[2.0, 0.0], [1.0, 3.0]])).item()
    6.0
    """
    return _det(matrices("det", A, square=True))  # type: ignore[no-any-return]


@implements(np.linalg.slogdet)
def slogdet(A: Any) -> Any:
    """The sign (for complex matrices the phase) and the logarithm of the absolute value of each determinant."""
    return _slogdet(matrices("slogdet", A, square=True))


def logdet(A: Any) -> Any:
    """The logarithm of each determinant; NaN for a negative one, -inf for zero."""
    sign, logabsdet = slogdet(A)
    if is_complex(sign):
        return np.log(sign) + logabsdet
    return np.where(np.less(sign.array, 0), np.nan, logabsdet)


# ----- decompositions ---------------------------------------------------------------------------------------------


@implements(np.linalg.cholesky)
def cholesky(A: Any, upper: bool = False) -> Any:
    """The lower triangular L with A = L @ L^H for Hermitian positive definite A, or its adjoint for `upper`.

    Raises:
        LinAlgError: a matrix is not positive definite.

    >>> import chainrule as cr
    >>> cr.linalg.cholesky(cr.tensor([[4.0, 0.0], [0.0, 9.0]]))
    Tensor(array([[2., 0.],
           [0., 3.]], dtype=float32), requires_grad=False)
    """
    factor = _cholesky(matrices("cholesky", A, square=True))
    return adjoint(factor) if upper else factor


@implements(np.linalg.eigh)
def eigh(A: Any, UPLO: str = "L") -> Any:
    """Eigenvalues in ascending order and eigenvectors of each Hermitian matrix, of which one triangle is read.

    The gradient is that of a loss that does not depend on the signs (phases) of the eigenvectors.
    """
    return _eigh(matrices("eigh", A, square=True), UPLO=_triangle(UPLO))


@implements(np.linalg.eigvalsh)
def eigvalsh(A: Any, UPLO: str = "L") -> Any:
    """The eigenvalues of each Hermitian matrix in ascending order."""
    return _eigvalsh(matrices("eigvalsh", A, square=True), UPLO=_triangle(UPLO))


def _triangle(UPLO: str) -> str:
    if str(UPLO).upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    return str(UPLO).upper()


@implements(np.linalg.eig)
def eig(A: Any) -> Any:
    """Eigenvalues and eigenvectors of each square matrix, always complex, in no particular order.

    The gradient is that of a loss that does not depend on the phases of the eigenvectors.
    """
    return _eig(matrices("eig", A, square=True))


@implements(np.linalg.eigvals)
def eigvals(A: Any) -> Tensor:
    """The eigenvalues of each square matrix, always complex, in no particular order."""
    return _eigvals(matrices("eigvals", A, square=True))  # type: ignore[no-any-return]


def svd(A: Any, full_matrices: bool = True, *, driver: str | None = None) -> Any:
    """U, S, Vh with A = U @ diag(S) @ Vh, singular values in descending order.

    Shapes: A (..., m, n); U (..., m, m), S (..., k), Vh (..., n, n) with k = min(m, n), or (..., m, k) and (..., k, n)
    for `full_matrices=False`.
    The gradient is that of a loss that does not depend on the signs (phases) of the vectors.
    """
    return _svd(matrices("svd", A), full_matrices=bool(full_matrices))


@implements(np.linalg.svd)
def _np_svd(a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False) -> Any:
    return svd(a, full_matrices) if compute_uv else svdvals(a)


@implements(np.linalg.svdvals)
def svdvals(A: Any, *, driver: str | None = None) -> Tensor:
    """The singular values of each matrix in descending order."""
    return _svdvals(matrices("svdvals", A))  # type: ignore[no-any-return]


class QRResult(NamedTuple):
    """An orthogonal and an upper triangular factor."""

    Q: Any
    R: Any


def qr(A: Any, mode: str = "reduced") -> Any:
    """Q, R with A = Q @ R, Q with orthonormal columns and R upper triangular.

    Args:
        A: (..., m, n).
        mode: "reduced" for Q (..., m, k), R (..., k, n) with k = min(m, n); "complete" for Q (..., m, m); "r" for an
            empty Q and an R without gradient.
    """
    A = matrices("qr", A)
    if mode in ("reduced", "complete"):
        return _qr(A, mode=mode)
    if mode != "r":
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or 'complete'"
        )
    return QRResult(make_tensor(np.zeros(0, A.array.dtype), None), make_tensor(np.linalg.qr(A.array, mode="r"), None))


@implements(np.linalg.qr)
def _numpy_qr(a: Any, mode: str = "reduced") -> Any:
    return qr(a)[1] if mode == "r" else qr(a, mode)


def lu(A: Any, *, pivot: bool = True) -> Any:
    """P, L, U with A = P @ L @ U: a permutation, a lower triangle with unit diagonal, an upper triangle."""
    if not pivot:
        raise RuntimeError("linalg.lu: LU without pivoting is not implemented on the CPU")
    P, L, U = _lu(matrices("lu", A))
    return LUResult(make_tensor(P.array, None), L, U)  # the permutation is constant wherever it is determined


class LUFactorResult(NamedTuple):
    """Both triangular factors in one matrix, and the rows that were exchanged, counted from 1."""

    LU: Any
    pivots: Any


def lu_factor(A: Any, *, pivot: bool = True) -> LUFactorResult:
    """The LU decomposition in compact form, for `lu_solve`: L below and U on and above the diagonal; pivots from 1."""
    P, L, U = lu(A, pivot=pivot)
    m, k = L.shape[-2:]
    n = U.shape[-1]
    lower = np.tril(L, -1)
    batch = L.shape[:-2]
    if n > k:
        lower = np.concatenate((lower, np.zeros((*batch, m, n - k), L.array.dtype)), axis=-1)
    if m > k:
        U = np.concatenate((U, np.zeros((*batch, m - k, n), U.array.dtype)), axis=-2)
    return LUFactorResult(lower + U, make_tensor(_pivots_of(P.array, k), None))


class LUFactorExResult(NamedTuple):
    """`lu_factor`'s result, and zeros for each matrix of the batch."""

    LU: Any
    pivots: Any
    info: Any


def lu_factor_ex(A: Any, *, pivot: bool = True, check_errors: bool = False) -> LUFactorExResult:
    """`lu_factor`, and `info`: the place of the first zero pivot counted from 1, or 0."""
    factors, pivots = lu_factor(A, pivot=pivot)
    zero = np.diagonal(factors.array, axis1=-2, axis2=-1) == 0
    info = np.zeros(zero.shape[:-1], np.int32)
    if zero.shape[-1]:
        info = np.where(zero.any(-1), zero.argmax(-1) + 1, 0).astype(np.int32)
    if check_errors and info.any():
        place = int(info.max())
        raise LinAlgError(f"linalg.lu_factor: U[{place}, {place}] is zero, the factors cannot be used to solve")
    return LUFactorExResult(factors, pivots, make_tensor(as_it_is(info), None))


@array_function
def _pivots_of(permutation: Any, k: int) -> Any:
    """LAPACK's row exchanges (from 1) of a batch of permutation matrices P in A = P L U."""
    m = permutation.shape[-1]
    if not permutation.size:
        return np.zeros((*permutation.shape[:-2], k), np.int32)
    wanted = np.argmax(permutation != 0, axis=-2).reshape(-1, m)  # row of A that becomes row i of L U
    pivots = np.empty((wanted.shape[0], k), np.int32)
    for b, rows in enumerate(wanted):
        now = np.arange(m)
        for i in range(k):
            j = int(np.nonzero(now[i:] == rows[i])[0][0]) + i
            now[i], now[j] = now[j], now[i]
            pivots[b, i] = j + 1
    return pivots.reshape(*permutation.shape[:-2], k)


@array_function
def permutation_of(pivots: Any, m: int) -> Any:
    """The permutation matrices P in A = P L U, as booleans, from LAPACK's row exchanges."""
    flat = pivots.reshape(math.prod(pivots.shape[:-1]), pivots.shape[-1])
    matrices_out = np.zeros((flat.shape[0], m, m), bool)
    for b, exchanges in enumerate(flat):
        rows = np.arange(m)
        for i, j in enumerate(exchanges):
            rows[i], rows[j - 1] = rows[j - 1], rows[i]
        matrices_out[b, rows, np.arange(m)] = True
    return matrices_out.reshape(*pivots.shape[:-1], m, m)


def lu_solve(LU: Any, pivots: Any, B: Any, *, left: bool = True, adjoint: bool = False) -> Any:
    """The X with A @ X = B (X @ A = B for `left=False`) from `lu_factor(A)`; A's adjoint for `adjoint`."""
    LU = matrices("lu_solve", LU, square=True, argument="LU")
    B = matrices("lu_solve", B, argument="B")
    if not left:  # X A = B is A^H X^H = B^H
        flipped = np.swapaxes(conj(B), -1, -2)
        X = lu_solve(LU, pivots, flipped, adjoint=not adjoint)
        return np.swapaxes(conj(X), -1, -2)
    exchanges = pivots.array if isinstance(pivots, Tensor) else as_it_is(pivots)
    P = permutation_of(exchanges, LU.shape[-1]).astype(LU.array.dtype)
    if not adjoint:
        inner = solve_triangular(LU, matmul(np.swapaxes(P, -1, -2), B), upper=False, unitriangular=True)
        return solve_triangular(LU, inner, upper=True)
    flipped = conj(np.swapaxes(LU, -1, -2))
    inner = solve_triangular(flipped, B, upper=False)
    return matmul(P, solve_triangular(flipped, inner, upper=True, unitriangular=True))


# ----- functions of matrices --------------------------------------------------------------------------------------


def matrix_exp(A: Any) -> Tensor:
    """The exponential of each square matrix.

    >>> import chainrule as cr
    >>> cr.linalg.matrix_exp(cr.zeros(2, 2))
    Tensor(array([[1., 0.],
           [0., 1.]], dtype=float32), requires_grad=False)
    """
    return _matrix_exp(matrices("matrix_exp", A, square=True))  # type: ignore[no-any-return]


@implements(np.linalg.matrix_power)
def matrix_power(A: Any, n: int) -> Any:
    """Each square matrix multiplied by itself n times; its inverse for negative n.

    >>> import chainrule as cr
    >>> cr.linalg.matrix_power(cr.tensor([[2.0]]), -2).item()
    0.25
    """
    A = as_tensor_argument(A)
    if A.ndim < 2 or A.shape[-1] != A.shape[-2]:
        matrices("matrix_power", A, square=True)
    if n == 0:
        return np.where(True, np.eye(A.shape[-1], dtype=A.array.dtype), A)  # a constant, but part of the graph
    if n < 0:
        A, n = inv(A), -n
    result: Any = None
    while True:  # by the binary digits of n
        if n & 1:
            result = +A if result is None else matmul(result, A)
        n >>= 1
        if not n:
            return result
        A = matmul(A, A)


# ----- norms ------------------------------------------------------------------------------------------------------


@numpy_names
def vector_norm(x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """(sum |x|^ord)^(1/ord) along `dim`, or of all elements; `ord` may be 0 (count of non-zeros) or +-inf.

    >>> import chainrule as cr
    >>> cr.linalg.vector_norm(cr.tensor([3.0, 4.0])).item()
    5.0
    """
    x = as_tensor_argument(x)
    if dtype is not None:
        x = cast(x, as_numpy_dtype(dtype))
    if x.array.dtype.kind not in "fc":
        raise RuntimeError(
            f"linalg.vector_norm: Expected a floating point or complex tensor as input. Got {x.dtype}: use .float()"
        )
    axes = None if dim is None or dim == () or dim == [] else normalize_axes(dim, x.ndim)
    axes = axes if x.ndim else None
    ord = float(ord)
    if (math.isinf(ord) or ord < 0) and 0 in ((x.shape[a] for a in axes) if axes is not None else x.shape):
        raise RuntimeError(
            f"linalg.vector_norm cannot compute the {ord} norm on an empty dimension because the operation has no "
            f"identity (shape {x.shape})"
        )
    if axes == tuple(range(x.ndim)) and not keepdim:
        axes = None
    return _vector_norm(x, ord=ord, axis=axes, keepdims=bool(keepdim))


@numpy_names
def matrix_norm(A: Any, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The norm of the matrices in the two axes `dim`.

    `ord` is "fro" (of the elements), "nuc", 2, -2 (of the singular values), 1, -1 (of the columns' sums), inf or -inf
    (of the rows' sums).
    """
    A = as_tensor_argument(A)
    if dtype is not None:
        A = cast(A, as_numpy_dtype(dtype))
    if A.ndim < 2:
        raise RuntimeError(
            f"linalg.matrix_norm: The input tensor A must have at least 2 dimensions, got shape {A.shape}"
        )
    axes = normalize_axes(dim, A.ndim)
    if len(axes) != 2:
        raise RuntimeError(f"linalg.matrix_norm: dim must be a 2-tuple. Got {dim}")
    if ord == "fro":
        return vector_norm(A, 2, axes, keepdim)
    if ord not in ("nuc", 2, -2, 1, -1, math.inf, -math.inf):
        raise RuntimeError(
            f"linalg.matrix_norm: Order {ord} not supported; it is 'fro', 'nuc', 1, -1, 2, -2, inf or -inf"
        )
    if ord in ("nuc", 2, -2):
        values = np.linalg.svdvals(np.moveaxis(A, axes, (-2, -1)))
        reduce: Any = {"nuc": np.sum, 2: np.max, -2: np.min}[ord]
        result = reduce(values, axis=-1)
    else:
        summed, compared = axes if abs(ord) == 1 else axes[::-1]
        sums = np.sum(np.abs(A), axis=summed, keepdims=True)
        result = (np.max if ord > 0 else np.min)(sums, axis=compared, keepdims=True)
    return np.reshape(result, [1 if i in axes else n for i, n in enumerate(A.shape) if keepdim or i not in axes])


@numpy_names
def norm(A: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """A vector norm for one axis, a matrix norm for two; the 2-norm of all elements if nothing is said.

    >>> import chainrule as cr
    >>> cr.linalg.norm(cr.tensor([[3.0, 0.0], [0.0, 4.0]])).item(), cr.linalg.norm(cr.eye(2), ord="nuc").item()
    (5.0, 2.0)
    """
    A = as_tensor_argument(A)
    if ord is None:
        return vector_norm(A, 2, dim, keepdim, dtype=dtype)
    if dim is None:
        if A.ndim not in (1, 2):
            raise RuntimeError(
                "linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got "
                f"{A.ndim}D of shape {A.shape}"
            )
        dim = tuple(range(A.ndim))
    if isinstance(dim, (tuple, list)) and len(dim) == 2:
        return matrix_norm(A, ord, dim, keepdim, dtype=dtype)
    if isinstance(ord, str):
        raise RuntimeError(f"linalg.norm: ord={ord!r} is a norm of matrices; dim must be a 2-tuple, got {dim}")
    return vector_norm(A, ord, dim, keepdim, dtype=dtype)


@implements(np.linalg.norm)
def _np_norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    return norm(x, ord, axis, keepdims)


@implements(np.linalg.vector_norm)
def _np_vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    return vector_norm(x, ord, axis, keepdims)


@implements(np.linalg.matrix_norm)
def _np_matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    return matrix_norm(x, ord, (-2, -1), keepdims)


@implements(np.linalg.cond)
def cond(A: Any, p: Any = None) -> Any:
    """The condition number of each matrix in the norm `p`: the ratio of the singular values' extremes if left out."""
    A = matrices("cond", A)
    if p in (None, 2, -2):
        values = svdvals(A)
        ratio = values[..., 0], values[..., -1]
        return ratio[1] / ratio[0] if p == -2 else ratio[0] / ratio[1]
    matrices("cond", A, square=True)
    try:
        inverted = inv(A)
    except LinAlgError:
        return make_tensor(np.full(A.shape[:-2], np.inf, to_real(A.array.dtype)), None)
    return matrix_norm(A, p) * matrix_norm(inverted, p)


def matrix_rank(A: Any, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Tensor:
    """The number of singular values above max(atol, rtol * the largest); without a gradient."""
    array = matrices("matrix_rank", A, square=hermitian).array
    atol = numbers_of(tol if tol is not None else atol)
    values = np.abs(np.linalg.eigvalsh(array)) if hermitian else np.linalg.svdvals(array)
    if not values.shape[-1]:
        return make_tensor(np.zeros(values.shape[:-1], np.int64), None)
    limit = np.expand_dims(tolerance(values, array, atol, numbers_of(rtol)), -1)
    return make_tensor(as_it_is(np.count_nonzero(values > limit, axis=-1)), None)


@implements(np.linalg.matrix_rank)
def _np_matrix_rank(A: Any, tol: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Tensor:
    return matrix_rank(A, tol, hermitian, rtol=rtol)


# ----- products and shapes ----------------------------------------------------------------------------------------


@numpy_names
def cross(input: Any, other: Any, *, dim: int = -1) -> Tensor:
    """The cross product of 3-vectors along `dim`, broadcast over the other axes."""
    if as_tensor_argument(input).ndim != as_tensor_argument(other).ndim:
        raise RuntimeError(
            "linalg.cross: inputs must have the same number of dimensions, got shapes "
            f"{tuple(input.shape)} and {tuple(other.shape)}"
        )
    return cross_along(input, other, dim)


@numpy_names
def vecdot(x: Any, y: Any, *, dim: int = -1) -> Any:
    """The sum of conj(x) * y along `dim`."""
    x, y = as_tensor_argument(x), as_tensor_argument(y)
    if dim != -1:
        x, y = np.moveaxis(x, dim, -1), np.moveaxis(y, dim, -1)
    return vecdot_last(x, y)


def multi_dot(tensors: Any) -> Tensor:
    """The product of a list of matrices in the cheapest order; the first and the last may be vectors."""
    tensors = tuple(tensors)
    if len(tensors) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(tensors)}")
    try:
        return chain_matmul(*tensors)
    except ValueError as error:
        raise RuntimeError(f"multi_dot(): {error}") from None


def diagonal(A: Any, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """The diagonals of the matrices in the axes `dim1` and `dim2`, as the last axis."""
    return np.diagonal(as_tensor_argument(A), offset, dim1, dim2)


@implements(np.linalg.diagonal)
def _np_diagonal(x: Any, /, *, offset: int = 0) -> Any:
    return np.diagonal(x, offset, -2, -1)


@implements(np.linalg.trace)
def _np_trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    return np.sum(np.diagonal(x, offset, -2, -1), axis=-1)


@implements(np.linalg.matrix_transpose)
def _np_matrix_transpose(x: Any, /) -> Any:
    return np.swapaxes(x, -1, -2)


def vander(x: Any, N: int | None = None) -> Any:
    """The Vandermonde matrices: powers 0, 1, ..., N - 1 of the elements in the columns. (..., n) gives (..., n, N)."""
    x = as_tensor_argument(x)
    if x.ndim == 0:
        x = np.reshape(x, (1,))
    columns = x.shape[-1] if N is None else N
    if columns < 2:
        raise RuntimeError(f"linalg.vander: N must be greater than 1, got {columns}")
    return np.expand_dims(x, -1) ** np.arange(columns)


@implements(np.linalg.tensorinv)
def tensorinv(A: Any, ind: int = 2) -> Any:
    """The inverse for tensordot(., ., ind): the first `ind` axes taken for rows, the others for columns."""
    A = as_tensor_argument(A)
    if ind <= 0:
        raise RuntimeError(f"Expected a strictly positive integer for 'ind', got {ind}")
    rows, columns = A.shape[:ind], A.shape[ind:]
    if math.prod(rows) != math.prod(columns):
        raise RuntimeError(f"linalg.tensorinv: axes of sizes {rows} and {columns} make no square matrix")
    return np.reshape(inv(np.reshape(A, (math.prod(rows), math.prod(columns)))), (*columns, *rows))


def tensorsolve(A: Any, B: Any, dims: Any = None) -> Any:
    """The X with tensordot(A, X, X.ndim) = B; the axes `dims` of A are moved to its end first."""
    A, B = as_tensor_argument(A), as_tensor_argument(B)
    if dims is not None:
        A = np.moveaxis(A, tuple(dims), tuple(range(A.ndim - len(dims), A.ndim)))
    wanted = A.shape[B.ndim :]
    size = math.prod(wanted)
    if size != B.array.size:
        raise RuntimeError(
            f"Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == prod(self.shape[:other.ndim]), "
            f"got {A.shape} and {B.shape}"
        )
    return np.reshape(solve(np.reshape(A, (size, size)), np.reshape(B, (size,))), wanted)


@implements(np.linalg.tensorsolve)
def _np_tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    return tensorsolve(a, b, axes)


attach(cholesky, det, inverse, logdet, matrix_exp, matrix_power, slogdet)
