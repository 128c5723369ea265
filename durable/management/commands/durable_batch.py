"""Does a verb to many instances: ``manage.py durable_batch VERB``."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from durable import client
from durable.client.batches import LANES, NOT_DONE
from durable.client.verbs import VERBS
from durable.management import tables
from durable.management.base import INPUT, INTERRUPTED, DurableCommand, json_object, tag
from durable.management.progress import Progress
from durable.management.verbs import named
from durable.models import CLOSED, BatchItem
from durable.operations.failing import STATUSES
from durable.store import filters

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django.core.management.base import CommandParser

REPORT, RETRY = "report", "retry"
_PAUSE = 0.5


class Command(DurableCommand):
    """Do a verb to many instances, in a workflow that goes on without this command."""

    help = "Do a verb to many instances, in a workflow that goes on when this command has ended."
    examples = (
        'durable_batch rewind --group FINGERPRINT --reason "the bank is back" --actor ada --wait',
        """durable_batch upgrade --filter '{"name": "order", "status": "running"}' --dry-run --wait""",
        "durable_list --status open --tag customer=Ada --ids | manage.py durable_batch cancel -",
        "durable_batch signal order-1 order-2 --argument name=approve --argument payload=true",
        "durable_batch report BATCH --outcome refused",
        "durable_batch retry BATCH --outcome failed --wait",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments."""
        parser.add_argument(
            "verb", choices=[*VERBS, REPORT, RETRY], help="what to do; report and retry are about an earlier batch"
        )
        parser.add_argument("ids", nargs="*", metavar="ID", help="instances; - reads ids from standard input")
        parser.add_argument("--filter", type=json_object, metavar="JSON", help="those that this filter chooses")
        parser.add_argument("--group", metavar="FINGERPRINT", help="those of this group of durable_failures")
        parser.add_argument(
            "--argument",
            type=tag,
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="of the verb; may be given repeatedly",
        )
        parser.add_argument("--reason", help="why; recorded")
        parser.add_argument("--actor", metavar="NAME", help="who asks for it; recorded")
        parser.add_argument("--queue", help="where the batch runs")
        parser.add_argument("--concurrency", type=int, default=LANES, help=f"how many instances at a time ({LANES})")
        parser.add_argument("--dry-run", action="store_true", help="find out what would become of each, and do nothing")
        parser.add_argument(
            "--outcome",
            action="append",
            default=[],
            choices=BatchItem.Outcome.values,
            help="for report and retry: of instances with this outcome; may be given repeatedly",
        )
        parser.add_argument("--wait", action="store_true", help="wait for the end, and say what became of each")
        parser.add_argument("--json", action="store_true", help="print a JSON object")

    def handle(self, *, verb: str, **options: Any) -> None:
        """Run the command."""
        handle = _begin(verb, **options)
        if options["wait"]:
            self._wait(handle)
        told = verb == REPORT or options["wait"]
        outcomes = options["outcome"] if verb == REPORT else ()
        report = client.batch_report(handle, outcomes=outcomes, limit=None if told else 0)
        if options["json"]:
            self.print_json(asdict(report))
        else:
            self._say(report, all_of_them=bool(outcomes))
        self._end(report)

    def _wait(self, handle: client.Handle) -> None:
        progress = Progress(self.stderr)
        try:
            while (instance := handle.instance).status not in CLOSED:
                shown = instance.progress or {"done": 0, "total": None}
                progress.total = shown["total"]
                progress.reach(shown["done"])
                time.sleep(_PAUSE)
        except KeyboardInterrupt:
            raise CommandError(
                f"the batch goes on; see `durable_batch report {handle.id}`", returncode=INTERRUPTED
            ) from None
        finally:
            progress.end()

    def _say(self, report: client.BatchReport, *, all_of_them: bool) -> None:
        counts = ", ".join(f"{count:,} {name}" for name, count in sorted(report.counts.items()))
        dry = ", dry run" if report.dry_run else ""
        self.stdout.write(f"{report.batch_id}: {report.verb}{dry}, {report.status}; {counts or 'nothing yet'}")
        shown = [item for item in report.items if all_of_them or item.outcome in NOT_DONE]
        rows = [([item.instance_id, item.outcome, item.error or _detail(item)], "") for item in shown]
        self.stdout.write(tables.aligned(("instance", "outcome", ""), rows), ending="")

    def _end(self, report: client.BatchReport) -> None:
        missed = sum(report.counts.get(str(outcome), 0) for outcome in NOT_DONE)
        if report.status in CLOSED and missed:
            raise CommandError(f"{missed:,} of {sum(report.counts.values()):,} were not done")


def _begin(verb: str, **options: Any) -> client.Handle:
    if verb == REPORT:
        return client.get(_only(options["ids"]))
    given = {"reason": options["reason"], "actor": options["actor"], "dry_run": options["dry_run"]}
    if verb == RETRY:
        return client.batch_retry(_only(options["ids"]), outcomes=options["outcome"] or NOT_DONE, **given)
    given |= {"reason": options["reason"] or "", "queue": options["queue"], "concurrency": options["concurrency"]}
    return client.batch(verb, _chosen(**options), **given, **dict(options["argument"]))


def _only(ids: Sequence[str]) -> str:
    if len(ids) != 1:
        raise CommandError("give the id of one batch", returncode=INPUT)
    return ids[0]


def _chosen(
    *, ids: Sequence[str], filter: dict[str, Any] | None, group: str | None, **_: Any
) -> Iterable[str] | dict[str, Any]:
    if bool(ids) + bool(filter is not None) + bool(group) != 1:
        raise CommandError("give ids, or - for those on standard input, or --filter, or --group", returncode=INPUT)
    if ids:
        return list(named(ids))
    of_group = {"fingerprint": group, "status__in": [str(status) for status in STATUSES]}
    chosen = of_group if filter is None else filter
    if not filters.find(chosen).exists():
        raise CommandError("no instance is chosen", returncode=INPUT)
    return chosen


def _detail(item: client.BatchOutcome) -> str:
    return ", ".join(f"{name} {value}" for name, value in item.detail.items() if value)
