"""What is wrong with a statement: Microsoft's grammar, and the rules that no grammar knows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

MAX_PARAMS = 2_000
# More than one list of this length in a statement and the optimizer gives up, or takes minutes.
LARGE_LIST = 100
MAX_ROWS = 1_000

_LITERAL = re.compile(r"N?'((?:[^']|'')*)'")
_EXECUTED = re.compile(r"\bEXEC(?:UTE)?\s*\(\s*N?'((?:[^']|'')*)'\s*\)", re.IGNORECASE)
_IN_LIST = re.compile(r"\bIN \(((?:@\w+|NULL)(?:, (?:@\w+|NULL))*)\)")
_DISTINCT = re.compile(r"SELECT DISTINCT (?:TOP \d+ )?(?P<columns>.*?) FROM .* ORDER BY (?P<order>[^)]*)$", re.DOTALL)

Rule = Callable[[str, Sequence[Any]], str | None]


def nothing_foreign(sql: str, params: Sequence[Any]) -> str | None:
    """The grammar reads `a::b` as a call of .NET, and FOR UPDATE as a cursor's."""
    if match := re.search(r"\w::\w|\bFOR UPDATE\b", _LITERAL.sub("''", sql)):
        return f"{match[0]} is another database's SQL"
    return None


def few_params(sql: str, params: Sequence[Any]) -> str | None:
    if len(params) >= MAX_PARAMS:
        return f"{len(params)} parameters: SQL Server takes fewer than 2,100"
    return None


def one_large_list(sql: str, params: Sequence[Any]) -> str | None:
    large = [count for match in _IN_LIST.finditer(sql) if (count := match[1].count(",") + 1) > LARGE_LIST]
    return f"{len(large)} large IN lists in one statement: {large}" if len(large) > 1 else None


def few_rows(sql: str, params: Sequence[Any]) -> str | None:
    rows = sql.count("), (") + 1 if sql.startswith("INSERT INTO") else 0
    return f"{rows} rows in one VALUES: SQL Server takes {MAX_ROWS}" if rows > MAX_ROWS else None


def no_text_with_group_by(sql: str, params: Sequence[Any]) -> str | None:
    """mssql-django declares the parameters of such a statement: text outside the BMP gets a variable too short."""
    if "GROUP BY" in sql and any(isinstance(param, str) for param in params):
        return "GROUP BY with a parameter that is text: mssql-django cuts it short where it has characters above U+FFFF"
    return None


def no_group_by_in_cte(sql: str, params: Sequence[Any]) -> str | None:
    if "GROUP BY" in sql and params and re.search(r"\bWITH \S+ AS \(", sql):
        return "a CTE with GROUP BY and parameters: mssql-django puts its DECLARE in front of it"
    return None


def no_json_value(sql: str, params: Sequence[Any]) -> str | None:
    if "JSON_VALUE(" in sql:
        return "JSON_VALUE: NULL above 4,000 characters, and mssql-django drops quotes; use metadata__entry"
    return None


def distinct_in_order(sql: str, params: Sequence[Any]) -> str | None:
    if match := _DISTINCT.search(sql):
        items = [re.sub(r" (ASC|DESC)( OFFSET \d+ ROWS)?$", "", item.strip()) for item in match["order"].split(",")]
        unselected = [item for item in items if item not in match["columns"] and not item.isdigit()]
        if unselected:
            return f"DISTINCT ordered by what is not selected: {', '.join(unselected)}"
    return None


RULES: tuple[Rule, ...] = (
    nothing_foreign,
    few_params,
    one_large_list,
    few_rows,
    no_text_with_group_by,
    no_group_by_in_cte,
    no_json_value,
    distinct_in_order,
)


def broken_rules(sql: str, params: Sequence[Any]) -> list[str]:
    """Return what SQL Server or mssql-django has against the statement although it is grammatical."""
    return [problem for rule in RULES if (problem := rule(sql, params))]


def syntax_errors(sql: str, version: int) -> list[str]:
    """Return what the grammar of that SQL Server finds wrong, in SQL that the statement executes as text too."""
    from .scriptdom import parse

    findings = [f"{message} (line {line}, column {column})" for line, column, message in parse(sql, version)]
    for text in _executed(sql):
        findings += [f"in EXEC: {problem}" for problem in syntax_errors(text, version)]
    return findings


def _executed(sql: str) -> Iterator[str]:
    """Yield SQL that is executed as text; of an expression the literals, with a name for what is between them."""
    for match in _EXECUTED.finditer(sql):
        yield match[1].replace("''", "'")
    for declared in re.finditer(r"DECLARE (@\w+) nvarchar\(max\) = ([^;]*);", sql):
        if re.search(rf"EXEC \({declared[1]}\)", sql):
            yield "[name]".join(literal[1].replace("''", "'") for literal in _LITERAL.finditer(declared[2]))
