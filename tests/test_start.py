"""Starting instances, in the caller's transaction."""

from __future__ import annotations

import uuid
from datetime import timedelta
from functools import partial

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import Group
from django.db import transaction

from durable import (
    AlreadyExists,
    InvalidId,
    InvalidInput,
    NotOpen,
    ResultTimeout,
    RetryPolicy,
    UnknownInstance,
    UnknownWorkflow,
    client,
    workflow,
)
from durable.models import Execution, InboxEvent, Instance
from tests.driving import Together, item, kinds


@pytest.fixture
def order(fresh):
    @workflow.defn
    async def order(number: int = 0) -> int:
        return number

    return order


@pytest.fixture
def waiting(fresh):
    @workflow.defn
    async def waiting() -> str:
        return await workflow.wait_signal("go")

    return waiting


def test_start_runs_the_workflow_to_its_result(engine, order):
    handle = order.start(42)

    assert engine.result(handle) == 42
    assert handle.status == "completed"
    assert kinds(handle) == ["ExecutionStarted", "ExecutionCompleted"]


def test_start_by_name_is_start_by_definition(engine, order):
    handle = client.start("order", args=(1,), id="order-1", tags={"customer": 7})
    other = client.start("order", kwargs={"number": 2})

    assert (engine.result(handle), engine.result(other)) == (1, 2)
    assert (handle.id, handle.instance.tags) == ("order-1", {"customer": 7})
    assert handle == client.get("order-1")


def test_start_and_the_callers_writes_are_committed_together(committing, order):
    with transaction.atomic():
        Group.objects.create(name="buyers")
        handle = order.start(1)

    assert Group.objects.filter(name="buyers").exists()
    assert committing.result(handle) == 1


def test_start_is_rolled_back_with_the_callers_writes(committing, order):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        Group.objects.create(name="buyers")
        handle = order.start(1)
        raise ZeroDivisionError

    assert not Group.objects.exists()
    with pytest.raises(UnknownInstance):
        client.get(handle.id)
    assert not (Instance.objects.exists() or Execution.objects.exists() or InboxEvent.objects.exists())


def test_refused_start_leaves_the_callers_transaction_usable(committing, order):
    order.options(id="taken").start()

    with transaction.atomic():
        with pytest.raises(AlreadyExists):
            order.options(id="taken").start()
        Group.objects.create(name="buyers")

    assert Group.objects.filter(name="buyers").exists()


def test_generated_id_is_a_uuid7_so_ids_sort_by_time(engine, order):
    ids = [order.start().id for _ in range(3)]

    assert [uuid.UUID(each).version for each in ids] == [7, 7, 7]
    assert ids == sorted(ids)


@pytest.mark.parametrize("reuse", ["reject", "replace_closed"])
def test_id_of_an_open_instance_is_refused(engine, waiting, reuse):
    waiting.options(id="one").start()
    engine.run_until_quiet()

    with pytest.raises(AlreadyExists) as refused:
        waiting.options(id="one", id_reuse=reuse).start()

    assert (refused.value.instance_id, refused.value.status) == ("one", "running")
    assert Instance.objects.count() == 1


def test_id_of_a_closed_instance_is_refused_by_default(engine, order):
    engine.result(order.options(id="one").start(1))

    with pytest.raises(AlreadyExists) as refused:
        order.options(id="one").start(2)

    assert refused.value.status == "completed"


def test_replace_closed_begins_a_new_execution_and_keeps_the_old_ones(engine, order):
    handle = order.options(id="one").start(1)
    engine.result(handle)
    first = handle.instance.execution_id

    order.options(id="one", id_reuse="replace_closed").start(2)

    assert engine.result(handle) == 2
    assert [e.number for e in handle.instance.executions.order_by("number")] == [1, 2]
    assert handle.history(first)[-1].data["result"] == 1
    assert [i.event_id for i in handle.history()] == [None, None]


def test_return_existing_returns_an_open_instance_as_it_is(engine, waiting):
    handle = waiting.options(id="one").start()
    engine.run_until_quiet()
    before = kinds(handle)

    again = waiting.options(id="one", id_reuse="return_existing", tags={"second": True}).start()

    assert (again, again.instance.tags, kinds(again)) == (handle, {}, before)


def test_return_existing_returns_a_closed_instance_as_it_is(engine, order):
    handle = order.options(id="one").start(1)
    engine.result(handle)

    again = order.options(id="one", id_reuse="return_existing").start(2)

    assert engine.result(again) == 1
    assert again.instance.executions.count() == 1


def test_return_existing_of_another_workflow_is_refused(engine, order, waiting):
    order.options(id="one").start(1)

    with pytest.raises(AlreadyExists):
        waiting.options(id="one", id_reuse="return_existing").start()


def test_two_idempotent_starts_at_once_give_one_instance(committing, order):
    for round_ in range(5):
        start = partial(order.options(id=f"one-{round_}", id_reuse="return_existing").start, 1)

        handles = Together().add(start, times=4).run()

        assert handles == [client.get(f"one-{round_}")] * 4
        assert handles[0].instance.executions.count() == 1


def test_two_starts_with_one_id_at_once_give_one_instance_and_one_error(committing, order):
    for round_ in range(5):
        start = partial(order.options(id=f"one-{round_}").start, 1)

        outcomes = Together().add(start, times=3).run()

        assert sorted(type(each).__name__ for each in outcomes) == ["AlreadyExists", "AlreadyExists", "Handle"]


def test_delayed_instance_is_pending_until_it_is_due(engine, time, order):
    handle = order.options(delay=timedelta(hours=1)).start(1)
    engine.run_until_quiet()
    assert (handle.status, kinds(handle)) == ("pending", [])

    time.forward(3599)
    engine.run_until_quiet()
    assert handle.status == "pending"

    time.forward(2)
    assert engine.result(handle) == 1


def test_unknown_workflow_is_refused_with_near_names(engine, order, waiting):
    with pytest.raises(UnknownWorkflow, match="did you mean order") as refused:
        client.start("ordr")

    assert refused.value.near == ("order",)
    assert not Instance.objects.exists()


def test_start_takes_exactly_the_named_type(engine, order):
    @workflow.defn
    async def order2(number: int) -> str:
        return f"second {number}"

    @workflow.defn
    async def order10(number: int) -> str:
        return f"tenth {number}"

    handles = [client.start(name, (1,)) for name in ("order", "order2", "order10")]

    assert [engine.result(handle) for handle in handles] == [1, "second 1", "tenth 1"]
    assert [(h.instance.name, h.instance.version) for h in handles] == [("order", 0), ("order", 2), ("order", 10)]
    with pytest.raises(UnknownWorkflow):
        client.start("order3", (1,))


@pytest.mark.parametrize("bad", ["x" * 256, "tab\there", "\0", 5])
def test_id_is_1_to_255_printable_characters(engine, order, bad):
    with pytest.raises((InvalidId, InvalidInput)):
        order.options(id=bad).start()

    assert not Instance.objects.exists()


@pytest.mark.parametrize("good", ["x", "x" * 255, "Zoë/№ 5", "a:b c'\"%_\\"])
def test_any_printable_text_is_an_id(engine, order, good):
    assert engine.result(order.options(id=good).start(3)) == 3
    assert client.get(good).status == "completed"


def test_arguments_that_do_not_fit_are_refused_at_the_call(engine, order):
    for args, kwargs, named in [((1, 2), {}, "too many"), ((), {"nmber": 1}, "nmber"), ((object(),), {}, "number")]:
        with pytest.raises(InvalidInput, match=named):
            order.start(*args, **kwargs)

    assert not Instance.objects.exists()


@pytest.mark.parametrize("args", [5, "abc", b"x", None])
def test_arguments_by_name_of_the_workflow_are_a_list(engine, order, args):
    with pytest.raises(InvalidInput, match=r"start\(args\): give a list"):
        client.start("order", args)


def test_function_that_is_no_workflow_is_refused(engine):
    with pytest.raises(InvalidInput, match=r"mark it with @workflow\.defn"):
        client.start(lambda: 1)


@pytest.mark.parametrize("id", [5, None, b"x"])
def test_id_that_is_no_text_is_unknown(engine, id):
    with pytest.raises(UnknownInstance):
        client.get(id)


def test_unknown_option_is_refused(engine, order):
    with pytest.raises(InvalidInput, match="there is no such option"):
        client.start("order", (1,), tag={"a": 1})


def test_signal_with_start_is_there_before_the_first_step(engine, waiting):
    handle = client.start("waiting", signal=("go", "now"))

    assert engine.result(handle) == "now"
    assert kinds(handle) == ["ExecutionStarted", "SignalReceived", "ExecutionCompleted"]


def test_signal_with_start_reaches_an_instance_that_exists(engine, waiting):
    handle = waiting.options(id="one").start()
    engine.run_until_quiet()

    client.start("waiting", id="one", id_reuse="return_existing", signal=("go", "again"))

    assert engine.result(handle) == "again"


def test_signal_with_start_starts_nothing_when_the_signal_is_refused(engine, waiting):
    with pytest.raises(InvalidInput):
        client.start("waiting", id="one", signal=("go", object()))
    with pytest.raises(InvalidInput):
        client.start("waiting", id="two", signal=("", None))

    assert not Instance.objects.exists()


def test_signal_with_start_of_a_closed_instance_is_refused(engine, order):
    engine.result(order.options(id="one").start(1))

    with pytest.raises(NotOpen):
        client.start("order", id="one", id_reuse="return_existing", signal=("go", 1))


def test_start_and_result_work_from_async_code(committing, order):
    async def caller():
        handle = await client.astart("order", (5,), id="async")
        with pytest.raises(ResultTimeout):
            await handle.aresult(timeout=0.01)
        await sync_to_async(committing.run_until_quiet)()
        return await handle.aresult(timeout=1)

    assert async_to_sync(caller)() == 5


def test_options_of_the_definition_are_the_defaults_of_its_instances(engine):
    @workflow.defn(queue="slow", timeout=60, retry=RetryPolicy(max_attempts=2))
    async def configured() -> None: ...

    plain, other = configured.start(), configured.options(queue="fast", timeout=5).start()

    assert (plain.instance.queue, plain.instance.options["timeout"]) == ("slow", 60)
    assert plain.instance.options["retry"]["max_attempts"] == 2
    assert (other.instance.queue, other.instance.options["timeout"]) == ("fast", 5)


def test_started_event_holds_what_the_execution_began_with(engine, order):
    handle = order.options(id="one", tags={"a": 1}, queue="slow").start(3)
    engine.run_until_quiet()

    data = item(handle, "ExecutionStarted").data

    assert data["input"] == {"args": [3], "kwargs": {}}
    assert (data["tags"], data["queue"], data["seed"]) == ({"a": 1}, "slow", str(handle.instance.execution_id))
