"""The drawing of a graph as DOT text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import chainrule as cr
from chainrule import nn


def test_a_drawing_names_leaves_operations_shapes_and_constants() -> None:
    a, b = cr.ones(2, 3, requires_grad=True), cr.ones(3)
    source = cr.draw((a * b).exp() * 2, {"weights": a, "b": b}).source
    for part in (
        "digraph {",
        '"weights\\n(2, 3) float32\\n[[1, 1, 1], [1, 1, 1]]"',
        '"b\\n(3,) float32\\n[1, 1, 1]"',
        '"multiply\\n(2, 3) float32\\n',
        '"exp\\n(2, 3) float32\\n',
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


def test_a_graph_of_many_nodes_is_drawn_near_its_end_and_the_rest_summarised() -> None:
    y = x = cr.tensor(1.0, requires_grad=True)
    for _ in range(30_000):
        y = -y
    source = cr.draw(y).source
    assert source.count("negative\\n") == 1000 and "negative × 29000" in source and "leaves × 1" in source
    assert cr.draw(y, limit=10).source.count("negative\\n") == 10
    assert x.grad is None


def test_a_drawing_is_saved_as_dot(tmp_path: Path) -> None:
    drawing = cr.draw(cr.tensor(1.0, requires_grad=True) * 2)
    drawing.save(tmp_path / "graph.dot")
    assert (tmp_path / "graph.dot").read_text() == drawing.source


def test_only_tensors_are_drawn() -> None:
    with pytest.raises(TypeError, match="float"):
        cr.draw(1.0)


# ----- values, gradients and names --------------------------------------------------------------------------------


def test_large_values_are_summarised_and_gradients_shown_where_there_are_any() -> None:
    a = cr.full((10, 10), 2.0, requires_grad=True)
    b = a * cr.arange(100.0).reshape(10, 10)
    b.retain_grad()
    loss = b.sum()
    assert "grad" not in cr.draw(loss).source
    loss.backward(retain_graph=True)
    source = cr.draw(loss).source
    assert "a\\n(10, 10) float32\\nall 2\\ngrad from 0 to 99" in source
    assert "b = multiply" in source and "grad all 1" in source


def test_names_come_from_the_callers_variables_and_from_name() -> None:
    first = cr.tensor(1.0, requires_grad=True)
    second = first * cr.name(cr.tensor(2.0, requires_grad=True), "speed")
    source = cr.draw(second + 1).source
    assert '"first\\n' in source and '"speed\\n' in source and '"second = multiply' in source


def test_operations_made_here_are_shown_without_their_underscore() -> None:
    assert '"relu\\n' in cr.draw(cr.tensor(1.0, requires_grad=True).relu()).source


def test_nan_infinite_empty_and_integer_values_are_drawn() -> None:
    a = cr.tensor([float("nan"), float("inf")] * 10, requires_grad=True)
    assert "10 of 20 NaN\\n10 of 20 infinite" in cr.draw(a * 1).source
    assert "empty" in cr.draw(cr.zeros(0, requires_grad=True) * 1).source


# ----- modules ----------------------------------------------------------------------------------------------------


def a_net(blocks: int = 3) -> Any:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 4)
            self.outer = nn.Linear(4, 4)

        def forward(self, x: Any) -> Any:
            return x + self.outer(self.inner(x).relu())

    return nn.Sequential(nn.Linear(2, 4), nn.Sequential(*(Block() for _ in range(blocks))), nn.Linear(4, 1))


def test_modules_are_nested_boxes() -> None:
    source = cr.draw(a_net(1), cr.ones(1, 2)).source
    for label in ('"Sequential"', '"0 (Linear)"', '"1 (Sequential)"', '"1.0 (Block)"', '"1.0.inner (Linear)"'):
        assert f"label={label}" in source
    assert source.count("{") == source.count("}") and "subgraph cluster_" in source
    assert '"1.0.inner.weight\\n' in source


def test_repeated_blocks_are_one_box_unless_asked_for() -> None:
    net = a_net(5)
    source = cr.draw(net, cr.ones(1, 2)).source
    assert '"1.1 to 1.4\\n4 × Block, as 1.0\\n' in source and "1.3.inner" not in source
    assert "1.0.inner (Linear)" in source
    in_full = cr.draw(net, cr.ones(1, 2), repeats=True).source
    assert "1.4.inner (Linear)" in in_full and "×" not in in_full


def test_a_depth_closes_what_is_deeper() -> None:
    net = a_net(2)
    closed = cr.draw(net, cr.ones(1, 2), depth=0).source
    assert closed.count("shape=box") == 1 and "Sequential\\n" in closed
    one = cr.draw(net, cr.ones(1, 2), depth=1).source
    assert "1 (Sequential)\\n" in one and "Block" not in one


def test_every_arrow_leads_to_a_box_that_is_drawn() -> None:
    for depth in (0, 1, 2, 3, None):
        source = cr.draw(a_net(4), cr.ones(1, 2), depth=depth).source
        boxes = set(re.findall(r"^ *(\w+) \[label=", source, re.MULTILINE))
        ends = {end for arrow in re.findall(r"(\w+) -> (\w+)", source) for end in arrow}
        assert ends <= boxes


def test_a_loss_computed_inside_a_recording_is_drawn_with_its_modules() -> None:
    net = a_net(1)
    with cr.explain.recording():
        loss = net(cr.ones(1, 2)).sum()
    assert "1.0 (Block)" in cr.draw(loss).source


def test_a_model_of_thousands_of_operations_stays_readable() -> None:
    net = nn.Sequential(
        *(nn.Sequential(*(nn.Linear(2, 2) if i % (3 + j) else nn.Tanh() for i in range(40))) for j in range(30))
    )
    source = cr.draw(net, cr.ones(1, 2)).source
    assert source.count("[label=") <= 200 and "Sequential" in source


def test_a_function_is_drawn_by_what_it_does() -> None:
    w = cr.tensor([1.0, 2.0], requires_grad=True)
    source = cr.draw(lambda x: {"out": (x * w).sum()}, cr.ones(2)).source
    assert '"w\\n' in source and '"input\\n' in source and "multiply" in source
    with pytest.raises(TypeError, match="int"):
        cr.draw(lambda: 3)


def test_a_compiled_function_is_drawn_as_its_program() -> None:
    w = cr.tensor([1.0, 2.0], requires_grad=True)
    compiled = cr.compile(lambda x: ((x * w).exp() + 1).sum())
    with pytest.raises(RuntimeError, match="call it once"):
        cr.draw(compiled)
    source = cr.draw(compiled, cr.ones(2)).source
    assert "exp" in source and "multiply" in source and "float32[2]" in source
    assert cr.draw(compiled).source == source


def test_constants_of_what_is_left_out_are_left_out_as_well() -> None:
    x = cr.tensor(1.0, requires_grad=True)
    y = x
    for _ in range(500):
        y = y * 0.5
    source = cr.draw(y, limit=20).source
    assert source.count('label="0.5"') <= 20
    assert not re.search(r"-> rest", source)


@pytest.mark.parametrize("wrong", [{"depth": -1}, {"limit": 0}])
def test_a_depth_or_limit_that_makes_no_sense_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="depth from 0 and a limit from 1"):
        cr.draw(cr.ones(2, requires_grad=True) * 2, **wrong)
