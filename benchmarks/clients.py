"""A client of PostgreSQL that stores steps and knows nothing of Django, so that a new process can run it at once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from benchmarks.workflows import PAYLOAD

INSTANCES = 10_000
IN_USE = 400

TYPE = "activity_completed"
UPDATE = "UPDATE benchmarks_limitinstance SET seq = seq + 1, updated_at = now() WHERE id = %s RETURNING seq"
INSERT = (
    "INSERT INTO benchmarks_limitevent (instance_id, seq, type, payload, created_at) VALUES (%s, %s, %s, %s, now())"
)

Step = Callable[[int], None]
"""Stores one step of the instance of this id."""


def in_transaction(client: psycopg.Connection) -> Step:
    """Return what stores a step in a transaction of two statements."""
    cursor = client.cursor()

    def step(number: int) -> None:
        with client.transaction():
            (seq,) = cursor.execute(UPDATE, (number,)).fetchone() or (0,)
            cursor.execute(INSERT, (number, seq, TYPE, Jsonb(PAYLOAD)))

    return step


def steps_per_second(parameters: dict[str, Any], number: int, clients: int, seconds: float) -> float:
    """Store steps as one of several clients, each of which has instances of its own."""
    ids = range(number + 1, INSTANCES, clients)[:IN_USE]
    with psycopg.connect(**parameters, autocommit=True) as client:
        step = in_transaction(client)
        for each in ids[:20]:
            step(each)
        count, begun = 0, time.perf_counter()
        while (passed := time.perf_counter() - begun) < seconds:
            step(random.choice(ids))
            count += 1
    return count / passed
