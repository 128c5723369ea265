"""A payment service to talk to: unreliable on purpose, and each time in the same way.

It keeps a ledger of its own, as a real one would, which no rollback of ours reaches. Some requests fail before
anything is charged; some are charged and then the answer gets lost, which looks the same to whoever asked. It
knows idempotency keys: a request that repeats a key gets the receipt of the first one.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TABLES = """
CREATE TABLE IF NOT EXISTS request (key TEXT NOT NULL, outcome TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS request_key ON request (key);
CREATE TABLE IF NOT EXISTS charge (key TEXT PRIMARY KEY, account TEXT NOT NULL, amount TEXT NOT NULL);
"""
_LATENCY = 0.005


class Unavailable(Exception):
    """The service did not answer; whether it charged anything, nobody knows."""


class CardDeclined(Exception):
    """The card's issuer says no, and would say so again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """A line of the ledger."""

    key: str
    account: str
    amount: Decimal

    @property
    def receipt(self) -> str:
        """What the customer gets to see."""
        return f"rcpt-{hashlib.sha256(self.key.encode()).hexdigest()[:12]}"


class Gateway:
    """The payment service.

    Args:
        path: The file of its ledger.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def charge(self, *, key: str, account: str, amount: Decimal) -> str:
        """Take an amount from an account, once for each key, and return the receipt.

        Raises:
            Unavailable: There was no answer; ask again with the same key.
            CardDeclined: Asking again would not help.
        """
        time.sleep(_LATENCY)
        with self._ledger() as ledger:
            number = ledger.execute("SELECT COUNT(*) FROM request WHERE key = ?", [key]).fetchone()[0] + 1
            outcome = _outcome(key, number)
            ledger.execute("INSERT INTO request VALUES (?, ?)", [key, outcome])
            if outcome in ("charged", "answer lost"):
                ledger.execute("INSERT OR IGNORE INTO charge VALUES (?, ?, ?)", [key, account, str(amount)])
        match outcome:
            case "charged":
                return Charge(key=key, account=account, amount=amount).receipt
            case "declined":
                raise CardDeclined(f"the issuer declined to pay {amount}")
            case _:
                raise Unavailable("no answer from the payment service")

    def charges(self) -> list[Charge]:
        """Return all that was ever charged."""
        with self._ledger() as ledger:
            rows = ledger.execute("SELECT key, account, amount FROM charge ORDER BY key").fetchall()
        return [Charge(key=key, account=account, amount=Decimal(amount)) for key, account, amount in rows]

    def requests(self) -> dict[str, int]:
        """Return how many requests came, by what became of them."""
        with self._ledger() as ledger:
            return dict(ledger.execute("SELECT outcome, COUNT(*) FROM request GROUP BY outcome").fetchall())

    @contextmanager
    def _ledger(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=20, isolation_level=None)) as ledger:
            ledger.executescript(_TABLES)
            ledger.execute("BEGIN IMMEDIATE")
            yield ledger
            ledger.execute("COMMIT")


def _outcome(key: str, number: int) -> str:
    """Decide what becomes of the ``number``-th request with a key: by a hash, so always the same."""
    if _draw(key) < 3:
        return "declined"
    draw = _draw(f"{key} {number}")
    if draw < 12:
        return "unavailable"
    return "answer lost" if draw < 20 else "charged"


def _draw(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % 100
