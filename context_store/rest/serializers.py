"""The shape of what comes in and, for the schema, of what goes out. Rules of the graph are the managers'."""

import re
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, TypeVar

from rest_framework import serializers

from context_store.conf import settings
from context_store.graph.streams import STATES
from context_store.validation import MAX_COUNT, MAX_TIME

try:
    from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
except ImportError:
    Described = TypeVar("Described", bound=type)

    def extend_schema_field(*args: Any) -> Callable[[Described], Described]:  # type: ignore[misc]
        return lambda described: described

    def extend_schema_serializer(**kwargs: Any) -> Callable[[Described], Described]:  # type: ignore[misc]
        return lambda described: described


JSONSchema = dict[str, Any]

# As `validation.check_identifier` has it, but for which characters of all scripts can be printed.
IDENTIFIER: JSONSchema = {
    "type": "string",
    "format": "identifier",
    "minLength": 1,
    "maxLength": 255,
    "pattern": r"^[^\s\x00-\x1f\x7f-\x9f]+( +[^\s\x00-\x1f\x7f-\x9f]+)*$",
}
# As it stands in a path, see `routers.encode_id`.
ENCODED_IDENTIFIER: JSONSchema = {
    "type": "string",
    "format": "encoded-identifier",
    "minLength": 1,
    "pattern": r"^([^\s\x00-\x1f\x7f-\x9f~/]|~[01])+( +([^\s\x00-\x1f\x7f-\x9f~/]|~[01])+)*$",
}
JSON_VALUE: JSONSchema = {"description": "Any JSON value."}
JSON_OBJECT: JSONSchema = {"type": "object", "additionalProperties": {}}
# As OpenAPI 3.0 has it as well: drf-spectacular writes that unless a project says otherwise.
PATH: JSONSchema = {"type": "array", "items": {"oneOf": [{"type": "string"}, {"type": "integer"}]}}

# How many problems an error names.
MAX_PROBLEMS = 20


class ShapeList(serializers.ListSerializer[Any]):
    """Refuse more than ``CONTEXT_STORE_MAX_MESSAGES_PER_REQUEST`` before looking at one of them."""

    def to_internal_value(self, data: Any) -> list[Any]:
        most = settings.MAX_MESSAGES_PER_REQUEST
        if isinstance(data, list) and len(data) > most:
            message = f"Has {len(data)} items, CONTEXT_STORE_MAX_MESSAGES_PER_REQUEST allows {most}."
            raise serializers.ValidationError({"non_field_errors": [message]}, "max_length")
        items: list[Any] = super().to_internal_value(data)
        return items


# A JSON object with just these fields, each of just its type: nothing is converted or ignored. Not a docstring, as the
# schema would say it of every shape.
class Shape(serializers.Serializer[Any]):
    class Meta:
        list_serializer_class = ShapeList

    def to_internal_value(self, data: Any) -> Any:
        # Django REST framework ignores what it does not know: a misspelt ``expected_head`` would expect nothing.
        if isinstance(data, Mapping) and not data.keys() <= self.fields.keys():
            unknown = islice((key for key in data if key not in self.fields), MAX_PROBLEMS)
            raise serializers.ValidationError({str(key): ["There is no such field."] for key in unknown}, "unknown")
        return super().to_internal_value(data)


class Strict(serializers.Field[Any, Any, Any, Any]):
    """A value of one JSON type, taken as it is. Subclasses without a ``kind`` look at the value themselves."""

    kind: type | tuple[()] = ()
    default_error_messages = {"type": "Must be {expected}, not {given}."}
    expected = "a value"

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if data is not serializers.empty and isinstance(data, self.kind):
            return data
        return super().run_validation(data)

    def to_internal_value(self, data: Any) -> Any:
        self.fail("type", expected=self.expected, given=_json_type(data))

    def to_representation(self, value: Any) -> Any:
        return value


@extend_schema_field({"type": "string", "pattern": r"^[^\x00]*$"})
class Text(Strict):
    kind, expected = str, "text"


@extend_schema_field(IDENTIFIER)
class Identifier(Text):
    """An id or a name; the store says which ones it takes."""


@extend_schema_field(JSON_VALUE)
class JSONValue(Strict):
    """Any JSON value, of which ``null`` is one."""

    # ``None`` is an object, too, so that ``null`` does not need ``allow_null``.
    kind = object


@extend_schema_field(JSON_OBJECT)
class JSONObject(Strict):
    kind, expected = dict, "a JSON object"


@extend_schema_field({"type": "boolean"})
class Boolean(Strict):
    kind, expected = bool, "true or false"


@extend_schema_field({"type": "integer", "format": "int64", "minimum": 0, "maximum": MAX_TIME})
class Milliseconds(Strict):
    """A time in whole milliseconds since the Unix epoch, UTC."""

    # No ``kind``: to Python ``true`` is an int. And 2.0 is taken for 2, as JSON has numbers of one kind only.
    expected = "a whole number"

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, float) and data.is_integer():
            return int(data)
        if isinstance(data, bool) or not isinstance(data, int):
            self.fail("type", expected=self.expected, given=_json_type(data))
        return data


@extend_schema_field({"type": "integer", "minimum": 0})
class Count(Milliseconds):
    """A whole number."""


@extend_schema_field({"type": "integer", "minimum": 0, "maximum": MAX_COUNT})
class Tokens(Count):
    """Tokens of one call; sums have no bound."""


@extend_schema_field({"type": "number", "minimum": 0, "maximum": MAX_COUNT})
class Seconds(Strict):
    expected = "a number"

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, bool) or not isinstance(data, (int, float)):
            self.fail("type", expected=self.expected, given=_json_type(data))
        return data


# As many digits before the point as the column has: see ``COST_DIGITS`` in ``managers.usage``. Python and JavaScript
# write small amounts as "1E-7", and sums with more digits behind the point than the column has: these are rounded.
AMOUNT = r"^[0-9]{1,10}(\.[0-9]+)?([eE]-[0-9]{1,3})?$"


@extend_schema_field({"type": "string", "format": "decimal", "pattern": AMOUNT})
class Amount(Text):
    """An amount as text: as a number it would not be exact."""

    default_error_messages = {"amount": 'Must be a decimal number such as "0.00042", from 0 to below 10^10.'}

    def run_validation(self, data: Any = serializers.empty) -> Any:
        text = super().run_validation(data)
        # Python takes more for a number than the schema says: "1_000", " 1 ", digits of all scripts.
        if isinstance(text, str) and re.fullmatch(AMOUNT, text) is None:
            self.fail("amount")
        return text


@extend_schema_field(PATH)
class Path(Strict):
    """Where a value lies: keys and indexes, outermost first."""


def _json_type(value: Any) -> str:
    names = {str: "text", bool: "a boolean", dict: "an object", list: "an array", type(None): "null"}
    return names.get(type(value), "a number")


# What comes in


class Empty(Shape):
    """An operation that takes nothing."""


class ChatUpsert(Shape):
    title = Text(required=False, allow_null=True)
    metadata = JSONObject(required=False)
    user_id = Identifier(required=False, help_text="Whose the chat is; another's takes `act_for_any_user`.")


class ChatCreate(ChatUpsert):
    id = Identifier(required=False)


class ChatUpdate(Shape):
    title = Text(required=False, allow_null=True, help_text="`null` clears it.")
    metadata = JSONObject(required=False, help_text="Its top-level keys are merged; `null` removes a key.")
    archived = Boolean(required=False, help_text="Sets or clears `archived_at`; `updated_at` stays.")
    pinned = Boolean(required=False, help_text="Sets or clears `pinned_at`; `updated_at` stays.")


class ChatRead(Shape):
    message_id = Identifier(required=False, help_text="The last message of the active branch if it is left out.")


class MetadataReplace(Shape):
    metadata = JSONObject(help_text="Takes the place of all that was there; `null` is a value.")


class ChatFork(Shape):
    id = Identifier(required=False, help_text="The id of the copy.")
    user_id = Identifier(required=False, help_text="Whose the copy is; another's takes `act_for_any_user`.")
    head_message_id = Identifier(required=False, help_text="Copy only the chain down to this message.")


class ChatRewind(Shape):
    message_id = Identifier(allow_null=True, help_text="`null`: an empty branch.")


class MessageContent(Shape):
    name = Identifier(help_text="The role: `user`, `assistant`, `system`, `tool`, …")
    type = Identifier(required=False, allow_null=True, help_text="`message` if it is left out.")
    data = JSONValue()  # type: ignore[assignment]
    created_at = Milliseconds(required=False)


class MessageUpsert(MessageContent):
    parent_id = Identifier(required=False, allow_null=True, help_text="Of a new message; a known one keeps its own.")


class MessagePut(MessageUpsert):
    chat_id = Identifier()


class NewMessage(MessageContent):
    id = Identifier(required=False)


class LinkedMessage(MessageUpsert):
    id = Identifier(required=False)


class MessagesUpsert(Shape):
    messages = LinkedMessage(many=True, allow_empty=False, help_text="In any order: parents may come after children.")


class MessagesAppend(Shape):
    messages = NewMessage(many=True, allow_empty=False, help_text="One message or many, each below the one before.")
    branch = Identifier(required=False, help_text="The name of a branch; the active one if it is left out.")
    expected_head = Identifier(
        required=False,
        allow_null=True,
        help_text="Append only if this is the branch's head; `null`: only if it is empty.",
    )


class MessageEdit(Shape):
    data = JSONValue()  # type: ignore[assignment]
    id = Identifier(required=False, help_text="Of the new version: with it the request can be repeated.")
    name = Identifier(required=False, help_text="That of the message if it is left out.")
    type = Identifier(required=False, allow_null=True, help_text="That of the message if it is left out.")


class MessageMove(Shape):
    parent_id = Identifier(allow_null=True, help_text="`null` makes the message a root.")


class BranchCreate(Shape):
    name = Identifier()
    id = Identifier(required=False)
    head_message_id = Identifier(required=False, allow_null=True)
    is_active = Boolean(required=False)


class BranchMove(Shape):
    head_message_id = Identifier(allow_null=True)
    expected_head = Identifier(
        required=False, allow_null=True, help_text="Move only if this is the head; `null`: only if there is none."
    )


class CheckpointUpsert(Shape):
    message_id = Identifier()


class CheckpointCreate(CheckpointUpsert):
    name = Identifier()
    id = Identifier(required=False)


class ContextPut(Shape):
    value = JSONValue()
    ttl = Seconds(required=False, allow_null=True, help_text="Seconds; `0` or `null`: for ever.")


class StreamUpsert(Shape):
    message_id = Identifier(required=False, help_text="Of the message that the answer becomes.")
    format = Identifier(
        required=False, help_text="`ui`: a UI message stream of the AI SDK; `text`: chunks are text; or your own."
    )


class StreamCreate(StreamUpsert):
    id = Identifier(required=False)


@extend_schema_field({"type": "string", "enum": [*STATES]})
class Status(Text):
    """The state of a stream; the store says which ones there are."""


class StreamUpdate(Shape):
    status = Status()
    error = Text(required=False, allow_null=True, help_text="Why it failed, for people.")


class ChunksAppend(Shape):
    chunks = serializers.ListField(child=JSONValue(), help_text="JSON values, in order.")
    started_at = Milliseconds(required=False, help_text="That of the claim: refused where another has the stream.")


@extend_schema_field({"type": "string", "pattern": r"^[^\x00]*[^\s\x00][^\x00]*$"})
class Reason(Text):
    """A text that is not empty."""


@extend_schema_field({"type": "string", "enum": ["erase", "anonymise", "keep"], "default": "erase"})
class Copies(Text):
    """What becomes of copies; the store says what may."""


@extend_schema_field({"type": "string", "enum": ["erase", "sums"], "default": "erase"})
class KeptUsage(Text):
    """What becomes of usage; the store says what may."""


class SessionUpdate(Shape):
    metadata = JSONObject(help_text="Its top-level keys are merged; `null` removes a key.")


class SessionSave(Shape):
    messages = NewMessage(many=True, help_text="The whole conversation, oldest first.")


class SessionAppend(Shape):
    messages = NewMessage(many=True, allow_empty=False, help_text="One message or many, oldest first.")


class SessionFork(Shape):
    id = Identifier(required=False, help_text="The id of the copy.")


class ErasureCreate(Shape):
    reason = Reason(help_text="Why, for the receipt.")
    copies = Copies(required=False, help_text="What becomes of chats that others forked from the user's: `erase`.")
    usage = KeptUsage(
        required=False,
        help_text="What becomes of usage: `sums` keeps those by day, model and currency, without the person.",
    )


class HoldCreate(Shape):
    """Just one of `user_id`, `chat_id` and `metadata` is given."""

    user_id = Identifier(required=False)
    chat_id = Identifier(required=False)
    metadata = JSONObject(required=False, help_text="One entry: the chats that have it are held.")
    reason = Reason()
    since = Milliseconds(required=False)
    until = Milliseconds(required=False, allow_null=True, help_text="Without it the hold lasts until its release.")


class UsageCreate(Shape):
    model = Identifier()
    id = Identifier(required=False, help_text="With it the request can be repeated.")
    message_id = Identifier(required=False)
    input_tokens = Tokens(required=False)
    output_tokens = Tokens(required=False)
    cached_tokens = Tokens(required=False, help_text="Of the input.")
    reasoning_tokens = Tokens(required=False, help_text="Of the output.")
    cost = Amount(required=False)
    currency = Identifier(required=False, help_text="Of the cost; sites with a single one may leave it out.")
    created_at = Milliseconds(required=False)


class ShareCreate(Shape):
    branch = Identifier(required=False, help_text="The name of a branch; the active one if it is left out.")
    until = Milliseconds(required=False, help_text="When the link ends.")


# What goes out


class Chat(serializers.Serializer[Any]):
    id = Identifier()
    user_id = Identifier()
    title = Text(allow_null=True)
    metadata = JSONObject()
    message_count = Count()
    branch_count = Count()
    created_at = Milliseconds()
    updated_at = Milliseconds(help_text="Of any change.")
    last_message_at = Milliseconds(allow_null=True, help_text="When messages were last stored.")
    archived_at = Milliseconds(allow_null=True)
    pinned_at = Milliseconds(allow_null=True)
    read_at = Milliseconds(allow_null=True, help_text="The time of the newest message that was read.")
    preview = Text(allow_null=True, help_text="The last message's text, in lists with `preview=true`.")
    unread_count = Count(allow_null=True, help_text="In lists with `preview=true`.")


class Siblings(serializers.Serializer[Any]):
    number = Count(help_text="Which version this is, from 1, oldest first.")
    count = Count(help_text="How many versions there are.")
    previous_id = Identifier(allow_null=True)
    next_id = Identifier(allow_null=True)


class Message(serializers.Serializer[Any]):
    id = Identifier()
    chat_id = Identifier()
    parent_id = Identifier(allow_null=True)
    name = Identifier()
    type = Identifier(allow_null=True)
    data = JSONValue()  # type: ignore[assignment]
    created_at = Milliseconds()
    siblings = Siblings(required=False, help_text="In lists with `siblings=true`: the versions of the message.")


class Messages(serializers.Serializer[Any]):
    messages = Message(many=True)


class Branch(serializers.Serializer[Any]):
    id = Identifier()
    chat_id = Identifier()
    name = Identifier()
    head_message_id = Identifier(allow_null=True)
    is_active = Boolean()
    message_count = Count(help_text="The length of the chain down to the head.")
    created_at = Milliseconds()


class Checkpoint(serializers.Serializer[Any]):
    id = Identifier()
    chat_id = Identifier()
    name = Identifier()
    message_id = Identifier()
    created_at = Milliseconds()


class Usage(serializers.Serializer[Any]):
    id = Identifier()
    chat_id = Identifier()
    message_id = Identifier(allow_null=True)
    user_id = Identifier()
    model = Identifier()
    input_tokens = Count()
    output_tokens = Count()
    cached_tokens = Count()
    reasoning_tokens = Count()
    cost = Amount(allow_null=True)
    currency = Identifier(allow_null=True)
    created_at = Milliseconds()


class UsageSum(serializers.Serializer[Any]):
    user_id = Identifier(allow_null=True)
    model = Identifier(allow_null=True)
    chat_id = Identifier(allow_null=True)
    day = Milliseconds(allow_null=True, help_text="When the day begins, UTC.")
    month = Text(allow_null=True, help_text="As `2026-03`, UTC.")
    currency = Identifier(allow_null=True)
    calls = Count()
    input_tokens = Count()
    output_tokens = Count()
    cached_tokens = Count()
    reasoning_tokens = Count()
    cost = Text(allow_null=True)


class Share(serializers.Serializer[Any]):
    id = Identifier()
    chat_id = Identifier()
    title = Text(allow_null=True, help_text="That of the chat when the link was made.")
    head_message_id = Identifier()
    created_at = Milliseconds()
    expires_at = Milliseconds(allow_null=True)
    revoked_at = Milliseconds(allow_null=True)
    token = Text(allow_null=True, help_text="In the answer to POST alone: it is not stored.")


class SearchHit(serializers.Serializer[Any]):
    message = Message()
    rank = serializers.FloatField(help_text="Higher is better.")
    snippet = serializers.CharField(help_text="HTML: its text escaped, matches in `<mark>`.")
    is_cut = Boolean(help_text="Whether `data` is large and was left out (`null`): GET the message.")


class GraphNode(serializers.Serializer[Any]):
    id = Identifier()
    parent_id = Identifier(allow_null=True)
    role = Identifier()
    content = serializers.CharField(help_text="The first 50 characters of the message's text.")
    created_at = Milliseconds()
    is_cut = Boolean(help_text="Whether the text has more of them.")


class Graph(serializers.Serializer[Any]):
    next = Text(allow_null=True, help_text="The URL where the three lists go on.")
    nodes = GraphNode(many=True)
    branches = Branch(many=True)
    checkpoints = Checkpoint(many=True)


class Export(serializers.Serializer[Any]):
    format = Text()
    version = Count()
    chat = JSONObject()
    messages = serializers.ListField(child=JSONObject())
    branches = serializers.ListField(child=JSONObject())
    checkpoints = serializers.ListField(child=JSONObject())


class Context(serializers.Serializer[Any]):
    key = Identifier()
    value = JSONValue()


@extend_schema_field({"type": "integer", "minimum": -1})
class Seq(Milliseconds):
    """The number of a chunk, from 0; -1 is before the first."""


class Stream(serializers.Serializer[Any]):
    id = Identifier()
    chat_id = Identifier()
    message_id = Identifier(help_text="Of the message that the answer becomes.")
    format = Identifier()
    status = Status()
    last_seq = Seq(help_text="The number of the newest chunk; -1 without any.")
    error = Text(allow_null=True)
    created_at = Milliseconds()
    started_at = Milliseconds(allow_null=True)
    finished_at = Milliseconds(allow_null=True)
    cancel_requested_at = Milliseconds(allow_null=True)
    lease_expires_at = Milliseconds(allow_null=True)
    revision = Count(help_text="Grows with each change of state.")


class Chunk(serializers.Serializer[Any]):
    seq = Count()
    data = JSONValue()  # type: ignore[assignment]
    created_at = Milliseconds()


class Appended(serializers.Serializer[Any]):
    last_seq = Seq(help_text="The number of the newest chunk.")


class Session(serializers.Serializer[Any]):
    id = Identifier()
    user_id = Identifier()
    metadata = JSONObject()
    message_count = Count()
    created_at = Milliseconds()
    updated_at = Milliseconds()


class SessionMessage(serializers.Serializer[Any]):
    id = Identifier()
    name = Identifier()
    type = Identifier(allow_null=True)
    data = JSONValue()  # type: ignore[assignment]
    created_at = Milliseconds()


class SessionMessages(serializers.Serializer[Any]):
    messages = SessionMessage(many=True)


# Not wrapped in an array by the schema of an action called `list`.
@extend_schema_serializer(many=False)
class Page(serializers.Serializer[Any]):
    next = Text(allow_null=True, help_text="The URL of the next page.")
    previous = Text(allow_null=True, help_text="The URL of the page before.")


def page_of(shape: type[serializers.Serializer[Any]]) -> type[Page]:
    """Return the shape of a page of these, by the name that it has in the schema: ``BranchPage`` for ``Branch``."""
    return type(f"{shape.__name__}Page", (Page,), {"results": shape(many=True)})


BranchPage = page_of(Branch)
CheckpointPage = page_of(Checkpoint)
StreamPage = page_of(Stream)
ChunkPage = page_of(Chunk)
UsageSumPage = page_of(UsageSum)
SharePage = page_of(Share)
SessionPage = page_of(Session)


class ChatPage(Page):
    count = Count(help_text="How many there are on all pages.")
    results = Chat(many=True)


class MessagePage(Page):
    """Oldest first; `next` is the page of older ones."""

    results = Message(many=True)


class SearchHitPage(Page):
    is_complete = Boolean(help_text="Whether nothing was left out that the search had no time for, or too much of.")
    results = SearchHit(many=True)


class SessionMessagePage(Page):
    """Oldest first; `next` is the page of older ones."""

    results = SessionMessage(many=True)


class Receipt(serializers.Serializer[Any]):
    id = Count()
    subject = Text(help_text="What stands for the user: a keyed digest of the id.")
    reason = Text()
    counts = serializers.DictField(child=Count(), help_text="How many went, by kind.")
    started_at = Milliseconds()
    finished_at = Milliseconds(allow_null=True, help_text="`null` while something is left to erase.")
    hint = Text(help_text="What is left to the operator of the database.")


class Hold(serializers.Serializer[Any]):
    id = Count()
    user_id = Identifier(allow_null=True)
    chat_id = Identifier(allow_null=True)
    metadata = JSONObject(allow_null=True)
    reason = Text()
    placed_by = Identifier()
    since = Milliseconds()
    until = Milliseconds(allow_null=True)
    released_at = Milliseconds(allow_null=True)
    released_by = Identifier(allow_null=True)


HoldPage = page_of(Hold)


class AuditEntry(serializers.Serializer[Any]):
    id = Count()
    action = Identifier(
        help_text="`read`, `change`, `delete`, `trash`, `restore`, `hold`, `release`, `export_user`, `erase`, …"
    )
    actor = Identifier(allow_null=True, help_text="Who did it.")
    user_id = Identifier(allow_null=True, help_text="Whose data it was; after an erasure a pseudonym.")
    chat_id = Identifier(allow_null=True, help_text="The chat, or the session.")
    detail = JSONObject(help_text="Ids, counts and the request's `operation`, no content.")
    created_at = Milliseconds()


class AuditPage(Page):
    """Newest first; `next` is the page of older ones."""

    results = AuditEntry(many=True)


class Error(serializers.Serializer[Any]):
    detail = Text(help_text="For people.")
    code = Text(help_text="For programs.")
    errors = JSONObject(  # type: ignore[assignment]
        required=False, help_text="With 400: what is wrong, by field."
    )
    path = Path(required=False, help_text="With 400: where in the body a refused value lies.")


class ConflictError(Error):
    head_message_id = Identifier(
        required=False, allow_null=True, help_text="With `head_conflict`: the head that the branch has now."
    )
