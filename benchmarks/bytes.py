"""Where the bytes of real messages go: the rows of each table, what PostgreSQL keeps beside them, and each index."""

from collections.abc import Iterator
from io import StringIO

from django.core.management import call_command
from django.db import connection
from django.db.models import Sum, TextField
from django.db.models.functions import Cast, Length

from context_store.models import Chat, Message
from context_store.store import ContextStore
from tests.data import OASST

from .data import settle
from .measure import Row

# How often each conversation is stored: then the first page of a table does not count.
COPIES = {"tiny": 1, "small": 10, "full": 100}
# Parts that take less than so many bytes a message are put together.
LEAST = 5
POSTGRESQL = """
    SELECT relname, 'rows', pg_relation_size(oid) FROM pg_class
     WHERE relkind = 'r' AND relname LIKE 'context\\_store\\_%'
    UNION ALL
    SELECT relname, 'TOAST', pg_total_relation_size(reltoastrelid) FROM pg_class
     WHERE relkind = 'r' AND relname LIKE 'context\\_store\\_%' AND reltoastrelid <> 0
    UNION ALL
    SELECT t.relname, i.relname, pg_relation_size(i.oid)
      FROM pg_index JOIN pg_class AS i ON i.oid = indexrelid JOIN pg_class AS t ON t.oid = indrelid
     WHERE t.relname LIKE 'context\\_store\\_%'
"""
SQLITE = """
    SELECT COALESCE(tbl_name, d.name), CASE WHEN d.name = tbl_name THEN 'rows' ELSE d.name END, SUM(pgsize)
      FROM dbstat AS d LEFT JOIN sqlite_master AS m ON m.name = d.name WHERE aggregate = TRUE GROUP BY 1, 2
"""


def rows(database: str, scale: str, only: str = "") -> Iterator[Row]:
    """Measure when asked for by name, as the store has to be empty before."""
    if not only.startswith("bytes"):
        return
    call_command("import_chats", str(OASST), format="oasst", user_id="reader", stdout=StringIO())
    for chat_id in list(Chat.objects.values_list("pk", flat=True)):
        for _ in range(COPIES[scale] - 1):
            ContextStore().fork_chat(chat_id)
    settle("default")
    with connection.cursor() as cursor:
        cursor.execute(POSTGRESQL if database == "postgresql" else SQLITE)
        parts = sorted(((size, table, part) for table, part, size in cursor.fetchall()), reverse=True)
    json = Message.objects.aggregate(json=Sum(Length(Cast("data", TextField()))), count=Sum(1))
    count, small = json["count"], 0.0
    for size, table, part in parts:
        if size < LEAST * count:
            small += size / count
            continue
        yield Row(f"bytes: {table.removeprefix('context_store_')}: {part}", round(size / count, 1), unit="B")
    yield Row("bytes: all that is smaller", round(small, 1), unit="B")
    whole = sum(size for size, _, _ in parts) / count
    yield Row("bytes: a message in all, and its JSON", round(whole, 1), baseline=json["json"] / count, unit="B")
