"""The plugin, run by flake8 itself."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from durable.analyzer.flake8 import Plugin

ROOT = Path(__file__).resolve().parent.parent.parent
CODE = """\
import time

from durable import workflow


@workflow.defn
async def order():
    time.sleep(1)
    time.time()  # noqa: DUR002
    time.time()  # durable: ignore[DUR002]
    print(time.monotonic())
"""
# As a checkout has no entry points of its own.
CONFIG = f"""\
[flake8]
max-line-length = 120

[flake8:local-plugins]
extension = DUR = durable.analyzer.flake8:Plugin
paths = {ROOT}
"""


@pytest.fixture
def flake8(tmp_path):
    """Return a function that runs flake8 on a file without a settings module: nothing is imported."""
    (tmp_path / ".flake8").write_text(CONFIG)

    def flake8(text: str, *options: str) -> tuple[int, list[str]]:
        (tmp_path / "flows.py").write_text(text)
        command = [sys.executable, "-m", "flake8", *options, "flows.py"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env={}, timeout=60)
        assert done.stderr == ""
        return done.returncode, done.stdout.splitlines()

    return flake8


def test_flake8_reports_rules(flake8):
    code, lines = flake8(CODE)

    assert code == 1
    assert lines == [
        "flows.py:8:5: DUR001 time.sleep() blocks the worker and is not recorded. "
        "Use await asyncio.sleep(...), which is a durable timer in a workflow.",
        "flows.py:11:5: DUR020 print() says it again on every replay. "
        "Use workflow.logger: it is silent on replay, and carries the instance's id.",
        "flows.py:11:11: DUR002 time.monotonic() reads the clock, and a replay reads another time. "
        "Use workflow.time(), which replay repeats.",
    ]


def test_flake8_selects_rules(flake8):
    assert flake8(CODE, "--extend-ignore=DUR001,DUR020")[1][0].startswith("flows.py:11:11: DUR002")
    assert flake8(CODE, "--extend-ignore=DUR") == (0, [])


def test_the_package_announces_the_plugin():
    announced = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["flake8.extension"]

    assert announced == {"DUR": f"{Plugin.__module__}:{Plugin.__qualname__}"}
