"""The command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

NAMES = (
    "W1",
    "W1x16",
    "W1x64",
    "W2",
    "W3",
    "W4",
    "W5",
    "W6",
    "W6fan",
    "W6long",
    "W7",
    "W7many",
    "W8",
    "W8wide",
    "W8large",
    "W8huge",
    "memory",
    "scale",
)
NEED_WORKERS = ("W1x16", "W1x64", "W5", "W7", "W7many", "W8", "W8wide", "W8large", "W8huge", "memory", "scale")
SMALL = ("W1", "W1x16", "W1x64", "W2", "W3", "W4", "W5", "W6", "W7", "W8")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options; ``workloads`` is a list of names."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure workloads against the limits of this machine, on throw-away servers.",
        epilog="One JSON line per workload goes to standard output, everything for people to standard error.",
    )
    parser.add_argument("workloads", nargs="*", help=f"of {', '.join(NAMES)}; all; none is {', '.join(SMALL)}")
    parser.add_argument("--rounds", type=int, default=3, help="how often to alternate limit and workload (default 3)")
    parser.add_argument("--db", choices=["postgres", "sqlite"], default="postgres", help="where to store (postgres)")
    parser.add_argument("--in-process", action="store_true", help="run the engine in this process, without Celery")
    parser.add_argument("--profile", action="store_true", help="print where the time goes instead of measuring it")
    parser.add_argument("--peers", action="store_true", help="run the same workloads on other engines (PostgreSQL)")
    parser.add_argument("--instances", type=int, metavar="N", help="run no more than N instances of each workload")
    parser.add_argument("--no-count", action="store_true", help="leave out the untimed pass that counts")
    parser.add_argument("--smoke", action="store_true", help="see whether it works: one round, tiny counts")
    options = parser.parse_args(arguments)
    known = {name.lower(): name for name in NAMES}
    given = [name for argument in options.workloads for name in argument.replace(",", " ").split()]
    named = [known.get(name.lower(), name) for name in given]
    if "all" in named:
        named = list(NAMES)
    if unknown := sorted(set(named) - set(NAMES)):
        parser.error(f"no such workload: {', '.join(unknown)} (there are {', '.join(NAMES)})")
    if options.peers and options.db != "postgres":
        parser.error("peers run on PostgreSQL only; leave out --peers")
    if options.in_process and (refused := [name for name in named if name in NEED_WORKERS]):
        parser.error(f"{', '.join(refused)}: not without workers; leave out --in-process")
    usual = [name for name in SMALL if not (options.in_process and name in NEED_WORKERS)]
    options.workloads = list(dict.fromkeys(named)) or usual
    return options
