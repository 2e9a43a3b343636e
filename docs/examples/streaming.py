"""
A chat view that streams its answer, and survives a reload in the middle.

The answer is written into a stream of the chat, not into the connection: a worker writes it as the model speaks, and
whoever looks, the first page or a reloaded one, follows it from where they are. At the end it is a message of the chat,
whether anybody looked or not. Here the worker is a thread; in production it is a task of Celery or django-tasks with
the same body.
"""

import json
from collections.abc import AsyncIterator, Iterator
from threading import Thread

from django.db import connection
from django.http import HttpRequest, JsonResponse, StreamingHttpResponse

from context_store import streams
from context_store.engine import ContextEngine, role, user
from context_store.store import ContextStore
from context_store.streams import BaseStreams

from .model import stream


def engine_of(chat_id: str, user_id: str) -> ContextEngine:
    return ContextEngine(ContextStore(), chat_id=chat_id, user_id=user_id).set(role("You are a helpful assistant."))


def streams_of(request: HttpRequest) -> BaseStreams:
    """Streams of other users' chats do not exist for this request."""
    return streams["default"].for_user(str(request.user.pk))


def ask(request: HttpRequest, chat_id: str) -> JsonResponse:
    """POST ``{"id", "text"}``: save the question, and have it answered."""
    body, user_id = json.loads(request.body), str(request.user.pk)
    engine_of(chat_id, user_id).set(user(body["text"], id=body["id"])).save()
    record = streams_of(request).create(chat_id, format="text")
    Thread(target=write_answer, args=(chat_id, user_id, record.id)).start()
    return JsonResponse({"stream_id": record.id, "answer_id": record.message_id}, status=201)


def history(request: HttpRequest, chat_id: str) -> JsonResponse:
    """GET what a reloaded page shows: every message, and the stream of an answer that is still being written."""
    messages = ContextStore(user_id=str(request.user.pk)).get_messages(chat_id)
    unfinished = streams_of(request).list(chat_id, status=["queued", "running"], limit=1)
    return JsonResponse(
        {"messages": [message._asdict() for message in messages], "streams": [record.id for record in unfinished]}
    )


def stop(request: HttpRequest, chat_id: str, stream_id: str) -> JsonResponse:
    """POST: end this answer, and no later one."""
    return JsonResponse({"status": streams_of(request).cancel(stream_id, chat_id=chat_id).status})


def write_answer(chat_id: str, user_id: str, stream_id: str) -> None:
    """Write the answer as the model speaks; a failure, or a stop, is kept with what was said until then."""
    try:
        with streams["default"].produce(stream_id, chat_id=chat_id) as producer:
            for piece in stream(engine_of(chat_id, user_id).resolve(max_messages=50).openai()):
                producer.write(piece)
    finally:
        connection.close()


def follow(request: HttpRequest, chat_id: str, stream_id: str) -> StreamingHttpResponse:
    """GET an answer from its beginning, and on as it is written. Under WSGI each reader holds a thread."""
    follower = streams_of(request).follow(stream_id, chat_id=chat_id)
    follower.open()  # Another user's is an error now, and not within the answer.

    def pieces() -> Iterator[str]:
        for chunk in follower:
            yield chunk.data

    return StreamingHttpResponse(pieces(), content_type="text/plain; charset=utf-8")


async def follow_async(request: HttpRequest, chat_id: str, stream_id: str) -> StreamingHttpResponse:
    """GET the same under ASGI: a reader is a coroutine, one thread of the process looks for all of them."""
    who = await request.auser()
    follower = streams["default"].for_user(str(who.pk)).follow(stream_id, chat_id=chat_id)

    async def pieces() -> AsyncIterator[str]:
        async for chunk in follower:
            yield chunk.data

    return StreamingHttpResponse(pieces(), content_type="text/plain; charset=utf-8")
