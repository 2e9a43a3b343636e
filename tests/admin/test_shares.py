from __future__ import annotations

SHARES = "/admin/context_store/chat/shares/"


def test_links_are_listed_without_their_tokens_and_revoked(store, chat, staff):
    token = store.share(chat).token
    keeper = staff("view_chat", "view_sharelink", "change_sharelink")
    page = keeper.get(SHARES).content.decode()
    assert "Printing" in page
    assert token not in page
    for no_id in ("x" * 300, "a%0Ab", "%00", "%20"):
        assert "Printing" not in keeper.get(f"{SHARES}?chat={no_id}").content.decode()
    assert SHARES in keeper.get("/admin/context_store/chat/").content.decode()
    keeper.post(SHARES, {"chat": chat, "share": store.list_shares(chat)[0].id})
    assert store.shared(token) is None


def test_who_may_only_look_revokes_nothing(store, chat, staff):
    token = store.share(chat).token
    looker = staff("view_chat", "view_sharelink")
    assert looker.post(SHARES, {"chat": chat, "share": store.list_shares(chat)[0].id}).status_code == 403
    assert store.shared(token) is not None
    assert staff("view_chat", name="other").get(SHARES).status_code == 403
