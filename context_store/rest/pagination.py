"""Pages: limits from the query, and links to the pages beside."""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param

from context_store.conf import settings
from context_store.exceptions import InvalidData
from context_store.validation import MAX_COUNT

from .operations import IDENTIFIER, JSONSchema, Parameter

SEARCH_LIMIT = 20
METADATA = "metadata."


def limit_schema() -> JSONSchema:
    return {"type": "integer", "minimum": 1, "maximum": settings.MAX_PAGE_SIZE}


LIMIT = Parameter("limit", limit_schema, "How many at most.")
OFFSET = Parameter("offset", {"type": "integer", "minimum": 0, "maximum": MAX_COUNT}, "How many to leave out.")
BRANCH = Parameter("branch", IDENTIFIER, "The name of a branch; the active one if it is left out.")
BEFORE = Parameter("before", IDENTIFIER, "Only what lies above this message of the branch.")
RECENT = Parameter("limit", {"type": "integer", "minimum": 0, "maximum": MAX_COUNT}, "Only so many, the last ones.")
HEAD = Parameter("head", IDENTIFIER, "Only the chain down to this message.")
QUERY = Parameter(
    "q",
    {"type": "string"},
    'Words (all must match), `"a phrase"`, `OR`, `-word`, `prefix*`.',
    required=True,
)
ROLES = Parameter("role", IDENTIFIER, "Only messages of this role; may be repeated.", many=True)


def limit_of(request: Request, default: int | None = None) -> int:
    """Return how many items to answer with."""
    most = settings.MAX_PAGE_SIZE
    return _whole_number(request, "limit", min(settings.PAGE_SIZE if default is None else default, most), 1, most)


def offset_of(request: Request) -> int:
    """Return how many items to leave out."""
    return _whole_number(request, "offset", 0, 0, MAX_COUNT)


def recent_of(request: Request) -> int | None:
    """Return how many of the last items are asked for, or ``None`` for all."""
    return _whole_number(request, "limit", 0, 0, MAX_COUNT) if "limit" in request.query_params else None


def metadata_of(request: Request) -> dict[str, Any]:
    """Return the metadata that the query asks for: values are JSON where they can be, else text."""
    names = [name for name in request.query_params if name.startswith(METADATA)]
    return {name.removeprefix(METADATA): _json_or_text(request.query_params[name], name) for name in names}


def items(records: Iterable[NamedTuple]) -> list[dict[str, Any]]:
    return [record._asdict() for record in records]


def page(results: list[Any], **links: str | int | None) -> dict[str, Any]:
    """Return the body of every list."""
    return {"next": None, "previous": None, **links, "results": results}


def link(request: Request, path: str | None = None, **parameters: str | int) -> str:
    """Return the URL of the request, or of another path with the same query, with other parameters."""
    url = request.build_absolute_uri(path and f"{path}?{request.META['QUERY_STRING']}")
    for name, value in parameters.items():
        url = replace_query_param(url, name, value)
    return url


def _whole_number(request: Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdecimal() and len(text) <= len(str(most)) and least <= int(text) <= most:
        return int(text)
    raise ValidationError({name: [f"Must be a whole number from {least} to {most}."]})


def _json_or_text(text: str, name: str) -> Any:
    try:
        return json.loads(text, parse_constant=_not_json)
    except RecursionError:
        raise InvalidData("is nested too deeply", (name,)) from None
    except ValueError:
        return text


def _not_json(constant: str) -> None:
    raise ValueError(constant)
