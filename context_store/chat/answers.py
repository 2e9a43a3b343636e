"""Answers: what the project's generator yields goes into a stream, by a thread that needs nobody to listen."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextvars import copy_context
from functools import partial
from threading import Thread
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext
from django.core.exceptions import ImproperlyConfigured, ObjectDoesNotExist
from django.db import router, transaction
from django.utils.module_loading import import_string

from context_store.conf import settings
from context_store.engine import ContextEngine
from context_store.engine.records import Prompt
from context_store.exceptions import InvalidData
from context_store.models import Stream
from context_store.records import StreamRecord
from context_store.rest.events import let_go
from context_store.store import ContextStore
from context_store.streams import BaseStreams, streams

logger = logging.getLogger(__name__)

# A person who asks on while answers are written has several; more is a program.
MAX_UNFINISHED = 5

Answer = Callable[[Prompt], AsyncIterator[Any]]


def begin(store: ContextStore, chat_id: str) -> StreamRecord:
    """
    Have what the active branch ends with answered, and return the stream of the answer.

    The answer has its place at once: an empty message, which the stream fills in when it ends. Raises ``InvalidData``
    where there is nothing to answer.
    """
    answer, engine = configured(), ContextEngine(store, chat_id)
    prompt = engine.resolve(max_messages=settings.CHAT_MESSAGES)
    if not prompt.messages or prompt.messages[-1].name == "assistant":
        raise InvalidData("has no question at its head", ("chat",))
    own = streams["default"].for_user(engine.user_id)
    if len(own.list(chat_id, status=("queued", "running"), limit=MAX_UNFINISHED)) == MAX_UNFINISHED:
        raise InvalidData(f"has {MAX_UNFINISHED} answers that are being written", ("chat",))
    engine.title()
    # The stream first: a page that looks in between takes an empty message without a stream for a lost answer.
    stream = own.create(chat_id)
    placeholder = {"id": stream.message_id, "name": "assistant", "data": {"parts": []}}
    engine.store.append_messages(chat_id, [placeholder])
    # What a middleware has set for the request, as its tenant, holds for the answer; only the thread is another.
    context = copy_context()
    context.run(SyncToAsync.thread_sensitive_context.set, ThreadSensitiveContext())
    written = partial(context.run, _run, own, stream, answer, prompt)
    thread = Thread(target=written, name=f"answer-{stream.id}", daemon=True)
    # In a transaction of the request the thread would not find the stream yet.
    transaction.on_commit(thread.start, using=store.using or router.db_for_write(Stream))
    return stream


def configured() -> Answer:
    """Return the project's generator. Raises ``ImproperlyConfigured``."""
    answer = settings.CHAT_ANSWER
    if not answer:
        raise ImproperlyConfigured("CONTEXT_STORE_CHAT_ANSWER is not set: see docs/chat.md.")
    return import_string(answer) if isinstance(answer, str) else answer


def _run(own: BaseStreams, stream: StreamRecord, answer: Answer, prompt: Prompt) -> None:
    try:
        # Not an event loop of the server's: under WSGI there is none, and a generator that blocks would stop a site.
        # And not ``async_to_sync``, for whose threads a process that is to end would wait.
        asyncio.run(_write(own, stream, answer, prompt))
    except ObjectDoesNotExist:
        logger.info("Nobody wants the answer %s any more: its chat is gone.", stream.message_id)
    except Exception:
        logger.exception("The answer %s in chat %s failed.", stream.message_id, stream.chat_id)


async def _write(own: BaseStreams, stream: StreamRecord, answer: Answer, prompt: Prompt) -> None:
    try:
        async with own.produce(stream.id, chat_id=stream.chat_id) as producer:
            async for chunk in ui_chunks(answer(prompt), stream.message_id):
                await producer.write(chunk)
    finally:
        await let_go()


async def ui_chunks(pieces: AsyncIterator[Any], message_id: str) -> AsyncIterator[dict[str, Any]]:
    """Yield the chunks of a UI message stream: text gets its own, other chunks are taken as they are."""
    yield {"type": "start", "messageId": message_id}
    # "Two ", "minutes", a source, "." become:
    #
    #     start   text-start 1   delta "Two "   delta "minutes"   text-end 1   the source
    #             text-start 2   delta "."      text-end 2        finish
    number, is_open = 0, False
    async for piece in pieces:
        if isinstance(piece, str):
            if not is_open:
                number, is_open = number + 1, True
                yield {"type": "text-start", "id": f"text-{number}"}
            yield {"type": "text-delta", "id": f"text-{number}", "delta": piece}
            continue
        if is_open:
            is_open = False
            yield {"type": "text-end", "id": f"text-{number}"}
        if piece["type"] not in ("start", "finish"):
            yield piece
    if is_open:
        yield {"type": "text-end", "id": f"text-{number}"}
    yield {"type": "finish"}
