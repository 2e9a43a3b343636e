"""The API under WSGI and ASGI, with lasting connections and with psycopg's pool."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import requests
from django.db import connection

from context_store.store import ContextStore
from tests.data import REPOSITORY
from tests.services import free_port

LOGIN = ("alice", "password")
JSON = {"Content-Type": "application/json"}
SERVERS = {
    "asgi": """
import uvicorn
from django.core.asgi import get_asgi_application
uvicorn.run(get_asgi_application(), port={port}, lifespan="off", log_level="warning")
""",
    "wsgi": """
from django.core.servers.basehttp import WSGIServer, run
from django.core.wsgi import get_wsgi_application
run("127.0.0.1", {port}, get_wsgi_application(), threading=True, server_cls=WSGIServer)
""",
}
# Others that some tests need.
PROGRAMS = {
    **SERVERS,
    "gunicorn": """
import sys
from gunicorn.app.wsgiapp import run
bind = ["--bind", "127.0.0.1:{port}", "--threads", "16", "--log-level", "warning"]
sys.argv = ["gunicorn", *bind, "django.core.wsgi:get_wsgi_application()"]
run()
""",
}
CONNECTIONS = [
    pytest.param({"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}, id="lasting"),
    pytest.param({"CONN_MAX_AGE": 0}, id="fresh"),
    pytest.param({"pool": {"min_size": 1, "max_size": 4}}, id="pool", marks=pytest.mark.vendor("postgresql")),
]


class Site:
    """
    Starts servers on this test's database; ``processes`` are those that it has started.

    ``port`` is that of the next one, if it is not to be any.
    """

    def __init__(self):
        self.processes = []
        self.port = None

    def __call__(self, kind, options, **driver):
        """Start a server and return its URL."""
        plain = {key: connection.settings_dict[key] for key in ("ENGINE", "NAME", "USER", "PASSWORD", "HOST", "PORT")}
        pool = {"pool": options["pool"]} if "pool" in options else {}
        database = {
            **plain,
            "OPTIONS": {**connection.settings_dict["OPTIONS"], **pool, **driver},
            **{key: value for key, value in options.items() if key != "pool"},
        }
        database = {**database, "NAME": str(database["NAME"])}
        port = self.port or free_port()
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.rest.server",
            "SITE_DATABASE": json.dumps(database),
        }
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAMS[kind].format(port=port)], env=environment, cwd=REPOSITORY
        )
        self.processes.append(process)
        url = f"http://127.0.0.1:{port}/api"
        wait_for(url, process)
        return url


@pytest.fixture
def site(transactional_db, django_user_model):
    django_user_model.objects.create_user(*LOGIN[:1], password=LOGIN[1])
    site = Site()
    yield site
    for process in site.processes:
        process.terminate()
        process.wait(300)


def wait_for(url, process):
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        assert process.poll() is None, "The server has ended."
        try:
            requests.get(f"{url}/chats/", timeout=100)
        except requests.ConnectionError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(url)


@pytest.mark.parametrize("options", CONNECTIONS)
@pytest.mark.parametrize("kind", SERVERS)
def test_racing_requests_lose_nothing(site, kind, options):
    url = site(kind, options)
    assert requests.put(f"{url}/chats/race/", json={}, auth=LOGIN, timeout=300).status_code == 201

    def append(number):
        message = {"id": f"m{number}", "name": "user", "data": number}
        path = f"{url}/chats/race/messages/"
        return requests.post(path, json={"messages": [message]}, auth=LOGIN, timeout=600).status_code

    with ThreadPoolExecutor(6) as pool:
        statuses = Counter(pool.map(append, range(24)))
    assert statuses == {201: 24}
    page = requests.get(f"{url}/chats/race/messages/", auth=LOGIN, timeout=300).json()["results"]
    assert sorted(message["data"] for message in page) == list(range(24))
    assert [message["parent_id"] for message in page] == [None, *(message["id"] for message in page[:-1])]


NEW = {
    "chats/one/": lambda number: {"title": str(number)},
    "chats/race/messages/one/": lambda number: {"name": "user", "data": number},
    "chats/race/messages/": lambda number: {"messages": [{"id": "many", "name": "user", "data": number}]},
    "chats/race/checkpoints/one/": lambda number: {"message_id": "m"},
}


@pytest.mark.parametrize("kind", SERVERS)
def test_racing_puts_create_once(site, kind):
    url = site(kind, {})
    assert requests.put(f"{url}/chats/race/", json={}, auth=LOGIN, timeout=300).status_code == 201
    first = {"messages": [{"id": "m", "name": "user", "data": 1}]}
    assert requests.post(f"{url}/chats/race/messages/", json=first, auth=LOGIN, timeout=300).status_code == 201
    for path, body in NEW.items():

        def put(number, path=path, body=body):
            return requests.put(f"{url}/{path}", json=body(number), auth=LOGIN, timeout=600).status_code

        with ThreadPoolExecutor(6) as pool:
            statuses = Counter(pool.map(put, range(6)))
        assert statuses == {201: 1, 200: 5}, path


@pytest.mark.vendor("sqlite")
@pytest.mark.parametrize("kind", SERVERS)
def test_a_locked_database_is_503_under_each_server(site, kind):
    url = site(kind, {}, timeout=0.1)
    with closing(sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert_unavailable(requests.put(f"{url}/chats/c/", json={}, auth=LOGIN, timeout=600))
        other.execute("ROLLBACK")
    assert requests.put(f"{url}/chats/c/", json={}, auth=LOGIN, timeout=600).status_code == 201


@pytest.mark.vendor("postgresql")
@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_that_is_gone_is_503_under_each_server(site, kind):
    url = site(kind, {})
    name = connection.ops.quote_name(connection.settings_dict["NAME"])
    with connection._nodb_cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        try:
            response = requests.get(f"{url}/chats/", auth=LOGIN, timeout=600)
        finally:
            cursor.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    assert_unavailable(response)
    assert requests.get(f"{url}/chats/", auth=LOGIN, timeout=600).status_code == 200


def assert_unavailable(response):
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    assert response.json() == {
        "detail": "The database does not answer, or takes no writes.",
        "code": "database_unavailable",
    }


@pytest.mark.vendor("postgresql")
@pytest.mark.parametrize("kind", SERVERS)
def test_who_reads_an_export_slowly_keeps_no_connection(site, kind):
    store = ContextStore(user_id="alice")
    store.create_chat("long")
    for _ in range(30):
        store.append_messages("long", [{"name": "user", "data": "x" * 1_000_000}])
    url = site(kind, {"pool": {"min_size": 1, "max_size": 1, "timeout": 20}})
    # More than the buffers between server and client hold.
    with requests.get(f"{url}/chats/long/export/", auth=LOGIN, timeout=600, stream=True) as export:
        assert export.raw.read(1) == b"{"
        assert requests.get(f"{url}/chats/", auth=LOGIN, timeout=600).status_code == 200
        size = 1 + len(export.raw.read())
    assert size == int(export.headers["Content-Length"]) > 30_000_000


@pytest.mark.parametrize("kind", SERVERS)
def test_paths_and_errors_are_the_same_under_each_server(site, kind):
    url = site(kind, {})
    assert requests.put(f"{url}/chats/a~1b%20%C3%A9%3F/", json={}, auth=LOGIN, timeout=300).json()["id"] == "a/b é?"
    too_large = requests.post(f"{url}/chats/", data=b" " * 5 * 2**20, auth=LOGIN, timeout=600, headers=JSON)
    assert (too_large.status_code, too_large.json()["code"]) == (413, "payload_too_large")
    broken = requests.post(f"{url}/chats/", data=b"\xff", auth=LOGIN, timeout=300, headers=JSON)
    assert (broken.status_code, broken.json()["code"]) == (400, "parse_error")
    chunks = requests.put(
        f"{url}/chats/chunked/", data=iter([b'{"title"', b': "T"}']), auth=LOGIN, timeout=300, headers=JSON
    )
    assert (chunks.status_code, chunks.json()["code"]) == (411, "length_required")
    assert requests.get(f"{url}/chats/chunked/", auth=LOGIN, timeout=300).status_code == 404
