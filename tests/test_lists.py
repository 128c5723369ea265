"""PostgreSQL finds what lists and pages show by index, however many instances there are."""

from __future__ import annotations

import os

import pytest
from django.contrib.auth import get_user_model
from django.db import connection

from durable import client
from durable.models import Execution, Instance, Status
from durable.store import usage
from project.demo import seeding
from tests import clones, driving, multitudes
from tests.explained import statements
from tests.looks import Looker, looks
from tests.project.conftest import MODULES

pytestmark = pytest.mark.skipif(connection.vendor != "postgresql", reason="plans of PostgreSQL")

SEEDED = 500
TIMES = int(os.environ.get("MULTITUDE", "40"))
"""How many times the instances that are seeded are there: 20,000 instances, unless somebody wants more."""

MOST = 20_000
"""How many rows of a table a statement may look at: so many failures groups are looked for among."""

PAGES = 30_000
"""How many pages of tables and indexes all statements of a look may have to do with."""

COUNTING = {"admin versions", "api versions/", "client.versions"}
"""What counts so many rows of each version and status, by the index alone."""


@pytest.fixture
def multitude(transactional_db, fresh):
    driving.register_all(*MODULES)
    seeding.seed(SEEDED)
    multitudes.multiply(TIMES - 1)
    clones.analyze()
    user = get_user_model().objects.create_superuser("root")
    yield Looker(user)
    clones.empty()


def test_a_scan_is_seen_where_there_is_one(multitude):
    (found,) = statements(lambda: list(Instance.objects.filter(input="nothing")))
    (read,) = found.reads

    assert (read.how, read.rows) == ("Seq Scan", Instance.objects.count())


def test_what_lists_and_pages_show_is_found_by_index(multitude):
    total = Instance.objects.count()
    scans, many, pages = {}, {}, {}

    for name, look in looks().items():
        found = statements(lambda look=look: look(multitude))
        reads = [read for each in found for read in each.reads]
        if any(read.how == "Seq Scan" and read.rows >= total for read in reads):
            scans[name] = [each.sql for each in found]
        if (most := max((read.rows for read in reads), default=0)) > MOST:
            many[name] = most
        if (looked := sum(each.pages for each in found)) > PAGES:
            pages[name] = looked

    assert scans == {}
    assert set(many) <= COUNTING, many
    assert pages == {}


def test_versions_in_use_are_found_from_one_to_the_next(multitude, monkeypatch):
    monkeypatch.setattr(usage, "COUNTED", 10)
    found = statements(client.versions)

    reads = [read for each in found[:1] for read in each.reads]
    assert {read.how for read in reads} == {"Index Only Scan"}
    pairs = Execution.objects.order_by().values("name", "version").distinct().count()
    assert sum(read.rows for read in reads if read.table == "durable_execution") == pairs
    most = max(read.rows for read in reads if read.table == "durable_instance")
    assert most <= pairs * len(Status) * (usage.COUNTED + 1) < Instance.objects.count()


def test_groups_of_failures_are_counted_by_the_index_alone(multitude):
    found = statements(client.failure_groups)

    assert [read.how for each in found[:2] for read in each.reads] == ["Index Only Scan"] * 2
