"""What the npm packages `ai` 5, 6 and 7 say of our UI messages, and the bodies that they send."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from context_store import ContextStore
from context_store.adapters.ai_sdk import apply_request, from_ui_messages, parse_request, to_ui_messages
from context_store.messages import text_of
from tests.conftest import missing

pytestmark = [pytest.mark.django_db, pytest.mark.thorough, pytest.mark.vendor("sqlite")]
PROGRAM = """
import { DefaultChatTransport, convertToModelMessages, validateUIMessages } from "ai";
import { readFileSync } from "node:fs";

const { messages, trigger, messageId } = JSON.parse(readFileSync(0, "utf-8"));
await validateUIMessages({ messages });
await convertToModelMessages(messages);
let body;
const transport = new DefaultChatTransport({
  fetch: async (url, init) => {
    body = init.body;
    return new Response(new ReadableStream({ start: (controller) => controller.close() }));
  },
});
await transport.sendMessages({ chatId: "page", messages, trigger, messageId, abortSignal: undefined });
console.log(body);
"""
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


@pytest.fixture(scope="module", params=[5, 6, 7])
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which a version of the package is installed."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        missing("There is no node with npm on this machine.")
    folder = tmp_path_factory.mktemp(f"ai-{request.param}")
    (folder / "package.json").write_text('{"type": "module"}')
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", f"ai@{request.param}", "zod"]
    subprocess.run(command, cwd=folder, check=True, timeout=300)
    (folder / "program.js").write_text(PROGRAM)
    return folder


def sent(package: Path, messages: list[Any], trigger: str = "submit-message", message_id: str | None = None) -> Any:
    """Return the body that the package sends for messages that it has found valid."""
    page = json.dumps({"messages": messages, "trigger": trigger, "messageId": message_id})
    found = subprocess.run(
        ["node", "program.js"], cwd=package, input=page, capture_output=True, text=True, timeout=100, check=False
    )
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_messages_of_others_are_valid_ui_messages(package: Path, name: str) -> None:
    store = ContextStore(user_id="alice")
    store.create_chat("page")
    store.append_messages("page", [{"name": role, "data": data} for role, data in CONVERSATIONS[name]])
    shown = to_ui_messages(store.get_messages("page"))
    assert sent(package, shown)["messages"] == shown


def test_bodies_do_what_the_page_shows(package: Path) -> None:
    store = ContextStore(user_id="alice")
    question = {"id": "q1", "role": "user", "parts": [{"type": "text", "text": "One?"}]}
    answer = {"id": "a1", "role": "assistant", "parts": [{"type": "text", "text": "One.", "state": "done"}]}
    apply_request(store, parse_request(sent(package, [question])))
    store.append_messages("page", from_ui_messages([answer]))
    body = sent(package, [question], "regenerate-message", "a1")
    assert [text_of(record) for record in apply_request(store, parse_request(body))] == ["One?"]
    store.append_messages("page", from_ui_messages([{**answer, "id": "a2"}]))
    edited = {**question, "parts": [{"type": "text", "text": "Two?"}]}
    body = sent(package, [edited], "submit-message", "q1")
    assert [text_of(record) for record in apply_request(store, parse_request(body))] == ["Two?"]
    assert len(store.list_branches("page")) == 3
