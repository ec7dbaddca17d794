"""Ready-made parametrizations: orthogonal matrices, spectral and weight normalisation."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from ...core.grad_mode import no_grad
from ...core.tensor import Tensor, make_tensor
from ...ops.contraction import dot, mv
from ...ops.linalg import matrix_exp, solve
from ...ops.shape import cat
from ...random import numbers_of
from ..module import Module
from .parametrize import register_parametrization
from .spectral_norm import as_matrix, power_iteration, random_unit
from .weight_norm import norm_except_dim

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]

M = TypeVar("M", bound=Module)


def _plain(array: Any) -> Tensor:
    return make_tensor(array, None)


def _eye(rows: int, columns: int, like: Tensor) -> Tensor:
    return _plain(np.eye(rows, columns, dtype=like.array.dtype))


def _orthogonal_near(matrix: Any) -> Any:
    """The orthogonal factor of a matrix, with the signs that make the other factor's diagonal positive."""
    q, r = np.linalg.qr(matrix)
    diagonal = np.diagonal(r, axis1=-2, axis2=-1)
    return q * np.where(diagonal < 0, -1, 1)[..., None, :].astype(q.dtype)


class _Orthogonal(Module):
    """Turns any matrix (..., n, k) into one with orthonormal columns, or rows where there are fewer."""

    def __init__(self, weight: Tensor, orthogonal_map: str, use_trivialization: bool) -> None:
        super().__init__()
        if orthogonal_map == "householder" and weight.array.dtype.kind == "c":
            raise ValueError("The householder parametrization does not support complex tensors.")
        self.shape = weight.shape
        self.orthogonal_map = orthogonal_map
        self.trivialized = use_trivialization
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, x: Tensor) -> Tensor:
        """The orthogonal matrix."""
        turned = x.shape[-2] < x.shape[-1]
        if turned:
            x = x.transpose(-2, -1)
        q = self._reflections(x) if self.orthogonal_map == "householder" else self._rotation(x)
        if self.trivialized:
            q = self.base @ q
        return q.transpose(-2, -1) if turned else q

    def _rotation(self, x: Tensor) -> Tensor:
        """The exponential, or the Cayley transform, of the skew matrix with x below the diagonal."""
        n, k = x.shape[-2:]
        x = x.tril()
        if n != k:
            x = cat([x, _plain(np.zeros((*x.shape[:-1], n - k), x.array.dtype))], -1)
        adjoint = x.transpose(-2, -1)
        skew = x - (adjoint.conj() if x.array.dtype.kind == "c" else adjoint)
        if self.orthogonal_map == "matrix_exp":
            q = matrix_exp(skew)
        else:
            identity = _eye(n, n, x)
            q = solve(identity - skew * 0.5, identity + skew * 0.5)
        return q if n == k else q[..., :k]

    def _reflections(self, x: Tensor) -> Tensor:
        """The product of the Householder reflections along the columns of x below the diagonal."""
        n, k = x.shape[-2:]
        below = x.tril(-1)
        lengths = (below * below).sum(-2)
        q = _eye(n, k, x)
        for i in range(k - 1, -1, -1):
            v = (below[..., i] + _eye(n, k, x)[:, i]).unsqueeze(-1)
            factor = (2 / (lengths[..., i] + 1)).unsqueeze(-1).unsqueeze(-1)
            q = q - v @ (v.transpose(-2, -1) @ q) * factor
        signs = np.diagonal(x.array, axis1=-2, axis2=-1).astype(np.int32).astype(x.array.dtype)
        return q * _plain(signs[..., None, :])

    def right_inverse(self, q: Tensor) -> Tensor:
        """A matrix from which `forward` makes `q`, or, with trivialization, the orthogonal matrix next to it."""
        if q.shape != self.shape:
            raise ValueError(
                f"Expected a matrix or batch of matrices of shape {self.shape}. Got a tensor of shape {q.shape}."
            )
        array = q.array
        turned = array.shape[-2] < array.shape[-1]
        if turned:
            array = np.swapaxes(array, -2, -1)
        n, k = array.shape[-2:]
        if not self.trivialized:
            if self.orthogonal_map != "householder":
                raise NotImplementedError(
                    "It is not possible to assign to the matrix exponential or the Cayley parametrizations when "
                    "use_trivialization=False."
                )
            raw, scales = np.linalg.qr(array, mode="raw")
            a = np.array(np.swapaxes(raw, -2, -1))
            i = np.arange(k)
            a[..., i, i] = np.where(a[..., i, i] < 0, -1, 1) * np.where(scales == 0, -1, 1)
            return _plain(np.swapaxes(a, -2, -1) if turned else a)
        gram = np.swapaxes(array.conj(), -2, -1) @ array
        if n != k:
            more = numbers_of(None).normal(size=(*array.shape[:-1], n - k)).astype(array.dtype)
            base = _orthogonal_near(np.concatenate([array, more], axis=-1))
        elif np.allclose(gram, np.eye(k), atol=10 * n * np.finfo(array.dtype).eps):
            base = np.array(array)
        else:
            base = _orthogonal_near(array)
        self.base = _plain(np.ascontiguousarray(base))
        return _plain(np.broadcast_to(-np.eye(*q.shape[-2:], dtype=array.dtype), q.shape).copy())


def orthogonal(
    module: M, name: str = "weight", orthogonal_map: str | None = None, *, use_trivialization: bool = True
) -> M:
    """Keep a module's matrix (or batch of matrices) orthogonal: columns, or rows if there are fewer, orthonormal.

    Args:
        module: the module.
        name: of the matrix.
        orthogonal_map: "matrix_exp", "cayley" or "householder"; the first one for square and complex matrices, the last
            one for others, if left out.
        use_trivialization: work relative to a matrix that is kept in a buffer (Lezcano-Casado 2019).

    Raises:
        ValueError: the tensor is no matrix, or there is no such map.

    >>> import chainrule as cr
    >>> layer = orthogonal(cr.nn.Linear(4, 3))
    >>> bool(((layer.weight @ layer.weight.T - cr.eye(3)).abs() < 1e-5).all())
    True
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if weight.ndim < 2:
        raise ValueError(f"Expected a matrix or batch of matrices. Got a tensor of {weight.ndim} dimensions.")
    if orthogonal_map is None:
        square = weight.shape[-2] == weight.shape[-1] or weight.array.dtype.kind == "c"
        orthogonal_map = "matrix_exp" if square else "householder"
    if orthogonal_map not in ("matrix_exp", "cayley", "householder"):
        raise ValueError(
            f'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". Got: {orthogonal_map}'
        )
    step = _Orthogonal(weight, orthogonal_map, use_trivialization)
    return register_parametrization(module, name, step, unsafe=True)


class _WeightNorm(Module):
    """Length and direction as one tensor."""

    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        """The direction, with that length."""
        return weight_v * (weight_g / norm_except_dim(weight_v, self.dim))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The length, and the tensor itself as direction."""
        return norm_except_dim(weight, self.dim), weight


def weight_norm(module: M, name: str = "weight", dim: int | None = 0) -> M:
    """Train a tensor's length and direction apart (Salimans, Kingma 2016): `original0` and `original1`.

    Args:
        module: the module.
        name: of the tensor.
        dim: the axis along which each entry has a length of its own; None for one length of all.
    """
    return register_parametrization(module, name, _WeightNorm(dim), unsafe=True)


class _SpectralNorm(Module):
    """A tensor divided by its largest singular value."""

    def __init__(self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        super().__init__()
        if not -weight.ndim <= dim < weight.ndim:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [-{weight.ndim}, {weight.ndim - 1}] but got {dim})"
            )
        if n_power_iterations <= 0:
            raise ValueError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.dim = dim % weight.ndim
        self.eps = eps
        if weight.ndim > 1:
            self.n_power_iterations = n_power_iterations
            matrix = as_matrix(weight, self.dim).array
            for which, size in zip(("_u", "_v"), matrix.shape, strict=True):
                self.register_buffer(which, _plain(random_unit(size, matrix.dtype, eps)))
            power_iteration(matrix, self._u, self._v, 15, eps)

    def forward(self, weight: Tensor) -> Tensor:
        """The tensor, divided."""
        if weight.ndim == 1:
            length = (weight * weight).sum().sqrt()
            return weight / (length if float(length) > self.eps else self.eps)
        matrix = as_matrix(weight, self.dim)
        if self.training:
            power_iteration(matrix.array, self._u, self._v, self.n_power_iterations, self.eps)
        return weight / dot(self._u.clone(), mv(matrix, self._v.clone()))

    def right_inverse(self, value: Tensor) -> Tensor:
        """The tensor itself."""
        return value


def spectral_norm(
    module: M, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> M:
    """Divide a tensor by its largest singular value, which power iteration estimates in training (Miyato et al. 2018).

    Args:
        module: the module.
        name: of the tensor.
        n_power_iterations: steps of the iteration each time it is read in training.
        eps: the smallest length that is divided by.
        dim: the axis of the outputs; 1 for transposed convolutions, else 0, if left out.

    Raises:
        ValueError: there is no such tensor.
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if dim is None:
        dim = 1 if type(module).__name__.startswith("ConvTranspose") else 0
    with no_grad():
        step = _SpectralNorm(weight, n_power_iterations, dim, eps)
    return register_parametrization(module, name, step)
