"""Operators in processes of their own: against each other, against workers, and with a database that hangs up."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
from django.db import connection

from durable import client
from durable.models import Execution, Instance, Operation
from tests.acceptance import faults, ledger
from tests.acceptance.app.activities import broken
from tests.acceptance.checks import sound
from tests.acceptance.test_9_verbs import NODES, failed, failed_tree, mend, runs, stored
from tests.acceptance.workers import Ended, Operators, wait_for

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.usefixtures("crew")

DONE, INPUT, UNKNOWN, CONFLICT = 0, 2, 3, 4


def stopped(point: str) -> int:
    """Wait until a process stands still at a point, and return its id."""
    wait_for(lambda: not faults.armed(f"{point}.stop"), f"a process stops at {point}")
    pid = wait_for(lambda: ledger.entries("stopped", point), "it says so")[-1].pid
    wait_for(lambda: _state(pid) == "T", "it stands still")
    return pid


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


def only(ended: Sequence[Ended]) -> tuple[Ended, Ended]:
    """Return the one that was done and the one that was refused."""
    assert [each.code == DONE for each in ended].count(True) == 1, ended
    first, second = ended
    return (first, second) if first.code == DONE else (second, first)


def outcomes(key: str) -> list[str]:
    """Return what the audit says of an instance."""
    return sorted(Operation.objects.filter(instance_id=key).values_list("outcome", flat=True))


@pytest.mark.parametrize("round", range(2))
def test_two_processes_rewind_one_tree(site, key, round):
    handle = failed_tree(key)
    mend(key)

    done, refused = only(Operators(site, *[["durable_rewind", key, "--json", "--actor", "ada"]] * 2).begin().ended())

    assert done.json()[0]["outcome"] == "done"
    assert {child["instance_id"] for child in done.json()[0]["children"]} == {f"{key}:0001", f"{key}:0002"}
    assert (refused.code, refused.json()[0]["error"]) == (CONFLICT, "NotFailed")
    assert handle.result(30)
    for node in NODES:
        sound(f"{key}{node}")
        assert Execution.objects.filter(instance_id=f"{key}{node}").count() == 2
    assert max(runs(key).values()) == 2
    assert outcomes(key) == ["done", "refused"]


def test_processes_rewind_and_cancel_and_terminate_one_tree(site, key):
    handle = failed_tree(key)
    mend(key)
    verbs = ("rewind", "terminate", "cancel", "rewind")

    ended = Operators(site, *([f"durable_{verb}", key, "--json"] for verb in verbs)).begin().ended()

    # Whoever ends it comes after a rewind, or finds it closed.
    codes = {verb: [each.code for each, v in zip(ended, verbs, strict=True) if v == verb] for verb in verbs}
    assert DONE in codes["rewind"], "nobody can end a failed one, so a rewind came first"
    assert {each.code for each in ended} <= {DONE, CONFLICT}
    wait_for(lambda: handle.instance.closed_at is not None, "it has ended")
    rest = Instance.objects.filter(pk__startswith=key, closed_at=None)
    wait_for(lambda: not rest.exists(), "all of it has ended")
    for instance in Instance.objects.filter(pk__startswith=key):
        sound(instance.pk)
    if codes["terminate"] == [DONE]:
        assert handle.status == "terminated" or codes["rewind"] == [DONE, DONE]
    if handle.status == "completed":
        assert handle.result(0) == [0, [0, [0, 1, 2]], [0, [0, 1, 2]], 1]


@pytest.mark.parametrize("round", range(2))
def test_source_is_purged_by_another_process_while_it_is_rerun(site, key, round):
    failed(key)
    mend(key)
    new = f"{key}-new"

    rerun, purged = (
        Operators(site, ["durable_rerun", key, "0", "--new-id", new, "--json"], ["durable_purge", key, "--json"])
        .begin()
        .ended()
    )

    assert (purged.code, purged.json()["instances"]) == (DONE, 1)
    assert not Instance.objects.filter(pk=key).exists()
    if rerun.code == DONE:
        assert rerun.json() == [{"id": key, "outcome": "done", "new_id": new}]
        assert client.get(new).result(30) == [0, 1, 2]
        assert client.get(new).instance.rerun_from == key
        sound(new)
    else:
        assert (rerun.code, rerun.json()[0]["error"]) == (UNKNOWN, "UnknownInstance")
        assert not Instance.objects.filter(pk=new).exists()


@pytest.mark.parametrize(
    ("point", "settings"),
    [
        # In a transaction, which holds the instance.
        ("task-insert.after", {"RUN_INLINE": False}),
        # With a result in its hands, and nothing held but, on SQLite, the whole database.
        ("turn.before", {}),
    ],
    ids=["holding", "inline"],
)
def test_two_processes_upgrade_while_a_worker_is_in_the_middle_of_a_turn(site, launch, key, point, settings):
    launch(queues=[key], concurrency=1, durable=settings).await_ready()
    operators = Operators(site, *[["durable_upgrade", key, "--to", "2", "--json"]] * 2)
    faults.arm(f"{point}.stop", skip=2)
    handle = client.start("acceptance.march1", [key, 8], id=key, queue=key)
    worker = stopped(point)
    seen = handle.history()

    operators.begin()
    time.sleep(0.5)
    if settings:
        assert operators.waiting()
        assert handle.history() == seen, "its turn is not stored, and not undone"
    os.kill(worker, signal.SIGCONT)
    done, refused = only(operators.ended())

    assert done.json()[0]["outcome"] == "done"
    # It had looked before the other one was done, or only afterwards.
    lost, late = (CONFLICT, "ConcurrencyConflict"), (INPUT, "InvalidInput")
    assert (refused.code, refused.json()[0]["error"]) in (lost, late)
    handle.signal("halt")
    assert handle.result(30) == [*range(8), 2]
    assert (handle.instance.version, handle.instance.executions.count()) == (2, 1)
    kinds = [item.kind for item in handle.history()]
    assert kinds.count("ExecutionUpgraded") == 1
    sound(key)
    assert set(runs(key).values()) == {1}
    assert outcomes(key) == ["done", "refused"]


def test_processes_upgrade_many_while_their_turns_run(site, launch, key):
    launch(queues=[key], concurrency=2).await_ready()
    ids = [f"{key}-{number}" for number in range(6)]
    operators = Operators(site, *[["durable_upgrade", *ids, "--to", "2", "--json"]] * 2)
    for each in ids:
        client.start("acceptance.march1", [each, 40], id=each, queue=key)
    wait_for(lambda: ledger.entries("begin", f"{ids[-1]}:"), "they are under way")

    first, second = operators.begin().ended()

    for one, other in zip(first.json(), second.json(), strict=True):
        assert sorted([one["outcome"], other["outcome"]]) == ["done", "refused"]
        handle = client.get(one["id"])
        handle.signal("halt")
        assert handle.result(60) == [*range(40), 2]
        assert [item.kind for item in handle.history()].count("ExecutionUpgraded") == 1
        sound(handle.id)
        assert max(runs(f"{handle.id}:").values()) == 1


def test_results_arrive_while_processes_rewind(site, launch, key):
    launch(pool="threads", queues=[key], concurrency=8).await_ready()
    ids = [f"{key}x{number}" for number in range(6)]
    for each in ids:
        faults.arm(broken(each, 1))
    operators = Operators(site, *[["durable_rewind", *ids, "--json"]] * 2)
    for number, each in enumerate(ids):
        client.start("acceptance.hasty", [each, 1.0 + 0.05 * number], id=each, queue=key)
    wait_for(lambda: Instance.objects.filter(pk__in=ids, status="failed").count() == len(ids), "they have failed")
    faults.disarm()
    # One that failed at once may not have begun the other, which is then dropped.
    began = min(entry.at for each in ids for entry in ledger.entries("begin", f"{each}:0"))
    time.sleep(max(0.0, began + 0.95 - time.clock_gettime(time.CLOCK_MONOTONIC)))

    first, second = operators.begin().ended()

    for one, other in zip(first.json(), second.json(), strict=True):
        assert sorted([one["outcome"], other["outcome"]]) == ["done", "refused"]
        handle = client.get(one["id"])
        assert handle.result(30) == [0, 1]
        sound(handle.id)
        answered = [item.event_id for item in handle.history() if item.kind == "ActivityCompleted"]
        assert sorted(answered) == [0, 1]
        assert runs(f"{handle.id}:")["0"] == 1, "its result counted, before the rewind or after it"


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no connection to cut")
@pytest.mark.parametrize("skip", [0, 2, 4])
def test_connection_cut_in_the_middle_of_a_tree_leaves_it_as_it_was(site, key, skip):
    handle = failed_tree(key)
    before = stored(key)
    mend(key)
    operators = Operators(site, ["durable_rewind", key, "--json"])
    mine = _backends()
    faults.arm("begin.after.stop", skip=skip)
    operators.begin()
    operator = stopped("begin.after")

    (backend,) = {pid for pid, state in _backends().items() if state == "idle in transaction"} - set(mine)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [backend])
    wait_for(lambda: backend not in _backends(), "its connection is cut")
    os.kill(operator, signal.SIGCONT)
    (ended,) = operators.ended()

    assert ended.code == 1
    assert "Traceback" not in ended.err
    assert stored(key) == before
    assert outcomes(key) == ["failed"]
    client.rewind(key)
    assert handle.result(30)
    for node in NODES:
        sound(f"{key}{node}")


def _backends() -> dict[int, str]:
    """Return the database's connections, and what each is at."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pid, state FROM pg_stat_activity WHERE datname = current_database()")
        return dict(cursor.fetchall())
