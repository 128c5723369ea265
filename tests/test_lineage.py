"""Lineage: which instances were begun like which."""

from __future__ import annotations

import pytest

from durable import UnknownInstance, activity, client, workflow
from tests.driving import cost


@pytest.fixture
def begun(engine):
    """A start, a rerun of it, a restart of that, and another rerun of the first."""

    @activity.defn
    def act() -> None:
        pass

    @workflow.defn
    async def flow() -> None:
        await act()

    flow.options(id="a").start()
    engine.run_until_quiet()
    client.rerun_from_activity("a", 0, new_instance_id="b")
    engine.run_until_quiet()
    client.restart("b", new_instance_id="c")
    client.rerun_from_activity("a", 0, new_instance_id="d")
    engine.run_until_quiet()
    return engine


def names(relatives: list[client.Relative]) -> list[str]:
    return [each.instance_id for each in relatives]


def test_follows_reruns_and_restarts_both_ways(begun):
    found = client.lineage("b")

    assert (found.instance.instance_id, names(found.ancestors), names(found.descendants)) == ("b", ["a"], ["c"])
    assert names(client.lineage("a").descendants) == ["b", "c", "d"]
    assert names(client.get("c").lineage().ancestors) == ["b", "a"]
    (restarted,) = found.descendants
    assert (restarted.rerun_from, restarted.rerun_event_id, restarted.attempt) == ("b", None, 2)
    assert (found.instance.rerun_event_id, found.instance.attempt, found.instance.status) == (0, 1, "completed")


def test_names_what_was_purged(begun):
    client.purge("b")

    above = client.lineage("c").ancestors
    assert above == [client.Relative(instance_id="b")]
    assert names(client.lineage("a").descendants) == ["d"]


def test_ends_where_ids_were_used_anew(begun):
    client.purge("a")
    client.restart("b", new_instance_id="a")

    assert names(client.lineage("a").ancestors) == ["b"]
    assert set(names(client.lineage("a").descendants)) == {"b", "c", "d"}


def test_unknown_one_is_refused(db):
    with pytest.raises(UnknownInstance):
        client.lineage("nobody")


def test_costs_a_statement_for_each_generation(begun):
    with cost() as counted:
        client.lineage("a")

    assert len(counted.statements) == 4
