"""Stochastic gradient descent, plain and averaged."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..blas import add_multiple
from ..core.tensor import Tensor
from ..core.tracing import calculated, number
from .kernels import PIECE, Kernels, blas_kernels, in_pieces
from .optimizer import (
    Optimizer,
    arguments,
    check_learning_rate,
    check_settings,
    count_tensor,
    next_count,
    zeros_for,
)

__all__ = ["ASGD", "SGD"]


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum if wanted (Sutskever et al. 2013).

    Args:
        params: the parameters; see `Optimizer`.
        lr: the step for a gradient of one.
        momentum: how much of the last step's direction is kept.
        dampening: how much less of the gradient joins the momentum.
        weight_decay: adds this much of the parameter to its gradient.
        nesterov: look one step ahead along the momentum.
        maximize: go up instead of down.
        foreach, fused: accepted; there is one way to run a step.
        differentiable: must be False.

    Raises:
        ValueError: a negative setting, or nesterov without momentum or with dampening.

    >>> import chainrule as cr
    >>> x = cr.tensor([1.0], requires_grad=True)
    >>> optimizer = SGD([x], lr=0.25)
    >>> (x * x).backward(); optimizer.step(); x.item()
    0.5
    """

    state_like_parameter = ("momentum_buffer",)

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: Any = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_learning_rate(lr)
        check_settings(momentum=momentum, weight_decay=weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        super().__init__(params, arguments(locals()))

    def update(self, group: dict[str, Any], tensors: list[Tensor]) -> None:
        """x -= lr * direction."""
        step = -number(group["lr"])
        momentum = group["momentum"]
        if momentum or group["weight_decay"] or group["maximize"]:
            for tensor in tensors:
                self._update_with(group, tensor, momentum, step)
            return
        dtype, kernels = None, None
        for tensor in tensors:
            x = tensor.array
            gradient = tensor._grad.array  # type: ignore[union-attr]
            if x.dtype is not dtype:
                dtype = x.dtype
                kernels = blas_kernels(dtype.char) if dtype.kind == "f" else None
            plain = type(x) is np.ndarray and x.flags.carray
            if kernels is not None and plain and x.shape == gradient.shape and x.size:
                if x.size <= PIECE:
                    kernels.axpy(gradient.ravel(), x.ravel(), None, step)
                    continue
                if add_multiple(gradient, x, step):
                    continue
            in_pieces(_descend, x, gradient, (), (step,))

    def new_state(self, group: dict[str, Any], tensor: Tensor) -> dict[str, Any]:
        """With momentum a buffer of zeros, which the first step fills with the whole gradient."""
        return {"momentum_buffer": zeros_for(tensor)} if group["momentum"] else {}

    def starts_alike(self, group: dict[str, Any]) -> bool:
        """Not with dampening, which the first step leaves out."""
        return not group["dampening"]

    def _update_with(self, group: dict[str, Any], tensor: Tensor, momentum: float, step: float) -> None:
        keep: tuple[Any, ...] = ()
        first = False
        if momentum:
            state = self.state[tensor]
            first = state.get("momentum_buffer") is None
            if first:
                state.update(self.new_state(group, tensor))
            keep = (state["momentum_buffer"].array,)
        in_pieces(
            _descend,
            tensor.array,
            tensor._grad.array,  # type: ignore[union-attr]
            keep,
            (step, momentum, 1.0 - group["dampening"], group["nesterov"], first) if momentum else (step,),
            group["maximize"],
            number(group["weight_decay"]),
        )


def _descend(k: Kernels, x: Any, g: Any, *rest: Any) -> None:
    """One step of SGD; with momentum, `rest` is the buffer and the settings, else the step alone."""
    if len(rest) == 1:
        k.axpy(g, x, None, rest[0])
        return
    buffer, step, momentum, share, nesterov, first = rest
    if first:
        buffer[...] = g
    else:
        k.scal(momentum, buffer)
        k.axpy(g, buffer, None, share)
    if nesterov:
        k.axpy(g, x, None, step)
        k.axpy(buffer, x, None, step * momentum)
    else:
        k.axpy(buffer, x, None, step)


class ASGD(Optimizer):
    """Averaged stochastic gradient descent: the state's "ax" is the average of the parameters (Polyak, Juditsky 1992).

    Args:
        params: the parameters; see `Optimizer`.
        lr: the step for a gradient of one, at the start.
        lambd: how fast the parameter and the step shrink.
        alpha: the power with which the step shrinks.
        t0: the step at which averaging begins.
        weight_decay: adds this much of the parameter to its gradient.
        maximize: go up instead of down.
        foreach: accepted; there is one way to run a step.
        differentiable, capturable: must be False.

    Raises:
        ValueError: a negative learning rate or weight decay.
    """

    state_like_parameter = ("ax",)

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_learning_rate(lr)
        check_settings(weight_decay=weight_decay)
        super().__init__(params, arguments(locals()))

    def new_state(self, group: dict[str, Any], tensor: Tensor) -> dict[str, Any]:
        """The count of steps, the present step's length, the average's share, the average."""
        return {
            "step": count_tensor(),
            "eta": count_tensor(float(group["lr"])),
            "mu": count_tensor(1.0),
            "ax": zeros_for(tensor),
        }

    def update(self, group: dict[str, Any], tensors: list[Tensor]) -> None:
        """x -= eta * (gradient + lambd * x), and its average; eta shrinks with the steps."""
        lr, lambd = number(group["lr"]), group["lambd"]
        for tensor in tensors:
            state = self.state_of(group, tensor)
            count = next_count(state)
            settings = (number(state["eta"]), number(state["mu"]), lambd)
            gradient = tensor._grad.array  # type: ignore[union-attr]
            in_pieces(
                _average,
                tensor.array,
                gradient,
                (state["ax"].array,),
                settings,
                group["maximize"],
                group["weight_decay"],
            )
            state["eta"].array.fill(lr / (1 + lambd * lr * count) ** group["alpha"])
            state["mu"].array.fill(1 / calculated(max, 1, count - group["t0"]))


def _average(k: Kernels, x: Any, g: Any, average: Any, eta: float, mu: float, lambd: float) -> None:
    k.scal(1 - lambd * eta, x)
    k.axpy(g, x, None, -eta)
    if mu == 1:
        average[...] = x
    else:
        k.scal(1 - mu, average)
        k.axpy(x, average, None, mu)
