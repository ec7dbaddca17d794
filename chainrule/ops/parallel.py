"""Sharing out the samples of a batch to threads.

NumPy releases Python's lock while it copies and multiplies, so threads that work on different samples run at once.
BLAS is told to keep to one thread meanwhile: its own threads would only divide the products, and wait for each other
at every one of them, which on a busy machine takes longer than the products. As many threads work as BLAS would have
used, which is what `set_num_threads` says.

They are BLAS's own threads where it lends them. For a tenth of a second after each product on several threads OpenBLAS
keeps asking for more work, so often that threads of ours would have to share the processor with its own. Where NumPy
was built on another library than OpenBLAS, all work is done by the caller, on whatever threads that library uses.
"""

from __future__ import annotations

import contextvars
import functools
import itertools
import os
from _thread import allocate_lock
from collections.abc import Callable
from typing import Any, TypeVar

from ..blas import Blas, OneThread, libraries

__all__ = ["shared_out"]

Result = TypeVar("Result")

WORTH = 64_000_000  # multiplications from which another thread pays, also where it must wait for a processor
LONGEST = 10.0  # seconds that a fork waits for work to end
ALONE = 250_000  # multiplications up to which OpenBLAS stays on one thread by itself


def openblas() -> Blas | None:
    """The OpenBLAS that NumPy brings along; None where there is none."""
    return next(iter(libraries()), None)


_one_thread = OneThread()
_pool: Any = None
_lent = allocate_lock()  # held by whom BLAS's threads work for
_held = False  # whether a fork has it


def _wait() -> None:
    """Before a fork OpenBLAS ends its threads; one that waits for Python's lock, which the forking one has, cannot."""
    global _held
    _held = _lent.acquire(timeout=LONGEST)


def _go_on() -> None:
    if _held:
        _lent.release()


def _forget() -> None:
    """In a forked child the threads are gone."""
    global _pool, _lent
    _pool, _lent = None, allocate_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_wait, after_in_parent=_go_on, after_in_child=_forget)


def _threads(count: int) -> Any:
    global _pool
    if _pool is None or _pool._max_workers < count:
        from concurrent.futures import ThreadPoolExecutor

        _pool = ThreadPoolExecutor(count, "chainrule")
    return _pool


@functools.cache
def _lender(run: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """BLAS's function at an address that calls another one on several threads, and what makes that one of a job."""
    import ctypes

    job = ctypes.CFUNCTYPE(None, ctypes.c_size_t)
    return ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, job, ctypes.c_size_t, ctypes.c_int)(run), job


def at_once(job: Callable[[int], None], count: int, blas: Blas) -> None:
    """Call `job(0)` here, and `job(1)` up to `job(count - 1)` on other threads at the same time; it raises nothing."""
    if blas.run and blas.workers() >= count and _lent.acquire(blocking=False):
        try:
            call_on_all, as_function = _lender(blas.run)
            call_on_all(count, as_function(job), 0, 1)  # an "address" of arguments is the number of a job
        finally:
            _lent.release()
        return
    pool = _threads(count - 1)
    try:
        others = [pool.submit(job, i) for i in range(1, count)]
    except RuntimeError:  # the interpreter is shutting down and starts no more threads
        for i in range(count):
            job(i)
        return
    job(0)
    for other in others:
        other.result()


def shared_out(work: Callable[[slice], Result], samples: int, cost: float) -> list[Result]:
    """The results of `work` on slices that together make `range(samples)`, done on several threads if that is worth it.

    Args:
        work: computes for the samples of a slice; writes only where no other slice's work does.
        samples: how many there are.
        cost: the multiplications that all of them take.
    """
    everything = slice(0, samples)
    blas = openblas() if cost > ALONE else None
    if blas is None:
        return [work(everything)]
    count = min(_one_thread.enter(blas), samples if cost >= WORTH else 1)
    try:
        if count <= 1:
            return [work(everything)]
        bounds = [samples * i // count for i in range(count + 1)]
        parts = [slice(first, last) for first, last in itertools.pairwise(bounds)]
        contexts = [contextvars.copy_context() for _ in parts]
        results: dict[int, Result] = {}
        failures: dict[int, BaseException] = {}

        def job(i: int) -> None:
            try:
                results[i] = contexts[i].run(work, parts[i])
            except BaseException as error:
                failures[i] = error

        at_once(job, count, blas)  # waits: nobody writes once this has returned
        for failure in failures.values():
            raise failure
        if len(results) < count:
            raise KeyboardInterrupt  # which came when a job had hardly begun
        return [results[i] for i in range(count)]
    finally:
        _one_thread.leave()
