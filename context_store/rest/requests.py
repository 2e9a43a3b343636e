"""What comes in: who asks and for whom, ids in paths, and bodies, of whose JSON no more is read than is taken."""

import json
import re
from itertools import count
from typing import IO, Any

from django.utils.module_loading import import_string
from rest_framework.exceptions import APIException, ParseError, PermissionDenied, ValidationError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from context_store.conf import settings
from context_store.exact_json import LARGE, WrittenFloat, read_float, refuse_constant, without_collection
from context_store.exceptions import InvalidData
from context_store.validation import check_identifier

from .access import ACCESS, OTHERS

ACT_FOR_ANY_USER = "context_store.act_for_any_user"
# The ``user_id`` of a query that stands for all users.
EVERYBODY = "*"
NOT_ALLOWED = f"Naming another user takes the permission {ACT_FOR_ANY_USER}."
# What surrounds a payload of the greatest size.
ENVELOPE_BYTES = 64 * 1024
# Values take so much more time than text that a body may hold one for so many of the bytes allowed, ...
BYTES_A_VALUE = 10
# ... an object's field, and a number in a form of its own, for so many.
BYTES_A_FIELD = 20
BYTES_A_WRITTEN_NUMBER = 40
# A string, also one without an end: what begins like one always matches, so that no text is read again and again.
STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)
WRONG_ESCAPE = re.compile("~(?![01])")


# Callers


def request_user_id(request: Request) -> str | None:
    """Return the user name of an authenticated user: what ``CONTEXT_STORE_USER_ID`` is by default."""
    user = request.user
    return user.get_username() if user and user.is_authenticated else None


def own_user_id(request: Request) -> str | None:
    """Return the caller's ``user_id`` by ``CONTEXT_STORE_USER_ID``, or ``None`` for a caller who has none."""
    function = settings.USER_ID
    user_id = (import_string(function) if isinstance(function, str) else function)(request)
    return str(user_id) if user_id is not None and user_id != "" else None


def acting_user_id(request: Request, named: str | None = None) -> str:
    """
    Return the ``user_id`` that the request acts for: the named one, that of the query, or the caller's own.

    Raises ``PermissionDenied`` for another's without the permission ``context_store.act_for_any_user``.
    """
    own = own_user_id(request)
    if named is None:
        named = request.query_params.get("user_id")
    user_id = own if named is None else named
    if user_id is None or (user_id != own and not may_act_for_any_user(request)):
        raise PermissionDenied(NOT_ALLOWED)
    if named == EVERYBODY:
        raise ValidationError({"user_id": ["Only the list of chats is there for all users."]})
    check_identifier(user_id, "user_id")
    # Most requests are about the caller's own, and pay nothing.
    if (user_id != own or settings.AUDIT_ACCESS != OTHERS) and (access := ACCESS.get()):
        access.note(user_id)
    return user_id


def owner_of_new(request: Request, named: str | None) -> str:
    """Return whom a new chat is for: ``acting_user_id``, where the body and the query may not name two users."""
    if named is not None and request.query_params.get("user_id", named) != named:
        raise ValidationError({"user_id": ["The query and the body name different users."]})
    return acting_user_id(request, named)


def acting_user_id_or_all(request: Request) -> str | None:
    """Return what ``acting_user_id`` does, or ``None`` for all users: ``user_id=*``, which takes the permission."""
    if request.query_params.get("user_id") != EVERYBODY:
        return acting_user_id(request)
    if not may_act_for_any_user(request):
        raise PermissionDenied(NOT_ALLOWED)
    if access := ACCESS.get():
        access.note(None)
    return None


def may_act_for_any_user(request: Request) -> bool:
    return has_permission(request, ACT_FOR_ANY_USER)


def has_permission(request: Request, permission: str) -> bool:
    has_perm = getattr(request.user, "has_perm", None)
    return bool(has_perm and has_perm(permission))


# Paths and bodies


def decode_id(value: str, name: str) -> str:
    """Return the id that ``routers.encode_id`` wrote. Raises ``InvalidData`` for a ``~`` that begins no escape."""
    if WRONG_ESCAPE.search(value):
        raise InvalidData("must write ~ as ~0 and / as ~1 in a path", (name,))
    # In this order: "~01" is "~1" and no slash.
    return value.replace("~1", "/").replace("~0", "~")


decode = json.JSONDecoder(parse_constant=refuse_constant, parse_float=read_float).decode


class PayloadTooLarge(APIException):
    status_code = 413
    default_detail = "The body is too large."
    default_code = "payload_too_large"


def decode_large(text: str, limit: int) -> Any:
    """Decode the text of a body that may have ``limit`` bytes. Raises ``PayloadTooLarge`` for too many values."""
    # Behind each value but the last of a list or an object stands a comma, before each of an object a colon.
    for sign, what, most in ((",", "values", limit // BYTES_A_VALUE), (":", "fields", limit // BYTES_A_FIELD)):
        # The first count is fast and may be too high, as strings have signs of their own: only then they are taken out.
        if text.count(sign) > most and STRING.sub("", text).count(sign) > most:
            raise PayloadTooLarge(f"The body has more than {most} {what}.")
    written, most = count(1), limit // BYTES_A_WRITTEN_NUMBER

    def read(number: str) -> float:
        found = read_float(number)
        if type(found) is WrittenFloat and next(written) > most:
            raise PayloadTooLarge(f"The body has more than {most} numbers like 1e1 or 1.50, which keep their form.")
        return found

    return without_collection(json.JSONDecoder(parse_constant=refuse_constant, parse_float=read).decode, text)


class LengthRequired(APIException):
    status_code = 411
    default_detail = "A body takes a Content-Length."
    default_code = "length_required"


class StrictJSONParser(BaseParser):
    """JSON in UTF-8 without NaN and infinities; numbers come in as they were written."""

    media_type = "application/json"
    setting = "MAX_BODY_BYTES"

    def parse(self, stream: IO[Any], media_type: str | None = None, parser_context: Any = None) -> Any:
        limit = getattr(settings, self.setting)
        if limit is None:
            limit = settings.MAX_PAYLOAD_BYTES + ENVELOPE_BYTES
        # One byte more than is allowed tells that there are more, whatever Content-Length says.
        body: bytes = stream.read(limit + 1)
        if len(body) > limit:
            raise PayloadTooLarge(
                f"The body is larger than the {limit} bytes that CONTEXT_STORE_{self.setting} allows."
            )
        try:
            text = body.decode()
            return decode(text) if len(text) < LARGE else decode_large(text, limit)
        except RecursionError:
            raise ParseError("The JSON is nested too deeply.") from None
        except ValueError as error:  # Wrong UTF-8 too, and integers of more digits than the interpreter takes.
            raise ParseError(f"The body is not JSON: {error}") from error


class DocumentParser(StrictJSONParser):
    """The same for a whole chat."""

    setting = "MAX_IMPORT_BYTES"
