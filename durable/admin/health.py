"""Whether anybody is there to do the work: what every page says on top if not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from durable.store import workers

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = "celery -A mysite worker"


def problems() -> Iterator[tuple[str, str]]:
    """Yield what is wrong, and the command that mends it."""
    sweeping = workers.sweeping().exists()
    if not sweeping and not workers.living().exists():
        yield _("No worker shows a sign of life: nothing goes on until one is started."), COMMAND
    elif not sweeping:
        yield _("No worker looks for due work: timers do not fire, and lost messages are not repaired."), COMMAND
