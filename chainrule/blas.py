"""The OpenBLAS libraries that NumPy and SciPy bring along: how many threads they use, to ask and to say.

`add_multiple` calls NumPy's library itself, for what NumPy does not offer. SciPy's has threads of its own, which, while
they wait for more work, would stand in the way of NumPy's.
"""

from __future__ import annotations

import functools
import os
import sys
from _thread import allocate_lock  # threading's, without the time that importing threading takes
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np

__all__ = ["Blas", "OneThread", "add_multiple", "libraries"]

NAMES = ("scipy_{}64_", "scipy_{}", "{}")


class Blas(NamedTuple):
    """One library's functions.

    Attributes:
        get: `get()` tells how many threads it uses.
        put: `put(count)` says how many it may use.
        workers: how many threads it has, that of the caller included, whether or not it may use them.
        run: the address of C's `int run(int count, void (*function)(void *), char *arguments, int step)`, which calls
            a function on so many of these threads at the same time, each with arguments a step further on; 0 where
            there is none.
        axpy: by NumPy's letter for a type, `f(size, a, address of x, 1, address of y, 1)`: y += a * x.
    """

    get: Callable[[], int]
    put: Callable[[int], None]
    workers: Callable[[], int]
    run: int
    axpy: dict[str, Callable[..., None]]


def libraries() -> list[Blas]:
    """NumPy's library, then SciPy's if that is loaded; empty where they were built on another one."""
    return _libraries("scipy" in sys.modules)


@functools.cache
def _libraries(with_scipy: bool) -> list[Blas]:
    import ctypes
    from pathlib import Path

    homes = [Path(np.__file__).parent]
    if with_scipy:
        homes.append(Path(sys.modules["scipy"].__file__ or "").parent)
    folders = [place for home in homes for place in (home.parent / f"{home.name}.libs", home / ".dylibs")]
    found = []
    for path in (path for folder in folders for path in sorted(folder.glob("*openblas*"))):
        try:
            library = ctypes.CDLL(str(path))  # loaded already: this finds it
        except OSError:
            continue
        for name in NAMES:
            if hasattr(library, name.format("openblas_get_num_threads")):
                get, put = (getattr(library, name.format(f"openblas_{verb}_num_threads")) for verb in ("get", "set"))
                integer = ctypes.c_int64 if name.endswith("64_") else ctypes.c_int
                axpy = {}
                for letter, number in (("s", ctypes.c_float), ("d", ctypes.c_double)):
                    function = getattr(library, name.format(f"cblas_{letter}axpy"))
                    function.argtypes = (integer, number, ctypes.c_void_p, integer, ctypes.c_void_p, integer)
                    function.restype = None
                    axpy["f" if letter == "s" else "d"] = function
                found.append(Blas(get, put, *_workers(library), axpy))
                break
    return found


def _workers(library: Any) -> tuple[Callable[[], int], int]:
    """`Blas.workers` and `Blas.run` of a library."""
    import ctypes

    try:  # not OpenBLAS's official interface, and not in every build
        count, run = ctypes.c_int.in_dll(library, "blas_num_threads"), library.gotoblas_pthread
    except (ValueError, AttributeError):
        return (lambda: 1), 0
    return (lambda: count.value), ctypes.cast(run, ctypes.c_void_p).value or 0


def add_multiple(x: Any, y: Any, a: float) -> bool:
    """y += a * x by one call of NumPy's own OpenBLAS, on its threads; False, and nothing done, where there is none.

    Args:
        x: an array of y's size, of any type and layout.
        y: float32 or float64, in C order, writeable.
        a: a number.
    """
    known = libraries()
    if not known or x.size != y.size:
        return False
    x = np.ascontiguousarray(x, y.dtype)
    axpy = known[0].axpy[y.dtype.char]
    axpy(y.size, a, x.__array_interface__["data"][0], 1, y.__array_interface__["data"][0], 1)
    return True


class OneThread:
    """A library on one thread while anybody is inside; entering tells how many threads it had."""

    everyone: ClassVar[list[OneThread]] = []

    def __init__(self) -> None:
        self.lock = allocate_lock()
        self.inside = 0
        self.before = 1
        self.blas: Blas | None = None
        self.everyone.append(self)

    def enter(self, blas: Blas) -> int:
        """Take the library's threads away, if nobody has yet."""
        with self.lock:
            if self.inside == 0:
                self.blas = blas
                self.before = int(blas.get())
                if self.before > 1:
                    blas.put(1)
            self.inside += 1
            return self.before

    def leave(self) -> None:
        """Give them back, if nobody else is inside."""
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.give_back()

    def give_back(self) -> None:
        """Give them back."""
        if self.blas is not None and self.before > 1:
            self.blas.put(self.before)

    def forget(self) -> None:
        """In a forked child the threads that were inside are gone."""
        if self.inside:
            self.give_back()
        self.lock, self.inside = allocate_lock(), 0


def _forget() -> None:
    for each in OneThread.everyone:
        each.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
