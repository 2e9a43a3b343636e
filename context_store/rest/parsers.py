"""What comes in: ids in paths, and bodies, JSON as RFC 8259 has it and no more of it than the store would take."""

import json
import re
from typing import IO, Any, NoReturn

from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser

from context_store.conf import settings
from context_store.exact_json import LARGE, read_float, without_collection
from context_store.exceptions import InvalidData

# What surrounds a payload of the greatest size.
ENVELOPE_BYTES = 64 * 1024
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
            return decode(text) if len(text) < LARGE else without_collection(decode, text)
        except RecursionError:
            raise ParseError("The JSON is nested too deeply.") from None
        except ValueError as error:  # Wrong UTF-8 too, and integers of more digits than the interpreter takes.
            raise ParseError(f"The body is not JSON: {error}") from error


class DocumentParser(StrictJSONParser):
    """The same for a whole chat."""

    setting = "MAX_IMPORT_BYTES"
