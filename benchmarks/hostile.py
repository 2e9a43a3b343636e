"""
The worst requests that an ordinary user can send, or staff can be led to: ``python -m benchmarks --only hostile``.

No request may cost more than its size. So each is compared with a page of 50 ordinary messages, in the admin with its
page of an ordinary chat, and what brings or reads megabytes with a page of 50 messages that has as many bytes as one
request may bring; it may neither keep memory nor keep another user waiting. Searches have a budget of their own,
whatever a page takes. Whether a request is answered or refused is not judged here.
"""

import ctypes
import gc
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from django.contrib.auth import get_user_model
from django.db import connections
from django.test import override_settings
from rest_framework.test import APIClient

from context_store.graph.streams import BYTES_A_CHUNK, PAYLOADS
from context_store.ids import new_id
from context_store.models import Branch, Checkpoint, Message, ShareLink, Stream, StreamChunk, UsageEntry
from context_store.rest.requests import BYTES_A_FIELD, BYTES_A_VALUE
from context_store.sessions import sessions
from context_store.store import ContextStore

from .data import COMMON_WORD, PROBE_CHAT, Conversation, plan, settle, store, write
from .measure import Row, fast

USING = "default"
HOSTILE, OTHER = "mallory", "alice"
# Messages of the hostile user in chats of 100, of one long chain, and pointers into one wide chat.
SIZES = {"tiny": (200, 500, 50), "small": (30_000, 10_000, 10_000), "full": (1_000_000, 100_000, 100_000)}
MEGABYTE = 1_000_000
BYTES = {"tiny": 10_000, "small": 4 * MEGABYTE, "full": 4 * MEGABYTE}
PAGE = 50
# Times a page of 50 messages; seconds; times the memory before; seconds that another user waits.
RATIO_BUDGET, SECONDS_BUDGET, MEMORY_BUDGET, WAITING_BUDGET = 20, 2.0, 1.1, 0.2
SEARCH_SECONDS = 1.0
# Bytes from which on a request is a large one. Times over its budget at which a request is not sent again.
LARGE_BODY, HOPELESS = 100_000, 3
ATTEMPTS = {"tiny": 1, "small": 3, "full": 3}


# What the metadata of a session may have.
MOST_METADATA = 60_000
# Else a list of empty lists becomes too large to be taken.
COMPACT = (",", ":")


class Request(NamedTuple):
    """A request to the API, or to the admin; ``body`` is JSON text or a value."""

    method: str
    path: str
    body: Any = None

    @property
    def text(self) -> str:
        """The body as it is sent."""
        return (
            self.body if isinstance(self.body, str) else json.dumps(self.body, ensure_ascii=False, separators=COMPACT)
        )

    def send(self, client: APIClient) -> float:
        """Return the seconds until the answer is whole; infinitely many for one that tells of a bug (500)."""
        content = {} if self.body is None else {"data": self.text, "content_type": "application/json"}
        start = time.perf_counter()
        response = client.generic(self.method, self.path, **content)
        for _ in response.streaming_content if response.streaming else ():
            pass
        return math.inf if response.status_code == 500 else time.perf_counter() - start


class Target(NamedTuple):
    """What is stored for the requests to hit: ids of chats, and how many bytes a request brings."""

    size: int
    long: Conversation
    wide: Conversation
    ordinary: Conversation
    pages: str
    words: str
    letters: str
    brackets: str
    marks: str
    huge: str
    streams: str

    @property
    def large_chats(self) -> tuple[str, ...]:
        return (self.pages, self.words, self.letters, self.brackets, self.huge)


def rows(database: str, scale: str, only: str = "") -> Iterator[Row]:
    """Measure each request in a store that is full of the hostile user's messages; only when asked for by name."""
    if not only.startswith("hostile"):
        return
    backend = {"BACKEND": "context_store.sessions.cache.CacheSessions", "CACHE": "redis"}
    # The budget of searches that a site has by default, where the tests' is larger.
    changed = {"CONTEXT_STORE_SESSIONS": {"default": backend}, "CONTEXT_STORE_SEARCH_BUDGET": {}}
    with ExitStack() as stack:
        stack.enter_context(override_settings(ALLOWED_HOSTS=["*"], **changed))
        pool = stack.enter_context(ThreadPoolExecutor(1))
        stack.callback(lambda: pool.submit(connections.close_all).result())
        yield from Measurement(target(scale), pool, ATTEMPTS[scale]).rows(only)


class Measurement:
    """One client sends the hostile requests from a thread of its own, while another user's asks for a page."""

    def __init__(self, target: Target, pool: ThreadPoolExecutor, attempts: int) -> None:
        self.target = target
        self.attempts = attempts
        self.pool = pool
        self.hostile, self.other = client_of(HOSTILE, is_superuser=True), client_of(OTHER)
        chat_id = ContextStore(USING, OTHER).create_chat().id
        ContextStore(USING, OTHER).append_messages(chat_id, [{"name": "user", "data": COMMON_WORD * 30}] * PAGE)
        self.reads = Request("GET", f"/api/chats/{chat_id}/messages/?limit={PAGE}")
        self.writes = Request("POST", f"/api/chats/{chat_id}/messages/", {"messages": [{"name": "user", "data": "Hi"}]})

    def rows(self, only: str) -> Iterator[Row]:
        chats = (self.target.ordinary.chat_id, self.target.pages)
        pages = [Request("GET", f"/api/chats/{chat_id}/messages/?limit={PAGE}") for chat_id in chats]
        # The admin's page of an ordinary chat, too, makes many times as much of a message as JSON does.
        pages.append(Request("GET", f"/admin/context_store/chat/{self.target.ordinary.chat_id}/change/"))
        ordinary, large, admin = (fast([self.alone(page) for _ in range(10)]) for page in pages)
        for name, make in requests(self.target).items():
            if only in f"hostile: {name}":
                page = large if self.is_large(name, make()) else admin if name.startswith("admin") else ordinary
                yield from self.measured(f"hostile: {name}", make, page)

    def is_large(self, name: str, request: Request) -> bool:
        """Tell whether the request brings megabytes, or reads messages or metadata that have them."""
        reads = any(chat_id in request.path for chat_id in self.target.large_chats)
        return reads or any(word in name for word in ("much", "large", "full")) or len(request.text) > LARGE_BODY

    def measured(self, name: str, make: Callable[[], Request], page: float) -> Iterator[Row]:
        """Send it more often where it misses, as other work on the machine disturbs, and report the best of each."""
        attempts: list[list[Row]] = []
        limit = min(SECONDS_BUDGET, RATIO_BUDGET * page)
        if "search" in name or "prefixes" in name:
            limit = SEARCH_SECONDS
        elif any(word in name for word in ("export", "events", "end of")):
            # As large as the chat or the stream, and not a page of it.
            limit = SECONDS_BUDGET
        self.alone(make())
        for _ in range(self.attempts):
            # Alone, as the page is that it is compared with.
            seconds = self.alone(make())
            before = resident_bytes()
            waiting = self.beside(make())
            attempts.append(
                [
                    Row(name, seconds, limit / page, page),
                    Row(f"{name}, memory kept", resident_bytes(), MEMORY_BUDGET, before, "bytes"),
                    Row(f"{name}, another user waits", waiting, WAITING_BUDGET),
                ]
            )
            if all(row.ok for row in attempts[-1]) or seconds > HOPELESS * limit:
                break
        for measured in zip(*attempts, strict=True):
            yield min(measured, key=lambda row: row.ratio or row.ours)

    def alone(self, request: Request) -> float:
        return self.sent(request).result()

    def beside(self, request: Request) -> float:
        """Send the request, and return the most seconds that another user's take meanwhile."""
        running, waiting = self.sent(request), 0.0
        while not running.done():
            for other in (self.reads, self.writes):
                waiting = max(waiting, other.send(self.other))
        return waiting if running.result() < math.inf else math.inf

    def sent(self, request: Request) -> "Future[float]":
        # Encoded before: what a client computes is on a machine of its own.
        encoded = request if request.body is None else request._replace(body=request.text)
        return self.pool.submit(encoded.send, self.hostile)


def client_of(name: str, *, is_superuser: bool = False) -> APIClient:
    """Return a client signed in, for the API and for the admin."""
    client = APIClient(raise_request_exception=False)
    rights = {"is_staff": is_superuser, "is_superuser": is_superuser}
    client.force_login(get_user_model().objects.get_or_create(username=name, defaults=rights)[0])
    return client


def resident_bytes() -> int:
    """Return the memory of this process, once what is free has been given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def target(scale: str) -> Target:
    """Return what lies in the store; it is filled unless an earlier run did, and left it (``--keep``)."""
    path = Path(os.environ["CONTEXT_STORE_TEST_FOLDER"], "hostile.json")
    if not path.exists():
        path.write_text(json.dumps(filled(scale)._asdict()))
    stored = json.loads(path.read_text())
    chats = {name: Conversation(*stored.pop(name)) for name in ("long", "wide", "ordinary")}
    return Target(**stored, **chats)


def filled(scale: str) -> Target:
    """Fill the store as the hostile user would over the years."""
    messages, length, pointers = SIZES[scale]
    size = BYTES[scale]
    long, wide, ordinary = plan(HOSTILE, length), plan(HOSTILE, PROBE_CHAT), plan(HOSTILE, PROBE_CHAT)
    store(USING, (plan(HOSTILE, PROBE_CHAT, number=number) for number in range(messages // PROBE_CHAT)))
    store(USING, [long, wide, ordinary])
    point_at(wide, pointers)
    texts = {
        # 50 messages as large as one request may bring in all, and the same of words by the thousand.
        "pages": [COMMON_WORD * (size // PAGE // len(COMMON_WORD))] * PAGE,
        "words": [" ".join(f"w{number:05}" for number in range(size // 60 // 7))] * 60,
        "letters": ["a " * (size // 20)] * 10,
        "brackets": [[[]] * (size // 3)],
        "marks": [""],
        # As many of the largest as one page may be asked for, within reason.
        "huge": ["x" * (size - 1_000)] * 40,
        "streams": [""],
    }
    chats = {}
    for name, data in texts.items():
        chats[name] = ContextStore(USING, HOSTILE).create_chat().id
        for value in data:
            ContextStore(USING, HOSTILE).append_messages(chats[name], [{"name": "user", "data": value}])
    stream_much(chats["streams"], pointers, size)
    settle(USING)
    return Target(size, long, wide, ordinary, **chats)


def point_at(wide: Conversation, pointers: int) -> None:
    """Give a chat so many branches, checkpoints and children of one message."""
    root = wide.message_ids[0]
    now = 1_700_000_000_000
    branch = {"chat_id": wide.chat_id, "is_active": False, "created_at": now}
    checkpoint = {"chat_id": wide.chat_id, "created_at": now}
    child = {
        "chat_id": wide.chat_id, "parent_id": root, "name": "user", "type": "message", "data": '"Hi"',
        "depth": 1, "ancestry": json.dumps([[root, 0]]), "created_at": now,
    }  # fmt: skip
    heads = [(number, wide.message_ids[number % PROBE_CHAT]) for number in range(pointers)]
    insert(Branch, [{**branch, "id": new_id(), "name": f"b{n}", "head_message_id": head} for n, head in heads])
    insert(Checkpoint, [{**checkpoint, "id": new_id(), "name": f"c{n}", "message_id": head} for n, head in heads])
    insert(Message, [{**child, "id": message_id, "segment": message_id} for message_id in map(str, range(pointers))])


def stream_much(chat_id: str, count: int, size: int) -> None:
    """Give a chat so many streams, share links and entries of usage, and the fullest streams that there can be."""
    now = 1_700_000_000_000
    ended = {
        "chat_id": chat_id, "message_id": "m", "format": "text", "status": "failed", "last_seq": -1, "chunk_bytes": 0,
        "error": "x" * 1_000, "created_at": now, "revision": 1,
    }  # fmt: skip
    insert(Stream, [{**ended, "id": f"s{number}"} for number in range(count)])
    link = {"chat_id": chat_id, "head_message_id": "m", "title": "x" * 1_000, "created_at": now}
    insert(ShareLink, [{**link, "id": str(number), "token_hash": str(number)} for number in range(count)])
    entry = {
        "chat_id": chat_id, "user_id": HOSTILE, "input_tokens": 1, "output_tokens": 1, "cached_tokens": 0,
        "reasoning_tokens": 0, "created_at": now,
    }  # fmt: skip
    insert(UsageEntry, [{**entry, "id": str(number), "model": str(number)} for number in range(count)])
    fill_stream(chat_id, "few", json.dumps("x" * (size - 1_000)), size)


def fill_stream(chat_id: str, stream_id: str, chunk: str, size: int, status: str = "completed") -> None:
    """Store a stream with as many of these chunks as it may have, where a payload has so many bytes."""
    now = 1_700_000_000_000
    chunks = PAYLOADS * size // (len(chunk) + BYTES_A_CHUNK)
    stream = {
        "chat_id": chat_id, "id": stream_id, "message_id": new_id(), "format": "text", "status": status,
        "last_seq": chunks - 1, "chunk_bytes": chunks * (len(chunk) + BYTES_A_CHUNK), "created_at": now,
        "started_at": now, "finished_at": now if status == "completed" else None, "lease_expires_at": now * 2,
        "revision": 1,
    }  # fmt: skip
    insert(Stream, [stream])
    stored = {"chat_id": chat_id, "stream_id": stream_id, "data": chunk, "created_at": now}
    insert(StreamChunk, [{**stored, "seq": seq} for seq in range(chunks)])


def insert(model: Any, rows: list[dict[str, Any]]) -> None:
    write(USING, model, list(rows[0]), (tuple(row.values()) for row in rows))


def requests(target: Target) -> dict[str, Callable[[], Request]]:
    """Return what makes each request: anew each time, where it creates something."""
    numbers = count()
    chats, size = "/api/chats", target.size
    marks, wide, long = f"{chats}/{target.marks}", f"{chats}/{target.wide.chat_id}", f"{chats}/{target.long.chat_id}"
    near_root = target.long.message_ids[5]
    streams = f"{chats}/{target.streams}/streams"

    def get(path: str) -> Callable[[], Request]:
        return lambda: Request("GET", path)

    def append(data: Any, times: int = 1) -> Callable[[], Request]:
        return lambda: Request("POST", f"{marks}/messages/", {"messages": [{"name": "user", "data": data}] * times})

    def moved() -> Request:
        # There and back, so that each moves the whole chain.
        parent_id = target.long.message_ids[(3, 4)[next(numbers) % 2]]
        return Request("PATCH", f"{long}/messages/{near_root}/", {"parent_id": parent_id})

    def session(what: str, *, stored: int = 0, metadata: int = 0) -> str:
        """Return the path of a new session with so many messages, and so many bytes of metadata."""
        session_id = new_id()
        mine = sessions["default"].for_user(HOSTILE)
        mine.save(session_id, [{"name": "user", "data": 1}] * max(stored, 1))
        for part in range(4 if metadata else 0):
            mine.merge_metadata(session_id, {f"{part}": "x" * (metadata // 4)})
        return f"/api/sessions/{session_id}/{what}"

    def conversation(text: str) -> str:
        """Return a new chat with as much of a model's text as a request may bring, 50 messages of it."""
        chat_id = ContextStore(USING, HOSTILE).create_chat().id
        messages = [{"name": "assistant", "data": text * (size // PAGE // len(text))}] * PAGE
        ContextStore(USING, HOSTILE).append_messages(chat_id, messages)
        return chat_id

    def full_stream(chunk: str) -> Request:
        """End an answer that is as long as it may be."""
        stream_id = new_id()
        fill_stream(target.streams, stream_id, chunk, size, "running")
        return Request("PATCH", f"{streams}/{stream_id}/", {"status": "completed"})

    def written_numbers(times: int) -> Callable[[], Request]:
        values = ",".join(["1e1"] * times)
        return lambda: Request("POST", f"{marks}/messages/", f'{{"messages":[{{"name":"user","data":[{values}]}}]}}')

    links, parts = conversation("!["), ContextStore(USING, HOSTILE).create_chat().id
    piece = {"type": "text", "text": "**a**"}
    ContextStore(USING, HOSTILE).append_messages(
        parts, [{"name": "assistant", "data": {"content": [piece] * (size // 40)}}]
    )
    token = ContextStore(USING, HOSTILE).share(links).token
    many = size // 22
    prefixes = "+OR+".join(f"w0{number:02}*" for number in range(64))
    alphabet = "+".join(f"{chr(letter)}*" for letter in range(ord("a"), ord("z") + 1))
    fields = ",".join(f'"{number}":0' for number in range(size // 11))
    most_values = size // BYTES_A_VALUE - 10
    most_fields = ",".join(f'"{number}":0' for number in range(size // BYTES_A_FIELD - 10))
    bad = ",".join(['{"name":1,"data":0}'] * (size // 20))
    return {
        # Texts: what is normalised, cut into words, stemmed and indexed.
        "append combining marks": append("a" + "\u0316\u0301" * (size // 40), 10),
        "append one endless word": append("a" * (size - 1_000)),
        "append one word a million times": append("harbour " * (size // 8 - 100)),
        "append only quotes": append('"' * (size // 2 - 1_000)),
        "append alternating scripts": append("aя" * (size // 3 - 1_000)),
        "append brackets": append("[" * (size - 1_000)),
        "append empty lists": append([[]] * (size // 3 - 1_000)),
        "append as many empty lists as are taken": append([[]] * most_values),
        "append numbers as they were written": written_numbers(size // 4 - 1_000),
        "append as many numbers as they were written as are taken": written_numbers(most_values // 4),
        "append directions and zero widths": append("\u202e\u200b" * (size // 6 - 1_000)),
        # Searches.
        "search 64 prefixes": get(f"/api/search/?q={prefixes}"),
        "search 64 prefixes in a chat of large messages": get(f"{chats}/{target.words}/search/?q={prefixes}"),
        "search a* to z*": get(f"/api/search/?q={alphabet}"),
        "search a* or … p*": get(f"/api/search/?q={'+OR+'.join(alphabet.split('+')[:16])}"),
        "search a word of every message, 200 hits": get(f"/api/search/?q={COMMON_WORD}&limit=200"),
        "search without a word": get(f"/api/search/?q=-{COMMON_WORD}"),
        "search one letter in repeated letters": get(f"{chats}/{target.letters}/search/?q=a"),
        "search a phrase of repeated letters": get(f"{chats}/{target.letters}/search/?q=%22{'a+' * 50}%22"),
        "search parentheses": get(f"/api/search/?q={'(' * 1_500}{COMMON_WORD}{')' * 1_500}"),
        # Lists.
        "list branches": get(f"{wide}/branches/"),
        "list checkpoints": get(f"{wide}/checkpoints/"),
        "list children": get(f"{wide}/messages/{target.wide.message_ids[0]}/children/"),
        "page with a message of very many versions": get(f"{wide}/messages/?limit=200&siblings=true"),
        "graph of a long chat": get(f"{long}/graph/"),
        "graph of a wide chat": get(f"{wide}/graph/"),
        "export of a long chat": get(f"{long}/export/"),
        "chain of a long chat": get(f"{long}/messages/{target.long.head_id}/chain/"),
        "list chats, last page": get(f"{chats}/?limit=200&offset={SIZES['full'][0]}"),
        "list chats by 1,000 metadata filters": get(f"{chats}/?" + "&".join(f"metadata.{n}=1" for n in range(1_000))),
        "page of 50 large messages": get(f"{chats}/{target.pages}/messages/?limit={PAGE}"),
        "page of the largest messages": get(f"{chats}/{target.huge}/messages/?limit=200"),
        "page of the largest messages with versions": get(f"{chats}/{target.huge}/messages/?limit=200&siblings=true"),
        "page of a message of brackets": get(f"{chats}/{target.brackets}/messages/"),
        "list share links": get(f"{chats}/{target.streams}/share/?limit=200"),
        "sums of much usage by model": get(f"{chats}/{target.streams}/usage/?by=model"),
        "sums of much usage by day": get("/api/usage/?by=day"),
        # Streams.
        "list streams": get(f"{streams}/?limit=200"),
        "page of large chunks": get(f"{streams}/few/chunks/?limit=200"),
        "events of a full stream of few chunks": get(f"{streams}/few/events/"),
        "end of a full stream of few chunks": lambda: full_stream(json.dumps("x" * (size - 1_000))),
        "end of a full stream of many chunks": lambda: full_stream('"x"'),
        # Moves and copies.
        "move a message near the root": moved,
        "fork a long chat": lambda: Request("POST", f"{long}/fork/", {}),
        # Bodies.
        "300,000 unknown fields": lambda: Request("POST", f"{marks}/messages/", f"{{{fields}}}"),
        "as many unknown fields as are taken": lambda: Request("POST", f"{marks}/messages/", f"{{{most_fields}}}"),
        "130,000 bad messages": lambda: Request("POST", f"{marks}/messages/", f'{{"messages":[{bad}]}}'),
        "180,000 messages": append(0, many),
        "metadata of a chat": lambda: Request("PATCH", f"{marks}/", {"metadata": {"x": "y" * (size - 1_000)}}),
        "nesting": lambda: Request("POST", f"{marks}/messages/", "[" * (size - 1_000)),
        "a large context": lambda: Request(
            "PUT", f"/api/contexts/{next(numbers) % 2}/", {"value": "x" * (size - 1_000)}
        ),
        # Sessions in Redis, whose scripts keep everybody waiting.
        "session of 180,000 messages": lambda: Request(
            "PUT", session("messages/"), {"messages": [{"name": "user", "data": 0}] * many}
        ),
        "append to a session with much metadata": lambda: Request(
            "POST", session("messages/", metadata=MOST_METADATA), {"messages": [{"name": "user", "data": 0}]}
        ),
        "metadata of a session with much of it": lambda: Request(
            "PATCH", session("", metadata=MOST_METADATA), {"metadata": {"x": 1}}
        ),
        "fork a long session": lambda: Request("POST", session("fork/", stored=3 * many), {"id": new_id()}),
        # The admin's pages of what such a user wrote.
        "admin: transcript of brackets": get(f"/admin/context_store/chat/{target.brackets}/change/"),
        "admin: transcript of large messages": get(f"/admin/context_store/chat/{target.pages}/change/"),
        "admin: graph of a wide chat": get(f"/admin/context_store/chat/{target.wide.chat_id}/graph/"),
        "admin: transcript of much Markdown": get(f"/admin/context_store/chat/{links}/change/"),
        "admin: transcript of very much Markdown in parts": get(f"/admin/context_store/chat/{parts}/change/"),
        # The chat page, and what it shows to visitors.
        "chat page of much Markdown": get(f"/chat/c/{links}/messages/?limit={PAGE}"),
        "chat page of very much Markdown in parts": get(f"/chat/c/{parts}/messages/"),
        "shared page of much Markdown": get(f"/chat/s/{token}/"),
        "admin: transcript of a wide chat": get(f"/admin/context_store/chat/{target.wide.chat_id}/change/"),
        "admin: list of chats, searched": get(f"/admin/context_store/chat/?q={COMMON_WORD}"),
        "admin: list of chats, 64 prefixes": get(f"/admin/context_store/chat/?q={prefixes}"),
    }
