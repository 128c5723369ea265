"""The admin for operators: what happens and why, and the verbs that repair it. It only calls ``durable.client``."""

from __future__ import annotations

from django.contrib import admin

from durable.admin.instances import InstanceAdmin
from durable.admin.operations import OperationAdmin
from durable.models import Instance, Operation

__all__ = ["InstanceAdmin", "OperationAdmin", "register"]


def register(site: admin.AdminSite) -> None:
    """Show workflows on a site of your own."""
    site.register(Instance, InstanceAdmin)
    site.register(Operation, OperationAdmin)


register(admin.site)
