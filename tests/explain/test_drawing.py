"""The drawing of a graph as DOT text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import chainrule as cr


def test_a_drawing_names_leaves_operations_shapes_and_constants() -> None:
    a, b = cr.ones(2, 3, requires_grad=True), cr.ones(3)
    source = cr.draw((a * b).exp() * 2, {"weights": a, "b": b}).source
    for part in (
        "digraph {",
        '"weights\\n(2, 3) float32"',
        '"b\\n(3,) float32"',
        '"multiply\\n(2, 3)"',
        '"exp\\n(2, 3)"',
        '"2"',
    ):
        assert part in source


def test_arrows_lead_from_arguments_to_results_and_say_which_argument() -> None:
    a, b = cr.tensor(1.0, requires_grad=True), cr.tensor(2.0, requires_grad=True)
    source = cr.draw(b - a, {"a": a, "b": b}).source
    number = {m[2]: m[1] for m in re.finditer(r'(n\d+) \[label="(\w+)\\n', source)}
    assert f'{number["b"]} -> {number["subtract"]} [label="0"]' in source
    assert f'{number["a"]} -> {number["subtract"]} [label="1"]' in source


def test_a_value_used_twice_is_one_node_with_two_arrows() -> None:
    a = cr.tensor(2.0, requires_grad=True)
    source = cr.draw(a * a).source
    assert len(re.findall(r"shape=box", source)) == 1 and len(re.findall(r"n0 -> n1", source)) == 2


def test_parameters_are_shown_under_their_names() -> None:
    net = cr.nn.Sequential(cr.nn.Linear(2, 3), cr.nn.ReLU())
    source = cr.draw(net(cr.ones(1, 2)).sum(), net.named_parameters()).source
    assert "0.weight" in source and "0.bias" in source and "linear" in source


def test_names_cannot_break_out_of_their_quotes() -> None:
    a = cr.tensor(1.0, requires_grad=True)
    source = cr.draw(a * 1, {'a"] evil [label="\\': a}).source
    assert r"a\"] evil [label=\"\\" in source


def test_a_tensor_without_a_graph_is_one_node() -> None:
    source = cr.draw(cr.ones(2)).source
    assert source.count("[label=") == 1 and "->" not in source


def test_a_graph_that_backward_freed_is_refused() -> None:
    a = cr.tensor(1.0, requires_grad=True)
    loss = (a * a).exp()
    loss.backward()
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        cr.draw(loss)
    loss = (a * a).exp()
    loss.backward(retain_graph=True)
    assert "exp" in cr.draw(loss).source


def test_a_long_chain_is_drawn_without_recursion() -> None:
    x = cr.tensor(1.0, requires_grad=True)
    y = x
    for _ in range(20_000):
        y = -y
    assert cr.draw(y).source.count("negative") == 20_000


def test_a_drawing_is_saved_as_dot(tmp_path: Path) -> None:
    drawing = cr.draw(cr.tensor(1.0, requires_grad=True) * 2)
    drawing.save(tmp_path / "graph.dot")
    assert (tmp_path / "graph.dot").read_text() == drawing.source


def test_only_tensors_are_drawn() -> None:
    with pytest.raises(TypeError, match="float"):
        cr.draw(1.0)
