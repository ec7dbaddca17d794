"""What values are called in a program: as in the user's code, where that can be seen."""

from __future__ import annotations

import ast
import functools
import itertools
import linecache
import textwrap

from ..core.table import name_of
from ..core.tensor import Tensor
from ..nn import functional
from .graph import CONSTANT, INPUT, Node, Place
from .trace import Trace, identifier

__all__ = ["name_values"]


MEANINGLESS = frozenset("array found input out output result results source src target value values".split())


def name_values(traced: Trace) -> None:
    """Name what has a name in somebody's code.

    The last value of each of the user's lines `name = ...` is called by that name, a layer's result by the layer's
    name, gradients after what they belong to, and other values as the lines of this package call them.
    """
    last: dict[str, Node] = {}
    for node in traced.graph.nodes:
        if node.op in (INPUT, CONSTANT) or node.formula or node.dtype is None:
            continue
        last[node.line] = node
    for line, node in last.items():
        file, _, number = line.rpartition(":")
        name = assigned(file).get(int(number)) if number.isdigit() else None
        if name and not node.name:
            node.name = name
    name_layers(traced)
    name_calls(traced.graph.nodes)
    name_inner_values(traced.graph.nodes, {node.name for node in traced.graph.nodes})
    name_gradients(traced)


def name_layers(traced: Trace) -> None:
    """Call the last value that is computed in a layer by the layer's name."""
    paths = {id(module): path for module, path in traced.found.modules.items() if path}
    last = {node.layer: node for node in traced.graph.nodes if node.layer in paths}
    for layer, node in last.items():
        node.name = node.name or identifier(paths[layer])


def name_calls(nodes: list[Node]) -> None:
    """Call the last value that one of PyTorch's functions computes by the function's name."""
    calls = [*map(call_of, nodes), None]
    for i, node in enumerate(nodes):
        call = calls[i]
        if call is not None and call != calls[i + 1] and not node.name:
            node.name = call[-1].strip("_")


def call_of(node: Node) -> tuple[str, str, int, str] | None:
    """The outermost call of PyTorch's interface in the user's line: (line, file and line of the function, its name)."""
    for place in reversed(node.inside if not node.formula else ()):
        name = place.function
        if not name.startswith("_") and (hasattr(functional, name) or hasattr(Tensor, name)):
            return node.line, place.file, place.first, name
    return None


def name_gradients(traced: Trace) -> None:
    """Call a gradient after the value that it belongs to, which is called after its operation if it has no name yet.

    Values get their final names, since those of one name would be numbered from the last one on in the backward part.
    """
    own = {gradient for gradient, _ in traced.pairs if gradient.name}
    gradients = {value: gradient for gradient, value in traced.pairs if value.op is not CONSTANT}
    given = {value for value in gradients if value.name}
    taken: set[str] = set()
    for node in traced.graph.nodes:
        name = node.name or (name_of(node.op).strip("_") if node in gradients else "")
        if name and not node.formula:
            node.name = next(x for i in itertools.count(1) if (x := f"{name}_{i}" if i > 1 else name) not in taken)
            taken.add(node.name)
    for value, gradient in gradients.items():
        if not gradient.name or (value in given and gradient not in own):
            gradient.name = f"{value.name}_grad"


def name_inner_values(nodes: list[Node], taken: set[str]) -> None:
    """Call the last value that a line `name = ...` of this package computes by that name."""
    running: dict[Place, Node] = {}
    for node in [*nodes, Node(INPUT)]:
        for place in [place for place in running if place not in node.inside]:
            done = running.pop(place)
            name = assigned(place.file, place.first).get(place.line, "")
            if not done.name and len(name) > 1 and name not in MEANINGLESS and name not in taken:
                done.name = name.strip("_")
        if node.op not in (INPUT, CONSTANT):
            running.update(dict.fromkeys(node.inside, node))


@functools.lru_cache(1024)
def assigned(file: str, first: int = 0) -> dict[int, str]:
    """For each line of a file the variable to which its statement assigns, if it is one.

    Args:
        first: the first line of a function, to which one looks then: to read whole files would take longer.
    """
    lines = linecache.getlines(file)
    if first:
        lines = ["\n"] * (first - 1) + block(lines, first)
    try:
        tree = ast.parse("".join(lines))
    except (SyntaxError, ValueError):
        return {}
    if first and not (tree.body and isinstance(tree.body[0], (ast.FunctionDef, ast.AsyncFunctionDef))):
        return {}  # a lambda or a comprehension: the function around it has a line of its own
    names: dict[int, str] = {}
    for statement in ast.walk(tree):
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        if isinstance(statement, (ast.Assign, ast.AugAssign, ast.AnnAssign)) and isinstance(targets[0], ast.Name):
            for line in range(statement.lineno, (statement.end_lineno or statement.lineno) + 1):
                names[line] = targets[0].id
    return names


def block(lines: list[str], first: int) -> list[str]:
    """The lines of a function that begins with the line `first`, decorators included, without its indentation."""
    found: list[str] = []
    margin = 0
    inside = False  # behind the decorators
    for line in lines[first - 1 :]:
        text = line.strip()
        indentation = len(line) - len(line.lstrip())
        if not found:
            margin, inside = indentation, not text.startswith("@")
        elif inside and text and indentation <= margin and text[0] not in ")]}#":
            break
        inside = inside or text.startswith(("def ", "async def "))
        found.append(line)
    return textwrap.dedent("".join(found)).splitlines(keepends=True)
