"""
Turns, checkpoints and loads of LangGraph's graphs, on our saver beside the package's own: ``--only LangGraph``.

Needs the packages of tox's environment ``langgraph``. A turn is ``graph.invoke`` of a graph with one node: it loads the
thread and saves three checkpoints with the writes between them. A checkpoint is one ``put`` of all messages so far, of
which two are new. Both savers are on the same server.
"""

import sqlite3
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from itertools import count
from typing import Any

from django.db import connections

from .measure import Row, ratio_row

USING = "default"
SECONDS = {"tiny": 0.02, "small": 2.0, "full": 10.0}
# Messages of a thread.
LENGTHS = (10, 100, 1_000)
# After so many calls a thread is begun anew, so that it stays about as long as it says.
CALLS = 4
BUDGET = 1.0
TEXT = "Which tea keeps me awake? Green in the afternoon, black in the morning. " * 3


def rows(database: str, scale: str, only: str = "") -> Iterator[Row]:
    """Compare threads of three lengths."""
    wanted = "adapter: LangGraph".startswith(only) or "LangGraph" in only
    if not wanted or find_spec("langgraph") is None or find_spec("langgraph.checkpoint.postgres") is None:
        return
    from context_store.adapters.langgraph import DjangoSaver

    own, ours = own_saver(database), DjangoSaver(user_id="measured")
    # What is left of the difference if neither writes messages and search entries.
    bare = DjangoSaver(user_id="measured", messages_channel=None)
    # As in a process that has not seen the thread, or after somebody else wrote to it.
    forgetful = DjangoSaver(user_id="measured", cache_size=0)
    for length in LENGTHS:
        for name, saver, label, budget in (
            ("load", ours, "a load", BUDGET),
            ("load", forgetful, "a load without memory", None),
            ("checkpoint", ours, "a checkpoint", BUDGET),
            ("turn", ours, "a turn", BUDGET),
            ("turn", bare, "a turn without messages of the chat,", None),
        ):
            threads = [Thread(own, length), Thread(saver, length)]

            def begin(threads: list[Thread] = threads) -> tuple[()]:
                for thread in threads:
                    thread.begin()
                return ()

            calls = [getattr(thread, name) for thread in threads]
            row = f"adapter: LangGraph, {label} of {length} messages"
            if only in row:
                yield ratio_row(row, *calls, setup=begin, budget=budget, seconds=SECONDS[scale])


class Thread:
    """A thread in one saver, with the list that its graph would hold."""

    numbers = count()

    def __init__(self, saver: Any, length: int) -> None:
        from langgraph.graph import END, START, MessagesState, StateGraph

        self.saver, self.length, self.calls = saver, length, CALLS
        builder = StateGraph(MessagesState).add_node("answer", lambda state: {"messages": [self.message(1)]})
        self.graph = builder.add_edge(START, "answer").add_edge("answer", END).compile(saver)

    def begin(self) -> None:
        """Begin a new thread where this one has grown."""
        if self.calls >= CALLS:
            self.thread: Any = {"configurable": {"thread_id": f"adapter-{next(self.numbers)}", "checkpoint_ns": ""}}
            self.messages, self.config, self.version, self.calls = [], self.thread, None, 0
            self.put(self.length)

    def message(self, kind: int) -> Any:
        from langchain_core.messages import AIMessage, HumanMessage

        return (HumanMessage, AIMessage)[kind % 2](TEXT, id=f"m{next(self.numbers)}")

    def put(self, new: int) -> None:
        from langgraph.checkpoint.base import empty_checkpoint

        self.messages += [self.message(kind) for kind in range(new)]
        self.version = self.saver.get_next_version(self.version, None)
        checkpoint = empty_checkpoint()
        checkpoint["channel_values"] = {"messages": [*self.messages]}
        checkpoint["channel_versions"] = versions = {"messages": self.version}
        self.config = self.saver.put(self.config, checkpoint, {"source": "loop", "step": len(self.messages)}, versions)

    def checkpoint(self) -> None:
        self.calls += 1
        self.put(2)

    def load(self) -> None:
        found = self.saver.get_tuple(self.thread).checkpoint["channel_values"]["messages"]
        assert len(found) == len(self.messages)

    def turn(self) -> None:
        self.calls += 1
        assert len(self.graph.invoke({"messages": [self.message(0)]}, self.thread)["messages"]) > self.length


def own_saver(database: str) -> Any:
    """Return the package's own saver, on a database of its own on the same server, set up as its documentation does."""
    settings = connections[USING].settings_dict
    if database == "sqlite":
        from langgraph.checkpoint.sqlite import SqliteSaver

        connection = sqlite3.connect(f"{settings['NAME']}.langgraph", check_same_thread=False)
        connection.executescript(settings["OPTIONS"]["init_command"])
        saver: Any = SqliteSaver(connection)
    else:
        import psycopg
        from langgraph.checkpoint.postgres import PostgresSaver

        names = {"dbname": settings["NAME"], "user": settings["USER"], "host": settings["HOST"]}
        connect = partial(psycopg.connect, autocommit=True, prepare_threshold=0, row_factory=psycopg.rows.dict_row)
        saver = PostgresSaver(connect(**names, port=settings["PORT"] or None))
    saver.setup()
    return saver
