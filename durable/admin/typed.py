"""Fields of a form for the parameters of a function, by their annotations, and the arguments that they give."""

from __future__ import annotations

import datetime as dt
import inspect
import types
import typing
from dataclasses import dataclass, fields, is_dataclass
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django import forms
from django.utils.translation import gettext as _

from durable import conf
from durable.admin.forms import JSON, pretty
from durable.core.errors import InvalidDefinition, InvalidInput
from durable.operations.shapes import UNSET

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from durable.core.signatures import Signature, Slot

PREFIX = "argument."
"""What the names of fields begin with, so that a parameter may have any name."""

_EMPTY = inspect.Parameter.empty
_MANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A parameter in a form."""

    parameter: inspect.Parameter
    slot: Slot
    field: forms.Field

    @property
    def name(self) -> str:
        """The name of its field."""
        return f"{PREFIX}{self.parameter.name}"

    def plain(self, value: Any) -> Any:
        """Return what was filled in as the JSON of an argument.

        Raises:
            InvalidInput: It does not fit the annotation.
            InvalidDefinition: The annotation cannot be used.
        """
        if value is UNSET:
            return None
        data = conf.converter().encode(value, self.slot.where)
        for each in _each(self.parameter, data):
            self.slot.decode(each, conf.converter())
        return data


def _each(parameter: inspect.Parameter, data: Any) -> list[Any]:
    match parameter.kind, data:
        case inspect.Parameter.VAR_POSITIONAL, list():
            return data
        case inspect.Parameter.VAR_KEYWORD, dict():
            return list(data.values())
        case inspect.Parameter.VAR_POSITIONAL, _:
            raise InvalidInput(f"*{parameter.name}", "give a list")
        case inspect.Parameter.VAR_KEYWORD, _:
            raise InvalidInput(f"**{parameter.name}", "give an object")
        case _:
            return [data]


def entries(signature: Signature) -> list[Entry]:
    """Return a field for each parameter of a function."""
    return [
        Entry(parameter=parameter, slot=slot, field=_field(parameter, slot))
        for parameter, slot in signature.parameters()
    ]


def problem(entry: Entry, error: InvalidInput | InvalidDefinition) -> str:
    """Return what is wrong with an argument, in words: where within it, and what."""
    if not isinstance(error, InvalidInput) or not error.where.startswith(entry.slot.where):
        return error.problem
    place = error.where.removeprefix(entry.slot.where)
    return f"{place}: {error.problem}" if place else error.problem


def arguments(entries: list[Entry], given: Mapping[str, Any], changed: list[str]) -> dict[str, Any]:
    """Return the arguments of a call as JSON; those that are left as they are by default are left out.

    Args:
        entries: The parameters.
        given: What was filled in, as JSON, by the names of the fields.
        changed: The names of the fields that are not as they were.
    """
    kinds = {entry.name: entry.parameter.kind for entry in entries}
    rest = [entry for entry in entries if entry.parameter.kind is inspect.Parameter.VAR_POSITIONAL]
    others = [entry for entry in entries if entry.parameter.kind is inspect.Parameter.VAR_KEYWORD]
    said = {each.name for each in entries if each.parameter.default is _EMPTY or each.name in changed}
    by_place = [entry for entry in entries if entry.parameter.kind in _BY_PLACE]
    more = [value for entry in rest for value in given[entry.name] or []]
    only = [n for n, each in enumerate(by_place, 1) if _is_only(each) and each.name in said]
    # Whatever is before something that has no name has to be given as well.
    least = len(by_place) if more else max(only, default=0)
    args: list[Any] = []
    for number, entry in enumerate(by_place):
        if number < least or (len(args) == number and entry.name in said):
            args.append(given[entry.name])
    named = [entry for entry in entries if kinds[entry.name] not in _MANY and entry not in by_place[: len(args)]]
    kwargs = {entry.parameter.name: given[entry.name] for entry in named if entry.name in said}
    for entry in others:
        kwargs |= given[entry.name] or {}
    return {"args": [*args, *more], "kwargs": kwargs}


def _is_only(entry: Entry) -> bool:
    return entry.parameter.kind is inspect.Parameter.POSITIONAL_ONLY


def written(annotation: Any) -> str:
    """Return an annotation as it is written."""
    if annotation is _EMPTY:
        return ""
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _field(parameter: inspect.Parameter, slot: Slot) -> forms.Field:
    label, note = parameter.name, written(parameter.annotation)
    if parameter.kind in _MANY:
        star = "*" if parameter.kind is inspect.Parameter.VAR_POSITIONAL else "**"
        help_text = _("A list, as JSON.") if star == "*" else _("An object, as JSON.")
        return JSON(label=f"{star}{label}", help_text=f"{note} {help_text}".strip())
    try:
        meant = slot.meaning()
    except InvalidDefinition:
        meant = Any
    has_default = parameter.default is not _EMPTY
    made = make(meant, nullable=parameter.default is None)
    made.label = label
    made.help_text = f"{note} {made.help_text}".strip()
    if has_default:
        made.initial = _initial(made, parameter.default, slot)
        if isinstance(made, JSON):
            made.required = False
    return made


def _initial(field: forms.Field, default: Any, slot: Slot) -> Any:
    if isinstance(field, JSON):
        try:
            return pretty(conf.converter().encode(default, slot.where))
        except InvalidInput:
            return ""
    if isinstance(field, Choice):
        return field.key(default)
    return default


class Choice(forms.TypedChoiceField):
    """One of some values, which need not be texts."""

    def __init__(self, values: Mapping[str, tuple[str, Any]], *, nullable: bool) -> None:
        self._values = {key: value for key, (_label, value) in values.items()}
        shown = [(key, label) for key, (label, _value) in values.items()]
        super().__init__(
            choices=[("", "---------"), *shown],
            coerce=self._values.__getitem__,
            empty_value=None,
            required=not nullable,
        )

    def key(self, value: Any) -> str:
        """Return the key of a value; empty if it is none of them."""
        same = (key for key, each in self._values.items() if type(each) is type(value) and each == value)
        return next(same, "")


class Text(forms.CharField):
    """A text of any kind, which may be empty; one that may be null is so if it is empty."""

    def __init__(self, *, nullable: bool) -> None:
        super().__init__(required=False, strip=False, widget=forms.Textarea(attrs={"rows": 1}))
        self.nullable = nullable

    def to_python(self, value: Any) -> Any:
        text = (super().to_python(value) or "").replace("\r\n", "\n")
        return None if self.nullable and not text else text

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.to_python(initial) != self.to_python(data))


class Required(JSON):
    """Any JSON, but nothing."""

    def clean(self, value: Any) -> Any:
        found = super().clean(value)
        if found is UNSET and self.required:
            raise forms.ValidationError(self.error_messages["required"], code="required")
        return found


def make(annotation: Any, *, nullable: bool = False) -> forms.Field:
    """Return a field for values of a type.

    Args:
        annotation: The type.
        nullable: Whether an empty field is null.
    """
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return make(parts[0], nullable=nullable)
    if isinstance(annotation, typing.NewType):
        return make(annotation.__supertype__, nullable=nullable)
    if origin in (typing.Union, types.UnionType):
        others = [part for part in parts if part is not type(None)]
        if len(others) == 1:
            return _noted(make(others[0], nullable=True))
    if origin is typing.Literal and all(isinstance(part, str | int | bool) for part in parts):
        return Choice({str(n): (str(part), part) for n, part in enumerate(parts)}, nullable=nullable)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        named = {each.name: (str(getattr(each, "label", each.name)), each) for each in annotation}
        return Choice(named, nullable=nullable)
    if annotation in _SIMPLE:
        return _SIMPLE[annotation](nullable)
    return _of_json(annotation, nullable=nullable)


def _noted(field: forms.Field) -> forms.Field:
    field.help_text = f"{field.help_text} {_('Empty: null.')}".strip()
    return field


def _of_json(annotation: Any, *, nullable: bool) -> forms.Field:
    found = Required(help_text=_("As JSON."))
    found.required = not nullable
    if isinstance(annotation, type) and is_dataclass(annotation):
        known = ", ".join(f'"{each.name}": {written(each.type)}' for each in fields(annotation))
        found.help_text = _("As JSON: %(shape)s") % {"shape": f"{{{known}}}"}
    return found


def _flag(nullable: bool) -> forms.Field:
    if nullable:
        return Choice({"true": (_("yes"), True), "false": (_("no"), False)}, nullable=True)
    return forms.BooleanField(required=False)


_SIMPLE: dict[Any, Callable[[bool], forms.Field]] = {
    str: lambda nullable: Text(nullable=nullable),
    bool: _flag,
    int: lambda nullable: forms.IntegerField(required=not nullable),
    float: lambda nullable: forms.FloatField(required=not nullable, widget=forms.NumberInput(attrs={"step": "any"})),
    Decimal: lambda nullable: forms.DecimalField(
        required=not nullable, widget=forms.NumberInput(attrs={"step": "any"})
    ),
    dt.date: lambda nullable: forms.DateField(
        required=not nullable, widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
    ),
    dt.datetime: lambda nullable: forms.DateTimeField(
        required=not nullable,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local", "step": "1"}, format="%Y-%m-%dT%H:%M:%S"),
        help_text=_("In the time zone of this page."),
    ),
    dt.time: lambda nullable: forms.TimeField(
        required=not nullable, widget=forms.TimeInput(attrs={"type": "time", "step": "1"}, format="%H:%M:%S")
    ),
    dt.timedelta: lambda nullable: forms.DurationField(
        required=not nullable, help_text=_("As 1 02:30:00 for a day and two and a half hours.")
    ),
    UUID: lambda nullable: forms.UUIDField(required=not nullable),
}
