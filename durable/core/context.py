"""What workflow code can call: the functions behind ``durable.workflow``."""

from __future__ import annotations

import random as stdlib_random
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from durable.core.errors import InvalidInput, LimitExceeded, OutsideWorkflow
from durable.core.here import here
from durable.core.texts import check_name, check_plain

if TYPE_CHECKING:
    from durable.core.execution import Execution

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """What a workflow may know of itself.

    Attributes:
        attempt: 0 for a start; one more than its source's for a rerun.
        started_at: When this execution began.
        history_length: Events so far; continue as new before it grows large.
        parent_id: The parent instance's id, or None.
        headers: What the instance carries along, and hands to its activities and children.
    """

    instance_id: str
    execution_id: str
    name: str
    version: int
    queue: str
    attempt: int
    started_at: datetime
    history_length: int
    parent_id: str | None
    headers: dict[str, Any] = field(default_factory=dict)


class Draw(float):
    """A random number from 0 to 1 that also offers its generator's other methods.

    ``random()`` is a float, as in the standard library, and
    ``random().choice(...)`` draws from the same deterministic generator.
    """

    _generator: stdlib_random.Random

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._generator, name)


def current(call: str) -> Execution:
    """Return the execution whose code is running.

    Raises:
        OutsideWorkflow: None is; the error names ``call``.
    """
    loop = here.loop
    if loop is None:
        raise OutsideWorkflow(call, "call it from an async function marked with @workflow.defn")
    return loop.owner  # type: ignore[no-any-return]


def running() -> Execution | None:
    """Return the execution whose code is running, or None."""
    loop = here.loop
    return None if loop is None else loop.owner


# --- knowing


def now() -> datetime:
    """Return the workflow's time, in UTC: when the event at hand was recorded."""
    return datetime.fromtimestamp(current("workflow.now()").loop.now, UTC)


def time() -> float:
    """Return the workflow's time in seconds since 1970."""
    return current("workflow.time()").loop.now


def random() -> Draw:
    """Return a random number from 0 to 1, the same one on replay."""
    generator = _generator("workflow.random()")
    draw = Draw(generator.random())
    draw._generator = generator
    return draw


def uuid4() -> uuid.UUID:
    """Return a random UUID, the same one on replay."""
    return uuid.UUID(int=_generator("workflow.uuid4()").getrandbits(128), version=4)


def _generator(call: str) -> stdlib_random.Random:
    execution = current(call)
    execution.loop.only_look(call)
    return execution.random


def info() -> Info:
    """Return what the workflow may know of itself."""
    execution = current("workflow.info()")
    started = execution.started
    assert started is not None  # noqa: S101 - its code runs, so it has started
    return Info(
        instance_id=execution.instance_id,
        execution_id=execution.execution_id,
        name=started.name,
        version=execution.version,
        queue=started.queue,
        attempt=started.attempt,
        started_at=datetime.fromtimestamp(started.at, UTC),
        history_length=execution.length,
        parent_id=started.parent["instance_id"] if started.parent else None,
        headers=dict(started.headers),
    )


def version() -> int:
    """Return the version that this execution runs on; after an upgrade, the new one."""
    return current("workflow.version()").version


def cancelled() -> bool:
    """Say whether somebody asked this workflow to stop."""
    return current("workflow.cancelled()").cancel_requested


# --- showing


def set_status(status: Any) -> None:
    """Show operators a custom status; any JSON."""
    execution = current("workflow.set_status()")
    execution.show("status", execution.encode(status, "set_status(obj)"))


def set_progress(done: float, total: float, note: str = "") -> None:
    """Show operators how far the work is.

    Raises:
        InvalidInput: These are no numbers.
    """
    execution = current("workflow.set_progress()")
    for name, number in (("done", done), ("total", total)):
        if not isinstance(number, int | float):
            raise InvalidInput(f"set_progress({name})", f"give a number, not {number!r}")
    shown = execution.encode({"done": done, "total": total, "note": note}, "set_progress()")
    execution.show("progress", check_plain(shown, "set_progress()"))


def set_tags(**tags: Any) -> None:
    """Set tags that operators can search for; None removes one."""
    execution = current("workflow.set_tags()")
    given = {check_name(k, "set_tags()"): execution.encode(v, f"set_tags({k})") for k, v in tags.items()}
    merged = {name: value for name, value in {**execution.tags, **given}.items() if value is not None}
    maximum = execution.limits["tags"]
    if len(merged) > maximum:
        raise LimitExceeded("tags", value=len(merged), maximum=maximum)
    execution.show("tags", check_plain(merged, "set_tags()"))
