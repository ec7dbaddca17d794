"""Values live in memory that others take later, and that inputs have: no value is lost by that."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
import chainrule.nn.functional as F
from chainrule.compiler import compile

pytestmark = pytest.mark.usefixtures("numpy_only")
random = np.random.default_rng(0)


def agrees(function: Any, *arrays: Any) -> None:
    """Assert that results, and what was written to the arguments, are eager's, also when the program has run again."""
    given, eager = ([cr.from_numpy(array.copy()) for array in arrays] for _ in range(2))
    compiled = compile(function)
    found, expected = [], []
    for _ in range(3):
        for program, tensors, results in ((compiled, given, found), (function, eager, expected)):
            result = program(*tensors)
            results += result if isinstance(result, tuple) else [] if result is None else [result]
    assert compiled.traces == 1
    for x, y in zip([*found, *given], [*expected, *eager], strict=True):
        assert (x.shape, x.dtype) == (y.shape, y.dtype)
        np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-10, atol=1e-12)


def numbers(*shape: int) -> Any:
    return random.uniform(0.1, 1, size=shape)


# ----- views keep their array's memory -----

VIEWS: dict[str, Any] = {
    "windows": lambda y: np.lib.stride_tricks.sliding_window_view(y, 3, 0)[:, :, 1],
    "other type": lambda y: y.view(cr.int64) // 1000,
    "turned round": np.fliplr,
    "upside down": np.flipud,
    "more axes": np.atleast_3d,
    "diagonal": np.diag,
    "last part": lambda y: np.hsplit(y, 2)[1],
    "transposed": np.linalg.matrix_transpose,
    "spread beside another": lambda y: np.broadcast_arrays(np.ones((2, 1, 1)), y)[1],
    "second of two": lambda y: np.atleast_1d(np.ones(3), y)[1],
    "reshaped": lambda y: y.reshape(50, 2, -1)[:, 1],
    "slice": lambda y: y[3:, ::2],
    "spread": lambda y: np.broadcast_to(y, (2, *y.shape)),
    "axes moved": lambda y: np.moveaxis(y, 0, 1),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_an_array_stays_as_long_as_views_of_it_are_read(view: Any) -> None:
    def read(x: Any) -> Any:
        early = view(x * 2)
        late = np.exp(np.tanh(x + 1))
        return early + early, late * 1

    agrees(read, numbers(100, 100))


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_view_that_is_returned_has_memory_of_its_own(view: Any) -> None:
    agrees(lambda x: view(x * 2), numbers(100, 100))


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_functions_of_numpy_arrays_may_use_views(view: Any) -> None:
    def read(x: Any) -> Any:
        early = view(x * 2)
        late = np.exp(np.tanh(x + 1))
        return early + early, late * 1, view(late)

    x = numbers(100, 100)
    compiled = compile(read)
    found = compiled(x)
    compiled(x + 1)
    for got, expected in zip(found, read(x), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12)


# ----- results in the memory of an input -----

WRITES: dict[str, Any] = {
    "element by element": lambda w, v: w * 2 + v,
    "transposed": lambda w, v: w.T + 1,
    "both ways": lambda w, v: w + w.T,
    "a multiple of the transposed": lambda w, v: v + w.T * 0.1,
    "transposed and a multiple": lambda w, v: w.T + v * 0.1,
    "product": lambda w, v: w @ w,
    "product with another": lambda w, v: v @ w,
    "upside down": lambda w, v: w.flip(0) * 1,
    "maximum": lambda w, v: cr.maximum(w.flip(1), w),
    "relu of the transposed": lambda w, v: F.relu(w.T - 0.5),
    "softmax of the transposed": lambda w, v: F.softmax(w.T, -1),
    "softmax": lambda w, v: F.softmax(w, -1),
    "softmax of columns": lambda w, v: F.softmax(w, 0),
    "rolled": lambda w, v: cr.cat([w[1:], w[:1]]),
    "rows": lambda w, v: w[cr.arange(63, -1, -1)],
    "sums": lambda w, v: w.cumsum(0),
    "spread row": lambda w, v: w[:1].expand(64, 64) * v,
    "less its rows": lambda w, v: w - w[5],
    "less its mean": lambda w, v: w - w.mean(0),
    "masked": lambda w, v: cr.where(w.T > 0.5, w, 0.0),
    "another type": lambda w, v: (w > 0.5).to(w.dtype),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_an_input_is_written_to_when_it_has_been_read(write: Any) -> None:
    def update(w: Any, v: Any) -> None:
        w.copy_(write(w, v))

    agrees(update, numbers(64, 64), numbers(64, 64))


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_result_that_is_also_written_to_an_input_has_memory_of_its_own(write: Any) -> None:
    def update(w: Any, v: Any) -> Any:
        out = write(w, v)
        w.copy_(out)
        return out

    agrees(update, numbers(64, 64), numbers(64, 64))


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_an_input_is_not_written_to_before_its_old_value_is_read(write: Any) -> None:
    def update(w: Any, v: Any) -> Any:
        old = w.T
        new = write(w, v)
        out = (new.tanh() * 0.1 + old.clone()).tanh()
        w.copy_(new)
        return out

    agrees(update, numbers(64, 64), numbers(64, 64))


def test_one_value_is_written_to_several_inputs() -> None:
    def update(w: Any, v: Any) -> None:
        new = w * v
        w.copy_(new)
        v.copy_(new)

    agrees(update, numbers(64, 64), numbers(64, 64))


def test_a_value_that_was_written_to_an_input_may_be_changed() -> None:
    def update(w: Any, v: Any) -> Any:
        new = w * v
        w.copy_(new)
        new[3] = 5.0
        return new.sum(0)

    agrees(update, numbers(64, 64), numbers(64, 64))


def test_a_part_of_an_array_is_changed_only_where_nobody_reads_the_old_values() -> None:
    def update(x: Any, i: Any) -> Any:
        first = x * 2
        second = first.clone()
        second[3] = 5.0
        third = second.T.clone()
        third[i] = 7.0
        turned = third.T
        third[0] = turned.clone()[5]
        fourth = x.clone()
        fourth[1] = 0.0
        fifth = cr.exp(x)
        sixth = fifth.clone()
        sixth[2] = 1.0
        return first, second.sum(0), third, fourth, sixth * fifth

    agrees(update, numbers(64, 64), np.array([5, 9]))


def test_results_that_are_parts_of_one_array_do_not_change_with_the_next_call() -> None:
    def parts(x: Any) -> Any:
        whole = x * 2
        return whole[:10], whole.T, x[:5], x, whole.reshape(-1)

    agrees(parts, numbers(64, 64))


def test_memory_is_used_again_by_values_of_the_same_size() -> None:
    def chain(x: Any, w: Any) -> Any:
        one = x @ w
        two = one.T @ x
        three = (two + one).sin()
        four = three @ one
        five = four.cumsum(0) + two.T
        return (five * four).sum(0) + three.amax(1), five @ w

    agrees(chain, numbers(64, 64), numbers(64, 64))
