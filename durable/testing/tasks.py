"""Activities in virtual time: attempts, waits, timeouts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from durable import activity
from durable.core import events as ev
from durable.core.here import outside
from durable.engine import running, signals
from durable.engine.attempts import token
from durable.engine.lost import timeout
from durable.testing import attempting
from durable.testing.mocks import arguments_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable.core.agenda import Entry
    from durable.core.failures import Failure
    from durable.testing.driving import Run
    from durable.testing.mocks import Mock
    from durable.testing.world import World

    _Choice = tuple[float, Callable[[], object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call of an activity: one attempt.

    Attributes:
        instance_id: The instance that called it.
        attempt: Which attempt it was, from 1.
        at: When it began, in virtual time.
        outcome: ``completed``, ``failed``, ``canceled``, or ``open`` while it has not ended;
            an attempt that ran into a timeout has failed.
        failure: How it failed, or None.
    """

    instance_id: str
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    attempt: int
    at: datetime
    outcome: str = "open"
    failure: Failure | None = None


class Task:
    """An activity that a workflow asked for, until it ends.

    Attributes:
        state: ``ready`` until its next attempt begins, ``running``, ``external``
            when its completion was left to somebody else, or ``done``.
        details: The last heartbeat's details, as JSON.
    """

    def __init__(self, world: World, run: Run, asked: ev.ActivityScheduled | ev.SignalSent, *, location: str) -> None:
        self._world, self.run, self.event_id, self.location = world, run, asked.event_id, location
        if isinstance(asked, ev.SignalSent):
            # As in the engine, an activity of ours brings a signal to another instance.
            arguments = {"args": [asked.instance_id, asked.name, asked.payload], "kwargs": {}}
            own = world.mocks.activity(signals.SEND, location=location)
            self.definition = replace(own, fn=world.send)
        else:
            arguments = asked.input
            known = world.mocks.activity(asked.name, location=location)
            self.definition = known.with_overrides(asked.options)
        self.name = self.definition.name
        self._arguments = msgspec.json.encode(arguments)
        self.state = "ready"
        self.attempt = 1
        self._cancel_requested = False
        self.details: list[Any] = []
        self._scheduled_at = world.agenda.now
        self._mock: Mock | None = None
        self._call: int | None = None
        self._token = ""
        self._entry: Entry | None = None
        self._plan((0.0, self._begin))

    # --- its life

    def call_off(self) -> bool:
        """Drop it if no attempt runs, and say whether that was so; else let the attempt know."""
        if self.state in ("ready", "external"):
            self._forget()
            self._note("canceled")
            self.state = "done"
            return True
        self._cancel_requested = True
        return False

    def leave(self) -> None:
        """Have nobody wait for it, and leave the token to whoever is to complete it."""
        self._cancel_requested = True
        if self._entry is not None:
            self._entry.cancel()

    def complete(self, result: Any) -> None:
        """End it with a result from elsewhere."""
        self._forget()
        self._end(ev.ActivityCompleted(event_id=self.event_id, result=result, attempts=self.attempt))

    def fail(self, failure: Failure) -> None:
        """End the attempt with a failure; the next one follows by the policy."""
        self._forget()
        self._note("failed", failure)
        wait = None
        if not self._cancel_requested:
            wait = self.definition.retry.wait_after(self.attempt, failure, chance=self._world.chance())
        if wait is None:
            self._deliver(ev.ActivityFailed(event_id=self.event_id, failure=failure, attempts=self.attempt))
            return
        self.attempt += 1
        self.state = "ready"
        self._plan((wait, self._begin), self._closing())

    def _begin(self) -> None:
        args, kwargs = arguments_of(self.definition.signature, self._input)
        self._mock = self._world.mocks.pick(self.definition, args, kwargs, location=self.location)
        delay = self._mock.delay if self._mock and self.attempt == 1 else 0.0
        to_start = self._limit(self.definition.schedule_to_start if delay else None, "schedule_to_start", final=True)
        self._plan((delay, lambda: self._run(args, kwargs)), to_start, self._closing(), at_once=True)

    def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.state = "running"
        if self.attempt == 1:
            self._world.begun.append(self.name)
        if self._mock is not None or self.name != signals.SEND:
            self._call = len(self._world.calls)
            self._world.calls.append(
                Call(
                    instance_id=self.run.instance.id,
                    name=self.name,
                    args=args,
                    kwargs=kwargs,
                    attempt=self.attempt,
                    at=datetime.fromtimestamp(self._world.agenda.now, UTC),
                )
            )
        attempt = attempting.Attempt(self)
        ended = self._ended(attempt)
        self.details = attempt.details
        limits = (
            self._closing(),
            self._limit(self.definition.start_to_close, "start_to_close"),
            self._limit(None if self._mock and self._mock.heartbeats else self.definition.heartbeat, "heartbeat"),
        )
        if ended is None:
            self.state = "external"
            self._token = token(attempt.info)
            self._world.tokens[self._token] = self
            self._plan(*limits)
        else:
            self._plan((self._mock.duration if self._mock else 0.0, lambda: self._end(ended)), *limits, at_once=True)

    def _ended(self, attempt: attempting.Attempt) -> running.Ended | None:
        """Call the function; None if it left its completion to somebody else."""
        try:
            with outside():
                if self._mock is None:
                    return attempting.attempt(self.definition, self._input, attempt)
                args, kwargs = arguments_of(self.definition.signature, self._input)
                stand_in = attempting.stand_in(self.definition, self._mock.use(args, kwargs))
                return running.attempt(stand_in, {"args": [], "kwargs": {}}, attempt)
        except running.Later:
            return None

    def _end(self, ended: running.Ended) -> None:
        if isinstance(ended, ev.ActivityFailed):
            self.fail(ended.failure)
            return
        self._note("canceled" if isinstance(ended, ev.ActivityCanceled) else "completed")
        self._deliver(ended)

    def _deliver(self, ended: running.Ended) -> None:
        self.state = "done"
        self.run.answer(signals.answer(self.name, ended))

    # --- time

    def _plan(self, *choices: _Choice | None, at_once: bool = False) -> None:
        """Have that done which comes first; the first of those that come together.

        Args:
            choices: In how many seconds, and what.
            at_once: Whether what is due now is done now, and not after what was due before it.
        """
        given = [choice for choice in choices if choice is not None]
        self._entry = None
        if not given:
            return
        wait, act = min(given, key=lambda choice: choice[0])
        if at_once and wait <= 0:
            act()
        else:
            self._entry = self._world.agenda.add(act, f"activity {self.name} of {self.run.instance.id}", wait=wait)

    def _forget(self) -> None:
        if self._entry is not None:
            self._entry.cancel()
        self._world.tokens.pop(self._token, None)

    def _limit(self, seconds: float | None, kind: str, *, final: bool = False) -> _Choice | None:
        return None if seconds is None else (seconds, lambda: self.fail(timeout(kind, final=final)))

    def _closing(self) -> _Choice | None:
        limit = self.definition.schedule_to_close
        left = None if limit is None else self._scheduled_at + limit - self._world.agenda.now
        return self._limit(left, "schedule_to_close", final=True)

    # --- what others see

    @property
    def _input(self) -> dict[str, Any]:
        """The arguments, anew for each attempt: the function may change them."""
        decoded: dict[str, Any] = msgspec.json.decode(self._arguments)
        return decoded

    def info(self) -> activity.Info:
        """Return what the attempt may know of itself."""
        now = self._world.agenda.now
        ends = ((now, self.definition.start_to_close), (self._scheduled_at, self.definition.schedule_to_close))
        limits = [start + limit for start, limit in ends if limit is not None]
        return activity.Info(
            name=self.name,
            instance_id=self.run.instance.id,
            execution_id=self.run.id,
            event_id=self.event_id,
            attempt=self.attempt,
            deadline=datetime.fromtimestamp(min(limits), UTC) if limits else None,
            workflow=self.run.definition.type_name,
            queue=self.definition.queue or self.run.instance.queue,
            headers=dict(self.run.instance.headers),
        )

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for it any more."""
        return self._cancel_requested or self.state == "done"

    def _note(self, outcome: str, failure: Failure | None = None) -> None:
        if self._call is not None:
            calls = self._world.calls
            calls[self._call] = replace(calls[self._call], outcome=outcome, failure=failure)
            self._call = None
