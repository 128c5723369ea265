"""The audit finds what is wrong with installed files, and says it once."""

from __future__ import annotations

import pytest

from project.audit import record
from project.audit.activities import hash_files, list_packages
from project.audit.models import Audit
from project.audit.record import Verified
from project.audit.workflows import audit_environment
from project.demo import planted


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The planted package, installed."""
    planted.plant(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return next(each for each in record.packages() if each.name == planted.NAME)


def test_an_audit_leads_to_a_report(engine, package, monkeypatch):
    monkeypatch.setattr(record, "packages", lambda: [package])

    handle = audit_environment.options(id="audit").start()

    assert engine.result(handle) == {
        "packages": 1, "verified": 3, "unhashed": 2, "size": 29, "changed": 1, "missing": 1, "unreadable": 0
    }  # fmt: skip
    assert handle.instance.progress == {"done": 5, "total": 5, "note": planted.NAME}
    assert Audit.objects.get().finished_at is not None


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
