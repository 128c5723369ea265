"""Shows one instance: ``manage.py durable_show ID``."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from durable import client
from durable.client import steps
from durable.management import timeline
from durable.management.base import DurableCommand, summary
from durable.store import patches

if TYPE_CHECKING:
    from django.core.management.base import CommandParser

    from durable.models import Instance

_WIDTH = 40


class Command(DurableCommand):
    """Show an instance: its state, and a timeline of what it did."""

    help = "Show an instance: its state, and a timeline of what it did."
    examples = (
        "durable_show order-42",
        "durable_show order-42 --history",
        "durable_show order-42 --json | jq .result",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments."""
        parser.add_argument("id", help="the instance's id")
        parser.add_argument("--execution", metavar="ID", help="an earlier execution of it; the current one otherwise")
        parser.add_argument("--history", action="store_true", help="print every event with its data")
        parser.add_argument("--json", action="store_true", help="print a JSON object, with the history")

    def handle(self, *, id: str, execution: str | None, **options: Any) -> None:
        """Run the command."""
        instance = client.instance(id)
        items = client.history(id, execution)
        if options["json"]:
            self.print_json(_as_json(instance, items))
            return
        self._state(instance)
        if options["history"]:
            self._history(items)
        else:
            self._timeline(steps.of(items))

    def _state(self, instance: Instance) -> None:
        facts = summary(instance)
        workflow = f"{instance.name}{instance.version or ''}"
        self.stdout.write(self.style.MIGRATE_HEADING(f"{instance.pk}: {workflow} is {instance.status}"))
        for name in ("parent", "tags", "custom_status", "progress", "created_at", "started_at", "closed_at"):
            if facts[name] not in (None, {}):
                self._fact(name, _text(facts[name]))
        executions = instance.executions.count()
        if executions > 1:
            self._fact("executions", str(executions))
        if instance.patches:
            self._fact("patches", ", ".join(patches.described(instance.patches)))
        self._fact("input", _text(instance.input))
        if instance.closed_at is not None and instance.failure is None:
            self._fact("result", _text(instance.result))
        for name, trouble in (("failure", instance.failure), ("stalled", instance.stall)):
            if trouble:
                self._fact(name, self.style.ERROR(_trouble(trouble)))
        self.stdout.write("")

    def _fact(self, name: str, value: str) -> None:
        self.stdout.write(f"  {name.replace('_', ' '):<14} {value}")

    def _timeline(self, found: list[steps.Step]) -> None:
        total = timeline.span(found)
        names = [f"{step.kind} {step.name}".rstrip() for step in found]
        width = max(map(len, names), default=0)
        for name, step in zip(names, found, strict=True):
            began, ended = timeline.times(step, found[0].began)
            number = "" if step.event_id is None else step.event_id
            tries = f" after {step.attempts} tries" if (step.attempts or 1) > 1 else ""
            bar = timeline.bar(began, ended, total, _WIDTH)
            self.stdout.write(f"{number:>6} {name:<{width}} {began:>9.3f} s {bar} {step.outcome}{tries}".rstrip())

    def _history(self, items: list[client.HistoryItem]) -> None:
        for item in items:
            number = "" if item.event_id is None else item.event_id
            what = f"{item.kind} {item.name}".rstrip()
            data = _text(item.data) if item.data else ""
            self.stdout.write(f"{item.seq:>6} {item.recorded_at:%H:%M:%S.%f} {number:>5} {what:<40} {data}".rstrip())


def _as_json(instance: Instance, items: list[client.HistoryItem]) -> dict[str, Any]:
    return {
        **summary(instance),
        "input": instance.input,
        "result": instance.result,
        "failure": instance.failure,
        "stall": instance.stall,
        "executions": [
            {"id": each.pk, "number": each.number, "origin": each.origin, "status": each.status}
            for each in instance.executions.order_by("number")
        ],
        "history": [
            {
                "seq": item.seq,
                "kind": item.kind,
                "event_id": item.event_id,
                "name": item.name,
                "recorded_at": item.recorded_at,
                "data": item.data,
                "rerunnable": item.rerunnable,
                "why_not": item.why_not,
            }
            for item in items
        ],
    }


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S.%f} UTC"
    return json.dumps(value, ensure_ascii=False)


def _trouble(trouble: dict[str, Any]) -> str:
    kind, message = trouble.get("type"), trouble.get("message")
    return f"{kind}: {message}" if kind else _text(trouble)
