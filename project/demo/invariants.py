"""What must hold after the demo, whatever was killed: each a sentence, and what speaks against it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.conf import settings
from django.db.models import Q, Sum

from durable.models import Instance, Status
from project.audit import record
from project.audit.models import Audit, Finding
from project.shop.gateway import Gateway
from project.shop.models import HOLDS_STOCK, OPEN, DailyReport, Order, Payment, Product, Shipment

from . import planted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from .crash import Aftermath, Crash

SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariant:
    """A sentence that must be true.

    Attributes:
        against: What speaks against it; empty if it holds.
    """

    sentence: str
    against: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.against


def of_instances(*, but: Collection[str] = ()) -> Iterator[Invariant]:
    """Yield what must hold of all workflow instances, but for those that were run again as another one."""
    others = Instance.objects.exclude(status=Status.COMPLETED).exclude(pk__in=but)
    sentence = f"every workflow completed, but for {', '.join(but)}" if but else "every workflow completed"
    yield _invariant(sentence, (f"{i.pk} is {i.status}: {i.failure or i.stall}" for i in others))


def of_crash(crash: Crash, aftermath: Aftermath) -> Iterator[Invariant]:
    """Yield what must hold after a worker was killed."""
    again, lost = aftermath.finished_again, len(crash.interrupted) - aftermath.interrupted_again
    yield _invariant("the worker was killed in the middle", [] if crash.finished and aftermath.others else ["too late"])
    yield _invariant("nothing that had finished ran again", [f"{again} runs"] if again else [])
    yield _invariant("all that was interrupted ran again", [f"{lost} did not"] if lost else [])


def of_audit(instance_id: str, package: str = planted.NAME) -> Iterator[Invariant]:
    """Yield what must hold of an audit."""
    audit = Audit.objects.get(instance_id=instance_id)
    expected = {each.name: each.files for each in record.packages()}
    found = {each.name: each.verified + each.unhashed for each in audit.distributions.exclude(name=package)}
    differences = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    yield _invariant("every file of every package was looked at once", differences)
    problems = dict(
        Finding.objects.filter(distribution__audit=audit, distribution__name=package).values_list("path", "kind")
    )
    wrong = [
        f"{path} is {problems.get(path, 'not found')}"
        for path, kind in planted.PROBLEMS.items()
        if problems.get(path) != kind
    ]
    yield _invariant(
        "the planted faults were found, and no others with them", wrong or sorted(problems.keys() - planted.PROBLEMS)
    )


def of_shop() -> Iterator[Invariant]:
    """Yield what must hold of the shop."""
    yield _invariant("every order is settled", map(str, Order.objects.filter(status__in=OPEN)))
    held = Sum("orders__quantity", filter=Q(orders__status__in=HOLDS_STOCK), default=0)
    yield _invariant(
        "stock: what was delivered is on the shelf or sold, and never less than nothing",
        (
            f"{p}: {p.delivered} delivered, {p.stock} left, {p.held} sold"
            for p in Product.objects.annotate(held=held)
            if p.stock < 0 or p.stock + p.held != p.delivered
        ),
    )
    yield from _of_money()
    shipped = set(Order.objects.filter(status=Order.Status.SHIPPED).values_list("pk", flat=True))
    parcels = set(Shipment.objects.values_list("order", flat=True))
    yield _invariant("parcels left for the orders that are shipped, and for no others", map(str, shipped ^ parcels))
    days = set(Order.objects.values_list("placed_on", flat=True).distinct())
    reported = set(DailyReport.objects.values_list("day", flat=True))
    yield _invariant("every day has its report", map(str, days ^ reported))
    revenue, income = _sum(DailyReport, "revenue"), _sum(Payment, "amount")
    yield _invariant("the reports add up to the payments", [f"{revenue} and {income}"] if revenue != income else [])


def _of_money() -> Iterator[Invariant]:
    charges = Gateway(settings.GATEWAY_FILE).charges()
    accounts = Counter(charge.account for charge in charges)
    yield _invariant("no order was charged twice", (f"{a}: {n} times" for a, n in accounts.items() if n > 1))
    ledger = {(charge.receipt, charge.amount) for charge in charges}
    ours = set(Payment.objects.values_list("receipt", "amount"))
    yield _invariant("our payments are those in the payment service's ledger", map(str, ledger ^ ours))
    paid = set(Payment.objects.filter(order__status=Order.Status.SHIPPED).values_list("order", flat=True))
    shipped = set(Order.objects.filter(status=Order.Status.SHIPPED).values_list("pk", flat=True))
    unpaid = map(str, shipped ^ paid | set(Payment.objects.exclude(order__in=paid).values_list("order", flat=True)))
    yield _invariant("whoever paid got a parcel, and nobody else", unpaid)


def _invariant(sentence: str, against: Iterable[str]) -> Invariant:
    return Invariant(sentence=sentence, against=tuple(against))


def _sum(model: type[DailyReport] | type[Payment], field: str) -> object:
    return model._default_manager.aggregate(total=Sum(field))["total"]
