"""The shop in the admin."""

from __future__ import annotations

from django.contrib import admin

from .models import DailyReport, Order, Payment, Product, Shipment


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    """Products and what is left of them."""

    list_display = ["sku", "name", "price", "delivered", "stock"]


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    """Orders and how far they are."""

    list_display = ["number", "placed_on", "customer", "product", "quantity", "total", "status"]
    list_filter = ["status", "placed_on"]
    list_select_related = ["product"]
    search_fields = ["customer"]


@admin.register(Payment)
class PaymentAdmin(admin.ModelAdmin):
    """Payments."""

    list_display = ["receipt", "order", "amount"]
    list_select_related = ["order"]


@admin.register(Shipment)
class ShipmentAdmin(admin.ModelAdmin):
    """Shipments."""

    list_display = ["label", "order", "left_at"]
    list_select_related = ["order"]


@admin.register(DailyReport)
class DailyReportAdmin(admin.ModelAdmin):
    """Daily reports."""

    list_display = ["day", "orders", "shipped", "revenue"]
