"""Upgrades instances: ``manage.py durable_upgrade ID...``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable import client
from durable.management import previews
from durable.management.verbs import VerbCommand

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(VerbCommand):
    """Upgrade instances."""

    help = "Have open instances go on with another version of their workflow, if it fits; rerun closed ones on it."
    examples = (
        "durable_upgrade order-7",
        "durable_upgrade order-7 order-8 --to 3 --reason 'new tax' --dry-run",
        "durable_list --status open --workflow order --ids | manage.py durable_upgrade - --json",
    )

    def add_options(self, parser: CommandParser) -> None:
        """Add the command's own options."""
        parser.add_argument("--to", type=int, metavar="VERSION", help="the version; else the latest one")

    def act(
        self, instance_id: str, *, reason: str, actor: str | None, dry_run: bool, **options: Any
    ) -> client.Outcome | client.Preview:
        """Upgrade an instance."""
        return client.upgrade(instance_id, to=options["to"], reason=reason, actor=actor, dry_run=dry_run)

    def said(self, instance_id: str, done: client.Outcome) -> str:
        """Return what was done, for people."""
        if done.instance_id == instance_id:
            return previews.done(done, "upgraded")
        return f"{instance_id}: closed, so it is rerun as {done.instance_id}"
