"""Updates of instances that are rewound or rerun: what was accepted stays accepted."""

from __future__ import annotations

from typing import Any

import pytest

from durable import ActivityError, RetryPolicy, UpdateFailed, UpdateTimeout, activity, client, workflow
from durable.models import InboxEvent, Update
from tests.driving import answers, kinds


def ask(handle: client.Handle, name: str, *args: Any, id: str) -> None:
    with pytest.raises(UpdateTimeout):
        handle.update(name, *args, update_id=id, timeout=0)


def told(handle: client.Handle, name: str, *, id: str) -> Any:
    return handle.update(name, update_id=id, timeout=0)


@pytest.fixture
def up():
    return {"up": False}


@pytest.fixture
def basket(engine, up):
    @activity.defn(retry=RetryPolicy(max_attempts=1))
    def pay() -> str:
        if not up["up"]:
            raise ConnectionError
        return "paid"

    @activity.defn
    def pack() -> str:
        return "packed"

    @workflow.defn
    async def basket() -> list[Any]:
        items: list[str] = []

        @workflow.update
        def add(item: str) -> int:
            items.append(item)
            return len(items)

        @workflow.update
        async def wrap() -> str:
            await workflow.wait_signal("ribbon")
            return "wrapped"

        await workflow.wait_signal("checkout")
        try:
            await pay()
        except ActivityError:
            await workflow.wait_signal("sorry")
            raise

        @workflow.update
        def late(item: str) -> str:
            items.append(item)
            return "late"

        await pack()
        await workflow.wait_signal("done")
        return items

    return basket


@pytest.fixture
def shopping(engine, basket):
    handle = basket.options(id="b").start()
    engine.run_until_quiet()
    return handle


def fail(engine: Any, handle: client.Handle) -> None:
    handle.signal("checkout")
    engine.run_until_quiet()
    handle.signal("sorry")
    engine.run_until_quiet()
    assert handle.status == "failed"


def test_update_that_was_done_before_the_failure_stays_done(engine, shopping, up):
    ask(shopping, "add", "apple", id="u")
    engine.run_until_quiet()
    fail(engine, shopping)
    up["up"] = True

    client.rewind("b")

    assert told(shopping, "add", id="u") == 1
    assert Update.objects.get().execution_id == shopping.instance.execution_id
    shopping.signal("done")
    assert engine.result(shopping) == ["apple"]
    assert answers(shopping)["UpdateAccepted"] == 1
    assert told(shopping, "add", id="u") == 1


def test_update_that_the_failure_cut_off_goes_on_and_its_caller_can_ask_again(engine, shopping, up):
    ask(shopping, "wrap", id="u")
    fail(engine, shopping)
    with pytest.raises(UpdateFailed, match="ended before"):
        told(shopping, "wrap", id="u")
    up["up"] = True

    client.rewind("b")
    engine.run_until_quiet()

    ask(shopping, "wrap", id="u")
    assert Update.objects.get().state == "accepted"
    shopping.signal("ribbon")
    engine.run_until_quiet()
    assert told(shopping, "wrap", id="u") == "wrapped"
    assert answers(shopping)["UpdateAccepted"] == 1


def test_update_that_came_after_the_failure_still_counts(engine, shopping, up):
    shopping.signal("checkout")
    engine.run_until_quiet()
    ask(shopping, "add", "pear", id="u")
    engine.run_until_quiet()
    shopping.signal("sorry")
    engine.run_until_quiet()
    assert shopping.status == "failed"
    up["up"] = True

    client.rewind("b")
    assert told(shopping, "add", id="u") == 1
    assert kinds(shopping)[3:6] == ["ExecutionRewound", "UpdateAccepted", "UpdateCompleted"]
    shopping.signal("done")

    assert engine.result(shopping) == ["pear"]


def test_update_whose_name_the_code_does_not_know_yet_waits_for_it(engine, shopping, up):
    up["up"] = True
    shopping.signal("checkout")
    engine.run_until_quiet()
    ask(shopping, "late", "plum", id="u")
    engine.run_until_quiet()
    assert told(shopping, "late", id="u") == "late"
    shopping.terminate()

    client.rewind("b", to=0)

    ask(shopping, "late", "plum", id="u")
    engine.run_until_quiet()
    assert told(shopping, "late", id="u") == "late"
    shopping.signal("done")
    assert engine.result(shopping) == ["plum"]


def test_update_whose_outcome_was_forgotten_is_not_run_again(engine, shopping, up):
    ask(shopping, "add", "apple", id="u")
    engine.run_until_quiet()
    fail(engine, shopping)
    Update.objects.all().delete()
    up["up"] = True

    client.rewind("b")

    assert told(shopping, "add", id="u") == 1
    shopping.signal("done")
    assert engine.result(shopping) == ["apple"]


def test_rerun_has_the_updates_before_its_activity_as_its_own(engine, shopping, up):
    ask(shopping, "add", "apple", id="u")
    ask(shopping, "wrap", id="w")
    engine.run_until_quiet()
    fail(engine, shopping)
    up["up"] = True

    rerun = client.rerun_from_activity("b", 0, new_instance_id="b2")
    engine.run_until_quiet()

    assert told(rerun, "add", id="u") == 1
    rerun.signal("ribbon")
    engine.run_until_quiet()
    assert told(rerun, "wrap", id="w") == "wrapped"
    with pytest.raises(UpdateFailed):
        told(shopping, "wrap", id="w")
    ask(rerun, "add", "pear", id="new")
    engine.run_until_quiet()
    rerun.signal("done")
    assert engine.result(rerun) == ["apple", "pear"]


# --- a cancel that came from the parent's end


@pytest.mark.parametrize("seen", [False, True])
def test_cancel_by_the_parents_end_is_withdrawn_if_the_child_has_not_seen_it(engine, up, seen):
    @activity.defn(retry=RetryPolicy(max_attempts=1))
    def pay() -> None:
        if not up["up"]:
            raise ConnectionError

    @workflow.defn
    async def kid() -> str:
        return await workflow.wait_signal("go")

    @workflow.defn
    async def parent() -> str:
        child = kid.options(id="kid", parent_close="cancel").start_child()
        await workflow.wait_signal("next")
        await pay()
        return await child

    handle = parent.options(id="p").start()
    engine.run_until_quiet()
    client.get("kid").suspend()
    handle.signal("next")
    engine.run_until_quiet()
    assert handle.status == "failed"
    if seen:
        client.get("kid").resume()
        engine.run_until_quiet()
        assert client.get("kid").status == "canceled"
    assert InboxEvent.objects.filter(kind="CancelRequested").exists() is not seen
    up["up"] = True

    client.rewind("p")
    client.get("kid").resume()
    engine.run_until_quiet()
    assert client.get("kid").status == "running"
    client.get("kid").signal("go", "here")

    assert engine.result(handle) == "here"


def test_cancel_by_anybody_else_stays(engine, up):
    @activity.defn(retry=RetryPolicy(max_attempts=1))
    def pay() -> None:
        if not up["up"]:
            raise ConnectionError

    @workflow.defn
    async def kid() -> str:
        return await workflow.wait_signal("go")

    @workflow.defn
    async def parent() -> None:
        kid.options(id="kid", parent_close="cancel").start_child()
        await workflow.wait_signal("next")
        await pay()
        await workflow.wait_signal("end")

    handle = parent.options(id="p").start()
    engine.run_until_quiet()
    client.get("kid").suspend()
    client.cancel("kid", reason="of no use")
    handle.signal("next")
    engine.run_until_quiet()
    up["up"] = True

    client.rewind("p")
    client.get("kid").resume()
    engine.run_until_quiet()

    assert client.get("kid").status == "canceled"
