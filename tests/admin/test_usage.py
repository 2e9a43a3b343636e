from __future__ import annotations

from context_store.admin import ledger
from context_store.ids import now_ms
from context_store.lifecycle import erase_user

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


def test_a_page_with_too_many_sums_shows_none(store, chat, staff, monkeypatch):
    monkeypatch.setattr(ledger, "MAX_SUMS", 2)
    for number in range(3):
        store.record_usage(chat, model=f"modl{number}.", currency=f"c{number}", input_tokens=1)
    keeper = staff("view_chat", "view_usageentry")
    for path in (USAGE, f"/admin/context_store/chat/{chat}/change/"):
        assert "modl" not in keeper.get(path).content.decode()
