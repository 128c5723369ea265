"""``manage.py`` in a process of its own, whose command begins when a test says so; a fault may strike."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import django
from django.core.management import execute_from_command_line

django.setup()

from tests.acceptance import faults, ledger  # noqa: E402

if __name__ == "__main__":
    faults.install()
    go, *command = sys.argv[1:]
    ledger.note("ready", go)
    while not Path(go).exists():
        time.sleep(0.001)
    execute_from_command_line(["manage.py", *command])
