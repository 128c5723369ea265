"""What is said once a verb is done, and where that leads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.html import format_html
from django.utils.translation import gettext as _

from durable import client
from durable.operations import recovered

if TYPE_CHECKING:
    from durable.admin.base import Links
    from durable.admin.verbs import Verb
    from durable.models import Instance


def told(verb: Verb, found: Instance, result: Any, links: Links) -> tuple[str, str]:
    """Return a message, and the address of the page that shows what came of it."""
    here = links.instance(found.pk)
    match result:
        case client.Handle() if result.id != found.pk:
            there = links.instance(result.id)
            text = _("{verb}: done. It goes on as <a href='{there}'>{id}</a>; <a href='{here}'>{old}</a> stays.")
            return format_html(text, verb=verb.label, there=there, id=result.id, here=here, old=found.pk), there
        case client.Outcome() if result.instance_id != found.pk:
            there = links.instance(result.instance_id)
            text = _("{verb}: done. It goes on as <a href='{there}'>{id}</a>.")
            return format_html(text, verb=verb.label, there=there, id=result.instance_id), there
        case client.Outcome():
            text = _("{verb}: done, in <a href='{here}'>execution {id}</a>. {advice}")
            parts = {"here": here, "id": result.execution_id, "advice": result.advice}
            return format_html(text, verb=verb.label, **parts), here
        case client.RecoveryReport():
            return f"{verb.label}: {reported(result)}", here
        case client.Purged():
            text = _("{verb}: done. {id} and all its rows are deleted; the audit log stays.")
            return format_html(text, verb=verb.label, id=found.pk), links.to("instance_changelist")
        case _ if verb.name == "update":
            text = _("{verb}: asked. What comes of it will be under Updates of <a href='{here}'>{id}</a>.")
            return format_html(text, verb=verb.label, here=here, id=found.pk), f"{here}#updates"
        case _:
            text = _("{verb}: done to <a href='{here}'>{id}</a>.")
            return format_html(text, verb=verb.label, here=here, id=found.pk), here


def reported(report: client.RecoveryReport) -> str:
    """Return what a recovery says of an instance."""
    match report.outcome:
        case recovered.Resumed(redispatched=lost) if lost:
            names = ", ".join(f"{step.kind} {step.name} ({step.event_id})" for step in lost)
            return _("It goes on; handed out again: %(names)s.") % {"names": names}
        case recovered.Resumed():
            return _("It is well: nothing is lost, it goes on by itself.")
        case recovered.Terminal(kind=kind):
            return _("It has come to its end (%(kind)s).") % {"kind": kind}
        case recovered.Stalled(error=error):
            return _("It is stalled: %(error)s") % {"error": type(error).__name__}
        case recovered.Failed(error=error):
            return _("It could not be recovered: %(error)s") % {"error": type(error).__name__}
        case recovered.Busy():
            return _("Somebody else is at work on it just now, so it goes on by itself.")
