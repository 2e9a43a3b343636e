from functools import partial
from io import StringIO

import pytest
from django.core.management import call_command

from context_store.models import Message, SearchEntry
from context_store.store import ContextStore
from tests.races import run_threads

pytestmark = pytest.mark.django_db(transaction=True)


def write(chat_id: str) -> None:
    store = ContextStore()
    for number in range(15):
        store.append_messages(chat_id, [{"id": f"{chat_id}{number}", "name": "user", "data": f"first {number}"}])
        store.add_message({"id": f"{chat_id}{number}", "chat_id": chat_id, "name": "user", "data": f"second {number}"})


def delete(chat_ids: list[str]) -> None:
    for chat_id in chat_ids:
        assert ContextStore().delete_chat(chat_id)


def rebuild() -> None:
    for _ in range(5):
        call_command("rebuild_search_index", batch_size=3, stdout=StringIO())


def test_rebuild_while_the_site_writes_loses_nothing() -> None:
    store = ContextStore()
    for chat_id in "abcde":
        store.create_chat(chat_id, user_id="alice")
        store.append_messages(chat_id, [{"name": "user", "data": "words"}] * 5)
    run_threads(rebuild, partial(write, "a"), partial(write, "b"), partial(delete, ["c", "d", "e"])).raise_errors()
    contents = dict(SearchEntry.objects.values_list("message_id", "content"))
    assert contents == dict(Message.objects.values_list("id", "data"))
    assert len(contents) == 2 * (5 + 15)
    assert len(SearchEntry.objects.hits("second", limit=100)) == 30
    assert SearchEntry.objects.hits("first") == []
