"""Reads and changes of the data of others: each such request has an entry of the audit log."""

from collections.abc import Mapping
from contextlib import ExitStack
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from django.db import router, transaction
from django.http import HttpResponseBase
from rest_framework.permissions import SAFE_METHODS

from context_store.lifecycle.audit import CHANGE, READ, record
from context_store.models import AuditEntry

OTHERS = "others"


@dataclass
class Access:
    """
    Whose data one request reads or changes: noted where it is told whom it acts for, recorded when it has succeeded.

    A request that writes is in a transaction from the first note on: the change and its entry are stored, or neither.
    One that is refused leaves no entry: nothing was read or changed.
    """

    stack: ExitStack
    method: str | None
    # In their order, each once; ``None`` is everybody.
    users: dict[str | None, None] = field(default_factory=dict)

    @property
    def using(self) -> str:
        return router.db_for_write(AuditEntry)

    @property
    def action(self) -> str:
        return READ if self.method in SAFE_METHODS else CHANGE

    def note(self, user_id: str | None) -> None:
        """Note that the caller acts for a user, or with ``None`` for everybody."""
        if not self.users and self.action == CHANGE:
            # The stack is that of ``dispatch``: the transaction ends behind ``end``, so that change and entry commit
            # together.
            self.stack.enter_context(transaction.atomic(using=self.using))
        self.users[user_id] = None

    def end(self, response: HttpResponseBase, operation: str, ids: Mapping[str, str]) -> None:
        """Record what was noted, unless it was refused; ``ids`` are the path's. Where it fails nothing is sent."""
        is_refused = response.status_code >= 300
        if is_refused and self.users and self.action == CHANGE:
            transaction.set_rollback(True, using=self.using)
        for user_id in () if is_refused else self.users:
            chat_id = chat_of(getattr(response, "data", None), user_id, ids)
            try:
                record(self.action, using=self.using, user_id=user_id, chat_id=chat_id, operation=operation)
            except Exception:
                # A reader of a feed gives its place back.
                response.close()
                raise


ACCESS: ContextVar[Access | None] = ContextVar("context_store_access", default=None)


def chat_of(answer: Any, user_id: str | None, ids: Mapping[str, str]) -> str | None:
    """Return the id of the chat or the session that a request was about, where it was about one."""
    if isinstance(answer, dict):
        if answer.get("user_id") == user_id is not None and "message_count" in answer:
            # A chat, which may be new.
            return str(answer["id"])
        if isinstance(answer.get("chat_id"), str):
            return str(answer["chat_id"])
    return ids.get("chat_id") or ids.get("session_id")
