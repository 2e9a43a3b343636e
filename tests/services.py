"""The pytest plugin that starts the servers of a test run, before Django's settings load.

`--database sqlite|postgresql|mssql` (or TEST_DATABASE) chooses the database; Redis is there for each. The controller
starts the servers, and its xdist workers share them. Where DATABASE_URL, REDIS_URL or MSSQL_URL names a server, that
one is used instead.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from typing import TypeVar

import pytest

from tests.launcher import die_with_parent
from tests.servers import PostgresServer, RedisServer, Server, ServerFolder, free_port, wait_until

__all__ = ["PostgresServer", "RedisServer", "Server", "ServerFolder", "free_port", "wait_until"]

ServerType = TypeVar("ServerType", PostgresServer, RedisServer)
VENDORS = ("sqlite", "postgresql", "mssql")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("context_store")
    group.addoption(
        "--database",
        choices=VENDORS,
        default=os.environ.get("TEST_DATABASE", "sqlite"),
        help="the database to test on (default: TEST_DATABASE, else sqlite)",
    )
    group.addoption(
        "--partitions",
        type=int,
        help="test on so many hash partitions (with --database postgresql)",
    )
    group.addoption(
        "--citus",
        action="store_true",
        help="test on the Citus coordinator that CITUS_URL names, its tables distributed (with --database postgresql)",
    )
    group.addoption(
        "--only-database-tests",
        action="store_true",
        help="leave out the tests that have no database, since they do the same whichever is chosen",
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, object, object]:
    options = early_config.known_args_namespace
    if "PYTEST_XDIST_WORKER" in os.environ:
        # The controller prepared the environment. A worker would outlive a killed controller until its test ends.
        die_with_parent(signal.SIGKILL)
    elif not (options.help or options.version):
        if options.citus:
            if "CITUS_URL" not in os.environ:
                raise pytest.UsageError("--citus: CITUS_URL names no coordinator, such as postgresql://user@host/name.")
            _set_for_run(early_config, "DATABASE_URL", os.environ["CITUS_URL"])
        start_services(early_config, options.database)
        if options.citus:
            _set_for_run(early_config, "TEST_PARTITIONS", "citus")
        elif options.partitions:
            _set_for_run(early_config, "TEST_PARTITIONS", str(options.partitions))
    return (yield)


def start_services(config: pytest.Config, vendor: str) -> None:
    """Start what the run needs and tell the settings where it is, by the environment."""
    folder = ServerFolder()
    config.add_cleanup(folder.remove)
    _set_for_run(config, "CONTEXT_STORE_TEST_FOLDER", str(folder.path))
    # Without a server for it every test is skipped, see conftest; until then the settings need some database.
    is_missing = vendor == "mssql" and "MSSQL_URL" not in os.environ
    _set_for_run(config, "TEST_DATABASE", "sqlite" if is_missing else vendor)
    if vendor == "postgresql" and "DATABASE_URL" not in os.environ:
        _set_for_run(config, "DATABASE_URL", _started(config, PostgresServer(folder.path)).url("context_store"))
    if "REDIS_URL" not in os.environ:
        _set_for_run(config, "REDIS_URL", _started(config, RedisServer(folder.path)).url())


def _started(config: pytest.Config, server: ServerType) -> ServerType:
    server.start()
    config.add_cleanup(server.stop)
    return server


def _set_for_run(config: pytest.Config, name: str, value: str) -> None:
    patch = pytest.MonkeyPatch()
    patch.setenv(name, value)
    config.add_cleanup(patch.undo)
