"""Request bodies: JSON as RFC 8259 has it, and no more of it than the store would take."""

import json
from typing import IO, Any, NoReturn

from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser

from context_store.conf import settings

# What surrounds a payload of the greatest size.
ENVELOPE_BYTES = 64 * 1024


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

    def parse(self, stream: IO[Any], media_type: str | None = None, parser_context: Any = None) -> Any:
        try:
            return json.loads(self._read(stream).decode(), parse_constant=_refuse)
        except RecursionError:
            raise ParseError("The JSON is nested too deeply.") from None
        except ValueError as error:  # Wrong UTF-8 too, and integers of more digits than the interpreter takes.
            raise ParseError(f"The body is not JSON: {error}") from error

    def _read(self, stream: IO[Any]) -> bytes:
        limit = max_body_bytes()
        body: bytes = stream.read(limit + 1)
        if len(body) > limit:
            raise PayloadTooLarge(
                f"The body is larger than the {limit} bytes that CONTEXT_STORE_MAX_BODY_BYTES allows."
            )
        return body


def max_body_bytes() -> int:
    """Return how many bytes a request's body may have."""
    limit = settings.MAX_BODY_BYTES
    return settings.MAX_PAYLOAD_BYTES + ENVELOPE_BYTES if limit is None else limit


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")
