"""What the compiler sets while it traces a function, and what the engine looks at: nothing else knows of it here."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import numpy as np

from .table import BACK_FUNCS

__all__ = ["as_it_is", "back_functions", "bounded", "calculated", "checked", "in_array", "lift", "number", "recorder"]

recorder: ContextVar[Any] = ContextVar("chainrule.recorder", default=None)

# function -> {argument position: backward function}, for backprop's inner loop
back_functions: ContextVar[dict[Any, dict[int, Callable[..., Any]]]] = ContextVar(
    "chainrule.back_functions", default=BACK_FUNCS._found
)


def lift(tensor: Any) -> Any:
    """A tensor made while a function is traced holds a tracer, so that writes to it are recorded; returns it."""
    tracing = recorder.get()
    if tracing is not None:
        tracing.lift(tensor)
    return tensor


def number(value: Any) -> Any:
    """A number, or the value of an array or tensor of one element, as a float; in a trace one that may change."""
    if type(value) is float:
        return value
    if hasattr(type(value), "requires_grad"):
        value = value.array
    changing = getattr(value, "as_number", None)
    return float(value) if changing is None else changing()


def calculated(function: Callable[..., Any], *numbers: Any) -> Any:
    """`function(*numbers)`, for functions that need values, such as `max`; in a trace it is left to the program."""
    for value in numbers:
        if hasattr(value, "apply"):
            return value.apply(function, *numbers)
    return function(*numbers)


def as_it_is(value: Any) -> Any:
    """A NumPy scalar as an array; a traced value as it is."""
    return value if hasattr(value, "as_number") else np.asarray(value)


def bounded(index: Any, size: int) -> Any:
    """Integers that index `size` places from 0 on, negative ones being wrong.

    In a trace their values are not known: there negative ones become `size`, which NumPy refuses when the program runs.
    """
    if not hasattr(index, "as_number") or index.dtype.kind != "i":
        return index
    return np.where(index < 0, size, index.astype(np.int64))


def checked(index: Any, size: int) -> Any:
    """`bounded` for integers that no array is indexed by; in a trace the program refuses those from `size` on, too."""
    if not hasattr(index, "as_number"):
        return index
    return np.reshape(np.take_along_axis(np.arange(size), np.reshape(bounded(index, size), (-1,)), 0), index.shape)


def in_array(numbers: Any, dtype: Any = None) -> Any:
    """An array of these numbers, or of one."""
    for value in numbers if isinstance(numbers, list) else [numbers]:
        if hasattr(value, "in_array"):
            return value.in_array(numbers, dtype)
    return np.array(numbers, dtype)
