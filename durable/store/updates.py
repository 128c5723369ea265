"""Updates: what clients asked of running workflows, and what became of it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.models import Q

from durable import conf
from durable.core import events as ev
from durable.core.failures import Failure
from durable.models import Instance, Update
from durable.store import clock, driver, instances

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterable, Sequence

State = Update.State

PENDING = (State.REQUESTED, State.WAITING)
"""Not accepted yet: the request belongs to the instance more than to the execution that it came for."""


def rows() -> Any:
    """Return all updates, on the database of the settings."""
    return Update.objects.using(conf.settings.DATABASE)


def find(instance_id: str, update_id: str) -> Update | None:
    """Return an update as it is stored now, or None."""
    found: Update | None = rows().filter(instance_id=instance_id, update_id=update_id).first()
    return found


_OPEN = "SELECT 1 FROM {update} WHERE instance_id = %s AND update_id = %s AND ended_at IS NULL"


def is_open(instance_id: str, update_id: str) -> bool:
    """Say whether there is such an update that has not ended; one cheap statement, as whoever waits asks often."""
    connection: Any = connections[conf.settings.DATABASE]
    table = connection.ops.quote_name(Update._meta.db_table)
    with driver.asking(connection) as cursor:
        cursor.execute(_OPEN.format(update=table), [instance_id, update_id])
        return cursor.fetchone() is not None


def insert(instance: Instance, request: ev.UpdateAccepted, *, state: str) -> None:
    """Store a request to a locked instance."""
    rows().create(
        execution_id=instance.execution_id,
        instance_id=instance.pk,
        update_id=request.update_id,
        name=request.name,
        input=request.input,
        state=state,
        requested_at=clock.now(),
    )


def waiting(execution_id: uuid.UUID, names: Iterable[str]) -> list[ev.UpdateAccepted]:
    """Return the requests that wait for one of these names to be registered, in order of arrival."""
    found = _waiting(execution_id, names).order_by("id").values_list("update_id", "name", "input")
    return [ev.UpdateAccepted(update_id=update_id, name=name, input=given) for update_id, name, given in found]


def is_awaited(execution_id: uuid.UUID, names: Iterable[str]) -> bool:
    """Say whether a request waits for one of these names to be registered."""
    return bool(_waiting(execution_id, names).exists())


def _waiting(execution_id: uuid.UUID, names: Iterable[str]) -> Any:
    return rows().filter(execution_id=execution_id, state=State.WAITING, name__in=list(names))


def count_waiting(execution_id: uuid.UUID) -> int:
    """Return how many requests wait without an inbox row."""
    return int(rows().filter(execution_id=execution_id, state=State.WAITING).count())


def change(instance_id: str, update_id: str, state: str, **values: Any) -> None:
    """Store how far an update is; an end also when."""
    if state not in (*PENDING, State.ACCEPTED):
        values["ended_at"] = clock.now()
    rows().filter(instance_id=instance_id, update_id=update_id).update(state=state, **values)


def end(execution_id: uuid.UUID) -> None:
    """Give an outcome to the updates of an execution that has ended, and with it its instance."""
    rows().filter(execution_id=execution_id, state__in=PENDING).update(state=State.REFUSED, ended_at=clock.now())
    cut_off(execution_id)


def cut_off(execution_id: uuid.UUID) -> None:
    """Give an outcome to the accepted updates of an execution that ended before they did."""
    failure = Failure(type="NotOpen", message="the workflow ended before the update did")
    rows().filter(execution_id=execution_id, state=State.ACCEPTED).update(
        state=State.FAILED, failure=failure.to_json(), ended_at=clock.now()
    )


def move_on(old: uuid.UUID, new: uuid.UUID) -> None:
    """Let the requests that an execution did not accept wait for the next one of its instance."""
    cut_off(old)
    rows().filter(execution_id=old, state__in=PENDING).update(execution_id=new, state=State.WAITING)


def outcome(completed: ev.UpdateCompleted) -> dict[str, Any]:
    """Return what to store of the end of an update."""
    if completed.failure is None:
        return {"state": State.COMPLETED, "result": completed.result, "failure": None}
    return {"state": State.FAILED, "result": None, "failure": completed.failure.to_json()}


def carry_on(instance: Instance, history: Sequence[ev.Event]) -> None:
    """Make the updates that a history accepts those of its instance's current execution, as far as they are in it."""
    accepted = [event for event in history if isinstance(event, ev.UpdateAccepted)]
    completed = {event.update_id: event for event in history if isinstance(event, ev.UpdateCompleted)}
    for request in accepted:
        end = completed.get(request.update_id)
        became = outcome(end) if end else {"state": State.ACCEPTED, "result": None, "failure": None}
        ended_at = clock.from_timestamp(end.at) if end else None
        if find(instance.pk, request.update_id) is None:
            insert(instance, request, state=State.ACCEPTED)
        known = rows().filter(instance_id=instance.pk, update_id=request.update_id)
        known.update(execution_id=instance.execution_id, ended_at=ended_at, **became)
    if accepted:
        instance.has_updates = True
        instances.rows().filter(pk=instance.pk).update(has_updates=True)


def forget(instance_id: str) -> None:
    """Delete the updates of an instance whose id begins a new life."""
    rows().filter(instance_id=instance_id).delete()


def forget_old() -> None:
    """Delete outcomes that nobody asked for lately: rejections, and those of executions that have ended."""
    before = clock.now() - timedelta(seconds=conf.settings.UPDATE_OUTCOMES)
    of_no_more_use = Q(state=State.REJECTED) | Q(execution__closed_at__isnull=False)
    rows().filter(of_no_more_use, ended_at__lt=before).delete()
