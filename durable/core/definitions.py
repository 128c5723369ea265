"""What ``@workflow.defn`` and ``@activity.defn`` make of a function."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NoReturn

from durable.core import calls, context, payloads, type_names
from durable.core.errors import InvalidDefinition, InvalidInput, OutsideWorkflow
from durable.core.here import here
from durable.core.options import WORKFLOW, activity_options, check_options, to_json, workflow_options
from durable.core.retry import RetryPolicy
from durable.core.signatures import Signature

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from datetime import timedelta

_starter: Callable[..., Any] | None = None


def install_starter(starter: Callable[..., Any]) -> None:
    """Say how ``wf.start(...)`` starts an instance; the app does this when it is ready."""
    global _starter  # noqa: PLW0603 - the one seam by which definitions reach the engine above them
    _starter = starter


@dataclass(frozen=True, kw_only=True, eq=False)
class ActivityDefinition:
    """An activity: a plain function that may do anything, run at least once.

    Attributes:
        fn: The plain function; ``run`` calls it.
        overrides: What ``options()`` changed, as JSON; recorded with each call.
    """

    name: str
    fn: Callable[..., Any]
    signature: Signature
    queue: str | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    atomic: bool = False
    priority: int = 0
    schedule_to_start: float | None = None
    start_to_close: float | None = None
    schedule_to_close: float | None = None
    heartbeat: float | None = None
    overrides: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _look_like(self, self.fn)

    def __call__(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        """Return what a workflow awaits to have the activity run.

        Raises:
            OutsideWorkflow: No workflow is running; ``run`` calls the function itself.
            InvalidInput: The arguments do not fit the function.
        """
        loop, signature = here.loop, self.signature
        if loop is None:
            raise OutsideWorkflow(f"{self.name}(...)", f"to call the plain function, use {self.name}.run(...)")
        execution = loop.owner
        arguments = signature.bind(args, kwargs, execution.converter)
        payloads.encoded(arguments, signature.input, execution.limits["payload"])
        coroutine: Any = calls.activity(self, arguments)
        coroutine.__qualname__ = self.name  # what Python says of a coroutine that nobody awaited
        return coroutine  # type: ignore[no-any-return]

    def __await__(self) -> NoReturn:
        raise _not_called(self.name)

    @property
    def run(self) -> Callable[..., Any]:
        """The plain function."""
        return self.fn

    def options(self, **changes: Any) -> ActivityDefinition:
        """Return the same activity with other options for the calls made through it.

        Args:
            changes: ``queue``, ``retry``, ``priority`` or a timeout.

        Raises:
            InvalidInput: There is no such option, or its value cannot be taken.
        """
        checked = activity_options(self.name, **changes)
        return replace(self, overrides={**self.overrides, **to_json(checked)}, **checked)

    def with_overrides(self, overrides: dict[str, Any]) -> ActivityDefinition:
        """Return the same activity with the options that a call recorded."""
        if not overrides:
            return self
        changes = dict(overrides)
        if "retry" in changes:
            changes["retry"] = RetryPolicy.from_json(changes["retry"])
        return replace(self, overrides=overrides, **changes)

    def __get__(self, instance: object, owner: type | None = None) -> ActivityDefinition:
        """Let ``obj.method(...)`` and ``Class.method(...)`` schedule a method as an activity."""
        if instance is None or not is_method(self.fn):
            return self
        return replace(self, fn=self.fn.__get__(instance, owner))


@dataclass(frozen=True, kw_only=True, eq=False)
class WorkflowDefinition:
    """A workflow: an ``async def`` whose every step is recorded.

    Attributes:
        name: Its name without the version.
        version: Its version; 0 if it has none.
        overrides: What ``options()`` changed.
    """

    name: str
    version: int
    fn: Callable[..., Coroutine[Any, Any, Any]]
    signature: Signature
    queue: str | None = None
    timeout: float | None = None
    retry: RetryPolicy | None = None
    overrides: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _look_like(self, self.fn)

    @property
    def type_name(self) -> str:
        """The name with its version: ``order2``, or ``order`` for version 0."""
        return type_names.type_name(self.name, self.version)

    def __call__(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        """Return what the running workflow awaits to run this one as a child and get its result.

        Raises:
            OutsideWorkflow: No workflow is running; ``start`` begins an instance.
            InvalidInput: The arguments do not fit the function.
        """
        return _named(self.type_name, calls.child(self, self._bind_child(args, kwargs)))

    def __await__(self) -> NoReturn:
        raise _not_called(self.type_name)

    def start_child(self, *args: Any, **kwargs: Any) -> calls.ChildHandle:
        """Start the workflow as a child of the running one, without waiting for it."""
        return calls.start_child(self, self._bind_child(args, kwargs))

    def _bind_child(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        execution = context.running()
        if execution is None:
            raise OutsideWorkflow(f"{self.type_name}(...)", f"to start an instance, use {self.type_name}.start(...)")
        arguments = self.signature.bind(args, kwargs, execution.converter)
        return execution.within_limit(arguments, f"input of {self.type_name}")

    def start(self, *args: Any, **kwargs: Any) -> Any:
        """Start an instance and return its Handle, in the caller's transaction.

        Raises:
            AlreadyExists: The id is in use.
            InvalidInput: The arguments do not fit the function.
        """
        if _starter is None:
            raise OutsideWorkflow(
                f"{self.type_name}.start(...)", 'add "durable" to INSTALLED_APPS and call django.setup() first'
            )
        if context.running() is not None:
            raise InvalidInput(f"{self.type_name}.start(...)", "inside a workflow, await it or use start_child(...)")
        return _starter(self, args, kwargs)

    def options(self, **changes: Any) -> WorkflowDefinition:
        """Return the same workflow with other options for the instances started through it.

        Args:
            changes: ``id queue tags headers delay timeout id_reuse parent_close retry``;
                durations as timedelta or seconds.

        Raises:
            InvalidInput: There is no such option, or its value cannot be taken.
        """
        return replace(self, overrides={**self.overrides, **workflow_options(self.type_name, **changes)})


def _named(name: str, coroutine: Any) -> Coroutine[Any, Any, Any]:
    # What Python says of a coroutine that nobody awaited.
    coroutine.__qualname__ = name
    return coroutine  # type: ignore[no-any-return]


def _not_called(name: str) -> InvalidInput:
    return InvalidInput(f"await {name}", f"it was not called; write await {name}(...)")


def define_workflow(
    fn: Callable[..., Any],
    *,
    name: str | None = None,
    version: int | None = None,
    queue: str | None = None,
    timeout: timedelta | float | None = None,
    retry: RetryPolicy | None = None,
) -> WorkflowDefinition:
    """Make a workflow of an ``async def``.

    Raises:
        InvalidDefinition: It is not an ``async def``, or is a method, or the name or the version cannot be taken.
        InvalidInput: An option cannot be taken.
    """
    type_name = name or fn.__name__
    if not inspect.iscoroutinefunction(fn):
        raise InvalidDefinition(type_name, "a workflow must be an async def; plain functions can be activities")
    if is_method(fn):
        raise InvalidDefinition(type_name, "a workflow must be a function, no method: nothing keeps its object")
    base, number = type_names.split_version(type_name)
    if version is not None:
        if type(version) is not int or version < 0:
            raise InvalidDefinition(type_name, f"a version is a whole number from 0, not {version!r}")
        base, number = (name or base), version
    type_names.check(base)
    options = check_options(type_name, {"queue": queue, "timeout": timeout, "retry": retry}, WORKFLOW)
    return WorkflowDefinition(
        name=base,
        version=number,
        fn=fn,
        signature=Signature.of(fn, type_name),
        **options,
    )


def define_activity(
    fn: Callable[..., Any],
    *,
    name: str | None = None,
    atomic: bool = False,
    **options: Any,
) -> ActivityDefinition:
    """Make an activity of a function or of a method.

    Raises:
        InvalidDefinition: The name cannot be taken, it yields, or it is ``atomic`` and async.
        InvalidInput: An option cannot be taken.
    """
    name = name or fn.__name__
    type_names.check(name)
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise InvalidDefinition(name, "an activity returns its result; it cannot yield")
    if atomic and inspect.iscoroutinefunction(fn):
        raise InvalidDefinition(name, "an atomic activity must be a plain def: a transaction belongs to one thread")
    given = {option: value for option, value in options.items() if value is not None}
    return ActivityDefinition(
        name=name,
        fn=fn,
        atomic=atomic,
        signature=Signature.of(fn, name, skip_first=is_method(fn)),
        **activity_options(name, **given),
    )


def _look_like(definition: object, fn: Callable[..., Any]) -> None:
    # What functools.wraps does, on a frozen object: help(), docs and tracebacks show the function.
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        object.__setattr__(definition, name, getattr(fn, name, None))
    object.__setattr__(definition, "__wrapped__", fn)


def is_method(fn: Callable[..., Any]) -> bool:
    """Say whether ``fn`` is a method that no instance is bound to."""
    qualname = getattr(fn, "__qualname__", "")
    within = qualname.rpartition(".")[0]
    if not within or within.endswith("<locals>"):
        return False
    return next(iter(inspect.signature(fn).parameters), "") == "self"


async def anything(*args: Any, **kwargs: Any) -> Any:
    """Stand for a function that is known by name only."""
    raise NotImplementedError
