"""What values are called in a program: as in the user's code, where that can be seen."""

from __future__ import annotations

import ast
import functools
import itertools
import linecache
import operator
import textwrap
from typing import Any

from ..core.table import name_of
from ..core.tensor import Tensor
from ..nn import functional
from .graph import CONSTANT, INPUT, Node, Place
from .trace import Trace, identifier

__all__ = ["name_values"]


MEANINGLESS = frozenset("array found input out output result results source src target value values".split())


def name_values(traced: Trace) -> None:
    """Name what has a name in somebody's code.

    The last value of each of the user's statements `name = ...` is called by that name, a layer's result by the layer's
    name, a function's by the function's, gradients after what they belong to, and other values as the lines of this
    package call them.
    """
    forward = [node for node in traced.graph.nodes if node.op not in (INPUT, CONSTANT) and not node.formula]
    name_statements(forward)
    name_layers(forward, traced.found.modules)
    name_calls(forward)
    name_inner_values(traced.graph.nodes, {node.name for node in traced.graph.nodes})
    name_gradients(traced)


def name_statements(nodes: list[Node]) -> None:
    """Call the last value that one of the user's statements computes by the variable that it assigns to.

    If it assigns to several, these are the last parts of one value.
    """
    for i, (node, following) in enumerate(itertools.pairwise([*nodes, Node(INPUT)])):
        if node.dtype is None or not node.origin.statements or goes_on(node.origin.statements[0], following):
            continue
        file, _, number = node.line.rpartition(":")
        names = assigned(file).get(int(number), "").split(", ")
        parts = nodes[max(0, i + 1 - len(names)) : i + 1]
        if len(names) == 1 or all(x.op is operator.getitem and x.args[0] is node.args[0] for x in parts):
            for part, name in zip(parts, names, strict=False):
                part.name = part.name or name


def goes_on(statement: tuple[int, int, int], following: Node) -> bool:
    """Whether the node that follows is computed by the same statement, or by a function that this has called."""
    frame, line, place = statement
    return any(other[:2] == (frame, line) and other[2] >= place for other in following.origin.statements)


def name_layers(nodes: list[Node], modules: dict[Any, str]) -> None:
    """Call the last value that is computed in a layer by the layer's name."""
    names = {id(module): identifier(path) for module, path in modules.items() if path}
    last = {node.origin.layer: node for node in nodes}
    for layer, node in last.items():
        node.name = node.name or names.get(layer, "")


def name_calls(nodes: list[Node]) -> None:
    """Call the last value that one of PyTorch's functions computes by the function's name."""
    calls = [*map(call_of, nodes), None]
    for i, node in enumerate(nodes):
        call = calls[i]
        if call is not None and call != calls[i + 1] and not node.name:
            node.name = call[-1].strip("_")


def call_of(node: Node) -> tuple[Any, ...] | None:
    """The outermost call of PyTorch's interface in the user's statement; the function's name comes last."""
    for place in reversed(node.origin.inside):
        name = place.function
        if not name.startswith("_") and (hasattr(functional, name) or hasattr(Tensor, name)):
            return (*(statement[:2] for statement in node.origin.statements[:1]), place.file, place.first, name)
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
        if value.name and (not gradient.name or (value in given and gradient not in own)):
            gradient.name = f"{value.name}_grad"


def name_inner_values(nodes: list[Node], taken: set[str]) -> None:
    """Call the last value that a line `name = ...` of this package computes by that name."""
    running: dict[Place, Node] = {}
    for node in [*nodes, Node(INPUT)]:
        for place in [place for place in running if place not in node.origin.inside]:
            done = running.pop(place)
            name = assigned(place.file, place.first).get(place.line, "")
            fits = len(name) > 1 and name.isidentifier() and name not in MEANINGLESS and name not in taken
            if fits and not done.name:
                done.name = name.strip("_")
        if node.op not in (INPUT, CONSTANT):
            running.update(dict.fromkeys(node.origin.inside, node))


@functools.lru_cache(1024)
def assigned(file: str, first: int = 0) -> dict[int, str]:
    """For each line of a file the variable to which its statement assigns, or several, with commas between them.

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
        if not isinstance(statement, (ast.Assign, ast.AugAssign, ast.AnnAssign)):
            continue
        each = targets[0].elts if isinstance(targets[0], ast.Tuple) else targets[:1]
        found = [target.id for target in each if isinstance(target, ast.Name)]
        if len(found) == len(each):
            for line in range(statement.lineno, (statement.end_lineno or statement.lineno) + 1):
                names[line] = ", ".join(found)
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
