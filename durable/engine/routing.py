"""Versions of new executions: which one they run, and whose workers say so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from durable import conf, registry, telemetry
from durable.core import events as ev
from durable.core.definitions import anything, define_workflow
from durable.core.errors import DurableError, UnknownWorkflow
from durable.core.type_names import type_name
from durable.store import creation, inbox, instances

if TYPE_CHECKING:
    from durable.core.definitions import WorkflowDefinition
    from durable.models import Instance


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a new execution goes.

    Attributes:
        definition: The workflow that it runs. If another app is to say which version that is,
            a stand-in with the name and the version that were asked for.
        app_id: That app; empty is this one.
    """

    definition: WorkflowDefinition
    app_id: str = ""

    @property
    def queue(self) -> str | None:
        """The queue that it has to be on, or None if any will do."""
        return queue_of(self.app_id) if self.app_id else None


def queue_of(app_id: str) -> str:
    """Return the queue of an app, which its own workers serve."""
    return f"durable.{app_id}"


def of(workflow: str | WorkflowDefinition) -> Route:
    """Return where a start of a workflow goes.

    Args:
        workflow: The type name, e.g. ``order2``, or the definition.

    Raises:
        UnknownWorkflow: It is not registered, and belongs to no other app.
    """
    named = workflow if isinstance(workflow, str) else workflow.type_name
    name, version = registry.family(named) if isinstance(workflow, str) else (workflow.name, workflow.version)
    if (app_id := _app(name, version)) is not None:
        return Route(definition=_stand_in(name, version), app_id=app_id)
    if isinstance(workflow, str):
        return Route(definition=_here(named))
    return Route(definition=_latest(workflow.name, workflow.version) or workflow)


def child(asked: ev.ChildScheduled) -> ev.ChildScheduled:
    """Return what the code asks for with the version that the child runs, or the app that is to say which."""
    name, version = asked.name, asked.version or 0
    if (app_id := _app(name, version)) is not None:
        return ev.replace(asked, app_id=app_id)
    latest = _latest(name, version)
    return asked if latest is None else ev.replace(asked, version=latest.version)


def again(instance: Instance, end: ev.ExecutionContinued) -> dict[str, Any]:
    """Return what changes of an instance that continues as new: nothing if signals go with it that nobody has read."""
    changes = {} if end.carried else _changes(instance, end)
    return {} if changes and inbox.has_signals(instance.execution_id) else changes


def _changes(instance: Instance, end: ev.ExecutionContinued) -> dict[str, Any]:
    if (app_id := _app(instance.name, instance.version)) is not None:
        return {"app_id": app_id, "queue": queue_of(app_id), "options": {**instance.options, "resolve": True}}
    latest = _latest(instance.name, instance.version)
    if latest is None or latest.version == instance.version:
        return {}
    try:
        latest.signature.unbind(end.input, conf.converter())
    except DurableError as error:
        telemetry.logger.warning("%s stays on version %d: %s", instance.pk, instance.version, error)
        return {}
    return {"version": latest.version}


def resolve(instance: Instance) -> None:
    """Say which version an instance runs that another app left to this one; nothing to do for any other.

    Raises:
        UnknownWorkflow: This process does not know it.
    """
    if not instance.options.get("resolve"):
        return
    definition = _here(type_name(instance.name, instance.version))
    given = {name: value for name, value in instance.options.items() if name != "resolve"}
    instance.options = creation.with_defaults(definition, given)
    instance.name, instance.version = definition.name, definition.version
    values = {"name": instance.name, "version": instance.version, "options": instance.options}
    instances.rows().filter(pk=instance.pk).update(**values)
    run = {"name": instance.name, "version": instance.version}
    instances.executions().filter(pk=instance.execution_id).update(**run)
    if "timeout" not in given:
        creation.limit_time(instance)


def _here(named: str) -> WorkflowDefinition:
    return _latest(*registry.family(named)) or registry.workflow_type(named)


def _latest(name: str, version: int) -> WorkflowDefinition | None:
    """Return the version that this process routes a type to; None if it runs as it is named."""
    versioning = conf.settings.VERSIONING
    if versioning is None or _covered(versioning.get("EXCLUDE_TYPES", ()), name, version) is not None:
        return None
    try:
        return registry.latest(name)
    except UnknownWorkflow:
        return None  # its code may be elsewhere


def _app(name: str, version: int) -> str | None:
    """Return the app that a type belongs to by the settings; None if it is this one."""
    versioning = conf.settings.VERSIONING or {}
    if _covered(versioning.get("EXCLUDE_TYPES", ()), name, version) is not None:
        return None
    apps: dict[str, str] = versioning.get("MAP_MULTI_APP_TYPES", {})
    found = _covered(apps, name, version)
    return None if found is None else apps[found]


def _covered(types: Any, name: str, version: int) -> str | None:
    """Return which of some type names stands for a type: its own, or that of all versions."""
    return next((named for named in (type_name(name, version), name) if named in types), None)


def _stand_in(name: str, version: int) -> WorkflowDefinition:
    return define_workflow(anything, name=name, version=version)
