"""PostgreSQL or Redis is killed in the middle of an answer and comes back: nothing is lost, nothing comes twice."""

import os
import subprocess
import sys

import psycopg
import pytest

from tests.data import REPOSITORY
from tests.servers import PostgresServer, RedisServer, Server

# Writes chunk after chunk, and follows them; says each that was read.
TALK = """
import threading, time
import django
django.setup()
from django.core.management import call_command
from django.db import connections
call_command("migrate", verbosity=0)
from context_store.store import ContextStore
from context_store.streams.database import DatabaseStreams
from context_store.streams.redis import RedisStreams
streams = %(streams)s
store = ContextStore()
store.create_chat("chat", user_id="alice")
streams.create("chat", "s", format="text")
said = threading.Event()

def produce():
    with streams.produce("s") as producer:
        number = 0
        while not said.is_set():
            producer.write(f"{number} ")
            number += 1
            time.sleep(0.01)

thread = threading.Thread(target=produce, daemon=True)
thread.start()
threading.Thread(target=lambda: (input(), said.set()), daemon=True).start()
for chunk in streams.follow("s"):
    print(chunk.seq, chunk.data, flush=True)
thread.join()
connections.close_all()
print(streams.require("s").status, store.get_messages("chat")[-1].data["content"].split()[-1], flush=True)
"""


KINDS = {
    "polling": 'DatabaseStreams("talk", {"LEASE": 30})',
    "notify": 'DatabaseStreams("talk", {"LEASE": 30, "NOTIFY": True})',
    "redis": 'RedisStreams("talk", {"LEASE": 30, "CACHE": "redis"})',
}


@pytest.mark.slow
@pytest.mark.vendor("postgresql")
@pytest.mark.parametrize("kind", KINDS)
def test_talk_outlives_a_server_that_is_killed(
    postgres_server: PostgresServer, redis_server: RedisServer, kind: str
) -> None:
    # Without these a server that crashes loses what it has stored last.
    postgres_server.options["synchronous_commit"] = "on"
    postgres_server.restart()
    redis_server.options.update(appendonly="yes", appendfsync="always")
    redis_server.restart()
    redis_server.flush()
    name = f"talk_{kind}"
    with psycopg.connect(postgres_server.url(), autocommit=True) as database:
        database.execute(f"CREATE DATABASE {name}")
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "TEST_DATABASE": "postgresql",
        "DATABASE_URL": postgres_server.url(name),
        "REDIS_URL": redis_server.url(),
    }
    server: Server = redis_server if kind == "redis" else postgres_server
    program = TALK % {"streams": KINDS[kind]}
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=REPOSITORY, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as talk:  # fmt: skip
        assert talk.stdin
        assert talk.stdout
        lines = [talk.stdout.readline() for _ in range(50)]
        server.kill()
        server.start()
        # What is read from now on was looked for on new connections.
        while len(lines) < 1_000 and int(lines[-1].split()[0]) < 200:
            lines.append(talk.stdout.readline())
        talk.stdin.write("\n")
        talk.stdin.flush()
        *rest, end = talk.stdout.read().splitlines()
    seqs = [int(line.split()[0]) for line in [*lines, *rest]]
    assert seqs == list(range(len(seqs)))
    # None missing, none twice: but for a batch whose commit was not answered.
    said = [int(line.split()[1]) for line in [*lines, *rest]]
    assert sorted(set(said)) == list(range(said[-1] + 1))
    assert end.split() == ["completed", str(said[-1])]
