"""`chainrule.jit`: functions and modules stay Python, as PyTorch leaves them with PYTORCH_JIT=0."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Final, TypeVar

from ..absent import absent as _absent
from ..absent import refused as _refused
from ..nn.module import Module

__all__ = ["Final", "ScriptModule", "annotate", "export", "ignore", "script", "script_method", "trace", "unused"]

Anything = TypeVar("Anything")


class ScriptModule(Module):
    """A module whose class says that it may be compiled; it runs as Python, as any other."""


def script(obj: Anything, *args: Any, **kwargs: Any) -> Anything:
    """The function or module itself: it runs as Python."""
    return obj


def trace(func: Anything, *args: Any, **kwargs: Any) -> Anything:
    """The function or module itself: it runs as Python."""
    return func


def export(fn: Anything) -> Anything:
    """The function itself."""
    return fn


script_method = unused = script_if_tracing = export
trace_module = optimize_for_inference = freeze = script


def ignore(drop: Any = False, **kwargs: Any) -> Any:
    """The function itself, as decorator with or without arguments."""
    return drop if callable(drop) else export


def annotate(the_type: Any, the_value: Anything) -> Anything:
    """The value."""
    return the_value


def is_scripting() -> bool:
    """False."""
    return False


is_tracing = is_scripting


@contextlib.contextmanager
def optimized_execution(should_optimize: bool) -> Iterator[None]:
    """A block; there is no compiled code to optimise in it."""
    yield


_FILES = "there is no compiled form to keep; use chainrule.save and chainrule.load with a state_dict"
save = _refused("torch.jit.save", _FILES)
load = _refused("torch.jit.load", _FILES)

__getattr__ = _absent("chainrule.jit")
