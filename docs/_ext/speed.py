"""The page about speed: the tables and the plot of a run of `python -m benchmarks`, as it printed them.

The last run on this computer, or else the one that is kept beside the page (`--out docs/explanation` makes it anew).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.runner import Measurement, Result, Verdict
from benchmarks.workload import Bound

ROOT = Path(__file__).resolve().parent.parent.parent
RUNS = (ROOT / "benchmark-results" / "benchmarks.json", ROOT / "docs" / "explanation" / "benchmarks.json")
HEADING = """# What the benchmarks printed

`python -m benchmarks` (`make bench`) runs the same computation with chainrule and with other libraries in turns, on
your machine, and prints how long each takes; [its description](../project/benchmarks.md) says how. The ratio is
chainrule's time over the other's: below 1, chainrule is the faster one.

"""
NO_RUN = """When this page was made there was no run to show. `make bench` makes one and leaves it in
`benchmark-results/`; `make docs` shows it here.
"""


def result(name: str, said: dict[str, Any]) -> Result:
    """A workload's result from what the run has left in its file."""
    measurements = {
        peer: Measurement(**{key: value for key, value in each.items() if key != "median_seconds"})
        for peer, each in said["measurements"].items()
    }
    known = ({key: value for key, value in b.items() if key not in ("value", "holds")} for b in said["bounds"])
    bounds = [Bound(**{**b, "against": tuple(b["against"])}) for b in known]
    found = Result(
        name,
        said["title"],
        measurements=measurements,
        numbers=said["numbers"],
        units=said["units"],
        error=said["error"],
    )
    found.verdicts = [Verdict(bound, b["value"]) for bound, b in zip(bounds, said["bounds"], strict=True)]
    return found


def pages(folder: Path, runs: Sequence[Path] = RUNS) -> dict[str, str]:
    """The page by name; the plot is copied to the folder."""
    run = next((path for path in runs if path.exists()), None)
    if run is None:
        return {"benchmarks.md": HEADING + NO_RUN}
    said = json.loads(run.read_text(encoding="utf-8"))
    results = [result(name, each) for name, each in said["workloads"].items()]
    lines = [HEADING, f"Run on {said['options']['date']}: {report.machine_line(said['machine'])}.", ""]
    for each in results:
        lines += [f"## {each.name}", "", f"{each.title[:1].upper()}{each.title[1:]}.", ""]
        lines += ["```text", report.table([each]), "```", ""]
    plot = run.with_suffix(".png")
    if plot.exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(plot, folder / "benchmarks.png")
        lines += ["## All ratios", "", "![chainrule's time over the others', by workload](benchmarks.png)", ""]
    return {"benchmarks.md": "\n".join(lines)}
