"""The benchmarks run, whatever they measure."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import options, peers, record
from benchmarks.peers import Peer

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


@pytest.mark.parametrize("peer", peers.PEERS, ids=lambda peer: peer.name)
def test_each_peer_has_a_script_and_workloads_of_ours_and_is_documented(peer):
    section = Path(ROOT / "docs/reference/benchmarks.md").read_text().partition("### Peers")[2].partition("\n## ")[0]

    assert Path(peers.__file__).with_name(f"run_{peer.name}.py").exists()
    assert set(peer.workloads) <= set(options.NAMES)
    assert peer.title in section


def nobody(**more: str) -> Peer:
    return Peer(name="nobody", title="Nobody", packages=("nobody==1",), workloads=("W1",), **more)


def test_a_peer_is_left_out_where_it_cannot_be_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "_HOME", tmp_path)
    monkeypatch.setattr(sys, "executable", shutil.which("false"))

    assert "cannot be installed, perhaps for want of a network: " in peers.install(nobody())


def test_a_peer_is_left_out_where_there_is_no_npm_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "_HOME", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert peers.install(nobody(npm="nobody@1")) == "there is no npm"


def test_a_peer_is_installed_once_for_each_set_of_packages(tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "_HOME", tmp_path)
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    stamp = tmp_path / "nobody" / "installed"
    stamp.parent.mkdir()

    stamp.write_text("nobody==1\n")
    assert peers.install(nobody()) == ""
    stamp.write_text("nobody==2\n")
    assert peers.install(nobody()) != ""


def test_a_peer_that_never_ends_is_given_up(monkeypatch):
    monkeypatch.setattr(peers, "_SECONDS", 0.1)

    with pytest.raises(peers.PeerError, match="not done after"):
        peers._run([shutil.which("sleep"), "60"])


def test_the_record_is_a_line_for_each_workload_with_the_peers_beside_it():
    ours = {
        **{"workload": "W4_latency", "ms_per_step": 12.5, "ratio": 10.0, "commits_per_step": 2.0},
        **{"client_cpu_ms": 4.5, "workers_cpu_ms": 5.0, "database_cpu_ms": 3.0, "wal_bytes_per_step": 7012.0},
        "ranges": {"ms_per_step": [11.0, 13.0], "ratio": [10.0, 10.0]},
    }
    rivals = [
        {"peer": "dbos", "workload": "W4", "beside": "W4_latency", "times_ours": 0.6},
        {"peer": "dbos", "workload": "W4 queue", "beside": "W4_latency", "times_ours": 2.3},
        {"peer": "absurd", "workload": "W1", "beside": "W1_seq10", "times_ours": 1.1},
    ]

    *_, line = record.table([{**ours, "ms_per_step": 99.0}, ours, *rivals]).splitlines()

    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == [
        *("`W4_latency`", "12.5 [11-13]", "80", "10", "DBOS 0.6, DBOS by queue 2.3", "4.5, 5, 3", "2.00", "7,012")
    ]


def test_the_record_of_the_documentation_has_the_columns_that_are_printed():
    head, rule = record.table([]).splitlines()

    assert f"{head}\n{rule}\n" in Path(ROOT / "docs/reference/benchmarks.md").read_text()


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
