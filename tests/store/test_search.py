"""Search through the facade; the query language and the engines have tests of their own in tests/search."""

import pytest
from django.db import connection

from context_store.exceptions import InvalidData
from context_store.models import Chat, SearchEntry
from tests.store.data import message, node


def found(hits):
    return [hit.message.id for hit in hits]


def test_search_finds_messages_of_the_chat(store, chat):
    store.create_chat("other", user_id="alice")
    store.append_messages("other", [message("o1")])
    assert set(found(store.search_messages(chat, "text"))) == {"m1", "m2", "m3"}
    (hit,) = store.search_messages(chat, '"of m2"')
    assert hit.message == store.get_message("m2")
    assert "<mark>" in hit.snippet


def test_search_of_roles(store, chat):
    assert found(store.search_messages(chat, "text", roles=["assistant"])) == ["m2"]
    assert store.search_messages(chat, "text", roles=[]) == []


def test_search_of_a_missing_chat_does_not_exist(store):
    with pytest.raises(Chat.DoesNotExist):
        store.search_messages("nowhere", "text")


def test_search_chats_is_of_one_user(store, chat):
    store.create_chat("bobs", user_id="bob")
    store.append_messages("bobs", [message("b1")])
    assert found(store.search_chats("text", user_id="bob")) == ["b1"]
    assert set(found(store.search_chats("text", user_id="alice"))) == {"m1", "m2", "m3"}
    with pytest.raises(InvalidData, match="user_id"):
        store.search_chats("text")


def test_search_entries_follow_their_messages(store, chat):
    store.add_message(node("m1", None, data={"content": "changed words"}))
    assert found(store.search_messages(chat, "changed")) == ["m1"]
    assert "m1" not in found(store.search_messages(chat, "text"))
    store.add_message(node("m1", None, data=None))
    assert store.search_messages(chat, "changed") == []
    store.delete_chat(chat)
    assert not SearchEntry.objects.exists()
    assert store.search_chats("text", user_id="alice") == []


def test_search_takes_three_statements(store, chat, django_assert_num_queries):
    # PostgreSQL keeps to the time limit in a savepoint of its own: four more.
    with django_assert_num_queries(3 + 4 * (connection.vendor == "postgresql")):
        store.search_messages(chat, "text")


def test_search_of_many_roles(store, chat):
    roles = [f"role-{number}" for number in range(2_047)]
    assert len(store.search_messages(chat, "text", roles=[*roles, "user"])) == 2
    with pytest.raises(InvalidData, match="at most 2048 roles"):
        store.search_messages(chat, "text", roles=[*roles, "user", "assistant"])


def test_search_limits(store, chat):
    assert len(store.search_messages(chat, "text", limit=2)) == 2
    assert store.search_messages(chat, "text", limit=0) == []
    with pytest.raises(InvalidData):
        store.search_messages(chat, "text", limit=-1)
