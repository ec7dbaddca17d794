r"""The table's formulas with other names in them, and as plain text.

A formula is written in the names of the function's arguments: `\nabla_x L = y \nabla_{out} L`. Here these become the
user's names, or numbers, and LaTeX becomes what a terminal can show.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..core.table import BACK_FUNCS, EACH
from .values import number_text

__all__ = [
    "argument_names",
    "closing",
    "latex_name",
    "mentioned",
    "note_of",
    "plain",
    "plain_note",
    "put_in",
    "put_in_note",
    "stated_formula",
]

TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[A-Za-z]+(?:\\_[A-Za-z]+)*|\d+(?:\.\d+)?|\s+|.", re.DOTALL)
AUTOMATIC = re.compile(r"(v)(\d+)")


def argument_names(func: Any, count: int) -> list[str]:
    """The names of a function's first `count` arguments, as its backward functions call them."""
    for (function, position), back in BACK_FUNCS.back_funcs.items():
        if function is not func:
            continue
        parameters = list(inspect.signature(back).parameters.values())[2:]
        if position is EACH:
            break
        names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        return (names + [f"argument{i}" for i in range(len(names), count)])[:count]
    return [f"x_{i}" for i in range(count)]


def stated_formula(func: Any, position: int) -> str:
    """The formula of the backward function as the table states it; "" for functions that are not in the table."""
    try:
        return BACK_FUNCS.formula(func, position)
    except KeyError:
        return ""


def note_of(func: Any, position: int) -> str:
    """What the backward function's docstring says after the formula, such as what holds elsewhere."""
    back = BACK_FUNCS.back_funcs.get((func, position)) or BACK_FUNCS.back_funcs.get((func, EACH))
    text = inspect.cleandoc(getattr(back, "__doc__", None) or "").split("\n\n")[0]
    _, _, after = text.partition("$")
    _, _, after = after.partition("$")
    return " ".join(after.split()).strip(" ;,.:")


# ----- names in LaTeX ---------------------------------------------------------------------------------------------

ESCAPES = {
    "\\": r"\backslash ",
    "_": r"\_",
    "$": r"\$",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "{": r"\{",
    "}": r"\}",
    "~": r"\sim ",
    "^": r"\wedge ",
    "<": "< ",  # with the space it can begin no tag where LaTeX stands in HTML
    '"': "''",
    "`": "'",
    " ": r"\ ",
    "\n": r"\ ",
}


def latex_name(text: str) -> str:
    r"""A name in math mode: one letter as it is, others upright, special characters escaped.

    >>> print(latex_name("a"), latex_name("v3"), latex_name("net.0.weight"), latex_name("h_1"))
    a {v_{3}} {\mathrm{net.0.weight}} {\mathrm{h\_1}}
    """
    if len(text) == 1 and text.isascii() and text.isalpha():
        return text
    automatic = AUTOMATIC.fullmatch(text)
    if automatic:
        return f"{{{automatic[1]}_{{{automatic[2]}}}}}"
    return "{\\mathrm{" + "".join(ESCAPES.get(c, c) for c in text) + "}}"  # one thing, also after \\bar


# ----- other names in a formula -----------------------------------------------------------------------------------


def put_in(formula: str, names: Mapping[str, str], numbers: Mapping[str, Any] | None = None) -> str:
    r"""The formula with arguments replaced: by names, or by numbers.

    Args:
        formula: as the table states it.
        names: argument -> what to call it; the name of the result stands under "out".
        numbers: argument -> number; the gradient of the result stands under "grad_out".

    >>> print(put_in(r"\nabla_x L = y \nabla_{out} L", {"x": "a", "y": "b", "out": "loss"}))
    \nabla_a L = b \nabla_{{\mathrm{loss}}} L
    >>> print(put_in(r"\nabla_x L = y x^{y - 1} \nabla_{out} L", {"x": "a", "out": "v1"}, {"y": 3}))
    \nabla_a L = 3 a^{3 - 1} \nabla_{{v_{1}}} L
    """
    numbers = numbers or {}
    tokens = TOKEN.findall(formula)
    out: list[str] = []
    i = 0
    while i < len(tokens):
        token = tokens[i]
        if token in ("\\text", "\\mathrm", "\\begin", "\\end") and i + 1 < len(tokens) and tokens[i + 1] == "{":
            end = closing(tokens, i + 1)
            out.append("".join(tokens[i : end + 1]))
            i = end + 1
            continue
        if token == "\\nabla" and "grad_out" in numbers and tokens[i + 1 : i + 4] == ["_", "{", "out"]:
            end = closing(tokens, i + 2)
            if "".join(tokens[i + 3 : end]) == "out" and "".join(tokens[end + 1 : end + 3]) == " L":
                _factor(out, numbers["grad_out"])
                i = end + 3
                continue
        word, length = _argument_at(tokens, i, names, numbers)
        if word is None:
            if out and out[-1].startswith("\0") and (token[0].isalnum() or token in ("\\frac", "\\ln", "\\sqrt")):
                out.append(r" \cdot ")
            out.append(token)
        elif word in numbers:
            _factor(out, numbers[word], inside="".join(tokens[max(0, i - 2) : i]).endswith(("_", "_{")))
        else:
            out.append(latex_name(names[word]))
        i += length
    return "".join(out).replace("\0", "")


def mentioned(formula: str, words: Sequence[str]) -> list[str]:
    r"""Which of the words a formula's right side uses, apart from the gradients in it.

    >>> mentioned(r"\nabla_x L = y x^{y - 1} \nabla_{out} L", ["x", "y", "out"])
    ['x', 'y']
    """
    tokens = TOKEN.findall(formula.partition("=")[2])
    found = set()
    known = dict.fromkeys(words, "")
    i = 0
    while i < len(tokens):
        if tokens[i] in ("\\text", "\\mathrm") or tokens[i : i + 3] == ["\\nabla", "_", "{"]:
            i = closing(tokens, i + (1 if tokens[i] != "\\nabla" else 2)) + 1
            continue
        word, length = _argument_at(tokens, i, known, {})
        if word is not None:
            found.add(word)
        i += length
    return [word for word in words if word in found]


def put_in_note(note: str, names: Mapping[str, str], numbers: Mapping[str, Any]) -> str:
    """The table's words about a formula, with names and numbers put into what stands between dollar signs."""
    parts = note.split("$")
    return "$".join(put_in(part, names, numbers) if i % 2 else part for i, part in enumerate(parts))


def plain_note(note: str) -> str:
    """Words with formulas between dollar signs as plain text."""
    parts = note.split("$")
    return "".join(plain(part) if i % 2 else part for i, part in enumerate(parts))


def _argument_at(
    tokens: list[str], i: int, names: Mapping[str, str], numbers: Mapping[str, Any]
) -> tuple[str | None, int]:
    r"""The argument whose name begins at a token, and how many tokens it takes: `x`, `a_{min}` or `min\_val`."""
    for length in (5, 3, 1):
        part = tokens[i : i + length]
        text = "".join(part)
        if length > 1 and (len(part) < length or part[1] != "_" or not part[0].isalpha()):
            continue
        if length == 5 and (part[2] != "{" or part[4] != "}"):
            continue
        word = text.replace("_{", "_").replace("}", "").replace("\\_", "_")
        if word in numbers or word in names:
            return word, length
    return None, 1


SPACES = ("\\,", "\\;", "\\ ")


def _factor(out: list[str], number: Any, inside: bool = False) -> None:
    """Append a number; with a sign where it follows something that it is multiplied by."""
    text = number_text(number)
    if text[0] == "-" or "e" in text or "j" in text:
        text = f"({text})"
    before = next((part for part in reversed(out) if part.strip() and part not in SPACES), "")
    if not inside and (before.startswith("\0") or before[-1:] in (")", "}") or before[-1:].isdigit()):
        out.append(r" \cdot ")
    out.append("\0" + text)


def closing(tokens: Sequence[str], opening: int) -> int:
    """Where the brace that is opened at a place is closed; the last token where it never is."""
    depth = 0
    for i in range(opening, len(tokens)):
        depth += (tokens[i] == "{") - (tokens[i] == "}")
        if depth == 0:
            return i
    return len(tokens) - 1


# ----- LaTeX as plain text ----------------------------------------------------------------------------------------

SIGNS = {
    **{"nabla": "∇", "cdot": "·", "times": "×", "neq": "≠", "geq": "≥", "leq": "≤", "pm": "±", "ni": "∋", "in": "∈"},
    **{"sum": "Σ", "prod": "Π", "pi": "π", "sigma": "σ", "psi": "ψ", "zeta": "ζ", "Phi": "Φ", "Gamma": "Γ"},
    **{"lfloor": "⌊", "rfloor": "⌋", "left": "", "right": "", "backslash": "\\", "sim": "~", "wedge": "^"},
}
SUPERSCRIPTS = str.maketrans("0123456789-+T", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ᵀ")


def plain(latex: str) -> str:
    r"""LaTeX as one line of text.

    >>> plain(r"\nabla_y L = -\frac{x}{y^2} \nabla_{out} L")
    '∇_y L = -x/y² ∇_out L'
    >>> plain(r"\nabla_x L = \frac{1}{\sqrt{1 - x^2}} \nabla_{out} L")
    '∇_x L = 1/√(1 - x²) ∇_out L'
    """
    tokens = TOKEN.findall(re.sub(r"\{v_\{(\d+)\}\}", r"{v\1}", latex))
    text = _plain(tokens, [0], len(tokens))
    return " ".join(text.split())


def _plain(tokens: list[str], at: list[int], end: int) -> str:
    out = ""
    while at[0] < end:
        token = tokens[at[0]]
        if token in ("^", "_"):
            at[0] += 1
            part = _group(tokens, at)
            if token == "^":
                simple = all(c in "0123456789-T" for c in part)
                out += part.translate(SUPERSCRIPTS) if simple else f"^{_bracketed(part)}"
            else:
                out += "_" + (part if re.fullmatch(r"[\w.\[\]]*", part) else f"{{{part}}}")
            continue
        out += _piece(tokens, at)
    return out


def _group(tokens: list[str], at: list[int]) -> str:
    """The next group in braces, or the next piece."""
    while at[0] < len(tokens) and tokens[at[0]].isspace():
        at[0] += 1
    if at[0] < len(tokens) and tokens[at[0]] == "{":
        end = closing(tokens, at[0])
        at[0] += 1
        text = _plain(tokens, at, end)
        at[0] = end + 1
        return text
    return _piece(tokens, at) if at[0] < len(tokens) else ""


def _piece(tokens: list[str], at: list[int]) -> str:
    token = tokens[at[0]]
    if token == "{":
        return _group(tokens, at)
    at[0] += 1
    if not token.startswith("\\") or len(token) == 1:
        return token.replace("\\_", "_")
    word = token[1:]
    if word in ("frac", "tfrac"):
        above, below = _group(tokens, at), _group(tokens, at)
        return f"{_bracketed(above)}/{_bracketed(below, strict=True)}"
    if word == "sqrt":
        return "√" + _bracketed(_group(tokens, at), strict=True)
    if word in ("text", "mathrm"):
        start = at[0]
        if start < len(tokens) and tokens[start] == "{":
            at[0] = closing(tokens, start) + 1
            inside = "".join(tokens[start + 1 : at[0] - 1])
            return re.sub(r"\\([a-z]+) ?|\\(.)", lambda m: SIGNS.get(m[1] or "", m[2] or ""), inside)
        return ""
    if word in ("bar", "overline"):
        inside = _group(tokens, at)
        return inside + "\u0304" if len(inside) == 1 else f"overline({inside})"
    if word == "hat":
        return _group(tokens, at) + "\u0302"
    if word in ("begin", "end"):
        _group(tokens, at)
        return "[" if word == "begin" else "]"
    if word in (",", ";", " "):
        return " "
    if word == "\\":
        return ";"
    if not word[0].isalpha():
        return word
    return SIGNS.get(word, word)


def _bracketed(text: str, strict: bool = False) -> str:
    """In brackets unless it is one thing; `strict` for what stands below a stroke, where 2x would be misread."""
    one = re.fullmatch(r"[^\W]+[⁰¹²³⁴⁵⁶⁷⁸⁹]*|\d+(\.\d+)?|\w+_\w+|[\w.\[\]]+[⁰¹²³⁴⁵⁶⁷⁸⁹]*|√\(.*\)|\([^()]*\)", text)
    return text if one else f"({text})"
