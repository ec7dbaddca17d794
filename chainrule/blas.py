"""The OpenBLAS libraries that NumPy and SciPy bring along: how many threads they use, to ask and to say."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

__all__ = ["Blas", "libraries"]

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
