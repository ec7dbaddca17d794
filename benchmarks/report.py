"""What a run leaves behind: a table for the eye, JSON for programs, a plot."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers import PEERS, title_of
from benchmarks.runner import Result, Verdict

QUANTITIES = {
    "time": "",
    "memory": "peak memory, ",
    "first_call": "first call, ",
    "warm_first_call": "first call with compiled code on disk, ",
}
HOLDS = {True: "yes", False: "NO", None: "not measured"}


# ----- the table -----


def table(results: Sequence[Result]) -> str:
    """Every ratio with its bound, every number of the reports, what starting costs, and what did not run."""
    rows: list[tuple[str, ...]] = [("workload", "peer", "median", "chainrule/peer", "quartiles", "bound", "holds?")]
    for result in results:
        rows.extend(comparison_rows(result))
    parts = [aligned(rows)] if len(rows) > 1 else []
    start_rows: list[tuple[str, ...]] = [
        ("workload", "peer", "import", "build", "first call", "on disk", "peak memory")
    ]
    for result in results:
        start_rows.extend(starting_rows(result))
    if len(start_rows) > 1:
        parts.append(aligned(start_rows))
    number_rows: list[tuple[str, ...]] = [("workload", "what", "value", "bound", "holds?")]
    for result in results:
        number_rows.extend(report_rows(result))
    if len(number_rows) > 1:
        parts.append(aligned(number_rows))
    errors = [error for result in results for error in result.errors()]
    if errors:
        parts.append("\n".join(["did not run:", *(f"  {error}" for error in errors)]))
    return "\n\n".join(parts)


def comparison_rows(result: Result) -> list[tuple[str, ...]]:
    """A row for each peer, and one for each bound that speaks of several peers or of another quantity than time."""
    rows: list[tuple[str, ...]] = []
    verdicts = list(result.verdicts)
    for peer, measurement in result.measurements.items():
        if not measurement.turns:
            continue
        median = seconds(measurement.median)
        if peer == "chainrule":
            rows.append((result.name, PEERS[peer].title, median, "", "", "", ""))
            continue
        ratio, spread = result.ratio("chainrule", (peer,)), result.spread("chainrule", peer)
        own = [
            v
            for v in verdicts
            if v.bound.of == "chainrule" and v.bound.against == (peer,) and v.bound.quantity == "time"
        ]
        rows.append(
            (
                result.name,
                PEERS[peer].title,
                median,
                "" if ratio is None else f"{ratio:.3g}",
                "" if spread is None else "  ".join(f"{each:.3g}" for each in spread),
                *(bound_cells(own[0]) if own else ("", "")),
            )
        )
        if own:
            verdicts.remove(own[0])
    for verdict in verdicts:
        bound = verdict.bound
        if bound.against:
            sign = "-" if bound.difference else "/"
            of = "" if bound.of == "chainrule" and not bound.difference else f"{PEERS[bound.of].title} {sign} "
            name = QUANTITIES[bound.quantity] + of + title_of(bound.against)
            ratio_cell = "" if verdict.value is None else f"{verdict.value:.3g}{' s' if bound.difference else ''}"
            rows.append((result.name, name, "", ratio_cell, "", *bound_cells(verdict)))
    return rows


def starting_rows(result: Result) -> list[tuple[str, ...]]:
    """What each program cost before its first turn, and the memory of its process."""
    if not result.in_process:
        return []
    return [
        (
            result.name,
            PEERS[peer].title,
            seconds(each.import_seconds),
            seconds(each.build_seconds),
            seconds(each.quantity("first_call") or each.first_call_seconds),
            seconds(each.quantity("warm_first_call")) if each.warm_first_calls else "",
            f"{each.peak_bytes / 2**20:.0f} MiB",
        )
        for peer, each in result.measurements.items()
        if each.turns
    ]


def report_rows(result: Result) -> list[tuple[str, ...]]:
    """The numbers of a report."""
    rows: list[tuple[str, ...]] = []
    for name, value in result.numbers.items():
        verdict = next((v for v in result.verdicts if not v.bound.against and v.bound.quantity == name), None)
        cells = bound_cells(verdict) if verdict else ("", "")
        rows.append((result.name, result.units.get(name, name), number(value), *cells))
    return rows


def bound_cells(verdict: Verdict) -> tuple[str, str]:
    """The bound and whether it holds."""
    unit = " s" if verdict.bound.difference else ""
    return f"<= {number(verdict.bound.limit)}{unit}", HOLDS[verdict.holds]


def aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """Columns as wide as their widest cell; the first row is a heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def seconds(value: float) -> str:
    """``1.5 ms``: three digits in the unit that suits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}" if value < 999.5 * size else f"{value / size:.0f} {unit}"
    return f"{value / 1e-9:.3g} ns"


def number(value: float) -> str:
    """Whole numbers in groups of three digits, the rest with three digits."""
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:.3g}"


def machine_line(machine: dict[str, Any]) -> str:
    """One line: processor, cores, BLAS, versions."""
    versions = " ".join(f"{name} {version}" for name, version in machine["versions"].items())
    blas = f"; BLAS {machine['blas']}" if machine.get("blas") else ""
    return f"{machine['processor']}, {machine['cores']} cores{blas}; {versions}"


def blas_in_use(results: Sequence[Result]) -> str | None:
    """The BLAS behind NumPy with its kernels and threads, where a worker could tell."""
    for result in results:
        for peer in ("numpy", "chainrule"):
            measurement = result.measurements.get(peer)
            for pool in measurement.thread_pools if measurement else ():
                if pool["internal_api"] != "openmp":
                    kernels = f"{pool['internal_api']} {pool['version']} {pool['architecture']}"
                    return f"{kernels}, {pool['num_threads']} threads"
    return None


# ----- files -----


def as_json(machine: dict[str, Any], options: dict[str, Any], results: Sequence[Result]) -> dict[str, Any]:
    """The whole run in plain types."""
    return {"machine": machine, "options": options, "workloads": {each.name: each.as_json() for each in results}}


def write_atomically(path: Path, content: bytes) -> None:
    """The file is the old one or the new one at every moment."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, content: dict[str, Any]) -> None:
    """JSON, atomically."""
    write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())


def plot(path: Path, results: Sequence[Result], machine: dict[str, Any]) -> bool:
    """Bars of chainrule/peer on a logarithmic axis, with the bounds.

    False where matplotlib is missing or nothing was compared.
    """
    try:
        import matplotlib
    except ImportError:
        return False
    bars = plot_bars(results)
    if not bars:
        return False
    matplotlib.use("Agg")
    import io

    from matplotlib import pyplot

    groups = [name for name, _, _, _ in bars]
    order = list(dict.fromkeys(groups))
    heights = [index + 0.8 * order.index(name) for index, name in enumerate(groups)]
    figure, axes = pyplot.subplots(figsize=(9, 1.6 + 0.27 * heights[-1]), layout="constrained")
    colours = {True: "tab:blue", False: "tab:red", None: "silver"}
    for height, (_, _, ratio, limit) in zip(heights, bars, strict=True):
        holds = None if limit is None else ratio <= limit
        axes.barh(height, ratio - 1, left=1, color=colours[holds], height=0.75)
        label = f" {ratio:.2g} " if ratio < 99.5 else f" {ratio:.0f} "
        beside = limit if limit is not None and 1 <= ratio <= limit < 1.3 * ratio else ratio
        axes.text(beside, height, label, va="center", ha="left" if ratio >= 1 else "right", fontsize=7)
        if limit is not None:
            axes.plot([limit, limit], [height - 0.45, height + 0.45], color="black", linewidth=2)
    axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(heights, [peer for _, peer, _, _ in bars], fontsize=8)
    axes.invert_yaxis()
    for name in order:
        first = heights[groups.index(name)]
        axes.text(
            0.005, first - 0.5, name, transform=axes.get_yaxis_transform(), fontsize=8, weight="bold", va="bottom"
        )
    axes.set_xlabel("time of chainrule / time of the peer: left of 1 chainrule is faster; black marks are bounds")
    axes.set_title(f"{machine['processor']}, {machine['cores']} cores", fontsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150)
    pyplot.close(figure)
    write_atomically(path, picture.getvalue())
    return True


def plot_bars(results: Sequence[Result]) -> list[tuple[str, str, float, float | None]]:
    """(workload, peer, ratio, bound) for each bar; a bound on the better of two is drawn at both."""
    bars = []
    for result in results:
        limits = {
            peer: verdict.bound.limit
            for verdict in result.verdicts
            if verdict.bound.of == "chainrule" and verdict.bound.quantity == "time"
            for peer in verdict.bound.against
        }
        for peer in result.measurements:
            ratio = None if peer == "chainrule" else result.ratio("chainrule", (peer,))
            if ratio is not None:
                bars.append((result.name, PEERS[peer].title, ratio, limits.get(peer)))
    return bars
