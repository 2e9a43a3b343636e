"""What commands ask before they go on, and what they refuse."""

from __future__ import annotations

import math
import os
import threading
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from context_store.exceptions import BackendUnavailable
from context_store.ids import now_ms
from context_store.lifecycle import hold
from context_store.models import Chat, Stream
from context_store.store import ContextStore
from context_store.streams import streams

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def chat() -> None:
    ContextStore().create_chat("tea", user_id="alice")


def run(name: str, *args: str, **options: Any) -> str:
    out = StringIO()
    call_command(name, *args, stdout=out, stderr=StringIO(), **options)
    return out.getvalue()


def test_erase_user_asks_for_the_id_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda question: "yes")
    with pytest.raises(CommandError, match="Nothing was erased"):
        run("erase_user", "alice", reason="Asked")
    assert Chat.objects.exists()
    monkeypatch.setattr("builtins.input", lambda question: "alice")
    assert '"reason": "Asked"' in run("erase_user", "alice", reason="Asked")
    assert not Chat.objects.exists()


def test_erase_user_tells_that_nobody_is_there_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", StringIO())
    with pytest.raises(CommandError, match="Give --yes"):
        run("erase_user", "alice", reason="Asked")
    assert Chat.objects.exists()


def test_erase_user_tells_why_it_stops() -> None:
    with pytest.raises(CommandError, match="Something is left") as stopped:
        run("erase_user", "alice", reason="Asked", yes=True, seconds=0)
    assert stopped.value.returncode == 3
    ContextStore().create_chat("held", user_id="bob")
    placed = hold(user_id="bob", reason="Case 7", who="counsel")
    with pytest.raises(CommandError, match=str(placed.pk)):
        run("erase_user", "bob", reason="Asked", yes=True)


def test_reap_streams_ends_what_has_no_producer_any_more() -> None:
    streams["default"].create("tea", "s", format="text")
    streams["default"].claim("s")
    assert "ended 0 streams" in run("reap_streams")
    Stream._base_manager.update(lease_expires_at=now_ms() - 1)
    assert "'default': ended 1 streams" in run("reap_streams", alias="default")
    assert streams["default"].require("s").status == "failed"


def test_reap_streams_ends_those_of_a_backend_while_another_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandError, match="invalid choice: 'none'"):
        run("reap_streams", "--alias=none")
    database = {"BACKEND": "context_store.streams.database.DatabaseStreams"}
    with override_settings(CONTEXT_STORE_STREAMS={"away": database, "default": database}):
        monkeypatch.setattr(streams["away"], "_reap", Mock(side_effect=BackendUnavailable("No answer.")))
        streams["default"].create("tea", "s", format="text")
        streams["default"].claim("s")
        Stream._base_manager.update(lease_expires_at=now_ms() - 1)
        with pytest.raises(CommandError, match="'away': No answer."):
            run("reap_streams")
        assert streams["default"].require("s").status == "failed"


@pytest.mark.parametrize("pause", [-1.0, math.nan])
def test_retention_waits_for_no_less_than_nothing(pause: float) -> None:
    with pytest.raises(CommandError, match="--pause"):
        run("apply_retention", pause=pause)


def test_records_have_a_size(tmp_path: Path) -> None:
    (tmp_path / "chats").touch()
    with pytest.raises(CommandError, match="--max-record-mib"):
        run("import_chats", str(tmp_path / "chats"), format="messages", user_id="alice", max_record_mib=0)


def test_chats_are_exported_to_a_pipe_but_to_no_folder(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    run("export_chats", output=str(pipe))
    reader.join()
    assert '"id":"tea"' in read[0]
    with pytest.raises(CommandError, match="Is a directory"):
        run("export_chats", output=str(tmp_path))


@pytest.mark.parametrize("name", ["export_chats", "check_context_store"])
def test_ids_that_none_has_are_told(name: str) -> None:
    with pytest.raises(CommandError, match="--chat-id"):
        run(name, chat_id=["x" * 300])


@pytest.mark.vendor("sqlite")
def test_only_postgresql_has_partitions() -> None:
    with pytest.raises(CommandError, match="'default' is no PostgreSQL"):
        run("distribute_context_store")


@pytest.mark.vendor("postgresql")
def test_partitions_are_several_and_not_those_of_citus() -> None:
    with pytest.raises(CommandError, match="from 2 to 1024"):
        run("distribute_context_store", partitions=1)
    with pytest.raises(CommandError, match="unrecognized|not allowed"):
        run("distribute_context_store", "--citus", "--undo")


@pytest.mark.parametrize("user_id", ["", " ", "x" * 256, "\x1b"])
def test_exporting_the_chats_of_what_is_no_user_is_refused(user_id: str) -> None:
    with pytest.raises(CommandError, match="--user-id or --chat-id: must"):
        run("export_chats", user_id=user_id)
