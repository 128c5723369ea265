"""The audit log: who did what to which instance, or tried to."""

from __future__ import annotations

import csv
import json
from datetime import UTC
from io import StringIO
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied, ValidationError
from django.forms import DateTimeField
from django.http import HttpResponseRedirect, StreamingHttpResponse
from django.urls import path
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from durable.admin import base, forms, verbs
from durable.client import sending
from durable.core import texts
from durable.templatetags import durable_words

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence
    from datetime import datetime

    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse
    from django.http.response import HttpResponseBase
    from django.urls import URLPattern

    from durable.models import Operation

_COLUMNS = (
    "at",
    "verb",
    "instance_id",
    "actor_name",
    "actor_key",
    "reason",
    "arguments",
    "dry_run",
    "outcome",
    "error",
)
_LOOKUPS = {"verb", "outcome__exact", "dry_run__exact", "at__gte", "at__lt", "instance"}
"""What the filters send: others, such as regular expressions, may cost the database any time, or not be taken."""

_TIMES, _PAGING = {"at__gte", "at__lt"}, {"p", "o", "all", "e", "_facets"}

_AMONG = 20_000
"""Among how many entries a page looks for those that fit, where no index finds them."""

_AT_ONCE = 1000
"""How many rows of a file are in memory at a time."""

_MOMENT = DateTimeField()
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


class ByVerb(admin.SimpleListFilter):
    """By what was done; the verbs are known, so that nothing has to be counted."""

    title = _("verb")
    parameter_name = "verb"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return sorted(((name, verbs.word(name)) for name in (*verbs.VERBS, *verbs.OTHERS)), key=itemgetter(1))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Operation]) -> QuerySet[Operation]:
        return queryset.filter(verb=self.value()) if self.value() else queryset


class ByTime(admin.DateFieldListFilter):
    """By when it was done."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.title = _("time")

    def queryset(self, request: HttpRequest, queryset: QuerySet[Operation]) -> QuerySet[Operation]:
        try:
            # Not by the texts: a time that there is not in UTC would be found out only by the database.
            times = {name: _MOMENT.clean(text).astimezone(UTC) for name, text in self.date_params.items()}
        except (ValidationError, OverflowError) as error:
            raise IncorrectLookupParameters(error) from None
        return queryset.filter(**times)


class ByInstance(admin.SimpleListFilter):
    """By instance; there are too many to list, so that the pages of instances lead here."""

    title = _("instance")
    parameter_name = "instance"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(self.value() or "", self.value() or "")] if self.value() else []

    def has_output(self) -> bool:
        return bool(self.value())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Operation]) -> QuerySet[Operation]:
        return queryset.filter(instance_id=self.value()) if self.value() else queryset


class Log(ChangeList):
    """The list: what no index finds is looked for among so many entries at a time.

    Attributes:
        until: The time to which a page looked that may be short; None if it looked at all.
        further: The address of what comes behind it.
    """

    until: datetime | None = None
    further = ""

    def get_results(self, request: HttpRequest) -> None:
        """Find what the page shows."""
        given = {name for name, text in request.GET.items() if text} - _PAGING
        if "instance" not in given and not given <= _TIMES:
            spec: Any = next((each for each in self.filter_specs if isinstance(each, ByTime)), None)
            along = self.root_queryset if spec is None else spec.queryset(request, self.root_queryset)
            times = along.order_by("-at").values_list("at", flat=True)
            self.until = next(iter(times[_AMONG - 1 : _AMONG]), None)
        if self.until is not None:
            self.queryset = self.queryset.filter(at__gte=self.until)
            self.further = self.get_query_string({"at__lt": self.until.isoformat()}, ["p"])
        super().get_results(request)


def _quoted(text: str) -> str:
    """Return what somebody, or an error, said: nobody's words to translate."""
    return format_html('<span translate="no">{}</span>', text) if text else ""


class OperationAdmin(base.ReadOnly):
    """What somebody did to an instance, or tried to."""

    list_display = ("moment", "what", "instance", "actor_name", "became", "why", "refusal")
    list_display_links = ("moment",)
    list_filter = (ByVerb, "outcome", "dry_run", ("at", ByTime), ByInstance)
    search_fields = ("instance_id__startswith", "actor_name__startswith")
    search_help_text = _("The beginning of an instance's id, or of a name")
    ordering = ("-at", "-id")
    sortable_by = ()
    empty_value_display = ""
    fields = ("moment", "what", "instance", "actor_name", "reason", "told", "dry_run", "outcome", "refusal")
    readonly_fields = fields
    change_list_template = "admin/durable/operation/change_list.html"

    @admin.display(description=_("at"), ordering="at")
    def moment(self, row: Operation) -> str:
        return durable_words.moment(row.at)

    @admin.display(description=_("verb"))
    def what(self, row: Operation) -> str:
        return verbs.word(row.verb)

    @admin.display(description=_("instance"))
    def instance(self, row: Operation) -> str:
        if not row.instance_id:
            return "-"
        return format_html(
            '<a href="{}" translate="no">{}</a>', base.links(self.admin_site).instance(row.instance_id), row.instance_id
        )

    @admin.display(description=_("outcome"))
    def became(self, row: Operation) -> str:
        outcome = row.get_outcome_display()
        return f"{outcome} ({_('dry run')})" if row.dry_run else outcome

    @admin.display(description=_("reason"))
    def why(self, row: Operation) -> str:
        return _quoted(texts.cut(row.reason, 80))

    @admin.display(description=_("error"))
    def refusal(self, row: Operation) -> str:
        return _quoted(row.error)

    @admin.display(description=_("arguments"))
    def told(self, row: Operation) -> str:
        return format_html('<pre translate="no">{}</pre>', forms.pretty(row.arguments))

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Say whether the list can be filtered so: by its filters only."""
        return lookup in _LOOKUPS

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return what makes the list."""
        return Log

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Return what a request asks of the list.

        Raises:
            IncorrectLookupParameters: It cannot be found: databases hold no NUL characters, and refuse them.
        """
        if any("\0" in text for name, values in request.GET.lists() for text in (name, *values)):
            raise IncorrectLookupParameters
        return super().get_changelist_instance(request)

    def get_urls(self) -> list[URLPattern]:
        """Return the addresses; ours comes before those of Django, which take any id."""
        export = path("export/", self.admin_site.admin_view(self.export), name="durable_audit_export")
        return [export, *super().get_urls()]

    def export(self, request: HttpRequest) -> HttpResponseBase:
        """Give what the list shows as CSV, all pages of it, by the filters and the search of the list.

        Raises:
            PermissionDenied: The user may not see all instances.
        """
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            found = self.get_changelist_instance(request).get_queryset(request)
        except IncorrectLookupParameters:
            return HttpResponseRedirect(base.links(self.admin_site).to("operation_changelist"))
        lines = sending.content(request, _lines(found.iterator(chunk_size=_AT_ONCE)))
        response = StreamingHttpResponse(lines, content_type="text/csv")
        response["Content-Disposition"] = 'attachment; filename="audit-log.csv"'
        return response

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        tabs = base.context(self.admin_site, request, tab="operation_changelist")["tabs"]
        export = f"{base.links(self.admin_site).to('audit_export')}?{request.GET.urlencode()}"
        shown = {"title": _("Audit log"), "tabs": tabs, "export": export}
        return super().changelist_view(request, {**shown, **(extra_context or {})})


def _lines(rows: Iterator[Operation]) -> Generator[str, None, None]:
    """Yield the file, many rows at a time: to send costs more than to write."""
    yield _written([_COLUMNS])
    while some := list(islice(rows, _AT_ONCE)):
        yield _written([_cell(getattr(row, name)) for name in _COLUMNS] for row in some)


def _written(rows: Iterable[Sequence[str]]) -> str:
    file = StringIO()
    csv.writer(file).writerows(rows)
    return file.getvalue()


def _cell(value: Any) -> str:
    """Return a value as a cell that no spreadsheet takes for a formula."""
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    return f"'{text}" if text.startswith(_FORMULAS) else text
