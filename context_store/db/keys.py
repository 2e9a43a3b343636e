"""Foreign keys of several columns, which Django's models know (``ForeignObject``) and its migrations do not make."""

from collections.abc import Sequence
from typing import Any

from django.db.models import BaseConstraint, Model


def partitions_of(connection: Any, table: str) -> list[str]:
    """Return the partitions of the table, none for a whole one, or where there is no database to ask."""
    if connection.vendor != "postgresql":
        return []
    with connection.cursor() as cursor:
        cursor.execute(PARTITIONS, [table])
        return [name for (name,) in cursor.fetchall()]


PARTITIONS = """
SELECT c.relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid
WHERE inhparent = to_regclass(quote_ident(%s)) ORDER BY 1
"""


class CompositeForeignKey(BaseConstraint):
    """
    ``FOREIGN KEY (fields) REFERENCES to (to_fields)``, in ``Meta.constraints``.

    ``to`` is a model's label, fields are given by their names. Checked at the end of the transaction where the database
    can, so that rows may come in any order. A row with a null in one of the fields points nowhere.
    """

    def __init__(self, *, fields: Sequence[str], to: str, to_fields: Sequence[str], name: str) -> None:
        super().__init__(name=name)
        self.fields, self.to, self.to_fields = tuple(fields), to, tuple(to_fields)

    def constraint_sql(self, model: Any, schema_editor: Any) -> str:
        quote = schema_editor.quote_name
        target = model._meta.apps.get_model(self.to)
        mine = ", ".join(quote(model._meta.get_field(field).column) for field in self.fields)
        theirs = ", ".join(quote(target._meta.get_field(field).column) for field in self.to_fields)
        is_deferred = schema_editor.connection.features.can_defer_constraint_checks
        deferrable = " DEFERRABLE INITIALLY DEFERRED" if is_deferred else ""
        return (
            f"CONSTRAINT {quote(self.name)} FOREIGN KEY ({mine})"
            f" REFERENCES {quote(target._meta.db_table)} ({theirs}){deferrable}"
        )

    # Not asked on SQLite, which adds no constraint to a table: there Django makes the table anew, with
    # ``constraint_sql``.
    def create_sql(self, model: Any, schema_editor: Any) -> str:
        tables = partitions_of(schema_editor.connection, model._meta.db_table) or [model._meta.db_table]
        added = self.constraint_sql(model, schema_editor)
        target = model._meta.apps.get_model(self.to)._meta.db_table
        return ";\n".join(
            # From a partition to that of the same chats, as `distribute_context_store` makes them.
            f"ALTER TABLE {schema_editor.quote_name(table)} ADD "
            + added.replace(
                schema_editor.quote_name(target),
                schema_editor.quote_name(table.replace(model._meta.db_table, target, 1)),
            )
            for table in tables
        )

    def remove_sql(self, model: Any, schema_editor: Any) -> str:
        quote = schema_editor.quote_name
        tables = partitions_of(schema_editor.connection, model._meta.db_table) or [model._meta.db_table]
        return ";\n".join(f"ALTER TABLE {quote(table)} DROP CONSTRAINT {quote(self.name)}" for table in tables)

    def validate(self, model: type[Model], instance: Model, exclude: Any = None, using: str = "default") -> None:
        """Leave it to the database, as Django does with foreign keys of one column that are not edited in forms."""

    def deconstruct(self) -> Any:
        _, args, kwargs = super().deconstruct()
        path = "context_store.db.CompositeForeignKey"
        return path, args, {**kwargs, "fields": self.fields, "to": self.to, "to_fields": self.to_fields}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CompositeForeignKey):
            return NotImplemented
        return bool(self.deconstruct() == other.deconstruct())

    __hash__ = BaseConstraint.__hash__
