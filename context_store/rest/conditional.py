"""``ETag``, ``If-None-Match`` and ``If-Match``: from the chat's revision, which grows with every change in it."""

from collections.abc import Callable
from functools import update_wrapper
from typing import Any
from zlib import crc32

from django.utils.cache import patch_cache_control
from django.utils.http import parse_etags
from rest_framework.request import Request
from rest_framework.response import Response

from context_store import __version__
from context_store.conf import settings
from context_store.exceptions import RevisionConflict
from context_store.models import Chat
from context_store.store import ContextStore
from context_store.types import UNSET, Unset


def conditional(read: Callable[..., Response]) -> Callable[..., Response]:
    """
    Give the answer of a view's method an ``ETag``; answer 304 instead, at one query, to who has it.

    The revision is read before the content: a change in between is seen at the next request, never missed.
    """

    def conditional_read(view: Any, request: Request, chat_id: str) -> Response:
        revision = view.store.get_revision(chat_id)
        if revision is None:
            raise Chat.DoesNotExist(f"There is no chat {chat_id!r}.")
        etag = _etag(request, revision)
        known = {_strong(tag) for tag in parse_etags(request.headers.get("If-None-Match", ""))}
        response = Response(status=304) if etag in known else read(view, request, chat_id)
        response["ETag"] = etag
        patch_cache_control(response, private=True, no_cache=True)
        return response

    return update_wrapper(conditional_read, read)


def expected_revision(request: Request, store: ContextStore, chat_id: str) -> int | Unset:
    """
    Return the revision that ``If-Match`` allows the chat to have, or ``UNSET`` without one.

    Raises ``RevisionConflict``, as the write does if the chat changes meanwhile.
    """
    header = request.headers.get("If-Match")
    if header is None:
        return UNSET
    tags = parse_etags(header)
    revision = store.get_revision(chat_id)
    if revision is not None and tags == ["*"]:
        return UNSET
    if revision is None or _revision_text(revision) not in {_strong(tag).strip('"').split("-")[0] for tag in tags}:
        raise RevisionConflict(f"Chat {chat_id!r} has changed.")
    return revision


def _etag(request: Request, revision: int) -> str:
    """Return the tag: the revision, and a sum of what else decides what the answer is."""
    renderer = getattr(request, "accepted_renderer", None)
    rest = (__version__, request.build_absolute_uri(), getattr(renderer, "format", None), settings.PAGE_SIZE)
    return f'"{_revision_text(revision)}-{crc32(repr(rest).encode()):08x}"'


def _revision_text(revision: int) -> str:
    return f"{revision:x}"


def _strong(tag: str) -> str:
    """Return the tag without the mark that compression leaves on it: what it stands for is the same."""
    return tag.removeprefix("W/")
