"""The verbs: what each takes, needs and answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import DatabaseError

from durable import client
from durable.api import access, bodies, problems
from durable.client import change
from durable.client.start import operate
from durable.core import texts
from durable.core.errors import DurableError, UpdateTimeout
from durable.operations.shapes import given_input

Data = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Verb:
    """A verb on one instance.

    Attributes:
        name: As in the address and in the audit.
        body: What a request brings.
        permission: What the user needs.
        call: Does it: gets the instance's id, the request's data and what is common to all.
        previews: Whether the client's function can look only.
        answers: ``instance``, ``new`` (another instance), ``outcome``, ``value``, ``imagined`` or ``purged``.
        outside: Whether it waits for others, so that it must not be in a transaction.
        quotes: Whether its errors may quote payloads that the request did not bring.
    """

    name: str
    body: type[bodies.Body]
    permission: str
    call: Callable[..., Any]
    previews: bool = True
    answers: str = "instance"
    outside: bool = False
    quotes: bool = False


def _same(function: Callable[..., Any]) -> Callable[..., Any]:
    """Call a client's function with the fields as they are."""

    def call(instance_id: str, data: Data, **common: Any) -> Any:
        return function(instance_id, **data, **common)

    return call


def _query(instance_id: str, data: Data, **_: Any) -> Any:
    try:
        return client.query(instance_id, data["name"], *data["args"], **data["kwargs"])
    except (DurableError, DatabaseError):
        raise
    except Exception as error:  # noqa: BLE001 - the query is code of the project
        raise problems.QueryFailed(data["name"], texts.cut(f"{type(error).__name__}: {error}", 1000)) from None


def _update(instance_id: str, data: Data, *, actor: Any, **_: Any) -> Any:
    asked = {"update_id": data["update_id"], "timeout": data["timeout"], "actor": actor}
    try:
        return change.operate(instance_id, data["name"], data["args"], data["kwargs"], **asked)
    except UpdateTimeout as error:
        return error


def _rerun(instance_id: str, data: Data, **common: Any) -> Any:
    return client.rerun_from_activity(instance_id, **_with_input(data), **common)


def _with_input(data: Data) -> Data:
    return {**data, "input": given_input(data["input"])} if "input" in data else data


def _what_if(instance_id: str, data: Data, **_: Any) -> Any:
    mocks = {int(key) if key.isdecimal() and len(key) < 10 else key: value for key, value in data["mocks"].items()}
    return client.what_if(instance_id, **{**_with_input(data), "mocks": mocks})


VERBS: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb(name="signal", body=bodies.Signal, permission=access.OPERATE, call=_same(client.signal), previews=False),
        Verb(
            name="query",
            body=bodies.Query,
            permission=access.OPERATE,
            call=_query,
            previews=False,
            answers="value",
            quotes=True,
        ),
        Verb(
            name="update",
            body=bodies.Update,
            permission=access.OPERATE,
            call=_update,
            previews=False,
            answers="value",
            outside=True,
            quotes=True,
        ),
        Verb(name="cancel", body=bodies.Reason, permission=access.OPERATE, call=_same(client.cancel)),
        Verb(name="suspend", body=bodies.Halt, permission=access.OPERATE, call=_same(client.suspend)),
        Verb(name="resume", body=bodies.Halt, permission=access.OPERATE, call=_same(client.resume)),
        Verb(name="terminate", body=bodies.Reason, permission=access.DESTROY, call=_same(client.terminate)),
        Verb(
            name="restart",
            body=bodies.Restart,
            permission=access.REPAIR,
            call=_same(client.restart),
            answers="new",
            quotes=True,
        ),
        Verb(name="rerun", body=bodies.Rerun, permission=access.REPAIR, call=_rerun, answers="new", quotes=True),
        Verb(
            name="rewind",
            body=bodies.Rewind,
            permission=access.REPAIR,
            call=_same(client.rewind),
            answers="outcome",
            quotes=True,
        ),
        Verb(
            name="upgrade",
            body=bodies.Upgrade,
            permission=access.REPAIR,
            call=_same(client.upgrade),
            answers="outcome",
            quotes=True,
        ),
        Verb(
            name="restore",
            body=bodies.Restore,
            permission=access.REPAIR,
            call=_same(client.restore),
            answers="outcome",
            quotes=True,
        ),
        Verb(
            name="what-if",
            body=bodies.WhatIf,
            permission=access.REPAIR,
            call=_what_if,
            previews=False,
            answers="imagined",
            quotes=True,
        ),
        Verb(name="purge", body=bodies.Purge, permission=access.DESTROY, call=_same(client.purge), answers="purged"),
    )
}


def start(data: Data, *, actor: Any) -> client.Handle:
    """Start an instance, with a row in the audit.

    Raises:
        DurableError: It is refused; see ``client.start``.
    """
    options = {name: value for name, value in data.items() if name not in ("workflow", "args", "kwargs", "reason")}
    if "signal" in options:
        options["signal"] = (options["signal"]["name"], options["signal"]["payload"])
    return operate(data["workflow"], data["args"], data["kwargs"], reason=data["reason"], actor=actor, **options)
