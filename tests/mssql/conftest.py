from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import missing
from tests.mssql.servers import VERSIONS, BackendMissingError, check_backend, offline_database


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave these tests to the run that has what they need: `-p tests.mssql.corpus`, in tox `mssql-offline`."""
    return None if config.pluginmanager.hasplugin("mssql-corpus") else True


@pytest.fixture(scope="session")
def backend() -> None:
    """Skip, in CI fail, where mssql-django does not load."""
    try:
        check_backend()
    except BackendMissingError as error:
        missing(str(error))


@pytest.fixture(scope="session")
def grammar(backend: None) -> None:
    """Skip, in CI fail, where Microsoft's grammar does not load."""
    try:
        from tests.mssql.scriptdom import parse

        parse("SELECT 1")
    except (ImportError, RuntimeError, OSError) as error:
        missing(f"Microsoft's grammar does not load: `python -m tests.mssql.install` installs it. It says: {error}")


@pytest.fixture(params=VERSIONS)
def server(request: pytest.FixtureRequest, backend: None) -> Iterator[Any]:
    """Return the connection of a database of the project that compiles for SQL Server, for each version."""
    with offline_database(request.param) as connection:
        yield connection


@pytest.fixture
def newest_server(backend: None) -> Iterator[Any]:
    """Return such a connection for the newest version, where versions make no difference."""
    with offline_database(VERSIONS[-1]) as connection:
        yield connection
