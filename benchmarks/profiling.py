"""Samples where a process is while it works, and turns that into text.

A timer interrupts the main thread and its stack is noted. Unlike a tracing
profiler this makes no function look dearer than another; and, unlike one, it
works beside the engine's watchdog, whose use of asynchronous
exceptions makes CPython 3.11 hang as soon as calls are traced.
"""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.workloads import Workload

_ROOT = Path(__file__).resolve().parent.parent
_INTERVAL = 0.0005
_SHOWN = 25
_NAME = "samples-*.json"

# Whose code a file is: the first part that its path contains. What is in none, as the
# standard library and C functions, counts for whoever called it.
_OWNERS = {
    "/durable/core/": "durable: core (code's steps, events, payloads)",
    "/durable/store/": "durable: store",
    "/durable/models/": "durable: store",
    "/durable/fields.py": "durable: store",
    "/durable/engine/watchdog.py": "durable: watchdog",
    "/durable/conf.py": "durable: settings",
    "/durable/dispatch.py": "durable: dispatch",
    "/durable/": "durable: engine and the rest",
    "/benchmarks/": "the workload's own code",
    "/django/db/models/": "Django: ORM, from query set to SQL and back",
    "/django/db/": "Django: connections, cursors, transactions",
    "/django/": "Django: the rest",
    "/psycopg": "psycopg, the driver",
    "/celery/": "Celery, kombu, Redis client",
    "/kombu/": "Celery, kombu, Redis client",
    "/redis/": "Celery, kombu, Redis client",
    "/billiard/": "Celery, kombu, Redis client",
}
_WAITING = "waiting for the database"


class Sampler:
    """Counts, for this process's main thread, how often each function is found running.

    Attributes:
        own: Samples by function, where it was the innermost.
        cumulative: Samples by function, where it was anywhere on the stack.
        owners: Samples by whose code the innermost function is.
    """

    def __init__(self) -> None:
        self.own: Counter[str] = Counter()
        self.cumulative: Counter[str] = Counter()
        self.owners: Counter[str] = Counter()

    def start(self) -> None:
        """Begin to sample."""
        signal.signal(signal.SIGALRM, self._sample)
        signal.setitimer(signal.ITIMER_REAL, _INTERVAL, _INTERVAL)

    def stop(self) -> None:
        """Stop sampling."""
        signal.setitimer(signal.ITIMER_REAL, 0)

    def save(self, folder: Path) -> None:
        """Write what was found so far to a file of this process."""
        data = {"own": self.own, "cumulative": self.cumulative, "owners": self.owners}
        (folder / _NAME.replace("*", str(id(self)))).write_text(json.dumps(data))

    def _sample(self, _: int, frame: FrameType | None) -> None:
        if frame is None:
            return
        self.own[_label(frame)] += 1
        self.owners[_owner(frame)] += 1
        seen = set()
        outer: FrameType | None = frame
        while outer is not None:
            seen.add(_label(outer))
            outer = outer.f_back
        self.cumulative.update(seen)


@contextmanager
def sampled(folder: Path) -> Iterator[None]:
    """Sample this process in the block."""
    sampler = Sampler()
    sampler.start()
    try:
        yield
    finally:
        sampler.stop()
        sampler.save(folder)


def summary(folder: Path, workload: Workload) -> str:
    """Return what the samples in a folder say, and delete them."""
    total: dict[str, Counter[str]] = {"own": Counter(), "cumulative": Counter(), "owners": Counter()}
    for path in folder.glob(_NAME):
        data: dict[str, Any] = json.loads(path.read_text())
        for name, counts in data.items():
            total[name].update(counts)
        path.unlink()
    samples = total["owners"].total()
    # What is on every stack, as whoever calls the engine, tells nothing.
    inner = Counter({name: count for name, count in total["cumulative"].items() if count < samples})
    lines = [
        f"{workload.name}: {samples} samples, {samples * _INTERVAL * 1e3 / workload.total_steps:.3f} ms a step",
        *_ranking("time by owner", total["owners"].most_common(), samples, workload),
        *_ranking(f"own time, top {_SHOWN}", total["own"].most_common(_SHOWN), samples, workload),
        *_ranking(f"cumulative time, top {_SHOWN}", inner.most_common(_SHOWN), samples, workload),
    ]
    return "\n".join(lines) + "\n"


def _ranking(title: str, ranked: list[tuple[str, int]], samples: int, workload: Workload) -> Iterator[str]:
    yield f"\n{title}"
    for name, count in ranked:
        microseconds = count * _INTERVAL * 1e6 / workload.total_steps
        yield f"{count / samples:7.1%} {microseconds:8.0f} us a step  {name}"


def _label(frame: FrameType) -> str:
    code = frame.f_code
    return f"{code.co_qualname if hasattr(code, 'co_qualname') else code.co_name} ({_short(code.co_filename)})"


def _short(path: str) -> str:
    tail = path.rpartition("/site-packages/")[2].rpartition("/lib/")[2]
    return tail.removeprefix(f"{_ROOT}/")


def _owner(frame: FrameType) -> str:
    if _waits(frame):
        return _WAITING
    outer: FrameType | None = frame
    while outer is not None:
        path = outer.f_code.co_filename
        for part, owner in _OWNERS.items():
            if part in path:
                return owner
        outer = outer.f_back
    return "the rest"


def _waits(frame: FrameType) -> bool:
    """Tell whether the function is one that hands over to the database and waits."""
    path, name = frame.f_code.co_filename, frame.f_code.co_name
    return (name == "wait" and "/psycopg" in path) or (
        path.endswith(("/sqlite3/base.py", "/backends/base/base.py")) and name in {"execute", "_commit"}
    )
