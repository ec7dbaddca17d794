"""Kernels in eager operations: the same numbers as NumPy's, where they are used and where they are not."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import chainrule as cr
import chainrule.nn.functional as F
from chainrule import nn
from chainrule.ops import kernels
from tests.duck import DuckArray

needs_numba = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="kernels need Numba")
random = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def used_for_any_work(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(kernels, "LARGE", 0)
    for name in ("CHAINRULE_COMPILE", "CHAINRULE_KERNELS"):
        monkeypatch.delenv(name, raising=False)
    kernels._module.cache_clear()
    yield
    kernels._module.cache_clear()


def numbers(*shape: int, dtype: Any = "f4") -> Any:
    return random.normal(size=shape).astype(dtype)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the kernels that run."""
    from chainrule.compiler import eager

    names: list[str] = []
    run = eager.in_parts

    def noting(function: Any, *args: Any, **kwargs: Any) -> None:
        names.append(function.__name__)
        run(function, *args, **kwargs)

    monkeypatch.setattr(eager, "in_parts", noting)
    return names


def arrays_and_gradients(function: Any, arrays: list[Any]) -> list[Any]:
    """The results of a function of tensors, and the gradients of a sum of them."""
    given = [cr.from_numpy(a.copy()).requires_grad_() for a in arrays]
    results = function(*given)
    results = list(results) if isinstance(results, tuple) else [results]
    total = sum((cr.sin(result) * (k + 1)).sum() for k, result in enumerate(results))
    grads = cr.autograd.grad(total, given)
    return [np.array(t.detach().numpy()) for t in (*results, *grads)]


def assert_same_as_numpys(function: Any, arrays: list[Any], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Results and gradients with kernels, which are those without."""
    found = arrays_and_gradients(function, arrays)
    with monkeypatch.context() as patch:
        patch.setenv("CHAINRULE_KERNELS", "0")
        wanted = arrays_and_gradients(function, arrays)
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        tolerance = 1e-4 if a.dtype == np.float32 else 1e-11
        cancelled = 4 * np.finfo(a.dtype).eps * max(np.abs(given).max(initial=0) for given in arrays)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(b).max(initial=0) + cancelled)
    return found


# ----- LSTM -----


def lstm(size: int, reverse: bool, bias: bool) -> Any:
    """A layer as a function of its input, states and weights."""
    from chainrule.ops.recurrent import lstm_layer

    def function(x: Any, h: Any, c: Any, w_ih: Any, w_hh: Any, *biases: Any) -> Any:
        weights = [w_ih, w_hh, *(biases or (None, None)), None]
        out, (h, c) = lstm_layer(x, (h, c), weights, (x.shape[1],) * x.shape[0], reverse)
        return out, h, c

    return function


def lstm_arrays(length: int, columns: int, features: int, size: int, bias: bool, dtype: Any = "f4") -> list[Any]:
    shapes = [(length, columns, features), (columns, size), (columns, size), (4 * size, features), (4 * size, size)]
    return [numbers(*shape, dtype=dtype) * 0.5 for shape in shapes + [(4 * size,)] * 2 * bias]


@needs_numba
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(
    ("sizes", "reverse", "bias"),
    [((1, 1, 1, 1), False, True), ((4, 9, 3, 10), True, True), ((7, 17, 5, 33), False, False), ((3, 8, 2, 16), 0, 1)],
)
def test_an_lstm_by_kernels_is_that_of_numpy(
    sizes: Any, reverse: bool, bias: bool, dtype: str, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = lstm_arrays(*sizes, bias, dtype)
    assert_same_as_numpys(lstm(sizes[-1], bool(reverse), bias), arrays, monkeypatch)
    assert calls == ["lstm_walk", "lstm_walk_back"]


@needs_numba
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_lstm_by_kernels_is_pytorchs(dtype: str, calls: list[str]) -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.nn.LSTM(5, 11, num_layers=2, bidirectional=True, dtype=getattr(torch, dtype))
    ours = nn.LSTM(5, 11, num_layers=2, bidirectional=True, dtype=getattr(cr, dtype))
    ours.load_state_dict({key: cr.from_numpy(value.numpy().copy()) for key, value in theirs.state_dict().items()})
    arrays = [numbers(6, 10, 5, dtype=dtype), numbers(4, 10, 11, dtype=dtype), numbers(4, 10, 11, dtype=dtype)]
    found = []
    for library, module in ((torch, theirs), (cr, ours)):
        x, h, c = (library.from_numpy(a.copy()).requires_grad_() for a in arrays)
        out, (last, cell) = module(x, (h, c))
        ((out * out).sum() + (last**3).sum() + cell.sin().sum()).backward()
        grads = [t.grad for t in (x, h, c, *module.parameters())]
        found.append([t.detach().numpy() for t in (out, last, cell, *grads)])
    for a, b in zip(*found, strict=True):
        tolerance = 1e-4 if dtype == "float32" else 1e-11
        np.testing.assert_allclose(b, a, rtol=tolerance, atol=tolerance * np.abs(a).max())
    assert len(calls) == 8


@needs_numba
def test_gradients_of_an_lstm_by_kernels_are_finite_differences() -> None:
    arrays, function = lstm_arrays(3, 2, 2, 5, True, "f8"), lstm(5, False, True)
    found = arrays_and_gradients(function, arrays)[3:]

    def total() -> float:
        with cr.no_grad():
            results = function(*map(cr.from_numpy, arrays))
        return float(sum((np.sin(result.numpy()) * (k + 1)).sum() for k, result in enumerate(results)))

    for array, gradient in zip(arrays, found, strict=True):
        for place in random.integers(0, array.size, 4):
            ends = []
            for step in (1e-6, -2e-6):
                array.reshape(-1)[place] += step
                ends.append(total())
            array.reshape(-1)[place] += 1e-6
            np.testing.assert_allclose(gradient.reshape(-1)[place], (ends[0] - ends[1]) / 2e-6, rtol=1e-6, atol=1e-8)


@needs_numba
def test_a_sequence_does_not_see_the_others_not_even_their_nan(calls: list[str]) -> None:
    arrays, function = lstm_arrays(4, 10, 3, 6, True), lstm(6, False, True)
    clean = arrays_and_gradients(function, arrays)
    arrays[0][1, 3, 2], arrays[2][7, 0] = np.nan, np.inf
    out = arrays_and_gradients(function, arrays)[0]
    others = [n for n in range(10) if n not in (3, 7)]
    np.testing.assert_array_equal(out[:, others], clean[0][:, others])
    assert np.isnan(out[1:, 3]).any() and calls


@needs_numba
def test_second_derivatives_of_an_lstm_by_kernels_are_those_of_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays, function = lstm_arrays(3, 4, 2, 5, True, "f8"), lstm(5, False, True)

    def norm(*given: Any) -> Any:
        grads = cr.autograd.grad(sum(t.sin().sum() for t in function(*given)), given, create_graph=True)
        return tuple(grads)

    assert_same_as_numpys(norm, arrays, monkeypatch)


@needs_numba
def test_a_graph_that_is_retained_goes_back_twice_alike() -> None:
    arrays, function = lstm_arrays(3, 4, 2, 5, True), lstm(5, True, True)
    given = [cr.from_numpy(a).requires_grad_() for a in arrays]
    total = function(*given)[0].sum()
    first, second = (cr.autograd.grad(total, given, retain_graph=True) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


# ----- convolutions and poolings -----

CONVOLUTION = {"stride": 2, "padding": 1, "groups": 2}


@needs_numba
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_convolution_by_kernels_is_that_of_numpy(
    dtype: str, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = [numbers(3, 4, 15, 17, dtype=dtype), numbers(6, 2, 3, 3, dtype=dtype), numbers(6, dtype=dtype)]
    assert_same_as_numpys(lambda x, w, b: F.conv2d(x, w, b, **CONVOLUTION), arrays, monkeypatch)
    assert sorted(calls) == ["convolve_input_kernel", "convolve_kernel", "convolve_weight_kernel"]


@needs_numba
def test_a_transposed_convolution_by_kernels_is_that_of_numpy(
    calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = [numbers(3, 4, 21), numbers(4, 3, 3), numbers(3)]
    assert_same_as_numpys(lambda x, w, b: F.conv_transpose1d(x, w, b, stride=2), arrays, monkeypatch)
    assert len(calls) == 3


@needs_numba
def test_arrays_whose_elements_are_not_side_by_side_are_put_in_order(
    calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = [numbers(12, 14, 3, 2), numbers(4, 3, 6, 3)]
    function = lambda x, w: F.conv2d(x.permute(3, 2, 0, 1), w[:, :, ::2], padding=1)  # noqa: E731
    assert_same_as_numpys(function, arrays, monkeypatch)
    assert len(calls) == 3


@needs_numba
def test_a_batch_of_another_size_compiles_nothing(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from chainrule.compiler.kernels import cache

    def step(samples: int) -> None:
        arrays = [numbers(samples, 4, 15, 17), numbers(6, 2, 3, 3)]
        assert_same_as_numpys(lambda x, w: F.max_pool2d(F.conv2d(x, w, **CONVOLUTION), 2), arrays, monkeypatch)
        assert_same_as_numpys(lstm(10, False, True), lstm_arrays(4, samples, 3, 10, True), monkeypatch)

    step(4)
    calls.clear()

    def compile_all(jobs: Any) -> Any:
        raise AssertionError(f"{[job[1] for job in jobs]} would be compiled")

    monkeypatch.setattr(cache, "compile_all", compile_all)
    for samples in (1, 3, 7):
        step(samples)
    assert len(calls) == 3 * (3 + 2 + 2)


@needs_numba
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_maxima_by_kernels_are_those_of_numpy(dtype: str, calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.round(numbers(3, 2, 9, 12, dtype=dtype))
    found = assert_same_as_numpys(lambda x: F.max_pool2d(x, 2), [x], monkeypatch)
    np.testing.assert_array_equal(found[0], x[:, :, :8].reshape(3, 2, 4, 2, 6, 2).max(axis=(3, 5)))
    assert calls == ["max_pool_kernel", "spread_maxima_kernel"]


@needs_numba
def test_layers_of_many_sizes_of_images_are_left_to_numpy_after_a_few(
    calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from chainrule.compiler import eager

    monkeypatch.setattr(eager, "SIZES", 1)
    monkeypatch.setattr(eager, "families", {})
    eager.text_for.cache_clear()
    eager.layer_for.cache_clear()
    w = numbers(5, 3, 3)
    for length, kernel in ((24, True), (25, False), (24, True), (26, False)):
        calls.clear()
        with cr.no_grad():
            F.conv1d(cr.from_numpy(numbers(2, 3, length)), cr.from_numpy(w))
        assert bool(calls) == kernel
    eager.text_for.cache_clear()
    eager.layer_for.cache_clear()


def conv_of(x: Any, w: Any, padding: int = 1) -> Any:
    """A convolution and its gradient for the weight, given ones."""
    w = cr.from_numpy(w).requires_grad_()
    out = F.conv2d(cr.from_numpy(x), w, padding=padding)
    return cr.autograd.grad(out, w, cr.ones_like(out))[0].numpy()


@pytest.mark.parametrize("switch", ["0", pytest.param("1", marks=needs_numba)], ids=["numpy", "kernels"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_an_infinite_element_reaches_the_weights_that_meet_it_and_no_others(
    dtype: str, switch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAINRULE_KERNELS", switch)
    x, w = numbers(2, 3, 8, 9, dtype=dtype), numbers(4, 3, 3, 3, dtype=dtype)
    clean = conv_of(x, w)
    x[0, 1, 0, 8] = np.inf
    with np.errstate(invalid="ignore"):
        found = conv_of(x, w)
    met = np.zeros_like(w, bool)
    met[:, 1, :2, 1:] = True
    np.testing.assert_array_equal(np.isposinf(found), met)
    np.testing.assert_allclose(found[~met], clean[~met], rtol=1e-4)


def test_pytorch_draws_the_same_line() -> None:
    torch = pytest.importorskip("torch")
    x, w = numbers(2, 3, 8, 9), numbers(4, 3, 3, 3)
    x[0, 1, 0, 8] = np.inf
    theirs = torch.from_numpy(w).requires_grad_()
    out = torch.nn.functional.conv2d(torch.from_numpy(x), theirs, padding=1)
    (wanted,) = torch.autograd.grad(out, theirs, torch.ones_like(out))
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(np.isposinf(wanted.numpy()), np.isposinf(conv_of(x, w)))


# ----- where there are none -----


def programs() -> list[Any]:
    """Functions of arrays that would use kernels."""
    w, v = numbers(6, 2, 3, 3), numbers(4, 3, 3)
    walk = lstm(10, False, True)
    arrays = lstm_arrays(4, 9, 3, 10, True)
    return [
        lambda: F.conv2d(cr.from_numpy(numbers(3, 4, 15, 17)), cr.from_numpy(w), **CONVOLUTION),
        lambda: F.conv_transpose1d(cr.from_numpy(numbers(3, 4, 21)), cr.from_numpy(v), stride=2),
        lambda: F.max_pool2d(cr.from_numpy(numbers(3, 2, 9, 12)), 2),
        lambda: walk(*map(cr.from_numpy, arrays))[0],
    ]


@pytest.mark.parametrize("variable", ["CHAINRULE_COMPILE", "CHAINRULE_KERNELS"])
def test_the_switches_that_turn_the_compiler_off_turn_kernels_off(
    variable: str, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "0")
    for program in programs():
        program()
    assert not calls


def test_without_numba_everything_is_numpys(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "numba" else find(name, *rest))
    for program in programs():
        program()
    assert not calls and kernels._module() is None


@needs_numba
def test_a_kernel_that_cannot_be_compiled_is_numpys_work_with_one_warning(
    calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from chainrule.compiler import eager
    from chainrule.compiler.kernels.cache import KernelError

    monkeypatch.setattr(eager, "load_kernels", lambda texts: [KernelError(text.name, "no") for text in texts])
    cached = (eager.layer_for, eager.text_for, eager.lstm)
    for function in cached:
        function.cache_clear()
    for program, words in zip(programs(), ("convolution", "convolution", "pooling", "LSTM"), strict=True):
        with pytest.warns(UserWarning, match=f"_?(kernel|walk) cannot be compiled: no; NumPy computes an? {words}"):
            program()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            program()
    assert not calls
    for function in cached:
        function.cache_clear()


@pytest.mark.parametrize("dtype", ["f2", "c8", ">f4"])
def test_other_types_of_numbers_are_left_to_numpy(dtype: str, calls: list[str]) -> None:
    from chainrule.ops.convolution import convolve

    settings: Any = {"size": (15, 17), "stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1)}
    x, w = numbers(3, 4, 15, 17, dtype=dtype), numbers(6, 4, 3, 3, dtype=dtype)
    found = convolve(x, w, **settings)
    wanted = convolve(x.astype("c16"), w.astype("c16"), **settings)
    np.testing.assert_allclose(found, wanted, rtol=0.02, atol=0.05)
    assert not calls


def test_other_arrays_are_left_to_their_own_functions(calls: list[str]) -> None:
    from chainrule.ops.convolution import convolve

    settings: Any = {"size": (15, 17), "stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1)}
    x, w = numbers(3, 4, 15, 17), numbers(6, 4, 3, 3)
    found = convolve(DuckArray(x), DuckArray(w), **settings)
    assert type(found) is DuckArray and not calls


@needs_numba
def test_a_trace_records_the_operation_and_no_kernel_runs_meanwhile(calls: list[str]) -> None:
    x, w = cr.from_numpy(numbers(3, 4, 15, 17)), cr.from_numpy(numbers(6, 2, 3, 3))
    compiled = cr.compile(lambda x, w: F.conv2d(x, w, **CONVOLUTION))
    found = compiled(x, w).numpy()
    assert not calls and "def convolve_kernel" in compiled.source
    np.testing.assert_allclose(found, F.conv2d(x, w, **CONVOLUTION).numpy(), rtol=1e-4, atol=1e-5)
    assert calls == ["convolve_kernel"]


def test_small_programs_import_no_compiler() -> None:
    script = """
import sys
import time
import chainrule as cr
import chainrule.nn.functional as F
model, lstm = cr.nn.Conv2d(1, 6, 5, padding=2), cr.nn.LSTM(8, 16)
F.max_pool2d(model(cr.randn(8, 1, 28, 28)), 2).sum().backward()
lstm(cr.randn(20, 8, 8))[0].sum().backward()
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"numba", "llvmlite"}))
print(*(name for name in sys.modules if name.startswith("chainrule.compiler")))
"""
    assert (
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split() == []
    )


# ----- threads -----


@needs_numba
def test_as_many_threads_as_set_num_threads_says_take_part(monkeypatch: pytest.MonkeyPatch) -> None:
    from chainrule.compiler import eager

    seen = []
    run = eager.in_parts

    def noting(*args: Any, **kwargs: Any) -> None:
        seen.append(args[4] if len(args) > 4 else kwargs["threads"])
        run(*args, **kwargs)

    monkeypatch.setattr(eager, "in_parts", noting)
    before = cr.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            cr.set_num_threads(count)
            random = np.random.default_rng(1)
            x, w = (cr.from_numpy(random.normal(size=s).astype("f4")) for s in ((5, 4, 15, 17), (6, 2, 3, 3)))
            results.append(F.conv2d(x, w, **CONVOLUTION).numpy())
    finally:
        cr.set_num_threads(before)
    assert seen == [1, 2, 3]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


SUM_OF = """
def sum_of(first, last, x, out):
    for i in range(first, last):
        if x[i] < 0:
            raise IndexError("a number is negative")
        out[0] += x[i]
"""


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A kernel that adds numbers up, and how often a kernel was run on BLAS's threads and on our own."""
    from chainrule.compiler.kernels import cache, compiling, kinds, loading

    line = kinds.float64[::1]
    kernel = cache.load_kernel(SUM_OF, "sum_of", (kinds.uint64, kinds.uint64, kinds.given(line), line))
    counts = {"blas": 0, "own": 0}
    on_blas, at_once = loading.in_parts_of[kernel], compiling.at_once

    def counted(where: str, function: Any) -> Any:
        def run(*args: Any) -> None:
            counts[where] += 1
            function(*args)

        return run

    monkeypatch.setitem(compiling.in_parts_of, kernel, counted("blas", on_blas))
    monkeypatch.setattr(compiling, "at_once", counted("own", at_once))
    return kernel, counts


def lends_threads() -> bool:
    from chainrule.blas import libraries

    return any(blas.run and blas.workers() >= 2 for blas in libraries()[:1])


@needs_numba
@pytest.mark.parametrize("lent", [True, False])
def test_parts_run_on_the_threads_of_blas_where_it_lends_them(
    lent: bool, parts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from chainrule.compiler.kernels import compiling

    kernel, counts = parts
    if not lent:
        monkeypatch.setattr(compiling, "libraries", lambda: [])
    x, out = np.arange(1000.0), np.zeros(1)
    compiling.in_parts(kernel, 1000, (x, out), ((1, np.add),), 2)
    assert out[0] == x.sum()
    assert counts == ({"blas": 1, "own": 0} if lent and lends_threads() else {"blas": 0, "own": 1})


@needs_numba
@pytest.mark.parametrize("place", [0, 999])
def test_an_error_in_any_part_of_machine_code_is_raised(place: int, parts: Any) -> None:
    from chainrule.compiler.kernels import compiling

    kernel, _ = parts
    x, out = np.arange(1000.0), np.zeros(1)
    x[place] = -1
    with pytest.raises(IndexError, match="a number is negative"):
        compiling.in_parts(kernel, 1000, (x, out), ((1, np.add),), 2)
    with pytest.raises(TypeError, match="argument 3 of a kernel must be an array"):
        compiling.in_parts(kernel, 1000, (x[::2], out), (), 2)
    x[place] = 0
    out[:] = 0
    compiling.in_parts(kernel, 1000, (x, out), ((1, np.add),), 2)
    assert out[0] == x.sum()


CONVOLUTION_IN = """
import chainrule as cr
import chainrule.nn.functional as F
cr.set_num_threads(2)
"""
FORKED = """
import os
x, w = cr.randn(16, 16, 32, 32), cr.randn(32, 16, 3, 3)
wanted = F.conv2d(x, w).numpy()
child = os.fork()
if not child:
    os._exit(0 if (F.conv2d(x, w).numpy() == wanted).all() else 1)
assert os.waitpid(child, 0)[1] == 0
"""
FULL = """
import resource
import numpy as np
x, w = cr.zeros(2, 1024, 64, 500), cr.zeros(4, 1024, 3, 3)
with cr.no_grad():
    out = F.conv2d(x, w)
    pages = int(open("/proc/self/statm").read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (32 << 20), -1))
    taken = []
    try:
        while True:
            taken.append(np.empty(16 << 20, np.uint8))
    except MemoryError:
        pass
    try:
        F.conv2d(x, w)
    except MemoryError as error:
        assert "for a kernel" in str(error), error
    else:
        raise AssertionError("there was memory")
    taken.clear()
    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
    assert (F.conv2d(x, w).numpy() == out.numpy()).all()
"""
GIVEN_BACK = """
cr.set_num_threads(1)
import resource
import numpy as np
x, w = cr.zeros(1, 8, 600, 600), cr.zeros(8, 8, 3, 3)
with cr.no_grad():
    F.conv2d(x, w)
    room = np.empty(26 << 20, np.uint8)  # for the result and the padded images, and no more
    pages = int(open("/proc/self/statm").read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (1 << 20), -1))
    taken = []
    for size in (1 << 20, 1 << 16):
        try:
            while True:
                taken.append(np.empty(size, np.uint8))
        except MemoryError:
            pass
    del room
    for _ in range(3):
        try:
            F.conv2d(x, w)
        except MemoryError as error:
            assert "for a kernel" in str(error), error
        else:
            raise AssertionError("there was memory")
        np.empty(25 << 20, np.uint8)  # which nobody else holds
"""


@needs_numba
@pytest.mark.skipif(sys.platform != "linux", reason="these are ways of Linux")
@pytest.mark.parametrize("script", [FORKED, FULL, GIVEN_BACK], ids=["fork", "memory", "memory given back"])
def test_kernels_survive(script: str) -> None:
    """A fork, whose child has none of the threads; and that no memory is left, which is a MemoryError.

    What a kernel had taken by then is free again.
    """
    subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", CONVOLUTION_IN + script], check=True)


class Screen(io.StringIO):
    """A stream that may be a terminal."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize(
    ("terminal", "patience", "told"), [(True, 0.0, True), (False, 0.0, False), (True, 60.0, False)]
)
def test_a_terminal_is_told_what_takes_so_long(
    terminal: bool, patience: float, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from chainrule.compiler import eager

    screen = Screen(terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(eager, "PATIENCE", patience)

    with eager.announced("a convolution"):
        for _ in range(1000 if told else 1):  # until the line is there
            if screen.getvalue():
                break
            time.sleep(0.01)
    line = "chainrule: compiling kernels for a convolution; they are kept for other runs\n"
    assert screen.getvalue() == (line if told else "")


def test_without_a_stream_for_errors_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from chainrule.compiler import eager

    monkeypatch.setattr(sys, "stderr", None)
    with eager.announced("a convolution"):
        pass
