"""What ``celery -A`` starts for the acceptance tests: the demo project's app, with faults put in from outside."""

from __future__ import annotations

import datetime
import json
import os
from typing import Any

import django
import time_machine
from django.db.backends.signals import connection_created

from tests.acceptance import faults, ledger

if hours := float(os.environ.get("ACCEPTANCE_SKEW_HOURS", "0")):
    # Before Celery looks at the clock.
    now = datetime.datetime.now(datetime.UTC)
    time_machine.travel(now + datetime.timedelta(hours=hours), tick=True).start()

django.setup()

from durable.engine.turn import Turn  # noqa: E402
from project.celery import app  # noqa: E402

faults.install()
app.conf.update(json.loads(os.environ.get("ACCEPTANCE_CELERY", "{}")))


def _note_turns() -> None:
    store = Turn.store

    def noted(self: Turn, **options: Any) -> None:
        ledger.note("turn", self.instance.pk)
        store(self, **options)

    Turn.store = noted  # type: ignore[method-assign]


_note_turns()


def _count_statement(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    ledger.note("statement", " ".join(sql.split())[:100])
    return execute(sql, params, many, context)


def _watch(connection: Any, **_: Any) -> None:
    if _count_statement not in connection.execute_wrappers:  # it outlives a reconnect
        connection.execute_wrappers.append(_count_statement)


if "ACCEPTANCE_COUNT" in os.environ:
    connection_created.connect(_watch)
