"""What an audit found."""

from __future__ import annotations

from django.db import models


class Audit(models.Model):
    """One audit of the environment, made by one workflow instance."""

    instance_id = models.CharField(max_length=255, unique=True)
    started_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)
    report = models.JSONField(default=dict)

    class Meta:
        ordering = ["-started_at"]

    def __str__(self) -> str:
        return self.instance_id


class Distribution(models.Model):
    """An installed distribution, verified."""

    audit = models.ForeignKey(Audit, models.CASCADE, related_name="distributions")
    name = models.CharField(max_length=200)
    version = models.CharField(max_length=100)
    verified = models.PositiveIntegerField(help_text="Files whose hash was compared.")
    unhashed = models.PositiveIntegerField(help_text="Files that RECORD has no hash for, such as RECORD itself.")
    size = models.PositiveBigIntegerField(help_text="Bytes read.")

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["audit", "name"], name="audit_distribution_once")]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class Finding(models.Model):
    """A file that is not what its distribution's RECORD says."""

    class Kind(models.TextChoices):
        """What is wrong with it."""

        CHANGED = "changed"
        MISSING = "missing"
        UNREADABLE = "unreadable"

    distribution = models.ForeignKey(Distribution, models.CASCADE, related_name="findings")
    path = models.CharField(max_length=1000)
    kind = models.CharField(max_length=16, choices=Kind)
    expected = models.CharField(max_length=200, help_text="The hash in RECORD.")
    found = models.CharField(max_length=200, blank=True, help_text="The hash of the file.")

    class Meta:
        ordering = ["distribution", "path"]
        constraints = [models.UniqueConstraint(fields=["distribution", "path"], name="audit_finding_once")]

    def __str__(self) -> str:
        return f"{self.path} is {self.kind}"
