"""The demo project: a Django site that uses durable as its own users would."""

from __future__ import annotations

from .celery import app as celery_app

__all__ = ["celery_app"]
