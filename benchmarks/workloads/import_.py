"""How long a fresh Python takes that imports a library and ends: wall time of the whole process."""

from __future__ import annotations

import functools
import subprocess
import sys
import time

from benchmarks.workload import Bound, Program, Workload

STATEMENTS = {
    "chainrule": "import chainrule",
    "numpy": "import numpy",
    "torch1": "import torch",
    "jax": "import jax",
    "autograd": "import autograd",
    "mygrad": "import mygrad",
    "python": "pass",
}


def process_program(statement: str) -> Program:
    """A step starts a Python that executes the statement, and waits for its end."""
    command = [sys.executable, "-c", statement]

    def seconds() -> float:
        start = time.perf_counter()
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start

    return Program(step=seconds, seconds=seconds)


WORKLOAD = Workload(
    title="a Python that imports the library and ends",
    programs={peer: functools.partial(process_program, statement) for peer, statement in STATEMENTS.items()},
    bounds=(Bound(1.4, ("numpy",)),),
    in_process=False,
    most_rounds=20,
)
