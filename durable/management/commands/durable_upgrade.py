"""Upgrades instances: ``manage.py durable_upgrade ID...``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable.management.base import natural
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
    verb = "upgrade"
    past = "upgraded"

    def add_options(self, parser: CommandParser) -> None:
        """Add the command's own options."""
        parser.add_argument("--to", type=natural, metavar="VERSION", help="the version; else the latest one")
