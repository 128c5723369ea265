"""The page of an instance: what happened, what happens, and why it does not go on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.http import HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext_lazy as _

from durable import client
from durable.admin import base, drawing, family, feeds, forms, health, lists, verbs, words
from durable.client import access, batching, parts, redacting, steps
from durable.core.errors import UndecodableEvent, UndecodablePayload, UnknownExecution
from durable.core.failures import Failure
from durable.models import CLOSED, OPEN, Status
from durable.store import clock, instances, tasks, updates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from django.contrib.admin import AdminSite
    from django.http import HttpRequest

    from durable.client import HistoryItem, TaskFacts
    from durable.models import Execution, Instance, Update

SHOWN = 200
"""How many events, or steps, a page of the history has."""

DRAWN = 2500
"""How many steps are drawn. A history of more than twice as many events is drawn from where the page shows it on."""

_LONG = 20_000

PAYLOADS = (
    ("input", _("Input")),
    ("result", _("Result")),
    ("custom_status", _("Custom status")),
    ("headers", _("Headers")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event as the history shows it.

    Attributes:
        after: When, counted from the first event.
        data: Its payload as JSON, perhaps cut; None if it is hidden.
        cut: Whether it is cut.
        leads: Whether it is the first of its event id that the page shows: links to that lead here.
    """

    item: HistoryItem
    after: str
    data: str | None
    cut: bool
    leads: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A step as the compact history shows it."""

    step: steps.Step
    after: str
    took: str
    events: list[Event]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """An activity that has not ended.

    Attributes:
        beat: What it told with its last heartbeat, as JSON; empty if that is nothing, or hidden.
    """

    task: TaskFacts
    due: str
    gives_up: str
    heartbeat: str
    beat: str
    worker: str


def view(site: AdminSite, request: HttpRequest, object_id: str) -> HttpResponse:
    """Show an instance.

    Raises:
        UnknownInstance: There is none of this id, or the user may not know that there is.
    """
    found, links = _find(request, object_id), base.links(site)
    try:
        execution = instances.execution(found, request.GET.get("execution") or None)
    except UnknownExecution as error:
        messages.error(request, str(error))
        return HttpResponseRedirect(links.instance(found.pk))
    hides, now = not access.may(request.user, access.PAYLOAD, found), clock.now()
    asked = _asked(request, execution)
    known, unread = _read(partial(_steps, asked, found.status), [], hides=hides)
    shown = base.context(site, request, tab="instance_changelist", title=found.pk, instance=found, hides=hides)
    shown |= _head(request, found, execution, links, now=now, hides=hides)
    history, unread_too = _read(partial(_history, asked, known, status=found.status, hides=hides), {}, hides=hides)
    shown |= _around(asked, history) | history | {"unread": unread or unread_too}
    if execution.pk == found.execution_id:
        shown |= _read(partial(_work, request.user, found, links, now=now, hides=hides), {}, hides=hides)[0]
    going, visible = now if execution.closed_at is None else None, shown["visible"]
    shown |= drawing.context(request, known[:DRAWN], shown.get("work", ()), visible, now=going)
    shown["drawn_in_part"] = asked.drawn_after > 0 or len(known) > DRAWN
    shown |= family.context(request.user, found, links)
    return TemplateResponse(request, "admin/durable/instance/page.html", shown)


def _find(request: HttpRequest, object_id: str) -> Instance:
    """Return an instance; without its payloads if those cannot be read."""
    try:
        return access.find(request.user, unquote(object_id))
    except UndecodablePayload:
        return access.find(request.user, unquote(object_id), payloads=False)


def _read(read: Callable[[], Any], instead: Any, *, hides: bool = False) -> tuple[Any, str]:
    """Return what a function reads, or what is to be shown instead, and why."""
    try:
        return read(), ""
    except (UndecodablePayload, UndecodableEvent) as error:
        return instead, str(redacting.error(error) if hides else error)


def _head(
    request: HttpRequest, found: Instance, execution: Execution, links: base.Links, *, now: datetime, hides: bool
) -> dict[str, Any]:
    offered = [(links.verb(found.pk, verb.name), verb) for verb in verbs.offered(request.user, found)]
    repairs = access.may(request.user, access.REPAIR, found)
    return {
        "row": lists.row(found, links, now),
        "execution": execution,
        "is_current": execution.pk == found.execution_id,
        "executions": list(instances.executions().filter(instance=found).order_by("-number")[:SHOWN]),
        "verbs": offered,
        "restore": links.verb(found.pk, "restore") if repairs else "",
        "rerun": links.verb(found.pk, "rerun") if repairs else "",
        "rewind": links.verb(found.pk, "rewind") if repairs and found.status in CLOSED else "",
        "payloads": [] if hides else [(label, _payload(found, name)) for name, label in PAYLOADS],
        "failures": [] if hides else list(_chain(_read(partial(getattr, found, "failure"), None)[0])),
        "stall": found.stall and (redacting.stall(found.stall) if hides else found.stall),
        "problems": list(health.problems()) if found.status in OPEN else [],
        "updates": list(_updates(found, execution, hides=hides)),
        "live": links.of("live", found.pk) if found.status in OPEN else "",
        "state": feeds.state(found),
        "address": links.instance(found.pk),
        "download": f"{links.of('download', found.pk)}?execution={execution.pk}",
        "explain": f"{links.of('explain', found.pk)}?execution={execution.pk}",
        "compare": links.of("compare", found.pk),
        "audit": f"{links.to('operation_changelist')}?{urlencode({'instance': found.pk})}",
        "is_batch": found.name == batching.NAME,
        "batch_url": links.of("batch_report", found.pk) if found.name == batching.NAME else "",
        "started": words.ago(found.started_at, now) if found.started_at else "",
        "closed": words.ago(found.closed_at, now) if found.closed_at else "",
    }


def _updates(found: Instance, execution: Execution, *, hides: bool) -> Iterator[tuple[Update, str]]:
    """Yield what clients asked of the code, and what came of it; empty if that is hidden, or nothing yet."""
    rows = updates.rows().filter(execution=execution).order_by("-id")[:SHOWN] if found.has_updates else ()
    for row in rows:
        if hides or row.ended_at is None:
            yield row, ""
        elif row.failure:
            yield row, f"{row.failure.get('type', '')}: {row.failure.get('message', '')}"[:_LONG]
        else:
            yield row, _payload(row, "result")[:_LONG]


def _payload(found: Instance | Update, name: str) -> str:
    value, unread = _read(partial(getattr, found, name), None)
    return unread if value in (None, {}, []) else forms.pretty(value)


def _chain(failure: dict[str, Any] | None) -> Iterator[Failure]:
    """Yield a failure, and what it was raised from, outermost first."""
    found = Failure.from_json({"type": "WorkflowFailed", **failure}) if failure else None
    while found is not None:
        yield found
        found = found.cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which part of a history is to be shown.

    Attributes:
        length: How many events the history has.
        start: When the first of them was recorded.
        after: Behind which event it is to be shown.
        drawn_after: Behind which event it is to be drawn.
        kind: Only events of this kind; empty is all.
        whole: Whether events are to be shown, and not steps.
    """

    request: HttpRequest
    execution: Execution
    length: int
    start: datetime | None
    after: int
    drawn_after: int
    kind: str
    whole: bool


def _asked(request: HttpRequest, execution: Execution) -> Asked:
    kind, length, after = request.GET.get("kind", ""), parts.length(execution.pk), _after(request, execution)
    return Asked(
        request=request,
        execution=execution,
        length=length,
        start=parts.began(execution.pk),
        after=after,
        drawn_after=0 if length <= 2 * DRAWN else after,
        kind=kind,
        whole=bool(kind) or request.GET.get("history") == "full",
    )


def _steps(asked: Asked, status: str) -> list[steps.Step]:
    return parts.steps(asked.execution.pk, status=status, after=asked.drawn_after, limit=DRAWN + 1)


def _history(asked: Asked, known: Sequence[steps.Step], *, status: str, hides: bool) -> dict[str, Any]:
    """Return the part of the history that is shown, and its last event; None if nothing follows."""
    if asked.whole:
        kinds = [asked.kind] if asked.kind else []
        items = parts.part(asked.execution.pk, status=status, after=asked.after, limit=SHOWN + 1, kinds=kinds)
        last = items[SHOWN - 1].seq if len(items) > SHOWN else None
        leading = {item.event_id: item.seq for item in reversed(items[:SHOWN]) if item.event_id is not None}.values()
        events = [_event(item, asked.start, hides=hides, leads=item.seq in leading) for item in items[:SHOWN]]
        return {"events": events, "last": last}
    found = [step for step in known if step.seq > asked.after]
    if len(known) > DRAWN and len(found) <= SHOWN:  # it is drawn from its beginning, and that is too far away
        found = parts.steps(asked.execution.pk, status=status, after=asked.after, limit=SHOWN + 1)
    last = found[SHOWN - 1].seq if len(found) > SHOWN else None
    return {"lines": [_line(step, asked.start, hides=hides) for step in found[:SHOWN]], "last": last}


def _around(asked: Asked, history: dict[str, Any]) -> dict[str, Any]:
    """Return what the page says of the rest of the history, and how to get there."""
    last = history.get("last")
    lasts = 0 if last is None or asked.kind else parts.before_last(asked.execution.pk, SHOWN, whole=asked.whole)
    return {
        "kinds": parts.kinds(asked.execution.pk),
        "kind": asked.kind,
        "whole": asked.whole,
        "length": asked.length,
        "more": "" if last is None else _behind(asked, last),
        "end": "" if last is None or asked.kind else _behind(asked, max(last, lasts)),
        "visible": {"first": asked.after, "last": last},
    }


def _behind(asked: Asked, seq: int) -> str:
    query = asked.request.GET.copy()
    query["after"] = str(seq)
    query.pop("event", None)
    return f"?{query.urlencode()}#history"


def _after(request: HttpRequest, execution: Execution) -> int:
    """Return behind which event the history is to be shown: the one that is told, or the one before an event id."""
    told, event_id = (_number(request.GET.get(name, "")) for name in ("after", "event"))
    if event_id is None:
        return told or 0
    seq = parts.place_of(execution.pk, event_id) or 0
    return seq - 1 if seq > SHOWN else 0


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 10 else None


def _event(item: HistoryItem, start: datetime | None, *, hides: bool, leads: bool = False) -> Event:
    text = forms.pretty(item.data)
    after = words.lasted((item.recorded_at - start).total_seconds()) if start else ""
    return Event(item=item, after=after, data=None if hides else text[:_LONG], cut=len(text) > _LONG, leads=leads)


def _line(step: steps.Step, start: datetime | None, *, hides: bool) -> Line:
    return Line(
        step=step,
        after=words.lasted((step.began - start).total_seconds()) if start else "",
        took="" if step.seconds is None else words.lasted(step.seconds),
        events=[_event(item, start, hides=hides) for item in step.events],
    )


def _work(user: Any, found: Instance, links: base.Links, *, now: datetime, hides: bool) -> dict[str, Any]:
    """Return what is open, and why the instance does not go on."""
    if found.status in CLOSED:
        return {}
    why = client.why(found.pk)
    rows = tasks.rows().filter(execution_id=found.execution_id, heartbeat_at__isnull=False)
    told = rows.values_list("event_id", "heartbeat_at", "heartbeat_details")[:SHOWN]
    beats = {event_id: (at, None if hides else details) for event_id, at, details in told}
    leases = {lease.event_id: lease for lease in why.leases}
    shown = redacting.without_children(why, access.visible(user, set(why.children)))
    shown = redacting.why(shown) if hides else shown
    return {
        "why": shown,
        "is_told": found.status == Status.STALLED and str(shown.trouble) == (found.stall or {}).get("message"),
        "work": [_of_task(task, leases, beats, now) for task in shown.tasks],
        "in_place": [lease for lease in why.leases if lease.in_place],
        "awaited_children": [(links.instance(child), child, said) for child, said in shown.children.items()],
    }


def _of_task(task: TaskFacts, leases: dict[int, Any], beats: dict[int, tuple[Any, Any]], now: datetime) -> Work:
    (beat, details), lease = beats.get(task.event_id, (None, None)), leases.get(task.event_id)
    return Work(
        task=task,
        due=words.ago(task.due, now) if task.lease is None else "",
        gives_up=words.ago(task.gives_up_at, now) if task.gives_up_at else "",
        heartbeat=words.ago(beat, now) if beat else "",
        beat="" if details in (None, [], {}) else forms.pretty(details)[:_LONG],
        worker="" if lease is None else lease.worker,
    )
