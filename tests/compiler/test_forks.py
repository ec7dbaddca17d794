"""A process that forks while another of its threads is at work on kernels: the child has none of what that one held."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="kernels need Numba"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork"),
]

FORK = """
import os, signal, threading
from chainrule.compiler.kernels import cache, compiling

inside, over = threading.Event(), threading.Event()
jobs = []

def compile_all(given):
    if not jobs:
        jobs.append(given)
        inside.set()
        over.wait()
    return ["nothing is compiled here"] * len(given)

cache.compile_all = compile_all
text = cache.Text("def walk(x): pass", "walk", (cache.NumberKind("float32"),))

def at_work():
    with compiling.busy:
        cache.load_kernels([text])

thread = threading.Thread(target=at_work)
thread.start()
inside.wait()
child = os.fork()
if not child:
    signal.alarm(20)
    (error,) = cache.load_kernels([text])
    os._exit(0 if isinstance(error, cache.KernelError) and compiling.busy.acquire(blocking=False) else 1)
over.set()
thread.join()
assert os.waitpid(child, 0)[1] == 0
"""


def test_a_child_of_a_process_that_compiles_compiles_too() -> None:
    subprocess.run([sys.executable, "-c", FORK], check=True, timeout=50)
