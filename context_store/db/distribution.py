# ruff: noqa: S608 - statements of quoted names; values are bound, or quoted by the database.
"""
Tables of chats' contents as hash partitions of PostgreSQL, or as distributed tables of Citus.

The engine distributes. What is here turns whole tables into such ones, and back: the contents are found in the
catalog, as the tables of the store and of its adapters whose primary key begins with ``chat_id``. The chats themselves
stay one table under partitions: a hundredth of the bytes, and what lists of a user's chats go through.

A move keeps writers going. Each table gets a shadow in its new form, which a trigger keeps up with what is written;
the rows are copied chat by chat; and in a last, short transaction the shadows take the tables' names. The catalog
tells how far a move has come: shadows are there, and a comment on the first has the last chat that was copied.
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple

from django.apps import apps
from django.db import OperationalError, connections, router, transaction
from django.db.models import Model

from .retries import is_deadlock, is_timeout, retry

SHADOW = "_moving"
# Chats that are copied in one transaction: their writers wait for it.
CHATS_AT_ONCE = 50
# Milliseconds that a transaction which needs a whole table waits for those before it, with everybody else behind it,
# and how often it asks.
PATIENCE, TURNS = 1_000, 100
MIN_PARTITIONS, MAX_PARTITIONS = 2, 1_024
STORE = "context_store"
# What Citus distributes by its own key: it grows, and no statement joins it. The rest are small reference tables.
OWN_KEYS = ("ContextEntry", "AuditEntry")


class Table(NamedTuple):
    """A table of chats' contents. ``partitions`` is 0 for a whole one; ``columns`` leaves out generated ones."""

    name: str
    key: list[str]
    columns: list[str]
    partitions: int
    is_moving: bool
    moving_partitions: int

    @property
    def shadow(self) -> str:
        return self.name + SHADOW


class State(NamedTuple):
    """What the tables of a database are; ``partitions`` is the number that all have, ``None`` where they differ."""

    tables: list[Table]
    is_citus: bool

    @property
    def partitions(self) -> int | None:
        numbers = {table.partitions for table in self.tables}
        return numbers.pop() if len(numbers) == 1 else None

    def described(self) -> str:
        """Return in words what the tables are."""
        if self.is_citus:
            return "the tables are distributed by Citus"
        numbers = sorted({table.partitions for table in self.tables})
        forms = [f"{number} hash partitions" if number else "whole tables" for number in numbers]
        return f"the contents of chats lie in {' and '.join(forms)}"

    def problem(self, wanted: int | str | None = None) -> str | None:
        """Return what is unfinished, or not as ``CONTEXT_STORE_DISTRIBUTION`` wants it, in words, or ``None``."""
        if any(table.is_moving for table in self.tables):
            return "a move of the tables is half-done"
        if self.partitions is None and self.tables:
            numbers = max(table.partitions for table in self.tables)
            whole = ", ".join(table.name for table in self.tables if table.partitions != numbers)
            return f"{whole} is not in {numbers} hash partitions, as the others are"
        # Before the first ``migrate`` there are none.
        if wanted is not None and self.tables and wanted != ("citus" if self.is_citus else self.partitions):
            return f"{self.described()}, and CONTEXT_STORE_DISTRIBUTION is {wanted!r}"
        return None


def store_models(using: str) -> list[type[Model]]:
    """Return the models of the store and its adapters that have a table in this database."""
    return [
        model
        for config in apps.get_app_configs()
        if config.name.partition(".")[0] == STORE
        for model in config.get_models(include_auto_created=True)
        if model._meta.managed and not model._meta.proxy and router.allow_migrate_model(using, model)
    ]


def state_of(using: str) -> State:
    """Return what the tables of the database are. Only for PostgreSQL, after ``migrate``."""
    names = sorted(model._meta.db_table for model in store_models(using))
    is_citus = bool(_rows(using, "SELECT 1 FROM pg_extension WHERE extname = 'citus'"))
    if is_citus:
        is_citus = bool(_rows(using, "SELECT 1 FROM pg_dist_partition WHERE logicalrel = to_regclass(%s)", [names[0]]))
    tables = [Table(*row) for row in _rows(using, TABLES, [names])]
    return State([table for table in tables if table.key[0] == "chat_id"], is_citus)


TABLES = f"""
SELECT c.relname,
    (SELECT array_agg(a.attname::text ORDER BY k.place) FROM unnest(p.conkey) WITH ORDINALITY AS k (number, place)
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number),
    (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''),
    (SELECT count(*) FROM pg_inherits WHERE inhparent = c.oid),
    s.oid IS NOT NULL,
    (SELECT count(*) FROM pg_inherits WHERE inhparent = s.oid)
FROM unnest(%s::text[]) AS given (name)
JOIN pg_class c ON c.oid = to_regclass(quote_ident(given.name))
JOIN pg_constraint p ON p.conrelid = c.oid AND p.contype = 'p'
LEFT JOIN pg_class s ON s.oid = to_regclass(quote_ident(given.name || '{SHADOW}'))
ORDER BY c.relname
"""


# What each step leaves, and what the next attempt makes of it after a crash:
#
#     prepare    <table>_moving with trigger and function     those in the wanted form are kept, others made anew
#     copy       rows; a comment with the last chat           goes on behind that chat
#     connect    foreign keys of the shadows                  those that are there are only validated
#     analyze    statistics                                   made again
#     swap       one transaction                              all or nothing
#
# Until ``swap`` the tables themselves have only triggers more: ``abandon`` takes these away with the shadows.
class Move:
    """
    The move of tables to a number of hash partitions, 0 for whole tables.

    The methods are called in the order in which they stand. With ``script`` statements are added there instead of
    being executed.
    """

    def __init__(
        self,
        using: str,
        partitions: int,
        tables: Sequence[Table],
        script: list[str] | None = None,
        *,
        others: Sequence[Table] = (),
    ) -> None:
        """``others`` have the wanted form already."""
        self.using, self.partitions, self.tables, self.script = using, partitions, tables, script
        self._names = {table.name for table in tables}
        # What keys from partition to partition may lead to.
        self._alike = self._names | {table.name for table in others} if partitions else set()

    def prepare(self) -> None:
        """Make the shadows that are not there, with the triggers that keep them up with what is written."""

        def make() -> None:
            self._lock("SHARE ROW EXCLUSIVE")
            for table in self.tables:
                # The lock keeps writers out for the moment in which a trigger begins: no row falls between it and the
                # copy.
                if not table.is_moving or table.moving_partitions != self.partitions:
                    self._drop_shadow(table)
                    for statement in self._shadow(table):
                        self._run(statement)

        self._in_turn(make)

    def abandon(self) -> None:
        """Drop what a move has made and not put in place."""

        def drop() -> None:
            self._lock("SHARE ROW EXCLUSIVE")
            for table in self.tables:
                self._drop_shadow(table)

        self._in_turn(drop)

    def copy(self) -> Iterator[int]:
        """Copy all rows, from where an earlier attempt stopped; yield how many chats each transaction had."""
        if self.script is not None:
            self.script += [self._copy_statement(table, None, None)[0] for table in self.tables]
            return
        # Written in the transaction of the rows, so that the two never differ.
        [[after]] = _rows(self.using, COMMENT, [self.tables[0].shadow])
        is_last = False
        while not is_last:
            after, count, is_last = retry(self.using, partial(self._copy_some, after or None))
            yield count

    def connect(self) -> None:
        """Give the shadows their foreign keys, checked without holding writers up."""
        for table in self.tables:
            self._connect(table)

    def analyze(self) -> None:
        """Give the shadows statistics."""
        for table in self.tables:
            self._run_alone(f"ANALYZE {self._quote(table.shadow)}")

    def swap(self) -> None:
        """Put the shadows in the tables' place."""
        self._in_turn(self._swap)

    def _in_turn(self, work: Callable[[], None]) -> None:
        """Do the work in a transaction that waits a short time for its locks, since others wait behind it; repeat."""
        if self.script is not None:
            self.script.append("BEGIN")
            work()
            self.script.append("COMMIT")
            return
        for attempt in range(TURNS):
            try:
                with self._transaction():
                    self._run(f"SET LOCAL lock_timeout = {PATIENCE}")
                    work()
                return
            except OperationalError as error:
                if attempt == TURNS - 1 or not (is_timeout(error) or is_deadlock(error)):
                    raise
                time.sleep(PATIENCE / 1_000)

    # The steps

    def _shadow(self, table: Table) -> Iterator[str]:
        quote = self._quote
        shadow = quote(table.shadow)
        # No INDEXES: their names would be PostgreSQL's own, and Django's migrations look for theirs.
        kinds = "DEFAULTS IDENTITY GENERATED CONSTRAINTS STORAGE COMPRESSION COMMENTS STATISTICS"
        including = " ".join(f"INCLUDING {kind}" for kind in kinds.split())
        by_hash = " PARTITION BY HASH (chat_id)" if self.partitions else ""
        options = self._storage_options(table)
        yield f"CREATE TABLE {shadow} (LIKE {quote(table.name)} {including}){by_hash}" + (
            f" WITH ({options})" if options and not self.partitions else ""
        )
        yield f"COMMENT ON TABLE {shadow} IS ''"
        for name, definition, is_constraint, comment in self._indexes(table):
            new = quote(self._shortened(name))
            if is_constraint:
                yield f"ALTER TABLE {shadow} ADD CONSTRAINT {new} {definition}"
            else:
                yield re.sub(
                    r" INDEX (.+?) ON (ONLY )?(.+?) USING ", f" INDEX {new} ON {shadow} USING ", definition, count=1
                )
            if comment:
                yield f"COMMENT ON INDEX {new} IS {self._literal(comment)}"
        for leaf in self._leaves(table):
            remainder = leaf.removeprefix(f"{table.name}_").partition("_")[0]
            yield (
                f"CREATE TABLE {quote(leaf)} PARTITION OF {shadow}"
                f" FOR VALUES WITH (MODULUS {self.partitions}, REMAINDER {remainder})"
                + (f" WITH ({options})" if options else "")
            )
        yield from self._privileges(table)
        # The trigger, with the key in the shadow:
        #
        #     INSERT    INSERT new
        #     UPDATE    DELETE old, INSERT new    whether the row was copied yet or not
        #     DELETE    DELETE old
        function = quote(f"{table.name}_mirror")
        key = " AND ".join(f"{quote(column)} = OLD.{quote(column)}" for column in table.key)
        columns = ", ".join(map(quote, table.columns))
        values = ", ".join(f"NEW.{quote(column)}" for column in table.columns)
        yield (
            f"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $mirror$ BEGIN\n"
            f"IF TG_OP <> 'INSERT' THEN DELETE FROM {shadow} WHERE {key}; END IF;\n"
            f"IF TG_OP <> 'DELETE' THEN INSERT INTO {shadow} ({columns}) OVERRIDING SYSTEM VALUE VALUES ({values});"
            " END IF;\nRETURN NULL; END $mirror$"
        )
        yield (
            f"CREATE TRIGGER {function} AFTER INSERT OR UPDATE OR DELETE ON {quote(table.name)}"
            f" FOR EACH ROW EXECUTE FUNCTION {function}()"
        )

    def _drop_shadow(self, table: Table) -> None:
        if table.is_moving:
            function = self._quote(f"{table.name}_mirror")
            self._run(f"DROP TRIGGER IF EXISTS {function} ON {self._quote(table.name)}")
            self._run(f"DROP FUNCTION IF EXISTS {function}()")
            self._run(f"DROP TABLE {self._quote(table.shadow)} CASCADE")

    def _lock(self, mode: str) -> None:
        self._run(f"LOCK TABLE {', '.join(self._quote(table.name) for table in self.tables)} IN {mode} MODE")

    def _copy_some(self, after: str | None) -> tuple[str | None, int, bool]:
        chat = self._quote(apps.get_model(STORE, "Chat")._meta.db_table)
        with self._transaction():
            # The lock of those who write to a chat: nobody changes its rows meanwhile.
            condition, params = ("WHERE id > %s", [after]) if after is not None else ("", [])
            chats = f"SELECT id FROM {chat} {condition} ORDER BY id LIMIT {CHATS_AT_ONCE} FOR NO KEY UPDATE"
            ids = [row[0] for row in _rows(self.using, chats, params)]
            is_last = len(ids) < CHATS_AT_ONCE
            last = None if is_last else ids[-1]
            # The ranges leave nothing out, so that rows of a chat that is not there come along as well.
            for table in self.tables:
                statement, values = self._copy_statement(table, after, last)
                _execute(self.using, statement, values)
            if last is not None:
                comment = self._literal(last)
                _execute(self.using, f"COMMENT ON TABLE {self._quote(self.tables[0].shadow)} IS {comment}")
        return last, len(ids), is_last

    def _copy_statement(self, table: Table, after: str | None, last: str | None) -> tuple[str, list[str]]:
        """Return the statement that copies the rows of the chats behind ``after`` up to ``last``."""
        bounds = [("chat_id > %s", after), ("chat_id <= %s", last)]
        given = [(condition, value) for condition, value in bounds if value is not None]
        where = f" WHERE {' AND '.join(condition for condition, _ in given)}" if given else ""
        columns = ", ".join(map(self._quote, table.columns))
        key = ", ".join(map(self._quote, table.key))
        # FOR SHARE: of a row that is written meanwhile the trigger writes the last version, after this one.
        return (
            f"WITH stored AS MATERIALIZED (SELECT {columns} FROM {self._quote(table.name)}{where} FOR SHARE)"
            f" INSERT INTO {self._quote(table.shadow)} ({columns}) OVERRIDING SYSTEM VALUE"
            f" SELECT {columns} FROM stored ON CONFLICT ({key}) DO NOTHING"
        ), [value for _, value in given]

    def _connect(self, table: Table) -> None:
        """
        Add the table's foreign keys to each partition, within the contents to the partition of the same chats.

        A key from partitioned table to partitioned table would look for the partition again at every row.
        """
        quote = self._quote
        for name, columns, target, target_columns, rest in self._keys(table):
            # Two steps: NOT VALID locks the tables for a moment, VALIDATE reads all rows and lets writers go on.
            for leaf in self._leaves(table) or [table.shadow]:
                there = target
                if target in self._names | self._alike:
                    there = leaf.replace(table.name, target, 1)
                add = (
                    f"ALTER TABLE {quote(leaf)} ADD CONSTRAINT {quote(name)} FOREIGN KEY {columns}"
                    f" REFERENCES {quote(there)} {target_columns}{rest} NOT VALID"
                )
                if not _rows(self.using, HAS_CONSTRAINT, [leaf, name]):
                    self._in_turn(partial(self._run, add))
                self._run_alone(f"ALTER TABLE {quote(leaf)} VALIDATE CONSTRAINT {quote(name)}")

    def _swap(self) -> None:
        quote = self._quote
        # All tables in one statement, so that no two moves hold some of them each. Nothing that follows copies rows.
        self._lock("ACCESS EXCLUSIVE")
        # Table, name and definition of the keys of other tables that lead to the contents.
        names = [*self._names, *(leaf for table in self.tables for leaf in self._leaves(table))]
        names += [table.shadow for table in self.tables]
        names += [f"{table.name}_{n}_of_{table.partitions}" for table in self.tables for n in range(table.partitions)]
        from_outside = _rows(self.using, KEYS_FROM_OUTSIDE, [list(self._names), names])
        # What the catalog says of the tables, before they are gone.
        afterwards = list(self._afterwards())
        for table in self.tables:
            for column, sequence in self._sequences(table):
                new = f"pg_get_serial_sequence({self._literal(quote(table.shadow))}, {self._literal(column)})"
                self._run(f"SELECT setval({new}, last_value, is_called) FROM {sequence}")
        for owner, name, _ in from_outside:
            self._run(f"ALTER TABLE {owner} DROP CONSTRAINT {quote(name)}")
        # Together, as they refer to each other; no CASCADE, which would take along what a project has put there.
        self._run(f"DROP TABLE {', '.join(quote(table.name) for table in self.tables)}")
        for table in self.tables:
            self._run(f"DROP FUNCTION {quote(f'{table.name}_mirror')}()")
        for statement in afterwards:
            self._run(statement)
        for owner, name, definition in from_outside:
            self._run(f"ALTER TABLE {owner} ADD CONSTRAINT {quote(name)} {definition}")

    def _afterwards(self) -> Iterator[str]:
        """Give the shadows the names of their tables, and those with partitions the keys that lead out."""
        quote = self._quote
        for table in self.tables:
            for name, _, _, _ in self._indexes(table):
                yield f"ALTER INDEX {quote(self._shortened(name))} RENAME TO {quote(name)}"
            for column, sequence in self._sequences(table):
                name = sequence.rpartition(".")[2].strip('"')
                yield f"ALTER SEQUENCE {quote(f'{table.shadow}_{column}_seq')} RENAME TO {quote(name)}"
            yield f"COMMENT ON TABLE {quote(table.shadow)} IS NULL"
            yield f"ALTER TABLE {quote(table.shadow)} RENAME TO {quote(table.name)}"
        for table in self.tables if self.partitions else ():
            for name, columns, target, target_columns, rest in self._keys(table):
                # The partitions have them, checked.
                if target not in self._alike:
                    yield (
                        f"ALTER TABLE {quote(table.name)} ADD CONSTRAINT {quote(name)} FOREIGN KEY {columns}"
                        f" REFERENCES {quote(target)} {target_columns}{rest}"
                    )

    # The catalog

    def _leaves(self, table: Table) -> list[str]:
        return [f"{table.name}_{number}_of_{self.partitions}" for number in range(self.partitions)]

    def _indexes(self, table: Table) -> list[tuple[Any, ...]]:
        """Return name, definition, whether it belongs to a constraint, and comment; the primary key first."""
        return _rows(self.using, INDEXES, [table.name])

    def _keys(self, table: Table) -> list[tuple[str, str, str, str, str]]:
        """Return the table's foreign keys: name, columns, table and columns that they lead to, and the rest."""
        source = f"{table.name}_0_of_{table.partitions}" if table.partitions else table.name
        found = []
        for name, target, definition in _rows(self.using, FOREIGN_KEYS, [source]):
            columns, target_columns, rest = KEY_PARTS.fullmatch(definition).groups()  # type: ignore[union-attr]
            target = re.sub(rf"_\d+_of_{table.partitions}$", "", target)
            found.append((name, columns, target, target_columns, rest))
        return found

    def _sequences(self, table: Table) -> list[tuple[str, str]]:
        """Return the columns that number rows, with the name of their sequence."""
        sql = "SELECT pg_get_serial_sequence(quote_ident(%s), %s)"
        named = ((column, _rows(self.using, sql, [table.name, column])[0][0]) for column in table.columns)
        return [(column, sequence) for column, sequence in named if sequence]

    def _storage_options(self, table: Table) -> str:
        source = f"{table.name}_0_of_{table.partitions}" if table.partitions else table.name
        sql = "SELECT array_to_string(reloptions, ', ') FROM pg_class WHERE oid = to_regclass(quote_ident(%s))"
        return _rows(self.using, sql, [source])[0][0] or ""

    def _privileges(self, table: Table) -> Iterator[str]:
        shadow = self._quote(table.shadow)
        for owner, is_other in _rows(self.using, OWNER, [table.name]):
            if is_other:
                yield f"ALTER TABLE {shadow} OWNER TO {owner}"
        for privilege, grantee in _rows(self.using, PRIVILEGES, [table.name]):
            yield f"GRANT {privilege} ON {shadow} TO {grantee}"

    def _shortened(self, name: str) -> str:
        """Return the name that an index has until the swap."""
        return f"{name[: 63 - len(SHADOW)]}{SHADOW}"

    def _quote(self, name: str) -> str:
        return connections[self.using].ops.quote_name(name)

    def _literal(self, text: str) -> str:
        return str(_rows(self.using, "SELECT quote_literal(%s)", [text])[0][0])

    def _run(self, statement: str) -> None:
        if self.script is None:
            _execute(self.using, statement)
        else:
            self.script.append(statement)

    def _run_alone(self, statement: str) -> None:
        """Run a statement that takes as long as the table is large, outside of the transactions of the others."""
        with self._transaction() if self.script is None else nullcontext():
            self._run(statement)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Begin a transaction without the limits that a role, a database or OPTIONS may have for requests."""
        with transaction.atomic(using=self.using):
            _execute(self.using, WITHOUT_LIMITS)
            yield


INDEXES = """
SELECT i.relname, coalesce(pg_get_constraintdef(con.oid), pg_get_indexdef(i.oid)), con.oid IS NOT NULL,
    obj_description(i.oid, 'pg_class')
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
LEFT JOIN pg_constraint con ON con.conindid = i.oid AND con.conrelid = x.indrelid AND con.contype IN ('p', 'u')
WHERE x.indrelid = to_regclass(quote_ident(%s)) ORDER BY x.indisprimary DESC, i.relname
"""
FOREIGN_KEYS = """
SELECT conname, t.relname, pg_get_constraintdef(con.oid) FROM pg_constraint con JOIN pg_class t ON t.oid = confrelid
WHERE conrelid = to_regclass(quote_ident(%s)) AND contype = 'f'
    -- A key that leads to a partitioned table has one of its own for each partition there.
    AND NOT EXISTS (SELECT 1 FROM pg_constraint whole
        WHERE whole.oid = con.conparentid AND whole.conrelid = con.conrelid)
ORDER BY conname
"""
KEY_PARTS = re.compile(r"FOREIGN KEY (\(.+?\)) REFERENCES .+?(\(.+?\))((?: .*)?)")
KEYS_FROM_OUTSIDE = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(con.oid)
FROM pg_constraint con JOIN pg_class t ON t.oid = confrelid JOIN pg_class o ON o.oid = conrelid
WHERE contype = 'f' AND conparentid = 0 AND t.relname = ANY(%s::text[]) AND NOT o.relname = ANY(%s::text[])
    AND t.relnamespace = o.relnamespace
"""
COMMENT = "SELECT obj_description(to_regclass(quote_ident(%s)), 'pg_class')"
# Before version 17 there is no ``transaction_timeout``.
WITHOUT_LIMITS = """
SELECT set_config(name, '0', true) FROM pg_settings WHERE name IN
    ('statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout', 'lock_timeout')
"""
HAS_CONSTRAINT = """
SELECT 1 FROM pg_constraint WHERE conrelid = to_regclass(quote_ident(%s)) AND conname = %s
"""
OWNER = """
SELECT quote_ident(pg_get_userbyid(relowner)), relowner <> (SELECT oid FROM pg_roles WHERE rolname = current_user)
FROM pg_class WHERE oid = to_regclass(quote_ident(%s))
"""
PRIVILEGES = """
SELECT privilege_type, CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END
FROM pg_class, aclexplode(relacl) WHERE oid = to_regclass(quote_ident(%s)) AND grantee <> relowner
"""


# Citus


def citus_statements(using: str) -> list[str]:
    """
    Return what makes distributed tables of all tables of the store, in one transaction.

    Citus refuses to distribute a table with keys from or to a local one, so that these go first and come back last.
    """
    quote = connections[using].ops.quote_name
    names = sorted(model._meta.db_table for model in store_models(using))
    contents = [table.name for table in state_of(using).tables]
    chat = apps.get_model(STORE, "Chat")._meta.db_table
    keys = _rows(using, ALL_KEYS, [names])
    statements = ["SET LOCAL citus.multi_shard_modify_mode TO 'sequential'"]
    statements += [f"ALTER TABLE {quote(table)} DROP CONSTRAINT {quote(name)}" for table, name, _ in keys]
    statements.append(f"SELECT create_distributed_table('{quote(chat)}', 'id', colocate_with => 'none')")
    statements += [
        f"SELECT create_distributed_table('{quote(table)}', 'chat_id', colocate_with => '{quote(chat)}')"
        for table in contents
    ]
    own = distribution_columns(using)
    for table in sorted({*names} - {*contents, chat}):
        key = own.get(table)
        statements.append(
            f"SELECT create_distributed_table('{quote(table)}', '{key}', colocate_with => 'none')"
            if key
            else f"SELECT create_reference_table('{quote(table)}')"
        )
    statements += [
        f"ALTER TABLE {quote(table)} ADD CONSTRAINT {quote(name)} {rest}"
        for table, name, rest in keys
        # Citus has no keys from reference tables to distributed ones.
        if table in own or not any(f" {target}(" in rest for target in own)
    ]
    return statements


def distribution_columns(using: str) -> dict[str, str]:
    """Return by which column Citus would distribute each table; reference tables have none."""
    columns = {apps.get_model(STORE, "Chat")._meta.db_table: "id"}
    columns |= {table.name: "chat_id" for table in state_of(using).tables}
    for model in store_models(using):
        table = model._meta.db_table
        if model.__name__ in OWN_KEYS and (key := _own_key(using, table)):
            columns[table] = key
    return columns


def citus_undo_statements(using: str) -> list[str]:
    """Return what makes local tables of all tables of the store."""
    quote = connections[using].ops.quote_name
    names = sorted(model._meta.db_table for model in store_models(using))
    distributed = "SELECT 1 FROM pg_dist_partition WHERE logicalrel = to_regclass(quote_ident(%s))"
    keys = _rows(using, ALL_KEYS, [names])
    return [
        "SET LOCAL citus.multi_shard_modify_mode TO 'sequential'",
        *(f"ALTER TABLE {quote(table)} DROP CONSTRAINT {quote(name)}" for table, name, _ in keys),
        *(f"SELECT undistribute_table('{quote(name)}')" for name in names if _rows(using, distributed, [name])),
        *(f"ALTER TABLE {quote(table)} ADD CONSTRAINT {quote(name)} {rest}" for table, name, rest in keys),
    ]


def _own_key(using: str, table: str) -> str | None:
    """Return the column that every unique constraint of the table has, as Citus asks for, or ``None``."""
    found = _rows(using, UNIQUE_COLUMNS, [table])
    shared = set.intersection(*(set(columns) for columns, _ in found))
    [primary] = [columns for columns, is_primary in found if is_primary]
    return next((column for column in primary if column in shared), None)


ALL_KEYS = """
SELECT c.relname, conname, pg_get_constraintdef(con.oid) FROM pg_constraint con JOIN pg_class c ON c.oid = conrelid
WHERE contype = 'f' AND conparentid = 0
    AND c.oid = ANY(SELECT to_regclass(quote_ident(name)) FROM unnest(%s::text[]) AS given (name))
ORDER BY 1, 2
"""
UNIQUE_COLUMNS = """
SELECT (SELECT array_agg(a.attname::text ORDER BY k.place) FROM unnest(x.indkey::int2[]) WITH ORDINALITY
    AS k (number, place) JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.number), x.indisprimary
FROM pg_index x WHERE x.indrelid = to_regclass(quote_ident(%s)) AND x.indisunique
"""


# Both


def execute_at_once(using: str, statements: Sequence[str]) -> None:
    """Execute the statements in one transaction."""
    with transaction.atomic(using=using):
        for statement in statements:
            _execute(using, statement)


def distribute_empty(using: str, wanted: int | str) -> None:
    """Give the tables the wanted form, unless they have it or have rows."""
    state = state_of(using)
    if not state.tables or state.is_citus or state.partitions == wanted:
        return
    some = " UNION ALL ".join(
        f"(SELECT 1 FROM {connections[using].ops.quote_name(table.name)} LIMIT 1)" for table in state.tables
    )
    if _rows(using, some):
        return
    if wanted == "citus":
        _execute(using, "CREATE EXTENSION IF NOT EXISTS citus")
        execute_at_once(using, citus_statements(using))
    else:
        move = Move(using, int(wanted), state.tables)
        move.prepare()
        move.connect()
        move.swap()


def _rows(using: str, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    with connections[using].cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())


def _execute(using: str, sql: str, params: Sequence[Any] | None = None) -> None:
    with connections[using].cursor() as cursor:
        cursor.execute(sql, params)
