"""Routes: ids in URL paths, and the router of the viewsets."""

from typing import Any

from django.urls import register_converter
from django.urls.converters import StringConverter
from rest_framework.routers import Route, SimpleRouter


def encode_id(value: str) -> str:
    """
    Return an id as it stands in a path, before percent-encoding: ``~`` is ``~0`` and ``/`` is ``~1`` (RFC 6901).

    Percent-encoding alone does not do, as servers decode ``%2F`` before routes are matched.
    """
    return value.replace("~", "~0").replace("/", "~1")


class EncodedId(StringConverter):
    """
    An id in a path.

    The view decodes it: an error in a converter could only be a page that is not JSON.
    """

    def to_url(self, value: str) -> str:
        return encode_id(value)


register_converter(EncodedId, "context_store_id")


class StoreRouter(SimpleRouter):
    """
    Django REST framework's router, with paths for regular expressions and PUT on a list (``update_many``).

    A prefix may hold ids, so nested routes need nothing else: ``chats/<context_store_id:chat_id>/messages``.
    """

    routes = [
        route._replace(mapping={**route.mapping, "put": "update_many"})
        if isinstance(route, Route) and not route.detail
        else route
        for route in SimpleRouter.routes
    ]

    def __init__(self, **options: Any) -> None:
        super().__init__(use_regex_path=False, **options)
