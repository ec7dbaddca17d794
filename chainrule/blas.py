"""The OpenBLAS libraries that NumPy and SciPy bring along: how many threads they use, to ask and to say."""

from __future__ import annotations

import functools
import os
import sys
from _thread import allocate_lock  # threading's, without the time that importing threading takes
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import numpy as np

__all__ = ["Blas", "OneThread", "libraries"]

NAMES = ("scipy_openblas_{}_num_threads64_", "scipy_openblas_{}_num_threads", "openblas_{}_num_threads")


class Blas(NamedTuple):
    """One library's functions: `get()` tells how many threads it uses, `put(count)` says how many it may."""

    get: Callable[[], int]
    put: Callable[[int], None]


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
            if hasattr(library, name.format("get")):
                found.append(Blas(getattr(library, name.format("get")), getattr(library, name.format("set"))))
                break
    return found


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
