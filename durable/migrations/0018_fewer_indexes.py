import django.db.models.deletion
from django.db import migrations, models

from durable.migrations._online import AddIndex, WithoutIndex


class Migration(migrations.Migration):
    atomic = False  # no index can be built or dropped beside the work within a transaction

    dependencies = [
        ("durable", "0017_more_list_indexes"),
    ]

    operations = [
        AddIndex(
            model_name="instance",
            index=models.Index(fields=["parent"], name="durable_instance_parent"),
        ),
        WithoutIndex(
            model_name="instance",
            name="parent",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="children",
                to="durable.instance",
                verbose_name="parent",
            ),
        ),
        WithoutIndex(
            model_name="instance",
            name="execution",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="durable.execution",
                verbose_name="current execution",
            ),
        ),
        WithoutIndex(
            model_name="execution",
            name="instance",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="executions",
                to="durable.instance",
                verbose_name="instance",
            ),
        ),
    ]
