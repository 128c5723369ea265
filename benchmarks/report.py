"""What people and programs get to see: progress, JSON lines, a table."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from benchmarks.session import Rounds
    from benchmarks.workloads import Workload

# Where nobody set a width, as in a log, the table gets the one it needs.
_people = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 180)


def progress(text: str) -> None:
    """Tell people what is being done."""
    _people.print(f"==> {text}", style="dim", soft_wrap=True)


def row(workload: Workload, rounds: Rounds, costs: dict[str, float], *, options: argparse.Namespace) -> dict[str, Any]:
    """Return the JSON of a workload: medians of the rounds, and their ranges."""
    return {
        "workload": workload.name,
        **{name: _rounded(statistics.median(values)) for name, values in rounds.metrics.items()},
        **{name: _rounded(value) for name, value in costs.items()},
        "best_ratio": _rounded(min(rounds.metrics["ms_per_step"]) / min(rounds.limits["transaction"])),
        "limit_ms": _rounded(statistics.median(rounds.limits["transaction"])),
        "limits_ms": {name: _rounded(statistics.median(values)) for name, values in rounds.limits.items()},
        "ranges": {
            name: [_rounded(min(values)), _rounded(max(values))]
            for name, values in {**rounds.metrics, "limit_ms": rounds.limits["transaction"]}.items()
        },
        "db": options.db,
        "runs": "in process" if options.in_process else "celery",
        "instances": workload.instances,
        "steps": workload.steps,
        "rounds": options.rounds,
    }


def print_json(data: dict[str, Any]) -> None:
    """Print a result for programs."""
    print(json.dumps(data), flush=True)


def print_text(text: str) -> None:
    """Print a profile."""
    print(text, flush=True)


def print_table(rows: list[dict[str, Any]], *, options: argparse.Namespace) -> None:
    """Print the results for people."""
    where = "in this process" if options.in_process else "Celery worker, two processes"
    table = Table(title=f"{options.db}, {where}; median and range of {options.rounds} rounds")
    table.add_column("workload")
    for name in ("ms a step", "stored ms", "limit ms", "ratio", "stored ratio", "best ratio", "p50 / p95 ms"):
        table.add_column(name, justify="right")
    for name in ("CPU ms", "statements", "commits", "WAL bytes"):
        table.add_column(name, justify="right")
    for each in rows:
        table.add_row(
            each["workload"],
            *(_cell(each, name) for name in ("ms_per_step", "stored_ms_per_step", "limit_ms", "ratio", "stored_ratio")),
            f"{each['best_ratio']:.2f}",
            f"{each['p50_ms']:.1f} / {each['p95_ms']:.1f}" if "p50_ms" in each else "",
            f"{each['cpu_ms_per_step']:.2f}",
            f"{each['statements_per_step']:.2f}",
            f"{each['commits_per_step']:.2f}",
            f"{each['wal_bytes_per_step']:.0f}" if "wal_bytes_per_step" in each else "",
        )
    _people.print(table)
    for each in rows:
        clients = ", ".join(f"{name} {value:.2f} ms" for name, value in each["limits_ms"].items())
        _people.print(f"{each['workload']}: storing a step with {clients}", style="dim", soft_wrap=True)
    lows, highs = zip(*(each["ranges"]["limit_ms"] for each in rows), strict=True)
    if max(highs) > 2 * min(lows):
        _people.print(
            f"The machine was busy: the limit was between {min(lows):.2f} and {max(highs):.2f} ms. "
            "Trust the best ratio, CPU, statements, commits and WAL; not the rest.",
            style="yellow",
            soft_wrap=True,
        )


def _cell(each: dict[str, Any], name: str) -> str:
    if name not in each:
        return ""
    low, high = each["ranges"][name]
    return f"{each[name]:.2f}\n{low:.2f}..{high:.2f}"


def _rounded(value: float) -> float:
    return round(value, 4) if value < 100 else round(value, 1)
