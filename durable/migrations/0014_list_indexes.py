from django.db import migrations, models

from durable.migrations._online import AddContainment, AddIndex


class Migration(migrations.Migration):
    atomic = False  # no index can be built beside the work within a transaction

    dependencies = [
        ("durable", "0013_created_index"),
    ]

    operations = [
        AddIndex(
            model_name="instance",
            index=models.Index(
                condition=models.Q(("started_at__isnull", False)),
                fields=["-started_at", "id"],
                name="durable_instance_started",
            ),
        ),
        AddIndex(
            model_name="instance",
            index=models.Index(
                condition=models.Q(("closed_at__isnull", False)),
                fields=["-closed_at", "id"],
                name="durable_instance_ended",
            ),
        ),
        AddContainment("Instance", "tags", "durable_instance_tags"),
    ]
