"""The two tables of the limit: the least that a durable step can be stored in."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class LimitInstance(models.Model):
    """An instance, reduced to what each step changes."""

    id = models.BigIntegerField(primary_key=True)
    name = models.CharField(max_length=200)
    status = models.CharField(max_length=20)
    seq = models.IntegerField(default=0)
    updated_at = models.DateTimeField(default=timezone.now)
    result = models.JSONField(null=True)

    class Meta:
        indexes = [models.Index(fields=["status", "id"], name="benchmarks_status")]

    def __str__(self) -> str:
        return f"{self.name} {self.pk}"


class LimitEvent(models.Model):
    """A history event of the size of a real one."""

    instance = models.ForeignKey(LimitInstance, models.CASCADE, db_index=False)
    seq = models.IntegerField()
    type = models.CharField(max_length=40)
    payload = models.JSONField()
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["instance", "seq"], name="benchmarks_event_seq")]

    def __str__(self) -> str:
        return f"{self.seq} {self.type}"
