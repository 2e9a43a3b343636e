"""The servers that the suite starts are real, and end with it."""

import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psycopg
import pytest
import redis
from django.core.cache import caches
from django.db import connection

from tests.races import run_processes, run_threads
from tests.servers import PORTS, PostgresServer, RedisServer, free_port, wait_until

REPOSITORY = Path(__file__).resolve().parent.parent

RUN_WITH_SERVERS = """
import time
from tests.servers import PostgresServer, RedisServer, ServerFolder

folder = ServerFolder().path
servers = PostgresServer(folder).start(), RedisServer(folder).start()
print(folder, *[server.pid for server in servers], flush=True)
time.sleep(60)
"""


PORTS_OF_A_PROCESS = """
import random
from tests.servers import free_port

random.seed(1)
print(*[free_port() for _ in range(100)], flush=True)
input()
"""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def user_tables() -> set[str]:
    return set(connection.introspection.table_names())


@pytest.mark.django_db
def test_database_is_the_chosen_one(database_vendor: str) -> None:
    assert connection.vendor == {"mssql": "microsoft"}.get(database_vendor, database_vendor)


@pytest.mark.vendor("postgresql")
@pytest.mark.django_db
def test_postgresql_is_real() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT version()")
        assert cursor.fetchone()[0].startswith("PostgreSQL")


@pytest.mark.vendor("sqlite")
@pytest.mark.django_db
def test_sqlite_is_a_file_in_wal_mode() -> None:
    with connection.cursor() as cursor:
        assert cursor.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert Path(connection.settings_dict["NAME"]).exists()


def test_redis_answers(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.ping()


def test_redis_cache_stores_json(redis_url: str) -> None:
    caches["redis"].set("key", {"a": [1, None]})
    with redis.Redis.from_url(redis_url) as client:
        assert client.get("test:1:key") == b'{"a": [1, null]}'


def test_killed_redis_starts_again(redis_server: RedisServer) -> None:
    redis_server.kill()
    assert not redis_server.connects()
    assert redis_server.start().connects()


def test_killed_postgresql_keeps_its_data(postgres_server: PostgresServer) -> None:
    with psycopg.connect(postgres_server.url(), autocommit=True) as client:
        client.execute("CREATE TABLE kept AS SELECT 1 AS number")
        client.execute("CHECKPOINT")
    postgres_server.kill()
    postgres_server.start()
    with psycopg.connect(postgres_server.url()) as client:
        assert client.execute("SELECT number FROM kept").fetchall() == [(1,)]


def test_servers_and_folder_go_with_a_killed_run() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RUN_WITH_SERVERS], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        folder, *pids = run.stdout.readline().split()
        assert all(is_alive(int(pid)) for pid in pids)
        run.send_signal(signal.SIGKILL)
    wait_until(lambda: not any(is_alive(int(pid)) for pid in pids), seconds=100, what="The end of the servers")
    wait_until(lambda: not Path(folder).exists(), seconds=100, what="The removal of the folder")


@pytest.mark.django_db(transaction=True)
def test_threads_run_at_the_same_time() -> None:
    started = run_threads(*[time.monotonic] * 4).raise_errors().values
    assert max(started) - min(started) < 10


@pytest.mark.django_db(transaction=True)
def test_threads_report_errors() -> None:
    outcomes = run_threads(partial(int, "1"), partial(int, "one"))
    assert outcomes.values == [1]
    assert [type(error) for error in outcomes.errors] == [ValueError]


@pytest.mark.django_db(transaction=True)
def test_processes_see_the_tests_database() -> None:
    outcomes = run_processes(user_tables, user_tables, os.getpid).raise_errors()
    assert outcomes[0].value == outcomes[1].value == user_tables()
    assert outcomes[2].value != os.getpid()


@pytest.mark.django_db(transaction=True)
def test_processes_report_errors_and_sudden_ends() -> None:
    outcomes = run_processes(partial(int, "one"), partial(os._exit, 3), os.getpid)
    assert [type(error) for error in outcomes.errors] == [ValueError, ChildProcessError]
    assert len(outcomes.values) == 1


def test_no_port_is_given_twice() -> None:
    """Neither by this process nor by another one meanwhile, nor by the system for a connection that goes out."""
    with subprocess.Popen(
        [sys.executable, "-c", PORTS_OF_A_PROCESS],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        ports = [int(port) for port in other.stdout.readline().split()]
        random.seed(1)  # It tries the same ones first.
        ports += [free_port() for _ in range(100)]
        other.communicate("\n")
    assert len(set(ports)) == 200
    assert set(ports) <= set(PORTS)
