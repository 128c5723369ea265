"""Interceptors: code of the project's own around starts, signals, turns, activities and ends."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from durable import conf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from durable import activity
    from durable.core import events as ev
    from durable.core.spans import Span

    Hook = Callable[[Any], AbstractContextManager[None]]

__all__ = ["EndCall", "Interceptor", "SignalCall", "StartCall", "TurnCall"]

T = TypeVar("T")

HOOKS = ("start", "signal", "turn", "activity", "end")


@dataclass(frozen=True, slots=True, kw_only=True)
class StartCall:
    """An instance is to be started.

    Attributes:
        workflow: The type name, e.g. ``order2``.
        headers: What it is to carry along; a hook may change them before it yields.
            A child's begin as its parent's.
        parent_id, parent_execution_id: Who starts it, if it is a child.
    """

    instance_id: str
    workflow: str
    queue: str
    headers: dict[str, Any]
    parent_id: str | None = None
    parent_execution_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalCall:
    """An instance is to be signaled.

    Attributes:
        instance_id: Whom the signal is for.
        name: The signal's name.
        headers: What it is to carry along; a hook may change them before it yields.
            Those of a signal from a workflow begin as the workflow's.
        sender_id: The instance whose workflow sends it, or None.
    """

    instance_id: str
    name: str
    headers: dict[str, Any]
    sender_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Execution:
    instance_id: str
    execution_id: str
    workflow: str
    queue: str
    headers: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnCall(_Execution):
    """A turn of an instance.

    Attributes:
        workflow: The type name, e.g. ``order2``.
        headers: What the instance carries along.
        head: How many events the history had before.
        events: What came in; known once the turn is taken, after the hook has yielded.
        spans: What ended in the workflow's code; likewise.
    """

    head: int
    events: list[ev.Event] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndCall(_Execution):
    """The end of an execution.

    Attributes:
        workflow: The type name, e.g. ``order2``.
        headers: What the instance carries along.
        end: The event that ends it.
        started_at, ended_at: In seconds since 1970, by the database's clock.
    """

    end: ev.End
    started_at: float
    ended_at: float


class Interceptor:
    """Code around what happens to instances: override the hooks that matter.

    Each is a context manager, entered before and left after what it is around,
    in the same thread and context. It sees the error of what it is around; it
    may raise another one in its place, but it cannot make it undone. An object
    is made once a process and serves all threads.
    """

    @contextmanager
    def start(self, call: StartCall) -> Iterator[None]:
        """Wrap the start of an instance: at the client, or in the turn of the parent.

        Raises:
            Exception: Nothing is written, and the caller gets it; the parent's turn fails.
        """
        yield

    @contextmanager
    def signal(self, call: SignalCall) -> Iterator[None]:
        """Wrap the sending of a signal: at the client, or in the worker that sends a workflow's.

        Raises:
            Exception: Nothing is written, and the caller gets it; a workflow's signal is sent again.
        """
        yield

    @contextmanager
    def turn(self, call: TurnCall) -> Iterator[None]:
        """Wrap a turn, within its transaction: what came in is applied, and what follows is stored.

        Raises:
            Exception: Nothing is written, and the turn counts as failed.
        """
        yield

    @contextmanager
    def activity(self, call: activity.Info) -> Iterator[None]:
        """Wrap an attempt of an activity, ``async def`` ones as well; what is set in the context, it sees.

        Raises:
            Exception: The attempt fails with it.
        """
        yield

    @contextmanager
    def end(self, call: EndCall) -> Iterator[None]:
        """Wrap the end of an execution, within the transaction that stores it.

        Raises:
            Exception: Nothing is written, and the turn counts as failed, or the caller gets it.
        """
        yield


_hooks: dict[str, tuple[Hook, ...]] = {}


def hooks(name: str) -> tuple[Hook, ...]:
    """Return the hooks of this name that anybody overrides, outermost first."""
    chain = _hooks.get(name)
    if chain is None:
        made = _of_settings()
        _hooks.update(made)
        chain = made[name]
    return chain


def _of_settings() -> dict[str, tuple[Hook, ...]]:
    made = [import_string(path)() for path in conf.settings.INTERCEPTORS]
    return {
        name: tuple(getattr(each, name) for each in made if getattr(type(each), name) is not getattr(Interceptor, name))
        for name in HOOKS
    }


def _forget(*, setting: str, **_: Any) -> None:
    if setting == "DURABLE":
        _hooks.clear()


setting_changed.connect(_forget)


def around(name: str, call: Any, body: Callable[[], T]) -> T:
    """Return what ``body`` returns, called within the hooks of this name.

    Raises:
        BaseException: What the body or a hook raised; a hook that swallows it does not keep it from the caller.
    """
    chain = hooks(name)
    if not chain:
        return body()
    raised: BaseException
    with ExitStack() as stack:
        try:
            for hook in chain:
                stack.enter_context(hook(call))
            return body()
        except BaseException as error:
            raised = error
            raise
    raise raised
