"""Replays instances on the code at hand: ``manage.py durable_replay``."""

from __future__ import annotations

import sys
from contextlib import closing, nullcontext
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from django.core.management.base import CommandError

from durable.core import transcripts as lines
from durable.core.errors import NondeterminismError, UnknownInstance
from durable.management import choosing, tables
from durable.management.base import INPUT, INTERRUPTED, DurableCommand, positive
from durable.management.files import written
from durable.management.progress import Progress
from durable.models import OPEN
from durable.operations import replaying
from durable.store import transcripts

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from django.core.management.base import CommandParser

    from durable.core.transcripts import Transcript
    from durable.operations.replaying import Report


class Command(DurableCommand):
    """Replay instances on the code at hand, and tell which of them would stall."""

    help = "Replay open instances on the code at hand, and tell which of them would stall. Changes nothing."
    examples = (
        "durable_replay",
        "durable_replay --workflow order --sample 100",
        "durable_replay --sample 20 --export histories.jsonl",
        "durable_replay --from-file histories.jsonl",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments."""
        choosing.add_arguments(parser, default="open")
        parser.add_argument(
            "--sample", type=positive, metavar="N", help="N of each workflow and version, always the same"
        )
        parser.add_argument("--limit", type=positive, metavar="N", help="N at most, the newest ones")
        parser.add_argument("--json", action="store_true", help="print a JSON object")
        parser.add_argument(
            "--from-file", action="append", default=[], metavar="FILE", help="replay an export; needs no database"
        )
        parser.add_argument("--export", metavar="FILE", help="write the histories to this file as well")

    def handle(self, *, json: bool, from_file: list[str], export: str | None, **options: Any) -> None:
        """Run the command."""
        if from_file and (export or options["status"] or options["since"]):
            raise CommandError("--from-file takes no --export, --status or --since", returncode=INPUT)
        progress = Progress(self.stderr)
        misfits: list[Report] = []
        interrupted = False
        try:
            with (
                written(export) if export else nullcontext() as file,
                # Closed by us, not by the collector: it may have a cursor open.
                closing(
                    _of_files(from_file, **options) if from_file else _of_database(progress, file, **options)
                ) as reports,
            ):
                for report in reports:
                    progress.step()
                    if report.error is not None:
                        misfits.append(report)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            progress.end()
        if json:
            found = [report.to_json() for report in misfits]
            self.print_json({"replayed": progress.done, "interrupted": interrupted, "would_stall": found})
        else:
            self.stdout.write(tables.aligned(_TITLES, [_row(report) for report in misfits]), ending="")
        self._end(progress.done, len(misfits), interrupted=interrupted)

    def _end(self, replayed: int, misfits: int, *, interrupted: bool) -> None:
        if misfits:
            summary = f"{misfits:,} of {replayed:,} would stall"
        else:
            summary = f"{replayed:,} replayed, all would go on" if replayed else "nothing to replay"
        if interrupted:
            raise CommandError(f"interrupted; so far: {summary}", returncode=INTERRUPTED)
        if misfits:
            raise CommandError(summary)
        self.stderr.write(summary, self.style.SUCCESS)


def _of_database(progress: Progress, file: IO[str] | None, **options: Any) -> Generator[Report, None, None]:
    found = choosing.executions(default=OPEN, **options)
    if not options["sample"]:
        progress.total = min(found.count(), options["limit"] or sys.maxsize)

    def keep(transcript: Transcript) -> None:
        if file is not None:
            file.write(f"{lines.dumps(transcript)}\n")

    with closing(transcripts.heads(found)) as heads:
        yield from replaying.replay_stored(_narrowed(heads, **options), keep=keep)


def _of_files(
    paths: Sequence[str], *, ids: Sequence[str], workflow: str | None, **options: Any
) -> Generator[Report, None, None]:
    asked = set(ids)

    def chosen() -> Generator[Transcript, None, None]:
        missing = set(ids)
        for transcript in _read(paths):
            if (not ids or transcript.instance_id in asked) and workflow in (None, transcript.workflow):
                missing.discard(transcript.instance_id)
                yield transcript
        if missing:
            raise UnknownInstance(min(missing))

    with closing(chosen()) as found:
        yield from map(replaying.replay, _narrowed(found, **options))


def _read(paths: Sequence[str]) -> Iterator[Transcript]:
    for path in paths:
        try:
            with Path(path).open(encoding="utf-8", errors="replace") as file:
                yield from lines.read(file, source=path)
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror}", returncode=INPUT) from None


def _narrowed(found: Iterable[Transcript], *, sample: int | None, limit: int | None, **_: Any) -> Iterator[Transcript]:
    return islice(replaying.sample(found, sample) if sample else found, limit)


_TITLES = ("instance", "workflow", "why", "event", "id", "the history has", "the code does", "where")


def _row(report: Report) -> tables.Row:
    head, facts = report.head, report.to_json()
    cells = [head.instance_id, f"{head.workflow}{head.version or ''}", report.reason]
    cells += ["" if facts[name] is None else str(facts[name]) for name in ("seq", "event_id", "expected")]
    if isinstance(report.error, NondeterminismError):
        return [*cells, facts["got"] or "nothing", facts["location"]], facts["note"]
    return [*cells, "", ""], facts["message"]
