"""Start-up: workflows are found in each app, and a broken module stops it with its own traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.once("starts a project with a database of its own")

ROOT = Path(__file__).resolve().parent.parent

SETTINGS = """
SECRET_KEY = "test"
USE_TZ = True
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "durable", "shop"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
"""


@pytest.fixture
def start(tmp_path):
    """Return a function that starts a small project in a process of its own."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "shop_settings.py").write_text(SETTINGS)

    def start(workflows: str, code: str = "") -> subprocess.CompletedProcess[str]:
        (tmp_path / "shop" / "workflows.py").write_text(workflows)
        env = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}", "DJANGO_SETTINGS_MODULE": "shop_settings"}
        script = f"import django; django.setup()\n{code}"
        return subprocess.run(
            [sys.executable, "-c", script],
            env=env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return start


def test_workflows_of_each_app_are_found(start):
    done = start(
        "from durable import workflow\n@workflow.defn\nasync def order2(n: int) -> int: return n\n",
        "from durable import registry; print(registry.workflow_types())",
    )

    assert done.stdout == "['durable.batch', 'order2']\n", done.stderr


def test_broken_workflows_module_stops_start_up_with_its_own_traceback(start):
    done = start("from durable import workflow\n\nimport no_such_module\n")

    assert done.returncode != 0
    assert "ModuleNotFoundError: No module named 'no_such_module'" in done.stderr
    assert 'workflows.py", line 3' in done.stderr


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("@workflow.defn\ndef order(): ...", "InvalidDefinition: order: a workflow must be an async def"),
        (
            "@workflow.defn\nasync def order2(): ...\n@workflow.defn(name='order', version=2)\nasync def other(): ...",
            "DuplicateName: workflow 'order2' is defined twice",
        ),
        ("@workflow.defn(timeout=-1)\nasync def order(): ...", "InvalidInput: order.options(timeout)"),
        ("@activity.defn(colour='red')\ndef charge(): ...", "there is no such option"),
    ],
)
def test_wrong_definition_stops_start_up_and_says_what_is_wrong(start, code, error):
    done = start(f"from durable import activity, workflow\n{code}\n")

    assert done.returncode != 0
    assert error in done.stderr


def test_import_of_the_package_loads_no_models_and_needs_no_settings():
    code = "import sys, durable; print('durable.models' in sys.modules, 'django.apps' in sys.modules)"
    env = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.split()[0] == "False"


def test_opentelemetry_is_not_needed(start):
    done = start(
        "from durable import workflow\n@workflow.defn\nasync def order():\n    with workflow.span('pay'): ...\n",
        "from durable.core.replay import replay; from durable.core.events import ExecutionStarted\n"
        "from durable import registry; import sys\n"
        "started = ExecutionStarted(name='order', input={'args': [], 'kwargs': {}})\n"
        "decision = replay(registry.workflow('order', 0), [], [started])\n"
        "print(decision.outcome, [name for name in sys.modules if name.startswith('opentelemetry')])",
    )

    assert done.stdout == "ExecutionCompleted []\n", done.stderr
