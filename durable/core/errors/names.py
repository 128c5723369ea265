"""What a name or an id does not lead to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable.core.errors.base import DurableError
from durable.core.errors.telling import bare, nearby, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence


class UnknownInstance(DurableError):
    """No instance has this id."""

    def __init__(self, instance_id: str) -> None:
        self.instance_id = instance_id
        super().__init__(f"no instance has the id {quoted(instance_id)}")


class UnknownExecution(DurableError):
    """The instance has no execution with this id."""

    def __init__(self, instance_id: str, execution_id: str) -> None:
        self.instance_id, self.execution_id = instance_id, execution_id
        super().__init__(f"instance {instance_id!r} has no execution {bare(execution_id)}")


class UnknownEvent(DurableError):
    """The execution has no event with this id."""

    def __init__(self, execution_id: str, event_id: int) -> None:
        self.execution_id, self.event_id = execution_id, event_id
        super().__init__(f"execution {execution_id} has no event with the id {bare(event_id)}")


class UnknownWorkflow(DurableError):
    """No workflow is registered under this name (and version).

    Attributes:
        near: Registered names that look alike.
        instance_id: The instance whose code it is, if there is one.
        queue: The queue of that instance, whose workers have the code.
        app_id: The app that it belongs to, if that is another one.
    """

    def __init__(
        self,
        name: str,
        *,
        version: int | None = None,
        near: Sequence[str] = (),
        instance_id: str = "",
        queue: str = "",
        app_id: str = "",
    ) -> None:
        self.name, self.version, self.near = name, version, tuple(near)
        self.instance_id, self.queue, self.app_id = instance_id, queue, app_id
        what = name if version is None else f"{name} (version {version})"
        whose = f", which belongs to the app {app_id!r}" if app_id else ""
        there = (
            f"; it is the code of {instance_id!r}{whose}: do this where that is installed, as its workers are, "
            f"which serve the queue {queue!r}"
        )
        super().__init__(f"no workflow is registered as {quoted(what)}{nearby(near)}{there if instance_id else ''}")


class UnknownActivity(DurableError):
    """No activity is registered under this name.

    Attributes:
        near: Registered names that look alike.
    """

    def __init__(self, name: str, *, near: Sequence[str] = ()) -> None:
        self.name, self.near = name, tuple(near)
        super().__init__(f"no activity is registered as {quoted(name)}{nearby(near)}")


class UnknownToken(UnknownActivity):
    """No open activity has this token: it was used, or the activity was given up or called off.

    Attributes:
        token: The token.
    """

    def __init__(self, token: str) -> None:
        self.token, self.name, self.near = token, "", ()
        DurableError.__init__(
            self,
            f"no open activity has the token {quoted(token)}: it was used, or the activity was given up or called off",
        )


class AlreadyExists(DurableError):
    """An instance has this id already."""

    def __init__(self, instance_id: str, *, status: str = "") -> None:
        self.instance_id, self.status = instance_id, status
        state = f" and is {status}" if status else ""
        super().__init__(f"an instance with the id {instance_id!r} exists{state}")


class DuplicateName(DurableError):
    """Two definitions claim one name (and version)."""

    def __init__(self, kind: str, name: str, *, first: str, second: str) -> None:
        self.kind, self.name, self.first, self.second = kind, name, first, second
        super().__init__(f"{kind} {name!r} is defined twice: in {first} and in {second}")
