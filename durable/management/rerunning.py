"""The arguments of commands that say what a rerun is to be like."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable import client
from durable.management.base import activity_input, event_id, natural
from durable.operations.rerun import SIBLINGS

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments, each by the name that the client has for it."""
    parser.add_argument(
        "event_id", type=event_id, metavar="EVENT_ID", help="the activity's; `durable_show ID` lists them"
    )
    parser.add_argument(
        "--input",
        type=activity_input,
        default=client.UNSET,
        metavar="JSON",
        help="the activity's only argument, or an object with the keys args and kwargs; else as it was",
    )
    parser.add_argument("--execution", metavar="ID", help="an earlier execution; the current one otherwise")
    parser.add_argument(
        "--siblings", choices=SIBLINGS, default="rerun", help="what was scheduled with it: rerun (default) or keep"
    )
    parser.add_argument(
        "--on-version", dest="version", type=natural, metavar="N", help="the workflow's version; else the recorded one"
    )
