"""What one Python records, another one replays: for each other Python that is found, with msgspec in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import pytest

from tests.pythons.workflows import WORKFLOWS

ROOT = Path(__file__).resolve().parent.parent
NAMES = [f"python3.{minor}" for minor in range(11, 16)]
CHANGED = {"waits_for"}
"""What asyncio itself does in another order from Python 3.12 on; the error says so."""


def version_of(python: str) -> tuple[int, int] | None:
    """Return the version of a Python that the core runs on; None if it does not."""
    code = "import msgspec, sys; print(*sys.version_info[:2])"
    asked = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    major, minor = asked.stdout.split() if asked.returncode == 0 else ("0", "0")
    return (int(major), int(minor)) if asked.returncode == 0 else None


def found() -> dict[tuple[int, int], str]:
    """Return the Pythons by version: this one, those that PYTHONS names, and those on the PATH."""
    given = [*os.environ.get("PYTHONS", "").split(), *(path for name in NAMES if (path := shutil.which(name)))]
    others = {version: python for python in reversed(given) if (version := version_of(python)) is not None}
    return {**others, sys.version_info[:2]: sys.executable}


def play(python: str, verb: str, file: Path) -> str:
    """Record or replay with a Python of the project's core and nothing else."""
    command = [python, "-m", "tests.pythons.play", verb, str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_histories_of_one_python_are_replayed_by_another(tmp_path):
    pythons = found()
    if len(pythons) == 1:
        pytest.skip("there is one Python only: make test-pythons")
    files = {version: tmp_path / f"{'.'.join(map(str, version))}.json" for version in pythons}
    for version, python in pythons.items():
        play(python, "record", files[version])

    for recorded, replayed in permutations(pythons, 2):
        came = json.loads(play(pythons[replayed], "replay", files[recorded]))
        differ = CHANGED if (recorded < (3, 12)) != (replayed < (3, 12)) else set()

        assert {name for name, _ in came} == set(WORKFLOWS)
        assert {name for name, problem in came if problem} == differ, (recorded, replayed, came)
        began = f"It began on Python {'.'.join(map(str, recorded))} and this is {'.'.join(map(str, replayed))}"
        assert all(began in problem for _, problem in came if problem)


def test_this_python_replays_what_it_recorded(tmp_path):
    play(sys.executable, "record", tmp_path / "own.json")

    came = json.loads(play(sys.executable, "replay", tmp_path / "own.json"))

    assert came == [[name, ""] for name in WORKFLOWS for _ in range(2)]
