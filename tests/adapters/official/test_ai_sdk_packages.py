"""What the npm packages `ai` 5, 6 and 7 say of our UI messages, and the bodies that they send."""

import json
import subprocess
from typing import Any

import pytest

from context_store import ContextStore
from context_store.adapters.ai_sdk import apply_request, from_ui_messages, parse_request, to_ui_messages
from context_store.messages import text_of
from tests.npm import node, packages

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.slow,
    pytest.mark.vendor("postgresql"),
    pytest.mark.parametrize("version", [5, 6, 7]),
]
CALL = {"id": "c1", "type": "function", "function": {"name": "stock", "arguments": '{"tea": "sencha"}'}}
CONVERSATIONS: dict[str, list[tuple[str, Any]]] = {
    "openai": [
        ("user", "Is there sencha?"),
        ("assistant", {"role": "assistant", "content": None, "tool_calls": [CALL]}),
        ("tool", {"role": "tool", "tool_call_id": "c1", "content": "12 bags"}),
        ("assistant", {"role": "assistant", "content": "Yes, 12."}),
    ],
    "responses": [
        ("user", {"role": "user", "content": [{"type": "input_image", "image_url": "https://tea.example/a.png"}]}),
        ("assistant", {"type": "function_call", "call_id": "c1", "name": "stock", "arguments": "{}"}),
        ("assistant", {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "Hm."}]}),
        ("tool", {"type": "function_call_output", "call_id": "c1", "output": "12 bags"}),
    ],
    "anthropic": [
        ("user", "Is there sencha?"),
        ("assistant", [{"type": "thinking", "thinking": "Look.", "signature": "s"},
                       {"type": "tool_use", "id": "c1", "name": "stock", "input": {}}]),
        ("user", [{"type": "tool_result", "tool_use_id": "c1", "content": "None.", "is_error": True}]),
        ("assistant", "No."),
    ],
}  # fmt: skip


def sent(version: int, messages: list[Any], trigger: str = "submit-message", message_id: str | None = None) -> Any:
    """Return the body that the package sends for messages that it has found valid."""
    page = json.dumps({"messages": messages, "trigger": trigger, "messageId": message_id})
    found = subprocess.run(
        [node(), "check.js", str(version)],
        cwd=packages(), input=page, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_messages_of_others_are_valid_ui_messages(version: int, name: str) -> None:
    store = ContextStore(user_id="alice")
    store.create_chat("page")
    store.append_messages("page", [{"name": role, "data": data} for role, data in CONVERSATIONS[name]])
    shown = to_ui_messages(store.get_messages("page"))
    assert sent(version, shown)["messages"] == shown


def test_bodies_do_what_the_page_shows(version: int) -> None:
    store = ContextStore(user_id="alice")
    question = {"id": "q1", "role": "user", "parts": [{"type": "text", "text": "One?"}]}
    answer = {"id": "a1", "role": "assistant", "parts": [{"type": "text", "text": "One.", "state": "done"}]}
    apply_request(store, parse_request(sent(version, [question])))
    store.append_messages("page", from_ui_messages([answer]))
    body = sent(version, [question], "regenerate-message", "a1")
    assert [text_of(record) for record in apply_request(store, parse_request(body))] == ["One?"]
    store.append_messages("page", from_ui_messages([{**answer, "id": "a2"}]))
    edited = {**question, "parts": [{"type": "text", "text": "Two?"}]}
    body = sent(version, [edited], "submit-message", "q1")
    assert [text_of(record) for record in apply_request(store, parse_request(body))] == ["Two?"]
    assert len(store.list_branches("page")) == 3
