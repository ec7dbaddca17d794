"""`explain`: the steps are the engine's own, in words, numbers and formulas, in every format."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.core.tensor import make_tensor
from chainrule.explain.explanation import latex_text
from chainrule.explain.formula import latex_name, plain
from chainrule.explain.steps import backward_pass
from chainrule.explain.values import value_of

from ..table_samples.common import Sample
from ..test_table import SAMPLES, operation, positions


def gradients_of(told: Any) -> dict[str, Any]:
    return {node.name: node.gradient for node in told.nodes if not node.operation}


# ----- order and numbers ------------------------------------------------------------------------------------------


def test_the_gradients_that_are_told_are_those_that_backward_computes() -> None:
    cr.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    x = cr.randn(4, 2)
    loss = (net(x) ** 2).mean() + net[0].weight.sum()
    told = cr.explain(loss)
    assert all(p.grad is None for p in net.parameters()), "explaining changes no .grad"
    loss.backward()
    for name, parameter in net.named_parameters():
        shown = gradients_of(told)[f"net.{name}"]
        assert np.array_equal(np.array(shown.numbers, np.float32), parameter.grad.numpy())


def test_the_steps_are_the_calls_that_the_engine_makes_in_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = cr.tensor(2.0, requires_grad=True), cr.tensor(3.0, requires_grad=True)
    c = a * b
    loss = (c.exp() + c).sin() * a
    steps = backward_pass(loss).steps
    called = []
    for func in (np.multiply, np.exp, np.add, np.sin):
        for position, back in cr.BACK_FUNCS._found[func].items():

            def noting(*args: Any, back: Any = back, name: str = func.__name__, at: int = position) -> Any:
                called.append((name, at))
                return back(*args)

            monkeypatch.setitem(cr.BACK_FUNCS._found[func], position, noting)
    nodes = backward_pass(loss).nodes
    called.clear()
    loss.backward()
    assert called == [(nodes[step.node].operation, step.position) for step in steps]


def test_a_node_is_numbered_after_what_it_was_computed_from() -> None:
    a = cr.tensor([1.0, 2.0], requires_grad=True)
    loss = (a.exp() * a.log()).sum()
    data = cr.explain(loss).data
    for number, node in enumerate(data.nodes):
        assert node.number == number
        assert all(argument.node is None or argument.node < number for argument in node.arguments)


def test_the_graph_survives_and_a_second_explanation_is_the_same() -> None:
    a = cr.tensor([1.0, 2.0], requires_grad=True)
    loss = (a * a).sum()
    assert str(cr.explain(loss)) == str(cr.explain(loss))
    loss.backward()
    assert a.grad.tolist() == [2.0, 4.0]


def test_retained_gradients_are_left_alone() -> None:
    a = cr.tensor(2.0, requires_grad=True)
    b = a * 3
    b.retain_grad()
    loss = b * b
    cr.explain(loss)
    assert b.grad is None
    loss.backward()
    assert b.grad.item() == 12.0


def test_a_seed_weighs_the_gradients() -> None:
    a = cr.tensor([1.0, 2.0], requires_grad=True)
    told = cr.explain(a * a, cr.tensor([1.0, 10.0]))
    assert gradients_of(told)["a"].numbers == [2.0, 40.0]


def test_the_numbers_are_those_of_the_time_of_the_call() -> None:
    a = cr.tensor(2.0, requires_grad=True)
    loss = a * 3
    told = cr.explain(loss)
    with cr.no_grad():
        a.fill_(100.0)
    assert "100" not in str(told)


def test_a_hook_that_replaces_a_gradient_is_told() -> None:
    a = cr.tensor(2.0, requires_grad=True)
    b = a * 3
    b.register_hook(lambda gradient: gradient * 10)
    loss = b * 1
    told = cr.explain(loss)
    assert gradients_of(told)["a"].numbers == 30.0
    assert "a hook replaced the gradient" in str(told)


def test_operations_with_their_own_backward_and_with_several_outputs_are_told() -> None:
    class Double(cr.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return grad * 2

    a = cr.tensor([[2.0, 1.0], [1.0, 3.0]], requires_grad=True)
    values, vectors = cr.linalg.eigh(Double.apply(a))
    loss = values.sum() + vectors.abs().sum()
    told = cr.explain(loss)
    loss.backward()
    assert np.allclose(gradients_of(told)["a"].numbers, a.grad.numpy(), atol=1e-6)
    assert {"eigh", "take_output"} <= set(told.data.operations)


def a_sample_of_each_operation() -> list[Sample]:
    found: dict[Any, Sample] = {}
    for sample in SAMPLES:
        if positions(sample) and sample.gauge is None:
            found.setdefault(sample.function, sample)
    return list(found.values())


@pytest.mark.parametrize("sample", a_sample_of_each_operation(), ids=str)
def test_every_operation_is_explained_with_the_gradients_of_backward(sample: Sample) -> None:
    where = positions(sample)
    leaves = [make_tensor(sample.args[i].copy(), None).requires_grad_() for i in where]
    outputs = [out for out in operation(sample)(*leaves) if out.requires_grad]
    loss = sum((out.abs().sum() for out in outputs), cr.zeros((), dtype=cr.float64))
    told = cr.explain(loss, names={f"leaf_{i}": leaf for i, leaf in enumerate(leaves)})
    loss.backward()
    for i, leaf in enumerate(leaves):
        shown = gradients_of(told).get(f"leaf_{i}")
        assert (leaf.grad is None) == (shown is None)
        assert shown is None or repr(shown) == repr(value_of(leaf.grad))
    assert "∇_" in str(told) and "$$" in told.markdown() and told.latex() and told._repr_html_()


# ----- words ------------------------------------------------------------------------------------------------------


def test_a_value_used_twice_says_which_path_and_adds_up() -> None:
    a = cr.tensor(-3.0, requires_grad=True)
    loss = a * 4 + a * a
    assert "the first of two paths into `a`" not in str(cr.explain(a * 4))
    text = str(cr.explain(loss))
    assert "the first of three paths into `a`" in text
    assert re.search(r"the third of three paths into `a`: -?\d+ \+ -?\d+ = -2$", text, re.MULTILINE)


def test_what_broadcasting_summed_over_is_said_in_words() -> None:
    a, b = cr.ones(2, 3, requires_grad=True), cr.ones(3, requires_grad=True)
    c = cr.ones(2, 1, requires_grad=True)
    text = str(cr.explain(a * b + c))
    assert "broadcasting had repeated `b` of shape (3,) to (2, 3), 2 times along axis 0" in text
    assert "broadcasting had repeated `c` of shape (2, 1) to (2, 3), 3 times along axis 1" in text
    assert "repeated `a`" not in text


def test_formulas_have_the_users_names_and_constants_in_them() -> None:
    width, height = cr.tensor([1.0, 2.0], requires_grad=True), cr.tensor([3.0, 4.0], requires_grad=True)
    text = str(cr.explain(width * height / 5))
    assert "∇_width L = height ∇_v1 L" in text and " / 5" in text


def test_single_numbers_are_put_into_the_formula() -> None:
    a, b = cr.tensor(2.0, requires_grad=True), cr.tensor(-3.0, requires_grad=True)
    text = str(cr.explain((a * b).exp()))
    assert "= (-3) · 0.0024788" in text


def test_names_are_given_found_in_variables_in_modules_and_lists() -> None:
    a = cr.name(cr.tensor(1.0, requires_grad=True), "the start")
    net = nn.Linear(1, 1)
    parts = [cr.tensor(2.0, requires_grad=True)]
    loss = (net(a.reshape(1)) * parts[0]).sum()
    told = cr.explain(loss)
    assert set(gradients_of(told)) == {"the start", "net.weight", "net.bias", "parts[0]"}
    assert told.title.startswith("Backward pass of `loss`")
    assert "mine" in gradients_of(cr.explain(loss, names={"mine": a}))


def test_a_name_is_given_to_tensors_only() -> None:
    with pytest.raises(TypeError, match="Tensor"):
        cr.name(3.0, "x")


def test_lines_are_shown_inside_a_recording_and_else_it_is_said_how() -> None:
    a = cr.tensor(2.0, requires_grad=True)
    assert "recording()" in str(cr.explain(a * 3))
    with cr.explain.recording():
        loss = a * 3 + 1  # the line that is to be found
    text = str(cr.explain(loss))
    assert "loss = a * 3 + 1  # the line that is to be found" in text and "test_explain.py:" in text
    with cr.autograd.detect_anomaly():
        loss = a * 4
    assert "loss = a * 4" in str(cr.explain(loss))


def test_the_module_of_a_step_is_named_inside_a_recording() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    with cr.explain.recording():
        loss = net(cr.ones(1, 2)).sum()
    text = str(cr.explain(loss))
    assert "in 0 (Linear)" in text and "in 1 (ReLU)" in text


def test_a_recording_keeps_the_passes_that_run_in_it() -> None:
    a = cr.tensor(3.0, requires_grad=True)
    with cr.explain.recording() as record:
        loss = a * a
        loss.backward()
    (kept,) = record.passes
    assert [node.operation for node in kept.nodes] == ["", "multiply"] and len(kept.steps) == 2
    assert kept.nodes[0].gradient.numbers == 6.0 and a.grad.item() == 6.0


def test_a_recording_changes_no_result_and_ends() -> None:
    import sys

    cr.manual_seed(1)
    net = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1))
    x = cr.randn(2, 3)
    net(x).sum().backward()
    plainly = [p.grad.numpy().copy() for p in net.parameters()]
    net.zero_grad()
    before = sys.getprofile()
    with cr.explain.recording():
        net(x).sum().backward()
    assert sys.getprofile() is before and not cr.is_anomaly_enabled()
    assert all(np.array_equal(p.grad.numpy(), g) for p, g in zip(net.parameters(), plainly, strict=True))


# ----- formats ----------------------------------------------------------------------------------------------------


def an_explanation() -> Any:
    a = cr.name(cr.tensor([[1.0, -2.0], [3.0, 0.5]], requires_grad=True), "a_1 & 50% {x} <script>alert(1)</script> `$")
    big = cr.ones(40, 2, requires_grad=True)
    loss = ((big @ a).relu() * 2 - a.sum()).logsumexp(0).prod()
    return cr.explain(loss)


def test_the_data_is_plain_and_ready_for_json() -> None:
    data = an_explanation().data
    plainly = {
        "nodes": [dataclasses.asdict(n) for n in data.nodes],
        "steps": [dataclasses.asdict(s) for s in data.steps],
    }
    assert json.loads(json.dumps(plainly))["steps"][0]["number"] == 1


def test_html_escapes_names() -> None:
    class Tags(HTMLParser):
        found: set[str] = set()

        def handle_starttag(self, tag: str, attrs: Any) -> None:
            self.found.add(tag)

    parser = Tags()
    parser.feed(an_explanation()._repr_html_())
    assert "script" not in parser.found and "table" in parser.found


def test_markdown_has_no_tag_outside_code() -> None:
    text = an_explanation().markdown()
    assert an_explanation()._repr_markdown_() == text
    outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text)
    assert "<script" not in outside and "$$" in text


def test_latex_is_balanced() -> None:
    text = an_explanation().latex()
    depth = 0
    for token in re.findall(r"\\.|[{}]", text):
        depth += (token == "{") - (token == "}")
        assert depth >= 0
    assert depth == 0
    assert text.count(r"\[") == text.count(r"\]") > 0
    assert text.startswith(r"\documentclass") and text.endswith("\\end{document}\n")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")
def test_latex_compiles(tmp_path: Path) -> None:
    an_explanation().save(tmp_path / "told.tex")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "told.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:]


def test_an_explanation_is_saved_by_the_ending(tmp_path: Path) -> None:
    told = an_explanation()
    for ending, text in ((".txt", str(told)), (".md", told.markdown()), (".tex", told.latex())):
        told.save(tmp_path / f"told{ending}")
        assert (tmp_path / f"told{ending}").read_text(encoding="utf-8") == text
    with pytest.raises(ValueError, match=r"\.txt"):
        told.save(tmp_path / "told.doc")


def test_text_and_names_are_escaped_for_latex() -> None:
    assert latex_text("50% of $x_1") == r"50\% of \$x\_1"
    assert latex_name("a b_c") == r"{\mathrm{a\ b\_c}}"
    assert plain(r"\nabla_{\mathrm{h\_1}} L") == "∇_h_1 L"


# ----- bad input --------------------------------------------------------------------------------------------------


def test_a_tensor_without_a_graph_is_refused_and_why_is_named() -> None:
    with pytest.raises(RuntimeError, match=r"does not require grad.*chainrule\.why"):
        cr.explain(cr.ones(2))
    with pytest.raises(TypeError, match="float"):
        cr.explain(1.0)


def test_a_freed_graph_says_retain_graph() -> None:
    a = cr.tensor(1.0, requires_grad=True)
    loss = a * a
    loss.backward()
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        cr.explain(loss)


def test_nan_infinities_empty_and_0d_arrays_are_told() -> None:
    a = cr.tensor([float("nan"), float("inf"), 0.0], requires_grad=True)
    with np.errstate(all="ignore"):
        text = str(cr.explain(a.log()))
    assert "nan" in text and "inf" in text
    empty = cr.zeros(0, 3, requires_grad=True)
    assert "empty   (0, 3) float32" in str(cr.explain(empty.exp()))
    large = cr.tensor([float("nan")] * 20 + [float("inf")] * 5, requires_grad=True)
    assert "20 of 25 NaN, 5 of 25 infinite" in str(cr.explain(large * large))


def test_a_leaf_alone_is_explained() -> None:
    a = cr.tensor(1.0, requires_grad=True)
    assert "∇_a L = 1" in str(cr.explain(a))


def test_complex_gradients_are_told() -> None:
    z = cr.tensor([1 + 2j], requires_grad=True)
    assert "1+2j" in str(cr.explain((z * z).abs().sum()))


def test_a_graph_of_many_nodes_is_summarised() -> None:
    y = a = cr.tensor(1.0, requires_grad=True)
    for _ in range(20_000):
        y = -y
    text = str(cr.explain(y))
    assert "negative 20000" in text and "... 19960 steps ..." in text and len(text) < 10_000
    assert len(cr.explain(y).latex()) < 20_000
    y.backward()
    assert a.grad.item() == 1.0


# ----- beside the rest of the package -----------------------------------------------------------------------------


def test_views_and_writes_in_place_are_steps_like_others() -> None:
    a = cr.tensor([1.0, 2.0, 3.0], requires_grad=True)
    b = a * 2
    b[0] = 5.0
    b[1:].mul_(3)
    loss = b.sum()
    told = cr.explain(loss)
    loss.backward()
    assert gradients_of(told)["a"].numbers == a.grad.tolist() == [0.0, 6.0, 6.0]


def test_what_was_overwritten_is_refused_as_backward_refuses_it() -> None:
    a = cr.tensor([1.0, 2.0], requires_grad=True)
    y = a.exp()
    y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        cr.explain(y.sum())


def test_a_backward_function_that_runs_a_pass_of_its_own_is_one_step() -> None:
    from chainrule.utils.checkpoint import checkpoint

    net = nn.Linear(2, 2)
    x = cr.ones(1, 2, requires_grad=True)
    with cr.explain.recording() as record:
        loss = checkpoint(net, x, use_reentrant=False).sum()
        told = cr.explain(loss)
        loss.backward()
    assert gradients_of(told)["x"].numbers == x.grad.tolist()
    assert "checkpoint" in told.data.operations and record.passes[-1].nodes[-1].operation == "sum"


def test_passes_of_higher_order_and_of_transforms_are_recorded() -> None:
    x = cr.tensor([1.0, 2.0], requires_grad=True)
    with cr.explain.recording() as record:
        (first,) = cr.autograd.grad((x**3).sum(), x, create_graph=True)
        (second,) = cr.autograd.grad(first.sum(), x)
        cr.vmap(cr.func.grad(lambda t: (t**2).sum()))(cr.ones(2, 3))
    assert second.tolist() == [6.0, 12.0] and len(record.passes) == 3
    assert "multiply" in str(cr.explain(cr.vmap(lambda t: t * x)(cr.ones(3, 2)).sum()))


def test_recordings_may_be_nested_and_explaining_in_one_leaves_no_pass() -> None:
    x = cr.tensor(2.0, requires_grad=True)
    with cr.explain.recording() as outer:
        with cr.explain.recording() as inner:
            y = x * 3
            cr.explain(y)
        y.backward()
    assert len(outer.passes) == 1 and len(inner.passes) == 0


def test_a_failing_pass_ends_its_observation() -> None:
    x = cr.tensor([2.0], requires_grad=True)
    y = x.exp()
    loss = (y * 1).sum()
    y.detach().fill_(3.0)
    with cr.explain.recording(), pytest.raises(RuntimeError, match="inplace"):
        loss.backward()
    (x * 5).sum().backward()
    assert x.grad.item() == 5.0


def test_the_room_is_called_like_its_function() -> None:
    import chainrule.explain as room

    x = cr.tensor(2.0, requires_grad=True)
    assert isinstance(room(x * 2), room.Explanation)  # type: ignore[operator]
    assert cr.why is room.why and cr.name is room.name and cr.draw is room.draw


def test_an_explanation_that_is_kept_keeps_no_graph() -> None:
    import weakref

    def explained() -> tuple[Any, Any]:  # its variables go when it returns
        a = cr.ones(3, requires_grad=True)
        middle = a * 2
        return weakref.ref(middle.array), cr.explain((middle * middle).sum())

    array, told = explained()
    assert array() is None and len(told.steps) == 4


def test_importing_the_package_imports_none_of_this_room() -> None:
    import sys

    script = "import sys, chainrule\nassert not [m for m in sys.modules if m.startswith('chainrule.explain')]"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_profiler_that_is_running_runs_on() -> None:
    import cProfile
    import pstats

    x = cr.tensor(2.0, requires_grad=True)
    y = (x * 3).exp()
    profile = cProfile.Profile()
    profile.enable()
    told = cr.explain(y)
    y.backward()
    profile.disable()
    seen = {name for _, _, name in pstats.Stats(profile).stats}  # type: ignore[attr-defined]
    assert len(told.steps) == 2 and "backward" in seen


# ----- what changes a gradient or a value on its way --------------------------------------------------------------


def test_a_hook_on_a_leaf_shows_in_its_gradient() -> None:
    x = cr.tensor([1.0, 2.0], requires_grad=True)
    x.register_hook(lambda gradient: gradient * 10)
    loss = (x * x).sum()
    told = gradients_of(cr.explain(loss))["x"].numbers
    loss.backward()
    assert told == [20.0, 40.0] == x.grad.tolist()


def test_a_hook_that_only_looks_is_not_said_to_replace() -> None:
    x = cr.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    y.register_hook(lambda gradient: None)
    assert "a hook" not in str(cr.explain((y * y + y).sum()))
    y.register_hook(lambda gradient: gradient * 3)
    assert "a hook replaced" in str(cr.explain((y * y + y).sum()))


def test_a_recorded_pass_has_gradients_after_hooks() -> None:
    x = cr.tensor([1.0, 2.0], requires_grad=True)
    x.register_hook(lambda gradient: gradient * 10)
    with cr.explain.recording() as seen:
        (x * x).sum().backward()
    assert gradients_of(seen.passes[-1])["x"].numbers == x.grad.tolist()


def test_values_are_those_of_the_forward_pass_even_where_they_were_written_to_since() -> None:
    w = cr.tensor([1.0, 2.0], requires_grad=True)
    y = w * 2
    y.fill_(3.0)
    nodes = {node.operation: node for node in cr.explain(y.sum()).nodes}
    assert nodes["multiply"].value.numbers == [2.0, 4.0]
    y = w * 2
    part = y[0]
    part.mul_(10)
    nodes = {node.operation: node for node in cr.explain(y.sum()).nodes}
    assert nodes["getitem"].value.numbers == 2.0  # as it was before
    assert nodes["multiply"].value.numbers in (None, 20.0) and nodes["write_region"].value.numbers == [20.0, 4.0]


def test_a_value_that_was_overwritten_and_not_kept_is_not_shown() -> None:
    w = cr.tensor([1.0, 2.0], requires_grad=True)
    loss = (w * cr.tensor([1.0, 2.0])).sum()
    with cr.no_grad():
        w -= 5
    leaf = next(node for node in cr.explain(loss).nodes if not node.operation)
    assert leaf.value.text == "values not shown"


def test_what_a_vmap_computed_is_shown_for_all_samples_and_summed_as_the_engine_does() -> None:
    w = cr.tensor([1.0, 2.0], requires_grad=True)
    rows = cr.arange(6.0).reshape(3, 2)
    loss = cr.func.vmap(lambda row: (w * row).sum() ** 2 + w.sum())(rows).sum()
    told = cr.explain(loss)
    loss.backward()
    assert gradients_of(told)["w"].numbers == w.grad.tolist()
    assert "not shown" not in str(told) and "summed over the 3 samples of vmap" in str(told)


def test_the_words_about_a_formula_use_the_names_that_it_uses() -> None:
    left, right = cr.ones(2, requires_grad=True), cr.ones(3, requires_grad=True)
    told = str(cr.explain(cr.einsum("i,j->ij", left, right).sum()))
    assert "the letters of the result and of left exchanged" in told
    assert "the letters of the result and of right exchanged" in told


def test_one_of_several_results_is_told_by_its_number() -> None:
    x = cr.tensor([[2.0, 0.0], [0.0, 1.0]], requires_grad=True)
    told = str(cr.explain(cr.linalg.svd(x)[1].sum()))
    assert "_1 L = ∇_" in told and "Several" not in told


def test_a_backward_function_of_the_users_own_is_told_in_every_format() -> None:
    class Twice(cr.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            return gradient * 2

    weight = cr.tensor([1.0, 2.0], requires_grad=True)
    told = cr.explain(Twice.apply(weight).sum())
    own = "by a backward function of its own"
    assert f"∇_weight L: {own}" in told.text()
    assert rf"$\nabla_{{{{\mathrm{{weight}}}}}} L$: {own}" in told.markdown()
    assert rf"$\nabla_{{{{\mathrm{{weight}}}}}} L$: {own}" in told.latex()
    assert own in told._repr_html_()
