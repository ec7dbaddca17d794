"""Anomaly mode: which operation and which line made a NaN."""

from __future__ import annotations

import inspect
import threading
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.autograd import (
    Function,
    detect_anomaly,
    is_anomaly_check_nan_enabled,
    is_anomaly_enabled,
    set_detect_anomaly,
)

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def bad_leaf() -> cr.Tensor:
    return cr.tensor([0.0, 1.0], requires_grad=True)


def line_here() -> int:
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None
    return frame.f_back.f_lineno


def test_a_nan_names_the_operation_and_the_forward_line() -> None:
    x = bad_leaf()
    with detect_anomaly():
        line = line_here() + 1
        y = x / x
        with pytest.raises(RuntimeError) as caught:
            y.backward()
    assert "divide" in str(caught.value)  # NumPy's name for it is "divide" or "true_divide"
    assert f'test_anomaly.py", line {line}' in str(caught.value)
    assert "y = x / x" in str(caught.value)
    assert x.grad is None


def test_a_forward_pass_outside_is_named_without_its_line() -> None:
    y = bad_leaf()
    y = y / y
    with detect_anomaly(), pytest.raises(RuntimeError, match=r"divide.*detect_anomaly\(\) to see its line"):
        y.backward()


def test_without_anomaly_mode_nan_is_a_value() -> None:
    x = bad_leaf()
    (x / x).backward()
    assert np.isnan(x.grad.array[0])


def test_check_nan_can_be_left_out() -> None:
    x = bad_leaf()
    with detect_anomaly(check_nan=False):
        assert is_anomaly_enabled()
        assert not is_anomaly_check_nan_enabled()
        (x / x).backward()
    assert np.isnan(x.grad.array[0])


def test_an_error_in_a_backward_shows_the_forward_line_too() -> None:
    class Fails(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 1

        @staticmethod
        def backward(ctx: Any, grad_output: Any) -> Any:
            raise ZeroDivisionError("mine")

    with detect_anomaly():
        line = line_here() + 1
        y = Fails.apply(bad_leaf())
        with pytest.raises(ZeroDivisionError) as caught:
            y.backward()
    notes = "\n".join(caught.value.__notes__)
    assert "FailsBackward" in notes
    assert f'test_anomaly.py", line {line}' in notes


def test_a_nan_of_a_users_function_names_it() -> None:
    class Bad(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 1

        @staticmethod
        def backward(ctx: Any, grad_output: Any) -> Any:
            return grad_output * float("nan")

    with detect_anomaly(), pytest.raises(RuntimeError, match=r"(?s)BadBackward.*test_anomaly\.py"):
        Bad.apply(bad_leaf()).backward()


def test_the_mode_ends_with_its_block_and_nests() -> None:
    with detect_anomaly():
        with set_detect_anomaly(False):
            assert not is_anomaly_enabled()
        assert is_anomaly_enabled()
        with cr.no_grad():
            assert not cr.is_grad_enabled()
            with cr.enable_grad():
                assert "test_anomaly" in (bad_leaf() * 2).recipe._extra.trace
        with set_detect_anomaly(True, check_nan=False):
            assert not is_anomaly_check_nan_enabled()
    assert not is_anomaly_enabled()
    assert is_anomaly_check_nan_enabled()
    assert (bad_leaf() * 2).recipe._extra is None


def test_set_detect_anomaly_is_a_call_too() -> None:
    set_detect_anomaly(True)
    try:
        assert is_anomaly_enabled()
        x = bad_leaf()
        with pytest.raises(RuntimeError, match="nan"):
            (x / x).backward()
    finally:
        set_detect_anomaly(False)
    assert not is_anomaly_enabled()


def test_inside_no_grad_recording_stays_off() -> None:
    with cr.no_grad():
        with detect_anomaly():
            assert not cr.is_grad_enabled()
        assert not cr.is_grad_enabled()


def test_the_mode_is_per_thread() -> None:
    seen = []
    with detect_anomaly():
        thread = threading.Thread(target=lambda: seen.append(is_anomaly_enabled()))
        thread.start()
        thread.join()
    assert seen == [False]
