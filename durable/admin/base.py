"""What all pages of the admin have in common: who may look, and where the pages are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.core.paginator import Paginator
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from durable import conf
from durable.client import access
from durable.models import Instance

if TYPE_CHECKING:
    from django.contrib.admin import AdminSite
    from django.db.models import Model, QuerySet
    from django.http import HttpRequest

    _Admin = admin.ModelAdmin[Any]
else:
    _Admin = admin.ModelAdmin

COUNTED = 10_000
"""How far large tables are counted."""


class Bounded(Paginator):
    """Pages of the first rows of a table: a large one is not counted to its end."""

    @cached_property
    def count(self) -> int:
        """How many rows there are, up to a limit."""
        rows: Any = self.object_list
        return int(rows.order_by()[:COUNTED].count())


class ReadOnly(_Admin):
    """Rows that are looked at here and changed through ``durable.client``; who may see instances may see them."""

    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # they count to the end
    paginator = Bounded

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).using(conf.settings.DATABASE)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return access.may(request.user, access.VIEW, obj if isinstance(obj, Instance) else None)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """Where the pages are, on the site that shows them.

    Attributes:
        site: The site's name.
    """

    site: str

    def to(self, name: str, *args: Any) -> str:
        """Return the address of a page of ours."""
        return reverse(f"admin:durable_{name}", args=args, current_app=self.site)

    def instance(self, instance_id: str) -> str:
        """Return the address of an instance's page."""
        return self.to("instance_change", quote(instance_id))

    def of(self, name: str, instance_id: str, *args: Any) -> str:
        """Return the address of a page below an instance's."""
        return self.to(f"instance_{name}", quote(instance_id), *args)

    def verb(self, instance_id: str, verb: str) -> str:
        """Return the address of the form that does a verb to an instance."""
        return self.of("verb", instance_id, verb)


def links(site: AdminSite) -> Links:
    """Return where the pages are on a site."""
    return Links(site=site.name)


_TABS = (
    ("instance_changelist", _("Instances")),
    ("failures", _("Failure groups")),
    ("batches", _("Batches")),
    ("definitions", _("Definitions")),
    ("versions", _("Versions")),
    ("workers", _("Workers")),
    ("operation_changelist", _("Audit log")),
)


def context(site: AdminSite, request: HttpRequest, *, tab: str = "", **more: Any) -> dict[str, Any]:
    """Return what every page's template gets.

    Args:
        site: The site that shows it.
        request: The request; templates resolve names for its site.
        tab: The name of the page among the tabs.
        more: What this page shows beside.
    """
    request.current_app = site.name
    found = links(site)
    tabs = [(found.to(name), label, name == tab) for name, label in _TABS]
    shown = tabs if access.may(request.user, access.VIEW) else []
    return {**site.each_context(request), "opts": Instance._meta, "tabs": shown, **more}
