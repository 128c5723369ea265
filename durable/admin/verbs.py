"""The verbs that the admin offers: what each takes, needs, and is offered for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils.translation import gettext_lazy as _

from durable import client, conf
from durable.admin import forms
from durable.client import access, change, redacting
from durable.client import verbs as single
from durable.core.errors import DurableError, UpdateTimeout
from durable.models import CLOSED, OPEN, Status

if TYPE_CHECKING:
    from durable.models import Instance


class Hindered(DurableError):
    """What kept an instance from being recovered."""


def _recover(instance_id: str, **options: Any) -> Any:
    try:
        return single.recover(instance_id, **options)
    except DurableError:
        raise
    except Exception as error:
        raise Hindered(f"{type(error).__name__}: {error}") from error


def _update(instance_id: str, **options: Any) -> None:
    with suppress(UpdateTimeout):  # it goes on, and its outcome will be on the page
        change.operate(instance_id, timeout=0, **options)


_ENDED = tuple(CLOSED)
_GOING = (Status.PENDING, Status.RUNNING, Status.STALLED)


@dataclass(frozen=True, kw_only=True)
class Verb:
    """A verb.

    Attributes:
        name: As in the address, the audit and batches.
        label: What its button says.
        about: What it does, in a sentence.
        form: What it takes.
        permission: What the user needs.
        call: Does it: gets the instance's id, the form's arguments, ``reason``, ``actor``, and perhaps ``dry_run``.
        statuses: For which instances it is offered; others may be refused, with an error that says why.
        previews: Whether the client's function can look only.
        by_head: Whether nothing at all may have happened since the preview; else only no new execution.
        many: Whether a batch can do it.
        destroys: Whether it cannot be undone.
        look: Says what it would do, if neither ``call`` nor an attempt that is rolled back can.
    """

    name: str
    label: Any
    about: Any
    form: type[forms.Verb]
    permission: str
    call: Callable[..., Any]
    statuses: tuple[str, ...]
    previews: bool = True
    by_head: bool = True
    many: bool = True
    destroys: bool = False
    look: Callable[..., client.Preview] | None = None


VERBS: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb(
            name="rewind",
            label=_("Rewind"),
            about=_("Goes on from before the failure, in a new execution; what had succeeded is not run again."),
            form=forms.Rewind,
            permission=access.REPAIR,
            call=client.rewind,
            statuses=_ENDED,
        ),
        Verb(
            name="rerun",
            label=_("Rerun from an activity"),
            about=_("Begins a new instance with what this one had done before an activity, and runs that again."),
            form=forms.Rerun,
            permission=access.REPAIR,
            call=client.rerun_from_activity,
            statuses=_ENDED,
            many=False,
        ),
        Verb(
            name="restart",
            label=_("Restart"),
            about=_("Begins a new instance with the same input, from the start."),
            form=forms.Restart,
            permission=access.REPAIR,
            call=client.restart,
            statuses=_ENDED,
        ),
        Verb(
            name="upgrade",
            label=_("Upgrade"),
            about=_("Goes on with another version of the workflow, if that fits the history."),
            form=forms.Upgrade,
            permission=access.REPAIR,
            call=client.upgrade,
            statuses=(*OPEN, *CLOSED),
            by_head=False,
        ),
        Verb(
            name="recover",
            label=_("Recover"),
            about=_("Replays the instance and hands out again whatever got lost."),
            form=forms.Verb,
            permission=access.REPAIR,
            call=_recover,
            statuses=(Status.RUNNING,),
            by_head=False,
        ),
        Verb(
            name="restore",
            label=_("Restore"),
            about=_("Has an earlier execution count again: takes a rewind back, if nothing was done since."),
            form=forms.Restore,
            permission=access.REPAIR,
            call=client.restore,
            statuses=(),
            many=False,
        ),
        Verb(
            name="signal",
            label=_("Signal"),
            about=_("Sends a signal; it is recorded once, and kept until the code waits for it."),
            form=forms.Signal,
            permission=access.OPERATE,
            call=client.signal,
            statuses=tuple(OPEN),
            previews=False,
            by_head=False,
        ),
        Verb(
            name="update",
            label=_("Update"),
            about=_("Has the code run one of its updates; what it returns will be under Updates, on the page."),
            form=forms.Update,
            permission=access.OPERATE,
            call=_update,
            look=change.preview,
            statuses=tuple(OPEN),
            previews=False,
            by_head=False,
            many=False,
        ),
        Verb(
            name="suspend",
            label=_("Suspend"),
            about=_("Halts the instance: what comes in is kept, and no activity begins."),
            form=forms.Children,
            permission=access.OPERATE,
            call=client.suspend,
            statuses=_GOING,
            by_head=False,
        ),
        Verb(
            name="resume",
            label=_("Resume"),
            about=_("Lets the instance go on; what came meanwhile is taken in order."),
            form=forms.Children,
            permission=access.OPERATE,
            call=client.resume,
            statuses=(Status.SUSPENDED,),
            by_head=False,
        ),
        Verb(
            name="cancel",
            label=_("Cancel"),
            about=_("Asks the code to stop; it may clean up first."),
            form=forms.Verb,
            permission=access.OPERATE,
            call=client.cancel,
            statuses=tuple(OPEN),
            by_head=False,
        ),
        Verb(
            name="terminate",
            label=_("Terminate"),
            about=_("Ends the instance at once, without running its code."),
            form=forms.Verb,
            permission=access.DESTROY,
            call=client.terminate,
            statuses=tuple(OPEN),
            by_head=False,
            destroys=True,
        ),
        Verb(
            name="purge",
            label=_("Purge"),
            about=_("Deletes the instance, its children and all their rows for good."),
            form=forms.Purge,
            permission=access.DESTROY,
            call=client.purge,
            statuses=_ENDED,
            destroys=True,
        ),
    )
}


OTHERS = {
    "start": _("Start"),
    "batch": _("Batch"),
    "complete": _("Complete an activity"),
    "fail": _("Fail an activity"),
    "save_filter": _("Save a filter"),
    "delete_filter": _("Delete a filter"),
}


def word(name: str) -> str:
    """Return what a verb is called in the user's language."""
    return str(VERBS[name].label if name in VERBS else OTHERS.get(name, name))


def offered(user: Any, found: Instance) -> list[Verb]:
    """Return the verbs that a user may do to an instance as it is now."""
    return [v for v in VERBS.values() if found.status in v.statuses and access.may(user, v.permission, found)]


def of_many(user: Any) -> list[Verb]:
    """Return the verbs that a user may have a batch do."""
    return [v for v in VERBS.values() if v.many and access.may(user, v.permission)]


def look(verb: Verb, instance_id: str, arguments: dict[str, Any], *, actor: Any, audited: bool) -> Any:
    """Return what a verb would do: a ``Preview``, or, of a recovery, a report.

    Args:
        verb: The verb.
        instance_id: To which instance.
        arguments: What its form gave.
        actor: Who looks.
        audited: Whether the audit shall have it; else nothing is written at all.
    """
    with transaction.atomic(using=conf.settings.DATABASE):
        found = _look(verb, instance_id, arguments, actor=actor)
        if not audited or not verb.previews:
            transaction.set_rollback(True, using=conf.settings.DATABASE)
    return found


def _look(verb: Verb, instance_id: str, arguments: dict[str, Any], *, actor: Any) -> Any:
    refusal = None
    if verb.look is not None:
        return verb.look(instance_id, **arguments)
    try:
        if verb.previews:
            return verb.call(instance_id, **arguments, actor=actor, dry_run=True)
        with transaction.atomic(using=conf.settings.DATABASE):
            verb.call(instance_id, **arguments, actor=actor)
    except DurableError as error:
        refusal = error
    return client.Preview(verb=verb.name, instance_id=instance_id, allowed=refusal is None, refusal=refusal)


def without_payloads(preview: Any) -> Any:
    """Return a preview as it is shown to somebody who may not see payloads."""
    if isinstance(preview, client.Preview) and preview.refusal is not None:
        return replace(preview, refusal=redacting.error(preview.refusal))
    return preview
