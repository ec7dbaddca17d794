"""The kernel of attention's weights: softmax of rows of any length and number.

It takes the first row and the one after the last; how many rows a matrix of scores has if a row sees the columns up to
its own number only, else 0; and the rows, which it writes over. Where nothing is seen, a row becomes zero.
"""

from __future__ import annotations

from .kinds import ArrayKind, NumberKind, int64, uint64

__all__ = ["softmax_text"]

SOFTMAX = """\
def softmax_walk(first, last, length, rows):
    separate()
    for r in range(int64(first), int64(last)):
        whole = rows[r]
        seen = min(whole.size, r % length + 1) if length else whole.size
        row, rest = whole[:seen], whole[seen:]
        top = row[0]
        for j in range(row.size):
            top = larger(top, row[j])  # NaN makes the total NaN
        if top == {number}(-np.inf):
            top = {number}(0.0)
        total = {number}(0.0)
        for j in range(row.size):
            row[j] = exp_{number}(row[j] - top)
            total = plus(total, row[j])
        share = {number}(1.0) / total if total != {number}(0.0) else {number}(0.0)
        for j in range(row.size):
            row[j] *= share
        for j in range(rest.size):
            rest[j] = {number}(0.0)
"""


def softmax_text(number: NumberKind) -> tuple[str, tuple[NumberKind | ArrayKind, ...]]:
    """The text of the kernel for a type of numbers, and the types of what it takes."""
    return SOFTMAX.format(number=number.name), (uint64, uint64, int64, number[:, ::1])
