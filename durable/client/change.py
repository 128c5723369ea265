"""Have a running workflow changed by an update, and wait for what comes of it."""

from __future__ import annotations

import asyncio
import inspect
import time
import uuid
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.db import connections, transaction

from durable import conf
from durable.client.ask import encode
from durable.client.patience import Patience
from durable.core import events as ev
from durable.core import payloads, texts
from durable.core import updates as checking
from durable.core.errors import (
    DurableError,
    InTransaction,
    NondeterminismError,
    NotOpen,
    UnknownWorkflow,
    UpdateFailed,
    UpdateRejected,
    UpdateTimeout,
    VersionNotAvailable,
)
from durable.core.failures import Failure
from durable.core.updates import missing
from durable.engine import looking, updates
from durable.models import OPEN
from durable.operations import audit
from durable.operations.shapes import Preview
from durable.store import instances
from durable.store import updates as store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from durable.models import Instance, Update

State = store.State


def update(
    instance_id: str,
    name: str,
    /,
    *args: Any,
    update_id: str | None = None,
    timeout: float | None = None,
    **kwargs: Any,
) -> Any:
    """Call an update that the workflow registered, wait until it is done, and return its value, as plain JSON.

    A worker runs it, once, as part of the workflow. It is kept until the
    workflow registers the name.

    Args:
        instance_id: The instance.
        name: The update's name.
        args: Positional arguments.
        update_id: What to call the request: asking again by the same id gives the same outcome and runs
            nothing again. None is a new request.
        timeout: How long to wait, in seconds; None is for ever, 0 does not wait. The update goes on.
        kwargs: Keyword arguments.

    Raises:
        UpdateRejected: The validator refused it, or the arguments do not fit; nothing is recorded.
        UpdateFailed: Its handler raised, or the execution ended before the update did.
        UpdateTimeout: It did not end in time.
        UnknownInstance: There is no instance of this id.
        NotOpen: It has ended, or ended before it accepted the update.
        InTransaction: The caller is inside a transaction, so that no worker can see the request.
        InvalidInput: An argument has no JSON, a name cannot be taken, or the id is that of another update.
        PayloadTooLarge, LimitExceeded: A limit of the settings is reached.
    """
    return _update(instance_id, _request(name, update_id, args, kwargs), timeout)


def _update(instance_id: str, request: ev.UpdateAccepted, timeout: float | None) -> Any:
    patience = Patience(timeout)
    asked_at = _ask(instance_id, request, waits=timeout != 0)
    time.sleep(patience.first(asked_at))
    while store.is_open(instance_id, request.update_id):
        if (pause := patience.pause()) is None:
            break
        time.sleep(pause)
    return _told(instance_id, request, patience.timeout)


async def aupdate(
    instance_id: str,
    name: str,
    /,
    *args: Any,
    update_id: str | None = None,
    timeout: float | None = None,
    **kwargs: Any,
) -> Any:
    """Call an update from async code; see ``update``."""
    request = _request(name, update_id, args, kwargs)
    patience = Patience(timeout)
    asked_at = await sync_to_async(_ask)(instance_id, request, waits=timeout != 0)
    await asyncio.sleep(patience.first(asked_at))
    while await sync_to_async(store.is_open)(instance_id, request.update_id):
        if (pause := patience.pause()) is None:
            break
        await asyncio.sleep(pause)
    return await sync_to_async(_told)(instance_id, request, patience.timeout)


def operate(
    instance_id: str,
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    update_id: str | None = None,
    timeout: float | None = None,
    reason: str = "",
    actor: Any = None,
) -> Any:
    """Do what ``update`` does for an operator: with a row in the audit.

    Raises:
        DurableError: As ``update``. One that did not end in time is done, for the audit: it goes on.
    """
    with audit.audited("update", instance_id, actor=actor, reason=reason, name=name, update_id=update_id):
        try:
            return _update(instance_id, _request(name, update_id, tuple(args), dict(kwargs)), timeout)
        except UpdateTimeout as error:
            late = error
    raise late


def preview(
    instance_id: str, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], *, update_id: str | None = None
) -> Preview:
    """Say whether the code would accept an update as it stands now; it is asked, and nothing is recorded."""
    refusal: DurableError | None = None
    warnings: list[str] = []
    try:
        request = _request(name, update_id, tuple(args), dict(kwargs))
        instance = instances.get(instance_id)
        if instance.status not in OPEN:
            raise NotOpen(instance_id, status=instance.status, verb=f"take update {name!r}")
        warnings += _offered(instance, request)
    except DurableError as error:
        refusal = error
    allowed = refusal is None
    return Preview(verb="update", instance_id=instance_id, allowed=allowed, refusal=refusal, warnings=warnings)


def _offered(instance: Instance, request: ev.UpdateAccepted) -> Iterator[str]:
    """Yield why the code would not take a request now, but may later.

    Raises:
        UpdateRejected: It would refuse it.
    """
    if not instance.head:
        yield "it has not begun yet: the update waits until then"
        return
    try:
        with looking.look(instance) as execution:
            if absent := missing(execution, request.name):
                yield f"{absent}; the update waits until it has"
                return
            try:
                checking.check(execution, request)
            except updates.HARMFUL:
                raise
            except Exception as error:  # noqa: BLE001 - what the workflow's validator raises
                problem = Failure.of(error)
                raise UpdateRejected(instance.pk, request.name, update_id=request.update_id, failure=problem) from None
    except (UnknownWorkflow, VersionNotAvailable, NondeterminismError) as error:
        told = error.without_arguments() if isinstance(error, NondeterminismError) else error
        yield f"whether it would be accepted cannot be told here: {told}"


def registered(instance_id: str) -> dict[str, str]:
    """Return the updates that an instance has now, and how each is called; none if this process cannot tell."""
    instance = instances.get(instance_id)
    if not instance.head or instance.status not in OPEN:
        return {}
    try:
        with looking.look(instance) as execution:
            return {name: str(inspect.signature(each.fn)) for name, each in execution.updates.handlers.items()}
    except DurableError:
        return {}


def _request(name: str, update_id: str | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ev.UpdateAccepted:
    texts.check_name(name, "update(name)")
    if update_id is None:
        update_id = str(uuid.uuid4())
    texts.check_name(update_id, "update(update_id)")
    where = f"update {name}"
    arguments = encode(where, args, kwargs)
    payloads.dumps(arguments, where, conf.limit("payload"))
    return ev.UpdateAccepted(update_id=update_id, name=name, input=arguments)


def _ask(instance_id: str, request: ev.UpdateAccepted, *, waits: bool) -> float:
    """Ask for an update, and return when that was, by the monotonic clock."""
    would_wait = waits and connections[conf.settings.DATABASE].in_atomic_block
    with transaction.atomic(using=conf.settings.DATABASE):
        updates.request(instance_id, request)
        # Afterwards, which undoes it: what could not be asked anyway is told first.
        if would_wait and _find(instance_id, request).ended_at is None:
            raise InTransaction(f"update {request.name!r}")
        # Before the message: where Celery runs tasks where they are sent, the outcome is there after it.
        return time.monotonic()


def _find(instance_id: str, request: ev.UpdateAccepted) -> Update:
    found = store.find(instance_id, request.update_id)
    if found is None:
        instances.get(instance_id)
        raise NotOpen(
            instance_id, status="replaced", verb=f"take update {request.name!r}"
        )  # another one has its id by now
    return found


def _told(instance_id: str, request: ev.UpdateAccepted, timeout: float) -> Any:
    found = _find(instance_id, request)
    if found.ended_at is None:
        raise _too_late(found, timeout)
    return _outcome(found)


def _too_late(found: Update, timeout: float) -> UpdateTimeout:
    instance = instances.get(found.instance_id)
    return UpdateTimeout(
        instance.pk,
        found.name,
        timeout,
        update_id=found.update_id,
        state=found.state,
        status=instance.status,
        registered=_registered(instance) if found.state == State.WAITING else None,
    )


def _registered(instance: Instance) -> list[str] | None:
    """Return the names of the updates that an instance has now; None if this process cannot tell."""
    if not instance.head:
        return []
    try:
        with looking.look(instance) as execution:
            return list(execution.updates.handlers)
    except DurableError:
        return None


def _outcome(found: Update) -> Any:
    failure = Failure.from_json(found.failure or {"type": "UpdateFailed"})
    match found.state:
        case State.COMPLETED:
            return found.result
        case State.REJECTED:
            raise UpdateRejected(found.instance_id, found.name, update_id=found.update_id, failure=failure)
        case State.FAILED:
            raise UpdateFailed(found.instance_id, found.name, update_id=found.update_id, failure=failure)
        case _:
            verb = f"take update {found.name!r}"
            raise NotOpen(found.instance_id, status=found.execution.status, verb=verb, note=_missing(found))


def _missing(found: Update) -> str:
    """Say that the code had no update of this name, if so and if this process can tell."""
    instance = instances.get(found.instance_id)
    if not instance.head:
        return ""
    try:
        with looking.look(instance) as execution:
            return missing(execution, found.name)
    except DurableError:
        return ""
