"""What recovery tells of an instance."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from durable.operations.shapes import facts_of

if TYPE_CHECKING:
    from durable.core.errors import ConcurrencyConflict, NondeterminismError
    from durable.operations.shapes import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """The instance waits, and will go on by itself.

    Attributes:
        index: The number, from 0, of the first thing its code asked for that has no answer;
            of the next one, if it has asked for nothing that is open.
        command: That thing; None if the code waits for a signal, say.
        head: The ``seq`` of its last event, as it was found.
        redispatched: What had no row behind it any more, and was handed out again.
    """

    index: int
    command: Step | None
    head: int
    redispatched: list[Step] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """The execution has come to its end; if the instance was not closed, it is now.

    Attributes:
        result: What the workflow returned; None if it ended otherwise.
        head: The ``seq`` of the end.
        kind: The event that is the end.
    """

    result: Any
    head: int
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stalled:
    """The code does not do what the history records; the instance is stalled with the place.

    Attributes:
        head: The ``seq`` of the last event.
    """

    error: NondeterminismError
    head: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The instance could not be recovered.

    Attributes:
        error: Why.
        failure_recorded: Whether the instance failed by this, as the settings ask for after a mismatch;
            if not, nothing was changed.
        conflict: What kept the error from being recorded: somebody else was quicker.
    """

    error: Exception
    failure_recorded: bool = False
    conflict: ConcurrencyConflict | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """Somebody else is at work on the instance whenever it is looked at, so it goes on; nothing was changed.

    Attributes:
        head: The ``seq`` of its last event, as it was found last.
    """

    head: int


Outcome = Resumed | Terminal | Stalled | Failed | Busy


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryReport:
    """What became of an instance.

    Attributes:
        instance_id: The instance.
        outcome: ``Resumed``, ``Terminal``, ``Stalled``, ``Failed`` or ``Busy``.
    """

    instance_id: str
    outcome: Outcome

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        told: dict[str, Any] = {"id": self.instance_id, "outcome": type(self.outcome).__name__.lower()}
        match self.outcome:
            case Resumed() | Terminal() | Busy():
                return {**told, **asdict(self.outcome)}
            case Stalled(error=error, head=head):
                return {**told, "head": head, **facts_of(error)}
            case Failed(error=error, failure_recorded=recorded, conflict=conflict):
                hindered = conflict and facts_of(conflict)
                return {**told, "failure_recorded": recorded, "conflict": hindered, **facts_of(error)}
