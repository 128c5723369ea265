"""The limit: what storing one step costs without any engine, on the same machine in the same minute.

One transaction that inserts an event and updates its instance, in a loop, as
several clients do it; and, where there is a worker, a Celery task that does
nothing, and a chain of them.
"""

from __future__ import annotations

import itertools
import json
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connection, transaction
from django.utils import timezone
from psycopg.types.json import Jsonb

from benchmarks import tasks
from benchmarks.clients import IN_USE, INSERT, INSTANCES, TYPE, UPDATE, Step, in_transaction
from benchmarks.models import LimitEvent, LimitInstance
from benchmarks.workflows import PAYLOAD

_CHAIN = 10

_BOTH = (
    "WITH moved AS (UPDATE benchmarks_limitinstance SET seq = seq + 1, updated_at = now() WHERE id = %s "
    "RETURNING id, seq) INSERT INTO benchmarks_limitevent (instance_id, seq, type, payload, created_at) "
    "SELECT id, seq, %s, %s, now() FROM moved"
)


def prepare() -> None:
    """Fill the tables."""
    LimitInstance.objects.bulk_create(
        LimitInstance(id=number, name="order_workflow", status="running") for number in range(1, INSTANCES + 1)
    )
    if connection.vendor == "postgresql":
        # Now rather than by itself, later, while something is measured.
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")


def measure(seconds: float, *, celery: bool) -> dict[str, float]:
    """Return the milliseconds of a step for each client.

    The first, ``transaction``, is what ratios refer to.

    Args:
        seconds: How long to repeat each.
        celery: Whether there is a worker to send a task to.
    """
    with _clients() as clients:
        if celery:
            clients["celery_task"] = _celery_task
        measured = {name: _repeat(step, seconds) for name, step in clients.items()}
    if celery:
        measured["celery_chain"] = _repeat(_celery_chain, seconds) / _CHAIN
    return measured


def _repeat(step: Step, seconds: float) -> float:
    ids = range(1, IN_USE + 1)
    for number in ids[:20]:
        step(number)
    begun = time.perf_counter()
    for count in itertools.count(1):
        step(random.choice(ids))
        passed = time.perf_counter() - begun
        if passed >= seconds:
            return passed * 1000 / count
    raise AssertionError


@contextmanager
def _clients() -> Iterator[dict[str, Step]]:
    driver = _postgres if connection.vendor == "postgresql" else _sqlite
    with driver() as clients:
        yield {**clients, "django": _django()}


def parameters() -> dict[str, Any]:
    """Return what psycopg takes to connect to the database."""
    names = {"dbname": "NAME", "host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD"}
    return {name: connection.settings_dict[key] or None for name, key in names.items()}


@contextmanager
def _postgres() -> Iterator[dict[str, Step]]:
    with psycopg.connect(**parameters(), autocommit=True) as client, client.cursor() as cursor:

        def in_one_statement(number: int) -> None:
            cursor.execute(_BOTH, (number, TYPE, Jsonb(PAYLOAD)))

        yield {"transaction": in_transaction(client), "one_statement": in_one_statement}


@contextmanager
def _sqlite() -> Iterator[dict[str, Step]]:
    client = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None, timeout=20)
    client.executescript(connection.settings_dict["OPTIONS"]["init_command"])
    update, insert = (text.replace("%s", "?").replace("now()", "datetime()") for text in (UPDATE, INSERT))

    def in_transaction(number: int) -> None:
        client.execute("BEGIN IMMEDIATE")
        ((seq,),) = client.execute(update, (number,)).fetchall()
        client.execute(insert, (number, seq, TYPE, json.dumps(PAYLOAD)))
        client.execute("COMMIT")

    try:
        yield {"transaction": in_transaction}
    finally:
        client.close()


def _celery_task(number: int) -> None:
    key = f"echo-{number}"
    tasks.echo.delay(key)
    assert tasks.broker().blpop([key], timeout=20)


def _celery_chain(number: int) -> None:
    key = f"chain-{number}"
    tasks.hop.delay(_CHAIN, key)
    assert tasks.broker().blpop([key], timeout=20)


def _django() -> Step:
    known: dict[int, Any] = {}

    def in_django(number: int) -> None:
        if not known:
            # Not before the first call: the other clients move the same rows.
            known.update(LimitInstance.objects.in_bulk(range(1, IN_USE + 1)))
        row = known[number]
        with transaction.atomic():
            row.seq += 1
            row.updated_at = timezone.now()
            row.save(update_fields=["seq", "updated_at"])
            LimitEvent.objects.create(instance=row, seq=row.seq, type=TYPE, payload=PAYLOAD)

    return in_django
