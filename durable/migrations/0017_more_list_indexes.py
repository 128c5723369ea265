from django.db import migrations, models

from durable.migrations._online import AddContainment, AddIndex, RemoveIndex


class Migration(migrations.Migration):
    atomic = False  # no index can be built beside the work within a transaction

    dependencies = [
        ("durable", "0016_saved_filters"),
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
        AddIndex(
            model_name="instance",
            index=models.Index(
                condition=models.Q(("failed_at__isnull", False)),
                fields=["fingerprint", "-created_at"],
                name="durable_instance_alike",
            ),
        ),
        AddIndex(
            model_name="instance",
            index=models.Index(
                condition=models.Q(("failed_at__isnull", False)),
                fields=["-failed_at", "status", "name", "fingerprint", "id"],
                name="durable_instance_failed",
            ),
        ),
        RemoveIndex(model_name="instance", name="durable_instance_failure"),
        AddContainment("Instance", "patches", "durable_instance_patches", where="patches <> '{}'"),
    ]
