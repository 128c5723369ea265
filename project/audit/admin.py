"""The audit in the admin."""

from __future__ import annotations

from django.contrib import admin

from .models import Audit, Distribution, Finding


@admin.register(Audit)
class AuditAdmin(admin.ModelAdmin):
    """Audits, the latest first."""

    list_display = ["instance_id", "started_at", "finished_at"]


@admin.register(Distribution)
class DistributionAdmin(admin.ModelAdmin):
    """Verified distributions."""

    list_display = ["name", "version", "verified", "unhashed", "size"]
    list_filter = ["audit"]
    search_fields = ["name"]


@admin.register(Finding)
class FindingAdmin(admin.ModelAdmin):
    """Files that are not as they should be."""

    list_display = ["path", "kind", "distribution"]
    list_filter = ["kind"]
    list_select_related = ["distribution"]
    search_fields = ["path"]
