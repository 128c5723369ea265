"""Fills a database with instances to look at: ``manage.py durable_seed``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from durable import conf
from durable.management.base import CONFLICT, INPUT, DurableCommand, positive
from durable.management.progress import Progress
from durable.models import Instance
from project.demo import seeding

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(DurableCommand):
    """Store instances of every status, as if they had run."""

    help = (
        "Store instances of the demo's workflows in every status, with histories that replay, as if they had run: "
        "to look at lists and pages, and to measure them. Runs nothing."
    )
    examples = (
        "durable_seed",
        "durable_seed --instances 20000 --json",
        "durable_seed --instances 100000 --events-each 50 --yes",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments."""
        parser.add_argument("--instances", type=positive, default=200, metavar="N", help="how many, at least (200)")
        parser.add_argument(
            "--events-each",
            type=positive,
            default=seeding.EVENTS_EACH,
            metavar="N",
            help=f"how many events a history has on average, from {seeding.EVENTS_EACH} on ({seeding.EVENTS_EACH}); "
            "one in ten is long",
        )
        parser.add_argument("--yes", action="store_true", help="also if the database has instances already")
        parser.add_argument("--json", action="store_true", help="print a JSON object")

    def handle(self, *, json: bool, yes: bool, **options: Any) -> None:
        """Run the command."""
        if options["events_each"] < seeding.EVENTS_EACH:
            raise CommandError(f"--events-each: give at least {seeding.EVENTS_EACH}", returncode=INPUT)
        if not yes and Instance.objects.using(conf.settings.DATABASE).exists():
            raise CommandError(
                "the database has instances already, and what is seeded cannot be told from them easily; "
                "--yes adds to them all the same",
                returncode=CONFLICT,
            )
        progress = Progress(self.stderr, options["instances"])
        try:
            seeded = seeding.seed(options["instances"], events_each=options["events_each"], progress=progress.reach)
        finally:
            progress.end()
        if json:
            self.print_json(asdict(seeded))
            return
        counts = f"{seeded.instances:,} instances, {seeded.executions:,} executions, {seeded.events:,} events"
        self.stdout.write(f"seeded {counts}")
