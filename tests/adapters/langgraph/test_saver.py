"""Threads of graphs as chats of their owners."""

import asyncio
import os
import threading
from functools import partial
from typing import Annotated, Any, ClassVar, TypedDict

import ormsgpack
import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError, connection, connections, transaction
from django.db.backends.signals import connection_created
from django.test import override_settings
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage, ToolMessage
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import _messages_delta_reducer, add_messages

from context_store import ContextStore
from context_store.adapters.langgraph import DjangoSaver, connected
from context_store.adapters.langgraph import saver as saver_module
from context_store.adapters.langgraph.models import ThreadCheckpoint, ThreadItem, ThreadValue, ThreadWrite
from context_store.adapters.langgraph.rows import find_last
from context_store.exceptions import LegalHoldError, OwnerMismatch
from context_store.lifecycle import apply_retention, hold, release
from context_store.messages import text_of
from context_store.models import Chat
from tests.races import run_threads

pytestmark = pytest.mark.django_db(transaction=True)
TABLES = (ThreadCheckpoint, ThreadValue, ThreadItem, ThreadWrite)


class State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


def answer(state: State) -> dict[str, Any]:
    return {"messages": [AIMessage(f"answer {len(state['messages'])}")]}


def graph(saver: DjangoSaver, node: Any = answer) -> Any:
    return StateGraph(State).add_node("node", node).add_edge(START, "node").add_edge("node", END).compile(saver)


def config(thread_id: str = "tea", **names: str) -> Any:
    return {"configurable": {"thread_id": thread_id, **names}}


def ask(saver: DjangoSaver, text: str, **names: str) -> Any:
    return graph(saver).invoke({"messages": [HumanMessage(text)]}, config(**names))


def texts(chat_id: str = "tea", **options: Any) -> list[str]:
    return [text_of(message) for message in ContextStore().get_messages(chat_id, **options)]


@pytest.fixture
def saver() -> DjangoSaver:
    return DjangoSaver(user_id="alice")


def test_messages_of_a_thread_are_messages_of_its_chat(saver: DjangoSaver) -> None:
    ask(saver, "one")
    state = ask(saver, "two")
    records = ContextStore(user_id="alice").get_messages("tea")
    assert [record.name for record in records] == ["user", "assistant", "user", "assistant"]
    assert texts() == ["one", "answer 1", "two", "answer 3"]
    assert [record.id for record in records] == [message.id for message in state["messages"]]
    assert [hit.message.id for hit in ContextStore().search_messages("tea", "two")] == [records[2].id]


def test_tool_calls_are_stored_as_langchain_dumps_them(saver: DjangoSaver) -> None:
    call = AIMessage("", tool_calls=[{"name": "steep", "args": {"minutes": 3}, "id": "call-1"}], id="a")
    result = ToolMessage("done", tool_call_id="call-1", id="t")
    graph(saver, lambda state: {"messages": [call, result]}).invoke({"messages": [HumanMessage("x")]}, config())
    stored = ContextStore().get_message("a", chat_id="tea")
    assert stored.data == {"type": "ai", "data": call.model_dump()}
    assert ContextStore().get_message("t", chat_id="tea").name == "tool"


def test_a_fork_of_the_thread_is_a_branch(saver: DjangoSaver) -> None:
    ask(saver, "one")
    first = saver.get_tuple(config()).config
    ask(saver, "two")
    graph(saver).invoke({"messages": [HumanMessage("other")]}, first)
    assert texts() == ["one", "answer 1", "other", "answer 3"]
    assert texts(branch="main") == ["one", "answer 1", "two", "answer 3"]
    assert len(ContextStore().list_branches("tea")) == 2


def test_a_changed_message_is_a_branch(saver: DjangoSaver) -> None:
    state = ask(saver, "one")
    changed = HumanMessage("uno", id=state["messages"][0].id)
    graph(saver).update_state(config(), {"messages": [changed]})
    assert texts() == ["uno", "answer 1"]
    assert texts(branch="main") == ["one", "answer 1"]
    ask(saver, "two")
    assert texts() == ["uno", "answer 1", "two", "answer 3"]


def test_dropped_messages_stay_in_the_chat(saver: DjangoSaver) -> None:
    state = ask(saver, "one")
    graph(saver).update_state(config(), {"messages": [RemoveMessage(state["messages"][0].id)]})
    ask(saver, "two")
    assert texts() == ["one", "answer 1", "two", "answer 2"]
    assert len(ContextStore().list_branches("tea")) == 1


def test_a_message_that_another_branch_has_as_well_is_said_on_this_one(saver: DjangoSaver) -> None:
    fixed = graph(saver, lambda state: {"messages": [AIMessage("Green.", id="a")]})
    fixed.invoke({"messages": [HumanMessage("one", id="q")]}, config())
    before = list(fixed.get_state_history(config()))[1].config
    fork = fixed.update_state(before, {"messages": [HumanMessage("two", id="r")]}, as_node=START)
    fixed.invoke(None, fork)
    assert texts() == ["one", "two", "Green."]
    assert texts(branch="main") == ["one", "Green."]


def test_growth_is_linear_in_the_messages(saver: DjangoSaver) -> None:
    def stored() -> int:
        rows = [*ThreadValue.objects.values_list("data"), *ThreadItem.objects.values_list("data")]
        return sum(len(bytes(data)) for (data,) in rows)

    sizes = []
    for _ in range(3):
        for _ in range(20):
            ask(saver, "tea " * 100)
        sizes.append(stored())
    assert ThreadItem.objects.count() == Chat.objects.get().message_count == 120
    # Twenty more turns take as much room as the twenty before them.
    assert sizes[2] - sizes[1] < 1.1 * (sizes[1] - sizes[0])


def test_without_an_owner_it_does_not_start() -> None:
    with pytest.raises(TypeError):
        DjangoSaver()  # type: ignore[call-arg]
    for nobody in (None, "", " "):
        with pytest.raises(ImproperlyConfigured, match="user_id"):
            DjangoSaver(user_id=nobody)  # type: ignore[arg-type]


def test_owner_is_read_from_the_config() -> None:
    saver = DjangoSaver(user_id=lambda config: config["configurable"]["user"])
    ask(saver, "one", user="alice")
    assert Chat.objects.get().user_id == "alice"
    assert saver.get_tuple(config(user="bob")) is None
    with pytest.raises(ImproperlyConfigured, match="for_user"):
        saver.get_tuple(config())
    with pytest.raises(ImproperlyConfigured, match="for_user"):
        saver.delete_thread("tea")
    saver.for_user("alice").delete_thread("tea")
    assert not Chat.objects.exists()


def test_threads_of_others_do_not_exist(saver: DjangoSaver) -> None:
    ask(saver, "one")
    latest, other = saver.get_tuple(config()).config, DjangoSaver(user_id="bob")
    before = [list(table.objects.order_by("pk").values()) for table in TABLES]
    assert other.get_tuple(config()) is None
    assert other.get_tuple(latest) is None
    assert list(other.list(None)) == list(other.list(config())) == []
    assert other.get_delta_channel_history(config=latest, channels=["messages"]) == {"messages": {"writes": []}}
    other.delete_thread("tea")
    other.prune(["tea"], strategy="delete")
    other.delete_for_runs([ThreadCheckpoint.objects.first().run_key])
    other.copy_thread("tea", "mine")
    for refused in (partial(ask, other, "x"), partial(other.put_writes, latest, [("a", 1)], "task")):
        with pytest.raises((OwnerMismatch, Chat.DoesNotExist)):
            refused()
    assert [list(table.objects.order_by("pk").values()) for table in TABLES] == before
    assert not Chat.objects.filter(user_id="bob").exists()


def test_deleting_the_chat_deletes_the_thread(saver: DjangoSaver) -> None:
    ask(saver, "one")
    graph(saver).invoke({"messages": [HumanMessage("kept")]}, config("kept"))
    ContextStore().delete_chat("tea")
    for table in (ThreadCheckpoint, ThreadValue, ThreadItem):
        assert set(table.objects.values_list("chat_id", flat=True)) == {"kept"}
    assert saver.get_tuple(config()) is None


def test_a_thread_in_the_trash_does_not_exist(saver: DjangoSaver) -> None:
    ask(saver, "one")
    latest = saver.get_tuple(config())
    ContextStore().trash_chat("tea")
    assert saver.get_tuple(config()) is None
    assert list(saver.list(None)) == []
    with pytest.raises(Chat.DoesNotExist):
        saver.put_writes(latest.config, [("a", 1)], "task")
    ContextStore().restore_chat("tea")
    assert saver.get_tuple(config()) == latest


def test_a_write_after_deletion_is_refused(saver: DjangoSaver) -> None:
    ask(saver, "one")
    latest = saver.get_tuple(config()).config
    ContextStore().delete_chat("tea")
    with pytest.raises(Chat.DoesNotExist):
        saver.put_writes(latest, [("messages", "late")], "task")
    for late in (latest, config(checkpoint_ns="node:1")):
        with pytest.raises(Chat.DoesNotExist):
            saver.put(late, empty_checkpoint(), {}, {})
    assert not Chat.objects.exists()
    # Another run may begin the thread anew.
    ask(saver, "again")
    assert texts() == ["again", "answer 1"]


def test_the_database_keeps_no_rows_without_a_chat() -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        ThreadValue(chat_id="gone", key="0" * 32, type="null", data=b"").save(force_insert=True)


def test_racing_writers_store_each_write_once(saver: DjangoSaver) -> None:
    ask(saver, "one")
    latest = saver.get_tuple(config()).config
    write = partial(saver.put_writes, latest, [("a", 1), ("b", 2)], "task")
    run_threads(*[write] * 4).raise_errors()
    assert [write[1:] for write in saver.get_tuple(config()).pending_writes] == [("a", 1), ("b", 2)]


def test_racing_runs_lose_no_message(saver: DjangoSaver) -> None:
    ask(saver, "one")
    run_threads(*[partial(ask, DjangoSaver(user_id="alice"), f"turn {number}") for number in range(4)]).raise_errors()
    stored = {text_of(message) for message in Chat.objects.get().messages.all()}
    assert {f"turn {number}" for number in range(4)} <= stored


def test_savers_take_turns_in_one_thread(saver: DjangoSaver) -> None:
    other = DjangoSaver(user_id="alice")
    for number in range(6):
        ask((saver, other)[number % 2], str(number))
    assert texts()[::2] == ["0", "1", "2", "3", "4", "5"]
    assert ThreadItem.objects.count() == 12
    assert len(ContextStore().list_branches("tea")) == 1


def test_threads_of_runs_share_connections(saver: DjangoSaver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connected, "IDLE_SECONDS", 60)
    opened: list[Any] = []

    def note(**options: Any) -> None:
        opened.append(options["connection"])

    connection_created.connect(note)
    try:
        for number in range(8):
            ask(saver, str(number))
    finally:
        connection_created.disconnect(note)
    # Each run has threads of its own, which take turns; the connection of this one may be new, too.
    assert len(opened) <= 2


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_uses_no_connection_of_its_parent(saver: DjangoSaver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connected, "IDLE_SECONDS", 60)
    ask(saver, "one")
    found: list[bool] = []

    def look() -> None:
        with connected.Connected("default") as using:
            found.append(connections[using].connection is not None)

    def look_in_thread() -> None:
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()

    child = os.fork()
    if not child:
        try:
            look_in_thread()
        finally:
            os._exit(found != [False])
    assert os.waitpid(child, 0)[1] == 0
    look_in_thread()
    assert found == [True]


def test_a_turn_finds_the_list_as_the_last_one_left_it(saver: DjangoSaver, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(saver, "one")
    looked: list[Any] = []

    def find(*arguments: Any) -> Any:
        looked.append(arguments)
        return find_last(*arguments)

    monkeypatch.setattr(saver_module, "find_last", find)
    # Its writes are saved beside its checkpoints, by other threads.
    ask(saver, "two")
    assert looked == []
    ask(DjangoSaver(user_id="alice"), "three")
    ask(saver, "four")
    assert len(looked) == 2
    assert texts() == ["one", "answer 1", "two", "answer 3", "three", "answer 5", "four", "answer 7"]


def test_copied_thread_goes_on_by_itself(saver: DjangoSaver) -> None:
    ask(saver, "one")
    saver.copy_thread("tea", "coffee")
    ask(saver, "two")
    graph(saver).invoke({"messages": [HumanMessage("zwei")]}, config("coffee"))
    assert texts() == ["one", "answer 1", "two", "answer 3"]
    assert texts("coffee") == ["one", "answer 1", "zwei", "answer 3"]


def test_pruned_thread_goes_on_where_it_was(saver: DjangoSaver) -> None:
    for text in ("one", "two"):
        ask(saver, text)
    saver.prune(["tea"])
    assert [table.objects.count() for table in (ThreadCheckpoint, ThreadItem)] == [1, 4]
    ask(saver, "three")
    assert texts() == ["one", "answer 1", "two", "answer 3", "three", "answer 5"]
    saver.prune(["tea"], strategy="delete")
    assert not any(table.objects.exists() for table in TABLES)
    assert len(texts()) == 6


@override_settings(CONTEXT_STORE_RETENTION={"checkpoints": 2})
def test_retention_keeps_the_newest_checkpoints(saver: DjangoSaver) -> None:
    for thread_id in ("tea", "held", "trashed"):
        for text in ("one", "two", "three"):
            ask(saver, text, thread_id=thread_id)
    kept = [found.checkpoint["id"] for found in saver.list(config())][:2]
    placed = hold(chat_id="held", reason="Case 7", who="counsel")
    ContextStore().trash_chat("trashed")
    rows = ThreadCheckpoint.objects.order_by()
    before = {thread_id: rows.filter(chat_id=thread_id).count() for thread_id in ("tea", "held", "trashed")}
    assert apply_retention(dry_run=True).counts["langgraph_threads"] == before["tea"] - 2
    assert ThreadCheckpoint.objects.count() == sum(before.values())
    assert apply_retention(seconds=30, pause=0).counts["langgraph_threads"] == before["tea"] - 2
    assert [found.checkpoint["id"] for found in saver.list(config())] == kept
    assert {thread_id: rows.filter(chat_id=thread_id).count() for thread_id in before} == {**before, "tea": 2}
    with pytest.raises(LegalHoldError):
        saver.prune(["held"])
    # A saver that saw the thread before goes on.
    ask(saver, "four")
    assert texts() == ["one", "answer 1", "two", "answer 3", "three", "answer 5", "four", "answer 7"]
    release(placed.pk, who="judge")
    assert "langgraph_threads" in apply_retention(pause=0).counts
    assert rows.filter(chat_id="held").count() == 2


def test_a_thread_is_trimmed_in_pieces(saver: DjangoSaver) -> None:
    for text in ("one", "two"):
        graph(saver).invoke({"messages": [HumanMessage(text)]}, config())
    total = ThreadCheckpoint.objects.count()
    went = [saver.trim("tea", 1, at_most=2) for _ in range(total)]
    assert (sum(went), max(went), went[-1]) == (total - 1, 2, 0)
    assert DjangoSaver(user_id="bob").trim("tea", 1) == 0
    assert [message.content for message in saver.get_tuple(config()).checkpoint["channel_values"]["messages"]] == [
        "one",
        "answer 1",
        "two",
        "answer 3",
    ]


def test_async_calls_leave_the_event_loop_free(saver: DjangoSaver) -> None:
    async def run() -> list[Any]:
        return await asyncio.gather(
            *(graph(saver).ainvoke({"messages": [HumanMessage("x")]}, config(f"{n}")) for n in range(3))
        )

    assert [len(state["messages"]) for state in async_to_sync(run)()] == [2, 2, 2]
    assert async_to_sync(saver.aget_tuple)(config("1")) == saver.get_tuple(config("1"))


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_another_database() -> None:
    ask(DjangoSaver(user_id="alice", using="other"), "one")
    assert not Chat.objects.exists()
    assert Chat.objects.using("other").get().message_count == 2


def test_statements_of_a_step_and_of_a_load(saver: DjangoSaver, django_assert_max_num_queries: Any) -> None:
    for _ in range(3):
        ask(saver, "x")
    latest = saver.get_tuple(config())
    checkpoint = {**empty_checkpoint(), "channel_values": {**latest.checkpoint["channel_values"]}}
    checkpoint["channel_values"]["messages"] = [*checkpoint["channel_values"]["messages"], HumanMessage("y", id="y")]
    versions = {"messages": saver.get_next_version(latest.checkpoint["channel_versions"]["messages"], None)}
    checkpoint["channel_versions"] = {**latest.checkpoint["channel_versions"], **versions}
    # PostgreSQL takes them as one.
    with django_assert_max_num_queries(1 if connection.vendor == "postgresql" else 9):
        saver.put(latest.config, checkpoint, {}, versions)
    with django_assert_max_num_queries(1):
        stored = saver.get_tuple(config())
    # Somebody else loads what is stored, once.
    for other, most in ((DjangoSaver(user_id="alice"), 1), (DjangoSaver(user_id="alice", cache_size=0), 3)):
        for statements in (3, most):
            with django_assert_max_num_queries(statements):
                assert other.get_tuple(config()) == stored


def test_what_needs_no_lock_takes_one_statement(saver: DjangoSaver, django_assert_num_queries: Any) -> None:
    ask(saver, "one")
    latest = saver.get_tuple(config()).config
    chat = ContextStore().get_chat("tea")
    with django_assert_num_queries(1):
        saver.put_writes(latest, [("a", 1), ("b", b"2")], "task")
    # As the one that a run begins with.
    checkpoint = {**empty_checkpoint(), "channel_values": {"__start__": {"messages": "two"}}}
    checkpoint["channel_versions"] = versions = {"__start__": saver.get_next_version(None, None)}
    with django_assert_num_queries(1):
        begun = saver.put(latest, checkpoint, {}, versions)
    assert [write[1:] for write in saver.get_tuple(latest).pending_writes] == [("a", 1), ("b", b"2")]
    for reader in (saver, DjangoSaver(user_id="alice")):
        assert reader.get_tuple(begun).checkpoint["channel_values"] == {"__start__": {"messages": "two"}}
    # Nothing of the chat has changed.
    assert ContextStore().get_chat("tea") == chat


@pytest.mark.parametrize("change", ["delete_chat", "trash_chat", "hand_over"])
def test_a_thread_that_is_gone_is_written_no_more(saver: DjangoSaver, change: str) -> None:
    ask(saver, "one")
    latest = saver.get_tuple(config()).config
    counts = [ThreadWrite.objects.count(), ThreadCheckpoint.objects.count()]
    if change == "hand_over":
        Chat.objects.update(user_id="bob")
    else:
        getattr(ContextStore(), change)("tea")
    with pytest.raises(Chat.DoesNotExist):
        saver.put_writes(latest, [("a", 1)], "task")
    with pytest.raises(Chat.DoesNotExist):
        saver.put(latest, {**empty_checkpoint(), "channel_versions": {"__start__": "1"}}, {}, {"__start__": "1"})
    left = [0, 0] if change == "delete_chat" else counts
    assert [ThreadWrite.objects.count(), ThreadCheckpoint.objects.count()] == left


def test_writes_race_with_the_deletion_of_their_thread(saver: DjangoSaver) -> None:
    for number in range(8):
        thread_id = f"tea-{number}"
        ask(saver, "one", thread_id=thread_id)
        latest = saver.get_tuple(config(thread_id)).config
        write = partial(saver.put_writes, latest, [("a", 1)], "late")
        outcomes = run_threads(write, partial(ContextStore().delete_chat, thread_id))
        assert outcomes[1].value is True
        assert outcomes[0].error is None or isinstance(outcomes[0].error, Chat.DoesNotExist)
        assert not ThreadWrite.objects.filter(chat_id=thread_id).exists()


@pytest.mark.parametrize("is_other", [False, True])
def test_a_run_that_stopped_before_a_node_goes_on(saver: DjangoSaver, is_other: bool) -> None:
    builder = StateGraph(State).add_node("node", answer).add_edge(START, "node").add_edge("node", END)
    builder.compile(saver, interrupt_before=["node"]).invoke({"messages": [HumanMessage("one")]}, config())
    stopped = builder.compile(DjangoSaver(user_id="alice") if is_other else saver)
    # Which node is next lies in a channel of LangGraph's own, that a change from outside keeps.
    stopped.update_state(config(), {"messages": [HumanMessage("two")]}, as_node="__start__")
    assert stopped.get_state(config()).next == ("node",)
    stopped.invoke(None, config())
    assert texts() == ["one", "two", "answer 2"]


def test_statements_of_a_thread_that_begins(saver: DjangoSaver, django_assert_max_num_queries: Any) -> None:
    versions = {"messages": saver.get_next_version(None, None)}
    messages = [HumanMessage(text, id=text) for text in ("a", "b", "c")]
    checkpoint = {**empty_checkpoint(), "channel_values": {"messages": messages}, "channel_versions": versions}
    put_note(saver, "of another thread", "other")
    # Transactions and savepoints included.
    with django_assert_max_num_queries(23):
        saver.put(config(), checkpoint, {}, versions)
    assert texts() == ["a", "b", "c"]
    chat = ContextStore().get_chat("tea")
    assert chat is not None
    assert (chat.message_count, chat.last_message_at) == (3, chat.updated_at)


def put_note(saver: DjangoSaver, note: str, thread_id: str = "tea") -> None:
    """Store a checkpoint whose ids and versions are always the same."""
    checkpoint = {**empty_checkpoint(), "id": "1", "channel_values": {"note": note}, "channel_versions": {"note": 1}}
    saver.put(config(thread_id), checkpoint, {}, {"note": 1})


def note_in(saver: DjangoSaver, thread_id: str = "tea") -> Any:
    return saver.get_tuple(config(thread_id)).checkpoint["channel_values"]["note"]


def test_what_others_write_is_loaded(saver: DjangoSaver) -> None:
    other = DjangoSaver(user_id="alice")
    for number in range(4):
        ask((saver, other)[number % 2], str(number))
        for reader in (saver, other):
            stored = reader.get_tuple(config()).checkpoint["channel_values"]["messages"]
            assert [message.text for message in stored] == texts()
            # Whoever changes what was loaded changes nothing of what is loaded next.
            stored.clear()


def test_a_thread_begun_anew_has_nothing_of_the_old_one(saver: DjangoSaver) -> None:
    put_note(saver, "old")
    assert note_in(saver) == "old"
    ContextStore().delete_chat("tea")
    put_note(DjangoSaver(user_id="alice"), "new")
    assert note_in(saver) == "new"


def test_what_is_undone_is_not_remembered(saver: DjangoSaver) -> None:
    with transaction.atomic():
        put_note(saver, "undone")
        assert note_in(saver) == "undone"
        transaction.set_rollback(True)
    put_note(DjangoSaver(user_id="alice"), "stored")
    assert note_in(saver) == "stored"


def test_memory_of_values_is_bounded(django_assert_num_queries: Any) -> None:
    saver = DjangoSaver(user_id="alice", cache_size=3_000)
    for thread_id, size in (("a", 1_000), ("b", 1_000), ("c", 1_500), ("d", 4_000)):
        put_note(saver, "x" * size, thread_id)
    for thread_id, statements in (("b", 1), ("c", 1), ("a", 2), ("d", 2)):
        with django_assert_num_queries(statements):
            note_in(saver, thread_id)


class DeltaState(TypedDict):
    messages: Annotated[list[AnyMessage], DeltaChannel(_messages_delta_reducer, snapshot_frequency=5)]


def delta_graph(saver: DjangoSaver) -> Any:
    builder = StateGraph(DeltaState).add_node("node", lambda state: answer(state))
    return builder.add_edge(START, "node").add_edge("node", END).compile(saver)


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_messages_of_a_delta_channel_are_messages_of_the_chat(saver: DjangoSaver, durability: Any) -> None:
    for text in ("one", "two", "three", "four"):
        state = delta_graph(saver).invoke({"messages": [HumanMessage(text)]}, config(), durability=durability)
    records = ContextStore(user_id="alice").get_messages("tea")
    assert [record.id for record in records] == [message.id for message in state["messages"]]
    assert texts() == ["one", "answer 1", "two", "answer 3", "three", "answer 5", "four", "answer 7"]
    assert len(ContextStore().list_branches("tea")) == 1


def test_what_is_kept_of_a_delta_channel_is_whole(saver: DjangoSaver) -> None:
    for text in ("one", "two", "three", "four"):
        delta_graph(saver).invoke({"messages": [HumanMessage(text)]}, config())
    newest = [found.config for found in saver.list(config(), limit=3)]
    before = [delta_graph(saver).get_state(place).values["messages"] for place in newest]
    total = ThreadCheckpoint.objects.count()
    while saver.trim("tea", 3, at_most=1):
        pass
    assert 3 < ThreadCheckpoint.objects.count() < total
    assert [delta_graph(saver).get_state(place).values["messages"] for place in newest] == before


def test_a_fork_of_a_thread_with_a_delta_channel_is_a_branch(saver: DjangoSaver) -> None:
    def ask_delta(text: str, place: Any) -> None:
        delta_graph(saver).invoke({"messages": [HumanMessage(text)]}, place)

    ask_delta("one", config())
    first = saver.get_tuple(config()).config
    ask_delta("two", config())
    ask_delta("other", first)
    # The chat's owner looks at another branch; the thread goes on where it is.
    store = ContextStore()
    store.set_active_branch("tea", store.get_branch("tea", "main").id)
    ask_delta("again", config())
    assert texts() == ["one", "answer 1", "other", "answer 3", "again", "answer 5"]
    assert texts(branch="main") == ["one", "answer 1", "two", "answer 3"]
    assert len(store.list_branches("tea")) == 2


def test_a_fork_of_the_beginning_of_a_thread_with_a_delta_channel_begins_anew(saver: DjangoSaver) -> None:
    graph = delta_graph(saver)
    graph.invoke({"messages": [HumanMessage("one")]}, config())
    beginning = list(graph.get_state_history(config()))[-1].config
    graph.invoke({"messages": [HumanMessage("other")]}, beginning)
    assert texts() == ["other", "answer 1"]
    assert texts(branch="main") == ["one", "answer 1"]


def test_a_copy_of_a_checkpoint_with_a_delta_channel_goes_on_where_that_is(saver: DjangoSaver) -> None:
    graph = delta_graph(saver)
    graph.invoke({"messages": [HumanMessage("one")]}, config())
    first = saver.get_tuple(config()).config
    graph.invoke({"messages": [HumanMessage("two")]}, config())
    graph.update_state(first, None, as_node="__copy__")
    graph.invoke({"messages": [HumanMessage("other")]}, config())
    assert texts() == ["one", "answer 1", "other", "answer 3"]
    assert texts(branch="main") == ["one", "answer 1", "two", "answer 3"]


def test_a_changed_message_of_a_delta_channel_is_a_branch(saver: DjangoSaver) -> None:
    graph = delta_graph(saver)
    state = graph.invoke({"messages": [HumanMessage("one")]}, config())
    changed = HumanMessage("uno", id=state["messages"][0].id)
    graph.update_state(config(), {"messages": [changed, RemoveMessage(state["messages"][1].id)]})
    graph.invoke({"messages": [HumanMessage("two")]}, config())
    assert texts()[0] == "uno"
    assert texts()[-2:] == ["two", "answer 2"]
    assert texts(branch="main") == ["one", "answer 1"]


@pytest.mark.parametrize("text", ["Green.", "Black."])
def test_a_message_of_a_delta_channel_that_another_branch_has_as_well_is_said_on_this_one(
    saver: DjangoSaver, text: str
) -> None:
    def fixed(state: Any) -> Any:
        return {"messages": [AIMessage(text if len(state["messages"]) > 1 else "Green.", id="a")]}

    delta = StateGraph(DeltaState).add_node("node", fixed).add_edge(START, "node").add_edge("node", END).compile(saver)
    delta.invoke({"messages": [HumanMessage("one", id="q")]}, config())
    before = list(delta.get_state_history(config()))[1].config
    fork = delta.update_state(before, {"messages": [HumanMessage("two", id="r")]}, as_node=START)
    delta.invoke(None, fork)
    assert texts() == ["one", "two", text]
    # What the state has is not said again.
    delta.update_state(
        config(), {"messages": [HumanMessage("one", id="q"), HumanMessage("three", id="t")]}, as_node="node"
    )
    assert texts() == ["one", "two", text, "three"]
    assert texts(branch="main") == ["one", "Green."]


class Planted:
    called: ClassVar[list[str]] = []

    def __init__(self, text: str) -> None:
        self.called.append(text)


@pytest.mark.parametrize("table", TABLES)
def test_with_a_list_of_types_a_planted_row_calls_nothing(table: Any) -> None:
    saver = DjangoSaver(user_id="alice", serde=JsonPlusSerializer(allowed_msgpack_modules=None))
    ask(saver, "hello")
    saver.put_writes(saver.get_tuple(config()).config, [("other", "w")], "task")  # type: ignore[union-attr]
    # Of code 0: a module, what of it is called, and the one argument.
    named = ormsgpack.packb((__name__, "Planted", "called"))
    planted = ormsgpack.packb({"channel_versions": {}, "step": 1, "x": ormsgpack.Ext(0, named)})
    columns = {"metadata": planted} if table is ThreadCheckpoint else {"type": "msgpack", "data": planted}
    assert table.objects.update(**columns)
    reader = DjangoSaver(user_id="alice", serde=JsonPlusSerializer(allowed_msgpack_modules=None))
    assert reader.get_tuple(config()) is not None
    assert list(reader.list(config()))
    assert Planted.called == []
