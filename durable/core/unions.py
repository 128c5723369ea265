"""Whether JSON can tell the members of a union apart."""

from __future__ import annotations

import datetime as dt
import types
from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum
from itertools import combinations, product
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints, is_typeddict
from uuid import UUID

import msgspec

from durable.core import forms

_NULL = type(None)
_TEXTS = (str, bytes, bytearray, Decimal, UUID, dt.datetime, dt.date, dt.time, dt.timedelta)
_BYTES = (bytes, bytearray)
# Their texts can be base64 as well: 1234, PT1S.
_LIKE_BYTES = (*_BYTES, Decimal, dt.timedelta)


def members_of(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union; anything else is its own single member."""
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def fields_of(annotation: Any) -> dict[str, Any] | None:
    """Return the annotations of a record's fields, or None if it is no dataclass, TypedDict or model.

    Raises:
        NameError: A field's annotation names something that does not exist yet.
    """
    kind = class_of(annotation)
    if forms.is_pydantic(kind):
        return {name: field.annotation for name, field in kind.model_fields.items()}
    if not is_typeddict(kind) and not is_dataclass(kind):
        return None
    hints = get_type_hints(kind, include_extras=True)
    names = [field.name for field in fields(kind)] if is_dataclass(kind) else hints
    given = dict(zip(getattr(kind, "__parameters__", ()), get_args(annotation), strict=False))
    return {name: _filled(hints[name], given) for name in names}


def class_of(annotation: Any) -> Any:
    """Return the class behind ``list[int]`` and its like."""
    return get_origin(annotation) or annotation


def clash(members: tuple[Any, ...]) -> tuple[Any, Any] | None:
    """Return two members that JSON cannot tell apart, or None if there are none.

    Members that would give back the same value do not clash, such as
    ``list[int] | list[str]`` for an empty list.
    """
    return next((pair for pair in combinations(members, 2) if _clash(*pair)), None)


def _filled(hint: Any, given: dict[Any, Any]) -> Any:
    if isinstance(hint, TypeVar):
        return given.get(hint, hint)
    parameters = getattr(hint, "__parameters__", ())
    if not given or not parameters or isinstance(hint, type):
        return hint
    return hint[tuple(given.get(parameter, parameter) for parameter in parameters)]


def _family(annotation: Any) -> str:
    kind = class_of(annotation)
    if kind in (None, _NULL):
        return "null"
    if kind is Literal or (isinstance(kind, type) and issubclass(kind, Enum)):
        return "values"
    if kind in _TEXTS:
        return "text"
    if kind in (bool, int, float):
        return "bool" if kind is bool else "number"
    if fields_of(annotation) is not None or (isinstance(kind, type) and issubclass(kind, Mapping)):
        return "object"
    return "array" if isinstance(kind, type) and issubclass(kind, Collection) else "unknown"


def _clash(one: Any, two: Any) -> bool:
    pairs = list(product(members_of(one), members_of(two)))
    if len(pairs) > 1:
        return any(_clash(*pair) for pair in pairs)
    if one == two or not _overlap(one, two):
        return False
    families = {_family(one), _family(two)}
    if "unknown" in families:
        return False  # A converter's own types: its hook refuses what is not theirs.
    if "values" in families:
        return _values_clash(one, two)
    if families == {"array"} and class_of(one) is class_of(two):
        return _parts_clash(one, two)
    if families == {"object"} and not (fields_of(one) or fields_of(two)):
        return _parts_clash(one, two)
    return not families & {"null", "bool", "number"}


def _values_clash(one: Any, two: Any) -> bool:
    """Tell whether it matters as which of two overlapping types a value comes back."""
    kinds = [{type(value) for value in _values(each)} for each in (one, two)]
    if any(not issubclass(kind, str | int | None) for kind in kinds[0] | kinds[1]):
        return True
    # A StrEnum's member equals its text, so it can stand beside str, but not beside another Enum.
    return all(any(issubclass(kind, Enum) for kind in each) for each in kinds)


def _parts_clash(one: Any, two: Any) -> bool:
    return any(_clash(*pair) for pair in zip(get_args(one), get_args(two), strict=False))


def _overlap(one: Any, two: Any, seen: tuple[Any, ...] = ()) -> bool:
    """Tell whether some JSON can be meant as either."""
    if one == two or (one, two) in seen:
        return True
    pairs = list(product(members_of(one), members_of(two)))
    if len(pairs) > 1:
        return any(_overlap(*pair, seen) for pair in pairs)
    families = {_family(one), _family(two)}
    if "unknown" in families:
        return True
    if "values" in families:
        return _values_overlap(one, two)
    if len(families) > 1:
        return False
    if families == {"text"}:
        return str in (one, two) or _are_like_bytes(one, two)
    fields, others = _places(one), _places(two)
    if fields is None or others is None:
        return True
    seen = (*seen, (one, two))
    return fields.keys() == others.keys() and all(_overlap(fields[name], others[name], seen) for name in fields)


def _are_like_bytes(one: Any, two: Any) -> bool:
    return (one in _BYTES and two in _LIKE_BYTES) or (two in _BYTES and one in _LIKE_BYTES)


def _places(annotation: Any) -> dict[Any, Any] | None:
    """Return the annotation of each place of a record or a tuple of fixed length."""
    kind, args = class_of(annotation), get_args(annotation)
    if isinstance(kind, type) and issubclass(kind, tuple):
        if hasattr(kind, "_fields"):
            return dict(enumerate(get_type_hints(kind).values()))
        return None if not args or Ellipsis in args else dict(enumerate(args))
    return fields_of(annotation)


def _values_overlap(one: Any, two: Any) -> bool:
    if {_family(one), _family(two)} == {"values"}:
        return not _texts(one).isdisjoint(_texts(two))
    few, many = (one, two) if _family(one) == "values" else (two, one)
    return any(_takes(many, value) for value in map(_form, _values(few)))


def _takes(annotation: Any, data: Any) -> bool:
    family = _family(annotation)
    if family in ("array", "object"):
        return isinstance(data, list if family == "array" else dict)
    try:
        msgspec.convert(data, annotation)
    except msgspec.ValidationError:
        return False
    return True


def _values(annotation: Any) -> tuple[Any, ...]:
    if _family(annotation) != "values":
        return ()
    return get_args(annotation) or tuple(annotation)


def _texts(annotation: Any) -> set[bytes]:
    return {msgspec.json.encode(_form(value)) for value in _values(annotation)}


def _form(value: Any) -> Any:
    return forms.form(value, repr)
