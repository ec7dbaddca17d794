"""Steps of every optimiser inside a compiled function: eager and compiled stay together, with one trace."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.compiler import TraceError, compile
from chainrule.nn import functional as F

pytestmark = pytest.mark.usefixtures("numpy_only")

OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda p: optim.SGD(p, lr=0.05),
    "sgd_decay": lambda p: optim.SGD(p, lr=0.05, weight_decay=0.1, maximize=False),
    "sgd_momentum": lambda p: optim.SGD(p, lr=0.05, momentum=0.9),
    "sgd_nesterov": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "sgd_maximize": lambda p: optim.SGD(p, lr=0.01, maximize=True),
    "asgd": lambda p: optim.ASGD(p, lr=0.05, t0=3.0),
    "adam": lambda p: optim.Adam(p, lr=0.01),
    "adam_all": lambda p: optim.Adam(p, lr=0.01, amsgrad=True, weight_decay=0.1, maximize=True),
    "adamw": lambda p: optim.AdamW(p, lr=0.01),
    "adamax": lambda p: optim.Adamax(p),
    "nadam": lambda p: optim.NAdam(p, weight_decay=0.1),
    "radam": lambda p: optim.RAdam(p, weight_decay=0.1),
    "rmsprop": lambda p: optim.RMSprop(p),
    "rmsprop_all": lambda p: optim.RMSprop(p, momentum=0.9, centered=True),
    "adagrad": lambda p: optim.Adagrad(p, lr_decay=0.1),
    "adadelta": lambda p: optim.Adadelta(p),
    "rprop": lambda p: optim.Rprop(p),
    "adafactor": lambda p: optim.Adafactor(p),
    "muon": lambda p: optim.Muon([x for x in p if x.ndim == 2]),
}
TWO_PROGRAMS = {"asgd", "radam", "muon"}  # Python decides on the count of steps; muon leaves gradients to add to


def model() -> Any:
    cr.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()


def data() -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    return cr.from_numpy(random.normal(size=(5, 3))), cr.from_numpy(random.integers(0, 2, 5))


def training(net: Any, optimizer: Any) -> Any:
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def pair(make: Any) -> tuple[Any, Any, Any, Any]:
    """Two equal models with optimisers of their own."""
    one = model()
    two = copy.deepcopy(one)
    return one, make(list(one.parameters())), two, make(list(two.parameters()))


def together(one: Any, two: Any, first: Any = None, second: Any = None) -> None:
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-12, atol=1e-14)
        if first is not None:
            assert first.state[a].keys() == second.state[b].keys()
            for key, value in first.state[a].items():
                assert value.dtype == second.state[b][key].dtype
                np.testing.assert_allclose(value.numpy(), second.state[b][key].numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_are_those_of_the_eager_optimizer(name: str) -> None:
    one, first, two, second = pair(OPTIMIZERS[name])
    eager, compiled = training(one, first), compile(training(two, second))
    x, y = data()
    for _ in range(10):
        assert compiled(x, y).item() == pytest.approx(eager(x, y).item(), rel=1e-12)
    together(one, two, first, second)
    assert compiled.traces == (2 if name in TWO_PROGRAMS else 1)


@pytest.mark.parametrize("name", ["sgd_momentum", "adam_all", "adafactor", "rmsprop_all", "rprop"])
def test_a_compiled_step_goes_on_after_eager_ones(name: str) -> None:
    one, first, two, second = pair(OPTIMIZERS[name])
    eager, plain = training(one, first), training(two, second)
    compiled = compile(plain)
    for i in range(6):
        eager(*data())
        (plain if i in (0, 1, 4) else compiled)(*data())
    together(one, two, first, second)


def test_dampening_leaves_out_the_first_step() -> None:
    one, first, two, second = pair(lambda p: optim.SGD(p, lr=0.05, momentum=0.9, dampening=0.5))
    eager, compiled = training(one, first), compile(training(two, second))
    for _ in range(4):
        eager(*data())
        compiled(*data())
    together(one, two, first, second)
    assert compiled.traces == 2


def test_a_learning_rate_from_a_scheduler_takes_effect_without_another_trace() -> None:
    one, first, two, second = pair(lambda p: optim.Adam(p, lr=0.1))
    eager, compiled = training(one, first), compile(training(two, second))
    schedules = [optim.lr_scheduler.ExponentialLR(o, 0.7) for o in (first, second)]
    for _ in range(5):
        eager(*data())
        compiled(*data())
        for schedule in schedules:
            schedule.step()
    together(one, two, first, second)
    assert compiled.traces == 1


def test_a_cycled_momentum_and_betas_take_effect() -> None:
    for make in (lambda p: optim.SGD(p, lr=0.1, momentum=0.9), lambda p: optim.Adam(p, lr=0.1)):
        one, first, two, second = pair(make)
        eager, compiled = training(one, first), compile(training(two, second))
        schedules = [optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=8) for o in (first, second)]
        for _ in range(5):
            eager(*data())
            compiled(*data())
            for schedule in schedules:
                schedule.step()
        together(one, two, first, second)
        assert compiled.traces == 1


def test_a_learning_rate_that_is_a_tensor_is_read_in_every_run() -> None:
    one, first, two, second = pair(lambda p: optim.Adam(p, lr=cr.tensor(0.1, dtype=cr.float64)))
    eager, compiled = training(one, first), compile(training(two, second))
    for i in range(4):
        eager(*data())
        compiled(*data())
        for optimizer in (first, second):
            optimizer.param_groups[0]["lr"].fill_(0.1 / (i + 2))
    together(one, two, first, second)
    assert compiled.traces == 1


def test_settings_that_python_decides_on_give_another_program() -> None:
    one, first, two, second = pair(lambda p: optim.Adam(p, lr=0.1, weight_decay=0.0))
    eager, compiled = training(one, first), compile(training(two, second))
    for i in range(4):
        eager(*data())
        compiled(*data())
        for optimizer in (first, second):
            optimizer.param_groups[0]["weight_decay"] = 0.1 * (i + 1)
    together(one, two, first, second)
    assert compiled.traces == 2  # no decay, and some: how much is read in every run


def test_flags_and_groups_that_change_give_another_program() -> None:
    one, first, two, second = pair(lambda p: optim.SGD(p[:2], lr=0.1))
    eager, compiled = training(one, first), compile(training(two, second))
    eager(*data()), compiled(*data())
    for optimizer in (first, second):
        optimizer.param_groups[0]["maximize"] = True
    eager(*data()), compiled(*data())
    for optimizer, net in ((first, one), (second, two)):
        optimizer.add_param_group({"params": list(net.parameters())[2:], "lr": 0.02})
    eager(*data()), compiled(*data())
    together(one, two)
    assert compiled.traces == 3


def test_loaded_states_take_effect_without_another_trace() -> None:
    one, first, two, second = pair(lambda p: optim.Adam(p, lr=0.1))
    eager, compiled = training(one, first), compile(training(two, second))
    for _ in range(3):
        eager(*data())
    compiled(*data())
    two.load_state_dict(one.state_dict())
    second.load_state_dict(first.state_dict())
    for _ in range(3):
        eager(*data())
        compiled(*data())
    together(one, two, first, second)
    assert compiled.traces == 1


def test_a_cleared_state_starts_anew() -> None:
    one, first, two, second = pair(lambda p: optim.Adam(p, lr=0.1))
    eager, compiled = training(one, first), compile(training(two, second))
    for _ in range(2):
        eager(*data()), compiled(*data())
        for optimizer in (first, second):
            optimizer.state.clear()
    eager(*data()), compiled(*data())
    together(one, two, first, second)
    assert compiled.traces == 1


def test_parameters_that_are_not_stepped_get_no_state() -> None:
    net = model()
    optimizer = optim.Adam(net.parameters())

    @compile
    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = net[0](x).sum()
        loss.backward()
        optimizer.step()
        return loss.detach()

    step(data()[0])
    stepped = list(net[0].parameters())
    assert set(optimizer.state) == set(stepped)
    assert all(optimizer.state[p]["step"].item() == 1 for p in stepped)


def test_gradients_are_added_up_where_nobody_clears_them() -> None:
    one, two = model(), model()

    def accumulate(net: Any) -> Any:
        return lambda x, y: F.cross_entropy(net(x), y).backward()

    eager, compiled = accumulate(one), compile(accumulate(two))
    for _ in range(4):
        eager(*data())
        assert compiled(*data()) is None
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-12)
    assert compiled.traces == 2  # without and with gradients to add to
    two.zero_grad()
    one.zero_grad()
    eager(*data()), compiled(*data())
    np.testing.assert_allclose(one[0].weight.grad.numpy(), two[0].weight.grad.numpy(), rtol=1e-12)
    assert compiled.traces == 2


def test_zero_grad_to_zeros_and_gradient_clipping_trace() -> None:
    one, first, two, second = pair(lambda p: optim.SGD(p, lr=0.1))

    def make(net: Any, optimizer: Any) -> Any:
        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad(set_to_none=False)
            F.cross_entropy(net(x), y).backward()
            norm = nn.utils.clip_grad_norm_(net.parameters(), 0.1)
            optimizer.step()
            return norm

        return step

    eager, compiled = make(one, first), compile(make(two, second))
    for _ in range(3):
        assert compiled(*data()).item() == pytest.approx(eager(*data()).item(), rel=1e-12)
    together(one, two)


def test_an_optimizer_of_the_users_own_that_fills_its_state_lazily() -> None:
    class Own(optim.Optimizer):
        def __init__(self, params: Any, lr: float) -> None:
            super().__init__(params, {"lr": lr})

        def step(self, closure: Any = None) -> None:
            for group in self.param_groups:
                for p in group["params"]:
                    state = self.state[p]
                    if not state:
                        state["count"] = 0
                        state["mean"] = cr.zeros_like(p)
                    state["count"] += 1
                    state["mean"].mul_(0.5).add_(p.grad)
                    p.data.add_(state["mean"], alpha=-group["lr"] / state["count"])

    one, first, two, second = pair(lambda p: Own(p, lr=0.1))
    eager, compiled = training(one, first), compile(training(two, second))
    for _ in range(4):
        eager(*data())
        compiled(*data())
    together(one, two)
    assert [second.state[p]["count"] for p in two.parameters()] == [4] * 4
    assert compiled.traces == 2


def test_lbfgs_is_refused() -> None:
    net = model()
    optimizer = optim.LBFGS(net.parameters())
    before = [p.detach().numpy().copy() for p in net.parameters()]

    @compile
    def step(x: Any, y: Any) -> Any:
        def closure() -> Any:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            return loss

        return optimizer.step(closure)

    with pytest.raises(TraceError, match=r"(?s)test_optimizers.py:\d+ \(return optimizer.step\(closure\)\).*closure"):
        step(*data())
    assert not optimizer.state
    for p, was in zip(net.parameters(), before, strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), was)
        assert p.grad is None


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
def test_lbfgs_takes_a_compiled_closure(search: str | None) -> None:
    def losses(wrap: Any) -> list[float]:
        cr.manual_seed(0)
        net = model()
        x, y = data()
        optimizer = optim.LBFGS(net.parameters(), lr=0.5, max_iter=5, line_search_fn=search)

        @wrap
        def closure() -> Any:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            return loss

        return [float(optimizer.step(closure)) for _ in range(4)]

    eager = losses(lambda f: f)
    assert eager[-1] < eager[0]
    np.testing.assert_allclose(losses(compile), eager, rtol=1e-9)
