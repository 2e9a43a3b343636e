"""Signals, sent after the transaction has committed. A receiver that raises is logged and stops nobody."""

from contextvars import copy_context
from functools import partial
from typing import Any

from django.db import transaction
from django.dispatch import Signal

#: Arguments: chat_id, messages (list of MessageRecord, parents first), using.
messages_appended = Signal()
#: Arguments: chat_id, message_ids, using. Their name, type, data or parent.
message_changed = Signal()
#: Arguments: chat_id, revision, using. Every write of a chat or of what is in it, once a transaction, but for its end.
chat_changed = Signal()
#: Arguments: chat_id, user_id, using.
chat_deleted = Signal()
#: Arguments: chat_id, user_id, using.
chat_trashed = Signal()
#: Arguments: chat_id, user_id, using.
chat_restored = Signal()
#: Arguments: entry (AuditEntry), using: something was exported, trashed, deleted, held, released or erased.
audited = Signal()
#: Arguments: chat_id, branch_id, name, head_message_id, using.
branch_head_moved = Signal()


def after_commit(using: str, signal: Signal, sender: type, **arguments: Any) -> None:
    """Send the signal once the current transaction on the database has committed, if anybody listens to it."""
    if signal.receivers:
        # In today's context: the audit log names who acts now, and a commit may come after they have left.
        send = partial(copy_context().run, signal.send_robust, sender, using=using, **arguments)
        transaction.on_commit(send, using=using)
