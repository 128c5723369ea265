"""Arguments and results pass through JSON as the function's annotations say."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from decimal import Decimal
from types import FunctionType
from typing import TYPE_CHECKING, Any

import pytest

from durable.core.errors import InvalidDefinition, InvalidInput
from durable.core.payloads import Converter
from durable.core.signatures import Signature

if TYPE_CHECKING:
    from nowhere import Ghost  # type: ignore[import-not-found]

CONVERTER = Converter()


@dataclass
class Order:
    id: int
    amount: Decimal


class Money:
    pass


def charge(order_id: int, amount: Decimal, note: str = "") -> Decimal: ...  # type: ignore[empty-body]


def collect(first: int, *rest: Decimal, flag: bool = False, **others: Decimal) -> None: ...


def keyword_only(*, order: Order) -> Order: ...  # type: ignore[empty-body]


def untyped(a, b=None): ...


def place_only(a: Decimal, /, **others: int) -> None: ...


def later(order: Later, n: int) -> Later: ...  # type: ignore[empty-body]


def haunted(ghost: Ghost, n: int) -> Ghost: ...


def ambiguous(amount: Decimal | str) -> None: ...


def ambiguous_result() -> Decimal | str: ...  # type: ignore[empty-body]


def broken(amount: "Decimal |") -> None: ...  # type: ignore[valid-type]  # noqa: F722


def paid(order: Money, n: int = 0) -> Money: ...  # type: ignore[empty-body]


@dataclass
class Later:
    amount: Decimal


class Till:
    def open(self, amount: Decimal) -> Decimal: ...  # type: ignore[empty-body]


def signature(fn: Any, **options: Any) -> Signature:
    return Signature.of(fn, fn.__name__, **options)


@pytest.mark.parametrize(
    ("fn", "args", "kwargs", "data"),
    [
        (charge, (1, Decimal("9.99")), {}, {"args": [1, "9.99"], "kwargs": {}}),
        (charge, (1, Decimal(2), "x"), {}, {"args": [1, "2", "x"], "kwargs": {}}),
        (charge, (1,), {"amount": Decimal(2)}, {"args": [1], "kwargs": {"amount": "2"}}),
        (collect, (1,), {}, {"args": [1], "kwargs": {}}),
        (collect, (1, Decimal(2), Decimal(3)), {}, {"args": [1, "2", "3"], "kwargs": {}}),
        (collect, (1,), {"flag": True, "x": Decimal(4)}, {"args": [1], "kwargs": {"flag": True, "x": "4"}}),
        (
            keyword_only,
            (),
            {"order": Order(1, Decimal(2))},
            {"args": [], "kwargs": {"order": {"id": 1, "amount": "2"}}},
        ),
        (untyped, ([1], {"a": None}), {}, {"args": [[1], {"a": None}], "kwargs": {}}),
        (untyped, (1.5,), {}, {"args": [1.5], "kwargs": {}}),
        (collect, (), {"first": 1, "rest": Decimal(2)}, {"args": [], "kwargs": {"first": 1, "rest": "2"}}),
        (place_only, (Decimal(1),), {"a": 2}, {"args": ["1"], "kwargs": {"a": 2}}),
    ],
)
def test_arguments_come_back_as_the_annotations_say(fn, args, kwargs, data):
    given = signature(fn)

    assert given.bind(args, kwargs, CONVERTER) == data
    assert given.unbind(data, CONVERTER) == (args, kwargs)
    given.fits(data)


@pytest.mark.parametrize(
    ("fn", "args", "kwargs", "problem"),
    [
        (charge, (1,), {}, "missing a required argument: 'amount'"),
        (charge, (1, 2, 3, 4), {}, "too many positional arguments"),
        (charge, (1, 2), {"tip": 3}, "got an unexpected keyword argument 'tip'"),
        (charge, (1, 2), {"amount": 3}, "multiple values for argument 'amount'"),
        (keyword_only, (), {}, "missing a required"),
        (keyword_only, (1,), {}, "too many positional arguments"),
        (place_only, (), {"a": 1}, "'a'"),
    ],
)
def test_call_that_does_not_fit_is_refused_in_pythons_words(fn, args, kwargs, problem):
    given = signature(fn)

    with pytest.raises(InvalidInput) as caught:
        given.bind(args, kwargs, CONVERTER)

    assert caught.value.where == f"{fn.__name__}(...)"
    assert problem in caught.value.problem
    with pytest.raises(InvalidInput):
        given.fits({"args": list(args), "kwargs": kwargs})


@pytest.mark.parametrize(
    ("fn", "args", "kwargs", "where"),
    [
        (charge, (1, object()), {}, "charge(amount)"),
        (charge, (1,), {"amount": [object()]}, "charge(amount)[0]"),
        (collect, (1, object()), {}, "collect(rest)"),
        (collect, (1,), {"x": object()}, "collect(others)"),
    ],
)
def test_argument_that_has_no_json_form_is_named(fn, args, kwargs, where):
    with pytest.raises(InvalidInput) as caught:
        signature(fn).bind(args, kwargs, CONVERTER)

    assert caught.value.where == where


@pytest.mark.parametrize(
    ("data", "where", "problem"),
    [
        (None, "charge(...)", "not an object with the keys args and kwargs"),
        ({"args": []}, "charge(...)", "not an object with the keys args and kwargs"),
        ({"args": {}, "kwargs": {}}, "charge(...)", "args is not a list"),
        ({"args": [], "kwargs": []}, "charge(...)", "kwargs is not an object"),
        ({"args": ["1", "2"], "kwargs": {}}, "charge(order_id)", "expected int, got str"),
        ({"args": [1], "kwargs": {"amount": []}}, "charge(amount)", "expected decimal, got array"),
    ],
)
def test_json_that_does_not_fit_is_refused_by_the_parameter(data, where, problem):
    with pytest.raises(InvalidInput) as caught:
        signature(charge).fits(data, CONVERTER)

    assert caught.value.where == where
    assert problem in caught.value.problem


def test_fits_does_not_look_into_what_only_a_converter_knows():
    given = signature(paid)

    given.fits({"args": [{"any": "thing"}], "kwargs": {}})
    with pytest.raises(InvalidInput, match=r"paid\(n\)"):
        given.fits({"args": [{"any": "thing"}, "?"], "kwargs": {}})
    with pytest.raises(InvalidInput, match=r"paid\(order\)"):
        given.fits({"args": [{"any": "thing"}], "kwargs": {}}, CONVERTER)


def test_result_comes_back_as_the_annotation_says():
    given = signature(charge)

    assert given.encode_result(Decimal("1.5"), CONVERTER) == "1.5"
    assert given.decode_result("1.5", CONVERTER) == Decimal("1.5")
    assert signature(collect).decode_result(None, CONVERTER) is None
    assert signature(untyped).decode_result({"a": [1]}, CONVERTER) == {"a": [1]}


def test_result_that_does_not_fit_is_named():
    given = signature(charge)

    with pytest.raises(InvalidInput, match=r"^result of charge: a value of type object"):
        given.encode_result(object(), CONVERTER)
    with pytest.raises(InvalidInput, match=r"^result of charge: invalid decimal"):
        given.decode_result("?", CONVERTER)
    with pytest.raises(InvalidInput, match=r"^outcome: "):
        given.encode_result(object(), CONVERTER, where="outcome")
    with pytest.raises(InvalidInput, match=r"^outcome: "):
        given.decode_result("?", CONVERTER, where="outcome")


def test_self_of_a_method_is_skipped():
    assert signature(Till.open, skip_first=True).bind((Decimal(1),), {}, CONVERTER) == {"args": ["1"], "kwargs": {}}
    assert signature(Till().open).unbind({"args": ["1"], "kwargs": {}}, CONVERTER) == ((Decimal(1),), {})


def test_wrapped_function_is_seen_through():
    @functools.wraps(charge)
    def wrapper(*args, **kwargs): ...

    assert signature(wrapper).unbind({"args": [1, "2"], "kwargs": {}}, CONVERTER) == ((1, Decimal(2)), {})


def test_callable_without_globals_can_have_evaluated_annotations():
    assert Signature.of(functools.partial(_evaluated), "partial").unbind({"args": ["2"], "kwargs": {}}, CONVERTER) == (
        (Decimal(2),),
        {},
    )


def _evaluated(amount): ...


_evaluated.__annotations__ = {"amount": Decimal}


def test_name_that_exists_only_later_is_resolved_at_first_use():
    # Made before Later is known here, as in a module that is still being imported.
    early = {k: v for k, v in globals().items() if k != "Later"}
    fn: Any = FunctionType(later.__code__, early, "later")
    fn.__annotations__ = later.__annotations__
    given = Signature.of(fn, "later")
    with pytest.raises(InvalidDefinition):
        given.check()

    early["Later"] = Later

    given.check()
    assert given.unbind({"args": [{"amount": "1"}, 2], "kwargs": {}}, CONVERTER) == ((Later(Decimal(1)), 2), {})
    assert given.decode_result({"amount": "1"}, CONVERTER) == Later(Decimal(1))


def test_name_that_never_exists_is_refused_at_first_use_and_names_the_parameter():
    given = signature(haunted)
    data = given.bind(({}, 1), {}, CONVERTER)

    with pytest.raises(InvalidDefinition) as caught:
        given.unbind(data, CONVERTER)

    assert caught.value.name == "haunted(ghost)"
    assert "'Ghost' is not defined" in caught.value.problem
    with pytest.raises(InvalidDefinition, match="result of haunted"):
        given.decode_result({}, CONVERTER)


@pytest.mark.parametrize(
    ("fn", "named"),
    [
        (ambiguous, r"ambiguous\(amount\)"),
        (ambiguous_result, "result of ambiguous_result"),
        (broken, r"broken\(amount\)"),
    ],
)
def test_annotation_that_cannot_be_used_is_refused_at_definition(fn, named):
    with pytest.raises(InvalidDefinition, match=f"^{named}: "):
        signature(fn)


def test_sound_definition_passes_the_check():
    signature(charge).check()


def test_named_arguments_have_their_parameters_names_and_defaults():
    named = Signature.of(charge, "charge").named((1,), {"amount": 2})

    assert named == {"order_id": 1, "amount": 2, "note": ""}


def test_arguments_that_do_not_fit_have_no_names():
    with pytest.raises(InvalidInput, match=r"charge\(\.\.\.\): missing a required argument: 'amount'"):
        Signature.of(charge, "charge").named((1,), {})


class Minding(Converter):
    """Knows Money, and minds what it is given."""

    def decode_other(self, data: Any, kind: Any) -> Any:
        if kind is Money:
            raise KeyError("cents")
        if kind is FunctionType:
            return data
        return super().decode_other(data, kind)


def strange(money: list[Money], note: str, *fns: FunctionType, **ghosts: Ghost) -> dict[str, Money]: ...  # type: ignore[empty-body]


def test_annotations_that_nobody_can_read_are_told_by_parameter():
    signature = Signature.of(strange, "strange")

    assert list(signature.doubts(CONVERTER)) == [
        ("money", "no converter makes a Money from JSON"),
        ("fns", "no converter makes a function from JSON"),
        ("ghosts", "its annotation cannot be used: name 'Ghost' is not defined"),
        ("return", "no converter makes a Money from JSON"),
    ]
    assert [name for name, _ in signature.doubts(Minding())] == ["ghosts"]
    assert list(Signature.of(charge, "charge").doubts(CONVERTER)) == []


def test_parameters_are_told_with_what_their_annotations_mean():
    found = {parameter.name: slot.meaning() for parameter, slot in signature(collect).parameters()}

    assert found == {"first": int, "rest": Decimal, "flag": bool, "others": Decimal}
    assert [slot.meaning() for _parameter, slot in signature(later).parameters()] == [Later, int]
    assert [slot.meaning() for _parameter, slot in signature(untyped).parameters()] == [Any, Any]


def test_what_an_annotation_means_is_an_error_if_nobody_knows():
    (_, ghost), (_, n) = signature(haunted).parameters()

    with pytest.raises(InvalidDefinition, match=r"^haunted\(ghost\): its annotation cannot be used"):
        ghost.meaning()
    assert n.meaning() is int


@pytest.mark.parametrize(("annotation", "data"), [(dict[str, Any], {"a": 1}), (list[Any], [1])])
def test_what_code_does_to_a_result_does_not_change_what_is_recorded(annotation, data):
    def act(): ...

    act.__annotations__["return"] = annotation
    signature = Signature.of(act, "act")

    result = signature.decode_result(data, Converter())

    assert result == data
    result.clear()
    assert data
