"""The program as a graph: nodes in the order in which they run, each a call of a NumPy function on earlier nodes.

Values are never changed: a write to an array is a node that gives the array as it is afterwards. What the program
reads from outside are nodes with the operation `INPUT`; what it hands out is listed in `Graph.outputs`.
Read next: `tracer.py`, which records a graph, and `passes/`, which rewrite it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from ..core.table import name_of

__all__ = ["CONSTANT", "INPUT", "STRIDED", "Graph", "Node", "map_nodes", "nodes_in"]


class _Marker:
    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __repr__(self) -> str:
        return self.__name__


INPUT = _Marker("input")
STRIDED = _Marker("strided")  # the argument of an input whose elements are not in order in memory
CONSTANT = _Marker("constant")
ATOMS = frozenset((int, float, bool, str, type(None)))  # arguments in which there are no nodes


class Place(NamedTuple):
    """A line of a function: the file, the line, the function's first line, and its name."""

    file: str
    line: int
    first: int
    function: str


class Origin(NamedTuple):
    """Which code asked for a value.

    Attributes:
        statements: (frame, line, place within it) of the user's, the innermost first.
        inside: this package's places between the user's code and the engine, the innermost first.
        layer: the id of the innermost module that was being called, or 0.
    """

    statements: tuple[tuple[int, int, int], ...] = ()
    inside: tuple[Place, ...] = ()
    layer: int = 0


NOBODY = Origin()


class Node:
    """One value of the program.

    Attributes:
        op: the function that computes it, or `INPUT`, or `CONSTANT`.
        args: its arguments: nodes, numbers, shapes, and nested tuples, lists and slices of them. The array itself of a
            constant.
        kwargs: its keyword arguments, likewise.
        shape, dtype: of the array; `dtype` is None for a Python number, `shape` None for a tuple of several results.
        name: what the value is called in printed programs; made unique there.
        line: `file:line` of the user's code that asked for it.
        formula: for a step of the backward pass, the formula of the backward function it belongs to.
        effect: whether it must run even if nobody uses its result, and in its place.
        origin: the code that asked for it, which names it.
    """

    __slots__ = ("args", "dtype", "effect", "formula", "kwargs", "line", "name", "op", "origin", "shape")

    def __init__(
        self,
        op: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        shape: tuple[int, ...] | None = None,
        dtype: np.dtype[Any] | None = None,
        *,
        name: str = "",
        line: str = "",
        formula: str = "",
        effect: bool = False,
        origin: Origin = NOBODY,
    ) -> None:
        self.op = op
        self.args = args
        self.kwargs = kwargs or {}
        self.shape = shape
        self.dtype = dtype
        self.name = name
        self.line = line
        self.formula = formula
        self.effect = effect
        self.origin = origin

    @property
    def size(self) -> int:
        """The number of elements; 1 for a number, 0 for several results."""
        return 0 if self.shape is None else math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The bytes that the array takes; 0 for a number."""
        return 0 if self.dtype is None else self.size * self.dtype.itemsize

    def operands(self) -> list[Node]:
        """The nodes among the arguments, each as often as it occurs."""
        found: list[Node] = []
        collect(self.args, found)
        if self.kwargs:
            collect(self.kwargs.values(), found)
        return found

    def like(self, op: Any, *args: Any, **kwargs: Any) -> Node:
        """A node of the same shape, type and origin that computes something else."""
        return Node(op, args, kwargs, self.shape, self.dtype, name=self.name, line=self.line, formula=self.formula)

    def __repr__(self) -> str:
        return f"<{name_of(self.op)} {describe(self)}>"


def describe(node: Node) -> str:
    """Type and shape, as in `float32[16, 32]`."""
    if node.shape is None:
        return "several"
    if node.dtype is None:
        return "number"
    return f"{node.dtype}[{', '.join(map(str, node.shape))}]"


def nodes_in(value: Any) -> list[Node]:
    """The nodes in a nested argument, in order."""
    found: list[Node] = []
    collect((value,), found)
    return found


def collect(values: Iterable[Any], found: list[Node]) -> None:
    """Append the nodes in nested arguments; graphs ask for them all the time."""
    for value in values:
        kind = type(value)
        if kind is Node:
            found.append(value)
        elif kind in ATOMS:
            continue
        elif isinstance(value, (tuple, list)):
            collect(value, found)
        elif isinstance(value, dict):
            collect(value.values(), found)
        elif isinstance(value, slice):
            collect((value.start, value.stop, value.step), found)


def map_nodes(value: Any, function: Callable[[Node], Any]) -> Any:
    """A nested argument with each node replaced by what `function` makes of it."""
    if isinstance(value, Node):
        return function(value)
    if isinstance(value, (tuple, list)):
        mapped = [map_nodes(item, function) for item in value]
        if hasattr(value, "_fields"):
            return type(value)(*mapped)
        return tuple(mapped) if isinstance(value, tuple) else mapped
    if isinstance(value, dict):
        return {key: map_nodes(item, function) for key, item in value.items()}
    if isinstance(value, slice):
        return slice(*(map_nodes(item, function) for item in (value.start, value.stop, value.step)))
    return value


class Graph:
    """Nodes in the order in which they run, and those that are handed out.

    Attributes:
        nodes: all of them; inputs and constants may stand anywhere before their first use.
        outputs: the nodes whose values are results.

    >>> import numpy as np
    >>> x = Node(INPUT, shape=(2,), dtype=np.dtype("f4"), name="x")
    >>> y = Node(np.exp, (x,), shape=(2,), dtype=np.dtype("f4"), name="y")
    >>> print(Graph([x, y], [y]))
    x = input                                         float32[2]
    y = exp(x)                                        float32[2]
    return y
    """

    def __init__(self, nodes: list[Node], outputs: list[Node]) -> None:
        self.nodes = nodes
        self.outputs = outputs

    @property
    def inputs(self) -> list[Node]:
        """The nodes that stand for values from outside."""
        return [node for node in self.nodes if node.op is INPUT]

    def users(self) -> dict[Node, list[Node]]:
        """For each node the nodes that use it, in order, as often as they do."""
        users: dict[Node, list[Node]] = {node: [] for node in self.nodes}
        for node in self.nodes:
            for operand in node.operands():
                users[operand].append(node)
        return users

    def rewrite(self, rule: Callable[[Node], Node | None]) -> bool:
        """Replace each node for which `rule` returns another; returns whether any was.

        `rule` sees nodes whose operands have been replaced already. What it returns may be an earlier node, or a new
        one on earlier nodes; new nodes that it needs on the way are found through its operands.
        """
        replaced: dict[Node, Node] = {}
        nodes: list[Node] = []
        placed: set[Node] = set()

        def place(node: Node) -> None:
            for operand in node.operands():
                if operand not in placed:
                    place(operand)
            placed.add(node)
            nodes.append(node)

        for node in self.nodes:
            if replaced and any(operand in replaced for operand in node.operands()):
                node.args = map_nodes(node.args, lambda operand: replaced.get(operand, operand))
                node.kwargs = map_nodes(node.kwargs, lambda operand: replaced.get(operand, operand))
            other = rule(node)
            if other is None or other is node:
                other = node
            else:
                replaced[node] = other
                if node.name and not other.name:
                    other.name = node.name
            if other not in placed:
                place(other)
        if replaced:
            self.outputs = [replaced.get(node, node) for node in self.outputs]
            self.nodes = nodes
        return bool(replaced)

    def names(self) -> dict[Node, str]:
        """A unique name for each node: its own, numbered where it is taken."""
        names: dict[Node, str] = {}
        counts: dict[str, int] = {}
        taken: set[str] = set()
        for node in self.nodes:
            name = base = node.name or (name_of(node.op).lstrip("_") if callable(node.op) else "value")
            while name in taken:
                counts[base] = counts.get(base, 1) + 1
                name = f"{base}_{counts[base]}"
            taken.add(name)
            names[node] = name
        return names

    def draw(self) -> Any:
        """The graph in the DOT language: inputs as boxes, steps as ovals, results in colour."""
        from ..explain.drawing import STYLES, Drawing, quoted

        names = self.names()
        number = {node: f"n{i}" for i, node in enumerate(self.nodes)}
        lines = ["digraph {", "  rankdir=TB", '  node [fontname="Helvetica", fontsize=11]']
        for node in self.nodes:
            kind = "leaf" if node.op is INPUT else "constant" if node.op is CONSTANT else "operation"
            called = names[node]
            if node.op not in (INPUT, CONSTANT) and called != name_of(node.op):
                called = f"{called} = {name_of(node.op)}"
            style = STYLES["end" if node in self.outputs and kind == "operation" else kind]
            lines.append(f"  {number[node]} [label={quoted(f'{called}{chr(10)}{describe(node)}')}, {style}]")
        for node in self.nodes:
            operands = [] if node.op is CONSTANT else dict.fromkeys(node.operands())
            lines += [f"  {number[operand]} -> {number[node]}" for operand in operands]
        return Drawing("\n".join([*lines, "}", ""]))

    def __str__(self) -> str:
        names = self.names()
        lines = []
        for node in self.nodes:
            if node.op in (INPUT, CONSTANT):
                call = str(node.op)
            else:
                shown = [shown_argument(arg, names) for arg in node.args]
                shown += [f"{key}={shown_argument(value, names)}" for key, value in node.kwargs.items()]
                call = f"{name_of(node.op)}({', '.join(shown)})"
            lines.append(f"{names[node]} = {call}".ljust(50) + describe(node))
        return "\n".join([*lines, "return " + ", ".join(names[node] for node in self.outputs)])


def shown_argument(value: Any, names: dict[Node, str]) -> str:
    """An argument as text, nodes by their names."""
    if isinstance(value, Node):
        return names[value]
    if isinstance(value, tuple):
        inside = ", ".join(shown_argument(item, names) for item in value)
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    if isinstance(value, list):
        return f"[{', '.join(shown_argument(item, names) for item in value)}]"
    if isinstance(value, slice):
        parts = ["" if part is None else shown_argument(part, names) for part in (value.start, value.stop, value.step)]
        return f"{parts[0]}:{parts[1]}" + (f":{parts[2]}" if parts[2] else "")
    if value is Ellipsis:
        return "..."
    if isinstance(value, np.dtype):
        return value.name
    return name_of(value) if callable(value) else repr(value)
