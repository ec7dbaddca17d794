"""A training step of a convolutional network: zero_grad, forward, cross entropy, backward, a step of SGD; float32.

Used by ``lenet`` and ``two_convolutions``. Weights have PyTorch's layout everywhere; all programs begin with the same
numbers, see the same batch, and are compared with the hand-written program by tests/test_benchmarks.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.workload import Program, as_it_is, pytorch_programs

LEARNING_RATE = 0.01


@dataclass(frozen=True)
class Convolution:
    """A convolution of square kernels with zeros around the image, relu, and with ``pool`` the maxima of 2x2 blocks."""

    inputs: int
    outputs: int
    kernel: int
    padding: int
    pool: bool


@dataclass(frozen=True)
class Problem:
    """The layers and the batch, and one program for each peer on them.

    Args:
        convolutions: the first layers.
        sizes: of the affine layers after them, from their input on; one number alone stands for no such layer: then
            the mean of each channel is its class's logit.
        batch: images.
        image: their height and width.
    """

    convolutions: tuple[Convolution, ...]
    sizes: tuple[int, ...]
    batch: int
    image: int

    def data(self) -> tuple[list[Any], Any, Any]:
        """The first parameters [w1 (out, in, k, k), b1 (out,), ...], images (N, C, H, W), labels (N,)."""
        import numpy as np

        random = np.random.default_rng(0)
        shapes = [(c.outputs, c.inputs, c.kernel, c.kernel) for c in self.convolutions]
        affine = [(after, before) for before, after in zip(self.sizes, self.sizes[1:], strict=False)]
        parameters: list[Any] = []
        for shape in (*shapes, *affine):
            reach = float(np.prod(shape[1:])) ** -0.5
            parameters.append(random.uniform(-reach, reach, shape).astype(np.float32))
            parameters.append(random.uniform(-reach, reach, shape[0]).astype(np.float32))
        images = random.normal(size=(self.batch, self.convolutions[0].inputs, self.image, self.image))
        return parameters, images.astype(np.float32), random.integers(0, self.sizes[-1], self.batch)

    def programs(self) -> dict[str, Callable[[], Program]]:
        """The programs by peer."""
        programs = pytorch_programs(self.pytorch_program)
        return programs | {
            "eager_numpy": programs["chainrule"],  # eager convolutions use kernels where Numba is installed
            "numpy": self.numpy,
            "jax": self.jax,
        }

    def pytorch_program(self, torch: Any, compile_step: Any = as_it_is, compile_loss: Any = as_it_is) -> Program:
        """The program as PyTorch's users write it, for both libraries that run it."""
        nn = torch.nn
        parameters, x, labels = self.data()
        inputs, targets = torch.from_numpy(x), torch.from_numpy(labels)

        layers: list[Any] = []
        for c in self.convolutions:
            layers += [nn.Conv2d(c.inputs, c.outputs, c.kernel, padding=c.padding), nn.ReLU()]
            if c.pool:
                layers.append(nn.MaxPool2d(2))
        layers.append(nn.Flatten() if len(self.sizes) > 1 else channel_means(nn))
        for before, after in zip(self.sizes, self.sizes[1:], strict=False):
            layers += [nn.Linear(before, after), nn.ReLU()]
        if len(self.sizes) > 1:
            layers.pop()
        model = nn.Sequential(*layers)
        with torch.no_grad():
            for parameter, value in zip(model.parameters(), parameters, strict=True):
                parameter.copy_(torch.from_numpy(value.copy()))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
        last: list[Any] = [None]

        @compile_loss
        def loss_of(x: Any, labels: Any) -> Any:
            return criterion(model(x), labels)

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
            found = [parameter.detach().numpy() for parameter in model.parameters()]
            gradients = [parameter.grad.numpy() for parameter in model.parameters()]
            return named(last[0].detach().numpy(), found, gradients)

        return Program(step, observe)

    def numpy(self) -> Program:
        """Forward and back by hand: windows as columns of matrices, and matrix products."""
        import numpy as np

        parameters, x, labels = self.data()
        lines = np.arange(len(x))
        first_affine = 2 * len(self.convolutions)
        last: list[Any] = [None, ()]

        def convolved(c: Convolution, x: Any, w: Any, b: Any) -> tuple[Any, Any]:
            """The result and the columns (N, C * K * K, positions)."""
            p, k = c.padding, c.kernel
            x = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
            height, width = x.shape[2] - k + 1, x.shape[3] - k + 1
            columns = np.empty((len(x), c.inputs, k, k, height, width), x.dtype)
            for i in range(k):
                for j in range(k):
                    columns[:, :, i, j] = x[:, :, i : i + height, j : j + width]
            columns = columns.reshape(len(x), -1, height * width)
            out = w.reshape(c.outputs, -1) @ columns + b[:, None]
            return out.reshape(len(x), c.outputs, height, width), columns

        def convolved_back(c: Convolution, shape: Any, w: Any, columns: Any, grad: Any) -> tuple[Any, Any, Any]:
            """The gradients of input, weight and bias."""
            p, k, (height, width) = c.padding, c.kernel, grad.shape[2:]
            grad = grad.reshape(len(grad), c.outputs, -1)
            grad_w = np.tensordot(grad, columns, axes=((0, 2), (0, 2))).reshape(w.shape)
            grad_columns = (w.reshape(c.outputs, -1).T @ grad).reshape(len(grad), c.inputs, k, k, height, width)
            padded = np.zeros((*shape[:2], shape[2] + 2 * p, shape[3] + 2 * p), grad.dtype)
            for i in range(k):
                for j in range(k):
                    padded[:, :, i : i + height, j : j + width] += grad_columns[:, :, i, j]
            return padded[:, :, p : p + shape[2], p : p + shape[3]], grad_w, grad.sum(axis=(0, 2))

        def forward_and_back() -> tuple[Any, list[Any]]:
            h, saved = x, []
            for c, w, b in zip(self.convolutions, parameters[::2], parameters[1::2], strict=False):
                z, columns = convolved(c, h, w, b)
                after = np.maximum(z, 0)
                pooled = None
                if c.pool:
                    blocks = after.reshape(*after.shape[:2], after.shape[2] // 2, 2, after.shape[3] // 2, 2)
                    pooled = blocks.max(axis=(3, 5), keepdims=True)
                    first = np.cumsum(np.cumsum(blocks == pooled, axis=5), axis=3)
                    pooled = pooled[:, :, :, 0, :, 0], (blocks == pooled) & (first == 1)
                saved.append((c, h.shape, w, columns, z, pooled))
                h = after if pooled is None else pooled[0]
            shape = h.shape
            h = h.reshape(len(h), -1) if len(self.sizes) > 1 else h.mean(axis=(2, 3))
            affine = list(zip(parameters[first_affine::2], parameters[first_affine + 1 :: 2], strict=True))
            inputs = []
            for i, (w, b) in enumerate(affine):
                inputs.append(h)
                h = h @ w.T + b
                if i < len(affine) - 1:
                    h = np.maximum(h, 0)

            logits = h - h.max(axis=1, keepdims=True)
            exps = np.exp(logits)
            sums = exps.sum(axis=1, keepdims=True)
            loss = (np.log(sums).sum() - logits[lines, labels].sum()) / len(x)
            grad = exps / sums
            grad[lines, labels] -= 1
            grad /= len(x)

            gradients: list[Any] = []
            for i in reversed(range(len(affine))):
                gradients = [grad.T @ inputs[i], grad.sum(axis=0), *gradients]
                grad = grad @ affine[i][0]
                if i:
                    grad *= inputs[i] > 0
            if len(self.sizes) > 1:
                grad = grad.reshape(shape)
            else:
                grad = np.broadcast_to(grad[:, :, None, None] / np.float32(shape[2] * shape[3]), shape)
            for c, before, w, columns, z, pooled in reversed(saved):
                if pooled is not None:
                    grad = (pooled[1] * grad[:, :, :, None, :, None]).reshape(z.shape)
                grad, grad_w, grad_b = convolved_back(c, before, w, columns, grad * (z > 0))
                gradients = [grad_w, grad_b, *gradients]
            return loss, gradients

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
        first_affine = 2 * len(self.convolutions)

        def loss_of(parameters: list[Any], x: Any, labels: Any) -> Any:
            h = x
            for c, w, b in zip(self.convolutions, parameters[::2], parameters[1::2], strict=False):
                p = c.padding
                h = jax.lax.conv_general_dilated(h, w, (1, 1), ((p, p), (p, p))) + b[:, None, None]
                h = jax.nn.relu(h)
                if c.pool:
                    h = jax.lax.reduce_window(h, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
            h = h.reshape(len(h), -1) if len(self.sizes) > 1 else h.mean(axis=(2, 3))
            for i in range(first_affine, len(parameters), 2):
                h = h @ parameters[i].T + parameters[i + 1]
                if i < len(parameters) - 2:
                    h = jax.nn.relu(h)
            log_probabilities = jax.nn.log_softmax(h)
            return -jnp.mean(jnp.take_along_axis(log_probabilities, labels[:, None], axis=1))

        @functools.partial(jax.jit, donate_argnums=0)
        def train_step(parameters: list[Any], x: Any, labels: Any) -> Any:
            loss, gradients = jax.value_and_grad(loss_of)(parameters, x, labels)
            return [p - LEARNING_RATE * g for p, g in zip(parameters, gradients, strict=True)], loss

        state: list[Any] = [[jnp.array(parameter) for parameter in parameters], None]

        def step() -> None:
            state[:] = jax.block_until_ready(train_step(state[0], inputs, targets))

        return Program(step, lambda: named(state[1], state[0]))


def channel_means(nn: Any) -> Any:
    """A layer that takes the mean of each channel of (N, C, H, W), for either library's ``nn``."""

    class Means(nn.Module):  # type: ignore[name-defined, misc, unused-ignore]
        def forward(self, x: Any) -> Any:
            return x.mean((2, 3))

    return Means()


def named(loss: Any, parameters: Any, gradients: Any = ()) -> dict[str, Any]:
    """What a program computed, by name; gradients only where the peer shows them."""
    import numpy as np

    observed = {"loss": np.asarray(loss)}
    names = [f"{kind}{i // 2 + 1}" for i, kind in enumerate("wb" * (len(parameters) // 2))]
    observed.update((name, np.asarray(value)) for name, value in zip(names, parameters, strict=True))
    observed.update((f"grad_{name}", np.asarray(value)) for name, value in zip(names, gradients, strict=False))
    return observed
