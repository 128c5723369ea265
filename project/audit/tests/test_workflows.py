"""How the audit divides its work, in virtual time and without a database."""

from __future__ import annotations

from durable.testing import ANY
from project.audit.activities import begin_audit, finish_audit, hash_files, list_packages, store_package
from project.audit.record import Package, Problem, Verified
from project.audit.workflows import FILES_AT_ONCE, audit_environment, audit_package

PACKAGE = Package(name="demo", version="1.0", files=3 * FILES_AT_ONCE)
CHANGED = Problem(path="a.py", kind="changed", expected="x")


def test_an_audit_leads_from_its_packages_to_a_report(durable_simulation):
    simulation = durable_simulation(audit_environment, id="audit")
    simulation.mock(begin_audit, "audit").returns(7)
    simulation.mock(list_packages).returns([Package(name=name, version="1", files=5) for name in ("a", "b", "c")])
    simulation.mock(audit_package, 7, ANY).returns(0).times(3)
    simulation.mock(finish_audit, 7).returns({"packages": 3})

    simulated = simulation.run()

    assert simulated.result() == {"packages": 3}
    assert [child.id for child in simulated.children] == ["audit/a", "audit/b", "audit/c"]
    assert simulated.progress["done"] == simulated.progress["total"] == 15
    simulation.assert_order(begin_audit, list_packages, audit_package, finish_audit)


def test_only_so_many_packages_are_audited_at_once(durable_simulation):
    simulation = durable_simulation(audit_environment)
    simulation.mock(begin_audit).returns(7)
    simulation.mock(list_packages).returns([Package(name=str(n), version="1", files=1) for n in range(6)])
    simulation.mock(audit_package).returns(0).takes(60)
    simulation.mock(finish_audit).returns({})

    simulated = simulation.run(packages_at_once=2)

    assert simulated.elapsed.total_seconds() == 3 * 60


def test_a_package_is_hashed_in_chunks_and_stored_when_all_are_there(durable_simulation):
    simulation = durable_simulation(audit_package)
    for start in range(0, PACKAGE.files, FILES_AT_ONCE):
        found = Verified(verified=FILES_AT_ONCE - 1, problems=(CHANGED,))
        simulation.mock(hash_files, "demo", start, start + FILES_AT_ONCE).returns(found).takes(60 - start / 10).once()
    whole = Verified(verified=3 * FILES_AT_ONCE - 3, problems=(CHANGED,) * 3)
    simulation.mock(store_package, 7, PACKAGE, whole).once()

    assert simulation.run(7, PACKAGE).result() == 3
