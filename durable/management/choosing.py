"""The arguments by which commands choose instances."""

from __future__ import annotations

import argparse
import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from durable.models import CLOSED, OPEN, Status
from durable.store import instances, transcripts

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from django.core.management.base import CommandParser
    from django.db.models import QuerySet

    from durable.models import Execution

GROUPS = {"open": OPEN, "closed": CLOSED}
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def add_arguments(parser: CommandParser, *, default: str) -> None:
    """Add the arguments.

    Args:
        parser: The command's.
        default: Which instances are meant where nothing is said of their status, for the help.
    """
    parser.add_argument("ids", nargs="*", metavar="ID", help="instances; without any, all that the options leave")
    parser.add_argument("--workflow", help="the workflow's name, without its version")
    parser.add_argument(
        "--status",
        action="append",
        default=[],
        choices=[*GROUPS, *Status.values],
        help=f"may be given repeatedly; else {default}",
    )
    parser.add_argument("--since", type=since, metavar="WHEN", help="created since then: a date, or 12h, 7d, 2w ago")


def since(text: str) -> datetime:
    """Return the time that ``7d`` or a date stands for; for argparse's ``type=``."""
    if ago := re.fullmatch(r"(\d{1,6})([mhdw])", text):
        return timezone.now() - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        day = parse_date(text)
        found = datetime(day.year, day.month, day.day) if day else parse_datetime(text)  # noqa: DTZ001 - made aware below
    except ValueError:
        found = None
    if found is None:
        raise argparse.ArgumentTypeError(f"not a time: {text!r}; write for example 7d, 12h or 2026-01-31")
    return timezone.make_aware(found) if timezone.is_naive(found) else found


def statuses(chosen: Sequence[str]) -> set[str]:
    """Return the statuses that names of single ones and of groups stand for."""
    return {str(each) for name in chosen for each in GROUPS.get(name, (name,))}


def executions(
    *,
    ids: Sequence[str],
    workflow: str | None,
    status: Sequence[str],
    since: datetime | None,
    default: Collection[str] = (),
    all_executions: bool = False,
    **_: Any,
) -> QuerySet[Execution]:
    """Return the executions that the arguments choose; those that are named are chosen in any status.

    Raises:
        UnknownInstance: There is none of an id.
    """
    for instance_id in ids:
        instances.get(instance_id)
    return transcripts.find(
        ids=ids,
        workflow=workflow,
        statuses=statuses(status) or (() if ids else default),
        since=since,
        all_executions=all_executions,
    )
