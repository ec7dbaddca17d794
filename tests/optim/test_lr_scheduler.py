"""Schedulers: the rates of fifty steps equal PyTorch's and their closed forms; state survives saving."""

from __future__ import annotations

import copy
import math
import warnings
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.optim import lr_scheduler


class Wave:
    """A callable with state of its own."""

    def __init__(self) -> None:
        self.period = 7

    def __call__(self, epoch: int) -> float:
        return 1.1 + math.cos(epoch / self.period)


SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("LambdaLR", {"lr_lambda": lambda epoch: 0.95**epoch}),
    ("LambdaLR", {"lr_lambda": [lambda epoch: 1 / (1 + epoch), Wave()]}),
    ("MultiplicativeLR", {"lr_lambda": lambda epoch: 0.9 if epoch % 3 else 1.2}),
    ("StepLR", {"step_size": 7, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [3, 10, 10, 31], "gamma": 0.3}),
    ("ConstantLR", {}),
    ("ConstantLR", {"factor": 0.25, "total_iters": 9}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 0.9, "end_factor": 0.1, "total_iters": 20}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("PolynomialLR", {}),
    ("PolynomialLR", {"total_iters": 30, "power": 2.5}),
    ("CosineAnnealingLR", {"T_max": 12}),
    ("CosineAnnealingLR", {"T_max": 60, "eta_min": 0.01}),
    ("CosineAnnealingWarmRestarts", {"T_0": 6}),
    ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2, "eta_min": 0.01}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 5}),
    (
        "CyclicLR",
        {"base_lr": [0.01, 0.02], "max_lr": 0.1, "step_size_up": 4, "step_size_down": 7, "mode": "triangular2"},
    ),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 5, "mode": "exp_range", "gamma": 0.97}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 5, "scale_fn": Wave(), "cycle_momentum": False}),
    ("OneCycleLR", {"max_lr": 0.2, "total_steps": 60}),
    ("OneCycleLR", {"max_lr": [0.2, 0.1], "epochs": 6, "steps_per_epoch": 9, "anneal_strategy": "linear"}),
    ("OneCycleLR", {"max_lr": 0.2, "total_steps": 55, "three_phase": True, "pct_start": 0.4, "div_factor": 5.0}),
]
IDS = [f"{name}-{i}" for i, (name, _) in enumerate(SETTINGS)]


def optimizer_of(lib: Any, name: str = "SGD") -> Any:
    groups = [
        {"params": [lib.zeros(2, requires_grad=True)]},
        {"params": [lib.zeros(1, requires_grad=True)], "lr": 0.03},
    ]
    return getattr(lib.optim, name)(groups, lr=0.1, **({"momentum": 0.9} if name == "SGD" else {}))


def rates(optimizer: Any, scheduler: Any, steps: int = 50) -> list[list[float]]:
    """Rates and momentums before the first and after each step."""
    found = []
    for _ in range(steps):
        found.append(
            [float(group["lr"]) for group in optimizer.param_groups]
            + [float(group.get("momentum", group.get("betas", (0.0,))[0])) for group in optimizer.param_groups]
            + [float(rate) for rate in scheduler.get_last_lr()]
        )
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize(("name", "options"), SETTINGS, ids=IDS)
@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
def test_the_rates_of_fifty_steps_equal_torchs(name: str, options: dict[str, Any], kind: str) -> None:
    torch = pytest.importorskip("torch")
    results = []
    for lib in (cr, torch):
        optimizer = optimizer_of(lib, kind)
        results.append(rates(optimizer, getattr(lib.optim.lr_scheduler, name)(optimizer, **copy.deepcopy(options))))
    np.testing.assert_allclose(*results, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("name", "options"), SETTINGS, ids=IDS)
def test_state_dicts_have_torchs_keys_and_values(name: str, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    states = []
    for lib in (cr, torch):
        optimizer = optimizer_of(lib)
        scheduler = getattr(lib.optim.lr_scheduler, name)(optimizer, **copy.deepcopy(options))
        rates(optimizer, scheduler, 5)
        states.append(scheduler.state_dict())
    assert states[0].keys() == states[1].keys()
    for key, value in states[1].items():
        assert states[0][key] == pytest.approx(value) if isinstance(value, float) else True, key


@pytest.mark.parametrize(("name", "options"), SETTINGS, ids=IDS)
def test_a_schedule_goes_on_from_a_saved_state(name: str, options: dict[str, Any]) -> None:
    optimizer = optimizer_of(cr)
    scheduler = getattr(lr_scheduler, name)(optimizer, **copy.deepcopy(options))
    rates(optimizer, scheduler, 8)
    saved = copy.deepcopy((optimizer.state_dict(), scheduler.state_dict()))
    want = rates(optimizer, scheduler, 20)
    other = optimizer_of(cr)
    again = getattr(lr_scheduler, name)(other, **copy.deepcopy(options))
    again.load_state_dict(saved[1])
    other.load_state_dict(saved[0])
    assert rates(other, again, 20) == want


# ----- closed forms, without torch --------------------------------------------------------------------------------


CLOSED: list[tuple[str, dict[str, Any], Any]] = [
    ("LambdaLR", {"lr_lambda": lambda t: 0.9**t}, lambda t: 0.9**t),
    ("StepLR", {"step_size": 7, "gamma": 0.5}, lambda t: 0.5 ** (t // 7)),
    ("MultiStepLR", {"milestones": [3, 10]}, lambda t: 0.1 ** ((t >= 3) + (t >= 10))),
    ("ConstantLR", {"factor": 0.25, "total_iters": 9}, lambda t: 0.25 if t < 9 else 1),
    ("LinearLR", {"start_factor": 0.5, "total_iters": 10}, lambda t: 0.5 + 0.5 * min(t, 10) / 10),
    ("ExponentialLR", {"gamma": 0.9}, lambda t: 0.9**t),
    ("PolynomialLR", {"total_iters": 60, "power": 2}, lambda t: (1 - t / 60) ** 2),
    ("CosineAnnealingLR", {"T_max": 12}, lambda t: (1 + math.cos(math.pi * t / 12)) / 2),
    ("CosineAnnealingWarmRestarts", {"T_0": 6}, lambda t: (1 + math.cos(math.pi * (t % 6) / 6)) / 2),
    ("CyclicLR", {"base_lr": 0.0, "max_lr": 1.0, "step_size_up": 5}, lambda t: 1 - abs(t % 10 - 5) / 5),
    (
        "OneCycleLR",
        {"max_lr": 1.0, "total_steps": 51, "pct_start": 1.0, "div_factor": 2.0, "anneal_strategy": "linear"},
        lambda t: 0.5 + 0.5 * t / 50,
    ),
]


@pytest.mark.parametrize(("name", "options", "form"), CLOSED, ids=[name for name, _, _ in CLOSED])
def test_the_rates_are_the_closed_form(name: str, options: dict[str, Any], form: Any) -> None:
    optimizer = cr.optim.SGD([cr.zeros(1, requires_grad=True)], lr=1.0, momentum=0.9)
    scheduler = getattr(lr_scheduler, name)(optimizer, **options)
    for epoch in range(50):
        assert scheduler.get_last_lr() == [pytest.approx(form(epoch), abs=1e-9)], epoch
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize(("name", "options"), SETTINGS[3:14], ids=IDS[3:14])
def test_an_epoch_may_be_given_and_is_warned_about(name: str, options: dict[str, Any]) -> None:
    first, second = optimizer_of(cr), optimizer_of(cr)
    scheduler, other = (getattr(lr_scheduler, name)(o, **options) for o in (first, second))
    rates(first, scheduler, 5)
    second.step()
    with pytest.warns(UserWarning, match="epoch parameter"):
        other.step(5)
    np.testing.assert_allclose(other.get_last_lr(), scheduler.get_last_lr())


def test_warm_restarts_take_fractions_of_epochs() -> None:
    torch = pytest.importorskip("torch")
    results = []
    for lib in (cr, torch):
        optimizer = optimizer_of(lib)
        scheduler = lib.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 3, 2)
        found = []
        for i in range(60):
            optimizer.step()
            scheduler.step(i / 4)
            found.append(scheduler.get_last_lr())
        results.append(found)
    np.testing.assert_allclose(*results)


# ----- schedulers of schedulers -----------------------------------------------------------------------------------


def sequence(lib: Any, optimizer: Any) -> Any:
    s = lib.optim.lr_scheduler
    warm = s.LinearLR(optimizer, start_factor=0.1, total_iters=5)
    waves = s.CosineAnnealingWarmRestarts(optimizer, T_0=4)
    return s.SequentialLR(optimizer, [warm, waves, s.ExponentialLR(optimizer, gamma=0.8)], milestones=[5, 20])


def chain(lib: Any, optimizer: Any) -> Any:
    s = lib.optim.lr_scheduler
    steps = s.MultiStepLR(optimizer, milestones=[5, 9])
    return s.ChainedScheduler(
        [s.ConstantLR(optimizer, factor=0.1, total_iters=3), s.ExponentialLR(optimizer, 0.9), steps]
    )


def nested(lib: Any, optimizer: Any) -> Any:
    s = lib.optim.lr_scheduler
    inner = s.SequentialLR(optimizer, [s.ConstantLR(optimizer), s.StepLR(optimizer, 3)], milestones=[4])
    return s.SequentialLR(optimizer, [inner, s.ExponentialLR(optimizer, gamma=0.8)], milestones=[10])


@pytest.mark.parametrize("make", [sequence, chain, nested])
def test_combined_schedulers_equal_torchs(make: Any) -> None:
    torch = pytest.importorskip("torch")
    results = []
    for lib in (cr, torch):
        optimizer = optimizer_of(lib)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results.append(rates(optimizer, make(lib, optimizer), 40))
    np.testing.assert_allclose(*results, rtol=1e-9)


@pytest.mark.filterwarnings("ignore:Detected call")
@pytest.mark.parametrize("make", [sequence, chain])
def test_combined_schedulers_go_on_from_a_saved_state(make: Any) -> None:
    optimizer = optimizer_of(cr)
    scheduler = make(cr, optimizer)
    rates(optimizer, scheduler, 7)
    saved = copy.deepcopy((optimizer.state_dict(), scheduler.state_dict()))
    want = rates(optimizer, scheduler, 20)
    other = optimizer_of(cr)
    again = make(cr, other)
    again.load_state_dict(saved[1])
    other.load_state_dict(saved[0])
    assert rates(other, again, 20) == want


@pytest.mark.parametrize(
    "options",
    [
        {"patience": 2},
        {"mode": "max", "factor": 0.5, "patience": 1, "cooldown": 2, "threshold": 0.01},
        {"threshold_mode": "abs", "threshold": 0.05, "patience": 0, "min_lr": [0.01, 0.001]},
        {"mode": "max", "threshold_mode": "abs", "patience": 3, "eps": 0.05},
    ],
)
def test_reduce_on_plateau_equals_torchs(options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    metrics = np.random.default_rng(0).random(50) + np.linspace(1, 0, 50)
    results, states = [], []
    for lib in (cr, torch):
        optimizer = optimizer_of(lib)
        scheduler = lib.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **options)
        found = []
        for metric in metrics:
            scheduler.step(lib.tensor(metric))
            found.append(scheduler.get_last_lr())
        results.append(found)
        states.append(scheduler.state_dict())
    np.testing.assert_allclose(*results)
    assert states[0].keys() == states[1].keys()


def test_a_plateau_lowers_the_rate_and_an_improvement_does_not() -> None:
    optimizer = cr.optim.SGD([cr.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    for metric in (5.0, 4.0, 3.0, 3.0):
        scheduler.step(metric)
    assert scheduler.get_last_lr() == [1.0]
    scheduler.step(3.0)
    assert optimizer.param_groups[0]["lr"] == 0.5


# ----- use --------------------------------------------------------------------------------------------------------


def test_a_tensor_rate_is_written_to_and_not_replaced() -> None:
    rate = cr.tensor(0.5)
    optimizer = cr.optim.SGD([cr.zeros(1, requires_grad=True)], lr=rate)
    scheduler = lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] is rate and rate.item() == 0.25


def test_stepping_the_scheduler_first_is_warned_about() -> None:
    optimizer = optimizer_of(cr)
    scheduler = lr_scheduler.StepLR(optimizer, 3)
    with pytest.warns(UserWarning, match=r"before `optimizer\.step\(\)`"):
        scheduler.step()


def test_the_right_order_is_not_warned_about() -> None:
    optimizer = optimizer_of(cr)
    scheduler = lr_scheduler.StepLR(optimizer, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()
        scheduler.step()


def test_a_step_that_was_replaced_is_warned_about() -> None:
    optimizer = optimizer_of(cr)
    scheduler = lr_scheduler.StepLR(optimizer, 3)
    optimizer.step = lambda: None
    with pytest.warns(UserWarning, match="overridden"):
        scheduler.step()


def test_asking_for_rates_outside_a_step_is_warned_about() -> None:
    scheduler = lr_scheduler.StepLR(optimizer_of(cr), 3)
    with pytest.warns(UserWarning, match="get_last_lr"):
        scheduler.get_lr()


def test_a_users_scheduler_defines_get_lr() -> None:
    class Half(lr_scheduler.LRScheduler):
        def get_lr(self) -> list[Any]:
            return [base / (1 + self.last_epoch) for base in self.base_lrs]

    optimizer = optimizer_of(cr)
    scheduler = Half(optimizer)
    optimizer.step()
    scheduler.step()
    assert scheduler.get_last_lr() == [0.05, 0.015]


def test_an_optimizer_with_a_scheduler_can_be_copied_and_freed() -> None:
    import gc
    import weakref

    gc.disable()
    try:
        optimizer = optimizer_of(cr)
        lr_scheduler.StepLR(optimizer, 3)
        assert copy.deepcopy(optimizer).param_groups[0]["initial_lr"] == 0.1
        gone = weakref.ref(optimizer)
        del optimizer
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda s, o: s.StepLR(object(), 3), TypeError),
        (lambda s, o: s.StepLR(o, 3, last_epoch=4), KeyError),
        (lambda s, o: s.LambdaLR(o, [lambda t: 1]), ValueError),
        (lambda s, o: s.MultiplicativeLR(o, 3), TypeError),
        (lambda s, o: s.ConstantLR(o, factor=1.5), ValueError),
        (lambda s, o: s.LinearLR(o, start_factor=0), ValueError),
        (lambda s, o: s.LinearLR(o, end_factor=2), ValueError),
        (lambda s, o: s.CosineAnnealingWarmRestarts(o, 0), ValueError),
        (lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, 0), ValueError),
        (lambda s, o: s.CyclicLR(o, 0.1, [0.2]), ValueError),
        (lambda s, o: s.CyclicLR(o, 0.1, 0.2, mode="square"), ValueError),
        (lambda s, o: s.OneCycleLR(o, 0.1), ValueError),
        (lambda s, o: s.OneCycleLR(o, 0.1, total_steps=0), ValueError),
        (lambda s, o: s.OneCycleLR(o, 0.1, total_steps=5, pct_start=1), ValueError),
        (lambda s, o: s.OneCycleLR(o, 0.1, total_steps=5, anneal_strategy="flat"), ValueError),
        (lambda s, o: s.SequentialLR(o, [], []), ValueError),
        (lambda s, o: s.SequentialLR(o, [s.StepLR(o, 3)], [4]), ValueError),
        (lambda s, o: s.SequentialLR(o, [s.ReduceLROnPlateau(o)], []), ValueError),
        (lambda s, o: s.ChainedScheduler([]), ValueError),
        (lambda s, o: s.ChainedScheduler([3]), (TypeError, AttributeError)),
        (lambda s, o: s.ReduceLROnPlateau(o, factor=1.0), ValueError),
        (lambda s, o: s.ReduceLROnPlateau(o, mode="least"), ValueError),
        (lambda s, o: s.ReduceLROnPlateau(o, min_lr=[0.1]), ValueError),
    ],
)
def test_bad_settings_are_refused_with_torchs_type(make: Any, error: Any) -> None:
    with pytest.raises(error):
        make(lr_scheduler, optimizer_of(cr))
    torch = pytest.importorskip("torch")
    with pytest.raises(error):
        make(torch.optim.lr_scheduler, optimizer_of(torch))


def test_one_cycle_refuses_more_steps_than_it_has() -> None:
    optimizer = optimizer_of(cr)
    scheduler = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=3)
    optimizer.step()
    for _ in range(3):
        scheduler.step()
    with pytest.raises(ValueError, match="4 times.*is 3"):
        scheduler.step()


def test_cycles_of_momentum_need_an_optimizer_that_has_one() -> None:
    optimizer = cr.optim.Adagrad([cr.zeros(1, requires_grad=True)])
    with pytest.raises(ValueError, match="momentum or beta1"):
        lr_scheduler.CyclicLR(optimizer, 0.1, 0.2)
