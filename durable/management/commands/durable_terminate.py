"""Terminates instances: ``manage.py durable_terminate ID...``."""

from __future__ import annotations

from durable.management.verbs import VerbCommand


class Command(VerbCommand):
    """Terminate instances."""

    help = "End instances at once, without running their code; their children as these were started to."
    examples = (
        "durable_terminate order-7 --reason 'beyond repair' --actor ada",
        "durable_terminate order-7 --dry-run",
        "durable_list --status stalled --workflow import --ids | manage.py durable_terminate - --json",
    )
    verb = "terminate"
    past = "terminated"
