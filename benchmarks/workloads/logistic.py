"""Logistic regression: the gradient of its loss and the Hessian times a vector, 10,000 rows of 100; float64.

What a Newton method asks for at each step. Every program computes both; the product as the gradient of the gradient
times the vector.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.workload import Bound, Program, Workload, as_it_is, pytorch_programs

ROWS, COLUMNS = 10_000, 100


def data() -> tuple[Any, Any, Any, Any]:
    """Features (rows, columns), labels -1.0 and 1.0 (rows,), weights and a direction (columns,)."""
    import numpy as np

    random = np.random.default_rng(0)
    features = random.normal(size=(ROWS, COLUMNS))
    labels = np.sign(features @ random.normal(size=COLUMNS) + random.normal(size=ROWS))
    return features, labels, 0.1 * random.normal(size=COLUMNS), random.normal(size=COLUMNS)


def pytorch_program(torch: Any, compile_step: Any = as_it_is, compile_loss: Any = as_it_is) -> Program:
    """The program as PyTorch's users write it, for both libraries that run it."""
    features, labels, start, direction = (torch.from_numpy(array) for array in data())
    weights = start.requires_grad_()
    last: list[Any] = [()]

    @compile_loss
    def loss_of(weights: Any, features: Any, labels: Any) -> Any:
        return torch.nn.functional.softplus(-labels * (features @ weights)).mean()

    @compile_step
    def newton_terms(weights: Any, features: Any, labels: Any, direction: Any) -> Any:
        loss = loss_of(weights, features, labels)
        (gradient,) = torch.autograd.grad(loss, weights, create_graph=True)
        (product,) = torch.autograd.grad(gradient @ direction, weights)
        return loss.detach(), gradient.detach(), product

    def step() -> None:
        last[0] = newton_terms(weights, features, labels, direction)

    return Program(step, lambda: named(*(value.numpy() for value in last[0])))


def numpy() -> Program:
    """By hand."""
    import numpy as np

    features, labels, weights, direction = data()
    last: list[Any] = [()]

    def step() -> None:
        margins = features @ weights
        margins *= labels
        probabilities = np.exp(-np.abs(margins))
        loss = np.mean(np.log1p(probabilities) + np.maximum(-margins, 0.0))
        probabilities = np.where(margins > 0, probabilities, 1.0) / (1.0 + probabilities)
        gradient = (labels * probabilities) @ features / -ROWS
        curvature = probabilities * (1.0 - probabilities)
        curvature *= features @ direction
        last[0] = loss, gradient, curvature @ features / ROWS

    return Program(step, lambda: named(*last[0]))


def jax() -> Program:
    """``value_and_grad`` and ``jvp`` of the gradient, under one ``jax.jit``."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    features, labels, weights, direction = map(jnp.asarray, data())

    def loss_of(weights: Any, features: Any, labels: Any) -> Any:
        return jnp.mean(jax.nn.softplus(-labels * (features @ weights)))

    @jax.jit
    def newton_terms(weights: Any, features: Any, labels: Any, direction: Any) -> Any:
        def value_and_gradient(w: Any) -> Any:
            return jax.value_and_grad(loss_of)(w, features, labels)

        (loss, gradient), (_, product) = jax.jvp(value_and_gradient, (weights,), (direction,))
        return loss, gradient, product

    last: list[Any] = [()]

    def step() -> None:
        last[0] = jax.block_until_ready(newton_terms(weights, features, labels, direction))

    return Program(step, lambda: named(*last[0]))


def autograd() -> Program:
    """``value_and_grad``, and the gradient of the gradient times the direction."""
    import autograd.numpy as anp
    from autograd import grad, value_and_grad

    features, labels, weights, direction = data()

    def loss_of(weights: Any) -> Any:
        return anp.mean(anp.logaddexp(0.0, -labels * (features @ weights)))

    both = value_and_grad(loss_of)
    product: Callable[..., Any] = grad(lambda w: grad(loss_of)(w) @ direction)
    last: list[Any] = [()]

    def step() -> None:
        last[0] = *both(weights), product(weights)

    return Program(step, lambda: named(*last[0]))


def named(loss: Any, gradient: Any, product: Any) -> dict[str, Any]:
    """What a program computed, by name."""
    import numpy as np

    return {"loss": np.asarray(loss), "gradient": np.asarray(gradient), "product": np.asarray(product)}


WORKLOAD = Workload(
    title="logistic regression, gradient and Hessian-vector product, 10,000 x 100",
    programs=pytorch_programs(pytorch_program, torch_compiles=False)
    | {
        "numpy": numpy,
        "jax": jax,
        "autograd": autograd,
    },
    bounds=(
        Bound(0.9, ("jax", "torch1", "torch2"), of="compiled"),
        Bound(1.0, ("chainrule",), of="compiled_numpy"),
    ),
)
