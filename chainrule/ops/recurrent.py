"""Recurrent layers: the walk of LSTM, GRU and plain recurrent networks through a sequence, and its derivatives.

The functions here take the inputs' share of the gates for all steps at once (one matrix product, made outside) and
walk through time. Arrays are laid out with the batch last, (features, batch), so that a gate is one block of memory and
the product of a step is `weight @ state`. `batch_sizes[t]` is the number of sequences that are still running at step t;
they come first, and the others keep their state.

The last argument `saved` is a `Memory` in which the forward pass leaves its activations, so that the backward pass does
not compute them again. One walk back gives what the backward functions of all arguments need.

Gates stand in PyTorch's order: input, forget, cell, output for an LSTM; reset, update, new for a GRU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.forward import array_function, wrap_forward_fn
from ..core.grad_mode import grad_mode
from ..core.table import backward
from ..core.tensor import Tensor
from ..core.tracing import recorder
from .elementwise import keep_where
from .kernels import compiled
from .memory import Memory, remembered

__all__: list[str] = []


def steps_known(saved: Memory | None, grad_out: Any, compute: Callable[[], Any]) -> Any:
    """The activations of the forward pass: those left in `saved`, or computed again."""
    steps = None if saved is None else saved.recall(grad_out[0])
    return compute() if steps is None else steps


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


def product_over_time(grads: Any, steps: list[Any], position: int) -> Any:
    """`sum_t grads[:, t] @ y[t].T` for grads (n, T, B) and y what the steps hold at a position, (m, B)."""
    _, length, columns = grads.shape
    values: list[Any] = [None] * length
    for step in steps:
        values[step[0]] = filled(step[position], columns)
    x, y = (np.reshape(a, (a.shape[0], length * columns)) for a in (grads, np.stack(values, axis=1)))
    return np.matmul(x, flip(y))


def opened(x: Any) -> Any:
    """The logistic function, by way of tanh: quicker than by exp, and as exact near 0 and 1 as a gate needs."""
    return np.tanh(x * 0.5) * 0.5 + 0.5


def kept(x: Any) -> Any:
    """A copy of a first state: what is saved must not change when the user writes to it."""
    return np.array(x, order="C") if type(x) is np.ndarray else np.copy(x)


def is_plain(*arrays: Any) -> bool:
    """Whether all are NumPy arrays of one floating type: then buffers may be written in place."""
    return all(type(a) is np.ndarray and a.dtype is arrays[0].dtype for a in arrays)


def usable(saved: Memory | None, *arrays: Any) -> Memory | None:
    """The memory, if the arrays are such that something is left in it: NumPy's, or those that are traced."""
    return saved if is_plain(*arrays) or recorder.get() is not None else None


# ----- the table: the inputs' share -----------------------------------------------------------------------------------


@array_function
def input_shares(x: Any, weight: Any, bias: Any = None) -> Any:
    """`weight @ x[t].T + bias` for all steps in one product: (T, B, I), (G, I) and (G,) give (G, T, B)."""
    length, columns, features = x.shape
    rows = np.reshape(x, (length * columns, features))
    if bias is not None:  # as the weight of one more feature, that is 1: a second walk through the result takes longer
        rows = np.concatenate([rows, np.ones((length * columns, 1), x.dtype)], axis=1)
        weight = np.concatenate([weight, np.expand_dims(bias, 1)], axis=1)
    return np.reshape(np.matmul(weight, flip(rows)), (weight.shape[0], length, columns))


def as_matrix(x: Any) -> Any:
    """(G, T, B) as (G, T B)."""
    return np.reshape(x, (x.shape[0], x.shape[1] * x.shape[2]))


def sum_of_columns(x: Any) -> Any:
    """The sums along the rows: a product with ones takes a seventh of the time."""
    return np.matmul(x, np.ones(x.shape[1], x.dtype))


@backward(input_shares, 0)
def input_shares_back_x(grad_out: Any, out: Any, x: Any, weight: Any, bias: Any = None) -> Any:
    r"""$\nabla_{x_t} L = (\nabla_{out_t} L)^T \, weight$"""
    return np.reshape(np.matmul(flip(as_matrix(grad_out)), weight), x.shape)


@backward(input_shares, 1)
def input_shares_back_weight(grad_out: Any, out: Any, x: Any, weight: Any, bias: Any = None) -> Any:
    r"""$\nabla_{weight} L = \sum_t \nabla_{out_t} L \; x_t$"""
    return np.matmul(as_matrix(grad_out), np.reshape(x, (x.shape[0] * x.shape[1], x.shape[2])))


@backward(input_shares, 2)
def input_shares_back_bias(grad_out: Any, out: Any, x: Any, weight: Any, bias: Any = None) -> Any:
    r"""$\nabla_{bias} L = \sum_{t, b} \nabla_{out_{tb}} L$"""
    return sum_of_columns(as_matrix(grad_out))


# ----- the table: LSTM ------------------------------------------------------------------------------------------------


def lstm_run(z: Any, h: Any, c: Any, w_hh: Any, w_hr: Any, batch_sizes: tuple[int, ...], reverse: bool) -> Any:
    """The outputs by step, the last state, and the activations of every step."""
    size = c.shape[0]
    outputs: list[Any] = [None] * len(batch_sizes)
    steps = []
    for t, n in in_turn(batch_sizes, reverse):
        before = first(c, n)
        a = np.matmul(w_hh, first(h, n)) + first(z[:, t], n)
        entry = opened(a[: 2 * size])
        i, f, g, o = entry[:size], entry[size:], np.tanh(a[2 * size : 3 * size]), opened(a[3 * size :])
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
    x: Any,
    h0: Any,
    c0: Any,
    w_ih: Any,
    w_hh: Any,
    bias: Any = None,
    w_hr: Any = None,
    batch_sizes: tuple[int, ...] = (),
    reverse: bool = False,
    saved: Memory | None = None,
) -> Any:
    """An LSTM through a sequence (Hochreiter, Schmidhuber 1997; projections: Sak et al. 2014).

    Args:
        x: (T, B, I).
        h0: (P, B) first output; P is H where nothing is projected.
        c0: (H, B) first cell state.
        w_ih: (4 H, I).
        w_hh: (4 H, P).
        bias: (4 H,) or None.
        w_hr: (P, H) projection of the output, or None.
        batch_sizes: the sequences running at each step.
        reverse: from the last step to the first.
        saved: what the backward pass is to find.

    Returns:
        The outputs (T, B, P), the last output (P, B) and the last cell state (H, B).
    """
    arrays = [a for a in (x, h0, c0, w_ih, w_hh, bias, w_hr) if a is not None]
    saved = usable(saved, *arrays)
    if w_hr is None and min(batch_sizes) == x.shape[1] and is_plain(*arrays):
        kernels = compiled(x.shape[0] * x.shape[1] * w_hh.size, x)
        walks = None if kernels is None else kernels.lstm(x.dtype)
        if walks is not None:
            return lstm_by_kernels(walks, x, h0, c0, w_ih, w_hh, bias, reverse, saved)
        return lstm_in_place(x, h0, c0, w_ih, w_hh, bias, reverse, saved)
    if saved is not None:
        h0, c0 = kept(h0), kept(c0)
    outputs, h, c, steps = lstm_run(input_shares(x, w_ih, bias), h0, c0, w_hh, w_hr, batch_sizes, reverse)
    if saved is not None:
        saved.steps = steps
    return np.stack([flip(out) for out in outputs]), h, c


def lstm_step_back(
    grad_out: Any,
    grad_cell: Any,
    before: Any,
    input_gate: Any,
    forget_gate: Any,
    candidate: Any,
    output_gate: Any,
    visible: Any,
) -> tuple[Any, Any, Any, Any, Any]:
    """One step back: the gradients at what the four gates are functions of, and at the cell before the step.

    Args:
        grad_out: the gradient at the step's output `output_gate * visible`.
        grad_cell: at the cell after the step.
        before: the cell before it.
        input_gate, forget_gate, candidate, output_gate: the gates' values.
        visible: tanh of the cell after the step.
    """
    opened = grad_out * output_gate
    by_output = opened * visible
    grad_cell = grad_cell + (opened - by_output * visible)
    into_input, into_forget = grad_cell * input_gate, grad_cell * forget_gate
    by_input, by_forget = into_input * candidate, into_forget * before
    return (
        by_input - by_input * input_gate,
        by_forget - by_forget * forget_gate,
        into_input - by_input * candidate,
        by_output - by_output * output_gate,
        into_forget,
    )


def lstm_gradients(grad_out: Any, *args: Any) -> tuple[Any, Any, Any, Any, Any]:
    """The gradients at the gates, h0 and c0; those at the outputs, by step, for w_hr; and the activations."""
    *inputs, saved = args
    x, h0, c0, w_ih, w_hh, bias, w_hr, batch_sizes, reverse = inputs

    def compute() -> Any:
        if saved is not None and type(saved.steps) is Walk and is_plain(*grad_out):
            back = lstm_in_place_back if saved.steps.kernels is None else lstm_by_kernels_back
            return back(grad_out, w_hh, reverse, saved.steps)

        def run_again() -> Any:
            return lstm_run(input_shares(x, w_ih, bias), h0, c0, w_hh, w_hr, batch_sizes, reverse)[3]

        steps = steps_known(saved, grad_out, run_again)
        if type(steps) is Walk:  # what came from plain arrays, and a gradient that is none
            steps = run_again()
        grad_outputs, dh, dc = grad_out
        columns = dh.shape[1]
        at_gates: list[Any] = [None] * len(batch_sizes)
        at_outputs: list[Any] = [None] * len(batch_sizes)
        back_hh, back_hr = flip(w_hh), None if w_hr is None else flip(w_hr)
        for t, _, before, i, f, g, o, shown, _ in reversed(steps):
            n = i.shape[1]
            dh = dh + flip(grad_outputs[t])
            dhn = first(dh, n)
            dm = dhn if back_hr is None else np.matmul(back_hr, dhn)
            *parts, dcn = lstm_step_back(dm, first(dc, n), before, i, f, g, o, shown)
            dz = np.concatenate(parts)
            at_gates[t] = filled(dz, columns)
            at_outputs[t] = filled(dhn, columns)
            dc = over(dc, dcn)
            dh = over(dh, np.matmul(back_hh, dz))
        return np.stack(at_gates, axis=1), dh, dc, at_outputs, steps

    return remembered(grad_out, compute)  # type: ignore[no-any-return]


@backward(lstm, 0)
def lstm_back_x(
    grad_out: Any, out: Any, x: Any, h0: Any, c0: Any, w_ih: Any, w_hh: Any, bias: Any = None, w_hr: Any = None,
    batch_sizes: Any = (), reverse: bool = False, saved: Any = None,
) -> Any:  # fmt: skip
    r"""$\nabla_{x_t} L = w_{ih}^T \nabla_{z_t} L$ with
    $\nabla_{z_t} L = \left(g \, i (1 - i) \nabla_{c_t} L, \; c_{t-1} f (1 - f) \nabla_{c_t} L, \;
    i (1 - g^2) \nabla_{c_t} L, \; \tanh(c_t) \, o (1 - o) \nabla_{h_t} L\right)$,
    $\nabla_{c_t} L = o (1 - \tanh^2 c_t) \nabla_{h_t} L + f_{t+1} \nabla_{c_{t+1}} L$ and
    $\nabla_{h_t} L = \nabla_{out_t} L + w_{hh}^T \nabla_{z_{t+1}} L$"""
    dz = lstm_gradients(grad_out, x, h0, c0, w_ih, w_hh, bias, w_hr, batch_sizes, reverse, saved)[0]
    return input_shares_back_x(dz, None, x, w_ih)


@backward(lstm, 1)
def lstm_back_h0(
    grad_out: Any, out: Any, x: Any, h0: Any, c0: Any, w_ih: Any, w_hh: Any, bias: Any = None, w_hr: Any = None,
    batch_sizes: Any = (), reverse: bool = False, saved: Any = None,
) -> Any:  # fmt: skip
    r"""$\nabla_{h_0} L = w_{hh}^T \nabla_{z_1} L$"""
    return lstm_gradients(grad_out, x, h0, c0, w_ih, w_hh, bias, w_hr, batch_sizes, reverse, saved)[1]


@backward(lstm, 2)
def lstm_back_c0(
    grad_out: Any, out: Any, x: Any, h0: Any, c0: Any, w_ih: Any, w_hh: Any, bias: Any = None, w_hr: Any = None,
    batch_sizes: Any = (), reverse: bool = False, saved: Any = None,
) -> Any:  # fmt: skip
    r"""$\nabla_{c_0} L = f_1 \nabla_{c_1} L$"""
    return lstm_gradients(grad_out, x, h0, c0, w_ih, w_hh, bias, w_hr, batch_sizes, reverse, saved)[2]


@backward(lstm, 3)
def lstm_back_w_ih(
    grad_out: Any, out: Any, x: Any, h0: Any, c0: Any, w_ih: Any, w_hh: Any, bias: Any = None, w_hr: Any = None,
    batch_sizes: Any = (), reverse: bool = False, saved: Any = None,
) -> Any:  # fmt: skip
    r"""$\nabla_{w_{ih}} L = \sum_t \nabla_{z_t} L \; x_t^T$"""
    dz = lstm_gradients(grad_out, x, h0, c0, w_ih, w_hh, bias, w_hr, batch_sizes, reverse, saved)[0]
    return input_shares_back_weight(dz, None, x, w_ih)


@backward(lstm, 4)
def lstm_back_w_hh(
    grad_out: Any, out: Any, x: Any, h0: Any, c0: Any, w_ih: Any, w_hh: Any, bias: Any = None, w_hr: Any = None,
    batch_sizes: Any = (), reverse: bool = False, saved: Any = None,
) -> Any:  # fmt: skip
    r"""$\nabla_{w_{hh}} L = \sum_t \nabla_{z_t} L \; h_{t-1}^T$"""
    dz, *_, steps = lstm_gradients(grad_out, x, h0, c0, w_ih, w_hh, bias, w_hr, batch_sizes, reverse, saved)
    if type(steps) is Walk:
        return np.matmul(as_matrix(dz), np.reshape(steps.before, (-1, h0.shape[0])))
    return product_over_time(dz, steps, 1)


@backward(lstm, 5)
def lstm_back_bias(
    grad_out: Any, out: Any, x: Any, h0: Any, c0: Any, w_ih: Any, w_hh: Any, bias: Any = None, w_hr: Any = None,
    batch_sizes: Any = (), reverse: bool = False, saved: Any = None,
) -> Any:  # fmt: skip
    r"""$\nabla_{bias} L = \sum_{t, b} \nabla_{z_{tb}} L$"""
    dz = lstm_gradients(grad_out, x, h0, c0, w_ih, w_hh, bias, w_hr, batch_sizes, reverse, saved)[0]
    return input_shares_back_bias(dz, None, x, w_ih)


@backward(lstm, 6)
def lstm_back_w_hr(
    grad_out: Any, out: Any, x: Any, h0: Any, c0: Any, w_ih: Any, w_hh: Any, bias: Any = None, w_hr: Any = None,
    batch_sizes: Any = (), reverse: bool = False, saved: Any = None,
) -> Any:  # fmt: skip
    r"""$\nabla_{w_{hr}} L = \sum_t \nabla_{h_t} L \; (o \tanh c_t)^T$"""
    *_, at_outputs, steps = lstm_gradients(grad_out, x, h0, c0, w_ih, w_hh, bias, w_hr, batch_sizes, reverse, saved)
    return product_over_time(np.stack(at_outputs, axis=1), steps, -1)


# ----- LSTM: plain arrays, all sequences of one length ----------------------------------------------------------------


class Walk(NamedTuple):
    """What `lstm_in_place` and `lstm_by_kernels` leave for the backward pass.

    Attributes:
        before: (T, B, H) the outputs before each step.
        states: (T, 6 H, B) o, i, f, g, the cell before and tanh of the cell after each step, in the order in which the
            steps were taken. One block of memory: the system gives larger pages to large ones. From kernels: the gates
            (T, B, 4 H), the cell before and tanh of the cell after each step (T, B, H).
        kernels: those that ran, if any.
    """

    before: Any
    states: Any
    kernels: Any = None


def lstm_in_place(
    x: Any, h0: Any, c0: Any, w_ih: Any, w_hh: Any, bias: Any, reverse: bool, saved: Memory | None
) -> tuple[Any, Any, Any]:
    """`lstm` where no sequence ends early and nothing is projected: no array is made in the loop."""
    length, columns, features = x.shape
    rows, size = w_hh.shape
    kind = x.dtype
    weights = np.empty((rows, size + features + (bias is not None)), kind)
    blocks = [(w_hh, weights[:, :size]), (w_ih, weights[:, size : size + features])]
    if bias is not None:
        blocks.append((np.expand_dims(bias, 1), weights[:, size + features :]))
    for given, block in blocks:  # the output gate goes first: the three that are opened stand together
        block[:size], block[size:] = given[3 * size :], given[: 3 * size]
    weights[: 3 * size] *= 0.5  # sigmoid(x) = tanh(x / 2) / 2 + 1 / 2
    inputs = np.empty((length + 1, weights.shape[1], columns), kind)  # of each step: h, x, and 1 for the bias
    inputs[0, :size] = h0
    inputs[:length, size : size + features] = (x[::-1] if reverse else x).transpose(0, 2, 1)
    inputs[:length, size + features :] = 1
    states = np.empty((length + 1, 6 * size, columns), kind)
    states[0, 4 * size : 5 * size] = c0
    shown = states[:-1, 5 * size :]
    both = np.empty((2 * size, columns), kind)
    taken, left = both[:size], both[size:]
    half = kind.type(0.5)
    for given, state, cell, visible, out in zip(
        inputs[:-1], states[:-1], states[1:, 4 * size : 5 * size], shown, inputs[1:, :size], strict=True
    ):
        gates, opened = state[: 4 * size], state[: 3 * size]
        np.matmul(weights, given, gates)
        np.tanh(gates, gates)
        np.multiply(opened, half, opened)
        np.add(opened, half, opened)
        np.multiply(state[size : 3 * size], state[3 * size : 5 * size], both)  # i g and f c
        np.add(taken, left, cell)
        np.tanh(cell, visible)
        np.multiply(state[:size], visible, out)
    before, outputs = np.empty((length, columns, size), kind), np.empty((length, columns, size), kind)
    in_turn_before, in_turn_outputs = (before[::-1], outputs[::-1]) if reverse else (before, outputs)
    in_turn_before[:] = inputs[:-1, :size].transpose(0, 2, 1)
    in_turn_outputs[:-1], in_turn_outputs[-1] = in_turn_before[1:], inputs[-1, :size].T
    if saved is not None:
        saved.steps = Walk(before, states[:-1])
    return outputs, inputs[-1, :size].copy(), states[-1, 4 * size : 5 * size].copy()


def lstm_in_place_back(grad_out: Any, w_hh: Any, reverse: bool, walk: Walk) -> Any:
    """What `lstm_gradients` returns, after `lstm_in_place`."""
    states, size, kind = walk.states, w_hh.shape[1], w_hh.dtype
    length, _, columns = states.shape
    grads = np.ascontiguousarray((grad_out[0][::-1] if reverse else grad_out[0]).transpose(0, 2, 1))
    dh, dc = (np.array(g, order="C") for g in grad_out[1:])
    back_hh = np.empty((size, 4 * size), kind)
    back_hh[:, :size], back_hh[:, size:] = w_hh[3 * size :].T, w_hh[: 3 * size].T
    shares = np.empty((3 * size, columns), kind)
    by_o, by_i, by_entries = shares[:size], shares[size : 2 * size], shares[size:]
    into, spare = np.empty((2, 2 * size, columns), kind)
    work = np.empty((size, columns), kind)
    ready = np.empty((length, 4 * size, columns), kind)  # of each step, at o, i, f, g
    steps = grads, states, states[:, 5 * size :], ready
    for grad, state, visible, dz in zip(*(a[::-1] for a in steps), strict=True):
        at_opened, at_g = dz[: 3 * size], dz[3 * size :]
        np.add(dh, grad, dh)
        np.multiply(dh, state[:size], work)
        np.multiply(work, visible, by_o)  # dh o tanh(c)
        np.multiply(by_o, visible, dh)
        np.subtract(work, dh, work)
        np.add(dc, work, dc)  # dc + dh o (1 - tanh(c) tanh(c))
        into, spare = spare, into
        into_i, into_f = into[:size], into[size:]
        np.multiply(state[size : 2 * size], dc, into_i)
        np.multiply(state[2 * size : 3 * size], dc, into_f)
        np.multiply(into, state[3 * size : 5 * size], by_entries)  # dc i g, dc f c
        np.multiply(shares, state[: 3 * size], at_opened)
        np.subtract(shares, at_opened, at_opened)
        np.multiply(by_i, state[3 * size : 4 * size], at_g)
        np.subtract(into_i, at_g, at_g)  # dc i (1 - g g)
        dc = into_f
        np.matmul(back_hh, dz, dh)
    at_gates = np.empty((4 * size, length, columns), kind)
    places = (at_gates[:, ::-1] if reverse else at_gates).transpose(1, 0, 2)
    places[:, 3 * size :], places[:, : 3 * size] = ready[:, :size], ready[:, size:]
    return at_gates, dh, dc.copy(), None, walk


def lstm_by_kernels(
    kernels: Any, x: Any, h0: Any, c0: Any, w_ih: Any, w_hh: Any, bias: Any, reverse: bool, saved: Memory | None
) -> tuple[Any, Any, Any]:
    """`lstm_in_place` by a compiled walk. Arrays are laid out as the user's, (steps, sequences, features)."""
    length, columns, features = x.shape
    size, kind = w_hh.shape[1], x.dtype
    gates = np.empty((length, columns, 4 * size), kind)
    np.matmul(np.reshape(x, (length * columns, features)), w_ih.T, np.reshape(gates, (length * columns, 4 * size)))
    cells, shown, outputs = (np.empty((length, columns, size), kind) for _ in range(3))
    h, c = np.array(h0.T, order="C"), np.array(c0.T, order="C")
    kernels.forward(w_hh, bias, gates, c, cells, shown, h, outputs, reverse)
    if saved is not None:
        before = np.empty_like(outputs)
        before[-1 if reverse else 0] = h
        before[slice(None, -1) if reverse else slice(1, None)] = outputs[1:] if reverse else outputs[:-1]
        saved.steps = Walk(before, (gates, cells, shown), kernels)
    return outputs, outputs[0 if reverse else -1].copy().T, c.T


def lstm_by_kernels_back(grad_out: Any, w_hh: Any, reverse: bool, walk: Walk) -> Any:
    """What `lstm_gradients` returns, after `lstm_by_kernels`."""
    grads = np.ascontiguousarray(grad_out[0])
    dh, dc = (np.array(g.T, order="C") for g in grad_out[1:])
    ready = np.empty_like(walk.states[0])
    walk.kernels.back(w_hh, grads, *walk.states, dh, dc, ready, reverse)
    return ready.transpose(2, 0, 1), dh.T, dc.T, None, walk


# ----- the table: GRU -------------------------------------------------------------------------------------------------


def gru_run(z: Any, h: Any, w_hh: Any, b_hn: Any, batch_sizes: tuple[int, ...], reverse: bool) -> Any:
    """The outputs by step, the last state, and the activations of every step."""
    size = h.shape[0]
    outputs: list[Any] = [None] * len(batch_sizes)
    steps = []
    for t, n in in_turn(batch_sizes, reverse):
        before, share = first(h, n), first(z[:, t], n)
        a = np.matmul(w_hh, before)
        entry = opened(a[: 2 * size] + share[: 2 * size])
        r, u = entry[:size], entry[size:]
        recalled = a[2 * size :] if b_hn is None else a[2 * size :] + b_hn
        new = np.tanh(share[2 * size :] + r * recalled)
        steps.append((t, h, before, r, u, recalled, new))
        outputs[t] = h = over(h, new + u * (before - new))
    return outputs, h, steps


@array_function
def gru(
    z: Any,
    h0: Any,
    w_hh: Any,
    b_hn: Any = None,
    batch_sizes: tuple[int, ...] = (),
    reverse: bool = False,
    saved: Memory | None = None,
) -> Any:
    """A GRU through a sequence (Cho et al. 2014), the reset gate applied after the product.

    Args:
        z: (3 H, T, B), the inputs' share of the gates; biases added, but for that of the new gate's state part.
        h0: (H, B) first state.
        w_hh: (3 H, H).
        b_hn: (H, 1), that last bias, or None.
        batch_sizes: the sequences running at each step.
        reverse: from the last step to the first.
        saved: what the backward pass is to find.

    Returns:
        The outputs (T, B, H) and the last one (H, B).
    """
    saved = usable(saved, z, h0, w_hh)
    outputs, h, steps = gru_run(z, h0 if saved is None else kept(h0), w_hh, b_hn, batch_sizes, reverse)
    if saved is not None:
        saved.steps = steps
    return np.stack([flip(out) for out in outputs]), h


def gru_gradients(grad_out: Any, *args: Any) -> tuple[Any, Any, Any, Any]:
    """The gradients at z; at the product with w_hh, both (3 H, T, B); at h0; and the activations."""
    *inputs, saved = args
    w_hh, _, batch_sizes, _ = inputs[2:]

    def compute() -> Any:
        steps = steps_known(saved, grad_out, lambda: gru_run(*inputs)[2])
        grad_outputs, dh = grad_out
        columns = dh.shape[1]
        at_shares: list[Any] = [None] * len(batch_sizes)
        at_products: list[Any] = [None] * len(batch_sizes)
        back_hh = flip(w_hh)
        for t, _, before, r, u, recalled, new in reversed(steps):
            dh = dh + flip(grad_outputs[t])
            dhn = first(dh, r.shape[1])
            at_new = dhn * (1 - u) * (1 - new * new)
            at_gates = np.concatenate([at_new * recalled * (r - r * r), dhn * (before - new) * (u - u * u)])
            product = np.concatenate([at_gates, at_new * r])
            at_shares[t] = filled(np.concatenate([at_gates, at_new]), columns)
            at_products[t] = filled(product, columns)
            dh = over(dh, dhn * u + np.matmul(back_hh, product))
        return np.stack(at_shares, axis=1), np.stack(at_products, axis=1), dh, steps

    return remembered(grad_out, compute)  # type: ignore[no-any-return]


@backward(gru, 0)
def gru_back_z(
    grad_out: Any, out: Any, z: Any, h0: Any, w_hh: Any, b_hn: Any = None, batch_sizes: Any = (),
    reverse: bool = False, saved: Any = None,
) -> Any:  # fmt: skip
    r"""$\nabla_{z_t} L = \left(q \, r (1 - r) \nabla_{n_t} L, \; (h_{t-1} - n) \, u (1 - u) \nabla_{h_t} L, \;
    \nabla_{n_t} L\right)$ with $\nabla_{n_t} L = (1 - u) (1 - n^2) \nabla_{h_t} L$ and
    $q = w_{hn} h_{t-1} + b_{hn}$"""
    return gru_gradients(grad_out, z, h0, w_hh, b_hn, batch_sizes, reverse, saved)[0]


@backward(gru, 1)
def gru_back_h0(
    grad_out: Any, out: Any, z: Any, h0: Any, w_hh: Any, b_hn: Any = None, batch_sizes: Any = (),
    reverse: bool = False, saved: Any = None,
) -> Any:  # fmt: skip
    r"""$\nabla_{h_0} L = u_1 \nabla_{h_1} L + w_{hh}^T \nabla_{w_{hh} h_0} L$"""
    return gru_gradients(grad_out, z, h0, w_hh, b_hn, batch_sizes, reverse, saved)[2]


@backward(gru, 2)
def gru_back_w_hh(
    grad_out: Any, out: Any, z: Any, h0: Any, w_hh: Any, b_hn: Any = None, batch_sizes: Any = (),
    reverse: bool = False, saved: Any = None,
) -> Any:  # fmt: skip
    r"""$\nabla_{w_{hh}} L = \sum_t \nabla_{w_{hh} h_{t-1}} L \; h_{t-1}^T$"""
    _, at_products, _, steps = gru_gradients(grad_out, z, h0, w_hh, b_hn, batch_sizes, reverse, saved)
    return product_over_time(at_products, steps, 1)


@backward(gru, 3)
def gru_back_b_hn(
    grad_out: Any, out: Any, z: Any, h0: Any, w_hh: Any, b_hn: Any = None, batch_sizes: Any = (),
    reverse: bool = False, saved: Any = None,
) -> Any:  # fmt: skip
    r"""$\nabla_{b_{hn}} L = \sum_t r_t \nabla_{n_t} L$"""
    at_products = gru_gradients(grad_out, z, h0, w_hh, b_hn, batch_sizes, reverse, saved)[1]
    return np.expand_dims(np.sum(at_products[2 * h0.shape[0] :], axis=(1, 2)), 1)


# ----- the table: plain recurrence ------------------------------------------------------------------------------------


def rnn_run(z: Any, h: Any, w_hh: Any, nonlinearity: str, batch_sizes: tuple[int, ...], reverse: bool) -> Any:
    """The outputs by step, the last state, and the activations of every step."""
    outputs: list[Any] = [None] * len(batch_sizes)
    steps = []
    for t, n in in_turn(batch_sizes, reverse):
        a = np.matmul(w_hh, first(h, n)) + first(z[:, t], n)
        out = np.tanh(a) if nonlinearity == "tanh" else np.maximum(a, 0)
        steps.append((t, h, out))
        outputs[t] = h = over(h, out)
    return outputs, h, steps


@array_function
def rnn(
    z: Any,
    h0: Any,
    w_hh: Any,
    nonlinearity: str = "tanh",
    batch_sizes: tuple[int, ...] = (),
    reverse: bool = False,
    saved: Memory | None = None,
) -> Any:
    """`h = f(z[:, t] + w_hh @ h)` through a sequence, f tanh or relu (Elman 1990).

    Args:
        z: (H, T, B), the inputs' share, biases added.
        h0: (H, B) first state.
        w_hh: (H, H).
        nonlinearity: "tanh" or "relu".
        batch_sizes: the sequences running at each step.
        reverse: from the last step to the first.
        saved: what the backward pass is to find.

    Returns:
        The outputs (T, B, H) and the last one (H, B).
    """
    saved = usable(saved, z, h0, w_hh)
    outputs, h, steps = rnn_run(z, h0 if saved is None else kept(h0), w_hh, nonlinearity, batch_sizes, reverse)
    if saved is not None:
        saved.steps = steps
    return np.stack([flip(out) for out in outputs]), np.copy(h)


def rnn_gradients(grad_out: Any, *args: Any) -> tuple[Any, Any, Any]:
    """The gradients at z and at h0, and the activations."""
    *inputs, saved = args
    w_hh, nonlinearity, batch_sizes, _ = inputs[2:]

    def compute() -> Any:
        steps = steps_known(saved, grad_out, lambda: rnn_run(*inputs)[2])
        grad_outputs, dh = grad_out
        columns = dh.shape[1]
        at_shares: list[Any] = [None] * len(batch_sizes)
        back_hh = flip(w_hh)
        for t, _, out in reversed(steps):
            dh = dh + flip(grad_outputs[t])
            dhn = first(dh, out.shape[1])
            dz = dhn * (1 - out * out) if nonlinearity == "tanh" else keep_where(dhn, out > 0)
            at_shares[t] = filled(dz, columns)
            dh = over(dh, np.matmul(back_hh, dz))
        return np.stack(at_shares, axis=1), dh, steps

    return remembered(grad_out, compute)  # type: ignore[no-any-return]


@backward(rnn, 0)
def rnn_back_z(
    grad_out: Any, out: Any, z: Any, h0: Any, w_hh: Any, nonlinearity: str = "tanh", batch_sizes: Any = (),
    reverse: bool = False, saved: Any = None,
) -> Any:  # fmt: skip
    r"""$\nabla_{z_t} L = f'(z_t + w_{hh} h_{t-1}) \nabla_{h_t} L$ with
    $\nabla_{h_t} L = \nabla_{out_t} L + w_{hh}^T \nabla_{z_{t+1}} L$"""
    return rnn_gradients(grad_out, z, h0, w_hh, nonlinearity, batch_sizes, reverse, saved)[0]


@backward(rnn, 1)
def rnn_back_h0(
    grad_out: Any, out: Any, z: Any, h0: Any, w_hh: Any, nonlinearity: str = "tanh", batch_sizes: Any = (),
    reverse: bool = False, saved: Any = None,
) -> Any:  # fmt: skip
    r"""$\nabla_{h_0} L = w_{hh}^T \nabla_{z_1} L$"""
    return rnn_gradients(grad_out, z, h0, w_hh, nonlinearity, batch_sizes, reverse, saved)[1]


@backward(rnn, 2)
def rnn_back_w_hh(
    grad_out: Any, out: Any, z: Any, h0: Any, w_hh: Any, nonlinearity: str = "tanh", batch_sizes: Any = (),
    reverse: bool = False, saved: Any = None,
) -> Any:  # fmt: skip
    r"""$\nabla_{w_{hh}} L = \sum_t \nabla_{z_t} L \; h_{t-1}^T$"""
    at_shares, _, steps = rnn_gradients(grad_out, z, h0, w_hh, nonlinearity, batch_sizes, reverse, saved)
    return product_over_time(at_shares, steps, 1)


# ----- the operations -------------------------------------------------------------------------------------------------

_shares = wrap_forward_fn(input_shares)
_lstm, _gru, _rnn = wrap_forward_fn(lstm), wrap_forward_fn(gru), wrap_forward_fn(rnn)


def memory_for(inputs: tuple[Any, ...]) -> Memory | None:
    """Where the forward pass leaves its activations, if there may be a backward pass."""
    tracked = grad_mode() and any(isinstance(x, Tensor) and x.node() is not None for x in inputs)
    return Memory() if tracked else None


def lstm_layer(
    x: Tensor, state: tuple[Tensor, Tensor], weights: Sequence[Any], batch_sizes: tuple[int, ...], reverse: bool
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """One direction of one layer: outputs (T, B, P), last output (B, P) and cell state (B, H).

    Args:
        x: (T, B, I).
        state: first output (B, P) and cell state (B, H).
        weights: weight_ih, weight_hh, bias_ih, bias_hh and weight_hr; the last three may be None.
        batch_sizes: the sequences running at each step.
        reverse: from the last step to the first.
    """
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    bias = None if b_ih is None else b_ih + b_hh
    inputs = x, flip(state[0]), flip(state[1]), w_ih, w_hh, bias, w_hr
    out, h, c = _lstm(*inputs, batch_sizes, reverse, memory_for(inputs))
    return out, (flip(h), flip(c))


def gru_layer(
    x: Tensor, state: tuple[Tensor], weights: Sequence[Any], batch_sizes: tuple[int, ...], reverse: bool
) -> tuple[Tensor, tuple[Tensor]]:
    """As `lstm_layer`, for a GRU."""
    w_ih, w_hh, b_ih, b_hh, _ = weights
    bias = new_bias = None
    if b_ih is not None:
        gates = 2 * w_hh.shape[1]
        bias = np.concatenate([b_ih[:gates] + b_hh[:gates], b_ih[gates:]])
        new_bias = np.expand_dims(b_hh[gates:], 1)
    out, h = _gru(_shares(x, w_ih, bias), flip(state[0]), w_hh, new_bias, batch_sizes, reverse, Memory())
    return out, (flip(h),)


def rnn_layer(
    x: Tensor,
    state: tuple[Tensor],
    weights: Sequence[Any],
    batch_sizes: tuple[int, ...],
    reverse: bool,
    nonlinearity: str = "tanh",
) -> tuple[Tensor, tuple[Tensor]]:
    """As `lstm_layer`, for a plain recurrent network."""
    w_ih, w_hh, b_ih, b_hh, _ = weights
    z = _shares(x, w_ih, None if b_ih is None else b_ih + b_hh)
    out, h = _rnn(z, flip(state[0]), w_hh, nonlinearity, batch_sizes, reverse, Memory())
    return out, (flip(h),)
