"""
Turns: the messages as every provider sees them, before one provider's format is written.

A turn has one speaker. Answers of tools stand directly behind the calls, whatever another writer put between them;
answers without a call are left out, as every provider refuses them.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from context_store.records import MessageRecord

from .parts import Break, Part, is_call, is_result
from .reading import TOOL_NAMES, parts_of

Message = dict[str, Any]

ROLES = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "model": "assistant",
    "agent": "assistant",
    "system": "system",
    "developer": "system",
    **dict.fromkeys(TOOL_NAMES, "tool"),
}


class Turn(NamedTuple):
    """``role`` is user, assistant, system or tool; ``data`` is set where the turn is the whole of a message."""

    role: str
    parts: list[Part]
    data: Any = None


def turns_of(messages: Iterable[MessageRecord], *, drop_unanswered_calls: bool = False) -> list[Turn]:
    """Return the turns of the messages. A message of an unknown name is the user's."""
    turns = [turn for message in messages for turn in turns_in(message)]
    return [*_reunited(turns, drop_unanswered_calls=drop_unanswered_calls)][::-1]


def turns_in(message: MessageRecord) -> Iterator[Turn]:
    """Give the turns of one message, each of one speaker."""
    role = ROLES.get(message.name, "user")
    parts = parts_of(message)
    runs = list(_runs(parts, role))
    for kind, run in runs:
        yield Turn(kind, run, message.data if len(runs) == 1 and len(run) == len(parts) else None)


def _runs(parts: list[Part], role: str) -> Iterator[tuple[str, list[Part]]]:
    """Give the parts by speaker: calls made together, then all their answers, then what follows."""
    said: list[Part] = []
    results: list[Part] = []
    for part in parts:
        if is_result(part):
            results.append(part)
            continue
        if results and not is_call(part):
            yield from _pair(said, results, role)
            said, results = [], []
        if not isinstance(part, Break):
            said.append(part)
    yield from _pair(said, results, role)


def _pair(said: list[Part], results: list[Part], role: str) -> Iterator[tuple[str, list[Part]]]:
    # Calls are the assistant's, and a tool that answers no call is heard as the user.
    speaker = "assistant" if any(map(is_call, said)) else "user" if role == "tool" else role
    # What a person says beside the answers of tools comes after them: these answer what was before. An agent, whatever
    # its name, makes the calls before they are answered.
    runs = [(speaker, said), ("tool", results)]
    for kind, run in runs if speaker == "assistant" else reversed(runs):
        if run:
            yield kind, run


# What was stored, and the turns that a provider is sent:
#
#     assistant: call 1, call 2          assistant: call 1, call 2
#     user: "wait"                  ->   tool: result 1
#     tool: result 2                     tool: result 2
#     tool: result 1                     user: "wait"
def _reunited(turns: list[Turn], *, drop_unanswered_calls: bool) -> Iterator[Turn]:
    """Give the turns from the last to the first."""
    # Some models number their calls anew in each turn, or not at all: an answer is that of the nearest call above it of
    # its id that has none yet. Looked at from the end, that call takes the first of the answers that wait.
    waiting: dict[str, list[Turn]] = {}
    for turn in reversed(turns):
        if turn.role == "tool":
            for part in filter(is_result, reversed(turn.parts)):
                waiting.setdefault(part.id, []).append(
                    Turn("tool", [part], turn.data if len(turn.parts) == 1 else None)
                )
            continue
        answers: list[Turn] = []
        kept: list[Part] = []
        for part in turn.parts:
            if is_call(part) and waiting.get(part.id):
                answers.append(waiting[part.id].pop())
            elif is_call(part) and drop_unanswered_calls:
                continue
            kept.append(part)
        yield from reversed(answers)
        if kept:
            yield turn if len(kept) == len(turn.parts) else Turn(turn.role, kept)


def grouped(messages: Iterable[Message], can_join: Callable[[Message, Message], bool]) -> Iterator[list[Message]]:
    """Give written messages in runs of those that can be joined with the one before."""
    group: list[Message] = []
    for message in messages:
        if group and not can_join(group[-1], message):
            yield group
            group = []
        group.append(message)
    if group:
        yield group
