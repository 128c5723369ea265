"""Says why an instance does not go on: ``manage.py durable_why ID``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable import client
from durable.management.base import DurableCommand, plain

if TYPE_CHECKING:
    from datetime import datetime

    from django.core.management.base import CommandParser

    from durable.client import TaskFacts, Why


class Command(DurableCommand):
    """Say why an instance does not go on."""

    help = "Say what an instance waits for, and whether anybody is there to bring it. Changes nothing."
    examples = ("durable_why order-42", "durable_why order-42 --json | jq '.reasons[].kind'")

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments."""
        parser.add_argument("id", help="the instance's id")
        parser.add_argument("--json", action="store_true", help="print a JSON object")

    def handle(self, *, id: str, **options: Any) -> None:
        """Run the command."""
        found = client.why(id)
        if options["json"]:
            self.print_json(plain(found))
            return
        self.stdout.write(self.style.MIGRATE_HEADING(f"{found.instance_id} is {found.status}: {found.verdict}"))
        for reason in found.reasons[1:]:
            self.stdout.write(f"  also: {reason.text}")
        if found.trouble:
            self.stdout.write(f"  what its code waits for is not known: {found.trouble}")
        self._facts(found)

    def _facts(self, found: Why) -> None:
        if found.last_turn:
            self._fact("last turn", _time(found.last_turn))
        for task in found.tasks:
            self._fact("task", _task(task))
        for lease in found.leases:
            alive = "alive" if lease.is_alive else "dead"
            self._fact("lease", f"event {lease.event_id}, {lease.worker}, {alive}, until {_time(lease.until)}")
        for queue in found.queues:
            oldest = f", the oldest since {_time(queue.oldest)}" if queue.oldest else ""
            self._fact("queue", f"{queue.name}: {queue.workers} worker(s), {queue.backlog:,} activities due{oldest}")
        self._fact("sweep", "alive" if found.is_swept else "no sign of life")

    def _fact(self, name: str, value: str) -> None:
        self.stdout.write(f"  {name:<10} {value}")


def _task(task: TaskFacts) -> str:
    failed = f", after {task.last_failure.type}: {task.last_failure.message}" if task.last_failure else ""
    what = f"{task.name} (event {task.event_id}) on {task.queue}"
    return f"{what}: {task.state}, attempt {task.attempt}, due {_time(task.due)}{failed}"


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
