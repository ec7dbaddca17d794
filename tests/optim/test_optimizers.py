"""Optimisers: trajectories equal PyTorch's, state survives saving, and writes are counted."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import chainrule as cr

SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "maximize": True}),
    ("SGD", {"lr": 0.05, "weight_decay": 0.2, "maximize": True}),
    ("Adam", {"lr": 0.05}),
    ("Adam", {"lr": 0.05, "amsgrad": True, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.05, "betas": (0.5, 0.7), "eps": 1e-3, "maximize": True}),
    ("Adam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("AdamW", {"lr": 0.05}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.3, "amsgrad": True, "maximize": True}),
]


def trajectory(lib: Any, name: str, options: dict[str, Any], start: list[np.ndarray], steps: int = 50) -> list[Any]:
    """Parameters after training a small network on fixed data."""
    tensors = [lib.tensor(a, dtype=lib.float64).requires_grad_() for a in start]
    optimizer = getattr(lib.optim, name)(tensors, **options)
    x = lib.tensor(np.linspace(-1, 1, 24).reshape(8, 3), dtype=lib.float64)
    y = lib.tensor(np.sin(np.arange(16)).reshape(8, 2), dtype=lib.float64)
    for _ in range(steps):
        optimizer.zero_grad()
        hidden = lib.tanh(x @ tensors[0] + tensors[1])
        error = hidden @ tensors[2] - y
        (lib.tanh(error * error).mean() * tensors[3]).backward()
        optimizer.step()
    return [t.detach().numpy() for t in tensors]


@pytest.mark.parametrize(("name", "options"), SETTINGS, ids=[f"{n}-{i}" for i, (n, _) in enumerate(SETTINGS)])
def test_fifty_steps_equal_torchs(name: str, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    start = [rng.standard_normal(shape) for shape in ((3, 5), (5,), (5, 2), ())]
    ours = trajectory(cr, name, options, start)
    theirs = trajectory(torch, name, options, start)
    for got, want in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-9, rtol=1e-7)


def test_complex_parameters_follow_torch() -> None:
    torch = pytest.importorskip("torch")
    for name in ("SGD", "Adam"):
        results = []
        for lib in (cr, torch):
            z = lib.tensor(np.array([1 + 2j, -1j]), dtype=lib.complex128).requires_grad_()
            optimizer = getattr(lib.optim, name)([z], lr=0.1)
            for _ in range(20):
                optimizer.zero_grad()
                (abs(z - 1j) ** 2).sum().backward()
                optimizer.step()
            results.append(z.detach().numpy())
        np.testing.assert_allclose(*results, rtol=1e-8)


def quadratic(x: cr.Tensor) -> cr.Tensor:
    return (x * x).sum()


def test_a_step_writes_into_the_parameters_memory() -> None:
    x = cr.tensor([1.0, 2.0], requires_grad=True)
    memory = x.array
    optimizer = cr.optim.SGD([x], lr=0.25)
    quadratic(x).backward()
    optimizer.step()
    assert x.array is memory and x.tolist() == [0.5, 1.0] and x.is_leaf and x.requires_grad


def test_a_graph_that_saved_a_parameter_refuses_after_the_step_and_names_the_line() -> None:
    x = cr.tensor([1.0], requires_grad=True)
    optimizer = cr.optim.Adam([x])
    loss = quadratic(x)
    loss.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError, match=r"Adam\.step wrote to it at .*test_optimizers\.py"):
        loss.backward()


def test_parameters_without_a_gradient_stay_and_keep_no_state() -> None:
    x, unused = cr.tensor([1.0], requires_grad=True), cr.tensor([5.0], requires_grad=True)
    optimizer = cr.optim.Adam([x, unused])
    quadratic(x).backward()
    optimizer.step()
    assert unused.item() == 5 and unused not in optimizer.state and list(optimizer.state) == [x]


def test_groups_have_settings_of_their_own() -> None:
    x, y = cr.tensor([1.0], requires_grad=True), cr.tensor([1.0], requires_grad=True)
    optimizer = cr.optim.SGD([{"params": [x]}, {"params": [y], "lr": 0.5}], lr=0.25)
    (quadratic(x) + quadratic(y)).backward()
    optimizer.step()
    assert (x.item(), y.item()) == (0.5, 0.0)
    optimizer.param_groups[0]["lr"] = 0.0
    optimizer.step()
    assert x.item() == 0.5


def test_a_closure_is_called_with_recording_on_and_its_loss_returned() -> None:
    x = cr.tensor([2.0], requires_grad=True)
    optimizer = cr.optim.SGD([x], lr=0.25)

    def closure() -> cr.Tensor:
        optimizer.zero_grad()
        loss = quadratic(x)
        loss.backward()
        return loss

    with cr.no_grad():
        assert optimizer.step(closure).item() == 4
    assert x.item() == 1.0


def test_training_goes_on_from_a_saved_state_as_if_never_interrupted() -> None:
    def steps(x: cr.Tensor, optimizer: Any, count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            quadratic(cr.tanh(x)).backward()
            optimizer.step()

    for make in (lambda p: cr.optim.AdamW(p, lr=0.1), lambda p: cr.optim.SGD(p, lr=0.1, momentum=0.9)):
        x = cr.tensor([2.0, -1.0], requires_grad=True)
        optimizer = make([x])
        steps(x, optimizer, 5)
        y = cr.tensor(x.detach(), requires_grad=True)
        other = make([y])
        other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        steps(x, optimizer, 5)
        steps(y, other, 5)
        np.testing.assert_array_equal(x.detach().numpy(), y.detach().numpy())


def test_a_state_dict_has_torchs_layout() -> None:
    torch = pytest.importorskip("torch")
    dicts = []
    for lib in (cr, torch):
        x = lib.tensor([1.0, 2.0], requires_grad=True)
        optimizer = lib.optim.AdamW([x], lr=0.1)
        (x * x).sum().backward()
        optimizer.step()
        dicts.append(optimizer.state_dict())
    ours, theirs = dicts
    assert ours["param_groups"] == theirs["param_groups"]
    assert {k: list(v) for k, v in ours["state"].items()} == {k: list(v) for k, v in theirs["state"].items()}
    assert ours["state"][0]["step"].item() == theirs["state"][0]["step"].item() == 1


def test_a_state_of_another_size_is_refused_and_changes_nothing() -> None:
    x, y = (cr.tensor([1.0], requires_grad=True) for _ in range(2))
    optimizer = cr.optim.SGD([x], lr=0.1)
    with pytest.raises(ValueError, match="doesn't match the size"):
        optimizer.load_state_dict(cr.optim.SGD([x, y], lr=0.9).state_dict())
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_zero_grad_forgets_or_clears() -> None:
    x = cr.tensor([1.0], requires_grad=True)
    optimizer = cr.optim.SGD([x])
    quadratic(x).backward()
    optimizer.zero_grad(set_to_none=False)
    assert x.grad is not None and x.grad.item() == 0
    optimizer.zero_grad()
    assert x.grad is None


def test_hooks_run_before_and_after_each_step() -> None:
    x = cr.tensor([1.0], requires_grad=True)
    optimizer = cr.optim.SGD([x])
    calls: list[str] = []
    first = optimizer.register_step_pre_hook(lambda o, args, kwargs: calls.append("before"))
    optimizer.register_step_post_hook(lambda o, args, kwargs: calls.append("after"))
    optimizer.step()
    first.remove()
    optimizer.step()
    assert calls == ["before", "after", "after"]


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda x: cr.optim.SGD([x], lr=-1.0), ValueError, "Invalid learning rate: -1.0"),
        (lambda x: cr.optim.SGD([x], lr=float("nan")), ValueError, "nan"),
        (lambda x: cr.optim.SGD([x], nesterov=True), ValueError, "Nesterov"),
        (lambda x: cr.optim.Adam([x], betas=(1.0, 0.9)), ValueError, "index 0: 1.0"),
        (lambda x: cr.optim.SGD([]), ValueError, "empty parameter list"),
        (lambda x: cr.optim.SGD(x), TypeError, r"write \[tensor\]"),
        (lambda x: cr.optim.SGD([1.0]), TypeError, "float"),
        (lambda x: cr.optim.SGD([x * 2]), ValueError, "non-leaf"),
        (lambda x: cr.optim.SGD([{"params": [x]}, {"params": [x]}]), ValueError, "more than one parameter group"),
        (lambda x: cr.optim.SGD([{"params": {x}}]), TypeError, "ordered"),
    ],
)
def test_bad_settings_are_refused(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make(cr.tensor([1.0], requires_grad=True))


def test_an_optimizer_shows_its_groups_as_torch_does() -> None:
    torch = pytest.importorskip("torch")
    ours = cr.optim.SGD([cr.ones(1, requires_grad=True)], lr=0.1)
    assert repr(ours) == repr(torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=0.1))


def test_named_parameters_are_accepted() -> None:
    layer = cr.nn.Linear(2, 2)
    optimizer = cr.optim.SGD(layer.named_parameters(), lr=0.1)
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
