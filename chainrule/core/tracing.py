"""What the compiler sets while it traces a function, and what the engine looks at: nothing else knows of it here."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from .table import BACK_FUNCS

__all__ = ["back_functions", "lift", "recorder"]

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
