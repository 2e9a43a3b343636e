"""
What viewsets say of their operations: OpenAPI, by drf-spectacular where it is installed.

The API works without it; then nobody asks for a schema.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING

__all__ = ["StoreSchema", "operation", "parameter"]

if TYPE_CHECKING or find_spec("drf_spectacular"):
    from .openapi import StoreSchema, operation, parameter
else:
    from rest_framework.schemas.openapi import AutoSchema as StoreSchema

    def operation(name, *args, **kwargs):
        def declared(method):
            method.operation_id = name
            return method

        return declared

    def parameter(*args, **kwargs):
        return None
