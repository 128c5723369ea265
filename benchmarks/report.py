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
        **{name: _rounded(value) for name, value in costs.items()},
        **{name: _rounded(statistics.median(values)) for name, values in rounds.metrics.items()},
        "best_ratio": _rounded(min(rounds.metrics["ms_per_step"]) / min(rounds.metrics["limit_ms"])),
        "limits_ms": {name: _rounded(statistics.median(values)) for name, values in rounds.limits.items()},
        "ranges": {
            name: [_rounded(min(values)), _rounded(max(values))]
            for name, values in {**rounds.metrics, "transaction_ms": rounds.limits["transaction"]}.items()
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


# A column: its title, the metrics in it, and whether their ranges are shown.
_COLUMNS: tuple[tuple[str, tuple[str, ...], bool], ...] = (
    ("ms a step", ("ms_per_step",), True),
    ("stored ms", ("stored_ms_per_step",), True),
    ("limit ms", ("limit_ms",), True),
    ("ratio", ("ratio",), True),
    ("stored ratio", ("stored_ratio",), True),
    ("a second", ("per_second",), True),
    ("seconds", ("seconds", "wall_s"), True),
    ("p50 / p95 ms", ("p50_ms", "p95_ms"), False),
    ("timer late by p50 / p95 ms", ("lag_p50_ms", "lag_p95_ms"), False),
    ("idle queries/s", ("idle_queries_per_second",), False),
    ("MB", ("memory_mb",), False),
    ("CPU ms: client / workers / database", ("client_cpu_ms", "workers_cpu_ms", "database_cpu_ms"), False),
    ("statements", ("statements_per_step",), False),
    ("commits", ("commits_per_step",), False),
    ("WAL bytes", ("wal_bytes_per_step",), False),
)


def print_table(rows: list[dict[str, Any]], *, options: argparse.Namespace) -> None:
    """Print the results for people."""
    where = "in this process" if options.in_process else "Celery worker, two processes"
    table = Table(title=f"{options.db}, {where}; median and range of {options.rounds} rounds")
    table.add_column("workload")
    columns = [column for column in _COLUMNS if any(name in each for each in rows for name in column[1])]
    for title, _, _ in columns:
        table.add_column(title, justify="right")
    for each in rows:
        table.add_row(each["workload"], *(_cell(each, names, ranges) for _, names, ranges in columns))
    _people.print(table)
    for each in rows:
        clients = ", ".join(f"{name} {value:.2f} ms" for name, value in each["limits_ms"].items())
        _people.print(f"{each['workload']}: storing a step with {clients}", style="dim", soft_wrap=True)
    lows, highs = zip(*(each["ranges"]["transaction_ms"] for each in rows), strict=True)
    if max(highs) > 2 * min(lows):
        _people.print(
            f"The machine was busy: the limit was between {min(lows):.2f} and {max(highs):.2f} ms. "
            "Trust the best ratio, CPU, statements, commits and WAL; not the rest.",
            style="yellow",
            soft_wrap=True,
        )


def print_peers(rows: list[dict[str, Any]]) -> None:
    """Print what peers came to, for people."""
    if not rows:
        return
    names = ("ms_per_step", "per_second", "seconds", "p50_ms", "p95_ms", "times_ours", "ratio")
    table = Table(title="peers, in the same rounds")
    for name in ("workload", "peer", *names):
        table.add_column(name, justify="left" if name in ("workload", "peer") else "right")
    for each in sorted(rows, key=lambda row: (row["workload"], row["peer"])):
        cells = (short(each[name]) if name in each else "" for name in names)
        table.add_row(each["workload"], each["peer"], *cells)
    _people.print(table)


def _cell(each: dict[str, Any], names: tuple[str, ...], ranges: bool) -> str:
    found = [name for name in names if name in each]
    text = " / ".join(short(each[name]) for name in found)
    if not ranges or not found:
        return text
    low, high = each["ranges"][found[0]]
    return f"{text}\n{short(low)}..{short(high)}"


def short(value: float) -> str:
    """Return a number as people read it."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _rounded(value: float) -> float:
    return round(value, 4) if value < 100 else round(value, 1)
