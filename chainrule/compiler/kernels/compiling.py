"""What generated programs call: `kernel` compiles a function of loops, `in_parts` runs one on all threads."""

from __future__ import annotations

import contextlib
import contextvars
import inspect
import itertools
import os
import queue
import textwrap
import threading
from collections.abc import Callable, Iterator
from typing import Any

from ...blas import libraries
from . import kinds
from .cache import KernelError, Text, load_kernel, load_kernels
from .kinds import kind_of
from .loading import in_parts_of

__all__ = ["KernelError", "all_at_once", "in_parts", "kernel", "read_text", "thread_count"]

HEADER = """import math

import numpy as np
from numba import boolean, float32, float64, int32, int64, uint8, uint64

from chainrule.compiler.kernels.elementary import *
from chainrule.compiler.kernels.intrinsics import *
from chainrule.compiler.kernels.matrices import *
from chainrule.compiler.kernels.vectors import *

"""

waiting: contextvars.ContextVar[dict[str, Text] | None] = contextvars.ContextVar("waiting", default=None)


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function whose parameters are annotated with the types of `kinds.py`.

    Raises:
        KernelError: Numba cannot.
    """
    wanted = text_of(function, inspect.getsource(function))
    later = waiting.get()
    if later is not None:
        later[wanted.name] = wanted
        return function
    return load_kernel(*wanted)


def text_of(function: Callable[..., Any], source: str) -> Text:
    """What there is to compile of a function, given its text."""
    name = function.__name__
    _, _, rest = textwrap.dedent(source).partition("):\n")
    source = f"{HEADER}def {name}({', '.join(inspect.signature(function).parameters)}):\n{rest}"
    return Text(source, name, tuple(map(kind_of, function.__annotations__.values())))


def read_text(source: str, name: str) -> Text:
    """The same of a generated function's text."""
    namespace = {name: getattr(kinds, name) for name in kinds.__all__} | {"kernel": lambda function: function}
    exec(compile(source, f"<{name}>", "exec", dont_inherit=True), namespace)
    return text_of(namespace[name], source)


@contextlib.contextmanager
def all_at_once(namespace: dict[str, Any]) -> Iterator[None]:
    """Compile the kernels that are defined inside, in `namespace`, together at the end.

    Raises:
        KernelError: Numba cannot compile one of them.
    """
    found: dict[str, Text] = {}
    token = waiting.set(found)
    try:
        yield
    finally:
        waiting.reset(token)
    for name, made in zip(found, load_kernels(list(found.values())), strict=True):
        if isinstance(made, KernelError):
            raise made
        namespace[name] = made


# ----- threads -----


def thread_count() -> int:
    """How many threads share a large kernel: CHAINRULE_NUM_THREADS, or the processors that this process may use."""
    given = os.environ.get("CHAINRULE_NUM_THREADS", "")
    if given.isdigit():
        return max(1, int(given))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Helper:
    """A thread that runs parts of kernels; one part at a time."""

    def __init__(self) -> None:
        self.work: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self.run, daemon=True, name="chainrule-kernel").start()

    def run(self) -> None:
        while True:
            function, args, done = self.work.get()
            try:
                function(*args)
            except BaseException as error:
                done.put(error)
            else:
                done.put(None)
            del function, args, done


helpers: list[Helper] = []
busy = threading.Lock()  # another thread's kernels run on that thread alone meanwhile


def _forget() -> None:
    """A forked child has no threads but the one that forked."""
    global busy
    helpers.clear()
    busy = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def in_parts(
    function: Any,
    count: int,
    arrays: tuple[Any, ...],
    sums: tuple[tuple[int, Any], ...] = (),
    threads: int | None = None,
) -> None:
    """Run a kernel of `count` rows, some on each thread.

    The threads are those of NumPy's OpenBLAS where it lends them: they wait for more work, for a while after each
    product, so actively that others would have to wait for them.

    Args:
        function: takes the first row, the one after the last, and the arrays.
        sums: (position, ufunc) of the arrays in which rows add up: each part has its own, which `ufunc` combines.
        threads: how many; as many as `thread_count` says where it is None.
    """
    parts = thread_count() if threads is None else threads
    if parts == 1 or not busy.acquire(blocking=False):
        function(0, count, *arrays)
        return
    try:
        given = [list(arrays) for _ in range(parts)]
        for own in given[1:]:
            for position, _ in sums:
                own[position] = own[position].copy()
        bounds = [count * i // parts for i in range(parts + 1)]
        jobs = [(first, last, *own) for first, last, own in zip(bounds, bounds[1:], given, strict=False)]
        blas = next(iter(libraries()), None)
        together = in_parts_of.get(function)
        if blas is not None and blas.run and blas.workers() >= parts and together is not None:
            together(blas.run, *itertools.chain.from_iterable(jobs))
        else:
            at_once(function, jobs)
        for own in given[1:]:
            for position, ufunc in sums:
                ufunc(arrays[position], own[position], out=arrays[position])
    finally:
        busy.release()


def at_once(function: Any, jobs: list[tuple[Any, ...]]) -> None:
    """Call a function with several lists of arguments at the same time, on threads of our own."""
    while len(helpers) < len(jobs) - 1:
        helpers.append(Helper())
    done: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for helper, job in zip(helpers, jobs[1:], strict=False):
        helper.work.put((function, job, done))
    try:
        function(*jobs[0])
    finally:
        errors = [done.get() for _ in jobs[1:]]
    for error in errors:
        if error is not None:
            raise error
