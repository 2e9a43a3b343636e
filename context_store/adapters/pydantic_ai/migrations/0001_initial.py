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
            name="Conversation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("user_id", context_store.fields.IdentifierField()),
                ("scope", context_store.fields.IdentifierField(null=True)),
                ("saved_at", models.BigIntegerField()),
                ("record", context_store.fields.PayloadField()),
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
                "verbose_name": "conversation",
                "verbose_name_plural": "conversations",
                "indexes": [
                    models.Index(fields=["user_id", "-saved_at"], name="ctx_pydantic_user"),
                    models.Index(fields=["user_id", "scope", "-saved_at"], name="ctx_pydantic_scope"),
                ],
                "constraints": [models.UniqueConstraint(fields=("chat",), name="ctx_pydantic_chat")],
            },
        ),
    ]
