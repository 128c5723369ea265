"""The audit's steps: the ones that read files change nothing, the ones that write are atomic."""

from __future__ import annotations

from django.db.models import Count, Sum
from django.utils import timezone

from durable import activity
from project.trace import traced

from . import record
from .models import Audit, Distribution, Finding
from .record import Package, Verified


@activity.defn(atomic=True)
@traced
def begin_audit(instance_id: str) -> int:
    """Store a new audit and return its id."""
    return Audit.objects.create(instance_id=instance_id).pk


@activity.defn
@traced
def list_packages() -> list[Package]:
    """Return what is installed."""
    return record.packages()


@activity.defn
@traced
def hash_files(package: str, start: int, stop: int) -> Verified:
    """Compare the files in some lines of a package's RECORD with their hashes."""
    return record.verify(package, start, stop)


@activity.defn(atomic=True)
@traced
def store_package(audit: int, package: Package, verified: Verified) -> None:
    """Store what came of a package: exactly once, since it is committed together with its completion."""
    distribution = Distribution.objects.create(
        audit_id=audit,
        name=package.name,
        version=package.version,
        verified=verified.verified,
        unhashed=verified.unhashed,
        size=verified.size,
    )
    Finding.objects.bulk_create(
        Finding(
            distribution=distribution,
            path=problem.path,
            kind=problem.kind,
            expected=problem.expected,
            found=problem.found,
        )
        for problem in verified.problems
    )


@activity.defn(atomic=True)
@traced
def finish_audit(audit: int) -> dict[str, int]:
    """Store the report on an audit and return it."""
    report = Distribution.objects.filter(audit=audit).aggregate(
        packages=Count("pk"), verified=Sum("verified"), unhashed=Sum("unhashed"), size=Sum("size")
    )
    kinds = Finding.objects.filter(distribution__audit=audit).order_by().values_list("kind").annotate(Count("pk"))
    report |= dict.fromkeys(Finding.Kind.values, 0) | dict(kinds)
    Audit.objects.filter(pk=audit).update(report=report, finished_at=timezone.now())
    return report
