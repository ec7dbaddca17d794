"""The walk of an LSTM through a sequence as a kernel, forward and back.

Sequences do not touch each other: each thread takes some of them from the first step to the last and waits for nobody.
A step's product with the recurrent weight keeps a tile of sums in registers, `height()` sequences and `WIDTH` vectors
of the weight's rows, while it goes over all columns. The weight lies in panels, in the order in which it is read
(`in_panels`), and the sequences' states beside each other, so that both are read from the start to the end. What
follows in the step, element by element, is one loop: on the way back that of `lstm_step_back`, which is where the
derivatives stand.

Everything but the type of the numbers and the processor's registers is an argument: the text is compiled once.
Its order of arrays is PyTorch's, (steps, sequences, features), and that of the gates: input, forget, cell, output.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ops.recurrent import lstm_step_back
from .fused import loop_text
from .registers import register_bytes, register_count

__all__ = ["height", "in_panels", "lstm_back_text", "lstm_text", "rows_of_panel"]

WIDTH = 2  # vectors of a tile's rows: with more, small weights would not fill their last panel


def height() -> int:
    """Sequences of a tile: enough sums that products need not wait for each other, and registers for all of them."""
    return 8 if register_count() >= 32 else 6


def rows_of_panel(dtype: Any) -> int:
    """How many rows of the weight a panel has."""
    return WIDTH * register_bytes() // int(dtype.itemsize)


def in_panels(weight: Any) -> Any:
    """A weight (rows, columns) as panels (panels, columns, rows of a panel); missing rows are zero."""
    rows, columns = weight.shape
    step = rows_of_panel(weight.dtype)
    panels = -(-rows // step)
    if panels * step != rows:
        whole = np.zeros((panels * step, columns), weight.dtype)
        whole[:rows] = weight
        weight = whole
    return np.ascontiguousarray(weight.reshape(panels, step, columns).transpose(0, 2, 1))


def product(number: str, lanes: int, columns: str) -> str:
    """Lines of the loops that multiply the weight with the states: `sums` gets them, a line a sequence."""
    tile, step = range(height()), WIDTH * lanes
    lines = [
        "for p in range(panels):",
        "    for q in range(int64(first), int64(last)):",
        *(f"        s{a} = filled({number}(0.0), {WIDTH})" for a in tile),
        f"        at, beside = p * {columns} * {step}, q * {columns} * {height()}",
        f"        for k in range({columns}):",
        f"            row = load(weight, at + k * {step}, {WIDTH}, {lanes})",
        *(f"            s{a} = multiply_add(state[beside + k * {height()} + {a}], row, s{a})" for a in tile),
        f"        to = q * {height()} * pitch + p * {step}",
        *(f"        store(sums, to + {a} * pitch, s{a}, {lanes})" for a in tile),
    ]
    return "\n".join(lines)


def indented(text: str, depth: int) -> str:
    return "\n".join("    " * depth + line if line else line for line in text.split("\n"))


START = """\
separate()
length, columns, size = {shape}.shape
panels, pitch = panels_of.shape[0], panels_of.shape[0] * {step}
weight = as_shape(panels_of, (panels_of.size,))
start, stop = int64(first) * {height}, min(int64(last) * {height}, columns)"""

BESIDE = """\
for n in range(start, stop):
    to = n // {height} * {wide} * {height} + n % {height}
    for j in range({wide}):
        state[to + j * {height}] = {source}"""

FORWARD = """\
def lstm_walk(first, last, backwards, panels_of, bias, state, sums, gates, cell, cells, shown, h0, out):
{start}
    bias_i, bias_f, bias_g, bias_o = bias[:size], bias[size : 2 * size], bias[2 * size : 3 * size], bias[3 * size :]
{at_start}
    for step in range(length):
        t = length - 1 - step if backwards else step
{product}
        for n in range(start, stop):
            z = gates[t, n]
            zi, zf, zg, zo = {parts_of_gates}
            s = sums[n * pitch : (n + 1) * pitch]
            si, sf, sg, so = {parts_of_sums}
            own, kept, seen, result = cell[n], cells[t, n], shown[t, n], out[t, n]
            for j in range(size):
                i = sigmoid_{number}(zi[j] + (si[j] + bias_i[j]))
                f = sigmoid_{number}(zf[j] + (sf[j] + bias_f[j]))
                g = tanh_{number}(zg[j] + (sg[j] + bias_g[j]))
                o = sigmoid_{number}(zo[j] + (so[j] + bias_o[j]))
                before = own[j]
                after = f * before + i * g
                visible = tanh_{number}(after)
                zi[j], zf[j], zg[j], zo[j] = i, f, g, o
                kept[j], own[j], seen[j] = before, after, visible
                result[j] = o * visible
{at_end}
"""

BACK = """\
def lstm_walk_back(first, last, backwards, panels_of, state, sums, grads, gates, cells, shown, dh, dc, ready):
{start}
    for n in range(start, stop):
        for j in range(size):
            sums[n * pitch + j] = dh[n, j]
    for step in range(length):
        t = step if backwards else length - 1 - step
        for n in range(start, stop):
            z = gates[t, n]
            input_gate, forget_gate, candidate, output_gate = {parts_of_gates}
            z = ready[t, n]
            at_input, at_forget, at_candidate, at_output = {parts_of_gates}
            from_later, grad_out = sums[n * pitch : n * pitch + size], grads[t, n]
            grad_cell, before, visible = dc[n], cells[t, n], shown[t, n]
{step_back}
{at_end}
{product}
    for n in range(start, stop):
        for j in range(size):
            dh[n, j] = sums[n * pitch + j]
"""


def parts(name: str) -> str:
    """A line of gates in four."""
    return f"{name}[:size], {name}[size : 2 * size], {name}[2 * size : 3 * size], {name}[3 * size :]"


def step_back(
    grad_cell: Any, from_later: Any, grad_out: Any, before: Any, input_gate: Any, forget_gate: Any, candidate: Any,
    output_gate: Any, visible: Any,
) -> tuple[Any, ...]:  # fmt: skip
    """`lstm_step_back` where a step's output has two gradients: at the cell before it, and at the four gates."""
    gates = input_gate, forget_gate, candidate, output_gate
    *at_gates, at_cell = lstm_step_back(from_later + grad_out, grad_cell, before, *gates, visible)
    return at_cell, *at_gates


def filled_in(text: str, dtype: Any, wide: str, shape: str, source: str, first: str = "", **more: str) -> str:
    """A kernel's text for a type of numbers."""
    number, lanes = dtype.name, register_bytes() // dtype.itemsize
    names = {"number": number, "height": height(), "step": WIDTH * lanes, "wide": wide, "shape": shape}
    return text.format(
        number=number,
        start=indented(START.format(**names), 1),
        at_start=indented(BESIDE.format(source=first, **names), 1),
        at_end=indented(BESIDE.format(source=source, **names), 2),
        product=indented(product(number, lanes, wide), 2),
        parts_of_gates=parts("z"),
        parts_of_sums=parts("s"),
        **more,
    )


def lstm_text(dtype: Any) -> str:
    """The walk forward.

    Its arguments: the first tile of sequences and the one after the last; whether it goes from the last step to the
    first; w_hh (4 H, H) in panels; the bias (4 H,); the inputs' share of the gates (T, B, 4 H), which become the gates;
    the cell's state (B, H), in and out; (T, B, H) each: the cell before each step, tanh of it after each step; the
    first output (B, H); the outputs (T, B, H).
    """
    return filled_in(FORWARD, dtype, "size", "out", "out[t, n, j]", "h0[n, j]")


def lstm_back_text(dtype: Any) -> str:
    """The walk back.

    Its arguments: as above; the transpose of w_hh, (H, 4 H), in panels; the gradients of the outputs (T, B, H); gates,
    cells before and tanh of those after, from the walk forward; the gradients of the last output and the last cell's
    state (B, H), which become those of the first; the gradients at the gates' preactivations (T, B, 4 H).
    """
    element = indented(loop_text(step_back, dtype, ("at_input", "at_forget", "at_candidate", "at_output")), 3)
    return filled_in(BACK, dtype, "(4 * size)", "grads", "ready[t, n, j]", step_back=element)
