from django.db import migrations, models, transaction
from django.db.models import OuterRef, Subquery
from django.db.models.functions import Coalesce

from durable.migrations._online import AddIndex

AT_ONCE = 5000


def name_executions(apps, schema_editor):
    """Tell each execution the workflow that it is of, a few thousand in a transaction."""
    database = schema_editor.connection.alias
    executions, events, instances = (
        apps.get_model("durable", name).objects.using(database) for name in ("Execution", "HistoryEvent", "Instance")
    )
    # What an execution began with tells its own name; the instance's may be that of a workflow that took its id over.
    started = events.filter(execution=OuterRef("pk"), seq=1).order_by().values("name")
    started = started.filter(kind="ExecutionStarted")
    own = instances.filter(pk=OuterRef("instance_id")).order_by().values("name")
    last = None
    while True:
        some = executions.order_by("pk").values_list("pk", flat=True)
        some = list((some if last is None else some.filter(pk__gt=last))[:AT_ONCE])
        if not some:
            return
        part = executions.filter(pk__gte=some[0], pk__lte=some[-1], name="")
        with transaction.atomic(using=database):
            _free(part, schema_editor.connection.features).update(name=Coalesce(Subquery(started), Subquery(own)))
        last = some[-1]


def _free(part, features):
    """Lock executions and return them, but those that a worker ends just now: each could wait for the other for ever.

    Their names are looked up in their histories whenever they are asked for.
    """
    if not features.has_select_for_update_skip_locked:
        return part
    free = part.select_for_update(skip_locked=True, no_key=features.has_select_for_no_key_update)
    return part.model._base_manager.using(part.db).filter(pk__in=list(free.values_list("pk", flat=True)))


class Migration(migrations.Migration):
    # One transaction for a few thousand rows each: there may be very many. And no index is built beside the work in one.
    atomic = False

    dependencies = [
        ("durable", "0019_execution_name"),
    ]

    operations = [
        migrations.RunPython(name_executions, migrations.RunPython.noop, elidable=True),
        AddIndex(
            model_name="execution",
            index=models.Index(fields=["name", "version"], name="durable_execution_version"),
        ),
        AddIndex(
            model_name="instance",
            index=models.Index(fields=["name", "version", "status", "created_at"], name="durable_instance_version"),
        ),
    ]
