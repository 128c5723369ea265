"""The page on which an instance is started: a form for the parameters, what would come of it, and a button."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from django import forms as django_forms
from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from durable import conf, registry
from durable.admin import acting, base, definitions, forms, health, once, typed
from durable.client import access
from durable.client.start import new_id, operate
from durable.core import errors
from durable.core.errors import AlreadyExists, DurableError, InvalidDefinition, InvalidInput, UnknownWorkflow
from durable.operations.shapes import UNSET
from durable.store import workers

if TYPE_CHECKING:
    from django.contrib.admin import AdminSite
    from django.http import HttpRequest, HttpResponse

    from durable.core.definitions import WorkflowDefinition


class Tags(django_forms.CharField):
    """Tags, one a line; numbers and truths are such, anything else is a text."""

    widget = django_forms.Textarea(attrs={"rows": 2, "spellcheck": "false", "placeholder": gettext_lazy("name=value")})

    def clean(self, value: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for line in filter(None, map(str.strip, super().clean(value).splitlines())):
            name, equals, text = (part.strip() for part in line.partition("="))
            if not (name and equals):
                raise django_forms.ValidationError(_("Write each tag as name=value, one a line."))
            found[name] = _scalar(text)
        return found


def _scalar(text: str) -> Any:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return text
    return text if isinstance(value, list | dict) else value


class Start(forms.Verb):
    """What a start takes beside the arguments."""

    id = django_forms.CharField(
        label=gettext_lazy("Id of the new instance"), max_length=255, strip=False, initial=new_id
    )
    queue = django_forms.CharField(
        label=gettext_lazy("Queue"),
        max_length=100,
        required=False,
        help_text=gettext_lazy("Empty: the one of the workflow."),
    )
    tags = Tags(label=gettext_lazy("Tags"), required=False)

    def __init__(self, definition: WorkflowDefinition, data: Any = None) -> None:
        super().__init__(data)
        self.entries = typed.entries(definition.signature)
        self.fields |= {entry.name: entry.field for entry in self.entries}
        self.order_fields([*(entry.name for entry in self.entries), "id", "queue", "tags", "reason"])
        self.plain: dict[str, Any] = {}

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        for entry in self.entries:
            if entry.name in given:
                try:
                    self.plain[entry.name] = entry.plain(given[entry.name])
                except (InvalidInput, InvalidDefinition) as error:
                    self.add_error(entry.name, typed.problem(entry, error))
        return given

    def call(self) -> dict[str, Any]:
        """Return the arguments of the workflow, as ``args`` and ``kwargs``."""
        changed = [name for name in self.changed_data if self.cleaned_data.get(name) is not UNSET]
        return typed.arguments(self.entries, self.plain, changed)

    def options(self) -> dict[str, Any]:
        """Return what ``start`` takes beside."""
        given = {name: self.cleaned_data[name] for name in ("id", "queue", "tags")}
        return {name: value for name, value in given.items() if value not in ("", {})}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request to start an instance."""

    site: AdminSite
    request: HttpRequest
    definition: WorkflowDefinition

    @property
    def links(self) -> base.Links:
        """Where the pages are."""
        return base.links(self.site)


def view(site: AdminSite, request: HttpRequest, object_id: str) -> HttpResponse:
    """Show the form that starts an instance of a workflow, or start one.

    Raises:
        PermissionDenied: The user may not.
    """
    _permit(request)
    type_name = unquote(object_id)
    try:
        definition = registry.workflow_type(type_name)
        if definition.name.startswith(registry.OURS):
            raise UnknownWorkflow(type_name)
    except UnknownWorkflow as error:
        messages.error(request, str(error))
        return HttpResponseRedirect(base.links(site).to("definitions"))
    asked = Asked(site=site, request=request, definition=definition)
    return _post(asked) if request.method == "POST" else _get(asked)


def _permit(request: HttpRequest) -> None:
    user, given = request.user, request.POST
    if access.may(user, access.VIEW) and access.may(user, access.OPERATE):
        return
    if request.method == "POST":
        try:
            reason, dry_run = given.get("reason", ""), "confirm" not in given
            access.deny(user, given.get("id", ""), verb="start", reason=reason, dry_run=dry_run)
        except errors.PermissionDenied:
            raise PermissionDenied from None
    raise PermissionDenied


def _get(asked: Asked) -> HttpResponse:
    form = Start(asked.definition)
    given = {name: form.get_initial_for_field(field, name) for name, field in form.fields.items()}
    bound = Start(asked.definition, {name: value for name, value in given.items() if value not in (None, False)})
    if not bound.is_valid():  # something has to be said first
        return _show(asked, form)
    return _show(asked, bound, refusal=_tried(asked, bound), looked=True)


def _post(asked: Asked) -> HttpResponse:
    form = Start(asked.definition, asked.request.POST)
    if not form.is_valid():
        return _show(asked, form, status=400)
    if "confirm" not in asked.request.POST:
        return _show(asked, form, refusal=_tried(asked, form), looked=True)
    if asked.request.POST.get("previewed") != _fingerprint(form):
        messages.warning(asked.request, _("This was changed since the preview: look at the new one, and confirm it."))
        return _show(asked, form, refusal=_tried(asked, form), looked=True, status=409)
    return _confirm(asked, form)


def _fingerprint(form: Start) -> str:
    return acting.fingerprint({**form.call(), **form.options()})


def _start(asked: Asked, form: Start) -> None:
    told = {"reason": form.cleaned_data["reason"], "actor": asked.request.user}
    operate(asked.definition.type_name, **form.call(), **form.options(), **told)


def _tried(asked: Asked, form: Start) -> DurableError | None:
    """Return why a start would be refused, or None; nothing is kept of it, in the audit neither."""
    try:
        with transaction.atomic(using=conf.settings.DATABASE):
            _start(asked, form)
            transaction.set_rollback(True, using=conf.settings.DATABASE)
    except DurableError as error:
        return error
    return None


def _confirm(asked: Asked, form: Start) -> HttpResponse:
    """Start it, once, in a transaction that a refusal does not roll back: it holds its row in the audit."""
    request, token = asked.request, asked.request.POST.get("once", "")
    if not once.is_token(token):
        messages.warning(request, _("This form is not complete: look at it anew, and confirm it."))
        return _show(asked, form, refusal=_tried(asked, form), looked=True, status=400)
    instance_id = form.cleaned_data["id"]
    address = asked.links.instance(instance_id)
    with transaction.atomic(using=conf.settings.DATABASE):
        row = once.claim(request.user, token)
        if row is None:
            messages.info(request, _("This had been done already, by the same form; it was not done again."))
            return HttpResponseRedirect(once.led_to(request.user, token) or address)
        refusal: DurableError | None = None
        try:
            _start(asked, form)
        except DurableError as error:
            refusal = error
            row.delete()
        else:
            once.keep(row, address)
    if refusal is not None:
        return _show(asked, form, refusal=refusal, looked=True, status=409)
    text = _("<a href='{address}'>{id}</a> is started.")
    messages.success(request, format_html(text, address=address, id=instance_id))
    return HttpResponseRedirect(address)


def _show(
    asked: Asked, form: Start, *, refusal: DurableError | None = None, looked: bool = False, status: int = 200
) -> HttpResponse:
    definition = asked.definition
    title = _("Start %(name)s") % {"name": definition.type_name}
    shown = base.context(asked.site, asked.request, tab="definitions", title=title, form=form, once=once.token())
    shown |= {
        "type": definition.type_name,  # not the definition: templates call what can be called
        "parameters": definitions.parameters(definition),
        "doc": (definition.__doc__ or "").strip(),
        "refusal": refusal,
        "taken": asked.links.instance(refusal.instance_id) if isinstance(refusal, AlreadyExists) else "",
        "may_confirm": looked and refusal is None,
        "address": asked.links.to("definitions"),
        "problems": list(health.problems()),
    }
    if looked:
        shown |= {"previewed": _fingerprint(form), "input": forms.pretty(form.call()), **_where(form, definition)}
    return TemplateResponse(asked.request, "admin/durable/start.html", shown, status=status)


def _where(form: Start, definition: WorkflowDefinition) -> dict[str, Any]:
    """Return on which queue it would be, and whether some worker serves that."""
    queue = form.cleaned_data["queue"] or definition.queue or conf.settings.QUEUE
    return {"queue": queue, "served": queue in workers.served(), "tags": form.cleaned_data["tags"]}
