"""The workflows and activities that this process knows, by name."""

from __future__ import annotations

import inspect
from difflib import get_close_matches
from typing import TYPE_CHECKING

from durable.core.errors import DuplicateName, UnknownActivity, UnknownWorkflow, VersionNotAvailable
from durable.core.type_names import split_version

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable.core.definitions import ActivityDefinition, WorkflowDefinition

OURS = "durable."
"""How the names begin of the workflows that come with this package."""

_workflows: dict[str, dict[int, WorkflowDefinition]] = {}
_activities: dict[str, ActivityDefinition] = {}


def add_workflow(definition: WorkflowDefinition) -> None:
    """Make a workflow known.

    Raises:
        DuplicateName: Another function has its name and version, or a name and version that read the same, as
            version 3 of ``order`` and version 0 of ``order3`` do.
    """
    type_name, identity = definition.type_name, (definition.name, definition.version)
    for known in workflows():
        is_other = (known.name, known.version) != identity or _place(known) != _place(definition)
        if known.type_name == type_name and is_other:
            raise DuplicateName("workflow", type_name, first=_place(known), second=_place(definition))
    _workflows.setdefault(definition.name, {})[definition.version] = definition


def add_activity(definition: ActivityDefinition) -> None:
    """Make an activity known.

    Raises:
        DuplicateName: Another function has its name, or the same method of another object.
    """
    known = _activities.get(definition.name)
    if known is not None and _place(known) != _place(definition):
        raise DuplicateName("activity", definition.name, first=_place(known), second=_place(definition))
    if known is not None and _object(known) is not _object(definition):
        second = f"{_place(definition)}, of another object"
        raise DuplicateName("activity", definition.name, first=_place(known), second=second)
    _activities[definition.name] = definition


def workflow(name: str, version: int) -> WorkflowDefinition:
    """Return the workflow of this name and version.

    Raises:
        UnknownWorkflow: The name is not known.
        VersionNotAvailable: The name is known, the version is not.
    """
    versions = _workflows.get(name)
    if not versions:
        raise UnknownWorkflow(name, near=get_close_matches(name, workflow_types()))
    if version not in versions:
        raise VersionNotAvailable(name, version, registered=versions)
    return versions[version]


def find_workflow(name: str, version: int) -> WorkflowDefinition | None:
    """Return the workflow of this name and version, or None if it is not known."""
    return _workflows.get(name, {}).get(version)


def latest(name: str) -> WorkflowDefinition:
    """Return the latest version of a workflow.

    Raises:
        UnknownWorkflow: The name is not known; the error offers names that look alike.
    """
    versions = _workflows.get(name)
    if not versions:
        raise UnknownWorkflow(name, near=get_close_matches(name, workflow_types()))
    return versions[max(versions)]


def workflow_type(type_name: str) -> WorkflowDefinition:
    """Return the workflow of this type name, e.g. ``order2``.

    Raises:
        UnknownWorkflow: It is not known; the error offers names that look alike.
    """
    name, version = split_version(type_name)
    # A definition may give name and version apart, so "order2" may also be a name of its own.
    found = _workflows.get(type_name, {}).get(0) or _workflows.get(name, {}).get(version)
    if found is None:
        raise UnknownWorkflow(type_name, near=get_close_matches(type_name, workflow_types()))
    return found


def family(type_name: str) -> tuple[str, int]:
    """Split a type name, whether known or not, into a workflow's name and version."""
    return (type_name, 0) if type_name in _workflows else split_version(type_name)


def activity(name: str) -> ActivityDefinition:
    """Return the activity of this name.

    Raises:
        UnknownActivity: It is not known; the error offers names that look alike.
    """
    if name not in _activities:
        raise UnknownActivity(name, near=get_close_matches(name, _activities))
    return _activities[name]


def workflow_types() -> list[str]:
    """Return all type names."""
    return sorted(definition.type_name for definition in workflows())


def workflows() -> Iterator[WorkflowDefinition]:
    """Yield every workflow."""
    for versions in _workflows.values():
        yield from versions.values()


def activities() -> Iterator[ActivityDefinition]:
    """Yield every activity."""
    yield from _activities.values()


def unregister_workflow(name: str, version: int) -> None:
    """Forget a workflow, for tests; it need not be known."""
    versions = _workflows.get(name, {})
    versions.pop(version, None)
    if not versions:
        _workflows.pop(name, None)


def unregister_activity(name: str) -> None:
    """Forget an activity, for tests; it need not be known."""
    _activities.pop(name, None)


def _object(definition: ActivityDefinition) -> object:
    """Return the object whose method it is, which is its state; None for a function."""
    return getattr(definition.fn, "__self__", None)


def _place(definition: WorkflowDefinition | ActivityDefinition) -> str:
    code = getattr(inspect.unwrap(definition.fn), "__code__", None)
    where = f" ({code.co_filename}:{code.co_firstlineno})" if code else ""
    return f"{definition.fn.__module__}.{definition.fn.__qualname__}{where}"
