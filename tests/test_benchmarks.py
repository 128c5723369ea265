"""The benchmarks run, whatever they measure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.once("the benchmarks are told which database")

ROOT = Path(__file__).resolve().parent.parent


def benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    # SQLite, and a broker and a settings module of the benchmarks' own, whatever these tests run on.
    own = {"BROKER_URL", "DATABASE_URL", "DJANGO_SETTINGS_MODULE"}
    env = {name: value for name, value in os.environ.items() if name not in own}
    command = [sys.executable, "-m", "benchmarks", *arguments, "--smoke", "--db", "sqlite"]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=180)


@pytest.mark.parametrize("engine", [[], ["--in-process"]], ids=["celery", "in-process"])
def test_each_workload_gives_a_line_of_json(engine):
    done = benchmarks("W2", *engine)

    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    result = json.loads(line)
    assert result["workload"] == "W2_seq100"
    assert result["ratio"] == pytest.approx(result["ms_per_step"] / result["limit_ms"], rel=0.01)
    assert result["statements_per_step"] >= result["commits_per_step"] > 0
    assert 0 < result["database_share"] < 1
    assert result["ranges"]["ms_per_step"] == [result["ms_per_step"], result["ms_per_step"]]


def test_the_other_workloads_run():
    done = benchmarks("W1x16,W5,W6,W6fan,W7,memory,W8", "--no-count")

    assert done.returncode == 0, done.stderr
    results = {result["workload"]: result for result in map(json.loads, done.stdout.splitlines())}
    assert list(results) == [
        *("W1_conc16", "W5_burst1000x3", "W6_seq10k", "W6_fan10k", "W7_sleep10k", "memory_1000", "W8_tree")
    ]
    assert all(result["ratio"] > 0 and result["per_second"] > 0 for result in results.values())
    assert results["W7_sleep10k"]["lag_p50_ms"] > 0
    assert results["W8_tree"]["workflows_per_second"] > 0
    assert results["W5_burst1000x3"]["enqueue_s"] < results["W5_burst1000x3"]["wall_s"]
    # However long the history is: the instance and its events; SQLite counts the BEGIN as well.
    assert results["W6_seq10k"]["statements_per_step"] * results["W6_seq10k"]["steps"] <= 3
    assert results["W1_conc16"]["workers_cpu_ms"] > 0


def test_a_sweep_over_crews_of_workers_says_what_each_got_done_and_whether_the_database_was_locked():
    done = benchmarks("scale")

    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    result = json.loads(line)
    assert (result["pool"], result["processes"], result["locked"]) == ("threads", 2, 0)
    assert result["per_second"] > 0


def test_what_needs_workers_is_refused_without():
    done = benchmarks("W5", "--in-process")

    assert done.returncode == 2
    assert "W5: not without workers" in done.stderr


def test_a_profile_names_the_functions_that_take_most_time():
    done = benchmarks("W1", "--in-process", "--profile")

    assert done.returncode == 0, done.stderr
    assert "time by owner" in done.stdout
    assert "own time, top 25" in done.stdout
    assert "cumulative time, top 25" in done.stdout


def test_peers_are_refused_without_the_database_that_they_run_on():
    done = benchmarks("W1", "--peers")

    assert done.returncode == 2
    assert "peers run on PostgreSQL only" in done.stderr


def test_the_command_line_knows_each_workload():
    done = benchmarks("W99")

    offered = done.stderr.partition("(there are ")[2].partition(")")[0].split(", ")
    named = Path(ROOT / "docs/reference/benchmarks.md").read_text()
    assert "W8huge" in offered
    assert [name for name in offered if f"| `{name}` |" not in named] == []


def test_an_unknown_workload_is_refused_with_those_that_there_are():
    done = benchmarks("W99")

    assert done.returncode == 2
    assert "no such workload: W99 (there are W1, W1x16" in done.stderr
