"""Watching calls: while a `Watch` is entered, calls of chosen functions in this thread are reported.

It uses the interpreter's profiling hook, so that what is watched needs no code for it and costs nothing otherwise.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CodeType, FrameType, TracebackType
from typing import Any, Self

__all__ = ["Watch", "arguments_of"]

Handler = Callable[[FrameType, Any], None]


class Watch:
    """Reports calls while it is entered.

    Args:
        find: code of a function -> what to do when it is called, and when it has returned (then the second argument
            is its result; None as well when it raised); None for functions that are of no interest.
    """

    def __init__(self, find: Callable[[CodeType], tuple[Handler | None, Handler | None] | None]) -> None:
        self._find = find
        self._found: dict[CodeType, tuple[Handler | None, Handler | None] | None] = {}

    def __enter__(self) -> Self:
        self._before = sys.getprofile()
        sys.setprofile(self._see)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is None or callable(self._before):
            sys.setprofile(self._before)
        else:  # the profiler of the standard library, which is an object
            sys.setprofile(None)
            self._before.enable()

    def _see(self, frame: FrameType, event: str, value: Any) -> None:
        if event != "call" and event != "return":
            return
        code = frame.f_code
        try:
            handlers = self._found[code]
        except KeyError:
            handlers = self._found[code] = self._find(code)
        if handlers is not None:
            handler = handlers[event == "return"]
            if handler is not None:
                handler(frame, value)


def arguments_of(frame: FrameType) -> list[Any]:
    """The values of a call's parameters, those of `*args` one by one."""
    code = frame.f_code
    here = frame.f_locals
    count = code.co_argcount + code.co_kwonlyargcount
    values = [here[text] for text in code.co_varnames[:count] if text in here]
    if code.co_flags & 4:  # it takes *args
        values += here.get(code.co_varnames[count], ())
    return values
