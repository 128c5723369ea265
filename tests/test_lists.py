"""PostgreSQL finds what lists and pages show by index, however many instances there are."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection

from durable.models import Instance
from project.demo import seeding
from tests import clones, driving, multitudes
from tests.looks import Looker, looks
from tests.project.conftest import MODULES

pytestmark = pytest.mark.skipif(connection.vendor != "postgresql", reason="plans of PostgreSQL")

SEEDED = 500
TIMES = int(os.environ.get("MULTITUDE", "40"))
"""How many times the instances that are seeded are there: 20,000 instances, unless somebody wants more."""

LARGE = {"durable_instance", "durable_execution", "durable_historyevent"}

MOST = 12_000
"""How many rows of a table a statement may look at: lists are counted up to 10,000."""

WHOLE = {
    *(f"admin {name}" for name in ("again", "queue of none", "version alone", "started before", "closed before")),
    *("api version", "durable_list --patch"),
    *("admin versions", "api versions/", "client.versions"),
}
"""What has no index of its own: it is found on the way through the list, and the report of versions counts all."""

SCANS = {"Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan"}


@pytest.fixture
def multitude(transactional_db, fresh):
    driving.register_all(*MODULES)
    seeding.seed(SEEDED)
    multitudes.multiply(TIMES - 1)
    clones.analyze()
    user = get_user_model().objects.create_superuser("root")
    yield Looker(user)
    clones.empty()


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """How a statement read a table.

    Attributes:
        how: The node of the plan.
        rows: How many rows it looked at.
    """

    table: str
    how: str
    rows: int
    sql: str


def reads(look: Callable[[], Any]) -> list[Read]:
    """Run something, and return how the large tables were read."""
    found: list[Read] = []

    def explain(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(("SELECT", "(SELECT")) and "FOR NO KEY UPDATE" not in sql:
            with connection.connection.cursor() as cursor:
                (plan,) = cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}", params).fetchone()
            plan = json.loads(plan) if isinstance(plan, str) else plan
            found.extend(_read(node, sql) for node in _walk(plan[0]["Plan"]) if _is_large(node))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        look()
    return found


def _walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _walk(child)


def _is_large(node: dict[str, Any]) -> bool:
    return node["Node Type"] in SCANS and node["Relation Name"] in LARGE


def _read(node: dict[str, Any], sql: str) -> Read:
    each = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
    return Read(table=node["Relation Name"], how=node["Node Type"], rows=round(each * node["Actual Loops"]), sql=sql)


def test_a_scan_is_seen_where_there_is_one(multitude):
    (read,) = reads(lambda: list(Instance.objects.filter(input="nothing")))

    assert (read.how, read.rows) == ("Seq Scan", Instance.objects.count())


def test_what_lists_and_pages_show_is_found_by_index(multitude):
    total = Instance.objects.count()
    scans, many = {}, {}

    for name, look in looks().items():
        found = reads(lambda look=look: look(multitude))
        if scanned := [read for read in found if read.how == "Seq Scan" and read.rows >= total]:
            scans[name] = scanned[0].sql
        if (most := max((read.rows for read in found), default=0)) > MOST:
            many[name] = most

    assert set(scans) <= WHOLE, scans
    assert set(many) <= WHOLE, many
