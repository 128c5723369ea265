"""Activities run in a test as in a worker, with no worker and no database."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import Group
from django.utils import timezone

from durable import activity, testing
from durable.converters import ModelRef
from durable.core.errors import InvalidInput, NonRetryable, OutsideWorkflow, PayloadTooLarge
from durable.interceptors import Interceptor


@pytest.fixture(autouse=True)
def _fresh(fresh):
    pass


@pytest.fixture
def env():
    return testing.ActivityEnvironment()


def test_result_is_what_a_workflow_would_get(env):
    @activity.defn
    def charge(total: Decimal, on: date) -> dict[str, Decimal]:
        assert (type(total), type(on)) == (Decimal, date)
        return {"total": total}

    assert env.run(charge, Decimal("9.99"), on=date(2025, 1, 2)) == {"total": Decimal("9.99")}


def test_a_result_that_is_not_annotated_comes_back_as_json(env):
    @activity.defn
    def today():
        return (date(2025, 1, 2), {1: Decimal(1)})

    assert env.run(today) == ["2025-01-02", {"1": "1"}]


def test_async_activity_in_an_async_test_says_how_to_run_it(env):
    @activity.defn
    async def fetch(url: str) -> str:
        return url.upper()

    async def test() -> str:
        with pytest.raises(InvalidInput, match=r"await arun\(\.\.\.\)"):
            env.run(fetch, "a")
        return await env.arun(fetch, "a")

    assert asyncio.run(test()) == "A"


def test_arguments_come_as_the_annotation_says_and_not_as_they_were_given(env):
    given = [1, 2]

    @activity.defn
    def change(numbers: list[int]) -> list[int]:
        numbers.append(3)
        return numbers

    assert env.run(change, given) == [1, 2, 3]
    assert given == [1, 2]


@pytest.mark.parametrize("kind", ["argument", "result", "heartbeat", "too many"])
def test_what_a_worker_would_refuse_is_refused(env, kind):
    @activity.defn
    def take(value=None):
        if kind == "heartbeat":
            activity.heartbeat(object())
        return object() if kind == "result" else None

    arguments = {"argument": [object()], "too many": [1, 2]}.get(kind, [])
    where = {"argument": r"take\(value\)", "result": "result of take", "heartbeat": "heartbeat"}.get(kind, r"take\(")

    with pytest.raises(InvalidInput, match=where):
        env.run(take, *arguments)


def test_what_is_too_long_is_refused(env, settings):
    settings.DURABLE = {"LIMITS": {"payload": 100}}

    @activity.defn
    def repeat(text: str, times: int) -> str:
        return text * times

    with pytest.raises(PayloadTooLarge, match="input of repeat"):
        env.run(repeat, "x" * 100, 1)
    with pytest.raises(PayloadTooLarge, match="result of repeat"):
        env.run(repeat, "x", 100)
    assert env.run(repeat, "x", 2) == "xx"


def test_an_exception_is_the_functions_own(env):
    class CardDeclined(Exception):
        pass

    @activity.defn
    def charge() -> None:
        raise CardDeclined("no")

    with pytest.raises(CardDeclined, match="no"):
        env.run(charge)
    with pytest.raises(OutsideWorkflow):
        activity.info()


def test_a_coroutine_runs_to_its_end(env):
    @activity.defn
    async def fetch(number: int) -> tuple[int, str]:
        await asyncio.sleep(0)
        activity.heartbeat(number)
        return activity.info().attempt, activity.info().name

    assert env.run(fetch, 7) == (1, "fetch")
    assert env.heartbeats == [(7,)]


def test_async_tests_run_activities_too(env):
    @activity.defn
    async def fetch() -> str:
        return activity.info().instance_id

    @activity.defn
    def look() -> str:
        return activity.info().instance_id

    async def body():
        return await env.arun(fetch), await env.arun(look)

    assert asyncio.run(body()) == ("test", "test")


def test_a_method_shares_its_objects_state(env):
    class Bank:
        def __init__(self):
            self.charged = []

        @activity.defn
        def charge_account(self, amount: Decimal) -> int:
            self.charged.append(amount)
            return len(self.charged)

    bank = Bank()

    assert [env.run(bank.charge_account, Decimal(1)), env.run(bank.charge_account, Decimal(2))] == [1, 2]
    assert bank.charged == [Decimal(1), Decimal(2)]


class Shelf:
    @activity.defn
    def take_down(self) -> None: ...


@pytest.mark.parametrize("what", [print, Shelf.take_down], ids=["a function", "a method of no object"])
def test_what_is_no_activity_is_refused(env, what):
    with pytest.raises(InvalidInput, match=r"@activity\.defn|obj\.method"):
        env.run(what)


def test_info_is_what_was_asked_for():
    deadline = datetime(2030, 1, 1, tzinfo=UTC)
    env = testing.ActivityEnvironment(
        attempt=3, instance_id="order-1", execution_id="run", event_id=4, deadline=deadline
    )

    @activity.defn(start_to_close=timedelta(seconds=5))
    def look() -> list[str]:
        info = activity.info()
        return [info.name, info.instance_id, str(info.attempt), info.idempotency_key, str(info.deadline)]

    assert env.run(look) == ["look", "order-1", "3", "run:4", str(deadline)]
    assert env.info.deadline == deadline


def test_the_deadline_follows_from_the_nearer_limit(env):
    @activity.defn(start_to_close=timedelta(seconds=60), schedule_to_close=timedelta(seconds=3600))
    def limited() -> None: ...

    @activity.defn
    def unlimited() -> None: ...

    before = timezone.now()
    env.run(limited)
    assert before <= env.info.deadline - timedelta(seconds=60) <= timezone.now()

    env.run(unlimited)
    assert env.info.deadline is None


@pytest.fixture
def copy():
    @activity.defn
    def copy(rows: int) -> list[int]:
        (begin,) = activity.heartbeat_details() or (0,)
        done = []
        for row in range(begin, rows):
            if activity.cancelled():
                break
            done.append(row)
            activity.heartbeat(row + 1)
        return done

    return copy


def test_heartbeats_are_collected_and_resume_an_earlier_attempt(copy):
    env = testing.ActivityEnvironment(attempt=2, heartbeat_details=(3,))

    assert env.run(copy, 5) == [3, 4]
    assert env.heartbeats == [(4,), (5,)]

    env.run(copy, 4)
    assert env.heartbeats == [(4,)], "each run begins anew"


def test_a_heartbeat_without_details_keeps_the_last_ones(env):
    @activity.defn
    def beat() -> list[int]:
        activity.heartbeat(0)
        activity.heartbeat(1, 2)
        activity.heartbeat()
        return list(activity.heartbeat_details())

    assert env.run(beat) == [1, 2]
    assert env.heartbeats == [(0,), (1, 2), ()]


def test_details_come_back_as_json():
    env = testing.ActivityEnvironment(heartbeat_details=(date(2025, 1, 2),))

    @activity.defn
    def look() -> list[str]:
        return list(activity.heartbeat_details())

    assert env.run(look) == ["2025-01-02"]


def test_a_heartbeat_can_call_the_activity_off(copy):
    env = testing.ActivityEnvironment(on_heartbeat=lambda row: env.cancel() if row == 2 else None)

    assert env.run(copy, 5) == [0, 1]


def test_another_thread_can_call_the_activity_off(env):
    reached = threading.Event()

    @activity.defn
    async def wait() -> bool:
        reached.set()
        while not activity.cancelled():
            await asyncio.sleep(0.001)
        return True

    def call_off():
        reached.wait(10)
        env.cancel()

    caller = threading.Thread(target=call_off)
    caller.start()

    assert env.run(wait) is True
    caller.join()


def test_nothing_is_called_off_unless_somebody_does(env):
    @activity.defn
    def look() -> bool:
        return activity.cancelled()

    assert env.run(look) is False
    env.cancel()
    assert env.run(look) is True


def test_a_completion_that_is_left_to_others_leaves_its_token(env, copy):
    @activity.defn
    def ask() -> object:
        activity.complete_later()
        return object()

    assert env.run(ask) is None
    assert env.token == f"{env.info.execution_id}:0:1"

    env.run(copy, 0)
    assert env.token is None


def test_an_atomic_activity_cannot_leave_its_completion(env, db):
    @activity.defn(atomic=True)
    def ask() -> None:
        activity.complete_later()

    with pytest.raises(NonRetryable, match="atomic"):
        env.run(ask)


def test_an_atomic_activity_that_fails_leaves_nothing(env, db):
    @activity.defn(atomic=True)
    def create(fail: bool) -> None:
        Group.objects.create(name="made")
        if fail:
            raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        env.run(create, True)
    assert not Group.objects.exists()

    env.run(create, False)
    assert Group.objects.get().name == "made"


def test_an_atomic_activity_whose_result_cannot_be_stored_leaves_nothing(env, db):
    @activity.defn(atomic=True)
    def create() -> object:
        Group.objects.create(name="made")
        return object()

    with pytest.raises(InvalidInput):
        env.run(create)
    assert not Group.objects.exists()


def test_an_atomic_activity_is_in_a_transaction_where_the_test_is_not(env, transactional_db):
    @activity.defn(atomic=True)
    def lock() -> int:
        return len(Group.objects.select_for_update())

    assert env.run(lock) == 0


def test_models_come_as_rows_and_go_as_references(env, db):
    group = Group.objects.create(name="readers")

    @activity.defn
    def rename(group: Group) -> Group:
        group.name = group.name.upper()
        group.save()
        return group

    assert env.run(rename, group) == ModelRef("auth.Group", group.pk)
    assert Group.objects.get().name == "READERS"


def test_a_coroutine_reaches_the_rows_of_the_tests_transaction(env, db):
    Group.objects.create(name="readers")

    @activity.defn
    async def rename() -> str:
        group = await Group.objects.aget()
        group.name = "writers"
        await group.asave()
        raise ValueError(group.name)

    with pytest.raises(ValueError, match="writers"):
        env.run(rename)
    assert Group.objects.get().name == "writers"


def test_interceptors_are_around_it(settings):
    settings.DURABLE = {"INTERCEPTORS": [f"{__name__}.Noting"]}
    noted.clear()
    env = testing.ActivityEnvironment(workflow="order2", queue="slow", headers={"trace": "abc"})

    @activity.defn
    def work() -> str:
        return noted[-1]

    assert env.run(work) == "work of order2 on slow: abc"


noted = []


class Noting(Interceptor):
    @contextmanager
    def activity(self, info):
        noted.append(f"{info.name} of {info.workflow} on {info.queue}: {info.headers['trace']}")
        yield
