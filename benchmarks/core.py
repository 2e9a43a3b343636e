"""The core's budgets: chains, appends, upserts, search, lists and deletion."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any

from context_store.ids import new_id, now_ms
from context_store.models import Message, SearchEntry
from context_store.records import MessageRecord
from context_store.store import ContextStore

from .data import (
    CHAIN,
    COMMON_WORD,
    ENTRY_COLUMNS,
    MESSAGE_COLUMNS,
    RARE_WORD,
    SIZES,
    TEXTS,
    Conversation,
    insert_sql,
    large_store,
    role,
    small_store,
)
from .drivers import Driver, raw_driver
from .measure import Row, peak_memory, ratio_row, statements

SMALL, LARGE = "default", "other"
SECONDS = {"tiny": 0.02, "small": 0.3, "full": 3.0, "huge": 3.0}
PAGE = 50
RUN = 100
BRANCHES = 100

# A segment and its first and last depth.
Span = tuple[str, int, int]


class Stores:
    """The two stores, each in a database of its own."""

    def __init__(self, scale: str) -> None:
        self.sizes = SIZES[scale]
        self.seconds = SECONDS[scale]
        self.small_data = small_store(SMALL, self.sizes)
        self.large_data = large_store(LARGE, self.sizes)
        self.small, self.large = ContextStore(SMALL), ContextStore(LARGE)

    def ratio(self, name: str, baseline: Callable[..., Any], ours: Callable[..., Any], **options: Any) -> Row:
        return ratio_row(name, baseline, ours, seconds=self.seconds, **options)


def rows(database: str, scale: str, only: str = "") -> Iterator[Row]:
    """Measure the groups of rows whose names contain ``only``, in databases that are migrated and empty."""
    wanted = [group for name, group in GROUPS.items() if only in name]
    if wanted:
        stores = Stores(scale)
        for group in wanted:
            yield from group(stores)


# Chains


def chains(stores: Stores) -> Iterator[Row]:
    """Compare with the raw driver fetching the same rows by the same ranges of the index."""
    ids = stores.large_data.chain.message_ids
    chat_id, spans = stores.large_data.chain.chat_id, [(ids[0], 0, CHAIN - 1)]
    yield _chain_row(stores, f"chain: {CHAIN:,} messages into records", chat_id, spans, ids[-1])
    forked = _forked_chain(stores.large)
    yield _chain_row(stores, f"chain: {CHAIN:,} messages across {len(forked[1]) - 1} forks", *forked)


def _chain_row(stores: Stores, name: str, chat_id: str, spans: list[Span], head_id: str) -> Row:
    driver = raw_driver(LARGE)
    sql, values = _span_query(driver, chat_id, spans)
    baseline = partial(driver.fetch_with_json, sql, values, MessageRecord._fields.index("data"))
    ours = partial(stores.large.get_message_chain, head_id)
    rows, data = baseline()
    assert [message.id for message in ours()] == [row[0] for row in rows]
    assert [message.data for message in ours()] == data
    assert len(rows) == CHAIN
    try:
        return stores.ratio(name, baseline, ours, budget=1.5)
    finally:
        driver.close()


def _span_query(driver: Driver, chat_id: str, spans: list[Span]) -> tuple[str, list[Any]]:
    span = f"(segment = {driver.placeholder} AND depth BETWEEN {driver.placeholder} AND {driver.placeholder})"
    columns = ", ".join(MessageRecord._fields)
    where = f"chat_id = {driver.placeholder} AND ({' OR '.join([span] * len(spans))})"
    return f"SELECT {columns} FROM {Message._meta.db_table} WHERE {where} ORDER BY depth", [chat_id, *chain(*spans)]


def _forked_chain(store: ContextStore) -> tuple[str, list[Span], str]:
    """Store a chain that leaves its run after every few messages; return its chat, its spans and its head."""
    chat_id = store.create_chat(user_id="forks").id
    ids = [new_id() for _ in range(CHAIN)]
    messages = []
    for depth, message_id in enumerate(ids):
        parent_id = ids[depth - 1] if depth else None
        if depth and depth % RUN == 0:
            # The first child continues the run, the second one starts another.
            messages.append(_message(chat_id, parent_id, depth))
        messages.append({**_message(chat_id, parent_id, depth), "id": message_id})
    store.add_messages(messages)
    return chat_id, [(ids[depth], depth, depth + RUN - 1) for depth in range(0, CHAIN, RUN)], ids[-1]


def _message(chat_id: str, parent_id: str | None, number: int) -> dict[str, Any]:
    return {"chat_id": chat_id, "parent_id": parent_id, "name": role(number), "data": TEXTS[number % len(TEXTS)].data}


def last_messages(stores: Stores) -> Iterator[Row]:
    """Compare a page of a long chain with one of a short chain."""
    large, long, short = stores.large, stores.large_data.long, stores.large_data.probe
    lengths = f"{len(long.message_ids):,} against {len(short.message_ids):,}"
    yield stores.ratio(
        f"last: {PAGE} of a chain, {lengths} messages",
        lambda: large.get_message_chain(short.head_id, limit=PAGE),
        lambda: large.get_message_chain(long.head_id, limit=PAGE),
        budget=1.5,
    )
    yield stores.ratio(
        f"last: {PAGE} of the active branch, {lengths} messages",
        lambda: large.get_messages(short.chat_id, limit=PAGE),
        lambda: large.get_messages(long.chat_id, limit=PAGE),
        budget=1.5,
    )


# Writing


def append(stores: Stores) -> Iterator[Row]:
    """Compare the stores: what one message costs must not depend on how many there are."""
    data = TEXTS[0].data

    def appending(store: ContextStore, conversation: Conversation) -> Callable[[], Any]:
        return lambda: store.append_messages(conversation.chat_id, [{"name": "user", "data": data}])

    ours = appending(stores.large, stores.large_data.growing)
    yield stores.ratio(
        f"append: one message, {_store_sizes(stores)}",
        appending(stores.small, stores.small_data.growing),
        ours,
        budget=1.5,
    )
    yield Row("append: statements", len(statements(LARGE, ours)), 6, unit="statements")


def _store_sizes(stores: Stores) -> str:
    return f"store of {stores.sizes.large_store:,} against {stores.sizes.small_store:,}"


def add_messages(stores: Stores) -> Iterator[Row]:
    """
    Compare with one INSERT of the same rows and one of their search entries, in one transaction.

    The database keeps the search index for both; the raw side encodes the data as JSON and gets the rest ready-made.
    """
    store, driver = stores.small, raw_driver(SMALL)
    chat_id = store.create_chat(user_id="writer").id
    insert_messages = insert_sql(Message, MESSAGE_COLUMNS, driver.placeholder, CHAIN)
    insert_entries = insert_sql(SearchEntry, ENTRY_COLUMNS, driver.placeholder, CHAIN)

    def setup() -> tuple[list[dict[str, Any]], list[list[Any]], list[Any]]:
        ids = [new_id() for _ in range(CHAIN)]
        messages = [
            {**_message(chat_id, parent_id, depth), "id": message_id}
            for depth, (message_id, parent_id) in enumerate(zip(ids, [None, *ids], strict=False))
        ]
        return (
            messages,
            [_message_row(message, ids[0], depth) for depth, message in enumerate(messages)],
            [value for depth, message in enumerate(messages) for value in _entry_row(message, depth)],
        )

    def baseline(_: Any, rows: list[list[Any]], entries: list[Any]) -> None:
        for row in rows:
            row[DATA] = json.dumps(row[DATA], ensure_ascii=False, separators=(",", ":"))
        driver.write_batches((insert_messages, [*chain.from_iterable(rows)]), (insert_entries, entries))

    def ours(messages: list[dict[str, Any]], *_: Any) -> None:
        store.add_messages(messages)

    yield stores.ratio(f"add_messages: {CHAIN:,} against one raw INSERT", baseline, ours, setup=setup, budget=3)
    driver.close()


DATA = MESSAGE_COLUMNS.index("data")


def _message_row(message: dict[str, Any], segment: str, depth: int) -> list[Any]:
    given = (message["id"], message["chat_id"], message["parent_id"], message["name"], "message", message["data"])
    return [*given, segment, depth, None, now_ms()]


def _entry_row(message: dict[str, Any], number: int) -> tuple[Any, ...]:
    return message["id"], message["chat_id"], "writer", message["name"], TEXTS[number % len(TEXTS)].searchable


# Search


def search(stores: Stores) -> Iterator[Row]:
    """Compare the stores: a search in one chat must not read the others."""
    small, large = stores.small_data.probe, stores.large_data.probe
    both = f"{COMMON_WORD} {RARE_WORD}"
    for what, query, hits in (
        ("word of every message", COMMON_WORD, 20),
        ("rare word", RARE_WORD, 1),
        ("both words", both, 1),
    ):
        assert len(stores.small.search_messages(small.chat_id, query)) == hits
        assert len(stores.large.search_messages(large.chat_id, query)) == hits
        yield stores.ratio(
            f"search: {what}, {_store_sizes(stores)}",
            partial(stores.small.search_messages, small.chat_id, query),
            partial(stores.large.search_messages, large.chat_id, query),
            budget=2,
        )


# Lists


def list_chats(stores: Stores) -> Iterator[Row]:
    """Compare the chats of a user who has long ones with those of one who has short ones."""
    large, data = stores.large, stores.large_data
    light = partial(large.list_chats, user_id=data.light, limit=20)
    heavy = partial(large.list_chats, user_id=data.heavy, limit=20)
    assert {chat.message_count for chat in heavy()} == {stores.sizes.heavy_chat}
    assert len(heavy()) == len(light()) == 20
    yield stores.ratio(f"list_chats: 20 of {stores.sizes.heavy_chat:,} messages against 10", light, heavy, budget=1.5)
    yield Row("list_chats: statements", len(statements(LARGE, heavy)), 3, unit="statements")


def list_branches(stores: Stores) -> Iterator[Row]:
    """Compare branches whose heads lie deep with others: there is no walk down to either."""
    large, deep, shallow = stores.large, stores.large_data.long, stores.large_data.growing
    for conversation in (deep, shallow):
        heads = conversation.message_ids[-BRANCHES:]
        for number, message_id in enumerate(heads[1:]):
            large.create_branch(conversation.chat_id, f"branch {number}", head_message_id=message_id)
    ours = partial(large.list_branches, deep.chat_id)
    assert len(ours()) == BRANCHES
    assert max(branch.message_count for branch in ours()) == len(deep.message_ids)
    yield stores.ratio(
        f"list_branches: {BRANCHES} of a chain of {len(deep.message_ids):,} against 100",
        partial(large.list_branches, shallow.chat_id),
        ours,
        budget=1.5,
    )
    yield Row("list_branches: statements", len(statements(LARGE, ours)), 2, unit="statements")


# Deletion


def delete(stores: Stores) -> Iterator[Row]:
    """Compare the deletion of a long chat with that of a short one. The measured chats are gone afterwards."""
    large, data = stores.large, stores.large_data
    large.delete_chat(large.list_chats(user_id=data.light, limit=1)[0].id)
    sent: list[int] = []

    def deletion(chat_id: str) -> None:
        sent.append(len(statements(LARGE, partial(large.delete_chat, chat_id))))

    memory = [peak_memory(partial(deletion, chat.chat_id)) for chat in (data.chain, data.long)]
    assert large.get_chat(data.long.chat_id) is None
    lengths = f"{len(data.long.message_ids):,} against {len(data.chain.message_ids):,} messages"
    yield Row(f"delete: {lengths}", sent[1], 1, sent[0], "statements")
    yield Row(f"delete: peak memory, {lengths}", memory[1], 1.5, memory[0], "bytes")


GROUPS: dict[str, Callable[[Stores], Iterator[Row]]] = {
    "chain": chains,
    "last": last_messages,
    "append": append,
    "add_messages": add_messages,
    "search": search,
    "list_chats": list_chats,
    "list_branches": list_branches,
    "delete": delete,
}
