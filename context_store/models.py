"""The schema of the store. Rules live in the managers, columns that need explaining in ``fields``."""

from typing import Any

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from .exceptions import InvalidData
from .fields import EpochMillisecondsField, IdentifierField, MetadataField, PayloadField, SearchTextField
from .ids import new_id, new_revision
from .managers.branches import BranchQuerySet
from .managers.chats import ChatQuerySet
from .managers.checkpoints import CheckpointQuerySet
from .managers.messages import MessageQuerySet
from .managers.search import SearchEntryQuerySet

# Overrides and isolates of direction: in a title they would turn what stands behind it on a page.
DIRECTIONS = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)])
MAX_NAME_LENGTH = 200


class Chat(models.Model):
    """The container of one conversation graph, owned by one user."""

    id = IdentifierField(primary_key=True, default=new_id)
    user_id = IdentifierField()
    title = models.TextField(null=True, blank=True)
    metadata = MetadataField(blank=True)
    # Derived, so that a list of chats never counts messages.
    message_count = models.PositiveIntegerField(default=0, editable=False)
    # Grows with every change of the chat or of what is in it: what the chat was read at.
    revision = models.PositiveBigIntegerField(default=new_revision, editable=False)
    created_at = EpochMillisecondsField()
    updated_at = EpochMillisecondsField()

    objects = ChatQuerySet.as_manager()

    class Meta:
        verbose_name = _("chat")
        verbose_name_plural = _("chats")
        indexes = [
            models.Index(fields=["user_id", "-updated_at", "-id"], name="ctx_chat_user_updated"),
            models.Index(fields=["-updated_at", "-id"], name="ctx_chat_updated"),
        ]
        permissions = [("act_for_any_user", _("Can act for any user through the API"))]

    def __str__(self) -> str:
        return (self.title or "").translate(DIRECTIONS)[:MAX_NAME_LENGTH] or str(self.pk)

    def delete(self, using: str | None = None, keep_parents: bool = False) -> tuple[int, dict[str, int]]:  # noqa: FBT001, FBT002
        """Delete the chat and everything in it, in a fixed number of statements."""
        return type(self)._default_manager.using(using or self._state.db).filter(pk=self.pk).delete()


class Message(models.Model):
    """
    A node of the graph.

    ``segment`` is the id of the message that starts the unbroken run which this one lies in, ``depth`` its distance
    from the root. The first message of a run also holds ``ancestry``: where the runs above it fork (see ``lineage``).
    """

    id = IdentifierField(primary_key=True, default=new_id)
    chat = models.ForeignKey(Chat, models.CASCADE, related_name="messages", db_index=False)
    parent = models.ForeignKey(
        "self", models.DO_NOTHING, null=True, blank=True, related_name="children", db_index=False
    )
    name = IdentifierField()
    type = IdentifierField(null=True, blank=True, default="message")
    data = PayloadField()
    segment = IdentifierField(editable=False)
    depth = models.IntegerField(editable=False)
    ancestry = PayloadField(null=True, editable=False)
    created_at = EpochMillisecondsField()

    objects = MessageQuerySet.as_manager()

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        indexes = [models.Index(fields=["parent"], name="ctx_message_parent")]
        constraints = [
            models.UniqueConstraint(fields=["segment", "depth"], name="ctx_message_place"),
            models.UniqueConstraint(fields=["chat", "id"], name="ctx_message_chat"),
            models.CheckConstraint(condition=~Q(parent=F("id")), name="ctx_message_not_its_parent"),
        ]
        permissions = [("view_message_content", _("Can read the content of messages"))]

    def __str__(self) -> str:
        return f"{self.name} {self.pk}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store a message that has its place. Raises ``InvalidData`` for one that has none."""
        if not self.segment:
            raise InvalidData("has no place in the graph: store messages with Message.objects.append() or add()")
        super().save(*args, **kwargs)


class Branch(models.Model):
    """A named pointer to a head message; one branch of a chat is active."""

    id = IdentifierField(primary_key=True, default=new_id)
    chat = models.ForeignKey(Chat, models.CASCADE, related_name="branches", db_index=False)
    name = IdentifierField()
    head_message = models.ForeignKey(
        Message, models.DO_NOTHING, null=True, blank=True, related_name="heads", db_index=False
    )
    is_active = models.BooleanField(default=False)
    created_at = EpochMillisecondsField()

    objects = BranchQuerySet.as_manager()

    class Meta:
        verbose_name = _("branch")
        verbose_name_plural = _("branches")
        indexes = [models.Index(fields=["head_message"], name="ctx_branch_head")]
        constraints = [
            models.UniqueConstraint(fields=["chat", "name"], name="ctx_branch_name"),
            models.UniqueConstraint(fields=["chat"], condition=Q(is_active=True), name="ctx_branch_active"),
        ]

    def __str__(self) -> str:
        return str(self.name)


class Checkpoint(models.Model):
    """A named pointer to one message."""

    id = IdentifierField(primary_key=True, default=new_id)
    chat = models.ForeignKey(Chat, models.CASCADE, related_name="checkpoints", db_index=False)
    name = IdentifierField()
    message = models.ForeignKey(Message, models.DO_NOTHING, related_name="checkpoints", db_index=False)
    created_at = EpochMillisecondsField()

    objects = CheckpointQuerySet.as_manager()

    class Meta:
        verbose_name = _("checkpoint")
        verbose_name_plural = _("checkpoints")
        indexes = [models.Index(fields=["message"], name="ctx_checkpoint_message")]
        constraints = [models.UniqueConstraint(fields=["chat", "name"], name="ctx_checkpoint_name")]

    def __str__(self) -> str:
        return str(self.name)


class SearchEntry(models.Model):
    """The searchable text of a message, written with it and gone with it."""

    message = models.OneToOneField(Message, models.CASCADE, related_name="search_entry")
    chat = models.ForeignKey(Chat, models.CASCADE, related_name="+", db_index=False)
    user_id = IdentifierField()
    name = IdentifierField()
    content = SearchTextField()

    objects = SearchEntryQuerySet.as_manager()

    class Meta:
        verbose_name = _("search entry")
        verbose_name_plural = _("search entries")
        indexes = [
            models.Index(fields=["chat"], name="ctx_search_chat"),
            models.Index(fields=["user_id"], name="ctx_search_user"),
        ]

    def __str__(self) -> str:
        return str(self.message_id)


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
