"""UI messages and messages of the store: a UI message is the data of one message, whole and unchanged."""

from collections.abc import Iterable
from typing import Any

from context_store.adapters.base import stored_name
from context_store.adapters.chats import translated
from context_store.exceptions import InvalidData
from context_store.messages import ui_messages
from context_store.records import MessageRecord
from context_store.types import MessageFields

UIMessage = dict[str, Any]

# The type of messages that are UI messages.
UI_MESSAGE = "ai_sdk"
ROLES = ("user", "assistant", "system")


def from_ui_messages(messages: Iterable[UIMessage]) -> list[MessageFields]:
    """
    Return UI messages as messages to append, under the ids that they have.

    Raises ``InvalidData`` for what is no UI message.
    """
    stored: list[MessageFields] = []
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("parts"), list):
            raise InvalidData("must be an object with a list of parts", ("messages", index))
        if message.get("role") not in ROLES:
            raise InvalidData(f"must be one of {', '.join(ROLES)}", ("messages", index, "role"))
        message_id = message.get("id")
        if message_id is not None and not isinstance(message_id, str):
            raise InvalidData("must be text", ("messages", index, "id"))
        fields: MessageFields = {"name": message["role"], "type": UI_MESSAGE, "data": message}
        # A client may leave its id empty: then the store gives one.
        if message_id:
            fields["id"] = stored_name(message_id)
        stored.append(fields)
    return stored


def to_ui_messages(records: Iterable[MessageRecord]) -> list[UIMessage]:
    """
    Return messages of the store as UI messages.

    Those that were UI messages are as they were. Of others, calls of tools and their answers are one part, and what an
    assistant said from one message of the user to the next is one message.
    """
    return translated(list(records), is_ui_message, _shown, lambda run: ui_messages(run, merge_consecutive=True))


def is_ui_message(record: MessageRecord) -> bool:
    """Tell whether the data is a UI message."""
    return record.type == UI_MESSAGE and isinstance(record.data, dict) and isinstance(record.data.get("parts"), list)


def _shown(record: MessageRecord) -> UIMessage:
    message: UIMessage = record.data
    return message if message.get("id") else {**message, "id": record.id}
