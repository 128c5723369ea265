"""Turns what runs printed into the table of the record: ``python -m benchmarks.record < lines``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from benchmarks.peers import PEERS
from benchmarks.report import short

_CPU = ("client_cpu_ms", "workers_cpu_ms", "database_cpu_ms")
_TITLES = {peer.name: peer.title for peer in PEERS}
_HEAD = (
    "workload",
    "ms a step",
    "a second",
    "times the limit",
    "peers: times our time",
    "CPU ms: client, workers, database",
    "commits",
    "WAL bytes",
)


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Return a table in Markdown, a line for each workload of ours.

    Args:
        rows: Results, as the benchmarks print them; of a workload that ran twice the later counts.
    """
    found = list(rows)
    ours = {row["workload"]: row for row in found if "ratio" in row and "peer" not in row}
    lines = [_HEAD, ("---",) * len(_HEAD), *(_cells(row, found) for row in ours.values())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(row: dict[str, Any], rows: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    beside = {_title(each): each["times_ours"] for each in rows if each.get("beside") == row["workload"]}
    return (
        f"`{row['workload']}`",
        _ranged(row, "ms_per_step"),
        short(row.get("per_second", 1000 / row["ms_per_step"])),
        _ranged(row, "ratio"),
        ", ".join(f"{title} {short(times)}" for title, times in sorted(beside.items())),
        ", ".join(short(row[name]) for name in _CPU if name in row),
        f"{row['commits_per_step']:.2f}" if "commits_per_step" in row else "",
        short(row["wal_bytes_per_step"]) if "wal_bytes_per_step" in row else "",
    )


def _title(row: dict[str, Any]) -> str:
    way = row["workload"].partition(" ")[2]
    return _TITLES[row["peer"]] + (f" by {way}" if way else "")


def _ranged(row: dict[str, Any], name: str) -> str:
    low, high = row["ranges"][name]
    spread = "" if low == high else f" [{short(low)}-{short(high)}]"
    return short(row[name]) + spread


if __name__ == "__main__":
    print(table(json.loads(line) for line in sys.stdin if line.startswith("{")))
