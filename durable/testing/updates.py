"""Updates in a simulation: requests, and what becomes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable.core import updates
from durable.core.errors import NotOpen, UpdateFailed, UpdateRejected
from durable.core.failures import Failure
from durable.core.frames import stops_the_worker
from durable.engine import watchdog
from durable.engine.updates import HARMFUL
from durable.testing.problems import SimulationError

if TYPE_CHECKING:
    from durable.core import events as ev
    from durable.testing.driving import Run
    from durable.testing.instances import Instance


class Asked:
    """A request for an update.

    Attributes:
        state: ``requested``, ``waiting`` for its name to be registered, ``accepted``,
            ``completed``, ``failed``, ``rejected``, or ``refused`` as the instance ended before.
    """

    def __init__(self, instance: Instance, request: ev.UpdateAccepted) -> None:
        self.instance, self.request = instance, request
        self.state = "requested"
        self._result: Any = None
        self._failure = Failure(type="UpdateFailed")
        self._why = ""

    @property
    def is_pending(self) -> bool:
        """Whether the code has not seen it yet."""
        return self.state in ("requested", "waiting")

    def complete(self, outcome: ev.UpdateCompleted) -> None:
        """Keep what its handler came to."""
        if outcome.failure is None:
            self.state, self._result = "completed", outcome.result
        else:
            self.fail(outcome.failure)

    def reject(self, error: BaseException) -> None:
        """Keep why it was not let in."""
        self.state, self._failure = "rejected", Failure.of(error)

    def refuse(self) -> None:
        """Keep that the instance ended before."""
        self.state, self._why = "refused", updates.missing(self.instance.run.execution, self.request.name)

    def fail(self, failure: Failure) -> None:
        """Keep how it failed."""
        self.state, self._failure = "failed", failure

    @property
    def value(self) -> Any:
        """What the update returned, as plain JSON.

        Raises:
            UpdateRejected: The validator refused it, or the arguments do not fit.
            UpdateFailed: Its handler raised, or the execution ended before it did.
            NotOpen: The instance ended before it accepted the update.
            SimulationError: It is not done yet.
        """
        name, update_id = self.request.name, self.request.update_id
        facts: dict[str, Any] = {"update_id": update_id, "failure": self._failure}
        match self.state:
            case "completed":
                return self._result
            case "rejected":
                raise UpdateRejected(self.instance.id, name, **facts)
            case "failed":
                raise UpdateFailed(self.instance.id, name, **facts)
            case "refused":
                where = f"take update {name!r}"
                raise NotOpen(self.instance.id, status=self.instance.status, verb=where, note=self._why)
            case _:
                raise SimulationError(f"update {name!r} ({update_id}) is not done: it is {self.state}")


def offer(run: Run, asked: Asked) -> bool:
    """Let the code look at a request; say whether it is let in."""
    request = asked.request
    if request.name not in run.execution.updates.handlers:
        asked.state = "waiting"
        return False
    try:
        with watchdog.watch(run.execution):
            updates.check(run.execution, request)
    except HARMFUL as error:
        run.rebuild()
        asked.reject(error)
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) and stops_the_worker(error):
            raise
        asked.reject(error)
    else:
        asked.state = "accepted"
    return asked.state == "accepted"


def waiting(run: Run) -> list[Asked]:
    """Return the requests that wait for names which the code registered since the last look."""
    names = set(run.execution.updates.fresh)
    run.execution.updates.fresh.clear()
    return [
        asked for asked in run.instance.updates.values() if asked.state == "waiting" and asked.request.name in names
    ]


def cut_off(instance: Instance) -> None:
    """Give an outcome to what was accepted by an execution that ended."""
    for asked in instance.updates.values():
        if asked.state == "accepted":
            asked.fail(Failure(type="NotOpen", message="the workflow ended before the update did"))


def refuse(instance: Instance) -> None:
    """Give an outcome to everything that an instance which ended did not come to."""
    cut_off(instance)
    for asked in instance.updates.values():
        if asked.is_pending:
            asked.refuse()
