"""What instances of the demo's workflows go through, in a few words: seeding stores many of each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from durable import conf
from durable.core import events as ev
from durable.core.errors import NondeterminismError, UnknownWorkflow, VersionNotAvailable
from durable.core.failures import Failure
from durable.models import ActivityTask, Execution, Instance, Status
from durable.operations import audit
from durable.store import clock, instances, tasks
from durable.testing import rows
from durable.testing.histories import Attempted, History, history_of
from project.audit.record import Package, Verified
from project.audit.workflows import FILES_AT_ONCE
from project.shop.activities import Reserved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NUMBER = 987_654_321
"""Stands for the number that each of them gets."""

AMOUNT, LARGE = Decimal("71.10"), Decimal(250)
DAY = 24 * 3600.0
OPERATOR = "ada"


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What instances went through.

    Attributes:
        share: How many of a thousand are such.
        days: How long ago the oldest of them was created.
        store: Stores one, its children included, whose ids have ``NUMBER`` in them.
    """

    share: int
    days: float
    store: Callable[[], Any]


def stories(chunks: int) -> Iterator[Story]:
    """Yield all stories; the long ones have so many activities at once."""
    yield from (Story(share=share, days=60, store=store) for share, store in _CLOSED)
    # What is open began so lately that its timers and retries are still to come.
    yield from (Story(share=share, days=10, store=store) for share, store in _OPEN)
    yield Story(share=100, days=60, store=lambda: _create("audit", "audit_package", _audited(chunks)))


def _create(kind: str, name: str, history: History, status: str | None = None, **shown: Any) -> Instance:
    """Store an instance."""
    told = rows.Told(history=history, status=status, stall=shown.pop("stall", None), seconds=shown.pop("seconds", 2.0))
    tags = {"number": NUMBER, **shown.pop("tags", {})}
    return rows.create_instance(id=f"{kind}-{NUMBER}", name=name, told=told, tags=tags, **shown)


def _did(verb: str, instance: Instance, reason: str, **arguments: Any) -> None:
    """Store that an operator did something to an instance."""
    row = audit.operation(verb, instance.pk, actor=OPERATOR, reason=reason, **arguments)
    row.at = instance.closed_at or instance.created_at + timedelta(minutes=1)
    row.save(using=conf.settings.DATABASE)


def _asked(event_id: int, name: str, *args: Any) -> ev.ActivityScheduled:
    return ev.ActivityScheduled(event_id=event_id, name=name, input=history_of("", *args).start.input)


def _gave_up(history: History, name: str, event_id: int, attempts: int, cause: Failure) -> History:
    """End a history as one ends whose code lets the failure of an activity through."""
    history.add(ev.ActivityFailed(event_id=event_id, failure=cause, attempts=attempts))
    said = f"activity {name} was tried {attempts} times and failed: {cause.type}: {cause.message}"
    kinds = ("ActivityError", "DurableError", "Exception", "BaseException")
    return history.add(
        ev.ExecutionFailed(failure=Failure(type="ActivityError", message=said, cause=cause, kinds=kinds))
    )


def _raised(kind: str, message: str, file: str, function: str, line: int) -> Failure:
    where = (
        f'Traceback (most recent call last):\n  File "project/{file}", line {line}, in {function}\n{kind}: {message}\n'
    )
    return Failure(type=kind, message=message, traceback=where, kinds=(kind, "Exception", "BaseException"))


# --- invoices

_BANK_DOWN = _raised("BankDown", f"no answer about invoice {NUMBER}", "demo/activities.py", "collect", 38)


def _collecting() -> History:
    """Return an invoice that was looked up, and is being collected."""
    begun = history_of("invoice", NUMBER).activity("look_up", NUMBER, result=AMOUNT)
    return begun.add(
        _asked(1, "collect", NUMBER, AMOUNT), _asked(2, "send_mail", NUMBER), ev.ActivityCompleted(event_id=2)
    )


def _collected(begun: History) -> History:
    receipt = f"receipt for {AMOUNT}"
    begun.add(ev.ActivityCompleted(event_id=1, result=receipt, attempts=2))
    said = f"invoice {NUMBER}: {receipt}"
    return begun.activity("archive", NUMBER, receipt, result=said).completed(said)


def _invoice() -> None:
    _create("invoice", "invoice", _collected(_collecting()), tags={"customer": "Ada"})


def _invoice_without_bank() -> Instance:
    return _create("invoice", "invoice", _gave_up(_collecting(), "collect", 1, 2, _BANK_DOWN), tags={"customer": "Bo"})


def _invoice_rewound() -> None:
    failed = _invoice_without_bank()
    _did("rewind", failed, "the bank is back")
    source = str(failed.execution_id)
    again = _collecting().add(ev.ExecutionRewound(reason="the bank is back", actor=OPERATOR, source=source))
    told = rows.Told(history=_collected(again), seconds=2.0)
    rows.begin_execution(instance=failed, origin=Execution.Origin.REWIND, told=told)


def _invoice_rerun() -> None:
    found = _create("corrected", "invoice", _collected(_collecting()))
    instances.rows().filter(pk=found.pk).update(rerun_from=f"invoice-{NUMBER}", rerun_event_id=1, attempt=1)
    _did("rerun", found, "typing error", event_id=1)


def _invoice_retrying() -> None:
    begun = _collecting()
    begun.waiting[1] = Attempted(attempt=2, failure=_BANK_DOWN)
    found = _create("invoice", "invoice", begun, tags={"customer": "Bo"})
    _task(found).update(available_at=clock.now() + timedelta(days=12))


def _invoice_on_a_queue_of_nobody() -> None:
    begun = _collecting()
    begun.waiting[1] = Attempted(attempt=1, failure=None)
    found = _create("invoice", "invoice", begun)
    _task(found).update(queue="bank")


def _invoice_to_come() -> None:
    _create("invoice", "invoice", history_of("invoice", NUMBER), Status.PENDING, options={"delay": 40 * DAY})


def _invoice_of_other_code() -> None:
    begun = history_of("invoice", NUMBER).activity("check_address", NUMBER, result=True)
    wrong = NondeterminismError(
        seq=2,
        event_id=0,
        expected="ActivityScheduled(check_address)",
        got="ActivityScheduled(look_up)",
        location="project/demo/workflows.py:22",
    )
    _create("invoice", "invoice", begun, Status.STALLED, stall=wrong)


# --- refunds


def _claimed(amount: Decimal, managers: str = "ask_manager", name: str = "refund") -> History:
    claim = f"claim-{NUMBER}"
    begun = history_of(name, NUMBER, amount).activity("open_claim", NUMBER, result=claim)
    return begun.activity(managers, claim) if amount == LARGE else begun


def _refund_waiting() -> None:
    _create("refund", "refund", _claimed(LARGE), tags={"customer": "Cy"})


def _refund2_waiting() -> None:
    _create("refund", "refund2", _claimed(LARGE, "ask_two_managers", "refund2"), tags={"customer": "Di"})


def _refund2() -> None:
    claim = f"claim-{NUMBER}"
    paid = f"{claim}: {AMOUNT} paid back"
    told = _claimed(AMOUNT, name="refund2").signal("approve").activity("pay_back", claim, AMOUNT, result=paid)
    found = _create("refund", "refund2", told.activity("send_letter", claim).completed(paid), seconds=900.0)
    _did("signal", found, "approved by phone", name="approve")


def _refund_of_nothing() -> None:
    told = _claimed(LARGE).signal("approve")
    told.add(_asked(2, "pay_back", f"claim-{NUMBER}", LARGE))
    wrong = _raised("AccountClosed", f"account {NUMBER} is closed", "demo/activities.py", "pay_back", 71)
    _create("refund", "refund", _gave_up(told, "pay_back", 2, 3, wrong))


def _refund_canceled() -> None:
    found = _create("refund", "refund", _claimed(LARGE).cancel_requested("withdrawn").canceled())
    _did("cancel", found, "withdrawn")


def _refund_terminated() -> None:
    found = _create("refund", "refund", _claimed(AMOUNT).terminated("a duplicate"))
    _did("terminate", found, "a duplicate")


def _refund_suspended() -> None:
    begun = _claimed(LARGE).add(ev.ExecutionSuspended(reason="under investigation"))
    _did("suspend", _create("refund", "refund", begun, Status.SUSPENDED), "under investigation")


def _refund_with_a_manager() -> None:
    begun = history_of("refund", NUMBER, LARGE).activity("open_claim", NUMBER, result=f"claim-{NUMBER}")
    found = _create("refund", "refund", begun.activity("ask_manager", f"claim-{NUMBER}", waiting=True))
    _task(found).update(state=ActivityTask.State.EXTERNAL, started_at=found.created_at)


# --- orders


def _reserved(total: Decimal, *args: Any) -> History:
    reserved = Reserved(customer="Eva", total=total)
    return history_of("fulfil_order", NUMBER, *args).activity("reserve", NUMBER, result=reserved)


def _charged() -> History:
    receipt = f"receipt-{NUMBER}"
    told = _reserved(AMOUNT).activity("charge", NUMBER, AMOUNT, result=receipt, attempts=3)
    return told.activity("book_payment", NUMBER, receipt)


def _shipping() -> History:
    return history_of("ship", NUMBER).activity("print_label", NUMBER, result=f"parcel-{NUMBER}")


def _order() -> None:
    label = f"parcel-{NUMBER}"
    child = _shipping().timer(0.5).activity("hand_over", NUMBER, label).completed(label)
    told = _charged().child("ship", NUMBER, id=f"shipping-{NUMBER}", history=child)
    _create("order", "fulfil_order", told.completed("shipped"), tags={"customer": "Eva"})


def _order_with_a_parcel_held_back() -> None:
    child = _shipping().timer(0.5, waiting=True).add(ev.ExecutionSuspended(reason="customs"))
    told = _charged().child("ship", NUMBER, id=f"shipping-{NUMBER}", history=child, waiting=True)
    progress = {"done": 3, "total": 4, "note": "at the customs"}
    _create("order", "fulfil_order", told, tags={"customer": "Eva"}, progress=progress)
    held = instances.rows().filter(pk=f"shipping-{NUMBER}")
    held.update(status=Status.SUSPENDED)
    _did("suspend", held.get(), "customs")


def _order_sold_out() -> None:
    told = history_of("fulfil_order", NUMBER).activity("reserve", NUMBER, result=None).completed("sold out")
    _create("order", "fulfil_order", told)


def _order_waiting() -> None:
    told = _reserved(LARGE, 30 * DAY).timer(30 * DAY, waiting=True)
    _create("order", "fulfil_order", told, tags={"customer": "Fay"}, custom_status="waits for approval")


def _order_unpaid() -> None:
    wrong = _raised("Unavailable", f"503 for order-{NUMBER}", "shop/gateway.py", "charge", 88)
    told = _reserved(AMOUNT)
    told.add(_asked(1, "charge", NUMBER, AMOUNT))
    _create("order", "fulfil_order", _gave_up(told, "charge", 1, 8, wrong), tags={"customer": "Gus"})


def _order_of_version_9() -> None:
    wrong = VersionNotAvailable("fulfil_order", 9, registered=[0])
    _create("order", "fulfil_order9", _charged(), Status.STALLED, stall=wrong)


def _newsletter() -> None:
    told = history_of("newsletter", "autumn").activity("list_readers", result=NUMBER)
    _create("newsletter", "newsletter", told, Status.STALLED, stall=UnknownWorkflow("newsletter"))


# --- reports and audits


def _reports() -> None:
    day = date(2026, 1, 30)
    first = _reported(day)
    found = _create("report", "daily_report", first, seconds=60.0)
    told = _reported(day + timedelta(days=1)).completed(f"reported up to {day + timedelta(days=1)}")
    rows.begin_execution(instance=found, origin=Execution.Origin.CONTINUED, told=rows.Told(history=told, seconds=60.0))


def _reported(day: date) -> History:
    begun = history_of("daily_report", day, date(2026, 1, 31)).activity("count_open", day, result=2).timer(1.0)
    return begun.activity("count_open", day, result=0).activity("report_day", day)


def _audited(chunks: int) -> History:
    package = Package(name="planted", version="1.0", files=chunks * FILES_AT_ONCE)
    told = history_of("audit_package", NUMBER, package, chunks)
    starts = range(0, package.files, FILES_AT_ONCE)
    told.add(*(_asked(n, "hash_files", "planted", at, at + FILES_AT_ONCE) for n, at in enumerate(starts)))
    result = history_of("", Verified(verified=FILES_AT_ONCE)).start.input["args"][0]
    told.add(*(ev.ActivityCompleted(event_id=n, result=result) for n in range(chunks)))
    return told.activity("store_package", NUMBER, package, Verified(verified=package.files)).completed(0)


def _task(instance: Instance) -> Any:
    return tasks.rows().filter(execution_id=instance.execution_id)


_CLOSED: tuple[tuple[int, Callable[[], Any]], ...] = (
    (300, _invoice),
    (150, _order),
    (90, _refund2),
    (60, _order_sold_out),
    (60, _invoice_without_bank),
    (30, _order_unpaid),
    (10, _refund_of_nothing),
    (20, _refund_canceled),
    (15, _refund_terminated),
    (15, _invoice_rewound),
    (15, _invoice_rerun),
    (10, _reports),
)

_OPEN: tuple[tuple[int, Callable[[], Any]], ...] = (
    (30, _order_waiting),
    (20, _refund_waiting),
    (20, _refund2_waiting),
    (10, _refund_suspended),
    (10, _refund_with_a_manager),
    (10, _order_with_a_parcel_held_back),
    (10, _invoice_retrying),
    (5, _invoice_on_a_queue_of_nobody),
    (10, _invoice_to_come),
    (5, _invoice_of_other_code),
    (5, _order_of_version_9),
    (5, _newsletter),
)
