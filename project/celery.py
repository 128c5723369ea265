"""The demo project's Celery application."""

from __future__ import annotations

import os

from celery import Celery

from durable import worker

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

app = Celery("project")
app.config_from_object("django.conf:settings", namespace="CELERY")
worker.configure(app)
app.autodiscover_tasks()
