"""A process that holds one program and runs it when told to; between turns it is blocked in a read.

Started by the runner as ``python -m benchmarks.worker WORKLOAD PEER``. Commands come in as lines of JSON, answers go
out the same way; what the program prints itself goes to stderr.
"""

from __future__ import annotations

import importlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from benchmarks import memory
from benchmarks.peers import PEERS
from benchmarks.workload import Program, Workload

Answer = dict[str, Any]


class Worker:
    """One program of one workload, built on the first command."""

    def __init__(self, workload_name: str, peer_name: str, send: Callable[[Answer], None]) -> None:
        self.workload_name = workload_name
        self.peer = PEERS[peer_name]
        self.peer_name = peer_name
        self.send = send
        self.program: Program | None = None

    def start(self, warm_seconds: float) -> Answer:
        """Imports the peer, builds the program, makes the first call, and goes on until the program is warm."""
        answer = self.first_call()
        calls, elapsed, fastest = 0, 0.0, float("inf")
        while calls == 0 or elapsed < warm_seconds or (calls < 5 and elapsed < 5 * warm_seconds):
            seconds = self.timed_calls(1)
            calls, elapsed, fastest = calls + 1, elapsed + seconds, min(fastest, seconds)
        self.settle()
        return answer | {"call_seconds": fastest}

    def first_call(self) -> Answer:
        """Imports the peer, builds the program, and makes the first call."""
        start = time.perf_counter()
        for module in self.peer.modules:
            importlib.import_module(module)
        import_seconds = time.perf_counter() - start
        import_bytes = memory.resident_bytes()
        self.set_threads()
        start = time.perf_counter()
        self.program = self.workload().programs[self.peer_name]()
        build_seconds = time.perf_counter() - start
        return {
            "import_seconds": import_seconds,
            "build_seconds": build_seconds,
            "first_call_seconds": self.timed_calls(1),
            "import_bytes": import_bytes,
        }

    def turn(self, calls: int, warm: int) -> Answer:
        """Seconds a call over ``calls`` calls, after ``warm`` calls that are not timed.

        The turn is timed in up to ten stretches, each a mean over its calls; their median is the answer, so that one
        moment in which the system gives the processor to somebody else does not count.
        """
        if warm:
            self.timed_calls(warm)
        together = max(1, calls // 10)
        stretches = [self.timed_calls(together) / together for _ in range(max(1, calls // together))]
        self.settle()
        return {"seconds": statistics.median(stretches)}

    def report(self, quick: bool) -> Answer:
        """The numbers of a workload that chainrule runs alone."""
        for module in self.peer.modules:
            importlib.import_module(module)
        measure = self.workload().report
        if measure is None:
            raise ValueError(f"{self.workload_name} has no report")
        return {"numbers": measure(lambda fraction: self.send({"progress": fraction}), quick)}

    def finish(self) -> Answer:
        """The highest memory of this process, and which BLAS it ran on where that can be told."""
        peak = memory.peak_bytes()
        try:
            from threadpoolctl import threadpool_info  # type: ignore[import-not-found, unused-ignore]
        except ImportError:
            pools = []
        else:
            pools = [
                {key: pool.get(key) for key in ("internal_api", "version", "num_threads", "architecture")}
                for pool in threadpool_info()
            ]
        return {"peak_bytes": peak, "thread_pools": pools}

    def workload(self) -> Workload:
        """The workload, imported only now: after the peer, so that the import time is the peer's own."""
        from benchmarks.workloads import load

        return load(self.workload_name)

    def set_threads(self) -> None:
        """PyTorch's threads are set as its users set them; everybody else runs on its defaults."""
        if self.peer.torch_threads is not None:
            import torch  # type: ignore[import-not-found, unused-ignore]

            torch.set_num_threads(self.peer.torch_threads)

    def timed_calls(self, calls: int) -> float:
        """The seconds that ``calls`` steps take together."""
        program = self.program
        assert program is not None
        if program.seconds is not None:
            return sum(program.seconds() for _ in range(calls))
        step = program.step
        start = time.perf_counter()
        for _ in range(calls):
            step()
        return time.perf_counter() - start

    @staticmethod
    def settle(longest: float = 0.5) -> None:
        """Waits until the threads of this process have stopped spinning.

        BLAS and OpenMP pools wait actively for more work; without this the next peer would share the cores with the
        last one's idle threads.
        """
        end = time.perf_counter() + longest
        while time.perf_counter() < end:
            before = time.process_time()
            time.sleep(0.004)
            if time.process_time() - before < 0.0004:
                return


def serve(worker: Worker, commands: TextIO, send: Callable[[Answer], None]) -> None:
    """Obeys until the commands end, which is also what happens when the runner dies."""
    for line in commands:
        command = json.loads(line)
        action = getattr(worker, command.pop("do"))
        try:
            answer = action(**command)
        except Exception as error:
            import traceback

            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        send(answer)


def main() -> None:
    """Takes the protocol's pipe out of the program's reach, then serves."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)

    def send(answer: Answer) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    serve(Worker(sys.argv[1], sys.argv[2], send), sys.stdin, send)


if __name__ == "__main__":
    main()
