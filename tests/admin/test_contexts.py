from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.admin.models import DELETION, LogEntry
from django.test import Client

from context_store.admin import READ
from context_store.contexts import contexts
from context_store.ids import now_ms
from context_store.models import ContextEntry

LIST = "/admin/context_store/contextentry/"
LOOKUP = f"{LIST}lookup/"
DATABASE = {"default": {"BACKEND": "context_store.contexts.database.DatabaseContexts"}}
TIERED = {"default": {"BACKEND": "context_store.contexts.tiered.TieredContexts", "PREFIX": "p:"}}
SECRET = {"token": "hush-hush"}


@pytest.fixture
def in_database(settings: object, db: None) -> None:
    settings.CONTEXT_STORE_CONTEXTS = DATABASE  # type: ignore[attr-defined]
    contexts["default"].set("run-1", SECRET, ttl=3600)
    contexts["default"].scoped("user:alice").set("a/b", SECRET, ttl=None)
    ContextEntry.objects.create(key="old", value=1, expires_at=now_ms() - 1)


def keys(client: Client, query: str = "") -> list[str]:
    return [entry.key for entry in client.get(f"{LIST}{query}").context_data["cl"].result_list]


def test_contexts_are_listed_with_their_expiry(looker: Client, in_database: None) -> None:
    page = looker.get(LIST).content.decode()
    assert "user:alice|a/b" in page
    assert "never" in page
    assert "expired" in page
    assert "hush" not in page
    assert keys(looker) == ["old", "run-1", "user:alice|a/b"]
    assert keys(looker, "?expiry=live") == ["run-1", "user:alice|a/b"]
    assert keys(looker, "?expiry=expired") == ["old"]
    assert keys(looker, "?expiry=never") == ["user:alice|a/b"]
    assert keys(looker, "?q=a/") == ["user:alice|a/b"]


def test_the_list_reads_no_values(
    looker: Client, in_database: None, django_assert_num_queries: Callable[..., object]
) -> None:
    looker.get(LIST)
    with django_assert_num_queries(6) as queries:  # type: ignore[attr-defined]
        looker.get(LIST)
    assert not [query for query in queries if '"value"' in query["sql"]]


def test_a_value_is_masked_without_the_permission(staff: Callable[..., Client], in_database: None) -> None:
    url = f"{LIST}user_3Aalice|a_2Fb/change/"
    page = staff("view_contextentry").get(url)
    assert page.status_code == 200
    assert "hush" not in page.content.decode()
    assert not LogEntry.objects.exists()
    reader = staff("view_contextentry", "view_message_content", name="reader")
    assert "hush-hush" in reader.get(url).content.decode()
    assert LogEntry.objects.get().action_flag == READ


def test_contexts_are_never_edited(boss: Client, in_database: None) -> None:
    for page in ("run-1/change/", "add/"):
        assert boss.post(f"{LIST}{page}", {"key": "run-1", "value": "2"}).status_code in (403, 405)
    assert contexts["default"].get("run-1") == SECRET


def test_deleting_a_context(boss: Client, in_database: None) -> None:
    assert "Contexts: 1" in boss.get(f"{LIST}run-1/delete/").content.decode()
    boss.post(f"{LIST}run-1/delete/", {"post": "yes"})
    assert contexts["default"].get("run-1") is None
    boss.post(LIST, {"action": "delete_selected", "_selected_action": ["old"], "post": "yes"})
    assert not ContextEntry.objects.filter(key="old").exists()
    assert LogEntry.objects.filter(action_flag=DELETION).count() == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("many", [False, True])
def test_deleting_a_context_reaches_the_cache_in_front(boss: Client, settings: object, many: bool) -> None:
    settings.CONTEXT_STORE_CONTEXTS = TIERED  # type: ignore[attr-defined]
    contexts["default"].set("run-1", SECRET)
    assert contexts["default"].get("run-1") == SECRET
    if many:
        boss.post(LIST, {"action": "delete_selected", "_selected_action": ["p:run-1"], "post": "yes"})
    else:
        boss.post(f"{LIST}p_3Arun-1/delete/", {"post": "yes"})
    assert contexts["default"].get("run-1") is None


@pytest.mark.django_db
def test_a_context_in_a_cache_is_looked_up_by_its_key(boss: Client, looker: Client) -> None:
    contexts["default"].set("run-1", SECRET)
    assert "no such context" in boss.get(LOOKUP, {"alias": "default", "key": "nope"}).content.decode()
    assert "hush-hush" in boss.get(LOOKUP, {"alias": "default", "key": "run-1"}).content.decode()
    masked = looker.get(LOOKUP, {"alias": "default", "key": "run-1"}).content.decode()
    assert "hush" not in masked
    assert "but not read its value" in masked
    assert looker.post(LOOKUP, {"alias": "default", "key": "run-1"}).status_code == 403
    boss.post(LOOKUP, {"alias": "default", "key": "run-1"})
    assert contexts["default"].get("run-1") is None
    entries = LogEntry.objects.order_by("id").values_list("action_flag", "object_repr")
    assert list(entries) == [(READ, "default: run-1"), (DELETION, "default: run-1")]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("scopes", "key", "typed"),
    [
        (["user:alice"], "a/b", "user:alice|a/b"),
        (["a|b", "c~d"], "e|f", "a~1b|c~0d|e~1f"),
        ([], "a~b", "a~b"),
        ([], "a~b", "a~0b"),
    ],
)
def test_a_context_is_found_by_its_key_in_its_scopes(boss: Client, scopes: list[str], key: str, typed: str) -> None:
    store = contexts["default"]
    for scope in scopes:
        store = store.scoped(scope)
    store.set(key, SECRET)
    assert "hush-hush" in boss.get(LOOKUP, {"alias": "default", "key": typed}).content.decode()
    boss.post(LOOKUP, {"alias": "default", "key": typed})
    assert store.get(key) is None


@pytest.mark.django_db(transaction=True)
def test_deleting_a_scoped_context_reaches_the_cache_in_front(boss: Client, settings: object) -> None:
    settings.CONTEXT_STORE_CONTEXTS = TIERED  # type: ignore[attr-defined]
    store = contexts["default"].scoped("user:alice")
    store.set("a/b", SECRET)
    assert store.get("a/b") == SECRET
    boss.post(f"{LIST}p_3Auser_3Aalice|a_2Fb/delete/", {"post": "yes"})
    assert store.get("a/b") is None


def test_a_row_that_is_no_context_can_be_deleted(boss: Client, in_database: None) -> None:
    contexts["default"].lock("run-1").acquire()
    keys = ContextEntry.objects.filter(key__startswith="~").values_list("key", flat=True)
    boss.post(LIST, {"action": "delete_selected", "_selected_action": list(keys), "post": "yes"})
    assert not ContextEntry.objects.filter(key__startswith="~").exists()
    assert contexts["default"].get("run-1") == SECRET


@pytest.mark.parametrize("lookup", ["value__startswith", "value__regex", "value__contains", "value", "version", "key"])
def test_no_url_asks_what_a_value_holds(looker: Client, in_database: None, lookup: str) -> None:
    response = looker.get(LIST, {lookup: "{"})
    assert (response.status_code, response.headers["Location"]) == (302, f"{LIST}?e=1")


def test_an_unknown_expiry_is_refused(looker: Client, in_database: None) -> None:
    assert looker.get(LIST, {"expiry": "soon"}).headers["Location"] == f"{LIST}?e=1"


def test_a_large_value_is_cut(boss: Client, in_database: None) -> None:
    contexts["default"].set("large", [[]] * 400_000)
    page = boss.get(f"{LIST}large/change/").content.decode()
    assert len(page) < 600_000
    assert "\n…</pre>" in page


def test_who_may_not_see_contexts_looks_up_none(reader: Client) -> None:
    assert reader.get(LOOKUP).status_code == 403
    assert reader.get(LIST).status_code == 403


@pytest.mark.parametrize("fields", [{"alias": "x", "key": "a"}, {"alias": "default", "key": "\u202e"}, {"key": "\0"}])
def test_forged_lookups_are_refused(boss: Client, fields: dict[str, str]) -> None:
    assert boss.get(LOOKUP, fields).status_code == 200
    assert boss.post(LOOKUP, fields).status_code == 200
