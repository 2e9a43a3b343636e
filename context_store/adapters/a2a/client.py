"""Conversations with remote agents that go on where they were, also in another process."""

import logging
from collections.abc import AsyncIterator
from typing import Any, NamedTuple, Self

from a2a.client import Client, create_client
from a2a.helpers import new_text_message
from a2a.types import AgentCard, Message, Role, SendMessageRequest, StreamResponse, Task, TaskState
from a2a.utils.errors import InvalidParamsError, TaskNotFoundError, UnsupportedOperationError

from context_store.adapters.base import stored_name
from context_store.contexts import BaseContexts, BoundContext, contexts

logger = logging.getLogger("context_store.a2a")

SCOPE = "a2a"
LONGEST_IDENTITY = 100
FINISHED = {
    TaskState.TASK_STATE_COMPLETED,
    TaskState.TASK_STATE_CANCELED,
    TaskState.TASK_STATE_FAILED,
    TaskState.TASK_STATE_REJECTED,
}
# What an agent answers that does not know a task any more, or has finished it.
STALE = (TaskNotFoundError, UnsupportedOperationError, InvalidParamsError)


class RemoteContext(NamedTuple):
    """What is remembered of one agent. A task that ``is_finished`` takes no more messages, its context does."""

    context_id: str | None = None
    task_id: str | None = None
    is_finished: bool = False


class RemoteAgent:
    """
    A client of one remote agent, which remembers ``{context_id, task_id}`` for a scope (a user, a tenant, a run).

    It wraps a client of the SDK, has all that the client has, and puts what it remembers into every message. Where it
    remembers is ``contexts["default"]``, or the ``contexts`` given. If that fails the conversation goes on, with a line
    in the log. Times to live are in seconds; ``None`` is for ever.
    """

    def __init__(
        self,
        client: Client,
        identity: str,
        *,
        scope: str | None = None,
        contexts: BaseContexts | None = None,
        ttl: float | None = None,
    ) -> None:
        self.client = client
        self.identity = identity
        self.scope = scope
        self.remembered = RemoteContext()
        self._ttl = ttl
        self._bound = _bound(contexts, scope, identity)
        self._saved: RemoteContext | None = None

    @classmethod
    async def connect(
        cls,
        agent: str | AgentCard,
        *,
        scope: str | None = None,
        identity: str | None = None,
        contexts: BaseContexts | None = None,
        ttl: float | None = None,
        **options: Any,
    ) -> Self:
        """
        Return the agent at a URL, or of a card, with what is remembered of it.

        ``identity`` tells agents apart; by default it is the address of the agent's first interface. Other options are
        those of the SDK's ``create_client``.
        """
        client = await create_client(agent, **options)
        connected = cls(client, identity or _address(client, agent), scope=scope, contexts=contexts, ttl=ttl)
        await connected.restore()
        return connected

    @property
    def context_id(self) -> str | None:
        """The context that the next message goes on with."""
        return self.remembered.context_id

    @property
    def task_id(self) -> str | None:
        """The task that the next message goes on with; ``None`` if there is none, or the last one is finished."""
        return None if self.remembered.is_finished else self.remembered.task_id

    def __repr__(self) -> str:
        return f"<RemoteAgent {self.identity!r} for {self.scope!r}>"

    def __getattr__(self, name: str) -> Any:
        """Return what the client has and this has not."""
        if name == "client":  # Not made yet.
            raise AttributeError(name)
        return getattr(self.client, name)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the client; what is remembered stays."""
        await self.client.close()

    # Talking

    async def send(self, message: str | Message | SendMessageRequest, **options: Any) -> StreamResponse:
        """Send a message and return the last of what the agent answers: a message, or its task as it is then."""
        last = None
        async for event in self.send_message(message, **options):
            last = event
        if last is None:
            raise ValueError(f"Agent {self.identity!r} has answered nothing.")
        return last

    async def send_message(
        self, message: str | Message | SendMessageRequest, **options: Any
    ) -> AsyncIterator[StreamResponse]:
        """
        Send a message and give each event of the answer.

        Ids that the message has are left as they are. Should the agent not know the remembered task any more, the
        message is sent again without it.
        """
        request, goes_on = self._request(message)
        try:
            async for event in self._events(request, options):
                goes_on = False
                yield event
        except STALE as error:
            # Only before the first event, and only for a task that was put in here.
            if not goes_on:
                raise
            logger.warning("Agent %r does not go on with task %r: %s", self.identity, request.message.task_id, error)
            request.message.task_id = ""
            await self._remember(self.remembered._replace(task_id=None, is_finished=False))
            async for event in self._events(request, options):
                yield event

    async def subscribe(self, *args: Any, **options: Any) -> AsyncIterator[StreamResponse]:
        """Give the events of a running task, as the client does, and remember what they say."""
        async for event in self.client.subscribe(*args, **options):
            await self._notice(event)
            yield event

    async def get_task(self, *args: Any, **options: Any) -> Task:
        """Return a task, as the client does, and remember whether it is finished."""
        task = await self.client.get_task(*args, **options)
        await self._notice_task(task)
        return task

    async def cancel_task(self, *args: Any, **options: Any) -> Task:
        """Cancel a task, as the client does, and remember that it is finished."""
        task = await self.client.cancel_task(*args, **options)
        await self._notice_task(task)
        return task

    # Remembering

    async def restore(self) -> None:
        """Take up what is remembered, or begin anew where nothing is."""
        self.remembered = RemoteContext()
        try:
            stored = await self._bound.aget()
            if stored is not None:
                self.remembered = self._saved = _remote_context(stored)
        except Exception as error:
            self._degrade("restore", error)

    async def reset(self) -> None:
        """Forget: the next message begins another conversation."""
        self.remembered, self._saved = RemoteContext(), None
        try:
            await self._bound.adelete()
        except Exception as error:
            self._degrade("forget", error)

    def _request(self, message: str | Message | SendMessageRequest) -> tuple[SendMessageRequest, bool]:
        """Return the message with what is remembered, and whether the remembered task is in it."""
        # A copy: the caller may send its message to another agent as well, and is not to find this one's ids in it.
        request = SendMessageRequest()
        if isinstance(message, SendMessageRequest):
            request.CopyFrom(message)
        else:
            text = new_text_message(message, role=Role.ROLE_USER) if isinstance(message, str) else message
            request.message.CopyFrom(text)
        sent = request.message
        # A message with ids of its own goes where it says.
        if sent.task_id or sent.context_id not in ("", self.context_id):
            return request, False
        sent.context_id = self.context_id or ""
        sent.task_id = self.task_id or ""
        # A finished task takes no message any more, but is referred to: "make it shorter" is about its result.
        if self.remembered.is_finished and self.remembered.task_id and not sent.reference_task_ids:
            sent.reference_task_ids.append(self.remembered.task_id)
        return request, bool(sent.task_id)

    async def _events(self, request: SendMessageRequest, options: dict[str, Any]) -> AsyncIterator[StreamResponse]:
        async for event in self.client.send_message(request, **options):
            await self._notice(event)
            yield event

    async def _notice(self, event: StreamResponse) -> None:
        """Remember what an event says of context and task."""
        kind = event.WhichOneof("payload")
        if kind == "task":
            await self._notice_ids(event.task.context_id, event.task.id, event.task.status.state)
        elif kind == "message":
            await self._notice_ids(event.message.context_id, event.message.task_id)
        elif kind == "status_update":
            update = event.status_update
            await self._notice_ids(update.context_id, update.task_id, update.status.state)
        elif kind == "artifact_update":
            await self._notice_ids(event.artifact_update.context_id, event.artifact_update.task_id)

    async def _notice_task(self, task: Task) -> None:
        if task.id == self.remembered.task_id:
            await self._notice_ids(task.context_id, task.id, task.status.state)

    # What is remembered, event by event, of two tasks in one context:
    #
    #     task t1, submitted       context c, task t1
    #     status t1, completed     context c, task t1, finished     the next message: context c, refers to t1
    #     task t2, submitted       context c, task t2
    #     message of context d     context d                        a task of c is none of d
    async def _notice_ids(self, context_id: str, task_id: str, state: int | None = None) -> None:
        known = self.remembered
        if context_id and context_id != known.context_id:
            known = RemoteContext(context_id)
        if task_id and task_id != known.task_id:
            known = known._replace(task_id=task_id, is_finished=False)
        if state is not None:
            known = known._replace(is_finished=state in FINISHED)
        await self._remember(known)

    async def _remember(self, remembered: RemoteContext) -> None:
        self.remembered = remembered
        # An agent that streams sends many events that tell nothing new: only what differs costs a write.
        if remembered == self._saved or remembered == RemoteContext():
            return
        try:
            await self._bound.aset(remembered._asdict(), ttl=self._ttl)
            self._saved = remembered
        except Exception as error:
            self._degrade("remember", error)

    def _degrade(self, what: str, error: Exception) -> None:
        logger.warning("Cannot %s the context of agent %r for %r: %s", what, self.identity, self.scope, error)


def _bound(store: BaseContexts | None, scope: str | None, identity: str) -> BoundContext:
    """Return where the context of an agent is kept: nobody's is reached by what another calls a scope or an agent."""
    scoped = (contexts["default"] if store is None else store).scoped(SCOPE)
    if scope is not None:
        scoped = scoped.scoped(stored_name(scope, LONGEST_IDENTITY))
    return scoped.bound(stored_name(identity, LONGEST_IDENTITY))


def _address(client: Client, agent: str | AgentCard) -> str:
    """Return the address of the agent's first interface, and its tenant there."""
    card: AgentCard | None = agent if isinstance(agent, AgentCard) else getattr(client, "_card", None)
    for interface in card.supported_interfaces if card is not None else ():
        return f"{interface.url}#{interface.tenant}" if interface.tenant else str(interface.url)
    return str(agent)


def _remote_context(stored: Any) -> RemoteContext:
    """Return what was stored. Raises ``TypeError`` for what nobody of ours wrote."""
    remembered = RemoteContext(**stored)
    for value in (remembered.context_id, remembered.task_id):
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{value!r} is no id")
    return remembered._replace(is_finished=bool(remembered.is_finished))
