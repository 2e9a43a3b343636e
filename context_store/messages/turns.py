"""
Turns: the messages as every provider sees them, before one provider's format is written.

A turn has one speaker. Answers of tools stand directly behind the calls, whatever another writer put between them;
answers without a call are left out, as every provider refuses them.
"""

from collections import deque
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
    if drop_unanswered_calls:
        turns = _without_unanswered(turns)
    return list(_reunited(turns))


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
    # What a person says beside the answers of tools comes after them: these answer what was before. An agent, whatever
    # its name, makes the calls before they are answered.
    speaker = _speaker(role, said)
    runs = [(speaker, said), ("tool", results)]
    for kind, run in runs if speaker == "assistant" else reversed(runs):
        if run:
            yield kind, run


def _speaker(role: str, parts: list[Part]) -> str:
    """Return who says the parts: calls are the assistant's, and a tool that answers no call is heard as the user."""
    if any(map(is_call, parts)):
        return "assistant"
    return "user" if role == "tool" else role


# What was stored, and the turns that a provider is sent:
#
#     assistant: call 1, call 2          assistant: call 1, call 2
#     user: "wait"                  ->   tool: result 1
#     tool: result 2                     tool: result 2
#     tool: result 1                     user: "wait"
def _reunited(turns: list[Turn]) -> Iterator[Turn]:
    # Some models number their calls anew in each turn: a call takes the next answer that is there for its id.
    answers: dict[str, deque[tuple[int, Turn]]] = {}
    for index, turn in enumerate(turns):
        for part in turn.parts:
            if is_result(part):
                data = turn.data if len(turn.parts) == 1 else None
                answers.setdefault(part.id, deque()).append((index, Turn("tool", [part], data)))
    for index, turn in enumerate(turns):
        if turn.role != "tool":
            yield turn
            calls = [part for part in turn.parts if is_call(part)]
            yield from filter(None, (_next_answer(answers.get(call.id), index) for call in calls))


def _next_answer(answers: deque[tuple[int, Turn]] | None, call_index: int) -> Turn | None:
    # Answers above the call are passed over: they answer nothing, or an earlier call of the id.
    while answers:
        index, turn = answers.popleft()
        if index > call_index:
            return turn
    return None


def _without_unanswered(turns: list[Turn]) -> list[Turn]:
    answered = {part.id for turn in turns for part in turn.parts if is_result(part)}
    kept = []
    for turn in turns:
        parts = [part for part in turn.parts if not is_call(part) or part.id in answered]
        if len(parts) == len(turn.parts):
            kept.append(turn)
        elif parts:
            kept.append(Turn(turn.role, parts))
    return kept


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
