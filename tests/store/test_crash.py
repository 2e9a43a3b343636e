"""Writers and servers that die in the middle of a write, and disks that are full: nothing acknowledged is lost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import OperationalError, connection

from tests.data import REPOSITORY
from tests.servers import PostgresServer
from tests.store.data import ids, message

ENOUGH = 60
# As a server is by default; those of the suite are faster.
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}

WRITER = """
import django, sys
django.setup()
from django.core.management import call_command
from context_store.store import ContextStore
call_command("migrate", verbosity=0)
store = ContextStore()
store.upsert_chat("chat", user_id="alice")
for number in range(100_000):
    store.append_messages("chat", [{"id": f"m{number}-{part}", "name": "user", "data": "text"} for part in "ab"])
    print(number, flush=True)
"""
READER = """
import django
django.setup()
from django.core.management import call_command
from context_store.store import ContextStore
for message in ContextStore().get_messages("chat"):
    print(message.id)
call_command("check_context_store", verbosity=0)
"""


def python(code: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def acknowledged(writer: subprocess.Popen[str]) -> list[str]:
    """Return what a writer has reported as written, once that is enough."""
    return [writer.stdout.readline().strip() for _ in range(ENOUGH)]


def check_what_is_there(written: list[str], environment: dict[str, str]) -> None:
    reader = python(READER, environment)
    output, errors = reader.communicate(timeout=600)
    assert reader.returncode == 0, errors
    stored = [line for line in output.splitlines() if line.startswith("m")]
    assert stored[: 2 * len(written)] == [f"m{number}-{part}" for number in written for part in "ab"]
    assert len(stored) % 2 == 0


@pytest.mark.vendor("postgresql")
def test_a_server_killed_in_the_middle_of_a_write_loses_nothing(server_folder: Path) -> None:
    with PostgresServer(server_folder, name="crashing-pg", options=DURABLE) as server:
        environment = {"TEST_DATABASE": "postgresql", "DATABASE_URL": server.url("postgres")}
        with python(WRITER, environment) as writer:
            written = acknowledged(writer)
            server.kill()
            rest, errors = writer.communicate(timeout=600)
        assert writer.returncode != 0
        assert "OperationalError" in errors
        server.start()
        check_what_is_there([*written, *rest.split()], environment)


@pytest.mark.vendor("sqlite")
def test_a_writer_killed_in_the_middle_of_a_write_loses_nothing(tmp_path: Path) -> None:
    environment = {"TEST_DATABASE": "sqlite", "CONTEXT_STORE_TEST_FOLDER": str(tmp_path)}
    with python(WRITER, environment) as writer:
        written = acknowledged(writer)
        writer.kill()
        rest = writer.communicate(timeout=600)[0]
    check_what_is_there([*written, *rest.split()], environment)


@pytest.mark.vendor("sqlite")
@pytest.mark.django_db(transaction=True)
def test_a_full_disk_is_an_error_and_changes_nothing(store, chat) -> None:
    before = store.export_chat(chat)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM")  # Nothing free is left inside the file,
        cursor.execute("PRAGMA max_page_count = 1")  # and it may not grow.
        try:
            with pytest.raises(OperationalError, match="full"):
                store.append_messages(chat, [message("m4", data="x" * 500_000)])
        finally:
            cursor.execute("PRAGMA max_page_count = 1073741823")
    assert store.export_chat(chat) == before
    store.append_messages(chat, [message("m4")])
    assert ids(store.get_messages(chat))[-1] == "m4"
