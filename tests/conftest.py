from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from django.core.servers.basehttp import WSGIRequestHandler
from django.db.backends.signals import connection_created

from tests.data import IN_CI, OASST
from tests.flushing import quick_flush  # noqa: F401 - a fixture
from tests.mssql.real import django_db_setup, search_of_what_is_committed  # noqa: F401 - fixtures
from tests.plans import Plans
from tests.selection import begin_with_slow, has_database, keep
from tests.servers import PostgresServer, RedisServer

NO_SQL_SERVER = "MSSQL_URL names no SQL Server, such as mssql://sa:password@localhost:1433/master."
# Seconds that the cache "private" waits for its server.
SOCKET_TIMEOUT = 1

hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if IN_CI else "default")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "vendor(*names): the test is for these databases and left out on others.")
    # The live server writes headers and body apart, and a body would wait 40 ms for the headers to be acknowledged.
    WSGIRequestHandler.disable_nagle_algorithm = True
    if config.getoption("--database") == "postgresql":
        config.pluginmanager.register(plans := Plans(), "plans")
        connection_created.connect(plans.watch, weak=False)
    config.addinivalue_line("markers", "slow: the test takes long, and runs in one environment of tox.")
    config.addinivalue_line("markers", "thorough: the test tries very many cases, and runs there and in mssql-offline.")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests for other databases, and on demand those that have none."""
    vendor = config.getoption("--database")
    if vendor == "mssql" and "MSSQL_URL" not in os.environ:
        for item in items:
            item.add_marker(pytest.mark.skip(NO_SQL_SERVER))
    keep(config, items, lambda item: (marker := item.get_closest_marker("vendor")) is None or vendor in marker.args)
    if config.getoption("--only-database-tests"):
        keep(config, items, has_database)
    begin_with_slow(items)


def missing(what: str) -> None:
    """Skip the test for want of something; fail it in CI, where nothing may be wanting."""
    if IN_CI:
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def database_vendor(request: pytest.FixtureRequest) -> str:
    """Return the database of this run: sqlite, postgresql or mssql."""
    vendor: str = request.config.getoption("--database")
    return vendor


@pytest.fixture
def redis_url() -> Iterator[str]:
    """Return the URL of a database of the run's Redis, empty and this worker's own."""
    import redis
    from django.conf import settings

    with redis.Redis.from_url(settings.REDIS_URL) as client:
        client.flushdb()
        yield settings.REDIS_URL
        client.flushdb()


@pytest.fixture(scope="session")
def server_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return this worker's folder for servers of its own, removed with the run."""
    folder = Path(os.environ["CONTEXT_STORE_TEST_FOLDER"], os.environ.get("PYTEST_XDIST_WORKER", "gw"))
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    return folder


@pytest.fixture
def redis_server(server_folder: Path) -> Iterator[RedisServer]:
    """Return a private Redis that the test may flush, stop, kill and start again."""
    with RedisServer(server_folder, name="private-redis") as server:
        server.flush()
        yield server


@pytest.fixture
def private_cache(redis_server: RedisServer) -> Iterator[RedisServer]:
    """Make the cache alias "private": a Redis that the test may stop, stall and flush."""
    from django.conf import settings
    from django.test import override_settings
    from django_redis.pool import ConnectionFactory

    url = redis_server.url(9)
    # django-redis keeps one pool for a URL, with the options of whoever came first.
    ConnectionFactory._pools.pop(url, None)
    config: dict[str, Any] = {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": url,
        "OPTIONS": {
            "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
            "SOCKET_TIMEOUT": SOCKET_TIMEOUT,
            "SOCKET_CONNECT_TIMEOUT": SOCKET_TIMEOUT,
        },
    }
    with override_settings(CACHES={**settings.CACHES, "private": config}):
        yield redis_server
    ConnectionFactory._pools.pop(url).disconnect()


@pytest.fixture
def postgres_server(server_folder: Path) -> Iterator[PostgresServer]:
    """Return a private PostgreSQL that the test may stop, kill and start again."""
    with PostgresServer(server_folder, name="private-pg") as server:
        yield server


@pytest.fixture(scope="session")
def oasst_path() -> Path:
    """Return the file of 100 real conversation trees; skip where it is absent, in CI fail."""
    if not OASST.exists():
        missing(f"There are no real conversations at {OASST}: set CONTEXT_STORE_TEST_DATA to their folder.")
    return OASST
