"""A site of its own for a test: settings from the environment, for WSGI and for ASGI."""

import json
import os

from tests.settings import *  # noqa: F403

DATABASES = {"default": json.loads(os.environ["SITE_DATABASE"])}
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = os.environ.get("SITE_URLS", ROOT_URLCONF)  # noqa: F405
