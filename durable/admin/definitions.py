"""What this process can run: workflows, each with a form that starts it, and activities."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib.admin.utils import quote
from django.core.exceptions import PermissionDenied
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from durable import conf, registry
from durable.admin import base, health, typed, words
from durable.client import access

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from django.contrib.admin import AdminSite
    from django.http import HttpRequest, HttpResponse

    from durable.core.definitions import ActivityDefinition, WorkflowDefinition

    Definition = WorkflowDefinition | ActivityDefinition

_LIMITS = (
    ("timeout", gettext_lazy("times out after")),
    ("schedule_to_start", gettext_lazy("begins within")),
    ("start_to_close", gettext_lazy("an attempt ends within")),
    ("schedule_to_close", gettext_lazy("ends within")),
    ("heartbeat", gettext_lazy("heartbeat every")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A workflow or an activity as the page lists it.

    Attributes:
        name: Its name, with the version.
        parameters: How it is called.
        about: The first line of its docstring.
        doc: The others.
        place: Where its code is, as ``file:line``.
        options: What was said of it, in words.
        start: Where the form that starts it is; empty if there is none.
    """

    name: str
    parameters: str
    about: str
    doc: str
    place: str
    options: list[str]
    start: str = ""


def view(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Show what can be run.

    Raises:
        PermissionDenied: The user may not see all instances.
    """
    if not access.may(request.user, access.VIEW):
        raise PermissionDenied
    links, starts = base.links(site), access.may(request.user, access.OPERATE)
    workflows = sorted(_ours_apart(registry.workflows()), key=lambda each: (each.name, -each.version))
    rows = [
        _row(each, each.type_name, start=links.to("start", quote(each.type_name)) if starts else "")
        for each in workflows
    ]
    activities = sorted(_ours_apart(registry.activities()), key=lambda each: each.name)
    shown = base.context(site, request, tab="definitions", title=_("Definitions"), workflows=rows)
    shown |= {"activities": [_row(each, each.name) for each in activities], "problems": list(health.problems())}
    return TemplateResponse(request, "admin/durable/definitions.html", shown)


def _ours_apart(found: Iterable[Any]) -> Iterator[Any]:
    return (each for each in found if not each.name.startswith(registry.OURS))


def _row(definition: Definition, name: str, *, start: str = "") -> Row:
    about, _blank, doc = (inspect.getdoc(definition.fn) or "").partition("\n")
    return Row(
        name=name,
        parameters=parameters(definition),
        about=about,
        doc=doc.strip(),
        place=_place(definition),
        options=list(_options(definition)),
        start=start,
    )


def parameters(definition: Definition) -> str:
    """Return how a workflow or an activity is called, as it is written."""
    shape = inspect.signature(definition.fn)
    told = [str(parameter.replace(annotation=parameter.empty)) for parameter in shape.parameters.values()]
    types = [typed.written(parameter.annotation) for parameter in shape.parameters.values()]
    shown = [_with_type(text, kind) for text, kind in zip(told, types, strict=True)]
    returns = typed.written(shape.return_annotation)
    return f"({', '.join(shown)}){f' -> {returns}' if returns else ''}"


def _with_type(text: str, kind: str) -> str:
    name, equals, default = text.partition("=")
    typed_name = f"{name}: {kind}" if kind else name
    return f"{typed_name} = {default}" if equals else typed_name


def _place(definition: Definition) -> str:
    code = getattr(inspect.unwrap(definition.fn), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else ""


def _options(definition: Definition) -> Iterator[str]:
    yield _("queue %(name)s") % {"name": definition.queue or conf.settings.QUEUE}
    if getattr(definition, "atomic", False):
        yield _("atomic: takes effect exactly once")
    if priority := getattr(definition, "priority", 0):
        yield _("priority %(n)s") % {"n": priority}
    if (retry := definition.retry) is not None:
        tries = _("without end") if not retry.max_attempts else retry.max_attempts
        yield _("attempts: %(n)s") % {"n": tries}
    for name, label in _LIMITS:
        if (seconds := getattr(definition, name, None)) is not None:
            yield f"{label} {words.lasted(seconds)}"
