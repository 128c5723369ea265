"""Takes all steps of an execution once more, in a fresh one, and compares more than a replay does."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from durable.core import commands as cmd
from durable.core import events as ev
from durable.core import places, texts
from durable.core.errors import ForbiddenInWorkflow, NondeterminismError
from durable.core.replay import SAID, catch_up, mismatch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from durable.core.execution import Execution

_WHY = (
    "The code is not deterministic: replayed right after the turn, in the same process, it did something else. "
    "It depends on what its history does not hold, such as a global, a cache, a mutable default or the clock"
)


def recheck(live: Execution, again: Execution, history: Iterable[ev.Event], new: Sequence[ev.Event]) -> None:
    """Replay what ``live`` has seen and done in ``again``, and compare.

    Args:
        live: The execution, after its last step.
        again: A fresh one of the same code.
        history: What is stored. Other code may have brought it about, so it is compared as in any replay.
        new: What comes after it: all of it is compared, arguments included.

    Raises:
        NondeterminismError: They differ, if only in an argument or in what is shown to operators.
    """
    just_now = {id(event) for event in new}

    def differs(recorded: cmd.Recordable, issued: cmd.Recordable) -> bool:
        return (cmd.differs_at_all if id(recorded) in just_now else cmd.differs)(recorded, issued)

    try:
        rest = catch_up(again, chain(history, new), whole=True, differs=differs)
        if rest:
            raise mismatch(again, None, rest[0], seq=again.head + 1)
    except NondeterminismError as error:
        raise _explained(error) from None
    if _was_refused(live):
        return  # what the refused step had shown by then is not shown by its replay
    for name in ("status", "progress", "tags"):
        then, now = getattr(live, name), getattr(again, name)
        if then != now:
            raise NondeterminismError(
                seq=again.head,
                event_id=None,
                expected=texts.cut(f"{name} {then!r}", SAID),
                got=texts.cut(f"{name} {now!r}", SAID),
                location=places.waiting_at(again),
                note=_WHY,
            )


def _was_refused(execution: Execution) -> bool:
    end = execution.outcome
    return isinstance(end, ev.ExecutionFailed) and end.failure.type == ForbiddenInWorkflow.__name__


def _explained(error: NondeterminismError) -> NondeterminismError:
    note = f"{_WHY}. {error.note}" if error.note else _WHY
    return NondeterminismError(
        seq=error.seq,
        event_id=error.event_id,
        expected=error.expected,
        got=error.got,
        location=error.location,
        note=note,
    )
