"""A verb for many instances: from the list to a preview of some, to a batch."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponseRedirect, QueryDict
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from durable import client
from durable.admin import acting, base, feeds, filtering, forms, lists, verbs, words
from durable.client import access, batching, redacting
from durable.client.start import new_id
from durable.core import errors
from durable.core.errors import DurableError, NotClosed
from durable.models import OPEN
from durable.operations import audit
from durable.store import clock, instances, listing

if TYPE_CHECKING:
    from django.contrib.admin import AdminSite
    from django.http import HttpRequest, HttpResponse

    from durable.models import Instance

LOOKED = 20
"""For how many instances the preview says what would become of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Of which instances the list was told.

    Attributes:
        of: What a batch takes: ids, a filter or a queryset.
        sample: The ids of some.
        count: How many there are, up to a limit.
        total: The same in words.
        hidden: What the form has to bring again.
    """

    of: Any
    sample: list[str]
    count: int
    total: str
    hidden: list[tuple[str, str]]


def view(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Show what a batch would do, or begin it.

    Raises:
        Http404: There is no such verb.
        PermissionDenied: The user may not see all instances, or not do this to any.
    """
    if request.method != "POST":
        return HttpResponseRedirect(base.links(site).to("instance_changelist"))
    verb = verbs.VERBS.get(request.POST.get("verb", ""))
    if not access.may(request.user, access.VIEW):
        _deny(request, verb.name if verb is not None else "batch")
    if verb is None or not verb.many:
        messages.warning(request, _("Choose what shall be done."))
        return _back(site, request)
    if not access.may(request.user, verb.permission):
        _deny(request, verb.name)
    chosen = _chosen(request)
    if chosen is None:
        messages.warning(request, _("Choose the instances to which it shall be done."))
        return _back(site, request)
    return _answer(site, request, verb, chosen)


def _back(site: AdminSite, request: HttpRequest) -> HttpResponse:
    query = request.POST.get("query", "")
    address = base.links(site).to("instance_changelist")
    return HttpResponseRedirect(f"{address}{query}" if query.startswith("?") else address)


def _deny(request: HttpRequest, verb: str, batch_id: str = "") -> None:
    try:
        access.deny(request.user, batch_id, verb=verb, reason=request.POST.get("reason", "")[: audit.REASON])
    except errors.PermissionDenied:
        raise PermissionDenied from None


def _chosen(request: HttpRequest) -> Chosen | None:
    query = request.POST.get("query", "")
    if not request.POST.get("all"):
        ids = list(dict.fromkeys(request.POST.getlist("id")))
        hidden = [("query", query), *(("id", each) for each in ids)]
        total = words.at_most(len(ids), len(ids))
        return Chosen(of=ids, sample=ids[:LOOKED], count=len(ids), total=total, hidden=hidden) if ids else None
    form, plain = filtering.parse(QueryDict(query.removeprefix("?")))
    if plain is None:
        return None
    of_all, whole = lists.chosen(form, plain, payloads=access.may(request.user, access.PAYLOAD))
    found = listing.of_status(of_all, form.statuses())
    first = listing.page(found, None, LOOKED, read=lists.light)
    if not first.rows and first.older is None:
        return None
    number = listing.total(found, base.COUNTED)
    return Chosen(
        of=found.rows if whole is None else whole,
        sample=[str(row.pk) for row in first.rows],
        count=number.count,
        total=words.counted(number.count, base.COUNTED, whole=number.whole),
        hidden=[("query", query), ("all", "1")],
    )


def _form(verb: verbs.Verb, request: HttpRequest) -> forms.Verb:
    """Return the verb's form without what says something of one instance."""
    given = request.POST if "step" in request.POST else None
    form = verb.form(given)
    for name in verb.form.of_one:
        del form.fields[name]
    return form


def _answer(site: AdminSite, request: HttpRequest, verb: verbs.Verb, chosen: Chosen) -> HttpResponse:
    form = _form(verb, request)
    if not form.is_bound:  # straight from the list
        bound = verb.form({name: field.initial or "" for name, field in form.fields.items()})
        for name in verb.form.of_one:
            del bound.fields[name]
        arguments = bound.arguments() if bound.is_valid() else None
        return _show(site, request, verb, chosen, form, arguments)
    if not form.is_valid():
        return _show(site, request, verb, chosen, form, None, status=400)
    arguments = form.arguments()
    if arguments.get("terminate_first") and not access.may(request.user, access.DESTROY):
        _deny(request, verb.name)
    if "preview" in request.POST:
        return _show(site, request, verb, chosen, form, arguments)
    if request.POST.get("previewed") != acting.fingerprint(arguments):
        messages.warning(request, _("This was changed since the preview: look at the new one, and confirm it."))
        return _show(site, request, verb, chosen, form, arguments, status=409)
    return _begin(site, request, verb, chosen, form, arguments)


def _begin(
    site: AdminSite,
    request: HttpRequest,
    verb: verbs.Verb,
    chosen: Chosen,
    form: forms.Verb,
    arguments: dict[str, Any],
) -> HttpResponse:
    links, batch_id = base.links(site), request.POST.get("batch", "") or new_id()
    told = {"reason": form.cleaned_data["reason"], "actor": request.user, "dry_run": "look" in request.POST}
    try:
        begun = client.batch(verb.name, chosen.of, id=batch_id, **told, **arguments)
    except errors.AlreadyExists:
        messages.info(request, _("This batch had been begun already, by the same form; there is no second one."))
        return HttpResponseRedirect(links.instance(batch_id))
    except errors.PermissionDenied:
        raise PermissionDenied from None
    except DurableError as error:
        messages.error(request, str(error))
        return _show(site, request, verb, chosen, form, arguments, status=409)
    address = links.of("batch_report", begun.id)
    text = ngettext(
        "{verb}: a batch for {total} instance has begun, <a href='{address}'>{id}</a>.",
        "{verb}: a batch for {total} instances has begun, <a href='{address}'>{id}</a>.",
        chosen.count,
    )
    messages.success(request, format_html(text, verb=verb.label, total=chosen.total, address=address, id=begun.id))
    return HttpResponseRedirect(address)


def _show(
    site: AdminSite,
    request: HttpRequest,
    verb: verbs.Verb,
    chosen: Chosen,
    form: forms.Verb,
    arguments: dict[str, Any] | None,
    *,
    status: int = 200,
) -> HttpResponse:
    looked = [] if arguments is None else [_look(request, verb, each, arguments) for each in chosen.sample]
    counts = Counter("allowed" if not problem else "refused" for _id, problem in looked)
    shown = base.context(site, request, tab="instance_changelist", title=verb.label, verb=verb, form=form)
    links = base.links(site)
    shown |= {
        "chosen": chosen,
        "looked": [(links.instance(each), each, problem) for each, problem in looked],
        "allowed": counts["allowed"],
        "refused": counts["refused"],
        "previewed": "" if arguments is None else acting.fingerprint(arguments),
        "may_confirm": arguments is not None,
        "batch": request.POST.get("batch") or new_id(),
        "list_url": links.to("instance_changelist"),
    }
    return TemplateResponse(request, "admin/durable/instance/many.html", shown, status=status)


def _look(request: HttpRequest, verb: verbs.Verb, instance_id: str, arguments: dict[str, Any]) -> tuple[str, str]:
    """Return an instance's id, and why the verb would be refused there; empty if it would not."""
    given = {**arguments, "new_instance_id": new_id()} if "new_instance_id" in verb.form.of_one else arguments
    looked = verbs.look(verb, instance_id, given, actor=request.user, audited=False)
    refusal = getattr(looked, "refusal", None)
    if refusal is not None and not access.may(request.user, access.PAYLOAD):
        refusal = redacting.error(refusal)
    return instance_id, "" if refusal is None else str(refusal)


def report(site: AdminSite, request: HttpRequest, object_id: str) -> HttpResponse:
    """Show how far a batch is, and what became of each instance; by POST, do it again for those not done.

    Raises:
        UnknownInstance: There is none of this id.
        PermissionDenied: The user may not see all instances.
        Http404: It is no batch.
    """
    links, batch_id = base.links(site), unquote(object_id)
    if not access.may(request.user, access.VIEW):
        if request.method == "POST":
            _deny(request, "batch", batch_id)
        raise PermissionDenied
    outcome = request.GET.get("outcome", "")
    options: dict[str, Any] = {"outcomes": [outcome] if outcome else [], "limit": listing.SIZE + 1}
    try:
        if request.method == "POST":
            return _again(request, links, batch_id)
        found = client.batch_report(batch_id, after=request.GET.get("after"), **options)
    except (errors.InvalidInput, errors.InvalidId):
        raise Http404 from None
    items = found.items[: listing.SIZE]
    if not access.may(request.user, access.PAYLOAD):
        items = [redacting.outcome(item) for item in items]
    instance, total = instances.get(batch_id), sum(found.counts.values())
    order = instance.input["args"][0]
    shown = base.context(site, request, tab="batches", title=_("Batch"), report=found, outcome=outcome)
    shown["verb_label"] = verbs.word(found.verb)
    shown |= {
        "items": [(links.instance(item.instance_id), item) for item in items],
        "next": items[-1].instance_id if len(found.items) > listing.SIZE else "",
        "instance_url": links.instance(batch_id),
        "finished": total - found.counts.get("pending", 0),
        "live": links.of("live", batch_id) if found.status in OPEN else "",
        "state": feeds.state(instance),
        "cancel": links.verb(batch_id, "cancel") if _may_cancel(request, instance) else "",
        "may_retry": _may_retry(request, found, instance),
        "instance": instance,
        "row": lists.row(instance, links, clock.now()),
        "actor": (order["actor"] or {}).get("name", ""),
        "reason": order["reason"],
    }
    return TemplateResponse(request, "admin/durable/batch.html", shown)


def _may_cancel(request: HttpRequest, batch: Instance) -> bool:
    return batch.status in OPEN and access.may(request.user, access.OPERATE, batch)


def _may_retry(request: HttpRequest, found: client.BatchReport, batch: Instance) -> bool:
    order = batch.input["args"][0]
    is_done = found.status not in OPEN and any(found.counts.get(each) for each in ("refused", "failed"))
    return is_done and batching.permitted(request.user, order["verb"], order["arguments"])


def _again(request: HttpRequest, links: base.Links, batch_id: str) -> HttpResponse:
    try:
        begun = client.batch_retry(batch_id, actor=request.user, dry_run="look" in request.POST)
    except errors.PermissionDenied:
        raise PermissionDenied from None
    except (NotClosed, errors.LimitExceeded) as error:
        messages.error(request, str(error))
        return HttpResponseRedirect(links.of("batch_report", batch_id))
    messages.success(request, _("Another batch has begun, for those that were not done."))
    return HttpResponseRedirect(links.of("batch_report", begun.id))
