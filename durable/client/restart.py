"""Restart: a new instance with what an old one was started with."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, overload

from durable import conf, registry
from durable.client import performing
from durable.client.start import Beginning, begin, new_id, replaces
from durable.core import events as ev
from durable.core import texts
from durable.core.errors import NotClosed, UnknownWorkflow
from durable.core.options import workflow_options
from durable.core.type_names import type_name
from durable.engine import routing
from durable.models import OPEN, Execution
from durable.operations import control, elsewhere
from durable.operations.beginning import refuse_batch
from durable.operations.shapes import Preview, Step
from durable.store import history, instances

if TYPE_CHECKING:
    import uuid

    from durable.client.handle import Handle
    from durable.models import Instance

_ASKED = tuple(name for name, kind in ev.KINDS.items() if issubclass(kind, ev.Asked))

_STARTS = (Execution.Origin.START, Execution.Origin.RERUN)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a restart makes.

    Attributes:
        source: The instance that it begins like.
        ended: What ending that first does, if it is open.
        existing: The instance that has the id already.
        replaces: Whether that gives way; else it is returned as it is.
    """

    source: Instance
    beginning: Beginning
    ended: control.Plan | None
    existing: Instance | None
    replaces: bool = False


@overload
def restart(
    instance_id: str,
    *,
    new_instance_id: str | None = None,
    id_reuse: str = "reject",
    terminate_first: bool = False,
    version: int | None = None,
    reason: str = "",
    actor: Any = None,
    dry_run: Literal[False] = False,
) -> Handle: ...
@overload
def restart(
    instance_id: str,
    *,
    new_instance_id: str | None = None,
    id_reuse: str = "reject",
    terminate_first: bool = False,
    version: int | None = None,
    reason: str = "",
    actor: Any = None,
    dry_run: bool,
) -> Handle | Preview: ...
def restart(
    instance_id: str,
    *,
    new_instance_id: str | None = None,
    id_reuse: str = "reject",
    terminate_first: bool = False,
    version: int | None = None,
    reason: str = "",
    actor: Any = None,
    dry_run: bool = False,
) -> Handle | Preview:
    """Start a new instance with the input, tags, queue, headers and limits of another one; that stays as it is.

    Args:
        instance_id: The instance to begin like.
        new_instance_id: The new instance's id; None is a new uuid, or, with ``replace_closed``, the same id.
        id_reuse: What to do if the id is taken, as at a start: ``replace_closed`` begins a new execution in the
            closed instance that has it.
        terminate_first: Whether to terminate an open one; else it is refused.
        version: The version of the workflow; None is what a start of the recorded one would run.
        reason: Why; recorded.
        actor: Who asks for it: a user, a name, or None for the system.
        dry_run: Whether to return a Preview and change nothing.

    Raises:
        UnknownInstance: There is none of this id.
        NotClosed: It is still open.
        UnknownWorkflow, VersionNotAvailable: This process does not have the code.
        InvalidInput: The input does not fit the code at hand, or an option cannot be taken; or it is a batch.
        InvalidId: The new id cannot be one.
        AlreadyExists: The new id is taken.
    """
    done: Handle | Preview = performing.perform(
        "restart",
        instance_id,
        plan=lambda: _plan(
            instance_id,
            new_instance_id=new_instance_id,
            id_reuse=id_reuse,
            terminate_first=terminate_first,
            version=version,
        ),
        preview=_preview,
        carry_out=partial(_carry_out, reason=reason),
        actor=actor,
        reason=reason,
        dry_run=dry_run,
        new_instance_id=new_instance_id,
        id_reuse=id_reuse,
        terminate_first=terminate_first,
        version=version,
    )
    return done


def _plan(
    instance_id: str, *, new_instance_id: str | None, id_reuse: str, terminate_first: bool, version: int | None
) -> Plan:
    source = instances.lock(instance_id)
    refuse_batch(source)
    is_open = source.status in OPEN
    if is_open and not terminate_first:
        raise NotClosed(instance_id, status=source.status, verb="restart it, or say terminate_first")
    with elsewhere.telling(source):
        route = _route(source, version)
    definition = route.definition
    definition.signature.unbind(source.input, conf.converter())
    checked = workflow_options(definition.type_name, id_reuse=id_reuse)
    chosen = new_instance_id
    if chosen is None:
        chosen = source.pk if id_reuse == "replace_closed" else new_id()
    texts.check_id(chosen)
    existing = instances.find_locked(chosen)
    gives_way = is_open and chosen == source.pk and id_reuse == "replace_closed"  # it will be closed by then
    return Plan(
        source=source,
        beginning=_beginning(source, route, chosen, checked),
        ended=control.ends(source) if is_open else None,
        existing=existing,
        replaces=existing is not None and (gives_way or replaces(existing, definition, id_reuse)),
    )


def _route(source: Instance, version: int | None) -> routing.Route:
    if version is None:
        with suppress(UnknownWorkflow):
            known = registry.find_workflow(source.name, source.version)
            return routing.of(known or type_name(source.name, source.version))
        version = source.version
    return routing.Route(definition=registry.workflow(source.name, version))


def _beginning(source: Instance, route: routing.Route, chosen: str, options: dict[str, Any]) -> Beginning:
    started = history.first(_first_execution(source))
    kept = {name: value for name, value in source.options.items() if name not in ("parent_close", "resolve")}
    is_new = chosen != source.pk
    return Beginning(
        definition=route.definition,
        instance_id=chosen,
        # As it is stored: what was encoded once is not decoded and encoded again.
        arguments=source.input,
        queue=route.queue or source.queue,
        app_id=route.app_id,
        tags=source.tags if started is None else started.tags,
        options={**kept, **options, **({"resolve": True} if route.app_id else {}), "headers": source.headers or {}},
        rerun_from=source.pk if is_new else source.rerun_from,
        attempt=source.attempt + 1,
        source=source.execution_id,
    )


def _first_execution(source: Instance) -> uuid.UUID:
    """Return the id of the execution that an instance was started with: later ones begin with its tags of then."""
    executions = instances.executions().filter(instance=source).values_list("pk", "origin", "source_id")
    known = {pk: None if origin in _STARTS else before for pk, origin, before in executions}
    found = source.execution_id
    while (before := known.get(found)) is not None:
        found = before
    return found


def _carry_out(planned: Plan, *, reason: str) -> Handle:
    if planned.ended is not None:
        control.terminate(planned.ended, reason=reason)
    return begin(planned.beginning)


def _preview(planned: Plan) -> Preview:
    source, beginning = planned.source, planned.beginning
    steps = history.outline(source.execution_id, _ASKED)
    signals = history.outline(source.execution_id, [ev.SignalReceived.__name__])
    warnings = []
    if planned.ended is not None:
        warnings.append(f"it is {source.status}, and is terminated first")
    if planned.existing is not None:
        kept = "begins a new execution, and keeps the old ones" if planned.replaces else "is returned as it is"
        warnings.append(f"instance {planned.existing.pk} {kept}")
    if source.parent_id is not None:
        warnings.append(f"it is a child of {source.parent_id}, the new instance is nobody's: its result goes nowhere")
    return Preview(
        verb="restart",
        instance_id=source.pk,
        allowed=True,
        version=beginning.definition.version,
        dropped=[
            Step(event_id=event_id, kind=kind, name=name) for kind, event_id, name in steps if event_id is not None
        ],
        signals_dropped=[name for _, _, name in signals],
        children=[] if planned.ended is None else [control.preview(planned.ended)],
        warnings=warnings,
    )
