"""Settings with the theme django-unfold, for a process of its own."""

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as PLAIN_APPS

INSTALLED_APPS = ["unfold", *PLAIN_APPS]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
ALLOWED_HOSTS = ["testserver"]
