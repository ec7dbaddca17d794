"""Drawings of the graph: `draw(tensor)` or `draw(module, input)` in DOT, the language of Graphviz.

Leaves are boxes, operations ovals, constants grey, modules frames around what they computed; an arrow leads from what
was given to what was computed from it. `graph.py` decides what is drawn and what is collapsed; here it is written.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Iterable, Mapping
from typing import Any

from ..core.tensor import Tensor
from ..nn.module import Module
from .graph import Box, Frame, Picture, boxes_in, lay_out
from .names import Names
from .record import recording

__all__ = ["Drawing", "draw"]

NEEDS_GRAPHVIZ = (
    "pictures are made by Graphviz, which is not installed: pip install 'chainrule[draw]' brings it, "
    "or use drawing.source or drawing.save('graph.dot'), which need nothing"
)
RENDERED = (".svg", ".png", ".pdf")


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
        """Write a picture if the path ends in .svg, .png or .pdf, else the DOT text."""
        ending = os.path.splitext(os.fspath(path))[1].lower()
        content = self.render(ending[1:]) if ending in RENDERED else self.source.encode()
        with open(path, "wb") as file:
            file.write(content)

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


def draw(
    subject: Any,
    *inputs: Any,
    names: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]] = (),
    depth: int | None = None,
    repeats: bool = False,
    limit: int = 1000,
) -> Drawing:
    """The graph that led to a tensor, or that a module makes of its inputs: leaves, operations, constants, values.

    Args:
        subject: a tensor; or a module or any other function, which is then called with the inputs; or a compiled
            function, whose program is drawn.
        inputs: what a module or function is called with; a compiled function that was called before needs none. After
            a tensor, one mapping of names may stand here.
        names: name -> tensor, in addition to the caller's variables and to `chainrule.name`.
        depth: how deep modules are opened: 0 draws a model as one box; chosen to keep the drawing readable if left
            out. Modules are known where the drawing calls them, or the graph was made inside `recording()`.
        repeats: whether blocks of the same build, one after another, are each drawn in full.
        limit: how many boxes are drawn at most, those nearest to the end; the others are one box with a summary.

    Raises:
        TypeError: neither a tensor nor a function.
        ValueError: a depth below 0, or a limit below 1.
        RuntimeError: a backward pass has freed the graph.

    >>> import chainrule as cr
    >>> a = cr.tensor([1.0, 2.0], requires_grad=True)
    >>> print(draw((a * 3).sum()).source)
    digraph {
      rankdir=TB
      node [fontname="Helvetica", fontsize=11]
      edge [fontname="Helvetica", fontsize=9, color="#555555"]
      n0 [label="a\\n(2,) float32\\n[1, 2]", shape=box, style=filled, fillcolor="#dbe9f6"]
      n1 [label="multiply\\n(2,) float32\\n[3, 6]", shape=oval]
      c0 [label="3", shape=plaintext, fontcolor="#777777"]
      n2 [label="sum\\n() float32\\n9", shape=oval, style=filled, fillcolor="#fbe3d0"]
      n0 -> n1
      c0 -> n1 [style=dashed]
      n1 -> n2
    }
    <BLANKLINE>
    """
    if (depth is not None and depth < 0) or limit < 1:
        raise ValueError(f"draw takes a depth from 0 and a limit from 1, got depth={depth} and limit={limit}")
    if isinstance(subject, Tensor):
        if len(inputs) > 1:
            raise TypeError(f"after a tensor draw takes names only, got {len(inputs)} arguments")
        found = Names([*_pairs(names), *(_pairs(inputs[0]) if inputs else ())])
        return Drawing(written(lay_out([subject], found, depth, repeats, limit)))
    if not callable(subject):
        raise TypeError(f"draw takes a Tensor, a module or a function, got {type(subject).__name__}")
    from ..compiler.compiled import Compiled

    if isinstance(subject, Compiled):
        if inputs:
            subject(*inputs)
        return subject.graph.draw()  # type: ignore[no-any-return]
    with recording():
        result = subject(*inputs)
    ends = [tensor for tensor in tensors_in(result) if tensor.node() is not None] or tensors_in(result)[:1]
    if not ends:
        raise TypeError(f"draw: the function returned no Tensor but {type(result).__name__}")
    own = list(subject.named_parameters()) if isinstance(subject, Module) else []
    given = [(f"input {i}" if len(inputs) > 1 else "input", x) for i, x in enumerate(inputs) if isinstance(x, Tensor)]
    return Drawing(written(lay_out(ends, Names([*_pairs(names), *own, *given]), depth, repeats, limit)))


def _pairs(names: Any) -> list[tuple[str, Tensor]]:
    return list(names.items() if isinstance(names, Mapping) else names)


def tensors_in(result: Any) -> list[Tensor]:
    """The tensors in a result: itself, or those in tuples, lists and dicts."""
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, Mapping):
        result = list(result.values())
    return [t for item in result for t in tensors_in(item)] if isinstance(result, (tuple, list)) else []


# ----- DOT --------------------------------------------------------------------------------------------------------

STYLES = {
    "leaf": 'shape=box, style=filled, fillcolor="#dbe9f6"',
    "operation": "shape=oval",
    "end": 'shape=oval, style=filled, fillcolor="#fbe3d0"',
    "constant": 'shape=plaintext, fontcolor="#777777"',
    "again": 'shape=box, style=dashed, color="#777777", fontcolor="#777777"',
    "module": 'shape=box, style="filled,rounded", fillcolor="#e7efe2"',
    "rest": 'shape=box, style="dashed,rounded", fontcolor="#777777"',
}


GIVEN = ("leaf", "constant", "again")  # these have nothing above them


def written(picture: Picture) -> str:
    """The picture in DOT."""
    lines = [
        "digraph {",
        "  rankdir=TB",
        '  node [fontname="Helvetica", fontsize=11]',
        '  edge [fontname="Helvetica", fontsize=9, color="#555555"]',
    ]
    _write_frame(lines, picture.frame, "  ", [0])
    homes = {box.number: (frame, box.kind) for box, frame in boxes_in(picture.frame)}
    given = {edge.end for edge in picture.edges if homes[edge.start][1] in GIVEN}
    for edge in picture.edges:
        mark = [f"label={quoted(edge.label)}"] if edge.label else []
        mark += ["style=dashed"] if edge.dashed else []
        (home, kind), (other, _) = homes[edge.start], homes[edge.end]
        if edge.end in given and home is not other and kind not in GIVEN:
            mark.append("minlen=2")  # the leaves stand between: beside the module before, they would push it aside
        lines.append(f"  {edge.start} -> {edge.end}" + (f" [{', '.join(mark)}]" if mark else ""))
    return "\n".join([*lines, "}", ""])


def _write_frame(lines: list[str], frame: Frame, pad: str, count: list[int]) -> None:
    for part in frame.parts:
        if isinstance(part, Box):
            lines.append(f"{pad}{part.number} [label={quoted(part.label)}, {STYLES[part.kind]}]")
            continue
        lines += [
            f"{pad}subgraph cluster_{count[0]} {{",
            f'{pad}  label={quoted(part.label)}; style=rounded; color="#9db38a"; fontname="Helvetica"; fontsize=10',
        ]
        count[0] += 1
        _write_frame(lines, part, pad + "  ", count)
        lines.append(f"{pad}}}")


def quoted(text: str) -> str:
    """A DOT string: quotes and backslashes escaped, line ends as \\n.

    >>> print(quoted('say "hi"'))
    "say \\"hi\\""
    """
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "").replace("\n", "\\n") + '"'
