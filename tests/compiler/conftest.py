"""Fixtures of the compiler's tests."""

from __future__ import annotations

import pytest


@pytest.fixture
def numpy_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs in NumPy alone, which are made in a moment."""
    monkeypatch.setenv("CHAINRULE_KERNELS", "0")
