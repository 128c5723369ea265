"""Lengths of time in words."""

from __future__ import annotations

import pytest

from durable.operations.saying import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0.0 s"), (0.04, "0.0 s"), (9.96, "10.0 s"), (10, "10 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"),
     (7200, "2 h"), (172_799, "48 h"), (172_800, "2 days")],
)  # fmt: skip
def test_durations_are_as_exact_as_people_need_them(seconds, text):
    assert duration(seconds) == text
