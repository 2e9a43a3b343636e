import copy
import json

import pytest
from django.core.management import call_command

from context_store.exceptions import IdConflict, InvalidData
from context_store.graph.locked import LockedChat
from context_store.models import Chat, Message
from tests.store.data import ids, message, node


@pytest.fixture
def forked(store, chat):
    """The chat with a second branch, a checkpoint on each, and odd data."""
    store.update_chat(chat, title="T", metadata={"tier": 2})
    store.rewind(chat, "m1")
    store.append_messages(chat, [{"id": "n2", "name": "tool", "type": None, "data": {"z": 1e22, "a": [-0.0, "\0"]}}])
    store.create_checkpoint(chat, "old", "m3")
    store.create_checkpoint(chat, "new", "n2")
    return chat


def test_export_import_is_loss_free(store, forked):
    document = json.loads(json.dumps(store.export_chat(forked)))
    pages = store.get_messages(forked), store.get_graph(forked), store.get_chat(forked)
    store.delete_chat(forked)
    store.import_chat(document)
    assert store.export_chat(forked) == document
    assert (store.get_messages(forked), store.get_graph(forked), store.get_chat(forked)) == pages
    assert Message.objects.wrong_places(forked) == {}


def test_a_fixture_of_django_brings_a_chat_back(store, forked, tmp_path):
    fixture = tmp_path / "chats.json"
    call_command("dumpdata", "context_store", output=str(fixture))
    document, found = store.export_chat(forked), store.search_messages(forked, "text")
    store.delete_chat(forked)
    call_command("loaddata", str(fixture), verbosity=0)
    assert store.export_chat(forked) == document
    assert store.search_messages(forked, "text") == found != []
    assert Message.objects.wrong_places(forked) == {}


def shape(store, chat_id):
    """Return what a copy has in common with its source: all but the ids."""
    document = store.export_chat(chat_id)
    numbers = {message["id"]: number for number, message in enumerate(document["messages"])}
    messages = [(numbers.get(row["parent_id"]), row["name"], row["data"]) for row in document["messages"]]
    branches = [(row["name"], numbers[row["head_message_id"]], row["is_active"]) for row in document["branches"]]
    chat = store.get_chat(chat_id)
    return messages, sorted(branches), chat.message_count, chat.title, chat.branch_count


def test_a_large_copy_is_made_in_steps(store, forked, monkeypatch):
    whole = shape(store, store.fork_chat(forked).id)
    monkeypatch.setattr("context_store.graph.documents.COPIED_AT_ONCE", 2)
    copied = store.fork_chat(forked).id
    assert shape(store, copied) == whole == shape(store, forked)
    assert Message.objects.wrong_places(copied) == {}
    assert store.count_chats(trashed=True) == 0


def test_a_copy_down_to_no_message_is_missing_whatever_the_limit(store, forked):
    for most in (None, 1):
        with pytest.raises(Message.DoesNotExist):
            store.fork_chat(forked, head="none", most=most)


@pytest.mark.parametrize("failing", [1, 2])
def test_a_copy_that_fails_leaves_nothing(store, forked, monkeypatch, failing):
    monkeypatch.setattr("context_store.graph.documents.COPIED_AT_ONCE", 2)
    insert, calls = LockedChat.insert, iter(range(1, 10))

    def fail(self, placed):
        if next(calls) == failing:
            raise RuntimeError("no more")
        return insert(self, placed)

    monkeypatch.setattr(LockedChat, "insert", fail)
    with pytest.raises(RuntimeError):
        store.fork_chat(forked)
    assert [chat.id for chat in store.list_chats()] == [forked]
    assert store.count_chats(trashed=True) == 0


def test_import_for_another_user(store, forked):
    document = store.export_chat(forked)
    store.delete_chat(forked)
    assert store.import_chat(document, user_id="bob").user_id == "bob"


def test_import_of_a_known_chat_conflicts(store, forked):
    document = store.export_chat(forked)
    with pytest.raises(IdConflict):
        store.import_chat({**document, "chat": {**document["chat"], "title": "another"}})
    assert store.export_chat(forked) == document


def test_import_under_another_id_has_messages_of_its_own(store, forked):
    document = store.export_chat(forked)
    other = {**document, "chat": {**document["chat"], "id": "new"}}
    store.import_chat(other)
    store.append_messages("new", [message("more")])
    assert store.export_chat(forked) == document
    assert store.get_messages("new")[:-1] == [item._replace(chat_id="new") for item in store.get_messages(forked)]


def _without_branches(document):
    document["branches"] = []


def _two_active(document):
    for branch in document["branches"]:
        branch["is_active"] = True


def _head_elsewhere(document):
    document["branches"][0]["head_message_id"] = "nowhere"


def _same_names(document):
    for checkpoint in document["checkpoints"]:
        checkpoint["name"] = "same"


def _circle(document):
    document["messages"][0]["parent_id"] = document["messages"][-1]["id"]


def _orphan(document):
    document["messages"][-1]["parent_id"] = "nowhere"


def _other_version(document):
    document["version"] = 2


def _no_messages(document):
    del document["messages"]


def _bad_time(document):
    document["chat"]["created_at"] = "yesterday"


def _checkpoint_nowhere(document):
    document["checkpoints"][0]["message_id"] = None


@pytest.mark.parametrize(
    "spoil",
    [
        _without_branches,
        _two_active,
        _head_elsewhere,
        _same_names,
        _circle,
        _orphan,
        _other_version,
        _no_messages,
        _bad_time,
        _checkpoint_nowhere,
    ],
)
def test_import_of_a_document_that_does_not_fit_together_is_invalid(store, forked, spoil):
    document = copy.deepcopy(store.export_chat(forked))
    store.delete_chat(forked)
    spoil(document)
    with pytest.raises(InvalidData):
        store.import_chat(document)
    assert not Chat.objects.exists()


@pytest.mark.parametrize("document", [None, [], "text", {}, {"chat": []}, {"chat": {}, "messages": {}}])
def test_import_of_what_is_no_document_is_invalid(store, document):
    with pytest.raises(InvalidData):
        store.import_chat(document)


def test_fork_copies_the_whole_graph_under_new_ids(store, forked):
    before = store.export_chat(forked)
    fork = store.fork_chat(forked, "fork")
    copied = store.export_chat("fork")
    assert (fork.user_id, fork.title, fork.metadata, fork.message_count, fork.branch_count) == (
        "alice",
        "T",
        {"tier": 2},
        4,
        2,
    )
    assert [item["data"] for item in copied["messages"]] == [item["data"] for item in before["messages"]]
    assert not {item["id"] for item in copied["messages"]} & {item["id"] for item in before["messages"]}
    assert [item["name"] for item in copied["branches"]] == [item["name"] for item in before["branches"]]
    assert {item["name"] for item in copied["checkpoints"]} == {"old", "new"}
    assert store.get_active_branch("fork").name == "branch-2"
    assert store.export_chat(forked) == before


def test_fork_down_to_a_head_copies_that_chain_only(store, forked):
    store.fork_chat(forked, "fork", head="m3", user_id="bob")
    document = store.export_chat("fork")
    assert [item["data"] for item in document["messages"]] == ["text of m1", "text of m2", "text of m3"]
    assert [item["name"] for item in document["branches"]] == ["main"]
    assert [item["name"] for item in document["checkpoints"]] == ["old"]
    assert document["chat"]["user_id"] == "bob"


def test_fork_of_what_is_missing_does_not_exist(store, forked):
    store.create_chat("other", user_id="alice")
    store.append_messages("other", [message("elsewhere")])
    with pytest.raises(Chat.DoesNotExist):
        store.fork_chat("nowhere")
    for head in ("nowhere", "elsewhere"):
        with pytest.raises(Message.DoesNotExist):
            store.fork_chat(forked, head=head)
    assert len(store.list_chats()) == 2


def test_fork_onto_an_existing_chat_conflicts(store, forked):
    with pytest.raises(IdConflict):
        store.fork_chat(forked, forked)


def test_graph_has_nodes_with_previews_branches_and_checkpoints(store, forked):
    store.append_messages(forked, [{"id": "long", "name": "user", "data": "x" * 60}])
    graph = store.get_graph(forked)
    nodes = {item.id: item for item in graph.nodes}
    assert (nodes["m2"].parent_id, nodes["m2"].role, nodes["m2"].content) == ("m1", "assistant", "text of m2")
    assert nodes["long"].content == "x" * 50
    assert graph.branches == store.list_branches(forked)
    assert graph.checkpoints == store.list_checkpoints(forked)


def test_graph_takes_three_statements(store, forked, django_assert_num_queries):
    with django_assert_num_queries(3):
        store.get_graph(forked)


def test_graph_of_an_empty_or_a_missing_chat(store):
    store.create_chat("c", user_id="alice")
    assert store.get_graph("c").nodes == []
    with pytest.raises(Chat.DoesNotExist):
        store.get_graph("nowhere")


def test_export_has_every_message_once_parents_first(store, chat):
    store.add_messages([node("a", "m1", created_at=1), node("root", None), node("b", "a")])
    exported = [item["id"] for item in store.export_chat(chat)["messages"]]
    assert exported.index("a") < exported.index("b")
    assert sorted(exported) == sorted(["a", "b", *ids(store.get_messages(chat)), "root"])
