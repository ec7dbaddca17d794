"""Fixtures of the compiler's tests."""

from __future__ import annotations

import os

import pytest

collect_ignore = ["world.py"]  # which test_worlds.py runs


@pytest.fixture
def numpy_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs in NumPy alone, which are made in a moment; with kernels where CHAINRULE_TEST_KERNELS is 1."""
    monkeypatch.setenv("CHAINRULE_KERNELS", os.environ.get("CHAINRULE_TEST_KERNELS", "0"))
