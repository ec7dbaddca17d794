"""Samples shared out to threads: nothing lost, errors raised here, BLAS left as it was."""

from __future__ import annotations

import ctypes
import os
import threading
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn import functional as F
from chainrule.ops import parallel
from chainrule.ops.parallel import shared_out

JOB = ctypes.CFUNCTYPE(None, ctypes.c_size_t)
RUN = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, JOB, ctypes.c_void_p, ctypes.c_int)
kept: list[Any] = []  # C has the addresses of these


class FakeBlas:
    """Counts what it is told; lends no threads, or as many as it has."""

    def __init__(self, count: int, lends: bool) -> None:
        self.count = self.all = count
        self.told: list[int] = []
        self.lent: list[int] = []
        kept.append(RUN(self.call))
        self.run = ctypes.cast(kept[-1], ctypes.c_void_p).value if lends else 0

    def workers(self) -> int:
        return self.all

    def call(self, count: int, function: Any, arguments: int | None, step: int) -> int:
        """As OpenBLAS does it: on the caller's thread, and on others."""
        self.lent.append(count)
        jobs = [(arguments or 0) + i * step for i in range(count)]
        threads = [threading.Thread(target=function, args=(job,)) for job in jobs[1:]]
        for thread in threads:
            thread.start()
        function(jobs[0])
        for thread in threads:
            thread.join()
        return 0

    def get(self) -> int:
        return self.count

    def put(self, count: int) -> None:
        self.count = count
        self.told.append(count)


@pytest.fixture(params=["threads of our own", "threads of BLAS"])
def blas(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> FakeBlas:
    fake = FakeBlas(3, request.param == "threads of BLAS")
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


def test_the_threads_are_blass_where_it_lends_enough(blas: FakeBlas) -> None:
    shared_out(lambda part: None, 3, 1e9)
    assert blas.lent == ([3] if blas.run else [])
    blas.all = 2
    shared_out(lambda part: None, 3, 1e9)
    assert blas.lent == ([3] if blas.run else [])


def test_several_callers_at_once_each_get_their_own_results(blas: FakeBlas) -> None:
    barrier = threading.Barrier(2, timeout=30)
    found: dict[str, list[Any]] = {}

    def call(name: str) -> None:
        def work(part: slice) -> tuple[str, int]:
            if part.start == 0:
                barrier.wait()  # for the other caller
            return name, part.start

        found[name] = shared_out(work, 3, 1e9)

    callers = [threading.Thread(target=call, args=(name,)) for name in "ab"]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert found == {name: [(name, 0), (name, 1), (name, 2)] for name in "ab"}
    assert len(blas.lent) == bool(blas.run)  # the other one has threads of our own
    assert blas.told == [1, 3]


def test_one_inside_another_restores_the_threads_once(blas: FakeBlas) -> None:
    def work(part: slice) -> list[int]:
        return shared_out(lambda inner: blas.get(), 1, 1e9)

    assert shared_out(work, 1, 1e9) == [[1]]
    assert blas.told == [1, 3]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("failing", [0, 1, 2])
def test_an_error_in_any_part_is_raised_after_all_have_ended(
    blas: FakeBlas, failing: int, error: type[BaseException]
) -> None:
    ended = []

    def work(part: slice) -> None:
        if part.start == failing:
            raise error(f"sample {failing}")
        ended.append(part.start)

    with pytest.raises(error, match=f"sample {failing}"):
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_waits_for_the_threads_that_blas_has_lent() -> None:
    end = threading.Event()

    def work(part: slice) -> int:
        return sum(range(20_000))  # with Python's lock

    def work_on() -> None:
        while not end.is_set():
            shared_out(work, 8, 1e9)

    other = threading.Thread(target=work_on)
    other.start()
    try:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                os._exit(0 if shared_out(work, 8, 1e9) else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        end.set()
        other.join()


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


def test_a_job_that_was_cut_off_before_it_began_is_an_error(blas: FakeBlas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "at_once", lambda job, count, blas: job(0))
    with pytest.raises(KeyboardInterrupt):
        shared_out(lambda part: None, 3, 1e9)
    assert blas.count == 3


def test_the_real_blas_lends_its_threads() -> None:
    found = parallel.openblas()
    if found is None or not found.run or found.get() < 2:
        pytest.skip("this NumPy's BLAS lends no threads")
    barrier = threading.Barrier(found.get(), timeout=30)
    before = threading.active_count()

    def work(part: slice) -> float:
        barrier.wait()
        return float((np.ones((50, 60)) @ np.ones((60, 50)))[part].sum())

    for _ in range(20):
        assert sum(shared_out(work, 50, 1e9)) == 150_000
    assert threading.active_count() == before
    with pytest.raises(ZeroDivisionError):
        shared_out(lambda part: 1 // (part.start > 0), 50, 1e9)


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
