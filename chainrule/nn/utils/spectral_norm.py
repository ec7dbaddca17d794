"""Spectral normalisation as a hook: a weight divided by its largest singular value (Miyato et al. 2018)."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from ...core.tensor import Tensor, make_tensor
from ...ops.contraction import dot, mv
from ...random import numbers_of
from ..module import Module
from ..parameter import Parameter
from .weight_norm import hook_of

__all__ = ["SpectralNorm", "remove_spectral_norm", "spectral_norm"]

M = TypeVar("M", bound=Module)


def as_matrix(weight: Tensor, dim: int) -> Tensor:
    """The axis `dim` as rows, all the others as columns."""
    if dim:
        weight = weight.permute(dim, *(axis for axis in range(weight.ndim) if axis != dim))
    return weight.reshape(weight.shape[0], -1)  # type: ignore[no-any-return]


def unit(x: Any, eps: float) -> Any:
    """A vector of length 1."""
    return x / np.maximum(np.linalg.norm(x), eps)


def random_unit(size: int, dtype: Any, eps: float) -> Any:
    """A random direction."""
    return unit(numbers_of(None).normal(size=size).astype(dtype), eps)


def power_iteration(matrix: Any, u: Tensor, v: Tensor, times: int, eps: float) -> None:
    """Bring u and v, in place, nearer to the first singular vectors of a matrix."""
    for _ in range(times):
        v.array[...] = unit(np.conj(matrix.T) @ u.array, eps)
        u.array[...] = unit(matrix @ v.array, eps)


class SpectralNorm:
    """The hook that divides `name_orig` by its largest singular value before each forward pass."""

    _version = 1

    def __init__(self, name: str = "weight", n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        if n_power_iterations <= 0:
            raise ValueError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.name = name
        self.dim = dim
        self.n_power_iterations = n_power_iterations
        self.eps = eps

    @property
    def derives(self) -> str:
        """The attribute that the hook sets before each forward pass, as the compiler has to know."""
        return self.name

    def compute_weight(self, module: Module, do_power_iteration: bool) -> Tensor:
        """The weight; with `do_power_iteration` the singular vectors are brought up to date first."""
        weight = getattr(module, self.name + "_orig")
        u, v = getattr(module, self.name + "_u"), getattr(module, self.name + "_v")
        matrix = as_matrix(weight, self.dim)
        if do_power_iteration:
            power_iteration(matrix.array, u, v, self.n_power_iterations, self.eps)
            u, v = u.clone(), v.clone()  # the next pass writes to them
        return weight / dot(u, mv(matrix, v))  # type: ignore[no-any-return]

    @staticmethod
    def apply(module: Module, name: str, n_power_iterations: int, dim: int, eps: float) -> SpectralNorm:
        """Replace a parameter."""
        if hook_of(module, SpectralNorm, name) is not None:
            raise RuntimeError(f"Cannot register two spectral_norm hooks on the same parameter {name}")
        hook = SpectralNorm(name, n_power_iterations, dim, eps)
        weight = module._parameters[name]
        if weight is None:
            raise ValueError(f"`SpectralNorm` cannot be applied as parameter `{name}` is None")
        matrix = as_matrix(weight, dim).array
        u, v = (make_tensor(random_unit(size, matrix.dtype, eps), None) for size in matrix.shape)
        power_iteration(matrix, u, v, 15, eps)
        del module._parameters[name]
        module.register_parameter(name + "_orig", weight)
        setattr(module, name, weight.detach())
        module.register_buffer(name + "_u", u)
        module.register_buffer(name + "_v", v)
        module.register_forward_pre_hook(hook)
        return hook

    def remove(self, module: Module) -> None:
        """Put the parameter back, divided."""
        weight = self.compute_weight(module, do_power_iteration=False).detach()
        for name in (self.name, self.name + "_u", self.name + "_v", self.name + "_orig"):
            delattr(module, name)
        module.register_parameter(self.name, Parameter(weight))

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module, do_power_iteration=module.training))


def spectral_norm(
    module: M, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> M:
    """Divide a module's parameter by its largest singular value, which power iteration estimates in training.

    Args:
        module: the module.
        name: of the parameter; `name_orig` takes its place, with buffers `name_u` and `name_v`.
        n_power_iterations: steps of the iteration in each forward pass.
        eps: the smallest length that is divided by.
        dim: the axis of the outputs; 1 for transposed convolutions, else 0, if left out.

    >>> import chainrule as cr
    >>> layer = spectral_norm(cr.nn.Linear(20, 40))
    >>> layer.weight_u.shape, layer(cr.ones(20)).shape
    ((40,), (40,))
    """
    if dim is None:
        dim = 1 if type(module).__name__.startswith("ConvTranspose") else 0
    SpectralNorm.apply(module, name, n_power_iterations, dim, eps)
    return module


def remove_spectral_norm(module: M, name: str = "weight") -> M:
    """Undo `spectral_norm`, keeping the divided weight.

    Raises:
        ValueError: there is none.
    """
    found = hook_of(module, SpectralNorm, name)
    if found is None:
        raise ValueError(f"spectral_norm of '{name}' not found in {module}")
    found[1].remove(module)
    del module._forward_pre_hooks[found[0]]
    return module
