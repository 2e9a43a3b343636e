"""The entries' QuerySet, on the database of the run and its own backend."""

from io import StringIO
from time import monotonic
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries

from context_store.exceptions import InvalidData, SearchUnavailable
from context_store.models import SearchEntry
from context_store.search.backends import FALLBACK, search_backends
from context_store.search.backends.base import Found, Match, Scope
from context_store.search.backends.fallback import FallbackBackend
from context_store.search.budget import Budget, TimeUpError, limited
from context_store.search.checks import check_search, check_search_index
from context_store.search.index import index_problem, recreate_index
from context_store.search.query import Node
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
        search_backends["default"].drop_index(cursor.execute)


def test_hits_are_records_with_rank_and_snippet(store: ContextStore) -> None:
    [hit] = SearchEntry.objects.hits("running", chat_id="alice's")
    assert hit.message == store.get_messages("alice's")[0]
    assert hit.rank > 0
    assert hit.snippet == "alice was <mark>running</mark>"


def test_hits_cost_three_statements(store: ContextStore, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    """The matches, the texts for the snippets, and the messages with the data of those that are not large."""
    limits = 4 if connection.vendor == "postgresql" else 0
    with django_assert_num_queries(3 + limits):
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


@pytest.mark.parametrize(
    "query",
    ["(was-r* -c*) OR (was-r* -b*)", "(was-r* -c*) (runn* -b*)", "was-r* -(c* OR b-c*)"],
)
def test_prefixes_with_exclusions_alone_are_searched(store: ContextStore, query: str) -> None:
    assert texts(SearchEntry.objects.hits(query, user_id="alice")) == ["alice was running"]


@pytest.mark.vendor("postgresql")
@pytest.mark.parametrize(
    ("query", "asked", "compared"),
    [
        ("r* wa* runn*", ["'runn':A*"], ["'r':A*", "'wa':A*"]),
        ("runn* was-r*", ["'runn':A*"], ["'~was':A) <-> ('r':A*"]),
        ("r* OR w* OR a*", [], ["'r':A*", "'w':A*", "'a':A*"]),
        ("runn* OR alic*", ["'runn':A*", "'alic':A*"], []),
    ],
)
def test_the_index_is_asked_for_few_prefixes(
    store: ContextStore, query: str, asked: list[str], compared: list[str]
) -> None:
    """It reads all words that begin like one, and no timeout breaks that off."""
    with CaptureQueriesContext(connection) as sent:
        assert "alice was running" in texts(SearchEntry.objects.hits(query, user_id="alice"))
    [sql] = [found["sql"].replace("''", "'") for found in sent if "@@ lower(" in found["sql"]]
    conditions = sql.partition("FROM entries AS e WHERE")[2]
    for prefixes, is_true in ((asked, False), (compared, True)):
        parts = conditions.split("@@ lower(")[1:]
        found = [part for part in parts if ("IS TRUE" in part.partition("@@")[0]) is is_true]
        assert all(any(prefix in part for part in found) for prefix in prefixes), (is_true, conditions)


def test_message_of_a_hit_that_is_gone_is_left_out(store: ContextStore, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Found([Match(0, "alice's", "gone", 1.0)])
    monkeypatch.setattr(search_backends["default"], "find", lambda *arguments: gone)
    assert SearchEntry.objects.hits("running") == []


# Scope


def test_hits_are_of_the_entries_that_the_queryset_has(store: ContextStore) -> None:
    entries = SearchEntry.objects
    assert texts(entries.filter(user_id="alice").hits("running")) == ["alice was running"]
    assert texts(entries.exclude(chat_id="bob's").hits("runn*")) == ["alice was running"]
    assert texts(entries.filter(name="tool").hits("running")) == []
    assert texts(entries.order_by("id")[:1].hits("running", user_id="bob")) == []
    assert len(entries.all().hits("running")) == 2
    for none in (entries.none(), entries.visible_to("alice").none(), entries.filter(id__in=[])):
        assert none.hits("running") == []


def test_hits_of_two_owners_are_nobodys(store: ContextStore) -> None:
    entries = SearchEntry.objects.visible_to("alice").visible_to("bob")
    assert entries.hits("running") == []
    assert entries.hits("running", user_id="bob") == []
    assert texts(SearchEntry.objects.visible_to("bob").visible_to("bob").hits("running")) == ["bob was running"]


def test_the_fallback_keeps_to_the_scope_too(store: ContextStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_backends["default"], "find", FallbackBackend("default").find)
    assert texts(SearchEntry.objects.filter(user_id="alice").hits("running")) == ["alice was running"]
    assert SearchEntry.objects.visible_to("alice").visible_to("bob").hits("running") == []
    assert SearchEntry.objects.none().hits("running") == []


# Size


def test_data_of_hits_is_whole_as_long_as_it_is_not_large(store: ContextStore) -> None:
    store.create_chat("c", user_id="carol")
    small, large = {"content": "needle small"}, {"content": "needle large", "rest": "x" * 5_000}
    unpacked = {"content": "needle unpacked", "rest": "x" * 1_000_000}
    store.append_messages("c", [{"name": "user", "data": data} for data in (small, large, unpacked, None)])
    hits = {hit.snippet.split()[1]: hit for hit in store.search_messages("c", "needle")}
    assert (hits["small"].message.data, hits["small"].is_cut) == (small, False)
    for name in ("large", "unpacked"):
        assert (hits[name].message.data, hits[name].is_cut) == (None, True)


def test_all_data_of_one_search_has_a_bound(store: ContextStore) -> None:
    store.create_chat("c", user_id="carol")
    store.append_messages("c", [{"name": "user", "data": f"needle {number} " + "é" * 1_500} for number in range(60)])
    hits = store.search_messages("c", "needle", limit=60)
    whole = [hit for hit in hits if not hit.is_cut]
    assert hits[: len(whole)] == whole
    assert 8 <= len(whole) < 20


# The budget


def test_without_time_hits_have_no_marks(store: ContextStore, monkeypatch: pytest.MonkeyPatch) -> None:
    matched = search_backends["default"].search(query="running", chat_id="alice's")
    monkeypatch.setattr(search_backends["default"], "find", lambda *arguments: matched)
    monkeypatch.setattr(
        Budget, "until", lambda self, share: setattr(self, "_end", 0 if share == 1 else monotonic() + 9)
    )
    [hit] = SearchEntry.objects.hits("running", chat_id="alice's")
    assert (hit.snippet, hit.message.data, hit.is_cut) == ("alice was running", None, True)


@pytest.mark.vendor("sqlite", "postgresql")
def test_the_database_breaks_off_what_takes_too_long(settled: None) -> None:
    slow = {
        "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n",
        "postgresql": "SELECT pg_sleep(60)",
    }[connection.vendor]
    with override_settings(CONTEXT_STORE_SEARCH_BUDGET={"milliseconds": 100}):
        budget = Budget()
    with pytest.raises(TimeUpError), limited("default", budget):
        list(search_backends["default"].rows(slow, []))
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone() == ("0",)
    assert len(SearchEntry.objects.hits("running")) == 2


@pytest.mark.vendor("postgresql")
def test_a_search_in_a_chat_reads_it_by_its_index(settled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings_of_searches(monkeypatch, "enable_seqscan") == ["off", "on", "on"]


@pytest.mark.vendor("postgresql")
def test_a_search_sorts_in_memory(settled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """At least in the 32 MB that the newest 5,000 rows take; a server may give more."""
    assert settings_of_searches(monkeypatch, "work_mem") == ["32MB", "32MB", "4MB"]
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL work_mem = '64MB'")
    assert settings_of_searches(monkeypatch, "work_mem") == ["64MB", "64MB", "64MB"]


def settings_of_searches(monkeypatch: pytest.MonkeyPatch, name: str) -> list[Any]:
    """Return the setting's values in a search of one chat, in one of a user's chats, and after them."""
    backend = search_backends["default"]
    seen: list[Any] = []

    def look(*args: Any) -> Found:
        seen.extend(next(backend.rows(f"SHOW {name}", [])))
        return Found([])

    with monkeypatch.context() as patches:
        patches.setattr(backend, "find", look)
        backend.search(query="running", chat_id="alice's")
        backend.search(query="running", user_id="alice")
    look()
    return seen


@pytest.mark.vendor("postgresql")
@pytest.mark.django_db(transaction=True)
def test_a_search_leaves_what_is_prepared(settled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"server_side_binding": True, "prepare_threshold": 0}.items():
        monkeypatch.setitem(connection.settings_dict["OPTIONS"], name, value)
    connection.close()
    try:
        assert len(SearchEntry.objects.hits("running")) == 2
        with connection.cursor() as cursor:
            cursor.execute("SELECT COUNT(*) FROM pg_prepared_statements WHERE statement LIKE %s", ["%searchentry%"])
            assert cursor.fetchone() == (2,)
    finally:
        connection.close()


def test_a_search_that_does_not_end_looks_at_the_newest(store: ContextStore, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, scopes = search_backends["default"], []
    find = backend.find

    def endless(root: Node, scope: Scope, limit: int, budget: Budget) -> Found:
        scopes.append(scope.after)
        if scope.after is None:
            raise TimeUpError
        return find(root, scope, limit, budget)

    monkeypatch.setattr("context_store.search.backends.base.ATTEMPTS", ((None, 0.5), (1, 0.8)))
    monkeypatch.setattr(backend, "find", endless)
    hits = SearchEntry.objects.hits("running")
    assert texts(hits) == ["bob was running"]
    assert hits.is_complete is False
    assert len(scopes) == 2


def test_a_limit_of_time_may_be_none(store: ContextStore) -> None:
    with override_settings(CONTEXT_STORE_SEARCH_BUDGET={"milliseconds": None}):
        assert SearchEntry.objects.hits("running").is_complete


# Versions of the index


@has_own_index
def test_an_index_older_than_the_code_is_named_and_mended(settled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert index_problem("default") is None
    assert check_search_index(databases=["default"]) == []
    monkeypatch.setattr(type(search_backends["default"]), "version", 999)
    assert index_problem("default") == "the search index is of version and language '1 english', not '999 english'"
    [warning] = check_search_index(databases=["default"])
    assert (warning.id, warning.hint) == (
        "context_store.W300",
        "Run `manage.py rebuild_search_index --database default`.",
    )
    call_command("rebuild_search_index", stdout=StringIO())
    assert index_problem("default") is None
    assert len(SearchEntry.objects.hits("running")) == 2


@has_own_index
def test_a_missing_index_is_named(settled: None) -> None:
    drop_index()
    assert index_problem("default") == "the search index is missing"


# Configuration


def test_the_backend_is_chosen_by_alias() -> None:
    with override_settings(CONTEXT_STORE_SEARCH={"default": {"BACKEND": FALLBACK}}):
        assert type(search_backends["default"]) is FallbackBackend
        assert check_search() == []
    assert type(search_backends["default"]) is not FallbackBackend or connection.vendor not in ("sqlite", "postgresql")


def test_a_database_that_is_added_later_has_a_backend() -> None:
    connections.settings["added"] = connections.settings["default"]
    try:
        assert type(search_backends["added"]) is type(search_backends["default"])
    finally:
        del connections.settings["added"]


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("SEARCH", [], "E300"),
        ("SEARCH", {"default": {"BACKEND": "context_store.search.words.clean"}}, "E301"),
        ("SEARCH", {"default": {"BACKEND": FALLBACK, "SPEED": 5}}, "E302"),
        ("SEARCH", {"elsewhere": {"BACKEND": FALLBACK}}, "E304"),
        ("SEARCH_BUDGET", [], "E310"),
        ("SEARCH_BUDGET", {"rows": 0}, "E310"),
        ("SEARCH_BUDGET", {"rows": None}, "E310"),
        ("SEARCH_BUDGET", {"seconds": 5}, "E310"),
        ("SEARCH_BUDGET", {"milliseconds": True}, "E310"),
    ],
)
def test_wrong_settings_are_named(name: str, value: object, code: str) -> None:
    with override_settings(**{f"CONTEXT_STORE_{name}": value}):
        assert [message.id for message in check_search()] == [f"context_store.{code}"]
