"""The OpenAPI schema: drf-spectacular's ``extend_schema``, and what all operations have in common."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from context_store.conf import settings

from .conditional import REVISION_HEADER
from .examples import EXAMPLES, PROBLEM_EXAMPLES
from .serializers import ENCODED_IDENTIFIER, IDENTIFIER, ConflictError, Error, JSONSchema

Method = TypeVar("Method", bound=Callable[..., Any])

PROBLEMS = {
    400: "What was sent is not taken; `detail` says what and where.",
    401: "The caller has not said who it is.",
    403: "The caller may not do this.",
    404: "There is none, or it is another user's.",
    406: "No format that was asked for is there.",
    409: "An id or a name is taken, a head has moved, or a stream is in another state.",
    411: "The body came without a `Content-Length`.",
    412: "The chat has changed since it had the given `ETag`.",
    413: "The body is too large.",
    415: "The body is not `application/json`.",
    423: "A legal hold covers it.",
    429: "Too many requests.",
    503: "What the store needs for this does not answer now.",
}
TEXT: JSONSchema = {"type": "string"}
NOT_MODIFIED = OpenApiResponse(description="It is as it was when it had the given `ETag`.")


def parameter(
    name: str, schema: JSONSchema, description: str, *, required: bool = False, location: Any = "query"
) -> OpenApiParameter:
    """Return a parameter of the query, or of another place."""
    return OpenApiParameter(name, schema, location, required=required or location == "path", description=description)


USER_ID = parameter("user_id", IDENTIFIER, "Act for this user: takes the permission `context_store.act_for_any_user`.")
ETAG = [
    OpenApiParameter("If-None-Match", TEXT, "header", description="An `ETag`: 304 if nothing has changed."),
    OpenApiParameter("ETag", str, "header", response=[200, 304], description="Of the chat as it is."),
]
IF_MATCH = OpenApiParameter("If-Match", TEXT, "header", description="An `ETag`: 412 if the chat has changed.")
LAST_EVENT_ID = OpenApiParameter("Last-Event-ID", TEXT, "header", description="The `id` of the last event that came.")
IF_NONE_MATCH = OpenApiParameter("If-None-Match", TEXT, "header", description="`*`: 412 if it is there already.")


REVISION = OpenApiParameter(
    REVISION_HEADER, TEXT, "header", description="What an answer had under this name: this request sees that write."
)
WRITTEN = OpenApiParameter(
    REVISION_HEADER, str, "header", response=[200, 201, 204], description="For requests that are to see this write."
)


def operation(
    name: str,
    responses: Mapping[Any, Any],
    *,
    request: Any = None,
    parameters: Sequence[OpenApiParameter] = (),
    problems: Sequence[int] = (),
    tag: str | None = None,
    user_in_body: bool = False,
    etag: bool = False,
    if_match: bool = False,
    if_none_match: bool = False,
    last_event_id: bool = False,
) -> Callable[[Method], Method]:
    """
    Declare what an action of a viewset takes and answers: ``extend_schema`` with this API's headers and examples.

    ``problems`` are statuses beyond those that every operation has. ``user_in_body``: the body says whose it is, the
    query need not. ``etag``: answers 304 to ``If-None-Match`` and 412 to ``If-Match``.
    """
    answers = {status: OpenApiResponse(shape) for status, shape in responses.items()}
    problems = [*problems, *([412] if etag or if_match or if_none_match else [])]
    hidden = [OpenApiParameter("user_id", exclude=True)] if user_in_body else []
    headers = [
        *(ETAG if etag else []),
        *([IF_MATCH] if etag or if_match else []),
        *([IF_NONE_MATCH] if if_none_match else []),
    ]
    headers += [LAST_EVENT_ID] if last_event_id else []
    examples = []
    if example := EXAMPLES.get(getattr(request, "__name__", "")):
        examples.append(OpenApiExample("Request", example, request_only=True))
    for answered, shape in responses.items():
        # A status, with a media type where it is not JSON.
        status, media_type = answered if isinstance(answered, tuple) else (answered, None)
        if example := EXAMPLES.get(getattr(shape, "__name__", "")):
            examples.append(
                OpenApiExample("Answer", example, response_only=True, status_codes=[str(status)], media_type=media_type)
            )
    described = extend_schema(
        operation_id=name,
        summary=name.replace("_", " ").capitalize(),
        tags=None if tag is None else [tag],
        request=request,
        parameters=[*parameters, *headers, *hidden],
        responses={**answers, **({304: NOT_MODIFIED} if etag else {}), **{code: _problem(code) for code in problems}},
        examples=examples,
    )

    def declared(method: Method) -> Method:
        # The audit log names it.
        vars(method)["operation_id"] = name
        return described(method)

    return declared


def _problem(status: int) -> OpenApiResponse:
    example = OpenApiExample("Error", PROBLEM_EXAMPLES[status], status_codes=[str(status)])
    return OpenApiResponse(ConflictError if status == 409 else Error, PROBLEMS[status], examples=[example])


class StoreSchema(AutoSchema):
    """Add what every operation has: ids in its path, the acting user, pages, and its ways to refuse."""

    view: Any

    def get_tags(self) -> list[str]:
        return [self.view.tag]

    def get_auth(self) -> list[Any]:
        # The view asks for a caller, whatever the project's own permissions are.
        return [requirement for requirement in super().get_auth() if requirement]

    def get_override_parameters(self) -> list[Any]:
        ids = [
            OpenApiParameter(name, ENCODED_IDENTIFIER, "path", description="`~` is written `~0`, `/` is `~1`.")
            for name in re.findall(r"{(\w+)}", self.path)
        ]
        # What takes a permission of its own is not about the caller's things, whoever that acts for.
        own = ids if self.view.needed else [*ids, USER_ID]
        return [*own, REVISION, *([] if self.method == "GET" else [WRITTEN])]

    def get_description(self) -> str:  # type: ignore[override]
        permission = self.view.needed.get(self.view.action)
        described: str = super().get_description()
        return f"{described}\n\nTakes the permission `{permission}`." if permission else described

    def is_excluded(self) -> bool:
        # A fixed word in the place of an id, as in chats/import/: these operations are shown at the path of the id.
        return self.view.detail is False and self.view.action in ("retrieve", "update", "partial_update", "destroy")

    def _get_pagination_parameters(self) -> list[Any]:
        action = getattr(self.view, self.view.action)
        if self.view.action != "list" and "pagination_class" not in getattr(action, "kwargs", {}):
            return []
        paginator = self.view.paginator
        return [] if paginator is None else list(paginator.get_schema_operation_parameters(self.view))

    def _get_response_bodies(self, direction: Any = "response") -> Any:
        always = {400, 401, 403, 406, 429, 503}
        found = {404} if "{" in self.path else set()
        body = {411, 413, 415} if self.method in ("POST", "PUT", "PATCH") else set()
        # A hold covers sessions as chats, and whatever is in them.
        held = {423} if self.method != "GET" else set()
        declared = super()._get_response_bodies(direction)
        common = {
            str(status): self._get_response_for_code(_problem(status), str(status))  # type: ignore[no-untyped-call]
            for status in always | found | body | held
        }
        return dict(sorted({**common, **declared}.items()))


class ShapeExtension(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """Say that shapes are closed, and how many a list of theirs may have."""

    target_class = "context_store.rest.serializers.Shape"
    match_subclasses = True

    def get_name(self, auto_schema: Any, direction: Any) -> None:
        # PATCH has shapes of its own, which say themselves what may be left out: no "Patched" twin of each.
        self.target.partial = False

    def map_serializer(self, auto_schema: Any, direction: Any) -> Any:
        schema = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        for name, field in self.target.fields.items():
            if getattr(field, "many", False):
                schema["properties"][name]["maxItems"] = settings.MAX_MESSAGES_PER_REQUEST
                if not field.allow_empty:
                    schema["properties"][name]["minItems"] = 1
        return {**schema, "additionalProperties": False}
