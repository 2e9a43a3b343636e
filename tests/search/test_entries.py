"""The entries' QuerySet, on the database of the run and its own backend."""

from io import StringIO

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import override_settings
from pytest_django import DjangoAssertNumQueries

from context_store.exceptions import InvalidData, SearchUnavailable
from context_store.managers.search import recreate_index
from context_store.models import Message, SearchEntry
from context_store.search.base import backend_for
from context_store.store import ContextStore

pytestmark = pytest.mark.django_db

has_own_index = pytest.mark.vendor("sqlite", "postgresql")


@pytest.fixture
def store() -> ContextStore:
    store = ContextStore()
    for user in ("alice", "bob"):
        store.create_chat(f"{user}'s", user_id=user)
        store.append_messages(
            f"{user}'s", [{"name": "user", "data": f"{user} was running"}, {"name": "tool", "data": {}}]
        )
    return store


@pytest.fixture
def settled(store: ContextStore) -> None:
    """Check deferred constraints now: PostgreSQL alters no table that has any left to check."""
    connection.check_constraints()


def texts(hits: list) -> list[str]:
    return [hit.message.data for hit in hits]


def drop_index() -> None:
    with connection.cursor() as cursor:
        backend_for("default").drop_index(cursor.execute)


def test_hits_are_records_with_rank_and_snippet(store: ContextStore) -> None:
    [hit] = SearchEntry.objects.hits("running", chat_id="alice's")
    assert hit.message == store.get_messages("alice's")[0]
    assert hit.rank > 0
    assert hit.snippet == "alice was <mark>running</mark>"


def test_hits_cost_two_statements(store: ContextStore, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(2):
        assert len(SearchEntry.objects.hits("running OR runn*")) == 2


def test_hits_of_an_owner_are_their_own(store: ContextStore) -> None:
    entries = SearchEntry.objects.visible_to("alice")
    assert texts(entries.hits("running")) == ["alice was running"]
    assert entries.hits("running", chat_id="bob's") == []
    assert entries.hits("running", user_id="bob") == []


def test_hits_of_no_roles_are_none(store: ContextStore) -> None:
    assert SearchEntry.objects.hits("running", roles=[]) == []
    assert len(SearchEntry.objects.hits("running", roles=(role for role in ["user"]))) == 2


def test_hits_know_the_language(store: ContextStore) -> None:
    assert len(SearchEntry.objects.hits("runs")) == (2 if connection.vendor in ("sqlite", "postgresql") else 0)


@pytest.mark.parametrize(
    "arguments",
    [
        {"query": None},
        {"query": b"x"},
        {"limit": -1},
        {"limit": 2**31},
        {"limit": "5"},
        {"roles": "user"},
        {"roles": ["\0"]},
        {"roles": [1]},
        {"chat_id": "\0"},
        {"user_id": " "},
    ],
)
def test_hits_refuse_bad_arguments(arguments: dict) -> None:
    with pytest.raises(InvalidData):
        SearchEntry.objects.hits(**{"query": "x", **arguments})


def test_changed_messages_are_found_by_their_new_text(store: ContextStore) -> None:
    message = store.get_messages("alice's")[0]
    store.add_message({"id": message.id, "chat_id": "alice's", "name": "user", "data": "changed"})
    assert store.search_messages("alice's", "running") == []
    assert texts(store.search_messages("alice's", "changed")) == ["changed"]
    store.add_message({"id": message.id, "chat_id": "alice's", "name": "user", "data": {}})
    assert store.search_messages("alice's", "changed") == []


def test_deleted_chats_are_not_found(store: ContextStore) -> None:
    assert store.delete_chat("alice's")
    assert texts(SearchEntry.objects.hits("running")) == ["bob was running"]


@has_own_index
def test_missing_index_is_explained(settled: None) -> None:
    drop_index()
    with pytest.raises(SearchUnavailable, match=r"migrate .*rebuild_search_index --database default"):
        SearchEntry.objects.hits("running")


@has_own_index
def test_rebuild_makes_a_missing_index(settled: None) -> None:
    drop_index()
    call_command("rebuild_search_index", stdout=StringIO())
    assert len(SearchEntry.objects.hits("running")) == 2


def test_rebuild_makes_missing_entries_and_removes_those_without_text(store: ContextStore) -> None:
    alice, empty = store.get_messages("alice's")
    SearchEntry.objects.filter(message_id=alice.id).delete()
    SearchEntry.objects.create(message_id=empty.id, chat_id="alice's", user_id="alice", name="tool", content="stale")
    SearchEntry.objects.filter(chat_id="bob's").update(content="stale", user_id="alice")
    output = StringIO()
    call_command("rebuild_search_index", batch_size=1, verbosity=2, stdout=output)
    assert "Indexed 3 of 4." in output.getvalue()
    assert set(SearchEntry.objects.values_list("user_id", "content")) == {
        ("alice", "alice was running"),
        ("bob", "bob was running"),
    }
    assert SearchEntry.objects.hits("stale") == []


def test_rebuild_refuses_empty_batches() -> None:
    with pytest.raises(CommandError):
        call_command("rebuild_search_index", batch_size=0)


@has_own_index
def test_language_is_that_of_the_setting(settled: None) -> None:
    with override_settings(CONTEXT_STORE_SEARCH_LANGUAGE="simple"):
        assert recreate_index("default")
        assert SearchEntry.objects.hits("runs") == []
        assert len(SearchEntry.objects.hits("running")) == 2
        assert not recreate_index("default")
    assert recreate_index("default")
    assert len(SearchEntry.objects.hits("runs")) == 2
    assert not recreate_index("default")
    assert recreate_index("default", force=True)


@pytest.mark.vendor("postgresql")
def test_languages_of_other_scripts_stem_latin_words_as_english(store: ContextStore) -> None:
    store.append_messages("alice's", [{"name": "user", "data": "новые сообщения"}])
    connection.check_constraints()
    with override_settings(CONTEXT_STORE_SEARCH_LANGUAGE="russian"):
        recreate_index("default")
        assert len(SearchEntry.objects.hits("runs")) == 2
        assert len(SearchEntry.objects.hits("сообщение")) == 1


@pytest.mark.vendor("postgresql")
@override_settings(CONTEXT_STORE_SEARCH_LANGUAGE="klingon")
def test_unknown_language_is_explained() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"'klingon'.*english"):
        recreate_index("default")


def test_message_of_a_hit_that_is_gone_is_left_out(store: ContextStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(SearchEntry.objects.all()), "_messages", lambda self, ids: {})
    assert Message.objects.exists()
    assert SearchEntry.objects.hits("running") == []
