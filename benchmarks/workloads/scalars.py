"""200 operations on single numbers, forward and backward: the price of a node of the graph.

The numbers are float32 tensors without dimensions where the peer has tensors, Python floats elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.workload import BEST_OF_PYTORCH, Bound, Program, Workload, pytorch_programs

REPEATS = 20
START = {"x": 0.9, "a": 0.7, "b": 0.3}


def formula(x: Any, a: Any, b: Any, relu: Callable[[Any], Any]) -> Any:
    """Ten operations, twenty times, all of which micrograd has."""
    for _ in range(REPEATS):
        scaled = x * a
        active = relu(scaled + b)
        squashed = active / (active**2 + 1.0)
        x = (squashed - b) ** 2 * a + scaled
    return x


def pytorch_program(torch: Any) -> Program:
    """The program as PyTorch's users write it, for both libraries that run it."""
    leaves = {name: torch.tensor(value, requires_grad=True) for name, value in START.items()}
    x, a, b = leaves.values()
    relu = torch.relu
    last: list[Any] = [None]

    def step() -> None:
        x.grad = a.grad = b.grad = None
        out = formula(x, a, b, relu)
        out.backward()
        last[0] = out

    return Program(step, lambda: named(last[0].item(), {name: leaf.grad.item() for name, leaf in leaves.items()}))


def micrograd() -> Program:
    """micrograd's Value."""
    from micrograd.engine import Value  # type: ignore[import-not-found, unused-ignore]

    leaves = {name: Value(value) for name, value in START.items()}
    x, a, b = leaves.values()
    last: list[Any] = [None]

    def step() -> None:
        x.grad = a.grad = b.grad = 0
        out = formula(x, a, b, Value.relu)
        out.backward()
        last[0] = out

    return Program(step, lambda: named(last[0].data, {name: leaf.grad for name, leaf in leaves.items()}))


def mygrad() -> Program:
    """MyGrad's tensors without dimensions."""
    import mygrad
    import numpy as np
    from mygrad.nnet.activations import relu

    leaves = {name: mygrad.tensor(np.float32(value)) for name, value in START.items()}
    x, a, b = leaves.values()
    last: list[Any] = [None]

    def step() -> None:
        for leaf in (x, a, b):
            leaf.null_grad()
        out = formula(x, a, b, relu)
        out.backward()
        last[0] = out

    return Program(step, lambda: named(last[0].item(), {name: leaf.grad.item() for name, leaf in leaves.items()}))


def autograd() -> Program:
    """``value_and_grad`` with respect to all three arguments."""
    import autograd.numpy as anp
    from autograd import value_and_grad

    def function(arguments: tuple[Any, Any, Any]) -> Any:
        return formula(*arguments, relu=lambda value: anp.maximum(value, 0.0))

    value_and_gradients = value_and_grad(function)
    arguments = tuple(START.values())
    last: list[Any] = [None]

    def step() -> None:
        last[0] = value_and_gradients(arguments)

    return Program(step, lambda: named(last[0][0], dict(zip(START, last[0][1], strict=True))))


def jax() -> Program:
    """``value_and_grad`` under ``jax.jit``."""
    import jax

    value_and_gradients = jax.jit(jax.value_and_grad(lambda x, a, b: formula(x, a, b, jax.nn.relu), argnums=(0, 1, 2)))
    arguments = tuple(START.values())
    last: list[Any] = [None]

    def step() -> None:
        last[0] = jax.block_until_ready(value_and_gradients(*arguments))

    return Program(step, lambda: named(last[0][0], dict(zip(START, last[0][1], strict=True))))


def numpy() -> Program:
    """Forward and back by hand, on Python's floats: on single numbers they are faster than NumPy's."""
    last: list[Any] = [None]

    def step() -> None:
        x, a, b = START.values()
        saved = []
        for _ in range(REPEATS):
            scaled = x * a
            active = scaled + b
            positive = active > 0.0
            if not positive:
                active = 0.0
            denominator = active * active + 1.0
            squashed = active / denominator
            shifted = squashed - b
            square = shifted * shifted
            saved.append((x, positive, denominator, squashed, shifted, square))
            x = square * a + scaled
        out, grad_x, grad_a, grad_b = x, 1.0, 0.0, 0.0
        for x, positive, denominator, squashed, shifted, square in reversed(saved):
            grad_shifted = 2.0 * shifted * a * grad_x
            grad_b -= grad_shifted
            grad_scaled = grad_x
            if positive:  # the derivative of t / (t^2 + 1) is (1 / (t^2 + 1)) - 2 (t / (t^2 + 1))^2
                grad_active = grad_shifted * (1.0 / denominator - 2.0 * squashed * squashed)
                grad_scaled += grad_active
                grad_b += grad_active
            grad_a += square * grad_x + x * grad_scaled
            grad_x = a * grad_scaled
        last[0] = out, {"x": grad_x, "a": grad_a, "b": grad_b}

    return Program(step, lambda: named(*last[0]))


def named(out: Any, gradients: dict[str, Any]) -> dict[str, Any]:
    """What a program computed, by name."""
    return {"loss": float(out), **{f"grad_{name}": float(value) for name, value in gradients.items()}}


WORKLOAD = Workload(
    title="200 scalar operations, forward and backward",
    programs=pytorch_programs(pytorch_program, compiles=False)
    | {
        "numpy": numpy,
        "jax": jax,
        "autograd": autograd,
        "mygrad": mygrad,
        "micrograd": micrograd,
    },
    bounds=(Bound(0.8, BEST_OF_PYTORCH), Bound(2.0, ("micrograd",))),
    same_dtype=False,
)
