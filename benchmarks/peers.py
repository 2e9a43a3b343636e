"""
A turn and a page beside other stores of conversations, on the same server in the same run: ``--peers``.

Each peer has its own tables in our database, as its documentation sets it up, and SQLite's settings are ours for all.
Needs the extra ``peers``.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar, Protocol

from django.db import connections

from context_store.store import ContextStore

from .data import CHAIN, TEXTS, plan, role, store
from .measure import Row, ratio_row

try:
    import psycopg
    from agents.extensions.memory import SQLAlchemySession
    from langgraph.checkpoint.base import empty_checkpoint
    from langgraph.checkpoint.postgres import PostgresSaver
    from langgraph.checkpoint.sqlite import SqliteSaver

    from .engines import open_engine
except ImportError as error:
    raise SystemExit(f"The peers are not installed ({error.name}): pip install -e '.[test,peers]'") from error

USING = "default"
SECONDS = {"tiny": 0.02, "small": 2.0, "full": 10.0}
# Conversations of 1,000 messages, the measured one included.
CONVERSATIONS = {"tiny": 2, "small": 20, "full": 20}
PAGE = 50
# Ahead of each.
BUDGET = 1.0


class Peer(Protocol):
    """A store of conversations, of which the first is measured."""

    name: ClassVar[str]

    def __init__(self, conversations: int) -> None: ...

    def append(self, messages: list[dict[str, Any]]) -> Any: ...

    def last(self, count: int) -> list[Any]: ...

    def close(self) -> None: ...


class AgentsSession:
    """openai-agents' session on SQLAlchemy, which keeps messages as rows without search, branches or places."""

    name = "openai-agents SQLAlchemySession"

    def __init__(self, conversations: int) -> None:
        self.runner = asyncio.Runner()
        self.run = self.runner.get_loop().run_until_complete
        self.engine = open_engine()
        for number in reversed(range(conversations)):
            self.session = SQLAlchemySession(f"{number}", engine=self.engine, create_tables=True)
            self.append(chat_messages(CHAIN))

    def append(self, messages: list[dict[str, Any]]) -> None:
        self.run(self.session.add_items(messages))

    def last(self, count: int) -> list[Any]:
        return self.run(self.session.get_items(limit=count))

    def close(self) -> None:
        self.run(self.engine.dispose())
        self.runner.close()


class LangGraphSaver:
    """LangGraph's checkpoints: each holds the state of a graph, here the list of all messages."""

    name = "LangGraph saver"

    def __init__(self, conversations: int) -> None:
        self.connection, self.saver = _saver()
        self.saver.setup()
        for number in reversed(range(conversations)):
            self.config = {"configurable": {"thread_id": f"{number}", "checkpoint_ns": ""}}
            self.thread, self.messages, self.version = self.config, [], 0
            self.append(chat_messages(CHAIN))

    def append(self, messages: list[dict[str, Any]]) -> None:
        # It stays at so many, while ours and the other's grow.
        self.messages = [*self.messages, *messages][-CHAIN:]
        self.version += 1
        checkpoint = empty_checkpoint()
        checkpoint["channel_values"] = {"messages": self.messages}
        checkpoint["channel_versions"] = {"messages": f"{self.version:032}"}
        metadata = {"source": "loop", "step": self.version}
        self.config = self.saver.put(self.config, checkpoint, metadata, checkpoint["channel_versions"])

    def last(self, count: int) -> list[Any]:
        found: list[Any] = self.saver.get_tuple(self.thread).checkpoint["channel_values"]["messages"]
        return found[-count:]

    def close(self) -> None:
        self.connection.close()


def rows(database: str, scale: str, only: str = "") -> Iterator[Row]:
    """Compare a turn of two messages, and the last 50, in a chat of 1,000 in a store of 20,000."""
    chats = [plan("peers", CHAIN) for _ in range(CONVERSATIONS[scale])]
    store(USING, chats)
    ours = ContextStore(USING)
    append = partial(ours.append_messages, chats[0].chat_id)
    turn = [{"name": message["role"], "data": {"content": message["content"]}} for message in chat_messages(2)]
    calls: dict[str, tuple[Callable[[Peer], Any], Callable[[], Any]]] = {
        "a turn appended": (lambda peer: peer.append(chat_messages(2)), lambda: append(turn)),
        f"last {PAGE}": (lambda peer: peer.last(PAGE), partial(ours.get_messages, chats[0].chat_id, limit=PAGE)),
    }
    kinds: tuple[type[Peer], ...] = (AgentsSession, LangGraphSaver)
    for kind in kinds:
        peer = kind(CONVERSATIONS[scale])
        assert [message["content"] for message in peer.last(2)] == [message["content"] for message in chat_messages(2)]
        for name, (theirs, call) in calls.items():
            label = f"peers: {name}, beside {peer.name}"
            yield ratio_row(label, partial(theirs, peer), call, budget=BUDGET, seconds=SECONDS[scale])
        peer.close()


def chat_messages(count: int) -> list[dict[str, Any]]:
    """Return messages as providers take them, the last of them always the same."""
    return [
        {"role": role(number), "content": TEXTS[(number - count) % len(TEXTS)].data["content"]}
        for number in range(count)
    ]


def _saver() -> tuple[Any, Any]:
    settings = connections[USING].settings_dict
    if connections[USING].vendor == "postgresql":
        # As ``PostgresSaver.from_conn_string`` connects.
        connection = psycopg.connect(
            dbname=settings["NAME"],
            user=settings["USER"],
            host=settings["HOST"],
            port=settings["PORT"] or None,
            autocommit=True,
            prepare_threshold=0,
            row_factory=psycopg.rows.dict_row,
        )
        return connection, PostgresSaver(connection)
    connection = sqlite3.connect(settings["NAME"], check_same_thread=False)
    connection.executescript(settings["OPTIONS"]["init_command"])
    return connection, SqliteSaver(connection)
