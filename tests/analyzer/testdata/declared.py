"""What workflows and activities take, and how activities say that they are alive."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest

from durable import activity, workflow
from project.shop.models import Order

if TYPE_CHECKING:
    from fractions import Fraction


@dataclass
class Line:
    sku: str
    price: Decimal


class Gauge:
    """JSON knows nothing of it."""


@activity.defn
def takes_what_cannot_be_stored(
    then: Callable[[int], None],  # want: DUR021 the parameter then cannot be stored: Callable has no JSON form
    orders: QuerySet,  # want: DUR021 QuerySet has no JSON form
    request: HttpRequest | None,  # want: DUR021 HttpRequest
    file: IO[str],  # want: DUR021 IO
    paths: list[Path],  # want: DUR021 Path
    lock: threading.Event,  # want: DUR021 threading.Event
    half: Fraction,  # want: DUR021 Fraction is imported for type checkers only
    gauge: dict[str, Gauge],  # want live: DUR021 no converter makes a Gauge from JSON
) -> asyncio.Task: ...  # want: DUR021 the result cannot be stored: asyncio.Task


@workflow.defn
async def is_given_a_function(then: "Callable[[], int]") -> None: ...  # want: DUR021 Callable


@activity.defn
def takes_what_can_be_stored(
    line: Line,
    lines: list[Line],
    order: Order,
    at: datetime,
    key: UUID | None,
    kind: Literal["Callable"],
    anything: Any,
    *rest: int,
    **more: str,
) -> dict[str, Decimal]: ...


@activity.defn
def beats_unheard(count: int) -> None:
    for number in range(count):
        activity.heartbeat(number)  # want: DUR022 beats_unheard heartbeats, but has no heartbeat timeout


@activity.defn(heartbeat=timedelta(seconds=10))
def beats(count: int) -> None:
    for number in range(count):
        activity.heartbeat(number)


@activity.defn(start_to_close=60)
def has_no_beat() -> tuple:
    return activity.heartbeat_details()
