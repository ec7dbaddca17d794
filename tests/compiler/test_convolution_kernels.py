"""Kernels of convolutions and of the maxima of windows: what they compute, what they leave to NumPy, and their text."""

from __future__ import annotations

import itertools
from types import FunctionType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

pytest.importorskip("numba")

import chainrule as cr
import chainrule.nn.functional as F
from chainrule import nn, optim
from chainrule.compiler import compile
from chainrule.compiler.kernels import cache, compiling, convolution
from chainrule.compiler.passes import layers
from tests.compiler.programs import agrees, interpreted

random = np.random.default_rng(0)
CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_NUM_THREADS", "2")
    monkeypatch.setenv("CHAINRULE_KERNELS", "1")


def numbers(*shape: int, dtype: str = "f8") -> Any:
    return random.normal(size=shape).astype(dtype)


def kernels(compiled: Any, *names: str) -> bool:
    """Whether the program calls kernels of all these names and no function of `ops.convolution` or `ops.pooling`."""
    source = compiled.source
    called = "ops.convolution" in source or "ops.pooling" in source
    return all(f"def {name}_kernel" in source for name in names) and not called


# ----- convolutions: the same as eager --------------------------------------------------------------------------------

SETTINGS = {
    "1d, dilated, padded": (1, (2, 3, 24), 4, 4, {"padding": 3, "dilation": 3}),
    "padding": (2, (4, 3, 11, 9), 13, 3, {"padding": 1}),
    "same, even kernel": (2, (2, 3, 10, 12), 4, (2, 4), {"padding": "same"}),
    "depthwise": (2, (2, 5, 9, 9), 5, 3, {"groups": 5, "padding": 1}),
    "groups": (2, (2, 2, 9, 9), 26, 3, {"groups": 2, "padding": 1}),
    "3d": (3, (1, 4, 6, 5, 9), 6, (2, 3, 1), {"padding": (0, 2, 0), "dilation": (3, 1, 2), "groups": 2}),
    "stride": (2, (3, 4, 16, 17), 6, 3, {"stride": 2, "padding": 1, "groups": 2}),
    "unequal strides": (2, (2, 2, 19, 40), 3, (3, 4), {"stride": (1, 3), "padding": (1, 2), "dilation": (2, 1)}),
}


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_result_and_gradients_are_those_of_eager(setting: str) -> None:
    count, shape, outputs, kernel, keywords = SETTINGS[setting]
    dtype = ("f4", "f8")[list(SETTINGS).index(setting) % 2]
    sizes = kernel if isinstance(kernel, tuple) else (kernel,) * count
    w = numbers(outputs, shape[1] // keywords.get("groups", 1), *sizes, dtype=dtype)
    x, b = numbers(*shape, dtype=dtype), numbers(outputs, dtype=dtype)
    compiled = agrees(lambda x, w, b: CONVOLUTIONS[count](x, w, b, **keywords), x, w, b)
    assert kernels(compiled, "convolve", "convolve_input", "convolve_weight")


def test_transposed_convolutions_are_those_of_eager() -> None:
    keywords: dict[str, Any] = {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2}
    x, w, b = numbers(3, 4, 9, 10), numbers(4, 3, 3, 3), numbers(6)
    compiled = agrees(lambda x, w, b: F.conv_transpose2d(x, w, b, **keywords), x, w, b)
    assert kernels(compiled, "convolve", "convolve_input", "convolve_weight")


def test_circular_padding_is_that_of_eager() -> None:
    layer = nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular")
    x = numbers(2, 2, 8, 9, dtype="f4")
    assert "def convolve_kernel" in agrees(layer, x).source


def test_a_convolution_is_scipys_correlation() -> None:
    x, w = numbers(2, 3, 14, 15), numbers(4, 3, 3, 4)
    compiled = compile(lambda x, w: F.conv2d(x, w))
    found = compiled(cr.from_numpy(x), cr.from_numpy(w)).numpy()
    assert kernels(compiled, "convolve")
    assert compiled.stats().operations == 2 * 2 * 4 * 12 * 12 * 3 * 3 * 4
    for n, o in itertools.product(range(2), range(4)):
        wanted = sum(signal.correlate(x[n, c], w[o, c], mode="valid") for c in range(3))
        np.testing.assert_allclose(found[n, o], wanted, rtol=1e-12, atol=1e-12)


def test_gradients_are_finite_differences() -> None:
    x, w = numbers(2, 2, 9, 10), numbers(3, 2, 3, 3)
    weights = numbers(2, 3, 5, 5)

    def total(x: Any, w: Any) -> Any:
        return (cr.tanh(F.conv2d(x, w, stride=2, padding=1)) * cr.from_numpy(weights)).sum()

    def step(x: Any, w: Any) -> Any:
        x, w = x.detach().requires_grad_(), w.detach().requires_grad_()
        return cr.autograd.grad(total(x, w), (x, w))

    compiled = compile(step)
    found = compiled(cr.from_numpy(x), cr.from_numpy(w))
    assert kernels(compiled, "convolve", "convolve_input", "convolve_weight")
    for k, array in enumerate((x, w)):
        for place in random.integers(0, array.size, 12):
            ends = []
            for sign in (1, -1):
                moved = [x.copy(), w.copy()]
                moved[k].reshape(-1)[place] += sign * 1e-6
                ends.append(total(*map(cr.from_numpy, moved)).item())
            difference = (ends[0] - ends[1]) / 2e-6
            np.testing.assert_allclose(found[k].numpy().reshape(-1)[place], difference, rtol=1e-5, atol=1e-7)


def test_nan_and_infinity_go_where_they_belong() -> None:
    x, w = numbers(2, 2, 12, 16), numbers(3, 2, 3, 3)
    x[0, 1, 0, 15], x[1, 0, 5, 7] = np.inf, np.nan
    compiled = compile(lambda x, w: F.conv2d(x, w, padding=1))
    found = compiled(cr.from_numpy(x), cr.from_numpy(w)).numpy()
    assert kernels(compiled, "convolve")
    wanted = np.zeros((2, 3, 12, 16), bool)
    wanted[0, :, :2, 14:] = wanted[1, :, 4:7, 6:9] = True
    np.testing.assert_array_equal(~np.isfinite(found), wanted)
    g = np.ones((2, 3, 12, 16))
    g[0, 2, 11, 0] = -np.inf
    back = compile(lambda g, w: F.conv_transpose2d(g, w, padding=1))
    found = back(cr.from_numpy(g), cr.from_numpy(w)).numpy()
    assert kernels(back, "convolve_input")
    wanted = np.zeros((2, 2, 12, 16), bool)
    wanted[0, :, 10:, :2] = True
    np.testing.assert_array_equal(~np.isfinite(found), wanted)


INFINITE: dict[str, tuple[Any, ...]] = {  # shapes of an input and a weight, how, and where the weight is infinite
    "plain": ((2, 3, 12, 14), (5, 3, 3, 3), {}, (1, 2, 0, 0)),
    "padding": ((2, 3, 12, 14), (5, 3, 3, 3), {"padding": 1}, (1, 2, 0, 2)),
    "stride and dilation": ((2, 3, 13, 14), (5, 3, 3, 2), {"stride": (2, 3), "dilation": (1, 2)}, (4, 0, 2, 1)),
    "groups": ((2, 4, 12, 14), (6, 2, 3, 3), {"stride": 2, "padding": 1, "groups": 2}, (4, 1, 0, 0)),
}


@pytest.mark.filterwarnings("ignore:invalid value")  # of eager zeros times infinity, on other threads
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("setting", INFINITE, ids=str)
def test_an_infinite_weight_meets_no_zeros_beyond_the_result_on_the_way_back(setting: str, dtype: str) -> None:
    shape, weight, keywords, place = INFINITE[setting]
    x, w = numbers(*shape, dtype=dtype), numbers(*weight, dtype=dtype)
    w[place] = np.inf

    def gradient(x: Any, w: Any, g: Any) -> Any:
        return cr.autograd.grad(F.conv2d(x, w, **keywords), x, g)[0]

    leaf = cr.from_numpy(x).requires_grad_()
    with np.errstate(invalid="ignore"):
        g = numbers(*F.conv2d(leaf, cr.from_numpy(w), **keywords).shape, dtype=dtype)
    compiled = compile(gradient)
    found = compiled(leaf, cr.from_numpy(w), cr.from_numpy(g)).numpy()
    assert kernels(compiled, "convolve_input")
    stride, dilation = (np.broadcast_to(keywords.get(name, 1), 2) for name in ("stride", "dilation"))
    around, groups = keywords.get("padding", 0), keywords.get("groups", 1)
    wanted = np.zeros((shape[0], shape[1], shape[2] + 2 * around, shape[3] + 2 * around))
    for k in itertools.product(*map(range, weight[2:])):  # each place of the kernel meets every position of the result
        meets = tuple(
            slice(d * i, d * i + s * (n - 1) + 1, s)
            for d, i, s, n in zip(dilation, k, stride, g.shape[2:], strict=True)
        )
        for o, c in itertools.product(range(weight[0]), range(weight[1])):
            wanted[:, o // (weight[0] // groups) * weight[1] + c, *meets] += g[:, o] * w[o, c, *k]
    wanted = wanted[:, :, around : around + shape[2], around : around + shape[3]]
    assert np.isinf(wanted).any() and not np.isnan(wanted).any()
    np.testing.assert_allclose(found, wanted, rtol=1e-4 if dtype == "f4" else 1e-12, atol=1e-5)
    torch = pytest.importorskip("torch")
    given, theirs = torch.from_numpy(x).requires_grad_(), torch.from_numpy(w)
    out = torch.nn.functional.conv2d(given, theirs, **keywords)
    (expected,) = torch.autograd.grad(out, given, torch.from_numpy(g))
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_a_transposed_convolution_with_what_follows_keeps_an_infinite_weight_to_its_place() -> None:
    x, w, b = numbers(2, 3, 9, 10), numbers(3, 4, 3, 3), numbers(4)
    w[1, 2, 0, 2], w[0, 3, 1, 1] = -np.inf, np.nan

    def pooled(x: Any, w: Any, b: Any) -> Any:
        return F.max_pool2d(F.relu(F.conv_transpose2d(x, w, b, stride=2)), 2)

    with np.errstate(invalid="ignore"):
        compiled = agrees(pooled, x, w, b)
    assert kernels(compiled, "convolve_input_relu_max_pool")
    assert 0 < pooled(*map(cr.from_numpy, (x, w, b))).isnan().float().mean() < 0.3  # of one channel in four


# ----- what follows, and the maxima of windows ------------------------------------------------------------------------


def test_relu_and_maxima_are_part_of_the_convolutions_kernel() -> None:
    x, w, b = numbers(3, 2, 12, 14, dtype="f4"), numbers(5, 2, 3, 3, dtype="f4"), numbers(5, dtype="f4")
    compiled = agrees(lambda x, w, b: F.max_pool2d(F.relu(F.conv2d(x, w, b, padding=1)), 2), x, w, b)
    assert kernels(compiled, "convolve_relu_max_pool", "spread_maxima")
    assert "np.maximum" not in compiled.source


def test_a_relu_that_others_do_not_share_the_operand_of_is_taken_along() -> None:
    x, w = numbers(2, 2, 10, 10), numbers(3, 2, 3, 3)

    def both(x: Any, w: Any) -> Any:
        out = F.conv2d(x, w)
        return F.relu(out) + out.sum()

    compiled = agrees(both, x, w)
    assert "def convolve_kernel" in compiled.source and "convolve_relu" not in compiled.source


WINDOWS = {
    "odd sizes": ((2, 3, 9, 13), 2, {}),
    "thirds": ((2, 2, 9, 12), 3, {}),
    "dilated gaps": ((2, 2, 11, 13), 2, {"stride": 4, "dilation": 2}),
}


@pytest.mark.parametrize("setting", WINDOWS, ids=str)
def test_maxima_of_windows_are_those_of_eager(setting: str) -> None:
    shape, kernel, keywords = WINDOWS[setting]
    compiled = agrees(lambda x: F.max_pool2d(x, kernel, **keywords), numbers(*shape, dtype="f4"))
    assert kernels(compiled, "max_pool", "spread_maxima")


def test_maxima_in_one_and_three_dimensions_are_those_of_eager() -> None:
    assert kernels(agrees(lambda x: F.max_pool1d(x, 3), numbers(2, 3, 17)), "max_pool", "spread_maxima")
    compiled = agrees(lambda x: F.max_pool3d(x, (2, 1, 2)), numbers(2, 2, 4, 5, 8))
    assert kernels(compiled, "max_pool", "spread_maxima")


def test_overlapping_windows_have_a_kernel_for_their_maxima_alone() -> None:
    compiled = agrees(lambda x: F.max_pool2d(x, 3, 2), numbers(2, 3, 11, 12))
    assert "def max_pool_kernel" in compiled.source and "spread_maxima_kernel" not in compiled.source


def test_the_first_of_equal_maxima_and_the_last_nan_get_the_gradient() -> None:
    x = np.zeros((1, 1, 4, 6), "f4")
    x[0, 0, 0, 2] = x[0, 0, 1, 3] = np.nan
    x[0, 0, 2, 1] = x[0, 0, 3, 0] = 5
    x[0, 0, 3, 4] = -0.0
    x[0, 0, :2, 4:] = -np.inf

    def step(x: Any) -> Any:
        leaf = x.detach().requires_grad_()
        out = F.max_pool2d(leaf, 2)
        return out, cr.autograd.grad(out, leaf, cr.arange(1.0, 7.0).reshape(1, 1, 2, 3))[0]

    compiled = compile(step)
    out, grad = (found.detach().numpy() for found in compiled(cr.from_numpy(x)))
    assert kernels(compiled, "max_pool", "spread_maxima")
    np.testing.assert_array_equal(out[0, 0], [[0, np.nan, -np.inf], [5, 0, 0]])
    wanted = np.zeros((4, 6))
    wanted[0, 0], wanted[1, 3], wanted[0, 4], wanted[2, 1], wanted[2, 2], wanted[2, 4] = 1, 2, 3, 4, 5, 6
    np.testing.assert_array_equal(grad[0, 0], wanted)


# ----- what is left to NumPy ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (lambda x, w: F.conv2d(x, w), [(4, 3, 3, 3), (5, 3, 3, 3)]),
        (lambda x, w: F.conv1d(x.half(), w.half()).float(), [(2, 3, 20), (4, 3, 3)]),
        (lambda x: F.max_pool2d(x, 3, padding=1), [(2, 3, 9, 9)]),
        (lambda x: F.max_pool2d(x, 2, ceil_mode=True), [(2, 3, 9, 9)]),
        (lambda x: F.max_pool2d(x, 2), [(3, 8, 8)]),
    ],
    ids=["small result", "half precision", "padding", "ceil mode", "one sample"],
)
def test_what_kernels_do_not_cover_is_computed_all_the_same(function: Any, shapes: Any) -> None:
    agrees(function, *(numbers(*shape, dtype="f4") for shape in shapes))


def test_a_kernel_that_cannot_be_compiled_is_a_call_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    load = cache.load_kernels

    def failing(texts: Any) -> Any:
        return [
            cache.KernelError(text.name, "no") if "convolve" in text.name else found
            for text, found in zip(texts, load([text for text in texts]), strict=True)
        ]

    monkeypatch.setattr(compiling, "load_kernels", failing)
    x, w = numbers(2, 3, 10, 10), numbers(4, 3, 3, 3)
    with pytest.warns(UserWarning, match="_kernel cannot be compiled: no; NumPy computes it instead"):
        compiled = agrees(lambda x, w: F.conv2d(x, w), x, w)
    assert "from chainrule.ops.convolution import convolve" in compiled.source


# ----- training -------------------------------------------------------------------------------------------------------


def test_a_convolutional_net_trains_as_eager() -> None:
    def train(compiled: bool) -> Any:
        cr.manual_seed(0)
        layers = [nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, stride=2), nn.Flatten()]
        model = nn.Sequential(*layers, nn.Linear(54, 3)).double()
        optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        x, labels = cr.from_numpy(numbers(8, 1, 16, 16)), cr.arange(8) % 3

        def step() -> Any:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), labels)
            loss.backward()
            optimizer.step()
            return loss

        step = compile(step) if compiled else step
        losses = [step().item() for _ in range(30)]
        return losses, [parameter.detach().numpy().copy() for parameter in model.parameters()]

    global random
    found = []
    for compiled in (True, False):
        random = np.random.default_rng(1)
        found.append(train(compiled))
    (losses, parameters), (wanted, expected) = found
    assert wanted[-1] < wanted[0] / 2
    np.testing.assert_allclose(losses, wanted, rtol=1e-9)
    for one, other in zip(parameters, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-10)


# ----- the text, run by Python ----------------------------------------------------------------------------------------


class Memory:
    """What `memory` gives: nothing in it has a value yet, and nothing lies outside of it."""

    def __init__(self, count: int, kind: Any) -> None:
        self.numbers = np.zeros(count, kind)
        self.written = np.zeros(count, bool)

    def __getitem__(self, place: Any) -> Any:
        assert np.all(self.written[self.inside(place)])
        return self.numbers[place]

    def __setitem__(self, place: Any, value: Any) -> None:
        self.numbers[self.inside(place)] = value
        self.written[place] = True

    def inside(self, place: Any) -> Any:
        first, last = (place.start, place.stop - 1) if isinstance(place, slice) else (place, place)
        assert 0 <= first and last < len(self.numbers)
        return place


def in_python(lanes: Any) -> Any:
    """Kernels as Python functions that read and write only what is theirs; `lanes` gives the size of a vector."""
    living: list[Memory] = []

    def memory(count: int, kind: Any, *earlier: Memory) -> Memory:
        assert [*map(id, earlier)] == [*map(id, living)]  # which it gives back where there is no more
        living.append(Memory(count, kind))
        return living[-1]

    def slices(array: Any, first: int, count: int, step: int) -> Any:
        numbers = array.numbers if isinstance(array, Memory) else array
        starts = range(first, first + count * step, step) if step else [first]
        assert first >= 0 and starts[-1] + lanes(numbers.itemsize) <= numbers.size
        return [slice(start, start + lanes(numbers.itemsize)) for start in starts]

    def load(array: Any, first: int, count: int, step: int) -> Any:
        return np.stack([array[place] for place in slices(array, first, count, step)])

    def store(array: Any, first: int, vectors: Any, step: int) -> None:
        for place, vector in zip(slices(array, first, len(vectors), step), vectors, strict=True):
            array[place] = vector

    stand_ins = dict(
        memory=memory,
        free=living.remove,
        load=load,
        store=store,
        filled=lambda number, count: np.full((count, lanes(number.itemsize)), number),
        maximum_of=np.maximum,
        multiply_add=lambda x, y, z: x * y + z,
        int64=int,
    )

    def kernel(function: Any) -> Any:
        made = interpreted(function)
        run = FunctionType(made.__code__, made.__globals__ | stand_ins)

        def checked(*args: Any) -> None:
            run(*args)
            assert not living

        return checked

    return kernel


axis = st.tuples(
    *(st.integers(low, high) for low, high in ((1, 7), (1, 3), (1, 3), (0, 2), (1, 2)))
)  # size, kernel, stride, padding, dilation


@settings(max_examples=60, deadline=None)
@given(
    axes=st.lists(axis, min_size=1, max_size=3),
    groups=st.integers(1, 2),
    samples=st.integers(1, 2),
    channels=st.integers(1, 3),
    outputs=st.integers(1, 4),
    register=st.sampled_from([16, 32, 64]),
    transposed=st.booleans(),
    weight=st.sampled_from([1.0, 1.0, np.inf, np.nan]),
    dtype=st.sampled_from(["f4", "f8"]),
)
def test_the_text_stays_within_its_memory_and_reads_what_it_has_written(
    axes: Any,
    groups: int,
    samples: int,
    channels: int,
    outputs: int,
    register: int,
    transposed: bool,
    weight: float,
    dtype: str,
) -> None:
    size, kernel, stride, padding, dilation = zip(*axes, strict=True)
    reach = zip(size, kernel, stride, padding, dilation, strict=True)
    if transposed:
        fits = all((n - 1) * s - 2 * p + d * (k - 1) + 1 > 0 for n, k, s, p, d in reach)
    else:
        fits = all(n + 2 * p > d * (k - 1) for n, k, s, p, d in reach)
    if not fits:
        return
    shape = (channels * groups, outputs, *kernel) if transposed else (outputs * groups, channels, *kernel)
    functions = TRANSPOSED if transposed else CONVOLUTIONS
    keywords = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    x, w = numbers(samples, channels * groups, *size, dtype=dtype), numbers(*shape, dtype=dtype)
    b = numbers(outputs * groups, dtype=dtype)
    w.reshape(-1)[w.size // 2] = weight
    with np.errstate(invalid="ignore"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiling, "kernel", in_python(lambda itemsize: register // itemsize))
        patch.setattr(convolution, "register_bytes", lambda: register)
        patch.setattr(convolution, "register_count", lambda: 32 if register == 64 else 16)
        patch.setattr(layers, "MOST_WASTE", 1e9)
        compiled = agrees(lambda x, w, b: functions[len(size)](x, w, b, **keywords), x, w, b)
    assert "_kernel(" in compiled.source or "in_parts(" in compiled.source


window = st.tuples(
    *(st.integers(low, high) for low, high in ((1, 7), (1, 3), (1, 3), (1, 2)))
)  # size, kernel, stride, dilation


@settings(max_examples=60, deadline=None)
@given(
    axes=st.lists(window, min_size=1, max_size=3),
    samples=st.integers(1, 2),
    channels=st.integers(1, 2),
    register=st.sampled_from([8, 16, 64]),
)
def test_the_text_of_maxima_stays_within_its_memory(axes: Any, samples: int, channels: int, register: int) -> None:
    size, kernel, stride, dilation = zip(*axes, strict=True)
    if any(n < d * (k - 1) + 1 for n, k, _, d in axes):
        return
    pool = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[len(axes)]
    x = random.integers(0, 3, (samples, channels, *size)).astype("f4")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiling, "kernel", in_python(lambda itemsize: register // itemsize))
        patch.setattr(convolution, "register_bytes", lambda: register)
        agrees(lambda x: pool(x, kernel, stride, 0, dilation), x)
