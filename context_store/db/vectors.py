"""
Lists of floats, and how far apart two of them are.

On PostgreSQL they are ``real[]``, which pgvector's functions take where a database has that extension: tables are the
same with it and without it. Elsewhere they are bytes.
"""

import struct
from collections.abc import Sequence
from typing import Any

from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.functions import Coalesce, NullIf


class FloatsField(models.BinaryField):  # type: ignore[type-arg]
    """A list of 32-bit floats."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        return "real[]" if connection.vendor == "postgresql" else super().db_type(connection)

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:  # noqa: FBT001, FBT002
        if value is None or connection.vendor == "postgresql":
            return value if value is None else list(value)
        return super().get_db_prep_value(struct.pack(f"<{len(value)}f", *value), connection, prepared)

    def from_db_value(self, value: Any, expression: Any, connection: BaseDatabaseWrapper) -> Sequence[float] | None:
        if value is None or connection.vendor == "postgresql":
            return None if value is None else tuple(value)
        return struct.unpack(f"<{len(value) // 4}f", value)


# With the column "vector" it is ``("vector"::vector <=> '[0.1,0.2]'::vector)``: both are cast, since the column is
# real[].
class _Distance(models.Func):
    template = "(%(expressions)s::vector)"
    arg_joiner = "::vector <=> "
    output_field = models.FloatField()


def can_compare(using: str) -> bool:
    """Tell whether the database compares lists of floats itself: PostgreSQL with the extension pgvector."""
    connection = connections[using]
    if connection.vendor != "postgresql":
        return False
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regtype('vector') IS NOT NULL")
        return bool(cursor.fetchone()[0])


def cosine_distance(column: str, values: Sequence[float]) -> models.expressions.Combinable:
    """Return an expression: 0 for the same direction, 2 for the opposite, 1 where one of the two has none."""
    text = models.Value(f"[{','.join(map(repr, map(float, values)))}]", output_field=models.TextField())
    distance = _Distance(models.F(column), text)
    return Coalesce(NullIf(distance, models.Value(float("nan"))), models.Value(1.0))
