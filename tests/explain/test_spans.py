"""Arrows that would be too long: what is left out, and that drawings of what is used again and again stay small."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

import chainrule as cr
from chainrule.explain import drawing
from chainrule.explain.page import page_data
from chainrule.explain.spans import LONGEST, too_long

has_graphviz = pytest.mark.skipif(drawing.graphviz_command() is None, reason="no Graphviz here: the draw extra has one")


def chain(length: int) -> list[tuple[int, int]]:
    return [(i, i + 1) for i in range(length - 1)]


def test_short_graphs_keep_all_their_arrows() -> None:
    assert too_long(0, []) == set()
    assert too_long(6, [*chain(6), (0, 5), (1, 4)]) == set()


def test_an_arrow_through_too_many_rows_is_left_out_and_the_others_stay() -> None:
    length = LONGEST + 5
    assert too_long(length, [*chain(length), (0, length - 1), (0, 3)]) == {length - 1}


def test_the_longest_are_left_out_until_the_budget_is_kept() -> None:
    arrows = [*chain(12), (0, 11), (0, 8), (0, 4)]
    assert too_long(12, arrows, budget=10) == {11}
    assert too_long(12, arrows, budget=3) == {11, 12}
    assert too_long(12, arrows, budget=0) == {11, 12, 13}


def test_what_is_computed_beside_a_chain_stands_near_its_use() -> None:
    length = 60  # 60 is a leaf; 61 is computed from it, and used at the end of the chain
    assert too_long(62, [*chain(length), (60, 61), (61, length - 1), (60, 1)]) == {length - 1}


def test_circles_of_closed_modules_are_no_trouble() -> None:
    assert too_long(3, [(0, 1), (1, 2), (2, 1)]) == set()


def a_recurrent_net(steps: int) -> Any:
    w, u = cr.tensor(0.5, requires_grad=True), cr.tensor(0.1, requires_grad=True)
    h = cr.tensor(0.0)
    states = []
    for i in range(steps):
        h = (h * w + float(i) * u).tanh()
        states.append(h)
    return cr.stack(states).sum(), {"w": w, "u": u}


@has_graphviz
def test_a_recurrent_net_is_drawn_and_has_a_page_within_seconds() -> None:
    loss, names = a_recurrent_net(200)
    start = time.perf_counter()
    picture = cr.draw(loss, names).svg
    data = page_data(cr.explain(loss, names=names))
    assert time.perf_counter() - start < 20, "without stand-ins this takes many minutes"
    assert "w #" in picture
    assert any(box["kind"] == "again" and box["lines"] == ["w"] for box in data["boxes"])


@has_graphviz
def test_a_stand_in_names_its_box_and_arrows_from_it_are_those_of_the_box() -> None:
    loss, names = a_recurrent_net(40)
    told = cr.explain(loss, names=names)
    data = page_data(told)
    for step, engine in zip(data["steps"], told.steps, strict=True):
        start, end, _ = data["edges"][step["edge"]]
        assert end == step["node"] and data["boxes"][start].get("of", start) == step["target"] == engine.target


def test_stand_ins_of_boxes_that_are_called_the_same_have_numbers() -> None:
    loss, names = a_recurrent_net(60)
    source = cr.draw(loss, names).source
    copies = re.findall(r'(s\d+) \[label="([^"]*)"', source)
    titles = re.findall(r'n\d+ \[label="([^"\\]*)', source)
    assert copies and {label for _, label in copies} <= set(titles), "what a copy says stands in the box itself"
    assert all(titles.count(label) == 1 for _, label in copies)
