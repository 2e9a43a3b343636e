"""
Measure the admin's pages on PostgreSQL with 1,000,000 messages in 100,000 chats.

    python -m tests.admin.measure [chats]

Starts a server of its own, or takes the one that DATABASE_URL names, and fills it with bulk SQL unless it has chats.
Prints for each page the number of statements, their time in the database, and the time of the whole request: the best
and the worst of some runs, and of slow ones the statements.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlencode

from tests.servers import PostgresServer, ServerFolder

MESSAGES_A_CHAT = 10
RUNS = 7

# Words of a text by how many messages have them: all, each 10th, 1,000th, 100,000th, and one.
FILL = """
INSERT INTO context_store_chat
    (id, user_id, title, metadata, message_count, revision, resync_revision, held, created_at, updated_at)
SELECT 'chat-' || n, 'user' || (n %% 20000) || '@example.com',
    'Conversation ' || n || ' about ' || (ARRAY['printing','billing','travel','cooking','law'])[1 + n %% 5],
    jsonb_build_object('archived', n %% 10 = 0, 'channel', (ARRAY['web','app','mail'])[1 + n %% 3], 'seq', n),
    %(length)s, 1, 0, false, 1700000000000 + n * 1000, 1700000000000 + n * 1000
FROM generate_series(1, %(chats)s) AS n;

INSERT INTO context_store_message (id, chat_id, parent_id, name, type, data, segment, depth, ancestry, created_at)
SELECT 'm-' || n || '-' || d, 'chat-' || n, CASE WHEN d > 0 THEN 'm-' || n || '-' || d - 1 END,
    (ARRAY['user','assistant'])[1 + d %% 2], 'message', json_build_object('content', words), 'm-' || n || '-0', d,
    NULL, 1700000000000 + n * 1000 + d
FROM generate_series(1, %(chats)s) AS n, generate_series(0, %(length)s - 1) AS d, LATERAL (SELECT
    'the answer to question ' || n || ' of ' || d || ' is in the ' ||
    (ARRAY['harbour','mountain','library','station','garden','bakery','museum'])[1 + (n * 7 + d) %% 7] ||
    CASE WHEN (n + d) %% 10 = 0 THEN ' common' ELSE '' END ||
    CASE WHEN (n * 10 + d) %% 1000 = 0 THEN ' unusual' ELSE '' END ||
    CASE WHEN (n * 10 + d) %% 100000 = 0 THEN ' rare' ELSE '' END ||
    CASE WHEN n = 777 AND d = 5 THEN ' axolotl' ELSE '' END ||
    repeat(' and so it goes on with some more words that people write when they talk to a machine', 2)
    AS words) AS text;

INSERT INTO context_store_searchentry (message_id, chat_id, user_id, name, content)
SELECT m.id, m.chat_id, c.user_id, m.name, m.data ->> 'content'
FROM context_store_message AS m JOIN context_store_chat AS c ON c.id = m.chat_id;

INSERT INTO context_store_branch (id, chat_id, name, head_message_id, is_active, created_at)
SELECT 'b-' || n, 'chat-' || n, 'main', 'm-' || n || '-' || %(length)s - 1, true, 1700000000000
FROM generate_series(1, %(chats)s) AS n;
INSERT INTO context_store_branch (id, chat_id, name, head_message_id, is_active, created_at)
SELECT 'o-' || n, 'chat-' || n, 'other', 'm-' || n || '-3', false, 1700000000000
FROM generate_series(1, %(chats)s, 20) AS n;
"""


def query(**params: str) -> str:
    return f"?{urlencode(params)}"


LIST = "/admin/context_store/chat/"
PAGES = {
    "first page": "",
    "page 80 of the list": "?p=80",
    "past 7 days": "?active=7",
    "over a year ago": "?active=older",
    "more than one branch": "?branches=many",
    "metadata archived: true": query(metadata='["archived", true]'),
    "metadata has key channel": query(metadata='["channel"]'),
    "metadata has a key of none": query(metadata='["nothing"]'),
    "metadata of one chat": query(metadata='["seq", 12345]'),
    "search: a word of 1 message": "?q=axolotl",
    "search: of 10 messages": "?q=rare",
    "search: of 1,000": "?q=unusual",
    "search: of 100,000": "?q=common",
    "search: of 1,000,000": "?q=answer",
    "search: of none": "?q=giraffe",
    "search: a phrase": query(q='"in the harbour"'),
    "search: two words": query(q="common harbour"),
    "search: a prefix": query(q="axol*"),
    "search: a word and a prefix": query(q="unusual harb*"),
    "search: a word, filtered": "?q=common&active=older&branches=many",
    "search: a user": query(q="user77@example.com"),
    "search: part of a title": "?q=Conversation+7777",
    "search: a message's id": "?q=m-4242-3",
    "search: noise": query(q="x y z " * 500),
    "transcript": "chat-500/change/",
    "graph": "chat-500/graph/",
    "search in a chat": "chat-500/search/?q=harbour",
    "delete, to confirm": "chat-500/delete/",
}


def main(chats: int) -> None:
    with ExitStack() as stack:
        if "DATABASE_URL" not in os.environ:
            server = stack.enter_context(PostgresServer(stack.enter_context(ServerFolder())))
            os.environ["DATABASE_URL"] = server.url("postgres")
        os.environ.update(DJANGO_SETTINGS_MODULE="tests.settings", TEST_DATABASE="postgresql")
        import django
        from django.conf import settings

        settings.ALLOWED_HOSTS = ["testserver"]
        django.setup()
        fill(chats)
        measure()


def fill(chats: int) -> None:
    from django.core.management import call_command
    from django.db import connection

    from context_store.models import Chat

    call_command("migrate", verbosity=0)
    if Chat.objects.exists():
        return
    started = time.monotonic()
    with connection.cursor() as cursor:
        for statement in FILL.split(";\n"):
            if statement.strip():
                cursor.execute(statement, {"chats": chats, "length": MESSAGES_A_CHAT})
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    print(f"{chats:,} chats, {chats * MESSAGES_A_CHAT:,} messages, filled in {time.monotonic() - started:.0f} s\n")


def measure() -> None:
    from django.contrib.auth.models import User
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    client = Client()
    client.force_login(User.objects.get_or_create(username="boss", is_staff=True, is_superuser=True)[0])
    client.get(LIST)
    print(f"{'page':32}{'statements':>12}{'database ms':>22}{'request ms':>14}")
    for name, page in PAGES.items():
        database, request, count = [], [], 0
        for _ in range(RUNS):
            with CaptureQueriesContext(connection) as queries:
                started = time.perf_counter()
                response: Any = client.get(f"{LIST}{page}")
                request.append((time.perf_counter() - started) * 1000)
            assert response.status_code == 200, (name, response.status_code)
            database.append(sum(float(query["time"]) for query in queries) * 1000)
            count = len(queries)
        print(f"{name:32}{count:>12}{min(database):>12.0f} to {max(database):<6.0f}{min(request):>14.0f}")
        if max(database) > 100 or os.environ.get("VERBOSE"):
            for slow in sorted(queries, key=lambda slow: -float(slow["time"]))[:2]:
                print(f"    {float(slow['time']) * 1000:.0f} ms: {slow['sql'][:300]}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
