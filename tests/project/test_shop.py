"""The shop sells what it has, once, to who pays."""

from __future__ import annotations

import csv
from collections import Counter
from datetime import date
from decimal import Decimal

import pytest
from django.db import IntegrityError, transaction

from durable import client
from durable.models import Instance
from project.demo import invariants
from project.shop import orders
from project.shop.activities import charge
from project.shop.data import generate
from project.shop.gateway import CardDeclined, Gateway, Unavailable
from project.shop.models import DailyReport, Order, Product, Shipment

DAY = date(2025, 3, 3)


@pytest.fixture
def gateway(settings, tmp_path):
    settings.GATEWAY_FILE = tmp_path / "gateway.sqlite3"
    return Gateway(settings.GATEWAY_FILE)


@pytest.fixture
def tea(db):
    return Product.objects.create(sku="TEA", name="Tea", price=Decimal(5), delivered=10, stock=10)


def order(product, number=1, quantity=2):
    total = product.price * quantity
    return Order.objects.create(
        number=number, placed_on=DAY, customer="Ada", product=product, quantity=quantity, total=total
    )


# --- the payment service


def ask(gateway, key, times=20):
    """Ask until there is an answer, and return it with what came before."""
    errors: list[Unavailable] = []
    for _ in range(times):
        try:
            return gateway.charge(key=key, account=key, amount=Decimal(5)), errors
        except Unavailable as error:
            errors.append(error)
    raise AssertionError(errors)


def test_asking_again_with_the_same_key_charges_once(gateway):
    receipts = {ask(gateway, "order-1")[0] for _ in range(5)}

    assert len(receipts) == len(gateway.charges()) == 1
    assert gateway.charges()[0].receipt in receipts


def test_it_fails_in_the_same_way_every_time(gateway, tmp_path):
    other = Gateway(tmp_path / "other.sqlite3")
    accepted = [f"order-{n}" for n in range(1, 60) if not declined(gateway, f"order-{n}")]

    failures = [len(ask(other, key)[1]) for key in accepted]

    assert failures == [len(ask(Gateway(tmp_path / "again.sqlite3"), key)[1]) for key in accepted]
    assert sum(failures) > 0


def declined(gateway, key):
    try:
        gateway.charge(key=key, account=key, amount=Decimal(5))
    except CardDeclined:
        return True
    except Unavailable:
        pass
    return False


def test_an_answer_that_got_lost_was_a_charge(gateway):
    lost = next(key for key in (f"order-{n}" for n in range(100)) if outcome(gateway, key) == "answer lost")

    assert lost in {charged.key for charged in gateway.charges()}


def outcome(gateway, key):
    before = Counter(gateway.requests())
    declined(gateway, key)
    return next(iter(Counter(gateway.requests()) - before))


def test_a_declined_card_is_never_charged(gateway):
    number = next(n for n in range(1, 301) if declined(gateway, f"order-{n}"))

    with pytest.raises(CardDeclined):
        charge.run(number, Decimal(5))

    assert f"order-{number}" not in {charged.key for charged in gateway.charges()}


# --- all together


def test_the_committed_data_is_what_the_generator_writes():
    for name, rows in (("products", generate.products()), ("orders", generate.orders())):
        with (orders.DATA / f"{name}.csv").open(newline="") as file:
            assert list(csv.reader(file)) == rows


def test_orders_and_their_workflows_are_taken_in_together_or_not_at_all(db, fresh, tmp_path):
    orders.fill_shelves()
    lines = (orders.DATA / "orders.csv").read_text().splitlines()[:4]
    (tmp_path / "orders.csv").write_text("\n".join([*lines, lines[1]]))  # one order comes twice

    with pytest.raises(IntegrityError), transaction.atomic():
        orders.take_in(tmp_path / "orders.csv", approval_within=1.0)

    assert not Order.objects.exists()
    assert not Instance.objects.exists()


def test_every_order_is_settled_and_the_books_are_right(engine, time, gateway, tmp_path):
    orders.fill_shelves()
    lines = (orders.DATA / "orders.csv").read_text().splitlines()
    (tmp_path / "orders.csv").write_text("\n".join([lines[0], *lines[41:91]]))
    taken = orders.take_in(tmp_path / "orders.csv", approval_within=30.0)

    engine.run_until_quiet()
    waiting = [i.pk for i in Instance.objects.order_by("pk") if i.custom_status == "waits for approval"]
    for number, instance_id in enumerate(waiting):
        if number % 3:
            client.signal(instance_id, "approve", number % 3 == 1)
    for _ in range(40):
        time.forward(1)
        engine.run_until_quiet()

    assert len(taken) == 50
    assert len(waiting) >= 3
    assert [i.sentence for i in [*invariants.of_shop(), *invariants.of_instances()] if not i.holds] == []
    assert {"shipped", "refused", "not approved in time"} <= set(Order.objects.values_list("status", flat=True))
    assert DailyReport.objects.count() == Instance.objects.get(name="daily_report").executions.count() == 2


def test_an_invariant_that_does_not_hold_says_what_is_wrong(tea, gateway):
    order(tea)
    Product.objects.update(stock=9)
    Shipment.objects.create(order_id=1, label="parcel-1")

    broken = {i.sentence: i.against for i in invariants.of_shop() if not i.holds}

    assert broken == {
        "every order is settled": ("1 (Ada)",),
        "stock: what was delivered is on the shelf or sold, and never less than nothing": (
            "Tea: 10 delivered, 9 left, 0 sold",
        ),
        "parcels left for the orders that are shipped, and for no others": ("1",),
        "every day has its report": ("2025-03-03",),
    }
