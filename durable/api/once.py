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
from durable.api import problems
from durable.operations import audit
from durable.store import answers

if TYPE_CHECKING:
    from collections.abc import Callable

    from rest_framework.request import Request

    from durable.models import Answer

_HEADERS = ("Location", "ETag")
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


def answer(request: Request, key: str, work: Callable[[], Response]) -> Response:
    """Do the work and keep its answer, in one transaction; or return the answer that is kept.

    Two requests at once: the second one waits for the first. A crash undoes the work and the key together.

    Raises:
        KeyReused: The key came with another request before.
    """
    mine = {"actor_key": audit.key_of(request.user), "key": key}
    fingerprint = _fingerprint(request)
    with transaction.atomic(using=conf.settings.DATABASE):
        row = answers.claim(fingerprint=fingerprint, **mine)
        if row is None:
            return _again(answers.rows().get(**mine), fingerprint)
        response = work()
        if response.status_code in _NOT_KEPT:
            row.delete()  # may well be another one tomorrow
        else:
            _keep(row, response)
    answers.forget()
    return response


def _again(row: Answer, fingerprint: str) -> Response:
    if row.fingerprint != fingerprint:
        raise problems.KeyReused
    headers = {**row.headers, "Idempotent-Replayed": "true"}
    content_type = problems.CONTENT_TYPE if row.status >= 400 else None
    return Response(row.body, status=row.status, headers=headers, content_type=content_type)


def _keep(row: Answer, response: Response) -> None:
    row.status = response.status_code
    row.body = msgspec.json.decode(JSONRenderer().render(response.data) or b"null")
    row.headers = {name: response.headers[name] for name in _HEADERS if name in response.headers}
    row.save(using=conf.settings.DATABASE)


def _fingerprint(request: Request) -> str:
    asked = [request.method, request.get_full_path(), request.headers.get("If-Match"), request.data]
    return hashlib.sha256(msgspec.json.encode(asked, order="sorted")).hexdigest()
