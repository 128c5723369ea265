"""What a verb says that it will do is what it does, whatever the history."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from random import Random
from typing import Any

import pytest
from django.db import transaction

from durable import client
from durable.client import Args
from durable.core.errors import DurableError
from durable.engine import cache
from durable.models import Instance
from tests import strolls

PARTS = 5
"""Several tests, so that several processes can share the work."""

FIRST, HISTORIES, VERBS = int(os.environ.get("PREVIEW_SEED", "0")), int(os.environ.get("PREVIEW_HISTORIES", "17")), 18
PAIRS, DONE = 1000, 500
"""How many pairs of a history and a verb there are at least in all parts, and how many of them are not refused."""


@pytest.mark.lenient  # it takes every step twice, which says nothing more here
@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", range(PARTS))
def test_previews_say_what_then_happens(engine, time, settings, part):
    settings.DURABLE = {"RUN_INLINE": False}
    stroll = strolls.define()
    tried: Counter[str] = Counter()

    for seed in range(FIRST + part, FIRST + part + PARTS * HISTORIES, PARTS):
        rng = Random(seed)
        plan = strolls.plan(rng, rng.randint(1, 7))
        with _undone(f"seed {seed}: {plan}"):
            stroll.options(id="listener").start(["signal", "a"])
            handle = stroll.options(id="root").start(plan)
            strolls.drive(handle, time, rng)
            verbs = _verbs()
            for number, verb in enumerate(rng.sample(verbs, min(len(verbs), VERBS))):
                tried[_try(verb, time, to_the_end=number % 8 == 0)] += 1

    assert sum(tried.values()) >= PAIRS / PARTS, tried
    assert sum(times for name, times in tried.items() if "refused" not in name) >= DONE / PARTS, tried
    for name in ("rewind failed", "rewind to", "rerun", "keep", "rerun on 2", "rerun with", "upgrade"):
        assert sum(times for what, times in tried.items() if what.startswith(name)) >= 3, (name, tried)


@contextmanager
def _undone(about: str) -> Iterator[None]:
    """Take back all that the block writes, and forget what it left in memory."""
    point = transaction.savepoint()
    try:
        yield
    except Exception as error:
        error.add_note(about)
        raise
    finally:
        transaction.savepoint_rollback(point)
        cache.clear()


def _verbs() -> list[Any]:
    """Return what can be tried on the instances there are: a name, the instance, and a call that takes ``dry_run``."""
    found: list[Any] = []
    for instance in Instance.objects.exclude(pk="listener").order_by("pk"):
        pk = instance.pk
        found.append(("rewind", pk, partial(client.rewind, pk)))
        found += [("upgrade", pk, partial(client.upgrade, pk, to=to)) for to in (None, 1)]
        for item in client.history(pk):
            if item.kind not in strolls.ASKED:
                continue
            rerun = partial(client.rerun_from_activity, pk, item.event_id)
            found.append(("rewind to", pk, partial(client.rewind, pk, to=item.event_id)))
            found += [("rerun", pk, rerun)]
            if item.kind != "ActivityScheduled":
                continue
            found += [("keep", pk, partial(rerun, siblings="keep"))]
            found.append(("rerun on 2", pk, partial(rerun, version=2)))
            found.append(("rerun with", pk, partial(rerun, input=Args(5), new_instance_id="new")))
        rerun = partial(client.rerun_from_activity, pk)
        found.append(("rerun from nowhere", pk, partial(rerun, instance.head + 1)))
        found.append(("rerun to a taken id", pk, partial(rerun, 0, new_instance_id="listener")))
    return found


def _try(verb: Any, time: Any, *, to_the_end: bool) -> str:
    """Ask for a preview, do it, compare, undo it; return what it was."""
    name, instance_id, call = verb
    time.forward(1)
    before, source, since = strolls.rows(), Instance.objects.get(pk=instance_id), strolls.now()
    preview = call(dry_run=True)
    assert strolls.rows() == before, "a dry run changes nothing"
    strolls.check_json(preview)
    with _undone(f"{name} of {instance_id}"):
        with strolls.watch_beginnings() as begun:
            done, refusal = _done(call)
        assert (type(refusal), str(refusal)) == (type(preview.refusal), str(preview.refusal))
        assert preview.allowed == (refusal is None)
        if refusal is not None:
            assert strolls.rows() == before, "a refusal changes nothing"
            return f"{name} refused: {type(refusal).__name__}"
        new_id = done.id if isinstance(done, client.Handle) else done.instance_id
        if new_id == instance_id and name == "upgrade":
            _upgraded(preview, source)
        else:
            happened = strolls.seen(new_id, source.execution_id, since=since, begun=begun)
            said = strolls.said(preview)
            assert said.settled(happened) == happened, (name, source.status, preview.warnings)
        if to_the_end:
            strolls.finish(new_id, time)
    return f"{name} {source.status}"


def _done(call: Any) -> tuple[Any, DurableError | None]:
    try:
        return call(), None
    except DurableError as error:
        return None, error


def _upgraded(preview: Any, source: Instance) -> None:
    found = Instance.objects.get(pk=source.pk)
    assert (found.execution_id, found.version) == (source.execution_id, preview.version)
    assert found.head == source.head + bool(source.head)
    asked = [i.event_id for i in client.history(source.pk) if i.kind in strolls.ASKED]
    assert [step.event_id for step in preview.kept] == asked
