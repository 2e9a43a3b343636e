"""Indexes that databases have to have in different ways."""

from typing import Any

from django.db.models import Index


class OrderIndex(Index):
    """
    An index whose last field is an id, for lists in the order of the time before it and that id.

    SQL Server has the id in every index, as it is in the primary key. PostgreSQL has no room for three ids of 255
    characters in any script, 3,060 bytes, in an entry: there the id is left out, and rows of one time are sorted.
    """

    def create_sql(self, model: Any, schema_editor: Any, using: str = "", **kwargs: Any) -> Any:
        if schema_editor.connection.vendor == "sqlite":
            return super().create_sql(model, schema_editor, using, **kwargs)
        return Index(fields=self.fields[:-1], name=self.name).create_sql(model, schema_editor, using, **kwargs)

    def deconstruct(self) -> Any:
        _, args, kwargs = super().deconstruct()
        return "context_store.db.OrderIndex", args, kwargs
