"""Start instances, in the caller's transaction."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.db import IntegrityError, connections, transaction

from durable import conf, dispatch, registry
from durable.client.handle import Handle
from durable.core import given, payloads, texts
from durable.core.definitions import WorkflowDefinition
from durable.core.errors import AlreadyExists, InvalidInput, LimitExceeded
from durable.core.errors.telling import quoted
from durable.core.options import workflow_options
from durable.engine import intercepting, routing
from durable.interceptors import StartCall
from durable.models import CLOSED, Instance
from durable.operations import audit
from durable.store import births, creation, inbox, instances, tasks, turns, updates

if sys.version_info >= (3, 14):
    from uuid import uuid7
else:
    from uuid6 import uuid7

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence


def start(
    workflow: str | WorkflowDefinition,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    **options: Any,
) -> Handle:
    """Start an instance of a workflow; both it and the caller's writes are committed, or neither.

    Args:
        workflow: The type name, e.g. ``order2``, or the definition.
        args: Positional arguments.
        kwargs: Keyword arguments.
        options: As for ``wf.options``: ``id queue tags headers delay timeout id_reuse
            retry``; and ``signal=(name, payload)``, sent with the start.

    Raises:
        UnknownWorkflow: It is not registered; the error offers near names.
        InvalidInput: The arguments do not fit, or an option cannot be taken.
        InvalidId: The id cannot be taken.
        AlreadyExists: The id is in use.
        PayloadTooLarge, LimitExceeded: A limit of the settings is reached.
    """
    if not isinstance(workflow, str | WorkflowDefinition):
        raise InvalidInput("start(workflow)", f"{quoted(workflow)} is no workflow; mark it with @workflow.defn")
    if isinstance(args, str | bytes | Mapping) or not isinstance(args, Iterable):
        raise InvalidInput("start(args)", f"give a list of arguments, such as [{quoted(args)}]")
    named = given.named(kwargs, "start(kwargs)")
    route = routing.of(workflow)
    first = _first_signal(options.pop("signal", None))
    overrides = {} if isinstance(workflow, str) else workflow.overrides
    checked = {**overrides, **workflow_options(route.definition.type_name, **options)}
    return _start(route, tuple(args), named, checked, first)


def _first_signal(signal: Any) -> tuple[str, Any] | None:
    if signal is None:
        return None
    if not isinstance(signal, tuple | list) or not 1 <= len(signal) <= 2:
        raise given.unfit(signal, "start(signal)", "a tuple of the name and the payload")
    name, *payload = signal
    return name, payload[0] if payload else None


def operate(
    workflow: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    id: str | None = None,
    reason: str = "",
    actor: Any = None,
    **options: Any,
) -> Handle:
    """Do what ``start`` does for an operator: with a row in the audit, and a look at what came as JSON.

    Raises:
        InvalidInput: The arguments do not fit the annotations, which a caller in Python would see to; or it is a
            workflow of our own, for which there are verbs.
        DurableError: As ``start``.
    """
    chosen = new_id() if id is None else id
    with audit.audited("start", chosen, actor=actor, reason=reason, atomic=True, workflow=workflow):
        definition = registry.workflow_type(workflow)
        if definition.name.startswith(registry.OURS):
            # What a batch may do is checked as it is begun, not by what it is told.
            raise InvalidInput("workflow", f"{workflow} is not to be started so; client.batch begins it")
        definition.signature.fits({"args": list(args), "kwargs": dict(kwargs)}, conf.converter())
        return start(workflow, args, dict(kwargs), id=chosen, **options)


async def astart(
    workflow: str | WorkflowDefinition,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    **options: Any,
) -> Handle:
    """Start an instance from async code; see ``start``."""
    handle: Handle = await sync_to_async(start)(workflow, args, kwargs, **options)
    return handle


def start_definition(definition: WorkflowDefinition, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Handle:
    """Start an instance of a definition with the options that it carries."""
    return _start(routing.of(definition), args, kwargs, definition.overrides, None)


def _start(
    route: routing.Route,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: dict[str, Any],
    signal: tuple[str, Any] | None,
) -> Handle:
    definition = route.definition
    arguments = definition.signature.bind(args, kwargs, conf.converter())
    where = f"input of {definition.type_name}"
    payloads.dumps(arguments, where, conf.limit("payload"))
    chosen = options.get("id")
    instance_id = new_id() if chosen is None else chosen
    texts.check_id(instance_id)
    beginning = Beginning(
        definition=definition,
        instance_id=instance_id,
        is_new=chosen is None,
        arguments=arguments,
        queue=route.queue or options.get("queue") or definition.queue or conf.settings.QUEUE,
        app_id=route.app_id,
        tags=encode_tags(options.get("tags", {})),
        options={**options, "resolve": True} if route.app_id else options,
        signal=signal,
    )
    if _is_one_statement(beginning):
        return begin(beginning)
    with transaction.atomic(using=conf.settings.DATABASE):
        return begin(beginning)


def _is_one_statement(beginning: Beginning) -> bool:
    """Say whether all that a start writes is one statement, if its id is free: that needs no transaction."""
    if beginning.signal is not None or intercepting.is_watched("start") or not turns.in_one_statement():
        return False
    connection = connections[conf.settings.DATABASE]
    return connection.in_atomic_block or connection.get_autocommit()


def new_id() -> str:
    """Return an id for an instance; later ones sort behind earlier ones."""
    return str(uuid7())


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """An instance that is to be started, with everything as plain JSON.

    Attributes:
        arguments: ``{"args": [...], "kwargs": {...}}``.
        options: ``id_reuse headers delay timeout retry``.
        signal: The name and payload of a signal that is sent with the start.
        rerun_from: The instance that it begins like, if there is one.
        source: The execution that it begins like.
        app_id: The app that it belongs to, if not to this one.
        is_new: Whether the id was made just now, so that no instance can have it.
    """

    definition: WorkflowDefinition
    instance_id: str
    arguments: dict[str, Any]
    queue: str
    tags: dict[str, Any]
    options: dict[str, Any]
    signal: tuple[str, Any] | None = None
    rerun_from: str | None = None
    attempt: int = 0
    source: uuid.UUID | None = None
    app_id: str = ""
    is_new: bool = False

    def rows(self, headers: dict[str, Any], *, generation: int = 0) -> creation.Newborn:
        """Return the rows, not saved."""
        return creation.new(
            instance_id=self.instance_id,
            name=self.definition.name,
            version=self.definition.version,
            arguments=self.arguments,
            queue=self.queue,
            tags=self.tags,
            options=creation.with_defaults(self.definition, self.options),
            headers=headers,
            generation=generation,
            rerun_from=self.rerun_from,
            attempt=self.attempt,
            source=self.source,
            app_id=self.app_id,
        )


def begin(beginning: Beginning) -> Handle:
    """Start an instance within the interceptors' hooks, in the transaction at hand if there is one.

    Raises:
        AlreadyExists: The id is in use.
        InvalidInput, PayloadTooLarge: An interceptor's headers cannot be stored.
    """

    def insert(headers: dict[str, Any]) -> Handle:
        newborn = beginning.rows(headers)
        is_begun = _is_stored(beginning, newborn) or _takes_over(beginning, newborn, headers)
        # Before the message: where Celery runs tasks where they are sent, the result is there after it.
        handle = Handle(beginning.instance_id, asked_at=time.monotonic() if is_begun else None)
        if is_begun and not beginning.options.get("delay"):
            dispatch.advance_on_commit(beginning.queue, beginning.instance_id)
        if beginning.signal is not None:
            handle.signal(*beginning.signal)
        return handle

    call = StartCall(
        instance_id=beginning.instance_id,
        workflow=beginning.definition.type_name,
        queue=beginning.queue,
        headers=dict(beginning.options.get("headers", {})),
    )
    return intercepting.start(call, insert)


def _is_stored(beginning: Beginning, newborn: creation.Newborn) -> bool:
    """Store a new instance, if that can be said without an error of the database; say whether it is stored."""
    if turns.in_one_statement():
        return bool(births.store([newborn]))
    if beginning.is_new:
        creation.insert([newborn])
    return beginning.is_new


def _takes_over(beginning: Beginning, newborn: creation.Newborn, headers: dict[str, Any]) -> bool:
    """Store an instance whose id may be in use; say whether it is to be told, which one left as it is is not."""
    with transaction.atomic(using=conf.settings.DATABASE):
        existing = instances.find_locked(beginning.instance_id) or _insert(newborn)
        if existing is None:
            return True
        if not replaces(existing, beginning.definition, beginning.options.get("id_reuse", "reject")):
            return False
        _replace(beginning, headers, existing)
        return True


def _insert(newborn: creation.Newborn) -> Instance | None:
    """Store a new instance, or return, locked, the one that somebody else was quicker to start."""
    try:
        # A savepoint: the caller's transaction survives that somebody else was quicker.
        with transaction.atomic(using=conf.settings.DATABASE):
            creation.insert([newborn])
    except IntegrityError:
        quicker = instances.find_locked(newborn.instance.pk)
        if quicker is None:
            raise
        return quicker
    return None


def replaces(existing: Instance, definition: WorkflowDefinition, reuse: str) -> bool:
    """Say whether a new execution is to take an existing instance's id; False is to return it as it is.

    Raises:
        AlreadyExists: Neither, as ``id_reuse`` says.
    """
    if reuse == "return_existing" and existing.name == definition.name:
        return False
    if reuse == "replace_closed" and existing.status in CLOSED:
        return True
    raise AlreadyExists(existing.pk, status=existing.status)


def _replace(beginning: Beginning, headers: dict[str, Any], existing: Instance) -> None:
    """Begin a new execution in a closed instance; its old executions stay."""
    if existing.has_updates:
        updates.forget(existing.pk)
    tasks.drop_external(existing.execution_id)
    before = instances.executions().filter(instance=existing).count()
    newborn = beginning.rows(headers, generation=before)
    newborn.instance.save(using=conf.settings.DATABASE, force_update=True)
    newborn.execution.save(using=conf.settings.DATABASE, force_insert=True)
    inbox.insert(newborn.inbox)


def encode_tags(tags: dict[str, Any]) -> dict[str, Any]:
    """Return tags as plain JSON.

    Raises:
        LimitExceeded, InvalidInput: There are too many, or one cannot be stored.
    """
    if len(tags) > conf.limit("tags"):
        raise LimitExceeded("tags", value=len(tags), maximum=conf.limit("tags"))
    converter = conf.converter()
    encoded = {texts.check_name(name, "name of a tag"): converter.encode(v, f"tag {name}") for name, v in tags.items()}
    payloads.dumps(encoded, "tags", conf.limit("payload"))
    checked: dict[str, Any] = texts.check_plain(encoded, "tags")
    return checked
