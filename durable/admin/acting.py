"""The page on which a verb is done to an instance: a form, what would come of it, and a button that does it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from durable import client, conf
from durable.admin import activities, advice, base, done, forms, once, timeline
from durable.admin import verbs as offering
from durable.client import access, change, redacting, steps
from durable.core import errors
from durable.core.errors import DurableError, UnknownInstance
from durable.operations.shapes import UNSET, Args
from durable.store import instances

if TYPE_CHECKING:
    from django.contrib.admin import AdminSite
    from django.http import HttpRequest, HttpResponse

    from durable.models import Instance


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request to do a verb to an instance.

    Attributes:
        hides: Whether the user may not see payloads.
    """

    site: AdminSite
    request: HttpRequest
    found: Instance
    verb: offering.Verb
    hides: bool

    @property
    def links(self) -> base.Links:
        """Where the pages are."""
        return base.links(self.site)


def view(site: AdminSite, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
    """Show the form of a verb, or do the verb.

    Raises:
        Http404: There is no such verb.
        UnknownInstance: There is none of this id, or the user may not know that there is.
        PermissionDenied: They may see it, but not do this.
    """
    verb = offering.VERBS.get(name)
    if verb is None:
        raise Http404
    instance_id, posted = unquote(object_id), request.method == "POST"
    found = _permitted(request, instance_id, verb, posted=posted)
    asked = Asked(
        site=site,
        request=request,
        found=found,
        verb=verb,
        hides=not access.may(request.user, access.PAYLOAD, found),
    )
    return _post(asked) if posted else _get(asked)


def _permitted(request: HttpRequest, instance_id: str, verb: offering.Verb, *, posted: bool) -> Instance:
    user = request.user
    if not posted:  # changes nothing, not even the audit
        found = access.find(user, instance_id, payloads=False)
        if not access.may(user, verb.permission, found):
            raise PermissionDenied
        return found
    told = {"verb": verb.name, "reason": request.POST.get("reason", ""), "dry_run": "confirm" not in request.POST}
    try:
        found = access.find_for(user, instance_id, verb.permission, payloads=False, **told)
        if request.POST.get("terminate_first") and verb.name == "restart":
            access.find_for(user, instance_id, access.DESTROY, payloads=False, **told)
    except errors.PermissionDenied:
        raise PermissionDenied from None
    return found


def state(found: Instance, *, by_head: bool) -> str:
    """Return what an instance is known by that must not change between a preview and what follows."""
    return f"{found.execution_id.hex}-{found.head}" if by_head else f"{found.execution_id.hex}-"


def fingerprint(arguments: dict[str, Any]) -> str:
    """Return what a form's arguments are known by: the preview has to be of these."""
    plain = json.dumps(arguments, sort_keys=True, default=_plain)
    return hashlib.sha256(plain.encode()).hexdigest()


def _plain(value: Any) -> Any:
    return [value.args, value.kwargs] if isinstance(value, Args) else repr(value)


def _get(asked: Asked) -> HttpResponse:
    verb, found = asked.verb, asked.found
    given = {**verb.form.start(found), **_from_address(asked)}
    form = verb.form(initial=given)
    bound = verb.form({**{name: field.initial for name, field in form.fields.items()}, **given})
    if not bound.is_valid():  # something has to be said first
        return _show(asked, form, None, None)
    arguments = _arguments(asked, bound)
    return _show(asked, form, arguments, _looked(asked, arguments, audited=False))


def _from_address(asked: Asked) -> dict[str, Any]:
    given = {name: asked.request.GET[name] for name in asked.verb.form.base_fields if name in asked.request.GET}
    if asked.verb.name == "rerun" and "event_id" in given and not asked.hides:
        recorded = activities.recorded(asked.found, given.get("execution"), given["event_id"])
        return {**given, "input": "" if recorded is None else forms.pretty(recorded)}
    return given


def _arguments(asked: Asked, form: forms.Verb) -> dict[str, Any]:
    """Return what a valid form gives; an activity's input that was not changed is none."""
    given = form.arguments()
    if asked.verb.name == "rerun" and isinstance(given["input"], Args):
        recorded = activities.recorded(asked.found, given.get("execution"), given["event_id"])
        if recorded == {"args": list(given["input"].args), "kwargs": given["input"].kwargs}:
            return {**given, "input": UNSET}
    return given


def _looked(asked: Asked, arguments: dict[str, Any], *, audited: bool) -> Any:
    taken = access.taken(asked.request.user, asked.found, arguments.get("new_instance_id"))
    if taken is not None:
        return client.Preview(verb=asked.verb.name, instance_id=asked.found.pk, allowed=False, refusal=taken)
    looked = offering.look(asked.verb, asked.found.pk, arguments, actor=asked.request.user, audited=audited)
    return offering.without_payloads(looked) if asked.hides else looked


def _post(asked: Asked) -> HttpResponse:
    form = asked.verb.form(asked.request.POST)
    if not form.is_valid():
        return _show(asked, form, None, None, status=400)
    arguments = _arguments(asked, form)
    if "confirm" not in asked.request.POST:
        return _show(asked, form, arguments, _looked(asked, arguments, audited=True))
    if asked.request.POST.get("previewed") != fingerprint(arguments):
        messages.warning(asked.request, _("This was changed since the preview: look at the new one, and confirm it."))
        return _show(asked, form, arguments, _looked(asked, arguments, audited=True), status=409)
    return _confirm(asked, form, arguments)


def _confirm(asked: Asked, form: forms.Verb, arguments: dict[str, Any]) -> HttpResponse:
    """Do it, once, in a transaction that a refusal does not roll back: it holds its row in the audit."""
    request, verb, found = asked.request, asked.verb, asked.found
    token = request.POST.get("once", "")
    if not once.is_token(token):
        messages.warning(request, _("This form is not complete: look at it anew, and confirm it."))
        return _show(asked, form, arguments, _looked(asked, arguments, audited=True), status=400)
    with transaction.atomic(using=conf.settings.DATABASE):
        row = once.claim(request.user, token)
        if row is None:
            messages.info(request, _("This had been done already, by the same form; it was not done again."))
            return HttpResponseRedirect(once.led_to(request.user, token) or asked.links.instance(found.pk))
        refusal: DurableError | None = None
        result: Any = None
        try:
            _check_unmoved(asked)
            reason = form.cleaned_data["reason"]
            access.check_new(request.user, found, arguments.get("new_instance_id"), verb=verb.name, reason=reason)
            result = verb.call(found.pk, **arguments, reason=reason, actor=request.user)
        except DurableError as error:
            refusal = error
            row.delete()
        else:
            message, address = done.told(verb, found, result, asked.links)
            once.keep(row, address)
    if refusal is not None:
        return _refused(asked, form, arguments, refusal)
    messages.success(request, message)
    return HttpResponseRedirect(address)


def _check_unmoved(asked: Asked) -> None:
    now = instances.lock(asked.found.pk)
    seen = asked.request.POST.get("seen", "")
    if state(now, by_head=asked.verb.by_head) != seen:
        head = seen.rpartition("-")[2]
        known = head.isdecimal() and len(head) < 10
        raise errors.ConcurrencyConflict(now.pk, expected=int(head) if known else 0, found=now.head)


def _refused(asked: Asked, form: forms.Verb, arguments: dict[str, Any], refusal: DurableError) -> HttpResponse:
    if isinstance(refusal, errors.ConcurrencyConflict):
        messages.error(asked.request, _("It moved on since you looked, and nothing was done. This is how it is now:"))
        try:
            now = access.find(asked.request.user, asked.found.pk, payloads=False)
        except UnknownInstance:
            return HttpResponseRedirect(asked.links.to("instance_changelist"))
        fresh = Asked(site=asked.site, request=asked.request, found=now, verb=asked.verb, hides=asked.hides)
        return _show(fresh, form, arguments, _looked(fresh, arguments, audited=False), status=409)
    told = redacting.error(refusal) if asked.hides else refusal
    preview = client.Preview(verb=asked.verb.name, instance_id=asked.found.pk, allowed=False, refusal=told)
    return _show(asked, form, arguments, preview, status=409)


_FATES = {
    "rerun": gettext_lazy("run again"),
    "dropped": gettext_lazy("dropped"),
    "rearmed": gettext_lazy("armed again"),
    "kept": gettext_lazy("kept"),
}


def _drawn(asked: Asked, arguments: dict[str, Any] | None, preview: Any) -> dict[str, Any]:
    """Return the history as a timeline, in the colours of what would become of each step, and a legend."""
    if not isinstance(preview, client.Preview) or not preview.allowed or preview.instance_id != asked.found.pk:
        return {}
    looks = {step.event_id: f"fate-{fate}" for fate in _FATES for step in getattr(preview, fate)}
    if not looks:
        return {}
    try:
        items = client.history(asked.found.pk, (arguments or {}).get("execution"))
    except DurableError:
        return {}  # the page of the instance says what is wrong with it
    address = asked.links.instance(asked.found.pk)
    drawn = timeline.draw(
        steps.of(items),
        now=None,
        room=timeline.STEPS,
        looks=looks,
        link=lambda seq: f"{address}?after={seq - 1}{timeline.here(seq)}",
    )
    used = set(looks.values())
    return {"timeline": drawn, "legend": [(f"fate-{n}", label) for n, label in _FATES.items() if f"fate-{n}" in used]}


def _show(
    asked: Asked, form: forms.Verb, arguments: dict[str, Any] | None, preview: Any, *, status: int = 200
) -> HttpResponse:
    verb, found, links = asked.verb, asked.found, asked.links
    refusal = getattr(preview, "refusal", None)
    shown = base.context(asked.site, asked.request, tab="instance_changelist", title=verb.label, form=form, verb=verb)
    shown |= {
        "instance": found,
        "address": links.instance(found.pk),
        "preview": preview if isinstance(preview, client.Preview) else None,
        "report": done.reported(preview) if isinstance(preview, client.RecoveryReport) else "",
        "advice": list(advice.of(refusal, found, links)) if refusal is not None else [],
        "seen": state(found, by_head=verb.by_head),
        "previewed": "" if arguments is None else fingerprint(arguments),
        "once": once.token(),
        "may_confirm": preview is not None and refusal is None,
        "hides": asked.hides,
        **_drawn(asked, arguments, preview),
    }
    if verb.name == "rerun":
        shown |= activities.context(asked.request, found, links.verb(found.pk, verb.name))
    if verb.name == "update":
        address = links.verb(found.pk, verb.name)
        known = change.registered(found.pk).items()
        shown["updates"] = [(name, shape, f"{address}?{urlencode({'name': name})}") for name, shape in known]
    return TemplateResponse(asked.request, "admin/durable/instance/act.html", shown, status=status)
