"""Every command of the REST API's pages runs, against a live server."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache

from context_store.store import ContextStore
from tests.conftest import missing
from tests.data import REPOSITORY

pytestmark = pytest.mark.django_db(transaction=True)


def code(page, language):
    blocks = re.findall(
        rf"^```{language}\n(.*?)^```$", (REPOSITORY / "docs" / page).read_text(), re.MULTILINE | re.DOTALL
    )
    assert blocks
    return "\n".join(blocks)


@pytest.fixture
def run(live_server, tmp_path):
    """Run a program as alice, and return what it prints and her store."""
    cache.clear()
    alice = User.objects.create_user("alice", password="password")

    def run(*command, stdin=None):
        if shutil.which(command[0]) is None:
            missing(f"There is no {command[0]} on this machine.")
        environment = {**os.environ, "API": f"{live_server}/api", "LOGIN": "alice:password"}
        result = subprocess.run(
            command,
            input=stdin,
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=1200,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout, ContextStore(user_id=alice.username)

    return run


def test_curl(run, tmp_path):
    if shutil.which("curl") is None:
        missing("There is no curl on this machine.")
    output, store = run("bash", "-euo", "pipefail", stdin=code("rest-curl.md", "sh"))
    assert '"head_message_id":"a2"' in output
    assert [chat.id for chat in store.list_chats()] == ["trip"]
    assert {branch.name: branch.head_message_id for branch in store.list_branches("trip")} == {
        "main": "a2",
        "branch-2": "a2b",
        "branch-3": "a1",
    }
    assert store.get_chat("trip").metadata == {"archived": True}
    assert "<mark>" in output
    assert json.loads((tmp_path / "trip.json").read_text()) == store.export_chat("trip")
    assert '{"key":"wizard:trip","value":{"step":3}}' in output


def test_requests(run):
    _, store = run(sys.executable, "-W", "error", "-", stdin=code("rest-clients.md", "python"))
    assert [chat.id for chat in store.list_chats()][0] == "notes/2026 ~ draft"
    assert len(store.list_branches(store.get_message("py-q1").chat_id)) == 2


def test_fetch(run):
    output, store = run("node", "--input-type=module", "-", stdin=code("rest-clients.md", "js"))
    conflict, ids, hit, count = output.splitlines()
    assert conflict == "head_conflict js-q2"
    assert ids == "js-q1 js-a1 js-q2"
    assert hit.startswith("js-q2b ")
    assert count == "4"
    assert len(store.list_branches(store.get_message("js-q1").chat_id)) == 2
