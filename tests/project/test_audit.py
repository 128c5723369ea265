"""The audit finds what is wrong with installed files, and says it once."""

from __future__ import annotations

import pytest

from durable.core.replay import replay
from project.audit import record
from project.audit.activities import begin_audit, finish_audit, hash_files, list_packages, store_package
from project.audit.models import Audit, Distribution, Finding
from project.audit.record import Package, Problem, Verified
from project.audit.workflows import FILES_AT_ONCE, audit_environment, audit_package
from project.demo import planted
from tests.core.histories import STARTED, completed, scheduled, started

from .asked import activities, children

PACKAGE = {"name": "demo", "version": "1.0", "files": 3 * FILES_AT_ONCE}
NOTHING = {"verified": 0, "unhashed": 0, "size": 0, "problems": []}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The planted package, installed."""
    planted.plant(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return next(each for each in record.packages() if each.name == planted.NAME)


# --- workflows


def test_audit_begins_by_storing_itself_and_listing_packages():
    first = replay(audit_environment, [], [STARTED])
    second = replay(audit_environment, [STARTED, scheduled(0, "begin_audit", "")], [completed(0, 7)])

    assert activities(first) == [("begin_audit", "")]
    assert activities(second) == [("list_packages",)]


def test_only_so_many_packages_are_audited_at_once():
    begun = [started(2), scheduled(0, "begin_audit", ""), completed(0, 7), scheduled(1, "list_packages")]
    packages = [{**PACKAGE, "name": name} for name in ("a", "b", "c")]

    decision = replay(audit_environment, begun, [completed(1, packages)])

    assert children(decision) == ["/a", "/b"]
    assert decision.progress == {"done": 0, "total": 9 * FILES_AT_ONCE, "note": ""}


def test_a_package_is_hashed_in_chunks_and_stored_when_all_are_there():
    chunks = [scheduled(n, "hash_files", "demo", n * FILES_AT_ONCE, (n + 1) * FILES_AT_ONCE) for n in range(3)]
    history = [started(7, PACKAGE), *chunks, completed(2, NOTHING), completed(0, NOTHING)]

    begun = replay(audit_package, [], [started(7, PACKAGE)])
    last = replay(audit_package, history, [completed(1, {**NOTHING, "verified": 5})])

    assert begun.commands == tuple(chunks)
    assert activities(last) == [("store_package", 7, PACKAGE, {**NOTHING, "verified": 5})]


def test_an_audit_leads_to_a_report(engine, package, monkeypatch):
    monkeypatch.setattr(record, "packages", lambda: [package])

    handle = audit_environment.options(id="audit").start()

    assert engine.result(handle) == {
        "packages": 1, "verified": 3, "unhashed": 2, "size": 29, "changed": 1, "missing": 1, "unreadable": 0
    }  # fmt: skip
    assert handle.instance.progress == {"done": 5, "total": 5, "note": planted.NAME}
    assert Audit.objects.get().finished_at is not None


# --- activities


def test_installed_packages_are_listed_once_each_with_the_length_of_their_record(package):
    packages = list_packages.run()

    assert package in packages
    assert package.files == 5
    assert len({each.name for each in packages}) == len(packages)


def test_changed_and_missing_files_are_found(package):
    verified = hash_files.run(package.name, 0, package.files)

    assert {problem.path: problem.kind for problem in verified.problems} == planted.PROBLEMS
    assert (verified.verified, verified.unhashed) == (3, 2)


def test_chunks_add_up_to_the_whole(package):
    chunks = [hash_files.run(package.name, start, start + 2) for start in (0, 2, 4)]

    assert sum(chunks, Verified()) == hash_files.run(package.name, 0, 6)


def test_what_cannot_be_read_is_a_problem_and_no_crash(package, tmp_path):
    (tmp_path / "planted/intact.py").unlink()
    (tmp_path / "planted/intact.py").mkdir()

    verified = hash_files.run(package.name, 0, 1)

    assert [problem.kind for problem in verified.problems] == ["unreadable"]


def test_an_installed_package_of_this_environment_is_intact():
    size = next(each.files for each in record.packages() if each.name == "msgspec")

    verified = record.verify("msgspec", 0, size)

    assert verified.problems == ()
    assert verified.verified > 10


def test_findings_are_stored_with_their_package(db):
    audit = begin_audit.run("audit")
    problem = Problem(path="a.py", kind="changed", expected="x", found="y")
    verified = Verified(verified=2, unhashed=1, size=10, problems=(problem,))

    store_package.run(audit, Package(name="demo", version="1.0", files=3), verified)
    report = finish_audit.run(audit)

    assert str(Distribution.objects.get()) == "demo 1.0"
    assert str(Finding.objects.get()) == "a.py is changed"
    assert report == {
        "packages": 1, "verified": 2, "unhashed": 1, "size": 10, "changed": 1, "missing": 0, "unreadable": 0
    }  # fmt: skip
