"""Streams: how soon a chunk is with its reader, what readers cost who wait, and what writing costs."""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import redis
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connection, connections

from context_store.ids import new_id
from context_store.polling import poller
from context_store.store import ContextStore
from context_store.streams.database import DatabaseStreams
from context_store.streams.redis import RedisStreams

from .drivers import raw_driver
from .measure import Row, ratio_row, statements

READERS = 200
# Chunks that are timed, and seconds between two: as a model writes, and with pauses in which polling slows down.
TIMED = {"tiny": 5, "small": 200, "full": 1_000}
BETWEEN = 0.05
# Seconds of silence in which the time of the processor is taken, after so many of calming down.
SILENCE = {"tiny": 0.2, "small": 5.0, "full": 20.0}
CALM = {"tiny": 0.1, "small": 4.0, "full": 4.0}
SECONDS = {"tiny": 0.05, "small": 1.0, "full": 5.0}
BATCH = 20
POLLING_BUDGET, TOLD_BUDGET = 0.150, 0.030
APPEND_BUDGET, CONNECTIONS_BUDGET, CORE_BUDGET = 2.0, 2, 0.2
LONG = 600

# A producer in a process of its own: each chunk is the time at which it was written.
PRODUCER = """
import sys, time
import django
django.setup()
from django.conf import settings
from django.db import connection
from django.utils.module_loading import import_string
backend, options, name, count, pause = eval(sys.argv[1])
connection.settings_dict["NAME"] = name
streams = import_string(backend)("benchmark", options)
streams.claim("timed")
for number in range(count):
    time.sleep(pause)
    streams.append("timed", [time.time()])
streams.finish("timed", message={"name": "assistant", "data": "All of it"})
"""


def rows(database: str, scale: str = "small", only: str = "") -> Iterator[Row]:
    """Measure streams in this database, told of by looking, by NOTIFY on PostgreSQL, and with their chunks in Redis."""
    if only and "stream" not in only:
        return
    makers: dict[str, tuple[type[DatabaseStreams], dict[str, Any]]] = {"polling": (DatabaseStreams, {})}
    if database == "postgresql":
        makers["NOTIFY"] = DatabaseStreams, {"NOTIFY": True}
    makers["Redis"] = RedisStreams, {"CACHE": "redis"}
    for name, (backend, options) in makers.items():
        yield from delays(name, backend, options, TIMED[scale])
    for name, (backend, options) in makers.items():
        for count in (1, READERS):
            yield from idle(name, backend("benchmark", {**options, "LEASE": LONG}), count, scale)
    yield from appends(makers, SECONDS[scale])
    yield from watched()


def delays(name: str, backend: type[DatabaseStreams], options: dict[str, Any], count: int) -> Iterator[Row]:
    """Follow a stream that another process writes, and take the time from there to here."""
    chat_id, own = new_id(), backend("benchmark", options)
    ContextStore().create_chat(chat_id, user_id="alice")
    own.create(chat_id, "timed", format="own")
    path = f"{backend.__module__}.{backend.__name__}"
    given = repr((path, options, str(connection.settings_dict["NAME"]), count, BETWEEN))
    with subprocess.Popen([sys.executable, "-c", PRODUCER, given], env=dict(os.environ)):
        late = [time.time() - chunk.data for chunk in own.follow("timed", chat_id=chat_id)]
    own.delete("timed", chat_id=chat_id)
    # The first one comes after a silence: who looks then does so twice a second.
    cuts = statistics.quantiles(late[1:], n=100)
    budget = POLLING_BUDGET if name == "polling" else TOLD_BUDGET
    yield Row(f"stream: chunk to reader, p50, {name}", cuts[49], budget)
    yield Row(f"stream: chunk to reader, p99, {name}", cuts[98], budget)


def idle(name: str, own: DatabaseStreams, count: int, scale: str) -> Iterator[Row]:
    """Let readers wait for streams in which nothing happens; count connections and take the processor's time."""
    chat_id = new_id()
    ContextStore().create_chat(chat_id, user_id="alice")
    for number in range(count):
        own.create(chat_id, f"s{number}", format="own")
        own.claim(f"s{number}", chat_id=chat_id)
    if isinstance(own, RedisStreams):
        # Those that wait in the pool for their next use.
        own.client.connection_pool.disconnect()

    async def read(number: int) -> None:
        async for _ in own.follow(f"s{number % count}", chat_id=chat_id):
            pass

    async def wait() -> tuple[int, float]:
        # Here, too: what counts in an event loop has a connection of its own, which is not the readers'.
        before = connected(name)
        readers = [asyncio.create_task(read(number)) for number in range(READERS)]
        while poller().count() < READERS:
            await asyncio.sleep(0.01)
        # What opening them took in the thread that serves the event loop, a server closes with the request.
        await sync_to_async(connections.close_all)()
        if isinstance(own, RedisStreams):
            own.client.connection_pool.disconnect(inuse_connections=False)
        await asyncio.sleep(CALM[scale])
        used, began = time.process_time(), time.monotonic()
        await asyncio.sleep(SILENCE[scale])
        share = (time.process_time() - used) / (time.monotonic() - began)
        found = connected(name) - before
        connection.close()
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        return found, share

    # In a thread: what runs in an event loop may not ask the database how many are connected.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    found, share = asyncio.run(wait())
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]
    while any(thread.name.startswith("context-store") for thread in threading.enumerate()):
        time.sleep(0.01)
    of = f"{READERS} readers of {count} stream{'s' * (count > 1)}, {name}"
    if connection.vendor == "postgresql" or name == "Redis":
        yield Row(f"stream: connections of {of}", found, CONNECTIONS_BUDGET, unit="connections")
    yield Row(f"stream: share of a core of {of}, idle", share, CORE_BUDGET, unit="cores")
    ContextStore().delete_chat(chat_id)


def connected(name: str) -> int:
    """Return how many connections there are, to Redis for its streams, else to PostgreSQL."""
    if name == "Redis":
        with redis.Redis.from_url(settings.REDIS_URL) as client:
            return len(client.client_list())
    if connection.vendor != "postgresql":
        return 0
    with connection.cursor() as cursor:
        # Not those of the server's own workers, as autovacuum's.
        clients = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        cursor.execute(f"{clients} AND datname = current_database()")
        return int(cursor.fetchone()[0])


def appends(makers: dict[str, tuple[type[DatabaseStreams], dict[str, Any]]], seconds: float) -> Iterator[Row]:
    """Append as a producer does, beside the driver's INSERT of the same rows; in Redis beside redis-py's entries."""
    chunks = [{"type": "text-delta", "id": "1", "delta": f"word {number} "} for number in range(BATCH)]
    for name, (backend, options) in makers.items():
        chat_id, own = new_id(), backend("benchmark", {**options, "LEASE": LONG})
        ContextStore().create_chat(chat_id, user_id="alice")
        own.create(chat_id, "appended", format="own")
        record = own.claim("appended", chat_id=chat_id)
        ours = partial(append, own, record, chunks)
        label = f"stream: append of {BATCH} chunks, {name}"
        raw = raw_entries(chunks) if name == "Redis" else raw_insert(chat_id, "raw", chunks)
        # Neither is the last of the index, where rows are added with less work.
        raw_insert(chat_id, "zz", chunks)()
        yield ratio_row(label, raw, ours, budget=APPEND_BUDGET, seconds=seconds)
        ContextStore().delete_chat(chat_id)


def append(own: DatabaseStreams, record: Any, chunks: list[Any]) -> None:
    own.append_texts(record, own.encoded(chunks)[0])


def raw_insert(chat_id: str, stream_id: str, chunks: list[Any]) -> Callable[[], None]:
    """Return one INSERT of the chunks by the driver, in a transaction, under the name of a stream that is none."""
    driver = raw_driver("default")
    one = f"({', '.join([driver.placeholder] * 5)})"
    sql = "INSERT INTO context_store_streamchunk (chat_id, stream_id, seq, data, created_at) VALUES "
    sql += ", ".join([one] * len(chunks))
    at = 0

    def insert() -> None:
        nonlocal at
        values: list[Any] = []
        now = int(time.time() * 1000)
        for chunk in chunks:
            values += [chat_id, stream_id, at, json.dumps(chunk), now]
            at += 1
        driver.write_batches((sql, values))

    return insert


def raw_entries(chunks: list[Any]) -> Callable[[], None]:
    """Return one pipeline of redis-py that adds the chunks to a Redis stream."""
    client, key = redis.Redis.from_url(settings.REDIS_URL), f"raw {new_id()}"

    def add() -> None:
        with client.pipeline(transaction=False) as pipeline:
            for chunk in chunks:
                pipeline.xadd(key, {"data": json.dumps(chunk), "time": int(time.time() * 1000)})
            pipeline.execute()

    return add


def watched() -> Iterator[Row]:
    """Count the statements of an append to a chat that somebody watches, and of one that nobody does."""
    store, chat_id = ContextStore(), new_id()
    store.create_chat(chat_id, user_id="alice")
    message = [{"name": "user", "data": {"content": "Why?"}}]
    store.append_messages(chat_id, message)
    alone = len(statements("default", partial(store.append_messages, chat_id, message)))

    async def watch() -> int:
        async def read() -> None:
            async for _ in store.watch(chat_id):
                pass

        reader = asyncio.create_task(read())
        while poller().count() < 1:
            await asyncio.sleep(0.01)
        found = await asyncio.to_thread(counted)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        return found

    def counted() -> int:
        try:
            return len(statements("default", partial(store.append_messages, chat_id, message)))
        finally:
            connection.close()

    yield Row("stream: statements of an append with a watcher", asyncio.run(watch()), 1, alone, "statements")
