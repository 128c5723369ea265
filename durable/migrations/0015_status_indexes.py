from django.db import migrations, models

from durable.migrations._online import AddIndex


class Migration(migrations.Migration):
    atomic = False  # no index can be built beside the work within a transaction

    dependencies = [
        ("durable", "0014_list_indexes"),
    ]

    operations = [
        AddIndex(
            model_name="instance",
            index=models.Index(fields=["name", "status", "-created_at"], name="durable_instance_both"),
        ),
        AddIndex(
            model_name="instance",
            index=models.Index(
                condition=models.Q(("failed_at__isnull", False)),
                fields=["-created_at"],
                name="durable_instance_failing",
            ),
        ),
    ]
