"""Optimisers follow their formulas: fifty steps against PyTorch, and against recurrences written out here."""

from __future__ import annotations

import copy
import math
import re
from typing import Any

import numpy as np
import pytest

import chainrule as cr

SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("Adamax", {"lr": 0.05}),
    ("Adamax", {"lr": 0.05, "betas": (0.5, 0.7), "eps": 1e-3, "weight_decay": 0.1, "maximize": True}),
    ("NAdam", {"lr": 0.05}),
    ("NAdam", {"lr": 0.05, "weight_decay": 0.1, "momentum_decay": 0.1, "maximize": True}),
    ("NAdam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {"lr": 0.05}),
    ("RAdam", {"lr": 0.05, "weight_decay": 0.1, "betas": (0.8, 0.9), "maximize": True}),
    ("RAdam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RMSprop", {"lr": 0.02}),
    ("RMSprop", {"lr": 0.02, "momentum": 0.8, "centered": True}),
    ("RMSprop", {"lr": 0.02, "centered": True, "alpha": 0.9, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.02, "momentum": 0.8, "maximize": True, "eps": 1e-3}),
    ("Adagrad", {"lr": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.3, "maximize": True}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 2.0, "rho": 0.7, "eps": 1e-4, "weight_decay": 0.1, "maximize": True}),
    ("Rprop", {}),
    ("Rprop", {"lr": 0.1, "etas": (0.3, 1.5), "step_sizes": (1e-4, 0.2), "maximize": True}),
    ("ASGD", {"lr": 0.1}),
    ("ASGD", {"lr": 0.1, "lambd": 0.1, "alpha": 0.5, "t0": 10, "weight_decay": 0.1, "maximize": True}),
    ("Adafactor", {"lr": 0.1}),
    ("Adafactor", {"lr": 0.1, "eps": (1e-5, 1e-2), "d": 2.0, "beta2_decay": -0.5, "weight_decay": 0.1}),
    ("Adafactor", {"lr": 0.1, "maximize": True}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "foreach": True}),
    ("Adam", {"lr": 0.05, "fused": True}),
]
LBFGS: list[dict[str, Any]] = [
    {"lr": 0.3, "max_iter": 4},
    {"line_search_fn": "strong_wolfe", "max_iter": 5},
    {"line_search_fn": "strong_wolfe", "max_iter": 20, "history_size": 3, "max_eval": 30, "lr": 0.5},
    {"lr": 0.1, "history_size": 2, "tolerance_change": 1e-4, "max_iter": 6},
]
SHAPES = ((3, 5), (5,), (5, 2), ())


def start() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape) for shape in SHAPES]


def problem(lib: Any, tensors: list[Any]) -> Any:
    """The loss of a small network on fixed data."""
    x = lib.tensor(np.linspace(-1, 1, 24).reshape(8, 3), dtype=lib.float64)
    y = lib.tensor(np.sin(np.arange(16)).reshape(8, 2), dtype=lib.float64)
    error = lib.tanh(x @ tensors[0] + tensors[1]) @ tensors[2] - y
    return lib.tanh(error * error).mean() * (1 + tensors[3] * tensors[3])


def train(lib: Any, optimizer: Any, tensors: list[Any], steps: int) -> list[np.ndarray]:
    def closure() -> Any:
        optimizer.zero_grad()
        loss = problem(lib, tensors)
        loss.backward()
        return loss

    for _ in range(steps):
        optimizer.step(closure)
    return [tensor.detach().numpy().copy() for tensor in tensors]


def parameters(lib: Any) -> list[Any]:
    return [lib.tensor(array, dtype=lib.float64).requires_grad_() for array in start()]


def names(settings: list[tuple[str, dict[str, Any]]]) -> list[str]:
    return [f"{name}-{i}" for i, (name, _) in enumerate(settings)]


@pytest.mark.parametrize(("name", "options"), SETTINGS, ids=names(SETTINGS))
def test_fifty_steps_equal_torchs(name: str, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    results = []
    for lib in (cr, torch):
        tensors = parameters(lib)
        results.append(train(lib, getattr(lib.optim, name)(tensors, **options), tensors, 50))
    for got, want in zip(*results, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("options", LBFGS)
def test_lbfgs_follows_torchs(options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    results, states = [], []
    for lib in (cr, torch):
        tensors = parameters(lib)
        optimizer = lib.optim.LBFGS(tensors, **options)
        results.append(train(lib, optimizer, tensors, 3))
        states.append(optimizer.state_dict()["state"][0])
    for got, want in zip(*results, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5, rtol=1e-5)
    assert states[0]["func_evals"] == states[1]["func_evals"] and states[0]["n_iter"] == states[1]["n_iter"]
    assert states[0].keys() == states[1].keys()


def test_complex_parameters_follow_torch() -> None:
    torch = pytest.importorskip("torch")
    for name in (
        "SGD",
        "AdamW",
        "Adamax",
        "NAdam",
        "RAdam",
        "RMSprop",
        "Adagrad",
        "Adadelta",
        "Rprop",
        "ASGD",
        "LBFGS",
    ):
        results = []
        for lib in (cr, torch):
            z = lib.tensor(np.array([[1 + 2j, -1j], [0.5, 3]]), dtype=lib.complex128).requires_grad_()
            optimizer = getattr(lib.optim, name)([z], lr=0.1)

            def closure(z: Any = z, optimizer: Any = optimizer) -> Any:
                optimizer.zero_grad()
                loss = (abs(z - 1j) ** 2).sum()
                loss.backward()
                return loss

            for _ in range(20):
                optimizer.step(closure)
            results.append(z.detach().numpy())
        np.testing.assert_allclose(*results, rtol=1e-6, err_msg=name)


def test_muon_moves_along_an_orthogonal_matrix() -> None:
    rng = np.random.default_rng(1)
    x = cr.tensor(rng.standard_normal((4, 6)), dtype=cr.float64, requires_grad=True)
    before = x.detach().numpy().copy()
    optimizer = cr.optim.Muon([x], lr=1.0, weight_decay=0.0)
    (x**3).sum().backward()
    optimizer.step()
    singular = np.linalg.svd(before - x.detach().numpy(), compute_uv=False)
    assert np.all((singular > 0.6) & (singular < 1.3))  # the polynomial's band around one


def test_muon_is_near_torchs_which_rounds_to_bfloat16() -> None:
    torch = pytest.importorskip("torch")
    results = []
    for lib in (cr, torch):
        x = lib.tensor(np.random.default_rng(2).standard_normal((5, 3)), dtype=lib.float64).requires_grad_()
        optimizer = lib.optim.Muon([x], lr=0.05, adjust_lr_fn="match_rms_adamw")
        for _ in range(10):
            optimizer.zero_grad()
            (x**2).sum().backward()
            optimizer.step()
        results.append(x.detach().numpy())
    np.testing.assert_allclose(*results, atol=0.02)


# ----- without torch: the recurrences, written out for one number -------------------------------------------------


def descend(name: str, steps: int = 50, **options: Any) -> list[float]:
    """x after each step of minimising x**4 from x = 1."""
    x = cr.tensor(1.0, dtype=cr.float64, requires_grad=True)
    optimizer = getattr(cr.optim, name)([x], **options)
    path = []
    for _ in range(steps):
        optimizer.zero_grad()
        (x**4).backward()
        optimizer.step()
        path.append(x.item())
    return path


def slope(x: float) -> float:
    return 4 * x**3


def test_sgd_with_momentum_is_its_recurrence() -> None:
    x, v, path = 1.0, 0.0, []
    for _ in range(50):
        v = 0.9 * v + slope(x) + 0.1 * x
        x -= 0.01 * v
        path.append(x)
    np.testing.assert_allclose(descend("SGD", lr=0.01, momentum=0.9, weight_decay=0.1), path, rtol=1e-10)


def test_adam_and_adamw_are_their_recurrence() -> None:
    for name, decay in (("Adam", 0.0), ("AdamW", 0.3)):
        x, m, v, path = 1.0, 0.0, 0.0, []
        for t in range(1, 51):
            g = slope(x)
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            x -= 0.05 * decay * x
            x -= 0.05 * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)
            path.append(x)
        np.testing.assert_allclose(descend(name, lr=0.05, weight_decay=decay), path, rtol=1e-9, atol=1e-12)


def test_rmsprop_is_its_recurrence() -> None:
    x, v, path = 1.0, 0.0, []
    for _ in range(50):
        g = slope(x)
        v = 0.9 * v + 0.1 * g * g
        x -= 0.01 * g / (math.sqrt(v) + 1e-8)
        path.append(x)
    np.testing.assert_allclose(descend("RMSprop", lr=0.01, alpha=0.9), path, rtol=1e-9)


def test_adagrad_is_its_recurrence() -> None:
    x, total, path = 1.0, 0.0, []
    for _ in range(50):
        g = slope(x)
        total += g * g
        x -= 0.1 * g / (math.sqrt(total) + 1e-10)
        path.append(x)
    np.testing.assert_allclose(descend("Adagrad", lr=0.1), path, rtol=1e-9)


def test_adadelta_is_its_recurrence() -> None:
    x, v, u, path = 1.0, 0.0, 0.0, []
    for _ in range(50):
        g = slope(x)
        v = 0.9 * v + 0.1 * g * g
        delta = math.sqrt(u + 1e-6) / math.sqrt(v + 1e-6) * g
        u = 0.9 * u + 0.1 * delta * delta
        x -= delta
        path.append(x)
    np.testing.assert_allclose(descend("Adadelta"), path, rtol=1e-9)


def test_every_optimizer_comes_near_the_minimum_of_a_bowl() -> None:
    for name in sorted(set(cr.optim.__all__) - {"Optimizer", "LBFGS", "lr_scheduler", "swa_utils"}):
        x = cr.tensor([[1.0, -2.0], [0.5, 1.5]], requires_grad=True)
        options = {} if name in ("Adadelta", "Adafactor") else {"lr": 0.05}
        optimizer = getattr(cr.optim, name)([x], **options)
        for _ in range(400):
            optimizer.zero_grad()
            loss = (x * x).sum()
            loss.backward()
            optimizer.step()
        assert loss.item() < 7.5 / 4, name


def test_lbfgs_finds_the_minimum_of_rosenbrocks_function_as_scipy_does() -> None:
    from scipy.optimize import minimize, rosen, rosen_der

    begin = np.array([-1.2, 1.0, -0.5, 2.0])
    x = cr.tensor(begin, dtype=cr.float64, requires_grad=True)
    optimizer = cr.optim.LBFGS([x], max_iter=200, tolerance_change=1e-15, line_search_fn="strong_wolfe")

    def closure() -> cr.Tensor:
        optimizer.zero_grad()
        loss = (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == pytest.approx(rosen(begin))
    optimizer.step(closure)
    want = minimize(rosen, begin, jac=rosen_der, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-9})
    np.testing.assert_allclose(x.detach().numpy(), want.x, atol=1e-5)
    assert optimizer.state_dict()["state"][0]["func_evals"] < 3 * want.nfev


# ----- layouts and types ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SGD", "AdamW", "RMSprop", "Rprop", "Adafactor", "LBFGS"])
def test_steps_are_the_same_for_every_layout_of_memory(name: str) -> None:
    rng = np.random.default_rng(3)
    data = rng.standard_normal((6, 5))
    padded = np.zeros((12, 5))
    padded[::2] = data
    results = []
    for array in (data.copy(), np.asfortranarray(data), padded[::2]):
        x = cr.from_numpy(array).requires_grad_()
        optimizer = getattr(cr.optim, name)([x], lr=0.05)

        def closure(x: Any = x, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            loss = (x.T**2).sum()
            loss.backward()
            return loss

        for _ in range(5):
            optimizer.step(closure)
        assert x.array is array
        results.append(array.copy())
    np.testing.assert_allclose(results[1], results[0], rtol=1e-12)
    np.testing.assert_allclose(results[2], results[0], rtol=1e-12)
    assert not padded[1::2].any()


def test_a_large_parameter_takes_the_same_steps_as_its_parts() -> None:
    array = np.random.default_rng(4).standard_normal((300, 151))
    for options in ({"amsgrad": True, "weight_decay": 0.1, "maximize": True}, {}):
        whole = cr.from_numpy(array.copy()).requires_grad_()
        rows = [cr.from_numpy(row.copy()).requires_grad_() for row in array]
        first, second = cr.optim.Adam([whole], **options), cr.optim.Adam(rows, **options)
        for _ in range(3):
            whole.grad, whole_gradient = cr.from_numpy(np.cos(array)), np.cos(array)
            for row, gradient in zip(rows, whole_gradient, strict=True):
                row.grad = cr.from_numpy(gradient)
            first.step()
            second.step()
        np.testing.assert_allclose(whole.detach().numpy(), np.stack([row.detach().numpy() for row in rows]), rtol=1e-12)


@pytest.mark.parametrize("name", sorted(set(cr.optim.__all__) - {"Optimizer", "LBFGS", "lr_scheduler", "swa_utils"}))
def test_half_precision_and_empty_parameters_are_stepped_in_their_own_type(name: str) -> None:
    x = cr.ones(2, 3, dtype=cr.float16).requires_grad_()
    empty = cr.zeros(0, 3).requires_grad_()
    optimizer = getattr(cr.optim, name)([x, empty], lr=0.1)
    x.grad, empty.grad = cr.ones_like(x), cr.zeros_like(empty)
    optimizer.step()
    assert x.dtype == cr.float16 and bool((x < 1).all()) and empty.shape == (0, 3)


def test_a_read_only_parameter_is_refused_and_not_written() -> None:
    array = np.ones(3, np.float32)
    array.flags.writeable = False
    x = cr.from_numpy(array).requires_grad_()
    x.grad = cr.ones(3)
    with pytest.raises(RuntimeError, match="read-only"):
        cr.optim.SGD([x], lr=0.1).step()
    assert array.tolist() == [1, 1, 1]


# ----- saved state ------------------------------------------------------------------------------------------------

ALL = [("SGD", {"lr": 0.05, "momentum": 0.9}), ("Adam", {"lr": 0.05, "amsgrad": True}), *SETTINGS]
ALL += [("LBFGS", options) for options in LBFGS]


@pytest.mark.parametrize(("name", "options"), ALL, ids=names(ALL))
def test_a_run_goes_on_exactly_from_a_saved_state(name: str, options: dict[str, Any]) -> None:
    steps = 2 if name == "LBFGS" else 7
    tensors = parameters(cr)
    optimizer = getattr(cr.optim, name)(tensors, **options)
    middle = train(cr, optimizer, tensors, steps)
    saved = copy.deepcopy(optimizer.state_dict())
    want = train(cr, optimizer, tensors, steps)
    others = [cr.from_numpy(array).requires_grad_() for array in middle]
    again = getattr(cr.optim, name)(others, **options)
    again.load_state_dict(saved)
    for got, expected in zip(train(cr, again, others, steps), want, strict=True):
        np.testing.assert_array_equal(got, expected)


def translated(value: Any, make: Any) -> Any:
    """A state dict with the tensors of another library."""
    if isinstance(value, dict):
        return {key: translated(item, make) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(translated(item, make) for item in value)
    return make(value.detach().numpy()) if hasattr(value, "detach") else value


@pytest.mark.parametrize(("name", "options"), ALL, ids=names(ALL))
def test_state_dicts_go_to_torch_and_back(name: str, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    steps = 2 if name == "LBFGS" else 5
    for here, there in ((cr, torch), (torch, cr)):
        tensors = parameters(here)
        optimizer = getattr(here.optim, name)(tensors, **options)
        middle = train(here, optimizer, tensors, steps)
        state = optimizer.state_dict()
        others = [there.from_numpy(array.copy()).requires_grad_() for array in middle]
        again = getattr(there.optim, name)(others, **options)
        again.load_state_dict(translated(state, lambda array, lib=there: lib.from_numpy(np.array(array))))
        want, got = train(here, optimizer, tensors, steps), train(there, again, others, steps)
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5)
        mine = again.state_dict()
        assert mine["param_groups"] == state["param_groups"]
        assert {k: set(v) for k, v in mine["state"].items()} == {k: set(v) for k, v in state["state"].items()}


def test_state_of_another_shape_is_refused_in_one_message_and_changes_nothing() -> None:
    tensors = parameters(cr)
    optimizer = cr.optim.AdamW(tensors)
    train(cr, optimizer, tensors, 1)
    saved = copy.deepcopy(optimizer.state_dict())
    saved["state"][0]["exp_avg"] = cr.zeros(2)
    saved["state"][2]["exp_avg_sq"] = cr.zeros(7, 1)
    saved["param_groups"][0]["lr"] = 5.0
    kept = optimizer.state[tensors[0]]["exp_avg"]
    with pytest.raises(ValueError, match=r"exp_avg of parameter 0: \(2,\).*exp_avg_sq of parameter 2: \(7, 1\)"):
        optimizer.load_state_dict(saved)
    assert optimizer.state[tensors[0]]["exp_avg"] is kept and optimizer.param_groups[0]["lr"] == 1e-3


def test_a_copied_optimizer_steps_its_own_copy_of_the_parameters() -> None:
    x = cr.tensor([1.0], requires_grad=True)
    optimizer = cr.optim.Adam([x], lr=0.1)
    (x * x).backward()
    optimizer.step()
    other = copy.deepcopy(optimizer)
    (y,) = other.param_groups[0]["params"]
    y.grad = cr.ones(1)
    other.step()
    assert y is not x and y.item() != x.item() and other.state[y]["step"].item() == 2


# ----- the tensor lr ----------------------------------------------------------------------------------------------


def test_a_learning_rate_may_be_a_tensor_that_is_changed_later() -> None:
    for name in sorted(set(cr.optim.__all__) - {"Optimizer", "LBFGS", "Muon", "lr_scheduler", "swa_utils"}):
        rate = cr.tensor(0.1)
        x, y = cr.ones(3, requires_grad=True), cr.ones(3, requires_grad=True)
        first, second = getattr(cr.optim, name)([x], lr=rate), getattr(cr.optim, name)([y], lr=rate.item())
        for _ in range(2):
            x.grad, y.grad = cr.ones(3), cr.ones(3)
            first.step()
            second.step()
            rate.fill_(0.05)
            second.param_groups[0]["lr"] = rate.item()
        np.testing.assert_array_equal(x.detach().numpy(), y.detach().numpy(), err_msg=name)


# ----- bad input --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "error"),
    [
        ("Adam", {"lr": -1.0}, ValueError),
        ("Adam", {"eps": -1.0}, ValueError),
        ("Adam", {"betas": (0, 0.9)}, ValueError),
        ("Adam", {"fused": True, "foreach": True}, RuntimeError),
        ("Adam", {"fused": True, "differentiable": True}, RuntimeError),
        ("AdamW", {"weight_decay": -1.0}, ValueError),
        ("Adamax", {"betas": (0.9, 1.5)}, ValueError),
        ("NAdam", {"momentum_decay": -1.0}, ValueError),
        ("RAdam", {"betas": (-0.9, 0.5)}, ValueError),
        ("RMSprop", {"alpha": -1.0}, ValueError),
        ("RMSprop", {"momentum": -1.0}, ValueError),
        ("Adagrad", {"lr_decay": -1.0}, ValueError),
        ("Adagrad", {"initial_accumulator_value": -1.0}, ValueError),
        ("Adadelta", {"rho": 1.5}, ValueError),
        ("Rprop", {"etas": (1.5, 2.0)}, ValueError),
        ("ASGD", {"weight_decay": -1.0}, ValueError),
        ("Adafactor", {"d": 0.5}, ValueError),
        ("Adafactor", {"beta2_decay": 0.5}, ValueError),
        ("Adafactor", {"eps": (-1.0, 1e-3)}, ValueError),
        ("Muon", {}, ValueError),  # the parameter is no matrix
        ("LBFGS", {"lr": -1.0}, ValueError),
    ],
)
def test_bad_settings_are_refused_with_torchs_type(name: str, options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        getattr(cr.optim, name)([cr.zeros(2, requires_grad=True)], **options)
    torch = pytest.importorskip("torch")
    with pytest.raises(error):
        getattr(torch.optim, name)([torch.zeros(2, requires_grad=True)], **options)


def test_what_a_step_cannot_do_here_is_refused_when_it_is_asked_for() -> None:
    x = [cr.zeros(2, requires_grad=True)]
    with pytest.raises(RuntimeError, match="not recorded"):
        cr.optim.SGD(x, differentiable=True)
    with pytest.raises(AssertionError, match="capturable"):
        cr.optim.Adam(x, capturable=True)
    with pytest.raises(AttributeError, match="gradients here are dense"):
        _ = cr.optim.SparseAdam
    with pytest.raises(ValueError, match="1-element"):
        cr.optim.RMSprop(x, lr=cr.tensor([0.1, 0.2]))
    with pytest.raises(RuntimeError, match="complex"):
        z = cr.zeros(2, dtype=cr.complex64).requires_grad_()
        z.grad = cr.zeros_like(z)
        cr.optim.Adafactor([z]).step()


def test_lbfgs_refuses_groups_other_searches_and_a_missing_closure() -> None:
    x, y = (cr.zeros(2, requires_grad=True) for _ in range(2))
    with pytest.raises(ValueError, match="groups"):
        cr.optim.LBFGS([{"params": [x]}, {"params": [y]}])
    with pytest.raises(RuntimeError, match="strong_wolfe"):
        cr.optim.LBFGS([x], line_search_fn="armijo").step(lambda: 0.0)
    with pytest.raises(TypeError, match="closure"):
        cr.optim.LBFGS([x]).step()


def test_a_parameter_that_is_listed_twice_in_a_group_is_warned_about() -> None:
    x = cr.zeros(2, requires_grad=True)
    with pytest.warns(UserWarning, match="duplicate parameters"):
        cr.optim.SGD([x, x], lr=0.1)


def test_names_are_given_for_all_parameters_or_for_none() -> None:
    x, y = (cr.zeros(2, requires_grad=True) for _ in range(2))
    with pytest.raises(ValueError, match="Some param names are missing"):
        cr.optim.SGD([("x", x), y], lr=0.1)
    optimizer = cr.optim.SGD([("x", x)], lr=0.1)
    with pytest.raises(ValueError, match="with/without names"):
        optimizer.add_param_group({"params": [y]})


def test_an_update_that_is_refused_leaves_the_given_group_alone() -> None:
    x = cr.zeros(2, requires_grad=True)
    optimizer = cr.optim.SGD([x], lr=0.1)
    group = {"params": [x]}
    with pytest.raises(ValueError, match="more than one"):
        optimizer.add_param_group(group)
    assert group == {"params": [x]} and len(optimizer.param_groups) == 1


# ----- hooks and optimisers that users write ----------------------------------------------------------------------


class SignDescent(cr.optim.Optimizer):
    """As a program would write it."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, {"lr": lr})

    @cr.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.add_(p.grad.sign(), alpha=-group["lr"])
        return loss


def test_a_step_that_a_user_wrote_runs_the_hooks_once() -> None:
    from chainrule.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

    class Louder(SignDescent):
        def step(self, closure: Any = None) -> Any:
            return super().step(closure)

    x = cr.tensor([1.0, -1.0], requires_grad=True)
    optimizer = Louder([x])
    calls: list[str] = []
    optimizer.register_step_pre_hook(lambda o, args, kwargs: calls.append("before"))
    optimizer.register_step_post_hook(lambda o, args, kwargs: calls.append("after"))
    x.grad = cr.tensor([3.0, -2.0])
    with (
        register_optimizer_step_pre_hook(lambda o, args, kwargs: calls.append("all before")),
        register_optimizer_step_post_hook(lambda o, args, kwargs: calls.append("all after")),
    ):
        optimizer.step()
    optimizer.step()
    assert calls == ["all before", "before", "after", "all after", "before", "after"]
    np.testing.assert_allclose(x.detach().numpy(), [0.8, -0.8], rtol=1e-6)


def test_a_pre_hook_may_replace_the_arguments() -> None:
    x = cr.tensor([1.0], requires_grad=True)
    optimizer = cr.optim.SGD([x], lr=0.1)
    optimizer.register_step_pre_hook(lambda o, args, kwargs: ((lambda: 7,), {}))
    assert optimizer.step() == 7
    optimizer.register_step_pre_hook(lambda o, args, kwargs: 3)
    with pytest.raises(RuntimeError, match="new_args"):
        optimizer.step()


def test_state_dict_hooks_see_and_replace_what_is_saved_and_loaded() -> None:
    x = cr.tensor([1.0], requires_grad=True)
    optimizer = cr.optim.SGD([x], lr=0.1)
    calls: list[str] = []
    optimizer.register_state_dict_pre_hook(lambda o: calls.append("second"))
    optimizer.register_state_dict_pre_hook(lambda o: calls.append("first"), prepend=True)
    optimizer.register_state_dict_post_hook(lambda o, state: {**state, "more": 1})
    saved = optimizer.state_dict()
    assert calls == ["first", "second"] and saved["more"] == 1

    def faster(o: Any, state: dict[str, Any]) -> dict[str, Any]:
        return {**state, "param_groups": [{**state["param_groups"][0], "lr": 0.7}]}

    optimizer.register_load_state_dict_pre_hook(faster)
    optimizer.register_load_state_dict_post_hook(lambda o: calls.append("loaded"))
    optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["lr"] == 0.7 and calls[-1] == "loaded" and saved["param_groups"][0]["lr"] == 0.1


@pytest.mark.parametrize("shape", [(2, 3), (6, 1), (2, 1, 3)])
@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_a_gradient_of_another_shape_is_refused(name: str, shape: tuple[int, ...]) -> None:
    for given in ((3,), (3, 2)):  # the latter has as many elements
        x = cr.ones(given, requires_grad=True)
        x.grad = cr.ones(given)
        x.data = cr.ones(shape)
        with pytest.raises(RuntimeError, match=re.escape(f"{shape} has a gradient of shape {given}")):
            getattr(cr.optim, name)([x], lr=0.1).step()
        assert bool((x == 1).all())


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop"])
def test_a_parameter_that_cannot_be_written_is_refused(name: str) -> None:
    x = cr.ones(1).expand(5).detach().requires_grad_()
    x.grad = cr.arange(5.0)
    with pytest.raises(RuntimeError, match=r"shape \(5,\) cannot be written.*clone"):
        getattr(cr.optim, name)([x], lr=0.1).step()
