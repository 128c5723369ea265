"""When to try again, and when to stop."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from durable.core.errors import InvalidInput
from durable.core.errors.telling import quoted

if TYPE_CHECKING:
    from durable.core.failures import Failure

LONGEST = 7000 * 365 * 86_400
"""The longest duration, in seconds: what is due later is beyond what databases call a time."""


def seconds(value: timedelta | float, where: str) -> float:
    """Return a duration in seconds.

    Raises:
        InvalidInput: It is negative, beyond any calendar, or not a duration.
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput(where, f"a duration is a timedelta or a number of seconds, not {type(value).__name__}")
    if not 0 <= value <= LONGEST:
        told = quoted(value) if value > LONGEST else f"{value:g}"
        raise InvalidInput(where, f"a duration cannot be {told} s; it is from 0 to {LONGEST:,} s")
    return float(value)


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How failed attempts are repeated.

    Attributes:
        initial_interval: The wait before the second attempt; timedelta or seconds.
        backoff: What each wait is multiplied by to give the next one.
        max_interval: The longest wait; timedelta or seconds.
        max_attempts: How often to try in all, the first attempt counted; 0 is for ever.
        non_retryable: Exception classes, or their names, that end the attempts at once.
        jitter: The largest share of a wait, 0 to 1, that chance may add to it.
    """

    initial_interval: timedelta | float = timedelta(seconds=1)
    backoff: float = 2.0
    max_interval: timedelta | float = timedelta(seconds=100)
    max_attempts: int = 3
    non_retryable: tuple[type[BaseException] | str, ...] = ()
    jitter: float = 0.0

    def __post_init__(self) -> None:
        seconds(self.initial_interval, "RetryPolicy(initial_interval)")
        seconds(self.max_interval, "RetryPolicy(max_interval)")
        if not self.backoff >= 1:  # NaN included
            raise InvalidInput("RetryPolicy(backoff)", f"{self.backoff:g} would make waits shorter; use 1 or more")
        if self.max_attempts < 0:
            raise InvalidInput("RetryPolicy(max_attempts)", "use 0 for no limit, or 1 and more")
        if not 0 <= self.jitter <= 1:
            raise InvalidInput("RetryPolicy(jitter)", "use a share from 0 to 1")
        stops: Any = self.non_retryable
        if isinstance(stops, str) or not all(isinstance(stop, str | type) for stop in stops):
            raise InvalidInput("RetryPolicy(non_retryable)", f"{stops!r} is not a tuple of exception classes and names")

    def wait_after(self, attempt: int, failure: Failure, *, chance: float = 0.0) -> float | None:
        """Return the seconds to wait after the failed ``attempt`` (1-based), or None to stop.

        Args:
            attempt: Which attempt failed.
            failure: How it failed.
            chance: A number from 0 to 1, for the jitter.
        """
        if not failure.retryable or (self.max_attempts and attempt >= self.max_attempts):
            return None
        names = {stop if isinstance(stop, str) else stop.__name__ for stop in self.non_retryable}
        if names & {failure.type, *failure.kinds}:
            return None
        return self.interval(attempt) * (1 + self.jitter * chance)

    def interval(self, attempt: int) -> float:
        """Return the seconds to wait after ``attempt`` (1-based), without jitter."""
        longest = seconds(self.max_interval, "max_interval")
        first = seconds(self.initial_interval, "initial_interval")
        if not first:
            return 0.0
        try:
            return min(first * float(self.backoff) ** (attempt - 1), longest)
        except OverflowError:
            return longest

    def to_json(self) -> dict[str, Any]:
        """Return the policy as plain JSON; exception classes become their names."""
        return {
            "initial_interval": seconds(self.initial_interval, "initial_interval"),
            "backoff": self.backoff,
            "max_interval": seconds(self.max_interval, "max_interval"),
            "max_attempts": self.max_attempts,
            "non_retryable": [s if isinstance(s, str) else s.__name__ for s in self.non_retryable],
            "jitter": self.jitter,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RetryPolicy:
        """Build the policy that ``to_json`` wrote."""
        return cls(**{**data, "non_retryable": tuple(data["non_retryable"])})


NO_RETRY = RetryPolicy(max_attempts=1)
