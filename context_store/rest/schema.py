"""The OpenAPI schema, by drf-spectacular where it is installed; the API works without."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

from .operations import ENCODED_IDENTIFIER, IDENTIFIER, JSONSchema, Operation, Parameter

__all__ = ["IDENTIFIER", "JSON_OBJECT", "JSON_VALUE", "PATH", "StoreSchema", "field_schema"]

FieldClass = TypeVar("FieldClass", bound=type)

JSON_VALUE: JSONSchema = {"description": "Any JSON value."}
JSON_OBJECT: JSONSchema = {"type": "object", "additionalProperties": {}}
PATH: JSONSchema = {"type": "array", "items": {"type": ["string", "integer"]}}

USER_ID = Parameter("user_id", IDENTIFIER, "Act for this user: takes the permission `context_store.act_for_any_user`.")
PROBLEMS = {
    400: "What was sent is not taken; `detail` says what and where.",
    401: "The caller has not said who it is.",
    403: "The caller may not do this.",
    404: "There is none, or it is another user's.",
    406: "No format that was asked for is there.",
    409: "An id or a name is taken, or a head has moved.",
    411: "The body came without a `Content-Length`.",
    412: "The chat has changed since it had the given `ETag`.",
    413: "The body is too large.",
    415: "The body is not `application/json`.",
    429: "Too many requests.",
    503: "What the store needs for this is not there.",
}

try:
    from drf_spectacular.drainage import set_override
    from drf_spectacular.extensions import OpenApiSerializerExtension
    from drf_spectacular.openapi import AutoSchema
    from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse
except ImportError:
    from rest_framework.schemas.openapi import AutoSchema as StoreSchema

    def field_schema(schema: JSONSchema) -> Callable[[FieldClass], FieldClass]:
        """Say what a field is in the schema, which nobody will ask for."""
        return lambda field_class: field_class

else:

    def field_schema(schema: JSONSchema) -> Callable[[FieldClass], FieldClass]:
        """Say what a field is in the schema."""

        def annotate(field_class: FieldClass) -> FieldClass:
            set_override(field_class, "field", schema)
            return field_class

        return annotate

    class ShapeExtension(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
        """Say that shapes are closed, and which of their lists may not be empty."""

        target_class = "context_store.rest.serializers.Shape"
        match_subclasses = True

        def map_serializer(self, auto_schema: Any, direction: Any) -> Any:
            schema = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
            for name, field in self.target.fields.items():
                if getattr(field, "allow_empty", True) is False:
                    schema["properties"][name]["minItems"] = 1
            return {**schema, "additionalProperties": False}

    class StoreSchema(AutoSchema):  # type: ignore[no-redef]
        """Turn the ``Operation`` beside a view's method into OpenAPI."""

        @property
        def operation(self) -> Operation:
            declared: Operation = getattr(self.view, self.method.lower()).operation
            return declared

        def get_operation_id(self) -> str:
            return self.operation.name

        def get_summary(self) -> str:
            return self.operation.name.replace("_", " ").capitalize()

        def get_tags(self) -> list[str]:
            return [self.operation.tag]

        def get_auth(self) -> list[Any]:
            # The view asks for a caller, whatever the project's own permissions are.
            return [requirement for requirement in super().get_auth() if requirement]

        def get_request_serializer(self) -> Any:
            return self.operation.body

        def get_response_serializers(self) -> Any:
            answers: dict[int, Any] = dict(self.operation.answers)
            if self.operation.has_etag:
                answers[304] = OpenApiResponse(description="It is as it was when it had the given `ETag`.")
            return {**answers, **{status: self._problem(status) for status in self._statuses()}}

        def get_override_parameters(self) -> list[Any]:
            paths = [self._path_parameter(name) for name in re.findall(r"{(\w+)}", self.path)]
            # Where the body says whose the chat is, the query need not.
            in_body = "user_id" in getattr(self.operation.body, "_declared_fields", ())
            parameters = (*self.operation.parameters, *(() if in_body else (USER_ID,)))
            queries = [self._query_parameter(parameter) for parameter in parameters]
            return [*paths, *queries, *self._headers()]

        def get_examples(self) -> list[Any]:
            from .examples import EXAMPLES

            declared = self.operation
            asked = EXAMPLES.get(getattr(declared.body, "__name__", ""))
            examples = [] if asked is None else [OpenApiExample("Request", asked, request_only=True)]
            for status, shape in declared.answers.items():
                answer = EXAMPLES.get(getattr(shape, "__name__", ""))
                if answer is not None:
                    examples.append(OpenApiExample("Answer", answer, response_only=True, status_codes=[str(status)]))
            return examples

        def _statuses(self) -> list[int]:
            always = [400, 401, 403, 406, 429]
            found = [404] if "{" in self.path else []
            body = [411, 413, 415] if self.method in ("POST", "PUT", "PATCH") else []
            match = [412] if self.operation.takes_if_match else []
            return sorted({*always, *found, *body, *match, *self.operation.conflicts})

        def _problem(self, status: int) -> Any:
            from .examples import PROBLEM_EXAMPLES
            from .serializers import ConflictError, Error

            example = PROBLEM_EXAMPLES.get(status)
            return OpenApiResponse(
                ConflictError if status == 409 else Error,
                PROBLEMS[status],
                examples=[] if example is None else [OpenApiExample("Error", example, status_codes=[str(status)])],
            )

        def _path_parameter(self, name: str) -> Any:
            return OpenApiParameter(
                name,
                ENCODED_IDENTIFIER,
                OpenApiParameter.PATH,
                required=True,
                description="`~` is written `~0`, `/` is `~1`.",
            )

        def _query_parameter(self, parameter: Parameter) -> Any:
            schema = parameter.schema() if callable(parameter.schema) else parameter.schema
            if parameter.many:
                schema = {"type": "array", "items": schema}
            return OpenApiParameter(
                parameter.name, schema, required=parameter.required, description=parameter.description
            )

        def _headers(self) -> list[Any]:
            text = {"type": "string"}
            parameters = []
            if self.operation.has_etag:
                parameters.append(
                    OpenApiParameter(
                        "If-None-Match",
                        text,
                        OpenApiParameter.HEADER,
                        description="An `ETag`: 304 if nothing has changed.",
                    )
                )
                parameters.append(
                    OpenApiParameter(
                        "ETag", str, OpenApiParameter.HEADER, response=[200, 304], description="Of the chat as it is."
                    )
                )
            if self.operation.takes_if_match:
                parameters.append(
                    OpenApiParameter(
                        "If-Match", text, OpenApiParameter.HEADER, description="An `ETag`: 412 if the chat has changed."
                    )
                )
            return parameters
