"""What a caller writes to a chat that it knows: in one statement, or not at all."""

from functools import partial
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from context_store import ContextStore, signals
from context_store.graph import LockedChat, parse_messages, read_branch, written_at_once
from context_store.models import Branch, Chat, Message
from context_store.records import MessageRecord
from tests.races import run_threads

# The others take statements one by one.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.vendor("postgresql")]


@pytest.fixture
def store() -> ContextStore:
    store = ContextStore(user_id="alice")
    store.create_chat("tea")
    store.append_messages("tea", [{"id": "a", "name": "user", "data": "Sencha?"}])
    return store


def revision() -> int:
    return Chat.objects.values_list("revision", flat=True).get()


def add(*texts: str, at: int | None = None, work: Any = None, adding: int | None = None) -> list[MessageRecord] | None:
    inputs = parse_messages([{"id": text, "name": "user", "data": text} for text in texts], chat_id="tea")
    branch, _ = read_branch("default", "tea", is_locked=True)
    assert branch is not None

    def append(chat: LockedChat) -> list[MessageRecord]:
        chat.go_on(branch)
        return chat.extend(inputs)

    count = len(inputs) if adding is None else adding
    at = revision() if at is None else at
    return written_at_once("default", "tea", work or append, user_id="alice", revision=at, adding=count)


def test_all_is_one_statement(store: ContextStore, django_assert_num_queries: Any) -> None:
    before, at = store.get_chat("tea"), revision()
    branch, _ = read_branch("default", "tea", is_locked=True)
    assert branch is not None
    assert before is not None
    inputs = parse_messages([{"name": "user", "data": "Matcha?"}] * 2, chat_id="tea")

    def append(chat: LockedChat) -> list[MessageRecord]:
        chat.go_on(branch)
        return chat.extend(inputs)

    with django_assert_num_queries(1):
        records = written_at_once("default", "tea", append, user_id="alice", revision=at, adding=2)
    assert records is not None
    assert store.get_messages("tea")[1:] == records
    assert len(store.search_messages("tea", "matcha")) == 2
    chat = store.get_chat("tea")
    assert chat is not None
    assert (chat.message_count, revision()) == (3, at + 1)
    assert (chat.updated_at, chat.last_message_at) > (before.updated_at, 0)
    assert set(Message.objects.exclude(id="a").values_list("revision", flat=True)) == {at + 1}


def test_nothing_is_written_at_another_revision(store: ContextStore) -> None:
    at = revision()
    store.append_messages("tea", [{"id": "b", "name": "user", "data": "Matcha?"}])
    assert add("c", at=at) is None
    assert [message.id for message in store.get_messages("tea")] == ["a", "b"]
    assert revision() == at + 1


def test_nothing_is_written_where_a_row_is_refused(store: ContextStore) -> None:
    at = revision()
    with pytest.raises(IntegrityError):
        add("b", "a")
    assert [message.id for message in store.get_messages("tea")] == ["a"]
    assert revision() == at
    assert add("b") is not None


@pytest.mark.parametrize(
    "work",
    [
        lambda chat: chat.branch,
        lambda chat: chat.message("a"),
        lambda chat: chat.message_count,
        lambda chat: chat.require_no_hold(),
        lambda chat: chat.start_branch(None, "other"),
        lambda chat: Branch.objects.update(name="other"),
    ],
)
def test_work_that_needs_an_answer_is_not_done(store: ContextStore, work: Any) -> None:
    at = revision()
    assert add(work=work, adding=0) is None
    assert (revision(), store.get_active_branch("tea").name) == (at, "main")


def test_counts_of_the_lock_must_be_right(store: ContextStore) -> None:
    assert add("b", adding=2) is None
    assert len(store.get_messages("tea")) == 1


def test_a_transaction_and_who_hears_of_messages_need_the_lock(store: ContextStore) -> None:
    with transaction.atomic():
        assert add("b") is None
    heard: list[Any] = []
    signals.messages_appended.connect(hear := lambda **options: heard.append(options))
    try:
        assert add("b") is None
    finally:
        signals.messages_appended.disconnect(hear)
    assert (heard, len(store.get_messages("tea"))) == ([], 1)


def test_who_hears_of_chats_is_told(store: ContextStore) -> None:
    heard: list[int] = []
    signals.chat_changed.connect(hear := lambda revision, **options: heard.append(revision))
    try:
        assert add("b") is not None
        assert add("c", at=1) is None
    finally:
        signals.chat_changed.disconnect(hear)
    assert heard == [revision()]


def test_of_racing_writers_one_goes_first(store: ContextStore) -> None:
    at = revision()
    outcomes = run_threads(*[partial(add, text, at=at) for text in ("b", "c", "d")])
    outcomes.raise_errors()
    assert sum(records is not None for records in outcomes.values) == 1
    assert [chat.message_count for chat in Chat.objects.all()] == [2]
