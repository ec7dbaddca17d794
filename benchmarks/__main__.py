"""``python -m benchmarks``: the command line (README.md says what is measured, and how)."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from benchmarks import report, runner
from benchmarks.peers import INSTALL_COMMAND, PEERS
from benchmarks.workloads import NAMES, load


class OneLineParser(argparse.ArgumentParser):
    """Errors are one line and exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Says what is wrong, without the usage."""
        self.exit(2, f"{self.prog}: {message}\n")


def names_among(known: Sequence[str], kind: str) -> Any:
    """An argument type: a list of names with commas between, all of them known."""

    def parse(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",") if name.strip()]
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise argparse.ArgumentTypeError(
                f"no {kind} called {', '.join(unknown) or text!r}; there are {', '.join(known)}"
            )
        return list(dict.fromkeys(names))

    return parse


def positive(text: str) -> int:
    """An argument type: a whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def parser() -> OneLineParser:
    """The options."""
    options = OneLineParser(
        "python -m benchmarks", description="chainrule side by side with the peers that are installed"
    )
    options.add_argument("--only", type=names_among(NAMES, "workload"), metavar="NAME[,NAME]", help="these workloads")
    options.add_argument(
        "--peers",
        type=names_among(tuple(PEERS), "peer"),
        metavar="NAME[,NAME]",
        help="these peers (chainrule always runs)",
    )
    options.add_argument("--rounds", type=positive, help=f"turns of each program (default {runner.Plan.rounds})")
    options.add_argument(
        "--out",
        type=Path,
        default=Path("benchmark-results"),
        metavar="FOLDER",
        help="where results go (default %(default)s)",
    )
    options.add_argument("--quick", action="store_true", help="few and short turns: shows that everything runs")
    options.add_argument("--list", action="store_true", help="name workloads and peers, and end")
    return options


def listing() -> str:
    """Workloads with their programs, and peers with whether they are installed."""
    lines = ["workloads:"]
    for name in NAMES:
        workload = load(name)
        lines.append(f"  {name:<18}{workload.title} ({', '.join(workload.programs) or 'chainrule alone'})")
    lines.append("peers:")
    lines += [
        f"  {name:<18}{peer.title}{'' if peer.installed() else ' (not installed)'}" for name, peer in PEERS.items()
    ]
    lines.append(f"all peers: {INSTALL_COMMAND}")
    return "\n".join(lines)


def chosen_peers(options: argparse.Namespace, options_parser: OneLineParser) -> list[str]:
    """The peers to run: all that are installed, or those asked for, which then must be; always with chainrule."""
    asked = options.peers
    if asked is not None:
        missing = [name for name in asked if not PEERS[name].installed()]
        if missing:
            options_parser.error(f"argument --peers: not installed: {', '.join(missing)} ({INSTALL_COMMAND})")
    return [
        name
        for name, peer in PEERS.items()
        if name == "chainrule" or (peer.installed() if asked is None else name in asked)
    ]


class Progress:
    """A bar over all workloads: tqdm's where it is installed, lines on a terminal otherwise, nothing in a pipe."""

    def __init__(self, workloads: int) -> None:
        self.finished = 0
        self.bar: Any = None
        self.last = ""
        try:
            from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]
        except ImportError:
            return
        form = "{l_bar}{bar}| {elapsed}<{remaining} {desc}"
        self.bar = tqdm(
            total=float(workloads), disable=None, leave=False, bar_format=form.replace("{l_bar}", "{percentage:3.0f}%|")
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.close()

    def update(self, fraction: float, doing: str) -> None:
        """``fraction`` of the present workload is done."""
        if self.bar is not None:
            self.bar.set_description_str(doing, refresh=False)
            self.bar.update(self.finished + min(fraction, 1.0) - self.bar.n)
        elif doing != self.last and sys.stderr.isatty():
            print(doing, file=sys.stderr)
        self.last = doing

    def next(self) -> None:
        """The present workload is done."""
        self.finished += 1


def plan_from(options: argparse.Namespace) -> runner.Plan:
    """How much is measured."""
    plan = runner.Plan.short() if options.quick else runner.Plan()
    if options.rounds is None:
        return plan
    return dataclasses.replace(plan, rounds=options.rounds)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs, writes, prints; 0: everything ran, 1: a program failed, 2: a bad option, 130: interrupted."""
    options_parser = parser()
    options = options_parser.parse_args(arguments)
    if options.list:
        print(listing())
        return 0
    peers = chosen_peers(options, options_parser)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        options_parser.error(f"argument --out: cannot make the folder {options.out}: {error.strerror}")
    names = options.only or list(NAMES)
    plan = plan_from(options)
    machine = runner.machine(peers)
    said = {
        "only": names,
        "peers": peers,
        "rounds": plan.rounds,
        "quick": plan.quick,
        "date": time.strftime("%Y-%m-%d"),
    }
    results: list[runner.Result] = []
    json_path, plot_path = options.out / "benchmarks.json", options.out / "benchmarks.png"
    try:
        with Progress(len(names)) as progress:
            progress.update(0.0, "reading the peers from disk")
            runner.read_once_from_disk(peers)
            for name in names:
                results.append(runner.run_workload(name, load(name), peers, plan, progress.update))
                progress.next()
                machine["blas"] = report.blas_in_use(results)
                report.write_json(json_path, report.as_json(machine, said, results))
    except KeyboardInterrupt:
        print("interrupted; the workloads that had ended are kept", file=sys.stderr)
        if not results:
            return 130
    print(report.table(results))
    print()
    print(report.machine_line(machine))
    wrote = [str(json_path)]
    if report.plot(plot_path, results, machine):
        wrote.append(str(plot_path))
    print("wrote " + " and ".join(wrote))
    if len(results) < len(names):
        return 130
    return 1 if any(result.errors() for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
