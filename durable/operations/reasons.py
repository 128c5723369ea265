"""Why an instance does not go on, from what is known of it: reasons in words, the one that counts most first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from durable.core.texts import duration
from durable.models import OPEN, ActivityTask, Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from durable.core.waits import Wait
    from durable.operations.facts import Facts, LeaseFacts, QueueFacts, TaskFacts

_State = ActivityTask.State

RANKS = (
    "closed",
    "suspended",
    "stalled",
    "delayed",
    "lost_worker",
    "lost_work",
    "no_worker",
    "no_sweep",
    "unread",
    "retry",
    "queued",
    "running",
    "external",
    "child",
    "signal",
    "timer",
    "condition",
    "channel",
    "other",
)
"""The kinds of reasons, in the order in which they count."""

_DERIVED = {"gather", "task", "nothing"}
"""Waits for other tasks, which have waits of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """A reason why an instance does not go on.

    Attributes:
        kind: One of ``RANKS``.
        text: A sentence for people.
        event_id: The number of what it is about, or None.
        since: Since when that is so, or None.
        due: When it changes by itself, or None.
    """

    kind: str
    text: str
    event_id: int | None = None
    since: datetime | None = None
    due: datetime | None = None


def of(facts: Facts, waits: Sequence[Wait], unread: Mapping[str, int], children: Mapping[str, str]) -> list[Reason]:
    """Return all reasons, those that count most first.

    Args:
        facts: What the rows say.
        waits: What the code waits for, as far as it could be replayed.
        unread: How many signals of each name came and nobody read.
        children: What each open child of the instance says of itself, by id.
    """
    found = [*_by_status(facts)]
    if facts.instance.status == Status.RUNNING:
        found += [*_by_lease(facts), *_by_tasks(facts), *_by_waits(facts, waits, unread, children)]
    if facts.instance.status in (Status.RUNNING, Status.PENDING):
        found += [*_by_inbox(facts)]
        found += [*_by_sweep(facts, found)]
    return sorted(found, key=lambda reason: RANKS.index(reason.kind))


def verdict(reasons: Sequence[Reason]) -> str:
    """Return the first reason as a sentence, which says how many more there are."""
    if not reasons:
        return "It is about to go on: nothing that it waits for is missing."
    first, others = reasons[0], len(reasons) - 1
    return first.text if not others else f"{first.text[:-1]} (and {others} more)."


def _by_status(facts: Facts) -> Iterator[Reason]:
    instance = facts.instance
    if instance.status not in OPEN:
        failure = instance.failure or {}
        what = ": ".join(str(failure[key]) for key in ("type", "message") if failure.get(key))
        closed_at = instance.closed_at or facts.at
        text = f"It {_ENDED[instance.status]} {_ago(facts, closed_at)}{f': {what}' if what else ''}."
        yield Reason(kind="closed", text=text, since=instance.closed_at)
    elif instance.status == Status.SUSPENDED:
        why = f" ({facts.suspension})" if facts.suspension else ""
        yield Reason(kind="suspended", text=f"It was suspended{why}: resume it.", since=facts.last_turn)
    elif instance.status == Status.STALLED:
        stall = instance.stall or {}
        again = f" It is tried again {_in(facts, instance.retry_at)}." if instance.retry_at else ""
        text = f"Its code cannot go on ({stall.get('reason', '')}): {_sentence(stall.get('message', ''))}{again}"
        yield Reason(kind="stalled", text=text, since=facts.last_turn, due=instance.retry_at)
    elif facts.starts_at is not None and facts.starts_at > facts.at:
        text = f"It is to start {_in(facts, facts.starts_at)}."
        yield Reason(kind="delayed", text=text, since=instance.created_at, due=facts.starts_at)


_ENDED: dict[str, str] = {
    Status.COMPLETED: "completed",
    Status.FAILED: "failed",
    Status.CANCELED: "was canceled",
    Status.TERMINATED: "was terminated",
}


def _by_lease(facts: Facts) -> Iterator[Reason]:
    if facts.lease is not None:
        yield _running(facts.lease)


def _running(lease: LeaseFacts, since: datetime | None = None) -> Reason:
    what = f"activity {lease.name!r} (event {lease.event_id})"
    if lease.is_alive:
        text = f"A{what[1:]} runs on {lease.worker}."
        return Reason(kind="running", text=text, event_id=lease.event_id, since=since)
    text = f"The worker {lease.worker}, which ran {what}, has shown no sign of life for long; others will get it."
    return Reason(kind="lost_worker", text=text, event_id=lease.event_id, since=lease.until)


def _by_tasks(facts: Facts) -> Iterator[Reason]:
    queues = {queue.name: queue for queue in facts.queues}
    for task in facts.tasks:
        yield _of_task(facts, task, queues[task.queue])


def _of_task(facts: Facts, task: TaskFacts, queue: QueueFacts) -> Reason:
    if task.lease is not None:
        return _running(task.lease, since=task.created_at)
    what = f"Activity {task.name!r} (event {task.event_id})"
    failed = f", after {task.last_failure.type}: {task.last_failure.message}" if task.last_failure else ""
    if task.state == _State.EXTERNAL:
        kind, text = "external", "has to be completed from outside, with client.complete_activity"
    elif not queue.workers:
        kind, text = "no_worker", f"waits on queue {queue.name!r}, and no worker that serves it shows a sign of life"
    elif task.due > facts.at:
        kind, text = "retry", f"is tried again {_in(facts, task.due)}, attempt {task.attempt}"
    else:
        others = f", with {queue.backlog - 1:,} others" if queue.backlog > 1 else ""
        kind, text = "queued", f"has waited on queue {queue.name!r} for {_for(facts, task.due)}{others}"
    due = task.due if task.due > facts.at else None
    since = task.due if kind == "queued" else task.created_at
    return Reason(kind=kind, text=f"{what} {text}{failed}.", event_id=task.event_id, since=since, due=due)


def _by_waits(
    facts: Facts, waits: Sequence[Wait], unread: Mapping[str, int], children: Mapping[str, str]
) -> Iterator[Reason]:
    handed_out = {task.event_id for task in facts.tasks} | ({facts.lease.event_id} if facts.lease else set())
    for wait in waits:
        if wait.kind in _DERIVED or wait.event_id in handed_out or (facts.tasks_omitted and wait.kind == "activity"):
            continue
        if _is_lost(facts, wait):
            text = f"Nothing stands behind {wait.text} any more, for which it waits at {_place(wait)}: recover it."
            yield Reason(kind="lost_work", text=text, event_id=wait.event_id, since=_time(wait.since))
        elif not _is_answered(facts, wait):
            due = _time(wait.due)
            kind, text = _of_wait(facts, wait, unread, children)
            limit = f", {_until(facts, due)}" if due is not None else ""
            text = f"{text} at {_place(wait)}{limit}."
            yield Reason(kind=kind, text=text, event_id=wait.event_id, since=_time(wait.since), due=due)


_ANSWERS = {"activity": "Activity", "delivery": "Signal", "child": "Child", "timer": "TimerFired"}
"""How the kinds of events begin that answer what is waited for."""


def _is_answered(facts: Facts, wait: Wait) -> bool:
    """Say whether an answer is in the inbox, perhaps to another wait of the kind."""
    beginning = _ANSWERS.get(wait.kind)
    return beginning is not None and any(kind.startswith(beginning) for kind in facts.unread)


def _is_lost(facts: Facts, wait: Wait) -> bool:
    """Say whether nothing that is stored will ever answer."""
    if _is_answered(facts, wait):
        return False
    match wait.kind:
        case "activity" | "delivery":
            return True
        case "child":
            return wait.name not in facts.children
        case "timer":
            return wait.event_id not in facts.timers
    return False


def _of_wait(facts: Facts, wait: Wait, unread: Mapping[str, int], children: Mapping[str, str]) -> tuple[str, str]:
    match wait.kind:
        case "signal":
            others = ", ".join(f"{name!r} ({count})" for name, count in unread.items())
            near = f"; unread are {others}" if others else ""
            return "signal", f"Nobody has sent {wait.text} yet{near}: it waits"
        case "child":
            status, said = facts.children[wait.name], children.get(wait.name)
            return "child", f"It waits for {wait.text}, which is {status}{f' [{said}]' if said else ''},"
        case "timer":
            return "timer", "It sleeps"
        case "condition" | "channel" as kind:
            return kind, f"It waits for {wait.text}"
        case _:
            return "other", f"It waits for {wait.text}"


def _time(at: float | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at, UTC)


def _by_inbox(facts: Facts) -> Iterator[Reason]:
    if not facts.unread or facts.unread_since is None:
        return
    queue = next(queue for queue in facts.queues if queue.name == facts.instance.queue)
    what = ", ".join(f"{count} {kind}" if count > 1 else kind for kind, count in sorted(facts.unread.items()))
    since = facts.unread_since
    if queue.workers:
        text = f"{what} came in {_ago(facts, since)} and a worker has yet to take the turn."
        yield Reason(kind="unread", text=text, since=since)
    else:
        text = (
            f"{what} came in {_ago(facts, since)}, and no worker that serves queue {queue.name!r} shows a sign of life."
        )
        yield Reason(kind="no_worker", text=text, since=since)


def _by_sweep(facts: Facts, found: Sequence[Reason]) -> Iterator[Reason]:
    needed = [reason for reason in found if reason.due is not None or reason.kind in ("lost_worker", "unread")]
    if needed and not facts.is_swept:
        text = "No worker looks for due work: timers, retries and what dead workers had will wait until one does."
        yield Reason(kind="no_sweep", text=text)


# --- words


def _place(wait: Wait) -> str:
    return f"{wait.location}: {wait.source}" if wait.source else wait.location


def _ago(facts: Facts, at: datetime) -> str:
    return f"{_for(facts, at)} ago"


def _for(facts: Facts, at: datetime) -> str:
    return duration((facts.at - at).total_seconds())


def _in(facts: Facts, at: datetime) -> str:
    return f"in {duration((at - facts.at).total_seconds())}"


def _until(facts: Facts, at: datetime) -> str:
    left = (at - facts.at).total_seconds()
    return f"for {duration(left)} more" if left > 0 else f"which was due {duration(-left)} ago"


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
