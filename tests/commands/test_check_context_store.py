import io
from collections.abc import Callable

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django import Settings

from context_store.db.keys import partitions_of
from context_store.graph.lineage import Place
from context_store.graph.verify import verify_chat, verify_index
from context_store.models import Branch, Chat, Checkpoint, Message, SearchEntry
from context_store.store import ContextStore

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def chats() -> None:
    """Two chats, the first with a fork: a - b - c and a - d."""
    store = ContextStore()
    for chat_id, ids in (("c1", "abc"), ("c2", "xy")):
        store.create_chat(chat_id, user_id="alice")
        store.append_messages(chat_id, [{"id": name, "name": "user", "data": f"Text {name}"} for name in ids])
    store.rewind("c1", "a")
    store.append_messages("c1", [{"id": "d", "name": "assistant", "data": {"content": "Text d"}}])
    store.create_checkpoint("c1", "start", "a")


def check(**options: object) -> str:
    out = io.StringIO()
    call_command("check_context_store", stdout=out, no_color=True, **options)
    return out.getvalue()


def drop(constraint: str, table: str) -> None:
    """Remove a rule of the database, until the test's transaction is rolled back; SQLite looks at its end alone."""
    connection.check_constraints()
    if connection.vendor != "sqlite":
        with connection.cursor() as cursor:
            for part in partitions_of(connection, table) or [table]:
                cursor.execute(f"ALTER TABLE {part} DROP CONSTRAINT {constraint}")


def move_places() -> None:
    Message.objects.filter(id="d").update(segment="d", depth=7)


def lose_ancestry() -> None:
    Message.objects.filter(id="d").update(ancestry=None)


def take_foreign_head() -> None:
    drop("ctx_branch_head_key", "context_store_branch")
    Branch.objects.filter(chat_id="c1", is_active=True).update(head_message_id="x")


def take_foreign_checkpoint() -> None:
    drop("ctx_checkpoint_message_key", "context_store_checkpoint")
    Checkpoint.objects.filter(chat_id="c1").update(message_id="y")


def take_foreign_parent() -> None:
    drop("ctx_message_parent_key", "context_store_message")
    Message.objects.filter(id="b").update(parent_id="x")


def deactivate() -> None:
    Branch.objects.filter(chat_id="c1").update(is_active=False)


def activate_both() -> None:
    with connection.cursor() as cursor:
        connection.check_constraints()
        table = " ON context_store_branch" if connection.vendor == "microsoft" else ""
        cursor.execute(f"DROP INDEX ctx_branch_active{table}")
    Branch.objects.filter(chat_id="c1").update(is_active=True)


def lose_branches() -> None:
    Branch.objects.filter(chat_id="c1").delete()


def miscount() -> None:
    Chat.objects.filter(pk="c1").update(message_count=40)


def miscount_branches() -> None:
    Chat.objects.filter(pk="c1").update(branch_count=40)


def lose_entry() -> None:
    SearchEntry.objects.filter(message_id="b").delete()


def change_entry() -> None:
    SearchEntry.objects.filter(message_id="b").update(content="other")


def change_owner() -> None:
    Chat.objects.filter(pk="c1").update(user_id="bob")


def stray_entry() -> None:
    SearchEntry._base_manager.filter(message_id="y").update(chat_id="c1")


DAMAGE = [
    (move_places, "lineage"),
    (lose_ancestry, "lineage"),
    (take_foreign_head, "head"),
    (take_foreign_checkpoint, "checkpoint"),
    (take_foreign_parent, "parent"),
    (deactivate, "active_branch"),
    (activate_both, "active_branch"),
    (lose_branches, "active_branch"),
    (miscount, "message_count"),
    (miscount_branches, "branch_count"),
    (lose_entry, "search_entry"),
    (change_entry, "search_entry"),
    (change_owner, "search_entry"),
    (stray_entry, "stray_search_entry"),
]


def test_a_sound_store_passes() -> None:
    assert check() == "Checked 2 chats: all is well.\n"


@pytest.mark.parametrize(("damage", "code"), DAMAGE, ids=[damage.__name__ for damage, _ in DAMAGE])
def test_damage_is_found_and_repaired(damage: Callable[[], None], code: str) -> None:
    damage()
    with pytest.raises(CommandError, match=r"problems found, \d+ of them left") as caught:
        check()
    assert caught.value.returncode == 1
    problems = verify_chat("c1")
    assert problems[0].code == code
    assert not problems[0].is_repaired
    assert check(repair=True).endswith("problems found and repaired.\n")
    assert check() == "Checked 2 chats: all is well.\n"


def test_what_lies_beside_a_deleted_message_is_sound() -> None:
    store = ContextStore()
    store.switch_branch("c1", "main")
    Message.objects.replace("c1", store.get_messages("c1")[:1])
    assert store.get_message("b") is None
    assert check() == "Checked 2 chats: all is well.\n"
    assert Message.objects.wrong_places("c1") == {}
    for name in ("e", "f"):
        store.add_message({"id": name, "chat_id": "c1", "parent_id": "a", "name": "user", "data": name})
    assert check() == "Checked 2 chats: all is well.\n"
    assert [item.id for item in store.get_message_chain("d")] == ["a", "d"]


def spoil(table: str, column: str, text: str) -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA ignore_check_constraints = ON")
        cursor.execute(f"UPDATE context_store_{table} SET {column} = %s", [text])
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA ignore_check_constraints = OFF")


def test_metadata_that_cannot_be_read_are_told_of_each_chat() -> None:
    spoil("chat", "metadata", "[1]")
    assert [(problem.code, problem.chat_id) for problem in [*verify_chat("c1"), *verify_chat("c2")]] == [
        ("data", "c1"),
        ("data", "c2"),
    ]
    with pytest.raises(CommandError, match="2 problems found, 2 of them left"):
        check(repair=True)


@pytest.mark.vendor("sqlite")
def test_data_that_cannot_be_read_are_told_of_each_chat() -> None:
    spoil("message", "data", "garbage")
    with pytest.raises(CommandError, match="Checked 2 chats: 2 problems found, 2 of them left"):
        check()
    for name in ("export_chats", "rebuild_search_index"):
        with pytest.raises(CommandError, match="of chat 'c1' cannot be read"):
            call_command(name, stdout=io.StringIO(), stderr=io.StringIO())


def test_repaired_lineage_reads_as_before() -> None:
    expected = {name: ContextStore().get_message_chain(name) for name in "abcd"}
    move_places()
    Message.objects.filter(id="c").update(depth=5)
    check(repair=True)
    assert {name: ContextStore().get_message_chain(name) for name in "abcd"} == expected


def test_a_repaired_head_is_the_newest_message() -> None:
    take_foreign_head()
    check(repair=True)
    assert ContextStore().get_active_branch("c1").head_message_id == "d"


def test_repaired_branches_have_one_active() -> None:
    lose_branches()
    check(repair=True)
    assert ContextStore().get_active_branch("c1")[3:5] == ("d", True)


def test_a_repaired_chat_has_another_revision() -> None:
    before = Chat.objects.get(pk="c1").revision
    miscount()
    check(repair=True)
    assert Chat.objects.get(pk="c1").revision > before


def test_parents_in_a_circle_are_told_and_left() -> None:
    Message.objects.filter(id="b").update(parent_id="c")
    with pytest.raises(CommandError, match="1 problems? found, 1 of them left"):
        check(repair=True)
    assert "set_message_parent" in verify_chat("c1")[0].detail
    ContextStore().set_message_parent("b", "a")
    assert check() == "Checked 2 chats: all is well.\n"


def test_only_the_named_chats_are_checked() -> None:
    miscount()
    assert check(chat_id=["c2"]) == "Checked 1 chat: all is well.\n"
    with pytest.raises(CommandError, match="There is no chat 'c3'"):
        check(chat_id=["c2", "c3"])


def test_a_sound_chat_is_not_locked(django_assert_num_queries: Callable[..., object]) -> None:
    with django_assert_num_queries(10) as captured:  # type: ignore[attr-defined]
        assert verify_chat("c1") == []
    assert not [query for query in captured if not query["sql"].startswith("SELECT")]


def test_what_a_writer_is_about_to_finish_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def wrong_once(using: str, chat_id: str) -> dict[str, tuple[Place, Place]]:
        seen.append(chat_id)
        return {"a": (Place("a", 1, []), Place("a", 0, []))} if len(seen) == 1 else {}

    monkeypatch.setattr("context_store.graph.verify.misplaced", wrong_once)
    assert verify_chat("c1") == []
    assert seen == ["c1", "c1"]


def test_a_chat_that_is_not_there_has_no_problems() -> None:
    assert verify_chat("none") == []


@pytest.mark.vendor("sqlite")
def test_entries_of_a_chat_that_is_not_there_are_found() -> None:
    SearchEntry.objects.filter(message_id="a").update(chat_id="gone")
    with pytest.raises(CommandError):
        check()
    check(repair=True)
    assert check() == "Checked 2 chats: all is well.\n"


def test_a_missing_search_index_is_told(settings: Settings) -> None:
    settings.CONTEXT_STORE_SEARCH_LANGUAGE = "simple"
    with pytest.raises(CommandError, match="1 problems found, 1 of them left"):
        check(repair=True)
    assert verify_index()[0].code == "search_index"
    assert check(chat_id=["c1"]) == "Checked 1 chat: all is well.\n"
