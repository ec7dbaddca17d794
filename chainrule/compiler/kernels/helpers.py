"""Processes that compile kernels, so that the program's own has neither Numba nor the memory that compiling takes.

Each is given one kernel after the other and ends with the last. Where none can be started, or Numba has been imported
anyway, the program's own process compiles.
"""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import IO, Any

__all__ = ["compile_all"]

Job = tuple[str, str, Any, str]  # the arguments of `machine_code`
START = """
import pickle, sys
sys.path[:] = pickle.load(sys.stdin.buffer)
from chainrule.compiler.kernels.helpers import serve
serve()
"""


def compile_all(jobs: Sequence[Job]) -> list[bytes | str]:
    """For each job its machine code, or why there is none."""
    helpers = [] if "numba" in sys.modules or getattr(sys, "frozen", False) else start(min(len(jobs), processors()))
    if not helpers:
        return list(map(compile_one, jobs))
    found: list[bytes | str] = [""] * len(jobs)
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for i in sorted(range(len(jobs)), key=lambda i: -len(jobs[i][0])):
        waiting.put(i)
    threads = [threading.Thread(target=give, args=(helper, jobs, waiting, found)) for helper in helpers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def compile_one(job: Job) -> bytes | str:
    """Compile in this process."""
    try:
        from .machine_code import machine_code

        return machine_code(*job)
    except Exception as error:  # whatever goes wrong in Numba or LLVM
        return str(error).strip().partition("\n")[0] or type(error).__name__


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# ----- this end -----


def start(count: int) -> list[subprocess.Popen[bytes]]:
    """So many processes that wait for jobs; none where the system refuses."""
    helpers: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(count):
            command = [sys.executable, "-c", START]
            helpers.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    except (OSError, TypeError, ValueError):  # no interpreter, or no room for another process
        pass
    return helpers


def give(helper: subprocess.Popen[bytes], jobs: Sequence[Job], waiting: Any, found: list[bytes | str]) -> None:
    """Hand one process a job after the other, until none waits."""
    assert helper.stdin is not None and helper.stdout is not None
    with helper:
        i = None
        try:
            send(helper.stdin, sys.path)
            while True:
                i = waiting.get_nowait()
                send(helper.stdin, jobs[i])
                found[i] = pickle.load(helper.stdout)
        except queue.Empty:
            pass
        except (OSError, EOFError, pickle.UnpicklingError):
            if i is not None:
                found[i] = f"the process that compiled it ended with code {helper.wait()}"
        finally:
            try:
                helper.stdin.close()
            except OSError:
                pass


def send(stream: IO[bytes], value: Any) -> None:
    pickle.dump(value, stream)
    stream.flush()


# ----- the other end -----


def serve() -> None:
    """Compile what comes in, until nothing does."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever is printed here is no answer
    while True:
        try:
            job = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        send(answers, compile_one(job))
