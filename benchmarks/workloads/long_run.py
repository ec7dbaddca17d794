"""100,000 training steps of the small MLP: does memory stay where it was after the first 1,000?"""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks import memory
from benchmarks.workload import Bound, Workload
from benchmarks.workloads.mlp import Problem

SETTLED = 1_000


def measure(progress: Callable[[float], None], quick: bool) -> dict[str, float]:
    """Resident memory after 1,000 steps and at the end."""
    steps = 5_000 if quick else 100_000
    step = Problem(sizes=(32, 32, 32, 10), batch=16).programs()["chainrule"]().step
    start = time.perf_counter()
    for _ in range(SETTLED):
        step()
    settled_bytes = memory.resident_bytes()
    for done in range(SETTLED, steps, SETTLED):
        for _ in range(SETTLED):
            step()
        progress(done / steps)
    end_bytes = memory.resident_bytes()
    return {
        "steps": steps,
        "settled_bytes": settled_bytes,
        "end_bytes": end_bytes,
        "growth_bytes": end_bytes - settled_bytes,
        "seconds": time.perf_counter() - start,
    }


WORKLOAD = Workload(
    title="100,000 training steps of the small MLP",
    report=measure,
    units={
        "steps": "steps",
        "settled_bytes": "bytes resident after 1,000 steps",
        "end_bytes": "bytes resident at the end",
        "growth_bytes": "bytes between the two (1 MiB is ten bytes a step)",
        "seconds": "seconds",
    },
    bounds=(Bound(2.0**20, quantity="growth_bytes"),),
)
