"""
A step and a load of LangGraph's graphs, on our saver beside the package's own on the same server: ``--only LangGraph``.

Needs the packages of tox's environment ``langgraph``. A step of a turn stores the list of all messages so far, as
graphs do, of which two are new.
"""

import sqlite3
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

from django.db import connections

from .measure import Row, ratio_row

USING = "default"
SECONDS = {"tiny": 0.02, "small": 2.0, "full": 10.0}
# Messages of a thread, of which two are new with each turn.
LENGTHS = (10, 100, 1_000)
BUDGET = 1.0
TEXT = "Which tea keeps me awake? Green in the afternoon, black in the morning. " * 3


def rows(database: str, scale: str, only: str = "") -> Iterator[Row]:
    """Compare turns and loads of threads of three lengths."""
    wanted = "adapter: LangGraph".startswith(only) or "LangGraph" in only
    if not wanted or find_spec("langgraph") is None or find_spec("langgraph.checkpoint.postgres") is None:
        return
    from context_store.adapters.langgraph import DjangoSaver

    theirs = own_saver(database)
    for length in LENGTHS:
        threads = [Thread(theirs, length), Thread(DjangoSaver(user_id="measured"), length)]
        for name in ("turn", "load"):
            calls = [getattr(thread, name) for thread in threads]
            label = f"adapter: LangGraph, a {name} of {length} messages"
            yield ratio_row(label, *calls, budget=BUDGET, seconds=SECONDS[scale])


class Thread:
    """A thread in one saver, with the list that its graph would hold."""

    def __init__(self, saver: Any, length: int) -> None:
        self.saver, self.length = saver, length
        self.thread = {"configurable": {"thread_id": f"adapter-{length}", "checkpoint_ns": ""}}
        self.config, self.messages, self.count, self.version = self.thread, [], 0, None
        self.turn(length)

    def turn(self, new: int = 2) -> None:
        from langchain_core.messages import AIMessage, HumanMessage
        from langgraph.checkpoint.base import empty_checkpoint

        kinds = (HumanMessage, AIMessage)
        for _ in range(new):
            self.messages.append(kinds[self.count % 2](TEXT, id=f"m{self.count}"))
            self.count += 1
        self.version = self.saver.get_next_version(self.version, None)
        checkpoint = empty_checkpoint()
        checkpoint["channel_values"] = {"messages": [*self.messages]}
        checkpoint["channel_versions"] = versions = {"messages": self.version}
        self.config = self.saver.put(self.config, checkpoint, {"source": "loop", "step": self.count}, versions)

    def load(self) -> list[Any]:
        found: list[Any] = self.saver.get_tuple(self.thread).checkpoint["channel_values"]["messages"]
        assert len(found) == len(self.messages)
        return found


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
