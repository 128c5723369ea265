"""Strict mode: what the core catches, and Django's clock and cache besides."""

from __future__ import annotations

from contextlib import AbstractContextManager, closing, nullcontext
from itertools import islice
from typing import TYPE_CHECKING

from django.utils import crypto, timezone

from durable.conf import settings
from durable.core import strictness
from durable.core.rechecking import recheck
from durable.engine import watchdog
from durable.store import history

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable.core.execution import Execution
    from durable.models import Instance

_NOTHING = nullcontext()

strictness.forbid(timezone.now, "timezone.now", "Use workflow.now()")
for _name in ("localtime", "localdate"):
    strictness.forbid(
        getattr(timezone, _name),
        f"timezone.{_name}() without a value",
        f"Use timezone.{_name}(workflow.now())",
        when=lambda given: given["value"] is None,
    )


def is_on() -> bool:
    """Say whether the setting says so."""
    return bool(settings.STRICT)


strictness.forbid(
    crypto.get_random_string, "get_random_string", "Draw it in an activity or with workflow.side_effect()"
)


def guard(execution: Execution, *, always: bool = False) -> AbstractContextManager[None]:
    """Refuse, if the setting says so or ``always``, what the code of a new step must not call.

    Around the watchdog, not within it: what that throws must not hit the one who puts the profiler away.
    """
    return strictness.watch(execution) if always or settings.STRICT else _NOTHING


def check(instance: Instance, live: Execution, new: Sequence[history.Record], *, head: int) -> None:
    """Replay, if the setting says so, all that was stored and what a turn added to it, and compare.

    Args:
        instance: The instance.
        live: Its execution, after the turn.
        new: What the turn stored after its head.
        head: The head before the turn.

    Raises:
        NondeterminismError: The code does not come to the same.
    """
    if not settings.STRICT:
        return
    stored = history.read(instance.execution_id)
    with closing(live.anew()) as again, closing(stored), watchdog.watch(again):
        recheck(live, again, islice(stored, head), history.decoded(new, after=head))
