"""Comments that silence rules, and those that do not."""

from __future__ import annotations

import random
import time

from durable import activity, workflow


@workflow.defn
async def keeps_quiet() -> None:
    time.time()  # durable: ignore[DUR002]
    time.time()  # durable: ignore
    print(time.time(), random.random())  # durable: ignore[DUR002, DUR003,DUR020] since nobody minds
    time.time()  # durable: ignore[DUR003] # want: DUR002 time.time(); DUR023 nothing on this line breaks DUR003
    time.time()  # durable: ignore[DUR002, DUR001] # want: DUR023 breaks DUR001
    workflow.time()  # durable: ignore # want: DUR023 nothing on this line breaks any rule
    time.time()  # durable: ignore[DUR002, DUR999] # want: DUR024 there is no rule DUR999
    time.time()  # durable: ignore[clock] # want: DUR002 time.time(); DUR024 there is no rule clock
    "# durable: ignore"
    time.sleep(
        1,
    )  # durable: ignore[DUR001]


@activity.defn
def needs_none() -> None:
    time.sleep(1)  # durable: ignore[DUR001] # want: DUR023 nothing on this line breaks DUR001


def nobody_reads() -> None:
    time.sleep(1)  # durable: ignore[DUR001]
