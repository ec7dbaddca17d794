"""Sharing out the samples of a batch to threads.

NumPy releases Python's lock while it copies and multiplies, so threads that work on different samples run at once.
BLAS is told to keep to one thread meanwhile: its own threads would only divide the products, and wait for each other
at every one of them, which on a busy machine takes longer than the products. As many threads work as BLAS would have
used, which is what `set_num_threads` says. Where NumPy was built on another library than OpenBLAS, all work is done by
the caller, on whatever threads that library uses.
"""

from __future__ import annotations

import contextvars
import itertools
import os
from collections.abc import Callable
from typing import Any, TypeVar

from ..blas import Blas, OneThread, libraries

__all__ = ["shared_out"]

Result = TypeVar("Result")

WORTH = 64_000_000  # multiplications from which another thread pays, also where it must wait for a processor
ALONE = 250_000  # multiplications up to which OpenBLAS stays on one thread by itself


def openblas() -> Blas | None:
    """The OpenBLAS that NumPy brings along; None where there is none."""
    return next(iter(libraries()), None)


_one_thread = OneThread()
_pool: Any = None


def _forget() -> None:
    """In a forked child the threads are gone."""
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _threads(count: int) -> Any:
    global _pool
    if _pool is None or _pool._max_workers < count:
        from concurrent.futures import ThreadPoolExecutor

        _pool = ThreadPoolExecutor(count, "chainrule")
    return _pool


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
        pool = _threads(count - 1)
        try:
            others = [pool.submit(contextvars.copy_context().run, work, part) for part in parts[1:]]
        except RuntimeError:  # the interpreter is shutting down and starts no more threads
            return [work(part) for part in parts]
        try:
            own = work(parts[0])
        finally:
            failures = [other.exception() for other in others]  # waits: nobody writes once this has returned
        for failure in failures:
            if failure is not None:
                raise failure
        return [own, *(other.result() for other in others)]
    finally:
        _one_thread.leave()
