"""The tanh form of gelu written out on 400,000 float32 numbers, forward and backward: memory and temporaries."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from benchmarks.workload import COMPILERS, Bound, Program, Workload, as_it_is, pytorch_programs

NUMBERS = 400_000
SCALE = math.sqrt(2.0 / math.pi)
CUBIC = 0.044715


def data() -> Any:
    """The argument: (400000,) float32."""
    import numpy as np

    return np.random.default_rng(0).normal(size=NUMBERS).astype(np.float32)


def formula(
    x: Any,
    tanh: Callable[[Any], Any],
    half: Any = 0.5,
    one: Any = 1,
    three: Any = 3,
    scale: Any = SCALE,
    cubic: Any = CUBIC,
) -> Any:
    """gelu, as its authors write it (Hendrycks and Gimpel 2016, section 2), summed."""
    return (half * x * (one + tanh(scale * (x + cubic * x**three)))).sum()


def pytorch_program(torch: Any, compile_step: Any = as_it_is, compile_loss: Any = as_it_is) -> Program:
    """The program as PyTorch's users write it, for both libraries that run it."""
    x = torch.from_numpy(data()).requires_grad_()
    last: list[Any] = [None]

    loss_of = compile_loss(lambda x: formula(x, torch.tanh))

    @compile_step
    def forward_and_back(x: Any) -> Any:
        x.grad = None
        loss = loss_of(x)
        loss.backward()
        return loss

    def step() -> None:
        last[0] = forward_and_back(x)

    return Program(step, lambda: named(last[0].detach().numpy(), x.grad.numpy()))


def numpy() -> Program:
    """Forward and back by hand, with as few temporaries as the formula needs."""
    import numpy as np

    x = data()
    last: list[Any] = [None]

    def step() -> None:
        square = x * x
        inner = CUBIC * square
        inner += 1.0
        inner *= x
        inner *= SCALE
        tanh = np.tanh(inner, out=inner)
        half = 0.5 * tanh
        half += 0.5
        loss = np.sum(half * x)
        # d/dx of x * half = half + 0.5 x (1 - tanh^2) SCALE (1 + 3 CUBIC x^2)
        square *= 1.5 * CUBIC * SCALE
        square += 0.5 * SCALE
        square *= x
        tanh *= tanh
        np.subtract(1.0, tanh, out=tanh)
        square *= tanh
        square += half
        last[0] = loss, square

    return Program(step, lambda: named(*last[0]))


def jax() -> Program:
    """``value_and_grad`` under ``jax.jit``."""
    import jax
    import jax.numpy as jnp

    x = jnp.asarray(data())
    value_and_gradient = jax.jit(jax.value_and_grad(lambda x: formula(x, jnp.tanh)))
    last: list[Any] = [None]

    def step() -> None:
        last[0] = jax.block_until_ready(value_and_gradient(x))

    return Program(step, lambda: named(*last[0]))


def autograd() -> Program:
    """``value_and_grad`` of the formula."""
    import autograd.numpy as anp
    from autograd import value_and_grad

    x = data()
    value_and_gradient = value_and_grad(lambda x: formula(x, anp.tanh))
    last: list[Any] = [None]

    def step() -> None:
        last[0] = value_and_gradient(x)

    return Program(step, lambda: named(*last[0]))


def mygrad() -> Program:
    """MyGrad's tensors; the numbers of the formula are float32, since its plain ones would make everything float64."""
    import mygrad
    import numpy as np

    x = mygrad.tensor(data())
    numbers = [np.float32(value) for value in (0.5, 1, 3, SCALE, CUBIC)]
    last: list[Any] = [None]

    def step() -> None:
        x.null_grad()
        loss = formula(x, mygrad.tanh, *numbers)
        loss.backward()
        last[0] = loss

    return Program(step, lambda: named(last[0].data, x.grad))


def named(loss: Any, gradient: Any) -> dict[str, Any]:
    """What a program computed, by name."""
    import numpy as np

    return {"loss": np.asarray(loss), "grad_x": np.asarray(gradient)}


WORKLOAD = Workload(
    title="tanh-gelu written out, 400,000 numbers, forward and backward",
    programs=pytorch_programs(pytorch_program) | {"numpy": numpy, "jax": jax, "autograd": autograd, "mygrad": mygrad},
    bounds=(
        Bound(1.0, ("torch2",)),
        Bound(0.8, COMPILERS, of="compiled"),
        Bound(1.0, ("chainrule",), of="compiled_numpy"),
    ),
)
