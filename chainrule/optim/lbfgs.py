"""L-BFGS: Newton's method with a curvature that is estimated from the last steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..core.grad_mode import enable_grad
from ..core.tensor import Tensor, make_tensor
from ..core.tracing import recorder
from ..core.views import note_writes
from .optimizer import Optimizer, check_learning_rate

__all__ = ["LBFGS"]


class LBFGS(Optimizer):
    """Limited-memory BFGS (Nocedal, Wright: Numerical Optimization, 2nd ed., algorithms 7.4, 3.5 and 3.6).

    Its step needs a closure, which it calls several times: one step is a whole minimisation of up to `max_iter`
    iterations. All parameters are in one group and treated as one vector.

    Args:
        params: the parameters; see `Optimizer`.
        lr: the length of a step in units of Newton's; with a line search, where the search begins.
        max_iter: iterations in a step.
        max_eval: calls of the closure in a step; 5/4 of `max_iter` if left out.
        tolerance_grad: ends when no number of the gradient is larger.
        tolerance_change: ends when the parameters or the loss change by less.
        history_size: steps that the curvature is estimated from.
        line_search_fn: None, or "strong_wolfe".

    Raises:
        ValueError: a negative learning rate, or several groups.
        RuntimeError: at the step, another `line_search_fn`.

    >>> import chainrule as cr
    >>> x = cr.tensor([-1.0, 2.0], requires_grad=True)
    >>> optimizer = LBFGS([x], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (1 - x[0]) ** 2 + 10 * (x[1] - x[0] ** 2) ** 2
    ...     loss.backward()
    ...     return loss
    >>> for _ in range(3): loss = optimizer.step(closure)
    >>> bool(abs(x - 1).max() < 1e-3)
    True
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        check_learning_rate(lr)
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")

    @property
    def _params(self) -> list[Tensor]:
        return self.param_groups[0]["params"]  # type: ignore[no-any-return]

    # ---- parameters as one vector --------------------------------------------------------------------------------

    def _gradient(self) -> Any:
        """The gradients of all parameters in one vector; zeros where there is none."""
        parts = []
        for tensor in self._params:
            gradient = np.zeros_like(tensor.array) if tensor._grad is None else tensor._grad.array
            parts.append(_flat_reals(gradient))
        return np.concatenate(parts)

    def _move(self, start: list[Any] | None, length: Any, direction: Any) -> None:
        """Write start + length * direction into the parameters; None for where they are."""
        note_writes(self._params, "LBFGS.step")
        offset = 0
        for i, tensor in enumerate(self._params):
            x = tensor.array
            count = x.size * (2 if x.dtype.kind == "c" else 1)
            part = direction[offset : offset + count] * length
            offset += count
            if x.dtype.kind == "c":
                part = part.view(x.dtype)
            np.add(x if start is None else start[i], part.reshape(x.shape), out=x, casting="same_kind")

    # ---- the step ------------------------------------------------------------------------------------------------

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Minimise for up to `max_iter` iterations.

        Args:
            closure: clears the gradients, computes the loss, calls backward, and returns the loss.

        Returns:
            The loss at the start.

        Raises:
            TypeError: there is no closure.
            TraceError: inside a function that is being compiled. The closure may be a compiled function.
        """
        if (tracing := recorder.get()) is not None:
            tracing.refuse(
                "LBFGS.step()",
                "Its steps depend on the loss: compile the closure instead, and call optimizer.step(closure) outside.",
            )
        if closure is None:
            raise TypeError("LBFGS.step() needs a closure that computes the loss and its gradients again")
        group = self.param_groups[0]
        search = group["line_search_fn"]
        if search not in (None, "strong_wolfe"):
            raise RuntimeError(f"only 'strong_wolfe' is supported, but line_search_fn is {search!r}")
        lr, most, evaluations = float(group["lr"]), group["max_iter"], 1
        state = self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)

        def evaluate() -> tuple[Any, Any]:
            with enable_grad():
                value = closure()
            return value, self._gradient()

        first_loss, gradient = evaluate()
        loss = float(first_loss)
        state["func_evals"] += 1
        flat = bool(np.abs(gradient).max(initial=0) <= group["tolerance_grad"])
        if flat:
            return first_loss
        curvature = _Curvature.from_state(state, group["history_size"])
        direction, length, before, loss_before = (
            _raw(state.get(name)) for name in ("d", "t", "prev_flat_grad", "prev_loss")
        )
        for iteration in range(1, most + 1):
            state["n_iter"] += 1
            if state["n_iter"] == 1:
                curvature = _Curvature([], [], [], 1.0, [], group["history_size"])
                direction = -gradient
                length = min(1.0, 1.0 / float(np.abs(gradient).sum())) * lr
            else:
                curvature = curvature.updated(gradient - before, direction * length)
                direction = curvature.newton_direction(gradient)
                length = lr
            before, loss_before = gradient, loss
            slope = gradient @ direction
            if slope > -group["tolerance_change"]:
                break
            used = 0
            if search is not None:
                start = [tensor.array.copy() for tensor in self._params]

                def along(t: Any, start: list[Any] = start, direction: Any = direction) -> tuple[float, Any]:
                    self._move(start, t, direction)
                    value, slopes = evaluate()
                    return float(value), slopes

                loss, gradient, length, used = strong_wolfe(
                    along,
                    _Point(0, loss, gradient, slope),
                    length,
                    direction,
                    tolerance_change=group["tolerance_change"],
                    most=group["max_eval"] - evaluations,
                )
                self._move(start, length, direction)
                flat = bool(np.abs(gradient).max() <= group["tolerance_grad"])
            else:
                self._move(None, length, direction)
                if iteration != most:
                    value, gradient = evaluate()
                    loss = float(value)
                    flat = bool(np.abs(gradient).max() <= group["tolerance_grad"])
                    used = 1
            evaluations += used
            state["func_evals"] += used
            if (
                evaluations >= group["max_eval"]
                or flat
                or np.abs(direction * length).max() <= group["tolerance_change"]
                or abs(loss - loss_before) < group["tolerance_change"]
            ):
                break
        state["d"] = make_tensor(direction, None)
        state["t"] = length
        curvature.to_state(state)
        state["prev_flat_grad"] = make_tensor(before, None)
        state["prev_loss"] = loss_before
        return first_loss


def _flat_reals(array: Any) -> Any:
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat.view(flat.real.dtype) if flat.dtype.kind == "c" else flat


def _raw(value: Any) -> Any:
    """The array of a tensor; a number for one with no axes."""
    if not isinstance(value, Tensor):
        return value
    return value.array if value.array.ndim else value.array[()]


class _Curvature(NamedTuple):
    """An estimate of the inverse of the second derivative: the last changes of the gradient and of the parameters."""

    gradients: list[Any]
    steps: list[Any]
    inverses: list[Any]  # 1 / (change of the gradient @ change of the parameters)
    scale: Any
    weights: list[Any]  # of the last direction; kept because PyTorch keeps them
    size: int

    @classmethod
    def from_state(cls, state: dict[str, Any], size: int) -> _Curvature:
        gradients, steps, inverses = (
            [_raw(value) for value in state.get(name) or []] for name in ("old_dirs", "old_stps", "ro")
        )
        return cls(gradients, steps, inverses, _raw(state.get("H_diag", 1.0)), list(state.get("al") or []), size)

    def to_state(self, state: dict[str, Any]) -> None:
        state["old_dirs"] = [make_tensor(value, None) for value in self.gradients]
        state["old_stps"] = [make_tensor(value, None) for value in self.steps]
        state["ro"] = [make_tensor(np.asarray(value), None) for value in self.inverses]
        state["H_diag"] = make_tensor(np.asarray(self.scale), None) if self.gradients else 1
        if self.weights:
            state["al"] = [
                None if value is None else make_tensor(np.asarray(_raw(value)), None) for value in self.weights
            ]

    def updated(self, gradient_change: Any, step: Any) -> _Curvature:
        """With one more pair, unless the gradient hardly changed along the step."""
        product = gradient_change @ step
        if not product > 1e-10:
            return self
        first = 1 if len(self.steps) == self.size else 0
        return self._replace(
            gradients=[*self.gradients[first:], gradient_change],
            steps=[*self.steps[first:], step],
            inverses=[*self.inverses[first:], 1.0 / product],
            scale=product / (gradient_change @ gradient_change),
        )

    def newton_direction(self, gradient: Any) -> Any:
        """Minus the estimated inverse times the gradient, by the two loops of algorithm 7.4."""
        if not self.weights:
            self.weights.extend([None] * self.size)
        direction = -gradient
        pairs = list(zip(self.gradients, self.steps, self.inverses, strict=True))
        for i in reversed(range(len(pairs))):
            change, step, inverse = pairs[i]
            self.weights[i] = (step @ direction) * inverse
            direction -= change * self.weights[i]
        direction *= self.scale
        for i, (change, step, inverse) in enumerate(pairs):
            direction += step * (self.weights[i] - (change @ direction) * inverse)
        return direction


# ----- the line search --------------------------------------------------------------------------------------------


class _Point(NamedTuple):
    """A place on the line: its distance, the loss there, the gradient, and the slope along the line."""

    t: Any
    loss: float
    gradient: Any
    slope: Any


def cubic_minimum(a: _Point, b: _Point, bounds: tuple[Any, Any] | None = None) -> Any:
    """Where the cubic through two points with their slopes is least, between bounds (Nocedal, Wright, 3.59)."""
    low, high = bounds or (min(a.t, b.t), max(a.t, b.t))
    first, last = (a, b) if a.t <= b.t else (b, a)
    d1 = first.slope + last.slope - 3 * (first.loss - last.loss) / (first.t - last.t)
    square = d1 * d1 - first.slope * last.slope
    if not square >= 0:
        return (low + high) / 2.0
    d2 = np.sqrt(square)
    t = last.t - (last.t - first.t) * ((last.slope + d2 - d1) / (last.slope - first.slope + 2 * d2))
    return min(max(t, low), high)


def strong_wolfe(
    along: Callable[[Any], tuple[float, Any]],
    start: _Point,
    t: Any,
    direction: Any,
    c1: float = 1e-4,
    c2: float = 0.9,
    tolerance_change: float = 1e-9,
    most: int = 25,
) -> tuple[float, Any, Any, int]:
    """A step length with enough decrease and a much flatter slope.

    Args:
        along: distance -> loss and gradient there.
        start: the point at distance 0.
        t: the first distance to try.
        direction: the line's.
        c1, c2: how much decrease, and how flat a slope.
        tolerance_change: the shortest interval that is looked into.
        most: tries.

    Returns:
        Loss and gradient at the distance found, the distance, and the number of calls.
    """

    def at(distance: Any) -> _Point:
        loss, gradient = along(distance)
        return _Point(distance, loss, gradient, gradient @ direction)

    def too_high(point: _Point) -> bool:
        return bool(point.loss > start.loss + c1 * point.t * start.slope)

    def flat_enough(point: _Point) -> bool:
        return bool(abs(point.slope) <= -c2 * start.slope)

    # go on until a good point is found, or two between which there must be one
    previous, new = start, at(t)
    calls, tries = 1, 0
    bracket = [start, new]
    done = False
    while tries < most:
        if too_high(new) or (tries > 1 and new.loss >= previous.loss):
            bracket = [previous, new]
            break
        if flat_enough(new):
            bracket = [new]
            done = True
            break
        if new.slope >= 0:
            bracket = [previous, new]
            break
        bounds = (new.t + 0.01 * (new.t - previous.t), new.t * 10)
        previous, new = new, at(cubic_minimum(previous, new, bounds))
        calls, tries = calls + 1, tries + 1
    if tries == most:
        bracket = [start, new]

    # narrow the bracket
    little_progress = False
    low, high = (0, 1) if bracket[0].loss <= bracket[-1].loss else (1, 0)
    width = np.abs(direction).max()
    while not done and tries < most:
        left, right = sorted(point.t for point in bracket)
        if (right - left) * width < tolerance_change:
            break
        t = cubic_minimum(bracket[0], bracket[1])
        margin = 0.1 * (right - left)
        if min(right - t, t - left) < margin:  # too near to an end: tolerated once
            if little_progress or t >= right or t <= left:
                t = right - margin if abs(t - right) < abs(t - left) else left + margin
                little_progress = False
            else:
                little_progress = True
        else:
            little_progress = False
        new = at(t)
        calls, tries = calls + 1, tries + 1
        if too_high(new) or new.loss >= bracket[low].loss:
            bracket[high] = new
            low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
        else:
            if flat_enough(new):
                done = True
            elif new.slope * (bracket[high].t - bracket[low].t) >= 0:
                bracket[high] = bracket[low]
            bracket[low] = new
    best = bracket[low]
    return best.loss, best.gradient, best.t, calls
