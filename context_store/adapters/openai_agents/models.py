from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from context_store.fields import IdentifierField, PayloadField


class TurnUsage(models.Model):
    """
    What the run of one turn has used: of the turn that the message begins, on the branch of that name.

    ``details`` are the SDK's ``input_tokens_details`` and ``output_tokens_details``.
    """

    chat = models.ForeignKey("context_store.Chat", models.CASCADE, related_name="+", db_index=False)
    branch = IdentifierField()
    message_id = IdentifierField()
    requests = models.BigIntegerField()
    input_tokens = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    total_tokens = models.BigIntegerField()
    details: Any = PayloadField(default=dict)

    class Meta:
        verbose_name = _("usage of a turn")
        verbose_name_plural = _("usage of turns")
        constraints = [
            models.UniqueConstraint(fields=["chat", "branch", "message_id"], name="ctx_openai_turn"),
        ]

    def __str__(self) -> str:
        return str(self.message_id)
