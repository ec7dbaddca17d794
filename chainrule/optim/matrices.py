"""Optimisers that look at a parameter as a matrix: Adafactor, Muon."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.tensor import Tensor, make_tensor
from ..core.tracing import calculated, number
from .optimizer import Optimizer, arguments, check_learning_rate, count_tensor, next_count, zeros_for

__all__ = ["Adafactor", "Muon"]


def _check_not_negative(**values: float) -> None:
    for name, value in values.items():
        if not value >= 0.0:
            raise ValueError(f"{name} should be >= 0 but is: {value}")


class Adafactor(Optimizer):
    """Adam's mean squares kept for rows and columns only, and steps in units of the parameter (Shazeer, Stern 2018).

    Args:
        params: the parameters, of real type; see `Optimizer`.
        lr: the largest relative step.
        beta2_decay: the power with which the running means become slower.
        eps: the least mean square (None: the type's precision), and the least size of a parameter.
        d: above this root mean square a step is clipped.
        weight_decay: shrinks the parameter itself.
        foreach: accepted; there is one way to run a step.
        maximize: go up instead of down.

    Raises:
        ValueError: a setting out of its range.
        RuntimeError: at the step, a complex parameter.
    """

    state_like_parameter = ("variance",)

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        check_learning_rate(lr)
        if not beta2_decay <= 0.0:
            raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
        _check_not_negative(epsilon1=eps[0] or 0.0, epsilon2=eps[1], weight_decay=weight_decay)
        if not d >= 1.0:
            raise ValueError(f"Clipping threshold d should be >= 1 but is: {d}")
        super().__init__(params, arguments(locals()))

    def update(self, group: dict[str, Any], tensors: list[Tensor]) -> None:
        """x -= size of x * relative step * gradient / sqrt(estimated mean square), clipped."""
        lr, d = number(group["lr"]), group["d"]
        least, smallest = group["eps"]
        for tensor in tensors:
            x, gradient = tensor.array, tensor._grad.array  # type: ignore[union-attr]
            if x.dtype.kind == "c":
                raise RuntimeError("Adafactor does not support complex parameters")
            if not x.size:
                continue
            state = self.state_of(group, tensor)
            count = next_count(state)
            floor = np.finfo(x.dtype).eps.item() if least is None else least
            if group["maximize"]:
                gradient = -gradient
            size = calculated(max, smallest, _root_mean_square(x)) * calculated(min, lr, count**-0.5)
            if group["weight_decay"]:
                x *= 1 - lr * group["weight_decay"]
            square = self._mean_square(state, gradient, count ** group["beta2_decay"], floor)
            step = gradient / np.sqrt(np.maximum(square, floor * floor))
            x -= step * (size / calculated(max, 1.0, _root_mean_square(step) / d))

    def new_state(self, group: dict[str, Any], tensor: Tensor) -> dict[str, Any]:
        """The count of steps, and the mean squares: of a matrix those of its rows and columns."""
        state = {"step": count_tensor()}
        shape, dtype = tensor.shape, tensor.array.dtype
        if len(shape) > 1:
            state["row_var"] = make_tensor(np.zeros((*shape[:-1], 1), dtype), None)
            state["col_var"] = make_tensor(np.zeros((*shape[:-2], 1, shape[-1]), dtype), None)
        else:
            state["variance"] = zeros_for(tensor)
        return state

    def _mean_square(self, state: dict[str, Any], gradient: Any, share: float, floor: float) -> Any:
        """The estimate of the gradient's mean square: for matrices the product of those of its rows and columns."""
        square = gradient * gradient
        if gradient.ndim < 2:
            return _approach(state["variance"].array, square, share)
        rows = _approach(state["row_var"].array, np.mean(square, -1, keepdims=True), share)
        columns = _approach(state["col_var"].array, np.mean(square, -2, keepdims=True), share)
        return rows * columns / np.maximum(np.mean(rows, -2, keepdims=True), floor)


def _root_mean_square(array: Any) -> float:
    flat = array.reshape(-1)
    return (number(np.vdot(flat, flat)) / flat.size) ** 0.5 if flat.size else 0.0


def _approach(mean: Any, value: Any, share: float) -> Any:
    """A running mean, moved in place towards a value."""
    mean += (value - mean) * share
    return mean


class Muon(Optimizer):
    """Momentum whose direction is made orthogonal, for the matrices inside a network (Jordan 2024).

    The Newton-Schulz steps are computed in the gradient's own type, where PyTorch rounds to bfloat16.

    Args:
        params: parameters with two axes; see `Optimizer`.
        lr: the length of a step.
        weight_decay: shrinks the parameter itself.
        momentum: how much of the running mean of the gradient is kept.
        nesterov: look one step ahead along the momentum.
        ns_coefficients: those of the polynomial of degree five.
        eps: the least norm of a direction.
        ns_steps: how often the polynomial is applied.
        adjust_lr_fn: "original" or "match_rms_adamw": how steps depend on the shape.

    Raises:
        ValueError: a setting out of its range, or a parameter that is no matrix.
    """

    state_like_parameter = ("momentum_buffer",)

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        check_learning_rate(lr)
        _check_not_negative(**{"momentum": momentum, "weight decay": weight_decay})
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        if ns_steps >= 100:
            raise ValueError(f"Number of steps must be less than 100, but ns_steps is {ns_steps}")
        if len(ns_coefficients) != 3:
            raise ValueError(f"Coefficients must be a tuple of exactly 3 values, but got {ns_coefficients}")
        super().__init__(params, arguments(locals()))

    def _check_parameter(self, tensor: Any) -> None:
        super()._check_parameter(tensor)
        if tensor.ndim != 2:
            raise ValueError(f"Muon only supports 2D parameters whereas we found a parameter with size: {tensor.shape}")

    def new_state(self, group: dict[str, Any], tensor: Tensor) -> dict[str, Any]:
        """The running mean of the gradient."""
        return {"momentum_buffer": zeros_for(tensor)}

    def update(self, group: dict[str, Any], tensors: list[Tensor]) -> None:
        """x -= lr * orthogonal(momentum)."""
        lr, momentum = number(group["lr"]), group["momentum"]
        for tensor in tensors:
            x, gradient = tensor.array, tensor._grad.array  # type: ignore[union-attr]
            if x.dtype.kind == "c":
                raise RuntimeError("Muon does not support complex parameters")
            state = self.state_of(group, tensor)
            mean = _approach(state["momentum_buffer"].array, gradient, 1 - momentum)
            direction = gradient + (mean - gradient) * momentum if group["nesterov"] else mean
            direction = orthogonal(direction, group["ns_coefficients"], group["ns_steps"], group["eps"])
            rows, columns = x.shape
            if group["adjust_lr_fn"] == "match_rms_adamw":
                ratio = 0.2 * math.sqrt(max(rows, columns))
            else:
                ratio = math.sqrt(max(1, rows / columns))
            x *= 1 - lr * group["weight_decay"]
            x -= direction * (lr * ratio)


def orthogonal(matrix: Any, coefficients: tuple[float, float, float], steps: int, eps: float) -> Any:
    """A matrix with the singular vectors of `matrix` and singular values near one, by Newton-Schulz steps."""
    a, b, c = coefficients
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / calculated(max, number(np.linalg.norm(x)), eps)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.T if tall else x
