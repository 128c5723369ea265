"""Migrations that build indexes beside the work can be run again after they were interrupted."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, connection
from django.db.migrations.loader import MigrationLoader
from django.test.utils import CaptureQueriesContext

from durable.models import Execution, Instance
from durable.testing.factories import InstanceFactory

MIGRATIONS = ("0014_list_indexes", "0017_more_list_indexes", "0018_fewer_indexes", "0020_versions_in_use")


def names():
    with connection.cursor() as cursor:
        tables = (model._meta.db_table for model in (Instance, Execution))
        return set().union(*(connection.introspection.get_constraints(cursor, table) for table in tables))


def run(*, forwards=True):
    loader = MigrationLoader(connection)
    for name in MIGRATIONS if forwards else reversed(MIGRATIONS):
        migration = loader.get_migration("durable", name)
        state = loader.project_state(("durable", name), at_end=False)
        with connection.schema_editor(atomic=False) as editor:
            if forwards:
                migration.apply(state, editor)
            else:
                migration.unapply(state, editor)


def is_valid(name):
    with connection.cursor() as cursor:
        cursor.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [name])
        return cursor.fetchone()[0]


def test_what_is_built_is_kept_and_what_is_missing_is_built(transactional_db):
    whole = names()

    run()
    assert names() == whole

    run(forwards=False)
    run(forwards=False)
    before = names()
    assert len(before) < len(whole)
    assert len(before - whole) >= 3 or connection.vendor == "mysql", "those that the last one drops"

    run()
    assert names() == whole


@pytest.mark.skipif(connection.vendor != "postgresql", reason="others build no index beside the work")
def test_what_a_way_back_was_building_is_built_anew_beside_the_work(transactional_db):
    whole = names()
    InstanceFactory.create_batch(2, queue="same")
    run(forwards=False)
    likes = sorted(name for name in names() - whole if name.startswith("durable_instance_parent_id_"))
    with connection.cursor() as cursor:
        cursor.execute(f"DROP INDEX {likes[0]}")
        cursor.execute(f"DROP INDEX {likes[1]}")
        with pytest.raises(IntegrityError):
            cursor.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {likes[1]} ON durable_instance (queue)")

    with CaptureQueriesContext(connection) as asked:
        run(forwards=False)

    created = [query["sql"] for query in asked if query["sql"].startswith("CREATE")]
    assert len(created) == len(likes) == 2
    assert all(sql.startswith("CREATE INDEX CONCURRENTLY") for sql in created)
    assert [is_valid(name) for name in likes] == [True, True]
    run()
    assert names() == whole


@pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL leaves an index half built")
@pytest.mark.parametrize("name", ["durable_instance_started", "durable_instance_tags", "durable_instance_both"])
def test_an_index_that_was_left_half_built_is_built_anew(transactional_db, name):
    InstanceFactory.create_batch(2, queue="same")
    with connection.cursor() as cursor:
        cursor.execute(f"DROP INDEX {name}")
        with pytest.raises(IntegrityError):
            cursor.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON durable_instance (queue)")
    assert not is_valid(name)

    run()

    assert is_valid(name)
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, Instance._meta.db_table)[name]
    assert found["columns"] != ["queue"]
    assert not found["unique"]
