"""The children that a turn starts, and those that it gives up on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import IntegrityError

from durable import registry
from durable.core import events as ev
from durable.core import texts
from durable.core.errors import AlreadyExists, ConcurrencyConflict, DurableError, InvalidId, UnknownWorkflow
from durable.core.type_names import type_name
from durable.engine import intercepting, routing
from durable.interceptors import StartCall
from durable.models import OPEN, InboxEvent, Instance
from durable.store import creation, inbox, instances

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable.core.definitions import WorkflowDefinition


class Children:
    """What becomes of an instance's children in a turn.

    Attributes:
        born: The rows of new ones, not saved, by id.
    """

    def __init__(self, parent: Instance) -> None:
        self.born: dict[str, creation.Newborn] = {}
        self._parent = parent
        self._taken: set[str] = set()
        self._replaced: dict[str, int] = {}

    def look_up(self, wanted: Sequence[ev.ChildScheduled]) -> None:
        """See which ids of children that are to be started are in use."""
        ids = [child.instance_id for child in wanted]
        taken = set(instances.rows().filter(pk__in=ids).order_by().values_list("pk", flat=True)) if ids else set()
        if taken:
            self._replaced |= creation.left_behind(self._parent, taken)
        self._taken = taken - set(self._replaced)

    def refusal(self, child_id: str) -> DurableError | None:
        """Return why there can be no new child of this id; None if there can."""
        if child_id in self.born or child_id in self._taken:
            return AlreadyExists(child_id)
        try:
            texts.check_id(child_id)  # a default one grows with the depth of the tree
        except InvalidId as error:
            return error
        return None

    def start(self, child: ev.ChildScheduled) -> creation.Newborn:
        """Make the rows of a new child, within the interceptors' hooks, and return them."""
        definition = None if child.app_id else _registered(child)
        name, version = (definition.name, definition.version) if definition else (child.name, child.version or 0)
        queue = child.options.get("queue") or (definition and definition.queue) or self._parent.queue
        options = child.options
        if child.app_id:
            queue, options = routing.queue_of(child.app_id), {**options, "resolve": True}
        parent = creation.Parent(
            instance_id=self._parent.pk, execution_id=self._parent.execution_id, event_id=child.event_id
        )
        call = StartCall(
            instance_id=child.instance_id,
            workflow=type_name(name, version),
            queue=queue,
            headers={**(self._parent.headers or {}), **child.options.get("headers", {})},
            parent_id=parent.instance_id,
            parent_execution_id=str(parent.execution_id),
        )
        born = intercepting.start(
            call,
            lambda headers: creation.new(
                instance_id=child.instance_id,
                name=name,
                version=version,
                arguments=child.input,
                queue=queue,
                app_id=child.app_id,
                tags=child.tags,
                options=creation.with_defaults(definition, options),
                headers=headers,
                generation=self._replaced.get(child.instance_id, 0),
                parent=parent,
            ),
        )
        self.born[child.instance_id] = born
        return born

    def cancel(self, child: ev.ChildScheduled, *, by_parent: bool) -> tuple[Instance, InboxEvent] | None:
        """Return a child that nobody waits for any more, and the row, not saved, that says so; None if it ended.

        Args:
            child: As it was asked for.
            by_parent: Whether that is since the parent is canceled: a rewind takes back what was not read yet.
        """
        born = self.born.get(child.instance_id)
        found = born.instance if born else instances.rows().filter(pk=child.instance_id, status__in=OPEN).first()
        if found is None:
            return None
        reason = f"the parent {self._parent.pk} does not wait for it any more"
        return found, inbox.row(found.execution_id, ev.CancelRequested(reason=reason, by_parent=by_parent))

    def store(self) -> None:
        """Store new children, in the transaction at hand.

        Raises:
            ConcurrencyConflict: An id was taken since it was looked up; all is to be rolled back.
        """
        try:
            # In the order of their ids, as turns taken together do: who waits for one has none that the other wants.
            creation.insert([born for pk, born in sorted(self.born.items()) if pk not in self._replaced])
        except IntegrityError as error:
            raise ConcurrencyConflict(self._parent.pk, expected=self._parent.head) from error
        for born in (born for pk, born in self.born.items() if pk in self._replaced):
            creation.replace(born)


def _registered(child: ev.ChildScheduled) -> WorkflowDefinition | None:
    """Return the workflow that a child runs, if this process knows it."""
    name, version = child.name, child.version or 0
    try:
        # Its own name first: "order2" may be a name as well.
        return registry.find_workflow(name, version) or registry.workflow_type(type_name(name, version))
    except UnknownWorkflow:
        return None
