"""The filters of the list of instances: a form, and the filter that it stands for."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from django import forms
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from durable import registry
from durable.client import wording
from durable.core import outside, texts
from durable.core.errors import InvalidInput
from durable.engine import stalling
from durable.models import CLOSED, OPEN, Status
from durable.store import clock, filters

if TYPE_CHECKING:
    from django.http import QueryDict

_LARGEST = 2**31 - 1
_GROUPS = {"open": [str(each) for each in OPEN], "closed": [str(each) for each in CLOSED]}

_SPANS = {
    "hour": _("in the last hour"),
    "day": _("in the last 24 hours"),
    "week": _("in the last 7 days"),
    "month": _("in the last 30 days"),
}
_LENGTHS = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
}
"""How long ago each of these began: counted from whenever the list is looked at, so that a saved filter stays true."""


def _when() -> Any:
    return forms.DateTimeInput(attrs={"type": "datetime-local", "step": "1"}, format="%Y-%m-%dT%H:%M:%S")


def _time(label: Any) -> forms.DateTimeField:
    formats = ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d"]
    return forms.DateTimeField(label=label, required=False, widget=_when(), input_formats=formats)


def _text(label: Any, **attrs: Any) -> forms.CharField:
    return forms.CharField(label=label, required=False, max_length=255, widget=forms.TextInput(attrs=attrs))


def _lately(label: Any) -> forms.ChoiceField:
    return forms.ChoiceField(label=label, required=False, choices=[("", _("any time")), *_SPANS.items()])


def _hidden() -> forms.CharField:
    return forms.CharField(required=False, max_length=255, strip=False, widget=forms.HiddenInput)


class Filters(forms.Form):
    """What the list can be filtered by."""

    q = _text(_("Search"), type="search", placeholder=_("id, name=value of a tag, or text of an error"))
    status = forms.ChoiceField(
        label=_("Status"),
        required=False,
        choices=[("", _("all")), ("open", _("open")), ("closed", _("closed")), *Status.choices],
        widget=forms.HiddenInput,
    )
    workflow = _text(_("Workflow"), list="durable-workflows", autocomplete="off")
    version = forms.IntegerField(label=_("Version"), required=False, min_value=0, max_value=_LARGEST)
    queue = _text(_("Queue"))
    tag = _text(_("Tag"), placeholder=_("name=value"))
    stall = forms.ChoiceField(
        label=_("Stalled, because"),
        required=False,
        choices=[
            ("", _("any reason")),
            *((each, wording.WORDS[each]) for each in (*stalling.REASONS.values(), stalling.POISON)),
        ],
    )
    parent_is = forms.ChoiceField(
        label=_("Parent"), required=False, choices=[("", _("any")), ("yes", _("is a child")), ("no", _("is none"))]
    )
    again = forms.BooleanField(label=_("Only reruns and restarts"), required=False)
    started = _lately(_("Started"))
    closed = _lately(_("Closed"))
    started_since = _time(_("Started since"))
    started_before = _time(_("Started before"))
    closed_since = _time(_("Closed since"))
    closed_before = _time(_("Closed before"))
    parent = _hidden()
    rerun_from = _hidden()
    fingerprint = _hidden()

    def clean_tag(self) -> str:
        given: str = self.cleaned_data["tag"]
        if given and not all(given.partition("=")[::2]):
            raise forms.ValidationError(_("Write it as name=value."))
        return given

    def plain(self) -> dict[str, Any]:
        """Return the filter but for the search, as ``filters.find`` and batches take it."""
        given = self.cleaned_data
        same = {"workflow": "name", "version": "version", "queue": "queue", "stall": "stall_reason"}
        same |= {"parent": "parent", "rerun_from": "rerun_from", "fingerprint": "fingerprint"}
        found = {key: given[name] for name, key in same.items() if given[name] not in ("", None)}
        for field in ("started", "closed"):
            lately = clock.now() - _LENGTHS[given[field]] if given[field] else None
            if since := max(filter(None, (given[f"{field}_since"], lately)), default=None):
                found[f"{field}_at__gte"] = since.isoformat()
            if before := given[f"{field}_before"]:
                found[f"{field}_at__lt"] = before.isoformat()
        if given["parent_is"]:
            found["parent__isnull"] = given["parent_is"] == "no"
        if given["again"]:
            found["attempt__gt"] = 0
        if given["tag"]:
            found["tags__in"] = tag(given["tag"])
        return found

    def statuses(self) -> list[str]:
        """Return the statuses that are wanted; none if all are."""
        status = self.cleaned_data["status"]
        return _GROUPS.get(status, [status]) if status else []

    def by_status(self) -> dict[str, Any]:
        """Return what the filter says of the status."""
        wanted = self.statuses()
        return {"status__in": wanted} if wanted else {}


def tag(text: str) -> dict[str, list[Any]]:
    """Return what ``name=value`` stands for: ``42`` finds both the number and the text, if there can be both."""
    name, _equals, value = text.partition("=")
    values: list[Any] = [value]
    with suppress(msgspec.MsgspecError, UnicodeError, RecursionError, InvalidInput):
        values.append(texts.check_plain(outside.decode(value), "tag"))
    return {name: values}


def given(form: Filters) -> dict[str, str]:
    """Return what a form was given that filters, field by field: a box that is not ticked does not."""
    return {name: str(form.data[name]) for name in form.fields if form[name].data}


def told(form: Filters, name: str, value: str) -> str:
    """Return a value of a filter as people are told it: of a choice, its label."""
    field = form.fields[name]
    choices: Any = field.choices if isinstance(field, forms.ChoiceField) else ()
    labels = {str(key): str(label) for key, label in choices}
    return str(_("yes")) if isinstance(field, forms.BooleanField) else labels.get(value, value)


def search(text: str, *, payloads: bool) -> tuple[dict[str, Any], Q]:
    """Return what a search means: a filter, or a condition if no filter can say it.

    The id counts first: errors are looked through if no id begins so.

    Args:
        text: What was typed.
        payloads: Whether the user may see payloads, which errors may quote.
    """
    if not text:
        return {}, Q()
    if all(text.partition("=")[::2]):
        return {"tags__in": tag(text)}, Q()
    prefix = {"id__startswith": text}
    if not payloads or filters.find(prefix).exists():
        return prefix, Q()
    stored = msgspec.json.encode(text).decode()[1:-1]  # as it stands in JSON
    return {}, Q(failed_at__isnull=False) & (Q(failure__icontains=stored) | Q(stall__message__icontains=text))


def workflows() -> list[str]:
    """Return the names of the workflows that this process knows, for the form to suggest."""
    return sorted({definition.name for definition in registry.workflows()})


def parse(data: QueryDict) -> tuple[Filters, dict[str, Any] | None]:
    """Return the form and its filter; None if that cannot be taken."""
    form = Filters(data)
    if not form.is_valid():
        return form, None
    try:
        filters.find({"version__gte": 0, **form.plain()})
    except InvalidInput as error:
        form.add_error(None, str(error))
        return form, None
    return form, form.plain()
