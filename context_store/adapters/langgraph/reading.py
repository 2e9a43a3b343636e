"""A chat that others wrote, for a graph to go on with."""

from collections.abc import Iterable, Iterator
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage, messages_from_dict

from context_store.messages import openai_messages, output_text
from context_store.messages.anthropic import arguments_of
from context_store.messages.parts import is_call, is_result, joined
from context_store.messages.turns import turns_in
from context_store.records import MessageRecord


def langchain_messages(records: Iterable[MessageRecord]) -> list[BaseMessage]:
    """
    Return messages of a chain as LangChain's, to pass to a graph before a new one.

    They have the ids that they have in the chat: ``DjangoSaver`` does not store them again. A message that others wrote
    may be several of LangChain's, of which the last has its id: these are stored, on a branch of their own. Calls that
    others made at once, in a message each, are one message of LangChain's.
    """
    messages: list[BaseMessage] = []
    names: dict[str, str] = {}
    calling: AIMessage | None = None
    for record in records:
        data = record.data
        is_dump = isinstance(data, dict) and data.keys() == {"type", "data"} and isinstance(data["data"], dict)
        written = messages_from_dict([data]) if is_dump else list(_written(record, names))
        for index, message in enumerate(written, 1):
            message.id = record.id if index == len(written) else f"{record.id}#{index}"
        if calling and written and not is_dump and isinstance(written[0], AIMessage):
            # Providers refuse what stands between a call and its answer:
            #
            #     ai: call 1 | ai: call 2 | tool: result 1 | tool: result 2    ->    ai: call 1, call 2 | tool: …
            messages.pop()
            text = "\n".join(filter(None, (calling.text, written[0].text)))
            calls = [*calling.tool_calls, *written[0].tool_calls]
            written[0] = AIMessage(text, tool_calls=calls, id=written[0].id)
        messages += written
        if written:
            last = None if is_dump else written[-1]
            calling = last if isinstance(last, AIMessage) and last.tool_calls else None
    return messages


def _written(record: MessageRecord, names: dict[str, str]) -> Iterator[BaseMessage]:
    """Give the message as LangChain's. ``names`` are those of the tools, by the ids of their calls."""
    for turn in turns_in(record):
        calls = [part for part in turn.parts if is_call(part)]
        names.update({call.id: call.name for call in calls})
        text = joined(turn.parts)
        if turn.role == "assistant" and (text or calls):
            made = [{"name": call.name, "args": arguments_of(call), "id": call.id} for call in calls]
            yield AIMessage(text, tool_calls=made)
        elif turn.role == "tool":
            for part in filter(is_result, turn.parts):
                name = part.name or names.get(part.id)
                status: Any = "error" if part.is_error else "success"
                yield ToolMessage(output_text(part.output), tool_call_id=part.id, name=name, status=status)
        elif turn.role == "system" and text:
            yield SystemMessage(text)
        elif turn.role == "user":
            data = {"content": text} if turn.data is None else turn.data
            for message in openai_messages("", [record._replace(name="user", data=data)]):
                yield HumanMessage(message["content"])
