"""Adam and its relatives: a running mean of the gradient in units of a running estimate of its size."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.tensor import Tensor
from ..core.tracing import number
from ..ops.kernels import BY_ELEMENT, Fused, compiled
from .kernels import Kernels, in_pieces
from .optimizer import (
    Optimizer,
    arguments,
    check_betas,
    check_learning_rate,
    check_settings,
    count_tensor,
    next_count,
    zeros_for,
)

__all__ = ["Adam", "AdamW", "Adamax", "NAdam", "RAdam"]


class Adam(Optimizer):
    """Adam: steps in units of a running estimate of the gradient's size (Kingma, Ba 2015).

    Args:
        params: the parameters; see `Optimizer`.
        lr: about the length of a step in each number.
        betas: how much of the running mean of the gradient and of its square is kept.
        eps: added to the size of the gradient, against division by zero.
        weight_decay: adds this much of the parameter to its gradient.
        amsgrad: use the largest size so far (Reddi et al. 2018).
        foreach, fused: accepted; there is one way to run a step.
        maximize: go up instead of down.
        capturable, differentiable: must be False.
        decoupled_weight_decay: shrink the parameter itself instead, as AdamW.

    Raises:
        ValueError: a negative setting, or a beta outside [0, 1).

    >>> import chainrule as cr
    >>> x = cr.tensor([1.0], requires_grad=True)
    >>> optimizer = Adam([x], lr=0.25)
    >>> (x * x).backward(); optimizer.step(); round(x.item(), 4)
    0.75
    """

    state_like_parameter = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[Any, Any] = (0.9, 0.999),
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
        check_learning_rate(lr, foreach=foreach, capturable=capturable)
        check_settings(epsilon=eps, weight_decay=weight_decay)
        check_betas(betas)
        if not any(all(isinstance(beta, kind) for beta in betas) for kind in (float, Tensor)):
            raise ValueError(f"betas must be either both floats or both Tensors, but got {betas}")
        super().__init__(params, arguments(locals()))

    def new_state(self, group: dict[str, Any], tensor: Tensor) -> dict[str, Any]:
        """The count of steps and the running means; with amsgrad also the largest mean square."""
        state = {"step": count_tensor(), "exp_avg": zeros_for(tensor), "exp_avg_sq": zeros_for(tensor)}
        return {**state, "max_exp_avg_sq": zeros_for(tensor)} if group["amsgrad"] else state

    def update(self, group: dict[str, Any], tensors: list[Tensor]) -> None:
        """x -= lr * mean / (sqrt(mean square) + eps), both means corrected for their start at zero."""
        beta1, beta2 = (number(beta) for beta in group["betas"])
        lr, eps, amsgrad, maximize = number(group["lr"]), group["eps"], group["amsgrad"], group["maximize"]
        decay, shrink = _decays(group)
        elements = 0 if amsgrad or maximize or decay else sum(tensor.array.size for tensor in tensors)
        kernels = compiled(elements * BY_ELEMENT, tensors[0].array) if elements else None
        for tensor in tensors:
            state = self.state_of(group, tensor)
            count = next_count(state)
            root = (1 - beta2**count) ** 0.5
            # mean / (sqrt(square) / root + eps) = root * mean / (sqrt(square) + root * eps)
            step = -lr / (1 - beta1**count) * root
            keep = (state["exp_avg"].array, state["exp_avg_sq"].array)
            if amsgrad:
                keep += (state["max_exp_avg_sq"].array,)  # type: ignore[assignment]
            gradient = tensor._grad.array  # type: ignore[union-attr]
            settings = (beta1, beta2, step, eps * root, shrink)
            if kernels is not None and _by_kernel(kernels, tensor.array, gradient, *keep, *settings):
                continue
            in_pieces(_amsgrad if amsgrad else _adam, tensor.array, gradient, keep, settings, maximize, decay)


def _by_kernel(
    kernels: Any, x: Any, g: Any, mean: Any, square: Any, beta1: float, beta2: float, *settings: float
) -> bool:
    """The step of one parameter by a compiled kernel; False, and nothing done, where the arrays are not for it."""
    kind, shape = x.dtype, x.shape
    for array in (x, g, mean, square):
        if type(array) is not np.ndarray or array.dtype is not kind or array.shape != shape or not array.flags.carray:
            return False
    if np.may_share_memory(x, g):
        return False
    kernel = kernels.fused_kernel(adam_fused, kind, ())
    if kernel is None:
        return False
    flat = g.reshape(-1), mean.reshape(-1), square.reshape(-1), x.reshape(-1)
    kernel.run(x.size, x.size, (*flat, beta1, 1 - beta1, beta2, 1 - beta2, *settings), ())
    return True


def adam(
    g: Any,
    mean: Any,
    square: Any,
    x: Any,
    keep_mean: float,
    take_mean: float,
    keep_square: float,
    take_square: float,
    step: float,
    eps: float,
    shrink: float,
) -> tuple[Any, Any, Any]:
    """The means and the parameter after a step."""
    mean = mean * keep_mean + g * take_mean
    square = square * keep_square + g * g * take_square
    return mean, square, x * shrink + mean / (np.sqrt(square) + eps) * step


adam_fused = Fused(adam, "n n n n f f f f f f f", over=(1, 2, 3))


def _decays(group: dict[str, Any]) -> tuple[float, float]:
    """How much of the parameter joins its gradient, and by what the parameter itself is multiplied."""
    decay = number(group["weight_decay"])
    return (0.0, 1 - number(group["lr"]) * decay) if group["decoupled_weight_decay"] else (decay, 1.0)


def _follow(k: Kernels, g: Any, mean: Any, square: Any, beta1: float, beta2: float) -> Any:
    """Update the running means; returns a scratch array of the same shape."""
    k.scal(beta1, mean)
    k.axpy(g, mean, None, 1 - beta1)
    work = np.multiply(g, g)
    k.scal(beta2, square)
    k.axpy(work, square, None, 1 - beta2)
    return work


def _adam(
    k: Kernels,
    x: Any,
    g: Any,
    mean: Any,
    square: Any,
    beta1: float,
    beta2: float,
    step: float,
    eps: float,
    shrink: float,
) -> None:
    work = _follow(k, g, mean, square, beta1, beta2)
    _divide(k, x, mean, np.sqrt(square, out=work), step, eps, shrink)


def _amsgrad(
    k: Kernels,
    x: Any,
    g: Any,
    mean: Any,
    square: Any,
    largest: Any,
    beta1: float,
    beta2: float,
    step: float,
    eps: float,
    shrink: float,
) -> None:
    work = _follow(k, g, mean, square, beta1, beta2)
    np.maximum(largest, square, out=largest)
    _divide(k, x, mean, np.sqrt(largest, out=work), step, eps, shrink)


def _divide(k: Kernels, x: Any, mean: Any, size: Any, step: float, eps: float, shrink: float) -> None:
    """x = shrink * x + step * mean / (size + eps); `size` is used up."""
    if shrink != 1.0:
        k.scal(shrink, x)
    size += eps
    k.axpy(np.divide(mean, size, out=size), x, None, step)


class AdamW(Adam):
    """Adam with weight decay apart from the gradient (Loshchilov, Hutter 2019)."""

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[Any, Any] = (0.9, 0.999),
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


class Adamax(Optimizer):
    """Adam with the largest gradient in place of its mean square (Kingma, Ba 2015, section 7).

    Args:
        params: the parameters; see `Optimizer`.
        lr: about the length of a step in each number.
        betas: how much of the running mean of the gradient and of its largest size is kept.
        eps: added to the size of the gradient.
        weight_decay: adds this much of the parameter to its gradient.
        foreach: accepted; there is one way to run a step.
        maximize: go up instead of down.
        differentiable, capturable: must be False.

    Raises:
        ValueError: a negative setting, or a beta outside [0, 1).
    """

    state_like_parameter = ("exp_avg", "exp_inf")

    def __init__(
        self,
        params: Any,
        lr: Any = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_learning_rate(lr)
        check_settings(epsilon=eps, weight_decay=weight_decay)
        check_betas(betas)
        super().__init__(params, arguments(locals()))

    def new_state(self, group: dict[str, Any], tensor: Tensor) -> dict[str, Any]:
        """The count of steps, the running mean, the largest size."""
        return {"step": count_tensor(), "exp_avg": zeros_for(tensor), "exp_inf": zeros_for(tensor)}

    def update(self, group: dict[str, Any], tensors: list[Tensor]) -> None:
        """x -= lr * mean / largest."""
        beta1, beta2 = group["betas"]
        for tensor in tensors:
            state = self.state_of(group, tensor)
            step = -number(group["lr"]) / (1 - beta1 ** next_count(state))
            in_pieces(
                _adamax,
                tensor.array,
                tensor._grad.array,  # type: ignore[union-attr]
                (state["exp_avg"].array, state["exp_inf"].array),
                (beta1, beta2, group["eps"], step),
                group["maximize"],
                group["weight_decay"],
            )


def _adamax(
    k: Kernels, x: Any, g: Any, mean: Any, largest: Any, beta1: float, beta2: float, eps: float, step: float
) -> None:
    k.scal(beta1, mean)
    k.axpy(g, mean, None, 1 - beta1)
    work = np.absolute(g)
    work += eps
    k.scal(beta2, largest)
    np.maximum(largest, work, out=largest)
    k.axpy(np.divide(mean, largest, out=work), x, None, step)


class NAdam(Optimizer):
    """Adam with Nesterov's momentum (Dozat 2016).

    Args:
        params: the parameters; see `Optimizer`.
        lr: about the length of a step in each number.
        betas: how much of the running mean of the gradient and of its square is kept.
        eps: added to the size of the gradient, against division by zero.
        weight_decay: adds this much of the parameter to its gradient.
        momentum_decay: how slowly the momentum grows to its full strength.
        decoupled_weight_decay: shrink the parameter itself instead.
        foreach: accepted; there is one way to run a step.
        maximize: go up instead of down.
        capturable, differentiable: must be False.

    Raises:
        ValueError: a negative setting, or a beta outside [0, 1).
    """

    state_like_parameter = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Any,
        lr: Any = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_learning_rate(lr)
        check_settings(epsilon=eps, weight_decay=weight_decay, momentum_decay=momentum_decay)
        check_betas(betas)
        super().__init__(params, arguments(locals()))

    def new_state(self, group: dict[str, Any], tensor: Tensor) -> dict[str, Any]:
        """The count of steps, the product of all momentums, the running means."""
        counts = {"step": count_tensor(), "mu_product": count_tensor(1.0)}
        return {**counts, "exp_avg": zeros_for(tensor), "exp_avg_sq": zeros_for(tensor)}

    def update(self, group: dict[str, Any], tensors: list[Tensor]) -> None:
        """x -= lr * (share of the gradient + share of the mean) / (sqrt(mean square) + eps)."""
        beta1, beta2 = group["betas"]
        lr = number(group["lr"])
        decay, shrink = _decays(group)

        def momentum(count: float) -> float:
            return beta1 * (1.0 - 0.5 * 0.96 ** (count * group["momentum_decay"]))  # type: ignore[no-any-return]

        for tensor in tensors:
            state = self.state_of(group, tensor)
            count = next_count(state)
            now, after = momentum(count), momentum(count + 1)
            state["mu_product"].array.fill(number(state["mu_product"]) * now)
            product = number(state["mu_product"])
            root = (1 - beta2**count) ** 0.5
            steps = -lr * root * (1 - now) / (1 - product), -lr * root * after / (1 - product * after)
            in_pieces(
                _nadam,
                tensor.array,
                tensor._grad.array,  # type: ignore[union-attr]
                (state["exp_avg"].array, state["exp_avg_sq"].array),
                (beta1, beta2, group["eps"] * root, shrink, *steps),
                group["maximize"],
                decay,
            )


def _nadam(
    k: Kernels,
    x: Any,
    g: Any,
    mean: Any,
    square: Any,
    beta1: float,
    beta2: float,
    eps: float,
    shrink: float,
    gradient_step: float,
    mean_step: float,
) -> None:
    if shrink != 1.0:
        k.scal(shrink, x)
    work = _follow(k, g, mean, square, beta1, beta2)
    size = np.sqrt(square)
    size += eps
    k.axpy(np.divide(g, size, out=work), x, None, gradient_step)
    k.axpy(np.divide(mean, size, out=work), x, None, mean_step)


class RAdam(Optimizer):
    """Adam that waits with its division until the mean square is a good estimate (Liu et al. 2020).

    Args:
        params: the parameters; see `Optimizer`.
        lr: about the length of a step in each number.
        betas: how much of the running mean of the gradient and of its square is kept.
        eps: added to the size of the gradient, against division by zero.
        weight_decay: adds this much of the parameter to its gradient.
        decoupled_weight_decay: shrink the parameter itself instead.
        foreach: accepted; there is one way to run a step.
        maximize: go up instead of down.
        capturable, differentiable: must be False.

    Raises:
        ValueError: a negative setting, or a beta outside [0, 1).
    """

    state_like_parameter = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_learning_rate(lr)
        check_settings(epsilon=eps, weight_decay=weight_decay)
        check_betas(betas)
        super().__init__(params, arguments(locals()))

    def new_state(self, group: dict[str, Any], tensor: Tensor) -> dict[str, Any]:
        """The count of steps and the running means."""
        return {"step": count_tensor(), "exp_avg": zeros_for(tensor), "exp_avg_sq": zeros_for(tensor)}

    def update(self, group: dict[str, Any], tensors: list[Tensor]) -> None:
        """x -= lr * mean, or from some step on lr * rectification * mean / (sqrt(mean square) + eps)."""
        beta1, beta2 = group["betas"]
        decay, shrink = _decays(group)
        longest = 2 / (1 - beta2) - 1
        for tensor in tensors:
            state = self.state_of(group, tensor)
            count = next_count(state)
            step = -number(group["lr"]) / (1 - beta1**count)
            rest = 1 - beta2**count
            length = longest - 2 * count * beta2**count / rest  # of the average, in steps
            adaptive = length > 5
            if adaptive:
                variance = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
                step *= (variance * rest) ** 0.5
            in_pieces(
                _radam,
                tensor.array,
                tensor._grad.array,  # type: ignore[union-attr]
                (state["exp_avg"].array, state["exp_avg_sq"].array),
                (beta1, beta2, step, group["eps"], shrink, adaptive),
                group["maximize"],
                decay,
            )


def _radam(
    k: Kernels,
    x: Any,
    g: Any,
    mean: Any,
    square: Any,
    beta1: float,
    beta2: float,
    step: float,
    eps: float,
    shrink: float,
    adaptive: bool,
) -> None:
    work = _follow(k, g, mean, square, beta1, beta2)
    if adaptive:
        _divide(k, x, mean, np.sqrt(square, out=work), step, eps, shrink)
    else:
        if shrink != 1.0:
            k.scal(shrink, x)
        k.axpy(mean, x, None, step)
