"""Writes docs/reference/operators.md: how many operators are compared with PyTorch's, and which are left out."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from .left_out import LEFT_OUT, LESS_EXACT_IN_PYTORCH, NAN_IN_PYTORCH

PATH = Path(__file__).resolve().parents[2] / "docs" / "reference" / "operators.md"
WRAP = textwrap.TextWrapper(width=120, break_on_hyphens=False, break_long_words=False)
HEAD = """# PyTorch's table of operators

`torch.testing` holds a table of PyTorch's operators with sample inputs for each: PyTorch tests itself with it.
`make pytorch` calls every operator of the table on these samples, in PyTorch and in chainrule, and compares results,
gradients for a random cotangent, and gradients of these: shapes, dtypes and values, on the first {samples} samples of
each operator. Complex gradients follow PyTorch's convention. In double precision numbers agree to 1e-6 (relative); in
single precision to 1e-4, or else chainrule's error against the same computation in double precision is at most
{factor:g} times PyTorch's. `python -m tests.operators` writes this page.
"""


def counts(comparison: Any) -> str:
    """The table of how many operators are compared, by dtype."""
    table, rows = comparison.TABLE, []
    for dtype in comparison.DTYPES:
        there = [name for name, entries in table.items() if any(comparison.takes(e, dtype) for e in entries)]
        names = comparison.compared(dtype)
        with_gradient = [name for name in names if any(comparison.differentiable(e, dtype) for e in table[name])]
        rows.append(f"| {dtype} | {len(there)} | {len(names)} | {len(with_gradient)} |\n")
    head = "| dtype | in PyTorch's table | compared, and equal | of these with gradients |\n| --- | --- | --- | --- |\n"
    return head + "".join(rows)


def families() -> str:
    """The lists of what is left out, by reason."""
    parts = []
    for family in LEFT_OUT:
        names = ", ".join(f"`{name}`" for name in family.operators)
        text = [f"**{family.title}** ({len(family.operators)}). {family.reason}", names]
        parts.append("".join(WRAP.fill(paragraph) + "\n" for paragraph in text))
    parts.append("## What is compared, but for one thing\n")
    parts.append("PyTorch gives NaN where chainrule gives a number:\n")
    parts.append("".join(f"- `{name}`: {reason}\n" for name, reason in NAN_IN_PYTORCH.items()))
    parts.append("PyTorch is less exact, and the tolerance in double precision greater:\n")
    parts.append("".join(f"- `{n}` ({bound:g}): {reason}\n" for n, (bound, reason) in LESS_EXACT_IN_PYTORCH.items()))
    return "\n".join(parts)


def write() -> None:
    """Write the document anew."""
    from . import comparison

    head = HEAD.format(factor=comparison.AS_EXACT_AS_TORCH, samples=comparison.SAMPLES)
    text = "\n".join([head, counts(comparison), "## What is left out\n", families()])
    PATH.write_text(text, encoding="utf-8")
