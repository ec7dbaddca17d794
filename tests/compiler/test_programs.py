"""Programs that people train: 200 steps, eager and compiled, stay together."""

from __future__ import annotations

import copy
import os
import re
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.compiler import compile
from chainrule.nn import functional as F

pytestmark = pytest.mark.usefixtures("numpy_only")


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 5, batch_first=True)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Any) -> Any:
        out, _ = self.lstm(x)
        return self.head(out[:, -1])


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Any) -> Any:
        return self.head(self.block(self.embed(x)).mean(1))


class Convolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(12, 3)

    def forward(self, x: Any) -> Any:
        return self.head(self.pool(F.relu(self.conv(x.unsqueeze(1)))).flatten(1))


def momentum(parameters: Any, lr: float) -> Any:
    """An optimiser that does not make much of gradients that are zero but for rounding, as Adam does."""
    return optim.SGD(parameters, lr=lr, momentum=0.9, weight_decay=0.01)


NETS: dict[str, tuple[Any, Any, tuple[int, ...]]] = {
    "mlp": (lambda: nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)), optim.SGD, (8, 6)),
    "norms": (
        lambda: nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Dropout(0.3), nn.LayerNorm(8), nn.Linear(8, 3)
        ),
        momentum,
        (8, 6),
    ),
    "conv": (Convolutional, optim.Adam, (4, 4, 4)),
    "lstm": (Recurrent, optim.RMSprop, (4, 5, 3)),
    "transformer": (Block, momentum, (4, 5, 3)),
}


def trained(net: Any, make: Any, shape: tuple[int, ...], dtype: Any, wrap: Any) -> tuple[list[float], Any, Any]:
    """The losses of 200 steps with a scheduler, the network, and the step."""
    net = copy.deepcopy(net)
    optimizer = make(net.parameters(), lr=1e-2)
    schedule = optim.lr_scheduler.StepLR(optimizer, 40, 0.5)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        logits = net(x)
        loss = F.cross_entropy(logits, y, label_smoothing=0.1)
        loss.backward()
        optimizer.step()
        return loss.detach()

    run = wrap(step)
    random = np.random.default_rng(0)
    cr.manual_seed(5)
    losses = []
    for _ in range(200):
        x = cr.from_numpy(random.normal(size=shape).astype(dtype))
        losses.append(run(x, cr.from_numpy(random.integers(0, 3, shape[0]))).item())
        schedule.step()
    return losses, net, run


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", NETS)
def test_training_stays_together(name: str, dtype: Any) -> None:
    build, make, shape = NETS[name]
    cr.manual_seed(0)
    net = build()
    net = net.double() if dtype is np.float64 else net
    eager, one, _ = trained(net, make, shape, dtype, lambda step: step)
    compiled, two, run = trained(net, make, shape, dtype, compile)
    rtol = 1e-12 if dtype is np.float64 else 1e-5
    np.testing.assert_allclose(compiled, eager, rtol=rtol)
    assert run.traces == 1
    for (key, a), b in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
        assert a.dtype == b.dtype, key
        np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=10 * rtol, atol=10 * rtol)


def test_second_order_and_functional_transforms_trace() -> None:
    @compile
    def penalty(w: Any, x: Any) -> Any:
        (gradient,) = cr.autograd.grad((x @ w).tanh().sum(), [w], create_graph=True)
        return cr.autograd.grad((gradient**2).sum(), [w])[0]

    w = cr.randn(3, dtype=cr.float64, requires_grad=True)
    x = cr.randn(5, 3, dtype=cr.float64)
    np.testing.assert_allclose(penalty(w, x).numpy(), penalty.function(w, x).numpy(), rtol=1e-12)

    hessian = compile(lambda w: cr.func.hessian(lambda v: (x @ v).sin().sum())(w))
    point = w.detach()
    np.testing.assert_allclose(hessian(point).numpy(), hessian.function(point).numpy(), rtol=1e-12)


def test_the_source_reads_as_the_model_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_KERNELS", "0")

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1 = nn.Linear(4, 8)
            self.fc2 = nn.Linear(8, 2)

        def forward(self, x: Any) -> Any:
            hidden = F.relu(self.fc1(x))
            return self.fc2(hidden)

    model = Net()
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    @compile
    def train_step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    train_step(cr.ones(3, 4), cr.ones(3, 2))
    text = train_step.source
    for line in (
        "fc1 = np.dot(x, fc1_weight.T)",
        "fc1 += fc1_bias",
        "hidden = np.maximum(fc1, 0, out=fc1)",
        "hidden_grad = np.dot(fc2_grad, fc2_weight)",
        "fc1_weight_grad = np.dot(",
        "fc2_bias_grad = np.add.reduce(",
        r": return self.fc2(hidden)",
        r"\nabla_{weight} L = (\nabla_{out} L)^T\, x",
        "hidden = F.relu(self.fc1(x))",
    ):
        assert line in text, text


def test_layers_of_a_sequence_are_called_after_the_variable_or_by_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_KERNELS", "0")
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    inside, alone = compile(lambda x: model(x).sum()), compile(model)
    inside(cr.ones(3, 4)), alone(cr.ones(3, 4))
    assert "model_0 = np.dot(x, model_0_weight.T)" in inside.source and "model_2 += model_2_bias" in inside.source
    assert "layer_0 = np.dot(x, layer_0_weight.T)" in alone.source.replace("input", "x")


def test_a_step_of_the_backward_part_names_the_forward_line_that_it_is_the_derivative_of() -> None:
    def wave(x: Any) -> Any:
        inner = x * 3
        return cr.sin(inner)

    @compile(leave_out=["fusion"])
    def step(x: Any) -> Any:
        (gradient,) = cr.autograd.grad(wave(x).sum(), x)
        return gradient

    step(cr.ones(2, 3, requires_grad=True))
    lines = [line.strip() for line in step.source.splitlines()]
    back = [i for i, line in enumerate(lines) if line.startswith("# backward, test_programs.py:")]
    assert [lines[i].partition(": ")[2] for i in back] == ["return cr.sin(inner)", "inner = x * 3"]
    assert [lines[i + 1] for i in back] == [
        rf"# {cr.BACK_FUNCS.formula(function, 0)}" for function in (np.sin, np.multiply)
    ]


def test_a_formula_is_not_repeated_below_its_line_nor_a_line_for_its_second_formula() -> None:
    @compile(leave_out=["fusion"])
    def step(x: Any, y: Any) -> Any:
        return cr.autograd.grad((x * y).sum(), (x, y))

    step(cr.ones(3, requires_grad=True), cr.ones(3, requires_grad=True))
    comments = [line.strip() for line in step.source.splitlines() if line.strip().startswith("#")]
    assert len(comments) == len({*comments})


def test_a_result_in_the_memory_of_another_of_the_same_name_has_no_second_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("numba")
    monkeypatch.delenv("CHAINRULE_KERNELS")
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))

    @compile
    def step(x: Any) -> Any:
        hidden = F.relu(model[0](x))
        return F.relu(model[2](hidden)).sum()

    step(cr.ones(32, 8))
    assert "hidden = np.dot(" in step.source and "_kernel(hidden" in step.source
    same = [line for line in step.source.splitlines() if re.fullmatch(r"\s*(\w+?)(_\d+)? = \1(_\d+)?", line)]
    assert not same


# ----- what generated NumPy computes in another form -----


def gradients_of(function: Any, *arguments: Any) -> list[Any]:
    """The result of a function, and the gradients of its arguments for a gradient of its result that varies."""
    leaves = [argument.detach().requires_grad_() for argument in arguments]
    out = function(*leaves)
    weights = cr.sin(cr.arange(float(out.numel())).reshape(out.shape))
    return [out.detach(), *cr.autograd.grad((out * weights).sum(), leaves)]


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("keywords", [{}, {"stride": 1}, {"kernel_size": 3, "padding": 1}, {"ceil_mode": True}])
def test_maxima_of_relu_have_eager_gradients_with_ties_and_special_numbers(keywords: dict[str, Any]) -> None:
    x = np.random.default_rng(0).integers(-2, 3, (3, 4, 15, 16)).astype("f4")  # many ties, at 0 as well
    x[1, 1, :3, :3], x[1, 2, 4, 4], x[2, 0, 0, 0], x[2, 1] = np.nan, np.inf, -np.inf, -1.0

    def pooled(x: Any) -> Any:
        return F.max_pool2d(F.relu(x), **{"kernel_size": 2, **keywords})

    compiled = compile(lambda x: gradients_of(pooled, x))
    for found, expected in zip(compiled(cr.from_numpy(x)), gradients_of(pooled, cr.from_numpy(x)), strict=True):
        np.testing.assert_array_equal(found.numpy(), expected.numpy())
    if os.environ["CHAINRULE_KERNELS"] == "0":
        relu, pool = (re.search(rf"{name}\(", compiled.source) for name in ("at_least_zero", "_max_pool"))
        assert relu is not None and pool is not None and pool.start() < relu.start()  # of fewer numbers


def numbers(shape: tuple[int, ...]) -> Any:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype("f4")


@pytest.mark.parametrize("size", [12, 48])  # few and many numbers
def test_convolutions_with_relu_and_gelu_have_eager_gradients(size: int) -> None:
    x, v, w, b = (cr.from_numpy(numbers(shape)) for shape in ((9, 3, size, size), (16, 3, 3, 3), (8, 16, 3, 3), (8,)))

    def network(x: Any, v: Any, w: Any, b: Any) -> Any:
        first = F.relu(F.conv2d(x, v, padding=1))
        second = F.gelu(F.conv2d(first, w, b, stride=2))
        return F.relu(F.conv2d(second, w.mean(1, keepdim=True), groups=8)).mean((2, 3))

    compiled = compile(lambda *arguments: gradients_of(network, *arguments))
    expected = gradients_of(network, x, v, w, b)
    for _ in range(2):  # the second time in memory that has been written to
        for found, right in zip(compiled(x, v, w, b), expected, strict=True):
            np.testing.assert_allclose(found.numpy(), right.numpy(), rtol=1e-5, atol=2e-5 * np.abs(right.numpy()).max())
    if os.environ["CHAINRULE_KERNELS"] == "0":
        assert {"rectified_convolve", "gelu_in_blocks"} <= set(re.findall(r"\w+", compiled.source))
        assert ("keep_where_nonzero" in compiled.source) == (size == 48)


@pytest.mark.parametrize(
    "write",
    [
        lambda y, i, x: y.__setitem__(i, x * 2),
        lambda y, i, x: y.__setitem__((i, cr.tensor([1, 3, 1])), x[:, 0] * 3),
        lambda y, i, x: y.__setitem__((slice(None), i), x[:, :3] * 3),
        lambda y, i, x: y.__setitem__(i - 3, x[0] * 3),
        lambda y, i, x: y[:2].__setitem__((slice(None), i), x[:2, :3] * 3),
        lambda y, i, x: y.index_put_((i,), x * 2),
        lambda y, i, x: y.index_copy_(0, i, x * 2),
        lambda y, i, x: y.put_(i, x[0, :3] * 2),
    ],
)
@pytest.mark.parametrize("kernels", ["0", "1"])
def test_of_several_writes_to_one_place_the_last_has_a_gradient(
    write: Any, kernels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernels == "1":
        pytest.importorskip("numba")
    monkeypatch.setenv("CHAINRULE_KERNELS", kernels)
    weights = cr.from_numpy(np.random.default_rng(1).standard_normal((3, 4)))

    def slope(x: Any, i: Any) -> Any:
        y = x * 1
        write(y, i, x)
        return y.detach(), *cr.autograd.grad((y * weights).sum(), x)

    compiled = compile(slope)
    for places in ([2, 0, 2], [0, 1, 2], [1, 1, 1]):
        x, i = cr.from_numpy(np.random.default_rng(0).standard_normal((3, 4))).requires_grad_(), cr.tensor(places)
        for found, expected in zip(compiled(x, i), slope(x, i), strict=True):
            np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-12)
        value, slopes = (np.array(part.numpy()) for part in compiled(x, i))
        step = 1e-6 * np.random.default_rng(2).standard_normal((3, 4))
        ahead, _ = slope((x.detach() + cr.from_numpy(step)).requires_grad_(), i)
        change = ((ahead.numpy() - value) * weights.numpy()).sum()
        np.testing.assert_allclose((slopes * step).sum(), change, rtol=1e-6, atol=1e-12)
    assert compiled.traces == 1


def test_what_has_another_shape_is_overwritten_unless_it_is_read_later() -> None:
    x, w, b, c = (cr.from_numpy(numbers(shape)) for shape in ((96, 64), (64, 80), (80,), (12, 8, 80)))

    def last(x: Any, w: Any, b: Any, c: Any) -> Any:
        return ((x @ w).reshape(12, 8, 80) + b).exp() * c

    def again(x: Any, w: Any, b: Any, c: Any) -> Any:
        product = x @ w
        return ((product.reshape(12, 8, 80) + b).exp() * c).sum() + product.sin().sum()

    def twice(x: Any, w: Any, b: Any, c: Any) -> Any:
        product = x @ w
        first = (product.reshape(12, 8, 80) * c).sum((1, 2))
        second = (x - 1) @ w  # in the first product's memory, in another shape
        return first + (second.reshape(12, 8, 80) + c).tanh().sum((1, 2)) + (second.reshape(12, 8, 80) * b).sum((1, 2))

    for function in (last, again, twice):
        compiled = compile(function)
        for shift in (0.0, 0.5):
            found, expected = compiled(x + shift, w, b, c), function(x + shift, w, b, c)
            np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-4, atol=1e-4)
        if os.environ["CHAINRULE_KERNELS"] == "0":
            reused = re.search(r"(\w+) = \w+\.reshape\(12, 8, 80\)\n.*np\.add\(\1, b, out=\1\)", compiled.source)
            assert (reused is not None) == (function is last)


def test_a_result_of_what_backward_has_used_up_can_be_read_and_not_gone_back_through() -> None:
    w = cr.ones(3, requires_grad=True)

    def step(x: Any) -> Any:
        loss = ((w * x) ** 2).sum()
        loss.backward()
        return loss * 2 + (x * x).sum(), (w * 3).sum()

    compiled = compile(step)
    for function in (step, compiled, compiled):
        w.grad = None
        total, other = function(cr.tensor([1.0, 2.0, 3.0]))
        assert (total.item(), total.requires_grad) == (42, True) and w.grad.tolist() == [2, 8, 18]
        with pytest.raises(RuntimeError, match="retain_graph=True"):
            total.backward()
        other.backward()
        assert w.grad.tolist() == [5, 11, 21]
