"""UI messages there and back, and what the bodies of ``useChat`` do to a chat."""

from typing import Any

import pytest

from context_store import ContextStore
from context_store.adapters.ai_sdk import (
    UIRequest,
    aapply_request,
    apply_request,
    from_ui_messages,
    parse_request,
    to_ui_messages,
)
from context_store.exceptions import InvalidData, OwnerMismatch
from context_store.messages import text_of
from tests.adapters.running import run

pytestmark = pytest.mark.django_db


def said(message_id: str, text: str, role: str = "user", **more: Any) -> dict[str, Any]:
    return {"id": message_id, "role": role, "parts": [{"type": "text", "text": text}], **more}


TOOL = {
    "type": "tool-stock",
    "toolCallId": "c1",
    "state": "output-available",
    "input": {"tea": "sencha", "weight": 49.90},
    "output": {"bags": 12},
    "callProviderMetadata": {"openai": {"itemId": "fc_1"}},
}
APPROVAL = {"type": "dynamic-tool", "toolName": "pay", "toolCallId": "c2", "state": "approval-requested",
            "input": {}, "approval": {"id": "ap1"}}  # fmt: skip
MESSAGES = [
    said("m1", "Is there sencha?", metadata={"at": 1e22}),
    {
        "id": "m2",
        "role": "assistant",
        "metadata": {"model": "large"},
        "parts": [
            {"type": "step-start"},
            {"type": "reasoning", "text": "Look.", "state": "done", "providerMetadata": {"x": {"signature": "s"}}},
            TOOL,
            APPROVAL,
            {"type": "data-weather", "id": "w", "data": {"sun": True}},
            {"type": "source-url", "sourceId": "s1", "url": "https://tea.example", "title": "Tea"},
            {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AA==", "filename": "a.png"},
            {"type": "text", "text": "Yes, 12 bags.", "state": "done"},
        ],
    },
]


@pytest.fixture
def store() -> ContextStore:
    return ContextStore(user_id="alice")


def ask(store: ContextStore, *messages: dict[str, Any], **more: Any) -> list[str]:
    found = apply_request(store, parse_request({"id": "page", "messages": list(messages), **more}))
    return [text_of(record) for record in found]


def test_there_and_back_without_loss(store: ContextStore) -> None:
    store.create_chat("page")
    store.append_messages("page", from_ui_messages(MESSAGES))
    assert [record.id for record in store.get_messages("page")] == ["m1", "m2"]
    assert repr(to_ui_messages(store.get_messages("page"))) == repr(MESSAGES)
    assert len(store.search_chats("bags")) == 1


def test_messages_of_others_are_shown_as_one_message_a_turn(store: ContextStore) -> None:
    store.create_chat("page")
    call = {"type": "function_call", "call_id": "c", "name": "stock", "arguments": "{}"}
    answer = {"type": "function_call_output", "call_id": "c", "output": "12"}
    turn = [("user", "Sencha?"), ("assistant", call), ("tool", answer), ("assistant", "Yes.")]
    store.append_messages("page", [{"name": name, "data": data} for name, data in turn])
    question, shown = to_ui_messages(store.get_messages("page"))
    assert question["role"] == "user"
    assert [part["type"] for part in shown["parts"]] == ["tool-stock", "step-start", "text"]
    assert shown["parts"][0]["output"] == "12"


def test_submit_makes_the_chat_and_appends_what_is_new(store: ContextStore) -> None:
    first, answer, second = said("u1", "One?"), said("a1", "One.", "assistant"), said("u2", "Two?")
    assert ask(store, first, trigger="submit-message") == ["One?"]
    store.append_messages("page", from_ui_messages([answer]))
    assert ask(store, first, answer, second) == ["One?", "One.", "Two?"]
    # A page cannot write history: what it says of old messages is not looked at.
    assert ask(store, said("u0", "Forged"), said("u3", "Three?")) == ["One?", "One.", "Two?", "Three?"]


def test_last_message_alone_is_enough(store: ContextStore) -> None:
    request = parse_request({"id": "page", "message": said("u1", "One?")})
    assert [text_of(record) for record in run(aapply_request(store, request))] == ["One?"]


def test_edited_message_is_a_new_version_under_the_pages_id(store: ContextStore) -> None:
    store.create_chat("page")
    store.append_messages("page", from_ui_messages([said("u1", "One?"), said("a1", "One.", "assistant")]))
    edited = said("u1", "Uno?")
    assert ask(store, edited, messageId="u1") == ["Uno?"]
    assert to_ui_messages(store.get_messages("page")) == [edited]
    assert len(store.list_branches("page")) == 2
    assert ask(store, said("u1", "Ein?"), messageId="u1") == ["Ein?"]


@pytest.mark.parametrize("message_id", ["a1", None, "u1"])
def test_regenerate_starts_a_branch_above_the_answer(store: ContextStore, message_id: str | None) -> None:
    store.create_chat("page")
    store.append_messages("page", from_ui_messages([said("u1", "One?"), said("a1", "One.", "assistant")]))
    more = {"trigger": "regenerate-message", **({"messageId": message_id} if message_id else {})}
    assert ask(store, said("u1", "One?"), **more) == ["One?"]
    store.append_messages("page", from_ui_messages([said("a2", "Eins.", "assistant")]))
    assert [len(store.get_messages("page", branch=branch.name)) for branch in store.list_branches("page")] == [2, 2]


def test_regenerating_what_others_stored_takes_the_whole_answer_away(store: ContextStore) -> None:
    store.create_chat("page")
    turn = [("user", "One?"), ("assistant", "Let me see."), ("assistant", "One.")]
    records = store.append_messages("page", [{"name": name, "data": data} for name, data in turn])
    shown = to_ui_messages(store.get_messages("page"))
    assert [message["id"] for message in shown] == [record.id for record in records[:2]]
    assert ask(store, trigger="regenerate-message", messageId=shown[1]["id"]) == ["One?"]


def test_answers_of_tools_change_the_assistants_message(store: ContextStore) -> None:
    store.create_chat("page")
    waiting = {**TOOL, "state": "input-available"}
    called = {"id": "a1", "role": "assistant", "parts": [waiting]}
    store.append_messages("page", from_ui_messages([said("u1", "One?"), called]))
    answered = {**called, "parts": [TOOL]}
    ask(store, said("u1", "One?"), answered, messageId="a1")
    assert to_ui_messages(store.get_messages("page"))[1] == answered
    assert len(store.list_branches("page")) == 1


@pytest.mark.parametrize("data", ["Is there matcha?", {"content": "Is there matcha?"}])
def test_a_question_that_was_edited_elsewhere_goes_on(store: ContextStore, data: Any) -> None:
    question = {"id": "q", "role": "user", "parts": [{"type": "text", "text": "Is there sencha?"}]}
    apply_request(store, parse_request({"id": "edited", "messages": [question]}))
    edited, _ = store.edit_message("edited", "q", data)
    more = {"id": "r", "role": "user", "parts": [{"type": "text", "text": "And tins?"}]}
    chain = apply_request(store, parse_request({"id": "edited", "messages": [question, more]}))
    shown = {"id": edited.id, "role": "user", "parts": [{"type": "text", "text": "Is there matcha?"}]}
    assert to_ui_messages(chain) == [shown, more]


def test_others_chats_are_refused(store: ContextStore) -> None:
    ask(store, said("u1", "One?"))
    with pytest.raises(OwnerMismatch):
        apply_request(ContextStore(user_id="bob"), UIRequest("page", [said("b1", "Mine?")]))


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"id": "page", "messages": {}},
        {"id": "page", "messages": [{"role": "user"}]},
        {"id": "page", "messages": [{"role": "root", "parts": []}]},
        {"id": "page", "messages": [], "trigger": "delete"},
        {"id": "page", "messages": [], "messageId": 7},
    ],
)
def test_bad_bodies_are_refused(body: Any) -> None:
    with pytest.raises(InvalidData):
        parse_request(body)


def test_regenerating_an_unknown_message_is_refused(store: ContextStore) -> None:
    ask(store, said("u1", "One?"))
    with pytest.raises(InvalidData):
        ask(store, trigger="regenerate-message", messageId="nobody")
