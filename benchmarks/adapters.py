"""
What adapters cost, each beside the package's own store on the same server: ``--only adapter``.

Needs the extra ``adapters``. Of the packages openai-agents alone has stores for databases; of the others the statements
are counted.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connections
from django.test.utils import CaptureQueriesContext

from context_store.store import ContextStore

from .data import CHAIN, TEXTS, plan, store
from .measure import Row, is_transaction_control, ratio_row

USING = "default"
SECONDS = {"tiny": 0.02, "small": 2.0, "full": 10.0}
# Messages of the longest chat, and other chats of 1,000 messages.
LONG = {"tiny": 500, "small": 20_000, "full": 100_000}
OTHERS = {"tiny": 1, "small": 20, "full": 20}
PAGE = 50
# One table of one process, without branches, owners or search.
BUDGETS = {"SQLiteSession": 2}
PACKAGES = ("agents", "claude_agent_sdk", "pydantic_ai", "sqlalchemy")


def rows(database: str, scale: str, only: str = "") -> Iterator[Row]:
    """Compare turns and pages, where the packages are installed."""
    absent = [package for package in PACKAGES if find_spec(package) is None]
    if "adapter" in only and absent:
        raise SystemExit(f"Not installed: {', '.join(absent)}: pip install -e '.[adapters]'")
    if absent or not ("adapter".startswith(only) or "adapter" in only):
        return
    with asyncio.Runner() as runner:
        run = runner.get_loop().run_until_complete
        chats = [plan("adapters", CHAIN) for _ in range(OTHERS[scale])]
        store(USING, [*chats, plan("long", LONG[scale])])
        yield from sessions(run, database, scale)
        yield from loads(run, LONG[scale])
        run(sync_to_async(connections.close_all)())


def sessions(run: Callable[[Coroutine[Any, Any, Any]], Any], database: str, scale: str) -> Iterator[Row]:
    from agents import SQLiteSession
    from agents.extensions.memory import AdvancedSQLiteSession, SQLAlchemySession

    from context_store.adapters.openai_agents import DjangoSession

    from .engines import open_engine

    engine = open_engine()
    peers: dict[str, Any] = {"SQLAlchemySession": SQLAlchemySession("0", engine=engine, create_tables=True)}
    if database == "sqlite":
        path = f"{connections[USING].settings_dict['NAME']}.peer"
        peers["SQLiteSession"] = SQLiteSession("0", path)
        peers["AdvancedSQLiteSession"] = AdvancedSQLiteSession(
            session_id="0", db_path=f"{path}.advanced", create_tables=True
        )
    for name, peer in peers.items():
        ours = DjangoSession(f"adapter-{name}", user_id="measured")
        for session in (peer, ours):
            run(session.add_items(items(CHAIN)))
        assert run(ours.get_items(limit=PAGE)) == run(peer.get_items(limit=PAGE))
        calls: dict[str, Callable[[Any], Coroutine[Any, Any, Any]]] = {
            "a turn added": lambda session: session.add_items(items(2)),
            f"last {PAGE}": lambda session: session.get_items(limit=PAGE),
        }
        for label, call in calls.items():
            theirs, mine = partial(await_on, run, call, peer), partial(await_on, run, call, ours)
            budget = BUDGETS.get(name, 1)
            yield ratio_row(f"adapter: {label}, beside {name}", theirs, mine, budget=budget, seconds=SECONDS[scale])
    run(engine.dispose())


def await_on(run: Callable[..., Any], call: Callable[[Any], Coroutine[Any, Any, Any]], session: Any) -> Any:
    return run(call(session))


def loads(run: Callable[[Coroutine[Any, Any, Any]], Any], length: int) -> Iterator[Row]:
    """Count what a page of a long chat that others wrote takes."""
    from context_store.adapters.openai_agents import DjangoSession
    from context_store.adapters.pydantic_ai import DjangoConversationStore

    [chat_id] = [chat.id for chat in ContextStore(USING).list_chats() if chat.message_count == length][:1]
    owner = ContextStore(USING).get_chat(chat_id)
    assert owner is not None
    session = DjangoSession(chat_id, user_id=owner.user_id)
    conversations = DjangoConversationStore(user_id=owner.user_id)
    calls = {
        "openai-agents": partial(session.get_items, PAGE),
        "pydantic-ai": partial(conversations.load, chat_id, limit=PAGE),
    }
    for name, call in calls.items():
        sent = run(counting(call))
        yield Row(f"adapter: statements to load {PAGE} of {length:,}, {name}", sent, 3, unit="statements")


async def counting(call: Callable[[], Coroutine[Any, Any, Any]]) -> int:
    """Return how many statements the call sends, in the thread whose connection it uses."""
    captured = await sync_to_async(lambda: CaptureQueriesContext(connections[USING]).__enter__())()
    assert await call()
    await sync_to_async(captured.__exit__)(None, None, None)
    return sum(not is_transaction_control(query["sql"]) for query in captured.captured_queries)


def items(count: int) -> list[Any]:
    """Return items as the SDK gives them to a session."""
    return [
        {"role": "user" if number % 2 == 0 else "assistant", "content": TEXTS[number % len(TEXTS)].data["content"]}
        for number in range(count)
    ]
