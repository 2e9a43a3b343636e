"""Migration operations for one vendor's objects. They do nothing on other vendors, and reverse."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import router
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation

Statements = Mapping[str, Sequence[str]]


class VendorOperation(Operation):
    """An operation that leaves the models' state as it is."""

    reversible = True
    reduces_to_sql = True

    def state_forwards(self, app_label: str, state: Any) -> None:
        pass

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        if self.is_allowed(app_label, schema_editor):
            self.forwards(schema_editor)

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        if self.is_allowed(app_label, schema_editor):
            self.backwards(schema_editor)

    def is_allowed(self, app_label: str, schema_editor: BaseDatabaseSchemaEditor) -> bool:
        return router.allow_migrate(schema_editor.connection.alias, app_label)

    def forwards(self, schema_editor: BaseDatabaseSchemaEditor) -> None:
        raise NotImplementedError

    def backwards(self, schema_editor: BaseDatabaseSchemaEditor) -> None:
        raise NotImplementedError


class RunVendorSQL(VendorOperation):
    """
    Run the statements of the database's vendor: ``{"postgresql": ["CREATE …"]}``, likewise to reverse.

    ``model_name`` is the model whose table they touch, for routers that decide by model.
    """

    def __init__(
        self, forward: Statements, reverse: Statements | None = None, *, model_name: str | None = None
    ) -> None:
        self.forward = forward
        self.reverse = reverse or {}
        self.model_name = model_name

    def is_allowed(self, app_label: str, schema_editor: BaseDatabaseSchemaEditor) -> bool:
        return router.allow_migrate(schema_editor.connection.alias, app_label, model_name=self.model_name)

    def forwards(self, schema_editor: BaseDatabaseSchemaEditor) -> None:
        _run(schema_editor, self.forward)

    def backwards(self, schema_editor: BaseDatabaseSchemaEditor) -> None:
        _run(schema_editor, self.reverse)

    def describe(self) -> str:
        return f"Run SQL on {', '.join(sorted({*self.forward, *self.reverse}))}"


def _run(schema_editor: BaseDatabaseSchemaEditor, statements: Statements) -> None:
    for sql in statements.get(schema_editor.connection.vendor, ()):
        schema_editor.execute(sql, params=None)
