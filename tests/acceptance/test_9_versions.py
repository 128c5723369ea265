"""Two projects with code of their own on one database and one broker, and workers that lack a version."""

from __future__ import annotations

import pytest

from durable import client
from durable.models import Execution
from tests.acceptance.checks import sound
from tests.acceptance.workers import wait_for

pytestmark = pytest.mark.once("which code there is does not depend on the database")


def of(project: str) -> dict[str, str]:
    """Return the environment that makes a process one of this project's."""
    return {"DJANGO_SETTINGS_MODULE": f"tests.acceptance.settings_{project}"}


@pytest.fixture(scope="module")
def projects(acceptance_site):
    """A worker of each, on its own queue."""
    workers = [acceptance_site.launch(queues=[f"durable.{name}"], **of(name)) for name in ("shop", "billing")]
    for worker in workers:
        worker.await_ready()
    yield
    for worker in workers:
        worker.kill()


OFTEN = {"REDISPATCH": 0.5}
"""Stalled instances are tried again often: workers of both kinds take turns, and luck decides who gets the next."""


def begun(site, project: str, workflow: str, key: str, *args, **options) -> client.Handle:
    """Have a process of a project start an instance."""
    assert site.client(workflow, key, args, **options, **of(project)) == 0
    return client.get(key)


def recorded(handle: client.Handle) -> tuple:
    """Return where an instance runs, and the version in the three places where it is recorded."""
    instance = handle.instance
    execution = Execution.objects.get(pk=instance.execution_id)
    return instance.queue, instance.version, execution.version, handle.history()[0].data["version"]


def test_each_project_resolves_its_own_types_and_asks_the_other_for_the_others(site, projects, key):
    handle = begun(site, "shop", "sale", key)

    assert handle.result(20) == ["sale 2 by shop", "invoice 3 by billing"]
    child = client.get(f"{key}:0000")
    assert recorded(handle) == ("durable.shop", 2, 2, 2)
    assert recorded(child) == ("durable.billing", 3, 3, 3)
    assert (handle.instance.app_id, child.instance.app_id) == ("", "billing")
    sound(handle.id)
    sound(child.id)


def test_child_goes_to_the_other_project_and_its_child_comes_back(site, projects, key):
    handle = begun(site, "billing", "reminder", key)
    wait_for(lambda: handle.status == "running", "it waits")
    handle.signal("go")

    assert handle.result(20) == ["reminder 2 by billing", "sale 2 by shop", "invoice 3 by billing"]
    assert recorded(client.get(f"{key}:0001")) == ("durable.shop", 2, 2, 2)


def test_other_project_goes_by_its_own_exclusions(site, projects, key):
    handle = begun(site, "shop", "ledger", key)

    assert handle.result(20) == ["ledger 0 by billing"]
    assert recorded(handle) == ("durable.billing", 0, 0, 0)


def test_instance_whose_version_no_worker_has_stalls_and_goes_on_when_one_has(site, launch, key):
    """Nobody helps, and the worker that lacks the version goes on taking messages."""
    here = {"queues": [f"durable.{key}"], "durable": OFTEN, **of("billing")}
    launch(**here, ACCEPTANCE_WITHOUT="invoice3").await_ready()
    handle = begun(site, "billing", "invoice", key, durable={"QUEUE": f"durable.{key}"})
    wait_for(lambda: handle.status == "stalled", "it is stalled")
    stall = handle.instance.stall
    assert (stall["reason"], stall["name"], stall["version"]) == ("version not available", "invoice", 3)

    launch(**here).await_ready()

    assert handle.result(20) == ["invoice 3 by billing"]
    assert recorded(handle) == (f"durable.{key}", 3, 3, 3)
    assert handle.instance.stall is None
    sound(handle.id)


def test_instance_that_an_old_worker_meets_halfway_goes_on_when_a_new_one_comes(site, projects, launch, key):
    """A deploy that is rolled back, and then forward again."""
    here = {"queues": [f"durable.{key}"], "durable": OFTEN, **of("billing")}
    first = launch(**here).await_ready()
    handle = begun(site, "billing", "reminder", key, durable={"QUEUE": f"durable.{key}"})
    wait_for(lambda: handle.status == "running", "it waits")
    first.stop()
    launch(**here, ACCEPTANCE_WITHOUT="reminder2").await_ready()
    handle.signal("go")
    wait_for(lambda: handle.status == "stalled", "it is stalled")

    launch(**here).await_ready()

    assert handle.result(20) == ["reminder 2 by billing", "sale 2 by shop", "invoice 3 by billing"]
    sound(handle.id)


def test_instance_that_continues_as_new_goes_on_with_the_version_that_was_deployed_meanwhile(site, launch, key):
    here = {"queues": [f"durable.{key}"], **of("billing")}
    before = {"ACCEPTANCE_WITHOUT": "watch2"}
    old = launch(**here, **before).await_ready()
    handle = begun(site, "billing", "watch", key, 0, durable={"QUEUE": f"durable.{key}"}, **before)
    handle.signal("go")
    wait_for(lambda: handle.instance.executions.count() == 2 and handle.instance.head, "it began anew")
    assert recorded(handle)[1:] == (1, 1, 1)
    old.stop()
    launch(**here).await_ready()

    handle.signal("go")

    assert handle.result(20) == ["watch 2 by billing, round 2"]
    assert recorded(handle)[1:] == (2, 2, 2)
    sound(handle.id)
