"""Starts a worker for each program, gives them turns, and makes numbers of what they answer.

Only one process works at a time: turns go round (A B C, B C A, ...), short ones and many, so that a slow moment of the
machine hits everybody alike. A turn's time is the median of ten means over a few milliseconds (what collecting garbage
costs is part of them), a program's time the median of its turns, and a comparison of two the median of their ratios
turn by turn: neighbouring turns meet the machine in the same state, also where it changes within a run.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.peers import KEPT_IN, PEERS
from benchmarks.workload import FIRST_CALLS, Bound, Workload

ROOT = Path(__file__).resolve().parent.parent
SETTINGS_LEFT_OUT = ("OPENBLAS_", "NVPL_", "GOTO_", "MKL_", "OMP_", "CHAINRULE_", "PYTHONDONTWRITEBYTECODE")
ANSWER_SECONDS = 900.0
LONG_ENOUGH = 25.0  # seconds of first calls of one peer, after which it makes no more of them


class WorkerError(Exception):
    """A program that could not be built or run; the message is one line."""


@dataclass(frozen=True)
class Plan:
    """How much is measured: turns of each program, their length, the calls before the first, and first calls."""

    rounds: int = 60
    turn_seconds: float = 0.03
    warm_seconds: float = 0.3
    quick: bool = False
    first_calls: int = 5

    @classmethod
    def short(cls) -> Plan:
        """A plan that shows that everything runs, not numbers to quote."""
        return cls(rounds=5, turn_seconds=0.005, warm_seconds=0.02, quick=True, first_calls=1)


@dataclass
class Measurement:
    """What one program did: seconds a call by turn, the cost of starting, its memory; or why there is nothing."""

    turns: list[float] = field(default_factory=list)
    calls_in_a_turn: int = 0
    import_seconds: float = 0.0
    build_seconds: float = 0.0
    first_call_seconds: float = 0.0
    first_calls: list[float] = field(default_factory=list)
    warm_first_calls: list[float] = field(default_factory=list)
    import_bytes: int = 0
    peak_bytes: int = 0
    thread_pools: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None

    @property
    def median(self) -> float:
        """Seconds a call."""
        return statistics.median(self.turns)

    def quantity(self, name: str) -> float:
        """What a bound speaks of beside time: ``memory``, ``first_call`` or ``warm_first_call``; 0 if not measured."""
        if name == "memory":
            return self.peak_bytes
        calls = self.first_calls if name == "first_call" else self.warm_first_calls
        return statistics.median(calls) if calls else 0.0


@dataclass
class Verdict:
    """A bound with the number it is about; ``value`` is None where a peer that it needs did not run."""

    bound: Bound
    value: float | None

    @property
    def holds(self) -> bool | None:
        """Whether the bound holds; None where it could not be measured."""
        return None if self.value is None else self.value <= self.bound.limit


@dataclass
class Result:
    """One workload: its measurements by peer, or the numbers of its report, and its bounds."""

    name: str
    title: str
    in_process: bool = True
    measurements: dict[str, Measurement] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    error: str | None = None
    verdicts: list[Verdict] = field(default_factory=list)

    def turn_ratios(self, of: str, against: str) -> list[float]:
        """The ratio of the times of two programs, turn by turn; none where one of them did not run."""
        mine, others = (self.measurements.get(name, Measurement()).turns for name in (of, against))
        return [a / b for a, b in zip(mine, others, strict=bool(mine and others))]

    def ratio(self, of: str, against: Sequence[str], quantity: str = "time", difference: bool = False) -> float | None:
        """quantity(of) / the smallest quantity(against), or their difference; None unless all of them ran.

        Of times it is the median of the ratios turn by turn, with the peer with which that is largest.
        """
        if quantity == "time":
            ratios = [self.turn_ratios(of, peer) for peer in against]
            return max(map(statistics.median, ratios)) if all(ratios) else None
        found = [self.measurements.get(name) for name in (of, *against)]
        values = [each.quantity(quantity) for each in found if each is not None and each.turns]
        if len(values) < len(found) or min(values) <= 0:
            return None
        return values[0] - min(values[1:]) if difference else values[0] / min(values[1:])

    def spread(self, of: str, against: str) -> tuple[float, float] | None:
        """The outer quartiles of the ratio turn by turn: how much the machine moved between neighbouring turns."""
        ratios = self.turn_ratios(of, against)
        if len(ratios) < 2:
            return None
        low, _, high = statistics.quantiles(ratios, n=4)
        return low, high

    def judge(self, bounds: Sequence[Bound]) -> None:
        """Puts a number to each bound."""
        for bound in bounds:
            if bound.against:
                value = self.ratio(bound.of, bound.against, bound.quantity, bound.difference)
                self.verdicts.append(Verdict(bound, value))
            else:
                self.verdicts.append(Verdict(bound, self.numbers.get(bound.quantity)))

    def errors(self) -> list[str]:
        """One line for everything that did not run."""
        found = [f"{self.name}, {peer}: {each.error}" for peer, each in self.measurements.items() if each.error]
        return found + ([f"{self.name}: {self.error}"] if self.error else [])

    def as_json(self) -> dict[str, Any]:
        """Everything, in plain types."""
        return {
            "title": self.title,
            "measurements": {
                name: asdict(each) | {"median_seconds": each.median if each.turns else None}
                for name, each in self.measurements.items()
            },
            "ratios": {name: self.ratio("chainrule", (name,)) for name in self.measurements if name != "chainrule"},
            "numbers": self.numbers,
            "units": self.units,
            "error": self.error,
            "bounds": [asdict(v.bound) | {"value": v.value, "holds": v.holds} for v in self.verdicts],
        }


# ----- the processes -----


def environment(peer_name: str, folder: str | None = None, keeping: bool = False) -> dict[str, str]:
    """The environment of a worker: no settings of BLAS, threads or chainrule, but those that the peer needs.

    Nor the one that keeps Python from writing bytecode: pip compiles what it installs, so a source tree may as well.

    Args:
        folder: where it finds what it has compiled before, and leaves what it compiles.
        keeping: whether a peer that would not do so by itself is told to.
    """
    peer = PEERS[peer_name]
    left_out = (*SETTINGS_LEFT_OUT, *KEPT_IN, *peer.keeping)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)} | dict(peer.environment)
    if folder is not None:
        kept |= {name: os.path.join(folder, below) for name, below in KEPT_IN.items()}
        if keeping:
            kept |= {name: value.format(folder=folder) for name, value in peer.keeping.items()}
    return kept


class WorkerProcess:
    """The runner's end of a worker: ``ask`` sends a command and waits for the answer. Use it in a ``with``.

    Args:
        folder: see `environment`; one of its own, empty and thrown away at the end, where none is given.
    """

    def __init__(self, workload_name: str, peer_name: str, folder: str | None = None, keeping: bool = False) -> None:
        self.own_folder = tempfile.TemporaryDirectory(prefix="benchmarks-", ignore_cleanup_errors=True)
        folder = folder or self.own_folder.name
        self.messages = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", workload_name, peer_name],
            cwd=ROOT,
            env=environment(peer_name, folder, keeping),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.messages,
            text=True,
            encoding="utf-8",
        )

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        if kind is not None:
            self.process.kill()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.messages.close()
        self.own_folder.cleanup()

    def ask(self, do: str, progress: Callable[[float], None] | None = None, **arguments: Any) -> dict[str, Any]:
        """One command, one answer.

        Raises:
            WorkerError: where the program failed, the process died, or no answer came.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        overdue = threading.Event()

        def give_up() -> None:
            overdue.set()
            self.process.kill()

        timer = threading.Timer(ANSWER_SECONDS, give_up)
        timer.daemon = True
        timer.start()
        try:
            self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self.process.stdin.flush()
            for line in self.process.stdout:
                answer: dict[str, Any] = json.loads(line)
                if "progress" in answer:
                    if progress is not None:
                        progress(answer["progress"])
                    continue
                if "error" in answer:
                    raise WorkerError(answer["error"])
                return answer
        except BrokenPipeError:
            pass
        finally:
            timer.cancel()
        if overdue.is_set():
            raise WorkerError(f"no answer to {do!r} after {ANSWER_SECONDS:.0f} seconds")
        raise WorkerError(f"the process ended with code {self.process.wait()}: {self.last_words()}")

    def last_words(self) -> str:
        """The last line that the process wrote to stderr."""
        self.messages.seek(0)
        lines = self.messages.read().split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


# ----- one workload -----


def run_workload(
    name: str,
    workload: Workload,
    peers: Sequence[str],
    plan: Plan,
    progress: Callable[[float, str], None] = lambda fraction, doing: None,
) -> Result:
    """Measures one workload with those of the peers that have a program for it."""
    result = Result(name, workload.title, workload.in_process, units=dict(workload.units))
    if workload.report is not None:
        run_report(result, plan, progress)
    else:
        present = [peer for peer in peers if peer in workload.programs]
        run_turns(result, workload, present, plan, progress)
        run_first_calls(result, workload, present, plan, progress)
    result.judge(workload.bounds)
    progress(1.0, name)
    return result


def run_report(result: Result, plan: Plan, progress: Callable[[float, str], None]) -> None:
    """A workload of chainrule alone, in a process of its own."""
    with WorkerProcess(result.name, "chainrule") as process:
        try:
            answer = process.ask("report", lambda fraction: progress(fraction, result.name), quick=plan.quick)
            result.numbers = answer["numbers"]
        except WorkerError as error:
            result.error = str(error)


def run_turns(
    result: Result, workload: Workload, peers: Sequence[str], plan: Plan, progress: Callable[[float, str], None]
) -> None:
    """All programs of a workload: started one after the other, then given turns."""
    rounds = min(plan.rounds, workload.most_rounds or plan.rounds)
    total = len(peers) * (rounds + max(1, rounds // 5))
    done = 0.0

    def advance(units: float, doing: str) -> None:
        nonlocal done
        done += units
        progress(done / total, doing)

    processes: dict[str, WorkerProcess] = {}
    try:
        for peer in peers:
            advance(0, f"{result.name}: starting {PEERS[peer].title}")
            measurement = result.measurements[peer] = Measurement()
            process = WorkerProcess(result.name, peer)
            processes[peer] = process
            try:
                answer = process.ask("start", warm_seconds=plan.warm_seconds)
            except WorkerError as error:
                measurement.error = str(error)
            else:
                measurement.calls_in_a_turn = max(1, round(plan.turn_seconds / answer.pop("call_seconds")))
                for key, value in answer.items():
                    setattr(measurement, key, value)
            advance(max(1, rounds // 5), result.name)
        for number in range(rounds):
            first = number % max(1, len(peers))
            for peer in (*peers[first:], *peers[:first]):
                take_turn(result.measurements[peer], processes[peer], plan, workload.in_process)
                advance(1, result.name)
        for peer, process in processes.items():
            measurement = result.measurements[peer]
            if measurement.error is None:
                answer = process.ask("finish")
                measurement.peak_bytes, measurement.thread_pools = answer["peak_bytes"], answer["thread_pools"]
    finally:
        interrupted = sys.exc_info()
        for process in processes.values():
            process.__exit__(*interrupted)


def run_first_calls(
    result: Result, workload: Workload, peers: Sequence[str], plan: Plan, progress: Callable[[float, str], None]
) -> None:
    """First calls of the peers that a bound speaks of: each in a process of its own, by turns.

    Cold: the peer on its defaults, with nothing on disk. Warm: with what an earlier process like it has left there; a
    peer that leaves nothing by itself is told to.
    """
    asked = [bound for bound in workload.bounds if bound.quantity in FIRST_CALLS]
    wanted = {peer for bound in asked for peer in (bound.of, *bound.against)}
    taking_part = [peer for peer in peers if peer in wanted and result.measurements[peer].error is None]
    with tempfile.TemporaryDirectory(prefix="benchmarks-", ignore_cleanup_errors=True) as folder:
        for _ in range(plan.first_calls):
            for peer in taking_part:
                measurement = result.measurements[peer]
                if measurement.error or sum(measurement.first_calls) > LONG_ENOUGH:
                    continue
                progress(1.0, f"{result.name}: first calls of {PEERS[peer].title}")
                kept = os.path.join(folder, peer)
                try:
                    measurement.first_calls.append(first_call(result.name, peer))
                    if not os.path.exists(kept):
                        os.mkdir(kept)
                        first_call(result.name, peer, kept)
                    measurement.warm_first_calls.append(first_call(result.name, peer, kept))
                except WorkerError as error:
                    measurement.error = str(error)


def first_call(workload_name: str, peer: str, folder: str | None = None) -> float:
    """The seconds of the first call in a fresh process, on what is in the folder or, without one, on nothing.

    Raises:
        WorkerError: the program fails.
    """
    with WorkerProcess(workload_name, peer, folder, keeping=folder is not None) as process:
        seconds: float = process.ask("first_call")["first_call_seconds"]
    return seconds


def take_turn(measurement: Measurement, process: WorkerProcess, plan: Plan, warm_up: bool) -> None:
    """One turn of one program; a program that fails takes no further part."""
    if measurement.error is not None:
        return
    if measurement.turns:  # the calls before the first turn may have met a slow moment
        fitting = round(plan.turn_seconds / min(measurement.turns))
        measurement.calls_in_a_turn = max(measurement.calls_in_a_turn, fitting)
    calls = measurement.calls_in_a_turn
    try:
        answer = process.ask("turn", calls=calls, warm=max(1, calls // 5) if warm_up else 0)
    except WorkerError as error:
        measurement.error = str(error)
        measurement.turns.clear()
    else:
        measurement.turns.append(answer["seconds"])


def read_once_from_disk(peers: Sequence[str]) -> None:
    """Imports every peer once in a process that is thrown away: first-call times are not to measure the disk."""
    for peer in peers:
        imports = "; ".join(f"import {module}" for module in PEERS[peer].modules) or "pass"
        subprocess.run(
            [sys.executable, "-c", imports],
            cwd=ROOT,
            env=environment(peer),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )


# ----- the machine -----


def machine(peers: Sequence[str]) -> dict[str, Any]:
    """What the numbers were measured on."""
    versions = {"python": platform.python_version()}
    for peer in peers:
        distribution = PEERS[peer].distribution
        if distribution not in versions:
            try:
                versions[distribution] = metadata.version(distribution)
            except metadata.PackageNotFoundError:
                versions[distribution] = "?"
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.platform(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "versions": versions,
    }


def processor() -> str:
    """The name of the processor."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as information:
            for line in information:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
