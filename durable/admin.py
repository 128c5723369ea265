"""The admin, read-only: instances, their executions and open work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin

from durable.models import ActivityTask, Execution, InboxEvent, Instance, Update, Worker

if TYPE_CHECKING:
    from django.db.models import Model
    from django.http import HttpRequest

    _Admin = admin.ModelAdmin[Any]
else:
    _Admin = admin.ModelAdmin


class ReadOnly(_Admin):
    """Rows that are looked at here and changed through ``durable.client``."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


PAYLOADS = (
    *("input", "headers", "result", "failure", "stall", "heartbeat_details", "last_failure", "data", "custom_status"),
)
"""Among them the stall: its message may quote arguments."""


class HidesPayloads(ReadOnly):
    """Hides inputs and results from users who lack ``view_payload``."""

    def get_exclude(self, request: HttpRequest, obj: Any = None) -> Any:
        return () if request.user.has_perm("durable.view_payload") else PAYLOADS


@admin.register(Instance)
class InstanceAdmin(HidesPayloads):
    """Workflow instances."""

    list_display = ("id", "name", "version", "status", "queue", "created_at", "closed_at")
    list_filter = ("status", "name", "version", "queue")
    search_fields = ("id__startswith",)
    ordering = ("-created_at",)


@admin.register(Execution)
class ExecutionAdmin(ReadOnly):
    """Executions of instances."""

    list_display = ("id", "instance", "number", "origin", "version", "status", "created_at", "closed_at")
    list_filter = ("origin", "status")
    search_fields = ("instance__id__startswith",)
    list_select_related = ("instance",)


@admin.register(ActivityTask)
class ActivityTaskAdmin(HidesPayloads):
    """Activities that wait for a worker or run in one."""

    list_display = ("name", "execution", "event_id", "state", "attempt", "queue", "available_at", "worker")
    list_filter = ("state", "queue", "name")


@admin.register(InboxEvent)
class InboxEventAdmin(HidesPayloads):
    """What waits for the next turn; timers to come included."""

    list_display = ("kind", "execution", "event_id", "visible_at")
    list_filter = ("kind",)


@admin.register(Update)
class UpdateAdmin(HidesPayloads):
    """What clients asked of running workflows."""

    list_display = ("name", "instance_id", "update_id", "state", "requested_at", "ended_at")
    list_filter = ("state", "name")
    search_fields = ("instance_id__startswith",)


@admin.register(Worker)
class WorkerAdmin(ReadOnly):
    """Processes that hold leases."""

    list_display = ("id", "hostname", "pid", "started_at", "heartbeat_at")
