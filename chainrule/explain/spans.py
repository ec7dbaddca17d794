"""Which arrows of a drawing would be too long, so that a stand-in for their start is drawn beside their end.

Graphviz lays out an arrow row by row. A weight that a recurrent net uses at each of its steps has arrows through all of
its rows: they would hide the picture, and take minutes to lay out.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["BUDGET", "too_long"]

BUDGET = 1500  # rows that all arrows together may pass through
LONGEST = 25  # rows that one may pass through


def too_long(count: int, edges: Sequence[tuple[int, int]], budget: int = BUDGET) -> set[int]:
    """The arrows, by their places, that are to be left out: the longest, until the others are within bounds.

    Args:
        count: boxes are numbered below it.
        edges: from box to box; in circles, which closed modules may form, no arrow counts as long.
        budget: rows that all arrows together may pass through.

    >>> sorted(too_long(5, [(0, 1), (1, 2), (2, 3), (3, 4), (0, 4), (0, 2)], budget=2))
    [4]
    """
    outgoing: list[list[int]] = [[] for _ in range(count)]
    missing = [0] * count
    for start, end in edges:
        outgoing[start].append(end)
        missing[end] += 1
    rows = [0] * count
    order = [box for box in range(count) if not missing[box]]
    for box in order:
        for end in outgoing[box]:
            rows[end] = max(rows[end], rows[box] + 1)
            missing[end] -= 1
            if not missing[end]:
                order.append(end)
    for box in reversed(order):  # as far down as the first that uses it allows
        rows[box] = min((rows[end] - 1 for end in outgoing[box]), default=rows[box])
    passed = [max(rows[end] - rows[start] - 1, 0) for start, end in edges]
    total = sum(passed)
    left_out: set[int] = set()
    for place in sorted(range(len(edges)), key=lambda place: -passed[place]):
        if total <= budget and passed[place] <= LONGEST:
            break
        total -= passed[place]
        left_out.add(place)
    return left_out
