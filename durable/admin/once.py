"""A form that is sent twice does what it says once."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

from durable.operations import audit
from durable.store import answers

if TYPE_CHECKING:
    from durable.models import Answer

_OURS = "admin:"

_TOKEN = re.compile(r"[0-9a-f]{32}")


def token() -> str:
    """Return what a form is known by."""
    return uuid.uuid4().hex


def is_token(token: str) -> bool:
    """Say whether a text is one that a form is known by."""
    return _TOKEN.fullmatch(token) is not None


def claim(user: Any, token: str) -> Answer | None:
    """Return the row of a form that is sent for the first time, or None; to be called in the verb's transaction."""
    return answers.claim(actor_key=audit.key_of(user), key=f"{_OURS}{token}", fingerprint="")


def keep(row: Answer, address: str) -> None:
    """Note where the first one led."""
    answers.rows().filter(pk=row.pk).update(status=303, headers={"Location": address})
    answers.forget()


def led_to(user: Any, token: str) -> str:
    """Return where the first one led."""
    row = answers.rows().get(actor_key=audit.key_of(user), key=f"{_OURS}{token}")
    return str(row.headers.get("Location", ""))
