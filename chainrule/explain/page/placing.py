"""Where the boxes and arrows of the page's graph stand: Graphviz, which also makes drawings, is given their sizes only.

No text of the user's goes through it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from ..drawing import Drawing

__all__ = ["Frame", "Placed", "Rectangle", "place"]

MARGIN = 8.0
MANY = 500  # arrows: of more, places are written in whole pixels
CHARACTER = 6.2  # the width of a frame's label, for each character


@dataclass(slots=True)
class Frame:
    """A module with the boxes in it, by number, and with the frames of its parts."""

    label: str
    boxes: list[int] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)


@dataclass(slots=True)
class Rectangle:
    """Its label, its left upper corner and its size, in pixels."""

    label: str
    x: float
    y: float
    width: float
    height: float


@dataclass(slots=True)
class Placed:
    """The graph on the page.

    Attributes:
        width, height: of all of it.
        centres: where the boxes stand.
        frames: the frames of modules, the outer ones first.
        curves: the arrows, as SVG paths.
    """

    width: float
    height: float
    centres: list[tuple[float, float]]
    frames: list[Rectangle]
    curves: list[str]


def place(
    sizes: Sequence[tuple[float, float]], edges: Sequence[tuple[int, int]], frame: Frame, long: Collection[int] = ()
) -> Placed:
    """Find places for boxes of these sizes, joined by these edges.

    Args:
        sizes: width and height of each.
        edges: pairs of boxes.
        frame: what is in which module.
        long: the edges that span two rows at least.

    Raises:
        ImportError: there is no Graphviz.
    """
    frames: list[Frame] = []
    lines = [
        "digraph {",
        "graph [nodesep=0.28, ranksep=0.42]",
        'node [shape=box, fixedsize=true, label=""]',
        "edge [arrowsize=0.6]",
    ]
    _frame_lines(lines, frame, sizes, frames)
    for i, (start, end) in enumerate(edges):
        lines.append(f"b{start} -> b{end} [id={i}{', minlen=2' if i in long else ''}]")
    answer = json.loads(Drawing("\n".join([*lines, "}"])).render("json0"))
    _, _, width, height = map(float, answer["bb"].split(","))
    placed = Placed(width + 2 * MARGIN, height + 2 * MARGIN, [(0.0, 0.0)] * len(sizes), [], [""] * len(edges))
    for thing in answer.get("objects", ()):
        name = thing["name"]
        if name.startswith("cluster"):
            left, low, right, high = map(float, thing["bb"].split(","))
            label = frames[int(name[7:])].label
            corner = round(left + MARGIN, 1), round(height - high + MARGIN, 1)
            placed.frames.append(Rectangle(label, *corner, round(right - left, 1), round(high - low, 1)))
        else:
            x, y = map(float, thing["pos"].split(","))
            placed.centres[int(name[1:])] = round(x + MARGIN, 1), round(height - y + MARGIN, 1)
    for edge in answer.get("edges", ()):
        placed.curves[int(edge["id"])] = _curve(edge["pos"], height, digits=1 if len(edges) < MANY else 0)
    return placed


def _frame_lines(lines: list[str], frame: Frame, sizes: Sequence[tuple[float, float]], frames: list[Frame]) -> None:
    for number in frame.boxes:
        width, height = sizes[number]
        lines.append(f"b{number} [width={width / 72:.3f}, height={height / 72:.3f}]")
    for part in frame.frames:
        label = "x" * round(len(part.label) * CHARACTER / 7.5)  # as wide in Graphviz's font
        lines.append(f'subgraph cluster{len(frames)} {{ label="{label}"')
        frames.append(part)
        _frame_lines(lines, part, sizes, frames)
        lines.append("}")


def _curve(text: str, height: float, digits: int) -> str:
    """Graphviz's curve "e,TIP START CONTROL CONTROL POINT ..." as a path, with an open arrowhead."""
    tip: tuple[float, float] | None = None
    points = []
    for part in text.split():
        numbers = part.split(",")
        point = float(numbers[-2]) + MARGIN, height - float(numbers[-1]) + MARGIN
        if numbers[0] == "e":
            tip = point
        elif numbers[0] != "s":
            points.append(point)

    def written(*points: tuple[float, float]) -> str:
        return " ".join(f"{x:.{digits}f},{y:.{digits}f}" for x, y in points)

    path = f"M{written(points[0])}C{written(*points[1:])}"
    if tip is None:
        return path
    x, y = points[-1][0] - tip[0], points[-1][1] - tip[1]  # from the tip back
    left = tip[0] + x + 0.6 * y, tip[1] + y - 0.6 * x
    right = tip[0] + x - 0.6 * y, tip[1] + y + 0.6 * x
    return f"{path}L{written(tip)}M{written(left)}L{written(tip, right)}"
