"""Live executions that a process keeps: used at the head, brought up from behind, thrown away when ahead."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from durable import activity, workflow
from durable.core.execution import Execution
from durable.engine import cache
from durable.engine.advance import advance
from durable.models import Instance
from tests.driving import events_read

pytestmark = pytest.mark.lenient


@pytest.fixture
def collect(committing):
    @workflow.defn
    async def collect(count: int) -> list[int]:
        return [await workflow.wait_signal("item") for _ in range(count)]

    handle = collect.start(3)
    advance(handle.id)
    return handle


def live(handle) -> Execution:
    """Look at what the cache holds for an instance."""
    execution_id = handle.instance.execution_id
    execution = cache.take(execution_id)
    cache.put(execution_id, execution)
    return execution


def reads(handle) -> list[int]:
    """Give an instance a turn and return which events it reads."""
    with events_read() as read:
        advance(handle.id)
    return read


def test_execution_at_the_head_reads_nothing(collect):
    before = live(collect)
    collect.signal("item", 1)

    assert reads(collect) == []
    assert live(collect) is before
    assert before.head == collect.instance.head == 2


def test_execution_behind_the_head_reads_the_difference(committing, collect):
    execution_id = collect.instance.execution_id
    mine = cache.take(execution_id)
    collect.signal("item", 1)
    advance(collect.id)  # as another process would, by replay
    cache.take(execution_id).close()
    cache.put(execution_id, mine)
    collect.signal("item", 2)

    assert reads(collect) == [2]
    assert live(collect) is mine
    assert mine.head == collect.instance.head == 3
    collect.signal("item", 3)
    assert committing.result(collect) == [1, 2, 3]


def test_execution_ahead_of_the_head_is_thrown_away(committing, collect):
    ahead = live(collect)
    ahead.head += 1  # as after a turn that was rolled back
    collect.signal("item", 1)

    assert reads(collect) == [1]
    assert live(collect) is not ahead
    assert live(collect).head == collect.instance.head
    for number in (2, 3):
        collect.signal("item", number)
    assert committing.result(collect) == [1, 2, 3]


def test_nothing_cached_replays_from_the_start(committing, collect):
    collect.signal("item", 1)
    advance(collect.id)
    committing.restart()
    collect.signal("item", 2)

    assert reads(collect) == [1, 2]
    collect.signal("item", 3)
    assert committing.result(collect) == [1, 2, 3]


def test_ended_execution_is_not_kept(committing, collect):
    execution_id = collect.instance.execution_id
    for number in range(3):
        collect.signal("item", number)
    committing.result(collect)

    assert cache.take(execution_id) is None


def test_turn_that_fails_leaves_nothing_in_the_cache(committing, collect, settings):
    settings.DURABLE = {"LIMITS": {"history": 1}}
    collect.signal("item", 1)
    advance(collect.id)
    assert collect.status == "stalled"
    assert cache.take(collect.instance.execution_id) is None

    settings.DURABLE = {}
    Instance.objects.update(retry_at=collect.instance.created_at)
    for number in (2, 3):
        collect.signal("item", number)
    assert committing.result(collect) == [1, 2, 3]


def test_executions_used_least_make_room(committing, settings):
    settings.DURABLE = {"CACHE_SIZE": 2}

    @workflow.defn
    async def waiting() -> int:
        return await workflow.wait_signal("go")

    handles = [waiting.start() for _ in range(3)]
    for handle in handles:
        advance(handle.id)

    cached = []
    for handle in handles:
        found = cache.take(handle.instance.execution_id)
        cached.append(found is not None)
        if found is not None:
            found.close()
    assert cached == [False, True, True]

    for handle in handles:
        handle.signal("go", 1)
        assert committing.result(handle) == 1


def test_cache_of_size_0_still_works(committing, settings):
    settings.DURABLE = {"CACHE_SIZE": 0}

    @workflow.defn
    async def waiting() -> list[int]:
        return [await workflow.wait_signal("go") for _ in range(3)]

    handle = waiting.start()
    for number in range(3):
        committing.run_until_quiet()
        handle.signal("go", number)

    assert committing.result(handle) == [0, 1, 2]


def test_execution_is_kept_when_its_activity_ran_in_place(committing):
    @activity.defn
    def work() -> None: ...

    @workflow.defn
    async def outer() -> str:
        await work()
        return await workflow.wait_signal("go")

    handle = outer.start()
    advance(handle.id)
    handle.signal("go", "now")

    assert reads(handle) == []
    assert handle.result(timeout=0) == "now"


def test_execution_whose_commit_fails_is_not_kept(committing, time):
    @activity.defn(atomic=True)
    def dangle() -> None:
        if activity.info().attempt == 1:
            User.groups.through.objects.create(user_id=123456, group_id=654321)

    @workflow.defn
    async def outer() -> str:
        await dangle()
        return await workflow.wait_signal("go")

    handle = outer.start()
    advance(handle.id)
    kept = cache.take(handle.instance.execution_id)

    assert kept is None
    time.forward(5)
    handle.signal("go", "now")
    assert committing.result(handle) == "now"
