"""A handle on one instance: the client's verbs as methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable.client import ask, change, comparing, explaining, imagining, operate, read, repair, whys
from durable.client.lineage import Lineage, lineage
from durable.client.purge import purge
from durable.client.restore import restore

if TYPE_CHECKING:
    import uuid

    from durable.client.comparing import Comparison
    from durable.client.imagining import WhatIf
    from durable.client.items import HistoryItem
    from durable.client.whys import Why
    from durable.core.explaining import Explanation
    from durable.models import Instance
    from durable.operations.shapes import Preview


def get(instance_id: str) -> Handle:
    """Return a handle on an instance.

    Raises:
        UnknownInstance: There is none of this id.
    """
    return Handle(read.instance(instance_id).pk)


class Handle:
    """A handle on one instance.

    Attributes:
        id: The instance's id.
    """

    def __init__(self, instance_id: str, *, asked_at: float | None = None) -> None:
        """Take hold of an instance.

        Args:
            instance_id: Its id.
            asked_at: When it was started, by the monotonic clock, if that was just now.
        """
        self.id = instance_id
        self._asked_at = asked_at

    def __repr__(self) -> str:
        return f"Handle({self.id!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Handle) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def instance(self) -> Instance:
        """The model, fresh from the database."""
        return read.instance(self.id)

    @property
    def status(self) -> str:
        """The status, fresh from the database."""
        return read.status(self.id)

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the end and return the result; see ``client.result``."""
        return read.result_of(self.id, timeout, asked_at=self._asked_at)

    async def aresult(self, timeout: float | None = None) -> Any:
        """Wait for the end in async code and return the result."""
        return await read.aresult_of(self.id, timeout, asked_at=self._asked_at)

    def history(self, execution: str | uuid.UUID | None = None) -> list[HistoryItem]:
        """Return all events of an execution; see ``client.history``."""
        return read.history(self.id, execution)

    def explain(self, at: int | None = None, execution: str | uuid.UUID | None = None) -> Explanation:
        """Say where the code stands, or stood after an event; see ``client.explain``."""
        return explaining.explain(self.id, at, execution)

    def why(self) -> Why:
        """Say what the instance waits for, and whether anybody is there to bring it; see ``client.why``."""
        return whys.why(self.id)

    def compare(
        self,
        other: str,
        *,
        execution: str | uuid.UUID | None = None,
        other_execution: str | uuid.UUID | None = None,
    ) -> Comparison:
        """Lay the instance and another one side by side; see ``client.compare``."""
        return comparing.compare(self.id, other, execution=execution, other_execution=other_execution)

    def what_if(self, event_id: int, **options: Any) -> WhatIf:
        """Say what would come of a rerun from an activity; see ``client.what_if``."""
        return imagining.what_if(self.id, event_id, **options)

    def signal(self, name: str, payload: Any = None, *, reason: str = "", actor: Any = None) -> None:
        """Signal the instance; see ``client.signal``."""
        operate.signal(self.id, name, payload, reason=reason, actor=actor)

    def query(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Ask the instance about itself; see ``client.query``."""
        return ask.query(self.id, name, *args, **kwargs)

    async def aquery(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Ask the instance about itself from async code."""
        return await ask.aquery(self.id, name, *args, **kwargs)

    def update(
        self, name: str, /, *args: Any, update_id: str | None = None, timeout: float | None = None, **kwargs: Any
    ) -> Any:
        """Have the workflow changed and wait for what comes of it; see ``client.update``."""
        return change.update(self.id, name, *args, update_id=update_id, timeout=timeout, **kwargs)

    async def aupdate(
        self, name: str, /, *args: Any, update_id: str | None = None, timeout: float | None = None, **kwargs: Any
    ) -> Any:
        """Have the workflow changed from async code."""
        return await change.aupdate(self.id, name, *args, update_id=update_id, timeout=timeout, **kwargs)

    def cancel(self, **options: Any) -> Preview | None:
        """Ask the instance to stop; see ``client.cancel``."""
        return operate.cancel(self.id, **options)

    def terminate(self, **options: Any) -> Preview | None:
        """End the instance at once; see ``client.terminate``."""
        return operate.terminate(self.id, **options)

    def suspend(self, **options: Any) -> Preview | None:
        """Halt the instance; see ``client.suspend``."""
        return operate.suspend(self.id, **options)

    def resume(self, **options: Any) -> Preview | None:
        """Let the instance go on; see ``client.resume``."""
        return operate.resume(self.id, **options)

    def purge(self, **options: Any) -> Any:
        """Delete the instance for good; see ``client.purge``."""
        return purge(self.id, **options)

    def restore(self, execution: str | uuid.UUID | None = None, **options: Any) -> Any:
        """Have the instance end as an earlier execution did; see ``client.restore``."""
        return restore(self.id, execution, **options)

    def lineage(self) -> Lineage:
        """Return which instances this one was begun like, and which were like it; see ``client.lineage``."""
        return lineage(self.id)

    def restart(self, **options: Any) -> Any:
        """Start a new instance with what this one was started with; see ``client.restart``."""
        from durable.client.restart import restart  # noqa: PLC0415 - it gives a handle, so it is above this module

        return restart(self.id, **options)

    def rerun_from_activity(self, event_id: int, **options: Any) -> Any:
        """Start a new instance that runs again from an activity; see ``client.rerun_from_activity``."""
        from durable.client.rerun import rerun_from_activity  # noqa: PLC0415 - likewise

        return rerun_from_activity(self.id, event_id, **options)

    def rewind(self, **options: Any) -> Any:
        """Have the failed instance go on from before its failure; see ``client.rewind``."""
        return repair.rewind(self.id, **options)

    def upgrade(self, **options: Any) -> Any:
        """Have the instance go on with another version; see ``client.upgrade``."""
        return repair.upgrade(self.id, **options)
