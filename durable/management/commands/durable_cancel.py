"""Cancels instances: ``manage.py durable_cancel ID...``."""

from __future__ import annotations

from durable.management.verbs import VerbCommand


class Command(VerbCommand):
    """Cancel instances."""

    help = "Ask instances to stop: their code is cancelled where it waits, and may clean up first."
    examples = (
        "durable_cancel order-7 --reason 'ordered twice' --actor ada",
        "durable_cancel order-7 --dry-run",
        "durable_list --status open --tag customer=Ada --ids | manage.py durable_cancel -",
    )
    verb = "cancel"
    past = "asked to stop"
