"""Real A2A agents on loopback: the SDK's server over HTTP, in a thread of its own."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from a2a.auth.user import User
from a2a.helpers import get_message_text, new_task_from_user_message, new_text_artifact, new_text_message
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.context import ServerCallContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.routes.common import DefaultServerCallContextBuilder
from a2a.server.tasks import InMemoryTaskStore, TaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill, Part, TaskState
from starlette.applications import Starlette


class Remembering(AgentExecutor):
    """
    An agent that says what it has been told so far in the context.

    "ask …" leaves its task open, "chat …" answers with a message and no task, everything else finishes a task.
    """

    def __init__(self, *, names_context: bool = True) -> None:
        self.names_context = names_context
        self.heard: dict[str, list[str]] = {}
        # Context, task and referenced tasks as the client sent them, message by message.
        self.sent: list[tuple[str, str, list[str]]] = []

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        text = get_message_text(context.message)
        heard = self.heard.setdefault(context.context_id, [])
        heard.append(text)
        answer = " / ".join(heard)
        if text.startswith("chat"):
            message = new_text_message(answer, context_id=context.context_id if self.names_context else None)
            await event_queue.enqueue_event(message)
            return
        if context.current_task is None:
            await event_queue.enqueue_event(new_task_from_user_message(context.message))
        updater = TaskUpdater(event_queue, context.task_id, context.context_id)
        await updater.start_work()
        await updater.add_artifact([Part(text=answer)], artifact_id="answer")
        message = new_text_message(answer, context_id=context.context_id, task_id=context.task_id)
        state = TaskState.TASK_STATE_INPUT_REQUIRED if text.startswith("ask") else TaskState.TASK_STATE_COMPLETED
        await updater.update_status(state, message)

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


class Recording(DefaultRequestHandler):
    """Note what clients really send, before the server fills in what they left out."""

    def _note(self, params: Any) -> None:
        sent = params.message
        self.agent_executor.sent.append((sent.context_id, sent.task_id, list(sent.reference_task_ids)))

    async def on_message_send(self, params: Any, context: Any) -> Any:
        self._note(params)
        return await super().on_message_send(params, context)

    async def on_message_send_stream(self, params: Any, context: Any) -> Any:
        self._note(params)
        async for event in super().on_message_send_stream(params, context):
            yield event


class Named(User):
    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def is_authenticated(self) -> bool:
        return bool(self.name)

    @property
    def user_name(self) -> str:
        return self.name


class ByHeader(DefaultServerCallContextBuilder):
    """The caller is whom the header X-User names."""

    def build_user(self, request: Any) -> User:
        return Named(request.headers.get("X-User", ""))


def call_of(user: str) -> ServerCallContext:
    return ServerCallContext(user=Named(user))


class Agent:
    """A running agent."""

    def __init__(self, url: str, executor: Remembering) -> None:
        self.url = url
        self.executor = executor

    @property
    def sent(self) -> list[tuple[str, str, list[str]]]:
        return self.executor.sent


@contextmanager
def running_agent(
    store: TaskStore | None = None, *, port: int = 0, streaming: bool = True, names_context: bool = True
) -> Iterator[Agent]:
    """Serve an agent until the block ends."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        executor = Remembering(names_context=names_context)
        server = uvicorn.Server(
            uvicorn.Config(application(url, executor, store, streaming=streaming), log_level="error", lifespan="off")
        )
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
        thread.start()
        deadline = time.monotonic() + 200
        while not server.started and thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.started
        try:
            yield Agent(url, executor)
        finally:
            server.should_exit = True
            thread.join(20)


def application(url: str, executor: Remembering, store: TaskStore | None, *, streaming: bool) -> Starlette:
    card = AgentCard(
        name="Remembering",
        description="Says what it was told.",
        version="1",
        supported_interfaces=[AgentInterface(url=f"{url}/", protocol_binding="JSONRPC", protocol_version="1.0")],
        capabilities=AgentCapabilities(streaming=streaming),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="say", name="Say", description="Says what it was told.", tags=["test"])],
    )
    handler = Recording(executor, store or InMemoryTaskStore(), card)
    routes = [*create_agent_card_routes(card), *create_jsonrpc_routes(handler, "/", context_builder=ByHeader())]
    return Starlette(routes=routes)


def artifact(text: str) -> Any:
    return new_text_artifact("answer", text)
