import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from context_store.search.text import MAX_BYTES, extract_text, searchable_text
from context_store.search.words import words


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("plain", "plain"),
        ({"role": "user", "content": "openai"}, "openai"),
        ({"role": "user", "content": ""}, ""),
        ({"content": [{"type": "text", "text": "a"}, "b", {"type": "input_text", "text": "c"}]}, "a\nb\nc"),
        ({"content": [{"type": "image_url", "image_url": {"url": "data:xyz"}}, {"type": "text", "text": "a"}]}, "a"),
        ([{"type": "text", "text": "a"}, {"type": "image", "source": {"data": "xyz"}}], "a"),
        ({"role": "tool", "tool_call_id": "call_1", "content": "sunny"}, "sunny"),
        ({"type": "function_call_output", "call_id": "1", "output": "42 degrees"}, "42 degrees"),
        ({"type": "function_call_output", "call_id": "1", "output": {"sky": "blue", "n": 5}}, "blue"),
        ({"content": [{"type": "tool_result", "tool_use_id": "t", "content": "sunny"}]}, "sunny"),
        ({"content": [{"type": "tool_result", "content": [{"type": "text", "text": "sunny"}]}]}, "sunny"),
        ({"content": [{"type": "tool_use", "id": "t", "name": "get", "input": {"q": "x"}}]}, ""),
        ({"content": [{"type": "thinking", "thinking": "hm", "signature": "sig"}]}, "hm"),
        ({"content": [{"type": "refusal", "refusal": "no"}]}, "no"),
        (
            {
                "role": "assistant",
                "parts": [
                    {"type": "reasoning", "text": "why"},
                    {"type": "tool-weather", "toolCallId": "1", "input": {"city": "Bern"}, "output": {"sky": "grey"}},
                    {"type": "text", "text": "how"},
                    {"type": "file", "url": "data:xyz"},
                ],
            },
            "how\nwhy\ngrey",
        ),
        ({"parts": [{"type": "tool-invocation", "toolInvocation": {"toolName": "x", "result": "wet"}}]}, "wet"),
        ({"content": [{"type": "tool-result", "output": {"type": "json", "value": {"a": "wet"}}}]}, "wet"),
        ({"role": "user", "parts": [{"text": "gemini"}, {"functionResponse": {"name": "f", "response": {"a": "b"}}}]},
         "gemini\nb"),
        ({"content": {"content_type": "text", "parts": ["chatgpt", "export"]}}, "chatgpt\nexport"),
        ({"text": "telegram", "other": "no"}, "telegram"),
        ({"title": "all", "tags": ["string", {"leaves": "here"}], "n": 5, "b": True, "z": None}, "all\nstring\nhere"),
        ({"content": None, "tool_calls": [{"function": {"name": "find", "arguments": '{"q": 1}'}}]}, ""),
        (["a", ["b"], 3], "a\nb"),
        (None, ""),
        (3.5, ""),
        ({}, ""),
    ],
)  # fmt: skip
def test_extract_text(data: object, text: str) -> None:
    assert extract_text(data) == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["content", "text", "parts", "output", "x"]), inner)
    ),
)


@given(JSON)
def test_any_json_has_a_text(data: object) -> None:
    text = searchable_text(data)
    assert "\0" not in text
    assert text == text.strip()


def test_keys_are_no_text() -> None:
    assert extract_text({"secretkey": {"another": ["value"]}}) == "value"


def test_control_characters_are_left_out() -> None:
    assert searchable_text("a\0b\x01c\x1b[0m\td\ne") == "ab c [0m\td\ne"


def test_text_is_composed() -> None:
    assert searchable_text("cafe\u0301") == "caf\u00e9"


@pytest.mark.parametrize("text", ["x" * 5_000_000, "é " * 3_000_000, "编" * 3_000_000, "\u0958" * 1_000_000])
def test_text_is_bounded(text: str) -> None:
    assert len(searchable_text(text).encode()) <= MAX_BYTES


def number(data: object) -> int:
    return 5


def shouting(data: str) -> str:
    return data.upper() + "\ud800"


def test_extractor_can_be_replaced() -> None:
    assert searchable_text("a") == "a"
    with override_settings(CONTEXT_STORE_TEXT_EXTRACTOR="tests.search.test_text.shouting"):
        assert searchable_text("a") == "A"
    assert searchable_text("a") == "a"


@override_settings(CONTEXT_STORE_TEXT_EXTRACTOR="tests.search.test_text.number")
def test_extractor_must_return_text() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"CONTEXT_STORE_TEXT_EXTRACTOR .* returned int"):
        searchable_text("a")


def test_words() -> None:
    assert words("it's foo_bar-1.5 naïve हिन्दी 编程abc ❤️ ²") == [
        "it", "s", "foo", "bar", "1", "5", "naïve", "हिन्दी", "编", "程", "abc", "²",
    ]  # fmt: skip
