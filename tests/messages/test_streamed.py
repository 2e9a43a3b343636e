"""The chunks of a UI message stream, put together to the parts that the AI SDK's client shows of them."""

from typing import Any

import pytest

from context_store.messages import answer_of, as_ui_chunks, error_of

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


def test_call_that_fails_has_no_output() -> None:
    output = {"type": "tool-output-available", "toolCallId": "c", "output": "…", "preliminary": True}
    [part] = said(CALL, output, {"type": "tool-output-error", "toolCallId": "c", "errorText": "Closed."})["parts"]
    assert part == {**PART, "state": "output-error", "errorText": "Closed."}


def test_approval_of_a_call_is_answered() -> None:
    request = {"type": "tool-approval-request", "toolCallId": "c", "approvalId": "a"}
    answer = {"type": "tool-approval-response", "approvalId": "a", "approved": False, "reason": "No."}
    [part] = said(CALL, request, answer)["parts"]
    assert part == {
        **PART, "state": "approval-responded", "approval": {"id": "a", "approved": False, "reason": "No."},
    }  # fmt: skip


def test_approval_keeps_what_its_answer_is_checked_by() -> None:
    request = {"type": "tool-approval-request", "toolCallId": "c", "approvalId": "a"}
    [part] = said(CALL, {**request, "reason": "It costs.", "isAutomatic": True, "signature": "s"})["parts"]
    assert part["approval"] == {"id": "a", "requestReason": "It costs.", "isAutomatic": True, "signature": "s"}


def test_call_that_is_made_anew_has_no_answer_yet() -> None:
    failed = {"type": "tool-output-error", "toolCallId": "c", "errorText": "Closed."}
    [part] = said(CALL, failed, {"type": "tool-output-available", "toolCallId": "c", "output": 1})["parts"]
    assert part == {**PART, "state": "output-available", "output": 1}
    assert said(CALL, failed, CALL)["parts"] == [{**PART, "state": "input-available"}]


def test_call_of_another_step_is_another_call_though_its_id_is_the_same() -> None:
    # Some models number their calls anew in each step.
    first, second = ({"type": "tool-output-available", "toolCallId": "c", "output": number} for number in (1, 2))
    parts = said({"type": "start-step"}, CALL, first, {"type": "start-step"}, CALL, second)["parts"]
    assert [part.get("output") for part in parts] == [None, 1, None, 2]


def test_text_goes_on_behind_the_start_of_a_step() -> None:
    start, *deltas = ({"type": "text-start", "id": "1"}, *({"type": "text-delta", "id": "1", "delta": d} for d in "ab"))
    parts = said(start, deltas[0], {"type": "start-step"}, deltas[1])["parts"]
    assert parts == [{"type": "text", "text": "ab"}, {"type": "step-start"}]


def test_citations_of_a_text_are_kept() -> None:
    citations = [{"type": "url", "url": "https://example.com/"}]
    [part] = said({"type": "text-start", "id": "1"}, {"type": "text-end", "id": "1", "citations": citations})["parts"]
    assert part["citations"] == citations


ANSWERS = [
    ({"type": "tool-output-available", "toolCallId": "c", "output": 1}, {"state": "output-available", "output": 1}),
    (
        {"type": "tool-output-error", "toolCallId": "c", "errorText": "No."},
        {"state": "output-error", "errorText": "No."},
    ),
    ({"type": "tool-output-denied", "toolCallId": "c"}, {"state": "output-denied"}),
    (
        {"type": "tool-approval-response", "approvalId": "a", "approved": True},
        {"state": "approval-responded", "approval": {"id": "a", "approved": True}},
    ),
]


@pytest.mark.parametrize(("chunk", "answered"), ANSWERS)
def test_stored_call_is_answered(chunk: dict[str, Any], answered: dict[str, Any]) -> None:
    call = {**PART, "state": "approval-requested", "approval": {"id": "a"}}
    stored = {"id": "m", "role": "assistant", "metadata": {"n": 1}, "parts": [{"type": "step-start"}, call]}
    text = [{"type": "start-step"}, {"type": "text-delta", "id": "1", "delta": "Done."}]
    assert answer_of("ui", [chunk, *text], stored) == {
        **stored,
        "parts": [
            {"type": "step-start"}, {**call, **answered}, {"type": "step-start"}, {"type": "text", "text": "Done."},
        ],
    }  # fmt: skip
    assert call["state"] == "approval-requested"


def test_what_lies_in_a_step_that_is_reset_is_not_answered() -> None:
    data = {"type": "data-shelf", "id": "1", "data": 1}
    request = {"type": "tool-approval-request", "toolCallId": "c", "approvalId": "a"}
    again = [CALL, {"type": "tool-approval-response", "approvalId": "a", "approved": True}, data]
    parts = said({"type": "start-step"}, CALL, request, data, {"type": "reset-step"}, *again)["parts"]
    assert parts == [{"type": "step-start"}, {**PART, "state": "input-available"}, data]


def test_step_that_is_reset_is_forgotten() -> None:
    text = [{"type": "text-start", "id": "1"}, {"type": "text-delta", "id": "1", "delta": "Wro"}]
    again = [{"type": "text-start", "id": "1"}, {"type": "text-delta", "id": "1", "delta": "Right"}]
    parts = said({"type": "start-step"}, *text, {"type": "reset-step"}, *again)["parts"]
    assert parts == [{"type": "step-start"}, {"type": "text", "text": "Right"}]


def test_metadata_of_all_chunks_is_kept() -> None:
    first, last = {"usage": {"input": 5}, "model": "m"}, {"usage": {"output": 7}}
    answer = said({"type": "start", "messageMetadata": first}, CALL, {"type": "finish", "messageMetadata": last})
    assert answer["metadata"] == {"usage": {"input": 5, "output": 7}, "model": "m"}


def test_text_keeps_what_its_model_wants_back() -> None:
    signature = {"google": {"thoughtSignature": "s"}}
    thought = [{"type": "reasoning-start", "id": "1"}, {"type": "reasoning-delta", "id": "1", "delta": "Hm"}]
    [part] = said(*thought, {"type": "reasoning-end", "id": "1", "providerMetadata": signature})["parts"]
    assert part == {"type": "reasoning", "text": "Hm", "providerMetadata": signature}


def test_data_is_replaced_by_its_id_and_what_is_transient_is_not_kept() -> None:
    file = {"type": "file", "mediaType": "text/plain", "url": "https://example.com/a.txt"}
    loading, loaded = ({"type": "data-weather", "id": "w", "data": data} for data in ("…", "Sunny"))
    progress = {"type": "data-progress", "data": 50, "transient": True}
    nameless = {"type": "data-note", "data": 1}
    assert said(loading, progress, file, nameless, nameless, loaded)["parts"] == [loaded, file, nameless, nameless]


def test_what_is_no_chunk_says_nothing() -> None:
    foreign = [{"type": 5}, "text", None, {"type": "tool-approval-response", "approvalId": "of no call"}]
    assert answer_of("ui", foreign) is None
    assert answer_of("of one's own", ["text"]) is None
    assert said(CALL, {"type": "tool-input-delta", "toolCallId": "c"}, *foreign)["parts"] == [
        {**PART, "state": "input-available"}
    ]
    assert said({"type": "tool-input-delta", "toolCallId": "of no call"}) is None


def test_stored_parts_of_any_shape_go_on() -> None:
    named = {"toolCallId": "c", "approval": {}}
    stored = {"parts": [{"type": "file", **named}, {"type": "tool-look", **named}, {"type": "tool-look"}]}
    approved = {"type": "tool-approval-response", "approvalId": "a", "approved": True}
    file = {"type": "file", "toolCallId": "d"}
    chunks = [file, {"type": "tool-output-available", "toolCallId": "d", "output": 1}, approved]
    answer = answer_of("ui", [{"type": "tool-input-start"}, {**approved, "approvalId": ""}, *chunks], stored)
    assert answer is not None
    assert [part["type"] for part in answer["parts"]][:3] == ["file", "tool-look", "tool-look"]
    assert file in answer["parts"]


@pytest.mark.parametrize(
    ("chunk", "text"),
    [
        ({"type": "error", "errorText": "Overloaded"}, "Overloaded"),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "Overloaded"),
        ({"type": "error", "error": {"code": 529}}, "The model reported an error."),
        ({"type": "text-delta"}, None),
        ("error", None),
    ],
)
def test_errors_of_all_providers_are_told(chunk: Any, text: str | None) -> None:
    assert error_of(chunk) == text


def test_clients_of_the_ai_sdk_get_chunks_of_every_format() -> None:
    error = {"type": "error", "error": {"message": "Overloaded"}}
    assert list(as_ui_chunks("text", ["Hi", error, 5], "m")) == [
        {"type": "text-delta", "id": "m", "delta": "Hi"},
        {"type": "error", "errorText": "Overloaded"},
        {"type": "data-chunk", "data": 5},
    ]
    assert list(as_ui_chunks("of one's own", ["Hi"], "m")) == [{"type": "data-chunk", "data": "Hi"}]
    # With this pydantic-ai ends; the AI SDK's client refuses what it does not know.
    assert list(as_ui_chunks("ui", [CALL, {"type": "done"}], "m")) == [CALL]
