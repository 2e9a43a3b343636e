from __future__ import annotations

import pytest

from context_store.admin import ledger
from context_store.ids import now_ms
from context_store.lifecycle import erase_user
from context_store.models import UsageEntry

USAGE = "/admin/context_store/chat/usage/"


def test_usage_is_plotted_and_summed(store, chat, staff, django_assert_max_num_queries):
    for days in (0, 3):
        store.record_usage(
            chat, model="large", input_tokens=1200, cost="0.5", currency="EUR", created_at=now_ms() - days * 86_400_000
        )
    keeper = staff("view_chat", "view_usageentry")
    # Three sums, the session and the permissions.
    with django_assert_max_num_queries(8):
        page = keeper.get(USAGE).content.decode()
    assert page.count("<rect") == 2
    assert "2,400" in page
    assert "1 EUR" in page
    assert USAGE in keeper.get("/admin/context_store/chat/").content.decode()
    assert "large" in keeper.get(f"/admin/context_store/chat/{chat}/change/").content.decode()


def test_usage_of_a_user_names_who_is_logged_in(store, chat, staff):
    store.record_usage(chat, model="large", input_tokens=1200)
    keeper = staff("view_chat", "view_usageentry")
    header = '<div id="user-tools">'
    pages = [keeper.get(path).content.decode() for path in ("/admin/", f"{USAGE}?user=alice")]
    names = [page.partition(header)[2].partition("</strong>")[0].partition("<strong>")[2] for page in pages]
    assert names[0]
    assert names[1] == names[0]
    assert "Of the user" in pages[1]


def test_usage_takes_a_permission(store, chat, staff):
    store.record_usage(chat, model="large", input_tokens=1200)
    other = staff("view_chat")
    assert other.get(USAGE).status_code == 403
    assert "large" not in other.get(f"/admin/context_store/chat/{chat}/change/").content.decode()


def test_usage_of_erased_users_is_without_names(store, chat, staff):
    store.record_usage(chat, model="large", input_tokens=1200)
    erase_user("alice", reason="Asked", usage="sums")
    page = staff("view_chat", "view_usageentry").get(USAGE).content.decode()
    assert "Erased users" in page
    assert "1,200" in page
    assert "alice" not in page


def test_a_time_without_usage_is_told(staff):
    assert "Nothing was recorded" in staff("view_chat", "view_usageentry").get(f"{USAGE}?days=7").content.decode()


def test_pages_list_no_more_models_and_currencies_than_fit(store, chat, staff):
    for number in range(60):
        store.record_usage(chat, model=f"modl{number}.", currency=f"c{number}", cost=1, input_tokens=number + 1)
    keeper = staff("view_chat", "view_usageentry")
    for path in (USAGE, f"/admin/context_store/chat/{chat}/change/"):
        page = keeper.get(path).content.decode()
        assert page.count("modl") == 50, path
        assert "modl59." in page
        assert "modl9." not in page
    assert "1,830" in keeper.get("/admin/context_store/chat/").content.decode()


@pytest.fixture
def many_sums(store, chat, monkeypatch) -> str:
    """A chat with three sums by model, and a most of two."""
    monkeypatch.setattr(ledger, "MAX_SUMS", 2)
    for number in range(3):
        store.record_usage(chat, model=f"modl{number}.", currency=f"c{2 - number}", input_tokens=number + 1)
    return chat


def test_of_too_many_sums_the_largest_are_shown(many_sums, staff, settings):
    keeper = staff("view_chat", "view_usageentry")
    for path in (USAGE, f"/admin/context_store/chat/{many_sums}/change/"):
        page = keeper.get(path).content.decode()
        assert "modl2." in page
        assert "modl1." in page
        assert "modl0." not in page
        assert "Only those with the most tokens are listed." in page
    page = keeper.get(USAGE).content.decode()
    assert "more than 2 sums" in page
    assert "fewer days" in page
    settings.LANGUAGE_CODE = "de"
    german = keeper.get(USAGE).content.decode()
    assert "mehr als 2 Summen" in german
    assert "weniger Tage" in german


def test_a_page_with_all_sums_says_nothing_of_more(store, chat, staff):
    store.record_usage(chat, model="large", input_tokens=1)
    page = staff("view_chat", "view_usageentry").get(USAGE).content.decode()
    assert "more than" not in page
    assert "are listed" not in page


def test_usage_of_a_user(store, chat, staff):
    store.create_chat("bobs", user_id="bob")
    store.record_usage(chat, model="large", input_tokens=1)
    store.record_usage("bobs", model="small", input_tokens=1)
    keeper = staff("view_chat", "view_usageentry")
    assert f"{USAGE}?days=7&amp;user=bob" in keeper.get(f"{USAGE}?days=7").content.decode()
    page = keeper.get(f"{USAGE}?days=7&user=bob").content.decode()
    assert "small" in page
    assert "large" not in page
    assert "Of the user <bdi>bob</bdi>" in page
    assert f'href="{USAGE}?days=7">All users' in page
    assert "Nothing was recorded" in keeper.get(f"{USAGE}?user=%00").content.decode()


def test_a_time_that_no_calendar_has_is_shown(boss, store, chat):
    store.record_usage("c1", model="m", input_tokens=3)
    UsageEntry.objects.update(created_at=2**62)
    assert boss.get("/admin/context_store/chat/usage/").status_code == 200
