"""Sessions of the Claude Agent SDK, against the contract that the SDK ships and beside other users."""

from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

import pytest
from claude_agent_sdk import get_session_messages_from_store, list_sessions_from_store
from claude_agent_sdk.testing import run_session_store_conformance

from context_store import ContextStore
from context_store.adapters.claude_agent import DjangoSessionStore
from context_store.exceptions import InvalidData
from context_store.messages import text_of
from tests.adapters.running import run
from tests.races import run_threads

pytestmark = pytest.mark.django_db(transaction=True)
CONTRACTS = 14
KEY: Any = {"project_key": "-srv-app", "session_id": "11111111-1111-4111-8111-111111111111"}


def entry(uuid: str, text: str, kind: str = "user", **more: Any) -> Any:
    content: Any = text if kind == "user" else [{"type": "text", "text": text}]
    return {
        "type": kind,
        "uuid": uuid,
        "timestamp": "2026-11-20T09:00:00.000Z",
        "message": {"role": kind, "content": content},
        **more,
    }


TURN = [entry("u1", "Is there sencha?"), entry("a1", "Yes, from Uji.", "assistant", parentUuid="u1")]


@pytest.fixture
def store() -> DjangoSessionStore:
    return DjangoSessionStore(user_id="alice")


def test_contract_of_the_sdk(record_property: Callable[[str, object], None]) -> None:
    users = count()
    run(run_session_store_conformance(lambda: DjangoSessionStore(user_id=f"user-{next(users)}")))
    # It makes a store to see what that can do, and one for each contract.
    contracts = next(users) - 1
    record_property("contracts of claude-agent-sdk", f"{contracts} of {CONTRACTS} hold")
    assert contracts == CONTRACTS


def test_an_entry_that_was_edited_elsewhere_is_one(store: DjangoSessionStore) -> None:
    run(store.append(KEY, TURN[:1]))
    ContextStore(user_id="alice").edit_message(KEY["session_id"], "u1", "Is there matcha?")
    loaded: Any = run(store.load(KEY))
    assert [(entry["type"], "Is there matcha?" in str(entry["message"])) for entry in loaded] == [("user", True)]


def test_an_entry_that_was_changed_where_it_lies_keeps_its_place(store: DjangoSessionStore) -> None:
    for key in (KEY, {**KEY, "subpath": "subagents/agent-1"}):
        run(store.append(key, TURN))
        changed = run(store.load(key))[0]["uuid"] + ("@subagents/agent-1" if "subpath" in key else "")
        message = {"id": changed, "chat_id": KEY["session_id"], "name": "user", "type": "claude_agent"}
        ContextStore(user_id="alice").add_messages([{**message, "data": "Is there matcha?"}])
        question, answer = run(store.load(key))
        assert (question["message"]["content"], question["uuid"]) == ("Is there matcha?", "u1")
        assert answer["parentUuid"] == "u1"


def test_session_is_a_chat_of_its_owner(store: DjangoSessionStore) -> None:
    run(store.append(KEY, TURN))
    chats = ContextStore(user_id="alice")
    assert [chat.id for chat in chats.list_chats()] == [KEY["session_id"]]
    messages = chats.get_messages(KEY["session_id"])
    assert [(message.id, message.name, text_of(message)) for message in messages] == [
        ("u1", "user", "Is there sencha?"),
        ("a1", "assistant", "Yes, from Uji."),
    ]
    assert [message.data for message in messages] == TURN
    assert len(chats.search_chats("uji")) == 1


def test_repeated_append_is_idempotent(store: DjangoSessionStore) -> None:
    run(store.append(KEY, TURN))
    run(store.append(KEY, [*TURN, entry("u2", "And matcha?")]))
    run(store.append(KEY, [{"type": "tag", "tag": "tea"}]))
    run(store.append(KEY, [{"type": "tag", "tag": "tea"}]))
    assert [item.get("uuid") for item in run(store.load(KEY))] == ["u1", "a1", "u2", None, None]


def test_uuid_may_be_in_a_subagents_transcript_too(store: DjangoSessionStore) -> None:
    sub = {**KEY, "subpath": "subagents/agent-1"}
    run(store.append(KEY, TURN))
    run(store.append(sub, TURN))
    run(store.append(sub, TURN))
    assert run(store.load(KEY)) == run(store.load(sub)) == TURN
    run(store.delete(sub))
    assert ContextStore(user_id="alice").get_chat(KEY["session_id"]).message_count == 2
    run(store.append(sub, TURN))
    assert run(store.load(sub)) == TURN


def test_others_see_nothing_and_keep_their_own(store: DjangoSessionStore) -> None:
    bob = DjangoSessionStore(user_id="bob")
    run(store.append(KEY, TURN))
    assert run(bob.load(KEY)) is None
    assert run(bob.list_sessions(KEY["project_key"])) == run(bob.list_session_summaries(KEY["project_key"])) == []
    run(bob.delete(KEY))
    run(bob.append(KEY, [entry("b1", "Mine")]))
    assert run(store.load(KEY)) == TURN
    assert run(bob.load(KEY)) == [entry("b1", "Mine")]


def test_user_is_found_in_the_key() -> None:
    tenants = DjangoSessionStore(user_id=lambda key: key["project_key"].partition("/")[0])
    run(tenants.append({"project_key": "alice/app", "session_id": "s"}, TURN))
    assert len(run(tenants.list_sessions("alice/app"))) == 1
    assert [chat.user_id for chat in ContextStore().list_chats()] == ["alice"]
    with pytest.raises(InvalidData):
        run(DjangoSessionStore(user_id=lambda key: None).load(KEY))  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("user_id", [None, ""])
def test_refuses_to_start_without_a_user(user_id: Any) -> None:
    with pytest.raises(InvalidData):
        DjangoSessionStore(user_id=user_id)
    with pytest.raises(TypeError):
        DjangoSessionStore()  # type: ignore[call-arg]


def test_racing_appends_to_a_new_session_are_all_kept(store: DjangoSessionStore) -> None:
    def append(number: int) -> None:
        run(store.append(KEY, [entry("same", "Once"), entry(f"own-{number}", "Each")]))

    run_threads(*(partial(append, number) for number in range(4))).raise_errors()
    loaded = [item["uuid"] for item in run(store.load(KEY))]
    assert sorted(loaded) == ["own-0", "own-1", "own-2", "own-3", "same"]
    assert len(ContextStore(user_id="alice").list_chats()) == 1


def test_deleted_chat_takes_the_session_along(store: DjangoSessionStore) -> None:
    run(store.append(KEY, TURN))
    assert ContextStore(user_id="alice").delete_chat(KEY["session_id"])
    assert run(store.load(KEY)) is None
    assert run(store.list_sessions(KEY["project_key"])) == []


def test_helpers_of_the_sdk_read_the_store(store: DjangoSessionStore, tmp_path: Any) -> None:
    from claude_agent_sdk import project_key_for_directory

    key = {**KEY, "project_key": project_key_for_directory(tmp_path)}
    uuids = [f"{number}" * 8 + "-1111-4111-8111-" + "1" * 12 for number in (2, 3)]
    turn = [
        entry(uuids[0], "Is there sencha?", parentUuid=None, sessionId=KEY["session_id"]),
        entry(uuids[1], "Yes.", "assistant", parentUuid=uuids[0], sessionId=KEY["session_id"]),
    ]
    run(store.append(key, turn))
    [session] = run(list_sessions_from_store(store, directory=str(tmp_path)))
    assert session.first_prompt == "Is there sencha?"
    found = run(get_session_messages_from_store(store, KEY["session_id"], directory=str(tmp_path)))
    assert [message.uuid for message in found] == uuids


def test_helpers_of_the_sdk_read_what_others_add(store: DjangoSessionStore, tmp_path: Any) -> None:
    from claude_agent_sdk import project_key_for_directory

    key = {**KEY, "project_key": project_key_for_directory(tmp_path)}
    uuids = [f"{number}" * 8 + "-1111-4111-8111-" + "1" * 12 for number in (2, 3, 4)]

    def read() -> list[Any]:
        found = run(get_session_messages_from_store(store, KEY["session_id"], directory=str(tmp_path)))
        contents = [message.message["content"] for message in found]
        return [content if isinstance(content, str) else content[0]["text"] for content in contents]

    run(store.append(key, [entry(uuids[0], "Sencha?", parentUuid=None, sessionId=KEY["session_id"])]))
    run(store.append(key, [entry(uuids[1], "Yes.", "assistant", parentUuid=uuids[0], sessionId=KEY["session_id"])]))
    ContextStore(user_id="alice").append_messages(KEY["session_id"], [{"name": "user", "data": "And matcha?"}])
    assert read() == ["Sencha?", "Yes.", "And matcha?"]
    last = run(store.load(key))[-1]["uuid"]
    run(store.append(key, [entry(uuids[2], "No.", "assistant", parentUuid=last, sessionId=KEY["session_id"])]))
    assert read() == ["Sencha?", "Yes.", "And matcha?", "No."]


def test_load_takes_few_statements(store: DjangoSessionStore, django_assert_max_num_queries: Any) -> None:
    run(store.append(KEY, TURN))
    with django_assert_max_num_queries(4):
        run(store.load(KEY))
