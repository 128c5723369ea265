"""Batches whose workers are killed: each instance is done once, and none is left out."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from durable import client
from durable.models import Execution, Instance
from tests.acceptance import faults, ledger
from tests.acceptance.checks import sound
from tests.acceptance.workers import wait_for

if TYPE_CHECKING:
    from collections.abc import Sequence

COUNT = 120


def failed(key: str, **options: str) -> list[str]:
    """Return the ids of instances that have failed, and would not any more."""
    ids = [f"{key}-{number:03}" for number in range(COUNT)]
    for each in ids:
        client.start("acceptance.need", [key, each], id=each, **options)
    rest = Instance.objects.filter(pk__in=ids).exclude(status="failed")
    wait_for(lambda: not rest.exists(), "all have failed", seconds=60)
    ledger.note("mended", key)
    return ids


def rewound_once(ids: Sequence[str]) -> None:
    """Check that each went on, in a second execution and no third."""
    for each in ids:
        assert client.get(each).result(30) == each
        sound(each)
        kinds = [event.kind for event in client.history(each)]
        assert kinds.count("ExecutionRewound") == 1
    executions = Counter(Execution.objects.filter(instance_id__in=ids).values_list("instance_id", flat=True))
    assert set(executions.values()) == {2}
    # An activity runs at least once: what the killed ones were just doing is done again, and nothing else.
    assert max(ledger.of_the_living("begin", ids[0][:-4]).values()) <= 2


@pytest.mark.usefixtures("crew")
def test_each_is_rewound_once_though_processes_are_killed_half_way(site, key):
    ids = failed(key)

    batch = client.batch("rewind", ids, id=f"{key}-batch", reason="mended", actor="ada")
    kills = 0
    for point in ("commit.before", "commit.after", "run.before", "run.after", "commit.before", "commit.after"):
        faults.arm(point, skip=15)
        wait_for(lambda p=point: not faults.armed(p) or batch.instance.closed_at, f"{point} or the end", seconds=60)
        kills += not faults.armed(point)
        faults.disarm()

    assert kills >= 2, "the batch may end before the others come"
    assert batch.result(90) == {"verb": "rewind", "dry_run": False, "total": COUNT, "done": COUNT}
    report = client.batch_report(batch)
    assert [item.instance_id for item in report.items] == ids
    rewound_once(ids)


def test_goes_on_where_it_stood_when_all_of_its_workers_were_killed(site, launch, key):
    first = launch(queues=[key]).await_ready()
    ids = failed(key, queue=key)
    batch = client.batch("rewind", ids, id=f"{key}-batch", queue=key, concurrency=2)
    wait_for(lambda: client.batch_report(batch, limit=0).counts.get("done", 0) >= 10, "some are done")

    first.kill()
    counts = client.batch_report(batch, limit=0).counts
    assert counts["done"] >= 10
    assert counts["pending"] > 0
    launch(queues=[key])

    assert batch.result(90)["done"] == COUNT
    rewound_once(ids)


def test_is_stopped_half_way_by_the_one_process_that_is_busy_with_it(site, launch, key):
    launch(queues=[key], concurrency=1).await_ready()
    ids = failed(key, queue=key)
    batch = client.batch("rewind", ids, id=f"{key}-batch", queue=key)
    wait_for(lambda: client.batch_report(batch, limit=0).counts.get("done", 0) >= 3, "some are done")

    batch.cancel(reason="not these")
    wait_for(lambda: batch.status == "canceled", "the batch has stopped")

    counts = client.batch_report(batch, limit=0).counts
    assert counts.keys() == {"done", "skipped"}
    assert sum(counts.values()) == COUNT
    assert counts["skipped"] > 25, "it stops where it is, and not at its end"
    again = client.batch_retry(batch)
    assert again.result(60)["done"] == counts["skipped"]
    rewound_once(ids)
