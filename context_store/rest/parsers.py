"""What comes in: ids in paths, and bodies, JSON as RFC 8259 has it and no more of it than the store would take."""

import json
import re
from itertools import count
from typing import IO, Any, NoReturn

from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser

from context_store.conf import settings
from context_store.exact_json import LARGE, WrittenFloat, read_float, without_collection
from context_store.exceptions import InvalidData

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


def decode_id(value: str, name: str) -> str:
    """Return the id that ``routers.encode_id`` wrote. Raises ``InvalidData`` for a ``~`` that begins no escape."""
    if WRONG_ESCAPE.search(value):
        raise InvalidData("must write ~ as ~0 and / as ~1 in a path", (name,))
    return value.replace("~1", "/").replace("~0", "~")


def refuse_constant(constant: str) -> NoReturn:
    """Refuse NaN and the infinities, which Python's parser takes and JSON has not."""
    raise ValueError(f"{constant} is not a JSON number")


decode = json.JSONDecoder(parse_constant=refuse_constant, parse_float=read_float).decode


class PayloadTooLarge(APIException):
    status_code = 413
    default_detail = "The body is too large."
    default_code = "payload_too_large"


def decode_large(text: str, limit: int) -> Any:
    """Decode the text of a body that may have ``limit`` bytes. Raises ``PayloadTooLarge`` for too many values."""
    # Behind each value but the last of a list or an object stands a comma, before each of an object a colon.
    for sign, what, most in ((",", "values", limit // BYTES_A_VALUE), (":", "fields", limit // BYTES_A_FIELD)):
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
