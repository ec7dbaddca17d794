"""What a sample is, and arrays to make samples of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Sample:
    """One call of a NumPy-level function of the table.

    Attributes:
        function: the key under which backward functions are registered, such as `np.log`.
        args: positional arguments; float64 and complex128 arrays are differentiated, everything else is constant.
        kwargs: keyword arguments.
        second_order: also test the gradient of the gradient (False only with a reason in a comment).
        duck: also run forward and backward on an array type that refuses conversion to ndarray (False only with a
            reason in a comment).
        symmetric: perturb the first argument as a Hermitian matrix (for functions of Hermitian matrices).
        gauge: a function of the outputs that does not depend on an arbitrary sign or phase of theirs; it is tested
            in place of the outputs themselves.
    """

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    second_order: bool = True
    duck: bool = True
    symmetric: bool = False
    gauge: Any = None

    def __str__(self) -> str:
        shapes = ",".join(str(np.shape(a)) if isinstance(a, np.ndarray) else repr(a)[:20] for a in self.args)
        return f"{getattr(self.function, '__name__', self.function)}[{shapes}]"


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Standard normal numbers."""
    return np.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape))


def positive(*shape: int, seed: int = 0) -> np.ndarray:
    """Numbers between 0.5 and 2."""
    return np.asarray(np.random.default_rng([seed, *shape]).uniform(0.5, 2.0, shape))


def between(low: float, high: float, *shape: int, seed: int = 0) -> np.ndarray:
    """Numbers between `low` and `high`."""
    return np.asarray(np.random.default_rng([seed, *shape]).uniform(low, high, shape))


def complex_normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Complex numbers with standard normal parts."""
    return normal(*shape, seed=seed) + 1j * normal(*shape, seed=seed + 1000)


def distinct(*shape: int, seed: int = 0) -> np.ndarray:
    """A permutation of equally spaced numbers: no ties, none near zero."""
    n = int(np.prod(shape))
    return (np.random.default_rng([seed, *shape]).permutation(n) - n / 2 + 0.25).reshape(shape)
