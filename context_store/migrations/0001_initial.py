import django.db.models.deletion
from django.db import migrations, models

import context_store.db
import context_store.fields
import context_store.ids
from context_store.db.operations import RunVendorSQL

from ._search_index import CreateSearchIndex

POINTERS = {
    "context_store_message": ("ctx_message_parent_key", "parent_id"),
    "context_store_branch": ("ctx_branch_head_key", "head_message_id"),
    "context_store_checkpoint": ("ctx_checkpoint_message_key", "message_id"),
    "context_store_searchentry": ("ctx_search_message_key", "message_id"),
}
# By its id alone a row of these is asked for, never a range of them: where there are hash indexes, they are half as large.
ASKED_BY_ID = ("message", "branch", "stream")


def unclustered(table: str, columns: str = "chat_id, id") -> str:
    """Return SQL Server's statement for a primary key that is no clustered index: one of those has 900 bytes at most."""
    return (
        "DECLARE @key sysname = (SELECT name FROM sys.key_constraints"
        f" WHERE type = 'PK' AND parent_object_id = OBJECT_ID('{table}'));\n"
        f"DECLARE @drop nvarchar(500) = N'ALTER TABLE {table} DROP CONSTRAINT ' + QUOTENAME(@key);\n"
        "EXEC sp_executesql @drop;\n"
        f"ALTER TABLE {table} ADD CONSTRAINT {table}_key PRIMARY KEY NONCLUSTERED ({columns})"
    )


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Chat",
            fields=[
                (
                    "id",
                    context_store.fields.IdentifierField(
                        default=context_store.ids.new_id, primary_key=True, serialize=False
                    ),
                ),
                ("user_id", context_store.fields.IdentifierField()),
                ("title", models.TextField(blank=True, null=True)),
                ("metadata", context_store.fields.MetadataField(blank=True, default=dict)),
                ("message_count", models.PositiveIntegerField(default=0, editable=False)),
                ("branch_count", models.PositiveIntegerField(default=0, editable=False)),
                ("revision", models.PositiveBigIntegerField(default=context_store.ids.new_revision, editable=False)),
                ("resync_revision", models.PositiveBigIntegerField(default=0, editable=False)),
                ("created_at", context_store.fields.EpochMillisecondsField(default=context_store.ids.now_ms)),
                ("updated_at", context_store.fields.EpochMillisecondsField(default=context_store.ids.now_ms)),
                ("last_message_at", context_store.fields.EpochMillisecondsField(blank=True, default=None, null=True)),
                ("archived_at", context_store.fields.EpochMillisecondsField(blank=True, default=None, null=True)),
                ("pinned_at", context_store.fields.EpochMillisecondsField(blank=True, default=None, null=True)),
                ("trashed_at", context_store.fields.EpochMillisecondsField(blank=True, default=None, null=True)),
                ("read_at", context_store.fields.EpochMillisecondsField(blank=True, default=None, null=True)),
                ("held", models.BooleanField(default=False, editable=False)),
            ],
            options={
                "verbose_name": "chat",
                "verbose_name_plural": "chats",
                "permissions": [
                    ("act_for_any_user", "Can act for any user through the API"),
                    ("export_user", "Can export all that is stored of a user"),
                ],
                "indexes": [
                    models.Index(fields=["user_id", "-updated_at", "-id"], name="ctx_chat_user_updated"),
                    models.Index(fields=["-updated_at", "-id"], name="ctx_chat_updated"),
                    models.Index(
                        condition=models.Q(("trashed_at__isnull", False)),
                        fields=["trashed_at"],
                        name="ctx_chat_trashed",
                    ),
                    models.Index(condition=models.Q(("held", True)), fields=["id"], name="ctx_chat_held"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Message",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "chat_id", "id", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("id", context_store.fields.IdentifierField(default=context_store.ids.new_id)),
                ("parent_id", context_store.fields.IdentifierField(blank=True, null=True)),
                ("name", context_store.fields.IdentifierField()),
                ("type", context_store.fields.IdentifierField(blank=True, default="message", null=True)),
                ("data", context_store.fields.PayloadField()),
                ("segment", context_store.fields.IdentifierField(editable=False)),
                ("depth", models.IntegerField(editable=False)),
                ("ancestry", context_store.fields.PayloadField(editable=False, null=True)),
                ("created_at", context_store.fields.EpochMillisecondsField(default=context_store.ids.now_ms)),
                ("revision", models.PositiveBigIntegerField(db_default=0, editable=False)),
                (
                    "chat",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="messages",
                        to="context_store.chat",
                    ),
                ),
                (
                    "parent",
                    models.ForeignObject(
                        from_fields=["chat", "parent_id"],
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="children",
                        serialize=False,
                        to="context_store.message",
                        to_fields=["chat", "id"],
                    ),
                ),
            ],
            options={
                "verbose_name": "message",
                "verbose_name_plural": "messages",
                "permissions": [("view_message_content", "Can read the content of messages")],
                "indexes": [
                    context_store.db.OrderIndex(
                        fields=["chat", "parent_id", "created_at", "id"], name="ctx_message_parent"
                    ),
                    models.Index(fields=["chat", "revision"], name="ctx_message_revision"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("chat", "segment", "depth"), name="ctx_message_place"),
                    models.CheckConstraint(
                        condition=models.Q(("parent_id", models.F("id")), _negated=True),
                        name="ctx_message_not_its_parent",
                    ),
                    context_store.db.CompositeForeignKey(
                        fields=("chat", "parent_id"),
                        name="ctx_message_parent_key",
                        to="context_store.Message",
                        to_fields=("chat", "id"),
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Branch",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "chat_id", "id", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("id", context_store.fields.IdentifierField(default=context_store.ids.new_id)),
                ("name", context_store.fields.IdentifierField()),
                ("head_message_id", context_store.fields.IdentifierField(blank=True, null=True)),
                ("is_active", models.BooleanField(default=False)),
                ("created_at", context_store.fields.EpochMillisecondsField(default=context_store.ids.now_ms)),
                ("revision", models.PositiveBigIntegerField(db_default=0, editable=False)),
                (
                    "chat",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="branches",
                        to="context_store.chat",
                    ),
                ),
                (
                    "head_message",
                    models.ForeignObject(
                        from_fields=["chat", "head_message_id"],
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="heads",
                        serialize=False,
                        to="context_store.message",
                        to_fields=["chat", "id"],
                    ),
                ),
            ],
            options={
                "verbose_name": "branch",
                "verbose_name_plural": "branches",
                "indexes": [
                    models.Index(fields=["chat", "head_message_id"], name="ctx_branch_head"),
                    models.Index(fields=["chat", "created_at", "id"], name="ctx_branch_created"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("chat", "name"), name="ctx_branch_name"),
                    models.UniqueConstraint(
                        condition=models.Q(("is_active", True)), fields=("chat",), name="ctx_branch_active"
                    ),
                    context_store.db.CompositeForeignKey(
                        fields=("chat", "head_message_id"),
                        name="ctx_branch_head_key",
                        to="context_store.Message",
                        to_fields=("chat", "id"),
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Checkpoint",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "chat_id", "id", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("id", context_store.fields.IdentifierField(default=context_store.ids.new_id)),
                ("name", context_store.fields.IdentifierField()),
                ("message_id", context_store.fields.IdentifierField()),
                ("created_at", context_store.fields.EpochMillisecondsField(default=context_store.ids.now_ms)),
                ("revision", models.PositiveBigIntegerField(db_default=0, editable=False)),
                (
                    "chat",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="checkpoints",
                        to="context_store.chat",
                    ),
                ),
                (
                    "message",
                    models.ForeignObject(
                        from_fields=["chat", "message_id"],
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="checkpoints",
                        serialize=False,
                        to="context_store.message",
                        to_fields=["chat", "id"],
                    ),
                ),
            ],
            options={
                "verbose_name": "checkpoint",
                "verbose_name_plural": "checkpoints",
                "indexes": [
                    models.Index(fields=["chat", "message_id"], name="ctx_checkpoint_message"),
                    models.Index(fields=["chat", "created_at", "id"], name="ctx_checkpoint_created"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("chat", "name"), name="ctx_checkpoint_name"),
                    context_store.db.CompositeForeignKey(
                        fields=("chat", "message_id"),
                        name="ctx_checkpoint_message_key",
                        to="context_store.Message",
                        to_fields=("chat", "id"),
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="SearchEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("message_id", context_store.fields.IdentifierField()),
                ("user_id", context_store.fields.IdentifierField()),
                ("name", context_store.fields.IdentifierField()),
                ("content", context_store.fields.SearchTextField()),
                (
                    "chat",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="context_store.chat",
                    ),
                ),
                (
                    "message",
                    models.ForeignObject(
                        from_fields=["chat", "message_id"],
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="search_entry",
                        serialize=False,
                        to="context_store.message",
                        to_fields=["chat", "id"],
                    ),
                ),
            ],
            options={
                "verbose_name": "search entry",
                "verbose_name_plural": "search entries",
                "indexes": [models.Index(fields=["user_id"], name="ctx_search_user")],
                "constraints": [
                    models.UniqueConstraint(fields=("chat", "message_id"), name="ctx_search_message"),
                    context_store.db.CompositeForeignKey(
                        fields=("chat", "message_id"),
                        name="ctx_search_message_key",
                        to="context_store.Message",
                        to_fields=("chat", "id"),
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Stream",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "chat_id", "id", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("id", context_store.fields.IdentifierField(default=context_store.ids.new_id)),
                ("message_id", context_store.fields.IdentifierField(default=context_store.ids.new_id)),
                ("parent_id", context_store.fields.IdentifierField(editable=False, null=True)),
                ("branch_id", context_store.fields.IdentifierField(editable=False, null=True)),
                ("format", context_store.fields.IdentifierField()),
                ("status", context_store.fields.IdentifierField(default="queued")),
                ("last_seq", models.IntegerField(default=-1)),
                ("chunk_bytes", models.BigIntegerField(default=0, editable=False)),
                ("error", models.TextField(blank=True, null=True)),
                ("created_at", context_store.fields.EpochMillisecondsField(default=context_store.ids.now_ms)),
                ("started_at", context_store.fields.EpochMillisecondsField(blank=True, default=None, null=True)),
                ("finished_at", context_store.fields.EpochMillisecondsField(blank=True, default=None, null=True)),
                (
                    "cancel_requested_at",
                    context_store.fields.EpochMillisecondsField(blank=True, default=None, null=True),
                ),
                ("lease_expires_at", context_store.fields.EpochMillisecondsField(blank=True, default=None, null=True)),
                (
                    "chunks_removed_at",
                    context_store.fields.EpochMillisecondsField(default=None, editable=False, null=True),
                ),
                ("revision", models.PositiveBigIntegerField(editable=False)),
                (
                    "chat",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="streams",
                        to="context_store.chat",
                    ),
                ),
            ],
            options={
                "verbose_name": "stream",
                "verbose_name_plural": "streams",
                "indexes": [
                    models.Index(
                        condition=models.Q(("status__in", ["queued", "running"])),
                        fields=["status"],
                        name="ctx_stream_unfinished",
                    ),
                    models.Index(
                        condition=models.Q(("chunks_removed_at", None)),
                        fields=["finished_at"],
                        name="ctx_stream_chunks",
                    ),
                    models.Index(fields=["chat", "created_at", "id"], name="ctx_stream_list"),
                ],
            },
        ),
        migrations.CreateModel(
            name="StreamChunk",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "chat_id", "stream_id", "seq", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("stream_id", context_store.fields.IdentifierField()),
                ("seq", models.IntegerField()),
                ("data", context_store.fields.PayloadField()),
                ("created_at", context_store.fields.EpochMillisecondsField(default=context_store.ids.now_ms)),
                (
                    "chat",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="context_store.chat",
                    ),
                ),
            ],
            options={"verbose_name": "stream chunk", "verbose_name_plural": "stream chunks"},
        ),
        migrations.CreateModel(
            name="AuditEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("action", context_store.fields.IdentifierField()),
                ("actor", context_store.fields.IdentifierField(blank=True, null=True)),
                ("user_id", context_store.fields.IdentifierField(blank=True, null=True)),
                ("chat_id", context_store.fields.IdentifierField(blank=True, null=True)),
                ("detail", context_store.fields.PayloadField(default=dict)),
                ("created_at", context_store.fields.EpochMillisecondsField(default=context_store.ids.now_ms)),
            ],
            options={
                "verbose_name": "audit entry",
                "verbose_name_plural": "audit entries",
                "indexes": [
                    models.Index(fields=["user_id", "-id"], name="ctx_audit_user"),
                    models.Index(fields=["chat_id", "-id"], name="ctx_audit_chat"),
                    models.Index(fields=["actor", "-id"], name="ctx_audit_actor"),
                    models.Index(fields=["action", "-id"], name="ctx_audit_action"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Erasure",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("subject", context_store.fields.IdentifierField()),
                ("reason", models.TextField()),
                ("requested_by", context_store.fields.IdentifierField(blank=True, null=True)),
                ("options", context_store.fields.PayloadField(default=dict)),
                ("counts", context_store.fields.PayloadField(default=dict)),
                ("started_at", context_store.fields.EpochMillisecondsField(default=context_store.ids.now_ms)),
                ("finished_at", context_store.fields.EpochMillisecondsField(blank=True, default=None, null=True)),
                ("lifted_at", context_store.fields.EpochMillisecondsField(blank=True, default=None, null=True)),
            ],
            options={
                "verbose_name": "erasure",
                "verbose_name_plural": "erasures",
                "permissions": [
                    ("erase_user", "Can erase all that is stored of a user"),
                    ("lift_erasure", "Can lift the erasure of a user"),
                ],
                "indexes": [models.Index(fields=["subject"], name="ctx_erasure_subject")],
            },
        ),
        migrations.CreateModel(
            name="LegalHold",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("user_id", context_store.fields.IdentifierField(blank=True, null=True)),
                ("chat_id", context_store.fields.IdentifierField(blank=True, null=True)),
                ("metadata", context_store.fields.PayloadField(blank=True, null=True)),
                ("reason", models.TextField()),
                ("placed_by", context_store.fields.IdentifierField()),
                ("since", context_store.fields.EpochMillisecondsField(default=context_store.ids.now_ms)),
                ("until", context_store.fields.EpochMillisecondsField(blank=True, default=None, null=True)),
                ("released_at", context_store.fields.EpochMillisecondsField(blank=True, default=None, null=True)),
                ("released_by", context_store.fields.IdentifierField(blank=True, null=True)),
            ],
            options={
                "verbose_name": "legal hold",
                "verbose_name_plural": "legal holds",
                "permissions": [("release_legalhold", "Can release a legal hold")],
                "indexes": [
                    models.Index(fields=["user_id"], name="ctx_hold_user"),
                    models.Index(fields=["chat_id"], name="ctx_hold_chat"),
                ],
            },
        ),
        migrations.CreateModel(
            name="UsageEntry",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "chat_id", "id", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("id", context_store.fields.IdentifierField(default=context_store.ids.new_id)),
                ("message_id", context_store.fields.IdentifierField(blank=True, null=True)),
                ("user_id", context_store.fields.IdentifierField()),
                ("model", context_store.fields.IdentifierField()),
                ("input_tokens", models.PositiveBigIntegerField(default=0)),
                ("output_tokens", models.PositiveBigIntegerField(default=0)),
                ("cached_tokens", models.PositiveBigIntegerField(default=0)),
                ("reasoning_tokens", models.PositiveBigIntegerField(default=0)),
                ("cost", models.DecimalField(blank=True, decimal_places=10, max_digits=20, null=True)),
                ("currency", context_store.fields.IdentifierField(blank=True, null=True)),
                ("created_at", context_store.fields.EpochMillisecondsField(default=context_store.ids.now_ms)),
                (
                    "chat",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="usage",
                        to="context_store.chat",
                    ),
                ),
            ],
            options={
                "verbose_name": "usage entry",
                "verbose_name_plural": "usage entries",
                "indexes": [
                    models.Index(fields=["user_id", "created_at"], name="ctx_usage_user"),
                    models.Index(fields=["created_at"], name="ctx_usage_created"),
                ],
            },
        ),
        migrations.CreateModel(
            name="KeptUsage",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("begins_at", context_store.fields.EpochMillisecondsField(default=None)),
                ("model", context_store.fields.IdentifierField()),
                ("currency", context_store.fields.IdentifierField(blank=True, null=True)),
                ("calls", models.PositiveBigIntegerField()),
                ("input_tokens", models.PositiveBigIntegerField()),
                ("output_tokens", models.PositiveBigIntegerField()),
                ("cached_tokens", models.PositiveBigIntegerField()),
                ("reasoning_tokens", models.PositiveBigIntegerField()),
                ("cost", models.DecimalField(blank=True, decimal_places=10, max_digits=30, null=True)),
            ],
            options={
                "verbose_name": "kept sum of usage",
                "verbose_name_plural": "kept sums of usage",
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("currency__isnull", False)),
                        fields=("begins_at", "model", "currency"),
                        name="ctx_kept_usage_currency",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("currency__isnull", True)),
                        fields=("begins_at", "model"),
                        name="ctx_kept_usage_none",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ShareLink",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "chat_id", "id", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("id", context_store.fields.IdentifierField(default=context_store.ids.new_id)),
                ("token_hash", context_store.fields.IdentifierField(editable=False)),
                ("title", models.TextField(blank=True, null=True)),
                ("head_message_id", context_store.fields.IdentifierField()),
                ("created_at", context_store.fields.EpochMillisecondsField(default=context_store.ids.now_ms)),
                ("expires_at", context_store.fields.EpochMillisecondsField(blank=True, default=None, null=True)),
                ("revoked_at", context_store.fields.EpochMillisecondsField(blank=True, default=None, null=True)),
                (
                    "chat",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="share_links",
                        to="context_store.chat",
                    ),
                ),
            ],
            options={
                "verbose_name": "share link",
                "verbose_name_plural": "share links",
                "indexes": [
                    models.Index(fields=["token_hash"], name="ctx_share_token"),
                    models.Index(fields=["chat", "created_at", "id"], name="ctx_share_list"),
                ],
            },
        ),
        migrations.CreateModel(
            name="ChatOrigin",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "chat_id", "user_id", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("user_id", context_store.fields.IdentifierField()),
                (
                    "chat",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="origins",
                        to="context_store.chat",
                    ),
                ),
            ],
            options={
                "verbose_name": "origin of a copy",
                "verbose_name_plural": "origins of copies",
                "indexes": [models.Index(fields=["user_id", "chat"], name="ctx_origin_user")],
            },
        ),
        migrations.CreateModel(
            name="ContextEntry",
            fields=[
                ("key", context_store.fields.IdentifierField(primary_key=True, serialize=False)),
                ("value", context_store.fields.PayloadField()),
                ("expires_at", context_store.fields.EpochMillisecondsField(blank=True, default=None, null=True)),
                ("updated_at", context_store.fields.EpochMillisecondsField(default=context_store.ids.now_ms)),
                ("version", models.PositiveBigIntegerField(default=1)),
            ],
            options={
                "verbose_name": "context",
                "verbose_name_plural": "contexts",
                "indexes": [models.Index(fields=["expires_at"], name="ctx_context_expires")],
            },
        ),
        # Operations of their own, so that these are there when the next one replaces them.
        migrations.AddIndex(
            "chat", models.Index(fields=["user_id", "-last_message_at", "-id"], name="ctx_chat_user_message")
        ),
        *(migrations.AddIndex(model, models.Index(fields=["id"], name=f"ctx_{model}_id")) for model in ASKED_BY_ID),
        # What the models cannot say. The entries' numbers need not be unique, their messages are.
        RunVendorSQL(
            {
                "postgresql": [
                    "CREATE INDEX ctx_chat_metadata ON context_store_chat USING gin (metadata jsonb_path_ops)",
                    # Elsewhere an empty value is the smallest, as lists want it.
                    "DROP INDEX ctx_chat_user_message",
                    "CREATE INDEX ctx_chat_user_message ON context_store_chat"
                    " (user_id, last_message_at DESC NULLS LAST, id DESC)",
                    "ALTER TABLE context_store_searchentry DROP CONSTRAINT context_store_searchentry_pkey,"
                    " DROP CONSTRAINT ctx_search_message,"
                    " ADD CONSTRAINT ctx_search_message PRIMARY KEY (chat_id, message_id)",
                    "CREATE INDEX ctx_search_id ON context_store_searchentry (id)",
                    *(f"DROP INDEX ctx_{model}_id" for model in ASKED_BY_ID),
                    *(f"CREATE INDEX ctx_{model}_id ON context_store_{model} USING hash (id)" for model in ASKED_BY_ID),
                ],
                "microsoft": [
                    *(f"ALTER TABLE {table} DROP CONSTRAINT {name}" for table, (name, _) in POINTERS.items()),
                    *(unclustered(table) for table in list(POINTERS)[:3]),
                    *(
                        f"ALTER TABLE {table} ADD CONSTRAINT {name} FOREIGN KEY (chat_id, {column})"
                        " REFERENCES context_store_message (chat_id, id)"
                        for table, (name, column) in POINTERS.items()
                    ),
                    unclustered("context_store_stream"),
                    unclustered("context_store_usageentry"),
                    unclustered("context_store_sharelink"),
                    unclustered("context_store_chatorigin", "chat_id, user_id"),
                    unclustered("context_store_streamchunk", "chat_id, stream_id, seq"),
                ],
            },
            model_name="message",
        ),
        CreateSearchIndex("postgresql", "sqlite"),
    ]
