"""Key-value contexts: small JSON values under keys of the caller's own."""

from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from context_store.rest import serializers as shapes
from context_store.rest.operations import operation

from .base import StoreView, deleted

MISSING = object()


class ContextView(StoreView):
    @operation("get_context", "Contexts", {200: shapes.Context}, conflicts=(503,))
    def get(self, request: Request, key: str) -> Response:
        """Return the value under a key."""
        value = self.contexts.get(key, MISSING)
        if value is MISSING:
            raise missing_context(key)
        return Response({"key": key, "value": value})

    @operation("set_context", "Contexts", {200: shapes.Context}, body=shapes.ContextPut, conflicts=(503,))
    def put(self, request: Request, key: str) -> Response:
        """Set the value under a key, whatever was there; without `ttl` it lives as long as the project says."""
        body = self.body()
        self.contexts.set(key, **body)
        return Response({"key": key, "value": body["value"]})

    @operation("delete_context", "Contexts", {204: None}, conflicts=(503,))
    def delete(self, request: Request, key: str) -> Response:
        """Delete the value under a key."""
        return deleted(self.contexts.delete(key), missing_context(key))


def missing_context(key: str) -> NotFound:
    return NotFound(f"There is no context {key!r}.")
