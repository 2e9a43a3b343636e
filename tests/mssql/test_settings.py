"""The settings that MSSQL_URL makes, and the connections that they make."""

import importlib
from types import SimpleNamespace

import pytest

import tests.settings
from tests.mssql.real import is_of_tests
from tests.mssql.servers import offline_settings


@pytest.fixture
def databases(backend, monkeypatch):
    """Return a function that gives the databases of a URL."""

    def make(url):
        monkeypatch.setenv("TEST_DATABASE", "mssql")
        monkeypatch.setenv("MSSQL_URL", url)
        return importlib.reload(tests.settings).DATABASES

    yield make
    monkeypatch.undo()
    importlib.reload(tests.settings)


def connection_string(settings):
    from django.db.utils import ConnectionHandler

    offline = offline_settings(2022)
    handler = ConnectionHandler({"default": {}, "mssql": {**settings, "ENGINE": offline["ENGINE"]}})
    connection = handler.create_connection("mssql")
    params = connection.get_connection_params()
    return connection._build_connection_string(params, params["OPTIONS"].get("driver", "ODBC Driver 18 for SQL Server"))


def test_microsofts_own_driver_is_the_default(databases):
    default, other = databases("mssql://sa:p%40ss%3Bword@example.com:1433/chats").values()
    assert connection_string(default) == (
        "SERVER=example.com,1433;UID=sa;PWD={p@ss;word};DATABASE=chats;TrustServerCertificate=yes"
    )
    assert other["NAME"] == "chats_other"
    assert default["ENGINE"] == "mssql"


@pytest.mark.parametrize(
    ("settings", "is_altered"),
    [
        ({"NAME": "chats"}, False),
        ({"NAME": "test_chats"}, True),
        ({"NAME": "chats", "TEST": {"NAME": "trial"}}, False),
        ({"NAME": "trial", "TEST": {"NAME": "trial"}}, True),
    ],
)
def test_only_databases_made_for_tests_are_altered(settings, is_altered):
    assert is_of_tests(SimpleNamespace(settings_dict=settings)) is is_altered


def test_pyodbc_gets_no_mars(databases):
    default, _ = databases("mssql://sa:x@example.com/chats?driver=ODBC+Driver+17+for+SQL+Server").values()
    assert connection_string(default) == (
        "DRIVER=ODBC Driver 17 for SQL Server;SERVER=example.com;UID=sa;PWD=x;DATABASE=chats;"
        "TrustServerCertificate=yes;MARS_Connection=no"
    )


def test_what_the_url_says_is_kept(databases):
    default, _ = databases("mssql://sa:x@example.com/chats?extra_params=Encrypt%3Dno").values()
    assert default["OPTIONS"] == {"python_driver": "mssql_python", "extra_params": "Encrypt=no"}
