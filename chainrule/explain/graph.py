"""What is drawn of a graph: its nodes in the frames of their modules, what is deep or repeated collapsed.

Made of three passes over the engine's nodes: each node finds its module, modules are opened or closed, and what is then
still too much becomes one box.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.backprop import _Ends, edges_of
from ..core.recipe import Leaf, Recipe
from ..core.sort import topological_sort
from ..core.table import name_of
from ..core.tensor import Tensor
from .names import Names
from .record import modules_of
from .spans import too_long
from .steps import operation_name, values_at
from .values import Value, number_text, value_of

__all__ = ["Box", "Edge", "Frame", "Picture", "boxes_in", "lay_out"]

READABLE = 150  # boxes that modules are opened for
LONGEST = 40  # characters of values in a box
SMALLEST = 4  # nodes of a block that is worth collapsing

Node = Recipe | Leaf
Path = tuple[tuple[str, str], ...]  # of modules: (path, class name), the outermost first


@dataclass(slots=True)
class Box:
    """One box or oval: a leaf, an operation, a constant, a closed module, or all the rest."""

    number: str
    kind: str
    label: str


@dataclass(slots=True)
class Edge:
    """An arrow between two boxes, by their numbers."""

    start: str
    end: str
    label: str = ""
    dashed: bool = False


@dataclass(slots=True)
class Frame:
    """A module with what it computed, or the whole picture."""

    label: str
    parts: list[Box | Frame] = field(default_factory=list)


@dataclass(slots=True)
class Picture:
    """What is to be drawn."""

    frame: Frame
    edges: list[Edge]


def lay_out(ends: Sequence[Tensor], names: Names, depth: int | None, repeats: bool, limit: int) -> Picture:
    """The picture of the graph behind some tensors.

    Args:
        ends: where it ends.
        names: the user's names.
        depth: how many modules are opened inside one another; None: as many as stay readable.
        repeats: whether repeated blocks are drawn each.
        limit: the largest number of boxes.

    Raises:
        RuntimeError: a backward pass has freed the graph.
    """
    nodes: list[Node] = [node for node in (end.node() for end in ends) if node is not None]
    if not nodes:
        label = _label(names.of_tensor(ends[0]) or "", value_of(ends[0]), ends[0].grad)
        return Picture(Frame("", [Box("n0", "leaf", label)]), [])
    order: list[Any] = topological_sort(_Ends(nodes), _unfreed_edges)[:-1]
    inside = _modules(order)
    same = {} if repeats else _repeated(order, inside)
    homes = _closed(order, inside, same, depth)
    picture = _Painter(order, homes, same, names, frozenset(nodes), limit).picture()
    _shorten(picture)
    return picture


def _unfreed_edges(node: Any) -> Any:
    if isinstance(node, Recipe) and node.freed:
        raise RuntimeError(
            f"{name_of(node.func)}: this graph was freed by a backward pass. Draw it before, or write "
            "backward(retain_graph=True)"
        )
    return tuple(reversed(edges_of(node)))  # so that the first argument's side comes first


# ----- modules ----------------------------------------------------------------------------------------------------


def _modules(order: Sequence[Node]) -> dict[Node, Path]:
    """The modules of each node: as recorded, else those that all its users share."""
    inside: dict[Node, Path] = {}
    shared: dict[Node, Path] = {}
    for node in reversed(order):
        known = modules_of(node) if isinstance(node, Recipe) else None
        path = inside[node] = shared.get(node, ()) if known is None else known
        for edge in node._edges:
            if edge is not None:
                shared[edge] = _common(shared[edge], path) if edge in shared else path
    return inside


def _common(one: Path, other: Path) -> Path:
    length = 0
    while length < min(len(one), len(other)) and one[length] == other[length]:
        length += 1
    return one[:length]


def _repeated(order: Sequence[Node], inside: dict[Node, Path]) -> dict[Path, tuple[Path, Path, int]]:
    """Modules that are built as the one before them: path -> (the first of the row, the one to draw, how many)."""
    builds: dict[Path, list[Any]] = {}
    for node in order:
        path = inside[node]
        for length in range(1, len(path) + 1):
            relative = tuple(kind for _, kind in path[length:])
            what = operation_name(node._func) if isinstance(node, Recipe) else "leaf"
            builds.setdefault(path[:length], []).append((what, relative))
    found: dict[Path, tuple[Path, Path, int]] = {}
    children: dict[Path, list[Path]] = {}
    for path in builds:  # in the order of their first nodes
        children.setdefault(path[:-1], []).append(path)
    for row in children.values():
        first = 0
        while first < len(row):
            last = first
            while last + 1 < len(row) and _alike(row[first], row[last + 1], builds):
                last += 1
            for path in row[first + 1 : last + 1]:
                found[path] = (row[first], row[first + 1], last - first)
            first = last + 1
    return found


def _alike(one: Path, other: Path, builds: dict[Path, list[Any]]) -> bool:
    here, there = builds[one], builds[other]
    return len(here) >= SMALLEST and one[-1][1] == other[-1][1] and Counter(here) == Counter(there)


def _closed(
    order: Sequence[Node], inside: dict[Node, Path], same: dict[Path, Any], depth: int | None
) -> dict[Node, tuple[Path, Path | None]]:
    """For each node the modules whose frames are around it, and the closed module that it disappears in, if any."""
    deepest = max((len(path) for path in inside.values()), default=0)
    for opened in range(deepest, -1, -1) if depth is None else (min(depth, deepest),):
        homes: dict[Node, tuple[Path, Path | None]] = {}
        for node in order:
            path = inside[node]
            closed = path[: opened + 1] if len(path) > opened else None
            for length in range(1, len(path) + 1):
                if path[:length] in same and (closed is None or length <= len(closed)):
                    closed = same[path[:length]][1]
                    break
            homes[node] = (path, None) if closed is None else (closed[:-1], closed)
        count = len({closed or node for node, (_, closed) in homes.items()})
        if depth is not None or count <= READABLE or opened == 0:
            return homes
        if opened == 1 and deepest > 1:  # the whole model as one box says less than a long drawing
            return homes
    raise AssertionError("unreachable")


def _shorten(picture: Picture) -> None:
    """Give arrows that are too long a stand-in for their start, which the picture then shows beside their end."""
    found = list(boxes_in(picture.frame))
    places = {box.number: i for i, (box, _) in enumerate(found)}
    pairs = [(places[edge.start], places[edge.end]) for edge in picture.edges]
    known: dict[tuple[int, int], str] = {}
    marks: dict[int, str] = {}
    for place in sorted(too_long(len(found), pairs)):
        start, end = pairs[place]
        if (start, end) not in known:
            box, frame = found[start][0], found[end][1]
            if start not in marks:  # of several that are called the same
                marks[start] = f"{box.label.partition(chr(10))[0]} #{len(marks) + 1}"
                box.label = "\n".join([marks[start], *box.label.split("\n")[1:]])
            known[start, end] = f"s{len(known)}"
            frame.parts.append(Box(known[start, end], "again", marks[start]))
        picture.edges[place].start = known[start, end]


def boxes_in(frame: Frame) -> Iterator[tuple[Box, Frame]]:
    """The boxes of a picture, each with the frame around it."""
    for part in frame.parts:
        if isinstance(part, Box):
            yield part, frame
        else:
            yield from boxes_in(part)


# ----- boxes ------------------------------------------------------------------------------------------------------


class _Painter:
    """Makes boxes, frames and arrows."""

    def __init__(
        self,
        order: Sequence[Node],
        homes: dict[Node, tuple[Path, Path | None]],
        same: dict[Path, tuple[Path, Path, int]],
        names: Names,
        ends: frozenset[Node],
        limit: int,
    ) -> None:
        self.order, self.homes, self.same, self.names, self.ends = order, homes, same, names, ends
        self.frame = Frame("")
        self.frames: dict[Path, Frame] = {(): self.frame}
        self.edges: dict[tuple[str, str, str], Edge] = {}
        self.values = dict(zip(order, values_at(order), strict=True))
        self.keys = {node: homes[node][1] or node for node in order}  # what stands for it: itself or a closed module
        self.kept = self._nearest(limit)
        self.numbers: dict[Any, str] = {}
        self.inside: dict[Any, list[Node]] = {}
        for node, key in self.keys.items():
            self.inside.setdefault(key, []).append(node)

    def _nearest(self, limit: int) -> set[Any]:
        """What is drawn: all, or the `limit` boxes nearest to the end."""
        keys = set(self.keys.values())
        if len(keys) <= limit:
            return keys
        members: dict[Any, list[Node]] = {}
        for node, key in self.keys.items():
            members.setdefault(key, []).append(node)
        queue = deque(self.keys[node] for node in self.order if node in self.ends)
        kept = set(queue)
        while queue and len(kept) < limit:
            for node in members[queue.popleft()]:
                for edge in node._edges:
                    if edge is not None and self.keys[edge] not in kept and len(kept) < limit:
                        kept.add(self.keys[edge])
                        queue.append(self.keys[edge])
        return kept

    def picture(self) -> Picture:
        """All of it."""
        left_out = [node for node in self.order if self.keys[node] not in self.kept]
        if left_out:
            self.frame.parts.append(Box("rest", "rest", _summary(left_out)))
        constants = 0
        for node in self.order:
            key = self.keys[node]
            if key not in self.kept:
                self.numbers[key] = "rest"
            elif key not in self.numbers:
                self.numbers[key] = f"n{len(self.numbers)}"
                path, closed = self.homes[node]
                self._frame(path).parts.append(self._closed_box(closed) if closed else self._box(node))
            here = self.numbers[key]
            if isinstance(node, Leaf):
                continue
            several = key is node and sum(edge is not None for edge in node._edges) > 1
            for position, edge in enumerate(node._edges):
                if edge is not None:
                    self._arrow(self.numbers[self.keys[edge]], here, str(position) if several else "")
                elif key is node and key in self.kept and (text := self._constant(node, position)):
                    self._frame(self.homes[node][0]).parts.append(Box(f"c{constants}", "constant", text))
                    self._arrow(f"c{constants}", here, "", dashed=True)
                    constants += 1
        return Picture(self.frame, list(self.edges.values()))

    def _arrow(self, start: str, end: str, label: str, dashed: bool = False) -> None:
        if start != end:
            self.edges.setdefault((start, end, label), Edge(start, end, label, dashed))

    def _frame(self, path: Path) -> Frame:
        known = self.frames.get(path)
        if known is None:
            text, kind = path[-1]
            known = self.frames[path] = Frame(f"{text} ({kind})" if text else kind)
            self._frame(path[:-1]).parts.append(known)
        return known

    def _box(self, node: Any) -> Box:
        number = self.numbers[node]
        name = self.names.of_node(node) or ""
        if isinstance(node, Leaf):
            tensor = node.tensor()
            if tensor is None:
                return Box(number, "leaf", name or "leaf")
            return Box(number, "leaf", _label(name, value_of(tensor), tensor.grad))
        operation = operation_name(node._func)
        title = f"{name} = {operation}" if name else operation
        kept = node._extra.retained() if node._extra is not None and node._extra.retained is not None else None
        out = self.values[node]
        if isinstance(out, tuple):
            return Box(number, "operation", f"{title}\n{len(out)} results")
        label = _label(title, value_of(out), None if kept is None else kept.grad)
        return Box(number, "end" if node in self.ends else "operation", label)

    def _closed_box(self, path: Path) -> Box:
        text, kind = path[-1]
        members = self.inside[path]
        operations = sum(isinstance(node, Recipe) for node in members)
        title = f"{text} ({kind})" if text else kind
        repeated = self.same.get(path)
        if repeated is not None:
            first, _, count = repeated
            others = sorted({p[-1][0] for p, (start, _, _) in self.same.items() if start == first}, key=_by_number)
            row = others[0] if count == 1 else f"{others[0]} to {others[-1]}"
            title = f"{row}\n{count} × {kind}, as {first[-1][0]}"
        last = next((node for node in reversed(members) if isinstance(node, Recipe)), None)
        out = getattr(last, "_out", None)
        shape = "" if getattr(out, "shape", None) is None else f"\n{value_of(out).kind}"
        return Box(self.numbers[path], "module", f"{title}\n{operations} operations{shape}")

    def _constant(self, node: Recipe, position: int) -> str:
        """An argument without a gradient: a number, or an array by its shape; other settings go without saying."""
        value = node._args[position]
        given = node._inputs[position]
        name = self.names.of_tensor(given)
        if isinstance(value, (bool, int, float, complex)):
            return name or repr(value)
        if hasattr(value, "shape") and hasattr(value, "dtype") and not isinstance(value, type):
            return _label(name or "", value_of(value), None)
        return ""


def _label(title: str, value: Value, gradient: Tensor | None) -> str:
    parts = [title, value.kind, _short(value)]
    if gradient is not None:
        parts.append(f"grad {_short(value_of(gradient))}")
    return "\n".join(part for part in parts if part)


def _short(value: Value) -> str:
    """A value in few characters to a line."""
    if value.numbers is None:
        return value.text.replace(", ", "\n")
    if len(value.text) <= LONGEST:
        return value.text
    rows = value.numbers if len(value.shape) > 1 else [value.numbers]
    return "\n".join(_rounded(row) for row in rows)


def _rounded(numbers: Any) -> str:
    if isinstance(numbers, list):
        return "[" + ", ".join(map(_rounded, numbers)) + "]"
    return f"{numbers:.2g}" if isinstance(numbers, float) else number_text(numbers)


def _by_number(path: str) -> list[Any]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in path.split(".")]


def _summary(nodes: Sequence[Node]) -> str:
    counts = Counter(operation_name(node._func) for node in nodes if isinstance(node, Recipe))
    leaves = sum(isinstance(node, Leaf) for node in nodes)
    rows = [f"{len(nodes)} nodes more"] + [f"{name} × {count}" for name, count in counts.most_common(6)]
    rows += [f"others × {sum(counts.values()) - sum(c for _, c in counts.most_common(6))}"] if len(counts) > 6 else []
    rows += [f"leaves × {leaves}"] if leaves else []
    return "\n".join(rows)
