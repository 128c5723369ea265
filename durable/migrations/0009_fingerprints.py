from django.db import migrations

from durable.core import likeness
from durable.core.failures import Failure

AT_ONCE = 500


def fingerprints(apps, schema_editor):
    """Give the instances that have failed or are stalled already what they are grouped by."""
    rows = apps.get_model("durable", "Instance").objects.using(schema_editor.connection.alias)
    failing = rows.filter(status__in=["failed", "stalled"], failed_at=None).order_by("pk")
    last = ""
    while ids := list(failing.filter(pk__gt=last).values_list("pk", flat=True)[:AT_ONCE]):
        last = ids[-1]
        some = [_filled(each) for each in _readable(rows, ids)]
        rows.bulk_update(some, ["failed_at", "fingerprint"], batch_size=100)


def _readable(rows, ids):
    fields = ("name", "status", "failure", "stall", "closed_at", "retry_at", "created_at")
    try:
        return list(rows.filter(pk__in=ids).only(*fields))
    except Exception:  # noqa: BLE001 - whatever a codec raises
        if len(ids) == 1:
            return []  # the codec's key is gone, say; it stays without a group
        return [each for one in ids for each in _readable(rows, [one])]


def _filled(instance):
    if instance.status == "failed":
        alike = likeness.of_failure(Failure.from_json(instance.failure or {"type": "WorkflowFailed"}))
    else:
        alike = likeness.of_stall(instance.stall or {})
    instance.failed_at = instance.closed_at or instance.retry_at or instance.created_at
    instance.fingerprint = alike.fingerprint(instance.name, instance.status)
    return instance


class Migration(migrations.Migration):
    # One transaction for a few hundred rows each: there may be very many.
    atomic = False

    dependencies = [
        ("durable", "0008_failure_groups"),
    ]

    operations = [migrations.RunPython(fingerprints, migrations.RunPython.noop, elidable=True)]
