"""What the operators' verbs have in common: one transaction, a row in the audit, and previews."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from durable.core.errors import DurableError
from durable.operations import arguments as kinds
from durable.operations import audit
from durable.operations.shapes import Preview

if TYPE_CHECKING:
    from collections.abc import Callable

Planned = TypeVar("Planned")
Done = TypeVar("Done")


def perform(
    verb: str,
    instance_id: str,
    *,
    plan: Callable[[], Planned],
    preview: Callable[[Planned], Preview],
    carry_out: Callable[[Planned], Done],
    actor: Any,
    reason: str,
    dry_run: bool,
    **arguments: Any,
) -> Done | Preview:
    """Plan a verb and carry it out, or only say what it would do, in one transaction with its row in the audit.

    Raises:
        DurableError: It is refused; a dry run returns that instead.
    """
    audited = audit.audited(verb, instance_id, actor=actor, reason=reason, dry_run=dry_run, atomic=True, **arguments)
    try:
        with audited:
            kinds.check(**arguments)
            planned = plan()
            return preview(planned) if dry_run else carry_out(planned)
    except DurableError as error:
        if dry_run is True:
            return Preview(verb=verb, instance_id=instance_id, allowed=False, refusal=error)
        raise
