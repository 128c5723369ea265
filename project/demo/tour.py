"""The tour: an audit and a shop, each with a worker killed in the middle, and what must hold after that."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.db.models import Count, Sum

from durable import client
from durable.client import steps
from durable.errors import NotOpen
from durable.models import HistoryEvent, Instance, Operation
from project import trace
from project.audit.models import Audit, Finding
from project.audit.workflows import audit_environment
from project.shop import orders
from project.shop.gateway import Gateway
from project.shop.models import OPEN, DailyReport, Order

from . import crash, invariants, losses, planted, processes, repairs
from .activities import BANK_IS_DOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .console import Narrator
    from .invariants import Invariant

DATABASE = settings.VAR_DIR / "demo.sqlite3"
WORKER_LOG = settings.VAR_DIR / "worker.log"
TRACE = settings.VAR_DIR / "trace.jsonl"
PLANTED = settings.VAR_DIR / "planted"

KILL_AT = {"files verified": 0.4, "orders settled": 0.1}
"""The share of the work after which a worker is killed; most orders are on their way when the first are settled."""

APPROVAL_WITHIN = 4.0
"""Seconds that somebody has to approve a large order."""

PATIENCE = 100.0
"""Seconds after which a part that does not end has failed."""

ENVIRONMENT = {
    # A worker that gives no sign of life for so long is dead. 30 is the default; a demo has no time for that.
    "DURABLE_LEASE": "2",
    "DURABLE_POLL": "0.2",
    "TRACE_FILE": str(TRACE),
    "PYTHONPATH": str(PLANTED),
}


class DemoFailed(Exception):
    """The demo did not show what it is there to show."""


class Tour:
    """The tour, part after part.

    Args:
        narrator: Who tells of it.
        running: Where to put the processes that it starts.
    """

    def __init__(self, narrator: Narrator, running: list[processes.Process]) -> None:
        self._say, self._running = narrator, running
        self._worker: processes.Process | None = None
        self._seconds: dict[str, float] = {}

    def run(self) -> None:
        """Show everything.

        Raises:
            DemoFailed: Something that must hold does not, or takes too long.
        """
        parts = {"set-up": self._set_up, "audit": self._audit, "shop": self._shop, "repairs": self._repair}
        for name, part in parts.items():
            begun = time.monotonic()
            part()
            self._seconds[name] = time.monotonic() - begun
        self._summary()

    # --- the parts

    def _set_up(self) -> None:
        self._say.chapter(
            "1  A fresh database and a Celery worker", "That is all there is to run: no server, no broker."
        )
        connection.close()  # one that is open would stay with the file that is deleted now
        for path in (
            settings.GATEWAY_FILE,
            BANK_IS_DOWN,
            WORKER_LOG,
            TRACE,
            *DATABASE.parent.glob(f"{DATABASE.name}*"),
        ):
            path.unlink(missing_ok=True)
        shutil.rmtree(PLANTED, ignore_errors=True)
        planted.plant(PLANTED)
        call_command("migrate", verbosity=0)
        self._say.fact(f"{_short(DATABASE)}: {len(connection.introspection.table_names())} tables")
        self._start_worker()

    def _audit(self) -> None:
        self._say.chapter(
            "2  An audit of this Python environment",
            "Is every installed file what its package's RECORD says? A child workflow for each package, an activity "
            "for every 64 files.\nproject/audit/workflows.py has the code.",
        )
        handle = audit_environment.options(id="audit").start()

        def progress() -> tuple[int, int, str]:
            shown = handle.instance.progress or {}
            return shown.get("done", 0), shown.get("total", 0), shown.get("note", "")

        self._with_a_crash("files verified", progress, lambda: handle.instance.closed_at is not None)
        report = Audit.objects.get(instance_id=handle.id).report
        self._say.fact(
            f"{report['packages']} packages, {report['verified']:,} files with a hash, "
            f"{report['size'] / 1e6:,.0f} MB read"
        )
        for finding in Finding.objects.select_related("distribution"):
            mark = " [dim](planted, to be found)[/]" if finding.distribution.name == planted.NAME else ""
            self._say.note(f"[yellow]{finding.kind}[/] {finding.path} of {finding.distribution}{mark}")
        self._check([*invariants.of_audit(handle.id), *invariants.of_instances()])

    def _shop(self) -> None:
        self._say.chapter(
            "3  A shop with 300 orders",
            "Stock, an unreliable payment service, approvals by signal, parcels by child workflows.\n"
            "project/shop/workflows.py has the code.",
        )
        orders.fill_shelves()
        taken = orders.take_in(approval_within=APPROVAL_WITHIN)
        self._say.fact(f"{len(taken)} orders stored and as many workflows started, in one transaction")
        manager = Manager()

        def progress() -> tuple[int, int, str]:
            manager.decide()
            settled = Order.objects.exclude(status__in=OPEN).count()
            return settled, len(taken), f"{manager.approved} approved, {manager.refused} refused"

        self._with_a_crash(
            "orders settled",
            progress,
            lambda: not Instance.objects.filter(closed_at=None).exists(),
            meanwhile=lambda: losses.recover(self._say, losses.lose_rows()),
        )
        fates = Order.objects.order_by("status").values_list("status").annotate(Count("pk"), Sum("total"))
        rows = [(status, number, f"{total:>10,.2f}") for status, number, total in fates]
        self._say.table(["what became of the orders", "orders", "     total"], rows)
        requests = Gateway(settings.GATEWAY_FILE).requests()
        self._say.note(
            f"The payment service got {sum(requests.values())} requests: {requests.get('unavailable', 0)} failed, "
            f"{requests.get('answer lost', 0)} were charged but the answer got lost, "
            f"{requests.get('declined', 0)} cards were declined.\n"
        )
        self._check([*invariants.of_shop(), *invariants.of_instances()])
        self._show_one()

    def _repair(self) -> None:
        self._say.chapter(
            "4  Operators repair what went wrong",
            "Each verb says first what it will do, edits no history, and is in the audit afterwards.\n"
            "project/demo/workflows.py has the code that they repair.",
        )
        mending = repairs.Repairs(self._say, self._wait_until, TRACE)
        self._check(mending.of_failures())
        self._say.console.print()
        self._check(mending.of_an_amount())
        self._say.console.print()
        self._check([*mending.of_versions(self._deploy), *invariants.of_instances(but=mending.superseded)])
        rows = Operation.objects.order_by("verb", "outcome").values_list("verb", "outcome", "dry_run")
        tally = Counter((verb, f"{outcome}{' (dry run)' if dry else ''}") for verb, outcome, dry in rows)
        self._say.table(["the audit", "outcome", "rows"], [(*key, number) for key, number in sorted(tally.items())])

    def _deploy(self) -> None:
        assert self._worker is not None  # noqa: S101 - the set-up started one
        self._worker.stop()
        self._start_worker()

    def _show_one(self) -> None:
        shipped = Order.objects.filter(status=Order.Status.SHIPPED)
        ids = [orders.instance_id(order.number) for order in shipped]
        histories = {i: steps.of(client.history(i)) for i in ids}
        chosen = max(ids, key=lambda i: (len(histories[i]), sum(step.attempts or 0 for step in histories[i])))
        self._say.console.print()
        self._say.timeline(histories[chosen], title=f"What {chosen} went through (manage.py durable_show {chosen})")

    def _summary(self) -> None:
        self._say.chapter("5  What that took", "")
        runs, events = trace.read(TRACE), HistoryEvent.objects.count()
        working = self._seconds["audit"] + self._seconds["shop"]
        self._say.table(
            ["in all", "number"],
            [
                ("workflow instances", Instance.objects.count()),
                ("events in their histories", events),
                ("activities", len({run.key for run in runs})),
                ("runs of activities, with all retries", len(runs)),
                ("workers killed with kill -9", 2),
                ("daily reports by one workflow that continued as new", DailyReport.objects.count()),
                ("events a second, crashes and waiting included", round(events / working)),
            ],
        )
        times = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self._seconds.items())
        self._say.fact(f"all that had to hold holds ({times})")

    # --- how

    def _with_a_crash(
        self,
        what: str,
        progress: Callable[[], tuple[int, int, str]],
        finished: Callable[[], bool],
        meanwhile: Callable[[], Iterable[Invariant]] = tuple,
    ) -> None:
        """Wait until something is finished, and kill the worker on the way.

        Args:
            what: What is counted.
            progress: How far it is.
            finished: Whether it is.
            meanwhile: What is done before the next worker starts.
        """
        with self._say.meter(what) as meter:
            self._wait_until(lambda: _share(meter, progress) >= KILL_AT[what] or finished())
        worker = self._worker
        assert worker is not None  # noqa: S101 - the set-up started one
        worker.kill()
        struck = crash.look(TRACE)
        self._say.crash(
            f"kill -9 {worker.pid}, the worker: {len(struck.finished):,} activities had finished, "
            f"{len(struck.interrupted)} running or waiting for a retry"
        )
        self._check(meanwhile())
        self._start_worker()
        with self._say.meter(what) as meter:
            self._wait_until(lambda: _share(meter, progress) < 0 or finished())
            _share(meter, progress)
        aftermath = crash.after(struck, TRACE)
        self._say.table(
            ["activities", "number", "ran again after the crash"],
            [
                ("finished before it", len(struck.finished), aftermath.finished_again),
                ("interrupted by it", len(struck.interrupted), aftermath.interrupted_again),
                ("begun after it", aftermath.others, "-"),
            ],
        )
        self._check(invariants.of_crash(struck, aftermath))

    def _start_worker(self) -> None:
        self._worker = processes.worker(environment=ENVIRONMENT, log=WORKER_LOG)
        self._running.append(self._worker)
        self._say.fact(f"a worker with four threads, process {self._worker.pid}; it logs to {_short(WORKER_LOG)}")

    def _wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if self._worker is not None and not self._worker.running:
                raise DemoFailed("the worker ended by itself")
            if time.monotonic() > deadline:
                waiting = ", ".join(Instance.objects.filter(closed_at=None).values_list("pk", flat=True)[:5])
                raise DemoFailed(f"this takes longer than {PATIENCE:.0f} s; these do not end: {waiting}")
            time.sleep(0.2)

    def _check(self, found: Iterable[Invariant]) -> None:
        checked = list(found)
        if not self._say.invariants(checked):
            broken = "; ".join(invariant.sentence for invariant in checked if not invariant.holds)
            raise DemoFailed(f"this must hold, and does not: {broken}")


class Manager:
    """Somebody who approves large orders: most, not all, and some too late."""

    def __init__(self) -> None:
        self.approved = self.refused = 0
        self._seen: set[str] = set()

    def decide(self) -> None:
        """Signal the orders that wait for an approval."""
        asking = Instance.objects.filter(closed_at=None, custom_status="waits for approval")
        for instance_id in asking.values_list("pk", flat=True):
            if instance_id not in self._seen:
                self._seen.add(instance_id)
                self._decide(instance_id)

    def _decide(self, instance_id: str) -> None:
        match len(self._seen) % 4:
            case 0:
                return  # overlooked; the workflow does not wait for ever
            case 1:
                approves = False
            case _:
                approves = True
        try:
            client.signal(instance_id, "approve", approves)
        except NotOpen:
            return
        self.approved += approves
        self.refused += not approves


def _share(meter: Callable[[float, float, str], None], progress: Callable[[], tuple[int, int, str]]) -> float:
    done, total, note = progress()
    meter(done, total, note)
    return done / total if total else 0.0


def _short(path: object) -> str:
    return str(path).removeprefix(f"{settings.BASE_DIR}/")
