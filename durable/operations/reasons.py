"""Why an instance does not go on, from what is known of it: reasons in words, the one that counts most first.

The words are in the language of whoever asks; the kinds are for programs.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from durable.models import OPEN, ActivityTask, Status
from durable.operations import saying

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
        return _("It is about to go on: nothing that it waits for is missing.")
    first, others = reasons[0], len(reasons) - 1
    if not others:
        return first.text
    told = ngettext("%(reason)s (and %(count)s more).", "%(reason)s (and %(count)s more).", others)
    return told % {"reason": first.text[:-1], "count": others}


def _by_status(facts: Facts) -> Iterator[Reason]:
    instance = facts.instance
    if instance.status not in OPEN:
        failure = instance.failure or {}
        what = ": ".join(str(failure[key]) for key in ("type", "message") if failure.get(key))
        closed_at = instance.closed_at or facts.at
        text = _ENDED[instance.status] % {"ago": _ago(facts, closed_at)}
        yield Reason(kind="closed", text=f"{text}{f': {what}' if what else ''}.", since=instance.closed_at)
    elif instance.status == Status.SUSPENDED:
        why = f" ({facts.suspension})" if facts.suspension else ""
        text = _("It was suspended%(why)s: resume it.") % {"why": why}
        yield Reason(kind="suspended", text=text, since=facts.last_turn)
    elif instance.status == Status.STALLED:
        stall = instance.stall or {}
        parts = {"reason": stall.get("reason", ""), "message": _sentence(stall.get("message", ""))}
        told = [_("Its code cannot go on (%(reason)s): %(message)s") % parts]
        if instance.retry_at:
            told.append(_("It is tried again in %(time)s.") % {"time": _till(facts, instance.retry_at)})
        yield Reason(kind="stalled", text=" ".join(told), since=facts.last_turn, due=instance.retry_at)
    elif facts.starts_at is not None and facts.starts_at > facts.at:
        text = _("It is to start in %(time)s.") % {"time": _till(facts, facts.starts_at)}
        yield Reason(kind="delayed", text=text, since=instance.created_at, due=facts.starts_at)


_ENDED: dict[str, Any] = {
    Status.COMPLETED: gettext_lazy("It completed %(ago)s"),
    Status.FAILED: gettext_lazy("It failed %(ago)s"),
    Status.CANCELED: gettext_lazy("It was canceled %(ago)s"),
    Status.TERMINATED: gettext_lazy("It was terminated %(ago)s"),
}


def _by_lease(facts: Facts) -> Iterator[Reason]:
    if facts.lease is not None:
        yield _running(facts.lease)


def _running(lease: LeaseFacts, since: datetime | None = None) -> Reason:
    parts = {"name": repr(lease.name), "id": lease.event_id, "worker": lease.worker}
    if lease.is_alive:
        text = _("Activity %(name)s (event %(id)s) runs on %(worker)s.")
        return Reason(kind="running", text=text % parts, event_id=lease.event_id, since=since)
    text = _(
        "The worker %(worker)s, which ran activity %(name)s (event %(id)s), has shown no sign of life for long; "
        "others will get it."
    )
    return Reason(kind="lost_worker", text=text % parts, event_id=lease.event_id, since=lease.until)


def _by_tasks(facts: Facts) -> Iterator[Reason]:
    queues = {queue.name: queue for queue in facts.queues}
    for task in facts.tasks:
        yield _of_task(facts, task, queues[task.queue])


def _of_task(facts: Facts, task: TaskFacts, queue: QueueFacts) -> Reason:
    if task.lease is not None:
        return _running(task.lease, since=task.created_at)
    parts: dict[str, Any] = {"name": repr(task.name), "id": task.event_id, "queue": repr(queue.name)}
    if task.state == _State.EXTERNAL:
        kind = "external"
        text = _(
            "Activity %(name)s (event %(id)s) has to be completed from outside, "
            "with client.complete_activity%(failed)s."
        )
    elif not queue.workers:
        kind = "no_worker"
        text = _(
            "Activity %(name)s (event %(id)s) waits on queue %(queue)s, and no worker that serves it "
            "shows a sign of life%(failed)s."
        )
    elif task.due > facts.at:
        kind, parts = "retry", {**parts, "time": _till(facts, task.due), "attempt": task.attempt}
        text = _("Activity %(name)s (event %(id)s) is tried again in %(time)s, attempt %(attempt)s%(failed)s.")
    else:
        kind, parts = "queued", {**parts, "time": _since(facts, task.due), "others": _others(queue.backlog - 1)}
        text = _("Activity %(name)s (event %(id)s) has waited on queue %(queue)s for %(time)s%(others)s%(failed)s.")
    due = task.due if task.due > facts.at else None
    since = task.due if kind == "queued" else task.created_at
    told = text % {**parts, "failed": _failed(task)}
    return Reason(kind=kind, text=told, event_id=task.event_id, since=since, due=due)


def _failed(task: TaskFacts) -> str:
    """Return what an activity failed with the last time, as the end of a sentence."""
    if task.last_failure is None:
        return ""
    return _(", after %(failure)s") % {"failure": f"{task.last_failure.type}: {task.last_failure.message}"}


def _others(count: int) -> str:
    """Return how many others wait as well, as the end of a sentence."""
    if count < 1:
        return ""
    shown = {"count": number_format(count, use_l10n=True, force_grouping=True)}
    return ngettext(", with %(count)s other", ", with %(count)s others", count) % shown


def _by_waits(
    facts: Facts, waits: Sequence[Wait], unread: Mapping[str, int], children: Mapping[str, str]
) -> Iterator[Reason]:
    handed_out = {task.event_id for task in facts.tasks} | ({facts.lease.event_id} if facts.lease else set())
    for wait in waits:
        if wait.kind in _DERIVED or wait.event_id in handed_out or (facts.tasks_omitted and wait.kind == "activity"):
            continue
        if _is_lost(facts, wait):
            text = _("Nothing stands behind %(what)s any more, for which it waits at %(place)s: recover it.")
            told = text % {"what": saying.wait(wait), "place": _place(wait)}
            yield Reason(kind="lost_work", text=told, event_id=wait.event_id, since=_time(wait.since))
        elif not _is_answered(facts, wait):
            due = _time(wait.due)
            kind, text = _of_wait(facts, wait, unread, children)
            text = f"{text}{_limit(facts, due)}."
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
    parts = {"what": saying.wait(wait), "place": _place(wait)}
    match wait.kind:
        case "signal" if unread:
            text = _("Nobody has sent %(what)s yet; unread are %(others)s: it waits at %(place)s")
            others = ", ".join(f"{name!r} ({count})" for name, count in unread.items())
            return "signal", text % {**parts, "others": others}
        case "signal":
            return "signal", _("Nobody has sent %(what)s yet: it waits at %(place)s") % parts
        case "child":
            status, said = facts.children[wait.name], children.get(wait.name)
            text = _("It waits for %(what)s, which is %(status)s, at %(place)s")
            state = f"{saying.status(status)}{f' [{said}]' if said else ''}"
            return "child", text % {**parts, "status": state}
        case "timer":
            return "timer", _("It sleeps at %(place)s") % parts
        case "condition" | "channel" as kind:
            return kind, _("It waits for %(what)s at %(place)s") % parts
        case _:
            return "other", _("It waits for %(what)s at %(place)s") % parts


def _time(at: float | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at, UTC)


def _by_inbox(facts: Facts) -> Iterator[Reason]:
    if not facts.unread or facts.unread_since is None:
        return
    queue = next(queue for queue in facts.queues if queue.name == facts.instance.queue)
    what = ", ".join(f"{count} {kind}" if count > 1 else kind for kind, count in sorted(facts.unread.items()))
    since = facts.unread_since
    parts = {"what": what, "ago": _ago(facts, since), "queue": repr(queue.name)}
    if queue.workers:
        text = _("%(what)s came in %(ago)s and a worker has yet to take the turn.")
        yield Reason(kind="unread", text=text % parts, since=since)
    else:
        text = _("%(what)s came in %(ago)s, and no worker that serves queue %(queue)s shows a sign of life.")
        yield Reason(kind="no_worker", text=text % parts, since=since)


def _by_sweep(facts: Facts, found: Sequence[Reason]) -> Iterator[Reason]:
    needed = [reason for reason in found if reason.due is not None or reason.kind in ("lost_worker", "unread")]
    if needed and not facts.is_swept:
        text = _("No worker looks for due work: timers, retries and what dead workers had will wait until one does.")
        yield Reason(kind="no_sweep", text=text)


# --- words


def _place(wait: Wait) -> str:
    return f"{wait.location}: {wait.source}" if wait.source else wait.location


def _ago(facts: Facts, at: datetime) -> str:
    return _("%(time)s ago") % {"time": _since(facts, at)}


def _since(facts: Facts, at: datetime) -> str:
    return saying.duration((facts.at - at).total_seconds())


def _till(facts: Facts, at: datetime) -> str:
    return saying.duration((at - facts.at).total_seconds())


def _limit(facts: Facts, due: datetime | None) -> str:
    """Return until when it waits, as the end of a sentence."""
    if due is None:
        return ""
    if due > facts.at:
        return _(", for %(time)s more") % {"time": _till(facts, due)}
    return _(", which was due %(ago)s") % {"ago": _ago(facts, due)}


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
