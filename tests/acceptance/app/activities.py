"""Activities that tell the tests how often they ran."""

from __future__ import annotations

import time
from datetime import timedelta

from django.db import connection, transaction

from durable import RetryPolicy, activity
from tests.acceptance import faults, ledger

FAST = RetryPolicy(initial_interval=timedelta(seconds=0.1), backoff=1.0, max_attempts=5)
EFFECTS = "acceptance_effect"


@activity.defn(name="acceptance.step", retry=FAST)
def step(key: str, number: int) -> int:
    """Do something that is seen outside."""
    ledger.note("begin", f"{key}:{number}")
    faults.trip(faults.STEP)
    ledger.note("end", f"{key}:{number}")
    return number


@activity.defn(name="acceptance.deposit", atomic=True, retry=FAST)
def deposit(key: str, number: int) -> int:
    """Write a row; the row and the activity's completion are one commit."""
    ledger.note("begin", f"{key}:{number}")
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {EFFECTS} (what) VALUES (%s)", [f"{key}:{number}"])  # noqa: S608
    faults.trip(faults.STEP)
    ledger.note("end", f"{key}:{number}")
    return number


@activity.defn(name="acceptance.linger", retry=FAST)
def linger(key: str, number: int, seconds: float) -> int:
    """Take a while."""
    ledger.note("begin", f"{key}:{number}")
    time.sleep(seconds)
    ledger.note("end", f"{key}:{number}")
    return number


@activity.defn(name="acceptance.linger_at_first", retry=FAST)
def linger_at_first(key: str, seconds: float) -> int:
    """Take a while when begun for the first time, and none later: what is given back is the same attempt."""
    ledger.note("begin", f"{key}:0")
    begun = len(ledger.entries("begin", f"{key}:0"))
    if begun == 1:
        time.sleep(seconds)
    ledger.note("end", f"{key}:0")
    return begun


@activity.defn(name="acceptance.linger_once", retry=FAST, start_to_close=timedelta(seconds=1))
def linger_once(key: str, seconds: float) -> str:
    """Take too long at the first attempt."""
    attempt = activity.info().attempt
    ledger.note("begin", f"{key}:{attempt}")
    if attempt == 1:
        time.sleep(seconds)
    ledger.note("end", f"{key}:{attempt}")
    return f"attempt {attempt}"


@activity.defn(
    name="acceptance.fragile",
    retry=RetryPolicy(initial_interval=timedelta(seconds=0.1), max_attempts=5, non_retryable=("ValueError",)),
)
def fragile(key: str, number: int) -> int:
    """Fail, once and for all, while a test says so: see ``broken``."""
    ledger.note("begin", f"{key}:{number}")
    faults.trip(faults.STEP)
    if faults.armed(broken(key.partition(".")[0], number)):
        raise ValueError("broken")
    ledger.note("end", f"{key}:{number}")
    return number


def broken(key: str, number: int) -> str:
    """Return what a test arms to have ``fragile`` fail."""
    return f"{faults.BROKEN}{key}-{number}"


@activity.defn(name="acceptance.flaky", retry=FAST)
def flaky(key: str) -> int:
    """Succeed at the third attempt."""
    attempt = activity.info().attempt
    ledger.note("begin", f"{key}:{attempt}")
    if attempt < 3:
        raise ConnectionError("not yet")
    return attempt


@activity.defn(name="acceptance.brittle", retry=FAST)
def brittle(group: str, key: str) -> str:
    """Fail until somebody notes that the group is mended."""
    ledger.note("begin", key)
    if not ledger.entries("mended", group):
        raise activity.NonRetryable(f"{key} is not mended")
    return key


@activity.defn(name="acceptance.clumsy", atomic=True, retry=FAST)
def clumsy(key: str) -> None:
    """Swallow a database error, which spoils the transaction that it ran in."""
    ledger.note("begin", key)
    try:
        # Any error that marks the transaction as one that cannot be committed.
        with transaction.atomic(), transaction.atomic(savepoint=False), connection.cursor() as cursor:
            cursor.execute("SELECT what FROM acceptance_no_such_table")
    except Exception:
        transaction.set_rollback(True)


@activity.defn(name="acceptance.pulse", retry=FAST, heartbeat=timedelta(seconds=1))
async def pulse(key: str, beats: int) -> int:
    """Beat from a coroutine."""
    for number in range(beats):
        activity.heartbeat(number)
        ledger.note("beat", f"{key}:{number}")
    return len(activity.heartbeat_details())
