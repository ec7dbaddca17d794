"""What a program hands out or keeps of an input from before it writes to that input is a copy made in time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.compiler import compile

pytestmark = pytest.mark.usefixtures("numpy_only")
random = np.random.default_rng(0)

# ----- results: a program is given x, which requires grad, and w, which it writes to -----

TAKEN: dict[str, Any] = {
    "clone": lambda w: w.clone(),
    "detached clone": lambda w: w.detach().clone(),
    "transposed": lambda w: w.T.clone(),
    "contiguous": lambda w: w.T.contiguous(),
    "slice": lambda w: w[1:, ::2].clone(),
    "element": lambda w: w[0, 1].clone(),
    "rows": lambda w: w[cr.tensor([2, 0])],
    "half": lambda w: w.chunk(2)[1].clone(),
    "diagonal": lambda w: w.diagonal().clone(),
    "reshaped": lambda w: w.reshape(-1).clone().reshape(2, 8),
    "expanded": lambda w: w[0].expand(3, 4).clone(),
    "flipped": lambda w: w.flip(0),
    "converted": lambda w: w.to(w.dtype, copy=True),
    "repeated": lambda w: w.repeat(1, 1),
    "where": lambda w: cr.where(cr.tensor(True), w, w),
    "times one": lambda w: w * 1,
}


@pytest.mark.parametrize("taken", TAKEN.values(), ids=TAKEN)
def test_a_result_from_before_a_write_is_the_old_value(taken: Any) -> None:
    def program(w: Any, v: Any) -> Any:
        old = taken(w)
        w.mul_(3).add_(v)
        return old, w * 2

    start, other = random.normal(size=(4, 4)), random.normal(size=(4, 4))
    w, v = cr.from_numpy(start.copy()), cr.from_numpy(other)
    compiled = compile(program)
    wanted = start
    for _ in range(3):
        old, new = compiled(w, v)
        np.testing.assert_array_equal(old.numpy(), taken(cr.from_numpy(wanted)).numpy())
        wanted = wanted * 3 + other
        np.testing.assert_allclose(w.numpy(), wanted, rtol=1e-14)
        np.testing.assert_allclose(new.numpy(), wanted * 2, rtol=1e-14)


@pytest.mark.parametrize("taken", TAKEN.values(), ids=TAKEN)
def test_the_way_back_keeps_the_old_value(taken: Any) -> None:
    def program(x: Any, w: Any) -> Any:
        old = taken(w)
        out = x.reshape(-1)[: old.numel()].reshape(old.shape) * old
        w.mul_(2)
        return out

    start = random.normal(size=(4, 4))
    x = cr.from_numpy(random.normal(size=(4, 4))).requires_grad_()
    w = cr.from_numpy(start.copy())
    compiled = compile(program)
    for count in range(2):
        x.grad = None
        compiled(x, w).sum().backward()
        old = taken(cr.from_numpy(start * 2**count)).numpy().reshape(-1)
        np.testing.assert_array_equal(x.grad.numpy().reshape(-1), np.pad(old, (0, 16 - old.size)))


def test_old_values_may_change_places() -> None:
    def exchange(a: Any, b: Any, c: Any) -> None:
        old = a.clone()
        a.copy_(b.T)
        b.copy_(c)
        c.copy_(old)

    arrays = [random.normal(size=(3, 3)) for _ in range(3)]
    tensors = [cr.from_numpy(array.copy()) for array in arrays]
    compile(exchange)(*tensors)
    for found, wanted in zip(tensors, (arrays[1].T, arrays[2], arrays[0]), strict=True):
        np.testing.assert_array_equal(found.numpy(), wanted)


def test_halves_may_change_places() -> None:
    def exchange(w: Any) -> None:
        old = w[:2].clone()
        w[:2] = w[2:]
        w[2:] = old

    start = random.normal(size=(4, 3))
    w = cr.from_numpy(start.copy())
    compile(exchange)(w)
    np.testing.assert_array_equal(w.numpy(), start[[2, 3, 0, 1]])


def test_each_of_several_old_values_is_that_of_its_moment() -> None:
    def program(w: Any) -> Any:
        first = w.clone()
        w[0] = 5.0
        second = w.T.clone()
        w.add_(1)
        third = w.clone()
        w.zero_()
        return first, second, third

    start = random.normal(size=(3, 3))
    w = cr.from_numpy(start.copy())
    changed = start.copy()
    changed[0] = 5
    for found, wanted in zip(compile(program)(w), (start, changed.T, changed + 1), strict=True):
        np.testing.assert_array_equal(found.numpy(), wanted)
    assert not w.numpy().any()


def test_a_gradient_set_to_an_old_value_stays_that() -> None:
    def program(x: Any, w: Any) -> None:
        x.grad = w.clone()
        w.mul_(3)

    start = random.normal(size=4)
    x, w = cr.zeros(4, dtype=cr.float64, requires_grad=True), cr.from_numpy(start.copy())
    compile(program)(x, w)
    np.testing.assert_array_equal(x.grad.numpy(), start)


def test_a_training_step_can_return_the_weights_from_before_it() -> None:
    w = cr.from_numpy(random.normal(size=(3, 2))).requires_grad_()
    optimizer = cr.optim.SGD([w], lr=0.5)

    @compile
    def step(x: Any) -> Any:
        optimizer.zero_grad()
        (x @ w).square().sum().backward()
        old = w.detach().clone()
        optimizer.step()
        return old, w.detach() - old

    x = random.normal(size=(4, 3))
    for _ in range(2):
        before = w.detach().numpy().copy()
        old, change = step(cr.from_numpy(x))
        np.testing.assert_array_equal(old.numpy(), before)
        np.testing.assert_allclose(change.numpy(), -x.T @ (x @ before), rtol=1e-12)
        np.testing.assert_allclose(w.detach().numpy(), before - x.T @ (x @ before), rtol=1e-12)


# ----- recurrent layers: their inputs are written to between the way forward and the way back -----

LAYERS: dict[str, Any] = {"lstm": cr.nn.LSTM, "gru": cr.nn.GRU, "rnn": cr.nn.RNN}
WRITTEN = ["none", "input", "first step", "state", "cell", "bias", "weight"]


def through_time(name: str, written: str, frozen: bool) -> Any:
    """A function that gives the gradients for an input, a state and a cell, and for weights that are not frozen."""
    cr.manual_seed(0)
    layer = LAYERS[name](3, 5, num_layers=2).double()
    layer.requires_grad_(not frozen)
    trained = [parameter for parameter in layer.parameters() if parameter.requires_grad]

    def gradients(x: Any, h: Any, c: Any) -> Any:
        leaves = [x, h, *([c] if name == "lstm" else []), *trained]
        x, h, c = x * 1, h * 1, c * 1
        out, last = layer(x, (h, c) if name == "lstm" else h)
        places = {
            "input": x, "first step": x[0], "state": h, "cell": c, "bias": layer.bias_hh_l0,
            "weight": layer.weight_hh_l0,
        }  # fmt: skip
        if written != "none":
            with cr.no_grad():
                places[written].mul_(2)
        last = last if name == "lstm" else (last,)
        total = out.square().sum() + sum((state * 3).sum() for state in last)
        return cr.autograd.grad(total, leaves)

    return gradients


@pytest.mark.parametrize("frozen", [False, True], ids=["trained", "frozen"])
@pytest.mark.parametrize("written", WRITTEN[1:])
@pytest.mark.parametrize("name", LAYERS)
def test_what_a_recurrent_layer_was_given_may_be_written_to_or_is_refused_eager_and_compiled(
    name: str, written: str, frozen: bool
) -> None:
    arrays = [random.normal(size=(4, 2, 3)), *random.normal(size=(2, 2, 2, 5))]

    def leaves() -> list[Any]:
        return [cr.from_numpy(array).requires_grad_() for array in arrays]

    programs = through_time(name, written, frozen), compile(through_time(name, written, frozen))
    if written == "weight" or (written in ("input", "first step") and not frozen):
        for program in programs:
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                program(*leaves())
        return
    wanted = through_time(name, "none", frozen)(*leaves())
    for program in programs:
        for found, right in zip(program(*leaves()), wanted, strict=True):
            np.testing.assert_allclose(found.numpy(), right.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("layout", [np.asfortranarray, lambda a: np.repeat(a, 2, 1)[:, ::2], lambda a: a[::-1]])
def test_a_tensor_that_is_not_contiguous_is_none_after_it_was_written_to(layout: Any) -> None:
    def program(w: Any) -> Any:
        before = w.is_contiguous()
        w.mul_(2)
        return before, w.is_contiguous(), (w + 0).is_contiguous()

    start = layout(random.normal(size=(3, 4)))
    assert compile(program)(cr.from_numpy(start)) == program(cr.from_numpy(start))


@pytest.mark.parametrize("name", ["zeros", "ones", "empty"])
def test_a_new_tensor_like_a_traced_one_may_be_written_to(name: str) -> None:
    def program(w: Any) -> Any:
        new = getattr(w, f"new_{name}")(2, 3)
        new[0] = w
        new[1] = 1
        new.mul_(w)
        return new

    w = cr.tensor([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(compile(program)(w).numpy(), program(w).numpy())
