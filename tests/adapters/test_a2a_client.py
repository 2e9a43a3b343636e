"""Conversations with a real agent over HTTP."""

import logging
from collections.abc import Coroutine, Iterator
from contextlib import aclosing
from functools import partial
from typing import Any

import httpx
import pytest
from a2a.client import ClientConfig, create_client
from a2a.helpers import get_stream_response_text, new_text_message
from a2a.types import CancelTaskRequest, Role, SendMessageRequest
from a2a.utils.errors import A2AError
from asgiref.sync import async_to_sync

from context_store.adapters.a2a import RemoteAgent, RemoteContext
from context_store.contexts.cache import CacheContexts
from context_store.contexts.database import DatabaseContexts
from tests.adapters.agents import Agent, running_agent
from tests.races import run_processes

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url")]
BACKENDS = {"redis": (CacheContexts, {"CACHE": "redis"}), "database": (DatabaseContexts, {})}


def store(name: str = "redis", **options: Any) -> Any:
    backend, defaults = BACKENDS[name]
    return backend("a2a", {**defaults, **options})


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    async def wait() -> Any:
        return await coroutine

    return async_to_sync(wait)()


@pytest.fixture
def agent() -> Iterator[Agent]:
    with running_agent() as served:
        yield served


def config(user: str = "alice", *, streaming: bool = True) -> ClientConfig:
    return ClientConfig(streaming=streaming, httpx_client=httpx.AsyncClient(headers={"X-User": user}, timeout=200))


async def say(
    url: str, *texts: str, scope: str | None = "user:alice", backend: str = "redis", streaming: bool = True
) -> tuple[list[str], RemoteContext]:
    """Connect as a new process would, say something, and return the answers and what is remembered."""
    contexts = store(backend)
    options = {"scope": scope, "contexts": contexts, "client_config": config(streaming=streaming)}
    async with await RemoteAgent.connect(url, **options) as remote:
        answers = [get_stream_response_text(await remote.send(text)) for text in texts]
        return answers, remote.remembered


def talk(*arguments: Any, **options: Any) -> tuple[list[str], RemoteContext]:
    return run(say(*arguments, **options))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("streaming", [True, False])
def test_conversation_goes_on_in_another_process(agent: Agent, backend: str, streaming: bool) -> None:
    call = partial(talk, agent.url, "ask me", backend=backend, streaming=streaming)
    [(first, remembered)] = run_processes(call).raise_errors().values
    [(second, again)] = run_processes(call).raise_errors().values
    assert (first, second) == (["ask me"], ["ask me / ask me"])
    assert again == remembered
    assert not remembered.is_finished
    assert agent.sent == [("", "", []), (remembered.context_id, remembered.task_id, [])]


def test_finished_task_takes_no_more_messages_but_its_context_does(agent: Agent) -> None:
    _, first = talk(agent.url, "do this")
    assert first.is_finished
    answers, second = talk(agent.url, "and that")
    assert answers == ["do this / and that"]
    assert second.context_id == first.context_id
    assert second.task_id != first.task_id
    assert agent.sent[1] == (first.context_id, "", [first.task_id])


def test_two_scopes_never_share_a_context(agent: Agent) -> None:
    talk(agent.url, "ask alice")
    answers, _ = talk(agent.url, "ask bob", scope="user:bob")
    assert answers == ["ask bob"]
    assert talk(agent.url, "ask nobody", scope=None)[0] == ["ask nobody"]
    assert talk(agent.url, "ask again")[0] == ["ask alice / ask again"]
    # No name of a scope or an agent reaches another's.
    with_colon = RemoteAgent(None, "b:c", scope="a", contexts=store())  # type: ignore[arg-type]
    other = RemoteAgent(None, "c", scope="a:b", contexts=store())  # type: ignore[arg-type]
    run(with_colon._remember(RemoteContext("mine")))
    run(other.restore())
    assert other.context_id is None


def test_two_agents_of_one_scope_never_share_a_context(agent: Agent) -> None:
    talk(agent.url, "ask one")
    with running_agent() as another:
        assert talk(another.url, "ask two")[0] == ["ask two"]


def test_streamed_events_are_remembered_as_they_come(agent: Agent) -> None:
    async def stream() -> tuple[list[str], RemoteContext | None]:
        remote = await RemoteAgent.connect(agent.url, scope="s", contexts=store(), client_config=config())
        kinds = []
        async with remote, aclosing(remote.send_message("ask me")) as events:
            async for event in events:
                kinds.append(event.WhichOneof("payload"))
                if len(kinds) == 1:
                    # Whoever dies here goes on with the task.
                    after_first = await RemoteAgent.connect(agent.url, scope="s", contexts=store())
                    await after_first.close()
        return kinds, after_first.remembered

    kinds, remembered = run(stream())
    assert kinds[0] == "task"
    assert {"status_update", "artifact_update"} <= set(kinds)
    assert remembered.context_id
    assert remembered.task_id
    answers, _ = talk(agent.url, "ask on", scope="s")
    assert answers == ["ask me / ask on"]
    assert agent.sent[1][:2] == (remembered.context_id, remembered.task_id)


def test_reset_forgets(agent: Agent) -> None:
    async def reset() -> None:
        async with await RemoteAgent.connect(agent.url, scope="user:alice", contexts=store()) as remote:
            await remote.send("ask me")
            await remote.reset()
            assert (remote.context_id, remote.task_id) == (None, None)
            assert get_stream_response_text(await remote.send("ask anew")) == "ask anew"
            await remote.reset()

    run(reset())
    assert talk(agent.url, "ask later")[0] == ["ask later"]
    assert [sent[0] for sent in agent.sent] == ["", "", ""]


@pytest.mark.parametrize("streaming", [True, False])
def test_agent_that_names_no_context(streaming: bool) -> None:
    with running_agent(names_context=False, streaming=streaming) as agent:
        answers, remembered = talk(agent.url, "chat one", "chat two")
        assert answers == ["chat one", "chat two"]
        assert remembered == RemoteContext()
        assert talk(agent.url, "chat three")[0] == ["chat three"]
        assert agent.sent == [("", "", [])] * 3


def test_message_without_a_task_is_remembered_by_its_context(agent: Agent) -> None:
    _, remembered = talk(agent.url, "chat one")
    assert (remembered.task_id, bool(remembered.context_id)) == (None, True)
    assert talk(agent.url, "chat two")[0] == ["chat one / chat two"]


def test_ids_of_the_callers_own_are_left_alone(agent: Agent) -> None:
    async def send() -> None:
        async with await RemoteAgent.connect(agent.url, contexts=store(), client_config=config()) as remote:
            await remote.send("ask me")
            elsewhere = new_text_message("ask elsewhere", role=Role.ROLE_USER, context_id="mine")
            request = SendMessageRequest(message=elsewhere)
            await remote.send(request)
            assert remote.context_id == "mine"
            # What was given is not written to.
            assert request.message.task_id == ""

    run(send())
    assert agent.sent[1][:2] == ("mine", "")


def test_agent_that_has_lost_the_task_is_asked_without_it(caplog: Any) -> None:
    with running_agent() as agent:
        _, remembered = talk(agent.url, "ask me")
        port = int(agent.url.rpartition(":")[2])
    with running_agent(port=port) as restarted, caplog.at_level(logging.WARNING, "context_store.a2a"):
        answers, again = talk(restarted.url, "ask again")
        assert answers == ["ask again"]
        assert again.context_id == remembered.context_id
        assert again.task_id != remembered.task_id
        assert "does not go on with task" in caplog.text


def test_errors_of_the_agent_come_through(agent: Agent) -> None:
    async def send() -> None:
        async with await RemoteAgent.connect(agent.url, contexts=store(), client_config=config()) as remote:
            message = new_text_message("ask", role=Role.ROLE_USER, task_id="no such task")
            with pytest.raises(A2AError):
                await remote.send(message)

    run(send())


def test_cancelled_task_is_remembered_as_finished(agent: Agent) -> None:
    async def cancel() -> None:
        async with await RemoteAgent.connect(agent.url, contexts=store(), client_config=config()) as remote:
            await remote.send("ask me")
            await remote.cancel_task(CancelTaskRequest(id=remote.task_id))
            assert remote.task_id is None
            assert get_stream_response_text(await remote.send("ask on")) == "ask me / ask on"

    run(cancel())


class Broken:
    """Contexts whose server is gone."""

    def scoped(self, name: str) -> Any:
        return self

    def bound(self, key: str) -> Any:
        return self

    async def aget(self) -> Any:
        raise ConnectionError("no server")

    async def aset(self, value: Any, ttl: Any) -> None:
        raise ConnectionError("no server")

    async def adelete(self) -> None:
        raise ConnectionError("no server")


def test_lost_persistence_breaks_no_conversation(agent: Agent, caplog: Any) -> None:
    async def converse() -> list[str]:
        contexts: Any = Broken()
        async with await RemoteAgent.connect(agent.url, contexts=contexts, client_config=config()) as remote:
            answers = [get_stream_response_text(await remote.send(text)) for text in ("ask one", "ask two")]
            await remote.reset()
            return [*answers, get_stream_response_text(await remote.send("ask three"))]

    with caplog.at_level(logging.WARNING, "context_store.a2a"):
        assert run(converse()) == ["ask one", "ask one / ask two", "ask three"]
    for what in ("restore", "remember", "forget"):
        assert f"Cannot {what} the context of agent" in caplog.text


@pytest.mark.parametrize("planted", [5, "text", [1], {"context_id": 5}, {"other": 1}])
def test_planted_values_are_not_taken(agent: Agent, caplog: Any, planted: Any) -> None:
    contexts = store()
    contexts.scoped("a2a").set(f"{agent.url}/", planted)
    assert talk(agent.url, "ask me", scope=None)[0] == ["ask me"]
    assert "Cannot restore" in caplog.text


def test_the_whole_client_is_there(agent: Agent) -> None:
    async def look() -> None:
        client = await create_client(agent.url, client_config=config())
        async with RemoteAgent(client, "it", contexts=store()) as remote:
            assert remote.get_extended_agent_card == client.get_extended_agent_card
            assert not hasattr(remote, "nonsense")
            assert repr(remote) == "<RemoteAgent 'it' for None>"

    run(look())


@pytest.mark.parametrize("name", ["x" * 500, "a\nb", "", "\ud800", "sha256:" + "0" * 64])
def test_any_scope_and_identity_is_kept(name: str) -> None:
    client: Any = None
    for options in ({"identity": name}, {"identity": "agent", "scope": name}):
        run(RemoteAgent(client, contexts=store(), **options)._remember(RemoteContext("c", "t")))
        again = RemoteAgent(client, contexts=store(), **options)
        run(again.restore())
        assert again.remembered == RemoteContext("c", "t")
