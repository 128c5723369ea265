"""What the shop's steps do, one at a time, as a worker would run them."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from django.db import IntegrityError, transaction

from project.shop.activities import (
    Reserved,
    book_payment,
    charge,
    count_open,
    hand_over,
    print_label,
    release,
    report_day,
    reserve,
)
from project.shop.gateway import CardDeclined, Gateway, Unavailable
from project.shop.models import DailyReport, Order, Payment, Product, Shipment

DAY = date(2025, 3, 3)


@pytest.fixture
def tea(db):
    return Product.objects.create(sku="TEA", name="Tea", price=Decimal(5), delivered=10, stock=10)


@pytest.fixture
def order(tea):
    """Place orders for tea."""

    def place(number=1, quantity=2):
        total = tea.price * quantity
        return Order.objects.create(
            number=number, placed_on=DAY, customer="Ada", product=tea, quantity=quantity, total=total
        )

    return place


@pytest.fixture
def gateway(settings, tmp_path):
    settings.GATEWAY_FILE = tmp_path / "gateway.sqlite3"
    return Gateway(settings.GATEWAY_FILE)


def test_reserving_takes_from_the_shelf_and_releasing_puts_back(durable_activity, order, tea):
    number = order().pk

    assert durable_activity.run(reserve, number) == Reserved(customer="Ada", total=Decimal(10))
    tea.refresh_from_db()
    assert tea.stock == 8

    durable_activity.run(release, number, "refused")
    tea.refresh_from_db()
    assert (tea.stock, Order.objects.get().status) == (10, "refused")


def test_more_than_there_is_cannot_be_reserved(durable_activity, order, tea):
    assert durable_activity.run(reserve, order(quantity=11).pk) is None

    tea.refresh_from_db()
    assert (tea.stock, Order.objects.get().status) == (10, "sold out")


def test_the_database_refuses_less_than_nothing_and_a_second_payment(durable_activity, order):
    number = order().pk
    durable_activity.run(book_payment, number, "first")

    with pytest.raises(IntegrityError), transaction.atomic():
        Product.objects.update(stock=-1)
    with pytest.raises(IntegrityError):
        durable_activity.run(book_payment, number, "second")

    assert Payment.objects.get().receipt == "first"


def test_a_parcel_that_left_is_a_shipped_order(durable_activity, order):
    label = durable_activity.run(print_label, order(number=7).pk)

    durable_activity.run(hand_over, 7, label)

    assert (Shipment.objects.get().label, Order.objects.get().status) == ("parcel-00007", "shipped")


def test_a_report_counts_what_was_shipped(durable_activity, order):
    for number in (1, 2):
        order(number)
    durable_activity.run(hand_over, 1, "parcel-1")

    durable_activity.run(report_day, DAY)

    report = DailyReport.objects.get()
    assert (report.orders, report.shipped, report.revenue) == (2, 1, Decimal(10))
    assert durable_activity.run(count_open, DAY) == 1


def test_a_customer_is_charged_once_however_often_it_is_tried(durable_activity, gateway):
    receipts = set()
    for _ in range(20):
        try:
            receipts.add(durable_activity.run(charge, 1, Decimal(5)))
        except Unavailable:
            continue

    assert [charged.receipt for charged in gateway.charges()] == list(receipts)


def test_a_declined_card_is_never_charged(durable_activity, gateway):
    declined = 0
    for number in range(1, 101):
        try:
            durable_activity.run(charge, number, Decimal(5))
        except CardDeclined:
            declined = number
            break
        except Unavailable:
            continue

    assert declined
    assert f"order-{declined}" not in {charged.key for charged in gateway.charges()}
