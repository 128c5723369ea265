"""What the shop's workflows decide, in virtual time and without a database."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest

from durable import WorkflowFailed
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
from project.shop.gateway import CardDeclined, Unavailable
from project.shop.workflows import daily_report, fulfil_order, ship

SMALL = Reserved(customer="Ada", total=Decimal(20))
LARGE = Reserved(customer="Ada", total=Decimal(500))
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
def shop(durable_simulation):
    """Simulate an order whose goods are there, with what each step is expected to be called with."""

    def simulation(reserved):
        simulated = durable_simulation(fulfil_order, id="order-1")
        simulated.mock(reserve, 1).returns(reserved)
        return simulated

    return simulation


def paid(simulation, total):
    """Expect that an order is charged, booked and shipped."""
    simulation.mock(charge, 1, total).returns("receipt")
    simulation.mock(book_payment, 1, "receipt").once()
    simulation.mock(ship, 1).returns("parcel-1").once()


# --- fulfil_order


def test_a_small_order_is_charged_and_shipped_without_asking(shop):
    simulation = shop(SMALL)
    paid(simulation, SMALL.total)

    simulated = simulation.run(1)

    assert simulated.result() == "shipped"
    assert simulated.tags == {"customer": "Ada"}
    assert [child.id for child in simulated.children] == ["shipping-1"]
    simulation.assert_order(reserve, charge, book_payment, ship)


def test_a_large_order_waits_for_approval(shop):
    simulation = shop(LARGE)
    paid(simulation, LARGE.total)
    simulation.at(2 * HOUR).signal("approve", True)

    simulated = simulation.run(1)

    assert simulated.result() == "shipped"
    assert 2 * HOUR <= simulated.elapsed < 3 * HOUR
    assert simulated.custom_status is None


def test_a_refused_order_goes_back_on_the_shelf(shop):
    simulation = shop(LARGE)
    simulation.mock(release, 1, "refused").once()
    simulation.at(HOUR).signal("approve", False)

    assert simulation.run(1).result() == "refused"


def test_an_order_that_nobody_approves_in_time_goes_back_on_the_shelf(shop):
    simulation = shop(LARGE)
    simulation.mock(release, 1, "not approved in time").once()

    simulated = simulation.run(1)

    assert simulated.result() == "not approved in time"
    assert simulated.elapsed == DAY


def test_a_declined_card_is_not_tried_again_and_puts_the_goods_back(shop):
    simulation = shop(SMALL)
    simulation.mock(charge).raises(CardDeclined("no")).once()
    simulation.mock(release, 1, "card declined").once()

    assert simulation.run(1).result() == "card declined"


def test_an_answer_that_got_lost_is_asked_for_again(shop):
    simulation = shop(SMALL)
    simulation.mock(charge).returns_each([Unavailable(), Unavailable(), "receipt"])
    simulation.mock(book_payment, 1, "receipt").once()
    simulation.mock(ship).returns("parcel-1")

    assert simulation.run(1).result() == "shipped"


def test_a_payment_service_that_never_answers_fails_the_order_for_somebody_to_look(shop):
    simulation = shop(SMALL)
    simulation.mock(charge).raises(Unavailable("no answer")).times(8)

    with pytest.raises(WorkflowFailed, match="charge"):
        simulation.run(1).result()


def test_what_is_sold_out_ends_the_order(shop):
    assert shop(None).run(1).result() == "sold out"


# --- ship


def test_a_parcel_is_handed_over_when_the_carrier_comes(durable_simulation):
    simulation = durable_simulation(ship)
    simulation.mock(print_label, 1).returns("parcel-1")
    simulation.mock(hand_over, 1, "parcel-1").once()

    simulated = simulation.run(1, pick_up_after=5.0)

    assert simulated.result() == "parcel-1"
    assert simulated.elapsed == timedelta(seconds=5)


# --- daily_report

FIRST, LAST = date(2025, 3, 3), date(2025, 3, 5)


def test_each_day_is_reported_in_an_execution_of_its_own(durable_simulation):
    simulation = durable_simulation(daily_report)
    simulation.mock(count_open).returns(0)
    for day in range(3):
        simulation.mock(report_day, FIRST + day * DAY).once()

    simulated = simulation.run(FIRST, LAST)

    assert simulated.result() == "reported up to 2025-03-05"
    assert [execution.status for execution in simulated.executions] == ["continued", "continued", "completed"]


def test_a_day_is_reported_once_its_orders_are_settled(durable_simulation):
    simulation = durable_simulation(daily_report)
    simulation.mock(count_open, FIRST).returns_each([2, 1, 0])
    simulation.mock(report_day, FIRST).once()

    simulated = simulation.run(FIRST, FIRST, look_every=3600.0)

    assert simulated.elapsed == 2 * HOUR
    simulation.assert_order(count_open, count_open, count_open, report_day)
