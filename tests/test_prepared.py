"""PostgreSQL keeps the plans of what it is asked often, unless a pooler stands in between."""

from __future__ import annotations

import pytest
from django.db import NotSupportedError, connection, connections, transaction

from durable import activity, workflow
from durable.engine.advance import advance
from durable.models import Instance
from durable.store import driver, instances, prepared
from tests.driving import cost

pytestmark = pytest.mark.skipif(connection.vendor != "postgresql", reason="statements that PostgreSQL prepares")


@pytest.fixture
def connected(transactional_db, monkeypatch):
    """A new connection, which was asked nothing yet, and plans that are kept for as long as the test takes."""
    monkeypatch.setattr(prepared, "PLANS_SECONDS", 1e9)
    connection.close()
    yield connection
    connection.close()


def ask(sql: str = "SELECT 1", *, times: int = prepared.OFTEN) -> None:
    for _ in range(times):
        with driver.cursor(connection) as cursor:
            cursor.execute(sql)
            assert cursor.fetchone()


def kept() -> list[str]:
    """Return the statements that the server keeps plans of."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements ORDER BY prepare_time")
        return [statement for (statement,) in cursor.fetchall()]


def test_what_is_asked_often_is_prepared(connected):
    ask(times=prepared.OFTEN - 1)
    assert kept() == []

    with cost() as counted:
        ask(times=2)

    assert [statement.partition(" /*")[0] for statement in kept()] == ["SELECT 1"]
    assert counted.statements == ["SELECT 1"] * 2, "whoever watches sees the statement as it is"


def test_who_waits_for_a_result_asks_what_is_prepared(connected):
    for _ in range(prepared.OFTEN):
        with pytest.raises(instances.UnknownInstance):
            instances.closed("nobody")

    assert len(kept()) == 1


def runs() -> int:
    """Return how often the server ran what it keeps plans of."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT sum(generic_plans + custom_plans) FROM pg_prepared_statements")
        (count,) = cursor.fetchone()
    return int(count)


def test_all_is_prepared_that_one_workflow_after_another_asks(fresh, connected):
    @activity.defn
    def tick() -> None:
        pass

    @workflow.defn
    async def short() -> str:
        await tick()
        return "done"

    def run() -> None:
        handle = short.start()
        advance(handle.id)
        assert handle.result(timeout=0) == "done"

    for _ in range(prepared.OFTEN):
        run()
    known, before = kept(), runs()
    with cost() as counted:
        run()

    assert kept() == known
    assert runs() - before == len(counted.statements) == 5


def test_what_others_ask_is_not_prepared(connected):
    ask()
    for _ in range(20):
        list(Instance.objects.all())
        connection.connection.cursor(binary=False).execute("SELECT 2")

    assert len(kept()) == 1


def test_nothing_is_prepared_where_somebody_says_that_there_is_a_pooler(connected, monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)

    ask()

    assert kept() == []


def test_a_project_need_not_say_whether_there_is_a_pooler(connected, monkeypatch):
    monkeypatch.delitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS")

    ask()
    with driver.reader(connection, whole=False) as cursor:
        cursor.execute("SELECT 3")
        assert cursor.fetchone() == (3,)

    assert [each for each in kept() if each.startswith("SELECT 1 ")]


def test_nothing_is_prepared_through_a_pooler(connected, monkeypatch):
    connection.ensure_connection()
    # What a pooler sends: a number of its own, by which it knows what is to be canceled.
    monkeypatch.setattr(type(connection.connection.info), "backend_pid", property(lambda _: 7))

    ask(times=2 * prepared.OFTEN)

    assert kept() == []


def test_plans_are_made_anew_after_a_while(connected, monkeypatch):
    ask()
    (first,) = kept()
    monkeypatch.setattr(prepared, "PLANS_SECONDS", 0.9e9)  # other multiples of it

    monkeypatch.setattr(prepared.time, "monotonic", lambda: 1e9)
    ask(times=prepared.OFTEN - 1)
    assert kept() == [first]
    ask(times=1)

    assert len(set(kept())) == 2


def test_a_plan_that_fits_no_more_is_given_up(connected):
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE changing AS SELECT 'x'::varchar(3) AS short")
    try:
        ask("SELECT short FROM changing")
        with connection.cursor() as cursor:
            # As if it came by another connection: the driver does not see what this does.
            cursor.execute("DO $$ BEGIN ALTER TABLE changing ALTER short TYPE text; END $$")
        with pytest.raises(NotSupportedError):
            ask("SELECT short FROM changing")

        ask("SELECT short FROM changing")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE changing")


def test_a_statement_is_prepared_within_a_transaction_that_is_rolled_back(connected):
    with transaction.atomic():
        ask()
        transaction.set_rollback(True)

    ask()

    assert len(kept()) == 1


def test_backend_that_makes_cursors_of_its_own_is_asked_through_them(engine, fresh, monkeypatch):
    made, passed_by = [], []

    class OneSchemaForEachTenant(type(connections["default"])):
        """Sets the schema whenever it is asked for a cursor."""

        def _cursor(self, name=None):
            made.append(super()._cursor(name))
            return made[-1]

    def watch(execute, sql, params, many, context):
        if context["cursor"] not in made:
            passed_by.append(sql)
        return execute(sql, params, many, context)

    @activity.defn
    def add(first: int, second: int) -> int:
        return first + second

    @workflow.defn
    async def adding() -> int:
        return await add(1, 2)

    monkeypatch.setattr(connections["default"], "__class__", OneSchemaForEachTenant)
    with connection.execute_wrapper(watch):
        handle = adding.start()
        engine.run_until_quiet()
        assert handle.result() == 3

    assert made
    assert passed_by == []
