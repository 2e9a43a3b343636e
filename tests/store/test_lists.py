"""Lists of chats: orders, cursors, filters, previews, and the owner's marks."""

import pytest

from context_store.exceptions import InvalidData
from context_store.managers.orders import ORDERS
from context_store.models import Chat, Message
from context_store.records import ChatRecord
from context_store.store import ContextStore
from tests.store.data import ids, message


@pytest.fixture
def chats(store: ContextStore) -> list[str]:
    """Five chats: d has no messages, e no title; b and c share their times."""
    titles = {"a": "Zebra", "b": "apple", "c": "Apple pie", "d": "Äpfel", "e": None}
    times = {"a": 5, "b": 3, "c": 3, "d": None, "e": 4}
    for chat_id, title in titles.items():
        store.create_chat(chat_id, user_id="alice", title=title)
        time = times[chat_id]
        Chat.objects.filter(pk=chat_id).update(
            last_message_at=time, updated_at=10 - (time or 9), created_at=ord(chat_id)
        )
    return list(titles)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("-last_message_at", "aecbd"),
        ("last_message_at", "dbcea"),
        ("-updated_at", "cbead"),
        ("created_at", "abcde"),
        ("-created_at", "edcba"),
    ],
)
def test_list_chats_in_an_order(store, chats, order, expected):
    assert "".join(ids(store.list_chats(order=order))) == expected


def test_titles_are_sorted_without_regard_to_case(store, chats):
    order = ids(store.list_chats(order="title"))
    assert order[0] == "e"
    assert order.index("b") < order.index("c") < order.index("a")
    assert ids(store.list_chats(order="-title")) == order[::-1]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("limit", [1, 2])
def test_cursors_lead_through_all_chats(store, chats, order, limit):
    found: list[ChatRecord] = []
    while page := store.list_chats(order=order, limit=limit, after=found[-1] if found else None):
        found += page
    assert found == store.list_chats(order=order)


def test_a_cursor_is_stable_while_chats_move(store, chats):
    first = store.list_chats(order="-last_message_at", limit=2)
    for chat_id in ("e", "c"):
        store.append_messages(chat_id, [message("new")])
    assert ids(first) == ["a", "e"]
    assert ids(store.list_chats(order="-last_message_at", limit=5, after=first[-1])) == ["b", "d"]


@pytest.mark.parametrize(
    ("order", "after"),
    [
        ("-updated_at", "%%%"),
        ("-updated_at", "é"),
        ("-updated_at", "bnVsbA"),
        ("-updated_at", 5),
        ("title", "WyItdXBkYXRlZF9hdCIsMSwiYSJd"),
        ("-updated_at", "WyItdXBkYXRlZF9hdCIsbnVsbCwiYSJd"),
        ("user_id", None),
        (None, None),
    ],
)
def test_what_is_no_order_or_cursor_is_refused(store, chats, order, after):
    with pytest.raises(InvalidData):
        store.list_chats(order=order, after=after)


def test_a_page_by_last_message_takes_one_statement(store, chats, django_assert_num_queries):
    store.list_chats(user_id="alice", order="-last_message_at", limit=2)
    with django_assert_num_queries(1):
        store.list_chats(user_id="alice", order="-last_message_at", limit=2)


# Filters


@pytest.mark.parametrize(
    ("contains", "found"),
    [
        ({"tags": "billing"}, ["list"]),
        ({"tags": 2}, ["list"]),
        ({"tags": "2"}, []),
        ({"tags": None}, ["list"]),
        ({"tags": False}, []),
        ({"tags": "x"}, []),
        ({"tags": "billing", "tier": 2}, []),
        ({"tags.0": "billing"}, []),
        ({"it's": "ü"}, ["list"]),
        ({}, ["list", "object", "text"]),
    ],
)
def test_list_chats_that_contain_a_value(store, contains, found):
    metadata = {"tags": ["billing", 2, None, ["x"]], "tier": 2, "it's": ["ü"]}
    store.create_chat("list", user_id="alice", metadata=metadata)
    store.create_chat("text", user_id="alice", metadata={"tags": "billing", "more": "[1"})
    store.create_chat("object", user_id="alice", metadata={"tags": {"billing": "billing"}})
    assert sorted(ids(store.list_chats(contains=contains))) == found
    assert store.count_chats(contains=contains) == len(found)


@pytest.mark.parametrize("contains", [{"tags": ["a"]}, {"tags": {}}, ["tags"], {"tags": float("nan")}])
def test_only_plain_values_are_contained(store, contains):
    with pytest.raises(InvalidData, match="contains"):
        store.list_chats(contains=contains)


def test_list_chats_by_the_beginning_of_the_title(store, chats):
    assert ids(store.list_chats(title_prefix="APP", order="title")) == ["b", "c"]
    assert store.count_chats(title_prefix="%") == 0


def test_archived_and_pinned_chats_are_listed_apart(store, chats):
    store.archive_chat("a")
    store.pin_chat("b")
    assert ids(store.list_chats(archived=True)) == ["a"]
    assert sorted(ids(store.list_chats(archived=False, pinned=False))) == ["c", "d", "e"]
    assert ids(store.list_chats(pinned=True)) == ["b"]
    assert len(store.list_chats()) == 5


# Marks


@pytest.mark.parametrize(
    ("mark", "unmark", "column"),
    [("archive_chat", "unarchive_chat", "archived_at"), ("pin_chat", "unpin_chat", "pinned_at")],
)
def test_marks_move_no_chat(store, chats, mark, unmark, column):
    before, revision = store.get_chat("a"), store.get_revision("a")
    marked = getattr(store, mark)("a")
    assert marked == store.get_chat("a") == before._replace(**{column: getattr(marked, column)})
    assert getattr(store, mark)("a") == marked
    assert store.get_revision("a") > revision
    assert getattr(store, unmark)("a") == before == store.get_chat("a")


def test_to_pin_and_to_rename_at_once(store, chats):
    record = store.update_chat("a", title="Ant", pinned=True)
    assert record.title == "Ant"
    assert 10 < record.pinned_at <= record.updated_at


@pytest.mark.parametrize("value", [1, None, "true"])
def test_marks_are_true_or_false(store, chats, value):
    with pytest.raises(InvalidData, match="archived"):
        store.update_chat("a", archived=value)


def test_mark_read_takes_the_time_of_the_last_message(store, chat):
    Message.objects.filter(id="m3").update(created_at=77)
    before = store.get_chat(chat)
    assert store.mark_read(chat) == before._replace(read_at=77) == store.get_chat(chat)


def test_mark_read_up_to_a_message(store, chat):
    Message.objects.filter(id="m1").update(created_at=7)
    assert store.mark_read(chat, "m1").read_at == 7


def test_mark_read_of_what_is_not_there(store, chat):
    with pytest.raises(Chat.DoesNotExist):
        store.mark_read("nowhere")
    with pytest.raises(Message.DoesNotExist):
        store.mark_read(chat, "nowhere")
    store.create_chat("empty", user_id="alice")
    assert store.mark_read("empty").read_at is None


# Previews


@pytest.fixture
def talk(store) -> str:
    """The id of a chat: two turns on main, at times 1 to 4."""
    store.create_chat("talk", user_id="alice")
    names = ["user", "assistant", "user", "assistant"]
    messages = [{**message(f"t{n}", name), "created_at": n} for n, name in enumerate(names, start=1)]
    store.append_messages("talk", messages)
    return "talk"


def preview_of(store: ContextStore) -> tuple[str | None, int | None]:
    [chat] = store.list_chats(preview=True)
    return chat.preview, chat.unread_count


def test_preview_has_the_text_of_the_last_message(store, talk):
    store.append_messages(talk, [{"name": "assistant", "data": {"content": "x" * 300}}])
    assert preview_of(store)[0] == "x" * 200
    assert store.list_chats()[0].preview is None


@pytest.mark.parametrize(("read_at", "unread"), [(None, 2), (1, 2), (2, 1), (3, 1), (4, 0), (9, 0)])
def test_unread_are_later_messages_of_others(store, talk, read_at, unread):
    Chat.objects.update(read_at=read_at)
    assert preview_of(store)[1] == unread


def test_preview_is_what_was_said_not_what_was_thought(store, talk):
    parts = [{"type": "reasoning", "text": "Hm. " * 100}, {"type": "text", "text": "Yes."}]
    store.append_messages(talk, [{"name": "assistant", "data": {"parts": parts}}])
    assert preview_of(store)[0].startswith("Yes.\nHm.")


def test_previews_are_written_as_the_text(store, talk):
    store.append_messages(talk, [{"name": "assistant", "data": "春はあけぼの" * 50}])
    assert preview_of(store)[0] == ("春はあけぼの" * 50)[:200]
    assert store.get_graph(talk).nodes[-1].content == ("春はあけぼの" * 50)[:50]


def test_previews_are_of_the_active_branch(store, talk):
    store.rewind(talk, "t1")
    store.append_messages(talk, [{"name": "assistant", "data": "another"}])
    assert preview_of(store) == ("another", 1)


def test_a_chat_without_text_has_an_empty_preview(store):
    store.create_chat("c", user_id="alice")
    assert preview_of(store) == ("", 0)
    store.append_messages("c", [{"name": "tool", "data": None}])
    assert preview_of(store) == ("", 1)


def test_no_more_than_100_are_counted_as_unread(store, talk):
    store.append_messages(talk, [{"name": "assistant", "data": "more"}] * 120)
    assert preview_of(store)[1] == 100


def test_a_page_with_previews_takes_three_statements(store, django_assert_max_num_queries):
    for number in range(50):
        chat_id = store.create_chat(user_id="alice").id
        store.append_messages(chat_id, [message("m1"), message("m2", "assistant")])
        if number % 5 == 0:
            store.edit_message(chat_id, "m1", "again")
    with django_assert_max_num_queries(3):
        page = store.list_chats(user_id="alice", order="-last_message_at", preview=True, limit=50)
    assert sum(chat.unread_count for chat in page) == 40


def test_another_user_marks_nothing(store, chat):
    bob = ContextStore(user_id="bob")
    before = store.get_chat(chat)
    for mark in (bob.archive_chat, bob.pin_chat, bob.unarchive_chat, bob.unpin_chat, bob.mark_read):
        with pytest.raises(Chat.DoesNotExist):
            mark(chat)
    assert bob.list_chats(preview=True, order="title") == []
    assert store.get_chat(chat) == before


@pytest.mark.parametrize("given", ["metadata", "contains"])
def test_lists_have_a_bounded_number_of_filters(store, chat, given):
    filters = {f"key {number}": number for number in range(500)}
    assert store.list_chats(**{given: filters}) == []
    with pytest.raises(InvalidData, match="at most 500 entries"):
        store.list_chats(**{given: {**filters, "more": 1}})
