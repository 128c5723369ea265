"""Recovers running instances: ``manage.py durable_recover``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from durable import client
from durable.client.repair import recovery
from durable.core.errors import NondeterminismError
from durable.management import tables
from durable.management.base import INTERRUPTED, DurableCommand, positive
from durable.management.progress import Progress

if TYPE_CHECKING:
    from django.core.management.base import CommandParser

_TITLES = ("instance", "outcome", "events", "waits for", "redispatched")


class Command(DurableCommand):
    """Recover running instances."""

    help = (
        "Replay running instances on the code at hand, close those that have ended, hand out again what got lost, "
        "and tell how each stands. Runs nothing of theirs."
    )
    examples = (
        "durable_recover --dry-run",
        "durable_recover --workflow order",
        "durable_recover --json | jq '.[] | select(.outcome != \"resumed\")'",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments."""
        parser.add_argument("--workflow", help="the workflow's name, without its version")
        parser.add_argument("--limit", type=positive, metavar="N", help="N instances at most, the oldest ones")
        parser.add_argument("--reason", default="", help="why; recorded")
        parser.add_argument("--actor", metavar="NAME", help="who asks for it; recorded")
        parser.add_argument("--dry-run", action="store_true", help="tell only, and change nothing")
        parser.add_argument("--json", action="store_true", help="print a JSON array, an object for each instance")

    def handle(self, *, json: bool, **options: Any) -> None:
        """Run the command."""
        asked = {name: options[name] for name in ("workflow", "limit", "reason", "actor", "dry_run")}
        count, recovered = recovery(**asked)
        progress = Progress(self.stderr, count)
        reports: list[client.RecoveryReport] = []
        interrupted = False
        try:
            for report in recovered:
                reports.append(report)
                progress.step()
        except KeyboardInterrupt:
            interrupted = True
        finally:
            progress.end()
        if json:
            self.print_json([report.to_json() for report in reports])
        else:
            self.stdout.write(tables.aligned(_TITLES, [_row(report) for report in reports]), ending="")
        self._end(reports, interrupted=interrupted)

    def _end(self, reports: list[client.RecoveryReport], *, interrupted: bool) -> None:
        bad = sum(isinstance(report.outcome, client.Stalled | client.Failed) for report in reports)
        summary = f"{len(reports):,} looked at, {bad:,} cannot go on"
        if interrupted:
            raise CommandError(f"interrupted; so far: {summary}", returncode=INTERRUPTED)
        if bad:
            raise CommandError(summary)
        self.stderr.write(summary, self.style.SUCCESS)


def _row(report: client.RecoveryReport) -> tables.Row:
    outcome, note = report.outcome, ""
    head = command = redispatched = ""
    match outcome:
        case client.Resumed():
            head = str(outcome.head)
            command = _said(outcome.command) if outcome.command else ""
            redispatched = ", ".join(map(_said, outcome.redispatched))
        case client.Busy():
            head = str(outcome.head)
        case client.Terminal():
            head, command = str(outcome.head), outcome.kind
        case client.Stalled():
            head, note = str(outcome.head), _why(outcome.error)
        case client.Failed():
            note = _why(outcome.error)
            if outcome.conflict is not None:
                note += f"\nnot recorded: {outcome.conflict}"
    return [report.instance_id, type(outcome).__name__.lower(), head, command, redispatched], note


def _said(step: client.Step) -> str:
    return f"{step.kind}({step.name or step.event_id})"


def _why(error: Exception) -> str:
    where = f"\n{error.location}" if isinstance(error, NondeterminismError) and error.location else ""
    return f"{type(error).__name__}: {error}{where}"
