"""Version routing: which version a new execution runs, and whose workers say so."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from durable import InvalidInput, RetryPolicy, UnknownWorkflow, activity, checks, client, registry, testing, workflow
from durable.core.definitions import anything, define_workflow
from durable.models import Execution
from durable.testing import run_worker
from tests.driving import cost, forget, item, kinds, register


@pytest.fixture
def versioned(fresh, settings):
    """Turn routing on, with these settings."""

    def versioned(**given: Any) -> None:
        settings.DURABLE = {"VERSIONING": given}

    return versioned


@pytest.fixture
def orders(fresh):
    """Three versions of one workflow, each of which says which it is."""

    @workflow.defn
    async def order(word: str = "") -> str:
        return f"0 {word}"

    @workflow.defn(queue="second")
    async def order2(word: str = "") -> str:
        return f"2 {word}"

    @workflow.defn
    async def order10(word: str = "") -> str:
        return f"10 {word} {workflow.version()}"

    return SimpleNamespace(order=order, order2=order2, order10=order10)


def recorded(handle) -> tuple[int, int, int]:
    """Return the version in the three places where it is recorded."""
    execution = Execution.objects.get(pk=handle.instance.execution_id)
    return handle.instance.version, execution.version, item(handle, "ExecutionStarted").data["version"]


# --- at the start


def test_without_the_setting_exactly_the_named_type_runs(engine, orders):
    assert engine.result(orders.order.start("a")) == "0 a"
    assert engine.result(client.start("order2", ["b"])) == "2 b"
    with pytest.raises(UnknownWorkflow):
        client.start("order7")


@pytest.mark.parametrize("named", ["order", "order2", "order10", "order7"])
def test_with_an_empty_dict_the_latest_version_of_the_name_runs(engine, versioned, orders, named):
    versioned()

    handle = client.start(named, ["a"])

    assert engine.result(handle) == "10 a 10"
    assert recorded(handle) == (10, 10, 10)


def test_start_of_a_definition_is_routed_with_its_options(engine, versioned, orders):
    versioned()

    handle = orders.order2.options(id="mine", tags={"a": 1}).start("a")

    assert engine.result(handle) == "10 a 10"
    assert (handle.id, handle.instance.tags) == ("mine", {"a": 1})
    assert handle.instance.queue == "default", "the queue of the version that runs"


def test_arguments_have_to_fit_the_version_that_runs(engine, versioned, orders):
    versioned()

    @workflow.defn
    async def order11(*, word: str) -> str:
        return word

    with pytest.raises(InvalidInput, match="order11"):
        client.start("order", ["a"])
    assert engine.result(client.start("order", kwargs={"word": "a"})) == "a"


def test_names_are_compared_exactly(engine, versioned, orders):
    versioned(EXCLUDE_TYPES=["Order"])

    @workflow.defn
    async def Order() -> str:  # noqa: N802 - the case is the point
        return "large"

    @workflow.defn
    async def Order99() -> str:  # noqa: N802
        return "larger"

    assert engine.result(client.start("order", ["a"])) == "10 a 10"
    assert engine.result(client.start("Order")) == "large"
    with pytest.raises(UnknownWorkflow):
        client.start("ORDER")


def test_name_that_ends_in_digits_has_versions_of_its_own(engine, versioned):
    @workflow.defn(name="form1040", version=0)
    async def form() -> str:
        return "first"

    @workflow.defn(name="form1040", version=3)
    async def later() -> str:
        return "third"

    @workflow.defn
    async def form2000() -> str:
        return "other"

    versioned()

    assert engine.result(client.start("form1040")) == "third"
    assert engine.result(form.start()) == "third"
    assert engine.result(client.start("form")) == "other"


def test_excluded_type_with_its_number_is_that_version_only(engine, versioned, orders):
    versioned(EXCLUDE_TYPES=["order2"])

    assert engine.result(client.start("order2", ["a"])) == "2 a"
    assert engine.result(client.start("order", ["a"])) == "10 a 10"


def test_excluded_type_without_number_is_every_version(engine, versioned, orders):
    versioned(EXCLUDE_TYPES=["order"])

    assert engine.result(client.start("order", ["a"])) == "0 a"
    assert engine.result(client.start("order2", ["a"])) == "2 a"
    assert recorded(client.start("order10", id="b") and _done(engine, "b")) == (10, 10, 10)
    with pytest.raises(UnknownWorkflow):
        client.start("order7")


def _done(engine, instance_id: str) -> client.Handle:
    engine.result(client.get(instance_id))
    return client.get(instance_id)


def test_routing_costs_no_statement(engine, versioned, orders):
    orders.order.start()
    with cost() as off:
        orders.order10.start()
    versioned()
    with cost() as on:
        orders.order.start()

    assert len(on.statements) == len(off.statements)


# --- when it continues as new


@pytest.fixture
def loops(fresh):
    """A workflow that begins anew upon a signal; its next version is there later."""

    @workflow.defn
    async def loop(round_: int) -> list[Any]:
        await workflow.wait_signal("go")
        if round_ < 2:
            workflow.continue_as_new(round_ + 1)
        return [workflow.version(), round_]

    @workflow.defn
    async def loop2(round_: int) -> list[Any]:
        await workflow.wait_signal("go")
        return [workflow.version(), round_, "new"]

    forget(loop2)
    return SimpleNamespace(loop=loop, loop2=loop2)


def test_instance_that_continues_as_new_goes_on_with_the_latest(engine, path, settings, loops):
    settings.DURABLE = {**settings.DURABLE, "VERSIONING": {}}
    handle = loops.loop.start(0)
    engine.run_until_quiet()
    register(loops.loop2)

    handle.signal("go")
    engine.run_until_quiet()

    assert recorded(handle) == (2, 2, 2)
    first, second = handle.instance.executions.order_by("number")
    assert (first.version, second.version) == (0, 2)
    handle.signal("go")
    assert engine.result(handle) == [2, 1, "new"]


@pytest.mark.parametrize("versioning", [None, {"EXCLUDE_TYPES": ["loop"]}])
def test_instance_whose_type_is_not_routed_continues_as_it_is(engine, settings, loops, versioning):
    settings.DURABLE = {"VERSIONING": versioning}
    handle = loops.loop.start(1)
    engine.run_until_quiet()
    register(loops.loop2)

    handle.signal("go")
    engine.run_until_quiet()
    handle.signal("go")

    assert engine.result(handle) == [0, 2]


@pytest.mark.parametrize("when", ["before", "with it"])
def test_unread_signal_keeps_the_version_that_knows_it(engine, versioned, loops, when):
    versioned()
    handle = loops.loop.start(0)
    engine.run_until_quiet()
    register(loops.loop2)

    if when == "before":
        handle.signal("other")
        engine.run_until_quiet()  # in the history, and carried over
    handle.signal("go")
    if when == "with it":
        handle.signal("other")  # in the inbox still
    engine.run_until_quiet()

    assert recorded(handle) == (0, 0, 0)
    assert len(handle.instance.executions.all()) == 2


def test_signals_that_are_left_behind_do_not_keep_it(engine, versioned):
    @workflow.defn
    async def loop(round_: int) -> None:
        await workflow.wait_signal("go")
        workflow.continue_as_new(round_ + 1, carry_signals=False)

    @workflow.defn
    async def loop2(round_: int) -> int:
        return workflow.version()

    forget(loop2)
    versioned()
    handle = loop.start(0)
    handle.signal("other")
    engine.run_until_quiet()
    register(loop2)
    handle.signal("go")

    assert engine.result(handle) == 2


def test_version_that_cannot_take_the_arguments_is_not_gone_on_with(engine, versioned, loops, caplog):
    versioned()
    handle = loops.loop.start(1)
    engine.run_until_quiet()

    @workflow.defn
    async def loop3(round_: int, more: str) -> None: ...

    handle.signal("go")
    engine.run_until_quiet()
    handle.signal("go")

    assert engine.result(handle) == [0, 2]
    assert "stays on version 0" in caplog.text


def test_attempt_after_a_failure_is_of_the_same_version(engine, versioned):
    """A retry is no new start."""

    @workflow.defn(retry=RetryPolicy(initial_interval=0.001, max_attempts=2))
    async def fragile() -> None:
        await workflow.wait_signal("go")
        raise ValueError("no")

    @workflow.defn
    async def fragile2() -> None: ...

    forget(fragile2)
    versioned()
    handle = fragile.start()
    engine.run_until_quiet()
    register(fragile2)
    handle.signal("go")
    engine.run_until_quiet()

    assert (handle.status, handle.instance.executions.count(), handle.instance.version) == ("running", 2, 0)


# --- children


def test_child_is_routed_and_replay_goes_by_the_record(engine, versioned, orders):
    @workflow.defn
    async def parent() -> list[str]:
        kid = orders.order.start_child("a")
        await workflow.wait_signal("go")
        return [await kid, await orders.order2("b")]

    versioned()
    handle = parent.options(id="p").start()
    engine.run_until_quiet()
    assert item(handle, "ChildScheduled").data["version"] == 10
    assert recorded(client.get("p:0000")) == (10, 10, 10)

    forget(orders.order10)
    engine.restart()
    handle.signal("go")

    assert engine.result(handle) == ["10 a 10", "2 b"]
    assert [i.data["version"] for i in handle.history() if i.kind == "ChildScheduled"] == [10, 2]


def test_excluded_child_and_unknown_child_are_as_they_are_named(engine, versioned, orders):
    @workflow.defn
    async def parent() -> str:
        workflow.child_by_name("elsewhere3").start_child()
        return await orders.order("a")

    versioned(EXCLUDE_TYPES=["order"])
    handle = parent.options(id="p").start()
    engine.run_until_quiet()

    assert handle.result(timeout=0) == "0 a"
    assert [i.data["version"] for i in handle.history() if i.kind == "ChildScheduled"] == [3, 0]


def test_child_whose_name_ends_in_digits_is_found(engine):
    @workflow.defn(name="form1040", version=0)
    async def form() -> str:
        return "done"

    @workflow.defn
    async def parent() -> str:
        return await workflow.child_by_name("form1040")()

    handle = parent.options(id="p").start()

    assert engine.result(handle) == "done"
    child = client.get("p:0000").instance
    assert (child.name, child.version) == ("form1040", 0)


@pytest.mark.parametrize("routed", [False, True])
def test_version_is_not_taken_for_a_workflow_whose_name_ends_in_its_number(engine, versioned, routed):
    @workflow.defn(name="form", version=1041)  # 1040 would read the same, and is refused
    async def form() -> str:
        return "a version"

    @workflow.defn(name="form1040", version=0)
    async def other() -> str:
        return "a name"

    @workflow.defn
    async def parent() -> list[str]:
        return [await form(), await other()]

    if routed:
        versioned()

    assert engine.result(parent.start()) == ["a version", "a name"]
    for definition, result in ((form, "a version"), (other, "a name")):
        handle = definition.start()
        assert engine.result(handle) == result
        assert engine.result(client.restart(handle.id)) == result, "and a restart"


# --- other apps


def test_mapped_type_goes_to_the_apps_queue_and_is_resolved_there(engine, settings, orders):
    settings.DURABLE = {"VERSIONING": {"MAP_MULTI_APP_TYPES": {"invoice": "billing"}}}
    handle = client.start("invoice", ["a"], {"word": "b"}, queue="mine")
    assert (handle.instance.queue, handle.instance.app_id) == ("durable.billing", "billing")
    run_worker(queues=["default", "mine"])
    assert handle.status == "pending"

    @workflow.defn
    async def invoice(*args: str) -> None: ...

    @workflow.defn(timeout=100)
    async def invoice3(number: str, word: str) -> list[Any]:
        return [number, word, workflow.version()]

    settings.DURABLE = {"VERSIONING": {}}
    run_worker(queues=["durable.billing"])

    assert handle.result(timeout=0) == ["a", "b", 3]
    assert recorded(handle) == (3, 3, 3)
    assert handle.instance.options == {"timeout": 100.0}


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [({}, 10), ({"EXCLUDE_TYPES": ["order"]}, 2), (None, 2), ({"MAP_MULTI_APP_TYPES": {"order": "shop"}}, 10)],
)
def test_other_app_resolves_by_its_own_settings(engine, settings, orders, theirs, expected):
    settings.DURABLE = {"VERSIONING": {"MAP_MULTI_APP_TYPES": {"order": "shop"}}}
    handle = client.start("order2")
    assert handle.instance.queue == "durable.shop", "the name without its number stands for all versions"

    settings.DURABLE = {"VERSIONING": theirs}
    run_worker(queues=["durable.shop"])

    assert recorded(handle) == (expected,) * 3


def test_type_that_is_mapped_with_its_number_is_that_one_only(engine, versioned, orders):
    versioned(MAP_MULTI_APP_TYPES={"order2": "shop"})

    assert client.start("order2").instance.queue == "durable.shop"
    assert client.start("order").instance.queue == "default"


def test_exclusion_goes_before_the_map(engine, versioned, orders):
    versioned(EXCLUDE_TYPES=["order2"], MAP_MULTI_APP_TYPES={"order": "shop"})

    assert client.start("order2").instance.queue == "second"
    assert client.start("order").instance.queue == "durable.shop"


def test_instance_of_another_app_stalls_until_that_has_the_code(engine, time, versioned):
    versioned(MAP_MULTI_APP_TYPES={"invoice": "billing"})
    handle = client.start("invoice2")
    versioned()
    engine.run_until_quiet()
    assert (handle.status, handle.instance.stall["reason"]) == ("stalled", "unknown workflow")

    @workflow.defn
    async def invoice4() -> int:
        return workflow.version()

    time.forward(31)

    assert engine.result(handle) == 4
    assert recorded(handle) == (4, 4, 4)


def test_mapped_child_runs_in_the_other_app_and_tells_its_parent(engine, settings):
    @workflow.defn
    async def parent() -> str:
        return await workflow.child_by_name("invoice")("a")

    settings.DURABLE = {"VERSIONING": {"MAP_MULTI_APP_TYPES": {"invoice": "billing"}}}
    handle = parent.options(id="p").start()
    run_worker(queues=["default"])
    child = client.get("p:0000")
    scheduled = item(handle, "ChildScheduled").data
    assert (child.instance.queue, child.instance.app_id, child.status) == ("durable.billing", "billing", "pending")
    assert (scheduled["app_id"], scheduled["version"]) == ("billing", 0)

    @workflow.defn
    async def invoice5(word: str) -> str:
        return f"{word} {workflow.version()}"

    run_worker(queues=["durable.billing"])
    run_worker(queues=["default"])

    assert handle.result(timeout=0) == "a 5"
    assert recorded(child) == (5, 5, 5)


def test_instance_whose_type_is_mapped_by_now_continues_in_the_other_app(engine, path, settings, loops):
    handle = loops.loop.start(0)
    engine.run_until_quiet()
    register(loops.loop2)
    settings.DURABLE = {**settings.DURABLE, "VERSIONING": {"MAP_MULTI_APP_TYPES": {"loop": "loops"}}}

    handle.signal("go")
    run_worker(queues=["default"])
    assert (handle.instance.queue, handle.instance.head, handle.instance.version) == ("durable.loops", 0, 0)

    run_worker(queues=["durable.loops"])
    handle.signal("go")
    run_worker(queues=["durable.loops"])

    assert handle.result(timeout=0) == [2, 1, "new"]
    assert recorded(handle) == (2, 2, 2)


def test_version_chosen_by_an_upgrade_is_not_resolved_again(engine, settings, orders):
    settings.DURABLE = {"VERSIONING": {"MAP_MULTI_APP_TYPES": {"order": "shop"}}}
    handle = client.start("order")
    settings.DURABLE = {"VERSIONING": {}}

    client.upgrade(handle.id, to=2)

    assert engine.result(handle) == "2 "
    assert recorded(handle) == (2, 2, 2)


# --- reruns and rewinds


def test_rerun_and_rewind_keep_the_recorded_version(engine, versioned):
    @activity.defn
    def work() -> None: ...

    @workflow.defn
    async def job() -> int:
        await work()
        return workflow.version()

    forgotten = workflow.defn(name="job2")(job.fn)
    forget(forgotten)
    versioned()
    handle = job.start()
    assert engine.result(handle) == 0
    register(forgotten)

    again = client.rerun_from_activity(handle.id, 0)
    client.rewind(handle.id, to=0)

    assert engine.result(again) == 0
    assert engine.result(handle) == 0
    assert kinds(again)[0] == "ExecutionStarted"
    assert registry.latest("job").version == 2


# --- system checks


def found(settings, versioning: Any, **more: Any) -> list[tuple[str, str, str]]:
    settings.DURABLE = {"QUEUE": "shop", "VERSIONING": versioning, **more}
    return [(message.id, message.msg, message.hint or "") for message in checks.check_settings()]


@pytest.mark.parametrize(
    "good",
    [
        None,
        {},
        {"EXCLUDE_TYPES": []},
        {"EXCLUDE_TYPES": ("order", "order2")},
        {"MAP_MULTI_APP_TYPES": {"invoice": "billing", "invoice7": "old-billing_2.eu"}},
    ],
)
def test_good_settings_pass_the_checks(settings, orders, good):
    assert found(settings, good) == []


@pytest.mark.parametrize(
    ("bad", "said", "hint"),
    [
        ({"exclude_types": []}, "no key 'exclude_types'", "There are: EXCLUDE_TYPES, MAP_MULTI_APP_TYPES"),
        ({"EXCLUDE_TYPES": "order"}, "cannot be 'order'", "Give a list of type names"),
        ({"EXCLUDE_TYPES": {"order": 1}}, "cannot be {'order': 1}", "Give a list of type names"),
        ({"EXCLUDE_TYPES": [["order"]]}, "cannot be [['order']]", "Give a list of type names"),
        ({"EXCLUDE_TYPES": None}, "cannot be None", "Give a list of type names"),
        ({"MAP_MULTI_APP_TYPES": ["order"]}, "cannot be ['order']", "Give a dict"),
        ({"MAP_MULTI_APP_TYPES": {"order": 7}}, "cannot be {'order': 7}", "Give a dict"),
        ({"MAP_MULTI_APP_TYPES": {"order": ""}}, "cannot be {'order': ''}", "Give a dict"),
        ({"MAP_MULTI_APP_TYPES": {"order": "a b"}}, "'a b' cannot be the id of an app", "dash and underscore"),
        ({"MAP_MULTI_APP_TYPES": {"order": "x" * 91}}, "cannot be the id of an app", "1 to 90"),
        ({"EXCLUDE_TYPES": ["order"], "MAP_MULTI_APP_TYPES": {"order": "a"}}, "both excludes 'order'", "Remove one"),
    ],
)
def test_bad_settings_are_errors_with_a_hint(settings, orders, bad, said, hint):
    ((id_, message, given),) = found(settings, bad)

    assert id_ == "durable.E009"
    assert said in message
    assert hint in given


def test_routing_that_is_no_dict_is_an_error(settings):
    assert [id_ for id_, *_ in found(settings, ["order"])] == ["durable.E002"]


@pytest.mark.parametrize(
    ("named", "hint"), [("Order2", "Did you mean order2?"), ("ordr", "Did you mean order"), ("xyz", "Remove it.")]
)
def test_excluded_type_that_there_is_not_is_a_warning(settings, orders, named, hint):
    ((id_, _, given),) = found(settings, {"EXCLUDE_TYPES": [named]})

    assert id_ == "durable.W009"
    assert hint in given


def test_apps_that_share_the_queue_default_are_warned_of(settings):
    ((id_, *_),) = found(settings, {"MAP_MULTI_APP_TYPES": {"invoice": "billing"}}, QUEUE="default")

    assert id_ == "durable.W010"


# --- simulations


@pytest.fixture
def seller(orders):
    @workflow.defn
    async def seller() -> str:
        return await orders.order("a")

    return seller


def test_simulated_child_is_routed(versioned, orders, seller):
    versioned()

    assert testing.simulate(seller).result() == "10 a 10"


def test_simulated_child_that_is_mocked_or_excluded_is_not(versioned, orders, seller):
    versioned()
    simulation = testing.Simulation(seller)
    simulation.mock(orders.order).returns("mocked")
    assert simulation.run().result() == "mocked"

    versioned(EXCLUDE_TYPES=["order"])
    assert testing.simulate(seller).result() == "0 a"


def test_simulated_child_of_another_app_has_to_be_mocked(versioned):
    @workflow.defn
    async def buyer() -> str:
        return await workflow.child_by_name("invoice")()

    versioned(MAP_MULTI_APP_TYPES={"invoice": "billing"})
    with pytest.raises(testing.UnknownCall):
        testing.simulate(buyer)
    simulation = testing.Simulation(buyer)
    simulation.mock(define_workflow(anything, name="invoice")).returns("paid")
    assert simulation.run().result() == "paid"


def test_excluded_version_may_still_be_the_latest(engine, versioned, orders):
    versioned(EXCLUDE_TYPES=["order10"])

    assert engine.result(client.start("order2", ["a"])) == "10 a 10"


def test_other_project_can_look_at_the_result_and_signal(engine, settings):
    settings.DURABLE = {"VERSIONING": {"MAP_MULTI_APP_TYPES": {"invoice": "billing"}}}
    handle = client.start("invoice")
    handle.signal("paid", 7)

    @workflow.defn
    async def invoice2() -> int:
        return await workflow.wait_signal("paid")

    run_worker(queues=["durable.billing"])
    forget(invoice2)

    assert handle.result(timeout=0) == 7


# --- verbs, where the code of a tree is in two projects


@pytest.fixture
def tree(engine, versioned):
    """A parent of this app, which failed because a child of another one did; and the two definitions."""
    versioned(MAP_MULTI_APP_TYPES={"invoice": "billing"})
    up: list[bool] = []

    @activity.defn(retry=RetryPolicy(max_attempts=1))
    def bill() -> str:
        if not up:
            raise ValueError("down")
        return "billed"

    @workflow.defn
    async def invoice() -> str:
        return await bill()

    @workflow.defn
    async def sell() -> str:
        return await invoice.options(id="child")()

    handle = sell.options(id="parent").start()
    engine.run_until_quiet()
    assert (handle.status, client.status("child")) == ("failed", "failed")
    up.append(True)
    return SimpleNamespace(parent=sell, child=invoice)


VERBS: dict[str, Any] = {
    "rewind": client.rewind,
    "upgrade": client.upgrade,
    "rerun": lambda instance_id, **options: client.rerun_from_activity(instance_id, 0, **options),
    "restart": lambda instance_id, **options: client.restart(instance_id, version=0, **options),
}


@pytest.mark.parametrize("verb", VERBS)
def test_verbs_name_the_app_that_has_the_code(engine, tree, verb):
    forget(tree.child)
    before = list(Execution.objects.values())

    with pytest.raises(
        UnknownWorkflow, match=r"belongs to the app 'billing'.* serve the queue 'durable.billing'"
    ) as caught:
        VERBS[verb]("child")
    preview = VERBS[verb]("child", dry_run=True)

    error = caught.value
    assert (error.instance_id, error.app_id, error.queue) == ("child", "billing", "durable.billing")
    assert str(preview.refusal) == str(error)
    assert list(Execution.objects.values()) == before


def test_rewind_of_a_tree_names_the_instance_whose_code_is_elsewhere(engine, tree):
    forget(tree.child)
    with pytest.raises(UnknownWorkflow) as caught:
        client.rewind("parent")
    assert (caught.value.instance_id, caught.value.app_id) == ("child", "billing")
    register(tree.child)

    forget(tree.parent)  # as in the other project
    with pytest.raises(UnknownWorkflow, match="serve the queue 'default'") as caught:
        client.rewind("parent")
    assert (caught.value.instance_id, caught.value.app_id) == ("parent", "")
    assert client.status("parent") == "failed"


def test_tree_in_two_projects_is_rewound_child_first_and_each_where_its_code_is(engine, tree):
    forget(tree.parent)
    assert "rewind parent" in client.rewind("child").advice
    assert engine.result(client.get("child")) == "billed"
    register(tree.parent)

    forget(tree.child)
    client.rewind("parent")

    assert engine.result(client.get("parent")) == "billed"
