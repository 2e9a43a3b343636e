"""SQLAlchemy on the database of the run, for stores that need it."""

from typing import Any

from django.db import connections
from sqlalchemy import URL, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

USING = "default"


def open_engine() -> AsyncEngine:
    """Return an engine on the database that is measured, with the settings that ours has."""
    settings = connections[USING].settings_dict
    if connections[USING].vendor == "postgresql":
        # The host is the folder of a socket, which goes into the query.
        query = {"host": settings["HOST"], **({"port": settings["PORT"]} if settings["PORT"] else {})}
        url = URL.create(
            "postgresql+asyncpg", settings["USER"], settings["PASSWORD"] or None, None, None, settings["NAME"], query
        )
        return create_async_engine(url)
    engine = create_async_engine(URL.create("sqlite+aiosqlite", database=str(settings["NAME"])))
    event.listen(engine.sync_engine, "connect", _set_up_sqlite)
    return engine


def _set_up_sqlite(connection: Any, record: Any) -> None:
    for pragma in connections[USING].settings_dict["OPTIONS"]["init_command"].strip(";").split(";"):
        connection.execute(pragma)
