"""What notebooks show: tensors in little room, explanations and drawings as they are."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.explain import drawing


def cells_of(text: str) -> list[list[str]]:
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", text)]


def test_a_tensor_shows_what_it_is_and_its_numbers() -> None:
    x = cr.tensor([[1.0, -2.5], [0.1, 3.0]], requires_grad=True)
    text = x._repr_html_()
    assert "(2, 2) float32" in text and "requires grad" in text
    assert cells_of(text) == [["1", "-2.5"], ["0.1", "3"]]
    (x * 2).sum().backward()
    assert "grad <code>[[2, 2], [2, 2]]</code>" in x._repr_html_()


def test_a_result_says_what_computed_it_and_a_layers_weight_what_class_it_is() -> None:
    x = cr.ones(2, requires_grad=True)
    assert "from <code>exp</code>" in x.exp()._repr_html_()
    assert "<b>Parameter</b>" in nn.Linear(1, 1).weight._repr_html_()


def test_a_large_tensor_takes_little_room() -> None:
    text = cr.arange(10_000.0).reshape(100, 100)._repr_html_()
    cells = cells_of(text)
    assert len(cells) == 7 and all(len(row) == 7 for row in cells)
    assert cells[0] == ["0", "1", "2", "…", "97", "98", "99"] and cells[-1][-1] == "9999"
    assert set(cells[3]) == {"⋮"}
    assert cells_of(cr.zeros(2, 3, 4)._repr_html_()) == [] and "all 0" in cr.zeros(2, 3, 4)._repr_html_()


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (cr.tensor(float("nan")), "nan"),
        (cr.tensor([float("inf"), 1.0]), "inf"),
        (cr.tensor([1 + 2j]), "1+2j"),
        (cr.zeros(0, 3), "empty"),
        (cr.tensor([True, False]), "True"),
        (cr.tensor(3), "3"),
    ],
)
def test_every_kind_of_tensor_is_shown(tensor: Any, expected: str) -> None:
    assert expected in tensor._repr_html_()


def test_a_traced_or_mapped_tensor_is_shown_too(capsys: pytest.CaptureFixture[str]) -> None:
    def look(x: Any) -> Any:
        print(x._repr_html_())
        return x * 2

    cr.vmap(look)(cr.ones(3, 2))
    cr.compile(look)(cr.ones(3, 2))
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) >= 2 and all("float32" in text for text in shown)


def test_an_explanation_is_a_table_with_typeset_formulas() -> None:
    class Elements(HTMLParser):
        found: list[str] = []

        def handle_starttag(self, tag: str, attrs: Any) -> None:
            self.found.append(tag)

    a = cr.tensor(2.0, requires_grad=True)
    parser = Elements()
    parser.feed(cr.explain((a * 3).log())._repr_html_())
    assert parser.found.count("math") == 4 and "table" in parser.found


def test_a_drawing_shows_its_picture() -> None:
    if drawing.graphviz_command() is None:
        pytest.skip("no Graphviz here: the draw extra has one")
    text = cr.draw(cr.ones(2, requires_grad=True) * 2)._repr_svg_()
    assert text is not None and "<svg" in text


def test_showing_a_tensor_changes_nothing() -> None:
    x = cr.tensor(np.arange(3.0), requires_grad=True)
    y = x * 2
    y._repr_html_()
    y.sum().backward()
    assert x.grad is not None and x.grad.tolist() == [2.0, 2.0, 2.0]
