"""Stores to measure: chats of known shape, written with the database's fastest way in."""

import random
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from threading import Lock
from typing import Any, NamedTuple

from django.db import connections, transaction
from django.db.models import Model
from django.db.models.expressions import DatabaseDefault

from context_store.db import chunked
from context_store.ids import new_id, now_ms
from context_store.models import Branch, Chat, Message, SearchEntry
from context_store.search.backends import search_backends
from context_store.search.index import recreate_index
from context_store.search.text import searchable_text
from context_store.validation import check_json

# The one is in every message; the other in one message of the measured chats and of each tenth of the others.
COMMON_WORD = "harbour"
RARE_WORD = "axolotl"
# Real messages have 220 characters (the median of the OpenAssistant trees that the tests import).
WORDS_A_MESSAGE = 35
CHATS_A_BATCH = 200


MESSAGE_COLUMNS = (
    "id", "chat_id", "parent_id", "name", "type", "data", "segment", "depth", "ancestry", "created_at",
)  # fmt: skip
ENTRY_COLUMNS = ("message_id", "chat_id", "user_id", "name", "content")


class Text(NamedTuple):
    """A message's data, the same as JSON text, and what is indexed of it."""

    data: dict[str, Any]
    json: str
    searchable: str


class Conversation(NamedTuple):
    """A chat of one unbroken chain. ``offset`` is where in the list of texts it begins."""

    chat_id: str
    user_id: str
    message_ids: list[str]
    offset: int
    has_rare_word: bool

    @property
    def head_id(self) -> str:
        return self.message_ids[-1]

    @property
    def texts(self) -> list[Text]:
        texts = [TEXTS[(self.offset + depth) % len(TEXTS)] for depth in range(len(self.message_ids))]
        if self.has_rare_word:
            texts[len(texts) // 2] = RARE_TEXT
        return texts


class Sizes(NamedTuple):
    """Numbers of messages: of the two stores, of the longest chain, and of each chat of the user with long ones."""

    small_store: int
    large_store: int
    long_chat: int
    heavy_chat: int


SIZES = {
    "tiny": Sizes(200, 2_500, 200, 20),
    "small": Sizes(1_000, 30_000, 10_000, 400),
    "full": Sizes(1_000, 1_000_000, 100_000, 10_000),
    "huge": Sizes(1_000, 10_000_000, 100_000, 10_000),
}
CHATS_A_USER = 25
SHORT_CHAT = 10
PROBE_CHAT = 100
CHAIN = 1_000

# How many processes of PostgreSQL fill a store.
WRITERS = 2
UNCHECKED = {
    "postgresql": ("SET session_replication_role = replica", "SET synchronous_commit = off"),
    "sqlite": ("PRAGMA foreign_keys = OFF", "PRAGMA synchronous = OFF", "PRAGMA cache_size = -262144"),
}
# Nothing runs ANALYZE on SQLite by itself, and Django does not either.
HOUSEKEEPING = {"postgresql": "VACUUM ANALYZE", "sqlite": "PRAGMA wal_checkpoint(TRUNCATE)"}


class SmallStore(NamedTuple):
    """``probe`` is for reading, ``growing`` gets messages."""

    probe: Conversation
    growing: Conversation


class LargeStore(NamedTuple):
    """The same, and ``heavy`` and ``light``: users with equally many chats, long and short ones."""

    probe: Conversation
    growing: Conversation
    long: Conversation
    chain: Conversation
    heavy: str
    light: str


def small_store(using: str, sizes: Sizes) -> SmallStore:
    """Fill the database with chats of 100 messages."""
    probe, growing = plan("reader", PROBE_CHAT), plan("writer", PROBE_CHAT)
    store(using, [probe, growing, *filling(sizes.small_store - 2 * PROBE_CHAT)])
    return SmallStore(probe, growing)


def large_store(using: str, sizes: Sizes) -> LargeStore:
    """Fill the database with the chats that rows measure, and up to its size with chats of 100 messages."""
    probe, growing = plan("reader", PROBE_CHAT), plan("writer", PROBE_CHAT)
    long, middling = plan("long", sizes.long_chat), plan("chain", CHAIN)
    heavy = [plan("heavy", sizes.heavy_chat) for _ in range(CHATS_A_USER)]
    light = [plan("light", SHORT_CHAT) for _ in range(CHATS_A_USER)]
    special = [probe, growing, long, middling, *heavy, *light]
    rest = sizes.large_store - sum(len(conversation.message_ids) for conversation in special)
    half = rest // 2
    # What is measured lies amid the others, as in a store that has grown.
    fill(using, chain.from_iterable((filling(half), special, filling(rest - half))))
    return LargeStore(probe, growing, long, middling, "heavy", "light")


def plan(user_id: str, length: int, *, number: int = 0) -> Conversation:
    """Return a conversation; each tenth number has the rare word."""
    return Conversation(new_id(), user_id, [new_id() for _ in range(length)], 31 * number, number % 10 == 0)


def filling(messages: int) -> Iterator[Conversation]:
    for number in range(1, messages // PROBE_CHAT + 1):
        yield plan(f"user-{number % 1000}", PROBE_CHAT, number=number)


def store(using: str, conversations: Iterable[Conversation]) -> None:
    """Write the conversations as the managers would have: with lineage, counts, branches and search entries."""
    for some in chunked(conversations, CHATS_A_BATCH):
        _store_batch(using, some)
    settle(using)


def fill(using: str, conversations: Iterable[Conversation]) -> None:
    """
    Write millions of messages as ``store`` does, in half its time on PostgreSQL and in a third on SQLite.

    Keys hold by the way in which rows are made, and are not checked. PostgreSQL makes its vectors in several processes;
    SQLite makes its index at the end, of all rows at once.
    """
    connection = connections[using]
    if connection.vendor == "postgresql":
        batches, lock = chunked(conversations, CHATS_A_BATCH), Lock()

        def work() -> None:
            leave_unchecked(using)
            try:
                while True:
                    with lock:
                        some = next(batches, None)
                    if some is None:
                        return
                    _store_batch(using, some)
            finally:
                connections[using].close()

        with ThreadPoolExecutor(WRITERS) as pool:
            for writer in [pool.submit(work) for _ in range(WRITERS)]:
                writer.result()
    else:
        leave_unchecked(using)
        with connection.cursor() as cursor:
            search_backends[using].drop_index(cursor.execute)
        store(using, conversations)
        recreate_index(using, force=True)
        # The next one checks keys again.
        connection.close()
    settle(using)


def leave_unchecked(using: str) -> None:
    """Spare this connection what costs each row its time: the check of keys, and waiting for the disk."""
    connection = connections[using]
    with connection.cursor() as cursor:
        for sql in UNCHECKED[connection.vendor]:
            cursor.execute(sql)


def _store_batch(using: str, some: list[Conversation]) -> None:
    with transaction.atomic(using=using):
        write(using, Chat, columns_of(Chat), map(_chat_row, some))
        write(using, Message, MESSAGE_COLUMNS, chain.from_iterable(map(_message_rows, some)))
        write(using, SearchEntry, ENTRY_COLUMNS, chain.from_iterable(map(_entry_rows, some)))
        write(using, Branch, columns_of(Branch), map(_branch_row, some))


def write(using: str, model: type[Model], columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    """Insert rows of values of the columns."""
    connection = connections[using]
    table, names = model._meta.db_table, ", ".join(columns)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
    else:
        with connection.cursor() as cursor:
            cursor.executemany(insert_sql(model, columns, "%s"), rows)


def insert_sql(model: type[Model], columns: Sequence[str], placeholder: str, rows: int = 1) -> str:
    values = f"({', '.join([placeholder] * len(columns))})"
    return f"INSERT INTO {model._meta.db_table} ({', '.join(columns)}) VALUES {', '.join([values] * rows)}"


def columns_of(model: type[Model]) -> list[str]:
    return [field.column for field in model._meta.local_concrete_fields]


def settle(using: str) -> None:
    """Leave the database as its own housekeeping does in a while."""
    connection = connections[using]
    with connection.cursor() as cursor:
        cursor.execute(HOUSEKEEPING[connection.vendor])


def _chat_row(conversation: Conversation) -> tuple[Any, ...]:
    chat = Chat(
        id=conversation.chat_id,
        user_id=conversation.user_id,
        title="A chat",
        metadata="{}",
        message_count=len(conversation.message_ids),
        branch_count=1,
    )
    return _values(chat)


def _branch_row(conversation: Conversation) -> tuple[Any, ...]:
    return _values(
        Branch(chat_id=conversation.chat_id, name="main", head_message_id=conversation.head_id, is_active=True)
    )


def _values(row: Model) -> tuple[Any, ...]:
    """Return the values of the columns, with what the database has as their default."""
    fields = row._meta.local_concrete_fields
    values = ((field, getattr(row, field.attname)) for field in fields)
    return tuple(field.db_default if isinstance(value, DatabaseDefault) else value for field, value in values)


def _message_rows(conversation: Conversation) -> Iterator[tuple[Any, ...]]:
    chat_id, ids, now = conversation.chat_id, conversation.message_ids, now_ms()
    for depth, (message_id, text) in enumerate(zip(ids, conversation.texts, strict=True)):
        parent_id = ids[depth - 1] if depth else None
        yield message_id, chat_id, parent_id, role(depth), "message", text.json, ids[0], depth, None, now


def _entry_rows(conversation: Conversation) -> Iterator[tuple[Any, ...]]:
    for depth, (message_id, text) in enumerate(zip(conversation.message_ids, conversation.texts, strict=True)):
        yield message_id, conversation.chat_id, conversation.user_id, role(depth), text.searchable


def role(depth: int) -> str:
    return "assistant" if depth % 2 else "user"


def make_texts(number: int) -> list[Text]:
    """Return messages of words that are as unequally frequent as those of a language."""
    numbers = random.Random(2026)
    syllables = ["ka", "lo", "mi", "ne", "ru", "sta", "ven", "tor", "pli", "gar", "ho", "dis"]
    words = ["".join(numbers.choices(syllables, k=numbers.randint(2, 4))) for _ in range(4000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    return [_text([*numbers.choices(words, weights, k=WORDS_A_MESSAGE), COMMON_WORD]) for _ in range(number)]


def _text(words: list[str]) -> Text:
    content = " ".join(words).capitalize() + "."
    data = {"content": content, "model": "large-1", "usage": {"input_tokens": 812, "output_tokens": len(words)}}
    return Text(data, str(check_json(data)), searchable_text(data))


TEXTS = make_texts(997)
RARE_TEXT = _text([COMMON_WORD, RARE_WORD, "and", "nothing", "else"])
