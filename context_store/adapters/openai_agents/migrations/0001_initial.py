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
            name="TurnUsage",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("branch", context_store.fields.IdentifierField()),
                ("message_id", context_store.fields.IdentifierField()),
                ("requests", models.BigIntegerField()),
                ("input_tokens", models.BigIntegerField()),
                ("output_tokens", models.BigIntegerField()),
                ("total_tokens", models.BigIntegerField()),
                ("details", context_store.fields.PayloadField(default=dict)),
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
                "verbose_name": "usage of a turn",
                "verbose_name_plural": "usage of turns",
                "constraints": [
                    models.UniqueConstraint(fields=("chat", "branch", "message_id"), name="ctx_openai_turn")
                ],
            },
        ),
    ]
