"""Says what would come of a rerun: ``manage.py durable_what_if ID EVENT_ID``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from durable import client
from durable.management import comparisons, rerunning
from durable.management.base import DurableCommand, plain, tag

if TYPE_CHECKING:
    from django.core.management.base import CommandParser

    from durable.client import WhatIf

_LONGEST_EVENT_ID = 9


class Command(DurableCommand):
    """Play a rerun in memory."""

    help = (
        "Play a rerun in memory, with the answers that are recorded and mocks, and say how it would end and what would"
        " differ: ~ changed, - only in the source, + only in the rerun, > at another place. Changes nothing."
    )
    examples = (
        "durable_what_if order-42 3 --input 250",
        """durable_what_if order-42 3 --mock charge='"a receipt"' --mock 7=null""",
        "durable_what_if order-42 3 --fail 'charge=no funds' --on-version 2",
        "durable_what_if order-42 3 --json | jq .missing",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments."""
        parser.add_argument("id", help="the closed instance's id")
        rerunning.add_arguments(parser)
        for option, what in (("--mock", "JSON"), ("--fail", "MESSAGE")):
            does = "what it returns" if option == "--mock" else "that it fails, and how"
            parser.add_argument(
                option,
                type=tag,
                action="append",
                default=[],
                metavar=f"STEP={what}",
                help=f"of an event id, or the name of an activity or child: {does}; may be given repeatedly",
            )
        parser.add_argument("--all", action="store_true", help="print also what is the same")
        parser.add_argument("--json", action="store_true", help="print a JSON object")

    def handle(self, *, id: str, event_id: int, **options: Any) -> None:
        """Run the command."""
        failing = [(key, RuntimeError(str(message))) for key, message in options["fail"]]
        mocks = {_step(key): value for key, value in [*options["mock"], *failing]}
        chosen = {name: options[name] for name in ("input", "version", "execution", "siblings")}
        found = client.what_if(id, event_id, mocks=mocks, **chosen)
        if options["json"]:
            self.print_json({**plain(found), "counts": found.comparison.counts})
            return
        for line in comparisons.described(found.comparison, everything=options["all"]):
            self.stdout.write(line)
        self._end(found)

    def _end(self, found: WhatIf) -> None:
        self.stdout.write(self.style.MIGRATE_HEADING(f"it would be {found.status}{_come_of(found)}"))
        for step in found.missing:
            self.stdout.write(f"  nobody knows the answer to {step.event_id} {step.kind}({step.name}): give a --mock")
        for wait in found.waits:
            self.stdout.write(f"  it would wait for {wait.text} at {wait.location}")
        if found.stopped:
            self.stdout.write(f"  no more is known: {found.stopped}")
        for key in found.unused:
            self.stdout.write(f"  nothing asked for the mock of {key}")


def _step(key: str) -> int | str:
    return int(key) if key.isdecimal() and len(key) <= _LONGEST_EVENT_ID else key


def _come_of(found: WhatIf) -> str:
    if found.failure is not None:
        return f": {found.failure.type}: {found.failure.message}"
    return f", with {json.dumps(found.result, ensure_ascii=False)}" if found.status == "completed" else ""
