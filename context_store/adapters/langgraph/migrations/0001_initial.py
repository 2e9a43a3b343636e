import django.db.models.deletion
from django.db import migrations, models

import context_store.db
import context_store.fields
import context_store.ids


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("context_store", "0002_search_index_mssql"),
    ]

    operations = [
        migrations.CreateModel(
            name="StoreItem",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("user_id", context_store.fields.IdentifierField()),
                ("namespace", context_store.fields.IdentifierField()),
                ("key", context_store.fields.IdentifierField()),
                ("value", context_store.fields.PayloadField()),
                ("created_at", context_store.fields.EpochMillisecondsField(default=context_store.ids.now_ms)),
                ("updated_at", context_store.fields.EpochMillisecondsField(default=context_store.ids.now_ms)),
                ("expires_at", context_store.fields.EpochMillisecondsField(default=None, null=True)),
                ("ttl", models.BigIntegerField(null=True)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["user_id", "-updated_at"], name="ctx_langgraph_updated"),
                    models.Index(fields=["expires_at"], name="ctx_langgraph_expires"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("user_id", "namespace", "key"), name="ctx_langgraph_memory")
                ],
            },
        ),
        migrations.CreateModel(
            name="StoreVector",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("vector", context_store.db.FloatsField()),
                (
                    "item",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="vectors",
                        to="context_store_langgraph.storeitem",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="ThreadValue",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "chat_id", "key", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("key", context_store.fields.IdentifierField(max_length=32)),
                ("type", context_store.fields.IdentifierField()),
                ("data", models.BinaryField()),
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
        ),
        migrations.CreateModel(
            name="ThreadWrite",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "chat_id",
                        "namespace_key",
                        "checkpoint_id",
                        "task_id",
                        "number",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("namespace_key", context_store.fields.IdentifierField(max_length=32)),
                ("checkpoint_id", context_store.fields.IdentifierField(max_length=100)),
                ("task_id", context_store.fields.IdentifierField(max_length=50)),
                ("number", models.IntegerField()),
                ("task_path", models.TextField()),
                ("channel", models.TextField()),
                ("type", context_store.fields.IdentifierField()),
                ("data", models.BinaryField()),
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
        ),
        migrations.CreateModel(
            name="ThreadCheckpoint",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "chat_id", "namespace_key", "id", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("namespace_key", context_store.fields.IdentifierField(max_length=32)),
                ("id", context_store.fields.IdentifierField(max_length=100)),
                ("namespace", models.TextField()),
                ("parent_id", context_store.fields.IdentifierField(max_length=100, null=True)),
                ("run_key", context_store.fields.IdentifierField(max_length=32, null=True)),
                ("type", context_store.fields.IdentifierField()),
                ("data", models.BinaryField()),
                ("metadata_type", context_store.fields.IdentifierField()),
                ("metadata", models.BinaryField()),
                ("message_id", context_store.fields.IdentifierField(null=True)),
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
                "indexes": [models.Index(fields=["run_key"], name="ctx_langgraph_run")],
            },
        ),
        migrations.CreateModel(
            name="ThreadItem",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "chat_id", "digest", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("digest", context_store.fields.IdentifierField(max_length=32)),
                ("run", context_store.fields.IdentifierField(max_length=32)),
                ("position", models.IntegerField()),
                ("ancestry", context_store.fields.PayloadField(null=True)),
                ("type", context_store.fields.IdentifierField()),
                ("data", models.BinaryField()),
                ("message_id", context_store.fields.IdentifierField(null=True)),
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
                "constraints": [
                    models.UniqueConstraint(fields=("chat", "run", "position"), name="ctx_langgraph_item_place")
                ],
            },
        ),
    ]
