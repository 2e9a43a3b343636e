"""PostgreSQL's LISTEN and NOTIFY."""

import json
from collections.abc import Generator
from typing import Any

from django.db import NotSupportedError, connections

CHANNEL = "context_store_streams"


def can_notify(using: str) -> bool:
    return connections[using].vendor == "postgresql"


def notify(using: str, *said: str) -> None:
    """Say something to those who listen, once the current transaction has committed."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, json.dumps(said)])


def notifications(using: str, seconds: float) -> Generator[set[tuple[str, ...]], None, None]:
    """
    Listen on a connection of its own: give what was said, all that is there at once, or nothing after some seconds.

    Raises what the driver does when the connection is lost.
    """
    wrapper: Any = connections[using].copy()
    # Who listens keeps the connection: no pool of others is to lack it.
    wrapper.settings_dict["OPTIONS"].pop("pool", None)
    try:
        wrapper.connect()
        if not hasattr(wrapper.connection, "execute"):
            raise NotSupportedError("Listening needs psycopg 3: set NOTIFY to False with psycopg2.")
        # ``stop_after=1`` returns with the first and whatever came with it, so that a burst is one look and not many.
        wrapper.connection.execute(f"LISTEN {CHANNEL}")
        while True:
            found = wrapper.connection.notifies(timeout=seconds, stop_after=1)
            yield {tuple(json.loads(notification.payload)) for notification in found}
    finally:
        wrapper.close()
