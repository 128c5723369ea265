"""The fixtures, in tests of a project of its own that finds them as an installed plugin."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.once("runs the tests of a project with a database of its own")

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[2]

SETTINGS = """
INSTALLED_APPS = ["django.contrib.contenttypes", "durable", "shop"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
SECRET_KEY = "secret"
USE_TZ = True
"""

WORKFLOWS = """
import asyncio

from durable import activity, workflow


@activity.defn
def charge(amount: int) -> str:
    return f"receipt {activity.info().attempt}"


@workflow.defn
async def order(amount: int) -> str:
    await asyncio.sleep(3600)
    return await charge(amount)
"""


@pytest.fixture
def project(pytester, monkeypatch):
    """A Django project with one app, which has the package installed as pip would."""
    (entry_points,) = [tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]]
    lines = [line for group, names in entry_points.items() for line in (f"[{group}]", *map(" = ".join, names.items()))]
    info = pytester.mkdir("site") / "django_durable_workflows-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: django-durable-workflows\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join(lines))
    pytester.makepyfile(settings=SETTINGS)
    pytester.makepyfile(**{"shop/__init__": "", "shop/workflows": WORKFLOWS})
    pytester.makeini("[pytest]\npythonpath = .\nDJANGO_SETTINGS_MODULE = settings\n")
    for name in ("DJANGO_SETTINGS_MODULE", "PYTEST_ADDOPTS", "PYTEST_PLUGINS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", f"{info.parent}:{ROOT}")
    return pytester


def run(project, test):
    """Run the tests of a module in a process of their own."""
    project.makepyfile(test_order=test)
    return project.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:randomly", "-q")


def test_fixtures_are_found_and_work(project):
    result = run(
        project,
        """
        from datetime import timedelta
        from django.utils import timezone
        from durable.models import Instance
        from durable.store import clock
        from shop.workflows import charge, order

        def test_simulation(durable_simulation):
            simulation = durable_simulation(order, id="order-1")
            simulation.mock(charge, 5).returns("mocked")
            assert simulation.id == "order-1"
            assert simulation.run(5).result() == "mocked"

        def test_worker(durable_worker):
            handle = order.start(5)
            durable_worker.advance(3600)
            assert durable_worker.result(handle) == "receipt 1"
            assert clock.now() - timezone.now() > timedelta(minutes=59)

        def test_worker_left_nothing(db):
            assert not Instance.objects.exists()
            assert clock.now() - timezone.now() < timedelta(minutes=1)

        def test_activity(durable_activity):
            assert durable_activity.run(charge, 5) == "receipt 1"
        """,
    )

    result.assert_outcomes(passed=4)


def test_what_a_simulation_expects_must_have_come_unless_the_test_failed(project):
    result = run(
        project,
        """
        from shop.workflows import charge, order

        def test_forgets(durable_simulation):
            used, unused = durable_simulation(order), durable_simulation(order)
            for simulation in (used, unused):
                simulation.mock(charge).returns("mocked")
            used.run(5)

        def test_fails(durable_simulation):
            durable_simulation(order).mock(charge).returns("mocked")
            assert False
        """,
    )

    result.assert_outcomes(passed=1, errors=1, failed=1)
    result.stdout.fnmatch_lines(["*ExpectationFailed: not as announced:", "*mock(charge) at *"])


def test_the_plugin_loads_no_more_than_it_must():
    """Else Django's apps would be asked for before they are ready, and coverage would begin too late."""
    code = "import sys, durable.pytest_plugin; print(*(name for name in sys.modules if name.startswith('durable.')))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert {name.split(".")[1] for name in loaded.stdout.split()} == {"core", "pytest_plugin"}
    assert "durable.core.execution" not in loaded.stdout
