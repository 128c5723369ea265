"""Activities that wait for a worker, and the workers."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from durable.fields import JSONText
from durable.models.instances import Execution


class ActivityTask(models.Model):
    """An activity that waits for a worker, or that a worker runs; deleted when it ends."""

    class State(models.TextChoices):
        """Whose turn it is."""

        READY = "ready", _("ready")
        HELD = "held", _("held while the instance is suspended")
        RUNNING = "running", _("running")
        EXTERNAL = "external", _("to be completed from outside")

    execution = models.ForeignKey(Execution, models.CASCADE, related_name="tasks", verbose_name=_("execution"))
    event_id = models.PositiveIntegerField(_("event id"))
    name = models.CharField(_("activity"), max_length=200)
    input = JSONText(_("input"))
    options = models.JSONField(_("options"), default=dict)
    queue = models.CharField(_("queue"), max_length=100)
    priority = models.SmallIntegerField(_("priority"), default=0)
    attempt = models.PositiveIntegerField(_("attempt"), default=1)
    state = models.CharField(_("state"), max_length=16, choices=State, default=State.READY)
    created_at = models.DateTimeField(_("created"))
    available_at = models.DateTimeField(_("available"))
    dispatched_at = models.DateTimeField(null=True)

    worker = models.CharField(_("worker"), max_length=64, blank=True, default="")
    lease = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)
    started_at = models.DateTimeField(_("started"), null=True)
    expires_at = models.DateTimeField(_("expires"), null=True)
    heartbeat_at = models.DateTimeField(_("heartbeat"), null=True)
    heartbeat_details = JSONText(_("heartbeat details"), null=True)
    cancel_requested = models.BooleanField(_("cancel requested"), default=False)
    last_failure = JSONText(_("last failure"), null=True)

    class Meta:
        verbose_name = _("activity task")
        verbose_name_plural = _("activity tasks")
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["execution", "event_id"], name="durable_task_event"),
        ]
        indexes = [
            models.Index(
                fields=["queue", "-priority", "available_at", "id"],
                name="durable_task_ready",
                condition=Q(state="ready"),
            ),
            models.Index(fields=["available_at"], name="durable_task_due", condition=Q(state="ready")),
            models.Index(fields=["id"], name="durable_task_taken", condition=Q(state="running")),
            models.Index(fields=["expires_at"], name="durable_task_expiry", condition=Q(expires_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.event_id})"


class Worker(models.Model):
    """A process that holds leases or looks for due work, and its last signs of life."""

    id = models.CharField(_("id"), primary_key=True, max_length=64)
    hostname = models.CharField(_("host"), max_length=255)
    pid = models.PositiveIntegerField(_("process"))
    queues = models.JSONField(_("queues"), default=list)
    started_at = models.DateTimeField(_("started"))
    heartbeat_at = models.DateTimeField(_("last sign of life"))
    swept_at = models.DateTimeField(_("last looked for due work"), null=True)

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        ordering = ["hostname", "pid"]

    def __str__(self) -> str:
        return f"{self.hostname}:{self.pid}"
