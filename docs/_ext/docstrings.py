"""The package's docstrings, which are written for people in a terminal, as the markup that Sphinx reads.

`code` between single backquotes, formulas between dollar signs, Google's sections (napoleon has turned these into
fields by now), examples after >>>; every other character means itself.
"""

from __future__ import annotations

import re
from typing import Any

import operations

PIECE = re.compile(r"(:[a-z]+:`[^`]*`|``.+?``|`[^`]+`|\$\$?[^$]+\$\$?)")
FIELD = re.compile(
    r"^(\s*(?::(?:param|type|raises|returns|rtype|ivar|vartype|keyword|kwtype)\b[^:]*:|\.\. \w+::))(.*)$"
)


def marked(line: str) -> str:
    r"""One line of text.

    >>> print(marked("`x` times *args, $a^2$"))
    ``x`` times \*args, :math:`a^2`
    """
    field = FIELD.match(line)
    if field:
        return field[1] + marked(field[2])
    out = []
    pieces = PIECE.split(line)
    for i, piece in enumerate(pieces):
        if i % 2 == 0:
            out.append(re.sub(r"(?<!\\)([*|])|(?<!\\)_(?=\W|$)", lambda m: "\\" + m[0], piece))
            continue
        if piece.startswith("$"):
            piece = f":math:`{piece.strip('$')}`"
        elif piece.startswith("`") and not piece.startswith("``"):
            piece = f"`{piece}`"
        out.append(piece + ("\\ " if pieces[i + 1][:1].isalnum() else ""))  # markup ends at a word's end only
    return "".join(out)


def joined(lines: list[str]) -> list[str]:
    """Lines with code that goes on in the next one as one line."""
    out: list[str] = []
    for line in lines:
        if out and out[-1].count("`") % 2 and line.strip() and not out[-1].lstrip().startswith((">>>", "...")):
            out[-1] = f"{out[-1]} {line.strip()}"
        else:
            out.append(line)
    return out


def lines_marked(lines: list[str]) -> list[str]:
    """All lines; examples stay as they are, and end with a blank line."""
    out: list[str] = []
    in_example = False
    for line in joined(lines):
        if line.lstrip().startswith(">>>"):
            if not in_example and out and out[-1].strip():
                out.append("")
            in_example = True
        elif not line.strip():
            in_example = False
        out.append(line if in_example else marked(line))
    return out


def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Sphinx's event, after napoleon's."""
    lines[:] = lines_marked(lines)
    entry = operations.labels().get(name.rpartition(".")[2])
    where = f":ref:`the table <{entry}>`" if entry else ":doc:`the table </reference/operations/index>`"
    lines[:] = [line.replace("see the table for its derivative", f"see {where} for its derivative") for line in lines]


def setup(app: Any) -> dict[str, bool]:
    """Sphinx's entry."""
    app.connect("autodoc-process-docstring", process, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
