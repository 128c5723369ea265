"""Takes orders in from a CSV file."""

from __future__ import annotations

import csv
from datetime import date
from decimal import Decimal
from pathlib import Path

from django.db import transaction

from .models import Order, Product
from .workflows import daily_report, fulfil_order

DATA = Path(__file__).parent / "data"


def instance_id(number: int) -> str:
    """Return the id of the instance that sees to an order."""
    return f"order-{number}"


@transaction.atomic
def fill_shelves(path: Path = DATA / "products.csv") -> int:
    """Store the products of a file, and return how many there are."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    Product.objects.bulk_create(
        Product(
            sku=r["sku"], name=r["name"], price=Decimal(r["price"]), delivered=int(r["stock"]), stock=int(r["stock"])
        )
        for r in rows
    )
    return len(rows)


@transaction.atomic
def take_in(path: Path = DATA / "orders.csv", *, approval_within: float) -> list[Order]:
    """Store the orders of a file and start the workflows that see to them, all in one transaction: all or none."""
    products = Product.objects.in_bulk()
    with path.open(newline="") as file:
        orders = [_order(row, products) for row in csv.DictReader(file)]
    Order.objects.bulk_create(orders)
    for order in orders:
        fulfil_order.options(id=instance_id(order.number), tags={"product": order.product_id}).start(
            order.number, approval_within
        )
    days = sorted({order.placed_on for order in orders})
    daily_report.options(id=f"report-{days[0]}").start(days[0], days[-1])
    return orders


def _order(row: dict[str, str], products: dict[str, Product]) -> Order:
    product, quantity = products[row["sku"]], int(row["quantity"])
    return Order(
        number=int(row["number"]),
        placed_on=date.fromisoformat(row["placed_on"]),
        customer=row["customer"],
        product=product,
        quantity=quantity,
        total=product.price * quantity,
    )
