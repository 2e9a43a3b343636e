from django.db import models
from django.utils.translation import gettext_lazy as _

from context_store.fields import IdentifierField, PayloadField


class AgentTask(models.Model):
    """
    A task of an A2A server, as ``DjangoTaskStore`` keeps it.

    ``state`` is the number of the protocol's ``TaskState``; ``status_time`` is in nanoseconds since the Unix epoch, the
    precision of the protocol.
    """

    user_id = IdentifierField()
    task_id = IdentifierField()
    context_id = IdentifierField()
    state = models.IntegerField()
    status_time = models.BigIntegerField()
    data = PayloadField()

    class Meta:
        verbose_name = _("agent task")
        verbose_name_plural = _("agent tasks")
        indexes = [
            models.Index(fields=["user_id", "-status_time", "-task_id"], name="ctx_a2a_user_time"),
            models.Index(fields=["user_id", "context_id"], name="ctx_a2a_context"),
            # What has finished long ago is purged by state and time, over all users.
            models.Index(fields=["state", "status_time"], name="ctx_a2a_state_time"),
        ]
        constraints = [models.UniqueConstraint(fields=["user_id", "task_id"], name="ctx_a2a_task")]

    def __str__(self) -> str:
        return str(self.task_id)
