from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone

from context_store.admin import ChatAdmin
from context_store.admin.base import CappedPaginator
from context_store.models import Chat
from context_store.store import ContextStore

LIST = "/admin/context_store/chat/"


def found(client: Client, **query: str) -> list[str]:
    response = client.get(f"{LIST}?{urlencode(query)}")
    assert response.status_code == 200, response.headers
    return sorted(chat.pk for chat in response.context_data["cl"].result_list)


def days_ago(days: float) -> int:
    return int((timezone.now() - timedelta(days=days)).timestamp() * 1000)


def test_the_list_shows_title_user_counts_and_local_time(reader: Client, chat: str) -> None:
    # The site's time zone is 5:45 ahead of UTC: 20:00 is the next day.
    Chat.objects.filter(pk=chat).update(updated_at=1_700_000_000_000)
    page = reader.get(LIST).content.decode()
    for text in ("Printing", "alice", '<td class="field-messages">4</td>', '<td class="field-branches">2</td>'):
        assert text in page
    assert "Nov. 15, 2023, 03:58:20" in page


def test_the_list_has_a_fixed_number_of_queries(
    reader: Client, store: ContextStore, django_assert_num_queries: object
) -> None:
    for number in range(60):
        store.create_chat(f"c{number}", user_id="alice", metadata={"n": number})
    reader.get(LIST)  # Content types are remembered.
    # Session, user, permissions (2); filter choices, count, page, branches, last messages.
    with django_assert_num_queries(8) as queries:  # type: ignore[operator]
        reader.get(LIST)
    assert not [
        query["sql"]
        for query in queries
        if "COUNT(*)" in query["sql"] and "LIMIT" not in query["sql"] and "GROUP BY" not in query["sql"]
    ]


def test_the_list_shows_last_messages_to_readers_and_tokens_to_who_may_see_usage(
    looker: Client, boss: Client, store: ContextStore, chat: str, django_assert_num_queries: Any
) -> None:
    for number in range(20):
        store.fork_chat(chat, f"c-{number}")
    store.record_usage(chat, model="m", input_tokens=1_200, output_tokens=34)
    store.record_usage(chat, model="m", input_tokens=1, cost="1", currency="EUR")
    page = looker.get(LIST).content.decode()
    assert "red button" not in page
    assert "field-tokens" not in page
    boss.get(LIST)  # Content types are remembered.
    # Session, user; filter choices, count, page, branches, last messages, tokens, people; the log.
    with django_assert_num_queries(9):
        page = boss.get(LIST).content.decode()
    assert page.count("<bdi>Press the red button.</bdi>") == 21
    assert '<td class="field-tokens">1,235</td>' in page
    read = LogEntry.objects.filter(change_message="Read the last message in the list.")
    assert {"c-0", "c-19"} < set(read.values_list("object_id", flat=True))


def test_a_search_has_a_fixed_number_of_queries(
    reader: Client, store: ContextStore, django_assert_max_num_queries: object
) -> None:
    for number in range(60):
        store.create_chat(f"c{number}", user_id="alice")
        store.append_messages(f"c{number}", [{"name": "user", "data": "zebra"}])
    reader.get(f"{LIST}?q=zebra")
    # PostgreSQL keeps to the time limits, in messages and by titles, in savepoints of their own: four more for each.
    with django_assert_max_num_queries(16 + 8 * (connection.vendor == "postgresql")):  # type: ignore[operator]
        reader.get(f"{LIST}?q=zebra")


def test_search_finds_by_title_id_user_message_id_and_text(reader: Client, chat: str, store: ContextStore) -> None:
    store.create_chat("other", user_id="bob", title="Other")
    for text in ("printing", "c1", "ALIC", "m1", "green button", "but* -red"):
        assert found(reader, q=text) == [chat], text
    assert found(reader, q="giraffe") == []


def test_search_shows_the_message_and_leads_to_it(reader: Client, chat: str) -> None:
    page = reader.get(f"{LIST}?q=green").content.decode()
    assert "<mark>green</mark>" in page
    assert f"{LIST}c1/change/?message=m1" in page


@pytest.mark.parametrize(
    "text", ["what's up?", 'C++ "unbalanced', "* AND", "👍", "\u202e", "%", "x" * 10_000, "\0", "é_1"]
)
def test_no_search_is_an_error(reader: Client, chat: str, text: str) -> None:
    assert reader.get(f"{LIST}?q={quote(text)}", follow=True).status_code == 200


def test_a_search_by_titles_keeps_to_the_budget_and_says_so(
    reader: Client, store: ContextStore, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("context_store.admin.changelist.NEWEST", 2)
    for number in range(4):
        store.create_chat(f"c{number}", user_id="alice", title="Tea")
    assert found(reader, q="Tea") == ["c0", "c1", "c2", "c3"]
    asked = []

    def end_the_second(execute: Any, sql: str, *args: Any) -> Any:
        asked.extend(["title"] if "title" in sql and "LIKE" in sql else [])
        if len(asked) == 2:
            asked.append("ended")
            raise OperationalError("interrupted")
        return execute(sql, *args)

    with connection.execute_wrapper(end_the_second):
        response = reader.get(f"{LIST}?q=Tea")
    assert sorted(chat.pk for chat in response.context_data["cl"].result_list) == ["c2", "c3"]
    assert "There may be more than was found" in response.content.decode()
    settings.CONTEXT_STORE_SEARCH_BUDGET = {"milliseconds": 0}
    assert "There may be more than was found" in reader.get(f"{LIST}?q=Tea").content.decode()


def test_search_combines_with_filters(reader: Client, store: ContextStore) -> None:
    for name in ("old", "new"):
        store.create_chat(name, user_id="alice")
        store.append_messages(name, [{"name": "user", "data": "zebra"}])
    Chat.objects.filter(pk="old").update(updated_at=days_ago(8))
    assert found(reader, q="zebra") == ["new", "old"]
    assert found(reader, q="zebra", active="7") == ["new"]


@pytest.mark.parametrize("use_tz", [True, False])
def test_activity_filter(reader: Client, store: ContextStore, settings: Any, use_tz: bool) -> None:
    settings.USE_TZ = use_tz
    for days in (0, 5, 20, 200, 500):
        store.create_chat(f"d{days}", user_id="alice")
        Chat.objects.filter(pk=f"d{days}").update(updated_at=days_ago(days))
    assert found(reader, active="today") == ["d0"]
    assert found(reader, active="7") == ["d0", "d5"]
    assert found(reader, active="30") == ["d0", "d20", "d5"]
    assert found(reader, active="365") == ["d0", "d20", "d200", "d5"]
    assert found(reader, active="older") == ["d500"]


def test_branches_filter(reader: Client, chat: str, store: ContextStore) -> None:
    store.create_chat("single", user_id="bob")
    assert found(reader, branches="many") == [chat]
    assert found(reader, branches="one") == ["single"]
    store.trash_chat(chat)
    assert found(reader, branches="many", trashed="1") == [chat]


def test_metadata_filter_offers_keys_and_values(reader: Client, chat: str, store: ContextStore) -> None:
    store.create_chat("c2", user_id="bob", metadata={"archived": True, "a.b c": {"x": 1}})
    page = reader.get(LIST).content.decode()
    assert "archived: true" in page
    assert "channel: web" in page
    assert found(reader, metadata='["archived", false]') == [chat]
    assert found(reader, metadata='["archived"]') == ["c1", "c2"]
    assert found(reader, metadata='["a.b c"]') == ["c2"]
    assert found(reader, metadata='["archived", 0]') == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("metadata", value)
            for value in ("x", "[", "[1]", "{}", "[[]]", '["a", NaN]', '["\\u0000"]', '["a","b","c"]')
        ),
        ("metadata", "[" * 9999),
        ("active", "8"),
        ("branches", "none"),
        ("nothing", "1"),
        ("user_id__exact", "\u202e"),
        ("older_than", "x~y"),
        *(("older_than", value) for value in ("", "x", "1", "1~", "~", "1~\u202e", "9" * 40 + "~a")),
    ],
)
def test_unknown_and_mistyped_filters_are_refused_as_django_does(
    reader: Client, chat: str, name: str, value: str
) -> None:
    response = reader.get(f"{LIST}?{urlencode({name: value})}")
    assert (response.status_code, response.headers.get("Location")) == (302, f"{LIST}?e=1")
    assert reader.get(response.url).status_code == 200


@pytest.mark.parametrize(
    "lookup",
    [
        "metadata__channel", "metadata__contains", "metadata__channel__startswith", "title__startswith", "title",
        "messages__data__contains", "branches__name", "search_entries__content__startswith", "user_id__startswith",
        "revision__gt", "id__regex",
    ],
)  # fmt: skip
def test_no_url_asks_what_a_column_holds(reader: Client, chat: str, lookup: str) -> None:
    assert reader.get(f"{LIST}?{urlencode({lookup: 'P'})}").headers["Location"] == f"{LIST}?e=1"


def test_filters_that_a_project_adds_have_their_lookups(
    reader: Client, chat: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ChatAdmin, "list_filter", [*ChatAdmin.list_filter, "message_count"])
    assert found(reader, message_count="4") == [chat]
    assert found(reader, message_count__gte="5") == []
    assert reader.get(f"{LIST}?title__contains=P").status_code == 302


def test_the_user_links_to_all_chats_of_this_user(reader: Client, chat: str, store: ContextStore) -> None:
    store.create_chat("other", user_id="bob")
    assert f"{LIST}?user_id__exact=alice" in reader.get(LIST).content.decode()
    assert found(reader, user_id__exact="alice") == [chat]


def test_a_long_list_is_counted_to_a_limit_and_goes_on(
    reader: Client, store: ContextStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CappedPaginator, "limit", 60)
    for number in range(70):
        store.create_chat(f"c{number:02d}", user_id="alice")
    # All at the same time: the id decides.
    Chat.objects.update(updated_at=1_700_000_000_000)
    response = reader.get(LIST)
    assert "More than 60 chats" in response.content.decode()
    older = reader.get(f"{LIST}{response.context_data['cl'].older_query}")
    assert [chat.pk for chat in older.context_data["cl"].result_list] == [
        f"c{number:02d}" for number in range(9, -1, -1)
    ]


def test_ids_of_every_kind_lead_to_their_chat(reader: Client, store: ContextStore) -> None:
    for chat_id in ("a/b", "a b?c#d", "_5F", "ü%20/../x", ".", "..", "a@b:c", "_2E", "日本", "a+b&c=d"):
        store.create_chat(chat_id, user_id="alice", title=f"title of {chat_id}")
        store.append_messages(chat_id, [{"id": f"m{chat_id}", "name": "user", "data": f"text of {chat_id}"}])
    chats = reader.get(LIST).context_data["cl"]
    assert len(chats.result_list) == 10
    for chat in chats.result_list:
        url = chats.url_for_result(chat)
        assert "/./" not in url
        response = reader.get(url)
        assert response.context_data["original"].pk == chat.pk
        message = reader.get(response.context_data["turns"][0]["raw_url"])
        assert message.status_code == 200
        assert str(chat.pk) in message.context_data["json"]
        for page in ("history/", "graph/", "export/"):
            assert reader.get(url.replace("change/", page)).status_code == 200


def test_items_of_lists_are_choices_of_the_metadata_filter(reader: Client, store: ContextStore) -> None:
    store.create_chat("c1", user_id="alice", metadata={"tags": ["billing", "tea"]})
    store.create_chat("c2", user_id="alice", metadata={"tags": ["tea"]})
    assert "tags: billing" in reader.get(LIST).content.decode()
    assert found(reader, metadata='[["tags", "billing"]]') == ["c1"]
    assert found(reader, metadata='[["tags", "tea"]]') == ["c1", "c2"]
    for wrong in ('[["tags", "coffee", "x"]]', '[["tags"]]', '[["tags", ["x"]]]', "[[]]"):
        assert reader.get(LIST, {"metadata": wrong}).url.endswith("?e=1")  # type: ignore[attr-defined]


def test_people_are_shown_and_found_by_name_and_email(boss: Client, reader: Client, store: ContextStore) -> None:
    User.objects.create_user("alice", email="tea@example.com", first_name="Alice", last_name="Ito")
    store.create_chat("c1", user_id="alice")
    store.create_chat("c2", user_id="tester")
    page = boss.get(LIST).content.decode()
    user = User.objects.get(username="alice")
    assert f'<a href="/admin/auth/user/{user.pk}/change/"><bdi>Alice Ito</bdi></a>' in page
    # Who has no other name is there once.
    assert page.count("<bdi>tester</bdi>") == 1
    assert found(boss, q="Ito") == found(boss, q="tea@example") == found(boss, q="ito alice") == ["c1"]
    # Not for staff who may not see users.
    assert "Ito" not in reader.get(LIST).content.decode()
    assert found(reader, q="Ito") == []


def test_people_take_one_query_a_page(boss: Client, store: ContextStore, django_assert_num_queries: object) -> None:
    for number in range(5):
        User.objects.create_user(f"user{number}", first_name="A", last_name="B")
        store.create_chat(f"c{number}", user_id=f"user{number}")
    boss.get(LIST)
    # Session, user; filter choices, count, page, branches, last messages, tokens, people.
    with django_assert_num_queries(8):  # type: ignore[operator]
        boss.get(LIST)


def test_ids_that_are_primary_keys_lead_to_people(boss: Client, store: ContextStore, settings: Any) -> None:
    settings.CONTEXT_STORE_PEOPLE = "context_store.admin.people.by_primary_key"
    user = User.objects.create_user("carol", first_name="Carol", last_name="Diaz")
    for user_id in (str(user.pk), "no-key", "0001"):
        store.create_chat(f"c{user_id}", user_id=user_id)
    assert boss.get(LIST).content.decode().count("Carol Diaz") == 1
    assert found(boss, q="Diaz") == [f"c{user.pk}"]


def test_user_names_that_are_numbers_lead_to_people(
    boss: Client, store: ContextStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(User, "USERNAME_FIELD", "id")
    user = User.objects.create_user("carol", first_name="Carol", last_name="Diaz")
    for user_id in (str(user.pk), "(nobody)"):
        store.create_chat(f"c{user_id}", user_id=user_id)
    assert boss.get(LIST).content.decode().count("Carol Diaz") == 1
    assert found(boss, q="Diaz") == [f"c{user.pk}"]
