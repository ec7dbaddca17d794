"""Where eager operations find compiled kernels for large work: `compiler/eager.py`, if Numba is installed.

Rooms above this one are not imported here; that one is looked up by its name, at the first work that is large enough.
So small programs import no compiler, and without Numba everything is NumPy's.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import os
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import numpy as np

from ..core.tracing import recorder

__all__ = ["BY_ELEMENT", "LARGE", "Fused", "compiled", "in_one_loop"]

Function = TypeVar("Function", bound=Callable[..., Any])

LARGE = 4_000_000  # multiplications from which a kernel is used: in a loop it soon earns back what loading takes
BY_ELEMENT = 64  # multiplications that take as long as what NumPy does with an element in several operations
LONGEST = 1 << 16  # elements of a row that kernels add up one after the other; NumPy adds longer ones up in pairs
FLOATS = frozenset((np.dtype(np.float32), np.dtype(np.float64)))


@functools.cache
def features() -> dict[str, bool]:
    """What NumPy found the processor to have, such as "AVX512F"."""
    module = importlib.import_module("numpy._core._multiarray_umath")
    return dict(getattr(module, "__cpu_features__", {}))


@functools.cache
def _module() -> Any:
    """`compiler/eager.py`; None where kernels cannot be compiled."""
    if any(importlib.util.find_spec(name) is None for name in ("numba", "llvmlite")):
        return None
    return importlib.import_module("chainrule.compiler.eager")


def compiled(work: int, *arrays: Any) -> Any:
    """The module of kernels, if there is one, so much work is worth it, and kernels take such arrays.

    CHAINRULE_COMPILE=0 and CHAINRULE_KERNELS=0 turn kernels off.

    Args:
        work: multiplications.
        arrays: what the kernel is to be given; None for what is left out.
    """
    if work < LARGE or any(a is not None and (type(a) is not np.ndarray or a.dtype != arrays[0].dtype) for a in arrays):
        return None
    if arrays[0].dtype not in FLOATS:
        return None
    settings = os.environ
    if settings.get("CHAINRULE_COMPILE", "1") == "0" or settings.get("CHAINRULE_KERNELS", "1") == "0":
        return None
    if recorder.get() is not None:  # the compiler tries a function out, for which it will have kernels of its own
        return None
    return _module()


class Fused:
    """A function of arrays, written in NumPy, that a kernel computes where they are large.

    The kernel is made from the function itself, by tracing it: a derivative stands in the table alone. What it gives
    for a row may depend on nothing but that row of its arguments. `takes` says of each argument how its numbers are
    spread over rows and columns:

    | n | in any way, each number alone; then no argument has rows |
    | rc | (rows, columns) |
    | r1 | (rows, 1), a number for each row |
    | c | (columns,), the same for all rows |
    | f | a Python number |
    | - | None |

    Args:
        function: of such arguments, and of settings by keyword; gives an array, or a tuple of arrays.
        takes: of each argument, one of the above; the first is an array with all rows and columns.
        over: positions of the arguments whose memory the results take; none for new arrays.
        usual: settings that are likely; kernels for them are compiled as soon as one of all these functions is wanted.
            Where it is empty, a kernel is compiled together with that of the backward function of the same name.

    >>> import numpy as np
    >>> def square(x):
    ...     return x * x
    >>> Fused(square, "n", usual=())(np.ones(10)) is None  # too few: NumPy is as quick
    True
    """

    known: ClassVar[list[Fused]] = []

    def __init__(
        self,
        function: Callable[..., Any],
        takes: str,
        over: tuple[int, ...] = (),
        usual: tuple[dict[str, Any], ...] = ({},),
    ) -> None:
        self.function = function
        self.takes = takes.split()
        self.over = over
        self.usual = usual
        self.family = function.__name__.strip("_").removesuffix("_back") if not usual else ""
        self.known.append(self)

    def __call__(self, *args: Any, **settings: Any) -> Any:
        """What the function gives; None where NumPy is to compute it."""
        work = args[0].size * BY_ELEMENT
        if work < LARGE:
            return None
        kernels = compiled(work, *(arg for arg in args if not isinstance(arg, float)))
        return None if kernels is None else kernels.run_fused(self, args, settings)

    def along_rows(self, axis: int, *args: Any) -> Any:
        """What a function of rows and of the setting `axis` gives, where that is the last axis of its arguments."""
        shape = args[0].shape
        if args[0].size * BY_ELEMENT < LARGE or axis not in (-1, len(shape) - 1) or not 0 < shape[-1] <= LONGEST:
            return None
        if any(arg is not None and (type(arg) is not np.ndarray or arg.shape != shape) for arg in args):
            return None
        found = self(*(None if arg is None else arg.reshape(-1, shape[-1]) for arg in args), axis=-1)
        return None if found is None else found.reshape(shape)


def in_one_loop(takes: str) -> Callable[[Function], Function]:
    """Let a kernel compute a function that goes element by element, where its arrays are large, and of one shape.

    Args:
        takes: of each array that it is given, n, or - where it is not read; what follows are numbers.

    >>> @in_one_loop("n")
    ... def double(x, factor=2.0):
    ...     return x * factor
    >>> double(np.ones(3))
    array([2., 2., 2.])
    """

    def decorate(function: Function) -> Function:
        which = Fused(function, takes, usual=())
        count = len(which.takes)
        names = tuple(inspect.signature(function).parameters)[count:]

        @functools.wraps(function)
        def in_kernels(*args: Any, **settings: Any) -> Any:
            first = args[0]
            if type(first) is np.ndarray and first.size * BY_ELEMENT >= LARGE:
                arrays = [arg if kind == "n" else None for arg, kind in zip(args, which.takes, strict=False)]
                settings_known = {**dict(zip(names, args[count:], strict=False)), **settings}
                if all(map(is_like, arrays, [first] * count)) and SIMPLE.issuperset(map(type, settings_known.values())):
                    found = which(*arrays, **settings_known)
                    if found is not None:
                        return found
            return function(*args, **settings)

        return in_kernels  # type: ignore[return-value]

    return decorate


SIMPLE = frozenset((int, float, bool, str, type(None)))


def is_like(x: Any, first: Any) -> bool:
    """Whether an array has the other's shape, and its elements in order; or is left out."""
    return x is None or (type(x) is np.ndarray and x.shape == first.shape and x.flags.c_contiguous)
