"""What clients asked for by a key of their own, so that asking again gives the same outcome."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from durable.fields import JSONText
from durable.models.instances import Execution


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
