"""Options of workflows and activities: which there are, and what each takes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from durable.core.errors import InvalidInput
from durable.core.errors.telling import quoted
from durable.core.given import choice, whole
from durable.core.retry import NO_RETRY, RetryPolicy, seconds
from durable.core.texts import check_name

Taker = Callable[[Any, str], Any]


def _of(kind: type) -> Taker:
    def take(value: Any, where: str) -> Any:
        if not isinstance(value, kind) or value == "":
            raise InvalidInput(where, f"{quoted(value)} cannot be taken; give a {kind.__name__}")
        return value

    return take


def _headers(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput(where, f"{quoted(value)} cannot be taken; give a dict")
    return {check_name(name, where): header for name, header in value.items()}


def _queue(value: Any, where: str) -> str:
    return check_name(value, where, longest=100)


def _one_of(choices: tuple[str, ...]) -> Taker:
    return partial(choice, choices=choices)


ACTIVITY: dict[str, Taker] = {
    "queue": _queue,
    "retry": _of(RetryPolicy),
    "priority": partial(whole, least=-(2**15), most=2**15 - 1),
    "schedule_to_start": seconds,
    "start_to_close": seconds,
    "schedule_to_close": seconds,
    "heartbeat": seconds,
}

ID_REUSE = ("reject", "replace_closed", "return_existing")
"""What to do if the id of an instance is taken."""

WORKFLOW: dict[str, Taker] = {
    "id": _of(str),
    "queue": _queue,
    "tags": _of(dict),
    "headers": _headers,
    "delay": seconds,
    "timeout": seconds,
    "id_reuse": _one_of(ID_REUSE),
    "parent_close": _one_of(("terminate", "cancel", "abandon")),
    "retry": _of(RetryPolicy),
}


def activity_options(name: str, **options: Any) -> dict[str, Any]:
    """Check an activity's options and return them, durations in seconds.

    Raises:
        InvalidInput: One is unknown, or its value cannot be taken.
    """
    checked = check_options(name, options, ACTIVITY)
    if "retry" in checked:
        checked["retry"] = checked["retry"] or NO_RETRY
    return checked


def workflow_options(name: str, **options: Any) -> dict[str, Any]:
    """Check a workflow's options and return them as JSON, durations in seconds.

    Raises:
        InvalidInput: One is unknown, or its value cannot be taken.
    """
    checked = check_options(name, options, WORKFLOW)
    return to_json({option: value for option, value in checked.items() if value is not None})


def check_options(name: str, options: dict[str, Any], takers: dict[str, Taker]) -> dict[str, Any]:
    """Check the options of what has this name, by what takes each, and return them, durations in seconds.

    Raises:
        InvalidInput: One is unknown, or its value cannot be taken.
    """
    checked: dict[str, Any] = {}
    for option, value in options.items():
        where = f"{name}.options({option})"
        if option not in takers:
            raise InvalidInput(where, f"there is no such option; there are {', '.join(takers)}")
        checked[option] = None if value is None else takers[option](value, where)
    return checked


def to_json(options: dict[str, Any]) -> dict[str, Any]:
    """Return options as plain JSON."""
    return {k: v.to_json() if isinstance(v, RetryPolicy) else v for k, v in options.items()}
