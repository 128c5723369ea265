"""What operators did, to one instance or to many, and what they look for."""

from __future__ import annotations

from django.contrib.auth import get_user_model
from django.db import models
from django.utils.translation import gettext_lazy as _

from durable.models.instances import Instance


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
