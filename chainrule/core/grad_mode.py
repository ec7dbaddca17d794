"""Whether operations are recorded: per thread, as context managers and decorators.

The mode is one context variable, because every operation reads it. Each thread starts with recording on.
Read next: `recipe.py`, what is recorded.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Self, TypeVar

__all__ = [
    "NoGrad",
    "enable_grad",
    "inference_mode",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "no_grad",
    "set_grad_enabled",
]

Function = TypeVar("Function", bound=Callable[..., Any])

OFF, ON, TRACED = 0, 1, 2  # TRACED: record, and remember the line of each operation (anomaly mode)

mode: ContextVar[int] = ContextVar("chainrule.grad_mode", default=ON)
tracing: ContextVar[bool] = ContextVar("chainrule.tracing", default=False)
check_nan: ContextVar[bool] = ContextVar("chainrule.check_nan", default=True)  # only read while tracing
_inference: ContextVar[bool] = ContextVar("chainrule.inference", default=False)

grad_mode = mode.get


def recording_mode() -> int:
    """The mode that means "record" here: TRACED inside anomaly mode, else ON."""
    return TRACED if tracing.get() else ON


class _Mode:
    """A context manager that sets the mode on entry and restores it on exit; also a decorator."""

    def __init__(self) -> None:
        self._tokens: list[Token[int]] = []

    def __new__(cls, function: Function | None = None) -> Any:
        if callable(function):  # written `@no_grad` without parentheses
            return cls()(function)
        return super().__new__(cls)

    def _mode(self) -> int:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._tokens.append(mode.set(self._mode()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        mode.reset(self._tokens.pop())

    def _again(self) -> Self:
        """A fresh one with the same arguments, so that a decorated function may run in many threads at once."""
        return type(self)()

    def __call__(self, function: Function) -> Function:
        if inspect.isgeneratorfunction(function):
            return self._each_step(function)  # type: ignore[return-value]

        @functools.wraps(function)
        def in_mode(*args: Any, **kwargs: Any) -> Any:
            with self._again():
                return function(*args, **kwargs)

        return in_mode  # type: ignore[return-value]

    def _each_step(self, function: Callable[..., Generator[Any, Any, Any]]) -> Callable[..., Any]:
        """A generator function whose own steps run in the mode, and its caller's, between them, do not."""

        @functools.wraps(function)
        def in_mode(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            steps = function(*args, **kwargs)
            advance: Callable[[], Any] = steps.__next__
            try:
                while True:
                    with self._again():
                        value = advance()
                    try:
                        advance = functools.partial(steps.send, (yield value))
                    except GeneratorExit:
                        with self._again():
                            steps.close()
                        raise
                    except BaseException as error:
                        advance = functools.partial(steps.throw, error)
            except StopIteration as end:
                return end.value

        return in_mode


class no_grad(_Mode):
    """Record nothing inside, as a context manager or decorator.

    >>> import chainrule as cr
    >>> x = cr.tensor([1.0, 2.0], requires_grad=True)
    >>> with cr.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """

    def _mode(self) -> int:
        return OFF


NoGrad = no_grad  # the notes' name


class enable_grad(_Mode):
    """Record inside, also within `no_grad`.

    >>> import chainrule as cr
    >>> x = cr.tensor([1.0], requires_grad=True)
    >>> with cr.no_grad():
    ...     with cr.enable_grad():
    ...         y = x * 2
    >>> y.requires_grad
    True
    """

    def _mode(self) -> int:
        return recording_mode()


class set_grad_enabled(_Mode):
    """Switch recording on or off: at once as a call, until the end of the block as a context manager.

    >>> import chainrule as cr
    >>> with cr.set_grad_enabled(False):
    ...     cr.is_grad_enabled()
    False
    """

    def __new__(cls, enabled: bool) -> Any:
        return object.__new__(cls)

    def __init__(self, enabled: bool) -> None:
        super().__init__()
        self.enabled = bool(enabled)
        self._tokens.append(mode.set(self._mode()))
        self._entered = False

    def _mode(self) -> int:
        return recording_mode() if self.enabled else OFF

    def _again(self) -> Self:
        return type(self)(self.enabled)

    def __enter__(self) -> Self:
        if self._entered:
            return super().__enter__()
        self._entered = True  # the call itself has set the mode already
        return self

    def __call__(self, function: Function) -> Function:
        mode.reset(self._tokens.pop())  # as a decorator it changes nothing outside the function
        return super().__call__(function)


class inference_mode(_Mode):
    """Like `no_grad`; `is_inference_mode_enabled()` is true inside. `inference_mode(False)` is like `enable_grad`."""

    def __new__(cls, enabled: Any = True) -> Any:
        if callable(enabled):
            return cls()(enabled)
        return object.__new__(cls)

    def __init__(self, enabled: bool = True) -> None:
        super().__init__()
        self.enabled = bool(enabled)
        self._flags: list[Token[bool]] = []

    def _mode(self) -> int:
        return OFF if self.enabled else recording_mode()

    def _again(self) -> Self:
        return type(self)(self.enabled)

    def __enter__(self) -> Self:
        self._flags.append(_inference.set(self.enabled))
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        _inference.reset(self._flags.pop())


def is_grad_enabled() -> bool:
    """Whether operations on tensors that require grad are recorded in this thread."""
    return mode.get() != OFF


def is_inference_mode_enabled() -> bool:
    """Whether this thread is inside `inference_mode`."""
    return _inference.get()
