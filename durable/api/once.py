"""Idempotency keys: a request that comes again gets its first answer, and nothing is done again."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec
from django.db import transaction
from rest_framework.exceptions import ValidationError
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response

from durable import conf
from durable.api import access, problems
from durable.core.errors import PermissionDenied
from durable.operations import audit
from durable.store import answers

if TYPE_CHECKING:
    from collections.abc import Callable

    from rest_framework.request import Request

    from durable.models import Answer

_HEADERS = ("Location", "ETag")
_SEEN = "seen"
"""Beside the headers: what the user could see when the answer was made."""

_LOOKS = 10
"""How often to look for a row that is in the way; it may be deleted before it is seen, but not time and again."""

_NOT_KEPT = frozenset({401, 403, 404, 429})


def key_of(request: Request) -> str:
    """Return a request's ``Idempotency-Key``; empty without one.

    Raises:
        ValidationError: It cannot be one.
    """
    key: str = request.headers.get("Idempotency-Key", "")
    if len(key) > 255 or not key.isprintable():
        raise ValidationError({"Idempotency-Key": "It has 1 to 255 printable characters."})
    return key


def answer(request: Request, key: str, work: Callable[[], Response], *, about: str | None) -> Response:
    """Do the work and keep its answer, in one transaction; or return the answer that is kept.

    Two requests at once: the second one waits for the first. A crash undoes the work and the key together.

    Args:
        request: The request.
        key: What it is known by.
        work: Does what it asks for.
        about: The instance that it is about, or None.

    Raises:
        KeyReused: The key came with another request before.
        PermissionDenied: The answer may tell what the user may not see any more.
    """
    seen = access.seen(request.user, about)
    with transaction.atomic(using=conf.settings.DATABASE):
        row, is_first = _claim(request, key)
        if not is_first:
            return _again(row, request, seen)
        response = work()
        if response.status_code in _NOT_KEPT:
            row.delete()  # may well be another one tomorrow
        else:
            _keep(row, response, seen)
    answers.forget()
    return response


def known(request: Request, key: str, work: Callable[[], Response], *, about: str | None) -> Response:
    """Do work that knows by the key itself what was done; the key stands for one request all the same.

    Raises:
        KeyReused: The key came with another request before.
    """
    with transaction.atomic(using=conf.settings.DATABASE):
        row, is_first = _claim(request, key)
    response = work()
    if is_first and response.status_code in _NOT_KEPT:
        row.delete()
    answers.forget()
    return response


def _claim(request: Request, key: str) -> tuple[Answer, bool]:
    """Return the row of a request, and whether it comes for the first time.

    Raises:
        KeyReused: The key came with another request before.
        KeyInUse: It is taken, and its row cannot be seen.
    """
    mine = {"actor_key": audit.key_of(request.user), "key": key}
    fingerprint = _fingerprint(request)
    for _ in range(_LOOKS):
        if (row := answers.claim(fingerprint=fingerprint, **mine)) is not None:
            return row, True
        before: Answer | None = answers.rows().filter(**mine).first()
        if before is None or answers.drop_old(before):
            continue  # it was given up a moment ago, or is no longer good for anything
        if before.fingerprint != fingerprint:
            raise problems.KeyReused
        return before, False
    # The transaction sees the table as it was before: it is one that was begun outside, and not read committed.
    raise problems.KeyInUse


def _again(row: Answer, request: Request, seen: list[str] | None) -> Response:
    if seen is not None and (lost := set(row.headers.pop(_SEEN, ())) - set(seen)):
        raise PermissionDenied(audit.name_of(request.user), f"see what was answered before: {max(lost)} is gone")
    headers = {name: row.headers[name] for name in _HEADERS if name in row.headers} | {"Idempotent-Replayed": "true"}
    content_type = problems.CONTENT_TYPE if row.status >= 400 else None
    return Response(row.body, status=row.status, headers=headers, content_type=content_type)


def _keep(row: Answer, response: Response, seen: list[str] | None) -> None:
    row.status = response.status_code
    row.body = msgspec.json.decode(JSONRenderer().render(response.data) or b"null")
    row.headers = {name: response.headers[name] for name in _HEADERS if name in response.headers} | {_SEEN: seen or []}
    row.save(using=conf.settings.DATABASE)


def _fingerprint(request: Request) -> str:
    asked = [request.method, request.get_full_path(), request.headers.get("If-Match"), request.data]
    return hashlib.sha256(msgspec.json.encode(asked, order="sorted")).hexdigest()
