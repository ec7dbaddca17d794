"""Samples of the functions of matrices in chainrule/ops/linalg.py."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.ops.linalg import (
    cofactors,
    eigen,
    eigenvalues,
    least_squares,
    lu_decomposition,
    matrix_exponential,
    pseudo_inverse,
    solve_triangular_matrix,
)
from chainrule.ops.matrices import solve_positive

from .common import Sample, complex_normal, normal


def regular(*shape: int, seed: int = 0) -> Any:
    """Square matrices far from singular."""
    return normal(*shape, seed=seed) + 3 * np.eye(shape[-1])


def complex_regular(*shape: int, seed: int = 0) -> Any:
    """Complex square matrices far from singular."""
    return complex_normal(*shape, seed=seed) + 3 * np.eye(shape[-1])


def hermitian(x: Any) -> Any:
    """The Hermitian part."""
    return (x + np.conj(np.swapaxes(x, -1, -2))) / 2


def positive_definite(x: Any) -> Any:
    """x @ x^H, moved away from singular matrices."""
    return x @ np.conj(np.swapaxes(x, -1, -2)) + np.eye(x.shape[-1])


def projections(vectors: Any) -> Any:
    """|v_ij|^2: what of the vectors does not depend on their phases, with weights that tell them apart."""
    return np.abs(vectors) ** 2


def gauge_eig(outputs: Any) -> Any:
    """Eigenvalues, and the eigenvectors without their phases."""
    return outputs[0], projections(outputs[1])


def gauge_svd(outputs: Any) -> Any:
    """Singular values, the sum of the u_k s_k^2 v_k^H, and the vectors without their phases."""
    u, s, vh = outputs
    k = s.shape[-1]
    u, vh = u[..., :k], vh[..., :k, :]
    return s, np.matmul(u * np.expand_dims(s * s, -2), vh), projections(u), projections(vh)


def singular(n: int, rank: int) -> Any:
    """A matrix of lower rank."""
    return normal(n, rank) @ normal(rank, n, seed=1)


LOWER = np.tril(regular(3, 3))
NORM_ORDERS = (2, 1, 3, 0.5, 1.5, math.inf, -math.inf, -1.5)

SAMPLES = [
    # solving
    Sample(np.linalg.solve, (regular(3, 3), normal(3, seed=1))),
    Sample(np.linalg.solve, (regular(3, 3), normal(3, 2, seed=1))),
    Sample(np.linalg.solve, (regular(2, 3, 3), normal(3, seed=1))),
    Sample(np.linalg.solve, (regular(2, 3, 3), normal(4, 1, 3, 2, seed=1))),
    Sample(np.linalg.solve, (complex_regular(3, 3), complex_normal(3, 2, seed=1))),
    *(
        Sample(solve_triangular_matrix, (a, b), {"lower": lower, "unit_diagonal": unit})
        for a, b in (
            (regular(3, 3), normal(3, 2, seed=1)),
            (regular(2, 3, 3), normal(3, 2, seed=1)),
            (complex_regular(3, 3), complex_normal(3, 2, seed=1)),
        )
        for lower in (False, True)
        for unit in (False, True)
    ),
    Sample(np.linalg.inv, (regular(3, 3),)),
    Sample(np.linalg.inv, (regular(2, 3, 3),)),
    Sample(np.linalg.inv, (complex_regular(3, 3),)),
    Sample(pseudo_inverse, (normal(4, 3),)),
    Sample(pseudo_inverse, (normal(2, 2, 3),)),
    Sample(pseudo_inverse, (complex_normal(2, 3),)),
    Sample(pseudo_inverse, (complex_normal(4, 3),)),
    Sample(least_squares, (normal(4, 3), normal(4, 2, seed=1))),
    Sample(least_squares, (normal(2, 4), normal(2, 1, seed=1))),
    Sample(least_squares, (normal(2, 4, 3), normal(4, 2, seed=1))),
    Sample(least_squares, (complex_normal(4, 3), complex_normal(4, 2, seed=1))),
    # determinants
    Sample(np.linalg.det, (normal(3, 3),)),
    Sample(np.linalg.det, (normal(2, 2, 2),)),
    Sample(np.linalg.det, (singular(3, 2),)),
    Sample(np.linalg.det, (singular(4, 2),)),
    Sample(np.linalg.det, (np.eye(3),)),
    Sample(np.linalg.det, (complex_normal(3, 3),)),
    Sample(cofactors, (normal(3, 3),)),
    Sample(cofactors, (normal(2, 2, 2),)),
    Sample(cofactors, (complex_normal(3, 3),)),
    Sample(np.linalg.slogdet, (normal(3, 3),)),
    Sample(np.linalg.slogdet, (normal(2, 3, 3),)),
    Sample(np.linalg.slogdet, (complex_normal(3, 3),)),
    # decompositions
    Sample(np.linalg.cholesky, (positive_definite(normal(3, 3)),), symmetric=True),
    Sample(np.linalg.cholesky, (positive_definite(normal(2, 3, 3)),), symmetric=True),
    Sample(np.linalg.cholesky, (positive_definite(complex_normal(3, 3)),), symmetric=True),
    Sample(solve_positive, (positive_definite(normal(3, 3)), normal(3, 2)), symmetric=True),
    Sample(solve_positive, (positive_definite(normal(2, 3, 3)), normal(3, 1)), symmetric=True),
    Sample(solve_positive, (positive_definite(complex_normal(3, 3)), complex_normal(3, 2)), symmetric=True),
    Sample(np.linalg.eigh, (hermitian(normal(3, 3)),), symmetric=True, gauge=gauge_eig),
    Sample(np.linalg.eigh, (hermitian(normal(2, 3, 3)),), {"UPLO": "U"}, symmetric=True, gauge=gauge_eig),
    Sample(np.linalg.eigh, (hermitian(complex_normal(3, 3)),), symmetric=True, gauge=gauge_eig),
    Sample(np.linalg.eigvalsh, (hermitian(normal(3, 3)),), symmetric=True),
    Sample(np.linalg.eigvalsh, (hermitian(complex_normal(2, 3, 3)),), symmetric=True),
    Sample(eigen, (normal(3, 3),), gauge=gauge_eig),
    Sample(eigen, (normal(2, 3, 3, seed=3),), gauge=gauge_eig),
    Sample(eigen, (complex_normal(3, 3),), gauge=gauge_eig),
    Sample(eigenvalues, (normal(3, 3),)),
    Sample(eigenvalues, (complex_normal(2, 3, 3),)),
    *(
        Sample(np.linalg.svd, (x,), {"full_matrices": full}, gauge=gauge_svd)
        for x in (
            normal(3, 3),
            normal(4, 2),
            normal(2, 2, 4),
            complex_normal(3, 3),
            complex_normal(4, 2),
            complex_normal(2, 3),
        )
        for full in (False, True)
    ),
    Sample(np.linalg.svdvals, (normal(3, 2),)),
    Sample(np.linalg.svdvals, (complex_normal(2, 2, 3),)),
    Sample(np.linalg.qr, (normal(3, 3),)),
    Sample(np.linalg.qr, (normal(4, 2),)),
    Sample(np.linalg.qr, (normal(2, 2, 4),), {"mode": "complete"}),
    Sample(np.linalg.qr, (complex_normal(3, 3),)),
    Sample(np.linalg.qr, (complex_normal(4, 2),)),
    Sample(np.linalg.qr, (complex_normal(2, 3),)),
    # SciPy's functions convert what they are given to ndarray
    Sample(lu_decomposition, (regular(3, 3),), duck=False),
    Sample(lu_decomposition, (normal(4, 2),), duck=False),
    Sample(lu_decomposition, (normal(2, 2, 4),), duck=False),
    Sample(lu_decomposition, (complex_normal(3, 3),), duck=False),
    Sample(lu_decomposition, (complex_normal(4, 3),), duck=False),
    Sample(lu_decomposition, (complex_normal(3, 4),), duck=False),
    Sample(matrix_exponential, (normal(3, 3),), duck=False),
    Sample(matrix_exponential, (normal(2, 2, 2),), duck=False),
    Sample(matrix_exponential, (complex_normal(3, 3),), duck=False),
]
