"""Ids in URL paths: ``~`` is written ``~0`` and ``/`` is written ``~1`` (RFC 6901), the rest percent-encoded."""

import re

from django.urls import register_converter

from context_store.exceptions import InvalidData

WRONG_ESCAPE = re.compile("~(?![01])")


def encode_id(value: str) -> str:
    """Return an id as it stands in a path, before percent-encoding: servers decode %2F before routes are matched."""
    return value.replace("~", "~0").replace("/", "~1")


def decode_id(value: str, name: str) -> str:
    """Return the id that stands in a path. Raises ``InvalidData`` for a ``~`` that begins no escape."""
    if WRONG_ESCAPE.search(value):
        raise InvalidData("must write ~ as ~0 and / as ~1 in a path", (name,))
    return value.replace("~1", "/").replace("~0", "~")


class EncodedId:
    """
    An id in a path. The view decodes it, as an error here could only be a page that is not JSON.
    """

    regex = "[^/]+"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return encode_id(value)


register_converter(EncodedId, "context_store_id")
