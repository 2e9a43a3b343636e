import pytest
from django.db import IntegrityError, transaction

from benchmarks.measure import statements
from context_store.exceptions import IdConflict, InvalidData
from context_store.graph.chains import see_branch_through
from context_store.managers import branches
from context_store.models import Branch, Chat, Checkpoint, Message
from tests.store.data import ids, message, names


@pytest.fixture
def side(store, chat):
    """A second branch of the chat, at m1."""
    return store.create_branch(chat, "side", head_message_id="m1")


@pytest.fixture
def elsewhere(store):
    """A message of another chat of the same user."""
    store.create_chat("other", user_id="alice")
    return store.append_messages("other", [message("elsewhere")])[0].id


def test_create_branch(store, chat):
    branch = store.create_branch(chat, "idea", head_message_id="m2", branch_id="b1")
    assert (branch.id, branch.name, branch.head_message_id, branch.is_active, branch.message_count) == (
        "b1",
        "idea",
        "m2",
        False,
        2,
    )
    assert store.get_branch(chat, "idea") == branch


def test_create_branch_that_is_active_replaces_the_active_one(store, chat):
    store.create_branch(chat, "idea", is_active=True)
    assert store.get_active_branch(chat).name == "idea"
    assert store.get_branch(chat, "main").is_active is False


def test_create_branch_with_a_taken_name_or_id_conflicts(store, chat, side):
    with pytest.raises(IdConflict):
        store.create_branch(chat, "side", is_active=True)
    with pytest.raises(IdConflict):
        store.create_branch(chat, "new", branch_id=side.id)
    assert store.get_active_branch(chat).name == "main"


def test_create_branch_at_a_message_of_another_chat_does_not_exist(store, chat, elsewhere):
    for head in (elsewhere, "nowhere"):
        with pytest.raises(Message.DoesNotExist):
            store.create_branch(chat, "idea", head_message_id=head)
    with pytest.raises(Chat.DoesNotExist):
        store.create_branch("nowhere", "idea")


def test_branch_names_are_case_sensitive(store, chat, side):
    store.create_branch(chat, "Side")
    assert names(store.list_branches(chat)) == ["main", "side", "Side"]
    assert store.get_branch(chat, "SIDE") is None


def test_list_branches_is_oldest_first_with_message_counts(store, chat, side):
    assert [(branch.name, branch.message_count) for branch in store.list_branches(chat)] == [("main", 3), ("side", 1)]


def test_list_branches_takes_one_statement(store, chat, side, django_assert_num_queries):
    with django_assert_num_queries(1):
        store.list_branches(chat)


def test_branches_of_a_missing_chat(store):
    assert store.get_branch("nowhere", "main") is None
    for read in (store.list_branches, store.get_active_branch):
        with pytest.raises(Chat.DoesNotExist):
            read("nowhere")


def test_set_active_branch(store, chat, side):
    assert store.set_active_branch(chat, side.id).is_active
    assert ids(store.get_messages(chat)) == ["m1"]
    store.set_active_branch(chat, side.id)
    assert Branch.objects.filter(is_active=True).count() == 1


def test_set_active_branch_of_another_chat_is_refused(store, chat, elsewhere):
    other = store.get_active_branch("other")
    with pytest.raises(Branch.DoesNotExist):
        store.set_active_branch(chat, other.id)
    assert store.get_active_branch(chat).name == "main"


def test_update_branch_head(store, chat, side):
    assert store.update_branch_head(side.id, "m3") is True
    assert store.get_branch(chat, "side").head_message_id == "m3"
    assert store.update_branch_head(side.id, None) is True
    assert store.get_messages(chat, branch="side") == []


def test_update_branch_head_compares_and_swaps(store, chat, side):
    assert store.update_branch_head(side.id, "m3", expected_head="m2") is False
    assert store.update_branch_head(side.id, "m3", expected_head=None) is False
    assert store.update_branch_head(side.id, "m3", expected_head="m1") is True
    empty = store.create_branch(chat, "empty")
    assert store.update_branch_head(empty.id, "m2", expected_head=None) is True


def test_update_branch_head_to_a_message_of_another_chat_does_not_exist(store, chat, side, elsewhere):
    for head in (elsewhere, "nowhere"):
        with pytest.raises(Message.DoesNotExist):
            store.update_branch_head(side.id, head)
    with pytest.raises(Branch.DoesNotExist):
        store.update_branch_head("nowhere", "m1")


def test_rewind_starts_an_active_branch_and_the_old_one_stays(store, chat):
    branch = store.rewind(chat, "m1")
    assert (branch.head_message_id, branch.is_active, branch.name) == ("m1", True, "branch-2")
    assert ids(store.get_messages(chat, branch="main")) == ["m1", "m2", "m3"]


def test_rewind_makes_a_new_name_each_time(store, chat):
    store.create_branch(chat, "branch-7")
    store.create_branch(chat, "branch-x")
    assert [store.rewind(chat, "m1").name, store.rewind(chat, "m1").name] == ["branch-8", "branch-9"]


def test_rewind_beside_a_branch_named_by_very_many_digits(store, chat):
    store.create_branch(chat, "branch-" + 248 * "9")
    assert [store.rewind(chat, "m1").name, store.rewind(chat, "m1").name] == ["branch-2", "branch-3"]


def test_rewind_beside_branches_that_begin_with_a_number(store, chat):
    for name in ("branch-10", "branch-9", "branch-99b", "branch-0500", "branch-1\u0663"):
        store.create_branch(chat, name)
    assert [store.rewind(chat, "m1").name, store.rewind(chat, "m1").name] == ["branch-11", "branch-12"]
    for number in range(60):
        store.create_branch(chat, f"branch-{number}x{number}")
    assert store.rewind(chat, "m1").name == "branch-501"


def test_rewind_beside_the_last_number_that_there_is(store, chat):
    for name in ("branch-999999999", "branch-1000000000"):
        store.create_branch(chat, name)
    assert store.rewind(chat, "m1").name == "branch-1000000001"


@pytest.mark.vendor("sqlite", "postgresql")
def test_rewind_reads_few_of_very_many_names(store, chat):
    for _ in range(3):
        store.rewind(chat, "m1")
    sent = statements("default", lambda: store.rewind(chat, "m1"))
    assert len(sent) <= 7
    [names] = [sql for sql in sent if "branch-" in sql and sql.startswith("SELECT")]
    assert "LIMIT 50" in names


def test_rewind_to_a_message_of_another_chat_does_not_exist(store, chat, elsewhere):
    for message_id in (elsewhere, "nowhere"):
        with pytest.raises(Message.DoesNotExist):
            store.rewind(chat, message_id)
    assert len(store.list_branches(chat)) == 1


def test_delete_branch_leaves_the_messages(store, chat):
    store.rewind(chat, "m1")
    assert store.delete_branch(chat, "main") is True
    assert store.delete_branch(chat, "main") is False
    assert ids(store.get_message_chain("m3")) == ["m1", "m2", "m3"]


def test_delete_branch_refuses_the_active_one(store, chat):
    with pytest.raises(InvalidData, match="active"):
        store.delete_branch(chat, "main")


def test_create_checkpoint(store, chat):
    checkpoint, _ = store.create_checkpoint(chat, "before", "m2", checkpoint_id="k1")
    assert (checkpoint.id, checkpoint.name, checkpoint.message_id) == ("k1", "before", "m2")
    assert store.get_checkpoint(chat, "before") == checkpoint


def test_create_checkpoint_again_moves_it_and_returns_what_is_stored(store, chat):
    store.create_checkpoint(chat, "before", "m2", checkpoint_id="k1")
    moved, _ = store.create_checkpoint(chat, "before", "m3", checkpoint_id="k2")
    assert (moved.id, moved.message_id) == ("k1", "m3")
    assert store.list_checkpoints(chat) == [moved]


def test_create_checkpoint_refuses_taken_ids_and_other_chats(store, chat, elsewhere):
    store.create_checkpoint("other", "before", elsewhere, checkpoint_id="k1")
    store.create_checkpoint(chat, "other", "m1", checkpoint_id="k1")
    with pytest.raises(IdConflict):
        store.create_checkpoint(chat, "before", "m2", checkpoint_id="k1")
    with pytest.raises(Message.DoesNotExist):
        store.create_checkpoint(chat, "before", elsewhere)
    with pytest.raises(Chat.DoesNotExist):
        store.create_checkpoint("nowhere", "before", "m1")


def test_list_checkpoints_is_newest_first(store, chat):
    for name in "abc":
        store.create_checkpoint(chat, name, "m1")
    assert names(store.list_checkpoints(chat)) == ["c", "b", "a"]


def test_checkpoints_that_are_missing(store, chat):
    assert store.get_checkpoint(chat, "nothing") is None
    assert store.list_checkpoints(chat) == []
    assert store.delete_checkpoint(chat, "nothing") is False
    with pytest.raises(Chat.DoesNotExist):
        store.list_checkpoints("nowhere")
    with pytest.raises(Checkpoint.DoesNotExist):
        store.restore_checkpoint(chat, "nothing")


def test_delete_checkpoint_leaves_the_message(store, chat):
    store.create_checkpoint(chat, "before", "m2")
    assert store.delete_checkpoint(chat, "before") is True
    assert store.get_message("m2")


def test_restore_checkpoint_rewinds_to_its_message(store, chat):
    store.create_checkpoint(chat, "before", "m2")
    branch = store.restore_checkpoint(chat, "before")
    assert (branch.is_active, branch.head_message_id) == (True, "m2")
    assert store.get_checkpoint(chat, "before")


def test_the_database_allows_one_active_branch(store, chat, side):
    with pytest.raises(IntegrityError), transaction.atomic():
        Branch.objects.filter(id=side.id).update(is_active=True)


WRITES = {
    "create_branch": lambda store: store.create_branch("chat", "idea"),
    "create_branch, taken": lambda store: pytest.raises(IdConflict, store.create_branch, "chat", "side"),
    "rewind": lambda store: store.rewind("chat", "m1"),
    "regenerate": lambda store: store.regenerate("chat", "m2"),
    "edit_message": lambda store: store.edit_message("chat", "m2", "other", new_id="n2"),
    "edit_message, again": lambda store: [store.edit_message("chat", "m2", "other", new_id="n2") for _ in range(2)],
    "activate_message": lambda store: [store.rewind("chat", None), store.activate_message("chat", "m3")],
    "restore_checkpoint": lambda store: [
        store.create_checkpoint("chat", "mark", "m1"),
        store.restore_checkpoint("chat", "mark"),
    ],
    "delete_branch": lambda store: store.delete_branch("chat", "side"),
    "delete_branch, missing": lambda store: store.delete_branch("chat", "nothing"),
    "import_chat": lambda store: store.import_chat(
        {**store.export_chat("chat"), "chat": {"id": "copy", "user_id": "alice"}}
    ),
    "fork_chat": lambda store: store.fork_chat("chat"),
    "create": lambda store: Branch.objects.create(chat_id="chat", name="idea"),
    "save": lambda store: Branch.objects.get(name="side").save(),
    "delete": lambda store: Branch.objects.get(name="side").delete(),
    "delete of many": lambda store: Branch.objects.all().delete(),
    "trash": lambda store: [store.trash_chat("chat"), store.restore_chat("chat")],
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_branches_are_counted(store, chat, side, write):
    write(store)
    for record in store.list_chats():
        assert record.branch_count == Branch.objects.filter(chat_id=record.id).count()


def test_branches_deleted_together_are_counted_once(store, chat):
    for number in range(20):
        store.create_branch(chat, f"idea-{number}")
    few, many = Branch.objects.filter(name="idea-0"), Branch.objects.filter(name__startswith="idea-")
    assert len(statements("default", few.delete)) == len(statements("default", many.delete))


@pytest.mark.parametrize(("before", "after", "used"), [(None, "m3", "main"), ("m3", None, "branch-3")])
def test_a_branch_that_comes_or_goes_while_one_is_looked_for(store, chat, monkeypatch, before, after, used):
    main = store.get_active_branch(chat)
    store.rewind(chat, None)
    store.update_branch_head(main.id, before, chat_id=chat)

    def look(*args):
        seen = see_branch_through(*args)
        store.update_branch_head(main.id, after, chat_id=chat)
        return seen

    monkeypatch.setattr(branches, "see_branch_through", look)
    assert store.activate_message(chat, "m3").name == used
    assert store.get_chat(chat).branch_count == Branch.objects.count()


def test_a_name_in_place_of_the_id_is_told(store, chat):
    for call in (
        lambda: store.set_active_branch(chat, "main"),
        lambda: store.update_branch_head("main", None),
    ):
        with pytest.raises(Branch.DoesNotExist, match="There is no branch with the id 'main'"):
            call()
