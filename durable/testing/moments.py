"""Moments of virtual time, at which a test has something happen."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from durable.core.errors import InvalidInput
from durable.testing.problems import SimulationError
from durable.testing.updates import Asked

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable.core.agenda import Agenda
    from durable.testing.simulation import Simulation


class Answer:
    """What a query or an update will have answered when its moment has come."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._came: list[Any] = []

    def set(self, value: Any) -> None:
        """Keep the answer."""
        self._came.append(value)

    @property
    def value(self) -> Any:
        """The answer, as plain JSON.

        Raises:
            SimulationError: Its moment has not come, or the update is not done.
            UpdateRejected, UpdateFailed, NotOpen: The update did not succeed.
        """
        if not self._came:
            raise SimulationError(f"nobody has asked yet: the moment at {self._where} has not come")
        came = self._came[0]
        return came.value if isinstance(came, Asked) else came


class Moment:
    """A moment of virtual time; each method says what happens then, and returns the moment."""

    def __init__(self, simulation: Simulation, agenda: Agenda, elapsed: float, *, where: str) -> None:
        self._simulation, self._agenda, self._elapsed, self._where = simulation, agenda, elapsed, where

    def signal(self, name: str, payload: Any = None, *, to: str | None = None) -> Moment:
        """Signal the instance, or the one with the id ``to``."""
        return self._add(f"signal {name!r}", lambda: self._simulation.signal(name, payload, to=to))

    def cancel(self, *, reason: str = "", to: str | None = None) -> Moment:
        """Ask the instance, or the one with the id ``to``, to stop."""
        return self._add("cancel", lambda: self._simulation.cancel(reason=reason, to=to))

    def terminate(self, *, reason: str = "", to: str | None = None) -> Moment:
        """End the instance, or the one with the id ``to``, at once."""
        return self._add("terminate", lambda: self._simulation.terminate(reason=reason, to=to))

    def query(self, name: str, /, *args: Any, to: str | None = None, **kwargs: Any) -> Answer:
        """Call a query; the answer's ``value`` is there when the moment has come."""
        answer = Answer(self._where)
        self._add(f"query {name!r}", lambda: answer.set(self._simulation.query(name, *args, to=to, **kwargs)))
        return answer

    def update(self, name: str, /, *args: Any, to: str | None = None, **kwargs: Any) -> Answer:
        """Ask for an update; the answer's ``value`` is what it returned, or raises what ``client.update`` would."""
        answer = Answer(self._where)
        self._add(f"update {name!r}", lambda: answer.set(self._simulation.update(name, *args, to=to, **kwargs)))
        return answer

    def call(self, fn: Callable[[], object]) -> Moment:
        """Call a function of the test, which may operate the simulation.

        Raises:
            InvalidInput: It cannot be called.
        """
        if not callable(fn):
            raise InvalidInput("at(...).call(fn)", f"{fn!r} cannot be called; give a function: lambda: ...")
        return self._add(f"the call of {getattr(fn, '__name__', fn)}", fn)

    def _add(self, what: str, act: Callable[[], object]) -> Moment:
        what = f"{what} at {timedelta(seconds=self._elapsed)} ({self._where})"
        self._agenda.add(lambda: _named(act, what), what, wait=self._elapsed, by_test=True)
        return self


def _named(act: Callable[[], object], what: str) -> None:
    try:
        act()
    except Exception as error:
        error.add_note(f"in {what}")
        raise
