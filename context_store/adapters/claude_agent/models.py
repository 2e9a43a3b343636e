from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from context_store.fields import EpochMillisecondsField, IdentifierField, PayloadField


class ClaudeSession(models.Model):
    """
    The chat that a session of the Claude Agent SDK is, and what the SDK asks of it without reading it.

    ``written_at`` is null as long as the session has transcripts of subagents alone. ``subpaths`` are the names of
    those: each is a branch of the chat. ``summary`` is the SDK's own and not looked into.
    """

    chat = models.ForeignKey("context_store.Chat", models.CASCADE, related_name="+", db_index=False)
    user_id = IdentifierField()
    project_key = IdentifierField()
    session_id = IdentifierField()
    written_at = EpochMillisecondsField(null=True, default=None)
    subpaths: Any = PayloadField(default=list)
    summary = PayloadField(null=True)

    class Meta:
        verbose_name = _("Claude session")
        verbose_name_plural = _("Claude sessions")
        constraints = [
            models.UniqueConstraint(fields=["chat"], name="ctx_claude_chat"),
            models.UniqueConstraint(fields=["user_id", "project_key", "session_id"], name="ctx_claude_session"),
        ]

    def __str__(self) -> str:
        return str(self.session_id)
