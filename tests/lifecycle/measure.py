"""
Measure retention beside appends, and export and erasure, in a store of 1,000,000 chats of one or two messages.

    python -m tests.lifecycle.measure fill FOLDER [postgresql | sqlite] [chats]
    python -m tests.lifecycle.measure FOLDER [postgresql | sqlite] [seconds]
    python -m tests.lifecycle.measure users FOLDER [postgresql | sqlite] [messages]

The first fills a database in the folder by bulk SQL. The second appends to one chat, in a process of its own, by turns
alone and while retention runs in another one, for so many seconds each (60). A folder below /dev/shm leaves the disk
out of it, whose own waits may be longer than those for a lock. The third stores chats of 100 messages (100,000 in all)
for a user, whom it exports and erases. PostgreSQL runs as it is set up by default: what is committed is on the disk.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.servers import PostgresServer

# Of a user who stays.
USERS_CHATS = 1_000
TURNS = 3
PAUSE = 0.005
SAFE: dict[str, str | int] = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
RULES = {"chats": [{"user_id": "writer", "keep": True}, {"user_id": "leaver", "keep": True}, {"age_days": 365}]}

# Chats of a year that is long over: the odd ones have two messages, the others one, every message has some text.
CHAT = """
INSERT INTO context_store_chat
    (id, user_id, title, metadata, message_count, branch_count, revision, resync_revision, held, created_at, updated_at,
     last_message_at)
SELECT 'chat-' || n, {owner}, 'Conversation ' || n, CAST('{{"channel": "web"}}' AS {json}{binary}), 1 + (n %% 2), 1, 1,
    0, {false}, 1600000000000 + n * 1000, 1600000000000 + n * 1000, 1600000000000 + n * 1000 FROM {numbers}"""
MESSAGE = """
INSERT INTO context_store_message
    (id, chat_id, parent_id, name, type, data, segment, depth, ancestry, created_at, revision)
SELECT 'm-' || {depth}, 'chat-' || n, {parent}, '{name}', 'message',
    CAST('{{"content": "' || {text} || '"}}' AS {json}), 'm-0', {depth}, NULL, 1600000000000 + n * 1000, 1
FROM {numbers} WHERE n %% 2 >= {depth}"""
ENTRY = """
INSERT INTO context_store_searchentry (message_id, chat_id, user_id, name, content)
SELECT 'm-' || {depth}, 'chat-' || n, {owner}, '{name}', {text} FROM {numbers} WHERE n %% 2 >= {depth}"""
BRANCH = """
INSERT INTO context_store_branch (id, chat_id, name, head_message_id, is_active, created_at, revision)
SELECT 'b-' || n, 'chat-' || n, 'main', 'm-' || (n %% 2), {true}, 1600000000000, 1 FROM {numbers}"""
TEXT = (
    "'question {depth} of chat ' || n || ' about the harbour, the mountain and the ' || (n %% 997) || ' gardens there'"
)
SERIES = {
    "postgresql": "generate_series(%(first)s, %(last)s) AS n",
    "sqlite": "(WITH RECURSIVE s(n) AS (VALUES (%(first)s) UNION SELECT n + 1 FROM s WHERE n < %(last)s)"
    " SELECT n FROM s)",
}
STEP = 50_000


@contextmanager
def database(folder: Path, vendor: str) -> Iterator[None]:
    """Set Django up for the database in the folder, on a server of its own."""
    folder.mkdir(exist_ok=True, parents=True)
    folder.chmod(0o755)
    os.environ.update(
        DJANGO_SETTINGS_MODULE="tests.settings", TEST_DATABASE=vendor, CONTEXT_STORE_TEST_FOLDER=str(folder)
    )
    if vendor == "sqlite":
        yield
        return
    server = PostgresServer(folder, options=SAFE)
    with server:
        os.environ["DATABASE_URL"] = server.url("postgres")
        yield


def fill(vendor: str, chats: int) -> None:
    from django.core.management import call_command
    from django.db import connection, transaction

    call_command("migrate", verbosity=0)
    owner = f"CASE WHEN n <= {USERS_CHATS} THEN 'leaver' ELSE 'user' || (n %% 20000) END"
    values = {"owner": owner, "numbers": SERIES[vendor], "true": "true", "false": "false"}
    values |= {"json": "json", "binary": "b"} if vendor == "postgresql" else {"json": "text", "binary": ""}
    statements = [CHAT.format(**values)]
    for depth, (name, parent) in enumerate((("user", "NULL"), ("assistant", "'m-0'"))):
        one = {**values, "depth": depth, "name": name, "parent": parent, "text": TEXT.format(depth=depth)}
        statements += [MESSAGE.format(**one), ENTRY.format(**one)]
    statements.append(BRANCH.format(**values))
    for first in range(1, chats + 1, STEP):
        with transaction.atomic(), connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement, {"first": first, "last": min(first + STEP - 1, chats)})
        print(f"{first + STEP - 1:,} chats")
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if vendor == "postgresql" else "PRAGMA wal_checkpoint(TRUNCATE)")
    sample = [f"chat-{number}" for number in (1, 2, chats // 2, chats)]
    call_command("check_context_store", chat_id=sample)


def append(seconds: float) -> list[float]:
    """Append to a chat, and return how long each append took."""
    from context_store.store import ContextStore

    store, times = ContextStore(user_id="writer"), []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        started = time.perf_counter()
        store.append_messages("living", [{"name": "user", "data": "How are you?"}])
        times.append(time.perf_counter() - started)
        time.sleep(PAUSE)
    return times


def retain(seconds: float) -> tuple[dict[str, int], list[float]]:
    """Apply retention, and return what it deleted and how long its transactions took."""
    from django.test import override_settings

    from context_store.lifecycle import apply_retention, retention

    # As cron should run it.
    os.nice(10 - os.nice(0))
    options = json.loads(os.environ.get("MEASURE_OPTIONS", "{}"))
    for name in [name for name in options if name.isupper()]:
        setattr(retention, name, options.pop(name))
    with transactions() as lengths, override_settings(CONTEXT_STORE_RETENTION=RULES):
        report = apply_retention(seconds=seconds, **options)
    return report.counts, lengths


def measure(seconds: float) -> None:
    from context_store.store import ContextStore

    ContextStore().upsert_chat("living", user_id="writer")
    alone: list[float] = []
    beside: list[float] = []
    lengths: list[float] = []
    chats = 0
    turn = seconds / TURNS
    with Worker("append") as appender, Worker("retain") as retention:
        for _ in range(TURNS):
            appender.begin(turn)
            alone += appender.result()
            retention.begin(turn + 1)
            time.sleep(0.5)
            appender.begin(turn)
            beside += appender.result()
            counts, took = retention.result()
            lengths += took
            chats += counts.get("chat", 0)
    print(f"append alone: {quantiles(alone)}")
    print(f"append beside retention: {quantiles(beside)}")
    print(f"{ratios(alone, beside)}")
    rate = chats / (seconds + TURNS)
    print(
        f"retention: {chats} chats, {rate:.0f} a second, a million in {1e6 / rate / 3600:.1f} hours; {longest(lengths)}"
    )


def measure_user(messages: int) -> None:
    from django.core.management import call_command

    from context_store.lifecycle import erase_user, export_user
    from context_store.store import ContextStore

    call_command("migrate", verbosity=0)
    store, words = ContextStore(user_id="leaver"), "some words about the harbour, the mountain and the gardens " * 4
    for chat in range(messages // 100):
        store.create_chat(f"of-leaver-{chat}", title=f"Conversation {chat}")
        texts = (f"message {number}: {words}" for number in range(100))
        store.append_messages(f"of-leaver-{chat}", [{"name": "user", "data": {"content": text}} for text in texts])
    report("export_user", lambda: f"{sum(map(len, export_user('leaver'))) / 1e6:.1f} MB")
    report("erase_user", lambda: erase_user("leaver", reason="measured").counts)


def report(name: str, work: Callable[[], object]) -> None:
    with transactions() as lengths:
        before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
        answer = work()
        took = time.perf_counter() - started
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(f"{name}: {took:.1f} s, {grown / 1024:.1f} MB more memory, {longest(lengths)}; {answer}")


class Worker:
    """A process that does ``append`` or ``retain`` as often as it is told to, for so many seconds."""

    def __init__(self, command: str) -> None:
        arguments = [sys.executable, "-m", __spec__.name, command]
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        # What takes long the first time.
        self.begin(0.5)
        self.result()

    def begin(self, seconds: float) -> None:
        assert self.process.stdin
        print(seconds, file=self.process.stdin, flush=True)

    def result(self) -> Any:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.communicate()


@contextmanager
def transactions() -> Iterator[list[float]]:
    """Collect how long transactions, and statements outside of any, take, in seconds."""
    from django.db import connection, transaction

    lengths: list[float] = []
    begin, end = transaction.Atomic.__enter__, transaction.Atomic.__exit__
    started = 0.0

    def enter(atomic: Any) -> Any:
        nonlocal started
        if not connection.in_atomic_block:
            started = time.perf_counter()
        return begin(atomic)

    def leave(atomic: Any, *error: Any) -> Any:
        try:
            return end(atomic, *error)
        finally:
            if not connection.in_atomic_block:
                lengths.append(time.perf_counter() - started)

    def execute(run: Any, *arguments: Any) -> Any:
        begun = time.perf_counter()
        try:
            return run(*arguments)
        finally:
            if not connection.in_atomic_block:
                lengths.append(time.perf_counter() - begun)

    transaction.Atomic.__enter__, transaction.Atomic.__exit__ = enter, leave  # type: ignore[method-assign]
    try:
        with connection.execute_wrapper(execute):
            yield lengths
    finally:
        transaction.Atomic.__enter__, transaction.Atomic.__exit__ = begin, end  # type: ignore[method-assign]


def quantiles(times: list[float]) -> str:
    parts = statistics.quantiles(times, n=100)
    shown = ", ".join(f"p{number} {parts[number - 1] * 1000:.1f} ms" for number in (50, 90, 95, 99))
    return f"{shown} ({len(times)} appends)"


def ratios(alone: list[float], beside: list[float]) -> str:
    first, second = (statistics.quantiles(times, n=100) for times in (alone, beside))
    return ", ".join(f"p{number} {second[number - 1] / first[number - 1]:.2f}" for number in (50, 90, 95, 99))


def longest(lengths: list[float]) -> str:
    return f"longest transaction {max(lengths, default=0) * 1000:.0f} ms of {len(lengths)}"


def main(command: str, *arguments: str) -> None:
    import django

    if command in ("append", "retain"):
        django.setup()
        work: Any = {"append": append, "retain": retain}[command]
        for line in sys.stdin:
            print(json.dumps(work(float(line))), flush=True)
        return
    given = arguments if command in ("fill", "users") else (command, *arguments)
    folder, vendor, number = [*given, *("postgresql", "0")[len(given) - 1 :]]
    with database(Path(folder), vendor):
        django.setup()
        if command == "fill":
            fill(vendor, int(number) or 1_000_000)
        elif command == "users":
            measure_user(int(number) or 100_000)
        else:
            measure(float(number) or 60)


if __name__ == "__main__":
    main(*sys.argv[1:])
