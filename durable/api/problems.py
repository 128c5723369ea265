"""Errors as problem details (RFC 9457), each with a code that programs can rely on."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response

from durable import errors
from durable.client.redacting import code_of
from durable.core import texts
from durable.core.errors import DurableError
from durable.operations.shapes import fields_of

CONTENT_TYPE = "application/problem+json"

LONGEST = 1000
"""How many characters are said of a field."""

STATUS: dict[type[DurableError], int] = {
    **dict.fromkeys(
        [
            errors.UnknownActivity,
            errors.UnknownEvent,
            errors.UnknownExecution,
            errors.UnknownInstance,
            errors.UnknownWorkflow,
        ],
        404,
    ),
    **dict.fromkeys(
        [errors.InvalidId, errors.InvalidInput, errors.InvalidTranscript, errors.LimitExceeded, errors.NotAnActivity],
        400,
    ),
    errors.PermissionDenied: 403,
    errors.PayloadTooLarge: 413,
}
"""What is not here is about a state that does not fit, 409."""


class StaleHead(exceptions.APIException):
    """The instance is not as the request's ``If-Match`` says.

    Attributes:
        etag: How it is now.
        head: The number of its events now.
    """

    status_code = 409
    default_code = "concurrency_conflict"

    def __init__(self, etag: str, head: int) -> None:
        self.etag, self.head = etag, head
        super().__init__(f"The instance moved on: it has {head} events now. Look at it again, and send its new ETag.")


class KeyReused(exceptions.APIException):
    """The ``Idempotency-Key`` came with another request before."""

    status_code = 422
    default_code = "idempotency_key_reused"
    default_detail = "This Idempotency-Key came with another request before. Send a new one with each new request."


class KeyInUse(exceptions.APIException):
    """Another request with this ``Idempotency-Key`` was answered at the same time."""

    status_code = 409
    default_code = "idempotency_key_in_use"
    default_detail = "This Idempotency-Key came with another request at the same time. Send this one again."


class QueryFailed(exceptions.APIException):
    """The workflow's query raised an exception of its own.

    Attributes:
        name: The query's.
        raised: What it raised, in words.
    """

    status_code = 409
    default_code = "query_failed"

    def __init__(self, name: str, raised: str) -> None:
        self.name, self.raised = name, raised
        super().__init__(f"query {name!r} raised {raised}")


def status_of(error: DurableError) -> int:
    """Return the HTTP status that stands for an error."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 409)


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """Return the answer that tells of an error; None leaves it to Django, which answers 500."""
    match error:
        case DurableError():
            problem = told(error)
            return Response(problem, status=problem["status"], content_type=CONTENT_TYPE)
        case Http404():
            return handle(exceptions.NotFound(), context)
        case DjangoPermissionDenied():
            return handle(exceptions.PermissionDenied(), context)
        case exceptions.ValidationError():
            said = "The request cannot be taken; nothing is done."
            return _respond(400, "invalid_request", said, errors=_short(error.detail))
        case exceptions.APIException():
            return _of_rest_framework(error)
        case _:
            return None


def _short(detail: Any) -> Any:
    """Return what is wrong with each field; what was sent may be quoted in it, and be long."""
    match detail:
        case dict():
            return {name: _short(each) for name, each in detail.items()}
        case list():
            return [_short(each) for each in detail]
        case _:
            return texts.cut(str(detail), LONGEST)


def _of_rest_framework(error: exceptions.APIException) -> Response:
    headers = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = f"{wait:.0f}"
    told: dict[str, Any] = {}
    if isinstance(error, StaleHead):
        headers["ETag"] = error.etag
        told["facts"] = {"head": error.head, "etag": error.etag}
    code = getattr(error.detail, "code", error.default_code)
    return _respond(error.status_code, code, str(error.detail), headers=headers, **told)


def told(error: DurableError) -> dict[str, Any]:
    """Return the problem details of an error."""
    return _details(status_of(error), code_of(type(error)), str(error), facts=fields_of(error))


def _details(status: int, code: str, detail: str, **more: Any) -> dict[str, Any]:
    title = HTTPStatus(status).phrase
    return {"type": "about:blank", "title": title, "status": status, "code": code, "detail": detail, **more}


def _respond(status: int, code: str, detail: str, *, headers: dict[str, str] | None = None, **more: Any) -> Response:
    return Response(_details(status, code, detail, **more), status=status, headers=headers, content_type=CONTENT_TYPE)
