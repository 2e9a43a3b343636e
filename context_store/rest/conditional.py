"""``ETag``, ``If-None-Match`` and ``If-Match``: from the chat's revision, which grows with every change in it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import update_wrapper
from typing import Any, TypeVar
from urllib.parse import quote
from zlib import crc32

from django.db import router
from django.http import HttpResponseBase, HttpResponseNotModified
from django.utils.cache import patch_cache_control
from django.utils.http import parse_etags
from rest_framework.request import Request

from context_store import __version__
from context_store.conf import settings
from context_store.db import OwnWrites, no_writes
from context_store.exceptions import IdConflict, RevisionConflict
from context_store.models import Chat
from context_store.store import ContextStore
from context_store.types import UNSET, Unset

Answer = TypeVar("Answer", bound=HttpResponseBase)

# Of an answer to a write, and of the requests that are to see it.
REVISION_HEADER = "Context-Store-Revision"


def conditional(read: Callable[..., Answer]) -> Callable[..., Answer]:
    """
    Give the answer of an action its ``ETag``; answer 304 instead, at one query, to who has it.

    The revision is read before the content: a change in between is seen at the next request, never missed.
    """

    def conditional_read(view: Any, request: Request, chat_id: str) -> Any:
        # Of the caller's store: a chat of another user has no revision, so that no tag tells of one.
        revision = view.store.get_revision(chat_id)
        if revision is None:
            raise Chat.DoesNotExist(f"There is no chat {chat_id!r}.")
        etag = _etag(request, revision)
        # Not Django's ``get_conditional_response``: see ``expected_revision``.
        if not _allows(request, revision):
            raise RevisionConflict(f"Chat {chat_id!r} has changed.")
        known = [tag.removeprefix("W/") for tag in parse_etags(request.headers.get("If-None-Match", ""))]
        is_known = known == ["*"] or etag in known
        response = HttpResponseNotModified() if is_known else read(view, request, chat_id)
        response.headers["ETag"] = etag
        patch_cache_control(response, private=True, no_cache=True)
        return response

    return update_wrapper(conditional_read, read)


def expected_revision(request: Request, store: ContextStore, chat_id: str) -> int | Unset:
    """
    Return the revision that ``If-Match`` allows the chat to have, or ``UNSET`` without one.

    Raises ``RevisionConflict``, as the write does if the chat changes meanwhile. This is not Django's helper, which
    would take only the tag of this very URL: here a tag is good whichever page of the chat it came with, and also with
    the ``W/`` that compression puts before it.
    """
    header = request.headers.get("If-Match")
    if header is None:
        return UNSET
    revision = store.get_revision(chat_id)
    if revision is None or not _allows(request, revision):
        raise RevisionConflict(f"Chat {chat_id!r} has changed.")
    return UNSET if parse_etags(header) == ["*"] else revision


def _allows(request: Request, revision: int) -> bool:
    """Tell whether ``If-Match`` allows the chat to be at the revision."""
    tags = parse_etags(request.headers.get("If-Match", "*"))
    return tags == ["*"] or f"{revision:x}" in map(_revision_of, tags)


def expected_writes(request: Request, chat_id: str | None) -> OwnWrites:
    """Return the writes that the caller knows of: no replica is believed that does not have them."""
    known, primary = no_writes(), router.db_for_write(Chat)
    if REVISION_HEADER in request.headers:
        known.expect(primary, request.headers[REVISION_HEADER])
    for name in ("If-None-Match", "If-Match") if chat_id is not None else ():
        for tag in parse_etags(request.headers.get(name, "")):
            known.expect(primary, f"{quote(str(chat_id))};{_revision_of(tag)}")
    return known


def is_create_only(request: Request) -> bool:
    """Tell whether the request is to write only what is not there yet: ``If-None-Match: *``."""
    return parse_etags(request.headers.get("If-None-Match", "")) == ["*"]


@contextmanager
def only_new(request: Request) -> Iterator[dict[str, bool]]:
    """Give the options for a write of the store; where it is to create alone, what is known raises 412, not 409."""
    create_only = is_create_only(request)
    try:
        yield {"only_new": create_only}
    except IdConflict as error:
        raise RevisionConflict(str(error)) if create_only else error from error


def _revision_of(tag: str) -> str:
    return tag.removeprefix("W/").strip('"').split("-")[0]


# "62f3a1c0b2e40-9d1c07aa": the revision and the sum, both in hexadecimal digits.
def _etag(request: Request, revision: int) -> str:
    """Return the tag: the revision, and a sum of what else decides what the answer is."""
    renderer = getattr(request, "accepted_renderer", None)
    rest = (__version__, request.build_absolute_uri(), getattr(renderer, "format", None), settings.PAGE_SIZE)
    # ``_revision_of`` takes the first part: for If-Match the revision alone counts, for If-None-Match the whole, as
    # another page, format or version of the package is another answer.
    return f'"{revision:x}-{crc32(repr(rest).encode()):08x}"'
