"""Names and ids are printable texts of a known length."""

from __future__ import annotations

import pytest

from durable.core.errors import InvalidId, InvalidInput
from durable.core.texts import check_id, check_name, check_plain


@pytest.mark.parametrize("name", ["a", "x" * 200, "größer", "a b"])
def test_name_is_taken_as_it_is(name):
    assert check_name(name, "x") == name


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        (5, "give a str, not 5"),
        (None, "give a str, not None"),
        ("", "0 characters; it has 1 to 200"),
        ("x" * 201, "201 characters; it has 1 to 200"),
        ("a\nb", r"'a\\nb' has characters that cannot be printed"),
        ("\0", "has characters that cannot be printed"),
    ],
)
def test_what_is_no_name_is_refused(name, problem):
    with pytest.raises(InvalidInput, match=problem) as caught:
        check_name(name, "signal(name)")

    assert caught.value.where == "signal(name)"


def test_longest_name_depends_on_what_is_named():
    with pytest.raises(InvalidInput, match="4 characters; it has 1 to 3"):
        check_name("abcd", "x", longest=3)


@pytest.mark.parametrize("instance_id", ["a", "x" * 255, "order-42", "a:0001"])
def test_id_is_taken(instance_id):
    check_id(instance_id)


@pytest.mark.parametrize(
    ("instance_id", "problem"),
    [
        (5, "an id is text, not int"),
        ("", "0 characters, an id has 1 to 255"),
        ("x" * 256, "256 characters, an id has 1 to 255"),
        ("a\tb", "it has characters that cannot be printed"),
    ],
)
def test_what_is_no_id_is_refused(instance_id, problem):
    with pytest.raises(InvalidId, match=problem) as caught:
        check_id(instance_id)

    assert caught.value.instance_id == instance_id


@pytest.mark.parametrize("data", [None, 1, 1.5, True, "a", ["a", ["b"]], {"a": {"b": ["c"]}}])
def test_json_without_nul_is_taken_as_it_is(data):
    assert check_plain(data, "x") is data


@pytest.mark.parametrize("data", ["a\0", ["a", ["\0"]], {"a": {"b\0": 1}}, {"a": {"b": ["\0"]}}])
def test_nul_is_refused_wherever_it_is(data):
    with pytest.raises(InvalidInput, match="tags: NUL characters cannot be stored here"):
        check_plain(data, "tags")


@pytest.mark.parametrize("data", ["a\ud800", ["\udfff"], {"\ud800": 1}])
def test_half_a_character_can_be_stored_by_no_database(data):
    with pytest.raises(InvalidInput, match=r"tags: .* has half a character"):
        check_plain(data, "tags")
