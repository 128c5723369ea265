"""Runs the cases on the real engine, and replays every beginning of what they recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable import RetryPolicy, activity, client, conf, registry
from durable.core import commands as cmd
from durable.core import events as ev
from durable.core.replay import replay
from durable.engine import cache
from durable.engine.advance import advance
from durable.models import Execution
from durable.store import history
from tests.driving import Engine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable.testing.clocks import Clock


class Kit(Engine):
    """All workers of a project, and the database's clock.

    Attributes:
        unfit: Ids of instances whose code was changed on purpose after it ran.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.unfit: set[str] = set()
        self._time = clock

    def forward(self, seconds: float) -> None:
        """Let time pass, and nothing happen yet."""
        self._time.forward(seconds)

    def after(self, seconds: float) -> None:
        """Let time pass, and what is due then happen."""
        self.forward(seconds)
        self.run_until_quiet()

    def advance_only(self, instance_id: str) -> None:
        """Give one instance its turn, and no other."""
        advance(instance_id)

    def restart(self) -> None:
        """Let every worker die and another one come."""
        cache.clear()
        self.run_until_quiet()

    def replay_all(self) -> int:
        """Replay every beginning of every history that was recorded; return how many there were."""
        checked = 0
        for execution in Execution.objects.select_related("instance"):
            log = list(history.read(execution.pk))
            if execution.instance_id not in self.unfit:
                checked += check_beginnings(execution, log)
        return checked


def check_beginnings(execution: Execution, log: Sequence[ev.Event]) -> int:
    """Assert that the code, brought to any place of its history, asks for just what comes next there."""
    definition = registry.workflow(execution.instance.name, execution.version)
    for cut in range(1, len(log) + 1):
        decision = replay(
            definition,
            log[:cut],
            converter=conf.converter(),
            instance_id=execution.instance_id,
            execution_id=str(execution.pk),
        )
        following = _rest_of_step(log[cut:])
        where = f"{execution.instance_id} cut at {cut}: {decision.commands} instead of {following}"
        assert len(decision.commands) == len(following), where
        drawn = any(isinstance(event, ev.SideEffectRecorded) for event in following)
        for got, recorded in zip(decision.commands, following, strict=True):
            assert _agree(got, recorded, drawn=drawn), where
        if cut == len(log):
            assert (decision.outcome is not None) == log[-1].ends, where
    return len(log)


def _rest_of_step(events: Sequence[ev.Event]) -> list[Any]:
    """Return what the code did next, up to the next event from outside."""
    rest: list[Any] = []
    for event in events:
        if not event.by_code or getattr(event, "imposed", False):
            break
        rest.append(event)
    return rest


def _agree(got: Any, recorded: Any, *, drawn: bool) -> bool:
    if isinstance(got, ev.ExecutionFailed) and isinstance(recorded, ev.ExecutionFailed):
        return (got.failure.type, got.failure.message) == (recorded.failure.type, recorded.failure.message)
    # A side effect that the record was cut off before happens anew, and what follows from it may differ.
    return not cmd.differs(recorded, got) if drawn else bool(got == recorded)


class Work:
    """Activities that most cases need.

    Attributes:
        ran: What was run, in order: ``double`` by its argument, ``note`` by its text.
        tokens: What ``later`` is waiting for, by key.
    """

    def __init__(self) -> None:
        self.ran: list[Any] = []
        self.tokens: dict[Any, str] = {}

        @activity.defn
        def double(number: int) -> int:
            self.ran.append(number)
            return 2 * number

        @activity.defn
        def note(text: str) -> str:
            self.ran.append(text)
            return text

        @activity.defn(retry=RetryPolicy(max_attempts=1))
        def fail(message: str = "no") -> None:
            self.ran.append(f"fail {message}")
            raise ValueError(message)

        @activity.defn(retry=RetryPolicy(max_attempts=1))
        def later(key: str) -> Any:
            """Wait until the test finishes it."""
            self.tokens[key] = activity.complete_later()

        self.double, self.note, self.fail, self.later = double, note, fail, later

    def finish(self, key: str, result: Any = None) -> None:
        """Complete what ``later(key)`` waits for."""
        client.complete_activity(self.tokens[key], result)

    def break_(self, key: str, message: str = "broken") -> None:
        """Fail what ``later(key)`` waits for."""
        client.fail_activity(self.tokens[key], ValueError(message))
