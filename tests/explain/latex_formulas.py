r"""The LaTeX of elementary formulas, read and computed: `\frac{x}{y^2} \nabla_{out} L` on arrays.

What is not elementary (sums over indices, matrix products, words) raises `NotElementary`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

TOKEN = re.compile(r"\\text\{[^{}]*\}|\\mathrm\{[^{}]*\}|\\[A-Za-z]+|\\.|[A-Za-z]+(?:\\_[A-Za-z]+)*|\d+(?:\.\d+)?|'|\S")
SPACES = frozenset((r"\,", r"\;", r"\ ", r"\left", r"\right"))
COMPARISONS: dict[str, Callable[..., Any]] = {
    "<": np.less,
    ">": np.greater,
    "=": np.equal,
    r"\leq": np.less_equal,
    r"\geq": np.greater_equal,
    r"\neq": np.not_equal,
}


def sgn(x: Any) -> Any:
    return np.sign(x)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{rf"\{name}": getattr(np, name) for name in ("cos", "sin", "cosh", "sinh", "tanh")},
    r"\ln": np.log,
    r"\log": np.log,
    r"\max": np.maximum,
    r"\sigma": special.expit,
    r"\psi": special.digamma,
    r"\Gamma": special.gamma,
    r"\zeta": special.zeta,
    r"\Phi": special.ndtr,
    r"\Phi'": lambda x: np.exp(-x * x / 2) / np.sqrt(2 * np.pi),
    r"\mathrm{sgn}": sgn,
    r"\mathrm{Re}": np.real,
    r"\mathrm{Im}": np.imag,
    r"\mathrm{trunc}": np.trunc,
    r"\mathrm{erfcx}": special.erfcx,
    r"\mathrm{softplus}": lambda x: np.logaddexp(0, x),
    **{f"I_{n}": f for n, f in enumerate((special.i0, special.i1))},
    **{f"J_{n}": f for n, f in enumerate((special.j0, special.j1))},
    **{f"Y_{n}": f for n, f in enumerate((special.y0, special.y1))},
    **{f"K_{n}": f for n, f in enumerate((special.k0, special.k1))},
    **{f"j_{n}": (lambda x, n=n: special.spherical_jn(n, x)) for n in (0, 1)},
}


class NotElementary(Exception):
    """The formula uses what this reader does not compute."""


class Reader:
    """Computes one formula.

    Args:
        text: LaTeX.
        values: what the names in it stand for; the gradient of the result under "grad_out".
    """

    def __init__(self, text: str, values: dict[str, Any], matrices: bool = False) -> None:
        self.tokens = [token for token in TOKEN.findall(text) if token not in SPACES]
        self.values = values
        self.matrices = matrices
        self.at = 0

    @property
    def next(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, wanted: str = "") -> str:
        token = self.next
        if not token or (wanted and token != wanted):
            raise NotElementary(f"{wanted or 'more'} is missing at {token!r}")
        self.at += 1
        return token

    def whole(self) -> Any:
        value = self.expression()
        if self.next:
            raise NotElementary(f"{self.next} is not understood")
        return value

    def expression(self) -> Any:
        sign = self.take() if self.next in ("-", "+") else "+"
        value = self.product()
        value = -value if sign == "-" else value
        while self.next in ("+", "-"):
            value = value + self.product() if self.take() == "+" else value - self.product()
        return value

    def product(self) -> Any:
        if self.next == r"\sum":
            return self.sum()
        value = self.factor()
        while True:
            token = self.next
            if token == r"\sum":
                return value * self.sum()
            if token in (r"\cdot", "/"):
                self.take()
                value = value * self.factor() if token == r"\cdot" else value / self.factor()
            elif token == "|" and self.open_bars:
                return value
            elif token and (token[0].isalnum() or token in STARTS or token in FUNCTIONS):
                other = self.factor()
                value = value @ other if self.matrices and np.ndim(value) == np.ndim(other) == 2 else value * other
            else:
                return value

    open_bars = 0

    def sum(self) -> Any:
        self.take(r"\sum")
        self.take("_")
        group = self.group_tokens()
        if group == [r"\text{broadcast axes}"]:
            return self.product()
        if group == ["rows"] and self.matrices:
            return np.sum(self.product(), axis=0)
        if group == ["axis"]:
            return np.sum(self.product(), axis=self.values["axis"], keepdims=True)
        raise NotElementary("a sum over indices")

    def group_tokens(self) -> list[str]:
        if self.next != "{":
            return [self.take()]
        self.take("{")
        depth, found = 1, []
        while True:
            token = self.take()
            depth += (token == "{") - (token == "}")
            if depth == 0:
                return found
            found.append(token)

    def group(self) -> Any:
        """The value of the next group in braces, or of one token."""
        inner = Reader("", self.values, self.matrices)
        inner.tokens = self.group_tokens()
        return inner.whole()

    def factor(self) -> Any:
        value = self.atom()
        while self.next == "^":
            self.take()
            ahead = self.tokens[self.at : self.at + 4]
            if self.matrices and (self.next == "T" or ahead == ["{", "-", "T", "}"]):
                value = np.transpose(value if self.next == "T" else np.linalg.inv(value))
                self.at += 1 if self.next == "T" else 4
                continue
            if self.next in ("T", "H", "+") or (self.next == "{" and {"T", "H"} & set(ahead)):
                raise NotElementary("a matrix")
            value = value ** self.group()
        return value

    def atom(self) -> Any:
        token = self.take()
        if token in ("(", "{"):
            value = self.expression()
            self.take(")" if token == "(" else "}")
            return value
        if token == "[":
            value = self.condition()
            self.take("]")
            return np.where(value, 1.0, 0.0)
        if token == "|":
            self.open_bars += 1
            value = self.expression()
            self.open_bars -= 1
            self.take("|")
            return np.abs(value)
        if token == r"\lfloor":
            value = self.expression()
            self.take(r"\rfloor")
            return np.floor(value)
        if token[0].isdigit():
            return float(token)
        if token in (r"\frac", r"\tfrac"):
            return self.group() / self.group()
        if token == r"\sqrt":
            return np.sqrt(self.group())
        if token in (r"\overline", r"\bar"):
            return np.conj(self.group())
        if token == r"\nabla":
            self.take("_")
            if self.group_tokens() != ["out"]:
                raise NotElementary("a gradient of something else")
            self.take("L")
            return self.values["grad_out"]
        if token == r"\pi":
            return np.pi
        return self.named(token)

    def named(self, token: str) -> Any:
        if token == r"\Phi" and self.next == "'":
            token += self.take()
        name = token.replace(r"\_", "_")
        ahead = self.tokens[self.at : self.at + 4]
        if ahead[:1] == ["_"]:
            longer, length = (ahead[2], 4) if ahead[1] == "{" else (ahead[1], 2)
            joined = f"{name}_{longer}"
            if joined in self.values or joined in FUNCTIONS:
                self.at += length
                token = name = joined
            else:
                raise NotElementary("indices")
        if name in self.values and not callable(self.values[name]):
            value = self.values[name]
            if value is None or isinstance(value, (str, tuple)):
                raise NotElementary(f"{name} is no number")
            return value
        if token in FUNCTIONS:
            return self.applied(token)
        if token in ("e", "i"):
            return np.e if token == "e" else 1j
        raise NotElementary(f"{token} is not known")

    def applied(self, name: str) -> Any:
        function = FUNCTIONS[name]
        power = None
        if self.next == "^":
            self.take()
            if name == r"\psi":
                order = self.group()
                function = lambda x: special.polygamma(np.asarray(order, int), x)  # noqa: E731
            else:
                power = self.group()
        if self.next == "(":
            self.take()
            arguments = [self.expression()]
            while self.next == ",":
                self.take()
                arguments.append(self.expression())
            self.take(")")
        else:
            arguments = [self.factor()]
        value = function(*arguments)
        return value if power is None else value**power

    def condition(self) -> Any:
        value = self.comparison()
        while self.next in (r"\text{ or }", r"\text{ and }"):
            word = self.take()
            other = self.comparison()
            value = np.logical_or(value, other) if "or" in word else np.logical_and(value, other)
        return value

    def comparison(self) -> Any:
        if self.next == r"\text{not }":
            self.take()
            if self.next != "(":
                return np.logical_not(self.comparison())
            self.take("(")
            value = np.logical_not(self.condition())
            self.take(")")
            return value
        left = self.expression()
        if self.next in (r"\text{ is NaN}", r"\text{ is finite}"):
            return (np.isnan if "NaN" in self.take() else np.isfinite)(left)
        if self.next not in COMPARISONS:
            return left
        value: Any = True
        while self.next in COMPARISONS:
            compare = COMPARISONS[self.take()]
            right = self.expression()
            value = np.logical_and(value, compare(left, right))
            left = right
        return value


STARTS = frozenset(r"( [ | { \frac \tfrac \sqrt \overline \bar \nabla \pi \lfloor".split())
NOTE = re.compile(
    r"(?P<value>half of it |0 |\$[^$]*\$ )?(?:and )?(?P<where>where) (?P<conditions>\$[^$]*\$(?: and \$[^$]*\$)*)"
    r"(?:[,;] (?:elsewhere )?(?P<other>\$[^$]*\$)(?: elsewhere)?)?"
)


def matrix_formula(formula: str, values: dict[str, Any]) -> Any:
    """The right side of a formula about matrices: what stands side by side is multiplied as such."""
    return Reader(formula.partition("=")[2], values, matrices=True).whole()


def computed(formula: str, note: str, values: dict[str, Any], shape: tuple[int, ...]) -> tuple[Any, Any]:
    """The right side of a formula, and where it is said to hold.

    Raises:
        NotElementary: it cannot be computed here.
    """
    right = formula.partition("=")[2]
    if "is outside" in note:
        raise NotElementary("words")
    definition = re.match(r"with \$(\w+) = (.*)\$$", note)
    if definition:
        values = values | {definition[1]: Reader(definition[2], values).whole()}
    value = np.broadcast_to(Reader(right, values).whole(), shape)
    holds = np.ones(shape, bool)
    found = NOTE.search(note)
    holds &= np.isfinite(value) | np.isnan(values["grad_out"])  # where it is not, the code computes a limit
    if found is None and any(word in note for word in ("with zeros", "without")):
        raise NotElementary("words")
    if found is None or definition:
        return value, holds
    here = np.ones(shape, bool)
    try:
        for condition in re.findall(r"\$([^$]*)\$", found["conditions"]):
            here = here & np.broadcast_to(Reader(condition, values).condition(), shape)
    except (NotElementary, TypeError):  # it is about something else
        return value, holds
    if found["value"] is None:
        if found["other"] is None:
            return value, here
        other = Reader(found["other"].strip("$"), values).whole()
        return np.where(here, value, np.broadcast_to(other, shape)), holds
    words = found["value"].strip()
    instead = {"0": 0.0, "half of it": values["grad_out"] / 2}.get(words)
    if instead is None:
        instead = Reader(words.strip("$"), values).whole()
    return np.where(here, np.broadcast_to(instead, shape), value), holds
