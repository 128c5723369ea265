from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("durable", "0018_fewer_indexes"),
    ]

    operations = [
        migrations.AddField(
            model_name="execution",
            name="name",
            # The database fills it in for workers of the release before, which do not know it.
            field=models.CharField(blank=True, db_default="", default="", max_length=200, verbose_name="workflow"),
        ),
    ]
