"""A training step of an LSTM on sequences: a walk through time, forward and back; float32."""

from __future__ import annotations

from typing import Any

from benchmarks.workload import BEST_OF_PYTORCH, Bound, Program, Workload, pytorch_programs

LENGTH, BATCH, FEATURES, HIDDEN = 50, 32, 64, 128
LEARNING_RATE = 0.1
NAMES = ("w_ih", "w_hh", "b_ih", "b_hh", "w_out", "b_out")


def data() -> tuple[list[Any], Any, Any]:
    """The first parameters in the order of NAMES, inputs (T, B, I), targets (T, B, 1)."""
    import numpy as np

    random = np.random.default_rng(0)
    rows = 4 * HIDDEN
    shapes = ((rows, FEATURES), (rows, HIDDEN), (rows,), (rows,), (1, HIDDEN), (1,))
    parameters = [random.uniform(-(HIDDEN**-0.5), HIDDEN**-0.5, shape).astype(np.float32) for shape in shapes]
    x = random.normal(size=(LENGTH, BATCH, FEATURES)).astype(np.float32)
    return parameters, x, random.normal(size=(LENGTH, BATCH, 1)).astype(np.float32)


def pytorch_program(torch: Any) -> Program:
    """The program as PyTorch's users write it, for both libraries that run it."""
    nn = torch.nn
    parameters, x, y = data()
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)

    class Model(nn.Module):  # type: ignore[name-defined, misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(FEATURES, HIDDEN)
            self.out = nn.Linear(HIDDEN, 1)

        def forward(self, x: Any) -> Any:
            return self.out(self.lstm(x)[0])

    model = Model()
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), parameters, strict=True):
            parameter.copy_(torch.from_numpy(value))
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    last: list[Any] = [None]

    def step() -> None:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
        last[0] = loss

    def observe() -> dict[str, Any]:
        found = [parameter.detach().numpy() for parameter in model.parameters()]
        return named(last[0].detach().numpy(), found, [parameter.grad.numpy() for parameter in model.parameters()])

    return Program(step, observe)


def by_hand() -> Program:
    """The equations, forward and back, as they stand in a textbook: (batch, features), no buffers."""
    import numpy as np

    parameters, x, y = data()
    w_ih, w_hh, b_ih, b_hh, w_out, b_out = parameters
    last: list[Any] = [None, ()]

    def sigmoid(x: Any) -> Any:
        return 1 / (1 + np.exp(-x))

    def forward_and_back() -> tuple[Any, tuple[Any, ...]]:
        h = c = np.zeros((BATCH, HIDDEN), np.float32)
        shares = x @ w_ih.T + (b_ih + b_hh)
        steps, outputs = [], []
        for share in shares:
            i, f, g, o = np.split(share + h @ w_hh.T, 4, axis=1)
            i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
            steps.append((h, c, i, f, g, o))
            c = f * c + i * g
            h = o * np.tanh(c)
            outputs.append((h, c))
        states = np.stack([h for h, _ in outputs])
        difference = states @ w_out.T + b_out - y
        grad_out = difference * np.float32(2 / difference.size)
        grad_states = grad_out @ w_out
        grad_w_hh = np.zeros_like(w_hh)
        dh = dc = np.zeros((BATCH, HIDDEN), np.float32)
        grad_shares = np.empty_like(shares)
        for t in reversed(range(LENGTH)):
            before, c_before, i, f, g, o = steps[t]
            shown = np.tanh(outputs[t][1])
            dh = dh + grad_states[t]
            dc = dc + dh * o * (1 - shown * shown)
            dz = np.concatenate(
                [dc * g * i * (1 - i), dc * c_before * f * (1 - f), dc * i * (1 - g * g), dh * shown * o * (1 - o)],
                axis=1,
            )
            grad_shares[t] = dz
            grad_w_hh += dz.T @ before
            dc = dc * f
            dh = dz @ w_hh
        rows = grad_shares.reshape(-1, 4 * HIDDEN)
        grad_bias = rows.sum(axis=0)
        return np.mean(difference**2), (
            rows.T @ x.reshape(-1, FEATURES),
            grad_w_hh,
            grad_bias,
            grad_bias,
            grad_out.reshape(1, -1) @ states.reshape(-1, HIDDEN),
            grad_out.sum(axis=(0, 1)),
        )

    def step() -> None:
        loss, gradients = forward_and_back()
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter -= LEARNING_RATE * gradient
        last[:] = loss, gradients

    return Program(step, lambda: named(last[0], parameters, last[1]))


def named(loss: Any, parameters: Any, gradients: Any) -> dict[str, Any]:
    """What a program computed, by name."""
    import numpy as np

    observed = {"loss": np.asarray(loss)}
    observed.update((name, np.asarray(value)) for name, value in zip(NAMES, parameters, strict=True))
    observed.update((f"grad_{name}", np.asarray(value)) for name, value in zip(NAMES, gradients, strict=True))
    return observed


WORKLOAD = Workload(
    title="training step, LSTM 64-128, sequence 50, batch 32, SGD",
    programs=pytorch_programs(pytorch_program, compiles=False) | {"numpy": by_hand},
    bounds=(Bound(1.0, BEST_OF_PYTORCH),),
    tolerance=1e-3,
)
