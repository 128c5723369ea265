"""Values pass through JSON and come back as they were."""

from __future__ import annotations

import collections
import datetime as dt
import enum
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from decimal import Decimal
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    Self,
    TypedDict,
    TypeVar,
)
from uuid import UUID
from zoneinfo import ZoneInfo

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable.core.errors import InvalidDefinition, InvalidInput, PayloadTooLarge
from durable.core.payloads import Converter, Storable, dumps, loads

T = TypeVar("T")
LIMIT = 1_000_000
UUID_1 = UUID(int=1)
MOMENT = dt.datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=dt.UTC)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Word(enum.StrEnum):
    YES = "yes"


class Reply(enum.StrEnum):
    YES = "yes"
    NO = "no"


class Mixed(enum.Enum):
    TEXT = "1"
    NUMBER = 1
    PAIR = (1, 2)
    MONEY = Decimal("1.50")


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: Decimal = Decimal(0)


class Options(TypedDict):
    amount: Decimal
    note: NotRequired[str]


@dataclass
class Line:
    sku: str
    price: Decimal
    _seen: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    id: UUID
    lines: list[Line]
    placed: dt.datetime
    color: Color | None = None


@dataclass
class Tree:
    value: Decimal
    children: list[Tree] = field(default_factory=list)


class Box(pydantic.BaseModel):
    width: Decimal
    made: dt.date
    label: str = pydantic.Field(default="", alias="Label")


class Crate(pydantic.BaseModel):
    weight: float


class Money:
    """A class of which no converter knows unless it is told."""

    def __init__(self, cents: int) -> None:
        self.cents = cents

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and other.cents == self.cents

    def __hash__(self) -> int:
        return hash(self.cents)


class MoneyConverter(Converter):
    def encode_other(self, value: Any) -> Any:
        if isinstance(value, Money):
            if value.cents < 0:
                raise ValueError("money cannot be negative")
            return {"cents": (value.cents,)}
        return super().encode_other(value)

    def decode_other(self, data: Any, kind: Any) -> Any:
        if kind is Money:
            if not isinstance(data, dict):
                raise ValueError("Expected money")
            return Money(data["cents"][0])
        return super().decode_other(data, kind)


@dataclass
class Bill:
    total: Money
    tips: list[Money] = field(default_factory=list)
    parent: Bill | None = None


class Tip(NamedTuple):
    money: Money
    by: str = "me"


class Wallet(TypedDict):
    money: Money
    note: NotRequired[str]


@dataclass
class Holder(Generic[T]):
    held: T
    more: list[T]
    count: int = 0


@dataclass
class Square:
    side: int


@dataclass
class Circle:
    radius: int = 1


@dataclass
class Sphere:
    radius: int = 1
    color: str = "red"


@dataclass
class Cash:
    kind: Literal["cash"]
    amount: int


@dataclass
class Card:
    kind: Literal["card"]
    amount: int


@dataclass
class Approved:
    by: str


@dataclass
class Rejected:
    by: str


@dataclass
class ListOne:
    next: ListOne | None


@dataclass
class ListTwo:
    next: ListTwo | None


class Spot(NamedTuple):
    x: int


class Pair(NamedTuple):
    x: int
    y: int


class Couple(NamedTuple):
    a: int
    b: int


@dataclass(frozen=True)
class Version(Storable):
    major: int

    def to_json(self) -> Any:
        return f"v{self.major}"

    @classmethod
    def from_json(cls, data: Any) -> Version:
        if not str(data).startswith("v"):
            raise ValueError("Expected a version")
        return cls(int(data[1:]))


@dataclass
class Release:
    version: Version


def there_and_back(value: Any, annotation: Any, converter: Converter | None = None) -> Any:
    converter = converter or Converter()
    encoded = converter.encode(value, "value")
    text = dumps(encoded, "value", LIMIT)
    assert loads(text) == encoded
    assert json.loads(text) == encoded
    return converter.decode(loads(text), annotation, "value")


# --- what comes back as it was


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (None, None),
        (None, type(None)),
        (True, bool),
        (1, int),
        (2**80, int),
        (-(2**80), int),
        (0.1, float),
        (1e300, float),
        ("käse 🧀", str),
        ("nul \0", str),
        (Decimal("1.10"), Decimal),
        (Decimal("1E+500"), Decimal),
        (MOMENT, dt.datetime),
        (MOMENT.replace(tzinfo=None), dt.datetime),
        (dt.datetime(1900, 1, 1, tzinfo=ZoneInfo("Europe/Amsterdam")), dt.datetime),
        (dt.date(2024, 2, 29), dt.date),
        (dt.time(1, 2, 3, 4), dt.time),
        (dt.timedelta(days=-1, microseconds=1), dt.timedelta),
        (dt.timedelta.max, dt.timedelta),
        (UUID_1, UUID),
        (b"\x00\xff", bytes),
        (bytearray(b"\x00"), bytearray),
        (Color.RED, Color),
        (Size.LARGE, Size),
        (Word.YES, Word),
        (Access.READ | Access.WRITE, Access),
        (Point(1, Decimal("2.5")), Point),
        ({"amount": Decimal(1)}, Options),
        ({"amount": Decimal(1), "note": "x"}, Options),
        (Line("a", Decimal("1.5"), {3, 1}), Line),
        (Order(id=UUID_1, lines=[Line("a", Decimal(1))], placed=MOMENT, color=Color.BLUE), Order),
        (Tree(Decimal(1), [Tree(Decimal(2))]), Tree),
        (Holder(Decimal(1), [Decimal(2)]), Holder[Decimal]),
        ([Decimal(1)], list[Decimal]),
        ([Decimal(1)], Sequence[Decimal]),
        ((1, Decimal(2), "x"), tuple[int, Decimal, str]),
        ((UUID_1, UUID_1), tuple[UUID, ...]),
        ((), tuple[()]),
        ({UUID_1}, set[UUID]),
        (frozenset({dt.date(2020, 1, 1)}), frozenset[dt.date]),
        ({"a": Decimal(1)}, dict[str, Decimal]),
        ({"a": Decimal(1)}, Mapping[str, Decimal]),
        ({1: "a"}, dict[int, str]),
        ({1.5: "a"}, dict[float, str]),
        ({UUID_1: 1}, dict[UUID, int]),
        ({Color.RED: 1}, dict[Color, int]),
        ({Size.SMALL: 1}, dict[Size, int]),
        ({dt.date(2020, 1, 1): 1}, dict[dt.date, int]),
        ({Decimal("1.5"): 1}, dict[Decimal, int]),
        ({b"x": 1}, dict[bytes, int]),
        (None, UUID | None),
        (UUID_1, Optional[UUID]),  # noqa: UP045 - the old spelling must work, too
        (Decimal(1), Decimal | int | None),
        (1, Decimal | int | None),
        (1.5, Decimal | float),
        ("a", Literal["a", 1, None]),
        (Decimal(1), NewType("Price", Decimal)),
        (Decimal(1), Annotated[Decimal, "in euros"]),
        (Decimal(1), Annotated[Decimal, ["cannot be hashed"]]),
    ],
)
def test_a_value_comes_back_as_it_was(value, annotation):
    back = there_and_back(value, annotation)

    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (Mixed.TEXT, Mixed),
        (Mixed.NUMBER, Mixed),
        (Mixed.PAIR, Mixed),
        ([Mixed.MONEY], list[Mixed]),
        (Mixed.MONEY, Mixed | None),
        (None, Mixed | None),
        (Color.RED, Literal[Color.RED, 5]),
        (b"x", Literal[b"x", "y"]),
        (Decimal(1), Annotated[Decimal | dt.date, "two texts"]),
        (UUID_1, NewType("Either", Decimal | UUID)),
    ],
)
def test_types_that_msgspec_does_not_take_come_back_as_they_were(value, annotation):
    back = there_and_back(value, annotation)

    assert back == value
    assert type(back) is type(value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
OFFSETS = st.integers(-23 * 60, 23 * 60).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))
TYPED = st.one_of(
    *(
        st.tuples(st.just(kind), strategy)
        for kind, strategy in [
            (Decimal, st.decimals(allow_nan=False)),
            (dt.datetime, st.datetimes(timezones=st.none() | OFFSETS)),
            (dt.date, st.dates()),
            (dt.time, st.times(timezones=st.none() | OFFSETS)),
            (dt.timedelta, st.timedeltas()),
            (UUID, st.uuids()),
            (bytes, st.binary()),
            (int, st.integers()),
            (float, st.floats(allow_nan=False, allow_infinity=False)),
            (str, st.text()),
            (Mixed, st.sampled_from(Mixed)),
        ]
    )
)


@given(JSON)
def test_plain_json_is_its_own_form(data):
    encoded = Converter().encode(data, "value")

    assert encoded == data
    assert loads(dumps(encoded, "value", LIMIT)) == encoded
    assert Converter().decode(encoded, Any, "value") is encoded


@given(TYPED)
def test_any_value_of_a_known_type_comes_back(case):
    value: Any
    kind: Any
    kind, value = case

    assert there_and_back(value, kind) == value
    assert there_and_back([value], list[kind]) == [value]
    assert there_and_back((1, value), tuple[int, kind]) == (1, value)
    assert there_and_back({"a": value}, dict[str, kind | None]) == {"a": value}


@given(
    st.dictionaries(
        st.uuids(), st.sets(st.decimals(allow_nan=False, allow_infinity=False), max_size=5) | st.none(), max_size=5
    )
)
def test_any_nested_value_comes_back(value):
    assert there_and_back(value, dict[UUID, set[Decimal] | None]) == value


def test_order_of_keys_is_kept():
    assert list(Converter().encode({"b": 1, "a": Decimal(2)}, "value")) == ["b", "a"]


def test_encoded_value_is_a_copy():
    given_ = {"list": [1]}

    encoded = Converter().encode(given_, "value")
    given_["list"].append(2)

    assert encoded == {"list": [1]}


def test_subclasses_of_plain_types_become_plain():
    class Text(str):
        __slots__ = ()

    class Number(int):
        pass

    class Real(float):
        pass

    class When(dt.datetime):
        pass

    values = [
        Text("a"),
        Number(1),
        Real(1.5),
        When(2020, 1, 1),
        collections.OrderedDict(a=1),
        MappingProxyType({"b": 2}),
    ]

    encoded = Converter().encode(values, "value")

    assert encoded == ["a", 1, 1.5, "2020-01-01T00:00:00", {"a": 1}, {"b": 2}]
    assert [type(each) for each in encoded] == [str, int, float, str, dict, dict]


def test_sets_are_in_the_same_order_in_every_process():
    code = (
        "from durable.core.payloads import *; from decimal import Decimal;"
        "print(dumps(Converter().encode({1, 'b', 'a', 2.5, None, Decimal('1.1'), frozenset('xyz')}, ''), '', 999))"
    )

    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert outputs == {'["1.1","a","b",1,2.5,["x","y","z"],null]\n'}


def test_nothing_annotated_gives_plain_json():
    data = {"a": ["2020-01-01"]}

    for annotation in (Any, object, dict, dict[str, Any]):
        assert Converter().decode(data, annotation, "value") == data


def test_fields_that_the_class_no_longer_has_are_left_out():
    assert Converter().decode({"side": 2, "gone": 1}, Square, "value") == Square(2)


def test_pydantic_is_not_imported_for_those_who_do_not_use_it():
    code = (
        "import sys; from durable.core.payloads import *; from dataclasses import make_dataclass;"
        "Converter().encode(make_dataclass('A', ['a'])({1}), ''); print('pydantic' in sys.modules);"
        "Converter().encode(object(), '')"
    )

    run = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        check=False,
        text=True,
    )

    assert run.stdout == "False\n"
    assert "InvalidInput" in run.stderr


# --- classes with parts that only we know


BOX = Box(width=Decimal("1.5"), made=dt.date(2020, 1, 1), Label="x")


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (BOX, Box),
        ([BOX], list[Box]),
        (BOX, Box | None),
        (None, Box | None),
        ({"a": (BOX, 1)}, dict[str, tuple[Box, int]]),
        (Money(5), Money),
        ([Money(5)], list[Money]),
        ({Money(5)}, set[Money]),
        ((Money(5),), tuple[Money, ...]),
        ({"a": Money(5)}, Mapping[str, Money]),
        ([Money(5)], Iterable[Money]),
        ([Money(5)], Collection[Money]),
        (Money(5), Money | None),
        (Money(5), Money | int),
        (7, Money | int),
        (Bill(Money(1), [Money(2)], Bill(Money(3))), Bill),
        (Bill(Money(1)), Bill | None),
        (Bill(Money(1)), Annotated[Bill, "doc"]),
        (Tip(Money(1)), Tip),
        ([Tip(Money(1), "you")], list[Tip]),
        ({"money": Money(1)}, Wallet),
        ({"money": Money(1), "note": "x"}, Wallet),
        (Holder(Money(1), [Money(2)], 3), Holder[Money]),
        (Holder(Holder(Money(1), []), []), Holder[Holder[Money]]),
        (Version(3), Version),
        (Release(Version(3)), Release),
        ([Release(Version(3))], list[Release | None]),
    ],
)
def test_types_of_our_own_come_back_wherever_they_occur(value, annotation):
    back = there_and_back(value, annotation, MoneyConverter())

    assert back == value
    assert type(back) is type(value)


def test_generic_class_without_arguments_gives_plain_json_for_its_variables():
    @dataclass
    class Labeled(Generic[T]):
        what: T
        money: Money

    back = there_and_back(Labeled(Decimal(1), Money(2)), Labeled, MoneyConverter())

    assert back == Labeled("1", Money(2))


def test_fields_outside_the_constructor_come_back():
    @dataclass
    class Counter:
        start: InitVar[int] = 5
        money: Money = field(default_factory=lambda: Money(1))
        count: int = field(init=False)

        def __post_init__(self, start: int) -> None:
            self.count = start

    counter = Counter(7)

    assert there_and_back(counter, Counter, MoneyConverter()) == counter
    assert MoneyConverter().decode({}, Counter, "value") == Counter()


def test_type_variable_and_generic_alias_of_unknown_class_reach_the_hook_whole():
    class Asked(Converter):
        def decode_other(self, data: Any, kind: Any) -> Any:
            return kind

    class Repository(Generic[T]):
        pass

    assert Asked().decode(1, Repository[int], "value") == Repository[int]


def test_data_that_is_already_of_an_unknown_abstract_type_passes():
    assert Converter().decode([1], Iterable, "value") == [1]


def test_strict_pydantic_model_comes_back():
    class Strict(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(strict=True)
        at: dt.datetime

    assert there_and_back(Strict(at=MOMENT), Strict) == Strict(at=MOMENT)


# --- unions that msgspec leaves to us


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (Square(1), Square | Circle),
        (Circle(1), Square | Circle),
        (Circle(1), Sphere | Circle),
        (Sphere(1), Circle | Sphere),
        ([Circle(2), Square(3)], list[Circle | Square]),
        (Cash("cash", 1), Card | Cash),
        (Card("card", 1), Card | Cash),
        (None, Card | Cash | None),
        (BOX, Crate | Box),
        (Crate(weight=1), Box | Crate | Square),
        (Square(1), Box | Crate | Square),
        ({"amount": Decimal(1)}, Options | Square),
        (UUID_1, Decimal | UUID),
        (Decimal("1" * 32), UUID | Decimal),
        (dt.date(2020, 1, 1), dt.datetime | dt.date),
        (MOMENT, dt.date | dt.datetime),
        (dt.timedelta(1), Decimal | dt.timedelta),
        (b"x", UUID | bytes),
        ([], list[int] | list[str]),
        (["a"], list[int] | list[str]),
        ({"a": "b"}, dict[str, int] | dict[str, str]),
        (Word.YES, Word | str),
        ("no", Word | str),
        ("yes", Literal["yes"] | str),
        (Size.SMALL, Size | int),
        (5, Size | int),
        (Color.RED, Color | UUID),
        (UUID_1, Color | UUID),
        (Color.RED, Color | list[int] | None),
        (Mixed.PAIR, Mixed | dt.date),
        ((1, 2), tuple[int, int] | tuple[int]),
        ((1,), tuple[int, int] | tuple[int]),
        (("a", 1), tuple[int, str] | tuple[str, int]),
        (Spot(1), Pair | Spot),
        (Pair(1, 2), Spot | Pair),
        (True, bool | Literal["x"] | Decimal | UUID),
        (ListOne(None), ListOne | Square),
        (Word.YES, Literal["no"] | Word),
        (3, Money | str | int),
        (Money(3), str | Money | int),
    ],
)
def test_member_of_a_union_comes_back_as_it_was(value, annotation):
    back = there_and_back(value, annotation, MoneyConverter())

    assert back == value
    assert type(back) is type(value)


def test_union_takes_data_with_fields_left_to_their_defaults():
    assert Converter().decode({}, Square | Sphere, "value") == Sphere()


def test_union_with_any_gives_plain_json():
    assert Converter().decode([1], Any | Money | int, "value") == [1]


def test_member_whose_value_cannot_be_stored_again_still_fits():
    class OneWay(Converter):
        def decode_other(self, data: Any, kind: Any) -> Any:
            return Money(data)

    assert OneWay().decode(4, Money | str, "value") == Money(4)


@pytest.mark.parametrize(
    ("annotation", "named"),
    [
        (Decimal | str, "Decimal from str"),
        (str | dt.datetime | None, "str from datetime"),
        (list[UUID | str], "UUID from str"),
        (bytes | Decimal, "bytes from Decimal"),
        (dt.timedelta | bytes, "timedelta from bytes"),
        (bytes | bytearray, "bytes from bytearray"),
        (Color | str, "Color from str"),
        (Word | Reply, "Word from Reply"),
        (Mixed | int, "Mixed from int"),
        (Mixed | Decimal, "Mixed from Decimal"),
        (Literal[b"x"] | str, "from str"),
        (list[int] | tuple[int, ...], "from tuple"),
        (list[int] | set[int], "from set"),
        (list[Decimal] | list[str], "from list"),
        (tuple[Decimal, int] | tuple[str, int], "from tuple"),
        (Pair | Couple, "Pair from Couple"),
        (Spot | list[int], "Spot from list"),
        (Square | dict, "Square from dict"),
        (dict[str, Decimal] | dict[str, str], "from dict"),
        (Approved | Rejected, "Approved from Rejected"),
        (list[Approved] | list[Rejected], "from list"),
        (dict[str, Approved | Rejected], "Approved from Rejected"),
        (ListOne | ListTwo, "ListOne from ListTwo"),
        (Color | Mixed | Literal["red", b"1"], "Color from"),
        (list[int | None] | list[int] | set[str | None], "from set"),
        (Mixed | list[int], "Mixed from list"),
    ],
)
def test_union_that_json_cannot_tell_apart_is_refused(annotation, named):
    with pytest.raises(InvalidDefinition, match=f"JSON cannot tell .*{named}"):
        Converter().decode("x", annotation, "charge(x)")


@pytest.mark.parametrize(
    "annotation", [dict[int | str, int], dict[Mixed, int], dict[Money, int], list[dict[UUID | Decimal, Money]]]
)
def test_keys_that_json_cannot_tell_apart_are_refused(annotation):
    with pytest.raises(InvalidDefinition, match="keys of dict"):
        Converter().decode({}, annotation, "charge(x)")


def test_values_that_json_cannot_tell_apart_are_refused():
    with pytest.raises(InvalidDefinition, match="the same in JSON"):
        Converter().decode("red", Literal[Color.RED, "red"], "charge(x)")


class Opaque(enum.Enum):
    IT = object()


@pytest.mark.parametrize("annotation", [Self, "NotEvaluated", 5, Opaque])
def test_annotation_that_means_nothing_in_json_is_refused(annotation):
    with pytest.raises(InvalidDefinition) as caught:
        Converter().decode({}, annotation, "charge(x)")

    assert caught.value.name == "charge(x)"


@dataclass
class Unfinished:
    part: Missing  # type: ignore[name-defined]  # noqa: F821


def test_field_that_names_nothing_is_refused():
    with pytest.raises(InvalidDefinition, match="'Missing' is not defined"):
        Converter().decode({}, Unfinished, "charge(x)")


def test_refused_field_of_a_class_is_refused_every_time():
    @dataclass
    class Bad:
        money: Money
        either: Decimal | str

    for _ in range(2):
        with pytest.raises(InvalidDefinition, match="Decimal from str"):
            Converter().decode({}, Bad, "charge(x)")


# --- what cannot be stored


def a_function() -> None: ...


@dataclass
class Callbacks:
    lines: list[Any]
    callback: Any = None


SELF_CONTAINING: list[Any] = []
SELF_CONTAINING.append(SELF_CONTAINING)


@pytest.mark.parametrize(
    ("value", "where", "problem"),
    [
        (a_function, "x", "a value of type function cannot be stored"),
        (Callbacks([1, Callbacks([], a_function)]), "x.lines[1].callback", "function"),
        ([1, {"a": (2, threading.Lock())}], "x[1]['a'][1]", "lock"),
        (Point(1, object()), "x.y", "object"),  # type: ignore[arg-type]
        ({1, a_function}, "x{...}", "function"),
        (Callbacks, "x", "type"),
        (Money(1), "x", "Money"),
        (range(3), "x", "range"),
        (1j, "x", "complex"),
        (PurePosixPath("/"), "x", "PurePosixPath"),
        (float("nan"), "x", "JSON has no nan"),
        ([1.0, float("inf")], "x[1]", "JSON has no inf"),
        ({"a": float("-inf")}, "x['a']", "JSON has no -inf"),
        ({float("nan"): 1}, "x", "JSON has no nan"),
        ("\ud800", "x", "surrogates"),
        ({"\ud800": 1}, "x", "surrogates"),
        pytest.param([10**5000], "x[0]", "digits", id="huge"),
        ({(1, 2): 3}, "x", "a key of type tuple"),
        ({True: 3}, "x", "a key of type bool"),
        ({None: 3}, "x", "a key of type NoneType"),
        ({Mixed.PAIR: 3}, "x", "a key of type Mixed"),
        ({1: "a", "1": "b"}, "x", "two of its keys"),
        (dt.time(1, tzinfo=dt.timezone(dt.timedelta(seconds=90))), "x", "offset"),
        (dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(seconds=90))), "x", "offset"),
        (SELF_CONTAINING, "x", "nested too deeply"),
    ],
)
def test_value_that_has_no_json_form_is_refused_by_the_path_to_it(value, where, problem):
    with pytest.raises(InvalidInput) as caught:
        Converter().encode(value, "x")

    assert caught.value.where == where
    assert problem in caught.value.problem


def test_hook_can_say_why_it_refuses_a_value():
    with pytest.raises(InvalidInput) as caught:
        MoneyConverter().encode(Bill(Money(1), [Money(-1)]), "pay(bill)")

    assert (caught.value.where, caught.value.problem) == ("pay(bill).tips[0]", "money cannot be negative")


# --- data that does not fit


@pytest.mark.parametrize(
    ("data", "annotation", "where", "problem"),
    [
        ("1", int, "x", "expected int, got str"),
        (1, str, "x", "expected str, got int"),
        (None, int, "x", "expected int, got null"),
        ([1, "a"], list[int], "x[1]", "expected int, got str"),
        ({"id": "?"}, Order, "x.id", "invalid UUID"),
        ({}, Square, "x", "missing required field side"),
        ({"a": 1}, dict[int, int], "x", "a key: expected int, got str"),
        ("c", Color, "x", "invalid enum value 'c'"),
        ("c", Mixed, "x", "invalid enum value 'c'"),
        ([{"total": {"cents": [1]}, "tips": [5]}], list[Bill], "x[0].tips[0]", "expected money"),
        ([{}], list[Bill], "x[0]", "missing required field total"),
        ([[]], list[Tip], "x[0]", "array"),
        ({"width": "?"}, Box, "x", "2 validation errors"),
        (1, Version, "x", "expected a version"),
        (True, Square | Circle, "x", "expected Square | Circle"),
        (1, PurePosixPath, "x", "expected PurePosixPath, which no converter makes"),
        (1, Callable[[int], int], "x", "which no converter makes"),
    ],
)
def test_data_that_does_not_fit_is_refused_by_place_and_expectation(data, annotation, where, problem):
    with pytest.raises(InvalidInput) as caught:
        MoneyConverter().decode(data, annotation, "x")

    assert caught.value.where == where
    assert problem in caught.value.problem


def test_data_nested_too_deeply_is_refused():
    data: Any = None
    for _ in range(10_000):
        data = {"next": data}

    with pytest.raises(InvalidInput, match="nested too deeply"):
        Converter().decode(data, ListOne, "x")


# --- text


@pytest.mark.parametrize("flat", [["["] * 1000, [[]] * 1000], ids=["brackets", "lists"])
def test_text_is_refused_for_its_depth_alone(flat):
    deepest: Any = flat
    for _ in range(198 if flat[0] == [] else 199):
        deepest = {"a": deepest}

    assert loads(dumps(deepest, "x", 100_000)) == deepest
    with pytest.raises(InvalidInput, match="nested too deeply, by more than 200"):
        dumps([deepest], "x", 100_000)


def test_text_over_the_limit_is_refused_with_its_size_in_bytes():
    assert dumps("ä", "x", 4) == '"ä"'

    with pytest.raises(PayloadTooLarge) as caught:
        dumps("ää", "x", 5)

    assert (caught.value.where, caught.value.size, caught.value.limit) == ("x", 6, 5)


@pytest.mark.parametrize("data", [object(), "\ud800", SELF_CONTAINING, [10**5000]])
def test_what_is_not_plain_json_is_no_text(data):
    with pytest.raises(InvalidInput):
        dumps(data, "x", LIMIT)


@pytest.mark.parametrize("text", ["", "{", "NaN", "1e999", '"\ud800"', "[" * 100_000, b"\xff"])
def test_text_that_is_not_json_is_refused(text):
    with pytest.raises(InvalidInput):
        loads(text)
