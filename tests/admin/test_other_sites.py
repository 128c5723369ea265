"""A site of one's own, and users who are no ``auth.User``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.once("starts a project with a database of its own")

ROOT = Path(__file__).resolve().parent.parent.parent


def test_a_site_of_its_own_leads_to_its_own_pages_for_any_users():
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.admin.people.settings"}
    command = [sys.executable, "-m", "tests.admin.people.walk"]
    done = subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)

    seen = {where: status for where, status in told["seen"].items() if where != "/"}
    assert {where.split("/")[1] for where in seen} == {"ops"}
    assert set(seen.values()) <= {200, 302}, seen
    assert len([where for where in seen if where.startswith("/ops/durable/instance/it/do/")]) >= 5
    assert told["led"] == "/ops/durable/instance/it/change/"
    assert told["also"] == ["/ops/durable/instance/other/change/", "/ops/durable/instance/?status=open"]
    assert told["owns"] is True
    assert "/ops/durable/instance/definitions/wait/start/" in seen
    assert (told["status"], told["actor"]) == ("terminated", True)
