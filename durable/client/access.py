"""Who may do what: the permissions of the models, on every row; for what speaks for users, such as the API."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from django.contrib import auth

from durable.client import redacting
from durable.core.errors import AlreadyExists, DurableError, PermissionDenied, UndecodablePayload, UnknownInstance
from durable.operations import audit
from durable.store import instances

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from durable.models import Instance

VIEW, PAYLOAD = "view_instance", "view_payload"
SHARE = "share_savedfilter"
OPERATE, REPAIR, DESTROY = "operate_instance", "repair_instance", "destroy_instance"

SCANNED = 1000
"""Of how many related instances each is looked at, for users of whom no backend can say what they may see."""


def may(user: Any, permission: str, instance: Instance | None = None) -> bool:
    """Say whether a user has a permission for all instances, or for this one, which another backend may know."""
    name = f"durable.{permission}"
    return bool(user.has_perm(name) or (instance is not None and user.has_perm(name, instance)))


def find(user: Any, instance_id: str, *, payloads: bool = True) -> Instance:
    """Return an instance that a user may see.

    Args:
        user: Who.
        instance_id: The instance.
        payloads: Whether to read its payloads as well; they may be what cannot be read.

    Raises:
        UnknownInstance: There is none of this id, or they may not know that there is.
        UndecodablePayload: The payloads were to be read, and cannot be.
    """
    if not may(user, VIEW) and not may(user, VIEW, instances.get(instance_id, payloads=False)):
        raise UnknownInstance(instance_id)
    return _read(user, instance_id, payloads=payloads)


def _read(user: Any, instance_id: str, *, payloads: bool) -> Instance:
    try:
        return instances.get(instance_id, payloads=payloads)
    except UndecodablePayload as error:
        if may(user, PAYLOAD, instances.get(instance_id, payloads=False)):
            raise
        raise redacting.error(error) from None


def require_view(user: Any) -> None:
    """Check that a user may see whatever there is.

    Raises:
        PermissionDenied: They may not.
    """
    if not may(user, VIEW):
        raise PermissionDenied(audit.name_of(user), "view_instance")


def find_for(user: Any, instance_id: str, permission: str, *, payloads: bool = True, **audited: Any) -> Instance:
    """Return an instance to which a user may do something; a try that is denied is audited.

    Args:
        user: Who.
        instance_id: The instance.
        permission: What they need beside to see it.
        payloads: Whether to read its payloads as well.
        audited: The ``verb``, and ``reason`` and ``dry_run``.

    Raises:
        UnknownInstance: There is none of this id, or they may not know that there is.
        PermissionDenied: They may see it, but not do this.
        UndecodablePayload: The payloads were to be read, and cannot be.
    """
    found = instances.get(instance_id, payloads=False)
    try:
        if not (may(user, VIEW, found) and may(user, permission, found)):
            deny(user, instance_id, **audited)
    except PermissionDenied:
        if not may(user, VIEW, found):
            raise UnknownInstance(instance_id) from None
        raise
    return _read(user, instance_id, payloads=True) if payloads else found


def taken(user: Any, source: Instance, instance_id: str | None, *, replaces: bool = False) -> DurableError | None:
    """Return why what a user begins from an instance may not get an id; None if nothing of others is in the way.

    Args:
        user: Who.
        source: The instance that it is begun from.
        instance_id: The id; None is a new one.
        replaces: Whether it is to take the place of a closed instance that has the id.
    """
    if instance_id in (None, source.pk) or (may(user, VIEW) and may(user, REPAIR)):
        return None
    try:
        existing = instances.get(str(instance_id), payloads=False)
    except UnknownInstance:
        return None
    if not may(user, VIEW, existing):
        return AlreadyExists(existing.pk)  # and no word of how it is
    if replaces and not may(user, REPAIR, existing):
        return PermissionDenied(audit.name_of(user), f"replace {existing.pk}")
    return None


def check_new(user: Any, source: Instance, instance_id: str | None, *, replaces: bool = False, **audited: Any) -> None:
    """Check that what a user begins from an instance may get an id, as ``taken`` says; if not, that is audited.

    Raises:
        AlreadyExists: It is the id of an instance that they may not see.
        PermissionDenied: It would take the place of one that they may not repair.
    """
    error = taken(user, source, instance_id, replaces=replaces)
    if error is not None:
        with audit.audited(actor=user, instance_id=source.pk, **audited):
            raise error


def listed(user: Any, rows: QuerySet[Instance]) -> QuerySet[Instance]:
    """Return those of all instances, or of some, that a user may see.

    Who may not see all of them sees those that an authentication backend names: its method
    ``visible_instances(user, rows)`` returns some of the rows.

    Raises:
        PermissionDenied: They may not see all, and there is no such backend.
    """
    if may(user, VIEW):
        return rows
    named = [each for each in auth.get_backends() if hasattr(each, "visible_instances")]
    if not named or not user.is_active:
        require_view(user)
    return reduce(or_, [each.visible_instances(user, rows) for each in named])


def related(user: Any, rows: QuerySet[Instance]) -> QuerySet[Instance]:
    """Return those of the instances that belong to another one that a user may see."""
    try:
        return listed(user, rows)
    except PermissionDenied:
        found = set(rows.order_by("created_at", "pk").values_list("pk", flat=True)[:SCANNED])
        return rows.filter(pk__in=visible(user, found))


def seen(user: Any, instance_id: str | None) -> list[str] | None:
    """Return what a user may see: of an instance, or, if it is None, of all; None if there is no such instance."""
    found = None
    if instance_id is not None:
        try:
            found = instances.get(instance_id, payloads=False)
        except UnknownInstance:
            return None
    return [each for each in (VIEW, PAYLOAD) if may(user, each, found)]


def visible(user: Any, instance_ids: set[str]) -> set[str]:
    """Return those of these ids whose instances a user may see; for one who may see all, without looking."""
    if may(user, VIEW):
        return instance_ids
    rows = instances.rows().defer(*instances.PAYLOADS).in_bulk(list(instance_ids))
    return {pk for pk, row in rows.items() if may(user, VIEW, row)}


def deny(user: Any, instance_id: str, *, verb: str, reason: str = "", dry_run: bool = False) -> None:
    """Note that a user tried what they may not do.

    Raises:
        PermissionDenied: Always.
    """
    with audit.audited(verb, instance_id, actor=user, reason=reason, dry_run=dry_run):
        raise PermissionDenied(audit.name_of(user), verb)
