"""Resumes instances: ``manage.py durable_resume ID...``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable.management.verbs import VerbCommand

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(VerbCommand):
    """Resume suspended instances."""

    help = "Let suspended instances go on; what came meanwhile is taken in order. Others are left as they are."
    examples = (
        "durable_resume order-7 --actor ada",
        "durable_resume order-7 --children",
        "durable_list --status suspended --ids | manage.py durable_resume - --json",
    )
    verb = "resume"
    past = "resumed"

    def add_options(self, parser: CommandParser) -> None:
        """Add the command's own options."""
        parser.add_argument("--children", action="store_true", help="let their children go on, too")
