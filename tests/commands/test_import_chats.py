import errno
import io
import itertools
import json
import sys
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections
from pytest_django import Settings

from context_store.importers import FORMATS
from context_store.importers.loading import load
from context_store.importers.reading import Record
from context_store.management.commands.import_chats import Command
from context_store.models import Chat, Message
from context_store.store import ContextStore
from tests.importers.test_chatgpt import conversation, node
from tests.races import run_processes

pytestmark = pytest.mark.django_db(databases=["default", "other"])
GOOD = {"messages": [{"role": "user", "content": "Hello"}]}


class Result:
    def __init__(self, out: str, err: str) -> None:
        self.out, self.err = out.strip(), err.strip().splitlines()


def run(path: Path, file_format: str, user_id: str | None = "alice", **options: Any) -> Result:
    out, err = io.StringIO(), io.StringIO()
    call_command("import_chats", str(path), format=file_format, user_id=user_id, stdout=out, stderr=err, **options)
    return Result(out.getvalue(), err.getvalue())


def lines(tmp_path: Path, *records: Any) -> Path:
    path = tmp_path / "chats.jsonl"
    path.write_text("".join((item if isinstance(item, str) else json.dumps(item)) + "\n" for item in records))
    return path


def array(tmp_path: Path, *records: Any) -> Path:
    path = tmp_path / "conversations.json"
    path.write_text(json.dumps(records))
    return path


def test_import_of_the_real_trees(oasst_path: Path) -> None:
    assert run(oasst_path, "oasst").out == "Imported 100 chats with 1,167 messages."
    store = ContextStore(user_id="alice")
    chats = store.list_chats()
    assert (len(chats), sum(chat.message_count for chat in chats)) == (100, 1167)
    parents = list(Message.objects.exclude(parent=None).values_list("parent_id", flat=True))
    assert sum(parents.count(parent) > 1 for parent in set(parents)) == 260
    leaves = set(Message.objects.filter(children=None).values_list("id", flat=True))
    assert {branch.head_message_id for chat in chats for branch in store.list_branches(chat.id)} == leaves


def test_the_active_branch_of_a_real_tree_is_the_first_ranked_path(oasst_path: Path) -> None:
    run(oasst_path, "oasst")
    for line in oasst_path.read_text().splitlines():
        tree = json.loads(line)
        expected = [item := tree["prompt"]]
        while item["replies"]:
            item = min(item["replies"], key=lambda reply: (reply.get("rank") is None, reply.get("rank")))
            expected.append(item)
        found = ContextStore().get_messages(tree["message_tree_id"])
        assert [message.data["content"] for message in found] == [message["text"] for message in expected]


def test_a_second_run_adds_nothing(oasst_path: Path, tmp_path: Path) -> None:
    run(oasst_path, "oasst")
    before = list(Chat.objects.order_by("pk").values())
    result = run(oasst_path, "oasst")
    assert result.out == "Imported 0 chats with 0 messages. 100 chats were there already."
    assert list(Chat.objects.order_by("pk").values()) == before
    path = lines(tmp_path, GOOD, {**GOOD, "id": "c1"})
    assert run(path, "messages").out == "Imported 2 chats with 2 messages."
    assert run(path, "messages").out == "Imported 0 chats with 0 messages. 2 chats were there already."


def test_an_interrupted_import_goes_on_where_it_ended(tmp_path: Path) -> None:
    records = [{**GOOD, "id": f"c{number}"} for number in range(4)]
    run(lines(tmp_path, *records[:2]), "messages")
    assert run(lines(tmp_path, *records), "messages").out.startswith("Imported 2 chats")


def test_bad_records_are_told_with_their_line_and_skipped(tmp_path: Path) -> None:
    path = lines(tmp_path, GOOD, "{nonsense", "", {"messages": [{"role": 7, "content": "x"}]}, {**GOOD, "id": "last"})
    result = run(path, "messages")
    assert result.out == "Imported 2 chats with 2 messages. 2 records could not be imported."
    assert [line.split(":")[0] for line in result.err] == ["line 2", "line 4"]
    assert result.err[1] == "line 4: messages[0].name: must be text, not int"
    assert ContextStore().get_chat("last") is not None
    assert run(lines(tmp_path, "{nonsense"), "messages").out.endswith("Is the file of the format messages?")


def test_bad_items_are_told_with_their_number(tmp_path: Path) -> None:
    path = array(tmp_path, 7, conversation(node("q", None, "Hello?"), current="q"))
    result = run(path, "chatgpt")
    assert result.err == ["item 1: must be a JSON object"]
    assert result.out == "Imported 1 chat with 1 message. 1 record could not be imported."


# Whatever one value of a record is, it is imported or told, and the next record comes.
BAD_VALUES = (None, True, -1, 1e308, 10**30, "", "\0", "\ud800", "x" * 300, [], [["a"]], {}, {"a": None})


def changed(value: Any, bad: Any) -> Iterator[Any]:
    """Give the value with each one of its parts in turn replaced."""
    yield bad
    if isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            for part in changed(item, bad):
                copy = value.copy()
                copy[key] = part
                yield copy


@pytest.mark.thorough
@pytest.mark.parametrize("file_format", ["chatgpt", "context-store", "messages", "oasst"])
def test_no_value_of_a_record_ends_the_import(file_format: str) -> None:
    reply = {"message_id": "a", "text": "!", "role": "assistant", "rank": 0, "created_date": "2023-02-05T14:23:50"}
    store = ContextStore()
    store.create_chat("c", user_id="alice")
    (sent,) = store.append_messages("c", [{"name": "user", "data": "Hello"}])
    store.create_checkpoint("c", "start", sent.id)
    record = {
        "chatgpt": conversation(node("q", None, "?"), node("a", "q", "!", create_time=1.5), current="a", update_time=2),
        "context-store": store.export_chat("c"),
        "messages": {**GOOD, "id": "c", "title": "T", "metadata": {"a": 1}},
        "oasst": {
            "message_tree_id": "t",
            "prompt": {"message_id": "p", "role": "prompter", "text": "?", "replies": [reply]},
        },
    }[file_format]
    store = ContextStore(user_id="alice")
    for value in itertools.chain.from_iterable(changed(record, bad) for bad in BAD_VALUES):
        Chat.objects.all().delete()
        (outcome,) = load(store, [Record("item 1", value)], FORMATS[file_format])
        assert outcome.is_new is Chat.objects.exists() is (outcome.error is None)
    Chat.objects.all().delete()
    (first,) = load(store, [Record("item 1", record)], FORMATS[file_format])
    assert first.is_new
    for value in itertools.chain.from_iterable(changed(record, bad) for bad in BAD_VALUES):
        (outcome,) = load(store, [Record("item 1", value)], FORMATS[file_format])
        assert (outcome.chat is None) is (outcome.error is not None)


def test_a_chatgpt_export_is_imported_as_its_zip(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("conversations.json", json.dumps([conversation(node("q", None, "?"), current="q")]))
        archive.writestr("user.json", "{}")
        archive.writestr("chat.html", "<html>")
    assert run(path, "chatgpt").out == "Imported 1 chat with 1 message."


def test_a_record_over_the_bound_is_told(tmp_path: Path) -> None:
    path = lines(tmp_path, {**GOOD, "title": "x" * (1 << 20)}, {**GOOD, "id": "last"})
    result = run(path, "messages", max_record_mib=1)
    assert result.err == ["line 1: is larger than 1,048,576 bytes"]
    assert ContextStore().get_chat("last") is not None


def test_strict_stops_at_the_first_bad_record(tmp_path: Path) -> None:
    path = lines(tmp_path, GOOD, "{nonsense", {**GOOD, "id": "last"})
    with pytest.raises(CommandError, match="^line 2: is not JSON.*\nStopped; 1 chat imported.$"):
        run(path, "messages", strict=True)
    assert ContextStore().get_chat("last") is None


def test_a_chat_is_imported_whole_or_not_at_all(tmp_path: Path) -> None:
    bad = {"messages": [{"role": "user", "content": "ok"}, {"role": "user", "content": "\ud800"}], "id": "c1"}
    assert run(lines(tmp_path, bad), "messages").err == ["line 1: messages[1].data.content: contains a lone surrogate"]
    assert not Chat.objects.exists()
    assert not Message.objects.exists()


def test_exit_status_tells_of_bad_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "close_all", lambda: None)  # The test goes on with its transaction.

    def status(*records: Any) -> object:
        arguments = ["manage.py", "import_chats", str(lines(tmp_path, *records)), "--format=messages", "--user-id=a"]
        with pytest.raises(SystemExit) as caught:
            Command(stdout=io.StringIO(), stderr=io.StringIO()).run_from_argv(arguments)
        return caught.value.code

    assert status(GOOD) == 0
    assert status(GOOD, "{nonsense") == 1


def test_another_user_cannot_import_the_same_export(tmp_path: Path) -> None:
    for path, file_format in (
        (array(tmp_path, conversation(node("q", None, "Hello?"), current="q")), "chatgpt"),
        (lines(tmp_path, {**GOOD, "id": "c1"}), "messages"),
    ):
        run(path, file_format)
        result = run(path, file_format, "bob")
        assert len(result.err) == 1
        assert result.err[0].endswith("is taken, by a chat of user 'alice'.")
    assert not Chat.objects.for_user("bob").exists()


def test_records_without_id_are_another_users_own(tmp_path: Path) -> None:
    path = lines(tmp_path, GOOD)
    run(path, "messages")
    assert run(path, "messages", "bob").out == "Imported 1 chat with 1 message."


def test_a_message_id_of_another_users_chat_is_another_message(tmp_path: Path) -> None:
    ContextStore().create_chat("other", user_id="bob")
    [message] = ContextStore().append_messages("other", [{"id": "q", "name": "user", "data": "mine"}])
    result = run(array(tmp_path, conversation(node("q", None, "Hello?"), current="q")), "chatgpt")
    assert result.err == []
    assert ContextStore().get_messages("other") == [message]


def test_node_ids_may_repeat_within_an_export(tmp_path: Path) -> None:
    nodes = (node("q", None, "?"), node("a", "q", "!"))
    first, second = (conversation(*nodes, current="a", conversation_id=name) for name in ("c1", "c2"))
    path = array(tmp_path, first, second)
    assert run(path, "chatgpt").out == "Imported 2 chats with 4 messages."
    assert run(path, "chatgpt").out.endswith("2 chats were there already.")
    for chat_id in ("c1", "c2"):
        assert [message.id for message in ContextStore().get_messages(chat_id)] == ["q", "a"]


def test_a_chat_that_has_other_messages_is_left_as_it_is(tmp_path: Path) -> None:
    run(lines(tmp_path, {**GOOD, "id": "c1"}), "messages")
    more = {"id": "c1", "messages": [*GOOD["messages"], {"role": "user", "content": "And?"}]}
    result = run(lines(tmp_path, more), "messages")
    assert result.err == ["line 1: Chat 'c1' is there already and lacks 1 of these messages; it was left as it is."]


def test_a_chat_that_went_on_is_there_already(tmp_path: Path) -> None:
    path = lines(tmp_path, {**GOOD, "id": "c1"})
    run(path, "messages")
    ContextStore().append_messages("c1", [{"name": "user", "data": "more"}])
    assert run(path, "messages").out.endswith("1 chat was there already.")


def test_documents_name_their_owner_or_get_one(tmp_path: Path) -> None:
    ContextStore().create_chat("c1", user_id="bob")
    document = ContextStore().export_chat("c1")
    Chat.objects.all().delete()
    path = lines(tmp_path, document)
    run(path, "context-store", None)
    assert ContextStore(user_id="bob").delete_chat("c1")
    run(path, "context-store", "carol")
    assert ContextStore(user_id="carol").get_chat("c1") is not None


def test_an_indented_document_is_read(tmp_path: Path) -> None:
    ContextStore().create_chat("c1", user_id="bob")
    path = tmp_path / "chat.json"
    path.write_text(json.dumps(ContextStore().export_chat("c1"), indent=2))
    Chat.objects.all().delete()
    assert run(path, "context-store", None).out == "Imported 1 chat with 0 messages."


def test_import_into_another_database(tmp_path: Path) -> None:
    run(lines(tmp_path, GOOD), "messages", database="other")
    assert len(ContextStore(using="other").list_chats()) == 1
    assert not ContextStore(using="default").list_chats()


def test_import_from_the_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(json.dumps(GOOD).encode())))
    assert run(Path("-"), "messages").out == "Imported 1 chat with 1 message."


def test_a_terminal_sees_how_far_the_import_is(tmp_path: Path) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    path = lines(tmp_path, GOOD)
    call_command(
        "import_chats", str(path), format="messages", user_id="a", stdout=io.StringIO(), stderr=terminal, no_color=True
    )
    assert "%|" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r")
    assert terminal.getvalue().split("\r")[-2].strip() == ""


def run_again(path: str) -> str:
    return run(Path(path), "messages").out


@pytest.mark.django_db(transaction=True)
def test_imports_of_the_same_file_at_the_same_time_store_it_once(tmp_path: Path) -> None:
    path = lines(tmp_path, *({**GOOD, "id": f"c{number}"} for number in range(20)))
    said = run_processes(*[partial(run_again, str(path))] * 3).raise_errors().values
    assert sum(int(text.split()[1]) for text in said) == 20
    assert all("not be imported" not in text for text in said)
    assert (Chat.objects.count(), Message.objects.count()) == (20, 20)


def test_debug_does_not_keep_what_is_imported(tmp_path: Path, settings: Settings) -> None:
    settings.DEBUG = True
    run(lines(tmp_path, *({**GOOD, "id": f"c{number}"} for number in range(5))), "messages")
    assert len(connection.queries) < 20


def test_a_chat_in_the_trash_that_has_the_id_is_told(tmp_path: Path) -> None:
    path = lines(tmp_path, {**GOOD, "id": "c1"})
    run(path, "messages")
    ContextStore().trash_chat("c1")
    assert run(path, "messages").err == ["line 1: Chat id 'c1' is taken, by a chat of user 'alice' in the trash."]


@pytest.mark.parametrize(
    ("file_format", "user_id", "reason"),
    [
        ("oasst", None, "--user-id is required"),
        ("messages", " padded", "--user-id: must not begin"),
        ("messages", "alice", "missing.jsonl: No such file"),
    ],
)
def test_mistakes_on_the_command_line_are_told(file_format: str, user_id: str | None, reason: str) -> None:
    with pytest.raises(CommandError, match=reason):
        run(Path("missing.jsonl"), file_format, user_id)


def test_a_disk_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = lines(tmp_path, GOOD, GOOD)

    class Failing(io.FileIO):
        """A file whose second read fails."""

        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell():
                raise OSError(errno.EIO, "Input/output error")
            return super().read(size) or b""

    monkeypatch.setattr("builtins.open", lambda *args, **options: Failing(path))
    with pytest.raises(CommandError, match=r"Input/output error\. Chats that were read before it are stored"):
        run(path, "messages")
    assert Chat.objects.count() == 1
