"""Items of OpenAI's Responses, from messages of any provider."""

from typing import Any

from context_store.messages import responses_items
from context_store.records import MessageRecord
from tests.messages.examples import PDF, PNG


def items(*messages: tuple[str, Any], **options: Any) -> list[dict[str, Any]]:
    return responses_items((MessageRecord("m", "c", None, name, None, data, 0) for name, data in messages), **options)


def test_files_of_a_question_are_sent_beside_its_text() -> None:
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}},
        {"type": "document", "source": {"type": "url", "url": "https://example.com/b.pdf"}},
    ]
    [question] = items(("user", {"content": parts}))
    assert question["content"] == [
        {"type": "input_text", "text": "What is it?"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"},
        {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
        {"type": "input_file", "file_url": "https://example.com/b.pdf"},
    ]
    assert items(("user", {"content": []})) == []


def test_calls_stand_between_what_was_said() -> None:
    said = [
        {"type": "thinking", "thinking": "Hm", "signature": "s"},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Rome"}},
        {"type": "tool_use", "id": "c2", "name": "weather", "input": {}},
    ]
    answer = [{"type": "tool_result", "tool_use_id": "c1", "content": "Sunny"}]
    asked = [("user", "Rome?"), ("assistant", {"content": said}), ("user", {"content": answer})]
    call = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city":"Rome"}'}
    assert items(*asked, drop_unanswered_calls=True) == [
        {"role": "user", "content": "Rome?"},
        {"role": "assistant", "content": "I look."},
        call,
        {"type": "function_call_output", "call_id": "c1", "output": "Sunny"},
    ]
    assert "c2" in [item.get("call_id") for item in items(*asked)]
