"""A training step of a multilayer perceptron: zero_grad, forward, cross entropy, backward, a step of SGD; float32.

Used by ``mlp_small`` and ``mlp_medium``. Weights are (out, in) where the peer has PyTorch's layers and (in, out)
elsewhere; all begin with the same numbers, see the same batch, and are compared with the hand-written program by
tests/test_benchmarks.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.workload import Program, as_it_is, pytorch_programs

LEARNING_RATE = 0.01


@dataclass(frozen=True)
class Problem:
    """The sizes of the layers and of the batch, and one program for each peer on them."""

    sizes: tuple[int, int, int, int]
    batch: int

    def data(self) -> tuple[list[Any], Any, Any]:
        """The first parameters [w1 (in, out), b1 (out,), w2, b2, w3, b3], inputs (batch, in), labels (batch,)."""
        import numpy as np

        random = np.random.default_rng(0)
        parameters: list[Any] = []
        for inputs, outputs in zip(self.sizes, self.sizes[1:], strict=False):
            reach = inputs**-0.5
            parameters.append(random.uniform(-reach, reach, (inputs, outputs)).astype(np.float32))
            parameters.append(random.uniform(-reach, reach, outputs).astype(np.float32))
        x = random.normal(size=(self.batch, self.sizes[0])).astype(np.float32)
        labels = random.integers(0, self.sizes[-1], self.batch)
        return parameters, x, labels

    def one_hot(self) -> Any:
        """The labels as float32 rows (batch, classes)."""
        import numpy as np

        return np.eye(self.sizes[-1], dtype=np.float32)[self.data()[2]]

    def programs(self) -> dict[str, Callable[[], Program]]:
        """The programs by peer."""
        programs = pytorch_programs(self.pytorch_program)
        return programs | {
            "eager_numpy": programs["chainrule"],  # eager layers use kernels where Numba is installed
            "numpy": self.numpy,
            "jax": self.jax,
            "autograd": self.autograd,
            "mygrad": self.mygrad,
        }

    def pytorch_program(self, torch: Any, compile_step: Any = as_it_is, compile_loss: Any = as_it_is) -> Program:
        """The program as PyTorch's users write it, for both libraries that run it."""
        nn = torch.nn
        relu, cross_entropy = nn.functional.relu, nn.functional.cross_entropy
        parameters, x, labels = self.data()
        inputs, targets = torch.from_numpy(x), torch.from_numpy(labels)
        sizes = self.sizes

        class Perceptron(nn.Module):  # type: ignore[name-defined, misc, unused-ignore]
            def __init__(self) -> None:
                super().__init__()
                self.fc1 = nn.Linear(sizes[0], sizes[1])
                self.fc2 = nn.Linear(sizes[1], sizes[2])
                self.fc3 = nn.Linear(sizes[2], sizes[3])

            def forward(self, x: Any) -> Any:
                x = relu(self.fc1(x))
                x = relu(self.fc2(x))
                return self.fc3(x)

        model = Perceptron()
        with torch.no_grad():
            for parameter, value in zip(model.parameters(), parameters, strict=True):
                parameter.copy_(torch.from_numpy(value.T.copy()))
        optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
        last: list[Any] = [None]

        @compile_loss
        def loss_of(x: Any, labels: Any) -> Any:
            return cross_entropy(model(x), labels)

        @compile_step
        def train_step(x: Any, labels: Any) -> Any:
            optimizer.zero_grad()
            loss = loss_of(x, labels)
            loss.backward()
            optimizer.step()
            return loss

        def step() -> None:
            last[0] = train_step(inputs, targets)

        def observe() -> dict[str, Any]:
            found = [parameter.detach().numpy().T for parameter in model.parameters()]
            gradients = [parameter.grad.numpy().T for parameter in model.parameters()]
            return named(last[0].detach().numpy(), found, gradients)

        return Program(step, observe)

    def numpy(self) -> Program:
        """Forward and back by hand: temporaries reused, the gradient of softmax and cross entropy in one."""
        import numpy as np

        parameters, x, labels = self.data()
        w1, b1, w2, b2, w3, b3 = parameters
        batch = len(x)
        rows = np.arange(batch)
        last: list[Any] = [None, ()]

        def forward_and_back() -> tuple[Any, tuple[Any, ...]]:
            h1 = x @ w1
            h1 += b1
            np.maximum(h1, 0, out=h1)
            h2 = h1 @ w2
            h2 += b2
            np.maximum(h2, 0, out=h2)
            logits = h2 @ w3
            logits += b3

            logits -= logits.max(axis=1, keepdims=True)
            exps = np.exp(logits)
            sums = exps.sum(axis=1, keepdims=True)
            loss = (np.log(sums).sum() - logits[rows, labels].sum()) / batch

            grad_logits = np.divide(exps, sums, out=exps)
            grad_logits[rows, labels] -= 1
            grad_logits /= batch
            grad_h2 = grad_logits @ w3.T
            grad_h2 *= h2 > 0
            grad_h1 = grad_h2 @ w2.T
            grad_h1 *= h1 > 0
            return loss, (
                x.T @ grad_h1,
                grad_h1.sum(axis=0),
                h1.T @ grad_h2,
                grad_h2.sum(axis=0),
                h2.T @ grad_logits,
                grad_logits.sum(axis=0),
            )

        def step() -> None:
            loss, gradients = forward_and_back()
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= LEARNING_RATE * gradient
            last[:] = loss, gradients

        return Program(step, lambda: named(last[0], parameters, last[1]))

    def jax(self) -> Program:
        """The whole step under ``jax.jit``, parameters donated."""
        import functools

        import jax
        import jax.numpy as jnp

        parameters, x, labels = self.data()
        inputs, targets = jnp.asarray(x), jnp.asarray(labels)

        def loss_of(parameters: list[Any], x: Any, labels: Any) -> Any:
            w1, b1, w2, b2, w3, b3 = parameters
            h = jax.nn.relu(x @ w1 + b1)
            h = jax.nn.relu(h @ w2 + b2)
            log_probabilities = jax.nn.log_softmax(h @ w3 + b3)
            return -jnp.mean(jnp.take_along_axis(log_probabilities, labels[:, None], axis=1))

        @functools.partial(jax.jit, donate_argnums=0)
        def train_step(parameters: list[Any], x: Any, labels: Any) -> Any:
            loss, gradients = jax.value_and_grad(loss_of)(parameters, x, labels)
            return [p - LEARNING_RATE * g for p, g in zip(parameters, gradients, strict=True)], loss

        state: list[Any] = [[jnp.array(parameter) for parameter in parameters], None]

        def step() -> None:
            state[:] = jax.block_until_ready(train_step(state[0], inputs, targets))

        return Program(step, lambda: named(state[1], state[0]))

    def autograd(self) -> Program:
        """``value_and_grad`` of a function of the list of parameters."""
        import autograd.numpy as anp
        from autograd import value_and_grad
        from autograd.scipy.special import logsumexp

        parameters, x, _ = self.data()
        one_hot = self.one_hot()
        batch = len(x)

        def loss_of(parameters: list[Any]) -> Any:
            w1, b1, w2, b2, w3, b3 = parameters
            h = anp.maximum(x @ w1 + b1, 0)
            h = anp.maximum(h @ w2 + b2, 0)
            logits = h @ w3 + b3
            return (anp.sum(logsumexp(logits, axis=1)) - anp.sum(logits * one_hot)) / batch

        loss_and_gradients = value_and_grad(loss_of)
        last: list[Any] = [None, ()]

        def step() -> None:
            loss, gradients = loss_and_gradients(parameters)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= LEARNING_RATE * gradient
            last[:] = loss, gradients

        return Program(step, lambda: named(last[0], parameters, last[1]))

    def mygrad(self) -> Program:
        """MyGrad's tensors with its own relu and cross entropy."""
        import mygrad
        from mygrad.nnet.activations import relu
        from mygrad.nnet.losses import softmax_crossentropy

        first, x, labels = self.data()
        parameters = [mygrad.tensor(value) for value in first]
        w1, b1, w2, b2, w3, b3 = parameters
        last: list[Any] = [None, ()]

        def step() -> None:
            h = relu(x @ w1 + b1)
            h = relu(h @ w2 + b2)
            loss = softmax_crossentropy(h @ w3 + b3, labels)
            loss.backward()
            last[:] = loss, [parameter.grad for parameter in parameters]
            for parameter in parameters:
                parameter.data -= LEARNING_RATE * parameter.grad
                parameter.null_grad()

        return Program(step, lambda: named(last[0].data, [p.data for p in parameters], last[1]))


def named(loss: Any, parameters: Any, gradients: Any = ()) -> dict[str, Any]:
    """What a program computed, by name; gradients only where the peer shows them."""
    import numpy as np

    observed = {"loss": np.asarray(loss)}
    names = ("w1", "b1", "w2", "b2", "w3", "b3")
    observed.update((name, np.asarray(value)) for name, value in zip(names, parameters, strict=True))
    observed.update((f"grad_{name}", np.asarray(value)) for name, value in zip(names, gradients, strict=False))
    return observed
