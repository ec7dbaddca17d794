"""PyTorch's older names for linear algebra, where they differ from `chainrule.linalg`, and distances."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..core.broadcasting import unbroadcast
from ..core.forward import array_function, promote, wrap_forward_fn
from ..core.table import backward
from ..core.tensor import Tensor, make_tensor
from . import linalg
from .common import as_tensor_argument, attach, numpy_names

__all__ = [
    "cdist",
    "cholesky_inverse",
    "cholesky_solve",
    "frobenius_norm",
    "lu",
    "lu_solve",
    "lu_unpack",
    "nuclear_norm",
    "pca_lowrank",
    "pinverse",
    "qr",
    "svd",
    "svd_lowrank",
    "triangular_solve",
    "vander",
]


class SVDResult(NamedTuple):
    """Left singular vectors, singular values, right singular vectors (not their adjoint)."""

    U: Any
    S: Any
    V: Any


class TriangularSolveResult(NamedTuple):
    """The solution, and the triangular matrix that was given."""

    solution: Any
    cloned_coefficient: Any


def svd(input: Any, some: bool = True, compute_uv: bool = True) -> SVDResult:
    """U, S, V with input = U @ diag(S) @ V^H; `linalg.svd` returns V^H. Reduced unless `some` is False."""
    input = as_tensor_argument(input)
    if compute_uv:
        u, s, vh = linalg.svd(input, full_matrices=not some)
        return SVDResult(u, s, linalg.adjoint(vh))
    m, n = input.shape[-2:]
    zeros = (make_tensor(np.zeros((*input.shape[:-2], size, size), input.array.dtype), None) for size in (m, n))
    return SVDResult(next(zeros), linalg.svdvals(input), next(zeros))


def qr(input: Any, some: bool = True) -> Any:
    """Q, R with input = Q @ R, reduced unless `some` is False; `linalg.qr` names the modes."""
    return linalg.qr(input, "reduced" if some else "complete")


def svd_lowrank(A: Any, q: int | None = 6, niter: int | None = 2, M: Any = None) -> Any:
    """U, S, V for the `q` largest singular values of `A - M`: the exact ones, cut from the whole decomposition."""
    U, S, Vh = linalg.svd(A if M is None else A - M, full_matrices=False)
    q = min(6 if q is None else q, S.shape[-1])
    return SVDResult(U[..., :q], S[..., :q], linalg.adjoint(Vh)[..., :q])


def pca_lowrank(A: Any, q: int | None = None, center: bool = True, niter: int = 2) -> Any:
    """The `q` first principal components of the rows of `A`: V of `svd_lowrank`, after subtracting the mean row."""
    return svd_lowrank(A, q, niter, A.mean(-2, keepdim=True) if center else None)


def pinverse(input: Any, rcond: float = 1e-15) -> Tensor:
    """The pseudo-inverse; singular values up to `rcond` times the largest count as zero."""
    return linalg.pinv(input, rtol=rcond)


def lu(A: Any, pivot: bool = True, get_infos: bool = False) -> Any:
    """`linalg.lu_factor`; with `get_infos` also zeros for each matrix of the batch."""
    result = linalg.lu_factor(A, pivot=pivot)
    return (*result, make_tensor(np.zeros(A.shape[:-2], np.int32), None)) if get_infos else result


def lu_solve(b: Any, LU_data: Any, LU_pivots: Any) -> Any:
    """The x with A @ x = b from `lu_factor(A)`."""
    return linalg.lu_solve(LU_data, LU_pivots, b)


def lu_unpack(LU_data: Any, LU_pivots: Any, unpack_data: bool = True, unpack_pivots: bool = True) -> Any:
    """P, L, U of `lu_factor`'s result; empty tensors for what is not unpacked."""
    data = as_tensor_argument(LU_data)
    m, n = data.shape[-2:]
    k = min(m, n)
    permutation: Any = make_tensor(np.zeros(0, data.array.dtype), None)
    lower: Any = permutation
    upper: Any = permutation
    if unpack_pivots:
        pivots = as_tensor_argument(LU_pivots).array
        permutation = make_tensor(linalg.permutation_of(pivots, m).astype(data.array.dtype), None)
    if unpack_data:
        lower = np.tril(data[..., :k], -1) + np.eye(m, k, dtype=data.array.dtype)
        upper = np.triu(data[..., :k, :])
    return linalg.LUResult(permutation, lower, upper)


@array_function
def solve_positive(A: Any, B: Any, factor: Any = None, upper: bool = False) -> Any:
    """The X with A @ X = B for a Hermitian positive definite A.

    Args:
        factor: A's Cholesky factor, where it is known: A = factor @ factor^H, or factor^H @ factor for `upper`.
    """
    if factor is None:
        factor, upper = np.linalg.cholesky(A), False
    flipped = np.conj(np.swapaxes(factor, -1, -2))
    first, second = (flipped, factor) if upper else (factor, flipped)
    half = linalg.solve_triangular_matrix(first, B, lower=True)
    return linalg.solve_triangular_matrix(second, half, lower=False)


def _solve_transposed(A: Any, B: Any, factor: Any, upper: bool) -> Any:
    return solve_positive(np.swapaxes(A, -1, -2), B, factor if factor is None else np.conj(factor), upper)


@backward(solve_positive, 0)
def solve_positive_back0(grad_out: Any, out: Any, A: Any, B: Any, factor: Any = None, upper: bool = False) -> Any:
    r"""$\nabla_A L = -A^{-T} \nabla_{out} L \, out^T$"""
    grad_b = _solve_transposed(A, grad_out, factor, upper)
    return unbroadcast(-np.matmul(grad_b, np.swapaxes(out, -1, -2)), A)


@backward(solve_positive, 1)
def solve_positive_back1(grad_out: Any, out: Any, A: Any, B: Any, factor: Any = None, upper: bool = False) -> Any:
    r"""$\nabla_B L = A^{-T} \nabla_{out} L$"""
    return unbroadcast(_solve_transposed(A, grad_out, factor, upper), B)


_solve_positive = wrap_forward_fn(solve_positive)


def cholesky_solve(B: Any, L: Any, upper: bool = False) -> Any:
    """The X with A @ X = B from A's Cholesky factor: A = L @ L^H, or L^H @ L for `upper`. Shapes: B (..., n, k)."""
    B = linalg.matrices("cholesky_solve", B, argument="B")
    L = linalg.matrices("cholesky_solve", L, square=True, argument="L")
    B, L = promote((B, L))
    flipped = linalg.adjoint(L)
    # the gradient goes to all of L through A, as in PyTorch; the factor itself is a copy that no later write reaches
    return _solve_positive(flipped @ L if upper else L @ flipped, B, L.array.copy(), upper)


def cholesky_inverse(L: Any, upper: bool = False) -> Any:
    """The inverse of A from its Cholesky factor: A = L @ L^H, or L^H @ L for `upper`."""
    L = linalg.matrices("cholesky_inverse", L, square=True, argument="L")
    return cholesky_solve(np.eye(L.shape[-1], dtype=L.array.dtype), L, upper)


def triangular_solve(
    b: Any, A: Any, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> TriangularSolveResult:
    """The x with A @ x = b for triangular A, or A^T @ x = b for `transpose`, and A itself."""
    A = linalg.matrices("triangular_solve", A, square=True)
    given = np.swapaxes(A, -1, -2) if transpose else A
    solution = linalg.solve_triangular(given, b, upper=upper != transpose, unitriangular=unitriangular)
    return TriangularSolveResult(solution, +A)


def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    """The Vandermonde matrix of a vector: its powers in the columns, the highest first unless `increasing`."""
    x = as_tensor_argument(x)
    if x.ndim != 1:
        raise RuntimeError(f"x must be a one-dimensional tensor, got shape {x.shape}")
    powers = np.arange(x.shape[0] if N is None else N)
    return np.expand_dims(x, -1) ** (powers if increasing else powers[::-1].copy())


# ----- norms and distances ----------------------------------------------------------------------------------------


@numpy_names
def frobenius_norm(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The square root of the sum of squares."""
    return linalg.vector_norm(input, 2, dim, keepdim)


@numpy_names
def nuclear_norm(input: Any, dim: Any = (-2, -1), keepdim: bool = False) -> Any:
    """The sum of the singular values of the matrices in the axes `dim`."""
    return linalg.matrix_norm(input, "nuc", dim, keepdim)


def cdist(x1: Any, x2: Any, p: float = 2.0, compute_mode: str = "use_mm_for_euclid_dist_if_necessary") -> Any:
    """The p-norm distance of every row of x1 to every row of x2: (..., n, k) and (..., m, k) give (..., n, m)."""
    x1, x2 = as_tensor_argument(x1), as_tensor_argument(x2)
    if x1.ndim < 2 or x2.ndim < 2 or x1.shape[-1] != x2.shape[-1]:
        raise RuntimeError(
            f"X1 and X2 must have the same number of columns. X1: {tuple(x1.shape)} X2: {tuple(x2.shape)}"
        )
    differences = np.expand_dims(x1, -2) - np.expand_dims(x2, -3)
    if not x1.shape[-1]:
        return np.sum(differences, axis=-1)
    return linalg.vector_norm(differences, p, -1)


attach(pinverse, qr, svd, cholesky_inverse, cholesky_solve, triangular_solve, lu, lu_solve)
