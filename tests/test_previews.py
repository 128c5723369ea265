"""What a verb says that it will do is what it does, whatever the history."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

import pytest
from django.db import transaction

from durable import client
from durable.client import Args
from durable.core.errors import DurableError
from durable.engine import cache
from durable.models import Execution, Instance
from tests import effects, strolls

PARTS = 5
"""Several tests, so that several processes can share the work."""

FIRST, HISTORIES, VERBS = int(os.environ.get("PREVIEW_SEED", "0")), int(os.environ.get("PREVIEW_HISTORIES", "17")), 18
TOPPED = int(os.environ.get("PREVIEW_TOPPED", "12"))
PAIRS, DONE = 1000, 500
"""How many pairs of a history and a verb there are at least in all parts, and how many of them are not refused."""


EACH = [0, *(pytest.param(part, marks=pytest.mark.once("more of the same")) for part in range(1, PARTS))]


@pytest.mark.lenient  # it takes every step twice, which says nothing more here
@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", EACH)
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


@pytest.mark.lenient
@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", EACH)
def test_previews_of_verbs_on_top_of_verbs_say_what_then_happens(engine, time, settings, part):
    settings.DURABLE = {"RUN_INLINE": False}
    stroll = strolls.define()
    tried: Counter[str] = Counter()

    for seed in range(FIRST + part, FIRST + part + PARTS * TOPPED, PARTS):
        rng = Random(seed)
        plan = strolls.plan(rng, rng.randint(2, 6))
        with _undone(f"seed {seed}: {plan}"):
            stroll.options(id="listener").start(["signal", "a"])
            handle = stroll.options(id="root").start(plan)
            strolls.drive(handle, time, rng, halting=True)
            before = [_do_one(rng, time) for _ in range(rng.randint(0, 3))]
            with _noted(before):
                edits, others = _verbs(), _other_verbs()
                for name in sorted({verb[0] for verb in others}):
                    chosen = [verb for verb in others if verb[0] == name]
                    for verb in rng.sample(chosen, min(len(chosen), 2)):
                        tried[_try(verb, time, to_the_end=False)] += 1
                for verb in rng.sample(edits, min(len(edits), 4)):
                    tried[_try(verb, time, to_the_end=rng.random() < 0.2)] += 1

    done = Counter({what: times for what, times in tried.items() if "refused" not in what})
    for name in ("cancel", "terminate", "suspend", "resume", "purge", "purge by force", "restart", "restore"):
        assert sum(times for what, times in done.items() if what.startswith(f"{name} ")) >= 2, (name, tried)


@contextmanager
def _noted(about: list[str]) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        error.add_note(f"after {about}")
        raise


def _do_one(rng: Random, time: Any) -> str:
    """Do a verb that is not refused, and let something happen; return what it was."""
    verbs = [*_verbs(), *(verb for verb in _other_verbs() if "purge" not in verb[0])]
    names = sorted({verb[0] for verb in verbs})
    order = rng.sample(names, len(names))
    if rng.random() < 0.5:  # else there is seldom something to take back
        order.sort(key=lambda name: not name.startswith("rewind"))
    for name in order:
        verb = rng.choice([verb for verb in verbs if verb[0] == name])
        time.forward(1)
        done, refusal = _done(verb[2])
        if refusal is None:
            new_id = getattr(done, "id", None) or getattr(done, "instance_id", verb[1])
            strolls.drive(client.get(new_id), time, rng, steps=rng.randint(0, 8), halting=True)
            return f"{name} of {verb[1]}"
    return "nothing"


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


def _other_verbs() -> list[Any]:
    """Return the same of verbs that edit no history."""
    found: list[Any] = []
    for pk, current in Instance.objects.order_by("pk").values_list("pk", "execution_id"):
        found += [(name, pk, partial(call, pk, **options)) for name, (call, options) in _OTHERS.items()]
        executions = Execution.objects.filter(instance=pk).exclude(pk=current).order_by("number")
        found += [
            ("restore", pk, partial(client.restore, pk, each)) for each in executions.values_list("pk", flat=True)
        ]
        found.append(("restore the current", pk, partial(client.restore, pk, current)))
    return found


_OTHERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "cancel": (client.cancel, {}),
    "terminate": (client.terminate, {}),
    "suspend": (client.suspend, {}),
    "suspend with children": (client.suspend, {"children": True}),
    "resume": (client.resume, {}),
    "resume with children": (client.resume, {"children": True}),
    "purge": (client.purge, {}),
    "purge alone": (client.purge, {"keep_children": True}),
    "purge by force": (client.purge, {"force": True}),
    "purge alone by force": (client.purge, {"force": True, "keep_children": True}),
    "restart": (client.restart, {"new_instance_id": "new"}),
    "restart in place": (client.restart, {"id_reuse": "replace_closed", "version": 2}),
    "restart open": (client.restart, {"new_instance_id": "new", "terminate_first": True}),
    "restart open in place": (client.restart, {"id_reuse": "replace_closed", "terminate_first": True}),
    "restart as another": (client.restart, {"new_instance_id": "listener", "id_reuse": "replace_closed"}),
}


def _check(preview: Any, done: Any, before: dict[str, effects.State], counts: tuple[int, int, int]) -> None:
    match preview.verb:
        case "purge":
            effects.check_purge(preview, before, counts, done)
        case "restart":
            effects.check_restart(preview, before, done.id)
        case "restore":
            effects.check_restore(preview, before)
        case _:
            assert effects.states() == effects.foretold(preview, before)


def _try(verb: Any, time: Any, *, to_the_end: bool) -> str:
    """Ask for a preview, do it, compare, undo it; return what it was."""
    name, instance_id, call = verb
    time.forward(1)
    before, source, since = strolls.rows(), Instance.objects.get(pk=instance_id), strolls.now()
    states, counts = effects.states(), effects.counts()
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
        if name.split()[0] not in ("rewind", "upgrade", "rerun", "keep"):
            _check(preview, done, states, counts)
            return f"{name} {source.status}"
        new_id = done.id if isinstance(done, client.Handle) else done.instance_id
        if new_id == instance_id and name == "upgrade":
            _upgraded(preview, source)
        else:
            happened = strolls.seen(new_id, source.execution_id, since=since, begun=begun)
            said = strolls.said(preview)
            if effects.check_end(preview, new_id):  # no signal makes a difference any more
                happened = replace(happened, signals_dropped=said.signals_dropped)
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
    items = client.history(source.pk)
    asked = [i.event_id for i in items[: source.head] if i.kind in strolls.ASKED]
    assert [step.event_id for step in preview.kept] == asked
    new = [i for i in items[source.head :] if i.kind != "ExecutionUpgraded"]
    at_once = [warning.removeprefix("goes on at once: ") for warning in preview.warnings]
    assert bool(new) <= bool(at_once)
    assert {text for text in at_once if "Cancel" not in text} <= {
        f"{i.kind}({i.name if i.event_id is None else i.name or i.event_id})"
        if i.name or i.event_id is not None
        else i.kind
        for i in new
    }
