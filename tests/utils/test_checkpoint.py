"""Checkpointed activations: gradients as without, less memory, and errors where the function does not repeat itself."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.autograd import grad, gradcheck, gradgradcheck
from chainrule.utils.checkpoint import (
    CheckpointError,
    checkpoint,
    checkpoint_sequential,
    set_checkpoint_debug_enabled,
    set_checkpoint_early_stop,
)

pytestmark = pytest.mark.filterwarnings("error")


def double(*shape: int, seed: int = 0) -> Any:
    values = np.random.default_rng(seed).normal(size=shape)
    return cr.from_numpy(values).requires_grad_()


def model() -> Any:
    cr.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3))


def gradients(net: Any, forward: Any) -> list[Any]:
    """Of the parameters and the input, with the same random numbers each time."""
    cr.manual_seed(3)
    net.zero_grad()
    x = cr.from_numpy(np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)).requires_grad_()
    (forward(x * 2) ** 2).sum().backward()
    return [p.grad.numpy().copy() for p in net.parameters()] + [x.grad.numpy()]  # type: ignore[union-attr]


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradients_are_those_without_checkpoints(reentrant: bool) -> None:
    net = model()
    expected = gradients(net, net)

    def saved(function: Any, *args: Any) -> Any:
        return checkpoint(function, *args, use_reentrant=reentrant)

    forwards = {
        "the whole": lambda h: saved(net, h),
        "an input from outside": lambda h: saved(lambda: net(h)),
        "a part": lambda h: net[3:](saved(net[:3], h)),
        "one inside another": lambda h: saved(lambda h: net[3:](saved(net[:3], h)), h),
        "several results": lambda h: saved(lambda h: {"y": (net(h), h.sum())}, h)["y"][0],
        "sequential": lambda h: checkpoint_sequential(net, 3, h, use_reentrant=reentrant),
        "more segments than steps": lambda h: checkpoint_sequential(list(net), 9, h, use_reentrant=reentrant),
    }
    for name, forward in forwards.items():
        for found, wanted in zip(gradients(net, forward), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7, err_msg=name)


def test_gradients_are_those_of_finite_differences_to_second_order() -> None:
    x, w = double(3), double(3, seed=1)

    def inner(x: Any) -> Any:
        return (x.exp() * w).sin()

    def nested(x: Any, w: Any) -> Any:
        return checkpoint(lambda x: checkpoint(inner, x * w, use_reentrant=False) * w, x * 1, use_reentrant=False)

    assert gradcheck(nested, (x, w)) and gradgradcheck(nested, (x, w))


def test_complex_gradients_are_those_without_checkpoints() -> None:
    z = cr.tensor([1 + 2j, 0.5 - 1j], dtype=cr.complex128, requires_grad=True)

    def f(z: Any) -> Any:
        return (z * z.conj() * (1 + 1j) + z.exp()).abs().sum()

    (wanted,) = grad(f(z), z)
    (found,) = grad(checkpoint(f, z, use_reentrant=False), z)
    np.testing.assert_allclose(found.numpy(), wanted.numpy())


def test_several_results_and_keyword_arguments() -> None:
    x, y = double(3), double(3, seed=1)

    def f(x: Any, *, parts: Any) -> Any:
        return x * parts["y"], (parts["y"].exp(), 7), x.detach()

    product, (power, seven), constant = checkpoint(f, x, parts={"y": y}, use_reentrant=False)
    assert seven == 7 and not constant.requires_grad
    product.sum().backward(retain_graph=True)
    np.testing.assert_allclose(x.grad.numpy(), y.detach().numpy())
    power.sum().backward(retain_graph=True)
    np.testing.assert_allclose(y.grad.numpy(), (x + y.exp()).detach().numpy())
    (product + power).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * y.detach().numpy())


def test_grad_and_backward_with_inputs_work() -> None:
    x, w = double(3), double(3, seed=1)
    h = x * 2
    y = checkpoint(lambda h: (h * w).exp(), h, use_reentrant=True).sum()
    for tensor, wanted in zip((h, w), grad((h * w).exp().sum(), (h, w)), strict=True):
        (found,) = grad(y, tensor, retain_graph=True)
        np.testing.assert_allclose(found.numpy(), wanted.numpy())
    y.backward(inputs=[w])
    assert x.grad is None and w.grad is not None


def test_hooks_are_called_once_with_the_whole_gradient() -> None:
    w = double(3)
    seen: list[Any] = []
    w.register_hook(lambda g: seen.append(g.numpy().copy()))
    x = double(3, seed=1)
    h = x * 1
    h.retain_grad()
    (checkpoint(lambda h: h * w + w, h, use_reentrant=False) * w).sum().backward()
    wanted = (2 * x * w + 2 * w).detach().numpy()
    assert len(seen) == 1
    np.testing.assert_allclose(seen[0], wanted)
    np.testing.assert_allclose(h.grad.numpy(), (w * w).detach().numpy())


def test_dropout_drops_the_same_again_and_later_numbers_are_undisturbed() -> None:
    x = cr.ones(1000, requires_grad=True)
    cr.manual_seed(7)
    y = checkpoint(nn.functional.dropout, x, use_reentrant=False)
    after = cr.rand(3)
    y.sum().backward()
    assert (x.grad == y.detach()).all()
    second = cr.rand(3)
    cr.manual_seed(7)
    nn.functional.dropout(x)
    assert (cr.rand(3) == after).all() and (cr.rand(3) == second).all()


def test_random_numbers_may_differ_on_request() -> None:
    x = cr.ones(1000, requires_grad=True)
    y = checkpoint(nn.functional.dropout, x, use_reentrant=False, preserve_rng_state=False)
    y.sum().backward()
    assert not (x.grad == y.detach()).all()


def test_intermediate_results_are_not_kept() -> None:
    x = cr.ones(100_000, requires_grad=True)

    def chain(x: Any) -> Any:
        for _ in range(10):
            x = (x * 1.01).sin()
        return x

    def kept_by(forward: Any) -> int:
        gc.collect()
        tracemalloc.start()
        y = forward(x)
        kept = tracemalloc.get_traced_memory()[0]
        y.sum().backward()
        del y
        x.grad = None
        left = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert left < 100_000, "something outlived the backward pass"
        return kept

    size = x.detach().numpy().nbytes
    assert kept_by(chain) > 15 * size
    assert kept_by(lambda x: checkpoint(chain, x, use_reentrant=False)) < 1.2 * size
    assert kept_by(lambda x: checkpoint(lambda x: chain(x).reshape(100, -1), x, use_reentrant=False)) < 1.2 * size


def test_a_backward_pass_frees_what_the_function_was_given() -> None:
    x = double(3)
    y = checkpoint(lambda x: x.exp(), x, use_reentrant=False)
    y.sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.sum().backward()


def test_without_recording_the_function_is_just_called() -> None:
    x = double(3)
    with cr.no_grad():
        assert not checkpoint(lambda x: x * 2, x, use_reentrant=False).requires_grad
    plain = checkpoint(lambda x: x * 2, cr.ones(3), use_reentrant=False)
    assert plain.is_leaf and not plain.requires_grad
    assert checkpoint(lambda x: x, x, use_reentrant=False) is x
    assert checkpoint(lambda: "text", use_reentrant=True) == "text"


# ----- what must not happen silently -----


def test_an_input_written_to_meanwhile_is_refused() -> None:
    x = double(3)
    h = x * 2
    y = checkpoint(lambda h: h.exp(), h, use_reentrant=False)
    h.add_(1)
    with pytest.raises(RuntimeError, match=r"inplace operation: <checkpoint of <lambda>> uses .* and add_ wrote to it"):
        y.sum().backward()
    assert x.grad is None


def test_a_parameter_written_to_meanwhile_is_refused() -> None:
    layer = nn.Linear(2, 2)
    y = checkpoint(layer, cr.ones(1, 2), use_reentrant=False)
    with cr.no_grad():
        layer.weight.mul_(2)
    with pytest.raises(RuntimeError, match="mul_ wrote to it"):
        y.sum().backward()


def test_an_input_that_the_function_itself_writes_to_is_refused() -> None:
    x = double(3)
    y = checkpoint(lambda h: h.mul_(2).exp(), x * 1, use_reentrant=False)
    with pytest.raises(RuntimeError, match="mul_ wrote to it"):
        y.sum().backward()


def test_writing_in_place_to_own_intermediate_results_is_fine() -> None:
    x = double(3)
    y = checkpoint(lambda x: (x * 1).mul_(x).exp_(), x, use_reentrant=False)
    (found,) = grad(y.sum(), x)
    (wanted,) = grad((x * x).exp().sum(), x)
    np.testing.assert_allclose(found.numpy(), wanted.numpy())


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (x * 3).reshape(3, 2),
        lambda x: x.reshape(3, 2),
        lambda x: (x * 3).t(),
        lambda x: (lambda h: (h, h.reshape(-1)))(x * 3),
    ],
)
def test_results_may_be_written_to(function: Any) -> None:
    x = double(2, 3)

    def loss(forward: Any) -> Any:
        h = forward(x)
        first, rest = (h[0], h[1].sum()) if isinstance(h, tuple) else (h, 0)
        first.mul_(2)
        first[0] = 1.0
        return (first**2).sum() + rest

    (wanted,) = grad(loss(lambda x: tuple(map(cr.clone, r)) if isinstance(r := function(x), tuple) else r.clone()), x)
    (found,) = grad(loss(lambda x: checkpoint(function, x, use_reentrant=False)), x)
    np.testing.assert_allclose(found.numpy(), wanted.numpy())
    np.testing.assert_array_equal(x.detach().numpy(), double(2, 3).detach().numpy())


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        (lambda x: x * 2, lambda x: x.exp(), "it computed multiply of shape .* and now exp"),
        (lambda x: x * 2, lambda x: x * 2 * 2, "it recorded 1 operations, and now 2"),
        (lambda x: x.sum(), lambda x: x[:2].sum(), "recorded 1 operations, and now 2"),
        (lambda x: (x * 2, x * 3), lambda x: (x * 2, 3), "recorded 2 operations, and now 1"),
    ],
)
def test_a_function_that_does_something_else_is_refused(first: Any, second: Any, text: str) -> None:
    x = double(3)
    todo = [first, second]
    y = checkpoint(lambda x: todo.pop(0)(x), x, use_reentrant=False)
    with pytest.raises(CheckpointError, match=text):
        (y[0] if isinstance(y, tuple) else y).sum().backward()
    assert x.grad is None


def test_a_function_that_uses_another_tensor_is_refused() -> None:
    x, others = double(3), [double(3, seed=1) * 1, double(3, seed=2) * 1]
    y = checkpoint(lambda x: x * others.pop(0), x, use_reentrant=False)
    with pytest.raises(CheckpointError, match="other tensors"):
        y.sum().backward()


def test_a_tensor_made_inside_may_require_grad() -> None:
    x = double(3)
    y = checkpoint(lambda x: x * cr.ones(3, dtype=cr.float64).requires_grad_(), x, use_reentrant=False)
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0, 1.0]


def test_the_check_can_be_switched_off_and_made_verbose() -> None:
    x = double(3)
    todo = [lambda x: x * 2, lambda x: x.exp()]
    y = checkpoint(lambda x: todo.pop(0)(x), x, use_reentrant=False, determinism_check="none")
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), x.detach().exp().numpy())
    todo = [lambda x: x * 2, lambda x: x.exp()]
    y = checkpoint(lambda x: todo.pop(0)(x), x, use_reentrant=False)
    with (
        set_checkpoint_debug_enabled(True),
        pytest.raises(CheckpointError, match="Operations now, the last first:\n  exp"),
    ):
        y.sum().backward()


# ----- arguments -----


def test_contexts_are_entered_around_both_runs() -> None:
    import contextlib

    log: list[str] = []

    @contextlib.contextmanager
    def noting(name: str) -> Any:
        log.append(name)
        yield

    x = double(3)
    y = checkpoint(lambda x: x * 2, x, use_reentrant=False, context_fn=lambda: (noting("first"), noting("again")))
    assert log == ["first"]
    with set_checkpoint_early_stop(False):
        y.sum().backward()
    assert log == ["first", "again"]


@pytest.mark.parametrize(
    "options",
    [
        {"use_reentrant": True, "parts": 1},
        {"use_reentrant": True, "debug": True},
        {"use_reentrant": True, "context_fn": lambda: None},
        {"use_reentrant": False, "determinism_check": "strict"},
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        checkpoint(lambda x: x, double(3), **options)


def test_sequential_refuses_other_options() -> None:
    with pytest.raises(ValueError, match="other"):
        checkpoint_sequential([cr.exp], 1, double(3), use_reentrant=False, other=1)
    with pytest.raises(ValueError, match="segments"):
        checkpoint_sequential([cr.exp], 0, double(3), use_reentrant=False)


@pytest.mark.filterwarnings("default")
def test_use_reentrant_should_be_given() -> None:
    with pytest.warns(UserWarning, match="use_reentrant"):
        checkpoint(lambda x: x, double(3))
    with pytest.warns(UserWarning, match="use_reentrant"):
        checkpoint_sequential([cr.exp], 1, double(3))


def test_the_functions_own_error_comes_through() -> None:
    def fails(x: Any) -> Any:
        raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        checkpoint(fails, double(3), use_reentrant=False)


def test_gradients_to_second_order_are_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(0).normal(size=(4, 3))

    def program(library: Any, call: Any) -> Any:
        x = library.from_numpy(values.copy()).requires_grad_()
        w = library.from_numpy(values.T.copy()).requires_grad_()
        y = call(lambda x: library.tanh(x @ w).cumsum(0), x)
        first = library.autograd.grad((y**2).sum(), (x, w), create_graph=True)
        second = library.autograd.grad((first[0] ** 2).sum(), (x, w))
        return [g.detach().numpy() for g in (*first, *second)]

    ours = program(cr, lambda function, x: checkpoint(function, x, use_reentrant=False))
    for mine, theirs in zip(ours, program(torch, lambda function, x: function(x)), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-10)
