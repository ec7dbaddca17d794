"""What PyTorch's users ask of backward and grad. Oracle: the same program in PyTorch, or a closed form."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import chainrule as cr


def leaf(values: Any) -> cr.Tensor:
    return cr.tensor(values, dtype=cr.float64, requires_grad=True)


def their_leaf(torch: Any, values: Any) -> Any:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


# ----- the same program in both libraries -------------------------------------------------------------------------


def seeds(torch: Any, leaf: Any) -> Any:
    x = leaf([1.0, 2.0])
    y = x * x
    y.backward(torch.tensor([1.0, 10.0], dtype=torch.float64))
    return [x.grad]


def accumulation(torch: Any, leaf: Any) -> Any:
    x = leaf([1.0, 2.0])
    (x * x).sum().backward()
    (x * 3).sum().backward()
    return [x.grad]


def retained_graph(torch: Any, leaf: Any) -> Any:
    x = leaf([1.0, 2.0])
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    return [x.grad]


def created_graph(torch: Any, leaf: Any) -> Any:
    x, w = leaf([1.0, 2.0]), leaf([0.5, -0.5])
    (first,) = torch.autograd.grad((x * x * x * w).sum(), x, create_graph=True)
    penalty = (first * first).sum()
    penalty.backward()
    return [first, x.grad, w.grad]


def third_order(torch: Any, leaf: Any) -> Any:
    x = leaf([0.3, 1.1])
    y = x.sin() * x.exp()
    found = [y]
    for _ in range(3):
        (y,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        found.append(y)
    return found


def only_some_inputs(torch: Any, leaf: Any) -> Any:
    x, w = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    h = x * w
    (h * h).sum().backward(inputs=[w])
    return [w.grad, x.grad]


def intermediate_inputs(torch: Any, leaf: Any) -> Any:
    x = leaf([1.0, 2.0])
    h = x * x
    y = (h * h).sum()
    return [*torch.autograd.grad(y, [h, x], retain_graph=True), *torch.autograd.grad(y, h)]


def several_outputs(torch: Any, leaf: Any) -> Any:
    x, w = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    a, b = x * w, (x + w).sum()
    seed = torch.tensor([1.0, -1.0], dtype=torch.float64)
    found = list(torch.autograd.grad((a, b), (x, w), (seed, None), retain_graph=True))
    torch.autograd.backward((a, b), (seed, torch.tensor(2.0, dtype=torch.float64)))
    return [*found, x.grad, w.grad]


def unused_inputs(torch: Any, leaf: Any) -> Any:
    x, w = leaf([1.0, 2.0]), leaf([3.0])
    y = (x * x).sum()
    found = torch.autograd.grad(y, (x, w), allow_unused=True, retain_graph=True)
    return [*found, *torch.autograd.grad(y, (x, w), materialize_grads=True)]


def retained_gradients(torch: Any, leaf: Any) -> Any:
    x = leaf([1.0, 2.0])
    y = x * 3
    y.retain_grad()
    z = y * y
    z.sum().backward(retain_graph=True)
    z.sum().backward()
    return [y.grad, x.grad]


def hooks(torch: Any, leaf: Any) -> Any:
    x = leaf([1.0, 2.0])
    y = x * 2
    seen = []
    y.register_hook(lambda g: seen.append(g * 1))
    handle = y.register_hook(lambda g: g * 10)
    x.register_hook(lambda g: g + 1)
    (y * y).sum().backward(retain_graph=True)
    handle.remove()
    (y * y).sum().backward()
    return [*seen, x.grad]


def detached(torch: Any, leaf: Any) -> Any:
    x = leaf([1.0, 2.0])
    y = x * x
    (y * y.detach() + x.clone()).sum().backward()
    return [x.grad]


def without_recording(torch: Any, leaf: Any) -> Any:
    x = leaf([1.0, 2.0])
    with torch.no_grad():
        c = x * 2
        with torch.enable_grad():
            d = x * 3
    (c * d).sum().backward()
    return [x.grad]


def graph_beside_the_way(torch: Any, leaf: Any) -> Any:
    x, w = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    h = w.exp()
    (found,) = torch.autograd.grad((h * x.exp()).sum(), x)
    h.sum().backward()
    k = w.exp()
    (also,) = torch.autograd.grad((k * k).sum(), k)
    k.sum().backward()
    return [found, also, w.grad]


def views_and_branches(torch: Any, leaf: Any) -> Any:
    x = leaf([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    y = x[0] * x[1] + x.T[1].sum()
    (y * y).sum().backward()
    return [x.grad]


PROGRAMS = [
    seeds,
    accumulation,
    retained_graph,
    created_graph,
    third_order,
    only_some_inputs,
    intermediate_inputs,
    several_outputs,
    unused_inputs,
    retained_gradients,
    hooks,
    detached,
    without_recording,
    graph_beside_the_way,
    views_and_branches,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_gradients_are_pytorchs(program: Any) -> None:
    torch = pytest.importorskip("torch")
    ours = program(cr, leaf)
    theirs = program(torch, lambda values: their_leaf(torch, values))
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy())


# ----- errors, of PyTorch's types ---------------------------------------------------------------------------------

ERRORS = [
    ("a seed of the wrong shape", lambda t, x: (x * x).backward(t.ones(3)), r"\(3,\).*\(2,\)"),
    ("nothing requires grad", lambda t, x: t.ones(1).sum().backward(), "does not require grad"),
    ("a second backward", lambda t, x: [y.backward() for y in [(x * x).sum()] * 2], "retain_graph=True"),
    ("an unused input", lambda t, x: t.autograd.grad((x * x).sum(), t.ones(2, requires_grad=True)), "allow_unused"),
    ("an input without grad", lambda t, x: t.autograd.grad((x * x).sum(), t.ones(2)), "does not require grad"),
    ("no inputs", lambda t, x: (x * x).sum().backward(inputs=[]), "cannot be empty"),
    ("retain_grad without grad", lambda t, x: t.ones(2).retain_grad(), "requires_grad=False"),
    ("a hook without grad", lambda t, x: t.ones(2).register_hook(print), "doesn't require gradient"),
    ("a result's requires_grad", lambda t, x: (x * x).requires_grad_(False), "leaf"),
    ("integers that require grad", lambda t, x: t.ones(2, dtype=t.int64, requires_grad=True), "floating point"),
    ("a leaf written in place", lambda t, x: x.add_(1), "leaf Variable that requires grad"),
    ("numpy of what requires grad", lambda t, x: x.numpy(), "detach"),
]


@pytest.mark.parametrize(("what", "mistake", "message"), ERRORS, ids=[e[0] for e in ERRORS])
def test_a_mistake_raises_a_runtime_error_that_says_what_to_do(what: str, mistake: Any, message: str) -> None:
    with pytest.raises(RuntimeError, match=f"(?s){message}"):
        mistake(cr, leaf([1.0, 2.0]))


@pytest.mark.parametrize(("what", "mistake", "message"), ERRORS, ids=[e[0] for e in ERRORS])
def test_the_mistake_is_a_runtime_error_in_pytorch_too(what: str, mistake: Any, message: str) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(RuntimeError):
        mistake(torch, their_leaf(torch, [1.0, 2.0]))


def test_an_error_leaves_every_grad_as_it_was() -> None:
    x, w = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    (x * w).sum().backward()
    before = x.grad.array.copy(), w.grad.array.copy()

    def fails(gradient: Any) -> None:
        raise ZeroDivisionError

    y = x * w
    handle = w.register_hook(fails)
    with pytest.raises(ZeroDivisionError):
        (y + x).sum().backward()
    handle.remove()
    with pytest.raises(RuntimeError):
        (x * w).backward(np.ones(5))
    np.testing.assert_array_equal(x.grad.array, before[0])
    np.testing.assert_array_equal(w.grad.array, before[1])


def test_a_hook_that_changes_the_shape_is_refused() -> None:
    x = leaf([1.0, 2.0])
    x.register_hook(lambda gradient: gradient.sum())
    with pytest.raises(RuntimeError, match=r"\(2,\).*\(\)"):
        (x * x).sum().backward()
    assert x.grad is None


# ----- options that only this library has, or where it goes further -----------------------------------------------


def test_a_missing_seed_is_ones_of_any_shape() -> None:
    x = leaf([1.0, 2.0])
    (x * x).backward()
    np.testing.assert_array_equal(x.grad.array, [2, 4])
    np.testing.assert_array_equal(cr.autograd.grad(x * x, x)[0].array, [2, 4])


def test_seeds_may_be_arrays() -> None:
    x = leaf([1.0, 2.0])
    (found,) = cr.autograd.grad(x * x, x, np.array([1.0, 10.0]))
    np.testing.assert_array_equal(found.array, [2, 40])


def test_a_created_graph_accumulates_differentiably() -> None:
    x = leaf([2.0])
    (x * x * x).backward(create_graph=True)
    first = x.grad
    assert first.requires_grad
    (second,) = cr.autograd.grad(first, x)
    assert second.item() == 12.0


def test_modes_are_per_thread_and_decorate_functions() -> None:
    x = leaf([1.0])

    @cr.no_grad()
    def off() -> bool:
        return (x * 2).requires_grad

    @cr.enable_grad()
    def on() -> bool:
        return (x * 2).requires_grad

    assert not off()
    seen: list[bool] = []
    with cr.no_grad():
        assert on()
        thread = threading.Thread(target=lambda: seen.append((x * 2).requires_grad))
        thread.start()
        thread.join()
    with cr.inference_mode():
        assert not (x * 2).requires_grad
    with cr.set_grad_enabled(False):
        assert not (x * 2).requires_grad
    assert seen == [True]


def test_backward_in_threads_gives_each_its_own_gradients() -> None:
    found: dict[int, Any] = {}

    def work(n: int) -> None:
        x = leaf(np.arange(5.0) + n)
        for _ in range(50):
            x.grad = None
            (x * x * x).sum().backward()
        found[n] = x.grad.array

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n in range(4):
        np.testing.assert_allclose(found[n], 3 * (np.arange(5.0) + n) ** 2)


def test_the_names_of_torch_autograd_are_there() -> None:
    torch = pytest.importorskip("torch")
    for name in cr.autograd.__all__:
        if name not in ("is_anomaly_enabled", "is_anomaly_check_nan_enabled", "GradcheckError", "is_grad_enabled"):
            assert hasattr(torch.autograd, name) or hasattr(torch, name)
    assert isinstance(cr.autograd.Variable([1.0]), cr.Tensor)


# ----- torch.autograd.functional ----------------------------------------------------------------------------------


def test_functional_is_pytorchs() -> None:
    torch = pytest.importorskip("torch")

    def both(call: Any) -> None:
        ours = call(cr, lambda v: cr.tensor(v, dtype=cr.float64))
        theirs = call(torch, lambda v: torch.tensor(v, dtype=torch.float64))
        compare(ours, theirs)

    def compare(a: Any, b: Any) -> None:
        if isinstance(b, (tuple, list)):
            assert isinstance(a, tuple)
            for p, q in zip(a, b, strict=True):
                compare(p, q)
        else:
            np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy())
            assert a.requires_grad == b.requires_grad

    def scalar(x: Any, y: Any) -> Any:
        return (x * x * y).sum()

    def pair(x: Any, y: Any) -> Any:
        return x * y, (x + y * y).sum()

    def inputs(tensor: Any) -> Any:
        return tensor([1.0, 2.0]), tensor([3.0, -1.0])

    for strategy in ("reverse-mode", "forward-mode"):
        both(lambda t, new, s=strategy: t.autograd.functional.jacobian(pair, inputs(new), vectorize=True, strategy=s))
    both(lambda t, new: t.autograd.functional.jacobian(lambda x: x * x, inputs(new)[0]))
    both(lambda t, new: t.autograd.functional.hessian(scalar, inputs(new)))
    both(lambda t, new: t.autograd.functional.hessian(lambda x: (x * x * x).sum(), inputs(new)[0]))
    both(lambda t, new: t.autograd.functional.vjp(pair, inputs(new), (new([1.0, 2.0]), new(3.0))))
    both(lambda t, new: t.autograd.functional.vjp(scalar, inputs(new)))
    both(lambda t, new: t.autograd.functional.jvp(pair, inputs(new), inputs(new)))
    both(lambda t, new: t.autograd.functional.jvp(lambda x: x * x, new([1.0]), new([2.0])))
    both(lambda t, new: t.autograd.functional.hvp(scalar, inputs(new), inputs(new)))
    both(lambda t, new: t.autograd.functional.vhp(scalar, inputs(new), inputs(new)))
    both(lambda t, new: t.autograd.functional.hvp(lambda x: (x * x * x).sum(), new([1.0, 2.0]), new([1.0, 1.0])))


def test_functional_refuses_what_pytorch_refuses() -> None:
    x = cr.tensor([1.0, 2.0])
    with pytest.raises(RuntimeError, match="independent of input 1"):
        cr.autograd.functional.jacobian(lambda x, y: x * 2, (x, x), strict=True)
    with pytest.raises(RuntimeError, match="single element"):
        cr.autograd.functional.hessian(lambda x: x * x, x)
    with pytest.raises(RuntimeError, match=r"invalid size: should be \(2,\) but got \(3,\)"):
        cr.autograd.functional.jvp(lambda x: x * x, x, cr.ones(3))
    with pytest.raises(RuntimeError, match="can only be None"):
        cr.autograd.functional.vjp(lambda x: x * x, x)
    with pytest.raises(TypeError, match="index 0 has type list"):
        cr.autograd.functional.jacobian(lambda x: x * x, ([1.0],))


def test_functional_with_create_graph_can_be_differentiated() -> None:
    x = leaf([1.0, 2.0])
    jacobian = cr.autograd.functional.jacobian(lambda x: x * x * x, x, create_graph=True)
    jacobian.sum().backward()
    np.testing.assert_allclose(x.grad.array, 6 * np.array([1.0, 2.0]))


def test_the_arguments_of_grad_have_pytorchs_order() -> None:
    torch = pytest.importorskip("torch")
    import inspect

    assert list(inspect.signature(cr.autograd.grad).parameters) == list(
        inspect.signature(torch.autograd.grad).parameters
    )
