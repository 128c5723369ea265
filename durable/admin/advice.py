"""What to do instead, when a verb is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from durable.core import errors
from durable.models import OPEN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable.admin.base import Links
    from durable.core.errors import DurableError
    from durable.models import Instance

Step = tuple[str, str]
"""A sentence, and where it leads; empty if nowhere."""


def of(error: DurableError, found: Instance, links: Links) -> Iterator[Step]:
    """Yield what can be done instead."""
    match error:
        case errors.NondeterminismError(offer=int(event_id)):
            address = f"{links.verb(found.pk, 'rerun')}?event_id={event_id}"
            yield _("Rerun from event %(id)s instead: up to there the code fits.") % {"id": event_id}, address
        case errors.NondeterminismError():
            yield _("Deploy code that does what the history records, or rerun from an earlier activity."), ""
        case errors.NotOpen():
            yield _("It has ended. Begin again from the start:"), links.verb(found.pk, "restart")
            yield _("Or go on from a step of it:"), links.verb(found.pk, "rewind")
        case errors.NotClosed() | errors.NotFailed() if found.status in OPEN:
            yield _("End it first: ask its code to stop,"), links.verb(found.pk, "cancel")
            yield _("or end it at once."), links.verb(found.pk, "terminate")
        case errors.NotFailed():
            yield _("Name the event from which it shall run again in “To event”."), ""
            yield _("Or begin a new instance from an activity:"), links.verb(found.pk, "rerun")
        case errors.VersionNotAvailable() | errors.UnknownWorkflow():
            yield (
                _("The site needs the code of this version as well as the workers. What is registered:"),
                links.to("versions"),
            )
        case errors.AlreadyExists(instance_id=str(taken)):
            yield _("Choose another id. Who has this one:"), links.instance(taken)
        case errors.NotAnActivity():
            yield (
                _("A rerun begins with an activity. To go on from here in the same instance:"),
                links.verb(found.pk, "rewind"),
            )
        case errors.WorkWouldBeLost():
            yield (
                _("Rewind it again, to where it shall go on, and keep what was done since:"),
                links.verb(found.pk, "rewind"),
            )
        case errors.UnknownEvent() | errors.UnknownExecution():
            yield _("The history tells which there are:"), links.instance(found.pk)
        case errors.LimitExceeded():
            yield _("The limits are in the settings, DURABLE[“LIMITS”]."), ""
