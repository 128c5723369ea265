"""Idempotency keys: a request that comes again gets its first answer, and nothing is done again."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from django.db import IntegrityError, connections, transaction
from rest_framework.exceptions import ValidationError
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response

from durable import conf
from durable.api import problems
from durable.models import Answer
from durable.operations import audit
from durable.store import clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from rest_framework.request import Request

KEPT = timedelta(hours=24)
"""How long an answer is kept at least."""

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
        row = _claim(fingerprint=fingerprint, **mine)
        if row is None:
            return _again(_rows().get(**mine), fingerprint)
        response = work()
        if response.status_code in _NOT_KEPT:
            row.delete()  # may well be another one tomorrow
        else:
            _keep(row, response)
    _forget()
    return response


def _claim(**fields: Any) -> Answer | None:
    try:
        with transaction.atomic(using=conf.settings.DATABASE):
            row: Answer = _rows().create(created_at=clock.now(), **fields)
            return row
    except IntegrityError:
        return None


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


def _forget() -> None:
    """Delete a few answers that are old enough, each time that one is kept."""
    old = _rows().filter(created_at__lt=clock.now() - KEPT).order_by("created_at")
    with transaction.atomic(using=conf.settings.DATABASE):
        if connections[conf.settings.DATABASE].features.has_select_for_update_skip_locked:
            old = old.select_for_update(skip_locked=True)
        _rows().filter(pk__in=list(old.values_list("pk", flat=True)[:100])).delete()


def _fingerprint(request: Request) -> str:
    asked = [request.method, request.get_full_path(), request.headers.get("If-Match"), request.data]
    return hashlib.sha256(msgspec.json.encode(asked, order="sorted")).hexdigest()


def _rows() -> Any:
    return Answer.objects.using(conf.settings.DATABASE)
