"""
The rules of Citus for distributed tables, asked of every statement and of the schema that the suite has.

Citus is no package of Python, so that its rules are held by a check of PostgreSQL's own syntax trees (pglast). Each
problem names its rule, and `SOURCE` is where Citus' documentation has it. What a move to partitions sends is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pglast import ast, parse_sql
from pglast.enums import A_Expr_Kind, BoolExprType
from pglast.visitors import Visitor

SOURCE = "https://docs.citusdata.com/en/stable/develop/reference_workarounds.html"
RULES = {
    "join": "joins of distributed tables are on their distribution columns",
    "correlated": "correlated subqueries are supported only when the correlation is on the distribution column",
    "for update": "SELECT … FOR UPDATE works in single-shard queries only",
    "recursive": "recursive CTEs work in single-shard queries only",
    "grouping sets": "grouping sets work in single-shard queries only",
    "move": "the distribution column of a row cannot be changed",
    "unique": "unique constraints have the distribution column",
    "foreign key": "foreign keys between distributed tables have the distribution columns of both, in the same place",
}
NOT_FOR_CITUS = re.compile(r"_moving|FOR NO KEY UPDATE|FOR KEY SHARE")
PLACEHOLDER = re.compile(r"%(?:%|s)")


class Relation(NamedTuple):
    """A distributed table in a FROM, under its alias, with its distribution column."""

    alias: str
    column: str

    @property
    def key(self) -> tuple[str, str]:
        return self.alias, self.column


def broken_rules(sql: str, params: Any, columns: Mapping[str, str]) -> list[str]:
    """Return the rules that a statement breaks; ``columns`` are the distribution columns of the tables."""
    if NOT_FOR_CITUS.search(sql):
        return []
    found: list[str] = []
    for statement in parse_sql(numbered(sql, params)):
        _check(statement.stmt, columns, (), found, Equal())
    return list(dict.fromkeys(found))


def numbered(sql: str, params: Any) -> str:
    """Return the statement with ``$1`` for ``%s``: equal values have one number, as they lie in one shard."""
    values: list[Any] = []
    given = iter(params or ())

    def number(match: re.Match[str]) -> str:
        if match[0] == "%%":
            return "%"
        value = (type(value := next(given)), repr(value))
        if value not in values:
            values.append(value)
        return f"${values.index(value) + 1}"

    return PLACEHOLDER.sub(number, sql) if params is not None else sql


class Equal:
    """What equalities make one: columns, and values."""

    def __init__(self) -> None:
        self.above: dict[Any, Any] = {}

    def root(self, item: Any) -> Any:
        while item in self.above:
            item = self.above[item]
        return item

    def join(self, left: Any, right: Any) -> None:
        left, right = self.root(left), self.root(right)
        if left != right:
            # Values stay on top, so that a root tells whether there is one.
            if isinstance(left, int):
                left, right = right, left
            self.above[left] = right

    def has_value(self, item: Any) -> bool:
        return isinstance(self.root(item), int)


class _Own(Visitor):  # type: ignore[misc]
    """Collects tables, equalities, subqueries and outer references of one query, without what lies in subqueries."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[ast.RangeVar] = []
        self.inner: list[Any] = []
        self.columns: list[tuple[str, str]] = []
        self.top: Any = None

    def visit(self, ancestors: Any, node: Any) -> Any:
        from pglast.visitors import Skip

        if self.top is None:
            self.top = node
        elif isinstance(node, (ast.SelectStmt, ast.UpdateStmt, ast.DeleteStmt, ast.InsertStmt)):
            self.inner.append(node)
            return Skip
        if isinstance(node, ast.RangeVar):
            self.tables.append(node)
        if isinstance(node, ast.ColumnRef) and len(node.fields) > 1 and isinstance(node.fields[-1], ast.String):
            self.columns.append((node.fields[-2].sval, node.fields[-1].sval))
        return None


def _check(query: Any, columns: Mapping[str, str], outer: tuple[Relation, ...], found: list[str], equal: Equal) -> None:
    own = _Own()
    own(query)
    mine = [
        Relation(table.alias.aliasname if table.alias else table.relname, columns[table.relname])
        for table in own.tables
        if table.relname in columns
    ]
    for condition in _conditions(query):
        _equate(condition, equal, mine)
    if any(equal.root(relation.key) != equal.root(mine[0].key) for relation in mine[1:]):
        found.append("join")
    used = [relation for relation in outer if relation.alias in {alias for alias, _ in own.columns}]
    if mine and used and equal.root(mine[0].key) != equal.root(used[0].key):
        found.append("correlated")
    is_single = bool(mine) and equal.has_value(mine[0].key)
    if getattr(query, "lockingClause", None) and mine and not is_single:
        found.append("for update")
    with_clause = getattr(query, "withClause", None)
    if with_clause is not None and with_clause.recursive and not is_single:
        found.append("recursive")
    if any(isinstance(item, ast.GroupingSet) for item in getattr(query, "groupClause", None) or ()) and not is_single:
        found.append("grouping sets")
    if isinstance(query, ast.UpdateStmt) and mine and mine[0].column in {item.name for item in query.targetList}:
        found.append("move")
    for inner in own.inner:
        # What is equal outside is so inside, and what is equal inside holds there alone.
        within = Equal()
        within.above = dict(equal.above)
        _check(inner, columns, (*outer, *mine), found, within)


def _conditions(query: Any) -> Iterator[Any]:
    """Give the conditions that all rows of the query meet."""
    pending = [getattr(query, "whereClause", None), *(getattr(query, "fromClause", None) or ())]
    pending += getattr(query, "usingClause", None) or ()
    while pending:
        node = pending.pop()
        if isinstance(node, ast.JoinExpr):
            pending += [node.larg, node.rarg, node.quals]
        elif isinstance(node, ast.BoolExpr) and node.boolop == BoolExprType.AND_EXPR:
            pending += node.args
        elif isinstance(node, ast.BoolExpr) and node.boolop == BoolExprType.OR_EXPR:
            # An equality that each arm has.
            arms = [list(_conditions(_Where(arm))) for arm in node.args]
            texts = [{repr(condition) for condition in arm} for arm in arms]
            pending += [condition for condition in arms[0] if all(repr(condition) in text for text in texts)]
        elif node is not None:
            yield node


class _Where(NamedTuple):
    whereClause: Any  # noqa: N815 - as in the tree


def _equate(condition: Any, equal: Equal, mine: list[Relation]) -> None:
    if not isinstance(condition, ast.A_Expr) or condition.name[-1].sval != "=":
        return
    right = condition.rexpr
    if condition.kind == A_Expr_Kind.AEXPR_IN and len(right) == 1:
        [right] = right
    elif condition.kind != A_Expr_Kind.AEXPR_OP:
        return
    sides = [_side(side, mine) for side in (condition.lexpr, right)]
    if None not in sides:
        equal.join(*sides)


def _side(node: Any, mine: list[Relation]) -> Any:
    if isinstance(node, ast.TypeCast):
        node = node.arg
    if isinstance(node, ast.ParamRef):
        return node.number
    if isinstance(node, ast.ColumnRef) and isinstance(node.fields[-1], ast.String):
        # A bare name is of the only table.
        alias = node.fields[-2].sval if len(node.fields) > 1 else mine[0].alias if len(mine) == 1 else ""
        return alias, node.fields[-1].sval
    return None


# The schema

UNIQUE = """
SELECT c.relname, i.relname, array(SELECT attname::text FROM pg_attribute WHERE attrelid = c.oid
    AND attnum = ANY(x.indkey::int2[]))
FROM pg_index x JOIN pg_class c ON c.oid = indrelid JOIN pg_class i ON i.oid = indexrelid
WHERE indisunique AND c.relname = ANY(%s)
"""
KEYS = """
SELECT c.relname, con.conname, t.relname,
    array(SELECT attname::text FROM unnest(conkey) WITH ORDINALITY AS k (number, place)
        JOIN pg_attribute ON attrelid = conrelid AND attnum = k.number ORDER BY k.place),
    array(SELECT attname::text FROM unnest(confkey) WITH ORDINALITY AS k (number, place)
        JOIN pg_attribute ON attrelid = confrelid AND attnum = k.number ORDER BY k.place)
FROM pg_constraint con JOIN pg_class c ON c.oid = conrelid JOIN pg_class t ON t.oid = confrelid
WHERE contype = 'f' AND conparentid = 0 AND c.relname = ANY(%s)
"""


def schema_problems(cursor: Any, columns: Mapping[str, str], tables: list[str]) -> list[str]:
    """Return the rules that unique constraints and foreign keys of the store's tables break, with their names."""
    found = []
    cursor.execute(UNIQUE, [list(columns)])
    for table, index, names in cursor.fetchall():
        if columns[table] not in names:
            found.append(f"unique: {table} {index}")
    cursor.execute(KEYS, [tables])
    for table, name, target, mine, theirs in cursor.fetchall():
        target = re.sub(r"_\d+_of_\d+$", "", target)
        pair = (columns.get(table), columns.get(target))
        # Keys to reference tables are free; those from them to distributed ones `distribute_context_store` drops.
        if None not in pair and pair not in zip(mine, theirs, strict=True):
            found.append(f"foreign key: {table} {name}")
    return found
