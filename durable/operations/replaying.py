"""The replay gate: would instances go on with the code at hand?"""

from __future__ import annotations

import hashlib
import heapq
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from django.db import InterfaceError, OperationalError

from durable.core.errors import InvalidHistory, UndecodableEvent
from durable.core.replay import catch_up
from durable.engine import stalling, watchdog
from durable.engine.living import fresh
from durable.models import OPEN
from durable.store import transcripts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from durable.core.transcripts import Transcript


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What replaying an execution came to.

    Attributes:
        head: The transcript, without its events.
        error: What would stall the instance, or None if it would go on.
    """

    head: Transcript
    error: Exception | None

    @property
    def reason(self) -> str:
        """What its stall would give as the reason; empty if it would go on."""
        return "" if self.error is None else stalling.reason(self.error)

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON."""
        facts = {name: getattr(self.error, name, None) for name in _PLACE}
        return {
            "instance": self.head.instance_id,
            "execution": self.head.execution_id,
            "workflow": self.head.workflow,
            "version": self.head.version,
            "status": self.head.status,
            "reason": self.reason,
            "error": type(self.error).__name__,
            "message": str(self.error),
            **facts,
        }


_PLACE = ("seq", "event_id", "expected", "got", "location", "note")


def replay_stored(heads: Iterable[Transcript], *, keep: Callable[[Transcript], None] | None = None) -> Iterator[Report]:
    """Replay stored executions on the code at hand, one after the other; nothing is written.

    Args:
        heads: Which, from ``store.transcripts.heads``.
        keep: Called with each transcript that was read.
    """
    for head in heads:
        try:
            transcript = transcripts.read(head)
        except UndecodableEvent as error:
            yield Report(head=head, error=error)
            continue
        if keep is not None:
            keep(transcript)
        if head.status in OPEN and transcript.workflow != head.workflow:
            problem = f"it is one of {transcript.workflow!r}, and the instance of {head.workflow!r}"
            yield Report(head=head, error=InvalidHistory(head.instance_id, problem))
            continue
        yield replay(transcript)


def replay(transcript: Transcript) -> Report:
    """Replay a transcript on the code at hand as a worker would that takes the instance up."""
    head = replace(transcript, events=())
    try:
        execution = fresh(head.workflow, head.version, instance_id=head.instance_id, execution_id=head.execution_id)
        try:
            with watchdog.watch(execution):
                catch_up(execution, transcript.events, whole=True)
        finally:
            execution.close()
    except (OperationalError, InterfaceError):
        raise  # the database's trouble, not the instance's
    except Exception as error:  # noqa: BLE001 - one instance's trouble must not hide the others'
        return Report(head=head, error=error)
    return Report(head=head, error=None)


def sample(found: Iterable[Transcript], size: int) -> list[Transcript]:
    """Return ``size`` of each workflow and version, always the same ones, in the order that they came in.

    Which those are depends on the instances' ids alone: what is added or
    closed meanwhile moves as few of the others as possible.
    """
    chosen: dict[tuple[str, int], list[tuple[int, int, Transcript]]] = defaultdict(list)
    for number, transcript in enumerate(found):
        digest = hashlib.blake2b(transcript.instance_id.encode(), digest_size=8).digest()
        heap = chosen[transcript.workflow, transcript.version]
        heapq.heappush(heap, (-int.from_bytes(digest), -number, transcript))
        if len(heap) > size:
            heapq.heappop(heap)  # the one with the largest digest
    ranked = sorted((entry for heap in chosen.values() for entry in heap), key=lambda entry: -entry[1])
    return [transcript for _, _, transcript in ranked]
