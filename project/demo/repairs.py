"""What operators do when things went wrong: take a failure back, run a step again, ship a new version."""

from __future__ import annotations

import os
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from durable import client
from durable.client import Args
from durable.errors import NondeterminismError
from durable.models import Instance, Status
from project import trace

from .activities import BANK_IS_DOWN
from .invariants import Invariant
from .workflows import RELEASE, invoice, refund

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from .console import Narrator

INVOICES = range(171, 191)
AMOUNTS = {1: Decimal(20), 2: Decimal(250), 3: Decimal(35), 4: Decimal(400)}
"""Refunds, by number: two of them are large."""

OPERATOR = "ada"


class Repairs:
    """The repairs, one after the other.

    Args:
        narrator: Who tells of it.
        wait_until: Waits until something holds.
        trace_file: The file in which activities leave their lines.

    Attributes:
        superseded: The ids of instances that were ended, and run again as others.
    """

    def __init__(self, narrator: Narrator, wait_until: Callable[[Callable[[], bool]], None], trace_file: Path) -> None:
        self._say, self._wait_until, self._trace = narrator, wait_until, trace_file
        self.superseded: list[str] = []

    # --- a bank that was down

    def of_failures(self) -> Iterator[Invariant]:
        """Take failures back: one by hand, the others of its kind by a batch."""
        BANK_IS_DOWN.touch()
        handles = [invoice.options(id=f"invoice-{number}").start(number) for number in INVOICES]
        self._settled(handles)
        failed = [handle for handle in handles if handle.status == Status.FAILED]
        self._say.crash(f"the bank was down: {len(failed)} invoices failed at the same activity")
        BANK_IS_DOWN.unlink()

        first, *others = handles
        self._preview(f"client.rewind({first.id!r}, dry_run=True)", first.rewind(dry_run=True))
        first.rewind(reason="the bank is back", actor=OPERATOR)
        self._settled([first])
        self._say.fact(f"{first.id} went on from before its failure, in a new execution: {first.result(0)!r}")

        (group,) = client.failure_groups(workflow="invoice")
        self._say.note(f"client.failure_groups() -> {group.count} x {group.error}: {group.message!r}")
        batch = client.batch("rewind", group, reason="the bank is back", actor=OPERATOR)
        self._settled([batch, *others])
        counts = client.batch_report(batch.id).counts
        outcomes = ", ".join(f"{number} {outcome}" for outcome, number in counts.items() if number)
        self._say.fact(f'client.batch("rewind", group) -> {outcomes}')
        runs = self._runs("invoice-")
        self._say.table(["activity", "runs", "of so many invoices"], [(n, runs[n], len(handles)) for n in runs])
        self._say.note("(Each collected twice in vain, with its retry, and once more after the rewind.)\n")
        mails = self._runs("invoice-", each=True)
        twice = [f"{pk}: {n} times" for (name, pk), n in mails.items() if name != "collect" and n > 1]
        yield Invariant(
            sentence="what had succeeded was not done again: no customer got two mails", against=tuple(twice)
        )
        yield _all("every invoice is collected", handles, lambda handle: handle.status == Status.COMPLETED)

    # --- a wrong amount

    def of_an_amount(self) -> Iterator[Invariant]:
        """Run one step again with another input, and keep what was done beside it."""
        source = client.get(f"invoice-{INVOICES[0]}")
        step = next(item.event_id for item in source.history() if item.name == "collect" and item.event_id is not None)
        self._say.crash(f"{source.result(0)!r}: somebody had typed 17.1, and meant 71.10")
        correct = Args(INVOICES[0], Decimal("71.10"))
        new_id = f"{source.id}-corrected"
        options: dict[str, Any] = {
            "input": correct,
            "siblings": "keep",
            "new_instance_id": new_id,
            "reason": "typing error",
        }
        call = f"rerun_from_activity({source.id!r}, {step}, input={correct}, siblings='keep')"
        self._preview(f"client.{call}", source.rerun_from_activity(step, dry_run=True, **options))
        again = source.rerun_from_activity(step, actor=OPERATOR, **options)
        self._settled([again])
        self._say.fact(f"{again.id}, a new instance: {again.result(0)!r}")
        self._say.note(
            "What it inherited did not run: no look-up, no second mail. The first instance stays as it was.\n"
        )
        runs = self._runs(new_id)
        wrong = [f"{name} ran {times} times" for name, times in runs.items() if runs != {"collect": 1, "archive": 1}]
        yield Invariant(sentence="only the corrected step and what follows from it ran", against=tuple(wrong))
        yield _all("the corrected amount was collected", [again], lambda handle: "71.10" in handle.result(0))

    # --- a new version

    def of_versions(self, deploy: Callable[[], None]) -> Iterator[Invariant]:
        """Ship another version while instances of the old one run.

        Args:
            deploy: Replaces the worker by one that runs the second release.
        """
        handles = [refund.options(id=f"refund-{n}").start(n, amount) for n, amount in AMOUNTS.items()]
        self._wait_until(lambda: all(len(h.history()) > 2 and not _works(h) for h in handles))
        self._say.fact(f"{len(handles)} refunds wait for their approval, on version 0 of the workflow")
        os.environ[RELEASE] = "2"
        from . import release2  # noqa: F401, PLC0415 - a deploy, for this process

        deploy()
        self._versions()
        previews = {handle: handle.upgrade(dry_run=True) for handle in handles}
        rows = [_fit(handle, preview) for handle, preview in previews.items()]
        self._say.table(["client.upgrade(..., dry_run=True)", "version 2", "why not", "offered"], rows)
        fitting = [handle for handle, preview in previews.items() if preview.allowed]
        for handle in fitting:
            handle.upgrade(reason="letters for all", actor=OPERATOR)
        self._say.fact(f"{len(fitting)} upgraded where they stand")
        offers = {handle: misfit.offer for handle, preview in previews.items() if (misfit := _misfit(preview))}
        old, offer = list(offers.items())[-1]
        assert offer is not None  # noqa: S101 - each of them has opened its claim
        again = self._take_offer(old, offer)
        self._say.note("Whoever does not fit and is left alone ends on the version that it began on.\n")
        handles[handles.index(old)] = again
        for handle in handles:
            handle.signal("approve")
        self._settled(handles)
        self._versions()
        letters = {pk for name, pk in self._runs("refund-", each=True) if name == "send_letter"}
        expected = {handle.id for handle in (*fitting, again)}
        yield Invariant(
            sentence="the refunds on version 2 sent a letter, the others did not", against=tuple(letters ^ expected)
        )
        yield _all("every refund was paid", handles, lambda handle: handle.status == Status.COMPLETED)

    def _take_offer(self, old: client.Handle, offer: int) -> client.Handle:
        """End an instance that does not fit, and run it again on the new version from the step that was offered."""
        told: dict[str, Any] = {"reason": "two managers must know", "actor": OPERATOR}
        old.terminate(**told)
        self.superseded.append(old.id)
        again: client.Handle = old.rerun_from_activity(offer, version=2, new_instance_id=f"{old.id}-again", **told)
        self._wait_until(lambda: any(item.name == "ask_two_managers" for item in again.history()) and not _works(again))
        self._say.fact(f"{old.id} ended, and run again on version 2 from the step that was offered: {again.id}")
        return again

    # --- how

    def _settled(self, handles: Sequence[client.Handle]) -> None:
        ids = [handle.id for handle in handles]
        self._wait_until(lambda: not Instance.objects.filter(pk__in=ids, closed_at=None).exists())

    def _preview(self, call: str, preview: client.Preview) -> None:
        self._say.note(f"[bold]{call}[/]")
        for what, steps in (("kept", preview.kept), ("run again", preview.rerun), ("decided anew", preview.dropped)):
            self._say.note(f"  {what:>12}: {', '.join(step.name for step in steps) or '-'}")

    def _runs(self, prefix: str, *, each: bool = False) -> Counter[Any]:
        """Return how often activities ran for the instances whose ids begin so."""
        runs = [run for run in trace.read(self._trace) if run.instance.startswith(prefix)]
        return Counter((run.activity, run.instance) if each else run.activity for run in runs)

    def _versions(self) -> None:
        rows = [
            (f"{use.name} {use.version}", use.open, use.closed, "yes" if use.safe_to_delete else "no")
            for use in client.versions()
            if use.name == "refund"
        ]
        self._say.table(["client.versions()", "open", "closed", "safe to delete"], rows)


def _misfit(preview: client.Preview) -> NondeterminismError | None:
    return preview.refusal if isinstance(preview.refusal, NondeterminismError) else None


def _fit(handle: client.Handle, preview: client.Preview) -> tuple[str, str, str, str]:
    """Return what a preview says of an upgrade, as a row."""
    why = _misfit(preview)
    if why is None:
        return handle.id, "[green]fits", "", ""
    names = {item.event_id: item.name for item in handle.history() if item.kind == "ActivityScheduled"}
    facts = f"event {why.seq} is {why.expected},\nthe code does {why.got}"
    return handle.id, "[red]does not", facts, f"rerun from {why.offer}, {names[why.offer]}"


def _works(handle: client.Handle) -> bool:
    """Say whether an activity of an instance is still to end."""
    kinds = Counter(item.kind for item in handle.history())
    return kinds["ActivityScheduled"] != kinds["ActivityCompleted"]


def _all(sentence: str, handles: Sequence[client.Handle], holds: Callable[[client.Handle], bool]) -> Invariant:
    return Invariant(sentence=sentence, against=tuple(handle.id for handle in handles if not holds(handle)))
