"""Every rule of ``ContextEngine.save``."""

from collections.abc import Callable

import pytest

from context_store.engine import ContextEngine, Outcome, assistant, hint, message, user
from context_store.exceptions import HeadConflict, InvalidData
from context_store.models import Chat, Message
from context_store.store import ContextStore

Open = Callable[..., ContextEngine]


def chain(engine: ContextEngine, branch: str | None = None) -> list[str]:
    return [record.id for record in engine.store.get_messages(engine.chat_id, branch=branch)]


@pytest.fixture
def chat(engine: ContextEngine) -> ContextEngine:
    """An engine that has saved m1 - m2."""
    engine.set(user("text of m1", id="m1"), assistant("text of m2", id="m2")).save()
    return engine


def test_save_creates_the_chat_and_reports_the_head(engine: ContextEngine) -> None:
    saved = engine.set(user("Hello", id="m1"), assistant("Hi", id="m2")).save()
    assert (saved.head_message_id, saved.branch, saved.outcome) == ("m2", "main", Outcome.APPENDED)
    assert chain(engine) == ["m1", "m2"]
    assert engine.store.get_chat("chat").user_id == "alice"


def test_nothing_queued_creates_nothing(engine: ContextEngine) -> None:
    assert engine.set(hint("x")).save() == (None, "main", Outcome.UNCHANGED, [])
    assert engine.store.get_chat("chat") is None


def test_nothing_queued_reports_the_head(chat: ContextEngine) -> None:
    assert chat.save() == ("m2", "main", Outcome.UNCHANGED, [])


def test_a_saved_queue_is_empty(chat: ContextEngine) -> None:
    assert chat.inspect().queued == []


def test_a_failed_save_stores_nothing_and_keeps_the_queue(chat: ContextEngine, open_engine: Open) -> None:
    open_engine().set(user("meanwhile", id="x1")).save()
    chat.set(user("edited", id="m1"), user("new", id="n1"))
    with pytest.raises(HeadConflict):
        chat.save(branch=False, on_conflict="reject")
    assert [record.data for record in chat.store.get_messages("chat")] == ["text of m1", "text of m2", "meanwhile"]
    assert [branch.name for branch in chat.store.list_branches("chat")] == ["main"]
    assert [record.id for record in chat.inspect().queued] == ["m1", "n1"]


def test_an_id_of_another_chat_is_another_message(chat: ContextEngine, open_engine: Open) -> None:
    open_engine("other").set(user("theirs", id="m9")).save()
    chat.set(user("mine", id="m9")).save()
    assert chain(chat) == ["m1", "m2", "m9"]
    assert open_engine("other").resolve().messages[0].data == "theirs"


def test_a_save_can_be_repeated(chat: ContextEngine, open_engine: Open) -> None:
    question, answer = user("again"), assistant("and again")
    chat.set(question, answer).save()
    retry = open_engine().set(question, answer).save()
    assert retry.outcome == Outcome.CONTAINED
    assert retry.head_message_id == answer.id
    assert chain(chat) == ["m1", "m2", question.id, answer.id]


def test_a_save_whose_answer_was_lost_is_contained_below_what_came_after(
    chat: ContextEngine, open_engine: Open
) -> None:
    question = user("mine")
    chat.set(question)
    open_engine().set(question, user("theirs", id="t1")).save()
    saved = chat.save(on_conflict="reject")
    assert (saved.outcome, saved.head_message_id) == (Outcome.CONTAINED, "t1")
    assert chain(chat) == ["m1", "m2", question.id, "t1"]


def test_a_half_saved_queue_is_fast_forwarded(chat: ContextEngine, open_engine: Open) -> None:
    question, answer = user("mine"), assistant("answer")
    chat.set(question, answer)
    open_engine().set(question).save()
    saved = chat.save(on_conflict="reject")
    assert (saved.outcome, saved.head_message_id) == (Outcome.FAST_FORWARDED, answer.id)
    assert chain(chat) == ["m1", "m2", question.id, answer.id]


def test_the_head_is_moved_down_to_messages_that_are_stored_below_it(chat: ContextEngine) -> None:
    mine = user("text")
    chat.set(mine)
    chat.store.add_message({"id": mine.id, "chat_id": "chat", "parent_id": "m2", "name": "user", "data": "text"})
    saved = chat.save(on_conflict="reject")
    assert (saved.outcome, saved.head_message_id) == (Outcome.FAST_FORWARDED, mine.id)
    assert chain(chat) == ["m1", "m2", mine.id]


def test_a_lost_race_grafts_onto_the_winner(chat: ContextEngine, open_engine: Open) -> None:
    open_engine().set(user("theirs", id="t1")).save()
    saved = chat.set(user("mine", id="o1"), assistant("answer", id="o2")).save()
    assert (saved.outcome, saved.head_message_id) == (Outcome.GRAFTED, "o2")
    assert chain(chat) == ["m1", "m2", "t1", "o1", "o2"]


def test_a_lost_race_may_be_rejected_with_nothing_lost(chat: ContextEngine, open_engine: Open) -> None:
    open_engine().set(user("theirs", id="t1")).save()
    chat.set(user("mine", id="o1"))
    with pytest.raises(HeadConflict) as conflict:
        chat.save(on_conflict="reject")
    assert conflict.value.head_message_id == "t1"
    assert chain(chat) == ["m1", "m2", "t1"]
    chat.resolve()
    assert chat.save(on_conflict="reject").head_message_id == "o1"
    assert chain(chat) == ["m1", "m2", "t1", "o1"]


def test_the_first_message_of_a_chat_can_lose_the_race_too(open_engine: Open) -> None:
    one, two = open_engine(), open_engine()
    assert one.resolve() == two.resolve() == ("", [])
    one.set(user("one", id="m1")).save()
    with pytest.raises(HeadConflict):
        two.set(user("two", id="m2")).save(on_conflict="reject")
    assert two.save().outcome == Outcome.GRAFTED
    assert chain(two) == ["m1", "m2"]


def test_an_engine_that_never_looked_appends(chat: ContextEngine, open_engine: Open) -> None:
    saved = open_engine().set(user("new", id="n1")).save(on_conflict="reject")
    assert saved.outcome == Outcome.APPENDED


def test_an_unknown_way_to_deal_with_conflicts_is_refused(chat: ContextEngine) -> None:
    with pytest.raises(InvalidData, match="on_conflict"):
        chat.set(user("x")).save(on_conflict="overwrite")  # type: ignore[arg-type]


def test_saving_a_known_id_makes_a_new_branch_from_its_parent(chat: ContextEngine) -> None:
    saved = chat.set(assistant("better", id="m2")).save()
    assert (saved.outcome, saved.branch) == (Outcome.EDITED, "branch-2")
    assert saved.head_message_id not in ("m1", "m2")
    assert chain(chat) == ["m1", saved.head_message_id]
    assert chain(chat, "main") == ["m1", "m2"]
    assert chat.store.get_message("m2").data == "text of m2"


def test_an_edited_root_is_a_second_root(chat: ContextEngine) -> None:
    saved = chat.set(user("first of all", id="m1"), assistant("indeed", id="n2")).save()
    assert chain(chat) == [saved.messages[0].id, "n2"]
    assert saved.messages[0].parent_id is None


def test_an_edit_can_be_repeated(chat: ContextEngine, open_engine: Open) -> None:
    edited = assistant("better", id="m2")
    first = chat.set(edited).save()
    again = open_engine().set(edited).save()
    assert (again.outcome, again.head_message_id) == (Outcome.CONTAINED, first.head_message_id)
    assert len(chat.store.list_branches("chat")) == 2


def test_what_is_queued_behind_an_edit_follows_it(chat: ContextEngine) -> None:
    saved = chat.set(user("before", id="n1"), user("edited", id="m1"), assistant("after", id="n2")).save()
    assert chain(chat, "main") == ["m1", "m2", "n1"]
    assert chain(chat) == [saved.messages[1].id, "n2"]


def test_a_known_id_can_be_updated_in_place(chat: ContextEngine) -> None:
    chat.set(assistant("", id="placeholder")).save()
    saved = chat.set(assistant("the answer", id="placeholder")).save(branch=False)
    assert (saved.outcome, saved.head_message_id) == (Outcome.UPDATED, "placeholder")
    assert chain(chat) == ["m1", "m2", "placeholder"]
    assert chat.store.get_message("placeholder").data == "the answer"
    assert len(chat.store.list_branches("chat")) == 1


def test_in_place_updates_do_not_mind_where_the_head_is(chat: ContextEngine, open_engine: Open) -> None:
    chat.set(assistant("", id="placeholder")).save()
    open_engine().rewind("m1")
    chat.set(assistant("the answer", id="placeholder")).save(branch=False, on_conflict="reject")
    assert chat.store.get_message("placeholder").data == "the answer"
    assert chain(chat) == ["m1"]


def test_a_change_of_role_or_type_is_an_edit(chat: ContextEngine) -> None:
    chat.set(message("critic", "text of m2", id="m2", type="note")).save(branch=False)
    assert chat.store.get_message("m2")[3:5] == ("critic", "note")


def test_a_message_saved_on_another_branch_is_not_saved_twice(chat: ContextEngine, open_engine: Open) -> None:
    mine = user("mine")
    chat.set(mine).save()
    open_engine().rewind("m1")
    saved = open_engine().set(mine, user("next", id="n1")).save()
    assert saved.head_message_id == "n1"
    assert chain(chat, "main") == ["m1", "m2", mine.id]
    assert chain(chat) == ["m1", "n1"]


def test_data_is_stored_as_it_was_given(engine: ContextEngine) -> None:
    data = {"b": 1e22, "a": [-0.0, 10**30, None], "t": "\0<é"}
    engine.set(user(data, id="m1")).save()
    assert repr(engine.store.get_message("m1").data) == repr(data)


def test_a_chat_of_another_user_is_refused(chat: ContextEngine, open_engine: Open) -> None:
    from context_store.exceptions import OwnerMismatch

    mallory = open_engine(user_id="mallory")
    for attempt in (
        mallory.resolve,
        mallory.inspect,
        mallory.set(user("x")).save,
        mallory.title,
        mallory.aside,
        lambda: mallory.rewind("m1"),
        lambda: mallory.edit("m1", "x"),
        lambda: mallory.siblings("m1"),
        lambda: mallory.flip("m1"),
        lambda: mallory.regenerate("m2"),
        lambda: mallory.checkpoint("c"),
        lambda: mallory.restore("c"),
        lambda: mallory.switch_branch("main"),
        lambda: mallory.update_chat(title="mine"),
        lambda: mallory.record_usage(model="m", input_tokens=1),
    ):
        with pytest.raises(OwnerMismatch):
            attempt()
    assert chat.store.get_chat("chat").title is None
    assert chain(chat) == ["m1", "m2"]


def test_a_store_of_one_user_is_not_widened(store: ContextStore) -> None:
    from context_store.exceptions import OwnerMismatch

    with pytest.raises(OwnerMismatch):
        ContextEngine(ContextStore(user_id="alice"), chat_id="chat", user_id="bob")
    assert ContextEngine(ContextStore(user_id="alice"), chat_id="chat").user_id == "alice"
    assert store.user_id is None


def test_an_engine_needs_a_user(store: ContextStore) -> None:
    with pytest.raises(InvalidData, match="user_id"):
        ContextEngine(store, chat_id="chat")


def test_an_answer_does_not_bring_back_a_deleted_chat(chat: ContextEngine) -> None:
    chat.store.delete_chat("chat")
    chat.set(assistant("too late"))
    with pytest.raises(Chat.DoesNotExist):
        chat.save()
    assert chat.store.get_chat("chat") is None


def test_a_reopened_engine_continues_on_the_active_branch(chat: ContextEngine, open_engine: Open) -> None:
    chat.rewind("m1")
    open_engine().set(user("new", id="n1")).save()
    assert chain(chat) == ["m1", "n1"]


def test_messages_of_another_chat_cannot_be_reached(chat: ContextEngine, open_engine: Open) -> None:
    other = open_engine("other")
    other.set(user("x", id="o1")).save()
    for attempt in (other.rewind, other.siblings, other.flip, other.regenerate):
        with pytest.raises(Message.DoesNotExist):
            attempt("m1")
    with pytest.raises(Message.DoesNotExist):
        other.edit("m1", "x")


@pytest.mark.django_db(databases=["default", "other"])
def test_an_engine_stays_on_the_database_of_its_store() -> None:
    engine = ContextEngine(ContextStore("other"), chat_id="elsewhere", user_id="alice")
    engine.set(user("Hello", id="m1"), assistant("Hi", id="m2")).save()
    engine.edit("m1", "Hello!")
    engine.flip("m1")
    engine.record_usage(model="m", input_tokens=1, message_id="m2")
    assert engine.title() == "Hello"
    assert [record.id for record in engine.resolve(max_messages=1).messages] == ["m2"]
    assert ContextStore().get_chat("elsewhere") is None
