"""Strict mode: what the core catches, and Django's clock and cache besides."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from django.utils import timezone

from durable.conf import settings
from durable.core import strictness

if TYPE_CHECKING:
    from durable.core.execution import Execution

_NOTHING = nullcontext()

strictness.forbid(timezone.now, "timezone.now", "Use workflow.now()")
for _name in ("localtime", "localdate"):
    strictness.forbid(
        getattr(timezone, _name),
        f"timezone.{_name}() without a value",
        f"Use timezone.{_name}(workflow.now())",
        when=lambda given: given["value"] is None,
    )


def guard(execution: Execution, *, always: bool = False) -> AbstractContextManager[None]:
    """Refuse, if the setting says so or ``always``, what the code of a new step must not call.

    Around the watchdog, not within it: what that throws must not hit the one who puts the profiler away.
    """
    return strictness.watch(execution) if always or settings.STRICT else _NOTHING
