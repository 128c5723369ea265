"""What msgspec is asked to convert to, in place of an annotation that it would not take."""

from __future__ import annotations

import collections.abc as abc
import inspect
from collections import namedtuple
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import MISSING, fields
from enum import Enum
from functools import lru_cache, partial
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    Literal,
    NotRequired,
    Protocol,
    Required,
    TypedDict,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import msgspec
from msgspec import inspect as described

from durable.core import forms, unions

# Made of names known only at run time, which type checkers do not follow.
_make_dict: Any = TypedDict
_make_tuple: Any = namedtuple
_PLAIN = (Any, object, inspect.Parameter.empty)
_WRAPPERS = (Annotated, Final, NotRequired, Required)
_CONTAINERS: dict[Any, Any] = {
    **dict.fromkeys((list, abc.Sequence, abc.MutableSequence, abc.Collection, abc.Iterable), list),
    **dict.fromkeys((dict, abc.Mapping, abc.MutableMapping), dict),
    **dict.fromkeys((set, abc.Set, abc.MutableSet), set),
    frozenset: frozenset,
    tuple: tuple,
}


class Unclear(ValueError):
    """JSON cannot say, or nobody knows, what a value of this annotation is."""


class Reviver(Protocol):
    """What a stand-in needs to make values: a converter."""

    def form(self, value: Any) -> Any: ...
    def revive(self, data: Any, target: Any) -> Any: ...
    def decode_other(self, data: Any, kind: Any) -> Any: ...


Make = Callable[[Any, Reviver], Any]


class _Permissive(type):
    # msgspec checks what a hook returned by isinstance; a stand-in returns what it stands for.
    def __instancecheck__(cls, value: object) -> bool:
        return True


class StandIn(metaclass=_Permissive):
    """A class that msgspec does not know, so that it leaves the data to ``make``."""

    make: ClassVar[Make]


def _stand_in(annotation: Any, make: Make | None = None) -> Any:
    return _Permissive(_name(annotation), (StandIn,), {} if make is None else {"make": staticmethod(make)})


def target(annotation: Any) -> Any:
    """Return the type to convert to; ``Any`` if plain JSON is what is wanted.

    Raises:
        Unclear: JSON cannot say what is annotated.
        NameError: The annotation names something that does not exist yet.
    """
    try:
        return _cached(annotation)
    except TypeError:  # Annotated may hold what cannot be hashed.
        return _Targets().of(annotation)


@lru_cache(maxsize=4096)
def _cached(annotation: Any) -> Any:
    return _Targets().of(annotation)


def strangers(annotation: Any) -> list[type]:
    """Return the types in an annotation that only a converter can know.

    Raises:
        Unclear: JSON cannot say what is annotated.
        NameError: The annotation names something that does not exist yet.
    """
    targets = _Targets()
    targets.of(annotation)
    return targets.strangers


class _Targets:
    """The targets of an annotation and its parts.

    Attributes:
        records: The stand-ins of the classes met so far, as one may have fields of its own type.
        strangers: The types met so far that only a converter can know.
    """

    def __init__(self) -> None:
        self.records: dict[Any, Any] = {}
        self.strangers: list[type] = []

    def of(self, annotation: Any) -> Any:
        if annotation in _PLAIN:
            return Any
        if annotation is None:
            return type(None)
        if _is_native(annotation):
            return annotation
        kind, args = get_origin(annotation), get_args(annotation)
        if kind in _WRAPPERS:
            return self.of(args[0])
        if unwrapped := getattr(annotation, "__supertype__", None) or getattr(annotation, "__value__", None):
            return self.of(unwrapped)  # NewType, and the type statement
        if len(members := unions.members_of(annotation)) > 1:
            return self.union(annotation, members)
        if kind is Literal:
            return _choice(str(annotation), args)
        if not isinstance(kind or annotation, type):
            raise Unclear(f"{_name(annotation)} is no type that JSON can be converted to")
        return self.of_class(annotation, kind or annotation, args)

    def of_class(self, annotation: Any, kind: Any, args: tuple[Any, ...]) -> Any:
        if annotation in self.records:
            return self.records[annotation]
        if args and kind in _CONTAINERS:
            return self.container(annotation, _CONTAINERS[kind], args)
        if issubclass(kind, forms.Storable):
            return _stand_in(kind, lambda data, _: kind.from_json(data))
        if forms.is_pydantic(kind):
            return _stand_in(kind, partial(_model, kind))
        if unions.fields_of(annotation) is not None:
            return self.record(annotation, kind)
        if issubclass(kind, tuple) and hasattr(kind, "_fields"):
            return self.named_tuple(kind)
        if issubclass(kind, Enum):
            return _choice(kind, tuple(kind))
        self.strangers.append(kind)
        return _stand_in(annotation, partial(_other, annotation, kind))

    def container(self, annotation: Any, kind: Any, args: tuple[Any, ...]) -> Any:
        parts = tuple(part if part is Ellipsis else self.of(part) for part in args)
        if kind is dict and (len(unions.members_of(parts[0])) > 1 or _is_stand_in(parts[0])):
            raise Unclear(f"the keys of {_name(annotation)} are texts in JSON, which cannot say what they were")
        return kind[parts]

    def union(self, annotation: Any, members: tuple[Any, ...]) -> Any:
        if pair := unions.clash(members):
            one, two = map(_name, pair)
            raise Unclear(f"JSON cannot tell {one} from {two}; use one of them, or mark each with a Literal field")
        targets = tuple(map(self.of, members))
        if Any in targets:
            return Any
        joined: Any = Union[targets]  # noqa: UP007 - of types known only now
        try:
            described.type_info(joined)
        except TypeError:
            return _stand_in(annotation, partial(_first, _name(annotation), targets))
        return joined

    def record(self, annotation: Any, kind: Any) -> Any:
        """Stand in for a class by a dict of the same fields, each with its target."""
        made = self.records[annotation] = _stand_in(annotation)
        required = _required(kind)
        twin = _make_dict(
            kind.__name__,
            {
                name: (Required if name in required else NotRequired)[self.of(hint)]
                for name, hint in (unions.fields_of(annotation) or {}).items()
            },
        )
        made.make = staticmethod(lambda data, reviver: _build(kind, reviver.revive(data, twin)))
        return made

    def named_tuple(self, kind: Any) -> Any:
        made = self.records[kind] = _stand_in(kind)
        twin = _make_tuple(kind.__name__, kind._fields, defaults=kind._field_defaults.values())
        twin.__annotations__ = {name: self.of(hint) for name, hint in get_type_hints(kind, include_extras=True).items()}
        made.make = staticmethod(lambda data, reviver: kind(*reviver.revive(data, twin)))
        return made


def _required(kind: Any) -> Collection[str]:
    if is_typeddict(kind):
        # Of annotations that are texts, as here, the class itself did not see NotRequired.
        hints = get_type_hints(kind, include_extras=True)
        marks = {name: get_origin(hint) for name, hint in hints.items()}
        return [
            name
            for name, mark in marks.items()
            if mark is Required or (mark is not NotRequired and name in kind.__required_keys__)
        ]
    return [field.name for field in fields(kind) if field.init and field.default is MISSING is field.default_factory]


def _build(kind: Any, values: dict[str, Any]) -> Any:
    if is_typeddict(kind):
        return values
    late = {field.name for field in fields(kind) if not field.init}
    made = kind(**{name: value for name, value in values.items() if name not in late})
    for name in late & values.keys():
        object.__setattr__(made, name, values[name])
    return made


def _choice(annotation: Any, values: tuple[Any, ...]) -> Any:
    """Stand in for an Enum or a Literal whose values are of several types."""
    table = {_text(value): value for value in values}
    if len(table) < len(values):
        raise Unclear(f"two values of {_name(annotation)} are the same in JSON")

    def make(data: Any, _: Reviver) -> Any:
        if (text := _text(data)) not in table:
            raise ValueError(f"Invalid enum value {data!r}")
        return table[text]

    return _stand_in(annotation, make)


def _text(value: Any) -> bytes:
    try:
        return msgspec.json.encode(forms.form(value, forms.refuse))
    except ValueError as error:
        raise Unclear(f"{value!r}: {error}") from None


def _first(name: str, targets: tuple[Any, ...], data: Any, reviver: Reviver) -> Any:
    """Return what the first fitting member of a union makes of the data.

    One that would be stored as exactly this data goes before: a class whose
    fields all have defaults takes almost any object.
    """
    fitting = []
    for each in targets:
        try:
            value = reviver.revive(data, each)
        except msgspec.ValidationError:
            continue
        with suppress(ValueError):
            if reviver.form(value) == data:
                return value
        fitting.append(value)
    if not fitting:
        raise ValueError(f"Expected `{name}`")
    return fitting[0]


def _model(kind: Any, data: Any, _: Reviver) -> Any:
    # As JSON, since a strict model takes no text for a datetime from Python.
    return kind.model_validate_json(msgspec.json.encode(data), by_alias=True, by_name=True)


def _other(annotation: Any, kind: Any, data: Any, reviver: Reviver) -> Any:
    try:
        return reviver.decode_other(data, annotation)
    except NotImplementedError:
        if isinstance(data, kind):
            return data
        raise ValueError(f"Expected `{_name(annotation)}`, which no converter makes from JSON") from None


def _is_native(annotation: Any) -> bool:
    """Tell whether msgspec knows every part of it, and does with it what we want."""
    try:
        description = described.type_info(annotation)
    except TypeError:
        return False
    return all(map(_is_known, _nodes(description)))


def _is_known(node: Any) -> bool:
    if isinstance(node, described.DictType):
        return not isinstance(node.key_type, described.UnionType)
    if isinstance(node, described.DataclassType):
        return not issubclass(unions.class_of(node.cls), forms.Storable)
    return not isinstance(node, described.CustomType)


def _nodes(description: Any) -> Iterator[Any]:
    seen, waiting = set(), [description]
    while waiting:
        node = waiting.pop()
        if isinstance(node, tuple):
            waiting.extend(node)
        elif isinstance(node, described.Type | described.Field) and id(node) not in seen:
            seen.add(id(node))  # The description of a recursive type holds itself.
            waiting.extend(getattr(node, name) for name in node.__struct_fields__)
            yield node


def _is_stand_in(part: Any) -> bool:
    return isinstance(part, type) and issubclass(part, StandIn)


def _name(annotation: Any) -> str:
    members = unions.members_of(annotation)
    if len(members) > 1:
        return " | ".join(map(_name, members))
    return annotation.__name__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation)
