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
        if group["momentum"] or group["weight_decay"] or group["maximize"]:
            for tensor in tensors:
                x = tensor.array
                x -= step * self._direction(group, tensor)
            return
        for tensor in tensors:
            x = tensor.array
            x -= tensor.grad.array * step  # type: ignore[union-attr]

    def _direction(self, group: dict[str, Any], tensor: Tensor) -> Any:
        """The gradient, turned round to climb, with decay and momentum."""
        assert tensor.grad is not None
        gradient = tensor.grad.array
        if group["maximize"]:
            gradient = -gradient
        if group["weight_decay"]:
            gradient = gradient + tensor.array * group["weight_decay"]
        momentum = group["momentum"]
        if not momentum:
            return gradient
        state = self.state[tensor]
        buffer = state.get("momentum_buffer")
        if buffer is None:
            buffer = state["momentum_buffer"] = make_tensor(np.array(gradient), None)
        else:
            buffer.array *= momentum
            buffer.array += gradient * (1 - group["dampening"]) if group["dampening"] else gradient
        return gradient + buffer.array * momentum if group["nesterov"] else buffer.array
