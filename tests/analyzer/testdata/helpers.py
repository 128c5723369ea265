"""Helpers that workflows get to, and those that they do not."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass

from durable import activity, workflow


@activity.defn
def wait_a_little() -> None:
    time.sleep(1)


def loud(fn):
    @functools.wraps(fn)
    def wrapper(*args):
        return fn(*args)

    return wrapper


@dataclass
class Basket:
    lines: list[int]
    at: float = 0.0

    def __post_init__(self) -> None:
        self.at = time.time()  # want: DUR002 in __post_init__(), which the workflow leads_to_helpers gets to

    def total(self) -> int:
        self.log()
        return sum(self.lines)

    def log(self) -> None:
        time.sleep(1)  # want: DUR001 in log()

    @property
    def age(self) -> float:
        return time.time() - self.at  # want: DUR002 in age()

    @classmethod
    def empty(cls) -> Basket:
        return cls([])

    @staticmethod
    def seconds() -> int:
        return time.time_ns()  # want: DUR002 in seconds()

    def unused(self) -> None:
        time.sleep(1)


class Large(Basket):
    def volume(self) -> int:
        return self.seconds() + super().total()


def _deep(depth: int) -> int:
    time.sleep(0)  # want: DUR001 time.sleep() blocks the worker and is not recorded (in _deep(), which
    return _deeper(depth)


def _deeper(depth: int) -> int:
    return _deep(depth - 1) if depth else 0


@loud
def _decorated() -> None:
    time.sleep(1)  # want: DUR001 in _decorated()


def _handed_on(number: int) -> int:
    return number + time.monotonic_ns()  # want: DUR002 in _handed_on()


def _recorded() -> float:
    return time.time()


def _never_called() -> float:
    return time.time()


def _of_basket(basket: Basket) -> float:
    return basket.age


@workflow.defn
async def leads_to_helpers() -> None:
    _deep(3)
    _decorated()
    sorted([1, 2], key=_handed_on)
    Basket([1]).total()
    _of_basket(Basket.empty())
    Large([2]).volume()
    workflow.side_effect(_recorded)
    await wait_a_little()
    await calls_helpers_too()


@workflow.defn
async def calls_helpers_too() -> None:
    _deep(1)
