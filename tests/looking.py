"""Measures each list, filter and page on a database with many instances, and changes nothing in it.

export DATABASE_URL=postgresql://...
python manage.py migrate
python manage.py durable_seed --instances 1000000 --events-each 22
python -m tests.looking
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from statistics import median
from typing import Any

import django


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each look: its name, milliseconds, statements, pages, the most rows of a table, scans."""
    parser = argparse.ArgumentParser(prog="python -m tests.looking", description=main.__doc__)
    parser.add_argument("name", nargs="*", help="looks whose names have this in them; all of them if nothing is said")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="how often each is looked at (5)")
    parser.add_argument("--statements", action="store_true", help="print the slowest statements as well")
    chosen = parser.parse_args(arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    django.setup()
    # Only now are there models to import.
    for line in import_module("tests.looking").look(chosen):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def look(chosen: argparse.Namespace) -> Iterator[str]:
    """Look at everything that was chosen, and yield what to print."""
    known = import_module("tests.looks")
    explained = import_module("tests.explained")
    transaction = import_module("django.db").transaction
    import_module("django.test.utils").setup_test_environment(debug=False)
    with transaction.atomic():
        users = import_module("django.contrib.auth").get_user_model().objects
        looker = known.Looker(users.create_superuser("looker"))
        for name, each in known.looks().items():
            if chosen.name and not any(part in name for part in chosen.name):
                continue
            rounds = [explained.statements(lambda each=each: each(looker)) for _ in range(chosen.rounds)]
            yield _line(name, rounds)
            if chosen.statements:
                yield from _slowest(rounds[-1])
        transaction.set_rollback(True)


def _line(name: str, rounds: list[list[Any]]) -> str:
    ms = median(sum(each.ms for each in found) for found in rounds)
    pages = sum(each.pages for each in rounds[-1])
    most = max((read.rows for each in rounds[-1] for read in each.reads), default=0)
    scans = {read.table for each in rounds[-1] for read in each.reads if read.how == "Seq Scan"}
    return f"| {name} | {ms:,.1f} | {len(rounds[-1])} | {pages:,} | {most:,} | {' '.join(sorted(scans))} |"


def _slowest(found: list[Any]) -> Iterator[str]:
    for each in sorted(found, key=lambda each: -each.ms)[:3]:
        yield f"    {each.ms:.1f} ms, {each.pages:,} pages: {each.sql}"
        yield from (f"        {read.how} of {read.table}: {read.rows:,} rows" for read in each.reads)


if __name__ == "__main__":
    main()
