"""The errors that callers meet: one tree, one meaning each, facts as fields."""

from __future__ import annotations

from contextlib import suppress
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from durable.core.failures import Failure


class DurableError(Exception):
    """Any error that this package raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Fields are keyword arguments of the constructor, so the default
        # protocol could not rebuild the error in another process.
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(cls: type[DurableError], args: tuple[Any, ...], fields: dict[str, Any]) -> DurableError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(fields)
    return error


def choices(name: str, known: Iterable[str]) -> str:
    """Return, in words, which names there are in place of one that there is not, and which of them look like it."""
    names = sorted(known)
    return f"there are: {', '.join(names) or 'none'}{_near(get_close_matches(name, names))}"


def quoted(value: object, longest: int = 300) -> str:
    """Return a value as an error can quote it: in characters that can be stored, and not too many of them."""
    told = f"<{type(value).__name__}>"
    with suppress(Exception):  # __repr__ may be the user's code
        told = repr(value)
    told = told.replace("\0", "\\x00").encode(errors="backslashreplace").decode()
    return told if len(told) <= longest else f"{told[: longest - 3]}..."


def _bare(value: object) -> str:
    """Return a text without quotes, if nothing is lost by that."""
    told = quoted(value)
    return value if isinstance(value, str) and told == f"'{value}'" else told


def _near(near: Sequence[str]) -> str:
    return f"; did you mean {', '.join(near)}?" if near else ""


# --- what a name or an id does not lead to


class UnknownInstance(DurableError):
    """No instance has this id."""

    def __init__(self, instance_id: str) -> None:
        self.instance_id = instance_id
        super().__init__(f"no instance has the id {quoted(instance_id)}")


class UnknownExecution(DurableError):
    """The instance has no execution with this id."""

    def __init__(self, instance_id: str, execution_id: str) -> None:
        self.instance_id, self.execution_id = instance_id, execution_id
        super().__init__(f"instance {instance_id!r} has no execution {_bare(execution_id)}")


class UnknownEvent(DurableError):
    """The execution has no event with this id."""

    def __init__(self, execution_id: str, event_id: int) -> None:
        self.execution_id, self.event_id = execution_id, event_id
        super().__init__(f"execution {execution_id} has no event with the id {_bare(event_id)}")


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
        super().__init__(f"no workflow is registered as {quoted(what)}{_near(near)}{there if instance_id else ''}")


class UnknownActivity(DurableError):
    """No activity is registered under this name.

    Attributes:
        near: Registered names that look alike.
    """

    def __init__(self, name: str, *, near: Sequence[str] = ()) -> None:
        self.name, self.near = name, tuple(near)
        super().__init__(f"no activity is registered as {quoted(name)}{_near(near)}")


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


# --- the state an instance is in


class NotOpen(DurableError):
    """The instance has ended, so it takes no more of this.

    Attributes:
        verb: What was tried.
        note: What may be why, in words.
    """

    def __init__(self, instance_id: str, *, status: str, verb: str = "", note: str = "") -> None:
        self.instance_id, self.status, self.verb, self.note = instance_id, status, verb, note
        refused = f" and cannot {verb}" if verb else ""
        super().__init__(f"instance {instance_id!r} is {status}{refused}{': ' if note else ''}{note}")


class NotClosed(DurableError):
    """The instance has not ended yet, and only an ended one can do this."""

    def __init__(self, instance_id: str, *, status: str, verb: str = "") -> None:
        self.instance_id, self.status, self.verb = instance_id, status, verb
        super().__init__(f"instance {instance_id!r} is {status}; end it before you {verb or 'go on'}")


class NotFailed(DurableError):
    """The instance has not failed, and only a failed one can do this."""

    def __init__(self, instance_id: str, *, status: str) -> None:
        self.instance_id, self.status = instance_id, status
        super().__init__(f"instance {instance_id!r} is {status}, not failed")


class WorkWouldBeLost(DurableError):
    """What was done since would no longer count.

    Attributes:
        execution_id: The execution that was to be current again.
        lost: What would be lost, in words.
    """

    def __init__(self, instance_id: str, execution_id: str, *, lost: Sequence[str]) -> None:
        self.instance_id, self.execution_id, self.lost = instance_id, execution_id, tuple(lost)
        super().__init__(
            f"execution {execution_id} of {instance_id!r} cannot be restored without losing: {'; '.join(lost)}"
        )


class NotAnActivity(DurableError):
    """The event is not the scheduling of an activity."""

    def __init__(self, event_id: int, kind: str) -> None:
        self.event_id, self.kind = event_id, kind
        super().__init__(f"event {event_id} is a {kind}, not an activity")


class ConcurrencyConflict(DurableError):
    """Somebody else changed the instance first; nothing was written.

    Attributes:
        expected: The head (sequence number of the last event) that was seen.
        found: The head that is stored, when known.
    """

    def __init__(self, instance_id: str, *, expected: int, found: int | None = None) -> None:
        self.instance_id, self.expected, self.found = instance_id, expected, found
        now = "" if found is None else f", it is {found} now"
        super().__init__(f"instance {instance_id!r} moved on: its head was {expected}{now}")


class VersionNotAvailable(DurableError):
    """This process has the workflow, but not in this version."""

    def __init__(self, name: str, version: int, *, registered: Iterable[int] = ()) -> None:
        self.name, self.version, self.registered = name, version, tuple(sorted(registered))
        have = ", ".join(map(str, self.registered)) or "none"
        super().__init__(f"version {version} of workflow {name!r} is not registered here (there are: {have})")


class InTransaction(DurableError):
    """The caller would wait, inside a transaction, for what can only happen after it.

    Attributes:
        verb: What was tried.
    """

    def __init__(self, verb: str) -> None:
        self.verb = verb
        super().__init__(
            f"{verb} would wait for ever inside a transaction: no worker sees the request before the commit. "
            "Call it outside, or with timeout=0 and ask for the outcome later, by the same update_id"
        )


class PermissionDenied(DurableError):
    """The actor may not do this."""

    def __init__(self, actor: str, verb: str) -> None:
        self.actor, self.verb = actor, verb
        super().__init__(f"{actor} may not {verb}")


# --- bad input


class InvalidInput(DurableError):
    """A value cannot be taken.

    Attributes:
        where: What the value was given for, e.g. ``charge(amount)``.
        problem: What is wrong with it.
    """

    def __init__(self, where: str, problem: str) -> None:
        self.where, self.problem = where, problem
        super().__init__(f"{where}: {problem}")


class InvalidId(DurableError):
    """The text cannot be an instance id."""

    def __init__(self, instance_id: object, problem: str) -> None:
        self.instance_id, self.problem = instance_id, problem
        super().__init__(f"{quoted(instance_id, 80)} cannot be an instance id: {problem}")


class InvalidDefinition(DurableError):
    """A function cannot be a workflow or an activity."""

    def __init__(self, name: str, problem: str) -> None:
        self.name, self.problem = name, problem
        super().__init__(f"{name}: {problem}")


class PayloadTooLarge(DurableError):
    """A value is larger, as JSON, than the limit.

    Attributes:
        size: Its size in bytes.
        limit: The limit in bytes.
    """

    def __init__(self, where: str, *, size: int, limit: int) -> None:
        self.where, self.size, self.limit = where, size, limit
        super().__init__(f"{where}: {size:,} bytes of JSON, the limit is {limit:,}")


class LimitExceeded(DurableError):
    """A limit of the settings is reached.

    Attributes:
        limit: The name of the limit, a key of ``DURABLE["LIMITS"]``.
        value: What was asked for.
        maximum: What is allowed.
    """

    def __init__(self, limit: str, *, value: int, maximum: int, advice: str = "") -> None:
        self.limit, self.value, self.maximum = limit, value, maximum
        super().__init__(f"{limit}: {value:,} is over the limit of {maximum:,}{'; ' + advice if advice else ''}")


class InvalidHistory(DurableError):
    """An instance's history cannot be one of its workflow.

    Attributes:
        instance_id: Whose history.
        problem: What is wrong with it.
    """

    def __init__(self, instance_id: str, problem: str) -> None:
        self.instance_id, self.problem = instance_id, problem
        super().__init__(f"the history of {instance_id!r} cannot be one of its workflow: {problem}")


class UndecodableEvent(DurableError):
    """A stored event cannot be read.

    Attributes:
        seq: Its place in the history, 1-based.
    """

    def __init__(self, seq: int, kind: str, problem: str) -> None:
        self.seq, self.kind, self.problem = seq, kind, problem
        super().__init__(f"event {seq} ({kind}) cannot be read: {problem}")


class UndecodablePayload(DurableError):
    """A stored payload cannot be read: the codec of the settings cannot decode it, or it is damaged.

    Attributes:
        where: The column, as ``Instance.input``.
        problem: What the codec raised.
    """

    def __init__(self, where: str, problem: str) -> None:
        self.where, self.problem = where, problem
        advice = 'DURABLE["CODEC"] must be able to decode what was stored under earlier settings'
        super().__init__(f"{where} cannot be decoded: {problem}; {advice}")


class InvalidTranscript(DurableError):
    """A line of an export cannot be read.

    Attributes:
        source: The file; empty if it is not from a file.
        line: The line in it, from 1.
        problem: What is wrong with it.
    """

    def __init__(self, source: str, line: int, problem: str) -> None:
        self.source, self.line, self.problem = source, line, problem
        super().__init__(f"{f'{source}, ' if source else ''}line {line} is no transcript: {problem}")


# --- what workflow code did


class OutsideWorkflow(DurableError):
    """Something that only a running workflow or activity can do was tried elsewhere."""

    def __init__(self, call: str, advice: str) -> None:
        self.call, self.advice = call, advice
        super().__init__(f"{call} works only inside a running workflow or activity; {advice}")


class ForbiddenInWorkflow(DurableError):
    """Workflow code reached outside, which cannot be replayed.

    Attributes:
        call: What was called, e.g. ``socket.connect``.
        instead: What to do in its place.
        location: ``file:line`` of the workflow code, when known.
        written: What stands there, e.g. ``requests.get(url)``.
    """

    def __init__(
        self, call: str, *, instead: str = "Do it in an activity", location: str = "", written: str = ""
    ) -> None:
        self.call, self.instead, self.location, self.written = call, instead, location, written
        at = f" (at {location}{': ' if written else ''}{written})" if location else ""
        super().__init__(f"{call} is not allowed in a workflow: it could not be replayed. {instead}{at}")


class ReadOnly(DurableError):
    """A query or a validator tried to change the workflow.

    Attributes:
        call: What it called.
        looker: Who did, e.g. ``query 'total'``.
        location: ``file:line`` of the call, when known.
        written: What stands there, e.g. ``lines.pop()``.
    """

    def __init__(
        self, call: str, *, looker: str = "a query or a validator", location: str = "", written: str = ""
    ) -> None:
        self.call, self.looker, self.location, self.written = call, looker, location, written
        at = f" (at {location}{': ' if written else ''}{written})" if location else ""
        super().__init__(f"{call} is not allowed in {looker}: it may look, and not touch{at}")


class NondeterminismError(DurableError):
    """The workflow code no longer does what its history records.

    Attributes:
        seq: Place in the history, 1-based, of the first event that differs;
            one past the end if the code did more than was recorded.
        event_id: The number of the thing asked for, or None for control events.
        expected: What the history holds, e.g. ``ActivityScheduled(charge)``.
        got: What the code did instead; None if it did nothing.
        location: ``file:line`` of the workflow code, when known.
        offer: From upgrade: the event id to rerun from instead, or None.
    """

    def __init__(
        self,
        *,
        seq: int,
        event_id: int | None,
        expected: str,
        got: str | None,
        location: str = "",
        offer: int | None = None,
        note: str = "",
    ) -> None:
        self.seq, self.event_id, self.expected, self.got = seq, event_id, expected, got
        self.location, self.offer, self.note = location, offer, note
        at = f" (at {location})" if location else ""
        more = f". {note}" if note else ""
        super().__init__(f"event {seq}: history has {expected}, workflow did {got or 'nothing'}{at}{more}")

    def without_arguments(self) -> NondeterminismError:
        """Return the same error with the steps' names alone: where two read alike, their arguments are quoted."""
        return NondeterminismError(
            seq=self.seq,
            event_id=self.event_id,
            expected=bare_step(self.expected),
            got=self.got and bare_step(self.got),
            location=self.location,
            offer=self.offer,
            note=self.note,
        )


def bare_step(step: str) -> str:
    """Return a step without its arguments: ``ActivityScheduled(charge)``."""
    return step.partition(" ")[0]


class PatchReused(DurableError):
    """Workflow code deprecates a patch and asks for the same one, or the other way round.

    Attributes:
        patch_id: The patch.
        first, second: ``file:line`` of the two calls.
    """

    def __init__(self, patch_id: str, *, first: str, second: str, deprecated: bool) -> None:
        self.patch_id, self.first, self.second = patch_id, first, second
        calls = ("patched()", "deprecate_patch()") if deprecated else ("deprecate_patch()", "patched()")
        super().__init__(
            f"patch {patch_id!r} is used for two things, by {calls[0]} at {first} and by {calls[1]} at {second}: "
            f"give each change an id of its own, and deprecate one in all its places at once"
        )


class ChannelClosed(DurableError):
    """A channel is closed.

    Attributes:
        verb: What was tried, ``send`` or ``receive``.
    """

    def __init__(self, verb: str) -> None:
        self.verb = verb
        super().__init__(f"cannot {verb}: the channel is closed")


class RunawayStep(DurableError):
    """Workflow code ran for too long without waiting for anything.

    Attributes:
        seconds: How long it was given.
        stack: Where it was, as text.
    """

    def __init__(self, seconds: float, stack: str) -> None:
        self.seconds, self.stack = seconds, stack
        super().__init__(f"the workflow ran for {seconds:g} s without waiting for anything; it was here:\n{stack}")


# --- how work ended: raised inside workflows, and by ``Handle.result``


class RecordedError(DurableError):
    """An exception of elsewhere, as it was recorded.

    Attributes:
        failure: The record: ``type``, ``message``, ``traceback``, ``cause``.
    """

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(_told(failure))

    @property
    def type(self) -> str:
        """The name of the exception's class."""
        return self.failure.type

    @property
    def message(self) -> str:
        """What the exception said."""
        return self.failure.message


_TOLD = 3


def _told(failure: Failure) -> str:
    """Return a failure as text; a group alone says how many it holds, and not a word of what they are."""
    text = f"{failure.type}: {failure.message}" if failure.message else failure.type
    members = [_told(each) for each in failure.exceptions[:_TOLD]]
    more = ["..."] if len(failure.exceptions) > _TOLD else []
    return f"{text}: {'; '.join(members + more)}" if members else text


class NonRetryable(DurableError):
    """Raised by an activity: trying again would not help."""


class ActivityError(DurableError):
    """An activity failed for good.

    Attributes:
        activity: Its name.
        event_id: The number of the ActivityScheduled event.
        attempts: How often it was tried.
        cause: The last failure; its ``type`` is the name of the exception's class.
    """

    def __init__(self, activity: str, *, event_id: int, attempts: int, cause: RecordedError) -> None:
        self.activity, self.event_id, self.attempts, self.cause = activity, event_id, attempts, cause
        self.__cause__ = cause
        times = "once" if attempts == 1 else f"{attempts} times"
        super().__init__(f"activity {activity} was tried {times} and failed: {cause}")


class ChildFailed(DurableError):
    """A child workflow did not complete.

    Attributes:
        workflow: Its name.
        instance_id: Its id.
        event_id: The number of the ChildScheduled event.
        cause: Why; its ``type`` is the name of the exception's class.
    """

    def __init__(self, workflow: str, *, instance_id: str, cause: RecordedError, event_id: int = 0) -> None:
        self.workflow, self.instance_id, self.event_id, self.cause = workflow, instance_id, event_id, cause
        self.__cause__ = cause
        super().__init__(f"child workflow {workflow} ({instance_id}) did not complete: {cause}")


class CompensationFailed(DurableError):
    """Some of what was to be undone could not be; the failure that called for it is the cause.

    Attributes:
        failed: Names and errors of those that failed, in the order they were tried.
        tried: How many there were in all.
    """

    def __init__(self, failed: Sequence[tuple[str, BaseException]], *, tried: int) -> None:
        self.failed, self.tried = tuple(failed), tried
        what = "; ".join(f"{name}: {str(error) or type(error).__name__}" for name, error in failed)
        super().__init__(f"{len(failed)} of {tried} compensations failed, see to them by hand: {what}")


class SignalError(DurableError):
    """A signal to another instance could not be delivered.

    Attributes:
        event_id: The number of the SignalSent event.
    """

    def __init__(self, instance_id: str, name: str, *, cause: RecordedError, event_id: int = 0) -> None:
        self.instance_id, self.name, self.event_id, self.cause = instance_id, name, event_id, cause
        self.__cause__ = cause
        super().__init__(f"signal {name!r} to {instance_id!r} was not delivered: {cause}")


class SideEffectError(DurableError):
    """A side effect raised, or what it returned cannot be recorded.

    Attributes:
        event_id: The number of the SideEffectRecorded event.
        cause: What it raised; its ``type`` is the name of the exception's class.
    """

    def __init__(self, *, event_id: int, cause: RecordedError) -> None:
        self.event_id, self.cause = event_id, cause
        self.__cause__ = cause
        super().__init__(f"side_effect failed: {cause}")


class WorkflowFailed(DurableError):
    """The instance failed.

    Attributes:
        failure: What was stored: ``type``, ``message``, ``traceback``, ``cause``.
    """

    def __init__(self, instance_id: str, failure: Failure) -> None:
        self.instance_id, self.failure = instance_id, failure
        self.cause = RecordedError(failure)
        self.__cause__ = self.cause
        super().__init__(f"instance {instance_id!r} failed: {self.cause}")


class WorkflowCanceled(DurableError):
    """The instance was canceled."""

    def __init__(self, instance_id: str) -> None:
        self.instance_id = instance_id
        super().__init__(f"instance {instance_id!r} was canceled")


class WorkflowTerminated(DurableError):
    """The instance was terminated."""

    def __init__(self, instance_id: str, *, reason: str = "") -> None:
        self.instance_id, self.reason = instance_id, reason
        super().__init__(f"instance {instance_id!r} was terminated{': ' + reason if reason else ''}")


class ResultTimeout(DurableError, TimeoutError):
    """The instance did not end in the time that the caller gave."""

    def __init__(self, instance_id: str, timeout: float, *, status: str) -> None:
        self.instance_id, self.timeout, self.status = instance_id, timeout, status
        super().__init__(f"instance {instance_id!r} is still {status} after {timeout:g} s")


class UpdateRejected(DurableError):
    """An update was refused before it began; nothing is recorded.

    Attributes:
        name: The update's name.
        update_id: What the caller calls the request.
        failure: What the validator raised, or that the arguments do not fit; as it was stored.
        cause: The same as an exception; its ``type`` is the name of the exception's class.
    """

    def __init__(self, instance_id: str, name: str, *, update_id: str, failure: Failure) -> None:
        self.instance_id, self.name, self.update_id, self.failure = instance_id, name, update_id, failure
        self.cause = RecordedError(failure)
        self.__cause__ = self.cause
        super().__init__(f"update {name!r} of instance {instance_id!r} was rejected: {self.cause}")


class UpdateFailed(DurableError):
    """An update was accepted and did not succeed: its handler raised, or the execution ended first.

    Attributes:
        name: The update's name.
        update_id: What the caller calls the request.
        failure: What was stored; of type ``NotOpen`` if the execution ended first.
        cause: The same as an exception; its ``type`` is the name of the exception's class.
    """

    def __init__(self, instance_id: str, name: str, *, update_id: str, failure: Failure) -> None:
        self.instance_id, self.name, self.update_id, self.failure = instance_id, name, update_id, failure
        self.cause = RecordedError(failure)
        self.__cause__ = self.cause
        super().__init__(f"update {name!r} of instance {instance_id!r} failed: {self.cause}")


class UpdateTimeout(ResultTimeout):
    """An update did not end in the time that the caller gave; it goes on.

    Attributes:
        name: The update's name.
        update_id: What to ask with again, to get the outcome.
        state: How far it is: ``requested``, ``waiting`` for its name to be registered, or ``accepted``.
        registered: The updates that the workflow has now, if it waits for its own and this process can tell.
    """

    def __init__(
        self,
        instance_id: str,
        name: str,
        timeout: float,
        *,
        update_id: str,
        state: str,
        status: str,
        registered: Iterable[str] | None = None,
    ) -> None:
        super().__init__(instance_id, timeout, status=status)
        self.name, self.update_id, self.state = name, update_id, state
        self.registered = None if registered is None else tuple(sorted(registered))
        there_are = "" if self.registered is None else f" ({choices(name, self.registered)})"
        waits = f" for the workflow to register an update of this name{there_are}" if state == "waiting" else ""
        self.args = (
            f"update {name!r} of instance {instance_id!r}, which is {status}, is still {state}{waits} "
            f"after {timeout:g} s; ask again with update_id={update_id!r}",
        )


__all__ = [
    "ActivityError",
    "AlreadyExists",
    "ChannelClosed",
    "ChildFailed",
    "CompensationFailed",
    "ConcurrencyConflict",
    "DuplicateName",
    "DurableError",
    "ForbiddenInWorkflow",
    "InTransaction",
    "InvalidDefinition",
    "InvalidHistory",
    "InvalidId",
    "InvalidInput",
    "InvalidTranscript",
    "LimitExceeded",
    "NonRetryable",
    "NondeterminismError",
    "NotAnActivity",
    "NotClosed",
    "NotFailed",
    "NotOpen",
    "OutsideWorkflow",
    "PatchReused",
    "PayloadTooLarge",
    "PermissionDenied",
    "ReadOnly",
    "RecordedError",
    "ResultTimeout",
    "RunawayStep",
    "SideEffectError",
    "SignalError",
    "UndecodableEvent",
    "UndecodablePayload",
    "UnknownActivity",
    "UnknownEvent",
    "UnknownExecution",
    "UnknownInstance",
    "UnknownToken",
    "UnknownWorkflow",
    "UpdateFailed",
    "UpdateRejected",
    "UpdateTimeout",
    "VersionNotAvailable",
    "WorkWouldBeLost",
    "WorkflowCanceled",
    "WorkflowFailed",
    "WorkflowTerminated",
]
