"""How a tensor shows itself in a notebook: what it is in one line, its numbers as a small table."""

from __future__ import annotations

import html
from typing import Any

import numpy as np

from ..core.recipe import Recipe
from ..core.tensor import Tensor
from .steps import operation_name
from .values import number_text, value_of

__all__ = ["tensor_html"]

MOST = 8  # rows or columns that are shown all
ENDS = 3  # at either end of longer ones

CELL = 'style="text-align:right;padding:0 .6em;font-family:monospace"'


def tensor_html(tensor: Tensor) -> str:
    """A tensor as HTML: its shape, element type and place in the graph, and its numbers or what is known of them.

    >>> import chainrule as cr
    >>> print(tensor_html(cr.tensor(2.0, requires_grad=True)))
    <div><b>Tensor</b> <code>2</code> float32, requires grad</div>
    """
    value = value_of(tensor)
    words = [html.escape(value.kind if tensor.shape else value.dtype)]
    node = tensor.node() if tensor.requires_grad else None
    if isinstance(node, Recipe):
        words.append(f"from <code>{html.escape(operation_name(node.func))}</code>")
    elif tensor.requires_grad:
        words.append("requires grad")
    grad = tensor.grad if node is None or not isinstance(node, Recipe) else None
    if grad is not None:
        words.append(f"grad <code>{html.escape(value_of(grad).text)}</code>")
    array = tensor.array
    has_table = isinstance(array, np.ndarray) and 1 <= array.ndim <= 2 and array.size > 0
    shown = "" if has_table else f" <code>{html.escape(value.text)}</code>"
    head = f"<div><b>{html.escape(type(tensor).__name__)}</b>{shown} {', '.join(words)}</div>"
    return head + (_table(array) if has_table else "")


def _table(array: Any) -> str:
    rows = array[None, :] if array.ndim == 1 else array
    columns = _some(rows.shape[1])
    lines = []
    for i in _some(rows.shape[0]):
        cells = ["⋮" if i is None else "…" if j is None else number_text(rows[i, j].item()) for j in columns]
        lines.append("<tr>" + "".join(f"<td {CELL}>{cell}</td>" for cell in cells) + "</tr>")
    return f"<table>{''.join(lines)}</table>"


def _some(length: int) -> list[int | None]:
    """The places that are shown of so many; None stands for those that are not."""
    if length <= MOST:
        return list(range(length))
    return [*range(ENDS), None, *range(length - ENDS, length)]
