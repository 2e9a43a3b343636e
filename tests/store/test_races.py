"""Real threads and processes behind a barrier; what counts is what is in the database afterwards."""

from functools import partial

import pytest

from context_store.exceptions import HeadConflict, IdConflict
from context_store.models import Branch, Chat, Message, SearchEntry
from context_store.store import ContextStore
from tests.races import run_processes, run_threads
from tests.store.data import ids

pytestmark = pytest.mark.django_db(transaction=True)

WORKERS = 4
TURNS = 15


def turn(worker: int, number: int) -> dict:
    return {"id": f"w{worker}-{number}", "name": "user", "data": f"word{worker} number {number}"}


def append_turns(worker: int) -> None:
    for number in range(TURNS):
        ContextStore().append_messages("chat", [turn(worker, number)])


def append_expecting_head(worker: int) -> int:
    """Append each turn onto the head that was read, again when it has moved; return how often that was."""
    store, conflicts = ContextStore(), 0
    for number in range(TURNS):
        head = store.get_active_branch("chat").head_message_id
        while True:
            try:
                store.append_messages("chat", [turn(worker, number)], expected_head=head)
                break
            except HeadConflict as conflict:
                head, conflicts = conflict.head_message_id, conflicts + 1
    return conflicts


def append_same(batch: int) -> list[str]:
    return ids(ContextStore().append_messages("chat", [turn(batch, number) for number in range(3)]))


def upsert(worker: int) -> str:
    return ContextStore().upsert_chat("new", user_id="alice", title=str(worker))[0].title


def create(worker: int) -> str:
    return ContextStore().create_chat("new", user_id=f"user{worker}").user_id


def delete(worker: int) -> bool:
    return ContextStore().delete_chat("chat")


def count_up(worker: int) -> None:
    for _ in range(TURNS):
        ContextStore().update_chat("chat", updater=lambda chat: {"metadata": {"n": chat.metadata.get("n", 0) + 1}})


def merge(worker: int) -> None:
    for number in range(TURNS):
        ContextStore().update_chat("chat", metadata={f"{worker}-{number}": True}, merge=True)


def rewind(worker: int) -> str:
    return ContextStore().rewind("chat", "root").name


def swap_head(worker: int) -> bool:
    branch = ContextStore().get_branch("chat", "main")
    return ContextStore().update_branch_head(branch.id, f"head{worker}", expected_head="root")


def fork_from_root(worker: int) -> None:
    ContextStore().add_messages(
        [{"id": f"fork{worker}", "chat_id": "chat", "parent_id": "root", "name": "user", "data": worker}]
    )


def activate(worker: int) -> None:
    store = ContextStore()
    for branch in store.list_branches("chat"):
        store.set_active_branch("chat", branch.id)


def reparent(worker: int) -> None:
    store = ContextStore()
    for _ in range(5):
        store.set_message_parent("moving", f"head{worker}")


@pytest.fixture
def store() -> ContextStore:
    store = ContextStore()
    store.create_chat("chat", user_id="alice")
    return store


@pytest.fixture
def rooted(store) -> ContextStore:
    """The chat with a root, and a reply to it for each worker."""
    store.append_messages("chat", [{"id": "root", "name": "user", "data": "root"}])
    store.add_messages(
        {"id": f"head{worker}", "chat_id": "chat", "parent_id": "root", "name": "user", "data": worker}
        for worker in range(WORKERS)
    )
    return store


def race(function, runner=run_processes):
    return runner(*[partial(function, worker) for worker in range(WORKERS)])


@pytest.mark.parametrize("runner", [run_threads, run_processes])
def test_racing_appends_lose_nothing(store, runner):
    race(append_turns, runner).raise_errors()
    chain = store.get_messages("chat")
    assert sorted(ids(chain)) == sorted(f"w{worker}-{number}" for worker in range(WORKERS) for number in range(TURNS))
    for worker in range(WORKERS):
        mine = [record.id for record in chain if record.id.startswith(f"w{worker}-")]
        assert mine == [f"w{worker}-{number}" for number in range(TURNS)]
    assert store.get_chat("chat").message_count == WORKERS * TURNS == SearchEntry.objects.count()
    assert Message.objects.wrong_places("chat") == {}


def test_racing_appends_with_expected_head_lose_nothing(store):
    race(append_expecting_head).raise_errors()
    assert len(store.get_messages("chat")) == WORKERS * TURNS
    assert len({record.parent_id for record in store.get_messages("chat")}) == WORKERS * TURNS


def test_racing_appends_of_the_same_ids_store_them_once(store):
    outcomes = run_processes(*[partial(append_same, 0)] * WORKERS).raise_errors()
    assert outcomes.values == [["w0-0", "w0-1", "w0-2"]] * WORKERS
    assert ids(store.get_messages("chat")) == ["w0-0", "w0-1", "w0-2"]
    assert store.get_chat("chat").message_count == 3


def test_racing_upserts_agree_on_one_chat(store):
    outcomes = race(upsert).raise_errors()
    assert len(set(outcomes.values)) == 1
    assert Branch.objects.filter(chat_id="new").count() == 1


def test_of_racing_creates_one_wins(store):
    outcomes = race(create)
    assert [type(error) for error in outcomes.errors] == [IdConflict] * (WORKERS - 1)
    assert store.get_chat("new").user_id == outcomes.values[0]
    assert Branch.objects.filter(chat_id="new").count() == 1


def test_of_racing_deletes_one_gets_true(rooted):
    assert sorted(race(delete).raise_errors().values) == [False] * (WORKERS - 1) + [True]
    assert not Message.objects.exists()


def test_an_append_racing_a_delete_leaves_nothing_behind(rooted):
    outcomes = run_processes(partial(append_turns, 0), partial(delete, 1), partial(append_turns, 2))
    assert all(isinstance(error, Chat.DoesNotExist) for error in outcomes.errors)
    assert outcomes[1].value is True
    assert not Message.objects.exists()
    assert not SearchEntry.objects.exists()


def test_racing_updates_are_all_kept(store):
    race(count_up).raise_errors()
    assert store.get_chat("chat").metadata == {"n": WORKERS * TURNS}


def test_racing_merges_are_all_kept(store):
    race(merge).raise_errors()
    assert len(store.get_chat("chat").metadata) == WORKERS * TURNS


def test_racing_rewinds_make_different_names(rooted):
    names = race(rewind).raise_errors().values
    assert sorted(names) == [f"branch-{number}" for number in range(2, 2 + WORKERS)]
    assert Branch.objects.filter(chat_id="chat", is_active=True).count() == 1


def test_of_racing_head_swaps_one_moves(rooted):
    moved = race(swap_head).raise_errors().values
    assert moved.count(True) == 1
    assert rooted.get_branch("chat", "main").head_message_id == f"head{moved.index(True)}"


def test_racing_forks_keep_the_lineage_right(rooted):
    race(fork_from_root).raise_errors()
    assert len(rooted.get_children("root")) == 2 * WORKERS
    assert Message.objects.wrong_places("chat") == {}


def test_racing_activations_leave_one_active_branch(rooted):
    for number in range(3):
        rooted.create_branch("chat", f"b{number}")
    race(activate).raise_errors()
    assert Branch.objects.filter(chat_id="chat", is_active=True).count() == 1


def test_racing_moves_keep_the_lineage_right(rooted):
    rooted.add_messages(
        [
            {"id": "moving", "chat_id": "chat", "parent_id": "root", "name": "user", "data": 1},
            {"id": "below", "chat_id": "chat", "parent_id": "moving", "name": "user", "data": 2},
        ]
    )
    race(reparent).raise_errors()
    assert len(rooted.get_message_chain("below")) == 4
    assert Message.objects.wrong_places("chat") == {}
