"""Rewrites of a graph, a file each: every pass takes a graph and returns whether it changed anything."""

from __future__ import annotations

from collections.abc import Callable

from ..graph import Graph
from . import algebra, common_subexpressions, constants, dead_code, long_sums, orientation, products, slices

__all__ = ["PASSES", "optimize"]

PASSES: dict[str, Callable[[Graph], bool]] = {
    "constants": constants.run,
    "algebra": algebra.run,
    "long_sums": long_sums.run,
    "products": products.run,
    "slices": slices.run,
    "common_subexpressions": common_subexpressions.run,
    "dead_code": dead_code.run,
    "orientation": orientation.run,
}


def optimize(graph: Graph, leave_out: frozenset[str] = frozenset()) -> None:
    """Run all passes, again and again until none changes anything.

    Args:
        leave_out: names of passes that are not run.
    """
    for _ in range(20):
        changed = False
        for name, run in PASSES.items():
            if name not in leave_out:
                changed = run(graph) or changed
        if not changed:
            return
