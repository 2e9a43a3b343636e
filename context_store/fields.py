"""Columns that mean the same on every database: identifiers, times, and JSON as it went in."""

import json
from collections.abc import Callable
from typing import Any

from django.db import NotSupportedError, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.fields.json import HasKey, KeyTransform
from django.db.models.lookups import Lookup

from .exact_json import loads_stored, read_finite, refuse_constant, require_no_surrogate
from .exceptions import CorruptData, InvalidData
from .ids import now_ms
from .validation import MAX_IDENTIFIER_LENGTH, JSONText, check_identifier, check_json, check_metadata

# Bytes decide, on every vendor: by default PostgreSQL sorts by the server's locale and SQL Server ignores case.
EXACT_COLLATIONS = {"postgresql": "C", "microsoft": "Latin1_General_100_BIN2"}
# By default SQL Server takes a character beyond U+FFFF for two, and cuts it in half where text is shortened.
TEXT_COLLATIONS = {"microsoft": "Latin1_General_100_CI_AS_SC"}


raw_decode = json.JSONDecoder(parse_float=read_finite, parse_constant=refuse_constant).raw_decode


class IdentifierField(models.CharField):  # type: ignore[type-arg]
    """
    An id, a key or a name: 1-255 printable characters, compared exactly and case-sensitively.

    Every value that reaches the database through the field, in a filter too, is checked; others raise ``InvalidData``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("max_length", MAX_IDENTIFIER_LENGTH)
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        if kwargs.get("max_length") == MAX_IDENTIFIER_LENGTH:
            del kwargs["max_length"]
        return name, path, args, kwargs

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        # Spelled so that Django adds no second index for LIKE: with collation "C" the first one serves both.
        if connection.vendor == "postgresql":
            return f"character varying({self.max_length})"
        return super().db_type(connection)

    def db_parameters(self, connection: BaseDatabaseWrapper) -> Any:
        return {**super().db_parameters(connection), "collation": EXACT_COLLATIONS.get(connection.vendor)}

    def get_prep_value(self, value: Any) -> Any:
        if value is None or hasattr(value, "resolve_expression"):
            return super().get_prep_value(value)
        return check_identifier(value, self.name)

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:  # noqa: FBT001, FBT002
        value = super().get_db_prep_value(value, connection, prepared)
        if connection.vendor == "microsoft" and isinstance(value, str):
            # nvarchar counts UTF-16 units, and a wider column would not fit into an index.
            units = len(value.encode("utf-16-le")) // 2
            if units > MAX_IDENTIFIER_LENGTH:
                reason = f"takes {units} UTF-16 units, SQL Server's index has room for {MAX_IDENTIFIER_LENGTH}"
                raise InvalidData(reason, (self.name,))
        return value


class SearchTextField(models.TextField):  # type: ignore[type-arg]
    """Text to search in and to take the beginning of, in whole characters on every database."""

    def db_parameters(self, connection: BaseDatabaseWrapper) -> Any:
        return {**super().db_parameters(connection), "collation": TEXT_COLLATIONS.get(connection.vendor)}


class EpochMillisecondsField(models.BigIntegerField):  # type: ignore[type-arg]
    """A time as integer milliseconds since the Unix epoch, UTC."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("default", now_ms)
        super().__init__(*args, **kwargs)


class PayloadField(models.Field):  # type: ignore[type-arg]
    """Any JSON value, kept as JSON text: it comes back with the key order and the number forms that it went in with."""

    description = "JSON text"

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        # Not ``jsonb``, which sorts keys and writes numbers anew.
        return {"postgresql": "json", "microsoft": "nvarchar(max)"}.get(connection.vendor, "text")

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:  # noqa: FBT001, FBT002
        if hasattr(value, "as_sql") or isinstance(value, JSONText) or (value is None and self.null):
            return value
        return check_json(value, self.name)

    def get_db_converters(self, connection: BaseDatabaseWrapper) -> list[Callable[..., Any]]:
        # psycopg reads the type ``json`` itself.
        return [] if connection.vendor == "postgresql" else [self._load]

    def _load(self, value: Any, expression: Any, connection: BaseDatabaseWrapper) -> Any:
        try:
            return None if value is None else loads_stored(value)
        except (TypeError, ValueError, RecursionError) as error:
            raise unreadable(self) from error

    def to_python(self, value: Any) -> Any:
        return value

    def value_to_string(self, obj: models.Model) -> Any:
        return self.value_from_object(obj)


def unreadable(field: Any) -> CorruptData:
    """Return the error of a column that holds something else than the field writes."""
    # An expression has a field of its own, which is of no model.
    model = getattr(field, "model", None)
    where = f"{model._meta.label}.{field.name}" if model else "A column"
    return CorruptData(f"{where} holds what the store does not write, so it was not read.")


class MetadataField(models.JSONField):
    """A JSON object to filter by: ``jsonb`` on PostgreSQL, JSON text elsewhere."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("default", dict)
        super().__init__(*args, **kwargs)

    def from_db_value(self, value: Any, expression: Any, connection: BaseDatabaseWrapper) -> Any:
        if value is None or isinstance(expression, KeyTransform):
            return super().from_db_value(value, expression, connection)
        # What a chat has, in a quarter of the time that the field takes to decode it.
        try:
            if value.startswith("{"):
                found = raw_decode(value)[0]
                require_no_surrogate(value, found)
                return found
        except (AttributeError, TypeError, ValueError, RecursionError) as error:
            raise unreadable(self) from error
        raise unreadable(self)

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:  # noqa: FBT001, FBT002
        # A filter on a key comes here with the key's value, which may be no object.
        if isinstance(value, dict):
            value = check_metadata(value, self.name)
        return super().get_db_prep_value(value, connection, prepared)

    def get_db_prep_save(self, value: Any, connection: BaseDatabaseWrapper) -> Any:
        if not hasattr(value, "as_sql"):
            value = check_metadata(value, self.name)
        return super().get_db_prep_save(value, connection)


@MetadataField.register_lookup
class HasMetadataKey(HasKey):
    """``metadata__has_key=key``, on SQL Server for values of every kind and size."""

    def as_microsoft(self, compiler: Any, connection: Any) -> Any:
        # mssql-django asks JSON_VALUE, which is NULL for null, objects, lists and over 4,000 characters.
        column, params = self.process_lhs(compiler, connection)
        same = _same_on_microsoft("has.[key]", "want.[key]")
        return (
            f"EXISTS (SELECT 1 FROM OPENJSON({column}) AS has CROSS JOIN OPENJSON(%s) AS want WHERE {same})",
            (*params, json.dumps({self.rhs: None})),
        )


@MetadataField.register_lookup
class HasEntry(Lookup):
    """
    ``metadata__entry=(key, value)``: the object has the key with just this JSON value.

    Types are respected (``False`` is not ``0`` is not ``"false"``), numbers compare by value, the key is never a path.
    """

    lookup_name = "entry"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        raise NotSupportedError(f"Metadata filters are not supported on {connection.vendor}.")

    def as_postgresql(self, compiler: Any, connection: Any) -> Any:
        # The containment is what the GIN index answers, the equality is what was asked.
        column, params, key, value = self._parts(compiler, connection)
        entry = json.dumps({key: json.loads(value)})
        return f"({column} @> %s::jsonb AND {column} -> %s = %s::jsonb)", (*params, entry, *params, key, value)

    # metadata__entry=("plan", false): json_each gives a row an entry, with the type beside the value, which tells false
    # from 0 and from "false":
    #
    #     {"plan": false}     key plan, type false, value 0        found
    #     {"plan": 0}         key plan, type integer, value 0      not
    def as_sqlite(self, compiler: Any, connection: Any) -> Any:
        column, params, key, value = self._parts(compiler, connection)
        return (
            f"EXISTS (SELECT 1 FROM json_each({column}) AS has, json_each(%s) AS want"
            " WHERE has.key = %s AND has.type = want.type AND has.value IS want.value)",
            (*params, f"[{value}]", key),
        )

    def as_microsoft(self, compiler: Any, connection: Any) -> Any:
        column, params, key, value = self._parts(compiler, connection)
        same_key, same_value = (_same_on_microsoft(f"has.{part}", f"want.{part}") for part in ("[key]", "[value]"))
        return (
            f"EXISTS (SELECT 1 FROM OPENJSON({column}) AS has CROSS JOIN OPENJSON(%s) AS want"
            f" WHERE {same_key} AND has.[type] = want.[type] AND (has.[type] = 0 OR ({same_value})))",
            (*params, f"{{{json.dumps(key)}: {value}}}"),
        )

    def _parts(self, compiler: Any, connection: Any) -> tuple[str, Any, str, str]:
        """Return the column with its parameters, the key, and the value as the column would hold it."""
        key, value = self.rhs
        return *self.process_lhs(compiler, connection), key, json.dumps(check_metadata({key: value}, "metadata")[key])


@MetadataField.register_lookup
class HoldsItem(HasEntry):
    """
    ``metadata__holds=(key, value)``: under the key lies a list that has this text, number, boolean or null in it.

    Types are respected as by ``entry``.
    """

    lookup_name = "holds"

    def as_postgresql(self, compiler: Any, connection: Any) -> Any:
        # Of plain values containment is equality; the GIN index answers it.
        column, params, key, value = self._parts(compiler, connection)
        return f"{column} @> %s::jsonb", (*params, json.dumps({key: [json.loads(value)]}))

    def as_sqlite(self, compiler: Any, connection: Any) -> Any:
        column, params, key, value = self._parts(compiler, connection)
        return (
            f"EXISTS (SELECT 1 FROM json_each({column}) AS has,"
            " json_each(CASE has.type WHEN 'array' THEN has.value ELSE '[]' END) AS item, json_each(%s) AS want"
            " WHERE has.key = %s AND item.type = want.type AND item.value IS want.value)",
            (*params, f"[{value}]", key),
        )

    def as_microsoft(self, compiler: Any, connection: Any) -> Any:
        column, params, key, value = self._parts(compiler, connection)
        # Types of OPENJSON: 0 null, 1 text, 2 number, 3 true or false, 4 array, 5 object.
        same_key = _same_on_microsoft("has.[key]", "want.[key]")
        same_value = _same_on_microsoft("item.[value]", "want.[value]")
        return (
            f"EXISTS (SELECT 1 FROM OPENJSON({column}) AS has"
            " CROSS APPLY OPENJSON(CASE WHEN has.[type] = 4 THEN has.[value] ELSE N'[]' END) AS item"
            f" CROSS JOIN OPENJSON(%s) AS want WHERE {same_key} AND item.[type] = want.[type]"
            f" AND (item.[type] = 0 OR ({same_value})))",
            (*params, f"{{{json.dumps(key)}: {value}}}"),
        )


def _same_on_microsoft(left: str, right: str) -> str:
    """Return the condition that two texts are equal, blanks at their ends too, which no collation there compares."""
    exact = f"COLLATE {EXACT_COLLATIONS['microsoft']}"
    return f"{left} {exact} = {right} {exact} AND DATALENGTH({left}) = DATALENGTH({right})"
