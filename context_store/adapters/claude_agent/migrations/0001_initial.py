import django.db.models.deletion
from django.db import migrations, models

import context_store.fields


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("context_store", "0002_search_index_mssql"),
    ]

    operations = [
        migrations.CreateModel(
            name="ClaudeSession",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("user_id", context_store.fields.IdentifierField()),
                ("project_key", context_store.fields.IdentifierField()),
                ("session_id", context_store.fields.IdentifierField()),
                ("written_at", context_store.fields.EpochMillisecondsField(default=None, null=True)),
                ("subpaths", context_store.fields.PayloadField(default=list)),
                ("summary", context_store.fields.PayloadField(null=True)),
                (
                    "chat",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="context_store.chat",
                    ),
                ),
            ],
            options={
                "verbose_name": "Claude session",
                "verbose_name_plural": "Claude sessions",
                "constraints": [
                    models.UniqueConstraint(fields=("chat",), name="ctx_claude_chat"),
                    models.UniqueConstraint(fields=("user_id", "project_key", "session_id"), name="ctx_claude_session"),
                ],
            },
        ),
    ]
