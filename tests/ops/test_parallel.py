"""Samples shared out to threads: nothing lost, errors raised here, BLAS left as it was."""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn import functional as F
from chainrule.ops import parallel
from chainrule.ops.parallel import shared_out


class FakeBlas:
    """Counts what it is told; lends no threads."""

    run = 0

    def __init__(self, count: int) -> None:
        self.count = count
        self.told: list[int] = []

    def get(self) -> int:
        return self.count

    def put(self, count: int) -> None:
        self.count = count
        self.told.append(count)


@pytest.fixture
def blas(monkeypatch: pytest.MonkeyPatch) -> FakeBlas:
    fake = FakeBlas(3)
    monkeypatch.setattr(parallel, "openblas", lambda: fake)
    monkeypatch.setattr(parallel, "WORTH", 0)
    monkeypatch.setattr(parallel, "ALONE", -1)
    return fake


@pytest.mark.parametrize("samples", [0, 1, 2, 3, 10])
def test_every_sample_is_worked_on_once(blas: FakeBlas, samples: int) -> None:
    seen = np.zeros(samples, int)

    def work(part: slice) -> int:
        seen[part] += 1
        return part.stop - part.start

    counts = shared_out(work, samples, 1e9)
    assert sum(counts) == samples
    assert len(counts) == max(1, min(3, samples))
    np.testing.assert_array_equal(seen, 1)


def test_blas_keeps_to_one_thread_meanwhile_and_has_its_threads_back_afterwards(blas: FakeBlas) -> None:
    assert shared_out(lambda part: blas.get(), 6, 1e9) == [1, 1, 1]
    assert blas.told == [1, 3]


def test_the_parts_are_worked_on_at_the_same_time(blas: FakeBlas) -> None:
    barrier = threading.Barrier(3, timeout=30)
    shared_out(lambda part: barrier.wait(), 3, 1e9)  # raises BrokenBarrierError if they come one after another


def test_one_inside_another_restores_the_threads_once(blas: FakeBlas) -> None:
    def work(part: slice) -> list[int]:
        return shared_out(lambda inner: blas.get(), 1, 1e9)

    assert shared_out(work, 1, 1e9) == [[1]]
    assert blas.told == [1, 3]


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_an_error_in_any_part_is_raised_after_all_have_ended(blas: FakeBlas, failing: int) -> None:
    ended = []

    def work(part: slice) -> None:
        if part.start == failing:
            raise ValueError(f"sample {failing}")
        ended.append(part.start)

    with pytest.raises(ValueError, match=f"sample {failing}"):
        shared_out(work, 3, 1e9)
    assert sorted([*ended, failing]) == [0, 1, 2]
    assert blas.count == 3


def test_little_work_and_one_thread_stay_with_the_caller(blas: FakeBlas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "WORTH", 1000)
    assert shared_out(lambda part: threading.current_thread(), 6, 999) == [threading.current_thread()]
    blas.count = 1
    assert shared_out(lambda part: threading.current_thread(), 6, 1e9) == [threading.current_thread()]


def test_the_context_of_the_caller_holds_in_all_threads(blas: FakeBlas) -> None:
    with np.errstate(over="raise"):
        assert shared_out(lambda part: np.geterr()["over"], 3, 1e9) == ["raise"] * 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own(blas: FakeBlas) -> None:
    shared_out(lambda part: None, 3, 1e9)
    child = os.fork()
    if child == 0:
        os._exit(0 if len(shared_out(lambda part: None, 3, 1e9)) == 3 else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_convolutions_on_several_threads_give_what_they_give_on_one(
    blas: FakeBlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(shape) for shape in ((7, 4, 9, 8), (6, 2, 3, 3), (6,)))

    def results() -> list[Any]:
        leaves = [cr.from_numpy(a.copy()).requires_grad_() for a in (x, w, b)]
        out = F.conv2d(*leaves, padding=1, groups=2)
        (out * out).sum().backward()
        return [out.detach().numpy(), *(leaf.grad.numpy() for leaf in leaves)]

    shared = results()
    assert blas.told
    monkeypatch.setattr(parallel, "openblas", lambda: None)
    for got, expected in zip(shared, results(), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


def test_the_real_blas_is_told_and_asked() -> None:
    found = parallel.openblas()
    if found is None:
        pytest.skip("this NumPy was not built on OpenBLAS")
    before = found.get()
    assert before >= 1
    found.put(1)
    try:
        assert found.get() == 1
    finally:
        found.put(before)
    assert found.get() == before
