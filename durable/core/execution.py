"""A live execution: workflow code standing where its history left it.

It is state. ``stepping`` gives it the events of a history, ``asking`` is what
its code asks of it, and ``answering`` is what events answer.
"""

from __future__ import annotations

import contextvars
import random
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from durable.core import asking, frames, payloads
from durable.core.conditions import Conditions
from durable.core.loop import DeterministicLoop
from durable.core.patching import Patches
from durable.core.signals import Signals
from durable.core.updates import Updates

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from durable.core import events as ev
    from durable.core.answering import Open
    from durable.core.commands import Command
    from durable.core.definitions import WorkflowDefinition
    from durable.core.frames import Place
    from durable.core.futures import Task
    from durable.core.payloads import Converter
    from durable.core.spans import Span


T = TypeVar("T")

LIMITS = {"payload": 2_000_000, "tags": 100}
"""The limits that code meets, unless the settings say otherwise."""


class Execution:
    """One execution of a workflow, in memory.

    Attributes:
        head: The ``seq`` of the last event applied or recorded.
        length: How many events the code has brought about or seen, the one at
            hand included. Unlike ``head`` it never depends on what was stored when.
        version: The version that the code goes by at this place of its history.
        open: What is asked for and not answered, by event id.
        outcome: The event that ended it, or None.
        main: The task of the code; None before it began.
        before_effect: What is called before a side effect runs, or None; what it raises ends the step.
        enter: What is called before the first line of the code.
        next_id: The number of the next thing that the code asks for.
        next_span: The number of the next span.
        issued: What the code asked for in the step at hand, in order, by event id: an end is -1,
            what is called off is -2 less its event id, and updates go by their own ids.
        places: Where in the code it did, by event id.
        gives_up: Whether it gave up on something in the step at hand.
        recordable: What a history records of what the code asked for in the step at hand, in order.
        recorded: What the history has for the step at hand, if it was taken before, by event id.
        replaying: Whether the step at hand is one that was taken before.
        sealed: Whether all that it asked for is known.
        dry: Whether this is a look ahead: what would reach outside, a side effect that is not recorded, ends the step.
        imagined: Values of side effects that are not recorded, by event id, for a look at what would be.
        cancel_requested: Whether it was asked to stop.
        status, progress, tags: What the code shows to operators.
        signals: The signals that came in and are not read.
        queries: What clients may call, by name.
        spans: What ended in steps that were live, until the engine takes it.
        updates: What clients may call to change something, and what they called.
        patches: The answers that the code got from ``patched``.
        changed: Which of those three changed since the engine last stored them.
    """

    __slots__ = (
        "before_effect",
        "cancel_requested",
        "changed",
        "conditions",
        "converter",
        "dry",
        "enter",
        "execution_id",
        "gives_up",
        "head",
        "imagined",
        "instance_id",
        "issued",
        "length",
        "limits",
        "loop",
        "main",
        "next_id",
        "next_span",
        "open",
        "outcome",
        "patches",
        "places",
        "progress",
        "queries",
        "random",
        "recordable",
        "recorded",
        "replaying",
        "sealed",
        "signals",
        "spans",
        "started",
        "status",
        "suspended",
        "tags",
        "updates",
        "version",
        "workflow",
    )

    def __init__(
        self,
        workflow: WorkflowDefinition,
        *,
        converter: Converter,
        limits: Mapping[str, int] = LIMITS,
        instance_id: str = "",
        execution_id: str = "",
        enter: Callable[[], None] | None = None,
        dry: bool = False,
    ) -> None:
        self.workflow, self.converter = workflow, converter
        self.instance_id, self.execution_id = instance_id, execution_id
        self.limits = limits
        self.dry = dry
        self.imagined: Mapping[int, Any] = {}
        self.started: ev.ExecutionStarted | None = None
        self.version = 0
        self.head = 0
        self.length = 0
        self.open: dict[int, Open] = {}
        self.outcome: ev.End | None = None
        self.recordable: list[Command] = []
        self.replaying = self.sealed = False
        self.cancel_requested = self.suspended = False
        self.status: Any = None
        self.progress: dict[str, Any] | None = None
        self.tags: dict[str, Any] = {}
        self.changed: set[str] = set()
        self.loop = DeterministicLoop(  # type: ignore[abstract]  # what it refuses is added after the class
            owner=self, start_timer=partial(asking.start_timer, self), cancel_timer=partial(asking.cancel_timer, self)
        )
        self.loop.package = frames.package(workflow.fn)
        self.random = random.Random(0)  # noqa: S311 - replay needs the same numbers, not secret ones
        self.enter = enter
        self.before_effect: Callable[[], object] | None = None
        self.main: Task | None = None
        self.next_id = 0
        self.issued: dict[int | str, Command] = {}
        self.places: dict[int, Place | None] = {}
        self.recorded: Mapping[int, ev.Event] = {}
        self.gives_up = False
        self.signals = Signals(self.loop)
        self.queries: dict[str, Callable[..., Any]] = {}
        self.patches = Patches()
        self.updates = Updates(self)
        self.conditions = Conditions(self.loop)
        self.spans: list[Span] = []
        self.next_span = 0

    def end(self, event: ev.End, *, place: Place | None = None) -> None:
        """End the execution, from a place in the code if it called for that; nothing of it runs after this."""
        self.outcome = event
        self.loop.stopped = True
        if not event.imposed:
            self.issued[-1] = event
            self.places[-1] = place

    def encode(self, value: Any, where: str) -> Any:
        """Return a value as plain JSON.

        Raises:
            InvalidInput: It has none.
            PayloadTooLarge: There is too much of it.
        """
        return self.within_limit(self.converter.encode(value, where), where)

    def within_limit(self, data: T, where: str) -> T:
        """Return plain JSON as it is, if it is not too large.

        Raises:
            PayloadTooLarge: It is; on replay as well, since the code may have caught it.
        """
        payloads.encoded(data, where, self.limits["payload"])
        return data

    def context(self) -> contextvars.Context:
        """Return a copy of the context that the code runs in."""
        return self.main.context.copy() if self.main else contextvars.Context()

    def show(self, field: str, value: Any) -> None:
        """Set ``status``, ``progress`` or ``tags``."""
        self.loop.only_look(f"set_{field}")
        setattr(self, field, value)
        self.changed.add(field)

    @property
    def raised(self) -> BaseException | None:
        """What left the coroutine, once it ended."""
        main = self.main
        return main.exception() if main is not None and main.done() and not main.cancelled() else None

    def interrupt(self, error: BaseException) -> BaseException:
        """End the step with ``error``, whatever the code makes of it."""
        self.loop.violation = error
        return error

    def anew(self) -> Execution:
        """Return an execution of the same code for the same instance, which has seen nothing yet."""
        return Execution(
            self.workflow,
            converter=self.converter,
            limits=self.limits,
            instance_id=self.instance_id,
            execution_id=self.execution_id,
            enter=self.enter,
        )

    def close(self) -> None:
        """Unwind the code; the execution is of no use after this."""
        self.loop.close()
