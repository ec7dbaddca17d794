"""The allocator setting, told by its effect: page faults of a process that makes and drops the same arrays."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from chainrule import allocator

on_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is one of glibc's")

PAGE_FAULTS = """
import resource
import numpy as np
import chainrule

def a_round():
    return [np.ones(400_000, np.float32) for _ in range(16)]

a_round()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    a_round()
print(chainrule.allocator.keeps_freed_memory(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

NO_MALLOPT = """
import ctypes
import numpy

def refuse(*args, **kwargs):
    raise AssertionError("the C library was asked for")

ctypes.CDLL = refuse
import chainrule
print(chainrule.allocator.keeps_freed_memory(), chainrule.allocator.keep_freed_memory())
"""


def in_a_process(script: str, **environment: str) -> list[str]:
    """What a script prints in a fresh process in which nothing but `environment` speaks of the allocator."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if name != allocator.SWITCH and not name.startswith(("MALLOC_", "GLIBC_"))
    }
    done = subprocess.run(
        [sys.executable, "-c", script], env={**clean, **environment}, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@on_glibc
def test_by_default_freed_memory_is_used_again_and_the_switch_turns_that_off() -> None:
    kept, few = in_a_process(PAGE_FAULTS)
    not_kept, many = in_a_process(PAGE_FAULTS, **{allocator.SWITCH: "0"})
    assert (kept, not_kept) == ("True", "False")
    assert int(few) < int(many) / 10


@pytest.mark.parametrize("value", ["0", "false", "No", " off "])
def test_the_c_library_is_not_touched_when_the_switch_is_off(value: str) -> None:
    assert in_a_process(NO_MALLOPT, **{allocator.SWITCH: value}) == ["False", "False"]


@on_glibc
@pytest.mark.parametrize("value", ["1", "true", ""])
def test_any_other_value_of_the_switch_leaves_the_setting_on(value: str) -> None:
    script = "import chainrule; print(chainrule.allocator.keeps_freed_memory())"
    assert in_a_process(script, **{allocator.SWITCH: value}) == ["True"]


@pytest.mark.parametrize(
    "environment",
    [
        {"MALLOC_MMAP_THRESHOLD_": "131072"},
        {"MALLOC_TRIM_THRESHOLD_": "131072"},
        {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"},
    ],
)
def test_thresholds_of_the_users_own_are_respected(environment: dict[str, str]) -> None:
    assert in_a_process(NO_MALLOPT, **environment) == ["False", "False"]
