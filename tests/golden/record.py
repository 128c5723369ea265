"""Records golden histories: ``python -m tests.golden.record [SCENARIO ...]``; without any, those that have none yet."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import django

PLACE = Path(__file__).parent
PATHS = {"in-place": True, "handed-out": False}


def record(scenario: str, path: str) -> list[str]:
    """Let a scenario happen on the database at hand; return the lines of its export."""
    settings = override_settings(DURABLE={"RUN_INLINE": PATHS[path]})
    with defined(), settings, testing.run_worker(queues=["default"]) as worker:
        SCENARIOS[scenario](worker)
        found = transcripts.find(all_executions=True).order_by("created_at", "instance_id", "number")
        return [scrubbed(lines.dumps(transcripts.read(head))) for head in transcripts.heads(found)]


def scrubbed(line: str) -> str:
    """Return a line without tracebacks: they name the folders of a machine, and replay does not look at them."""
    return json.dumps(json.loads(line, object_hook=lambda found: {k: v for k, v in found.items() if k != "traceback"}))


@contextmanager
def defined() -> Iterator[None]:
    """Have the golden workflows and activities registered, and no others."""
    with driving.definitions():
        for definition in (*WORKFLOWS.values(), *ACTIVITIES.values()):
            driving.register(definition)
        yield


def main() -> None:
    """Write a file for each scenario and path; files that are there are left alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", nargs="*", help="without any, all those that have no file yet")
    asked = parser.parse_args().scenario or SCENARIOS
    before = setup_databases(verbosity=0, interactive=False)
    try:
        for scenario in asked:
            for path in PATHS:
                file = PLACE / f"{scenario.rstrip('_')}-{path}.jsonl"
                if file.exists():
                    continue
                with transaction.atomic():
                    file.write_text("".join(f"{line}\n" for line in record(scenario, path)))
                    transaction.set_rollback(True)
    finally:
        teardown_databases(before, verbosity=0)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    django.setup()

from django.db import transaction  # noqa: E402 - models need the apps to be ready
from django.test.utils import override_settings, setup_databases, teardown_databases  # noqa: E402

from durable import testing  # noqa: E402
from durable.core import transcripts as lines  # noqa: E402
from durable.store import transcripts  # noqa: E402
from tests import driving  # noqa: E402
from tests.golden.scenarios import SCENARIOS  # noqa: E402
from tests.golden.workflows import ACTIVITIES, WORKFLOWS  # noqa: E402

if __name__ == "__main__":
    main()
