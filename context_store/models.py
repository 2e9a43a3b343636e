"""The schema of the store. Rules live in the managers, columns that need explaining in ``fields``."""

from typing import Any

from django.db import models, router, transaction
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from .db import CompositeForeignKey, OrderIndex
from .exceptions import InvalidData
from .fields import EpochMillisecondsField, IdentifierField, MetadataField, PayloadField, SearchTextField
from .graph.holds import require_no_hold
from .graph.locked import recount
from .ids import new_id, new_revision
from .managers.base import ScopedManager, TrashManager
from .managers.branches import BranchQuerySet
from .managers.chats import ChatQuerySet
from .managers.checkpoints import CheckpointQuerySet
from .managers.messages import MessageQuerySet
from .managers.search import SearchEntryQuerySet
from .managers.shares import ShareLinkQuerySet
from .managers.usage import UsageQuerySet

# Overrides and isolates of direction: in a title they would turn what stands behind it on a page.
DIRECTIONS = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)])
MAX_NAME_LENGTH = 200


class Held(models.Model):
    """What belongs to a chat: Django's own ways to change and delete a row look for legal holds, too."""

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            self._require_no_hold(kwargs.get("using"))
        super().save(*args, **kwargs)

    def delete(self, using: str | None = None, keep_parents: bool = False) -> tuple[int, dict[str, int]]:  # noqa: FBT001, FBT002
        self._require_no_hold(using)
        return super().delete(using=using, keep_parents=keep_parents)

    def _require_no_hold(self, using: str | None) -> None:
        chat_id = self.pk if isinstance(self, Chat) else getattr(self, "chat_id", None)
        alias = using or self._state.db or router.db_for_write(type(self))
        if Chat._base_manager.using(alias).filter(pk=chat_id, held=True).exists():
            require_no_hold(alias, [str(chat_id)])


class Chat(Held):
    """The container of one conversation graph, owned by one user."""

    id = IdentifierField(primary_key=True, default=new_id)
    user_id = IdentifierField()
    title = models.TextField(null=True, blank=True)
    metadata = MetadataField(blank=True)
    # Derived, so that a list of chats counts nothing: it names one table.
    message_count = models.PositiveIntegerField(default=0, editable=False)
    branch_count = models.PositiveIntegerField(default=0, editable=False)
    # Grows with every change of the chat or of what is in it: what the chat was read at.
    revision = models.PositiveBigIntegerField(default=new_revision, editable=False)
    # The revision at which something in the chat was last deleted: no row tells of that to a reader of changes.
    resync_revision = models.PositiveBigIntegerField(default=0, editable=False)
    created_at = EpochMillisecondsField()
    updated_at = EpochMillisecondsField()
    # Messages alone move it; renaming, tagging and reading do not.
    last_message_at = EpochMillisecondsField(null=True, blank=True, default=None)
    archived_at = EpochMillisecondsField(null=True, blank=True, default=None)
    pinned_at = EpochMillisecondsField(null=True, blank=True, default=None)
    trashed_at = EpochMillisecondsField(null=True, blank=True, default=None)
    # The time of the newest message that the owner has seen.
    read_at = EpochMillisecondsField(null=True, blank=True, default=None)
    # Whether a legal hold covers the chat: what deletes or changes would otherwise have to look for one.
    held = models.BooleanField(default=False, editable=False)

    objects = ScopedManager.from_queryset(ChatQuerySet)()
    trash = TrashManager.from_queryset(ChatQuerySet)()

    class Meta:
        verbose_name = _("chat")
        verbose_name_plural = _("chats")
        # An append writes into each of these, so the orders by title and by creation sort the chats of one user, whom
        # any of the first two finds. On PostgreSQL the second has NULLS LAST (see the migration).
        indexes = [
            models.Index(fields=["user_id", "-updated_at", "-id"], name="ctx_chat_user_updated"),
            models.Index(fields=["user_id", "-last_message_at", "-id"], name="ctx_chat_user_message"),
            models.Index(fields=["-updated_at", "-id"], name="ctx_chat_updated"),
            models.Index(fields=["trashed_at"], condition=Q(trashed_at__isnull=False), name="ctx_chat_trashed"),
            models.Index(fields=["id"], condition=Q(held=True), name="ctx_chat_held"),
        ]
        permissions = [
            ("act_for_any_user", _("Can act for any user through the API")),
            ("export_user", _("Can export all that is stored of a user")),
        ]

    def __str__(self) -> str:
        return (self.title or "").translate(DIRECTIONS)[:MAX_NAME_LENGTH] or str(self.pk)

    def delete(self, using: str | None = None, keep_parents: bool = False) -> tuple[int, dict[str, int]]:  # noqa: FBT001, FBT002
        """Delete the chat and everything in it, in a fixed number of statements."""
        return ChatQuerySet(type(self), using=using or self._state.db).filter(pk=self.pk).delete()


def key_to_message(field: str, name: str) -> CompositeForeignKey:
    """Return the key that lets the field point to messages of the same chat alone."""
    return CompositeForeignKey(fields=["chat", field], to="context_store.Message", to_fields=["chat", "id"], name=name)


class Message(Held):
    """
    A node of the graph. Its id is unique in its chat.

    ``segment`` is the id of the message that starts the unbroken run which this one lies in, ``depth`` its distance
    from the root. The first message of a run also holds ``ancestry``: where the runs above it fork (see
    ``graph.lineage``).
    """

    # The chat first in every key: the rows of a chat lie together, in one partition or shard.
    pk = models.CompositePrimaryKey("chat_id", "id")
    id = IdentifierField(default=new_id)
    chat = models.ForeignKey(Chat, models.CASCADE, related_name="messages", db_index=False)
    parent_id = IdentifierField(null=True, blank=True)
    # DO_NOTHING and no constraint here: the key of two columns is in ``constraints``, and rows are deleted in an order
    # that satisfies it. For Django this is what joins go by. Not serialized: its two columns are, and to load a null
    # here would take the chat's away.
    parent = models.ForeignObject(
        "self",
        models.DO_NOTHING,
        from_fields=["chat", "parent_id"],
        to_fields=["chat", "id"],
        null=True,
        serialize=False,
        related_name="children",
    )
    name = IdentifierField()
    type = IdentifierField(null=True, blank=True, default="message")
    data = PayloadField()
    segment = IdentifierField(editable=False)
    depth = models.IntegerField(editable=False)
    ancestry = PayloadField(null=True, editable=False)
    created_at = EpochMillisecondsField()
    # The chat's revision at which the row was last written: what a reader of changes has missed.
    revision = models.PositiveBigIntegerField(db_default=0, editable=False)

    objects = ScopedManager.from_queryset(MessageQuerySet)()

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        indexes = [
            # Children in the order in which they are listed.
            OrderIndex(fields=["chat", "parent_id", "created_at", "id"], name="ctx_message_parent"),
            models.Index(fields=["chat", "revision"], name="ctx_message_revision"),
            # For a message that is asked for without its chat.
            models.Index(fields=["id"], name="ctx_message_id"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["chat", "segment", "depth"], name="ctx_message_place"),
            models.CheckConstraint(condition=~Q(parent_id=F("id")), name="ctx_message_not_its_parent"),
            key_to_message("parent_id", "ctx_message_parent_key"),
        ]
        permissions = [("view_message_content", _("Can read the content of messages"))]

    def __str__(self) -> str:
        return f"{self.name} {self.id}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store a message that has its place. Raises ``InvalidData`` for one that has none."""
        if not self.segment:
            raise InvalidData("has no place in the graph: store messages with Message.objects.append() or add()")
        super().save(*args, **kwargs)

    def delete(self, using: str | None = None, keep_parents: bool = False) -> tuple[int, dict[str, int]]:  # noqa: FBT001, FBT002
        """Delete a message that nothing points to, and count what is left."""
        using, chat_id = using or router.db_for_write(type(self), instance=self), self.chat_id
        with transaction.atomic(using=using):
            deleted = super().delete(using=using, keep_parents=keep_parents)
            recount(using, chat_id, "Message")
        return deleted


class Branch(Held):
    """A named pointer to a head message; one branch of a chat is active."""

    pk = models.CompositePrimaryKey("chat_id", "id")
    id = IdentifierField(default=new_id)
    chat = models.ForeignKey(Chat, models.CASCADE, related_name="branches", db_index=False)
    name = IdentifierField()
    head_message_id = IdentifierField(null=True, blank=True)
    head_message = models.ForeignObject(
        Message,
        models.DO_NOTHING,
        from_fields=["chat", "head_message_id"],
        to_fields=["chat", "id"],
        null=True,
        serialize=False,
        related_name="heads",
    )
    is_active = models.BooleanField(default=False)
    created_at = EpochMillisecondsField()
    revision = models.PositiveBigIntegerField(db_default=0, editable=False)

    objects = ScopedManager.from_queryset(BranchQuerySet)()

    class Meta:
        verbose_name = _("branch")
        verbose_name_plural = _("branches")
        indexes = [
            models.Index(fields=["chat", "head_message_id"], name="ctx_branch_head"),
            models.Index(fields=["chat", "created_at", "id"], name="ctx_branch_created"),
            # For a branch that is asked for by its id alone.
            models.Index(fields=["id"], name="ctx_branch_id"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["chat", "name"], name="ctx_branch_name"),
            # At most one. That there is one at all, the writers see to: no constraint says that.
            models.UniqueConstraint(fields=["chat"], condition=Q(is_active=True), name="ctx_branch_active"),
            key_to_message("head_message_id", "ctx_branch_head_key"),
        ]

    def __str__(self) -> str:
        return str(self.name)

    # The row of the chat has their number: Django's own ways hold no chat, and count anew.

    def save(self, *args: Any, **kwargs: Any) -> None:
        using = kwargs.get("using") or router.db_for_write(type(self), instance=self)
        with transaction.atomic(using=using):
            super().save(*args, **kwargs)
            recount(using, self.chat_id, "Branch")

    def delete(self, using: str | None = None, keep_parents: bool = False) -> tuple[int, dict[str, int]]:  # noqa: FBT001, FBT002
        using, chat_id = using or router.db_for_write(type(self), instance=self), self.chat_id
        with transaction.atomic(using=using):
            deleted = super().delete(using=using, keep_parents=keep_parents)
            recount(using, chat_id, "Branch")
        return deleted


class Checkpoint(Held):
    """A named pointer to one message."""

    pk = models.CompositePrimaryKey("chat_id", "id")
    id = IdentifierField(default=new_id)
    chat = models.ForeignKey(Chat, models.CASCADE, related_name="checkpoints", db_index=False, db_constraint=False)
    name = IdentifierField()
    message_id = IdentifierField()
    message = models.ForeignObject(
        Message,
        models.DO_NOTHING,
        from_fields=["chat", "message_id"],
        to_fields=["chat", "id"],
        serialize=False,
        related_name="checkpoints",
    )
    created_at = EpochMillisecondsField()
    revision = models.PositiveBigIntegerField(db_default=0, editable=False)

    objects = ScopedManager.from_queryset(CheckpointQuerySet)()

    class Meta:
        verbose_name = _("checkpoint")
        verbose_name_plural = _("checkpoints")
        indexes = [
            models.Index(fields=["chat", "message_id"], name="ctx_checkpoint_message"),
            models.Index(fields=["chat", "created_at", "id"], name="ctx_checkpoint_created"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["chat", "name"], name="ctx_checkpoint_name"),
            key_to_message("message_id", "ctx_checkpoint_message_key"),
        ]

    def __str__(self) -> str:
        return str(self.name)


class SearchEntry(models.Model):
    """
    The searchable text of a message, written with it and gone with it.

    ``id`` numbers the entries of the store in the order in which they were made; on SQLite it is the row of the index.
    """

    chat = models.ForeignKey(Chat, models.CASCADE, related_name="+", db_index=False, db_constraint=False)
    message_id = IdentifierField()
    message = models.ForeignObject(
        Message,
        models.CASCADE,
        from_fields=["chat", "message_id"],
        to_fields=["chat", "id"],
        serialize=False,
        related_name="search_entry",
    )
    user_id = IdentifierField()
    name = IdentifierField()
    content = SearchTextField()

    objects = ScopedManager.from_queryset(SearchEntryQuerySet)()

    class Meta:
        verbose_name = _("search entry")
        verbose_name_plural = _("search entries")
        indexes = [models.Index(fields=["user_id"], name="ctx_search_user")]
        constraints = [
            models.UniqueConstraint(fields=["chat", "message_id"], name="ctx_search_message"),
            key_to_message("message_id", "ctx_search_message_key"),
        ]

    def __str__(self) -> str:
        return str(self.message_id)


class Stream(models.Model):
    """
    An answer while it is written: its state here, what was said in ``StreamChunk``.

    ``parent_id`` and ``branch_id`` say where the answer belongs: the active branch and its head when the stream was
    made. ``revision`` is the chat's at the last change of state.
    """

    pk = models.CompositePrimaryKey("chat_id", "id")
    id = IdentifierField(default=new_id)
    chat = models.ForeignKey(Chat, models.CASCADE, related_name="streams", db_index=False)
    # Of the message that the answer becomes: it need not be there yet.
    message_id = IdentifierField(default=new_id)
    parent_id = IdentifierField(null=True, editable=False)
    branch_id = IdentifierField(null=True, editable=False)
    format = IdentifierField()
    status = IdentifierField(default="queued")
    last_seq = models.IntegerField(default=-1)
    # Of its chunks in this database.
    chunk_bytes = models.BigIntegerField(default=0, editable=False)
    error = models.TextField(null=True, blank=True)
    created_at = EpochMillisecondsField()
    started_at = EpochMillisecondsField(null=True, blank=True, default=None)
    finished_at = EpochMillisecondsField(null=True, blank=True, default=None)
    cancel_requested_at = EpochMillisecondsField(null=True, blank=True, default=None)
    lease_expires_at = EpochMillisecondsField(null=True, blank=True, default=None)
    chunks_removed_at = EpochMillisecondsField(null=True, editable=False, default=None)
    revision = models.PositiveBigIntegerField(editable=False)

    class Meta:
        verbose_name = _("stream")
        verbose_name_plural = _("streams")
        indexes = [
            # For a stream that is asked for by its id alone.
            models.Index(fields=["id"], name="ctx_stream_id"),
            # For those whose producer died, and for those whose chunks are old. Neither has a column that an append
            # writes: PostgreSQL then keeps the new version of the row beside the old one, and touches no index.
            models.Index(
                fields=["status"], name="ctx_stream_unfinished", condition=Q(status__in=["queued", "running"])
            ),
            models.Index(fields=["finished_at"], name="ctx_stream_chunks", condition=Q(chunks_removed_at=None)),
            models.Index(fields=["chat", "created_at", "id"], name="ctx_stream_list"),
        ]

    def __str__(self) -> str:
        return str(self.id)


class StreamChunk(models.Model):
    """A piece of an answer: any JSON value, numbered from 0."""

    pk = models.CompositePrimaryKey("chat_id", "stream_id", "seq")
    chat = models.ForeignKey(Chat, models.CASCADE, related_name="+", db_index=False, db_constraint=False)
    # No key in the database: whoever writes chunks holds the stream's row, and 20 chunks would be 20 checks.
    stream_id = IdentifierField()
    seq = models.IntegerField()
    data = PayloadField()
    created_at = EpochMillisecondsField()

    class Meta:
        verbose_name = _("stream chunk")
        verbose_name_plural = _("stream chunks")

    def __str__(self) -> str:
        return f"{self.stream_id} {self.seq}"


class LegalHold(models.Model):
    """
    What must be kept: a user's chats, one chat, or those with an entry in their metadata.

    ``metadata`` has one entry. A hold ends with ``until``, if there is such a time, or when it is released.
    """

    user_id = IdentifierField(null=True, blank=True)
    chat_id = IdentifierField(null=True, blank=True)
    metadata = PayloadField(null=True, blank=True)
    reason = models.TextField()
    placed_by = IdentifierField()
    since = EpochMillisecondsField()
    until = EpochMillisecondsField(null=True, blank=True, default=None)
    released_at = EpochMillisecondsField(null=True, blank=True, default=None)
    released_by = IdentifierField(null=True, blank=True)

    class Meta:
        verbose_name = _("legal hold")
        verbose_name_plural = _("legal holds")
        indexes = [
            models.Index(fields=["user_id"], name="ctx_hold_user"),
            models.Index(fields=["chat_id"], name="ctx_hold_chat"),
        ]
        permissions = [("release_legalhold", _("Can release a legal hold"))]

    def __str__(self) -> str:
        return f"{self.pk}"


class Erasure(models.Model):
    """
    The erasure of a user: its receipt, and the tombstone that refuses what comes late, until ``lifted_at``.

    ``subject`` is a keyed digest of the user's id. ``counts`` says how many rows and keys went, by kind.
    """

    subject = IdentifierField()
    reason = models.TextField()
    requested_by = IdentifierField(null=True, blank=True)
    options = PayloadField(default=dict)
    counts = PayloadField(default=dict)
    started_at = EpochMillisecondsField()
    finished_at = EpochMillisecondsField(null=True, blank=True, default=None)
    lifted_at = EpochMillisecondsField(null=True, blank=True, default=None)

    class Meta:
        verbose_name = _("erasure")
        verbose_name_plural = _("erasures")
        indexes = [models.Index(fields=["subject"], name="ctx_erasure_subject")]
        permissions = [
            ("erase_user", _("Can erase all that is stored of a user")),
            ("lift_erasure", _("Can lift the erasure of a user")),
        ]

    def __str__(self) -> str:
        return str(self.subject)


class AuditEntry(models.Model):
    """Who did what to whose data, without content. Entries are added, and after an erasure get pseudonyms."""

    action = IdentifierField()
    actor = IdentifierField(null=True, blank=True)
    user_id = IdentifierField(null=True, blank=True)
    chat_id = IdentifierField(null=True, blank=True)
    detail = PayloadField(default=dict)
    created_at = EpochMillisecondsField()

    class Meta:
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit entries")
        # Each is read from its newest entries on.
        indexes = [
            models.Index(fields=["user_id", "-id"], name="ctx_audit_user"),
            models.Index(fields=["chat_id", "-id"], name="ctx_audit_chat"),
            models.Index(fields=["actor", "-id"], name="ctx_audit_actor"),
            models.Index(fields=["action", "-id"], name="ctx_audit_action"),
        ]

    def __str__(self) -> str:
        return str(self.action)


class UsageEntry(models.Model):
    """What one call of a model took: a line of the ledger, which goes with its chat."""

    pk = models.CompositePrimaryKey("chat_id", "id")
    id = IdentifierField(default=new_id)
    chat = models.ForeignKey(Chat, models.CASCADE, related_name="usage", db_index=False, db_constraint=False)
    # No key in the database: what was paid for stays when the message goes.
    message_id = IdentifierField(null=True, blank=True)
    user_id = IdentifierField()
    model = IdentifierField()
    input_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0)
    cached_tokens = models.PositiveBigIntegerField(default=0)
    reasoning_tokens = models.PositiveBigIntegerField(default=0)
    cost = models.DecimalField(max_digits=20, decimal_places=10, null=True, blank=True)
    currency = IdentifierField(null=True, blank=True)
    created_at = EpochMillisecondsField()

    objects = UsageQuerySet.as_manager()

    class Meta:
        verbose_name = _("usage entry")
        verbose_name_plural = _("usage entries")
        indexes = [
            models.Index(fields=["user_id", "created_at"], name="ctx_usage_user"),
            models.Index(fields=["created_at"], name="ctx_usage_created"),
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.id}"


class KeptUsage(models.Model):
    """What erased users' calls took, by day (UTC), model and currency: sums of all of them, without any person."""

    begins_at = EpochMillisecondsField(default=None)
    model = IdentifierField()
    currency = IdentifierField(null=True, blank=True)
    calls = models.PositiveBigIntegerField()
    input_tokens = models.PositiveBigIntegerField()
    output_tokens = models.PositiveBigIntegerField()
    cached_tokens = models.PositiveBigIntegerField()
    reasoning_tokens = models.PositiveBigIntegerField()
    cost = models.DecimalField(max_digits=30, decimal_places=10, null=True, blank=True)

    class Meta:
        verbose_name = _("kept sum of usage")
        verbose_name_plural = _("kept sums of usage")
        constraints = [
            # Two: databases do not agree on whether NULL is like NULL.
            models.UniqueConstraint(
                fields=["begins_at", "model", "currency"],
                condition=models.Q(currency__isnull=False),
                name="ctx_kept_usage_currency",
            ),
            models.UniqueConstraint(
                fields=["begins_at", "model"], condition=models.Q(currency__isnull=True), name="ctx_kept_usage_none"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.begins_at}"


class ShareLink(models.Model):
    """A link that shows the chain down to a message to whoever has its token, of which the hash alone is stored."""

    pk = models.CompositePrimaryKey("chat_id", "id")
    id = IdentifierField(default=new_id)
    chat = models.ForeignKey(Chat, models.CASCADE, related_name="share_links", db_index=False, db_constraint=False)
    token_hash = IdentifierField(editable=False)
    # The title at that time: a later one may not be meant for others.
    title = models.TextField(null=True, blank=True)
    # No key in the database: a link whose message is gone shows nothing.
    head_message_id = IdentifierField()
    created_at = EpochMillisecondsField()
    expires_at = EpochMillisecondsField(null=True, blank=True, default=None)
    revoked_at = EpochMillisecondsField(null=True, blank=True, default=None)

    objects = ShareLinkQuerySet.as_manager()

    class Meta:
        verbose_name = _("share link")
        verbose_name_plural = _("share links")
        indexes = [
            # Whoever has a link knows no chat.
            models.Index(fields=["token_hash"], name="ctx_share_token"),
            models.Index(fields=["chat", "created_at", "id"], name="ctx_share_list"),
        ]

    def __str__(self) -> str:
        return str(self.id)


class ChatOrigin(models.Model):
    """Of a copy, one whose words are in it besides its owner's: so an erasure finds what others made by fork."""

    pk = models.CompositePrimaryKey("chat_id", "user_id")
    chat = models.ForeignKey(Chat, models.CASCADE, related_name="origins", db_index=False, db_constraint=False)
    user_id = IdentifierField()

    class Meta:
        verbose_name = _("origin of a copy")
        verbose_name_plural = _("origins of copies")
        indexes = [models.Index(fields=["user_id", "chat"], name="ctx_origin_user")]

    def __str__(self) -> str:
        return str(self.user_id)


class ContextEntry(models.Model):
    """A key-value context in the database backend."""

    key = IdentifierField(primary_key=True)
    value = PayloadField()
    expires_at = EpochMillisecondsField(null=True, blank=True, default=None)
    updated_at = EpochMillisecondsField()
    version = models.PositiveBigIntegerField(default=1)

    class Meta:
        verbose_name = _("context")
        verbose_name_plural = _("contexts")
        indexes = [models.Index(fields=["expires_at"], name="ctx_context_expires")]

    def __str__(self) -> str:
        return str(self.key)
