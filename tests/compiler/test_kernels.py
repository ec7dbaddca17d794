"""Kernels compiled by Numba: what they compute, what happens where they cannot be compiled, and threads."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

import chainrule as cr
import chainrule.nn.functional as F
from chainrule import nn, optim
from chainrule.compiler import compile
from chainrule.compiler.kernels import cache, compiling, machine_code
from chainrule.compiler.passes import fusion
from tests.compiler.programs import agrees, arrays_of, assert_close

random = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_NUM_THREADS", "2")
    monkeypatch.setenv("CHAINRULE_KERNELS", "1")


def count(compiled: Any) -> int:
    return int(compiled.source.count("@kernel"))


# ----- one kernel for what belongs together -----


@pytest.mark.parametrize(
    ("function", "kernels"),
    [
        (lambda x: F.softmax(x, -1), 1),
        (lambda x: F.log_softmax(x * 2, -1), 1),
        (lambda x: F.layer_norm(x, (6,)), 1),
        (lambda x: F.gelu(x), 1),
        (lambda x: 0.5 * x * (1 + cr.tanh(0.79788 * (x + 0.044715 * x**3))), 1),
        (lambda x: F.batch_norm(x, None, None, training=True), 1),
        (lambda x: F.cross_entropy(x, cr.tensor([0, 5, -100, 3, 1])), 1),
        (lambda x: F.mse_loss(F.silu(x), x.detach()), 1),
    ],
    ids=["softmax", "log_softmax", "layer_norm", "gelu", "tanh_gelu", "batch_norm", "cross_entropy", "mse"],
)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_forward_and_backward_are_one_kernel(function: Any, kernels: int, dtype: str) -> None:
    compiled = agrees(function, random.normal(size=(5, 6)).astype(dtype))
    assert count(compiled) == kernels


def test_dropout_draws_the_numbers_that_eager_draws() -> None:
    x = cr.randn(20, 30, requires_grad=True)

    def step() -> Any:
        out = F.dropout(x, 0.3) * 2
        return out, cr.autograd.grad(out.sum(), x)[0]

    compiled = compile(step)
    compiled()
    cr.manual_seed(1)
    expected = arrays_of(step())
    cr.manual_seed(1)
    assert_close(arrays_of(compiled()), expected)


def test_nan_infinities_and_zeros_are_as_in_numpy() -> None:
    x = np.array([[np.nan, 1.0, -0.0], [np.inf, -np.inf, 2.0], [0.0, -0.0, -1.0]], "f4")

    def function(x: Any) -> Any:
        y = x * 0.5
        same_zeros = [cr.where(y > 0, y, -y), y.exp() * 2, y.abs().log() + 1, -y * 3]
        return [*same_zeros, cr.relu(y), y.amax(1), y.amin(0), cr.maximum(y, -y)]

    for tensor in (cr.tensor(x), cr.tensor(x.astype("f8"))):
        with np.errstate(all="ignore"):
            expected = arrays_of(function(tensor))
        found = arrays_of(compile(function)(tensor))
        assert_close(found, expected)
        for a, b in zip(found[:4], expected[:4], strict=True):  # of two zeros either is the larger
            np.testing.assert_array_equal(np.signbit(a[~np.isnan(a)]), np.signbit(b[~np.isnan(b)]))


@pytest.mark.parametrize("large", [1, 1 << 23], ids=["threads", "one thread"])
@pytest.mark.parametrize("shape", [(12,), (4, 3), (4, 1), (3,), (2, 1, 1), (2, 3), (2, 1, 3), (1,)])
def test_constants_that_count_go_along_rows_and_columns(
    shape: tuple[int, ...], large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fusion, "LARGE", large)
    given = {(12,): (12,), (4, 3): (4, 3), (4, 1): (4, 3), (3,): (4, 3), (1,): (4, 3)}.get(shape, (2, 2, 3))

    def function(x: Any) -> Any:
        whole = (x * 3).long()
        numbers = cr.arange(math.prod(shape)).reshape(shape)
        chosen = cr.where(whole > numbers, x, F.softmax(x, -1))
        return whole * numbers + 1, chosen, (whole * numbers + 1).sum(-1), (x > 0).sum(-1) == cr.arange(given[-2:][0])

    x = random.normal(size=given).astype("f4")
    assert_close(arrays_of(compile(function)(cr.tensor(x))), arrays_of(function(cr.tensor(x))))


def test_a_number_of_the_only_row_is_read_by_a_later_loop() -> None:
    place = cr.tensor([[2]])

    def function(x: Any) -> Any:
        picked = (x * 2 + 1).gather(1, place) * 3
        share = F.softmax(x, -1).gather(1, place) + 1
        return cr.exp(picked * cr.ones(7, 1)) * share, (x.amax(-1) + cr.ones(3, 2)).exp()

    agrees(function, random.normal(size=(1, 4)).astype("f4"))


# ----- training -----


def step_of(optimizer: Any, dtype: Any, kernels: bool, compiled: bool = True, **options: Any) -> tuple[Any, list[Any]]:
    cr.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 5)).to(dtype)
    updates = optimizer(model.parameters(), **options)

    def step(x: Any, y: Any) -> Any:
        updates.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        updates.step()
        return loss

    return (compile(step, leave_out=() if kernels else ("fusion",)) if compiled else step), list(model.parameters())


@pytest.mark.parametrize(("dtype", "tolerance"), [(cr.float64, 1e-11), (cr.float32, 1e-4)], ids=["double", "single"])
@pytest.mark.parametrize(
    ("optimizer", "options"),
    [(optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}), (optim.AdamW, {"lr": 0.01})],
)
def test_training_stays_together(optimizer: Any, options: dict[str, Any], dtype: Any, tolerance: float) -> None:
    x, y = cr.randn(12, 8, dtype=dtype), cr.randint(0, 5, (12,))
    found = []
    for kernels, compiled in ((True, True), (False, True), (False, False)):
        step, parameters = step_of(optimizer, dtype, kernels, compiled, **options)
        losses = [step(x, y).item() for _ in range(60)]
        found.append([np.array(losses), *(np.array(p.detach().numpy()) for p in parameters)])
    for other in found[:2]:
        for a, b in zip(other, found[2], strict=True):
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    assert found[0][0][-1] < 0.5 * found[0][0][0]


# ----- failure -----


def test_a_kernel_that_cannot_be_compiled_is_numpy_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: str, name: str, *_: Any) -> Any:
        if "tanh" in name:
            raise RuntimeError("no registers left")
        return original(source, name, *_)

    original = machine_code.machine_code
    monkeypatch.setattr(machine_code, "machine_code", fail)
    monkeypatch.setenv("CHAINRULE_CACHE", "0")
    monkeypatch.setattr(cache, "_kernels", {})
    x, w = cr.randn(4, 5), cr.randn(5, 5)

    def function(x: Any) -> Any:
        return ((x.tanh() + 1) @ w).exp() * 3

    compiled = compile(function)
    with pytest.warns(UserWarning, match=r"kernel \w*tanh\w* cannot be compiled: no registers left") as warned:
        found = compiled(x)
    assert [warning.filename for warning in warned] == [__file__]
    assert_close(arrays_of(found), arrays_of(function(x)))
    assert "np.tanh" in compiled.source and count(compiled) == 1


def test_without_kernels_the_program_is_numpy_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_KERNELS", "0")
    compiled = agrees(lambda x: F.softmax(x.tanh(), -1), random.normal(size=(4, 5)))
    assert "@kernel" not in compiled.source and "numba" not in compiled.source


@pytest.mark.parametrize("size", [1, 3, 64, 65, 5000])
def test_the_largest_and_smallest_of_a_row_and_of_all_keep_nan(size: int) -> None:
    def function(x: Any) -> Any:
        return [(x * 2).amax(-1), (x * 2).amin(-1), (x * 2).max() + 1, (x * 2).min() + 1]

    x = random.normal(size=(5, size)).astype("f4")
    compiled = compile(function)
    for value in (0.0, np.inf, -np.inf, np.nan, -np.nan):
        for place in (0, size // 2, -1):
            given = x.copy()
            given[2, place] = value
            found, expected = arrays_of(compiled(cr.tensor(given))), arrays_of(function(cr.tensor(given)))
            for a, b in zip(found, expected, strict=True):
                np.testing.assert_array_equal(a, b)


def test_read_only_and_strided_arguments() -> None:
    compiled = compile(lambda x: np.exp(x) * 2 + 1)
    array = random.normal(size=(6, 4)).astype("f4")
    array.flags.writeable = False
    for given in (array, array.T, array[::-1, ::2], np.broadcast_to(array[:1], (6, 4))):
        np.testing.assert_allclose(compiled(given), np.exp(given) * 2 + 1, rtol=1e-6)


# ----- threads -----


def test_large_loops_are_shared_among_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fusion, "LARGE", 1 << 20)
    compiled = agrees(lambda x: [F.softmax(x, -1).sum(0), (x.tanh() * x).sum()], random.normal(size=(600, 300)))
    assert "in_parts" in compiled.source


def test_parts_add_up() -> None:
    def kernel(first: int, last: int, x: Any, total: Any, largest: Any) -> None:
        total[()] = x[first:last].sum()
        largest[:] = x[first:last].max()

    x, total, largest = np.arange(10.0), np.zeros(()), np.zeros(2)
    compiling.in_parts(kernel, 10, (x, total, largest), ((1, np.add), (2, np.maximum)))
    assert total == 45.0 and largest.tolist() == [9.0, 9.0]


def test_an_error_in_a_part_is_raised_once_all_have_finished() -> None:
    finished = []

    def kernel(first: int, last: int) -> None:
        if first:
            raise IndexError("out of bounds")
        finished.append(last)

    for _ in range(2):
        with pytest.raises(IndexError, match="out of bounds"):
            compiling.in_parts(kernel, 10, ())
    assert finished == [5, 5]


def test_kernels_run_in_several_threads_at_once() -> None:
    x = cr.tensor(random.normal(size=(400, 700)), dtype=cr.float64)
    compiled = compile(lambda x: (x.tanh() * x).sum())
    expected = compiled(x).item()
    found: list[float] = []
    threads = [threading.Thread(target=lambda: found.append(compiled(x).item())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_allclose(found, expected, rtol=1e-12)


# ----- sharing -----


def test_equal_layers_share_their_kernels() -> None:
    """Whatever the values in them are called."""
    model = nn.Sequential(*(layer for _ in range(4) for layer in (nn.Linear(8, 8), nn.Tanh(), nn.LayerNorm(8))))
    compiled = compile(model)
    x = cr.randn(3, 8)
    assert_close(arrays_of(compiled(x)), arrays_of(model(x)))
    assert compiled.source.count("def add_tanh") == 1


def test_what_values_are_called_makes_no_other_kernel() -> None:
    def function(x: Any, w: Any) -> Any:
        first = x @ w
        powers = (first - first.amax(-1, keepdim=True)).exp()
        shares = powers / powers.sum(-1, keepdim=True)
        y = shares @ w
        other = (y - y.amax(-1, keepdim=True)).exp()
        return (other / other.sum(-1, keepdim=True)) @ w

    compiled = compile(function)
    x, w = cr.randn(3, 8), cr.randn(8, 8)
    assert_close(arrays_of(compiled(x, w)), arrays_of(function(x, w)))
    assert count(compiled) == 1


def test_a_kernel_of_two_sizes_is_run_to_the_end_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text is the same for both, so one kernel serves; how much is shared out to threads differs."""
    monkeypatch.setattr(fusion, "LARGE", 1 << 20)
    first, second = (cr.zeros(size, requires_grad=True) for size in ((700, 1000), (1100, 1000)))
    optimizer = optim.SGD([first, second], lr=1.0)

    @compile
    def step() -> Any:
        for parameter in (first, second):
            parameter.grad = cr.ones_like(parameter)
        optimizer.step()

    step()
    assert step.source.count("in_parts(") == 2 and count(step) == 1
    for parameter in (first, second):
        np.testing.assert_array_equal(parameter.detach().numpy(), -1.0)


@pytest.mark.filterwarnings("error")
def test_a_known_number_is_converted_in_a_kernel() -> None:
    x = cr.tensor([0.0, 0.5, -1.0], requires_grad=True)

    def gradient(x: Any) -> Any:
        return cr.autograd.grad((x.double() * 0.1).sum() + x.tanh().sum().double(), x)[0]

    compiled = compile(gradient, leave_out=("constants",))
    expected = np.float32(0.1) + 1 - np.tanh(x.array) ** 2
    np.testing.assert_allclose(compiled(x).numpy(), expected, rtol=1e-6)
    assert "@kernel" in compiled.source


def test_sums_and_products_of_truth_values_are_truth_values_in_a_kernel() -> None:
    def function(x: Any, y: Any) -> Any:
        both, either = (x > 0) * (y > 0), (x > 0) + (y > 0)
        return both, either, either.long() * 3, both + either

    x, y = random.normal(size=(2, 40))
    compiled = agrees(function, x, y)
    assert count(compiled) == 1
    np.testing.assert_array_equal(compiled()[2].numpy(), 3 * ((x > 0) | (y > 0)))


@pytest.mark.parametrize("bounds", [(0, 6), (-0.5, 0.25), (2.0, -1.0), (-np.inf, 1)])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_what_is_brought_into_bounds_is_so_in_a_kernel(bounds: Any, dtype: str) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 0.0, 0.25, -0.5, 6.0, 2.0, 1e30, -3.0], dtype)
    compiled = agrees(lambda x: x.clamp(*bounds) * 2 + F.hardtanh(x, -1.0, 1.0), x)
    assert count(compiled) == 1
    np.testing.assert_array_equal(compiled()[0].detach().numpy(), np.clip(x, *bounds) * 2 + np.clip(x, -1, 1))


def test_bits_of_truth_values_are_combined_in_a_kernel() -> None:
    x, y = random.normal(size=(2, 40))
    compiled = agrees(lambda x, y: (((x > 0) & (y > 0)).double() * x, (~((x > 0) | (y > 1))).double() * y), x, y)
    assert count(compiled) == 1
    np.testing.assert_array_equal(compiled()[0].detach().numpy(), np.where((x > 0) & (y > 0), x, 0))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("place", [-2, 1, 3])
def test_a_known_place_of_each_row_is_taken_in_a_kernel(place: int) -> None:
    def function(x: Any) -> Any:
        return F.softmax(x, -1).gather(1, cr.full((5, 1), place % 4)) * 2, F.nll_loss(x.exp(), cr.full((5,), place % 4))

    def raw(x: Any) -> Any:
        return np.take_along_axis(np.exp(x), np.full((5, 1), place), 1) * 2

    x = random.normal(size=(5, 4))
    agrees(function, x)
    compiled = compile(raw)
    np.testing.assert_allclose(compiled(x), 2 * np.exp(x[:, place : place + 1 or None]), rtol=1e-14)
