"""A session of the OpenAI Agents SDK as a chat, with the branches and usage of the SDK's ``AdvancedSQLiteSession``."""

import json
import logging
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from time import time
from typing import Any, NamedTuple, TypeVar

from django.db import connections, transaction
from django.db.models import QuerySet, Sum
from django.db.models.aggregates import Count

from context_store.adapters.base import requires, threaded
from context_store.adapters.chats import UserChats, UserId, delete_unused, delete_with_messages, translated
from context_store.db import retry
from context_store.exact_json import loads_each
from context_store.exceptions import IdConflict, InvalidData, OwnerMismatch
from context_store.graph import (
    HeadedBranch,
    LockedChat,
    locked,
    parse_messages,
    read_last,
    read_page,
    written_at_once,
)
from context_store.messages import responses_items
from context_store.models import Branch, Chat, Message
from context_store.records import MessageRecord

from .models import TurnUsage

with requires("openai-agents"):
    from agents import RunResult, SessionSettings, TResponseInputItem
    from agents.memory.session_settings import coerce_session_settings, resolve_session_limit

Result = TypeVar("Result")
Item = dict[str, Any]
# The SDK's ``RunContextWrapper``, or ``None`` outside of a run.
Wrapper = Any

# The type of messages that are items of the Responses API.
ITEM = "openai_agents"
MAIN = "main"
PREVIEW_LENGTH = 100
# What is counted of a turn's usage, and what is told of it beside.
COUNTS = ("requests", "input_tokens", "output_tokens", "total_tokens")
DETAILS = ("input_tokens_details", "output_tokens_details")
# Calls that have no name: there the kind is one.
NAMELESS = {
    "computer_call",
    "file_search_call",
    "web_search_call",
    "code_interpreter_call",
    "shell_call",
    "apply_patch_call",
}
CALLS = {
    "tool_call",
    "function_call",
    "tool_search_call",
    "custom_tool_call",
    "mcp_call",
    "mcp_approval_request",
    *NAMELESS,
}


class Left(NamedTuple):
    """
    How a session left its chat: the branch that it wrote to, and the revision.

    While the chat is at the revision nobody has written since, and the branch is as it was.
    """

    using: str
    user_id: str
    revision: int
    branch: HeadedBranch


class DjangoSession(UserChats):
    """
    The chat ``session_id`` of a user, or of whom ``user_id(wrapper)`` finds in the run's context, as a session.

    Its current branch is the chat's active one. Items are messages as the SDK gave them; what others wrote in the chat
    is read as items of the Responses API. The chat is made with the first item.
    """

    def __init__(
        self,
        session_id: str,
        *,
        user_id: UserId,
        using: str | None = None,
        session_settings: SessionSettings | dict[str, Any] | None = None,
        logger: logging.Logger | None = None,
    ) -> None:
        self.session_id = session_id
        super().__init__(user_id, using)
        self.session_settings: SessionSettings | None = coerce_session_settings(session_settings or {})
        self.logger = logger or logging.getLogger("context_store.openai_agents")
        self._left: Left | None = None

    # The session

    @threaded
    def get_items(
        self, limit: int | None = None, branch_id: str | None = None, *, wrapper: Wrapper = None
    ) -> list[TResponseInputItem]:
        """Return the items of a branch (default: the current one), oldest first; with ``limit`` the last of them."""
        limit = resolve_session_limit(limit, self.session_settings)
        if limit == 0:
            return []
        # SQLite, on which the SDK's own sessions lie, takes a negative limit for none.
        page = None if limit is None or limit < 0 else limit
        items: list[Any] = self._items(self._owner(wrapper), branch_id, page)
        return items if page is None else items[-page:]

    @threaded
    def add_items(self, items: list[TResponseInputItem], *, wrapper: Wrapper = None) -> None:
        """Append the items to the current branch. Raises ``OwnerMismatch`` where the chat is another user's."""
        if items:
            self._add(self._owner(wrapper), items)

    @threaded
    def pop_item(self, *, wrapper: Wrapper = None) -> TResponseInputItem | None:
        """Remove the last item of the current branch and return it; messages that other branches have stay."""
        item: Any = self._write(self._owner(wrapper), self._pop)
        return item

    @threaded
    def clear_session(self, *, wrapper: Wrapper = None) -> None:
        """Delete the chat."""
        self._chats(self._owner(wrapper)).delete_chat(self.session_id)

    # Branches

    @threaded
    def create_branch_from_turn(
        self, turn_number: int, branch_name: str | None = None, *, wrapper: Wrapper = None
    ) -> str:
        """
        Start a branch above a turn of the current branch, make it the current one, and return its name.

        Raises ``ValueError`` where there is no such turn, or where the name is blank or taken.
        """
        if branch_name is not None and not branch_name.strip():
            raise ValueError("Branch name cannot be empty")

        def create(chat: LockedChat) -> str:
            # Turn 2 of main; what is added next stands in the place of q2, which main keeps:
            #
            #     q1 - a1 - q2 - a2 (main)
            #            \ (branch_from_turn_2_1700000000, active)
            turns = _user_messages(read_page(chat.using, chat.id, branch=chat.branch.name))
            if not 1 <= turn_number <= len(turns):
                raise ValueError(f"Turn {turn_number} does not contain a user message in branch '{chat.branch.name}'")
            above = turns[turn_number - 1].parent_id
            try:
                return chat.start_branch(above, branch_name or self._new_name(chat, turn_number)).name
            except (IdConflict, InvalidData) as error:
                raise ValueError(f"Branch ID {branch_name!r} cannot be used: {error}") from error

        name: str | None = self._write(self._owner(wrapper), create)
        if name is None:
            raise ValueError(f"Turn {turn_number} does not contain a user message in branch {MAIN!r}")
        return name

    async def create_branch_from_content(
        self, search_term: str, branch_name: str | None = None, *, wrapper: Wrapper = None
    ) -> str:
        """Start a branch above the first turn whose text has the term, as ``create_branch_from_turn`` does."""
        turns = await self.find_turns_by_content(search_term, wrapper=wrapper)
        if not turns:
            raise ValueError(f"No user turns found containing '{search_term}'")
        return await self.create_branch_from_turn(turns[0]["turn"], branch_name, wrapper=wrapper)

    @threaded
    def switch_to_branch(self, branch_id: str, *, wrapper: Wrapper = None) -> None:
        """Make a branch the current one. Raises ``ValueError`` if there is none of that name."""

        def switch(chat: LockedChat) -> bool:
            chat.activate(self._use_branch(chat, branch_id))
            return True

        if not self._write(self._owner(wrapper), switch):
            raise _no_branch(branch_id)

    @threaded
    def delete_branch(self, branch_id: str, force: bool = False, *, wrapper: Wrapper = None) -> None:  # noqa: FBT001, FBT002
        """
        Delete a branch, and the messages that it alone has; with ``force`` the current one too, then main is current.

        Raises ``ValueError`` for main, for the current branch without ``force``, and if there is none of that name.
        """
        if not branch_id or not branch_id.strip():
            raise ValueError("Branch ID cannot be empty")
        if branch_id == MAIN:
            raise ValueError("Cannot delete the 'main' branch")

        def delete(chat: LockedChat) -> bool:
            if self._use_branch(chat, branch_id).is_active:
                if not force:
                    raise ValueError(
                        f"Cannot delete current branch '{branch_id}'. Use force=True or switch branches first"
                    )
                chat.activate(self._use_branch(chat, MAIN))
            delete_with_messages(chat, branch_id)
            self._usage(chat.id).filter(branch=branch_id).delete()
            return True

        if not self._write(self._owner(wrapper), delete):
            raise _no_branch(branch_id)

    @threaded
    def list_branches(self, *, wrapper: Wrapper = None) -> list[dict[str, Any]]:
        """Return name, counts of messages and of turns, and time of each branch, oldest first."""
        owner = self._owner(wrapper)
        # Turns are counted along the parents of all messages, read once, without data.
        branches = Branch.objects.using(self._db).visible_to(owner).filter(chat_id=self.session_id)
        records = branches.oldest_first().records()
        messages = Message.objects.using(self._db).visible_to(owner).filter(chat_id=self.session_id)
        above = {key: (parent, name) for key, parent, name in messages.values_list("id", "parent_id", "name")}
        listed = []
        for branch in records:
            turns, message_id = 0, branch.head_message_id
            while message_id is not None and message_id in above:
                message_id, name = above[message_id]
                turns += name == "user"
            listed.append(
                {
                    "branch_id": branch.name,
                    "message_count": branch.message_count,
                    "user_turns": turns,
                    "is_current": branch.is_active,
                    "created_at": _timestamp(branch.created_at),
                }
            )
        return listed

    # Turns

    @threaded
    def get_conversation_turns(self, branch_id: str | None = None, *, wrapper: Wrapper = None) -> list[dict[str, Any]]:
        """Return what the user said on a branch, turn by turn."""
        messages = self._messages(self._owner(wrapper), branch_id)
        return [_turn_info(turn, item, time, PREVIEW_LENGTH) for turn, item, time in _user_turns(messages)]

    @threaded
    def find_turns_by_content(
        self, search_term: str, branch_id: str | None = None, *, wrapper: Wrapper = None
    ) -> list[dict[str, Any]]:
        """Return the turns whose text has the term; upper and lower case of ASCII letters are the same."""
        pattern = re.compile(re.escape(search_term), re.IGNORECASE | re.ASCII)
        messages = self._messages(self._owner(wrapper), branch_id)
        return [
            _turn_info(turn, item, time)
            for turn, item, time in _user_turns(messages)
            if any(map(pattern.search, _texts(item.get("content"))))
        ]

    @threaded
    def get_conversation_by_turns(
        self, branch_id: str | None = None, *, wrapper: Wrapper = None
    ) -> dict[int, list[dict[str, str | None]]]:
        """Return type and tool of each item of a branch, by turn; what stands before the first turn is turn 0."""
        turns: dict[int, list[dict[str, str | None]]] = {}
        for turn, item in _numbered(self._items(self._owner(wrapper), branch_id, None)):
            turns.setdefault(turn, []).append({"type": _type_of(item), "tool_name": _tool_of(item)})
        return turns

    @threaded
    def get_tool_usage(self, branch_id: str | None = None, *, wrapper: Wrapper = None) -> list[tuple[str, int, int]]:
        """Return ``(tool, calls, turn)`` for each tool that a turn of the branch has called."""
        items = _numbered(self._items(self._owner(wrapper), branch_id, None))
        calls = Counter((turn, _tool_of(item)) for turn, item in items if _type_of(item) in CALLS)
        # A search for tools whose call the provider did not hand out shows in its answer alone.
        answered = Counter((turn, _tool_of(item)) for turn, item in items if _type_of(item) == "tool_search_output")
        calls.update({key: count for key, count in answered.items() if key not in calls})
        return [
            (tool, count, turn) for (turn, tool), count in sorted(calls.items(), key=lambda call: call[0][0]) if tool
        ]

    # Usage

    @threaded
    def store_run_usage(self, result: RunResult, *, wrapper: Wrapper = None) -> None:
        """Store what the run has used for the last turn of the current branch. Failures are logged."""
        usage = result.context_wrapper.usage
        if usage is None:
            return

        def store(chat: LockedChat) -> None:
            turns = _user_messages(read_page(chat.using, chat.id, branch=chat.branch.name))
            if turns:
                found = {name: getattr(usage, name, None) for name in DETAILS}
                details = {name: dict(vars(value)) if value else None for name, value in found.items()}
                values = {name: getattr(usage, name) or 0 for name in COUNTS}
                self._usage(chat.id).update_or_create(
                    chat_id=chat.id,
                    branch=chat.branch.name,
                    message_id=turns[-1].id,
                    defaults={**values, "details": details},
                )

        try:
            self._write(self._owner(wrapper), store)
        except Exception:
            self.logger.exception("Failed to store the usage of session %r", self.session_id)

    @threaded
    def get_session_usage(self, branch_id: str | None = None, *, wrapper: Wrapper = None) -> dict[str, int] | None:
        """Return what all branches, or one, have used, or ``None``."""
        usage = self._owned_usage(self._owner(wrapper))
        if branch_id:
            usage = usage.filter(branch=branch_id)
        sums = usage.aggregate(**{f"sum_{name}": Sum(name) for name in COUNTS}, total_turns=Count("id"))
        if not sums["total_turns"]:
            return None
        return {**{name: sums[f"sum_{name}"] for name in COUNTS}, "total_turns": sums["total_turns"]}

    @threaded
    def get_turn_usage(
        self, user_turn_number: int | None = None, branch_id: str | None = None, *, wrapper: Wrapper = None
    ) -> list[dict[str, Any]] | dict[str, Any]:
        """Return what each turn of a branch has used, or one turn: ``{}`` where that is unknown."""
        turns = self._turn_usage(self._owner(wrapper), branch_id)
        if user_turn_number is None:
            return turns
        found: dict[str, Any] = next((turn for turn in turns if turn["user_turn_number"] == user_turn_number), {})
        return {key: value for key, value in found.items() if key != "user_turn_number"}

    # In the thread

    # Of a chat whoever it belongs to: only for work within ``_write``, whose lock has asked for the owner. What is read
    # without the lock goes by ``_owned_usage``.
    def _usage(self, chat_id: str) -> QuerySet[TurnUsage]:
        return TurnUsage.objects.using(self._db).filter(chat_id=chat_id)

    def _messages(self, owner: str, branch: str | None, limit: int | None = None) -> list[MessageRecord]:
        try:
            return read_page(self._db, self.session_id, user_id=owner, branch=branch, limit=limit)
        except (Chat.DoesNotExist, Branch.DoesNotExist):
            return []

    def _items(self, owner: str, branch: str | None, limit: int | None) -> list[Item]:
        found = read_last(self._db, self.session_id, user_id=owner, branch=branch, limit=limit)
        # As a rule the page is there as it is: no other adapter has written in it, and it ends above no fork.
        if found and {row[0] for row in found} == {ITEM}:
            items = loads_each([row[1] for row in found])
            if all(map(_is_item, items)):
                return items
        return _items_of(self._messages(owner, branch, limit))

    def _add(self, owner: str, items: list[Any]) -> None:
        messages = [{"name": _name(item), "type": ITEM, "data": item} for item in items]
        inputs = parse_messages(messages, chat_id=self.session_id)

        def append() -> None:
            using, found = self._db, None
            options: dict[str, Any] = {"user_id": owner, "adding": len(inputs)}
            left = self._left if self._left and self._left[:2] == (using, owner) else None

            def work(chat: LockedChat) -> Left:
                if left and chat.revision == left.revision + 1:
                    chat.go_on(left.branch)
                    chat.extend(inputs)
                else:
                    chat.append(inputs)
                return Left(using, owner, chat.revision, chat.branch)

            if left:
                found = written_at_once(using, self.session_id, work, revision=left.revision, **options)
            found = found or locked(using, self.session_id, work, **options)
            # What a transaction around this may still undo is not known.
            self._left = None if connections[using].in_atomic_block else found

        def begin() -> None:
            # Chat and items are stored together: a process that dies leaves no empty chat.
            with transaction.atomic(using=self._db):
                self._chats(owner).create_chat(self.session_id, user_id=owner)
                append()

        # The append first: only the first one of a session finds no chat.
        try:
            append()
        except Chat.DoesNotExist:
            try:
                retry(self._db, begin)
            except IdConflict as error:
                # Somebody made it just now, unless it is another user's. Asked outside of that transaction: under
                # REPEATABLE READ it would not see a row that came after its beginning.
                if not self._chats(owner).filter(pk=self.session_id).exists():
                    raise OwnerMismatch(f"Session {self.session_id!r} belongs to another user.") from error
                append()

    def _write(self, owner: str, work: Callable[[LockedChat], Result]) -> Result | None:
        """Return what the work does with the chat; ``None`` where there is none."""
        try:
            return locked(self._db, self.session_id, work, user_id=owner)
        except Chat.DoesNotExist:
            return None

    def _pop(self, chat: LockedChat) -> Item | None:
        while (head := chat.branch.head_message_id) is not None:
            # The head first: a branch cannot point to what is deleted next. A message without any item, of another
            # adapter, goes as well, and the one above it is looked at: the SDK asks for an item.
            last = chat.message(head)
            chat.move_head(last.parent_id, None if last.parent_id is None else chat.place(last.parent_id))
            delete_unused(chat, [last.id])
            if last.name == "user":
                self._usage(chat.id).filter(branch=chat.branch.name, message_id=last.id).delete()
            if items := _items_of([last]):
                # A message of another adapter may be several items: the others stay.
                rest = [{"name": _name(item), "type": ITEM, "data": item} for item in items[:-1]]
                chat.extend(parse_messages(rest, chat_id=chat.id))
                return items[-1]
        return None

    @staticmethod
    def _new_name(chat: LockedChat, turn: int) -> str:
        names = {branch.name for branch in chat.branches()}
        base = name = f"branch_from_turn_{turn}_{int(time())}"
        number = 1
        while name in names:
            number += 1
            name = f"{base}_{number}"
        return name

    @staticmethod
    def _use_branch(chat: LockedChat, name: str) -> Any:
        try:
            return chat.use_branch(name)
        except (Branch.DoesNotExist, InvalidData) as error:
            raise _no_branch(name) from error

    def _owned_usage(self, owner: str) -> QuerySet[TurnUsage]:
        return self._usage(self.session_id).filter(chat__in=self._chats(owner))

    def _turn_usage(self, owner: str, branch: str | None) -> list[dict[str, Any]]:
        messages = self._messages(owner, branch)
        if not messages:
            return []
        name = branch or Branch.objects.using(self._db).of(self.session_id).get().name
        # Usage is stored by message, not by number: what is cut from a branch takes no other turn's usage.
        numbers = {message.id: number for number, message in enumerate(_user_messages(messages), 1)}
        return sorted(
            (
                {
                    "user_turn_number": numbers[usage.message_id],
                    **{name: getattr(usage, name) for name in COUNTS},
                    **{name: usage.details.get(name) for name in DETAILS},
                }
                for usage in self._owned_usage(owner).filter(branch=name)
                if usage.message_id in numbers
            ),
            key=lambda turn: turn["user_turn_number"],
        )


def _no_branch(name: str) -> ValueError:
    return ValueError(f"Branch '{name}' does not exist")


def _items_of(messages: list[MessageRecord]) -> list[Item]:
    return translated(
        messages,
        lambda message: message.type == ITEM and _is_item(message.data),
        lambda message: message.data,
        responses_items,
    )


def _is_item(data: Any) -> bool:
    return isinstance(data, dict) and not data.keys().isdisjoint(("type", "role", "id"))


# Items, and the names of their messages; ``data`` is the item as it is:
#
#     {"role": "user", "content": "Tea?"}                          user
#     {"type": "reasoning", …}, {"type": "function_call", …}       assistant
#     {"type": "function_call_output", "call_id": "c1", …}         tool
def _name(item: Any) -> str:
    """Return the role of an item: of those that have none, answers are the tool's and the rest the assistant's."""
    role = item.get("role")
    if isinstance(role, str) and role:
        return role
    return "tool" if str(item.get("type")).endswith("_output") else "assistant"


def _user_messages(messages: list[MessageRecord]) -> list[MessageRecord]:
    return [message for message in messages if message.name == "user"]


def _user_turns(messages: list[MessageRecord]) -> list[tuple[int, Item, int]]:
    """Return the turns as number, item and time."""
    return [
        (number, item, message.created_at)
        for number, message in enumerate(_user_messages(messages), 1)
        for item in _items_of([message])[:1]
    ]


def _numbered(items: list[Item]) -> list[tuple[int, Item]]:
    """Return the items, each with the number of its turn."""
    turn, numbered = 0, []
    for item in items:
        turn += item.get("role") == "user"
        numbered.append((turn, item))
    return numbered


def _turn_info(turn: int, item: Item, time: int, length: int | None = None) -> dict[str, Any]:
    content = item.get("content", "")
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    preview = text if length is None or len(text) <= length else f"{text[:length]}..."
    return {
        "turn": turn,
        "content": preview,
        "full_content": content,
        "timestamp": _timestamp(time),
        "can_branch": True,
    }


def _texts(content: Any) -> list[str]:
    blocks = content if isinstance(content, list) else [{"text": content}]
    return [block["text"] for block in blocks if isinstance(block, dict) and isinstance(block.get("text"), str)]


def _timestamp(time: int) -> str:
    """Return the time as SQLite's ``CURRENT_TIMESTAMP`` writes it, which the SDK hands out."""
    return datetime.fromtimestamp(time / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _type_of(item: Item) -> str:
    role = item.get("role")
    return role if role in ("user", "assistant") else str(item.get("type") or "other")


def _tool_of(item: Item) -> str | None:
    """Return the tool's name: of a server's tool with the server before it, of a nameless one its kind."""
    kind, name = item.get("type"), item.get("name")
    if kind in ("mcp_call", "mcp_approval_request") and "server_label" in item:
        return ".".join(str(value) for value in (item["server_label"], name) if value) or None
    if kind in ("tool_search_call", "tool_search_output"):
        return "tool_search"
    if kind in NAMELESS:
        return str(kind)
    if name is None:
        return None
    namespace = item.get("namespace")
    return f"{namespace}.{name}" if namespace and namespace != name else str(name)
