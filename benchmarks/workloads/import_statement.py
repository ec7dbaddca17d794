"""How long the import statement takes in a fresh Python that times it itself, without the interpreter's start."""

from __future__ import annotations

import functools
import subprocess
import sys

from benchmarks.workload import Bound, Program, Workload
from benchmarks.workloads.import_ import STATEMENTS


def statement_program(statement: str) -> Program:
    """A step starts a Python that times the statement and prints its seconds."""
    timed = f"import time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)"
    command = [sys.executable, "-c", timed]

    def seconds() -> float:
        run = subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        return float(run.stdout)

    return Program(step=seconds, seconds=seconds)


WORKLOAD = Workload(
    title="the import statement alone",
    programs={
        peer: functools.partial(statement_program, statement)
        for peer, statement in STATEMENTS.items()
        if peer != "python"
    },
    bounds=(Bound(1.4, ("numpy",)),),
    in_process=False,
    most_rounds=20,
)
