"""What values are called in a program: as in the user's code, where that can be seen."""

from __future__ import annotations

import ast
import functools
import linecache

from .graph import CONSTANT, INPUT, Node
from .trace import Trace

__all__ = ["name_values"]


def name_values(traced: Trace) -> None:
    """Call the last value of each line `name = ...` by that name, and gradients after what they belong to."""
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
    for gradient, value in traced.pairs:
        if value.name and not gradient.name and value.op is not CONSTANT:
            gradient.name = f"{value.name}_grad"


@functools.lru_cache(64)
def assigned(file: str) -> dict[int, str]:
    """For each line of a file the variable to which its statement assigns, if it is one."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return {}
    names: dict[int, str] = {}
    for statement in ast.walk(tree):
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        if isinstance(statement, (ast.Assign, ast.AugAssign, ast.AnnAssign)) and isinstance(targets[0], ast.Name):
            for line in range(statement.lineno, (statement.end_lineno or statement.lineno) + 1):
                names[line] = targets[0].id
    return names
