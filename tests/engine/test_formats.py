"""Prompts in the formats of providers, from messages stored in any of them."""

import json
from typing import Any

import pytest

from context_store.engine import ContextEngine, Prompt, assistant, hint, message, system, tool, user
from context_store.messages import calls_in, needs_call, parts_of, text_of
from context_store.records import MessageRecord

ARGUMENTS = {"city": "Rome"}
OPENAI_CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
TOOL_USE = {"type": "tool_use", "id": "c1", "name": "weather", "input": ARGUMENTS}
TOOL_RESULT = {"type": "tool_result", "tool_use_id": "c1", "content": "sunny"}
UI_TOOL = {
    "type": "tool-weather",
    "toolCallId": "c1",
    "state": "output-available",
    "input": ARGUMENTS,
    "output": "sunny",
}
OPENAI = [
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "content": "Looking.", "tool_calls": [OPENAI_CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    {"role": "assistant", "content": "Sunny."},
]
ANTHROPIC = [
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "content": [{"type": "text", "text": "Looking."}, TOOL_USE]},
    {"role": "user", "content": [TOOL_RESULT]},
    {"role": "assistant", "content": "Sunny."},
]
UI_PARTS = [
    [{"type": "text", "text": "Weather?"}],
    [{"type": "text", "text": "Looking."}, UI_TOOL],
    [{"type": "text", "text": "Sunny."}],
]


def set_openai(engine: ContextEngine) -> None:
    engine.set(*(message(item["role"], {k: v for k, v in item.items() if k != "role"}) for item in OPENAI))


def set_anthropic(engine: ContextEngine) -> None:
    engine.set(*(message(item["role"], item["content"]) for item in ANTHROPIC))


def set_ui(engine: ContextEngine) -> None:
    engine.set(
        *(
            message(role, {"parts": parts})
            for role, parts in zip(["user", "assistant", "assistant"], UI_PARTS, strict=True)
        )
    )


def set_one_ui_message(engine: ContextEngine) -> None:
    steps = [{"type": "step-start"}, *UI_PARTS[1], {"type": "step-start"}, *UI_PARTS[2]]
    engine.set(user({"parts": UI_PARTS[0]}), assistant({"role": "assistant", "parts": steps}))


def set_helpers(engine: ContextEngine) -> None:
    engine.set(user("Weather?"), assistant({"content": "Looking.", "tool_calls": [OPENAI_CALL]}))
    engine.set(tool("sunny", call_id="c1"), assistant("Sunny."))


SOURCES = [set_openai, set_anthropic, set_ui, set_one_ui_message, set_helpers]


@pytest.mark.parametrize("fill", SOURCES)
def test_every_source_becomes_openai(engine: ContextEngine, fill: Any) -> None:
    fill(engine)
    assert engine.resolve().openai() == OPENAI


@pytest.mark.parametrize("fill", SOURCES)
def test_every_source_becomes_anthropic(engine: ContextEngine, fill: Any) -> None:
    fill(engine)
    assert engine.resolve().anthropic() == {"messages": ANTHROPIC}


@pytest.mark.parametrize("fill", SOURCES)
def test_every_source_becomes_ui_messages(engine: ContextEngine, fill: Any) -> None:
    fill(engine)
    merged = engine.resolve().ui_messages(merge_consecutive=True)
    assert [item["role"] for item in merged] == ["user", "assistant"]
    spoken = [part for part in merged[1]["parts"] if part["type"] != "step-start"]
    assert spoken == [*UI_PARTS[1], *UI_PARTS[2]]


def test_ui_messages_have_the_ids_of_their_records(engine: ContextEngine) -> None:
    set_openai(engine)
    prompt = engine.resolve()
    ids = [record.id for record in prompt.messages]
    assert [item["id"] for item in prompt.ui_messages()] == [ids[0], ids[1], ids[3]]
    assert [item["id"] for item in prompt.ui_messages(merge_consecutive=True)] == ids[:2]
    assert [item["parts"] for item in prompt.ui_messages()] == UI_PARTS


def test_the_system_prompt_comes_first(engine: ContextEngine) -> None:
    prompt = engine.set(hint("Be brief"), system("Chain rule"), user("Hello")).resolve()
    assert [item["role"] for item in prompt.openai()] == ["system", "system", "user"]
    assert [item["role"] for item in prompt.openai(system_role="developer")] == ["developer", "developer", "user"]
    assert prompt.openai()[0]["content"] == prompt.system_prompt
    assert prompt.anthropic() == {
        "system": f"{prompt.system_prompt}\n\nChain rule",
        "messages": [{"role": "user", "content": "Hello"}],
    }
    assert [item["role"] for item in prompt.ui_messages()] == ["system", "user"]


def test_what_is_stored_in_a_format_comes_out_as_it_is(engine: ContextEngine) -> None:
    openai = {"content": [{"type": "text", "text": "a", "cache_control": {}}], "name": "ann"}
    anthropic = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "b", "citations": []},
    ]
    parts = [{"type": "data-chart", "data": [1]}, {"type": "text", "text": "c", "state": "done"}]
    engine.set(user(openai), assistant(anthropic), assistant({"parts": parts, "metadata": {"x": 1}}))
    prompt = engine.resolve()
    assert prompt.openai()[0] == {"role": "user", **openai}
    assert prompt.anthropic(merge_consecutive=False)["messages"][1]["content"] == anthropic
    assert prompt.ui_messages()[2]["parts"] == parts
    assert prompt.ui_messages()[2]["metadata"] == {"x": 1}


def test_thoughts_and_parts_of_other_formats_are_left_out(engine: ContextEngine) -> None:
    engine.set(assistant([{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "b"}]))
    engine.set(assistant({"parts": [{"type": "data-chart", "data": [1]}, {"type": "text", "text": "c"}]}))
    prompt = engine.resolve()
    assert prompt.openai() == [{"role": "assistant", "content": "b"}, {"role": "assistant", "content": "c"}]
    assert prompt.anthropic(merge_consecutive=False)["messages"][1] == {"role": "assistant", "content": "c"}


def test_keys_that_no_api_knows_are_left_out(engine: ContextEngine) -> None:
    engine.set(user({"id": "x", "role": "user", "content": "Hi", "metadata": {"a": 1}, "usage": {}, "created_at": 1}))
    assert engine.resolve().openai() == [{"role": "user", "content": "Hi"}]


def test_an_empty_list_of_calls_is_left_out(engine: ContextEngine) -> None:
    engine.set(*(assistant({"role": "assistant", "content": text, "tool_calls": []}) for text in "ab"))
    assert engine.resolve().openai() == [{"role": "assistant", "content": text} for text in "ab"]
    assert engine.resolve().openai(merge_consecutive=True) == [{"role": "assistant", "content": "a\n\nb"}]


def test_consecutive_messages_are_merged_where_asked(engine: ContextEngine) -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
    engine.set(user("a"), user("b"), user({"content": [picture]}), assistant("c"), assistant("d"))
    prompt = engine.resolve()
    assert len(prompt.openai()) == 5
    assert prompt.openai(merge_consecutive=True) == [
        {"role": "user", "content": [{"type": "text", "text": "a\n\nb"}, picture]},
        {"role": "assistant", "content": "c\n\nd"},
    ]
    assert [item["role"] for item in prompt.anthropic()["messages"]] == ["user", "assistant"]
    assert len(prompt.anthropic(merge_consecutive=False)["messages"]) == 5


def test_nothing_is_merged_behind_calls(engine: ContextEngine) -> None:
    set_openai(engine)
    assert engine.resolve().openai(merge_consecutive=True) == OPENAI


def test_answers_to_parallel_calls_lie_in_one_anthropic_message(engine: ContextEngine) -> None:
    calls = [{**OPENAI_CALL, "id": name} for name in ("c1", "c2")]
    engine.set(assistant({"content": None, "tool_calls": calls}))
    engine.set(tool("one", call_id="c1"), tool("two", call_id="c2"), user("And?"))
    for merge, roles in ((True, ["assistant", "user"]), (False, ["assistant", "user", "user"])):
        messages = engine.resolve().anthropic(merge_consecutive=merge)["messages"]
        assert [item["role"] for item in messages] == roles
        assert [block["content"] for block in messages[1]["content"][:2]] == ["one", "two"]


def test_answers_stand_behind_their_calls_whatever_came_between(engine: ContextEngine) -> None:
    engine.set(assistant({"content": None, "tool_calls": [OPENAI_CALL]}))
    engine.set(user("from another tab"), assistant("to that tab"), tool("sunny", call_id="c1"))
    assert [item["role"] for item in engine.resolve().openai()] == ["assistant", "tool", "user", "assistant"]
    merged = engine.resolve().anthropic()["messages"]
    assert merged[1]["content"] == [TOOL_RESULT, {"type": "text", "text": "from another tab"}]


def test_calls_that_are_numbered_anew_find_their_own_answers(engine: ContextEngine) -> None:
    for answer in ("first", "second"):
        engine.set(assistant({"content": None, "tool_calls": [OPENAI_CALL]}), tool(answer, call_id="c1"))
    assert [item["content"] for item in engine.resolve().openai()] == [None, "first", None, "second"]


@pytest.mark.parametrize("content", ["Sunny", [{"type": "text", "text": "Sunny"}]])
def test_functions_that_have_no_ids_are_tools(content: Any) -> None:
    call = {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": "{}"}}
    answer = {"role": "function", "name": "weather", "content": content}
    records = [MessageRecord("m", "c", None, data["role"], None, data, 0) for data in (call, answer, call, answer)]
    prompt = Prompt("", records)
    written = prompt.openai(drop_unanswered_calls=True)
    assert [message["role"] for message in written] == ["assistant", "tool"] * 2
    assert [message["content"] for message in written[1::2]] == ["Sunny"] * 2
    assert {message["tool_call_id"] for message in written[1::2]} == {written[0]["tool_calls"][0]["id"]}
    answers = [message["content"][0] for message in prompt.anthropic()["messages"] if message["role"] == "user"]
    assert [(block["type"], block["tool_use_id"]) for block in answers] == [("tool_result", "weather")] * 2
    assert [part["output"] for message in prompt.ui_messages() for part in message["parts"]] == [content] * 2


def test_calls_of_one_id_without_an_answer_leave_those_of_others_alone(engine: ContextEngine) -> None:
    engine.set(assistant({"content": "Hm", "tool_calls": [OPENAI_CALL]}), user("Well?"))
    engine.set(assistant({"content": None, "tool_calls": [OPENAI_CALL]}), tool("sunny", call_id="c1"))
    assert [item["content"] for item in engine.resolve().openai()] == ["Hm", "Well?", None, "sunny"]
    dropped = engine.resolve().openai(drop_unanswered_calls=True)
    assert dropped[0] == {"role": "assistant", "content": "Hm"}
    assert [item["content"] for item in dropped] == ["Hm", "Well?", None, "sunny"]


def test_answers_to_calls_without_ids_keep_their_order(engine: ContextEngine) -> None:
    """Gemini may call one function several times at once, and tells the answers apart by their order."""
    calls = [{"functionCall": {"name": "weather", "args": {"city": city}}} for city in ("Rome", "Oslo")]
    answers = [{"functionResponse": {"name": "weather", "response": {"city": city}}} for city in ("Rome", "Oslo")]
    engine.set(message("model", {"parts": calls}), user({"parts": answers}))
    assert [item["content"] for item in engine.resolve().openai()[1:]] == ['{"city":"Rome"}', '{"city":"Oslo"}']
    assert [part["output"] for part in engine.resolve().ui_messages()[0]["parts"]] == [
        {"city": "Rome"},
        {"city": "Oslo"},
    ]


def test_a_ui_message_that_is_stored_gets_the_answers_that_come_later(engine: ContextEngine) -> None:
    call = {key: UI_TOOL[key] for key in ("type", "toolCallId", "input")} | {"state": "input-available"}
    engine.set(user("Weather?"), assistant({"role": "assistant", "parts": [call]}), tool("sunny", call_id="c1"))
    prompt = engine.resolve()
    assert prompt.ui_messages()[1]["parts"] == [UI_TOOL]
    assert prompt.messages[1].data["parts"] == [call]


def test_calls_of_an_agent_of_any_name_keep_their_answers(engine: ContextEngine) -> None:
    engine.set(user("Weather?"), message("researcher", {"parts": [*UI_PARTS[1], {"type": "text", "text": "Sunny."}]}))
    assert [item["role"] for item in engine.resolve().openai()] == ["user", "assistant", "tool", "user"]
    assert engine.resolve().openai()[1:3] == OPENAI[1:3]


def test_answers_without_calls_are_left_out(engine: ContextEngine) -> None:
    engine.set(user("q"), tool("x", call_id="gone"))
    assert engine.resolve().openai() == [{"role": "user", "content": "q"}]
    assert engine.resolve().anthropic() == {"messages": [{"role": "user", "content": "q"}]}


def test_calls_without_answers_are_left_out_where_asked(engine: ContextEngine) -> None:
    engine.set(user("q"), assistant({"content": "Hm", "tool_calls": [OPENAI_CALL]}), assistant([TOOL_USE]), user("r"))
    assert len(engine.resolve().openai()) == 4
    dropped = engine.resolve().openai(drop_unanswered_calls=True)
    assert [item["content"] for item in dropped] == ["q", "Hm", "r"]
    assert [item["content"] for item in engine.resolve().anthropic(drop_unanswered_calls=True)["messages"]] == [
        "q",
        "Hm",
        "r",
    ]


def test_files_change_their_form(engine: ContextEngine) -> None:
    engine.set(
        user({"content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}]}),
        assistant("ok"),
        user([{"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "QUJD"}}]),
        assistant("ok"),
        user({"parts": [{"type": "file", "mediaType": "image/jpeg", "url": "https://x/y.jpg", "filename": "y.jpg"}]}),
    )
    prompt = engine.resolve()
    openai = [item["content"] for item in prompt.openai() if item["role"] == "user"]
    assert openai[1] == [
        {"type": "file", "file": {"filename": "file", "file_data": "data:application/pdf;base64,QUJD"}}
    ]
    assert openai[2] == [{"type": "image_url", "image_url": {"url": "https://x/y.jpg"}}]
    anthropic = [item["content"] for item in prompt.anthropic()["messages"] if item["role"] == "user"]
    assert anthropic[0] == [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}}]
    assert anthropic[2] == [{"type": "image", "source": {"type": "url", "url": "https://x/y.jpg"}}]
    shown = [item["parts"][0] for item in prompt.ui_messages() if item["role"] == "user"]
    assert shown[1]["url"] == "data:application/pdf;base64,QUJD"


def test_failed_and_refused_tools_are_errors(engine: ContextEngine) -> None:
    failed = {**UI_TOOL, "state": "output-error", "errorText": "down"}
    denied = {**UI_TOOL, "toolCallId": "c2", "state": "output-denied"}
    engine.set(user("q"), assistant({"parts": [failed, denied]}))
    results = engine.resolve().anthropic()["messages"][2]["content"]
    assert [(block["is_error"], block["content"]) for block in results] == [
        (True, "down"),
        (True, "The user denied this call."),
    ]
    engine.clear()
    engine.set(assistant([TOOL_USE]), user([{**TOOL_RESULT, "is_error": True}]))
    part = engine.resolve().ui_messages()[0]["parts"][0]
    assert (part["state"], part["errorText"]) == ("output-error", "sunny")


def test_data_of_no_known_format_is_its_json(engine: ContextEngine) -> None:
    engine.set(user({"a": [1, "é"]}), message("critic", 7), tool({"celsius": 3}))
    assert [(item["role"], item["content"]) for item in engine.resolve().openai()] == [
        ("user", '{"a":[1,"é"]}'),
        ("user", "7"),
        ("user", '{"celsius":3}'),
    ]


def test_outputs_of_tools_that_are_json_become_text(engine: ContextEngine) -> None:
    engine.set(assistant({"content": None, "tool_calls": [OPENAI_CALL]}), tool({"celsius": 3}, call_id="c1"))
    assert engine.resolve().openai()[1]["content"] == '{"celsius":3}'
    assert engine.resolve().anthropic()["messages"][1]["content"][0]["content"] == '{"celsius":3}'
    assert engine.resolve().ui_messages()[0]["parts"][0]["output"] == {"celsius": 3}


@pytest.mark.parametrize("output", [{"type": "text", "size": 3}, [{"type": "text", "size": 3}]])
def test_outputs_of_tools_with_the_type_of_a_block_become_text(engine: ContextEngine, output: Any) -> None:
    engine.set(assistant({"content": None, "tool_calls": [OPENAI_CALL]}))
    engine.set(tool({"type": "function_call_output", "call_id": "c1", "output": output}))
    assert json.loads(engine.resolve().openai()[1]["content"]) == output
    assert json.loads(engine.resolve().anthropic()["messages"][1]["content"][0]["content"]) == output


BROKEN = [
    {"parts": "x"},
    {"parts": [None, 1, {"type": 3}, {"type": "tool-x", "state": "output-available"}]},
    {"content": {"type": "text"}},
    {"content": [{"type": "image_url"}, {"type": "image", "source": 1}, {"type": "tool_use"}, {"type": "file"}]},
    {"tool_calls": [None, {"id": 1}, {"function": {}}]},
    {"tool_call_id": 7},
    [{"type": "tool_result"}, {"type": "function_call", "call_id": "x"}, {"type": "tool-invocation"}],
    {"type": "text"},
    [[["deep"]]],
    "",
    0,
    False,
]


@pytest.mark.parametrize("data", BROKEN, ids=repr)
@pytest.mark.parametrize("name", ["user", "assistant", "tool", "system"])
def test_no_data_breaks_a_format(name: str, data: Any) -> None:
    from context_store.engine import Prompt

    record = MessageRecord("m", "chat", None, name, "message", data, 0)
    prompt = Prompt("", [record])
    assert isinstance(prompt.openai(), list)
    assert isinstance(prompt.anthropic(), dict)
    assert isinstance(prompt.ui_messages(), list)
    assert isinstance(text_of(record), str)
    assert isinstance((parts_of(record), calls_in(record), needs_call(record)), tuple)


def test_files_keep_the_form_that_a_format_has_for_them(engine: ContextEngine) -> None:
    engine.set(
        user({"parts": [{"inlineData": {"mimeType": "audio/mpeg", "data": "QUJD"}}]}),
        user([{"type": "document", "source": {"type": "file", "file_id": "f1"}}, {"type": "input_text", "text": "x"}]),
        user({"content": [{"type": "image", "image": "https://x/y.png"}]}),
    )
    prompt = engine.resolve()
    audio = {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "mp3"}}
    image = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
    assert [item["content"] for item in prompt.openai()] == [[audio], "x", [image]]
    anthropic = prompt.anthropic(merge_consecutive=False)["messages"]
    assert anthropic[1]["content"][0] == {"type": "document", "source": {"type": "file", "file_id": "f1"}}
    assert anthropic[2]["content"] == [{"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}]


def test_files_that_a_model_made_are_left_out(engine: ContextEngine) -> None:
    picture = {"inlineData": {"mimeType": "image/png", "data": "QUJD"}}
    engine.set(user("Draw"), message("model", {"parts": [{"text": "Drawn"}, picture]}), user("Thanks"))
    engine.set(message("model", {"parts": [picture]}))
    assert [item["content"] for item in engine.resolve().openai()] == ["Draw", "Drawn", "Thanks"]
    assert [item["content"] for item in engine.resolve().anthropic()["messages"]] == ["Draw", "Drawn", "Thanks"]


def test_tools_of_a_provider_are_its_own(engine: ContextEngine) -> None:
    said = [
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "tea"}},
        {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []},
        {"type": "text", "text": "Tea is a drink."},
    ]
    engine.set(user("Tea?"), assistant(said))
    prompt = engine.resolve()
    assert prompt.anthropic()["messages"][1]["content"] == said
    assert prompt.openai()[1] == {"role": "assistant", "content": "Tea is a drink."}
    assert [part["type"] for part in prompt.ui_messages()[1]["parts"]] == ["tool-web_search", "text"]
    assert prompt.ui_messages()[1]["parts"][0]["providerExecuted"] is True


def test_answers_of_a_providers_tools_go_back_as_it_wrote_them() -> None:
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Tea"}}
    fetched = {"type": "web_fetch_result", "url": "https://example.com/", "content": document}
    answer = {"type": "web_fetch_tool_result", "tool_use_id": "srv_1", "content": fetched}
    # The text without a type has the message written anew.
    data = [answer, "Tea is a drink."]
    prompt = Prompt("", [MessageRecord("m", "c", None, "assistant", None, data, 0)])
    assert prompt.anthropic()["messages"][0]["content"][0] == answer


def test_content_of_tools_keeps_its_pictures_where_the_format_can(engine: ContextEngine) -> None:
    picture = {"type": "media", "data": "QUJD", "mediaType": "image/png"}
    output = {"type": "content", "value": [{"type": "text", "text": "Drawn"}, picture]}
    engine.set(assistant({"content": None, "tool_calls": [OPENAI_CALL]}))
    engine.set(tool([{"type": "tool-result", "toolCallId": "c1", "toolName": "weather", "output": output}]))
    source = {"type": "base64", "media_type": "image/png", "data": "QUJD"}
    assert engine.resolve().openai()[1]["content"] == "Drawn\n[image/png]"
    assert engine.resolve().anthropic()["messages"][1]["content"][0]["content"] == [
        {"type": "text", "text": "Drawn"},
        {"type": "image", "source": source},
    ]
