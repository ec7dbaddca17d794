"""Weight normalisation as a hook: a weight as its length times its direction (Salimans, Kingma 2016)."""

from __future__ import annotations

from typing import Any, TypeVar

from ...core.tensor import Tensor
from ...ops.elementwise import sqrt
from ...ops.reduction import sum as _sum
from ..module import Module
from ..parameter import Parameter

__all__ = ["WeightNorm", "norm_except_dim", "remove_weight_norm", "weight_norm"]

M = TypeVar("M", bound=Module)


def norm_except_dim(v: Tensor, dim: int | None) -> Tensor:
    """The 2-norm over all axes but one, which are kept with size 1; over all of them, (), where `dim` is None or -1."""
    if dim is None or dim == -1:
        return sqrt(_sum(v * v))  # type: ignore[no-any-return]
    dim %= v.ndim
    axes = tuple(axis for axis in range(v.ndim) if axis != dim)
    return sqrt(_sum(v * v, axes, keepdim=True)) if axes else abs(v)


class WeightNorm:
    """The hook that computes a weight from its length `name_g` and direction `name_v` before each forward pass."""

    def __init__(self, name: str, dim: int | None) -> None:
        self.name = name
        self.dim = -1 if dim is None else dim

    @property
    def derives(self) -> str:
        """The attribute that the hook sets before each forward pass, as the compiler has to know."""
        return self.name

    def compute_weight(self, module: Module) -> Tensor:
        """The weight."""
        g, v = getattr(module, self.name + "_g"), getattr(module, self.name + "_v")
        return v * (g / norm_except_dim(v, self.dim))  # type: ignore[no-any-return]

    @staticmethod
    def apply(module: Module, name: str, dim: int | None) -> WeightNorm:
        """Replace a parameter by its length and direction."""
        if hook_of(module, WeightNorm, name) is not None:
            raise RuntimeError(f"Cannot register two weight_norm hooks on the same parameter {name}")
        hook = WeightNorm(name, dim)
        weight = getattr(module, name)
        del module._parameters[name]
        module.register_parameter(name + "_g", Parameter(norm_except_dim(weight, hook.dim).detach()))
        module.register_parameter(name + "_v", Parameter(weight.detach()))
        setattr(module, name, hook.compute_weight(module))
        module.register_forward_pre_hook(hook)
        return hook

    def remove(self, module: Module) -> None:
        """Put the parameter back."""
        weight = self.compute_weight(module)
        delattr(module, self.name)
        del module._parameters[self.name + "_g"], module._parameters[self.name + "_v"]
        setattr(module, self.name, Parameter(weight.detach()))

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module))


def hook_of(module: Module, kind: type, name: str) -> Any:
    """(number, hook) of a forward pre-hook of a kind for a parameter; None if there is none."""
    for number, hook in module._forward_pre_hooks.items():
        if isinstance(hook, kind) and getattr(hook, "name", None) == name:
            return number, hook
    return None


def weight_norm(module: M, name: str = "weight", dim: int | None = 0) -> M:
    """Replace a module's parameter by its length and its direction, which are trained apart.

    Args:
        module: the module.
        name: of the parameter; `name_g` and `name_v` take its place.
        dim: the axis along which each entry has a length of its own; None for one length of all.

    Raises:
        RuntimeError: it has been done already.

    >>> import chainrule as cr
    >>> layer = weight_norm(cr.nn.Linear(3, 5))
    >>> layer.weight_g.shape, layer.weight_v.shape, layer(cr.ones(3)).shape
    ((5, 1), (5, 3), (5,))
    """
    WeightNorm.apply(module, name, dim)
    return module


def remove_weight_norm(module: M, name: str = "weight") -> M:
    """Undo `weight_norm`.

    Raises:
        ValueError: there is none.
    """
    found = hook_of(module, WeightNorm, name)
    if found is None:
        raise ValueError(f"weight_norm of '{name}' not found in {module}")
    found[1].remove(module)
    del module._forward_pre_hooks[found[0]]
    return module
