"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig


class AuditConfig(AppConfig):
    """Verifies installed distributions against their RECORD files."""

    name = "project.audit"
