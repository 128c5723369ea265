"""What the audit stores, as a worker would run it."""

from __future__ import annotations

from project.audit.activities import begin_audit, finish_audit, list_packages, store_package
from project.audit.models import Audit, Distribution, Finding
from project.audit.record import Package, Problem, Verified


def test_installed_packages_pass_through_json(durable_activity):
    packages = durable_activity.run(list_packages)

    assert "msgspec" in {package.name for package in packages}
    assert all(isinstance(package, Package) for package in packages)


def test_findings_are_stored_with_their_package(durable_activity, db):
    audit = durable_activity.run(begin_audit, "audit")
    problem = Problem(path="a.py", kind="changed", expected="x", found="y")
    verified = Verified(verified=2, unhashed=1, size=10, problems=(problem,))

    durable_activity.run(store_package, audit, Package(name="demo", version="1.0", files=3), verified)
    report = durable_activity.run(finish_audit, audit)

    assert str(Distribution.objects.get()) == "demo 1.0"
    assert str(Finding.objects.get()) == "a.py is changed"
    assert report == Audit.objects.get().report
    assert report == {
        "packages": 1, "verified": 2, "unhashed": 1, "size": 10, "changed": 1, "missing": 0, "unreadable": 0
    }  # fmt: skip
