"""
The channel ``messages`` as messages of the chat.

Each is written once, below the one before it. A state that goes on from an earlier one, or that has changed what an
earlier one said, goes on on a branch of its own:

    state 1    a - b - c
    state 2    a - b - d    the branch ``branch-2`` at d, and active

A state that has only dropped messages goes on where it was: a chat shows what was said, not what a model still sees.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from langchain_core.messages import BaseMessage, RemoveMessage, convert_to_messages, message_to_dict

from context_store.exceptions import InvalidData
from context_store.graph import LockedChat, read_chain, read_places
from context_store.graph.inputs import Input, parse_messages
from context_store.ids import new_id
from context_store.records import MessageRecord
from context_store.validation import check_identifier, check_json

ROLES = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant", "function": "tool"}


def are_messages(values: Sequence[Any]) -> bool:
    """Tell whether a list is one of messages: LangChain's, or mappings with a role."""
    return all(
        isinstance(value, BaseMessage)
        or (isinstance(value, dict) and isinstance(value.get("role"), str) and value["role"] != "")
        for value in values
    )


def name_of(message: Any) -> str:
    """Return the role of a message as chats name it."""
    if isinstance(message, dict):
        role = str(message["role"])
    else:
        role = message.role if message.type == "chat" else message.type
    return ROLES.get(role, role)


def messages_in(writes: Iterable[Any]) -> list[Any]:
    """Return the messages that writes to a channel of messages have; what removes one is none."""
    found: list[Any] = []
    for value in writes:
        found += value if isinstance(value, list) else [value]
    return [message for message in convert_to_messages(found) if not isinstance(message, RemoveMessage)]


def dump_of(message: Any) -> Any:
    """Return a message as LangChain's ``messages_to_dict`` does."""
    return message if isinstance(message, dict) else message_to_dict(message)


def data_of(message: Any) -> Any:
    """Return a message as ``dump_of`` does; what JSON cannot hold of it is text."""
    data = dump_of(message)
    try:
        check_json(data)
    except InvalidData:
        return json.loads(json.dumps(data, default=repr, ensure_ascii=True), parse_constant=str)
    return data


def id_of(message: Any) -> str | None:
    """Return the id that a message has, if it can be one here."""
    given = message.get("id") if isinstance(message, dict) else message.id
    try:
        return None if given is None else check_identifier(given, "id")
    except InvalidData:
        return None


def append_messages(chat: LockedChat, messages: Sequence[Any], digests: Sequence[str], first: int) -> dict[int, str]:
    """
    Store new messages at the head of the branch; return their ids by position, from ``first`` on.

    An id that is taken is an ``IntegrityError``: then ``write_messages`` finds out what that one is.
    """
    ids = [id_of(message) or digest for message, digest in zip(messages, digests, strict=True)]
    chat.extend(_inputs(chat.id, messages, ids))
    return dict(enumerate(ids, first))


def write_messages(
    chat: LockedChat, messages: Sequence[Any], digests: Sequence[str], *, known: int, anchor: str | None
) -> dict[int, str]:
    """
    Store the messages behind the first ``known``, of which the last is the message ``anchor`` of the chat.

    ``digests`` name each message together with those before it. Returns the ids of messages that were not known before
    and are stored by now, by position.
    """
    found: dict[int, str] = {}
    new = [id_of(message) or digest for message, digest in zip(messages[known:], digests[known:], strict=True)]
    # An anchor, or an empty chat, says where the new messages go. Else the chat has messages that this list knows
    # nothing of, or was written before this channel was: then both are laid side by side.
    is_begun = anchor is not None or not (known or chat.message_count)
    chat.use_branch(ids=new if is_begun else ())
    if chat.has_known or not is_begun:
        first = [id_of(message) or digest for message, digest in zip(messages[:known], digests[:known], strict=True)]
        wanted = [*first, *new]
        stored = chat.find({*wanted, *digests})
        known, anchor, found = _meet(chat, messages, wanted, digests, stored)
        new = _free(wanted[known:], digests[known:], set(stored))
    if known < len(messages):
        _stand_at(chat, anchor)
        chat.extend(_inputs(chat.id, messages[known:], new))
    return {**found, **dict(enumerate(new, known))}


def write_delta(chat: LockedChat, messages: Sequence[Any], names: Sequence[str], anchor: str | None) -> str | None:
    """
    Store what a step has said below the message ``anchor``; return the last message of its state.

    ``names`` are ids for messages that have none. A message that the step has changed, and what came behind it, goes
    onto a branch of its own.
    """
    said = [(message, id_of(message) or name) for message, name in zip(messages, names, strict=True)]
    stored = chat.find([message_id for _, message_id in said])
    new: dict[str, Any] = {}
    changed: dict[str, Any] = {}
    chain: list[MessageRecord] | None = None
    known: dict[Any, MessageRecord] = {}
    for message, message_id in said:
        record = stored.get(message_id)
        if record is None:
            new[message_id] = message
            continue
        if record.parent_id == anchor and _is_same(message, record):
            # The same checkpoint once more.
            anchor = message_id
            if chain is not None:
                chain.append(record)
            continue
        if chain is None:
            chain = read_chain(chat.using, chat.id, chat.place(anchor)) if anchor else []
            known = {name: above for above in chain for name in (above.id, _given_id(above))}
        above = known.get(message_id)
        if above is None:
            # Another branch has it, this one not yet.
            new[new_id()] = message
        elif not _is_same(message, above):
            changed[above.id] = message
    inputs = _inputs(chat.id, list(new.values()), list(new))
    if changed and chain:
        # A step that changes b of the chain a - b - c and says d:
        #
        #     a - b - c
        #       \ b' - c' - d    from the first changed one on, all are written again, under new ids
        first = next(index for index, record in enumerate(chain) if record.id in changed)
        again = [
            {"name": record.name, "data": data_of(changed[record.id]) if record.id in changed else record.data}
            for record in chain[first:]
        ]
        inputs = [*parse_messages(again, chat_id=chat.id), *inputs]
        anchor = chain[first - 1].id if first else None
    if not inputs:
        return anchor
    _stand_at(chat, anchor)
    return chat.extend(inputs)[-1].id


def _given_id(record: MessageRecord) -> Any:
    """Return the id that the graph knows a message by: a copy on another branch has a new one in the chat."""
    data = record.data.get("data") if isinstance(record.data, dict) else None
    given = data.get("id") if isinstance(data, dict) else None
    return given if isinstance(given, str) else None


def _stand_at(chat: LockedChat, anchor: str | None) -> None:
    """Write behind the message from now on: to the branch that ends there, or to a new one."""
    if chat.branch.head_message_id != anchor:
        other = next((branch for branch in chat.branches() if branch.head_message_id == anchor), None)
        chat.activate(other) if other else chat.start_branch(anchor)


def _meet(
    chat: LockedChat,
    messages: Sequence[Any],
    ids: Sequence[str],
    digests: Sequence[str],
    stored: dict[str, MessageRecord],
) -> tuple[int, str | None, dict[int, str]]:
    """
    Return how many messages the chat has already, the last of these, and the ids of those.

    They are the first messages, as far as the chat has them as they are, each below the one before. Where others follow
    that it has as well, a message between them is new or changed: then those that follow one another from the root.
    """
    same = [
        digest if digest in stored else message_id if _is_same(message, stored.get(message_id)) else None
        for message, message_id, digest in zip(messages, ids, digests, strict=True)
    ]
    count = next((index for index, message_id in enumerate(same) if message_id is None), len(same))
    if any(same[count:]):
        parent = None
        for index, message_id in enumerate(same[:count]):
            if message_id is None or stored[message_id].parent_id != parent:
                count = index
                break
            parent = message_id
    # What is not right below the one before: the state has dropped what was between them, or has it from elsewhere.
    #
    #     chat a - b - c      state [a, c, new]    b was dropped: 2 are there, new goes below c
    #           \ d           state [a, d, c]      c is of another branch: 2 are there, c goes below d, under a new id
    line = [message_id for message_id in same[:count] if message_id]
    gaps = [index for index in range(1, count) if stored[line[index]].parent_id != line[index - 1]]
    places = read_places(chat.using, chat.id, line) if gaps else {}
    apart = (index for index in gaps if not chat.is_above(places[line[index - 1]], places[line[index]]))
    count = next(apart, count)
    found = {index: message_id for index, message_id in enumerate(same[:count]) if message_id}
    return count, found.get(count - 1), found


def _is_same(message: Any, record: MessageRecord | None) -> bool:
    """Tell whether the message is stored with this content, or in the format of another framework."""
    if record is None:
        return False
    is_dump = isinstance(record.data, dict) and record.data.keys() == {"type", "data"}
    if isinstance(message, BaseMessage) and not is_dump:
        return True
    return check_json(record.data) == check_json(data_of(message))


def _free(ids: Sequence[str], digests: Sequence[str], taken: set[str]) -> list[str]:
    """Return ids for new messages: their own, where no message of the chat has them."""
    free: list[str] = []
    for names in zip(ids, digests, strict=True):
        free.append(next((name for name in names if name not in taken), None) or new_id())
        taken.add(free[-1])
    return free


def _inputs(chat_id: str, messages: Sequence[Any], ids: Sequence[str]) -> list[Input]:
    def parse(data: Callable[[Any], Any]) -> list[Input]:
        named = zip(messages, ids, strict=True)
        given = [{"id": message_id, "name": name_of(message), "data": data(message)} for message, message_id in named]
        return parse_messages(given, chat_id=chat_id)

    try:
        # Checked once: as a rule JSON can hold them.
        return parse(dump_of)
    except InvalidData:
        return parse(data_of)
