"""Who may do what: the permissions of the models, on every row; for what speaks for users, such as the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable.core.errors import PermissionDenied, UnknownInstance
from durable.operations import audit
from durable.store import instances

if TYPE_CHECKING:
    from durable.models import Instance

VIEW, PAYLOAD = "view_instance", "view_payload"
SHARE = "share_savedfilter"
OPERATE, REPAIR, DESTROY = "operate_instance", "repair_instance", "destroy_instance"


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
    """
    found = instances.get(instance_id, payloads=payloads)
    if not may(user, VIEW, found):
        raise UnknownInstance(instance_id)
    return found


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
    """
    found = instances.get(instance_id, payloads=payloads)
    try:
        if not (may(user, VIEW, found) and may(user, permission, found)):
            deny(user, instance_id, **audited)
    except PermissionDenied:
        if not may(user, VIEW, found):
            raise UnknownInstance(instance_id) from None
        raise
    return found


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
