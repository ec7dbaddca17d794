"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.tensor import Tensor, make_tensor
from .optimizer import Optimizer, check_settings

__all__ = ["SGD"]


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

    Raises:
        ValueError: a negative setting, or nesterov without momentum or with dampening.

    >>> import chainrule as cr
    >>> x = cr.tensor([1.0], requires_grad=True)
    >>> optimizer = SGD([x], lr=0.25)
    >>> (x * x).backward(); optimizer.step(); x.item()
    0.5
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_settings(**{"learning rate": lr, "momentum": momentum, "weight_decay": weight_decay})
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)

    def update(self, group: dict[str, Any], tensors: list[Tensor]) -> None:
        """x -= lr * direction."""
        step = float(group["lr"])
        if group["maximize"]:
            step = -step
        if group["momentum"] or group["weight_decay"]:
            for tensor in tensors:
                x = tensor.array
                x -= step * self._direction(group, tensor)
            return
        for tensor in tensors:
            x = tensor.array
            x -= tensor.grad.array * step  # type: ignore[union-attr]

    def _direction(self, group: dict[str, Any], tensor: Tensor) -> Any:
        """The gradient with decay and momentum; climbing is left to the sign of the step."""
        assert tensor.grad is not None
        gradient = tensor.grad.array
        decay, momentum = group["weight_decay"], group["momentum"]
        if decay:
            gradient = gradient + tensor.array * (-decay if group["maximize"] else decay)
        if not momentum:
            return gradient
        sign = -1 if group["maximize"] else 1  # the buffer is that of the ascended gradient, as PyTorch keeps it
        state = self.state[tensor]
        buffer = state.get("momentum_buffer")
        if buffer is None:
            buffer = state["momentum_buffer"] = make_tensor(np.array(gradient * sign), None)
        else:
            buffer.array *= momentum
            buffer.array += gradient * (sign * (1 - group["dampening"]))
        if group["nesterov"]:
            return gradient + buffer.array * (sign * momentum)
        return buffer.array * sign if sign < 0 else buffer.array
