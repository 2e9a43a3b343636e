"""Every error of the API: ``{"detail", "code"}``, whatever raised it and whatever the project's own handler does."""

import json
import logging
from collections.abc import Callable
from typing import Any

from django.core.exceptions import ObjectDoesNotExist, PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, InternalError, OperationalError
from django.http import Http404, UnreadablePostError
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from context_store.db import is_unreadable
from context_store.exceptions import (
    BackendUnavailable,
    ContextStoreError,
    CorruptData,
    HeadConflict,
    IdConflict,
    InvalidData,
    LegalHoldError,
    LockTimeout,
    OwnerMismatch,
    RevisionConflict,
    StreamConflict,
    UpdateConflict,
    UserErased,
)

from .serializers import MAX_PROBLEMS

try:
    from redis.exceptions import RedisError
except ImportError:

    class RedisError(Exception):  # type: ignore[no-redef]
        """What nobody raises where there is no Redis."""


logger = logging.getLogger(__name__)

Body = dict[str, Any]

# Bytes of an error. Characters of what it quotes: of its sentence, and of each other text in it.
MAX_BYTES = 16_000
MAX_DETAIL = 1_000
MAX_TEXT = 100
# Seconds after which a server that did not answer is worth another attempt.
RETRY_AFTER = 5


def handle_exception(error: Exception, context: dict[str, Any]) -> Response | None:
    """Return the answer to an exception, or ``None`` for one that is a bug."""
    for kind, answer in ANSWERS.items():
        if isinstance(error, kind):
            response = answer(error)
            response.data = _bounded(response.data)
            # An error that has become an answer is none to ``atomic``: with ATOMIC_REQUESTS it would commit.
            set_rollback()
            return response
    return None


def error_body(detail: str, code: str, **more: Any) -> Body:
    return {"detail": detail, "code": code, **more}


def invalid_data(error: InvalidData) -> Response:
    """Answer with the place: as text, as a path, and as field errors."""
    # {"detail": "messages[0].name: must not begin or end with white space", "code": "invalid_data",
    #  "errors": {"messages[0].name": ["must not begin or end with white space"]}, "path": ["messages", 0, "name"]}
    errors = {error.location or "non_field_errors": [error.reason]}
    return Response(error_body(str(error), error.code, errors=errors, path=list(error.path)), status=400)


def api_exception(error: exceptions.APIException) -> Response:
    if isinstance(error, exceptions.ValidationError):
        detail, _ = _first_error(error.detail, ())
        errors = error.detail if isinstance(error.detail, dict) else {"non_field_errors": error.detail}
        return Response(error_body(detail, "invalid", errors=errors), status=error.status_code)
    codes = error.get_codes()
    code = codes if isinstance(codes, str) else error.default_code
    headers = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if (wait := getattr(error, "wait", None)) is not None:
        headers["Retry-After"] = str(int(wait))
    return Response(error_body(str(error.detail), code), status=error.status_code, headers=headers)


def unavailable(error: Exception) -> Response:
    """
    Answer that a server does not, and log why.

    The store's own errors can be shown. What a database says names addresses, statements and keys.
    """
    own = isinstance(error, ContextStoreError)
    detail = str(error) if own else "The database does not answer, or takes no writes."
    body = error_body(detail, getattr(error, "code", "database_unavailable"))
    logger.error("%s", body["code"], exc_info=error)
    return Response(body, status=503, headers={"Retry-After": str(RETRY_AFTER)})


def unreadable(error: Exception) -> Response:
    """Answer that a row holds no text, and log which statement met it."""
    logger.error("%s", CorruptData.code, exc_info=error)
    return Response(error_body("What is stored is no text, so it was not read.", CorruptData.code), status=409)


def cache_unavailable(error: Exception) -> Response:
    """Answer that the cache does not: that of throttles, as the store's own errors have names."""
    logger.error("cache_unavailable", exc_info=error)
    body = error_body("The cache does not answer.", "cache_unavailable")
    return Response(body, status=503, headers={"Retry-After": str(RETRY_AFTER)})


def _first_error(detail: Any, path: tuple[str, ...]) -> tuple[str, str]:
    """Return the first of the field errors as one sentence that says where, and its code."""
    if isinstance(detail, dict):
        for field, inner in detail.items():
            if inner:
                return _first_error(inner, path if field == "non_field_errors" else (*path, str(field)))
    if isinstance(detail, list):
        for index, inner in enumerate(detail):
            if inner:
                return _first_error(inner, path if isinstance(inner, str) else (*path, str(index)))
    return (f"{'.'.join(path)}: {detail}" if path else str(detail)), getattr(detail, "code", "invalid")


def _bounded(body: Body) -> Body:
    """Return the body with its first problems, and what it quotes from a request cut short."""
    body = {**body, "detail": _quoted(body["detail"], MAX_DETAIL)}
    if "errors" in body:
        body["errors"] = _first_problems(body["errors"], [MAX_PROBLEMS])
    if "path" in body:
        body["path"] = [_quoted(part, MAX_TEXT) if isinstance(part, str) else part for part in body["path"]]
    if len(json.dumps(body)) > MAX_BYTES:
        body = {key: value for key, value in body.items() if key not in ("errors", "path")}
    return body


def _first_problems(errors: Any, left: list[int]) -> Any:
    """Return nested field errors with as many texts as are ``left``; it is counted down in place."""
    if isinstance(errors, dict):
        return {
            _quoted(str(key), MAX_TEXT): _first_problems(inner, left) for key, inner in errors.items() if left[0] > 0
        }
    if isinstance(errors, list):
        return [_first_problems(inner, left) for inner in errors if left[0] > 0]
    left[0] -= 1
    return _quoted(str(errors), 2 * MAX_TEXT)


def _quoted(text: str, most: int) -> str:
    """Return the text with at most so many characters, lone surrogates written out, as UTF-8 has none."""
    text = text.encode(errors="backslashreplace").decode()
    return text if len(text) <= most else f"{text[:most]}…"


def _plain(status: int, detail: str | None = None, code: str | None = None) -> Callable[[Any], Response]:
    """Return what answers with the error's own words and code where none are given."""

    def answer(error: Any) -> Response:
        return Response(error_body(detail or str(error), code or error.code), status=status)

    return answer


# The first that fits answers. Of an owner's id it only says, as of any other, that it is taken.
ANSWERS: dict[type[Exception], Callable[[Any], Response]] = {
    exceptions.APIException: api_exception,
    Http404: _plain(404, "Not found.", "not_found"),
    ObjectDoesNotExist: _plain(404, code="not_found"),
    PermissionDenied: _plain(403, "You do not have permission to perform this action.", "permission_denied"),
    InvalidData: invalid_data,
    OwnerMismatch: _plain(409, "The id is taken.", IdConflict.code),
    IdConflict: _plain(409),
    HeadConflict: lambda error: Response(
        error_body(str(error), error.code, head_message_id=error.head_message_id), status=409
    ),
    RevisionConflict: _plain(412),
    # The number of the hold is for those who may see holds.
    LegalHoldError: _plain(423, "A legal hold covers it: it cannot be changed or deleted."),
    UserErased: _plain(403),
    UpdateConflict: _plain(409),
    StreamConflict: _plain(409),
    CorruptData: _plain(409),
    BackendUnavailable: unavailable,
    LockTimeout: unavailable,
    RedisError: cache_unavailable,
    # Gone, locked, full; closed meanwhile; read-only, on PostgreSQL.
    OperationalError: lambda error: unreadable(error) if is_unreadable(error) else unavailable(error),
    InterfaceError: unavailable,
    InternalError: unavailable,
    RequestDataTooBig: _plain(413, "The body is too large.", "payload_too_large"),
    SuspiciousOperation: _plain(400, "The request is malformed.", "parse_error"),
    UnreadablePostError: _plain(400, "The body ended early.", "parse_error"),
}
