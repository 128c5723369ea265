"""The replies of an edit, in order, with the results that branches beside its target had in the source."""

from __future__ import annotations

import heapq
from collections import defaultdict
from typing import TYPE_CHECKING

from durable.core import events as ev
from durable.core.edit import Succeeded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from durable.core import commands as cmd
    from durable.core.edit import Edit
    from durable.core.execution import Execution


class Replies:
    """What the code gets to see after what an edit keeps.

    An activity that it asks for on the same result as in the source, by the
    same name and with the same arguments, does not follow from the target:
    it has the result that it had there.

    Attributes:
        adopted: Event ids of the source, by those that such activities have now.
    """

    def __init__(self, edited: Edit, first: Iterable[ev.Event] = ()) -> None:
        """Begin with ``first``, which the source does not hold."""
        self.adopted: dict[int, int] = {}
        self._first = tuple(first)
        self._answers = {e.event_id: (i, e) for i, e in enumerate(edited.source) if isinstance(e, Succeeded)}
        self._asked_on = _by_occasion(edited.source)
        self._occasion: int | None = None
        # By their places in the source; the number keeps the order of those that it does not hold.
        self._waiting: list[tuple[int, int, ev.Event, int | None]] = []
        for number, event in enumerate(edited.replies):
            place, _ = self._answers.get(getattr(event, "event_id", -1), (-1, None))
            heapq.heappush(self._waiting, (place, number, event, None))

    def given(self, execution: Execution) -> Iterator[ev.Event]:
        """Yield what an execution is to see; ``follow`` says after each what it asked for."""
        yield from self._first
        while self._waiting:
            _, _, event, adopted = heapq.heappop(self._waiting)
            self._occasion = getattr(event, "event_id", None) if adopted is None else adopted
            if adopted is not None and isinstance(event, ev.Answer):
                asked = execution.open.get(event.event_id)
                if asked is None or asked.called_off:
                    continue
                self.adopted[event.event_id] = adopted
            yield event

    def follow(self, issued: Iterable[cmd.Command]) -> None:
        """Give what the code asked for on the latest event the results that it had, where it is the same."""
        known = self._asked_on.get(self._occasion, [])
        for command in issued:
            if not isinstance(command, ev.ActivityScheduled):
                continue
            then = next((asked for asked in known if (asked.name, asked.input) == (command.name, command.input)), None)
            if then is None:
                continue
            known.remove(then)
            if (answer := self._answers.get(then.event_id)) is not None:
                place, event = answer
                heapq.heappush(self._waiting, (place, 0, ev.replace(event, event_id=command.event_id), then.event_id))


def _by_occasion(source: Iterable[ev.Event]) -> dict[int | None, list[ev.ActivityScheduled]]:
    """Return the activities that were asked for, by the event id of the result on which they were."""
    found: dict[int | None, list[ev.ActivityScheduled]] = defaultdict(list)
    occasion: int | None = None
    for event in source:
        if not event.by_code:
            occasion = event.event_id if isinstance(event, Succeeded) else None
        elif occasion is not None and isinstance(event, ev.ActivityScheduled):
            found[occasion].append(event)
    return found
