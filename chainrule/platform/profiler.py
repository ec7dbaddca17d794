"""`chainrule.profiler`: names for regions of a program; Python's own profilers do the measuring."""

from __future__ import annotations

import contextlib
import enum
from typing import Any

from ..absent import absent as _absent
from ..absent import refused as _refused

__all__ = ["ProfilerActivity", "profile", "record_function", "schedule", "tensorboard_trace_handler"]

_INSTEAD = "run `python -m cProfile -m chainrule run SCRIPT`, whose report names every operation"


class ProfilerActivity(enum.Enum):
    """What a profile covers."""

    CPU = 0
    CUDA = 1
    XPU = 2
    MTIA = 3
    HPU = 4


class record_function(contextlib.ContextDecorator):
    """A name for a region, as context manager or decorator; without a profile that listens, it does nothing."""

    def __init__(self, name: str, args: str | None = None) -> None:
        self.name = name

    def __enter__(self) -> record_function:
        return self

    def __exit__(self, *error: object) -> None:
        pass


profile = _refused("torch.profiler.profile", _INSTEAD)
schedule = _refused("torch.profiler.schedule", _INSTEAD)
tensorboard_trace_handler: Any = _refused("torch.profiler.tensorboard_trace_handler", _INSTEAD)

__getattr__ = _absent("chainrule.profiler")
