"""Adam and AdamW."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.tensor import Tensor, make_tensor
from .optimizer import Optimizer, as_real, check_betas, check_settings, zeros_for

__all__ = ["Adam", "AdamW"]


class Adam(Optimizer):
    """Adam: steps in units of a running estimate of the gradient's size (Kingma, Ba 2015).

    Args:
        params: the parameters; see `Optimizer`.
        lr: about the length of a step in each number.
        betas: how much of the running mean of the gradient and of its square is kept.
        eps: added to the size of the gradient, against division by zero.
        weight_decay: adds this much of the parameter to its gradient.
        amsgrad: use the largest size so far (Reddi et al. 2018).
        maximize: go up instead of down.
        decoupled_weight_decay: shrink the parameter itself instead, as AdamW.

    Raises:
        ValueError: a negative setting, or a beta outside [0, 1).
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        check_settings(**{"learning rate": lr, "epsilon": eps, "weight_decay": weight_decay})
        check_betas(betas)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

    def update(self, group: dict[str, Any], tensors: list[Tensor]) -> None:
        """x -= lr * mean / (sqrt(mean square) + eps), both means corrected for their start at zero."""
        beta1, beta2 = (float(beta) for beta in group["betas"])
        for tensor in tensors:
            state = self.state[tensor]
            if not state:
                state["step"] = make_tensor(np.zeros((), np.float32), None)
                state["exp_avg"] = zeros_for(tensor)
                state["exp_avg_sq"] = zeros_for(tensor)
                if group["amsgrad"]:
                    state["max_exp_avg_sq"] = zeros_for(tensor)
            state["step"].array += 1
            count = float(state["step"].array)
            assert tensor.grad is not None
            names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq")
            arrays = (tensor.array, tensor.grad.array, *(state[name].array for name in names))
            _update(
                *(as_real(array) for array in arrays),
                amsgrad=group["amsgrad"],
                sign=-1.0 if group["maximize"] else 1.0,
                beta1=beta1,
                beta2=beta2,
                step=float(group["lr"]) / (1 - beta1**count),
                root=math.sqrt(1 - beta2**count),
                eps=float(group["eps"]),
                decay=0.0 if group["decoupled_weight_decay"] else float(group["weight_decay"]),
                shrink=1 - float(group["lr"]) * group["weight_decay"] if group["decoupled_weight_decay"] else 1.0,
            )


def _update(
    parameter: Any,
    gradient: Any,
    mean: Any,
    square: Any,
    largest: Any,
    *,
    amsgrad: bool,
    sign: float,
    beta1: float,
    beta2: float,
    step: float,
    root: float,
    eps: float,
    decay: float,
    shrink: float,
) -> None:
    """One step of Adam on arrays, in place. `largest` counts only with amsgrad."""
    if sign != 1.0:
        gradient = gradient * sign
    if shrink != 1.0:
        parameter *= shrink
    if decay:
        gradient = gradient + parameter * decay
    work = np.subtract(gradient, mean, out=np.empty_like(mean))
    work *= 1 - beta1
    mean += work
    np.multiply(gradient, gradient, out=work)
    work *= 1 - beta2
    square *= beta2
    square += work
    if amsgrad:
        np.maximum(largest, square, out=largest)
    np.sqrt(largest if amsgrad else square, out=work)
    work /= root
    work += eps
    np.divide(mean, work, out=work)
    work *= step
    parameter -= work


class AdamW(Adam):
    """Adam with weight decay apart from the gradient (Loshchilov, Hutter 2019)."""

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )
