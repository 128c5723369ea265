"""What the core's tests share."""

from __future__ import annotations

import pytest

from durable.core.execution import Execution


@pytest.fixture(autouse=True)
def unwound(monkeypatch):
    """Close what a test leaves open: the garbage collector would unwind it in the middle of another test."""
    opened: dict[int, Execution] = {}
    begin, close = Execution.__init__, Execution.close

    def noted(execution: Execution, *args, **options) -> None:
        begin(execution, *args, **options)
        opened[id(execution)] = execution

    def forgotten(execution: Execution) -> None:
        opened.pop(id(execution), None)
        close(execution)

    monkeypatch.setattr(Execution, "__init__", noted)
    monkeypatch.setattr(Execution, "close", forgotten)
    yield
    for execution in opened.values():
        close(execution)
