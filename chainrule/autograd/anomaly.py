"""Anomaly mode: a backward that produces NaN, or fails, is reported with the forward line that caused it."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from ..core.grad_mode import OFF, check_nan, mode, recording_mode, tracing

__all__ = ["detect_anomaly", "is_anomaly_check_nan_enabled", "is_anomaly_enabled", "set_detect_anomaly"]


class set_detect_anomaly:
    """Switch anomaly mode of this thread on or off: at once as a call, until the end of the block as a context manager.

    Args:
        mode: whether recipes remember the line that made them.
        check_nan: whether a backward pass refuses NaN.

    >>> import chainrule as cr
    >>> with cr.autograd.set_detect_anomaly(True):
    ...     cr.autograd.is_anomaly_enabled()
    True
    >>> cr.autograd.is_anomaly_enabled()
    False
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._before = (tracing.get(), _check_nan.get())
        _switch(bool(mode), bool(check_nan))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _switch(*self._before)


_check_nan = check_nan


def _switch(wanted: bool, nan: bool) -> None:
    tracing.set(wanted)
    _check_nan.set(nan)
    if mode.get() != OFF:  # inside no_grad, enable_grad finds out when it is entered
        mode.set(recording_mode())


class detect_anomaly(set_detect_anomaly):
    """Find where NaN comes from: a context manager for the forward and the backward pass.

    Inside, an operation remembers the stack that called it. A backward function that computes NaN then raises a
    RuntimeError that names the operation and shows that stack; with `check_nan=False` only errors are so explained.
    It slows programs down: for debugging only.

    >>> import chainrule as cr
    >>> x = cr.tensor([float("inf")], requires_grad=True)
    >>> with cr.autograd.detect_anomaly():
    ...     try:
    ...         (x * 0.0 * x).backward()
    ...     except RuntimeError as error:
    ...         print(str(error).partition(":")[0])
    Function 'multiply' returned nan values in its 1th output. It was called here
    """

    def __init__(self, check_nan: bool = True) -> None:
        self._check_nan = check_nan

    def __enter__(self) -> Self:
        self._before = (tracing.get(), _check_nan.get())
        _switch(True, self._check_nan)
        return self


def is_anomaly_enabled() -> bool:
    """Whether this thread is in anomaly mode."""
    return tracing.get()


def is_anomaly_check_nan_enabled() -> bool:
    """Whether anomaly mode, where it is on, refuses NaN."""
    return check_nan.get()
