"""Instances in the admin: the addresses of their pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpResponseRedirect
from django.urls import path, reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_protect

from durable import conf
from durable.admin import (
    acting,
    base,
    compare,
    definitions,
    explain,
    feeds,
    lists,
    many,
    overviews,
    page,
    saved,
    starting,
)
from durable.core.errors import UnknownInstance

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse
    from django.http.response import HttpResponseBase
    from django.urls import URLPattern

    View = Callable[..., HttpResponseBase]


class InstanceAdmin(base.ReadOnly):
    """Workflow instances: the list, a page for each, and the verbs."""

    def get_urls(self) -> list[URLPattern]:
        """Return the addresses; ours come before those of Django, which take any id."""
        ours = [
            path("failures/", self._view(overviews.failures), name="durable_failures"),
            path("versions/", self._view(overviews.versions), name="durable_versions"),
            path("batches/", self._view(overviews.batches), name="durable_batches"),
            path("definitions/", self._view(definitions.view), name="durable_definitions"),
            path("definitions/<path:object_id>/start/", self._view(starting.view), name="durable_start"),
            path("workers/", self._view(overviews.all_workers), name="durable_workers"),
            path("filters/", self._view(saved.view), name="durable_filters"),
            path("batch/", self._view(many.view), name="durable_batch"),
            path("<path:object_id>/live/", self._view(feeds.live), name="durable_instance_live"),
            path("<path:object_id>/explain/", self._view(explain.view), name="durable_instance_explain"),
            path("<path:object_id>/compare/", self._view(compare.view), name="durable_instance_compare"),
            path("<path:object_id>/download/", self._view(feeds.download), name="durable_instance_download"),
            path("<path:object_id>/report/", self._view(many.report), name="durable_instance_batch_report"),
            path("<path:object_id>/do/<slug:name>/", self._view(acting.view), name="durable_instance_verb"),
        ]
        return [*ours, *super().get_urls()]

    def _view(self, view: View) -> View:
        @transaction.non_atomic_requests(using=conf.settings.DATABASE)
        def seen(request: HttpRequest, **given: Any) -> HttpResponseBase:
            try:
                return view(self.admin_site, request, **given)
            except UnknownInstance:
                return self._missing(request, given["object_id"])

        return self.admin_site.admin_view(seen)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the list."""
        return lists.view(self.admin_site, request)

    @method_decorator(csrf_protect)
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show an instance.

        Raises:
            PermissionDenied: None is named: they are started, not added.
        """
        if object_id is None:
            raise PermissionDenied
        try:
            return page.view(self.admin_site, request, object_id)
        except UnknownInstance:
            return self._missing(request, object_id)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Lead to what was done to an instance: the audit log knows."""
        links, instance_id = base.links(self.admin_site), unquote(object_id)
        return HttpResponseRedirect(f"{links.to('operation_changelist')}?{urlencode({'instance': instance_id})}")

    def _missing(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Say that there is no such instance; the same to those who may not know that there is."""
        said = _("There is no instance “%(id)s”: it may have been purged.") % {"id": unquote(object_id)}
        messages.warning(request, said)
        return HttpResponseRedirect(reverse("admin:index", current_app=self.admin_site.name))
