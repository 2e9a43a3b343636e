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
from context_store.streams import streams
from tests.data import REPOSITORY
from tests.races import run_processes

pytestmark = pytest.mark.django_db(transaction=True)
PROCESSES = 8

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


def claim() -> bool:
    try:
        streams["default"].claim("s")
    except StreamConflict:
        return False
    return True


def end(status: str) -> str:
    if status == "asked":
        streams["default"].cancel("s")
    return streams["default"].finish("s", "completed" if status == "asked" else status, error="e").status


def append(number: int) -> list[int]:
    return [streams["default"].append("s", [[number, index]]) for index in range(20)]


def read() -> list[Any]:
    return [(chunk.seq, *chunk.data) for chunk in streams["default"].follow("s")]


def append_and_finish(number: int) -> list[int]:
    appended = append(number)
    deadline = time.monotonic() + 60
    while number == 0 and streams["default"].require("s").last_seq < 59 and time.monotonic() < deadline:
        time.sleep(0.01)
    if number == 0:
        streams["default"].finish("s")
    return appended


def test_of_racing_claims_one_wins() -> None:
    outcomes = run_processes(*[claim] * PROCESSES).raise_errors()
    assert sorted(outcomes.values) == [False] * (PROCESSES - 1) + [True]


def test_of_racing_ends_the_first_wins_and_one_message_is_stored() -> None:
    streams["default"].claim("s")
    streams["default"].append("s", ["Because"])
    ends = ["completed", "failed", "cancelled", "asked"] * 2
    outcomes = run_processes(*[partial(end, status) for status in ends]).raise_errors()
    [won] = set(outcomes.values)
    assert streams["default"].require("s").status == won
    assert len(ContextStore().get_messages("chat")) == 2


def test_racing_appends_are_all_kept_and_readers_see_each_once() -> None:
    streams["default"].claim("s")
    writers = [partial(append_and_finish, number) for number in range(3)]
    outcomes = run_processes(*writers, *[read] * 5).raise_errors()
    written = {seq: [number, index] for number in range(3) for index, seq in enumerate(outcomes[number].value)}
    assert sorted(written) == list(range(60))
    for outcome in outcomes[3:]:
        assert [row[0] for row in outcome.value] == list(range(60))
        assert all(written[seq] == list(chunk) for seq, *chunk in outcome.value)


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
