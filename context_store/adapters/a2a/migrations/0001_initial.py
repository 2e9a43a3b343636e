from django.db import migrations, models

import context_store.fields


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="AgentTask",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("user_id", context_store.fields.IdentifierField()),
                ("task_id", context_store.fields.IdentifierField()),
                ("context_id", context_store.fields.IdentifierField()),
                ("state", models.IntegerField()),
                ("status_time", models.BigIntegerField()),
                ("data", context_store.fields.PayloadField()),
            ],
            options={
                "verbose_name": "agent task",
                "verbose_name_plural": "agent tasks",
                "indexes": [
                    models.Index(fields=["user_id", "-status_time", "-task_id"], name="ctx_a2a_user_time"),
                    models.Index(fields=["user_id", "context_id"], name="ctx_a2a_context"),
                    models.Index(fields=["state", "status_time"], name="ctx_a2a_state_time"),
                ],
                "constraints": [models.UniqueConstraint(fields=("user_id", "task_id"), name="ctx_a2a_task")],
            },
        ),
    ]
