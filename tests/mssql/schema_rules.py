"""What SQL Server has against models although the DDL is grammatical."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.db import models
from django.db.models import Q

from context_store.fields import EXACT_COLLATIONS, IdentifierField, MetadataField

BINARY = EXACT_COLLATIONS["microsoft"]
# Bytes in a key: of the clustered primary key, and of another index (1,700, and 32 columns).
PRIMARY_KEY_BYTES, INDEX_BYTES = 900, 1_700
SIZES = {"bigint": 8, "int": 4, "bit": 1, "smallint": 2}


def schema_problems(model: type[models.Model], connection: Any) -> Iterator[str]:
    for rule in (nullable_unique, cascades, conditions, indexed_text, key_sizes, collations, json_checks):
        for problem in rule(model, connection):
            yield f"{model.__name__}: {problem}"


def unique_columns(model: type[models.Model]) -> Iterator[tuple[list[str], Q | None]]:
    """Yield the columns of what is unique, and the condition."""
    for field in model._meta.local_concrete_fields:
        if field.unique:
            yield [field.name], None
    for names in model._meta.unique_together:
        yield list(names), None
    for constraint in model._meta.constraints:
        if isinstance(constraint, models.UniqueConstraint):
            yield list(constraint.fields), constraint.condition


def nullable_unique(model: type[models.Model], connection: Any) -> Iterator[str]:
    """One row with NULL is all that a unique index takes there."""
    for names, condition in unique_columns(model):
        if condition is None and any(model._meta.get_field(name).null for name in names):
            yield f"unique over {', '.join(names)}, which may be null, without a condition"


def cascades(model: type[models.Model], connection: Any) -> Iterator[str]:
    """Two ways to one table: error 1785."""
    for field in model._meta.local_concrete_fields:
        on_delete = getattr(field.remote_field, "on_delete", None)
        if on_delete is not None and type(on_delete).__name__ == "DatabaseOnDelete":
            yield f"{field.name} leaves deleting to the database"


def conditions(model: type[models.Model], connection: Any) -> Iterator[str]:
    """A filtered index takes neither OR nor NOT."""
    for item in (*model._meta.indexes, *model._meta.constraints):
        condition = None if isinstance(item, models.CheckConstraint) else getattr(item, "condition", None)
        if condition is not None and not _is_plain(condition):
            yield f"{item.name} has a condition with OR or NOT"


def _is_plain(condition: Q) -> bool:
    joined = condition.connector == Q.AND or len(condition.children) == 1
    return (
        joined
        and not condition.negated
        and all(_is_plain(child) for child in condition.children if isinstance(child, Q))
    )


def indexed_columns(model: type[models.Model]) -> Iterator[tuple[str, list[str]]]:
    """Yield the name and the columns of each index, the primary key's first."""
    key = model._meta.pk
    yield "the primary key", list(getattr(key, "field_names", [key.name]))
    for field in model._meta.local_concrete_fields:
        if not field.primary_key and (field.db_index or field.unique):
            yield field.name, [field.name]
    for index in model._meta.indexes:
        yield index.name, [name.lstrip("-") for name in index.fields]
    for constraint in model._meta.constraints:
        if isinstance(constraint, models.UniqueConstraint):
            yield constraint.name, list(constraint.fields)


def indexed_text(model: type[models.Model], connection: Any) -> Iterator[str]:
    for name, columns in indexed_columns(model):
        for column in columns:
            if "(max)" in model._meta.get_field(column).db_type(connection):
                yield f"{name} indexes {column}, which is nvarchar(max)"


def key_sizes(model: type[models.Model], connection: Any) -> Iterator[str]:
    """A key that is too long is refused when the row comes, error 1946."""
    for name, columns in indexed_columns(model):
        types = [model._meta.get_field(column).db_type(connection) for column in columns]
        # The migration makes keys of several columns no clustered index.
        is_clustered = name == "the primary key" and not isinstance(model._meta.pk, models.CompositePrimaryKey)
        if any("(max)" in kind for kind in types):
            continue
        size = sum(_bytes(kind) for kind in types)
        allowed = PRIMARY_KEY_BYTES if is_clustered else INDEX_BYTES
        if size > allowed:
            yield f"{name} has keys of {size} bytes, {allowed} fit"


def _bytes(kind: str) -> int:
    if kind.startswith("nvarchar("):
        return 2 * int(kind.removeprefix("nvarchar(").rstrip(")"))
    return SIZES[kind.split()[0]]


def collations(model: type[models.Model], connection: Any) -> Iterator[str]:
    """By default `a` is `A`, and in some databases `ss` is `ß`."""
    for field in model._meta.local_concrete_fields:
        target = field
        while target.is_relation:
            target = target.target_field
        if isinstance(target, IdentifierField) and field.db_parameters(connection).get("collation") != BINARY:
            yield f"{field.name} does not compare exactly"
        if isinstance(target, models.CharField) and not isinstance(target, IdentifierField):
            yield f"{field.name} is short text, but no identifier field"


def json_checks(model: type[models.Model], connection: Any) -> Iterator[str]:
    """ISJSON refuses what is no object and no list."""
    for field in model._meta.local_concrete_fields:
        check = field.db_check(connection)
        if check and "ISJSON" in check and not isinstance(field, MetadataField):
            yield f"{field.name} takes JSON objects and lists only"


def all_problems(classes: Iterable[type[models.Model]], connection: Any) -> list[str]:
    return [problem for model in classes for problem in schema_problems(model, connection)]
