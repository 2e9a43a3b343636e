"""Branches, checkpoints, versions, usage, titles and inspection."""

from collections.abc import Callable

import pytest

from context_store.engine import ContextEngine, Outcome, assistant, hint, role, user
from context_store.exceptions import IdConflict, InvalidData
from context_store.models import Branch, Chat, Checkpoint, Message

Open = Callable[..., ContextEngine]


def chain(engine: ContextEngine, branch: str | None = None) -> list[str]:
    return [record.id for record in engine.store.get_messages(engine.chat_id, branch=branch)]


@pytest.fixture
def chat(engine: ContextEngine) -> ContextEngine:
    """An engine that has saved q1 - a1 - q2 - a2."""
    engine.set(user("q1", id="q1"), assistant("a1", id="a1"), user("q2", id="q2"), assistant("a2", id="a2")).save()
    return engine


def test_rewind_continues_from_a_message_on_a_new_branch(chat: ContextEngine) -> None:
    assert chat.rewind("a1").name == "branch-2"
    chat.set(user("q3", id="q3")).save(on_conflict="reject")
    assert chain(chat) == ["q1", "a1", "q3"]
    assert chain(chat, "main") == ["q1", "a1", "q2", "a2"]


def test_a_checkpoint_names_the_head_or_a_message(chat: ContextEngine) -> None:
    assert chat.checkpoint("now").message_id == "a2"
    assert chat.checkpoint("then", "a1").message_id == "a1"


def test_restore_continues_from_a_checkpoint(chat: ContextEngine) -> None:
    chat.checkpoint("then", "a1")
    chat.restore("then")
    assert chain(chat) == ["q1", "a1"]
    with pytest.raises(Checkpoint.DoesNotExist):
        chat.restore("never")


def test_an_empty_chat_has_nothing_to_checkpoint(engine: ContextEngine) -> None:
    with pytest.raises(Chat.DoesNotExist):
        engine.checkpoint("now")
    engine.aside()
    with pytest.raises(InvalidData):
        engine.checkpoint("now")


def test_switch_branch_activates_it(chat: ContextEngine) -> None:
    chat.rewind("a1")
    assert chat.switch_branch("main").head_message_id == "a2"
    assert chain(chat) == ["q1", "a1", "q2", "a2"]
    assert chat.switch_branch("main").is_active
    with pytest.raises(Branch.DoesNotExist):
        chat.switch_branch("nowhere")


def test_aside_makes_a_branch_without_switching(chat: ContextEngine) -> None:
    branch = chat.aside()
    assert (branch.name, branch.head_message_id, branch.is_active) == ("branch-2", "a2", False)
    assert chat.store.get_active_branch("chat").name == "main"
    assert chat.aside("joke").name == "joke"
    with pytest.raises(IdConflict):
        chat.aside("joke")


def test_regenerate_makes_room_for_another_answer(chat: ContextEngine) -> None:
    chat.regenerate("a2")
    assert chain(chat) == ["q1", "a1", "q2"]
    chat.set(assistant("a2 again", id="b2")).save()
    assert chain(chat) == ["q1", "a1", "q2", "b2"]
    assert [record.id for record in chat.siblings("a2")] == ["a2", "b2"]


def test_regenerating_a_root_leaves_nothing_above(chat: ContextEngine) -> None:
    chat.regenerate("q1")
    assert chain(chat) == []


def test_edit_says_a_message_anew(chat: ContextEngine) -> None:
    saved = chat.edit("q2", "q2, better")
    assert (saved.outcome, saved.messages[0].name, saved.messages[0].parent_id) == (Outcome.EDITED, "user", "a1")
    assert chain(chat) == ["q1", "a1", saved.head_message_id]
    assert chain(chat, "main") == ["q1", "a1", "q2", "a2"]


def test_edit_with_the_same_content_is_another_version(chat: ContextEngine) -> None:
    assert chat.edit("q2", "q2").head_message_id != "q2"


def test_edit_with_a_fragment_can_be_repeated(chat: ContextEngine) -> None:
    new = user("q2, better", id="n2")
    assert chat.edit("q2", new).head_message_id == "n2"
    assert chat.edit("q2", new).outcome == Outcome.CONTAINED
    assert len(chat.store.list_branches("chat")) == 2


def test_edit_leaves_the_queue_alone(chat: ContextEngine) -> None:
    chat.set(user("q3", id="q3"))
    new = chat.edit("q2", "q2, better").head_message_id
    assert chat.save(on_conflict="reject").outcome == Outcome.APPENDED
    assert chain(chat) == ["q1", "a1", new, "q3"]


def test_siblings_of_roots_are_the_other_roots(chat: ContextEngine) -> None:
    new = chat.edit("q1", "q1, better").head_message_id
    assert [record.id for record in chat.siblings(new)] == ["q1", new]


def test_flip_shows_the_branch_that_has_the_message(chat: ContextEngine) -> None:
    chat.regenerate("a2")
    chat.set(assistant("other", id="b2"), user("q3", id="q3")).save()
    assert chat.flip("a2").name == "main"
    assert chain(chat) == ["q1", "a1", "q2", "a2"]
    assert chat.flip("b2").name == "branch-2"
    assert chain(chat)[-1] == "q3"
    assert len(chat.store.list_branches("chat")) == 2


def test_flip_changes_nothing_where_the_message_is_shown(chat: ContextEngine) -> None:
    chat.rewind("a2")
    assert chat.flip("a1").name == "branch-2"


def test_flip_to_a_message_without_a_branch_makes_one(chat: ContextEngine) -> None:
    chat.store.add_message({"id": "x", "chat_id": "chat", "parent_id": "q1", "name": "assistant", "data": "x"})
    assert chat.flip("x").name == "branch-2"
    assert chain(chat) == ["q1", "x"]


def test_update_chat_creates_and_changes_the_chat(engine: ContextEngine) -> None:
    assert engine.update_chat(title="T", metadata={"a": 1}).title == "T"
    assert engine.update_chat(metadata={"b": 2}, merge=True).metadata == {"a": 1, "b": 2}


def test_usage_is_recorded_and_leaves_messages_as_they_were(chat: ContextEngine, open_engine: Open) -> None:
    answer = assistant("long", id="a3")
    chat.set(answer).save()
    before = chat.resolve().messages
    entry = chat.record_usage(model="m", message_id="a3", input_tokens=10, output_tokens=7, usage_id="call-1")
    assert chat.record_usage(model="m", message_id="a3", input_tokens=10, output_tokens=7, usage_id="call-1") == entry
    [total] = chat.store.sum_usage(chat_id="chat", branch=None)
    assert (total.calls, total.input_tokens, total.output_tokens) == (1, 10, 7)
    assert chat.resolve().messages == before
    assert chat.store.get_chat("chat").metadata == {}
    assert open_engine().set(answer).save().outcome == Outcome.CONTAINED


def test_usage_of_a_missing_message_counts_nothing(chat: ContextEngine) -> None:
    with pytest.raises(Message.DoesNotExist):
        chat.record_usage(model="m", message_id="missing", input_tokens=1)
    with pytest.raises(InvalidData):
        chat.record_usage(model="m", input_tokens=-1)
    assert chat.store.sum_usage(chat_id="chat") == []


def test_usage_before_the_first_save_creates_the_chat(engine: ContextEngine) -> None:
    assert engine.record_usage(model="m", input_tokens=1).chat_id == engine.chat_id


def test_the_title_is_the_first_text_of_the_user(engine: ContextEngine) -> None:
    assert engine.title() is None
    engine.set(assistant("Welcome"), user({"parts": [{"type": "text", "text": " What\n is  this? "}]})).save()
    assert engine.title() == "What is this?"
    engine.set(user("Another")).save()
    assert engine.title() == "What is this?"


def test_the_title_has_at_most_100_characters_and_is_set_once(engine: ContextEngine) -> None:
    engine.set(user("x" * 300)).save()
    assert engine.title() == "x" * 100
    engine.update_chat(title="Mine")
    assert engine.title() == "Mine"


def test_the_title_begins_behind_marks_of_the_byte_order(engine: ContextEngine) -> None:
    engine.set(user("\ufeff \ufeff"), user("\ufeffGreen\0 or black?")).save()
    assert engine.title() == "Green or black?"


def test_the_title_of_what_is_queued(engine: ContextEngine) -> None:
    assert engine.set(user("Hello\0 there")).title() == "Hello there"
    assert engine.store.get_chat("chat").title == "Hello there"


def test_inspect_before_there_is_a_chat(engine: ContextEngine) -> None:
    seen = engine.set(role("Be helpful"), user("Hello", id="m1")).inspect()
    assert (seen.chat, seen.branch, seen.graph, seen.stored) == (None, None, None, [])
    assert [record.id for record in seen.queued] == ["m1"]
    assert engine.store.get_chat("chat") is None


def test_inspect_shows_everything(chat: ContextEngine) -> None:
    seen = chat.set(role("Be helpful"), hint("Be concise"), user("q3", id="q3")).inspect()
    assert seen.system_prompt.startswith("<context>")
    assert seen.context == {"role": "Be helpful", "hint": "Be concise"}
    assert [record.id for record in seen.stored] == ["q1", "a1", "q2", "a2"]
    assert [record.id for record in seen.queued] == ["q3"]
    assert seen.tokens.tokens > 10
    assert seen.chat is not None
    assert seen.chat.message_count == 4
    assert seen.branch is not None
    assert seen.branch.name == "main"
    assert seen.graph is not None
    assert len(seen.graph.nodes) == 4
