"""What all tests share: the same random numbers in every run, and no state carried from one test to the next."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import chainrule

settings.register_profile("ci", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci")


@pytest.fixture(autouse=True)
def a_fresh_start() -> Iterator[None]:
    """Seeds NumPy's global generator; after the test, restores the default dtype and checks the grad mode."""
    np.random.seed(0)
    default = chainrule.get_default_dtype()
    recording = chainrule.is_grad_enabled()
    yield
    chainrule.set_default_dtype(default)
    left_on = chainrule.is_grad_enabled()
    chainrule.set_grad_enabled(recording)
    assert left_on == recording, "the test left the grad mode changed"
