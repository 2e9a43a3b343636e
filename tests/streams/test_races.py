"""Several processes at one stream, and producers and readers that are killed."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from typing import Any

import pytest
from django.db import connection, connections

from context_store.exceptions import StreamConflict
from context_store.store import ContextStore
from context_store.streams import BaseStreams, streams
from context_store.streams.redis import RedisStreams
from tests.data import REPOSITORY
from tests.races import run_processes
from tests.servers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)
PROCESSES = 8
kinds = pytest.mark.parametrize("kind", ["database", pytest.param("redis", marks=pytest.mark.slow)])

PROGRAM = """
import sys, time
import tests.races_preload
from django.db import connections
for alias, name in zip(connections, sys.argv[1].split("|")):
    connections[alias].settings_dict["NAME"] = name
from context_store.streams.database import DatabaseStreams
streams = DatabaseStreams("killed", {"LEASE": 1})
"""
PRODUCER = """
with streams.produce("s") as producer:
    for number in range(100_000):
        producer.write(f"{number} ")
        print(number, flush=True)
        time.sleep(0.005)
"""
READER = """
for chunk in streams.follow("s"):
    print(chunk.seq, flush=True)
"""


@pytest.fixture(autouse=True)
def stream() -> None:
    store = ContextStore()
    store.create_chat("chat", user_id="alice")
    store.append_messages("chat", [{"name": "user", "data": "Why?"}])
    streams["default"].create("chat", "s", format="text")


def own(kind: str) -> BaseStreams:
    """Return the streams of this kind, in whichever process."""
    return RedisStreams("raced", {"CACHE": "redis"}) if kind == "redis" else streams["default"]


def claim(kind: str) -> bool:
    try:
        own(kind).claim("s")
    except StreamConflict:
        return False
    return True


def end(kind: str, status: str) -> str:
    if status == "asked":
        own(kind).cancel("s")
    return own(kind).finish("s", "completed" if status == "asked" else status, error="e").status


def append_and_finish(kind: str, number: int) -> list[int]:
    """Append 20 chunks; the first of the writers ends the stream once the others are through, too."""
    answers = own(kind)
    appended = [answers.append("s", [[number, index]]) for index in range(20)]
    if number == 0:
        wait_until(lambda: answers.require("s").last_seq == 59, seconds=60, what="the others' chunks")
        answers.finish("s")
    return appended


def read(kind: str) -> list[Any]:
    return [(chunk.seq, *chunk.data) for chunk in own(kind).follow("s")]


@kinds
def test_of_racing_claims_one_wins(kind: str) -> None:
    outcomes = run_processes(*[partial(claim, kind)] * PROCESSES).raise_errors()
    assert sorted(outcomes.values) == [False] * (PROCESSES - 1) + [True]


@kinds
def test_of_racing_ends_the_first_wins_and_one_message_is_stored(kind: str) -> None:
    own(kind).claim("s")
    own(kind).append("s", ["Because"])
    ends = ["completed", "failed", "cancelled", "asked"] * 2
    outcomes = run_processes(*[partial(end, kind, status) for status in ends]).raise_errors()
    [won] = set(outcomes.values)
    assert own(kind).require("s").status == won
    assert len(ContextStore().get_messages("chat")) == 2


@kinds
def test_racing_appends_are_all_kept_and_readers_see_each_once(kind: str) -> None:
    own(kind).claim("s")
    writers = [partial(append_and_finish, kind, number) for number in range(3)]
    outcomes = run_processes(*writers, *[partial(read, kind)] * 5).raise_errors()
    written = {seq: (number, index) for number in range(3) for index, seq in enumerate(outcomes[number].value)}
    assert sorted(written) == list(range(60))
    for outcome in outcomes[3:]:
        assert outcome.value == [(seq, *written[seq]) for seq in range(60)]


def program(code: str) -> subprocess.Popen[str]:
    names = "|".join(str(connections[alias].settings_dict["NAME"]) for alias in connections)
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM + code, names],
        cwd=REPOSITORY,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        stdout=subprocess.PIPE,
        text=True,
    )


def said(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout
    return [process.stdout.readline().strip() for _ in range(count)]


def test_killed_producer_leaves_a_failed_stream_with_what_it_said() -> None:
    with program(PRODUCER) as producer:
        said(producer, 100)
        producer.send_signal(signal.SIGKILL)
    started = time.monotonic()
    chunks = [chunk.data for chunk in streams["default"].follow("s")]
    assert time.monotonic() - started < 30
    record = streams["default"].require("s")
    assert record.status == "failed"
    assert chunks == [f"{number} " for number in range(len(chunks))]
    # What waited for its batch is lost: 20 chunks or 50 ms.
    assert len(chunks) > 60
    assert ContextStore().get_messages("chat")[-1].data["content"] == "".join(chunks)


def test_killed_reader_changes_nothing_for_others() -> None:
    streams["default"].claim("s")
    with program(READER) as reader:
        streams["default"].append("s", ["a"])
        assert said(reader, 1) == ["0"]
        reader.send_signal(signal.SIGKILL)
    streams["default"].append("s", ["b"])
    streams["default"].finish("s")
    assert [chunk.data for chunk in streams["default"].follow("s")] == ["a", "b"]


@pytest.mark.vendor("postgresql")
def test_readers_and_producers_outlive_their_connections() -> None:
    producing = streams["default"].produce("s")
    follower = streams["default"].follow("s").batches(timeout=1)
    with producing as producer:
        producer.write("a")
        assert [chunk.data for _, chunks in (next(follower),) for chunk in chunks] in ([], ["a"])
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        producer.write("b")
        time.sleep(0.5)
    rest = [chunk.data for _, chunks in follower for chunk in chunks]
    assert rest in (["a", "b"], ["b"])
    assert streams["default"].require("s").status == "completed"
