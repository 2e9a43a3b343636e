"""The chunks of a UI message stream, put together to the parts that the AI SDK's client shows of them."""

from typing import Any

from context_store.messages import answer_of

CALL = {"type": "tool-input-available", "toolCallId": "c", "toolName": "look", "input": {}}
PART = {"type": "tool-look", "toolCallId": "c", "input": {}}


def said(*chunks: dict[str, Any]) -> Any:
    return answer_of("ui", chunks)


def test_calls_keep_what_their_model_wants_back() -> None:
    signature, item = {"google": {"thoughtSignature": "s"}}, {"openai": {"itemId": "i"}}
    output = {"type": "tool-output-available", "toolCallId": "c", "output": 1}
    [part] = said({**CALL, "providerMetadata": signature}, {**output, "providerMetadata": item})["parts"]
    assert part["callProviderMetadata"] == signature
    assert part["resultProviderMetadata"] == item


def test_last_output_is_not_preliminary() -> None:
    output = {"type": "tool-output-available", "toolCallId": "c"}
    [part] = said(CALL, {**output, "output": "…", "preliminary": True}, {**output, "output": 1})["parts"]
    assert part == {**PART, "state": "output-available", "output": 1}


def test_approval_of_a_call_is_answered() -> None:
    request = {"type": "tool-approval-request", "toolCallId": "c", "approvalId": "a"}
    answer = {"type": "tool-approval-response", "approvalId": "a", "approved": False, "reason": "No."}
    [part] = said(CALL, request, answer)["parts"]
    assert part == {
        **PART, "state": "approval-responded", "approval": {"id": "a", "approved": False, "reason": "No."},
    }  # fmt: skip


def test_step_that_is_reset_is_forgotten() -> None:
    text = [{"type": "text-start", "id": "1"}, {"type": "text-delta", "id": "1", "delta": "Wro"}]
    again = [{"type": "text-start", "id": "1"}, {"type": "text-delta", "id": "1", "delta": "Right"}]
    parts = said({"type": "start-step"}, *text, {"type": "reset-step"}, *again)["parts"]
    assert parts == [{"type": "step-start"}, {"type": "text", "text": "Right"}]


def test_metadata_of_all_chunks_is_kept() -> None:
    first, last = {"usage": {"input": 5}, "model": "m"}, {"usage": {"output": 7}}
    answer = said({"type": "start", "messageMetadata": first}, CALL, {"type": "finish", "messageMetadata": last})
    assert answer["metadata"] == {"usage": {"input": 5, "output": 7}, "model": "m"}
