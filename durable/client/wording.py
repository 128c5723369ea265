"""Words for the codes that people are shown: how something ended, what kind it is, why it is stalled."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

_STATUSES = {
    "pending": _("pending"),
    "running": _("running"),
    "suspended": _("suspended"),
    "stalled": _("stalled"),
    "completed": _("completed"),
    "failed": _("failed"),
    "canceled": _("canceled"),
    "terminated": _("terminated"),
    "continued": _("continued as new"),
}
_OUTCOMES = {
    "fired": _("fired"),
    "delivered": _("delivered"),
    "done": _("done"),
    "refused": _("refused"),
    "denied": _("denied"),
    "skipped": _("skipped"),
}
_KINDS = {
    "activity": _("activity"),
    "timer": _("timer"),
    "child": _("child"),
    "signal": _("signal"),
    "signal sent": _("signal sent"),
    "update": _("update"),
    "side effect": _("side effect"),
    "patch": _("patch"),
    "execution": _("execution"),
    "ActivityScheduled": _("activity"),
    "TimerStarted": _("timer"),
    "ChildScheduled": _("child"),
    "SignalSent": _("signal sent"),
    "SideEffectRecorded": _("side effect"),
    "PatchMarked": _("patch"),
}
_STATES = {"ready": _("ready"), "held": _("held"), "external": _("to be completed from outside")}
_STALLS = {
    "nondeterminism": _("nondeterminism"),
    "unknown workflow": _("unknown workflow"),
    "version not available": _("version not available"),
    "undecodable event": _("undecodable event"),
    "undecodable payload": _("undecodable payload"),
    "runaway step": _("runaway step"),
    "limit exceeded": _("limit exceeded"),
    "patch reused": _("patch reused"),
    "poison": _("poison"),
}
_FACTS = {
    "reason": _("reason"),
    "error": _("error"),
    "message": _("message"),
    "seq": pgettext_lazy("place in a history", "event"),
    "expected": _("recorded"),
    "got": _("the code did"),
    "location": _("place"),
    "offer": _("it fits up to event"),
    "name": _("name"),
    "version": _("version"),
    "turns": _("tries"),
}
_REASONS = {
    "closed": _("ended"),
    "delayed": _("to start later"),
    "lost_worker": _("worker lost"),
    "lost_work": _("work lost"),
    "no_worker": _("no worker"),
    "no_sweep": _("nobody looks for due work"),
    "unread": _("unread"),
    "retry": _("retry"),
    "queued": _("queued"),
    "condition": _("condition"),
    "channel": _("channel"),
    "other": _("other"),
}
WORDS: dict[str, Any] = {**_REASONS, **_FACTS, **_STALLS, **_STATES, **_KINDS, **_OUTCOMES, **_STATUSES}


def word(code: object) -> str:
    """Return the word for a code, in the user's language; what is no code is returned as it is."""
    return str(WORDS.get(str(code), code))
