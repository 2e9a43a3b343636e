"""What an operation of the API is, declared beside the method that serves it; the schema is made from this."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

Method = TypeVar("Method", bound=Callable[..., Any])
JSONSchema = dict[str, Any]

# As `validation.check_identifier` has it, but for which characters of all scripts can be printed.
IDENTIFIER: JSONSchema = {
    "type": "string",
    "format": "identifier",
    "minLength": 1,
    "maxLength": 255,
    "pattern": r"^[^\s\x00-\x1f\x7f-\x9f]+( +[^\s\x00-\x1f\x7f-\x9f]+)*$",
}
# As it stands in a path, see `paths`.
ENCODED_IDENTIFIER: JSONSchema = {
    "type": "string",
    "format": "encoded-identifier",
    "minLength": 1,
    "pattern": r"^([^\s\x00-\x1f\x7f-\x9f~/]|~[01])+( +([^\s\x00-\x1f\x7f-\x9f~/]|~[01])+)*$",
}


@dataclass(frozen=True)
class Parameter:
    """A parameter of the query. ``schema`` may be a function: of what settings decide."""

    name: str
    schema: JSONSchema | Callable[[], JSONSchema]
    description: str
    required: bool = False
    many: bool = False


@dataclass(frozen=True)
class Operation:
    """
    One operation.

    ``answers`` are shapes by status, ``None`` for an empty answer. ``conflicts`` are the further statuses it may have.
    """

    name: str
    tag: str
    answers: dict[int, type | None]
    body: type | None = None
    parameters: tuple[Parameter, ...] = ()
    conflicts: tuple[int, ...] = ()
    # Whether the answer has an ETag, and If-None-Match is looked at.
    has_etag: bool = False
    # Whether If-Match is looked at.
    takes_if_match: bool = False


def operation(name: str, tag: str, answers: dict[int, type | None], **more: Any) -> Callable[[Method], Method]:
    """Declare what a view's method does."""

    def declare(method: Method) -> Method:
        method.operation = Operation(name, tag, answers, **more)  # type: ignore[attr-defined]
        return method

    return declare
