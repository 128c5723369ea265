"""Exports histories: ``manage.py durable_export``."""

from __future__ import annotations

from contextlib import closing, nullcontext
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from durable.core import transcripts as lines
from durable.core.errors import UndecodableEvent
from durable.management import choosing
from durable.management.base import INTERRUPTED, DurableCommand
from durable.management.files import written
from durable.management.progress import Progress
from durable.store import transcripts

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(DurableCommand):
    """Export histories, a line of JSON for each execution."""

    help = "Export histories with their payloads, a line of JSON for each execution, to replay them elsewhere."
    examples = (
        "durable_export order-42",
        "durable_export --workflow order --status open -o orders.jsonl",
        "durable_export --since 7d --all-executions | gzip > histories.jsonl.gz",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments."""
        choosing.add_arguments(parser, default="all")
        parser.add_argument("--all-executions", action="store_true", help="earlier executions of an instance as well")
        parser.add_argument("-o", "--output", metavar="FILE", help="write to this file, once all is read")

    def handle(self, *, output: str | None, **options: Any) -> None:
        """Run the command."""
        found = choosing.executions(**options)
        progress = Progress(self.stderr, found.count())
        unreadable = 0
        try:
            with (
                written(output) if output else nullcontext(self.stdout) as file,
                closing(transcripts.heads(found)) as heads,
            ):
                for head in heads:
                    try:
                        line = lines.dumps(transcripts.read(head))
                    except UndecodableEvent as error:
                        unreadable += 1
                        self.stderr.write(f"{head.instance_id}: {error}")
                    else:
                        file.write(f"{line}\n")
                    progress.step()
        except KeyboardInterrupt:
            raise CommandError("interrupted", returncode=INTERRUPTED) from None
        finally:
            progress.end()
        self.stderr.write(f"{progress.done - unreadable:,} exported", str)
        if unreadable:
            raise CommandError(f"{unreadable:,} could not be read")
