"""The shop's steps. What writes to our own tables is atomic; what asks the payment service is not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from django.conf import settings
from django.db.models import Count, F, Q, Sum

from durable import RetryPolicy, activity
from project.trace import traced

from .gateway import CardDeclined, Gateway
from .models import OPEN, DailyReport, Order, Payment, Product, Shipment

Status = Order.Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """An order whose goods are set aside."""

    customer: str
    total: Decimal


@activity.defn(atomic=True)
@traced
def reserve(number: int) -> Reserved | None:
    """Set an order's goods aside; None if there are not enough."""
    order = Order.objects.select_for_update().get(pk=number)
    enough = Product.objects.filter(pk=order.product_id, stock__gte=order.quantity)
    if not enough.update(stock=F("stock") - order.quantity):
        _move(order, Status.SOLD_OUT)
        return None
    _move(order, Status.RESERVED)
    return Reserved(customer=order.customer, total=order.total)


@activity.defn(atomic=True)
@traced
def release(number: int, why: str) -> None:
    """Put a reserved order's goods back on the shelf."""
    order = Order.objects.select_for_update().get(pk=number)
    Product.objects.filter(pk=order.product_id).update(stock=F("stock") + order.quantity)
    _move(order, Status(why))


@activity.defn(
    start_to_close=timedelta(seconds=10),
    retry=RetryPolicy(initial_interval=0.2, max_interval=2, max_attempts=8, non_retryable=(CardDeclined,)),
)
@traced
def charge(number: int, total: Decimal) -> str:
    """Have the payment service charge an order, and return the receipt.

    It may run more than once: an answer may get lost, and so may a worker. So
    the service gets a key that stands for the order. ``activity.info()`` has a
    key too, the same for every attempt; this one outlives even a rewind.
    """
    key = f"order-{number}"
    return Gateway(settings.GATEWAY_FILE).charge(key=key, account=f"account of {key}", amount=total)


@activity.defn(atomic=True)
@traced
def book_payment(number: int, receipt: str) -> None:
    """Note that an order is paid."""
    order = Order.objects.select_for_update().get(pk=number)
    Payment.objects.create(order=order, amount=order.total, receipt=receipt)
    _move(order, Status.PAID)


@activity.defn
@traced
def print_label(number: int) -> str:
    """Return what stands on the parcel."""
    return f"parcel-{number:05}"


@activity.defn(atomic=True)
@traced
def hand_over(number: int, label: str) -> None:
    """Give a parcel to the carrier."""
    order = Order.objects.select_for_update().get(pk=number)
    Shipment.objects.create(order=order, label=label)
    _move(order, Status.SHIPPED)


@activity.defn
@traced
def count_open(day: date) -> int:
    """Return how many orders of a day are not settled yet."""
    return Order.objects.filter(placed_on=day, status__in=OPEN).count()


@activity.defn(atomic=True)
@traced
def report_day(day: date) -> None:
    """Store what became of a day's orders."""
    shipped = Q(status=Status.SHIPPED)
    facts = Order.objects.filter(placed_on=day).aggregate(
        orders=Count("pk"),
        shipped=Count("pk", filter=shipped),
        revenue=Sum("total", filter=shipped, default=Decimal(0)),
    )
    DailyReport.objects.create(day=day, **facts)


def _move(order: Order, status: Order.Status) -> None:
    order.status = status
    order.save(update_fields=["status"])
