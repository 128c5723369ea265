"""Activities: plain functions of any kind, run at least once; atomic ones exactly once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from decimal import Decimal

import pytest
from celery import shared_task
from django.contrib.auth.models import Group, User
from django.db import IntegrityError, connection, transaction

from durable import DuplicateName, InvalidDefinition, OutsideWorkflow, WorkflowFailed, activity, registry, workflow
from durable.models import ActivityTask
from tests.driving import answers, item, kinds, leftovers


@dataclass
class Line:
    sku: str
    price: Decimal
    gift: bool = False


@dataclass
class Order:
    number: int
    lines: list[Line]


@activity.defn
def total_of(order: Order) -> Decimal:
    assert isinstance(order.lines[0], Line)
    return sum((line.price for line in order.lines), Decimal())


@activity.defn
def promote(user: User) -> User:
    assert isinstance(user, User)
    user.is_staff = True
    user.save()
    return user


@activity.defn
def name_of(user: User) -> str:
    return f"{user.username} is {'staff' if user.is_staff else 'nobody'}"


@workflow.defn
async def pricing(order: Order) -> Decimal:
    assert isinstance(order, Order)
    total = await total_of(order)
    assert isinstance(total, Decimal)
    return total * 2


@workflow.defn
async def promotion(user: User) -> str:
    return await name_of(await promote(user))


@shared_task
def double(number: int) -> int:
    return 2 * number


@shared_task(bind=True)
def bound(self, number: int) -> int:
    return number


class Mail:
    """Activities that share a connection."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    @activity.defn
    def send(self, to: str) -> int:
        self.sent.append(to)
        return len(self.sent)


@workflow.defn
async def mailing() -> list[int]:
    return [await Mail.send("ada"), await Mail.send("bob")]


@pytest.fixture
def runs(fresh):
    """Return a workflow that awaits an activity, and what the activity saw."""

    @workflow.defn
    async def runs(name: str, args: list) -> object:
        return await workflow.activity_by_name(name)(*args)

    return runs


# --- kinds of functions


def test_plain_function_runs_with_its_arguments(engine, path):
    @activity.defn
    def join(*words: str, by: str = " ") -> str:
        return by.join(words)

    @workflow.defn
    async def joining() -> str:
        return await join("a", "b", by="-")

    assert engine.result(joining.start()) == "a-b"


def test_async_function_runs_on_a_loop_of_its_own(engine, path):
    @activity.defn
    async def slow(number: int) -> int:
        await asyncio.sleep(0.001)
        return number + 1

    @workflow.defn
    async def outer() -> int:
        return await slow(1)

    assert engine.result(outer.start()) == 2


def test_method_runs_on_the_registered_object(engine, path):
    mail = Mail()
    activity.register(mail)

    assert engine.result(mailing.start()) == [1, 2]
    assert mail.sent == ["ada", "bob"]


def test_object_without_activities_cannot_be_registered(fresh):
    with pytest.raises(InvalidDefinition, match="no methods marked"):
        activity.register(object())


def test_celery_task_becomes_an_activity_and_stays_as_it_is(engine, path):
    doubling = activity.from_celery(double, name="doubling")

    @workflow.defn
    async def outer() -> int:
        return await doubling(21)

    assert engine.result(outer.start()) == 42
    assert double(4) == 8
    assert double.apply((5,)).get() == 10


def test_bound_celery_task_is_refused(fresh):
    with pytest.raises(InvalidDefinition, match="bind=True"):
        activity.from_celery(bound)


def test_activity_by_name_gives_plain_json(engine, path, runs):
    @activity.defn
    def give(number: int) -> Decimal:
        return Decimal(number)

    assert engine.result(runs.start("give", [5])) == "5"


def test_two_activities_of_one_name_are_refused(fresh):
    @activity.defn(name="same")
    def one() -> None: ...

    with pytest.raises(DuplicateName, match="same"):

        @activity.defn(name="same")
        def other() -> None: ...


def test_call_outside_a_workflow_raises_and_names_run(fresh):
    with pytest.raises(OutsideWorkflow, match=r"total_of\.run"):
        total_of(Order(1, []))

    assert total_of.run(Order(1, [Line("a", Decimal("1.5"))])) == Decimal("1.5")


def test_activity_functions_outside_an_activity_raise():
    for call in (activity.info, activity.heartbeat, activity.cancelled, activity.complete_later):
        with pytest.raises(OutsideWorkflow, match=call.__name__):
            call()


# --- values


def test_decimals_and_dataclasses_pass_from_end_to_end(engine, path):
    order = Order(5, [Line("a", Decimal("1.10")), Line("b", Decimal("2.20"), gift=True)])

    handle = pricing.start(order)

    assert engine.result(handle) == Decimal("6.60")
    assert handle.instance.input["args"][0]["lines"][0] == {"sku": "a", "price": "1.10", "gift": False}


def test_model_instances_pass_as_references_and_are_fresh_in_each_activity(engine, path):
    user = User.objects.create(username="ada")

    handle = promotion.start(user)

    assert engine.result(handle) == "ada is staff"
    assert handle.instance.input["args"] == [{"$model": "auth.User", "pk": user.pk}]


def test_argument_that_does_not_fit_is_an_error_at_the_await(engine):
    @activity.defn
    def add(number: int) -> int:
        return number

    @workflow.defn
    async def wrong() -> str:
        try:
            await add(object())
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    handle = wrong.start()

    assert engine.result(handle) == "InvalidInput: add(number): a value of type object cannot be stored as JSON"
    assert "ActivityScheduled" not in kinds(handle)


def test_result_without_json_fails_the_activity_once(engine, path, runs):
    ran = []

    @activity.defn
    def odd():
        ran.append(1)
        return object()

    with pytest.raises(WorkflowFailed, match="result of odd"):
        engine.result(runs.start("odd", []))
    assert ran == [1], "doing it again would not help"


def test_info_says_who_runs(engine, path):
    infos = []

    @activity.defn
    def who() -> None:
        infos.append(activity.info())

    @workflow.defn
    async def outer() -> None:
        await who()
        await who()

    handle = outer.start()
    engine.run_until_quiet()

    assert [(i.name, i.instance_id, i.event_id, i.attempt, i.deadline) for i in infos] == [
        ("who", handle.id, 0, 1, None),
        ("who", handle.id, 1, 1, None),
    ]
    execution = str(handle.instance.execution_id)
    assert [i.execution_id for i in infos] == [execution, execution]
    assert len({i.idempotency_key for i in infos}) == 2


def test_idempotency_key_is_the_same_for_every_attempt(engine, path, time):
    keys = []

    @activity.defn
    def flaky() -> None:
        keys.append(activity.info().idempotency_key)
        if len(keys) < 3:
            raise ValueError

    @workflow.defn
    async def outer() -> None:
        await flaky()

    handle = outer.start()
    for _ in range(3):
        engine.run_until_quiet()
        time.forward(10)

    assert handle.status == "completed"
    assert len(keys) == 3
    assert len(set(keys)) == 1


# --- atomic


def test_atomic_activity_and_its_completion_are_one_commit(committing, path):
    inside = []

    @activity.defn(atomic=True)
    def create(name: str) -> None:
        Group.objects.create(name=name)
        inside.append(connection.in_atomic_block)

    @workflow.defn
    async def outer() -> None:
        await create("a")

    handle = outer.start()
    committing.run_until_quiet()

    assert handle.status == "completed"
    assert inside == [True]
    assert Group.objects.count() == 1


def test_failed_atomic_activity_leaves_nothing_of_its_attempt(committing, path, time):
    attempts = []

    @activity.defn(atomic=True)
    def create(name: str) -> str:
        Group.objects.create(name=name)
        attempts.append(activity.info().attempt)
        if len(attempts) < 3:
            raise ValueError("not yet")
        return name

    @workflow.defn
    async def outer() -> str:
        return await create("a")

    handle = outer.start()
    committing.run_until_quiet()
    assert (Group.objects.count(), attempts) == (0, [1])
    for _ in range(2):
        time.forward(10)
        committing.run_until_quiet()

    assert handle.result(timeout=0) == "a"
    assert (Group.objects.count(), attempts) == (1, [1, 2, 3])
    assert item(handle, "ActivityCompleted").data["attempts"] == 3


def test_atomic_activity_takes_effect_once_though_its_worker_dies_before_the_commit(committing, path, time, settings):
    settings.DURABLE = {**settings.DURABLE, "LEASE": 5}
    attempts = []

    class Killed(BaseException):
        pass

    @activity.defn(atomic=True)
    def create() -> None:
        Group.objects.create(name="a")
        attempts.append(1)
        if len(attempts) == 1:
            raise Killed

    @workflow.defn
    async def outer() -> None:
        await create()

    handle = outer.start()
    with pytest.raises(Killed):
        committing.run_until_quiet()
    committing.restart()
    assert Group.objects.count() == 0

    time.forward(60)
    committing.run_until_quiet()
    time.forward(60)

    committing.result(handle)
    assert (Group.objects.count(), len(attempts)) == (1, 2)
    assert answers(handle)["ActivityCompleted"] == 1


def test_atomic_activity_whose_instance_moved_on_still_takes_effect_once(committing, path):
    @activity.defn(atomic=True)
    def create() -> str:
        Group.objects.create(name="a")
        return "created"

    @workflow.defn
    async def outer() -> list:
        done = asyncio.create_task(create())
        return [await workflow.wait_signal("go"), await done]

    handle = outer.start()
    handle.signal("go", 1)

    assert committing.result(handle) == [1, "created"]
    assert Group.objects.count() == 1


def test_late_result_of_an_atomic_activity_is_rolled_back_with_its_writes(committing, path):
    @activity.defn(atomic=True)
    def create() -> None:
        Group.objects.create(name="a")
        # As if another worker had been given the activity meanwhile.
        handle.instance.executions.get().tasks.update(lease="0190b0a0-0000-7000-8000-000000000000")
        type(handle.instance).objects.update(lease=None)

    @workflow.defn
    async def outer() -> None:
        await create()

    handle = outer.start()
    committing.advance_due()
    committing.perform_due()

    assert answers(handle)["ActivityCompleted"] == 0
    assert Group.objects.count() == 0


def test_atomic_activity_whose_commit_fails_is_a_failed_attempt(committing, path, time):
    @activity.defn(atomic=True)
    def dangle() -> None:
        User.groups.through.objects.create(user_id=123456, group_id=654321)

    @workflow.defn
    async def outer() -> None:
        await dangle()

    handle = outer.start()
    for _ in range(4):
        committing.run_until_quiet()
        time.forward(10)

    assert handle.status == "failed"
    data = item(handle, "ActivityFailed").data
    assert (data["failure"]["type"], data["attempts"]) == ("IntegrityError", 3)
    assert leftovers() == []


def test_atomic_activity_that_swallows_a_database_error_is_a_failed_attempt(committing, path, time):
    @activity.defn(atomic=True)
    def clumsy() -> None:
        Group.objects.create(name="a")
        try:
            with transaction.atomic(savepoint=False):
                Group.objects.create(name="a")
        except IntegrityError:
            pass

    @workflow.defn
    async def outer() -> None:
        await clumsy()

    handle = outer.start()
    for _ in range(4):
        committing.run_until_quiet()
        time.forward(10)

    assert handle.status == "failed"
    assert item(handle, "ActivityFailed").data["attempts"] == 3
    assert Group.objects.count() == 0


def test_atomic_activity_with_a_heartbeat_is_tried_again_when_it_fails(committing, path, time):
    seen = []

    @activity.defn(atomic=True)
    def beating() -> str:
        activity.heartbeat("half")
        seen.append(1)
        if len(seen) == 1:
            raise ValueError
        return "done"

    @workflow.defn
    async def outer() -> str:
        return await beating()

    handle = outer.start()
    committing.run_until_quiet()
    time.forward(10)

    assert committing.result(handle) == "done"
    assert len(seen) == 2


def test_atomic_activity_that_cancels_itself_ends(committing, path):
    @activity.defn(atomic=True)
    def giving_up() -> None:
        Group.objects.create(name="a")
        raise asyncio.CancelledError

    @workflow.defn
    async def outer() -> str:
        try:
            await giving_up()
        except asyncio.CancelledError:
            return "canceled"

    handle = outer.start()

    assert committing.result(handle) == "canceled"
    assert Group.objects.count() == 0
    assert leftovers() == []


def test_atomic_activity_cannot_be_completed_later(committing, path):
    @activity.defn(atomic=True)
    def later() -> None:
        activity.complete_later()

    @workflow.defn
    async def outer() -> str:
        try:
            await later()
        except Exception as error:
            return error.cause.message

    handle = outer.start()

    assert "atomic" in committing.result(handle)
    assert not ActivityTask.objects.exists()


def test_activity_may_be_async_or_atomic_but_not_both(fresh):
    with pytest.raises(InvalidDefinition, match="atomic"):

        @activity.defn(atomic=True)
        async def both() -> None: ...


def test_module_activities_are_registered():
    assert registry.activity("total_of") is total_of
