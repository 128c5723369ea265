"""Start instances, in the caller's transaction."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.db import IntegrityError, transaction

from durable import conf, dispatch, registry
from durable.client.handle import Handle
from durable.core import payloads, texts
from durable.core.definitions import workflow_options
from durable.core.errors import AlreadyExists, LimitExceeded
from durable.engine import intercepting
from durable.interceptors import StartCall
from durable.models import CLOSED, Instance
from durable.store import creation, inbox, instances, updates

if sys.version_info >= (3, 14):
    from uuid import uuid7
else:
    from uuid6 import uuid7

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from durable.core.definitions import WorkflowDefinition


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
    definition = registry.workflow_type(workflow) if isinstance(workflow, str) else workflow
    first = options.pop("signal", None)
    checked = {**definition.overrides, **workflow_options(definition.type_name, **options)}
    return _start(definition, tuple(args), dict(kwargs or {}), checked, first)


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
    return _start(definition, args, kwargs, definition.overrides, None)


def _start(
    definition: WorkflowDefinition,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: dict[str, Any],
    signal: tuple[str, Any] | None,
) -> Handle:
    arguments = definition.signature.bind(args, kwargs, conf.converter())
    where = f"input of {definition.type_name}"
    payloads.dumps(arguments, where, conf.limit("payload"))
    instance_id = options.get("id")
    if instance_id is None:
        instance_id = new_id()
    texts.check_id(instance_id)
    tags = encode_tags(options.get("tags", {}))
    queue = options.get("queue") or definition.queue or conf.settings.QUEUE

    def newborn(generation: int, headers: dict[str, Any]) -> creation.Newborn:
        return creation.new(
            instance_id=instance_id,
            name=definition.name,
            version=definition.version,
            arguments=arguments,
            queue=queue,
            tags=tags,
            options=creation.with_defaults(definition, options),
            headers=headers,
            generation=generation,
        )

    def begin(headers: dict[str, Any]) -> Handle:
        existing = instances.find_locked(instance_id) or _insert(newborn(0, headers))
        if existing is not None:
            if not _replaces(existing, definition, options.get("id_reuse", "reject")):
                return _signaled(Handle(existing.pk), signal)
            if existing.has_updates:
                updates.forget(existing.pk)
            _replace(newborn(instances.executions().filter(instance=existing).count(), headers))
        if not options.get("delay"):
            dispatch.advance_on_commit(queue, instance_id)
        return _signaled(Handle(instance_id), signal)

    call = StartCall(
        instance_id=instance_id, workflow=definition.type_name, queue=queue, headers=dict(options.get("headers", {}))
    )
    with transaction.atomic(using=conf.settings.DATABASE):
        return intercepting.start(call, begin)


def new_id() -> str:
    """Return an id for an instance; later ones sort behind earlier ones."""
    return str(uuid7())


def _signaled(handle: Handle, signal: tuple[str, Any] | None) -> Handle:
    if signal is not None:
        handle.signal(*signal)
    return handle


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


def _replaces(existing: Instance, definition: WorkflowDefinition, reuse: str) -> bool:
    """Say whether a new execution is to take an existing instance's id; False is to return it as it is."""
    if reuse == "return_existing" and existing.name == definition.name:
        return False
    if reuse == "replace_closed" and existing.status in CLOSED:
        return True
    raise AlreadyExists(existing.pk, status=existing.status)


def _replace(newborn: creation.Newborn) -> None:
    """Begin a new execution in a closed instance; its old executions stay."""
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
    checked: dict[str, Any] = texts.check_plain(encoded, "tags")
    return checked
