"""How work ended: raised inside workflows, and by ``Handle.result``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable.core.errors.base import DurableError
from durable.core.errors.telling import choices

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from durable.core.failures import Failure


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
