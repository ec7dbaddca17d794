"""The engine: seeds, accumulation, freeing, errors that leave no gradient half-updated."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.backprop import grad


def leaf(*values: float) -> cr.Tensor:
    return cr.tensor(np.array(values), dtype=cr.float64, requires_grad=True)


def test_the_default_seed_is_ones() -> None:
    x = leaf(1, 2, 3)
    (x * x).backward()
    np.testing.assert_array_equal(x.grad.array, [2, 4, 6])


@pytest.mark.parametrize("seed", [np.ones(2), np.ones((1, 3)), cr.tensor(1.0)])
def test_a_seed_of_the_wrong_shape_names_both_shapes_and_changes_nothing(seed: object) -> None:
    x = leaf(1, 2, 3)
    with pytest.raises(RuntimeError, match=r"(?s)\(.*\).*\(3,\)"):
        (x * x).backward(seed)
    assert x.grad is None


def test_a_seed_is_complex_where_its_tensor_is() -> None:
    x = cr.tensor([1.0, 2.0], requires_grad=True)
    z = cr.tensor([1.0, 2.0], dtype=cr.complex64, requires_grad=True)
    for end, kind in ((x * 2, cr.complex64), (z * 2, cr.float32)):
        with pytest.raises(RuntimeError, match=r"same dtype.*complex64"):
            end.backward(cr.ones(2, dtype=kind))
    assert x.grad is None and z.grad is None


def test_gradient_and_end_grad_are_two_names_for_one_seed() -> None:
    x = leaf(1, 2)
    (x * x).backward(end_grad=np.array([1.0, 10.0]))
    np.testing.assert_array_equal(x.grad.array, [2, 40])
    with pytest.raises(TypeError, match="end_grad"):
        (x * x).backward(np.ones(2), end_grad=np.ones(2))


def test_backward_of_a_tensor_that_needs_no_gradient_raises() -> None:
    with pytest.raises(RuntimeError, match="does not require grad"):
        cr.tensor([1.0]).backward()


def test_a_second_backward_says_retain_graph() -> None:
    x = leaf(1, 2)
    y = x * x
    y.backward()
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        y.backward()
    np.testing.assert_array_equal(x.grad.array, [2, 4])


def test_a_retained_graph_goes_backward_again() -> None:
    x = leaf(1, 2)
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_array_equal(x.grad.array, [4, 8])


def test_a_missing_backward_function_names_function_and_argument() -> None:
    def strange(x, y):  # type: ignore[no-untyped-def]
        return x + y

    a, b = leaf(1.0), leaf(2.0)
    cr.BACK_FUNCS.add_back_func(strange, 0, lambda grad_out, out, x, y: grad_out)
    with pytest.raises(KeyError, match=r"strange arg 1"):
        cr.wrap_forward_fn(strange)(a, b).backward()
    assert a.grad is None
    assert b.grad is None


def test_a_backward_of_the_wrong_shape_names_both_shapes() -> None:
    def cut(x):  # type: ignore[no-untyped-def]
        return x * 1

    cr.BACK_FUNCS.add_back_func(cut, 0, lambda grad_out, out, x: grad_out[:1])
    x = leaf(1, 2, 3)
    with pytest.raises(RuntimeError, match=r"cut.*\(1,\).*\(3,\)"):
        cr.wrap_forward_fn(cut)(x).backward()
    assert x.grad is None


def test_an_error_on_the_way_leaves_every_grad_as_it_was() -> None:
    def broken(x):  # type: ignore[no-untyped-def]
        return x * 1

    def broken_back(grad_out, out, x):  # type: ignore[no-untyped-def]
        raise ZeroDivisionError

    cr.BACK_FUNCS.add_back_func(broken, 0, broken_back)
    x, y = leaf(1.0), leaf(2.0)
    out = y * 2 + cr.wrap_forward_fn(broken)(x)
    with pytest.raises(ZeroDivisionError):
        out.backward()
    assert x.grad is None
    assert y.grad is None


def test_two_leaves_never_share_one_gradient_array() -> None:
    x, y = leaf(1, 2), leaf(3, 4)
    (x + y).backward()
    assert not np.shares_memory(x.grad.array, y.grad.array)
    (x * 1).backward()
    np.testing.assert_array_equal(x.grad.array, [2, 2])
    np.testing.assert_array_equal(y.grad.array, [1, 1])


def test_a_gradient_never_shares_memory_with_its_seed() -> None:
    x = leaf(1, 2)
    seed = np.array([1.0, 1.0])
    (x + 1).backward(seed)
    (x * 1).backward()
    np.testing.assert_array_equal(seed, [1, 1])
    np.testing.assert_array_equal(x.grad.array, [2, 2])


def test_a_gradient_never_shares_memory_with_a_saved_argument() -> None:
    def times(x, factor):  # type: ignore[no-untyped-def]
        return x * factor

    cr.BACK_FUNCS.add_back_func(times, 0, lambda grad_out, out, x, factor: factor)
    factor = np.array([3.0, 4.0])
    x = leaf(1, 2)
    for _ in range(2):
        cr.wrap_forward_fn(times)(x, factor).backward()
    np.testing.assert_array_equal(factor, [3, 4])
    np.testing.assert_array_equal(x.grad.array, [6, 8])


def test_gradients_accumulate_into_the_same_array() -> None:
    x = leaf(1, 2)
    (x * 2).backward()
    kept = x.grad
    (x * 3).backward()
    assert x.grad is kept
    np.testing.assert_array_equal(kept.array, [5, 5])


def test_a_large_gradient_that_nobody_else_holds_is_not_copied() -> None:
    made = []

    def source(x):  # type: ignore[no-untyped-def]
        return x * 2

    def source_back(grad_out, out, x):  # type: ignore[no-untyped-def]
        gradient = grad_out * 2
        made.append(gradient.__array_interface__["data"][0])
        return gradient

    cr.BACK_FUNCS.add_back_func(source, 0, source_back)
    x = leaf(*range(1000))
    cr.wrap_forward_fn(source)(x).backward()
    assert x.grad.array.__array_interface__["data"][0] == made[0]


def test_a_leaf_added_to_itself_gets_both_paths() -> None:
    x = leaf(4.0)
    (x + x).backward()
    assert x.grad.item() == 2.0


def test_grad_returns_gradients_and_touches_no_leaf() -> None:
    x, y = leaf(2.0), leaf(3.0)
    gx, gy = grad(x * y, [x, y])
    assert (gx.item(), gy.item()) == (3.0, 2.0)
    assert x.grad is None
    assert y.grad is None


def test_grad_with_respect_to_an_intermediate_result() -> None:
    x = leaf(2.0)
    h = x * x
    (g,) = grad(h * h, h)
    assert g.item() == 8.0


def test_grad_of_a_tensor_with_respect_to_itself_is_its_seed() -> None:
    x = leaf(2.0)
    (g,) = grad(x, x)
    assert g.item() == 1.0


def test_an_unused_input_raises_unless_it_is_allowed() -> None:
    x, y = leaf(2.0), leaf(3.0)
    with pytest.raises(RuntimeError, match="allow_unused"):
        grad(x * 2, [x, y])
    gx, gy = grad(x * 2, [x, y], allow_unused=True)
    assert gx.item() == 2.0
    assert gy is None
    assert grad(x * 2, [x, y], materialize_grads=True)[1].item() == 0.0


def test_a_gradient_is_not_broadcast_into_a_grad_of_another_shape() -> None:
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    x.data = cr.zeros(3, 2, dtype=cr.float64)
    x.grad = cr.ones(3, 2, dtype=cr.float64)
    x.data = cr.ones(2, dtype=cr.float64)
    with pytest.raises(RuntimeError, match=r"\(2,\).*\(3, 2\)"):
        (x * y).sum().backward()
    assert y.grad is None


@pytest.mark.parametrize(
    ("gradient", "error", "words"),
    [
        (1, TypeError, "Tensor or None but got grad of type int"),
        (np.ones(2), TypeError, "Tensor or None but got grad of type ndarray"),
        (cr.ones(3, dtype=cr.float64), RuntimeError, r"size \(3,\) to a tensor of size \(2,\)"),
        (cr.ones(1, 2, dtype=cr.float64), RuntimeError, r"size \(1, 2\)"),
        (cr.ones(2), RuntimeError, "dtype .*float32 to a tensor with dtype .*float64"),
        (cr.ones(2, dtype=cr.complex128), RuntimeError, "dtype .*complex128"),
    ],
)
def test_what_can_be_no_gradient_is_refused_where_it_is_assigned(gradient: Any, error: Any, words: str) -> None:
    x = leaf(1.0, 2.0)
    for tensor in (x, x * 2, x.detach()):
        with pytest.raises(error, match=words):
            tensor.grad = gradient
        assert tensor._grad is None
    with pytest.raises(RuntimeError, match="its own grad"):
        x.grad = x


def test_a_gradient_that_is_assigned_is_added_to_and_can_be_deleted() -> None:
    x = leaf(1.0, 2.0)
    x.grad = cr.ones(2, dtype=cr.float64)
    (x * x).sum().backward()
    assert x.grad.tolist() == [3.0, 5.0]
    del x.grad
    assert x.grad is None
    x.grad = None
    assert x.grad is None


def test_zeros_for_an_unused_input_that_is_not_allowed_are_a_contradiction() -> None:
    x = leaf(1.0)
    with pytest.raises(ValueError, match="allow_unused"):
        cr.autograd.grad(x * 2, x, allow_unused=False, materialize_grads=True)


def test_only_the_asked_for_inputs_get_a_gradient() -> None:
    x, y = leaf(2.0), leaf(3.0)
    (x * y).backward(inputs=[x])
    assert x.grad.item() == 3.0
    assert y.grad is None


def test_higher_derivatives_come_from_the_same_table() -> None:
    x = leaf(1.5)
    value = x * x * x * x
    expected = [4 * 1.5**3, 12 * 1.5**2, 24 * 1.5, 24.0]
    for want in expected:
        (value,) = grad(value, x, create_graph=True)
        assert value.item() == pytest.approx(want)


def test_create_graph_through_division_and_reuse() -> None:
    x = leaf(2.0)
    (first,) = grad(1 / x + x / (x + 1), x, create_graph=True)
    (second,) = grad(first, x)
    assert second.item() == pytest.approx(2 / 8 - 2 / 27)


def test_complex_gradients_follow_pytorch() -> None:
    x = cr.tensor(np.array([1 + 2j, 3 - 1j]), dtype=cr.complex128, requires_grad=True)
    (x * (2 + 3j)).backward(np.array([1 + 0j, 1j]))
    np.testing.assert_allclose(x.grad.array, np.conj(2 + 3j) * np.array([1, 1j]))


def test_a_real_tensor_times_a_complex_number_gets_a_real_gradient() -> None:
    x = leaf(1, 2)
    y = x * (2 + 3j)
    assert y.dtype == cr.complex128
    y.backward(np.array([1 + 0j, 1j]))
    assert x.grad.dtype == cr.float64
    np.testing.assert_allclose(x.grad.array, np.real(np.conj(2 + 3j) * np.array([1, 1j])))


def test_promotion_gives_each_leaf_its_own_type_back() -> None:
    x = cr.tensor([1.0, 2.0], dtype=cr.float32, requires_grad=True)
    y = cr.tensor([1.0, 2.0], dtype=cr.float64, requires_grad=True)
    z = x * y
    assert z.dtype == cr.float64
    z.backward()
    assert x.grad.dtype == cr.float32
    assert y.grad.dtype == cr.float64


def test_nothing_of_the_graph_survives_backward() -> None:
    x = leaf(*range(100))
    h = x * x
    gone = weakref.ref(h)
    y = h * h
    del h
    gc.disable()
    try:
        y.backward()
        assert gone() is None
    finally:
        gc.enable()


def test_a_forward_pass_that_is_dropped_leaves_no_cycle() -> None:
    x = leaf(1, 2)
    gc.collect()
    gc.disable()
    try:
        y = (x * x) * x
        gone = weakref.ref(y)
        del y
        assert gone() is None
    finally:
        gc.enable()


def test_a_parent_that_starts_to_require_grad_later_gets_nothing() -> None:
    x, w = cr.tensor([1.0]), leaf(2.0)
    y = x * w
    x.requires_grad_()
    y.backward()
    assert x.grad is None


def test_grad_mode_is_per_thread() -> None:
    seen = []
    with cr.no_grad():
        thread = threading.Thread(target=lambda: seen.append(cr.is_grad_enabled()))
        thread.start()
        thread.join()
        assert not cr.is_grad_enabled()
    assert seen == [True]


@pytest.mark.parametrize("mode", [cr.no_grad, cr.NoGrad, cr.inference_mode])
def test_nothing_is_recorded_without_grad_mode(mode: type) -> None:
    x = leaf(1.0)
    with mode():
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad

    @mode()
    def decorated() -> bool:
        return (x * 2).requires_grad

    assert not decorated()


def test_set_grad_enabled_is_a_call_and_a_context() -> None:
    cr.set_grad_enabled(False)
    try:
        assert not cr.is_grad_enabled()
        with cr.set_grad_enabled(True):
            assert cr.is_grad_enabled()
        assert not cr.is_grad_enabled()
    finally:
        cr.set_grad_enabled(True)
    assert cr.is_grad_enabled()


def test_integers_asked_to_require_grad_become_floats_unless_the_type_is_explicit() -> None:
    assert cr.Tensor([0, 1, 2], requires_grad=True).dtype == cr.float32
    with pytest.raises(RuntimeError, match="floating point"):
        cr.tensor([1, 2], dtype=cr.int64, requires_grad=True)


def test_mixed_devices_name_both() -> None:
    from ..duck import DuckArray

    gpu, cpu = cr.Tensor(DuckArray(np.ones(3, np.float32))), cr.Tensor(np.ones(3, np.float32))
    for a, b in ((gpu, cpu), (cpu, gpu)):
        with pytest.raises(RuntimeError, match=r"same device.*cpu.*duck:0"):
            a * b


def test_shapes_that_do_not_broadcast_are_both_in_the_message() -> None:
    with pytest.raises(RuntimeError, match=r"\(2,\).*\(3,\)"):
        cr.tensor([1.0, 2.0]) + cr.tensor([1.0, 2.0, 3.0])


@pytest.mark.parametrize("operation", [cr.add, cr.mul, cr.maximum, cr.addcmul, cr.lerp], ids=lambda f: f.__name__)
def test_shapes_of_two_types_that_do_not_broadcast_are_in_the_message_too(operation: Any) -> None:
    x, y = cr.zeros(3, 4), cr.zeros(4, 3, dtype=cr.float64)
    more = (y,) if operation is cr.addcmul else (0.5,) if operation is cr.lerp else ()
    with pytest.raises(RuntimeError, match=r"\(3, 4\) and \(4, 3\)|\(4, 3\) and \(3, 4\)"):
        operation(x, y, *more)


def test_operations_without_a_meaning_for_a_type_raise_what_pytorch_raises() -> None:
    flags, numbers = cr.tensor([True, False]), cr.tensor([1 + 2j, 3 - 1j])
    with pytest.raises(RuntimeError, match="not implemented for bool"):
        flags - flags
    for operation in (cr.floor, cr.signbit, cr.special.gammaln):
        with pytest.raises(NotImplementedError, match="complex64"):
            operation(numbers)


ORDERING: dict[str, Callable[..., Any]] = {
    **{name: getattr(cr, name) for name in "max min amax amin argmax argmin aminmax sort argsort msort".split()},
    **{name: getattr(cr, name) for name in "median nanmedian mode relu".split()},
    **{name: getattr(cr.nn.functional, name) for name in "relu6 hardtanh leaky_relu elu celu selu".split()},
    **{name: getattr(cr.nn.functional, name) for name in "hardsigmoid hardswish".split()},
    "clamp": lambda x: cr.clamp(x, 0.0, 1.0),
    "topk": lambda x: cr.topk(x, 1),
    "kthvalue": lambda x: cr.kthvalue(x, 1),
    "cummax": lambda x: cr.cummax(x, 0),
    "max of an axis": lambda x: cr.max(x, 0),
    "maximum": lambda x: cr.maximum(x, x),
    "threshold": lambda x: cr.nn.functional.threshold(x, 0.0, 1.0),
    "greater": lambda x: x > 0,
    "less": lambda x: cr.tensor(1.0) < x,
    "greater or equal": lambda x: x >= x,
    "less or equal": lambda x: np.less_equal(x, 1),
}


@pytest.mark.parametrize("name", sorted(ORDERING))
def test_complex_numbers_have_no_order(name: str) -> None:
    with pytest.raises(NotImplementedError, match="complex"):
        ORDERING[name](cr.tensor([1 + 2j, 3 - 1j]))


def test_a_recipe_cannot_be_changed() -> None:
    recipe = (leaf(1.0) * 2).recipe
    for name in ("func", "args", "kwargs", "parents"):
        with pytest.raises(AttributeError):
            setattr(recipe, name, None)


def test_recipes_can_be_made_by_hand_as_in_the_notes() -> None:
    x = cr.Tensor([2.0, 4.0], requires_grad=True)
    out = cr.Tensor(np.multiply(x.array, 3), requires_grad=True)
    out.recipe = cr.Recipe(func=np.multiply, args=(x.array, 3), kwargs={}, parents={0: x})
    assert not out.is_leaf
    out.backward()
    np.testing.assert_array_equal(x.grad.array, [3, 3])


def test_a_hook_may_replace_the_gradient_and_be_removed() -> None:
    x = leaf(1.0)
    h = x * 2
    seen = []
    handle = h.register_hook(lambda g: (seen.append(g.item()), g * 10)[1])
    (h * 3).backward(retain_graph=True)
    assert seen == [3.0]
    assert x.grad.item() == 60.0
    x.grad = None
    handle.remove()
    (h * 3).backward()
    assert x.grad.item() == 6.0


def test_a_retained_gradient_appears_on_an_intermediate_result() -> None:
    x = leaf(2.0)
    h = x * x
    h.retain_grad()
    (h * 5).backward()
    assert h.grad.item() == 5.0
    assert x.grad.item() == 20.0


def test_a_kept_gradient_that_is_asked_for_as_well_is_counted_once() -> None:
    x = cr.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    y.retain_grad()
    (y * y).sum().backward(inputs=[y])
    assert y.grad is not None
    assert (y.grad.tolist(), x.grad) == ([4.0, 8.0], None)


def test_a_post_accumulate_hook_sees_the_finished_gradient() -> None:
    x = leaf(2.0)
    seen = []
    x.register_post_accumulate_grad_hook(lambda t: seen.append(t.grad.item()))
    (x * x + x).backward()
    assert seen == [5.0]


def test_a_keyword_without_a_derivative_is_refused_forward() -> None:
    def scaled(x, factor=1.0, mystery=None):  # type: ignore[no-untyped-def]
        return x * factor

    cr.BACK_FUNCS.add_back_func(scaled, 0, lambda grad_out, out, x, factor=1.0: grad_out * factor)
    x = leaf(1.0)
    with pytest.raises(TypeError, match="mystery"):
        cr.wrap_forward_fn(scaled)(x, mystery=3)
    assert cr.wrap_forward_fn(scaled)(x, factor=3.0).requires_grad


def test_several_outputs_meet_in_one_backward_call() -> None:
    calls = []

    def both(x):  # type: ignore[no-untyped-def]
        return x * 2, x * 3

    def both_back(grad_out, out, x):  # type: ignore[no-untyped-def]
        calls.append(len(grad_out))
        return grad_out[0] * 2 + grad_out[1] * 3

    cr.BACK_FUNCS.add_back_func(both, 0, both_back)
    x = leaf(1, 2)
    a, b = cr.wrap_forward_fn(both)(x)
    (a * b).backward()
    np.testing.assert_allclose(x.grad.array, 12 * np.array([1, 2.0]))
    assert calls == [2]
    x.grad = None
    a, b = cr.wrap_forward_fn(both)(x)
    b.backward()
    np.testing.assert_allclose(x.grad.array, [3, 3])


def test_a_gradient_that_a_graph_saved_is_watched_when_more_is_added_to_it() -> None:
    x, w = cr.tensor([1.0, 2.0], requires_grad=True), cr.tensor([3.0, 4.0], requires_grad=True)
    (x * x).sum().backward()
    y = (w * x.grad).sum()
    (x * x).sum().backward()
    with pytest.raises(RuntimeError, match="backward wrote to it at"):
        y.backward()


def test_a_leaf_that_was_frozen_meanwhile_gets_nothing() -> None:
    x = cr.tensor([1.0], requires_grad=True)
    y = x * x
    x.requires_grad_(False)
    y.backward()
    assert x.grad is None


def test_what_lies_beyond_the_only_input_does_not_matter() -> None:
    x = cr.tensor([1.0, 2.0], requires_grad=True)
    hidden = x.exp()
    hidden.sum().backward()  # frees the graph up to hidden
    (found,) = grad((hidden**3).sum(), hidden)
    np.testing.assert_allclose(found.numpy(), 3 * np.exp([2.0, 4.0]), rtol=1e-6)
    with pytest.raises(RuntimeError, match="retain_graph"):
        grad((hidden**3).sum(), x)
    with pytest.raises(RuntimeError, match="retain_graph"):  # whether x lies beyond is no longer known
        grad((hidden**3).sum(), [hidden, x], allow_unused=True)


def test_a_hook_must_return_a_tensor() -> None:
    x = cr.tensor([1.0], requires_grad=True)
    x.register_hook(lambda gradient: 3.0)
    with pytest.raises(TypeError, match="float"):
        (x * 2).backward()


def test_a_decorated_generator_s_own_steps_run_in_the_mode() -> None:
    x = cr.tensor([1.0], requires_grad=True)
    closed = []

    @cr.no_grad()
    def steps() -> object:
        try:
            got = yield (x * 2).requires_grad
            yield got, (x * 2).requires_grad
        except KeyError:
            yield "caught", (x * 2).requires_grad
        finally:
            closed.append((x * 2).requires_grad)
        return "end"

    running = steps()
    assert next(running) is False and (x * 2).requires_grad
    assert running.send("sent") == ("sent", False) and (x * 2).requires_grad
    assert running.throw(KeyError) == ("caught", False)
    with pytest.raises(StopIteration, match="end"):
        next(running)
    early = steps()
    next(early)
    early.close()
    assert closed == [False, False] and (x * 2).requires_grad


def test_inference_mode_false_records() -> None:
    with cr.inference_mode():
        assert cr.is_inference_mode_enabled() and not cr.is_grad_enabled()
        with cr.inference_mode(False):
            assert not cr.is_inference_mode_enabled() and cr.is_grad_enabled()
    assert cr.is_grad_enabled()
