"""Access to one chat of one user, whether it is there already or not."""

import copy
from collections.abc import Callable
from typing import TypeVar

from django.core.exceptions import ObjectDoesNotExist

from context_store.exceptions import InvalidData, OwnerMismatch
from context_store.models import Chat
from context_store.store import ContextStore
from context_store.validation import check_identifier

from .rows import Rows

Result = TypeVar("Result")


class Access:
    """
    The chat as its owner reaches it, by a store narrowed to this user.

    It comes into being with the first write. Once it has been seen it is not created again: an answer that arrives
    after its chat has been deleted raises ``Chat.DoesNotExist``.
    """

    def __init__(self, store: ContextStore, chat_id: str, user_id: str | None) -> None:
        self.user_id = _owner(store, user_id)
        self.chat_id = check_identifier(chat_id, "chat_id")
        self.store = copy.copy(store)
        self.store.user_id = self.user_id
        self._was_seen = False

    @property
    def rows(self) -> Rows:
        return Rows.of(self.store, self.chat_id)

    def read(self, operation: Callable[[], Result], otherwise: Callable[[], Result] | None = None) -> Result:
        """Return what the operation gives, or ``otherwise`` where there is no chat. Raises ``OwnerMismatch``."""
        try:
            result = operation()
        except ObjectDoesNotExist as error:
            if not self._was_seen:
                self.rows.refuse_foreign()
            if self._was_seen or otherwise is None or not isinstance(error, Chat.DoesNotExist):
                raise
            return otherwise()
        self._was_seen = True
        return result

    def write(self, operation: Callable[[], Result]) -> Result:
        """Return what the operation gives; create the chat for it. Raises ``OwnerMismatch``."""
        try:
            result = operation()
        except Chat.DoesNotExist:
            if self._was_seen:
                raise
            self.store.upsert_chat(self.chat_id)
            result = operation()
        self._was_seen = True
        return result


def _owner(store: ContextStore, user_id: str | None) -> str:
    if user_id is None and store.user_id is None:
        raise InvalidData("is required: an engine works for one user", ("user_id",))
    if user_id is not None and store.user_id not in (None, user_id):
        raise OwnerMismatch(f"The store is that of {store.user_id!r}, the engine that of {user_id!r}.")
    return check_identifier(store.user_id if user_id is None else user_id, "user_id")
