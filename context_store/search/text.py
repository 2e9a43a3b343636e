"""The text of a message: what people said and tools answered, never the keys of the JSON around it."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from context_store.conf import settings

from .words import break_unspaced, clean

# A tsvector holds 1 MiB. A word takes its own bytes there (lower case may need 3 for 2), 1 to align and 4 for its
# place, and at least one byte more than itself in the text: twice the text at worst, from words of 3 bytes.
MAX_BYTES = 400 * 1024

# In a message or a part of one these hold text, or parts that hold text.
_TEXT_KEYS = ("content", "text", "parts")
# Only in a part: on its own a thing with such a key may be of any kind.
_PART_KEYS = (*_TEXT_KEYS, "refusal", "thinking", "summary")
# What a tool answered, any JSON value: OpenAI's Responses, the AI SDK's parts, Gemini's function responses.
_OUTPUT_KEYS = ("output", "result", "response")
_WRAPPER_KEYS = ("toolInvocation", "functionResponse", "function_response")


def extract_text(data: Any) -> str:
    """
    Return the text of a message's data, its pieces on lines of their own.

    Text as it is; ``content``, ``text``, ``parts`` and tool outputs of the usual message formats; else all text in it.
    """
    return "\n".join(piece for piece in _message(data) if piece)


def searchable_text(data: Any) -> str:
    """Return what is indexed of a message: the extractor's text, cleaned, with a bound that every engine can hold."""
    path = settings.TEXT_EXTRACTOR
    text = _extractor(path)(data)
    if not isinstance(text, str):
        raise ImproperlyConfigured(
            f"CONTEXT_STORE_TEXT_EXTRACTOR {path!r} returned {type(text).__name__}: it must return str."
        )
    return _bounded(break_unspaced(_bounded(clean(_bounded(text))))).strip()


def _bounded(text: str) -> str:
    # Lone surrogates, which an extractor of one's own may make, go here too.
    return text[:MAX_BYTES].encode("utf-8", "ignore")[:MAX_BYTES].decode("utf-8", "ignore")


@lru_cache(maxsize=8)
def _extractor(path: str) -> Callable[[Any], Any]:
    extractor: Callable[[Any], Any] = import_string(path)
    return extractor


def _message(data: Any) -> Iterator[str]:
    if isinstance(data, dict) and any(data.get(key) is not None for key in (*_TEXT_KEYS, "output")):
        yield from _part(data)
    elif isinstance(data, list) and any(_is_part(item) for item in data):
        yield from _parts(data)
    else:
        yield from _leaves(data)


def _parts(value: Any) -> Iterator[str]:
    """Yield the text of what lies under a text key: text, a part or a list of parts."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _part(value)
    elif isinstance(value, list):
        for item in value:
            yield from _parts(item)


def _part(part: dict[str, Any]) -> Iterator[str]:
    for key in _PART_KEYS:
        if key in part:
            yield from _output(part[key]) if _is_tool_result(part) else _parts(part[key])
    for key in _OUTPUT_KEYS:
        if key in part:
            yield from _output(part[key])
    for key in _WRAPPER_KEYS:
        if isinstance(part.get(key), dict):
            yield from _part(part[key])


def _output(value: Any) -> Iterator[str]:
    """Yield the text of a tool's answer; ``{"type": "json", "value": …}`` is how the AI SDK wraps it."""
    if isinstance(value, dict) and value.keys() == {"type", "value"}:
        yield from _leaves(value["value"])
    else:
        yield from _message(value)


def _is_part(value: Any) -> bool:
    return isinstance(value, dict) and "type" in value and any(key in value for key in (*_PART_KEYS, *_OUTPUT_KEYS))


def _is_tool_result(part: dict[str, Any]) -> bool:
    """Whether the content is a tool's answer, which may be any JSON (Anthropic, pydantic-ai)."""
    return part.get("type") == "tool_result" or part.get("part_kind") == "tool-return"


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _leaves(item)
