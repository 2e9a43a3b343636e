"""What ``useChat`` sends, and what it does to a chat: https://ai-sdk.dev/docs/ai-sdk-ui/transport."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from asgiref.sync import sync_to_async

from context_store.exceptions import InvalidData
from context_store.records import MessageRecord
from context_store.store import ContextStore
from context_store.validation import check_identifier

from .messages import UI_MESSAGE, UIMessage, from_ui_messages, is_ui_message

SUBMIT, REGENERATE = "submit-message", "regenerate-message"


class UIRequest(NamedTuple):
    """``messages`` are those that the page has; of them the store takes what is new alone."""

    chat_id: str
    messages: list[UIMessage]
    trigger: str = SUBMIT
    message_id: str | None = None


# What the page posts; "messages" is all that it shows, of which ``_submit`` takes the last:
#
#     {"id": "tea", "trigger": "submit-message",
#      "messages": [{"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Green or black?"}]}]}
def parse_request(body: Mapping[str, Any]) -> UIRequest:
    """
    Return the request in the body that ``useChat`` posts, or in one that has the last ``message`` alone.

    Raises ``InvalidData``.
    """
    if not isinstance(body, Mapping):
        raise InvalidData("must be an object")
    messages = [body["message"]] if "message" in body else body.get("messages", [])
    if not isinstance(messages, list):
        raise InvalidData("must be a list of messages", ("messages",))
    from_ui_messages(messages)
    trigger, message_id = body.get("trigger") or SUBMIT, body.get("messageId")
    if trigger not in (SUBMIT, REGENERATE):
        raise InvalidData(f"must be {SUBMIT!r} or {REGENERATE!r}", ("trigger",))
    if message_id is not None:
        check_identifier(message_id, "messageId")
    return UIRequest(check_identifier(body.get("id"), "id"), messages, trigger, message_id)


def apply_request(store: ContextStore, request: UIRequest) -> list[MessageRecord]:
    """
    Do to the chat what the request asks for, and return its active branch: what a model answers next.

    The chat is made if there is none. A new message of the user is appended; one with a known id and other parts is a
    new version on a new branch, as the page shows it; an assistant's that has got answers of tools is changed where it
    lies. Regenerating starts a new branch above the answer. The history is the store's, whatever the page sends.
    Raises ``OwnerMismatch`` for another user's chat, ``InvalidData`` for an answer that is not on the branch.
    """
    store.upsert_chat(request.chat_id)
    # Read without a lock, and each write below is a transaction of its own. A request that is sent twice at once
    # appends its message once all the same, by the id.
    chain = store.get_messages(request.chat_id)
    if request.trigger == REGENERATE:
        _regenerate(store, request, chain)
    elif request.messages:
        _submit(store, request.chat_id, request.messages[-1], chain)
    return store.get_messages(request.chat_id)


async def aapply_request(store: ContextStore, request: UIRequest) -> list[MessageRecord]:
    """Do what ``apply_request`` does, in Django's thread for synchronous code."""
    return await sync_to_async(apply_request)(store, request)


def _submit(store: ContextStore, chat_id: str, message: UIMessage, chain: list[MessageRecord]) -> None:
    [given] = from_ui_messages([message])
    known = _named(chain, message.get("id"))
    if known is None:
        store.append_messages(chat_id, [given])
    elif known.data == message:
        # Sent again: what stood below it is answered anew.
        if known is not chain[-1]:
            store.rewind(chat_id, known.id)
    elif message["role"] == "user":
        store.edit_message(chat_id, known.id, message, type=UI_MESSAGE)
    else:
        store.add_messages([{**given, "id": known.id, "chat_id": chat_id}])


def _regenerate(store: ContextStore, request: UIRequest, chain: list[MessageRecord]) -> None:
    # Without an id it is the last answer.
    answer = _named(chain, request.message_id) if request.message_id else next(reversed(chain), None)
    if answer is None:
        raise InvalidData("is not on the active branch", ("messageId",))
    if answer.name == "user":
        if answer is not chain[-1]:
            store.rewind(request.chat_id, answer.id)
        return
    # A page shows as one message what others stored as several: the answer begins below the user's message.
    asked = next((record for record in reversed(chain[: chain.index(answer)]) if record.name == "user"), None)
    first = answer if is_ui_message(answer) else chain[0 if asked is None else chain.index(asked) + 1]
    store.regenerate(request.chat_id, first.id)


def _named(chain: list[MessageRecord], message_id: Any) -> MessageRecord | None:
    """Return the message that the page knows by the id: a new version of a message keeps the page's id in its data."""
    for record in chain[::-1]:
        page_id = record.data.get("id") if is_ui_message(record) else None
        if message_id and message_id in (record.id, page_id):
            return record
    return None
