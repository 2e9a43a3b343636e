"""
Settings of the demo project: SQLite and local memory, no server needed.

``manage.py demo`` runs them on this machine, with DEBUG. By default they are those of a site behind HTTPS, which the
environment completes: ``SECRET_KEY``, ``ALLOWED_HOSTS`` (separated by commas), ``DEMO_FOLDER`` (database and secrets).
"""

import os
from pathlib import Path

from django.core.management.utils import get_random_secret_key

from .files import read_or_create

BASE_DIR = Path(__file__).resolve().parent.parent
DEMO_FOLDER = Path(os.environ.get("DEMO_FOLDER", BASE_DIR / ".demo"))

DEBUG = os.environ.get("DEMO_DEBUG") == "1"
SECRET_KEY = os.environ.get("SECRET_KEY") or read_or_create(DEMO_FOLDER / "secret_key", get_random_secret_key)
ALLOWED_HOSTS = [host for host in os.environ.get("ALLOWED_HOSTS", "localhost,127.0.0.1").split(",") if host]

if not DEBUG:
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DEMO_FOLDER / "demo.sqlite3",
        # What a site with several writers needs: see docs/databases.md.
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
}
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    # Its templates come before those of the others.
    "demo_project",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "context_store",
    "context_store.chat",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "demo_project.urls"
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
STATIC_URL = "static/"
TIME_ZONE = "UTC"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LOGIN_URL = "admin:login"

CONTEXT_STORE_CHAT_ANSWER = "demo_project.model.answer"
CONTEXT_STORE_CONTEXTS = {
    "default": {"BACKEND": "context_store.contexts.database.DatabaseContexts", "TTL": 30 * 86_400}
}

REST_FRAMEWORK = {
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    # Requests of one caller: see docs/rest.md.
    "DEFAULT_THROTTLE_CLASSES": ["rest_framework.throttling.ScopedRateThrottle"],
    "DEFAULT_THROTTLE_RATES": {
        "context_store_read": "1200/min",
        "context_store_write": "300/min",
        "context_store_search": "60/min",
        "context_store_stream": "300/min",
    },
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Context store",
    "VERSION": "0.1.0",
    "OAS_VERSION": "3.1.0",
    # These first.
    "TAGS": [
        {"name": name} for name in ("Chats", "Messages", "Branches", "Checkpoints", "Search", "Streams", "Changes")
    ],
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}
