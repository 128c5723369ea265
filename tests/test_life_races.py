"""Verbs that begin, end and delete instances, all at once: one wins, and nothing is left of what lost."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import pytest

from durable import (
    AlreadyExists,
    NotClosed,
    NotFailed,
    NotOpen,
    RetryPolicy,
    UnknownInstance,
    WorkWouldBeLost,
    activity,
    client,
    workflow,
)
from durable.engine import retention
from durable.engine.advance import advance
from durable.engine.perform import perform
from durable.models import Instance, Operation
from tests.driving import Together, kinds, leftovers
from tests.test_purge import aged, orphans
from tests.test_races import is_whole

ROUNDS = 6


@pytest.fixture
def broken(committing):
    """A workflow whose activity fails as long as the list has something in it."""
    reasons = ["broken"]

    @activity.defn(retry=RetryPolicy(max_attempts=1))
    def act() -> None:
        if reasons:
            raise ValueError

    @workflow.defn
    async def flow() -> None:
        await act()

    return reasons


def fail(engine: Any, id: str) -> client.Handle:
    handle = client.start("flow", id=id)
    engine.run_until_quiet()
    assert handle.status == "failed"
    return handle


def sorts(results: list[Any]) -> Counter[str]:
    return Counter(type(result).__name__ for result in results)


def test_an_instance_is_purged_once(committing, broken):
    for round_ in range(ROUNDS):
        fail(committing, f"i{round_}")

        results = Together().add(partial(client.purge, f"i{round_}"), times=3).run()

        assert sorts(results) == {"Purged": 1, "UnknownInstance": 2}
    assert (Instance.objects.count(), orphans()) == (0, [])
    assert Counter(Operation.objects.values_list("outcome", flat=True)) == {"done": ROUNDS, "refused": 2 * ROUNDS}


def test_purge_and_rewind_do_not_both_happen(committing, broken):
    for round_ in range(ROUNDS):
        handle = fail(committing, f"i{round_}")

        purged, rewound = Together().add(handle.purge).add(handle.rewind).run()

        if isinstance(purged, client.Purged):
            assert isinstance(rewound, UnknownInstance)
        else:
            assert isinstance(purged, NotClosed)
            assert isinstance(rewound, client.Outcome)
            assert handle.status == "running"
            committing.run_until_quiet()
            assert is_whole(handle)
    assert (orphans(), leftovers()) == ([], [])


def test_retention_leaves_what_is_brought_back_to_life(committing, broken, settings):
    for round_ in range(ROUNDS):
        handle = fail(committing, f"i{round_}")
        aged(handle.id, days=2)
        settings.DURABLE = {"RETENTION": {"failed": 86_400}}

        purged, rewound = Together().add(retention.purge_old).add(handle.rewind).run()

        settings.DURABLE = {}
        if purged:
            assert isinstance(rewound, UnknownInstance)
        else:
            assert isinstance(rewound, client.Outcome)
            assert handle.status == "running"
    assert orphans() == []


def test_an_instance_that_takes_turns_can_be_purged_by_force(committing):
    @activity.defn
    def act() -> None:
        pass

    @workflow.defn
    async def leaf() -> None:
        await workflow.wait_signal("go")

    @workflow.defn
    async def busy(id: str) -> None:
        for number in range(20):
            leaf.options(id=f"{id}-{number}").start_child()
            await act()
            await workflow.wait_signal("go")

    for round_ in range(ROUNDS):
        handle = busy.options(id=f"i{round_}").start(f"i{round_}")
        committing.run_until_quiet()

        together = Together().add(partial(handle.signal, "go")).add(partial(handle.purge, force=True))
        together.add(partial(advance, handle.id), times=2).add(partial(perform, "default"))
        results = together.run()

        assert set(sorts(results)) <= {"NoneType", "Purged", "UnknownInstance", "NotOpen"}, results
        assert sorts(results)["Purged"] == 1
        committing.run_until_quiet()
        assert (list(Instance.objects.all()), orphans(), leftovers()) == ([], [], [])


@pytest.mark.parametrize("options", [{"new_instance_id": "new"}, {"id_reuse": "replace_closed"}])
def test_one_restart_gets_the_id(committing, broken, options):
    handle = fail(committing, "old")

    results = Together().add(partial(handle.restart, **options), times=3).run()

    losers = {"new_instance_id": "AlreadyExists", "id_reuse": "NotClosed"}
    assert sorts(results) == {"Handle": 1, losers[next(iter(options))]: 2}
    assert Instance.objects.count() == (2 if "new_instance_id" in options else 1)
    broken.clear()
    committing.run_until_quiet()
    assert next(result for result in results if isinstance(result, client.Handle)).status == "completed"


def test_what_a_worker_begins_is_not_thrown_away_by_a_restore(committing, broken, settings):
    settings.DURABLE = {"RUN_INLINE": False}
    for round_ in range(ROUNDS):
        broken[:] = ["broken"]
        handle = fail(committing, f"i{round_}")
        failed = handle.instance.execution_id
        handle.rewind()
        broken.clear()

        restored, _ = Together().add(partial(handle.restore, failed)).add(partial(perform, "default")).run()
        committing.run_until_quiet()

        if isinstance(restored, client.Outcome):
            assert (handle.status, kinds(handle)) == ("failed", kinds(handle, failed))
        else:
            assert isinstance(restored, WorkWouldBeLost)
            assert handle.status == "completed"
        assert (is_whole(handle), leftovers()) == (True, [])


def test_an_end_is_either_the_operators_or_the_codes(committing):
    @workflow.defn
    async def waiting() -> None:
        await workflow.wait_signal("go")

    for round_ in range(ROUNDS):
        handle = waiting.options(id=f"i{round_}").start()
        committing.run_until_quiet()
        handle.signal("go")

        together = Together().add(handle.terminate).add(handle.suspend).add(partial(advance, handle.id), times=2)
        results = together.run()

        refused = [type(each) for each in results if each is not None]
        assert set(refused) <= {NotOpen, AlreadyExists, NotFailed}, results
        done = Operation.objects.filter(instance_id=handle.id, outcome="done").count()
        assert done == 2 - len(refused), "each try has one row"
        assert is_whole(handle)
