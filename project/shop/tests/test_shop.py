"""One order from the shelf to the carrier, on the real engine and the real database."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

from django.test import TestCase, override_settings

from durable import testing
from durable.models import Instance
from project.shop.models import Order, Payment, Product, Shipment
from project.shop.workflows import fulfil_order


class Fulfillment(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.kettle = Product.objects.create(sku="KETTLE", name="Kettle", price=Decimal(90), delivered=5, stock=5)

    def setUp(self):
        folder = Path(self.enterContext(TemporaryDirectory()))
        self.enterContext(override_settings(GATEWAY_FILE=folder / "gateway.sqlite3"))
        self.worker = self.enterContext(testing.run_worker())

    def place(self, number):
        Order.objects.create(
            number=number, placed_on=date(2025, 3, 3), customer="Ada", product=self.kettle, quantity=2, total=180
        )
        return fulfil_order.options(id=f"order-{number}").start(number)

    def test_an_approved_order_is_paid_and_leaves(self):
        handle = self.place(1)
        self.worker.run()
        assert handle.instance.custom_status == "waits for approval"

        handle.signal("approve", True)
        self.worker.advance(60)

        assert self.worker.result(handle) == "shipped"
        assert Order.objects.get().status == "shipped"
        assert Payment.objects.get().amount == Decimal(180)
        assert Shipment.objects.get().label == "parcel-00001"
        assert Instance.objects.get(pk="shipping-1").status == "completed"

    def test_a_restart_while_it_waits_changes_nothing(self):
        handle = self.place(1)
        self.worker.run()
        self.worker.restart()

        self.worker.advance(24 * 3600)

        assert self.worker.result(handle) == "not approved in time"
        self.kettle.refresh_from_db()
        assert self.kettle.stock == 5
