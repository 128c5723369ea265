"""The audit log: who did what to which instance, or tried to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from durable.admin import base, forms
from durable.admin.verbs import VERBS

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse

    from durable.models import Operation

_OTHERS = ("start", "update", "batch")


class ByVerb(admin.SimpleListFilter):
    """By what was done; the verbs are known, so that nothing has to be counted."""

    title = _("verb")
    parameter_name = "verb"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in sorted((*VERBS, *_OTHERS))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Operation]) -> QuerySet[Operation]:
        return queryset.filter(verb=self.value()) if self.value() else queryset


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


class OperationAdmin(base.ReadOnly):
    """What somebody did to an instance, or tried to."""

    list_display = ("at", "verb", "instance", "actor_name", "became", "why", "error")
    list_display_links = ("at",)
    list_filter = (ByVerb, "outcome", "dry_run", ByInstance)
    search_fields = ("instance_id__startswith", "actor_name__startswith")
    search_help_text = _("The beginning of an instance's id, or of a name")
    ordering = ("-at", "-id")
    sortable_by = ()
    fields = ("at", "verb", "instance", "actor_name", "reason", "told", "dry_run", "outcome", "error")
    readonly_fields = fields
    change_list_template = "admin/durable/operation/change_list.html"

    @admin.display(description=_("instance"))
    def instance(self, row: Operation) -> str:
        if not row.instance_id:
            return "-"
        return format_html(
            '<a href="{}">{}</a>', base.links(self.admin_site).instance(row.instance_id), row.instance_id
        )

    @admin.display(description=_("outcome"))
    def became(self, row: Operation) -> str:
        return f"{row.outcome} ({_('dry run')})" if row.dry_run else row.outcome

    @admin.display(description=_("reason"))
    def why(self, row: Operation) -> str:
        return row.reason if len(row.reason) <= 80 else f"{row.reason[:77]}..."

    @admin.display(description=_("arguments"))
    def told(self, row: Operation) -> str:
        return format_html("<pre>{}</pre>", forms.pretty(row.arguments))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        tabs = base.context(self.admin_site, request, tab="operation_changelist")["tabs"]
        return super().changelist_view(request, {"title": _("Audit log"), "tabs": tabs, **(extra_context or {})})
