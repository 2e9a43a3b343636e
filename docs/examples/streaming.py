"""
A chat view that streams its answer, and survives a reload in the middle.

The answer is written into the chat, not into the connection: a placeholder is saved with the question, a worker fills
it in as the model speaks, and whoever looks, the first page or a reloaded one, follows the stored message. Here the
worker is a thread; in production it is a task of Celery or django-tasks with the same body.
"""

import json
import time
from collections.abc import Iterator
from threading import Thread

from django.db import connection
from django.http import HttpRequest, JsonResponse, StreamingHttpResponse

from context_store.engine import ContextEngine, assistant, role, user
from context_store.store import ContextStore

from .model import stream

# A write per piece would be hundreds for one answer.
SECONDS_BETWEEN_WRITES = 0.2
SECONDS_BETWEEN_LOOKS = 0.1


def engine_of(chat_id: str, user_id: str) -> ContextEngine:
    return ContextEngine(ContextStore(), chat_id=chat_id, user_id=user_id).set(role("You are a helpful assistant."))


def ask(request: HttpRequest, chat_id: str) -> JsonResponse:
    """POST ``{"id", "text"}``: save the question with a placeholder, and have it filled in."""
    body, user_id = json.loads(request.body), str(request.user.pk)
    placeholder = assistant({"content": "", "metadata": {"status": "streaming"}})
    engine_of(chat_id, user_id).set(user(body["text"], id=body["id"]), placeholder).save()
    Thread(target=write_answer, args=(chat_id, user_id, placeholder.id)).start()
    return JsonResponse({"answer_id": placeholder.id}, status=201)


def history(request: HttpRequest, chat_id: str) -> JsonResponse:
    """GET what a reloaded page shows: every message, also one that is still being written."""
    messages = ContextStore(user_id=str(request.user.pk)).get_messages(chat_id)
    return JsonResponse({"messages": [message._asdict() for message in messages]})


def follow(request: HttpRequest, chat_id: str, message_id: str) -> StreamingHttpResponse:
    """GET an answer from its beginning, and on as it is written."""
    store = ContextStore(user_id=str(request.user.pk))
    return StreamingHttpResponse(_follow(store, message_id), content_type="text/plain; charset=utf-8")


def write_answer(chat_id: str, user_id: str, message_id: str) -> None:
    """Fill in the placeholder, in place, as the model speaks."""
    engine, text, written, status = engine_of(chat_id, user_id), "", 0.0, "failed"
    try:
        # The placeholder is empty, so that the model does not see it.
        for piece in stream(engine.resolve(max_messages=50).openai()):
            text += piece
            if time.monotonic() - written > SECONDS_BETWEEN_WRITES:
                _write(engine, message_id, text, "streaming")
                written = time.monotonic()
        status = "done"
    finally:
        _write(engine, message_id, text, status)
        connection.close()


def _write(engine: ContextEngine, message_id: str, text: str, status: str) -> None:
    answer = {"content": text, "metadata": {"status": status}}
    engine.set(assistant(answer, id=message_id)).save(branch=False)


def _follow(store: ContextStore, message_id: str) -> Iterator[str]:
    sent = 0
    while message := store.get_message(message_id):
        yield message.data["content"][sent:]
        sent = len(message.data["content"])
        if message.data["metadata"]["status"] != "streaming":
            return
        time.sleep(SECONDS_BETWEEN_LOOKS)
