"""A client that is generated from the schema compiles, and drives a whole branched conversation."""

import compileall
import importlib
import subprocess
import sys
from importlib.util import find_spec

import pytest
from django.contrib.auth.models import User

from tests.conftest import missing
from tests.rest.test_schema import FILE


@pytest.fixture
def generated(tmp_path, monkeypatch):
    """The import path of the generated package."""
    if find_spec("openapi_python_client") is None:
        missing("openapi-python-client is not installed.")
    target = tmp_path / "generated_client"
    command = ["generate", "--path", str(FILE), "--meta", "none", "--output-path", str(target)]
    subprocess.run([sys.executable, "-m", "openapi_python_client", *command], check=True, capture_output=True)
    assert compileall.compile_dir(target, quiet=1)
    monkeypatch.syspath_prepend(tmp_path)
    yield "generated_client"
    for name in [name for name in sys.modules if name.startswith("generated_client")]:
        del sys.modules[name]


class Caller:
    """Calls operations of the generated client by name, and checks the status."""

    def __init__(self, package, url):
        self.package = package
        client = importlib.import_module(f"{package}.client")
        self.client = client.Client(base_url=url).with_headers(CREDENTIALS)
        self.models = importlib.import_module(f"{package}.models")

    def __call__(self, operation, *path, status=200, body=None, **query):
        tag, name = operation.split(".")
        module = importlib.import_module(f"{self.package}.api.{tag}.{name}")
        arguments = {**query, **({} if body is None else {"body": body})}
        answer = module.sync_detailed(*path, client=self.client, **arguments)
        assert answer.status_code == status, answer.content
        return answer.parsed


CREDENTIALS = {"Authorization": "Basic YWxpY2U6cGFzc3dvcmQ="}  # alice:password


@pytest.mark.django_db(transaction=True)
def test_a_generated_client_drives_a_branched_conversation(generated, live_server):
    User.objects.create_user("alice", password="password")
    call = Caller(generated, live_server.url)
    models = call.models

    chat = call("chats.create_chat", status=201, body=models.ChatCreate(title="A trip"))
    question = models.NewMessage(id="q1", name="user", data={"content": "Where shall we go?"})
    answer = models.NewMessage(id="a1", name="assistant", data={"content": "To the mountains."})
    sent = models.MessagesAppend(messages=[question, answer], expected_head=None)
    assert [item.id for item in call("messages.append_messages", chat.id, status=201, body=sent).messages] == [
        "q1",
        "a1",
    ]
    call("messages.append_messages", chat.id, status=201, body=sent)

    more = models.MessagesAppend(messages=[models.NewMessage(id="q2", name="user", data="When?")], expected_head="q1")
    conflict = call("messages.append_messages", chat.id, status=409, body=more)
    assert (conflict.code, conflict.head_message_id) == ("head_conflict", "a1")

    # An earlier message is edited: a branch without it, and another one in its place.
    call("branches.create_branch", chat.id, status=201, body=models.BranchCreate(name="edited", is_active=True))
    edited = models.NewMessage(id="q1b", name="user", data={"content": "Where shall we swim?"})
    call("messages.append_messages", chat.id, status=201, body=models.MessagesAppend(messages=[edited]))
    assert [item.id for item in call("messages.list_messages", chat.id).results] == ["q1b"]
    branches = call("branches.list_branches", chat.id).results
    assert [(branch.name, branch.message_count, branch.is_active) for branch in branches] == [
        ("main", 2, False),
        ("edited", 1, True),
    ]

    call("branches.activate_branch", chat.id, "main")
    page = call("messages.list_messages", chat.id, limit=1)
    assert [item.id for item in page.results] == ["a1"]
    assert page.next_
    assert [item.id for item in call("messages.list_messages", chat.id, before="a1").results] == ["q1"]

    call("checkpoints.upsert_checkpoint", chat.id, "start", status=201, body=models.CheckpointUpsert(message_id="q1"))
    assert call("checkpoints.restore_checkpoint", chat.id, "start", status=201).head_message_id == "q1"
    assert call("chats.update_chat", chat.id, body=models.ChatUpdate(title=None)).title is None

    hits = call("search.search_chat", chat.id, q="swim").results
    assert [hit.message.id for hit in hits] == ["q1b"]
    graph = call("chats.get_graph", chat.id)
    assert {node.id for node in graph.nodes} == {"q1", "a1", "q1b"}
    assert len(call("chats.export_chat", chat.id).messages) == 3
    copy = call("chats.fork_chat", chat.id, status=201, body=models.ChatFork(head_message_id="a1"))
    assert copy.message_count == 2
    assert call("chats.list_chats").count == 2
    call("chats.delete_chat", chat.id, status=204)
    assert call("chats.get_chat", chat.id, status=404).code == "not_found"
