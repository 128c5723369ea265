"""Deletes closed instances: ``manage.py durable_purge``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from durable import client
from durable.management.base import CONFLICT, INPUT, INTERRUPTED, DurableCommand, exit_code
from durable.management.choosing import GROUPS, since, statuses
from durable.management.progress import Progress
from durable.management.verbs import named
from durable.models import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.core.management.base import CommandParser


class Command(DurableCommand):
    """Delete closed instances."""

    help = "Delete closed instances for good, with their children and all their rows. The audit stays."
    examples = (
        "durable_purge order-7 order-8 --reason 'asked to forget' --actor ada",
        "durable_purge --older-than 90d --dry-run",
        "durable_purge --status completed --workflow order --older-than 30d --no-input",
        "durable_list --status failed --workflow import --ids | manage.py durable_purge - --json",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments."""
        parser.add_argument("ids", nargs="*", metavar="ID", help="instances; - reads ids from standard input")
        parser.add_argument("--workflow", help="the workflow's name, without its version")
        parser.add_argument(
            "--status",
            action="append",
            default=[],
            choices=[*GROUPS, *Status.values],
            help="may be given repeatedly; else closed",
        )
        parser.add_argument(
            "--older-than", type=since, metavar="WHEN", help="closed before then: a date, or 12h, 7d, 2w ago"
        )
        parser.add_argument("--keep-children", action="store_true", help="leave children, without their parent")
        parser.add_argument("--force", action="store_true", help="terminate what is open first")
        parser.add_argument("--batch-size", type=int, default=100, metavar="N", help="N in a transaction (100)")
        parser.add_argument("--reason", default="", help="why; recorded")
        parser.add_argument("--actor", metavar="NAME", help="who asks for it; recorded")
        parser.add_argument("--dry-run", action="store_true", help="say how much would go, and delete nothing")
        parser.add_argument("--no-input", action="store_true", help="do not ask")
        parser.add_argument("--json", action="store_true", help="print a JSON object")

    def handle(self, *, ids: Sequence[str], json: bool, no_input: bool, **options: Any) -> None:
        """Run the command."""
        wanted = {name: options[name] for name in ("workflow", "older_than", "keep_children", "force", "batch_size")}
        wanted |= {name: options[name] for name in ("reason", "actor")}
        wanted["status"] = sorted(statuses(options["status"]))
        chosen = list(named(ids)) if ids else None
        if not (options["dry_run"] or no_input or ids):
            self._ask(wanted)
        total = client.Purged()
        progress = Progress(self.stderr, None if chosen is None else len(chosen))
        interrupted = False
        try:
            total = _purged(chosen, progress, dry_run=options["dry_run"], **wanted)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            progress.end()
        self._tell(total, progress.done, json=json, interrupted=interrupted)

    def _ask(self, wanted: dict[str, Any]) -> None:
        if not sys.stdin.isatty():
            return
        found = _purged(None, None, dry_run=True, **wanted)
        if input(f"Delete {found.instances:,} instances with {found.events:,} events for good? [y/N] ").lower() != "y":
            raise CommandError("nothing was deleted", returncode=INPUT)

    def _tell(self, total: client.Purged, seen: int, *, json: bool, interrupted: bool) -> None:
        if interrupted:
            raise CommandError(f"interrupted after {seen:,} instances; run it again to go on", returncode=INTERRUPTED)
        if json:
            self.print_json(total.to_json())
        else:
            would = "would delete" if total.dry_run else "deleted"
            counts = f"{total.instances:,} instances, {total.executions:,} executions, {total.events:,} events"
            self.stdout.write(f"{would} {counts}")
            for instance_id, error in total.refused.items():
                self.stderr.write(f"{instance_id}: {error}")
        if total.refused:
            codes = {exit_code(error) for error in total.refused.values()}
            code = codes.pop() if len(codes) == 1 else CONFLICT
            raise CommandError(f"{len(total.refused):,} refused", returncode=code)


def _purged(chosen: Sequence[str] | None, progress: Progress | None, **options: Any) -> client.Purged:
    def seen(number: int) -> None:
        if progress is not None:
            progress.reach(number)

    purged = client.purge(chosen, progress=seen, **options)
    assert isinstance(purged, client.Purged)  # noqa: S101 - as it is never a single id
    return purged
