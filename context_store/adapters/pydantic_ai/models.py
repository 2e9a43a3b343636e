from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from context_store.fields import IdentifierField, PayloadField


class Conversation(models.Model):
    """
    The record of a conversation of pydantic-ai, whose entries are the messages of the chat.

    ``saved_at`` is in microseconds since the Unix epoch. ``record`` is pydantic-ai's own, as JSON.
    """

    chat = models.ForeignKey("context_store.Chat", models.CASCADE, related_name="+", db_index=False)
    user_id = IdentifierField()
    scope = IdentifierField(null=True)
    saved_at = models.BigIntegerField()
    record: Any = PayloadField()

    class Meta:
        verbose_name = _("conversation")
        verbose_name_plural = _("conversations")
        indexes = [
            models.Index(fields=["user_id", "-saved_at"], name="ctx_pydantic_user"),
            models.Index(fields=["user_id", "scope", "-saved_at"], name="ctx_pydantic_scope"),
        ]
        constraints = [models.UniqueConstraint(fields=["chat"], name="ctx_pydantic_chat")]

    def __str__(self) -> str:
        return str(self.chat_id)
