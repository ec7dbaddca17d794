"""Drawings of the graph: `draw(tensor)` writes it in DOT, the language of Graphviz.

Leaves are boxes, operations ovals, constants grey; an arrow leads from what was given to what was computed from it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Any

from ..core.recipe import Leaf, Recipe
from ..core.sort import topological_sort
from ..core.table import name_of
from ..core.tensor import Tensor

__all__ = ["Drawing", "draw"]

edges_of = attrgetter("_edges")
NEEDS_GRAPHVIZ = (
    "pictures are made by Graphviz, which is not installed: pip install 'chainrule[draw]' brings it, "
    "or use drawing.source or drawing.save(path), which need nothing"
)


def graphviz_command() -> str | None:
    """The program that the `draw` extra installs beside this Python, else one on the path, else the system's `dot`."""
    return (
        shutil.which("graphviz-pure", path=sysconfig.get_path("scripts"))
        or shutil.which("graphviz-pure")
        or shutil.which("dot")
    )


class Drawing:
    """A graph in the DOT language.

    Attributes:
        source: the DOT text.
    """

    def __init__(self, source: str) -> None:
        self.source = source

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the DOT text to a file."""
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.source)

    def render(self, format: str) -> bytes:
        """The picture in one of Graphviz's formats, such as "svg", "png" or "pdf".

        Raises:
            ImportError: there is no Graphviz.
            RuntimeError: Graphviz refused; the message is its own.
        """
        command = graphviz_command()
        if command is None:
            raise ImportError(NEEDS_GRAPHVIZ)
        done = subprocess.run([command, f"-T{format}"], input=self.source.encode(), capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(f"Graphviz could not make {format!r}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout

    @property
    def svg(self) -> str:
        """The picture as SVG text; see `render`."""
        return self.render("svg").decode()

    @property
    def png(self) -> bytes:
        """The picture as the bytes of a PNG file; see `render`."""
        return self.render("png")

    def _repr_svg_(self) -> str | None:
        """The picture for notebooks, where it can be made."""
        try:
            return self.svg
        except (ImportError, RuntimeError):
            return None

    def __repr__(self) -> str:
        return f"Drawing({self.source.count(chr(10))} lines of DOT)"


def draw(tensor: Tensor, names: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]] = ()) -> Drawing:
    """The graph that led to a tensor: its leaves, operations and constants, with their shapes.

    Args:
        tensor: where the graph ends; one without a graph is drawn as a single node.
        names: name -> tensor for leaves that should be shown by name, such as `model.named_parameters()`.

    Raises:
        TypeError: not a tensor.
        RuntimeError: a backward pass has freed the graph.

    >>> import chainrule as cr
    >>> a = cr.tensor([1.0, 2.0], requires_grad=True)
    >>> print(draw((a * 3).sum(), {"a": a}).source)
    digraph {
      rankdir=TB
      node [fontname="Helvetica", fontsize=11]
      edge [fontname="Helvetica", fontsize=9, color="#555555"]
      n0 [label="a\\n(2,) float32", shape=box, style=filled, fillcolor="#dbe9f6"]
      n1 [label="multiply\\n(2,)", shape=oval]
      n0 -> n1
      c0 [label="3", shape=plaintext, fontcolor="#777777"]
      c0 -> n1 [style=dashed]
      n2 [label="sum\\n()", shape=oval, style=filled, fillcolor="#fbe3d0"]
      n1 -> n2
    }
    <BLANKLINE>
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"draw takes a Tensor, got {type(tensor).__name__}")
    pairs = names.items() if isinstance(names, Mapping) else names
    by_tensor = {id(named): name for name, named in pairs}
    writer = _Writer(by_tensor)
    end = tensor.node()
    if end is None:
        writer.box("n0", by_tensor.get(id(tensor)), tensor.array)
        return Drawing(writer.text())
    numbers: dict[Recipe | Leaf, str] = {}
    for node in topological_sort(end, _unfreed_edges):
        numbers[node] = f"n{len(numbers)}"
        if isinstance(node, Leaf):
            leaf = node.tensor()
            writer.box(numbers[node], by_tensor.get(id(leaf)), None if leaf is None else leaf.array)
        else:
            writer.operation(node, numbers, last=node is end)
    return Drawing(writer.text())


def _unfreed_edges(node: Any) -> Any:
    if isinstance(node, Recipe) and node.freed:
        raise RuntimeError(
            f"{name_of(node.func)}: this graph was freed by a backward pass. Draw it before, or write "
            "backward(retain_graph=True)"
        )
    return edges_of(node)


class _Writer:
    """Collects the lines of a DOT text."""

    def __init__(self, names: dict[int, str]) -> None:
        self.names = names
        self.constants = 0
        self.lines = [
            "digraph {",
            "  rankdir=TB",
            '  node [fontname="Helvetica", fontsize=11]',
            '  edge [fontname="Helvetica", fontsize=9, color="#555555"]',
        ]

    def text(self) -> str:
        return "\n".join([*self.lines, "}", ""])

    def box(self, number: str, name: str | None, array: Any) -> None:
        """A leaf, or a tensor without a graph."""
        kind = "" if array is None else f"{tuple(array.shape)} {array.dtype}"
        label = "\n".join(part for part in (name or ("" if kind else "leaf"), kind) if part)
        self.lines.append(f'  {number} [label={quoted(label)}, shape=box, style=filled, fillcolor="#dbe9f6"]')

    def operation(self, node: Recipe, numbers: dict[Recipe | Leaf, str], last: bool) -> None:
        """A recipe, with arrows from its arguments."""
        here = numbers[node]
        shape = getattr(node._out, "shape", None)
        label = name_of(node.func) + ("" if shape is None else f"\n{tuple(shape)}")
        style = ', style=filled, fillcolor="#fbe3d0"' if last else ""
        self.lines.append(f"  {here} [label={quoted(label)}, shape=oval{style}]")
        several = sum(edge is not None for edge in node._edges) > 1
        for position, edge in enumerate(node._edges):
            if edge is None:
                self.constant(here, node, position)
            else:
                mark = f' [label="{position}"]' if several else ""
                self.lines.append(f"  {numbers[edge]} -> {here}{mark}")

    def constant(self, here: str, node: Recipe, position: int) -> None:
        """An argument without a gradient: a number, or an array by its shape; other settings go without saying."""
        value = node.args[position]
        if isinstance(value, (bool, int, float, complex)):
            label = repr(value)
        elif hasattr(value, "shape") and hasattr(value, "dtype"):
            given = self.names.get(id(node._inputs[position]))
            label = "\n".join(part for part in (given, f"{tuple(value.shape)} {value.dtype}") if part)
        else:
            return
        name = f"c{self.constants}"
        self.constants += 1
        self.lines.append(f'  {name} [label={quoted(label)}, shape=plaintext, fontcolor="#777777"]')
        self.lines.append(f"  {name} -> {here} [style=dashed]")


def quoted(text: str) -> str:
    """A DOT string: quotes and backslashes escaped, line ends as \\n.

    >>> print(quoted('say "hi"'))
    "say \\"hi\\""
    """
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "").replace("\n", "\\n") + '"'
