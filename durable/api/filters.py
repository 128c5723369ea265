"""What lists can be filtered by; one that does not exist, or is empty, is refused, so that no slip lists everything."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
from django import forms
from django.db.models import QuerySet
from django_filters import rest_framework as filters
from django_filters.fields import IsoDateTimeField
from rest_framework.exceptions import ValidationError

from durable.core import outside, texts
from durable.core.errors import InvalidInput
from durable.models import ActivityTask, Instance, Operation, Status
from durable.store import filters as stored
from durable.store import instances, listing

if TYPE_CHECKING:
    from rest_framework.request import Request

ALWAYS = {"fields", "limit", "cursor", "ordering", "format"}
"""What a request of any list may have beside its filters."""


_STORED = {
    **{"workflow": "name", "id_prefix": "id__startswith", "parent": "parent", "rerun_from": "rerun_from"},
    **{f"{name}_since": f"{name}_at__gte" for name in ("created", "started", "closed")},
    **{f"{name}_before": f"{name}_at__lt" for name in ("created", "started", "closed")},
    **{"version": "version", "queue": "queue", "attempt": "attempt", "attempt_min": "attempt__gte"},
}
"""What the filters are called where they are stored."""

_CREATED = {"workflow", "created_since", "created_before", "status"}
_OF = {
    "started_at": {"started_since", "started_before"},
    "closed_at": {"closed_since", "closed_before"},
    "id": {"id_prefix"},
}
"""The filters that indexes in the order of a field are by."""


class Number(filters.NumberFilter):
    """A whole number from 0."""

    field_class = forms.IntegerField

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, min_value=0, max_value=2**31 - 1, **kwargs)

    def get_max_validator(self) -> None:
        return None


class _Moment(IsoDateTimeField):
    """A time that databases can hold, which they do in UTC."""

    def to_python(self, value: Any) -> datetime | None:
        at: datetime | None = super().to_python(value)
        try:
            return at and at.astimezone(UTC)
        except OverflowError:
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid") from None


class Moment(filters.IsoDateTimeFilter):
    """A time."""

    field_class = _Moment


def _since(field: str) -> Moment:
    return Moment(field_name=field, lookup_expr="gte", help_text="At this time or later.")


def _before(field: str, **how: Any) -> Moment:
    return Moment(field_name=field, lookup_expr="lt", help_text="Before this time.", **how)


class Instances(filters.FilterSet):
    """Filters of instances."""

    status = filters.MultipleChoiceFilter(choices=Status.choices, help_text="May be given repeatedly.")
    workflow = filters.CharFilter(field_name="name", help_text="Its name, without the version.")
    version = Number(help_text="Of its workflow.")
    queue = filters.CharFilter(help_text="Where it runs.")
    tag = filters.CharFilter(method="by_tag", help_text="`name:value`; may be given repeatedly, all must fit.")
    id_prefix = filters.CharFilter(field_name="id", lookup_expr="startswith", help_text="What its id begins with.")
    parent = filters.CharFilter(field_name="parent_id", help_text="The id of the instance that started it.")
    has_parent = filters.BooleanFilter(
        field_name="parent_id", lookup_expr="isnull", exclude=True, help_text="Whether another instance started it."
    )
    rerun_from = filters.CharFilter(help_text="The instance that it is a rerun of.")
    attempt = Number(help_text="How many reruns led to it; 0 is a start.")
    attempt_min = Number(field_name="attempt", lookup_expr="gte", help_text="So many reruns at least.")
    created_since = _since("created_at")
    created_before = _before("created_at")
    started_since = _since("started_at")
    started_before = _before("started_at", method="by_end")
    closed_since = _since("closed_at")
    closed_before = _before("closed_at", method="by_end")

    class Meta:
        model = Instance
        fields: list[str] = []

    @cached_property
    def chosen(self) -> listing.Listing:
        """What is known of those that are chosen, whatever their status, when it comes to finding them."""
        found: dict[str, Any] = {}
        for name, key in _STORED.items():
            if (value := self.form.cleaned_data.get(name)) not in (None, ""):
                found[key] = value.isoformat() if isinstance(value, datetime) else value
        if self.tags:
            key, values = self.tags[0]
            found["tags__in"] = {key: values}
        return listing.listing(found)

    @cached_property
    def tags(self) -> list[tuple[str, list[Any]]]:
        """The tags that all must have, each with what its value may be."""
        return [_tag(given) for given in self.data.getlist("tag")]

    def along(self, field: str) -> list[QuerySet[Instance]]:
        """Return what indexes in the order of a field narrow them to, a part for each status; none if that is all."""
        given = {name for name in self.base_filters if self.data.get(name)}
        statuses = self.form.cleaned_data.get("status") or []
        if field == "created_at":
            if self.chosen.few or (self.chosen.fits and given <= _CREATED and len(statuses) < 2):
                return []
            return listing.of_status(self.chosen, statuses).along
        part, own = instances.rows().order_by().filter(**{f"{field}__isnull": False}), _OF[field]
        if given <= own:
            return []
        for name in given & own:
            part = part.filter(**{_STORED[name]: self.form.cleaned_data[name]})
        if field == "closed_at":  # the one other index that goes by the status
            return [part.filter(status=status) for status in statuses] or [part]
        return [part]

    def by_end(self, found: QuerySet[Instance], field: str, before: Any) -> QuerySet[Instance]:
        # Lists are in the order of creation, which comes first.
        return found.filter(**{f"{field}__lt": before, "created_at__lt": before})

    def by_tag(self, found: QuerySet[Instance], name: str, _: str) -> QuerySet[Instance]:
        for key, values in self.tags:
            # What many have is found on the way; its index would find all of them at once.
            found = stored.tagged(found, key, values, by_tag=self.chosen.few)
        return found


def _tag(text: str) -> tuple[str, list[Any]]:
    """Return the name and the values that ``name:value`` stands for."""
    key, colon, value = text.partition(":")
    if not (key and colon):
        raise ValidationError({"tag": "Write it as name:value."})
    try:
        return key, texts.check_plain([value, _json(value)], "tag")
    except InvalidInput as error:
        raise ValidationError({"tag": error.problem}) from None


def _json(text: str) -> Any:
    """Return what a text is as JSON, itself if it is none: ``42`` finds both the text and the number."""
    try:
        return outside.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return text


class Operations(filters.FilterSet):
    """Filters of the audit."""

    verb = filters.CharFilter(help_text="What was done.")
    instance = filters.CharFilter(field_name="instance_id", help_text="The id of the instance that it was done to.")
    actor = filters.CharFilter(field_name="actor_name", help_text="The name of whoever did it.")
    outcome = filters.MultipleChoiceFilter(choices=Operation.Outcome.choices, help_text="May be given repeatedly.")
    dry_run = filters.BooleanFilter(help_text="Whether it was only looked at.")
    since = _since("at")
    before = _before("at")

    class Meta:
        model = Operation
        fields: list[str] = []

    def along(self, rows: QuerySet[Operation]) -> list[QuerySet[Operation]]:
        """Return what the times narrow rows to, if there are filters that have no index; none if that is all."""
        given = {name for name in self.base_filters if self.data.get(name)}
        if "instance" in given or given <= {"since", "before"}:
            return []
        times = {"since": "at__gte", "before": "at__lt"}
        return [rows.filter(**{times[name]: self.form.cleaned_data[name] for name in given & times.keys()})]


class Tasks(filters.FilterSet):
    """Filters of open work."""

    state = filters.MultipleChoiceFilter(choices=ActivityTask.State.choices, help_text="May be given repeatedly.")
    name = filters.CharFilter(help_text="The activity's.")
    queue = filters.CharFilter(help_text="Whose workers run it.")

    class Meta:
        model = ActivityTask
        fields: list[str] = []


class Backend(filters.DjangoFilterBackend):
    """Filters as the view says, and refuses what is no filter."""

    def get_filterset(self, request: Request, queryset: Any, view: Any) -> Any:
        view.filters = super().get_filterset(request, queryset, view)
        return view.filters

    def filter_queryset(self, request: Request, queryset: Any, view: Any) -> Any:
        known = {*ALWAYS, *getattr(getattr(view, "filterset_class", None), "base_filters", ())}
        refuse_unknown(request, known)
        return super().filter_queryset(request, queryset, view)


def refuse_unknown(request: Request, known: set[str]) -> None:
    """Refuse parameters that do not exist, that say nothing, or that no database can hold.

    Raises:
        ValidationError: There is one.
    """
    for name, values in request.query_params.lists():
        if name not in known:
            raise ValidationError({name: f"There is no such parameter; there are {', '.join(sorted(known))}."})
        if "" in values:
            raise ValidationError({name: "It is empty: give a value, or leave it out."})
        if any("\0" in value for value in values):
            raise ValidationError({name: "NUL characters cannot be stored, so there is nothing to be found."})
