"""A site of its own, beside the usual one."""

from __future__ import annotations

from django.contrib import admin as django_admin
from django.urls import path

from durable import admin

site = django_admin.AdminSite(name="operations")
admin.register(site)

urlpatterns = [path("ops/", site.urls), path("admin/", django_admin.site.urls)]
