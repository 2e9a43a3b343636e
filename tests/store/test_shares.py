"""Links that show a conversation to others."""

import pytest

from context_store.ids import now_ms
from context_store.models import Branch, Chat, Message, ShareLink
from context_store.store import ContextStore
from tests.store.data import message


@pytest.fixture
def token(store, chat) -> str:
    return store.share(chat).token


def test_a_link_shows_the_chain_as_it_was(store, chat, token):
    title = store.get_chat(chat).title
    store.append_messages(chat, [message("m4")])
    store.edit_message(chat, "m1", "again")
    store.update_chat(chat, title="renamed")
    shown = ContextStore().shared(token)
    assert (shown.title, shown.message_count) == (title, 3)
    assert [(one.number, one.data) for one in shown.messages] == [(n, f"text of m{n}") for n in (1, 2, 3)]


def test_a_link_tells_nothing_of_the_owner(store, chat, token):
    shown = repr(store.shared(token))
    assert "alice" not in shown
    assert repr(chat) not in shown
    assert repr("m1") not in shown


def test_the_token_is_told_once_and_stored_nowhere(store, chat, token):
    [link] = store.list_shares(chat)
    assert link.token is None
    [row] = ShareLink.objects.values()
    assert token not in repr(row)
    assert len(token) >= 43


def test_a_link_of_a_branch(store, chat):
    store.create_branch(chat, "side", head_message_id="m1")
    assert store.shared(store.share(chat, branch="side").token).message_count == 1


def test_pages_of_a_link_go_backwards(store, token):
    assert [one.number for one in store.shared(token, limit=2).messages] == [2, 3]
    assert [one.number for one in store.shared(token, limit=2, before=2).messages] == [1]
    assert store.shared(token, limit=2, before=1).messages == []
    assert [one.number for one in store.shared(token, before=99).messages] == [1, 2, 3]


def test_a_link_ends_when_it_is_revoked(store, chat, token):
    other = store.share(chat)
    assert store.unshare(chat, other.id) == 1
    assert store.shared(other.token) is None
    assert store.shared(token) is not None
    assert store.unshare(chat) == 1
    assert store.shared(token) is None
    assert store.unshare(chat) == 0
    assert all(link.revoked_at for link in store.list_shares(chat))


def test_a_link_ends_in_time(store, chat):
    assert store.shared(store.share(chat, until=now_ms() + 60_000).token) is not None
    assert store.shared(store.share(chat, until=now_ms() - 1).token) is None


def test_a_link_ends_with_the_chat_and_rests_in_the_trash(store, chat, token):
    store.trash_chat(chat)
    assert store.shared(token) is None
    store.restore_chat(chat)
    assert store.shared(token) is not None
    store.delete_chat(chat)
    assert store.shared(token) is None
    assert not ShareLink.objects.exists()


@pytest.mark.parametrize("token", ["", "x", "ü", "x" * 10_000, None, 5, "\0"])
def test_what_is_no_token_shows_nothing(store, chat, token):
    store.share(chat)
    assert store.shared(token) is None


def test_what_cannot_be_shared(store, chat):
    with pytest.raises(Chat.DoesNotExist):
        store.share("nowhere")
    with pytest.raises(Branch.DoesNotExist):
        store.share(chat, branch="nowhere")
    store.create_chat("empty", user_id="alice")
    with pytest.raises(Message.DoesNotExist, match="empty"):
        store.share("empty")


def test_another_user_shares_and_revokes_nothing(store, chat, token):
    bob = ContextStore(user_id="bob")
    for call in (bob.share, bob.unshare, bob.list_shares):
        with pytest.raises(Chat.DoesNotExist):
            call(chat)
    assert bob.shared(token).message_count == 3
