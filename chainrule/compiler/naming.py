"""What values are called in a program: as in the user's code, where that can be seen."""

from __future__ import annotations

import ast
import functools
import linecache
import os
import textwrap

import numpy as np

from .graph import CONSTANT, INPUT, Node
from .references import OfTensor
from .trace import Trace

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
    name_inner_values(traced.graph.nodes, {node.name for node in traced.graph.nodes})
    for gradient, value in traced.pairs:
        if value.name and not gradient.name and value.op is not CONSTANT:
            gradient.name = f"{value.name}_grad"


def name_layers(traced: Trace) -> None:
    """Call the last value that is computed with the parameters of a layer by the layer's name."""
    parameters = {node: node.name for node, reference in traced.inputs.items() if isinstance(reference, OfTensor)}
    last: dict[str, Node] = {}
    for node in traced.graph.nodes:
        if node.op not in (np.dot, np.matmul, np.add, np.multiply) or node.formula:
            continue
        if any(f"{os.sep}optim{os.sep}" in file for file, *_ in node.inside):
            continue
        for operand in node.operands():
            while operand.op in (np.transpose, np.swapaxes):
                operand = operand.args[0]
            layer, _, parameter = parameters.get(operand, "").rpartition("_")
            if layer and parameter in ("weight", "bias"):
                last[layer] = node
    for layer, node in last.items():
        node.name = node.name or layer


def name_inner_values(nodes: list[Node], taken: set[str]) -> None:
    """Call the last value that a line `name = ...` of this package computes by that name."""
    running: dict[tuple[str, int, int], Node] = {}
    for node in [*nodes, Node(INPUT)]:
        for place in [place for place in running if place not in node.inside]:
            done = running.pop(place)
            file, line, first = place
            name = assigned(file, first).get(line, "")
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
