"""Instances of workflows, and their executions."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from durable.fields import JSONText


class Status(models.TextChoices):
    """Where an instance is in its life."""

    PENDING = "pending", _("pending")
    """Created, and not yet begun."""

    RUNNING = "running", _("running")
    """Open: its code runs, or waits for something."""

    SUSPENDED = "suspended", _("suspended")
    """Halted by an operator; what comes in is kept for later."""

    STALLED = "stalled", _("stalled")
    """Halted because its code cannot go on; goes on by itself when it can."""

    COMPLETED = "completed", _("completed")
    FAILED = "failed", _("failed")
    CANCELED = "canceled", _("canceled")
    TERMINATED = "terminated", _("terminated")


OPEN = (Status.PENDING, Status.RUNNING, Status.SUSPENDED, Status.STALLED)
CLOSED = (Status.COMPLETED, Status.FAILED, Status.CANCELED, Status.TERMINATED)


class Instance(models.Model):
    """A workflow instance: one id, one outcome, one or more executions."""

    id = models.CharField(_("id"), primary_key=True, max_length=255)
    name = models.CharField(_("workflow"), max_length=200)
    version = models.PositiveIntegerField(_("version"), default=0)
    status = models.CharField(_("status"), max_length=16, choices=Status, default=Status.PENDING)
    queue = models.CharField(_("queue"), max_length=100, default="default")
    app_id = models.CharField(_("app"), max_length=100, blank=True, default="")

    input = JSONText(_("input"))
    result = JSONText(_("result"), null=True)
    failure = JSONText(_("failure"), null=True)
    custom_status = JSONText(_("custom status"), null=True)
    progress = models.JSONField(_("progress"), null=True)
    tags = models.JSONField(_("tags"), default=dict)
    headers = JSONText(_("headers"), null=True)
    options = models.JSONField(_("options"), default=dict)
    patches = models.JSONField(_("patches"), default=dict, blank=True)
    stall = models.JSONField(_("why it is stalled"), null=True)

    # Its index is below: Django's own come in twos, of which the second is for beginnings of ids.
    parent = models.ForeignKey(
        "self",
        models.SET_NULL,
        null=True,
        related_name="children",
        verbose_name=_("parent"),
        db_constraint=False,
        db_index=False,
    )
    parent_execution_id = models.UUIDField(null=True)
    parent_event_id = models.PositiveIntegerField(null=True)
    rerun_from = models.CharField(_("rerun from"), max_length=255, null=True)  # noqa: DJ001 - null: not a rerun
    rerun_event_id = models.PositiveIntegerField(null=True)
    attempt = models.PositiveIntegerField(_("attempt"), default=0)

    # No constraint: the two rows name each other, and this one is written first. Nobody looks for it by that.
    execution = models.ForeignKey(
        "Execution",
        models.DO_NOTHING,
        related_name="+",
        verbose_name=_("current execution"),
        db_constraint=False,
        db_index=False,
    )
    head = models.PositiveIntegerField(_("events so far"), default=0)
    failed_turns = models.PositiveSmallIntegerField(default=0)
    # Whether anybody ever asked for an update; else nobody looks for any, at no cost.
    has_updates = models.BooleanField(default=False)

    # The lease: which worker is running which activity in place. In no index, so that updates stay cheap.
    lease = models.UUIDField(null=True)
    lease_worker = models.CharField(max_length=64, blank=True, default="")
    lease_event_id = models.PositiveIntegerField(null=True)
    lease_until = models.DateTimeField(null=True)

    created_at = models.DateTimeField(_("created"))
    started_at = models.DateTimeField(_("started"), null=True)
    closed_at = models.DateTimeField(_("closed"), null=True)
    retry_at = models.DateTimeField(_("tried again at"), null=True)
    # Of instances that have failed or are stalled: since when, and what those have in common that are alike.
    failed_at = models.DateTimeField(_("failed or stalled"), null=True)
    fingerprint = models.CharField(_("fingerprint of the failure"), max_length=32, blank=True, default="")

    class Meta:
        verbose_name = _("instance")
        verbose_name_plural = _("instances")
        ordering = ["-created_at", "id"]
        indexes = [
            models.Index(fields=["name", "-created_at"], name="durable_instance_name"),
            models.Index(fields=["status", "-created_at"], name="durable_instance_status"),
            models.Index(fields=["name", "status", "-created_at"], name="durable_instance_both"),
            # The report of versions.
            models.Index(fields=["name", "version", "status", "created_at"], name="durable_instance_version"),
            # The order of the lists that operators and the API page through.
            models.Index(fields=["-created_at", "id"], name="durable_instance_created"),
            models.Index(
                fields=["-started_at", "id"], name="durable_instance_started", condition=Q(started_at__isnull=False)
            ),
            models.Index(
                fields=["-closed_at", "id"], name="durable_instance_ended", condition=Q(closed_at__isnull=False)
            ),
            models.Index(
                fields=["status", "closed_at"], name="durable_instance_closed", condition=Q(closed_at__isnull=False)
            ),
            models.Index(fields=["parent"], name="durable_instance_parent"),
            models.Index(fields=["rerun_from"], name="durable_instance_rerun", condition=Q(rerun_from__isnull=False)),
            models.Index(fields=["lease_worker"], name="durable_instance_lease", condition=Q(lease__isnull=False)),
            models.Index(fields=["retry_at"], name="durable_instance_retry", condition=Q(retry_at__isnull=False)),
            models.Index(fields=["-created_at"], name="durable_instance_failing", condition=Q(failed_at__isnull=False)),
            models.Index(
                fields=["fingerprint", "-created_at"],
                name="durable_instance_alike",
                condition=Q(failed_at__isnull=False),
            ),
            # All that failure groups count, so that they need not look at the rows.
            models.Index(
                fields=["-failed_at", "status", "name", "fingerprint", "id"],
                name="durable_instance_failed",
                condition=Q(failed_at__isnull=False),
            ),
        ]
        permissions = [
            ("view_payload", _("Can see inputs and results")),
            ("operate_instance", _("Can signal, suspend, resume and cancel instances")),
            ("repair_instance", _("Can rerun, rewind, upgrade, restart and recover instances")),
            ("destroy_instance", _("Can terminate and purge instances")),
        ]

    def __str__(self) -> str:
        return self.id


class Execution(models.Model):
    """One run of an instance's code from its beginning, with a history of its own."""

    class Origin(models.TextChoices):
        """What it began for."""

        START = "start", _("start")
        CONTINUED = "continued", _("continued as new")
        RETRY = "retry", _("retry")
        REWIND = "rewind", _("rewind")
        RERUN = "rerun", _("rerun")
        RESTORE = "restore", _("restore")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    instance = models.ForeignKey(
        Instance, models.CASCADE, related_name="executions", verbose_name=_("instance"), db_index=False
    )
    number = models.PositiveIntegerField(_("number"), default=1)
    origin = models.CharField(_("origin"), max_length=16, choices=Origin, default=Origin.START)
    source = models.ForeignKey(
        "self", models.SET_NULL, null=True, related_name="+", verbose_name=_("source"), db_constraint=False
    )
    # The instance's at the time: its id may be another workflow's by now. Empty if a release without it began it.
    name = models.CharField(_("workflow"), max_length=200, blank=True, default="", db_default="")
    version = models.PositiveIntegerField(_("version"), default=0)
    status = models.CharField(_("status"), max_length=16, default=Status.RUNNING)
    created_at = models.DateTimeField(_("created"))
    closed_at = models.DateTimeField(_("closed"), null=True)

    class Meta:
        verbose_name = _("execution")
        verbose_name_plural = _("executions")
        ordering = ["instance", "number"]
        constraints = [
            models.UniqueConstraint(fields=["instance", "number"], name="durable_execution_number"),
        ]
        indexes = [
            models.Index(fields=["name", "version"], name="durable_execution_version"),
        ]

    def __str__(self) -> str:
        return str(self.id)
