"""The fixtures that the package ships."""

from collections.abc import Callable

from context_store import ContextStore
from context_store.records import ChatRecord
from context_store.testing.fixtures import chat_store, make_chat

__all__ = ["chat_store", "make_chat"]


def test_chats_are_made_as_they_were_said(chat_store: ContextStore, make_chat: Callable[..., ChatRecord]) -> None:
    chat = make_chat("Which tea?", "Sencha.", "Why?", title="Tea")
    said = [(message.name, message.data) for message in chat_store.get_messages(chat.id)]
    assert said == [("user", "Which tea?"), ("assistant", "Sencha."), ("user", "Why?")]
    assert (chat.title, chat.message_count) == ("Tea", 3)


def test_a_chat_of_somebody_else_is_not_in_the_store(
    chat_store: ContextStore, make_chat: Callable[..., ChatRecord]
) -> None:
    make_chat("Mine", user_id="somebody")
    assert chat_store.list_chats() == []
