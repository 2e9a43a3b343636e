from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.admin.models import DELETION, LogEntry
from django.test import Client

from context_store.admin import READ
from context_store.sessions import sessions

LIST = "/admin/context_store/chat/"
SESSIONS = f"{LIST}sessions/"
ONE = {"alias": "live", "session_id": "run/1"}


@pytest.fixture
def in_redis(redis_url: str, settings: object, db: None) -> None:
    cache = {"BACKEND": "context_store.sessions.cache.CacheSessions", "CACHE": "redis", "TTL": 60}
    database = {"BACKEND": "context_store.sessions.database.DatabaseSessions"}
    settings.CONTEXT_STORE_SESSIONS = {"default": database, "live": cache}  # type: ignore[attr-defined]
    text = "zebra <script>alert(1)</script>"
    sessions["live"].for_user("alice").append("run/1", [{"name": "user", "data": {"content": text}}])


def test_sessions_of_a_user_are_listed(looker: Client, in_redis: None) -> None:
    page = looker.get(SESSIONS, {"alias": "live", "user_id": "alice"}).content.decode()
    assert "session_id=run%2F1" in page
    assert "1 message" in page
    assert "zebra" not in page
    assert SESSIONS in looker.get(LIST).content.decode()


def test_a_session_is_masked_without_the_permission(looker: Client, reader: Client, in_redis: None) -> None:
    masked = looker.get(SESSIONS, ONE).content.decode()
    assert "zebra" not in masked
    assert "message text is hidden" in masked
    assert not LogEntry.objects.exists()
    page = reader.get(SESSIONS, ONE).content.decode()
    assert "zebra &lt;script&gt;" in page
    assert "60 seconds after it was last used" in page
    entry = LogEntry.objects.get()
    assert (entry.action_flag, entry.object_repr) == (READ, "live: run/1")


def test_a_list_of_sessions_is_recorded(looker: Client, in_redis: None) -> None:
    looker.get(SESSIONS, {"alias": "live", "user_id": "alice"})
    entry = LogEntry.objects.get()
    assert (entry.action_flag, entry.object_repr, entry.change_message) == (
        READ, "live: alice", "Listed the sessions of a user."
    )  # fmt: skip


def test_deleting_a_session_needs_the_permission(staff: Callable[..., Client], boss: Client, in_redis: None) -> None:
    assert staff("view_chat", "view_message_content").post(SESSIONS, ONE).status_code == 403
    assert sessions["live"].get("run/1")
    boss.post(SESSIONS, ONE)
    assert sessions["live"].get("run/1") is None
    assert LogEntry.objects.filter(action_flag=DELETION).count() == 1
    assert "no such session" in boss.get(SESSIONS, ONE).content.decode()


@pytest.mark.parametrize(
    "fields", [{"alias": "default", "session_id": "a"}, {"alias": "live", "session_id": "\u202e"}, {"alias": "live"}]
)
def test_forged_lookups_show_nothing(boss: Client, in_redis: None, fields: dict[str, str]) -> None:
    assert boss.get(SESSIONS, fields).status_code == 200
    assert boss.post(SESSIONS, fields).status_code == 200


def test_without_permission_there_is_nothing(staff: Callable[..., Client]) -> None:
    assert staff("view_message_content").get(SESSIONS).status_code == 403


def test_there_is_no_link_where_all_sessions_are_chats(boss: Client) -> None:
    assert SESSIONS not in boss.get(LIST).content.decode()
