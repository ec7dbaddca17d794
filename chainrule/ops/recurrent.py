"""Recurrent layers: the steps of LSTM, GRU and plain recurrent networks through a whole sequence, and their derivatives.

The functions here take the inputs' share of the gates for all steps at once (one matrix product, made outside) and
walk through time. Arrays are laid out with the batch last, (features, batch), so that a gate is one block of memory and
the product of a step is `weight @ state`. `batch_sizes[t]` is the number of sequences that are still running at step t;
they come first, and the others keep their state.

The last argument `saved` is a `Memory` in which the forward pass leaves its activations, so that the backward pass does
not compute them again, and the first backward function what it shares with the others. Neither is used by a recorded
backward pass, whose result will be differentiated.

Gates stand in PyTorch's order: input, forget, cell, output for an LSTM; reset, update, new for a GRU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.forward import array_function, wrap_forward_fn
from ..core.grad_mode import grad_mode
from ..core.table import backward
from ..core.tensor import Tensor

__all__: list[str] = []


class Memory:
    """What one run through a sequence leaves for its backward pass."""

    __slots__ = ("gradients", "seed", "steps")

    def __init__(self) -> None:
        self.steps: Any = None
        self.seed: Any = None
        self.gradients: Any = None

    def __repr__(self) -> str:
        return "Memory()"


def remembered(saved: Memory | None, grad_out: Any, compute: Callable[[], Any]) -> Any:
    """`compute()`, once for the backward functions of all arguments, which are given the same `grad_out`."""
    if saved is None or isinstance(grad_out[0], Tensor):
        return compute()
    if saved.seed is not grad_out:
        saved.gradients = compute()
        saved.seed = grad_out
    return saved.gradients


def steps_known(saved: Memory | None, grad_out: Any, compute: Callable[[], Any]) -> Any:
    """The activations of the forward pass: those left in `saved`, or computed again."""
    if saved is None or saved.steps is None or isinstance(grad_out[0], Tensor):
        return compute()
    return saved.steps


def in_turn(batch_sizes: tuple[int, ...], reverse: bool) -> list[tuple[int, int]]:
    """(step, sequences running) in the order in which the steps are taken."""
    pairs = list(enumerate(batch_sizes))
    return pairs[::-1] if reverse else pairs


def first(x: Any, n: int) -> Any:
    """The first n columns."""
    return x if n == x.shape[-1] else x[..., :n]


def over(state: Any, new: Any) -> Any:
    """The state with its first columns replaced by those of `new`."""
    n = new.shape[1]
    return new if n == state.shape[1] else np.concatenate([new, state[:, n:]], axis=1)


def filled(x: Any, columns: int) -> Any:
    """`x` with columns of zeros appended."""
    missing = columns - x.shape[1]
    return np.concatenate([x, np.zeros((x.shape[0], missing), x.dtype)], axis=1) if missing else x


def flip(x: Any) -> Any:
    """A matrix transposed."""
    return x.T if type(x) is np.ndarray else np.swapaxes(x, 0, 1)


def product_over_time(x: Any, y: Any) -> Any:
    """`sum_t x[t] @ y[t].T` for two lists of matrices with the batch last."""
    x, y = (np.reshape(np.stack(a, axis=1), (a[0].shape[0], len(a) * a[0].shape[1])) for a in (x, y))
    return np.matmul(x, flip(y))


def halved(x: Any, gates: slice) -> Any:
    """`x` with the rows of all gates but one halved: `sigmoid(x) = tanh(x / 2) / 2 + 1 / 2`."""
    factors = np.full((x.shape[0],) + (1,) * (x.ndim - 1), 0.5, x.dtype)
    factors[gates] = 1
    return x * factors


# ----- the table: LSTM ------------------------------------------------------------------------------------------------


def lstm_run(z: Any, h: Any, c: Any, w_hh: Any, w_hr: Any, batch_sizes: tuple[int, ...], reverse: bool) -> Any:
    """The outputs by step, the last state, and the activations of every step."""
    size = c.shape[0]
    cell = slice(2 * size, 3 * size)
    weight, shares = halved(w_hh, cell), halved(z, cell)
    outputs: list[Any] = [None] * len(batch_sizes)
    steps = []
    for t, n in in_turn(batch_sizes, reverse):
        before = first(c, n)
        bent = np.tanh(np.matmul(weight, first(h, n)) + first(shares[:, t], n))
        opened = bent[: 2 * size] * 0.5 + 0.5
        i, f, g = opened[:size], opened[size:], bent[cell]
        o = bent[3 * size :] * 0.5 + 0.5
        after = f * before + i * g
        shown = np.tanh(after)
        out = o * shown
        steps.append((t, h, before, i, f, g, o, shown, out))
        c = over(c, after)
        h = over(h, out if w_hr is None else np.matmul(w_hr, out))
        outputs[t] = h
    return outputs, h, c, steps


@array_function
def lstm(
    z: Any,
    h0: Any,
    c0: Any,
    w_hh: Any,
    w_hr: Any = None,
    batch_sizes: tuple[int, ...] = (),
    reverse: bool = False,
    saved: Memory | None = None,
) -> Any:
    """An LSTM through a sequence (Hochreiter, Schmidhuber 1997; projections: Sak et al. 2014).

    Args:
        z: (4 H, T, B), the inputs' share of the gates, biases added.
        h0: (P, B) first output; P is H where nothing is projected.
        c0: (H, B) first cell state.
        w_hh: (4 H, P).
        w_hr: (P, H) projection of the output, or None.
        batch_sizes: the sequences running at each step.
        reverse: from the last step to the first.
        saved: what the backward pass is to find.

    Returns:
        The outputs (T, B, P), the last output (P, B) and the last cell state (H, B).
    """
    outputs, h, c, steps = lstm_run(z, h0, c0, w_hh, w_hr, batch_sizes, reverse)
    if saved is not None:
        saved.steps = steps
    return np.stack([flip(out) for out in outputs]), h, c


def lstm_gradients(grad_out: Any, *args: Any) -> tuple[Any, Any, Any, Any]:
    """The gradients at z, by step; at h0; at c0; and those at the outputs, which w_hr needs."""
    *inputs, saved = args
    w_hh, w_hr, batch_sizes = inputs[3:6]

    def compute() -> Any:
        steps = steps_known(saved, grad_out, lambda: lstm_run(*inputs)[3])
        shown_grads, dh, dc = grad_out
        columns = dh.shape[1]
        at_gates: list[Any] = [None] * len(batch_sizes)
        at_outputs: list[Any] = [None] * len(batch_sizes)
        back_hh, back_hr = flip(w_hh), None if w_hr is None else flip(w_hr)
        for t, _, before, i, f, g, o, shown, _ in reversed(steps):
            n = i.shape[1]
            dh = dh + flip(shown_grads[t])
            dhn = first(dh, n)
            dm = dhn if back_hr is None else np.matmul(back_hr, dhn)
            shut = dm * shown
            dcn = dm * o - shut * o * shown + first(dc, n)
            dz = np.concatenate(
                [dcn * g * (i - i * i), dcn * before * (f - f * f), dcn * (i - i * g * g), shut * (o - o * o)]
            )
            at_gates[t] = filled(dz, columns)
            at_outputs[t] = filled(dhn, columns)
            dc = over(dc, dcn * f)
            dh = over(dh, np.matmul(back_hh, dz))
        return at_gates, dh, dc, at_outputs

    return remembered(saved, grad_out, compute)  # type: ignore[no-any-return]


@backward(lstm, 0)
def lstm_back_z(
    grad_out: Any, out: Any, z: Any, h0: Any, c0: Any, w_hh: Any, w_hr: Any = None, batch_sizes: Any = (),
    reverse: bool = False, saved: Any = None,
) -> Any:  # fmt: skip
    r"""$\nabla_{z_t} L = \left(g \, i (1 - i) \nabla_{c_t} L, \; c_{t-1} f (1 - f) \nabla_{c_t} L, \;
    i (1 - g^2) \nabla_{c_t} L, \; \tanh(c_t) \, o (1 - o) \nabla_{h_t} L\right)$ with
    $\nabla_{c_t} L = o (1 - \tanh^2 c_t) \nabla_{h_t} L + f_{t+1} \nabla_{c_{t+1}} L$ and
    $\nabla_{h_t} L = \nabla_{out_t} L + w_{hh}^T \nabla_{z_{t+1}} L$"""
    return np.stack(lstm_gradients(grad_out, z, h0, c0, w_hh, w_hr, batch_sizes, reverse, saved)[0], axis=1)


@backward(lstm, 1)
def lstm_back_h0(
    grad_out: Any, out: Any, z: Any, h0: Any, c0: Any, w_hh: Any, w_hr: Any = None, batch_sizes: Any = (),
    reverse: bool = False, saved: Any = None,
) -> Any:  # fmt: skip
    r"""$\nabla_{h_0} L = w_{hh}^T \nabla_{z_1} L$"""
    return lstm_gradients(grad_out, z, h0, c0, w_hh, w_hr, batch_sizes, reverse, saved)[1]


@backward(lstm, 2)
def lstm_back_c0(
    grad_out: Any, out: Any, z: Any, h0: Any, c0: Any, w_hh: Any, w_hr: Any = None, batch_sizes: Any = (),
    reverse: bool = False, saved: Any = None,
) -> Any:  # fmt: skip
    r"""$\nabla_{c_0} L = f_1 \nabla_{c_1} L$"""
    return lstm_gradients(grad_out, z, h0, c0, w_hh, w_hr, batch_sizes, reverse, saved)[2]


@backward(lstm, 3)
def lstm_back_w_hh(
    grad_out: Any, out: Any, z: Any, h0: Any, c0: Any, w_hh: Any, w_hr: Any = None, batch_sizes: Any = (),
    reverse: bool = False, saved: Any = None,
) -> Any:  # fmt: skip
    r"""$\nabla_{w_{hh}} L = \sum_t \nabla_{z_t} L \; h_{t-1}^T$"""
    args = (z, h0, c0, w_hh, w_hr, batch_sizes, reverse)
    steps = steps_known(saved, grad_out, lambda: lstm_run(*args)[3])
    at_gates = lstm_gradients(grad_out, *args, saved)[0]
    return product_over_time([at_gates[step[0]] for step in steps], [step[1] for step in steps])


@backward(lstm, 4)
def lstm_back_w_hr(
    grad_out: Any, out: Any, z: Any, h0: Any, c0: Any, w_hh: Any, w_hr: Any = None, batch_sizes: Any = (),
    reverse: bool = False, saved: Any = None,
) -> Any:  # fmt: skip
    r"""$\nabla_{w_{hr}} L = \sum_t \nabla_{h_t} L \; (o \tanh c_t)^T$"""
    args = (z, h0, c0, w_hh, w_hr, batch_sizes, reverse)
    steps = steps_known(saved, grad_out, lambda: lstm_run(*args)[3])
    at_outputs = lstm_gradients(grad_out, *args, saved)[3]
    return product_over_time(
        [at_outputs[step[0]] for step in steps], [filled(step[-1], h0.shape[1]) for step in steps]
    )


_lstm = wrap_forward_fn(lstm)
