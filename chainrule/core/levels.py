"""Which `vmap`s are running: what the engine and the random functions have to know of them, and no more.

Read next: `func/batched.py`, the arrays that a vmap computes with.
"""

from __future__ import annotations

import itertools
from contextvars import ContextVar
from typing import Any

import numpy as np

_numbers = itertools.count(1)


class Level:
    """One run of a vmap: how many samples it maps over, and what random functions do in it.

    Attributes:
        size: the number of samples.
        randomness: "error", "same" or "different".
        number: later levels have larger numbers; of two vmaps that both run, the inner one.
        active: whether it still runs. Gradients computed while it runs are each sample's own; those that are computed
            later, from outside, are summed over the samples where a value was common to all.
    """

    __slots__ = ("active", "number", "randomness", "size")

    def __init__(self, size: int, randomness: str = "error") -> None:
        self.size = size
        self.randomness = randomness
        self.number = next(_numbers)
        self.active = True

    def __repr__(self) -> str:
        return f"Level({self.number}, size={self.size})"


LEVELS: ContextVar[tuple[Level, ...]] = ContextVar("chainrule_vmap_levels", default=())


PLAIN = frozenset((np.ndarray, np.float16, np.float32, np.float64, np.complex64, np.complex128))  # never batched


def gradient_fitter(out: Any) -> Any:
    """What brings a gradient to an argument's samples, for a result that may hold several samples; None for others."""
    if isinstance(out, tuple):
        out = next((part for part in out if hasattr(type(part), "__fit_gradient__")), None)
    return getattr(type(out), "__fit_gradient__", None)


def drawing_from(numbers: Any) -> Any:
    """The generator that random functions use: in a vmap, one that draws by its rules for randomness.

    Raises:
        RuntimeError: a running vmap has randomness="error".
    """
    for level in reversed(LEVELS.get()):
        if level.randomness == "error":
            raise RuntimeError(
                "vmap: called random operation while in randomness error mode. Please either use the 'same' or "
                "'different' randomness flags on vmap or perform the randomness operation out of vmap"
            )
    for level in LEVELS.get():
        if level.randomness == "different":
            numbers = EachSample(level, numbers)
    return numbers


class EachSample:
    """A generator that draws anew for each sample of a level."""

    joined: Any = None  # set by func/batched.py: (level, function, args, kwargs) -> an array with a value a sample

    def __init__(self, level: Level, numbers: Any) -> None:
        self._level = level
        self._numbers = numbers

    def draw(self, function: Any, *args: Any) -> Any:
        """`function(numbers, *args)` for each sample."""
        return EachSample.joined(self._level, lambda *here: function(self._numbers, *here), args, {})

    def __getattr__(self, name: str) -> Any:
        draw = getattr(self._numbers, name)
        return lambda *args, **kwargs: EachSample.joined(self._level, draw, args, kwargs)
