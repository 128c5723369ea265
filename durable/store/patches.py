"""The patches of an instance's current execution: kept in its row, so that instances can be searched by them.

``{"patched": {ID: true, ...}, "deprecated": {ID: true, ...}}``: which call left the mark.
Keys, because that a key is there is the one thing in JSON that all databases can look for exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.models import Q

from durable import conf

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from durable.core import events as ev

Patches = dict[str, dict[str, bool]]


def with_marks(patches: Patches, marks: Iterable[ev.PatchMarked]) -> Patches:
    """Return an instance's patches with new marks among them."""
    changed = {call: dict(ids) for call, ids in patches.items()}
    for mark in marks:
        changed.setdefault("deprecated" if mark.deprecated else "patched", {})[mark.name] = True
    return changed


def marked_by_patched(patch_id: str) -> Q:
    """Return the condition that an instance has the mark of ``patched``, so that its code has to ask for the patch."""
    return _has("patched", patch_id)


def indexed(patch_id: str) -> Q:
    """Return what is true of all that are marked by ``patched``, and what the index of PostgreSQL is by."""
    if not connections[conf.settings.DATABASE].features.supports_json_field_contains:
        return marked_by_patched(patch_id)
    return Q(patches__contains={"patched": {patch_id: True}}) & ~Q(patches={})


def without(patch_id: str) -> Q:
    """Return the condition that an instance has no mark of a patch: it took the old path, or is not there yet."""
    return ~_has("patched", patch_id) & ~_has("deprecated", patch_id)


def _has(call: str, patch_id: str) -> Q:
    # That the key of the call is there is asked as well: without it the answer is neither yes nor no.
    return Q(patches__has_key=call) & Q(**{f"patches__{call}__has_key": patch_id})


def described(patches: dict[str, Any]) -> Iterator[str]:
    """Yield what to show of an instance's patches."""
    yield from patches.get("patched", ())
    yield from (f"{patch_id} (deprecated)" for patch_id in patches.get("deprecated", ()))
