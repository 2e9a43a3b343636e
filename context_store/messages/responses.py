"""Items of OpenAI's Responses: https://platform.openai.com/docs/api-reference/responses/create#input."""

from collections.abc import Iterable, Iterator
from typing import Any

from context_store.records import MessageRecord

from .parts import DATA_URL, File, Part, as_text, is_call, is_result, joined, spoken
from .reading import output_text
from .turns import Turn, turns_of

Item = dict[str, Any]


def responses_items(messages: Iterable[MessageRecord], *, drop_unanswered_calls: bool = False) -> list[Item]:
    """
    Return the messages as input items: messages, calls of functions and their answers.

    Thoughts and the calls that another provider has made and answered itself are left out: OpenAI takes its own alone.
    """
    turns = turns_of(messages, drop_unanswered_calls=drop_unanswered_calls)
    return [item for turn in turns for item in _written(turn)]


def _written(turn: Turn) -> Iterator[Item]:
    if turn.role == "user":
        content = [block for part in turn.parts for block in _blocks(part)]
        is_text = all(block["type"] == "input_text" for block in content)
        if content:
            yield {"role": "user", "content": joined(turn.parts) if is_text else content}
        return
    # Text, a call and more text of one turn, in the order in which they were said:
    #
    #     {"role": "assistant", "content": "Let me look."}
    #     {"type": "function_call", "call_id": "c1", "name": "kettle", "arguments": "{\"on\": true}"}
    #     {"role": "assistant", "content": "It is on."}
    said: list[Part] = []
    for part in turn.parts:
        if is_call(part):
            item = {
                "type": "function_call",
                "call_id": part.id,
                "name": part.name,
                "arguments": as_text(part.arguments),
            }
        elif is_result(part):
            item = {"type": "function_call_output", "call_id": part.id, "output": output_text(part.output)}
        else:
            said.append(part)
            continue
        yield from _said(turn.role, said)
        yield item
        said = []
    yield from _said(turn.role, said)


def _said(role: str, parts: list[Part]) -> Iterator[Item]:
    if text := joined(parts):
        yield {"role": role, "content": text}


def _blocks(part: Part) -> Iterator[Item]:
    if not isinstance(part, File):
        yield from ({"type": "input_text", "text": text} for text in spoken((part,)))
    elif part.kind == "image" and part.url:
        yield {"type": "input_image", "image_url": part.url, "detail": "auto"}
    elif DATA_URL.fullmatch(part.url):
        yield {"type": "input_file", "filename": part.name or "file", "file_data": part.url}
    elif part.url:
        yield {"type": "input_file", "file_url": part.url}
