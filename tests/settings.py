"""The suite's settings; `tests.services` says by the environment which servers to use."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

ENGINES = {"postgresql": "django.db.backends.postgresql", "mssql": "mssql"}
SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
}

VENDOR = os.environ.get("TEST_DATABASE", "sqlite")
# Absent outside pytest, where tools load these settings and no database is wanted.
TEST_FOLDER = os.environ.get("CONTEXT_STORE_TEST_FOLDER")
# As docs/databases.md advises for PostgreSQL, where connections are not pooled by the transaction.
PREPARED_STATEMENTS = {"server_side_binding": True, "prepare_threshold": 5}


def sqlite_database(name: str) -> dict[str, Any]:
    """Return a database in a file, as races between processes need; its tests get a file for each worker."""
    options = {"ENGINE": "django.db.backends.sqlite3", "OPTIONS": dict(SQLITE_OPTIONS)}
    if TEST_FOLDER is None:
        return {**options, "NAME": ":memory:"}
    path = Path(TEST_FOLDER, name)
    return {**options, "NAME": f"{path}.sqlite3", "TEST": {"NAME": f"{path}.test.sqlite3"}}


def mssql_options(options: dict[str, Any]) -> dict[str, Any]:
    """
    Return the options of the URL, completed: Microsoft's own driver, which the extra brings along, unless one is named.

    A server for tests has no certificate that anybody trusts. With pyodbc there is one result set at a time (no MARS).
    """
    if not {"driver", "dsn", "python_driver"} & options.keys():
        options["python_driver"] = "mssql_python"
    trust = "TrustServerCertificate=yes"
    options.setdefault("extra_params", trust if "python_driver" in options else f"{trust};MARS_Connection=no")
    return options


def server_database(url: str, suffix: str = "") -> dict[str, Any]:
    """
    Return the database that a URL names.

    postgresql://user@/name?host=/socket/folder or mssql://sa:password@localhost:1433/name?python_driver=mssql_python
    """
    parts = urlsplit(url)
    options: dict[str, Any] = dict(parse_qsl(parts.query))
    if os.environ.get("TEST_PREPARED_STATEMENTS"):
        options |= PREPARED_STATEMENTS
    if VENDOR == "mssql":
        options = mssql_options(options)
    return {
        "ENGINE": ENGINES[VENDOR],
        "NAME": (unquote(parts.path).strip("/") or "context_store") + suffix,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": options.pop("host", None) or parts.hostname or "",
        "PORT": str(parts.port or ""),
        "OPTIONS": options,
    }


def worker_redis_url() -> str:
    """Return the Redis URL with this worker's own database, so that one may flush it."""
    parts = urlsplit(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    if parts.scheme == "unix":
        database = int(dict(parse_qsl(parts.query)).get("db", 0)) + worker
        return f"unix://{parts.path}?db={database}"
    return urlunsplit(parts._replace(path=f"/{int(parts.path.strip('/') or 0) + worker}"))


if VENDOR == "sqlite":
    DATABASES = {"default": sqlite_database("default"), "other": sqlite_database("other")}
else:
    SERVER_URL = os.environ["MSSQL_URL" if VENDOR == "mssql" else "DATABASE_URL"]
    DATABASES = {"default": server_database(SERVER_URL), "other": server_database(SERVER_URL, "_other")}

if "TEST_PARTITIONS" in os.environ:
    form = os.environ["TEST_PARTITIONS"]
    CONTEXT_STORE_DISTRIBUTION = int(form) if form.isdecimal() else form

REDIS_URL = worker_redis_url()
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    "redis": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "test",
        "OPTIONS": {"SERIALIZER": "django_redis.serializers.json.JSONSerializer"},
    },
}

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "context_store",
    "context_store.adapters.a2a",
    "context_store.chat",
    "context_store.adapters.claude_agent",
    "context_store.adapters.openai_agents",
    "context_store.adapters.pydantic_ai",
    "context_store.adapters.langgraph",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
REST_FRAMEWORK = {"DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema"}
SPECTACULAR_SETTINGS = {
    "TITLE": "Context store",
    "VERSION": "0.1.0",
    "OAS_VERSION": "3.1.0",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ROOT_URLCONF = "tests.urls"
SECRET_KEY = "only for tests"
STATIC_URL = "static/"
# Not UTC and not a whole hour away from it, so that a mistaken local time shows.
TIME_ZONE = "Asia/Kathmandu"
USE_TZ = True

CONTEXT_STORE_CHAT_ANSWER = "tests.chat.model.answer"
# Time enough for searches on a slow machine; tests of the limit set one of their own.
CONTEXT_STORE_SEARCH_BUDGET = {"milliseconds": 60_000}
