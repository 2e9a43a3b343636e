"""Migration operations for one vendor's objects. They do nothing on other vendors, and reverse."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import router
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation

Statements = Mapping[str, Sequence[str]]


class RunVendorSQL(Operation):
    """
    Run the statements of the database's vendor: ``{"postgresql": ["CREATE …"]}``, likewise to reverse.

    ``model_name`` is the model whose table they touch, for routers that decide by model. The models' state stays as it
    is.
    """

    reversible = True
    reduces_to_sql = True

    def __init__(
        self, forward: Statements, reverse: Statements | None = None, *, model_name: str | None = None
    ) -> None:
        self.forward = forward
        self.reverse = reverse or {}
        self.model_name = model_name

    def state_forwards(self, app_label: str, state: Any) -> None:
        pass

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        self._run(app_label, schema_editor, self.forward)

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        self._run(app_label, schema_editor, self.reverse)

    def describe(self) -> str:
        return f"Run SQL on {', '.join(sorted({*self.forward, *self.reverse}))}"

    def _run(self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, statements: Statements) -> None:
        if router.allow_migrate(schema_editor.connection.alias, app_label, model_name=self.model_name):
            for sql in statements.get(schema_editor.connection.vendor, ()):
                schema_editor.execute(sql, params=None)
