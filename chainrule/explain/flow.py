"""`gradient_flow(model)`: how large gradients are, layer by layer."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.tensor import Tensor
from ..nn.module import Module

__all__ = ["GradientFlow", "Row", "gradient_flow"]

MARKS = {
    "none": "no gradient has arrived",
    "dead": "all zero",
    "not finite": "NaN or infinite",
    "vanishing": "far smaller than the largest layer's",
    "exploding": "far larger than the values themselves",
}


@dataclass(frozen=True)
class Row:
    """One parameter.

    Attributes:
        name: its path in the model.
        shape: its shape.
        value: the root mean square of its values.
        gradient: that of its gradient; NaN where there is none.
        zeros: the share of its gradient's elements that are 0.
        mark: "" or what is wrong: none, dead, not finite, vanishing, exploding.
    """

    name: str
    shape: tuple[int, ...]
    value: float
    gradient: float
    zeros: float
    mark: str

    @property
    def ratio(self) -> float:
        """Gradient by value."""
        return self.gradient / self.value if self.value else math.nan


class GradientFlow:
    """A table of gradients, with those marked that are too small, too large or dead.

    Attributes:
        rows: one for each parameter, in the model's order.
    """

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows

    @property
    def marked(self) -> dict[str, str]:
        """The parameters with something wrong: name -> mark."""
        return {row.name: row.mark for row in self.rows if row.mark}

    def _cells(self) -> list[list[str]]:
        head = ["parameter", "shape", "rms value", "rms gradient", "gradient/value", "zeros", ""]
        return [head] + [
            [
                row.name,
                str(row.shape),
                _number(row.value),
                _number(row.gradient),
                _number(row.ratio),
                "" if math.isnan(row.zeros) else f"{row.zeros:.0%}",
                row.mark,
            ]
            for row in self.rows
        ]

    def __str__(self) -> str:
        cells = self._cells()
        widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
        lines = [
            "  ".join(
                cell.ljust(w) if i < 2 or i == 6 else cell.rjust(w)
                for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
            for row in cells
        ]
        used = dict.fromkeys(row.mark for row in self.rows if row.mark)
        legend = [f"{mark}: {MARKS[mark]}" for mark in used]
        return "\n".join([line.rstrip() for line in lines] + (["", *legend] if legend else []))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head, *rows = self._cells()
        parts = ["<table><tr>", *(f"<th>{html.escape(cell)}</th>" for cell in head), "</tr>"]
        for row in rows:
            style = ' style="font-weight:bold"' if row[-1] else ""
            parts += [f"<tr{style}>", *(f"<td>{html.escape(cell)}</td>" for cell in row), "</tr>"]
        return "".join([*parts, "</table>"])

    def plot(self) -> Any:
        """A matplotlib figure: root mean squares of the gradients on a logarithmic axis, what is marked in red.

        Raises:
            ImportError: matplotlib is missing; names the extra that brings it.
        """
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError:
            raise ImportError("plots are made by matplotlib: pip install 'chainrule[train]'") from None
        figure = Figure(figsize=(7, 1 + 0.24 * max(len(self.rows), 4)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        heights = [row.gradient if math.isfinite(row.gradient) else 0.0 for row in self.rows]
        axes.barh(range(len(heights)), heights, color=["#c8501e" if row.mark else "#1f4e79" for row in self.rows])
        labels = [f"{row.name} ({row.mark})" if row.mark else row.name for row in self.rows]
        axes.set_yticks(range(len(labels)), [label.replace("$", r"\$") for label in labels], fontsize=8)
        axes.invert_yaxis()
        if any(heights):
            axes.set_xscale("log")
        axes.set_xlabel("root mean square of the gradient")
        return figure


def gradient_flow(model: Module, vanishing: float = 1e-4, exploding: float = 100.0) -> GradientFlow:
    """The gradients of a model's parameters after `backward()`, as a table.

    Args:
        model: its parameters that require grad are listed.
        vanishing: marked below this share of the largest gradient in the model.
        exploding: marked above so many times the size of the values themselves.

    Raises:
        TypeError: not a module.

    >>> import chainrule as cr
    >>> line = cr.nn.Linear(2, 1)
    >>> with cr.no_grad():
    ...     _ = line.weight.fill_(1.0), line.bias.fill_(1.0)
    >>> line(cr.tensor([[1.0, 0.0]])).relu().sum().backward()
    >>> print(cr.gradient_flow(line))
    parameter  shape   rms value  rms gradient  gradient/value  zeros
    weight     (1, 2)          1        0.7071          0.7071    50%
    bias       (1,)            1             1               1     0%
    """
    if not isinstance(model, Module):
        raise TypeError(f"gradient_flow takes a Module, got {type(model).__name__}")
    found = [(name, p, _size(p), _size(p.grad)) for name, p in model.named_parameters() if p.requires_grad]
    sound = [
        gradient
        for *_, value, gradient in found
        if math.isfinite(gradient) and not _explodes(gradient, value, exploding)
    ]
    largest = max(sound, default=0.0)
    rows = []
    for name, parameter, value, gradient in found:
        grad = parameter.grad
        zeros = float(np.mean(grad.array == 0)) if grad is not None and grad.array.size else math.nan
        mark = ""
        if grad is None:
            mark = "none"
        elif not grad.array.size:
            mark = ""
        elif not math.isfinite(gradient):
            mark = "not finite"
        elif gradient == 0:
            mark = "dead"
        elif _explodes(gradient, value, exploding):
            mark = "exploding"
        elif gradient < vanishing * largest:
            mark = "vanishing"
        rows.append(Row(name, tuple(parameter.shape), value, gradient, zeros, mark))
    return GradientFlow(rows)


def _explodes(gradient: float, value: float, limit: float) -> bool:
    return bool(value) and gradient > limit * value


def _size(tensor: Tensor | None) -> float:
    """The root mean square; NaN for None and for no elements."""
    if tensor is None or not tensor.array.size:
        return math.nan
    array = np.abs(tensor.array).astype(np.float64)
    return float(np.sqrt(np.mean(array * array)))


def _number(number: float) -> str:
    return "" if math.isnan(number) else f"{number:.4g}"
