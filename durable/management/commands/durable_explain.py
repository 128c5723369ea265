"""Explains an instance: ``manage.py durable_explain ID``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from durable import client
from durable.management.base import DurableCommand, plain

if TYPE_CHECKING:
    from django.core.management.base import CommandParser

    from durable.client import Explanation, Frame, TaskStack


class Command(DurableCommand):
    """Say where an instance's code stands, or stood after an event."""

    help = (
        "Replay an instance and say where its code stands, or stood after an event: stacks, local variables,"
        " and what each task waits for. Changes nothing."
    )
    examples = (
        "durable_explain order-42",
        "durable_explain order-42 --at 7",
        "durable_explain order-42 --json | jq '.tasks[].waits.text'",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments."""
        parser.add_argument("id", help="the instance's id")
        parser.add_argument("--at", type=int, metavar="SEQ", help="an event's place in the history; the last otherwise")
        parser.add_argument("--execution", metavar="ID", help="an earlier execution of it; the current one otherwise")
        parser.add_argument("--json", action="store_true", help="print a JSON object")

    def handle(self, *, id: str, at: int | None, execution: str | None, **options: Any) -> None:
        """Run the command."""
        found = client.explain(id, at=at, execution=execution)
        if options["json"]:
            self.print_json(plain(found))
            return
        self._head(found)
        for task in found.tasks:
            self._task(task)
        if found.tasks_omitted:
            self.stdout.write(f"... and {found.tasks_omitted:,} more tasks")
        if found.raised:
            self.stdout.write(self.style.ERROR(f"raised {found.raised.type}: {found.raised.message}"))
            self._stack(found.raised.stack)
        self._rest(found)

    def _head(self, found: Explanation) -> None:
        place = f"after event {found.seq:,} of {found.length:,}, {_time(found.at)}" if found.seq else "not begun"
        title = f"{found.instance_id}: {found.workflow}{found.version or ''} {place}"
        self.stdout.write(self.style.MIGRATE_HEADING(title))
        if found.trouble:
            self.stdout.write(self.style.ERROR(f"cannot be replayed further: {found.trouble}"))
        if found.end:
            self.stdout.write(f"ended: {found.end}")

    def _task(self, task: TaskStack) -> None:
        waits = task.waits
        times = "".join(
            f", {word} {_time(at)}" for word, at in (("since", waits.since), ("until", waits.due)) if at is not None
        )
        self.stdout.write(f"{task.name} waits for {waits.text} at {waits.location}{times}")
        self._stack(task.stack)

    def _stack(self, stack: tuple[Frame, ...]) -> None:
        for frame in stack:
            self.stdout.write(f"  {frame.file}:{frame.line} in {frame.function}")
            if frame.source:
                self.stdout.write(f"    {frame.source}")
            for name, value in frame.variables.items():
                self.stdout.write(f"      {name} = {value}")
            if frame.omitted:
                self.stdout.write(f"      ... and {frame.omitted:,} more variables")

    def _rest(self, found: Explanation) -> None:
        for asked in found.open:
            unheard = "" if asked.is_awaited else ", which nobody waits for"
            what = f"{asked.event_id} {asked.kind} {asked.name}".rstrip()
            self.stdout.write(f"open: {what}, since {_time(asked.asked_at)}{unheard}")
        for name, count in found.unread.items():
            self.stdout.write(f"unread: {count} signal(s) {name!r}")


def _time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
