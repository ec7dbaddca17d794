"""Formulas as MathML: well-formed, complete, and nothing that a user called something becomes markup."""

from __future__ import annotations

import inspect
import re
from typing import Any
from xml.etree import ElementTree

import pytest

import chainrule as cr
from chainrule.core.table import name_of
from chainrule.explain.formula import latex_name, note_of, put_in
from chainrule.explain.mathml import mathml, typeset

from ..test_table import ENTRIES

IDS = [f"{name_of(function)}-{position}" for function, position in ENTRIES]
CHILDREN = {"mfrac": 2, "msqrt": 1, "msub": 2, "msup": 2, "munder": 2, "mover": 2, "msubsup": 3, "munderover": 3}
TAGS = {*CHILDREN, "math", "mrow", "mi", "mn", "mo", "mtext", "mspace", "mtable", "mtr", "mtd"}


def parsed(latex: str) -> ElementTree.Element:
    return ElementTree.fromstring(mathml(typeset(latex)))


def shown(element: ElementTree.Element) -> str:
    return "".join(element.itertext())


NAMED = frozenset("cos cosh det exp ln log max min sin sinh tanh".split())


def letters_of(latex: str) -> list[str]:
    """The letters and digits that a formula shows, by what LaTeX is."""
    latex = re.sub(r"\\(begin|end)\{\w+\}", "", latex)
    latex = re.sub(r"\\([A-Za-z]+)", lambda m: m[1] if m[1] in NAMED else {"nabla": "∇"}.get(m[1], ""), latex)
    return sorted(re.findall(r"[A-Za-z0-9∇]", latex))


@pytest.mark.parametrize(("function", "position"), ENTRIES, ids=IDS)
def test_every_formula_of_the_table_is_mathml_with_nothing_lost(function: Any, position: Any) -> None:
    parameters = list(inspect.signature(cr.BACK_FUNCS.back_funcs[function, position]).parameters)[1:]
    formula = cr.BACK_FUNCS.formula(function, position)
    for latex in (
        formula,
        put_in(formula, {name: f"net.{i}_w & <co" for i, name in enumerate(parameters)}),
        *note_of(function, position).split("$")[1::2],
    ):
        root = parsed(latex)
        for element in root.iter():
            assert element.tag in TAGS
            assert len(element) == CHILDREN.get(element.tag, len(element)), f"{element.tag} in {latex}"
            assert not element.text or not len(element), "text stands in leaves only"
        assert "\\" not in shown(root), "no command is left"
        assert sorted(re.findall(r"[A-Za-z0-9∇]", shown(root))) == letters_of(latex)


@pytest.mark.parametrize(
    ("latex", "expected"),
    [
        (r"\frac{x}{2}", "<mfrac><mi>x</mi><mn>2</mn></mfrac>"),
        ("x_i^2", "<msubsup><mi>x</mi><mi>i</mi><mn>2</mn></msubsup>"),
        ("y'", "<msup><mi>y</mi><mo>′</mo></msup>"),
        (r"\sqrt x", "<msqrt><mi>x</mi></msqrt>"),
        (r"\mathrm{T}", '<mi mathvariant="normal">T</mi>'),
        ("UV", "<mrow><mi>U</mi><mi>V</mi></mrow>"),
        (r"\text{a < b}", "<mtext>a\u00a0&lt;\u00a0b</mtext>"),
        ("- x", '<mo form="prefix">−</mo><mi>x</mi>'),
        ("a - x", "<mi>a</mi><mo>−</mo><mi>x</mi>"),
        (r"\sum_{i}^n", "<munderover><mo>∑</mo><mi>i</mi><mi>n</mi></munderover>"),
        (
            "(2.5e-09) x",
            '<mn>2.5</mn><mo>⋅</mo><msup><mn>10</mn><mrow><mo form="prefix">−</mo><mn>9</mn></mrow></msup>',
        ),
        (r"\href{x}", "<mtext>\\href</mtext>"),
    ],
)
def test_commands_become_elements(latex: str, expected: str) -> None:
    assert expected in mathml(typeset(latex))


def test_brackets_that_grow_are_matched() -> None:
    text = mathml(typeset(r"\left( \frac{a}{b} \right]"))
    assert re.search(r'<mo form="prefix" stretchy="true">\(</mo>.*<mo form="postfix" stretchy="true">\]</mo>', text)


def test_a_matrix_has_its_rows_and_columns() -> None:
    root = parsed(r"\begin{pmatrix} a & b \\ 0 & c \end{pmatrix}_{12}")
    rows = [[shown(cell) for cell in row] for row in root.iter("mtr")]
    assert rows == [["a", "b"], ["0", "c"]]
    assert shown(root).endswith("12")


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        r"\href{javascript:alert(1)}{x}",
        '"><img src=x onerror=y>',
        "a_b^c",
        "{",
        "}}",
        "$&#",
    ],
)
def test_a_name_is_shown_as_it_is_whatever_is_in_it(name: str) -> None:
    root = parsed(rf"\nabla_{{{latex_name(name)}}} L + {latex_name(name)}")
    assert {element.tag for element in root.iter()} <= TAGS
    assert not [key for element in root.iter() for key in element.keys() if key in ("href", "onerror", "src")]
    spaceless = shown(root).replace("\u00a0", "").replace(" ", "")
    expected = name.replace(" ", "").replace("~", "∼").replace("^", "∧")
    assert spaceless.count(expected) == 2


@pytest.mark.parametrize(
    "latex", ["{", "}", "x_", "x^", r"\frac", r"\left(", r"\begin{pmatrix} a &", r"\text", "", "\\"]
)
def test_what_is_not_finished_is_typeset_all_the_same(latex: str) -> None:
    parsed(latex)
