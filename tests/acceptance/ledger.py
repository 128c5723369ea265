"""What happened in the workers, told to the tests: one line in a file for each thing done."""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import psutil

VARIABLE = "ACCEPTANCE_LEDGER"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that was done.

    Attributes:
        at: When, by the machine's monotonic clock.
        pid: In which process.
    """

    at: float
    pid: int
    kind: str
    key: str


def note(kind: str, key: str) -> None:
    """Write down that something was done; whole lines only, whatever else writes."""
    line = f"{time.clock_gettime(time.CLOCK_MONOTONIC)} {os.getpid()} {kind} {key}\n"
    file = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def entries(kind: str, prefix: str = "", *, path: str | None = None) -> list[Entry]:
    """Return what was done, in order.

    Args:
        kind: What.
        prefix: How its key begins.
        path: Another ledger than the common one.
    """
    file = Path(path or os.environ[VARIABLE])
    if not file.exists():
        return []
    found = []
    for line in file.read_text().splitlines():
        at, pid, entry_kind, key = line.split(" ", 3)
        if entry_kind == kind and key.startswith(prefix):
            found.append(Entry(float(at), int(pid), entry_kind, key))
    return found


def of_the_living(kind: str, prefix: str) -> Counter[str]:
    """Return how often processes that were not killed noted each key."""
    noted = entries(kind, prefix)
    living = {pid for pid in {entry.pid for entry in noted} if _lives(pid)}
    return Counter(entry.key for entry in noted if entry.pid in living)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def counts(kind: str, prefix: str) -> Counter[str]:
    """Return how often each key was noted."""
    return Counter(entry.key for entry in entries(kind, prefix))
