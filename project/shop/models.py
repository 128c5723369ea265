"""What the shop sells, and what becomes of its orders."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q


class Product(models.Model):
    """Something on the shelves."""

    sku = models.CharField(max_length=20, primary_key=True)
    name = models.CharField(max_length=100)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    delivered = models.PositiveIntegerField(help_text="How many the shelves were filled with.")
    stock = models.PositiveIntegerField(help_text="How many are left that nobody has reserved.")

    class Meta:
        ordering = ["sku"]
        constraints = [
            models.CheckConstraint(condition=Q(stock__gte=0), name="shop_stock_not_negative"),
            models.CheckConstraint(condition=Q(stock__lte=F("delivered")), name="shop_stock_was_delivered"),
        ]

    def __str__(self) -> str:
        return self.name


class Order(models.Model):
    """What a customer wants; its workflow instance is ``order-<number>``."""

    class Status(models.TextChoices):
        """How far it is."""

        NEW = "new"
        RESERVED = "reserved"
        PAID = "paid"
        SHIPPED = "shipped"
        SOLD_OUT = "sold out"
        REFUSED = "refused"
        NOT_APPROVED = "not approved in time"
        DECLINED = "card declined"

    number = models.PositiveIntegerField(primary_key=True)
    placed_on = models.DateField()
    customer = models.CharField(max_length=100)
    product = models.ForeignKey(Product, models.PROTECT, related_name="orders")
    quantity = models.PositiveIntegerField()
    total = models.DecimalField(max_digits=10, decimal_places=2)
    status = models.CharField(max_length=24, choices=Status, default=Status.NEW)

    class Meta:
        ordering = ["number"]
        constraints = [models.CheckConstraint(condition=Q(quantity__gte=1), name="shop_order_of_something")]

    def __str__(self) -> str:
        return f"{self.number} ({self.customer})"


OPEN = (Order.Status.NEW, Order.Status.RESERVED, Order.Status.PAID)
HOLDS_STOCK = (Order.Status.RESERVED, Order.Status.PAID, Order.Status.SHIPPED)


class Payment(models.Model):
    """Money that came in; the database itself refuses a second one for an order."""

    order = models.OneToOneField(Order, models.PROTECT)
    amount = models.DecimalField(max_digits=10, decimal_places=2)
    receipt = models.CharField(max_length=40, unique=True)

    def __str__(self) -> str:
        return self.receipt


class Shipment(models.Model):
    """A parcel that left."""

    order = models.OneToOneField(Order, models.PROTECT)
    label = models.CharField(max_length=40, unique=True)
    left_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.label


class DailyReport(models.Model):
    """What became of the orders of one day."""

    day = models.DateField(primary_key=True)
    orders = models.PositiveIntegerField()
    shipped = models.PositiveIntegerField()
    revenue = models.DecimalField(max_digits=12, decimal_places=2)

    class Meta:
        ordering = ["day"]

    def __str__(self) -> str:
        return str(self.day)
