"""What PostgreSQL says of the statements that something runs: how it finds the rows, how many, and in what time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db import connection

LARGE = {"durable_instance", "durable_execution", "durable_historyevent"}

SCANS = {"Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan"}

_READS = ("SELECT", "(SELECT", "WITH")


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """How a statement read a large table.

    Attributes:
        how: The node of the plan.
        rows: How many rows it looked at.
    """

    table: str
    how: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A statement and its plan.

    Attributes:
        ms: How long it took the database, to plan and to run.
        pages: How many pages of tables and indexes it looked at.
    """

    sql: str
    ms: float
    pages: int
    reads: tuple[Read, ...]


def statements(look: Callable[[], Any]) -> list[Statement]:
    """Run something, and return what it asked the database; what locks rows is left out."""
    found: list[Statement] = []

    def explain(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(_READS) and "FOR NO KEY UPDATE" not in sql:
            with connection.connection.cursor() as cursor:
                options = "ANALYZE, BUFFERS, TIMING OFF, SUMMARY, FORMAT JSON"
                (plan,) = cursor.execute(f"EXPLAIN ({options}) {sql}", params).fetchone()
            found.append(_statement(sql, (json.loads(plan) if isinstance(plan, str) else plan)[0]))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        look()
    return found


def _statement(sql: str, told: dict[str, Any]) -> Statement:
    top = told["Plan"]
    return Statement(
        sql=sql,
        ms=told["Planning Time"] + told["Execution Time"],
        pages=top["Shared Hit Blocks"] + top["Shared Read Blocks"],
        reads=tuple(_read(node) for node in _walk(top) if _is_large(node)),
    )


def _walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _walk(child)


def _is_large(node: dict[str, Any]) -> bool:
    return node["Node Type"] in SCANS and node["Relation Name"] in LARGE


def _read(node: dict[str, Any]) -> Read:
    each = node["Actual Rows"] + node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return Read(table=node["Relation Name"], how=node["Node Type"], rows=round(each * node["Actual Loops"]))
