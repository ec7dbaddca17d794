"""Steps of a size for each number: RMSprop, Adagrad, Adadelta, Rprop."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.tensor import Tensor, make_tensor
from ..core.tracing import number
from .kernels import Kernels, in_pieces
from .optimizer import (
    Optimizer,
    arguments,
    check_learning_rate,
    check_settings,
    count_tensor,
    next_count,
    zeros_for,
)

__all__ = ["Adadelta", "Adagrad", "RMSprop", "Rprop"]


class RMSprop(Optimizer):
    """Divides the gradient by the root of a running mean of its square (Hinton's lecture notes, 2012).

    Args:
        params: the parameters; see `Optimizer`.
        lr: about the length of a step in each number.
        alpha: how much of the running mean is kept.
        eps: added to the root, against division by zero.
        weight_decay: adds this much of the parameter to its gradient.
        momentum: how much of the last step's direction is kept.
        centered: divide by the standard deviation of the gradient instead (Graves 2013).
        foreach: accepted; there is one way to run a step.
        maximize: go up instead of down.
        capturable, differentiable: must be False.

    Raises:
        ValueError: a negative setting.
    """

    state_like_parameter = ("square_avg", "momentum_buffer", "grad_avg")

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_learning_rate(lr)
        check_settings(epsilon=eps, momentum=momentum, weight_decay=weight_decay, alpha=alpha)
        super().__init__(params, arguments(locals()))

    def new_state(self, group: dict[str, Any], tensor: Tensor) -> dict[str, Any]:
        """The count of steps, the running mean square, and what momentum and `centered` need."""
        state = {"step": count_tensor(), "square_avg": zeros_for(tensor)}
        if group["momentum"] > 0:
            state["momentum_buffer"] = zeros_for(tensor)
        if group["centered"]:
            state["grad_avg"] = zeros_for(tensor)
        return state

    def update(self, group: dict[str, Any], tensors: list[Tensor]) -> None:
        """x -= lr * gradient / (sqrt(mean square) + eps)."""
        momentum, centered = group["momentum"], group["centered"]
        for tensor in tensors:
            state = self.state_of(group, tensor)
            next_count(state)
            names = ("momentum_buffer",) * (momentum > 0) + ("grad_avg",) * bool(centered)
            in_pieces(
                _rmsprop,
                tensor.array,
                tensor._grad.array,  # type: ignore[union-attr]
                (state["square_avg"].array, *(state[name].array for name in names)),
                (group["alpha"], group["eps"], -number(group["lr"]), momentum, centered),
                group["maximize"],
                group["weight_decay"],
            )


def _rmsprop(k: Kernels, x: Any, g: Any, square: Any, *rest: Any) -> None:
    """`rest`: the momentum buffer and the running mean of the gradient, where there are such, and the settings."""
    *kept, alpha, eps, step, momentum, centered = rest
    work = g * g
    k.scal(alpha, square)
    k.axpy(work, square, None, 1 - alpha)
    if centered:
        mean = kept[-1]
        k.scal(alpha, mean)
        k.axpy(g, mean, None, 1 - alpha)
        np.subtract(square, np.multiply(mean, mean, out=work), out=work)
        np.sqrt(work, out=work)
    else:
        np.sqrt(square, out=work)
    work += eps
    np.divide(g, work, out=work)
    if momentum > 0:
        k.scal(momentum, kept[0])
        kept[0] += work
        work = kept[0]
    k.axpy(work, x, None, step)


class Adagrad(Optimizer):
    """Divides the gradient by the root of the sum of all its squares (Duchi, Hazan, Singer 2011).

    Args:
        params: the parameters; see `Optimizer`.
        lr: the length of the first step in each number.
        lr_decay: how fast the learning rate shrinks.
        weight_decay: adds this much of the parameter to its gradient.
        initial_accumulator_value: what the sums start with.
        eps: added to the root, against division by zero.
        foreach, fused: accepted; there is one way to run a step.
        maximize: go up instead of down.
        differentiable: must be False.

    Raises:
        ValueError: a negative setting.
    """

    state_like_parameter = ("sum",)

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_learning_rate(lr)
        check_settings(
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            epsilon=eps,
        )
        super().__init__(params, arguments(locals()))
        for group in self.param_groups:
            for tensor in group["params"]:
                self.state_of(group, tensor)

    def new_state(self, group: dict[str, Any], tensor: Tensor) -> dict[str, Any]:
        """The count of steps, and the sum of the gradient's squares."""
        value = self.defaults["initial_accumulator_value"]
        start = complex(value, value) if tensor.array.dtype.kind == "c" else value
        return {"step": count_tensor(), "sum": make_tensor(np.full_like(tensor.array, start), None)}

    def share_memory(self) -> None:
        """Nothing: worker processes that are forked see the same memory until one writes."""

    def update(self, group: dict[str, Any], tensors: list[Tensor]) -> None:
        """x -= lr * gradient / (sqrt(sum) + eps)."""
        for tensor in tensors:
            state = self.state_of(group, tensor)
            count = next_count(state)
            step = -number(group["lr"]) / (1 + (count - 1) * group["lr_decay"])
            gradient = tensor._grad.array  # type: ignore[union-attr]
            settings = (step, group["eps"])
            keep = (state["sum"].array,)
            in_pieces(_adagrad, tensor.array, gradient, keep, settings, group["maximize"], group["weight_decay"])


def _adagrad(k: Kernels, x: Any, g: Any, total: Any, step: float, eps: float) -> None:
    work = g * g
    total += work
    np.sqrt(total, out=work)
    work += eps
    k.axpy(np.divide(g, work, out=work), x, None, step)


class Adadelta(Optimizer):
    """Steps in units of the steps so far, so that no learning rate is needed (Zeiler 2012).

    Args:
        params: the parameters; see `Optimizer`.
        lr: what the steps are multiplied by.
        rho: how much of the running means is kept.
        eps: added to both means; sets the first steps.
        weight_decay: adds this much of the parameter to its gradient.
        foreach: accepted; there is one way to run a step.
        maximize: go up instead of down.
        capturable, differentiable: must be False.

    Raises:
        ValueError: a negative setting, or rho outside [0, 1].
    """

    state_like_parameter = ("square_avg", "acc_delta")

    def __init__(
        self,
        params: Any,
        lr: Any = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_learning_rate(lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        check_settings(epsilon=eps, weight_decay=weight_decay)
        super().__init__(params, arguments(locals()))

    def new_state(self, group: dict[str, Any], tensor: Tensor) -> dict[str, Any]:
        """The count of steps, and the mean squares of gradients and steps."""
        return {"step": count_tensor(), "square_avg": zeros_for(tensor), "acc_delta": zeros_for(tensor)}

    def update(self, group: dict[str, Any], tensors: list[Tensor]) -> None:
        """x -= lr * gradient * sqrt(mean square step + eps) / sqrt(mean square gradient + eps)."""
        for tensor in tensors:
            state = self.state_of(group, tensor)
            next_count(state)
            in_pieces(
                _adadelta,
                tensor.array,
                tensor._grad.array,  # type: ignore[union-attr]
                (state["square_avg"].array, state["acc_delta"].array),
                (group["rho"], group["eps"], -number(group["lr"])),
                group["maximize"],
                group["weight_decay"],
            )


def _adadelta(k: Kernels, x: Any, g: Any, square: Any, steps: Any, rho: float, eps: float, step: float) -> None:
    work = g * g
    k.scal(rho, square)
    k.axpy(work, square, None, 1 - rho)
    delta = steps + eps
    np.divide(delta, np.add(square, eps, out=work), out=delta)
    np.sqrt(delta, out=delta)
    delta *= g
    k.axpy(delta, x, None, step)
    k.scal(rho, steps)
    k.axpy(np.multiply(delta, delta, out=work), steps, None, 1 - rho)


class Rprop(Optimizer):
    """Uses the signs of gradients alone: steps grow while a sign stays, and shrink when it changes (Riedmiller 1993).

    Args:
        params: the parameters; see `Optimizer`.
        lr: the length of the first step in each number.
        etas: what a step is multiplied by when the sign changes, and when it stays.
        step_sizes: the shortest and the longest step.
        foreach: accepted; there is one way to run a step.
        maximize: go up instead of down.
        capturable, differentiable: must be False.

    Raises:
        ValueError: a negative learning rate; not 0 < etas[0] < 1 < etas[1].
    """

    state_like_parameter = ("prev", "step_size")

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_learning_rate(lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        super().__init__(params, arguments(locals()))

    def new_state(self, group: dict[str, Any], tensor: Tensor) -> dict[str, Any]:
        """The count of steps, the gradient before, and the size of each number's step."""
        lr = float(group["lr"])
        start = complex(lr, lr) if tensor.array.dtype.kind == "c" else lr
        sizes = make_tensor(np.full_like(tensor.array, start), None)
        return {"step": count_tensor(), "prev": zeros_for(tensor), "step_size": sizes}

    def update(self, group: dict[str, Any], tensors: list[Tensor]) -> None:
        """x -= sign(gradient) * step size, and no step where the sign has just changed."""
        for tensor in tensors:
            state = self.state_of(group, tensor)
            next_count(state)
            in_pieces(
                _rprop,
                tensor.array,
                tensor._grad.array,  # type: ignore[union-attr]
                (state["prev"].array, state["step_size"].array),
                (*group["etas"], *group["step_sizes"]),
                group["maximize"],
            )


def _rprop(
    k: Kernels, x: Any, g: Any, before: Any, size: Any, shrink: float, grow: float, shortest: float, longest: float
) -> None:
    agreement = g * before
    turned = agreement < 0
    size *= np.where(agreement > 0, grow, np.where(turned, shrink, 1.0)).astype(size.dtype, copy=False)
    np.clip(size, shortest, longest, out=size)
    np.copyto(before, np.where(turned, 0, g))
    x -= np.sign(before) * size
