"""What all tests share: the same random numbers in every run, and no state carried from one test to the next."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import chainrule

settings.register_profile("ci", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci")


GENERATORS: list[tuple[np.random.Generator, Any]] = []  # those of the test modules, and their states after the import


@pytest.fixture(autouse=True)
def a_fresh_start() -> Iterator[None]:
    """Sets all generators to where they began; after the test, restores the default dtype and checks the grad mode."""
    np.random.seed(0)
    for generator, state in GENERATORS:
        generator.bit_generator.state = state
    default = chainrule.get_default_dtype()
    recording = chainrule.is_grad_enabled()
    yield
    chainrule.set_default_dtype(default)
    left_on = chainrule.is_grad_enabled()
    chainrule.set_grad_enabled(recording)
    assert left_on == recording, "the test left the grad mode changed"


def asks_for_torch(function: Any, seen: dict[Any, bool]) -> bool:
    """Whether `importorskip("torch")` stands in a function, or in one of its module's that it calls."""
    if not isinstance(function, types.FunctionType):
        return False
    if function.__code__ not in seen:
        seen[function.__code__] = False  # for functions that call one another
        code: list[Any] = [function.__code__]
        found = False
        for part in code:
            code += [constant for constant in part.co_consts if isinstance(constant, types.CodeType)]
            named = any(isinstance(text, str) and text.split(".")[0] == "torch" for text in part.co_consts)
            found = found or (named and "importorskip" in part.co_names)
            for name in part.co_names:
                called = function.__globals__.get(name)
                if getattr(called, "__module__", None) == function.__module__:
                    found = found or asks_for_torch(called, seen)
        seen[function.__code__] = found
    return seen[function.__code__]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that skip themselves where PyTorch is missing: `make pytorch` runs these, `make test` the rest."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == __name__.partition(".")[0]:
            for value in vars(module).values():
                if isinstance(value, np.random.Generator):
                    GENERATORS.append((value, value.bit_generator.state))
    seen: dict[Any, bool] = {}
    for item in items:
        if isinstance(item, pytest.Function):
            fixtures = item._fixtureinfo.name2fixturedefs
            used = [getattr(getattr(item.function, "hypothesis", None), "inner_test", item.function)]
            used += [fixture.func for name in item.fixturenames for fixture in fixtures.get(name, ())]
            if any(asks_for_torch(function, seen) for function in used):
                item.add_marker(pytest.mark.torch)
