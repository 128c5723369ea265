"""What happened to an execution, and what is still to enter its history."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from durable.fields import JSONText
from durable.models.instances import Execution


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
