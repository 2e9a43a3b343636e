"""The site of `benchmarks.servers`: the API and a bare view, for gunicorn (``wsgi``) and uvicorn (``asgi``)."""

import django
from django.conf import settings

django.setup()
settings.ROOT_URLCONF = "benchmarks.rest"
settings.ALLOWED_HOSTS = ["*"]
settings.MIDDLEWARE = []
settings.DATABASES["default"]["CONN_MAX_AGE"] = None

from django.core.handlers.asgi import ASGIHandler  # noqa: E402
from django.core.handlers.wsgi import WSGIHandler  # noqa: E402

from context_store.rest.views.messages import MessageViewSet  # noqa: E402

from .rest import Header  # noqa: E402

MessageViewSet.authentication_classes = [Header]
wsgi, asgi = WSGIHandler(), ASGIHandler()
