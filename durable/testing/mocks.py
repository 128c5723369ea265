"""Mocks: what a test says activities and children shall do."""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from durable import conf, registry
from durable.core.definitions import ActivityDefinition, WorkflowDefinition, anything, define_activity
from durable.core.errors import DurableError, InvalidInput
from durable.core.retry import seconds
from durable.core.signatures import Signature
from durable.testing.problems import SimulationError, UnexpectedCall, UnknownCall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import timedelta

Target = ActivityDefinition | WorkflowDefinition | str


class Mock:
    """What calls of an activity or a child workflow shall lead to; each method returns the mock.

    Attributes:
        where: ``file:line`` of where the test made it.
        used: How many calls it took.
    """

    def __init__(self, target: Target, args: tuple[Any, ...], kwargs: dict[str, Any], *, where: str) -> None:
        if not isinstance(target, Target):
            raise InvalidInput("mock(target)", f"{target!r} is no activity, workflow or registered name")
        self.definition = None if isinstance(target, str) else target
        self.name = name_of(target)
        self.where, self.used = where, 0
        self.duration = self.delay = 0.0
        self.heartbeats = False
        self._given = (args, kwargs) if args or kwargs else None
        self._limit: int | None = None
        self._behave: Callable[..., Any] = _nothing
        if self._given is not None and self.definition is not None:
            self.definition.signature.named(args, kwargs)

    # --- what it does

    def returns(self, value: Any) -> Mock:
        """Have every call return ``value``."""
        return self.calls(lambda *_, **__: value)

    def returns_each(self, values: Iterable[Any]) -> Mock:
        """Have each call return the next value; an exception among them is raised. Takes as many calls as values."""
        left = list(values)
        self._limit = len(left)
        return self.calls(lambda *_, **__: _come_of(left.pop(0)))

    def raises(self, error: BaseException | type[BaseException]) -> Mock:
        """Have every call raise ``error``; an activity is retried by its policy.

        Raises:
            InvalidInput: It is no exception.
        """
        if not _is_error(error):
            raise InvalidInput("raises(error)", f"{error!r} is no exception")
        return self.calls(lambda *_, **__: _come_of(error))

    def calls(self, fn: Callable[..., Any]) -> Mock:
        """Have ``fn`` called in place of the real one, with the same arguments; it may be an ``async def``.

        Raises:
            InvalidInput: It cannot be called.
        """
        if not callable(fn):
            raise InvalidInput("calls(fn)", f"{fn!r} cannot be called; to have calls return it, say returns({fn!r})")
        self._behave = fn
        return self

    # --- how long it takes

    def takes(self, duration: timedelta | float, *, heartbeats: bool = False) -> Mock:
        """Have each call take this long, in virtual time; timeouts count.

        Args:
            duration: A timedelta or seconds.
            heartbeats: Whether it sends heartbeats all the while, so that the heartbeat timeout does not count.

        Raises:
            InvalidInput: It is no duration.
        """
        self.duration, self.heartbeats = seconds(duration, "takes(duration)"), heartbeats
        return self

    def starts_after(self, duration: timedelta | float) -> Mock:
        """Have each activity wait this long for a worker; ``schedule_to_start`` counts.

        Raises:
            InvalidInput: It is no duration.
        """
        self.delay = seconds(duration, "starts_after(duration)")
        return self

    # --- how often

    def once(self) -> Mock:
        """Take one call, no more."""
        return self.times(1)

    def times(self, number: int) -> Mock:
        """Take this many calls, no more; each attempt of an activity is a call.

        Raises:
            InvalidInput: It is no number of calls.
        """
        if not isinstance(number, int):
            raise InvalidInput("times(number)", f"{number!r} is no whole number")
        if number < 0:
            raise InvalidInput("times(number)", f"{number} is negative")
        self._limit = number
        return self

    # --- the simulation's side

    def concerns(self, definition: ActivityDefinition | WorkflowDefinition) -> bool:
        """Say whether it is about this activity or workflow."""
        return self.name == name_of(definition) and (
            self.definition is None or isinstance(self.definition, type(definition))
        )

    def misfit(self, definition: ActivityDefinition | WorkflowDefinition, arguments: Mapping[str, Any]) -> str:
        """Say why it does not take a call; an empty text if it does."""
        if self._given is not None:
            try:
                wanted = definition.signature.named(*self._given)
            except InvalidInput as error:
                return str(error)
            with self._named("matching an argument of"):
                if wanted.keys() != arguments.keys() or not all(_equal(wanted[k], arguments[k]) for k in wanted):
                    return "other arguments"
        if self._limit is not None and self.used >= self._limit:
            return f"used up: {self.used} of {self._limit}"
        return ""

    @property
    def rank(self) -> tuple[bool, bool]:
        """The order among mocks that fit: those with arguments first, then those with a number of calls."""
        return (self._given is None, self._limit is None)

    def use(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Any]:
        """Take a call, and return what is to be called, without arguments.

        Raises:
            SimulationError: The test's function does not take such a call.
        """
        behave = self._behave
        self.used += 1
        try:
            inspect.signature(behave).bind(*args, **kwargs)
        except TypeError as error:
            given = ", ".join([*map(repr, args), *(f"{key}={value!r}" for key, value in kwargs.items())])
            raise SimulationError(f"the function of {self} cannot be called as {self.name}({given}): {error}") from None
        except ValueError:
            pass  # a builtin may tell nobody what it takes

        def at_once() -> Any:
            with self._named("called by"):
                return behave(*args, **kwargs)

        async def waiting() -> Any:
            with self._named("called by"):
                return await behave(*args, **kwargs)

        return waiting if inspect.iscoroutinefunction(behave) else at_once

    @contextmanager
    def _named(self, what: str) -> Iterator[None]:
        """Have errors of the block, which runs a function of the test's, name the mock."""
        try:
            yield
        except Exception as error:
            note = f"({what} {self})"
            if note not in getattr(error, "__notes__", ()):
                error.add_note(note)
            raise

    def disappointment(self) -> str:
        """Say how it was not used as it should have been; an empty text if it was."""
        if self._limit is None:
            return "" if self.used else f"{self} was never called"
        return "" if self.used == self._limit else f"{self} was called {self.used} of {self._limit} times"

    def __str__(self) -> str:
        args, kwargs = self._given or ((), {})
        given = ", ".join([*map(repr, args), *(f"{key}={value!r}" for key, value in kwargs.items())])
        return f"mock({', '.join(filter(None, [self.name, given]))}) at {self.where}"


class Mocks:
    """All mocks of a simulation."""

    def __init__(self) -> None:
        self._mocks: list[Mock] = []

    def add(self, mock: Mock) -> Mock:
        """Add a mock and return it."""
        self._mocks.append(mock)
        return mock

    def disappointments(self) -> list[str]:
        """Say which were not used as they should have been."""
        return [said for mock in self._mocks if (said := mock.disappointment())]

    def activity(self, name: str, *, location: str) -> ActivityDefinition:
        """Return the activity that a call means.

        Raises:
            UnknownCall: It is neither registered nor mocked.
        """
        if (known := next((a for a in registry.activities() if a.name == name), None)) is not None:
            return known
        stand_in = define_activity(anything, name=name)
        own: list[Any] = [m.definition for m in self._about(stand_in)]
        if not own:
            near = get_close_matches(name, [a.name for a in registry.activities()])
            raise UnknownCall("activity", name, near=near, location=location)
        return next((definition for definition in own if definition is not None), stand_in)

    def workflow(self, stand_in: WorkflowDefinition, *, location: str) -> WorkflowDefinition:
        """Return the workflow that a call means.

        Args:
            stand_in: A definition with its name and version.
            location: ``file:line`` of the call.

        Raises:
            UnknownCall: It is neither registered nor mocked.
        """
        key = (stand_in.name, stand_in.version)
        if (known := next((w for w in registry.workflows() if (w.name, w.version) == key), None)) is not None:
            return known
        own: list[Any] = [m.definition for m in self._about(stand_in)]
        if not own:
            near = get_close_matches(stand_in.type_name, registry.workflow_types())
            raise UnknownCall("workflow", stand_in.type_name, near=near, location=location)
        return next((definition for definition in own if definition is not None), stand_in)

    def pick(
        self,
        definition: ActivityDefinition | WorkflowDefinition,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        location: str,
    ) -> Mock | None:
        """Return the mock that takes a call, or None if there is none for this activity or workflow.

        Of those that fit, mocks with arguments come before those without; then
        mocks with a number of calls, in the order in which they were made; then
        the newest.

        Raises:
            UnexpectedCall: None of its mocks takes the call.
        """
        about = self._about(definition)
        if not about:
            return None
        arguments = definition.signature.named(args, kwargs)
        misfits = {mock: mock.misfit(definition, arguments) for mock in about}
        fitting = [(mock.rank, place if mock.rank[1] is False else -place, mock) for place, mock in enumerate(about)]
        ranked = sorted((entry for entry in fitting if not misfits[entry[2]]), key=lambda entry: entry[:2])
        if not ranked:
            said = [f"{mock}: {why}" for mock, why in misfits.items()]
            raise UnexpectedCall(name_of(definition), arguments=arguments, location=location, mocks=said)
        return ranked[0][2]

    def has(self, definition: ActivityDefinition | WorkflowDefinition) -> bool:
        """Say whether there is a mock for an activity or a workflow."""
        return bool(self._about(definition))

    def _about(self, definition: ActivityDefinition | WorkflowDefinition) -> list[Mock]:
        return [mock for mock in self._mocks if mock.concerns(definition)]


def arguments_of(signature: Signature, data: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return recorded arguments as a mock sees them: decoded if they fit, without asking the database."""
    try:
        return signature.unbind(data, conf.converter())
    except DurableError:
        return tuple(data["args"]), dict(data["kwargs"])


def name_of(target: Target) -> str:
    """Return the name that an activity or a workflow goes by, a workflow's with its version."""
    return target if isinstance(target, str) else getattr(target, "type_name", target.name)


def _equal(wanted: Any, given: Any) -> bool:
    if wanted == given:
        return True
    try:
        # A model instance was recorded as a reference, a tuple as a list.
        converter = conf.converter()
        return bool(converter.encode(wanted, "argument") == converter.encode(given, "argument"))
    except DurableError:
        return False


def _come_of(value: Any) -> Any:
    if _is_error(value):
        raise value.with_traceback(None) if isinstance(value, BaseException) else value
    return value


def _is_error(value: Any) -> bool:
    return isinstance(value, BaseException) or (isinstance(value, type) and issubclass(value, BaseException))


def _nothing(*_: Any, **__: Any) -> None:
    return None
