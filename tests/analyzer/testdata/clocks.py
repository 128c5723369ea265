"""Clocks, blocking calls, and names that only look like them."""

from __future__ import annotations

import asyncio
import datetime
import time
import time as clock
from datetime import date
from datetime import datetime as dt
from time import monotonic as ticks

from django.utils import timezone

from durable import workflow

today_of = date.today


class Watch:
    """Not a clock of ours."""

    def now(self) -> str:
        return "noon"


class Stamp:
    """Binds a name that its methods do not see."""

    time = None

    def read(self) -> float:
        return time.time()  # want: DUR002 time.time()


@workflow.defn
async def reads_clocks() -> None:
    Stamp().read()
    datetime.datetime.now()  # want: DUR002 datetime.datetime.now() reads the clock
    dt.now(datetime.UTC)  # want: DUR002 datetime.datetime.now()
    dt.utcnow().date()  # want: DUR002 datetime.datetime.utcnow()
    date.today()  # want: DUR002 datetime.date.today()
    today_of()  # want: DUR002 datetime.date.today()
    time.time()  # want: DUR002 time.time()
    clock.perf_counter()  # want: DUR002 time.perf_counter()
    ticks()  # want: DUR002 time.monotonic()
    timezone.now()  # want: DUR002 django.utils.timezone.now()
    timezone.localdate()  # want: DUR002 django.utils.timezone.localdate()
    timezone.localtime()  # want: DUR002 django.utils.timezone.localtime()
    print_at = time.time
    print_at()  # want: DUR002 time.time()
    time.localtime()  # want: DUR002 time.localtime()
    sorted([1, 2], key=lambda _: time.time())  # want: DUR002 time.time()
    list(map(time.ctime, [1]))
    [timezone.now() for _ in range(2)]  # want: DUR002 timezone.now()
    asyncio.get_running_loop().call_later(1, dt.now)  # want: DUR002 datetime.datetime.now()


@workflow.defn
async def reads_no_clock(now: float, moment: dt) -> None:
    workflow.now()
    workflow.time()
    timezone.localtime(moment)
    timezone.localdate(moment)
    time.localtime(now)
    time.strftime("%H", time.gmtime(now))
    dt.fromtimestamp(now, datetime.UTC)
    dt(2026, 1, 1).date()
    date.fromisoformat("2026-01-01")
    Watch().now()
    time.struct_time
    workflow.side_effect(time.time)
    workflow.side_effect(lambda: dt.now().timestamp())


@workflow.defn
async def shadows_clocks(time) -> None:
    time.now()
    date = Watch()
    date.today = date.now
    date.today()

    def ticks() -> int:
        return 1

    ticks()
    for clock in [Watch()]:
        clock.time()


@workflow.defn
async def imports_inside() -> None:
    from datetime import datetime
    from time import sleep as rest

    import requests.sessions  # noqa: F401

    rest(1)  # want: DUR001 time.sleep() blocks the worker
    datetime.now()  # want: DUR002 datetime.datetime.now()

    async def inner() -> None:
        import time as t

        t.sleep(2)  # want: DUR001 time.sleep()
        await asyncio.sleep(2)

    await inner()
    input("?")  # want: DUR001 input() blocks
