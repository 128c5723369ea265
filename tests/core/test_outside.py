"""JSON from outside is read strictly, and is not nested too deeply."""

from __future__ import annotations

import msgspec
import pytest

from durable.core import outside


def nested(depth: int, begin: str = "[", end: str = "]") -> str:
    return f"{begin * depth}{1}{end * depth}"


@pytest.mark.parametrize("text", ["1", '"[[[["', "[]", '{"a": [1, {"b": null}]}', b'{"a": 1.5}'])
def test_json_is_read(text):
    assert outside.decode(text) == msgspec.json.decode(text)


@pytest.mark.parametrize("ends", [("[", "]"), ('{"a":', "}"), ('[1, {"a":', "}]")], ids=["list", "object", "both"])
def test_what_is_nested_too_deeply_is_refused(ends):
    deepest = outside.DEEPEST // len(ends[1])

    assert outside.decode(nested(deepest, *ends)) is not None
    for depth in (deepest + 1, 900, 100_000):
        with pytest.raises(RecursionError):
            outside.decode(nested(depth, *ends))


@pytest.mark.parametrize("text", ["", "NaN", "[1,]", "'a'", b"\xff", '"\\ud800"', "1e999"])
def test_what_is_no_json_is_refused(text):
    with pytest.raises((msgspec.MsgspecError, UnicodeError)):
        outside.decode(text)
