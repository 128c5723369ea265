"""The rows: instances, their executions and histories, work and inbox, workers.

Rules live in the engine; only ``durable.store`` writes histories and inboxes.
"""

from __future__ import annotations

import uuid

from django.contrib.auth import get_user_model
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


class HistoryEvent(models.Model):
    """A core event, stored. Appended, never updated."""

    # The pair is the key: a number of its own would cost an index that nobody reads.
    pk = models.CompositePrimaryKey("execution_id", "seq")
    execution = models.ForeignKey(
        Execution, models.CASCADE, related_name="history", db_index=False, verbose_name=_("execution")
    )
    seq = models.PositiveIntegerField(_("sequence number"))
    kind = models.CharField(_("kind"), max_length=64)
    event_id = models.PositiveIntegerField(_("event id"), null=True)
    name = models.CharField(_("name"), max_length=200, blank=True, default="")
    recorded_at = models.DateTimeField(_("recorded"))
    data = JSONText(_("data"))

    class Meta:
        verbose_name = _("history event")
        verbose_name_plural = _("history events")
        ordering = ["execution", "seq"]
        constraints = [
            models.CheckConstraint(condition=Q(seq__gte=1), name="durable_event_seq_from_1"),
        ]

    def __str__(self) -> str:
        return f"{self.seq} {self.kind}"


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


class InboxEvent(models.Model):
    """Something for an execution that its history does not hold yet; deleted when it does.

    A timer is a row whose ``visible_at`` is still to come.
    """

    execution = models.ForeignKey(Execution, models.CASCADE, related_name="inbox", db_index=False)
    kind = models.CharField(_("kind"), max_length=64)
    event_id = models.PositiveIntegerField(_("event id"), null=True)
    data = JSONText(_("data"))
    visible_at = models.DateTimeField(_("visible"))
    dispatched_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("inbox event")
        verbose_name_plural = _("inbox events")
        ordering = ["visible_at", "id"]
        indexes = [
            models.Index(fields=["execution", "visible_at", "id"], name="durable_inbox_execution"),
            models.Index(fields=["visible_at", "id"], name="durable_inbox_due"),
        ]

    def __str__(self) -> str:
        return self.kind


class Operation(models.Model):
    """Something that somebody did, or tried to do, to an instance. Appended, never updated."""

    class Outcome(models.TextChoices):
        """What became of it."""

        DONE = "done", _("done")
        REFUSED = "refused", _("refused")
        DENIED = "denied", _("denied")
        FAILED = "failed", _("failed")

    verb = models.CharField(_("verb"), max_length=32)
    # No key to the instance: what was done to it stays known when it is purged.
    instance_id = models.CharField(_("instance"), max_length=255)
    # Nor to the user: a project need not have any, and the audit outlives them.
    actor_key = models.CharField(_("actor's key"), max_length=255, blank=True, default="")
    actor_name = models.CharField(_("actor's name"), max_length=255, blank=True, default="")
    reason = models.TextField(_("reason"), blank=True, default="")
    arguments = models.JSONField(_("arguments"), default=dict)
    dry_run = models.BooleanField(_("dry run"), default=False)
    outcome = models.CharField(_("outcome"), max_length=16, choices=Outcome)
    error = models.TextField(_("error"), blank=True, default="")
    at = models.DateTimeField(_("at"))

    class Meta:
        verbose_name = _("audit log entry")
        verbose_name_plural = _("audit log entries")
        ordering = ["-at", "-id"]
        indexes = [
            models.Index(fields=["instance_id", "-at"], name="durable_operation_instance"),
            models.Index(fields=["-at"], name="durable_operation_at"),
        ]

    def __str__(self) -> str:
        return f"{self.verb} {self.instance_id}"

    @property
    def actor(self) -> models.Model | None:
        """The user who did it; None if that was no user, or is gone."""
        if not self.actor_key:
            return None
        found: models.Model | None = get_user_model()._default_manager.filter(pk=self.actor_key).first()
        return found


class Update(models.Model):
    """A client's request to change a workflow, how far it is, and its outcome."""

    class State(models.TextChoices):
        """How far a request is."""

        REQUESTED = "requested", _("requested")
        """An inbox row brings it to the code."""

        WAITING = "waiting", _("waiting for its name to be registered")
        """No inbox row: whoever registers the name looks here."""

        ACCEPTED = "accepted", _("accepted")
        COMPLETED = "completed", _("completed")
        FAILED = "failed", _("failed")
        REJECTED = "rejected", _("rejected")
        REFUSED = "refused", _("refused, as the instance ended before")

    # Not at the instance, whose row is locked for as long as a turn takes.
    execution = models.ForeignKey(Execution, models.CASCADE, related_name="updates", verbose_name=_("execution"))
    instance_id = models.CharField(_("instance"), max_length=255)
    update_id = models.CharField(_("update id"), max_length=200)
    name = models.CharField(_("name"), max_length=200)
    input = JSONText(_("input"))
    state = models.CharField(_("state"), max_length=16, choices=State, default=State.REQUESTED)
    result = JSONText(_("result"), null=True)
    failure = JSONText(_("failure"), null=True)
    requested_at = models.DateTimeField(_("requested"))
    ended_at = models.DateTimeField(_("ended"), null=True)

    class Meta:
        verbose_name = _("update")
        verbose_name_plural = _("updates")
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["instance_id", "update_id"], name="durable_update_id"),
        ]
        indexes = [
            models.Index(fields=["ended_at"], name="durable_update_ended", condition=Q(ended_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.update_id})"


class BatchItem(models.Model):
    """One of the instances that a batch is for, and what became of it."""

    class Outcome(models.TextChoices):
        """What became of it."""

        PENDING = "pending", _("still to be done")
        DONE = "done", _("done")
        REFUSED = "refused", _("refused")
        DENIED = "denied", _("denied")
        FAILED = "failed", _("failed")
        SKIPPED = "skipped", _("skipped, as the batch was stopped before")

    pk = models.CompositePrimaryKey("batch_id", "number")
    # No constraint, here and below: a batch and its instances are locked while their items are written.
    batch = models.ForeignKey(
        Instance, models.CASCADE, related_name="+", verbose_name=_("batch"), db_index=False, db_constraint=False
    )
    number = models.PositiveIntegerField(_("number"))
    instance_id = models.CharField(_("instance"), max_length=255)
    outcome = models.CharField(_("outcome"), max_length=16, choices=Outcome, default=Outcome.PENDING)
    error = models.TextField(_("error"), blank=True, default="")
    detail = models.JSONField(_("detail"), null=True)
    at = models.DateTimeField(_("at"), null=True)

    class Meta:
        verbose_name = _("batch item")
        verbose_name_plural = _("batch items")
        ordering = ["batch", "number"]
        constraints = [
            models.UniqueConstraint(fields=["batch", "instance_id"], name="durable_batch_instance"),
        ]

    def __str__(self) -> str:
        return f"{self.instance_id} {self.outcome}"


class SavedFilter(models.Model):
    """A filter of the admin's list of instances, by a name; never changed, but saved anew."""

    # No key to the user: a project need not have any.
    owner_key = models.CharField(_("owner's key"), max_length=255)
    owner_name = models.CharField(_("owner's name"), max_length=255, blank=True, default="")
    name = models.CharField(_("name"), max_length=100)
    fields = models.JSONField(_("what the fields of the filter hold"))
    is_shared = models.BooleanField(_("for everybody"), default=False)
    created_at = models.DateTimeField(_("created"))

    class Meta:
        verbose_name = _("saved filter")
        verbose_name_plural = _("saved filters")
        ordering = ["name", "id"]
        default_permissions = ()
        permissions = [("share_savedfilter", _("Can save filters for everybody"))]
        constraints = [
            models.UniqueConstraint(fields=["owner_key", "name"], name="durable_filter_name"),
        ]

    def __str__(self) -> str:
        return self.name


class Answer(models.Model):
    """What a request with an ``Idempotency-Key`` was answered, for when it comes again."""

    # No key to the user: a project need not have any.
    actor_key = models.CharField(_("actor's key"), max_length=255, blank=True)
    key = models.CharField(_("key"), max_length=255)
    fingerprint = models.CharField(_("fingerprint of the request"), max_length=64)
    status = models.PositiveSmallIntegerField(_("status"), default=0)
    body = JSONText(_("body"), null=True)
    headers = models.JSONField(_("headers"), default=dict)
    created_at = models.DateTimeField(_("created"))

    class Meta:
        verbose_name = _("answer")
        verbose_name_plural = _("answers")
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["actor_key", "key"], name="durable_answer_key"),
        ]
        indexes = [
            models.Index(fields=["created_at"], name="durable_answer_created"),
        ]

    def __str__(self) -> str:
        return self.key


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
