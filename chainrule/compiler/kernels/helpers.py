"""Processes that compile kernels, so that the program's own has neither Numba nor the memory that compiling takes.

One is started, imports Numba, and where the system can, splits into as many as there are processors, so that they all
have what the first one has learned. Each is given one kernel after the other. Where none can be started, or Numba has
been imported anyway, the program's own process compiles.
"""

from __future__ import annotations

import contextlib
import contextvars
import gc
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import IO, Any

__all__ = ["ahead", "compile_all"]

Job = tuple[str, str, Any, str]  # the arguments of `machine_code`
Ends = list[tuple[int, int]]  # file descriptors: from which a process reads jobs, to which it writes answers
START = """
import pickle, sys
sys.path[:], others, eager = pickle.load(sys.stdin.buffer)
from chainrule.compiler.kernels.helpers import serve_all
serve_all(others, eager)
"""
MOST = 16  # processes
DELAY = 0.03  # seconds that a trace takes before it is worth while to start processes ahead of the kernels
SPLITS = sys.platform == "linux"  # elsewhere a process that goes on as two is less safe, or there is none
# a kernel of the usual kind: what Numba learns by it, it knows for the others
WARM_UP = """
@kernel
def warm_up(x: given(float32[:, ::1]), bias: given(float32[::1]), out: float32[:, ::1], sums: float32[::1]):
    separate()
    x_flat = as_shape(x, (x.size,))
    row = row_of(8, float32)
    for r in range(4):
        total = float32(0.0)
        largest = float32(-np.inf)
        for c in range(8):
            value = x[r, c] * bias[c] - x_flat[c] / math.sqrt(bias[c])
            largest = larger(largest, value)
            total = plus(total, exp_float32(value))
            row[c] = where(value < float32(0.0), value, -value)
        sums[r] = total
        for c in range(8):
            out[r, c] = row[c] * maximum(total, largest)
"""


class Channel:
    """The two streams that lead to one process of a family, and the family's first process."""

    def __init__(self, process: subprocess.Popen[bytes], jobs: IO[bytes], answers: IO[bytes]) -> None:
        self.process = process
        self.jobs = jobs
        self.answers = answers

    def close(self) -> None:
        """Tell the process to end, once."""
        if self.jobs.closed:
            return
        with contextlib.suppress(OSError):
            send(self.jobs, None)
        for stream in (self.jobs, self.answers):
            with contextlib.suppress(OSError):
                stream.close()


class Ahead:
    """Processes that are started some time before there are kernels, if that takes long enough."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.over = False
        self.channels: list[Channel] = []
        self.timer = threading.Timer(DELAY, self.start)
        self.timer.daemon = True
        self.timer.start()

    def start(self) -> None:
        with self.lock:
            if not self.over:
                self.channels = start(processors(), eager=True)

    def take(self) -> list[Channel]:
        """The processes, for whoever takes them first."""
        self.timer.cancel()
        with self.lock:
            self.over = True
            found, self.channels = self.channels, []
            return found


expected: contextvars.ContextVar[Ahead | None] = contextvars.ContextVar("expected", default=None)


@contextlib.contextmanager
def ahead() -> Iterator[None]:
    """Inside, kernels will be wanted: have processes ready that compile them."""
    if not are_possible():
        yield
        return
    found = Ahead()
    token = expected.set(found)
    try:
        yield
    finally:
        expected.reset(token)
        channels = found.take()
        for channel in channels:  # nobody wanted them
            channel.process.kill()
        finish(channels)


def compile_all(jobs: Sequence[Job]) -> list[bytes | str]:
    """For each job its machine code, or why there is none."""
    known = expected.get()
    channels = known.take() if known is not None else []
    found: list[bytes | str] = [""] * len(jobs)
    left = sorted(range(len(jobs)), key=lambda i: -len(jobs[i][0]))
    while left:
        if not channels and are_possible():
            channels = start(min(len(left), processors()))
        if not give_all(channels, jobs, left, found):
            for i in left:
                found[i] = compile_one(jobs[i])
        channels = []
        left = [i for i in left if not found[i]]  # other jobs have ended all processes
    return found


def compile_one(job: Job) -> bytes | str:
    """Compile in this process."""
    try:
        from .machine_code import machine_code

        return machine_code(*job)
    except Exception as error:  # whatever goes wrong in Numba or LLVM
        return str(error).strip().partition("\n")[0] or type(error).__name__


def processors() -> int:
    """How many processes compile at the same time: one for each processor that this one may use."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(count, MOST)


# ----- this end -----


def are_possible() -> bool:
    """Whether other processes are to compile."""
    return "numba" not in sys.modules and not getattr(sys, "frozen", False)


def start(count: int, eager: bool = False) -> list[Channel]:
    """So many processes that wait for jobs; none where the system refuses.

    Args:
        eager: whether they compile something to warm up, though there is one process only.
    """
    channels: list[Channel] = []
    try:
        for _ in range(1 if SPLITS else count):
            channels += start_family(count if SPLITS else 1, eager)
    except (OSError, TypeError, ValueError):  # no interpreter, or no room for another process
        pass
    return channels


def start_family(count: int, eager: bool) -> list[Channel]:
    """A process that splits into `count`. The first speaks through its standard streams, the others through pipes."""
    theirs: Ends = []
    ours: Ends = []
    for _ in range(count - 1):
        (from_us, to_them), (from_them, to_us) = os.pipe(), os.pipe()
        theirs.append((from_us, to_us))
        ours.append((to_them, from_them))
    passed = [end for ends in theirs for end in ends]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # a process with threads cannot split
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=passed,
            env=environment,
        )
    except BaseException:
        for end in (end for ends in ours for end in ends):
            os.close(end)
        raise
    finally:
        for end in passed:
            os.close(end)
    assert process.stdin is not None and process.stdout is not None
    with contextlib.suppress(OSError):
        send(process.stdin, (sys.path, theirs, eager))
    pipes = [Channel(process, os.fdopen(jobs, "wb"), os.fdopen(answers, "rb")) for jobs, answers in ours]
    return [Channel(process, process.stdin, process.stdout), *pipes]


def give_all(channels: list[Channel], jobs: Sequence[Job], left: list[int], found: list[bytes | str]) -> bool:
    """Have processes compile the jobs that are left, and wait for them; whether there was one that could."""
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for i in left:
        waiting.put(i)
    able: list[Channel] = []
    threads = [threading.Thread(target=give, args=(channel, jobs, waiting, found, able)) for channel in channels]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    finish(channels)
    return bool(able)


def give(channel: Channel, jobs: Sequence[Job], waiting: Any, found: list[bytes | str], able: list[Channel]) -> None:
    """Hand one process a job after the other, once it has said that it is able to compile, until none waits."""
    i = None
    try:
        pickle.load(channel.answers)
        able.append(channel)
        while True:
            i = waiting.get_nowait()
            send(channel.jobs, jobs[i])
            found[i] = pickle.load(channel.answers)
    except queue.Empty:
        channel.close()
    except (OSError, EOFError, pickle.UnpicklingError):
        channel.close()
        if i is not None:
            found[i] = f"the process that compiled it ended with code {channel.process.wait()}"


def finish(channels: Sequence[Channel]) -> None:
    """Wait until the processes have ended."""
    for channel in channels:
        channel.close()
    for process in dict.fromkeys(channel.process for channel in channels):
        process.wait()


def send(stream: IO[bytes], value: Any) -> None:
    pickle.dump(value, stream)
    stream.flush()


# ----- the other end -----


def serve_all(others: Ends, eager: bool) -> None:
    """Split into one more process for each of `others`, and compile what comes in; end with the code of the last one.

    The first process reads its standard input and writes to its standard output.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the program decides what an interrupt ends
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever is printed here is no answer
    gc.disable()  # the process ends before it would be worth while
    if others or eager:
        warm_up()
    children = []
    for mine in others:
        child = split()
        if child is None:
            break
        if not child:
            code = 1
            try:
                answers.close()
                os.close(0)
                for end in (end for ends in others if ends != mine for end in ends):
                    os.close(end)
                serve(os.fdopen(mine[0], "rb"), os.fdopen(mine[1], "wb"))
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    for end in (end for ends in others for end in ends):
        os.close(end)
    serve(sys.stdin.buffer, answers)
    answers.close()
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    os._exit(max(map(abs, codes), default=0))  # to take Numba down in order takes as long as two kernels


def split() -> int | None:
    """`os.fork`; None where the system has no room for another process."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of threads, which there are none of
            return os.fork()
    except OSError:
        return None


def warm_up() -> None:
    """Compile a kernel for nobody."""
    with contextlib.suppress(Exception):
        from .compiling import read_text

        compile_one((*read_text(WARM_UP, "warm_up"), "warm_up"))


def serve(jobs: IO[bytes], answers: IO[bytes]) -> None:
    """Say that one is there, and compile what comes in, until nothing does."""
    send(answers, None)
    while True:
        try:
            job = pickle.load(jobs)
        except EOFError:
            return
        if job is None:
            return
        send(answers, compile_one(job))
