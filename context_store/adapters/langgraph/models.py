"""
What LangGraph keeps of a thread, beside the messages of its chat.

Each value is the bytes that LangGraph's serializer made, with the type that it gave them.
"""

from typing import Any

from django.db import models

from context_store.db import FloatsField
from context_store.fields import EpochMillisecondsField, IdentifierField, PayloadField

# Short, so that a key of chat, namespace, checkpoint and task fits into the 900 bytes that SQL Server has for one.
KEY_LENGTH = 32
CHECKPOINT_LENGTH = 100
TASK_LENGTH = 50


def chat_of_row() -> Any:
    return models.ForeignKey("context_store.Chat", models.CASCADE, related_name="+", db_index=False)


# A thread "t", whose channel ``messages`` has [m1, m2] at c1 and [m1, m2, m3] at c2. D(…) is a digest, n that of the
# namespace:
#
#     ThreadCheckpoint  (t, n, c1)            channel_versions: messages 2, count 1
#                       (t, n, c2)            channel_versions: messages 3, count 1; parent c1
#     ThreadValue       (t, D(messages 2))    items [["r", 2]]
#                       (t, D(messages 3))    items [["r", 3]]
#                       (t, D(count 1))       its bytes, once for both
#     ThreadItem        (t, r = D(m1))        run r, position 0
#                       (t, D(m1 m2))         run r, position 1
#                       (t, D(m1 m2 m3))      run r, position 2
#     ThreadWrite       (t, n, c2, task, 0)   what a task after c2 gave, until c3 has it
#
# From c1 a fork to [m1, m2, x] adds an item (t, s = D(m1 m2 x)), run s, position 2, ancestry [["r", 2]], and a value
# [["r", 2], ["s", 3]]: the first two of run r, then run s up to three.
class ThreadCheckpoint(models.Model):
    """
    A checkpoint of a thread: its state without the values of channels, but those that have one for a single step.

    ``namespace_key`` and ``run_key`` are digests of the namespace and of the run that made it, which have any length.
    ``message_id`` is the last message of the chat that its state has, where a delta channel holds the messages.
    """

    pk = models.CompositePrimaryKey("chat_id", "namespace_key", "id")
    chat = chat_of_row()
    namespace_key = IdentifierField(max_length=KEY_LENGTH)
    id = IdentifierField(max_length=CHECKPOINT_LENGTH)
    namespace = models.TextField()
    parent_id = IdentifierField(max_length=CHECKPOINT_LENGTH, null=True)
    run_key = IdentifierField(max_length=KEY_LENGTH, null=True)
    type = IdentifierField()
    data = models.BinaryField()
    metadata_type = IdentifierField()
    metadata = models.BinaryField()
    message_id = IdentifierField(null=True)

    class Meta:
        indexes = [models.Index(fields=["run_key"], name="ctx_langgraph_run")]

    def __str__(self) -> str:
        return str(self.id)


class ThreadValue(models.Model):
    """
    One version of a channel, if it has a value. ``key`` is the digest of namespace, channel and version.

    A list is kept as its items, in ``ThreadItem``, also that of a delta channel's snapshot; then the bytes are JSON:
    ``[[run, end], …]``.
    """

    pk = models.CompositePrimaryKey("chat_id", "key")
    chat = chat_of_row()
    key = IdentifierField(max_length=KEY_LENGTH)
    type = IdentifierField()
    data = models.BinaryField()

    def __str__(self) -> str:
        return str(self.key)


class ThreadItem(models.Model):
    """
    An item of lists, once for all lists of the chat that begin with the same items.

    ``digest`` is that of the list down to the item. Items that follow each other without a fork are a ``run``, named by
    the digest of its first item, which also has the runs above it: ``ancestry``, ``[[run, end], …]``. ``message_id`` is
    the message of the chat that the item was written as.
    """

    pk = models.CompositePrimaryKey("chat_id", "digest")
    chat = chat_of_row()
    digest = IdentifierField(max_length=KEY_LENGTH)
    run = IdentifierField(max_length=KEY_LENGTH)
    position = models.IntegerField()
    ancestry = PayloadField(null=True)
    type = IdentifierField()
    data = models.BinaryField()
    message_id = IdentifierField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["chat", "run", "position"], name="ctx_langgraph_item_place"),
        ]

    def __str__(self) -> str:
        return str(self.digest)


class ThreadWrite(models.Model):
    """A write of a task that is not part of a checkpoint yet. Special channels have negative numbers."""

    pk = models.CompositePrimaryKey("chat_id", "namespace_key", "checkpoint_id", "task_id", "number")
    chat = chat_of_row()
    namespace_key = IdentifierField(max_length=KEY_LENGTH)
    checkpoint_id = IdentifierField(max_length=CHECKPOINT_LENGTH)
    task_id = IdentifierField(max_length=TASK_LENGTH)
    number = models.IntegerField()
    task_path = models.TextField()
    channel = models.TextField()
    type = IdentifierField()
    data = models.BinaryField()

    def __str__(self) -> str:
        return f"{self.task_id} {self.number}"


class StoreItem(models.Model):
    """
    An item of a user's long-term memory. ``namespace`` is its labels with periods between them.

    ``ttl`` is in milliseconds: a read or a write moves ``expires_at`` so far ahead.
    """

    user_id = IdentifierField()
    namespace = IdentifierField()
    key = IdentifierField()
    value: Any = PayloadField()
    created_at = EpochMillisecondsField()
    updated_at = EpochMillisecondsField()
    expires_at = EpochMillisecondsField(null=True, default=None)
    ttl = models.BigIntegerField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["user_id", "-updated_at"], name="ctx_langgraph_updated"),
            models.Index(fields=["expires_at"], name="ctx_langgraph_expires"),
        ]
        constraints = [models.UniqueConstraint(fields=["user_id", "namespace", "key"], name="ctx_langgraph_memory")]

    def __str__(self) -> str:
        return f"{self.namespace} {self.key}"


class StoreVector(models.Model):
    """The embedding of one text of an item."""

    item = models.ForeignKey(StoreItem, models.CASCADE, related_name="vectors")
    vector = FloatsField()

    def __str__(self) -> str:
        return f"of {self.item_id}"
