"""Reruns instances from an activity: ``manage.py durable_rerun ID EVENT_ID``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from durable import client
from durable.management.base import json_value
from durable.management.verbs import VerbCommand
from durable.operations.rerun import SIBLINGS
from durable.operations.shapes import given_input

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerun:
    """What came of a rerun."""

    new_id: str

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {"outcome": "done", "new_id": self.new_id}


class Command(VerbCommand):
    """Rerun instances from an activity."""

    help = "Start a new instance that begins with what a closed one had done before an activity, and runs that again."
    examples = (
        "durable_rerun order-7 3",
        "durable_rerun order-7 3 --new-id order-7-again --input 250 --reason 'wrong amount'",
        """durable_rerun order-7 3 --input '{"args": [7], "kwargs": {"amount": 250}}'""",
        "durable_rerun order-7 3 --dry-run --siblings keep",
        "durable_rerun - 3 < ids.txt",
    )

    def add_targets(self, parser: CommandParser) -> None:
        """Add the arguments that name instances."""
        parser.add_argument("ids", nargs=1, metavar="ID", help="the instance; - reads ids from standard input")
        parser.add_argument("event_id", type=int, metavar="EVENT_ID", help="the activity's")

    def add_options(self, parser: CommandParser) -> None:
        """Add the command's own options."""
        parser.add_argument("--new-id", metavar="ID", help="the new instance's id; else a new UUID")
        parser.add_argument(
            "--input",
            type=json_value,
            default=client.UNSET,
            metavar="JSON",
            help="the activity's only argument, or an object with the keys args and kwargs; else as it was",
        )
        parser.add_argument("--execution", metavar="ID", help="an earlier execution; the current one otherwise")
        parser.add_argument(
            "--siblings", choices=SIBLINGS, default="rerun", help="what was scheduled with it: rerun (default) or keep"
        )
        parser.add_argument("--on-version", type=int, metavar="N", help="the workflow's version; else the recorded one")

    def act(
        self, instance_id: str, *, reason: str, actor: str | None, dry_run: bool, **options: Any
    ) -> Rerun | client.Preview:
        """Rerun an instance."""
        made = client.rerun_from_activity(
            instance_id,
            options["event_id"],
            new_instance_id=options["new_id"],
            input=given_input(options["input"]),
            execution=options["execution"],
            siblings=options["siblings"],
            version=options["on_version"],
            reason=reason,
            actor=actor,
            dry_run=dry_run,
        )
        return made if isinstance(made, client.Preview) else Rerun(new_id=made.id)

    def said(self, instance_id: str, done: Rerun) -> str:
        """Return what was done, for people."""
        return f"{instance_id}: rerun as {done.new_id}"
