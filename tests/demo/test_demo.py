import io
import json
import os
import re
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.core.management import call_command

from context_store.models import Message
from context_store.store import ContextStore
from demo_project.data import documents
from tests.data import REPOSITORY
from tests.servers import free_port

from .running import running_demo

DATA = sorted((REPOSITORY / "demo_project" / "data").glob("*.jsonl"))


def manage(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=REPOSITORY,
        env={**inherited, "DEMO_FOLDER": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=1200,
    )


@pytest.mark.vendor("sqlite")
def test_the_demo_shows_its_data_at_the_first_start_and_at_the_second(tmp_path: Path) -> None:
    for imported in ("Imported 3 chats", "Imported 0 chats"):
        result = manage(tmp_path, "demo", "--check")
        assert result.returncode == 0, result.stderr
        assert imported in result.stdout
        assert result.stdout.endswith("The demo shows its data.\n")
    for name in ("password", "secret_key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


@pytest.mark.vendor("sqlite")
def test_a_taken_port_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        result = manage(tmp_path, "demo", "--port", str(port))
    assert result.returncode == 1
    assert result.stderr == f"CommandError: 127.0.0.1:{port}: port {port} is taken. Choose another one by --port.\n"


@pytest.mark.vendor("sqlite")
def test_the_demo_tells_address_and_credentials_and_serves(tmp_path: Path) -> None:
    port = free_port()
    with running_demo(tmp_path, port) as told:
        pass
    assert f"http://127.0.0.1:{port}/" in told
    assert "user name: demo" in told
    assert (tmp_path / "password").read_text() in told
    assert "10 conversations with 66 messages" in told


@pytest.mark.vendor("sqlite")
def test_a_page_that_does_not_show_the_data_fails_the_check(tmp_path: Path) -> None:
    assert manage(tmp_path, "migrate").returncode == 0
    code = "from django.contrib.auth.models import User; User.objects.create_superuser('demo', password='mine')"
    assert manage(tmp_path, "shell", "-c", code).returncode == 0
    result = manage(tmp_path, "demo", "--check")
    assert result.returncode == 1
    assert "The password has been changed" in result.stderr


@pytest.mark.vendor("sqlite")
def test_the_settings_are_those_of_a_deployed_site_unless_the_demo_runs(tmp_path: Path) -> None:
    result = manage(tmp_path, "check", "--deploy", "--fail-level", "WARNING")
    assert result.returncode == 0, result.stderr
    refused = manage(tmp_path, "demo", DEMO_DEBUG="0")
    assert refused.returncode == 1
    assert "start it by manage.py demo" in refused.stderr


FRONT_PAGES = """
from django.contrib.auth.models import User
from django.test import Client
from demo_project.users import ensure_users, sign_in_key
ensure_users()
client = Client(SERVER_NAME="127.0.0.1")
print(client.get("/", secure=True).headers["Location"], client.get("/sign-in/guess/").status_code)
print(client.post("/switch-user/", {"name": "alice"}).status_code)
print(client.get(f"/sign-in/{sign_in_key()}/").headers["Location"], 'value="alice"' in client.get("/").content.decode())
for name in ("alice", "bruno", "demo", "root"):
    status = client.post("/switch-user/", {"name": name}).status_code
    print(status, [chat["user_id"] for chat in client.get("/api/chats/").json()["results"]])
german = client.get("/", headers={"Accept-Language": "de"}).content.decode()
print(*(text in german for text in ("Du bist", "Was kannst du?", "You are")))
print(client.get("/favicon.ico").headers["Location"])
for page in ("/api/docs/", "/api/chats/"):
    print("demo_project/rest.css" in client.get(page, headers={"Accept": "text/html"}).content.decode())
stranger = Client(SERVER_NAME="127.0.0.1")
stranger.force_login(User.objects.create(username="stranger"))
print(stranger.post("/switch-user/", {"name": "demo"}).status_code)
"""


@pytest.mark.vendor("sqlite")
def test_one_signs_in_by_the_link_and_is_another_user_in_one_click(tmp_path: Path) -> None:
    assert manage(tmp_path, "demo", "--check", DEMO_DEBUG="1").returncode == 0
    result = manage(tmp_path, "shell", "--no-imports", "-c", FRONT_PAGES, DEMO_DEBUG="1")
    alice, bruno, demo = ["alice"] * 2, ["bruno"] * 3, ["demo"] * 5
    assert result.stdout.splitlines() == [
        "/admin/login/?next=/ 403",
        "403",
        "/ True",
        f"302 {alice}",
        f"302 {bruno}",
        f"302 {demo}",
        f"403 {demo}",
        "True True False",
        "/static/context_store/chat/icon.svg",
        "True",
        "True",
        "403",
    ], result.stderr


@pytest.mark.vendor("sqlite")
def test_nobody_signs_in_by_a_link_on_a_deployed_site(tmp_path: Path) -> None:
    assert manage(tmp_path, "migrate").returncode == 0
    code = """
from django.test import Client
from demo_project.users import ensure_users, sign_in_key
ensure_users()
print(Client(SERVER_NAME="127.0.0.1").get(f"/sign-in/{sign_in_key()}/", secure=True).status_code)
"""
    assert manage(tmp_path, "shell", "--no-imports", "-c", code).stdout == "403\n"


def test_the_data_ends_today() -> None:
    newest = max(document["chat"]["updated_at"] for group in documents().values() for document in group)
    assert 0 < time.time() - newest / 1000 < 3600


@pytest.mark.django_db
def test_the_data_is_sound_and_varied() -> None:
    for path in DATA:
        call_command("import_chats", str(path), format="context-store", strict=True, stdout=io.StringIO())
    call_command("check_context_store", stdout=io.StringIO())
    store = ContextStore()
    chats = store.list_chats()
    assert len(chats) == 8
    assert len({chat.user_id for chat in chats}) == 3
    assert sum(chat.branch_count > 1 for chat in chats) >= 5
    assert {"user", "assistant", "system", "tool"} == set(Message.objects.values_list("name", flat=True))
    assert any(store.list_checkpoints(chat.id) for chat in chats)
    assert store.search_chats("tram", user_id="demo")


def test_no_secret_is_in_the_code() -> None:
    settings = (REPOSITORY / "demo_project" / "settings.py").read_text()
    assert not re.search(r'SECRET_KEY = "', settings)
    assert "/.demo/" in (REPOSITORY / ".gitignore").read_text()


def test_the_data_is_one_document_a_line() -> None:
    for path in DATA:
        for line in path.read_text().splitlines():
            assert json.loads(line)["format"] == "context-store-chat"
