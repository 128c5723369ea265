"""What happens to the golden workflows while their histories are recorded: one function for each file."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from unittest import mock

from durable import client
from durable.client import batches
from durable.errors import UpdateTimeout
from durable.testing import Worker
from tests.golden.workflows import BROKEN, WORKFLOWS

Scenario = Callable[[Worker], None]
SCENARIOS: dict[str, Scenario] = {}

_start = {name: definition.options(id=f"golden-{name}").start for name, definition in WORKFLOWS.items()}


def scenario(run: Scenario) -> Scenario:
    """Add a scenario under its name, which becomes that of the file."""
    SCENARIOS[run.__name__] = run
    return run


@scenario
def attempts(worker: Worker) -> None:
    _start["attempts"](2)
    worker.advance(120)


@scenario
def several(worker: Worker) -> None:
    _start["several"]()
    worker.advance(60)


@scenario
def waits(worker: Worker) -> None:
    handle = _start["waits"]()
    worker.advance(120)
    handle.signal("soon", {"b": 1, "a": 2})
    worker.advance(60)


@scenario
def family(worker: Worker) -> None:
    handle = _start["family"]()
    worker.run()
    handle.signal("stop")
    worker.run()


@scenario
def inbox(worker: Worker) -> None:
    handle = _start["inbox"]()
    for name, payload in (("item", 1), ("extra", "x"), ("item", 2), ("left over", "kept")):
        handle.signal(name, payload)
    worker.run()
    handle.signal("item", 3)
    worker.restart()
    worker.run()
    handle.signal("item", 4)
    worker.run()


@scenario
def marks(worker: Worker) -> None:
    client.start(WORKFLOWS["marks"], [7], id="golden-marks", tags={"old": 1})
    worker.run()


@scenario
def canceled(worker: Worker) -> None:
    for clean in (True, False):
        handle = WORKFLOWS["stops"].options(id=f"golden-stops-{clean}").start(clean)
        worker.run()
        handle.cancel(reason="no more")
        worker.run()


@scenario
def terminated(worker: Worker) -> None:
    handle = _start["several"]()
    worker.run()
    handle.terminate(reason="enough")
    worker.run()


@scenario
def suspended(worker: Worker) -> None:
    handle = _start["waits"]()
    worker.run()
    handle.suspend(reason="maintenance")
    worker.advance(120)
    handle.signal("soon", 1)
    handle.resume(reason="done")
    worker.advance(120)


@scenario
def woken(worker: Worker) -> None:
    handle = _start["woken"]()
    worker.run()
    handle.suspend()
    worker.advance(120)
    handle.resume()
    worker.run()


@scenario
def undone(worker: Worker) -> None:
    _start["undone"]()
    worker.run()


@scenario
def again(worker: Worker) -> None:
    _start["again"]()
    worker.advance(60)


@scenario
def out_of_time(worker: Worker) -> None:
    WORKFLOWS["stops"].options(id="golden-late", timeout=60).start(clean=True)
    worker.advance(120)


@scenario
def versioned(worker: Worker) -> None:
    _start["versioned3"](False, wait=2.5)
    worker.advance(10)


@scenario
def mended(worker: Worker) -> None:
    """Fail, be rewound, and be run again from a step."""
    BROKEN.append("the service is down")
    try:
        handle = _start["mended"]()
        worker.run()
    finally:
        BROKEN.clear()
    client.rewind(handle.id, reason="the service is up", actor="Ada")
    handle.signal("go", 1)
    worker.run()
    copy = client.rerun_from_activity(handle.id, 3, new_instance_id="golden-copy", reason="once more", actor="Ada")
    copy.signal("go", 2)
    worker.run()


@scenario
def changed(worker: Worker) -> None:
    handle = _start["changed"]()
    worker.run()
    calls = [("add", "a"), ("add", ""), ("fail",), ("wait",), ("add", "b"), ("let_go",)]
    for number, (name, *args) in enumerate(calls):
        with suppress(UpdateTimeout):  # whoever would wait for the answer, would wait for this very thread
            handle.update(name, *args, update_id=f"update-{number}", timeout=0)
        worker.run()


@scenario
def upgraded(worker: Worker) -> None:
    """Go on with another version, which does more from there on."""
    handle = _start["grown1"]()
    worker.run()
    handle.upgrade(reason="version 2 does more", actor="Ada")
    worker.run()
    handle.signal("go", 1)
    worker.advance(10)


@scenario
def batched(worker: Worker) -> None:
    """Do a verb to ids, page by page and in more than one execution, to what a filter chooses, and until a cancel."""
    pages = mock.patch.multiple(batches, PAGE=2, PAGES=2)
    with pages:
        client.batch("cancel", ["a", "b", "c", "d", "e"], id="golden-batch", reason="why", actor="Ada")
        client.batch("cancel", {"name": "nothing"}, id="golden-batch-filter", dry_run=True)
        client.batch("cancel", ["a", "golden-batch-stopped", "b"], id="golden-batch-stopped", concurrency=1)
    worker.run()


@scenario
def open_(worker: Worker) -> None:
    """Leave instances where they wait, as a deploy finds them."""
    _start["several"]()
    _start["inbox"](1)
    _start["stops"](clean=False)
    _start["family"]()
    worker.run()
