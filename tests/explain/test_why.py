"""`why` names the cause: for every way in which a gradient can fail."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.explain import record


@pytest.fixture(autouse=True)
def no_earlier_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "_latest", None)


def leaf(*values: float) -> Any:
    return cr.tensor(values or (1.0, 2.0), requires_grad=True)


# ----- no graph ---------------------------------------------------------------------------------------------------


def test_a_leaf_without_requires_grad() -> None:
    w = cr.ones(2)
    answer = cr.why(w)
    assert answer.cause == "no requires_grad" and "`w`" in str(answer) and "recording()" in str(answer)


def test_an_integer_tensor() -> None:
    assert cr.why(cr.tensor([1, 2])).cause == "integer"


CUTS = {
    "detach": lambda w: w.detach() * 2,
    "data": lambda w: w.data * 2,
    "no_grad": lambda w: cr.no_grad()(lambda: w * 2)() + 1,
    "comparison": lambda w: (w > 1) * cr.ones(2),
    "integer": lambda w: w.argmax() * 1.0,
    "copy": lambda w: cr.tensor(w * 3) + 1,
    "item": lambda w: cr.tensor(w.sum().item() * 1.0) + 1,
    "tolist": lambda w: cr.ones(2) * cr.tensor((w * 2).tolist()),
    "numpy": lambda w: cr.from_numpy(np.exp((w * 2).detach().numpy())),
}


@pytest.mark.parametrize("cause", CUTS)
def test_a_cut_is_named_with_the_users_line(cause: str) -> None:
    w = leaf()
    with cr.explain.recording():
        y = CUTS[cause](w)
    assert not y.requires_grad
    answer = cr.why(y)
    assert answer.cause == cause, answer
    assert "`y` has no graph" in str(answer) and "test_why.py:" in answer.place and "lambda w" in answer.place


def test_a_loss_from_a_cut_graph_explains_the_leafs_missing_gradient() -> None:
    w = leaf()
    with cr.explain.recording():
        h = w * 3
        loss = (h.detach() * 2).sum()
    answer = cr.why(w, loss)
    assert answer.cause == "detach" and "`h` was detached at" in str(answer) and "loss = (h.detach()" in answer.place
    assert cr.why(w).cause == "detach", "the way from the leaf on is followed as well"


def test_what_was_computed_from_constants_names_them() -> None:
    x = cr.ones(2)
    with cr.explain.recording():
        y = x * 2
    answer = cr.why(y)
    assert answer.cause == "no requires_grad" and "`x`" in str(answer)


def test_a_write_without_recording_is_named() -> None:
    w = leaf()
    target = cr.zeros(2)
    with cr.explain.recording(), cr.no_grad():
        target.copy_(w * 2)
    assert cr.why(target).cause in ("write", "no_grad")


def test_a_tensor_rebuilt_on_the_memory_of_an_exported_array() -> None:
    w = leaf()
    with cr.explain.recording():
        y = cr.from_numpy((w * 2).detach().numpy())
    answer = cr.why(y)
    assert answer.cause == "numpy" and "perhaps" not in str(answer)


# ----- no gradient ------------------------------------------------------------------------------------------------


def test_backward_was_not_called() -> None:
    w = leaf()
    loss = w.sum()
    assert cr.why(w, loss).cause == cr.why(w).cause == "no backward"


def test_the_loss_does_not_depend_on_it() -> None:
    w, v = leaf(), leaf()
    loss = v.sum()
    assert cr.why(w, loss).cause == "not reached"
    with cr.explain.recording():
        (v * 1).sum().backward()
    assert cr.why(w).cause == "not reached"


def test_an_intermediate_result_needs_retain_grad() -> None:
    h = leaf() * 2
    loss = h.sum()
    answer = cr.why(h)
    assert answer.cause == "non-leaf" and "retain_grad()" in str(answer)
    h.retain_grad()
    assert cr.why(h).cause == "no backward"
    loss.backward()
    assert cr.why(h).cause == ""


def test_a_gradient_that_was_reset() -> None:
    w = leaf()
    with cr.explain.recording():
        w.sum().backward()
    w.grad = None
    assert cr.why(w).cause == "reset"


def test_a_freed_graph_says_what_to_do() -> None:
    w, v = leaf(), leaf()
    loss = (v * v).sum()
    loss.backward()
    assert "retain_graph=True" in str(cr.why(w, loss))


# ----- zeros ------------------------------------------------------------------------------------------------------

ZEROS = {
    "dead relu": lambda w: (w - 5).relu().sum(),
    "saturated sigmoid": lambda w: (w * 1000).sigmoid().sum(),
    "saturated tanh": lambda w: (w * 1000).tanh().sum(),
    "mask": lambda w: (w * cr.zeros(2)).sum(),
    "step function": lambda w: w.round().sum(),
    "limit": lambda w: w.clamp(-1, 0).sum(),
    "cancelled": lambda w: (w * 2 - w * 2).sum(),
}


@pytest.mark.parametrize("cause", ZEROS)
def test_zeros_name_the_step_that_made_them(cause: str) -> None:
    w = leaf()
    loss = ZEROS[cause](w)
    loss.backward(retain_graph=True)
    assert not w.grad.any()
    answer = cr.why(w, loss)
    assert answer.cause == cause, answer
    with cr.explain.recording():
        again = ZEROS[cause](w)
        w.grad = None
        again.backward()
    answer = cr.why(w)
    assert answer.cause == cause and (cause == "cancelled" or "test_why.py:" in answer.place)


def test_an_in_place_write_that_replaced_the_values() -> None:
    w = leaf()
    h = w * 2
    h[:] = 0.0
    loss = h.sum()
    loss.backward(retain_graph=True)
    assert cr.why(w, loss).cause == "in-place write"


def test_a_seed_of_zeros() -> None:
    w = leaf()
    loss = w * 2
    loss.backward(cr.zeros(2))
    with cr.explain.recording():
        (w * 2).backward(cr.zeros(2))
    assert cr.why(w).cause == "zero seed"


def test_without_graph_and_recording_it_says_what_to_switch_on() -> None:
    w = leaf()
    (w * 0).sum().backward()
    answer = cr.why(w)
    assert answer.cause == "unknown" and "retain_graph=True" in str(answer) and "recording()" in str(answer)


# ----- not finite -------------------------------------------------------------------------------------------------


def test_the_first_operation_that_produced_nan_forward_is_named_with_its_inputs() -> None:
    w = leaf(-1.0, 2.0)
    with np.errstate(all="ignore"), cr.explain.recording():
        loss = (w.log() * 3).sum()
        loss.backward()
    answer = cr.why(loss)
    assert answer.cause == "forward" and "log at" in str(answer) and "`w` = [-1, 2]" in str(answer)
    with np.errstate(all="ignore"):
        loss = (w.log() * 3).sqrt().sum()
        answer = cr.why(loss)
        assert answer.cause == "forward" and "It began here: log made" in str(answer) and "[-1, 2]" in str(answer)
        w.grad = None
        loss.backward(retain_graph=True)
        answer = cr.why(w, loss)
    assert answer.cause == "forward" and "log made [nan" in str(answer)


def test_a_derivative_that_is_infinite_is_named_with_its_formula() -> None:
    w = leaf(0.0, 4.0)
    with np.errstate(all="ignore"), cr.explain.recording():
        loss = w.sqrt().sum()
        loss.backward()
        answer = cr.why(w)
    assert answer.cause == "backward" and "the derivative of sqrt" in str(answer) and "`w` is [0, 4]" in str(answer)
    assert "loss = w.sqrt().sum()" in answer.place


def test_a_leaf_that_has_nan_from_the_start() -> None:
    w = leaf(float("nan"), 1.0)
    loss = (w * w).sum()
    assert cr.why(loss).cause == "leaf"
    loss.backward(retain_graph=True)
    assert cr.why(w, loss).cause == "leaf"


def test_nothing_is_wrong_with_a_good_gradient() -> None:
    w = leaf()
    (w * w).sum().backward()
    answer = cr.why(w)
    assert answer.cause == "" and "Nothing is wrong" in repr(answer)


def test_only_tensors_are_asked_about() -> None:
    with pytest.raises(TypeError, match="float"):
        cr.why(1.0)
    with pytest.raises(TypeError, match="str"):
        cr.why(leaf(), "loss")


# ----- gradient_flow ----------------------------------------------------------------------------------------------


def test_gradient_flow_marks_dead_vanishing_exploding_missing_and_nan() -> None:
    net = nn.Sequential(*(nn.Linear(2, 2, bias=False) for _ in range(6)))
    for layer, factor in zip(net, (1.0, 0.0, 1e-6, 1e6, float("nan")), strict=False):
        layer.weight.grad = cr.full((2, 2), factor)
    flow = cr.gradient_flow(net)
    marks = ("dead", "vanishing", "exploding", "not finite", "none")
    assert flow.marked == {f"{i}.weight": mark for i, mark in enumerate(marks, 1)}
    assert "exploding" in str(flow) and "<table>" in flow._repr_html_()


def test_gradient_flow_of_deep_sigmoids_vanishes_towards_the_first_layer() -> None:
    cr.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(12):
        layers += [nn.Linear(8, 8), nn.Sigmoid()]
    net = nn.Sequential(*layers)
    net(cr.randn(4, 8)).sum().backward()
    marked = cr.gradient_flow(net).marked
    assert marked["0.weight"] == "vanishing" and "22.weight" not in marked


def test_gradient_flow_is_plotted() -> None:
    pytest.importorskip("matplotlib")
    net = nn.Linear(2, 2)
    net(cr.ones(1, 2)).sum().backward()
    figure = cr.gradient_flow(net).plot()
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["weight", "bias"]


def test_gradient_flow_takes_modules_only() -> None:
    with pytest.raises(TypeError, match="Tensor"):
        cr.gradient_flow(cr.ones(2))


def test_a_gradient_from_an_earlier_pass_is_told_from_that_of_a_loss_without_a_graph() -> None:
    w = leaf()
    (w * 0).sum().backward()
    with cr.explain.recording():
        loss = (w.detach() * 2).sum()
    answer = cr.why(w, loss)
    assert answer.cause == "detach" and "from an earlier pass: the loss has no graph" in str(answer)


def test_an_exported_value_without_a_name_is_told_by_what_it_was_computed_from() -> None:
    w = leaf()
    with cr.explain.recording():
        k = cr.tensor([w[0].item(), w[1].item()])
    assert "turned a value computed from `w` into a Python number" in str(cr.why(k))


def test_a_number_that_was_computed_with_outside_the_graph_is_named() -> None:
    w, scale = leaf(), cr.tensor(1.0, requires_grad=True)
    with cr.explain.recording():
        number = w.sum().item()
        loss = scale * number
        loss.backward()
    answer = cr.why(w, loss)
    assert answer.cause == "item" and "w.sum().item()" in answer.place


def test_a_write_without_recording_is_named_by_what_was_computed_there() -> None:
    w = leaf()
    with cr.explain.recording():
        target = cr.zeros(2)
        with cr.no_grad():
            target[0] = w[0] * 2
        loss = target.sum()
    assert cr.why(loss).cause == "no_grad" and cr.why(w, loss).cause == "no_grad"


def test_a_frozen_parameter_is_told_as_such() -> None:
    net = nn.Linear(2, 1)
    net.weight.requires_grad_(False)
    assert cr.why(net.weight).cause == "frozen"


def test_a_reduction_is_called_by_its_name() -> None:
    with cr.explain.recording():
        total = cr.ones(2).sum()
    assert "made by sum at" in str(cr.why(total))


def test_nan_in_the_data_is_blamed_on_the_data() -> None:
    x, w = cr.tensor([float("nan"), 1.0]), leaf()
    loss = (x * w).sum()
    loss.backward(retain_graph=True)
    assert "`x` that multiply was given is [nan, 1] from the start" in str(cr.why(w, loss))


def test_infinities_of_a_mask_are_not_blamed_for_a_nan_made_later() -> None:
    scores = cr.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    mask = cr.tensor([[True, True], [False, True]])
    with cr.explain.recording(), np.errstate(invalid="ignore"):
        loss = scores.masked_fill(mask, float("-inf")).softmax(1).sum()
    assert "It began here: softmax at" in str(cr.why(loss))


def test_the_pass_in_which_a_gradient_went_wrong_is_found_among_later_ones() -> None:
    w = leaf()
    with cr.explain.recording():
        (w * float("inf")).sum().backward()
        (w * 2).sum().backward()
    assert "is inf from the start" in str(cr.why(w))


def test_autograd_grad_fills_no_gradient_and_why_says_so() -> None:
    w = leaf()
    with cr.explain.recording():
        cr.autograd.grad((w * w).sum(), w)
    assert cr.why(w).cause == "autograd.grad"


def test_a_pass_that_ended_in_an_error_is_not_said_to_have_reached_anything() -> None:
    w = leaf()
    with cr.explain.recording() as seen:
        y = w * 2
        loss = (y * y).sum()
        y.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace"):
            loss.backward()
    assert not seen.passes
    assert cr.why(w).cause == "no backward"
