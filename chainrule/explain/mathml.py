r"""Formulas typeset: LaTeX as the table writes it becomes MathML, which browsers show and read aloud by themselves.

A formula becomes a tree first, in which a part is `(tag, text)` or `(tag, part, part, ...)`. The page takes trees as
JSON and makes elements of them, so nothing that a user called something is ever read as markup.
"""

from __future__ import annotations

import html
import re
from typing import Any

from .formula import TOKEN, closing

__all__ = ["FORMS", "mathml", "typeset"]

Tree = tuple[Any, ...]

# tags with attributes: a fence that does not grow, a sign before its operand, an upright letter, a wide accent, ...
FORMS = {
    "mi.up": ("mi", {"mathvariant": "normal"}),
    "mo.flat": ("mo", {"stretchy": "false"}),
    "mo.sign": ("mo", {"form": "prefix"}),
    "mo.bar": ("mo", {"stretchy": "false", "lspace": "0.06em", "rspace": "0.06em"}),
    "mo.open": ("mo", {"form": "prefix", "stretchy": "true"}),
    "mo.close": ("mo", {"form": "postfix", "stretchy": "true"}),
    "mrow.over": ("mrow", {"class": "over", "style": "border-top: 0.06em solid; padding-top: 0.1em"}),
    "mover.accent": ("mover", {"accent": "true"}),
    "mspace.thin": ("mspace", {"width": "0.17em"}),
    "mspace.wide": ("mspace", {"width": "0.28em"}),
}
THIN, WIDE = ("mspace.thin", ""), ("mspace.wide", "")

OPERATORS = {
    **{"cdot": "⋅", "times": "×", "pm": "±", "geq": "≥", "leq": "≤", "neq": "≠", "ni": "∋", "in": "∈", "sim": "∼"},
    **{"wedge": "∧", "odot": "⊙", "otimes": "⊗", "approx": "≈", "to": "→", "dots": "…", "star": "⋆", "ast": "∗"},
}
LARGE = {"sum": "∑", "prod": "∏", "int": "∫"}
LETTERS = {
    **{"nabla": "∇", "partial": "∂", "infty": "∞", "ell": "ℓ", "backslash": "\\"},
    **{"alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ϵ", "varepsilon": "ε", "zeta": "ζ"},
    **{"eta": "η", "theta": "θ", "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν", "xi": "ξ", "pi": "π", "rho": "ρ"},
    **{"sigma": "σ", "tau": "τ", "phi": "ϕ", "varphi": "φ", "chi": "χ", "psi": "ψ", "omega": "ω", "Gamma": "Γ"},
    **{"Delta": "Δ", "Theta": "Θ", "Lambda": "Λ", "Xi": "Ξ", "Pi": "Π", "Sigma": "Σ", "Phi": "Φ", "Psi": "Ψ"},
    **{"Omega": "Ω"},
}
UPRIGHT = frozenset("∇∞\\ΓΔΘΛΞΠΣΦΨΩ∂")
FENCES = {"lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉", "langle": "⟨", "rangle": "⟩", "{": "{", "}": "}"}
FUNCTIONS = frozenset("arccos arcsin arctan cos cosh cot det exp lim ln log max min sec sin sinh tan tanh".split())
ACCENTS = {"bar": "¯", "hat": "^", "tilde": "~"}
ESCAPED = {"#": "#", "$": "$", "%": "%", "&": "&", "_": "_"}
SPACES = {",": THIN, ";": WIDE, " ": WIDE, ":": WIDE, "quad": WIDE, "!": None}
WORDS = {"text": "mtext", "mathrm": "mi", "operatorname": "mi", "mathbf": "mi"}
EXPONENT = re.compile(r"e([+-])(\d+)")
OPENING, CLOSING = frozenset("([⌊⌈⟨{"), frozenset(")]⌋⌉⟩}")


def typeset(latex: str) -> Tree:
    r"""A formula as a tree. Commands that are not known are shown as they are written.

    >>> typeset(r"\frac{x}{2}")
    ('mrow', ('mfrac', ('mi', 'x'), ('mn', '2')))
    """
    return _Reader(TOKEN.findall(latex)).row()


def mathml(tree: Tree, block: bool = False) -> str:
    r"""A tree as MathML.

    >>> print(mathml(typeset("a < b")))
    <math><mrow><mi>a</mi><mo>&lt;</mo><mi>b</mi></mrow></math>
    """
    mark = ' display="block"' if block else ""
    return f"<math{mark}>{_written(tree)}</math>"


def _written(tree: Tree) -> str:
    tag, attributes = FORMS.get(tree[0], (tree[0], {}))
    marks = "".join(f' {key}="{value}"' for key, value in attributes.items())
    inside = "".join(html.escape(part) if isinstance(part, str) else _written(part) for part in tree[1:])
    return f"<{tag}{marks}>{inside}</{tag}>"


def _one(parts: list[Tree]) -> Tree:
    return parts[0] if len(parts) == 1 else ("mrow", *parts)


def _unescaped(text: str) -> str:
    """What stands in \\mathrm or \\text, without the escapes of LaTeX."""

    def sign(match: re.Match[str]) -> str:
        word = match[1] or match[2]
        known = LETTERS.get(word) or OPERATORS.get(word)
        return known or ("\u00a0" if word == " " else word)

    return re.sub(r"\\(?:([A-Za-z]+) ?|(.))", sign, text).replace(" ", "\u00a0")


class _Reader:
    """Reads tokens into trees."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.at = 0

    def next(self) -> str:
        """The next token that is no space, left where it is; "" at the end."""
        while self.at < len(self.tokens) and self.tokens[self.at].isspace():
            self.at += 1
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def row(self, *ends: str) -> Tree:
        """Parts up to one of the tokens, or to the end."""
        parts: list[Tree] = []
        while (token := self.next()) and token not in ends:
            part = self.scripted(parts)
            if part is None:
                continue
            if parts and _is_ordinary(parts[-1]) and _is_ordinary(part) and _are_words(parts[-1], part):
                parts.append(THIN)
            parts.append(part)
        return ("mrow", *parts)

    def scripted(self, before: list[Tree]) -> Tree | None:
        """A part with what stands below and above it; None for what leaves nothing."""
        base = self.part(before)
        if base is None:
            return None
        below: Tree | None = None
        above: Tree | None = None
        while (token := self.next()) in ("_", "^", "'"):
            self.at += 1
            if token == "'":
                above = ("mo", "′") if above is None else ("mrow", above, ("mo", "′"))
            elif token == "_":
                below = self.group()
            else:
                above = self.group()
        if below is None and above is None:
            return base
        kind = ("munder", "mover", "munderover") if base[0] == "mo" and base[1] in LARGE.values() else None
        low, high, both = kind or ("msub", "msup", "msubsup")
        if below is None:
            return (high, base, above)
        return (low, base, below) if above is None else (both, base, below, above)

    def group(self) -> Tree:
        """What stands in braces, or the next part."""
        token = self.next()
        if token == "{":
            self.at += 1
            inside = self.row("}")
            self.at += 1
            return _one(list(inside[1:]))
        part = self.part([]) if token else None
        return ("mrow",) if part is None else part

    def words(self) -> str:
        """What stands in braces, as text."""
        if self.next() != "{":
            return ""
        end = closing(self.tokens, self.at)
        text = "".join(self.tokens[self.at + 1 : end])
        self.at = end + 1
        return _unescaped(text)

    def part(self, before: list[Tree]) -> Tree | None:
        """One letter, number, sign, group or command."""
        token = self.next()
        if token == "{":
            return self.group()
        self.at += 1
        if token[0] == "\\" and len(token) > 1:
            return self.command(token[1:])
        if token[0].isalpha():
            text = token.replace("\\_", "_")
            return _one([("mi", letter) for letter in text]) if len(text) == 2 else ("mi", text)
        if token[0].isdigit():
            return self.power_of_ten(token) or ("mn", token)
        if token in OPENING or token in CLOSING:
            return ("mo.flat", token)
        if token == "|":
            return ("mo.bar", token)
        if token in "+-" and (not before or _is_operator(before[-1])):
            return ("mo.sign", token.replace("-", "−"))
        return ("mo", token.replace("-", "−"))

    def power_of_ten(self, number: str) -> Tree | None:
        """A number such as 1.5e-09, of which the first part has been read; None for others."""
        found = EXPONENT.fullmatch("".join(self.tokens[self.at : self.at + 3]))
        if found is None:
            return None
        self.at += 3
        power = ("mrow", *([("mo.sign", "−")] if found[1] == "-" else []), ("mn", str(int(found[2]))))
        return ("mrow", ("mn", number), ("mo", "⋅"), ("msup", ("mn", "10"), power))

    def command(self, word: str) -> Tree | None:
        """What a command stands for."""
        if word in WORDS:
            text = self.words()
            kind = WORDS[word]
            if kind == "mi":  # a name, in which `latex_name` has written these otherwise
                text = text.replace("<\u00a0", "<").replace("''", '"')
            return (f"{kind}.up" if kind == "mi" and len(text) == 1 else kind, text) if text else None
        if word in ("frac", "tfrac", "dfrac"):
            return ("mfrac", self.group(), self.group())
        if word == "sqrt":
            return ("msqrt", self.group())
        if word in ACCENTS:
            return ("mover.accent", self.group(), ("mo.flat", ACCENTS[word]))
        if word == "overline":
            return ("mrow.over", self.group())
        if word == "left":
            opening = self.fence()
            inside = self.row("\\right")
            self.at += 1
            return ("mrow", ("mo.open", opening), *inside[1:], ("mo.close", self.fence()))
        if word == "begin":
            return self.matrix(self.words())
        if word in FUNCTIONS:
            name: Tree = ("mi", word)
            return name if self.next() in ("(", "_", "^", "\\left", "{", "\\begin") else ("mrow", name, THIN)
        if word in LARGE:
            return ("mo", LARGE[word])
        if word in LETTERS:
            sign = LETTERS[word]
            return ("mi.up" if sign in UPRIGHT else "mi", sign)
        if word in FENCES:
            return ("mo.flat", FENCES[word])
        if word in SPACES:
            return SPACES[word]
        if word in OPERATORS or word in ESCAPED:
            return ("mo", OPERATORS.get(word) or ESCAPED[word])
        return ("mtext", f"\\{word}")

    def fence(self) -> str:
        """The bracket after \\left or \\right; a full stop stands for none."""
        token = self.next()
        self.at += 1
        return "" if token in (".", "") else FENCES.get(token.lstrip("\\"), token)

    def matrix(self, kind: str) -> Tree:
        """Rows and columns up to \\end."""
        rows: list[list[Tree]] = [[]]
        while self.at < len(self.tokens):
            cell = self.row("&", "\\\\", "\\end")
            rows[-1].append(("mtd", *cell[1:]))
            token = self.next()
            self.at += 1
            if token == "\\\\":
                rows.append([])
            elif token != "&":
                break
        self.words()
        table = ("mtable", *(("mtr", *row) for row in rows))
        fences = {"pmatrix": "()", "bmatrix": "[]", "vmatrix": "||"}.get(kind)
        return ("mrow", ("mo.open", fences[0]), table, ("mo.close", fences[1])) if fences else table


def _is_operator(tree: Tree) -> bool:
    """Whether a sign after it is the sign of what follows."""
    tag: str = tree[0]
    return (tag == "mo" or tag.startswith("mo.")) and tree[1] not in CLOSING | {"|"}


def _is_ordinary(tree: Tree) -> bool:
    """Whether something is written beside it as a factor."""
    tag: str = tree[0]
    return tag != "mo" and not tag.startswith(("mo.", "mspace"))


def _are_words(*trees: Tree) -> bool:
    """Whether one of them begins or ends as a name of several letters, which would run into its neighbour."""
    return any(len(_text(tree[1]) if len(tree) > 1 and tree[0][:3] == "msu" else _text(tree)) > 1 for tree in trees)


def _text(tree: Any) -> str:
    if isinstance(tree, str):
        return tree
    return _text(tree[1]) if len(tree) == 2 and tree[0] in ("mi", "mtext", "mn") else ""
