"""What operators fill in before a verb is done."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
from django import forms
from django.utils.translation import gettext_lazy as _

from durable.client.start import new_id
from durable.core import outside
from durable.core.errors import InvalidInput
from durable.operations.audit import REASON
from durable.operations.shapes import UNSET, Args, given_input

if TYPE_CHECKING:
    from durable.models import Instance

_LARGEST = 2**31 - 1


def whole(label: Any, **options: Any) -> forms.IntegerField:
    """Return a field for a number that may be left out."""
    return forms.IntegerField(label=label, required=False, min_value=0, max_value=_LARGEST, **options)


class JSON(forms.CharField):
    """Any JSON, strictly; nothing is ``UNSET``."""

    widget = forms.Textarea

    def __init__(self, **options: Any) -> None:
        attrs = {"rows": 8, "class": "durable-json", "spellcheck": "false", "autocomplete": "off"}
        super().__init__(widget=forms.Textarea(attrs=attrs), required=False, **options)

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if not text:
            return UNSET
        try:
            return outside.decode(text)
        except RecursionError:
            raise forms.ValidationError(_("The JSON is nested too deeply.")) from None
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise forms.ValidationError(_("This is no JSON: %(problem)s") % {"problem": error}) from None


def _given(value: Any) -> Any:
    """Return what JSON stands for as arguments: ``Args``, or the only one.

    Raises:
        ValidationError: They are no list and no object.
    """
    try:
        return value if value is UNSET else given_input(value)
    except InvalidInput as error:
        raise forms.ValidationError(error.problem) from None


def pretty(value: Any) -> str:
    """Return JSON as people read it."""
    return json.dumps(value, indent=2, ensure_ascii=False)


class Verb(forms.Form):
    """What every verb takes.

    Attributes:
        of_one: Fields that say something of one instance, and cannot of many.
    """

    of_one: tuple[str, ...] = ()

    reason = forms.CharField(
        label=_("Reason"),
        max_length=REASON,
        required=False,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=_("For the audit log: who reads it later will want to know why."),
    )

    @classmethod
    def start(cls, found: Instance) -> dict[str, Any]:
        """Return what the form begins with, for an instance."""
        return {}

    def arguments(self) -> dict[str, Any]:
        """Return what the client's function takes, but for the reason."""
        given = {name: value for name, value in self.cleaned_data.items() if name != "reason"}
        return {name: value for name, value in given.items() if value is not False and value not in ("", None)}

    def order(self) -> list[forms.BoundField]:
        """Return the visible fields, the reason last."""
        fields = [field for field in self if not field.is_hidden]
        return [*(field for field in fields if field.name != "reason"), self["reason"]]


class Children(Verb):
    """Halting and going on."""

    children = forms.BooleanField(label=_("Its children as well"), required=False)


class NewInstance(Verb):
    """Verbs that begin another instance; its id makes a second request the same as the first."""

    of_one = ("new_instance_id",)

    new_instance_id = forms.CharField(label=_("Id of the new instance"), max_length=255, strip=False)

    @classmethod
    def start(cls, found: Instance) -> dict[str, Any]:
        return {"new_instance_id": new_id()}


class Restart(NewInstance):
    """A restart."""

    terminate_first = forms.BooleanField(label=_("Terminate it first, if it is open"), required=False)
    version = whole(_("Version"), help_text=_("Empty: the one that a start would choose."))


class Rewind(Verb):
    """A rewind."""

    of_one = ("to",)

    to = whole(
        _("To event"),
        help_text=_("This event, and all that was asked for later, runs again. Empty: from before the failure."),
    )


class Rerun(NewInstance):
    """A rerun from an activity."""

    # Hidden, as the input belongs to it: another one is chosen by its link.
    event_id = forms.IntegerField(required=False, min_value=0, max_value=_LARGEST, widget=forms.HiddenInput)
    input = JSON(
        label=_("Input of the activity"),
        help_text=_("An object with exactly “args” and “kwargs”, or the only argument. Empty: as it was."),
    )
    siblings = forms.ChoiceField(
        label=_("Activities that were scheduled with it"),
        choices=[("rerun", _("run again")), ("keep", _("keep the results that they have"))],
        initial="rerun",
    )
    version = whole(_("Version"), help_text=_("Empty: the recorded one."))
    execution = forms.UUIDField(required=False, widget=forms.HiddenInput)

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        if given.get("event_id") is None and "event_id" not in self.errors:
            self.add_error("event_id", _("Say which activity."))
        return given

    def clean_input(self) -> Any:
        return _given(self.cleaned_data["input"])

    def arguments(self) -> dict[str, Any]:
        found = super().arguments()
        given = self.cleaned_data
        found["event_id"] = given["event_id"]  # which may be 0
        found["input"] = given["input"]
        return {**found, "version": given["version"]}


class Upgrade(Verb):
    """An upgrade."""

    to = whole(_("To version"), help_text=_("Empty: the latest that is registered."))

    def arguments(self) -> dict[str, Any]:
        return {"to": self.cleaned_data["to"]}


class Signal(Verb):
    """A signal."""

    name = forms.CharField(label=_("Name"), max_length=200, strip=False)
    payload = JSON(label=_("Payload, as JSON"), help_text=_("Empty: null."))

    def arguments(self) -> dict[str, Any]:
        payload = self.cleaned_data["payload"]
        return {"name": self.cleaned_data["name"], "payload": None if payload is UNSET else payload}


class Update(Verb):
    """An update."""

    of_one = ("update_id",)

    name = forms.CharField(label=_("Name"), max_length=200, strip=False)
    input = JSON(
        label=_("Arguments, as JSON"),
        help_text=_("An object with exactly “args” and “kwargs”, or the only argument. Empty: none."),
    )
    update_id = forms.CharField(
        label=_("Id of the request"),
        max_length=200,
        strip=False,
        help_text=_("Asking again by the same one runs nothing again."),
    )

    @classmethod
    def start(cls, found: Instance) -> dict[str, Any]:
        return {"update_id": new_id()}

    def clean_input(self) -> Any:
        return _given(self.cleaned_data["input"])

    def arguments(self) -> dict[str, Any]:
        given = self.cleaned_data["input"]
        arguments = given if isinstance(given, Args) else Args() if given is UNSET else Args(given)
        named = {name: self.cleaned_data[name] for name in ("name", "update_id")}
        return {**named, "args": list(arguments.args), "kwargs": arguments.kwargs}


class Restore(Verb):
    """A restore."""

    execution = forms.UUIDField(label=_("Execution"), help_text=_("The earlier one that shall count again."))


class Purge(Verb):
    """A purge."""

    keep_children = forms.BooleanField(label=_("Leave its children, without their parent"), required=False)
    force = forms.BooleanField(label=_("Terminate and purge what is open as well"), required=False)
