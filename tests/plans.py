"""
Ask PostgreSQL for the plan of every statement of the suite that names a chat and reads tables of chats' contents.

One chat shall lie in one partition or shard, so that each scan in such a plan has to be narrowed to the chat: a join
without ``chat_id = chat_id`` would look into all of them. Where the suite runs on partitions, the plan may have no
more partitions of a table than the statement names chats. The test that was first to send such a statement fails.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pytest_django.plugin import blocking_manager_key

from context_store.db.distribution import distribution_columns

CONTENTS = ("context_store_message", "context_store_branch", "context_store_checkpoint", "context_store_searchentry")
NAMES_A_CHAT = re.compile(r'(?:"?chat_id"?|"context_store_chat"\."id") (?:= %s|IN \(%s)')
READS = re.compile(rf'(?:FROM|JOIN|UPDATE|USING) "?({"|".join(CONTENTS)})\b')
# What is left out, or set, names no chat.
LEFT_OUT = re.compile(r"NOT \([^()]*\)|SET .+?(?= WHERE |$)")
CHATS = re.compile(r'chat_id"? IN \([%s, ]+\)')
# It names several chats: each row finds its own, and its partition, when the statement runs, so that the plan has all.
LIST_OF_CHATS = re.compile(r'"context_store_(?:chat"\."id|(?:branch|searchentry)"\."chat_id)" IN \(')
CHAT = re.compile(r'chat_id" = (?=%s)')
# Lists of one statement differ by their length alone.
LIST = re.compile(r"%s(?:, %s)+")
HERE = str(Path(__file__).resolve().parent)
PACKAGE = str(Path(HERE).parent / "context_store")
PARTITIONED = "TEST_PARTITIONS" in os.environ
CONDITIONS = ("Index Cond", "Recheck Cond", "Filter", "Hash Cond", "Merge Cond", "TID Cond")
# Milliseconds.
LOCK_TIMEOUT = 1_000


class Plans:
    """Collects statements from all connections, and explains at the end of each test those that are new."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.new: list[tuple[str, Any]] = []
        self.for_citus: list[tuple[str, Any]] = []
        self.columns: dict[str, str] = {}

    def watch(self, sender: Any, connection: Any, **kwargs: Any) -> None:
        """Receive ``connection_created``."""
        if connection.vendor == "postgresql" and self.record not in connection.execute_wrappers:
            connection.execute_wrappers.append(self.record)

    def record(self, execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        if not many and sql not in self.seen:
            self.seen.add(sql)
            shape = LIST.sub("%s", str(sql))
            if shape not in self.seen or shape == sql:
                self.seen.add(shape)
                if NAMES_A_CHAT.search(LEFT_OUT.sub("", shape)) and len(READS.findall(shape)) > (not PARTITIONED):
                    self.new.append((sql, params))
                if "context_store_" in shape and asked_by_the_store():
                    self.for_citus.append((sql, params))
        return execute(sql, params, many, context)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        yield
        # Before the fixtures of the last test remove the database.
        statements, self.new = self.new, []
        found = [problem for statement in statements if (problem := self.problem(*statement))]
        # A fixture's statements may wait for a test that has no right to the database.
        with item.config.stash[blocking_manager_key].unblock():
            refused = list(self.refused_by_citus()) if self.for_citus else []
        if found:
            pytest.fail("Looks beyond one chat:\n" + "\n\n".join(found), pytrace=False)
        if refused:
            pytest.fail("Citus would refuse:\n" + "\n\n".join(refused), pytrace=False)

    def refused_by_citus(self) -> Iterator[str]:
        """Give the rules that the new statements break, with their source and the statements."""
        # Here, since other databases have no use for the parser.
        from tests.citus import RULES, SOURCE, broken_rules

        statements, self.for_citus = self.for_citus, []
        if not self.columns:
            self.columns = asked_aside(distribution_columns)
        for sql, params in statements:
            for rule in broken_rules(sql, params, self.columns):
                yield f"{rule}: {RULES[rule]} ({SOURCE}), in\n{sql}"

    def problem(self, sql: str, params: Any) -> str | None:
        """Return what is wrong with the plan of a statement, or ``None``."""
        from psycopg.errors import LockNotAvailable

        try:
            plan = explain(sql, params)
        except LockNotAvailable:
            # The test's transaction, which is still open, has altered the table: ask after the next test.
            self.new.append((sql, params))
            return None
        if LIST_OF_CHATS.search(sql):
            return None
        scans = [scan for scan in scans_of(plan) if not is_narrowed(scan)]
        beyond = scans[0]["Relation Name"] if scans else widest(plan, sql, params)
        return f"{beyond}, in\n{sql}\n{plan}" if beyond else None


def asked_by_the_store() -> bool:
    """Tell whether a module of the package sends the statement, not a test."""
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(PACKAGE):
            return not name.endswith("distribution.py")
        if name.startswith(HERE) and not name.endswith("plans.py"):
            return False
        frame = frame.f_back  # type: ignore[assignment]
    return False


def asked_aside(ask: Callable[[str], Any]) -> Any:
    """Return what the function finds in the database, in a thread with a connection of its own."""
    with ThreadPoolExecutor(1) as thread:

        def work() -> Any:
            from django.db import connections

            try:
                return ask("default")
            finally:
                connections["default"].close()

        return thread.submit(work).result()


def explain(sql: str, params: Any) -> dict[str, Any]:
    """Return the plan that PostgreSQL would choose if it could not read whole tables."""
    import psycopg
    from django.db import connections

    settings = connections["default"].settings_dict
    where = {name.lower(): settings[name] for name in ("HOST", "PORT", "USER", "PASSWORD") if settings[name]}
    with psycopg.connect(dbname=settings["NAME"], **where, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute(f"SET lock_timeout = {LOCK_TIMEOUT}")
        connection.execute("SET enable_seqscan = off")
        plan: dict[str, Any] = connection.execute(f"EXPLAIN (FORMAT JSON) {sql}", params).fetchone()[0][0]["Plan"]
    return plan


def scans_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give the nodes that read a table of chats' contents."""
    if whole(plan.get("Relation Name", "")) in CONTENTS and plan["Node Type"] != "ModifyTable":
        yield plan
    for node in plan.get("Plans", ()):
        yield from scans_of(node)


def whole(table: str) -> str:
    """Return the name of the table that a partition is of."""
    return re.sub(r"_\d+_of_\d+$", "", table)


def tasks(plan: dict[str, Any]) -> int:
    """Return how many shards a plan of Citus asks, 0 for a plan of PostgreSQL."""
    count = int(plan.get("Distributed Query", {}).get("Job", {}).get("Task Count", 0))
    return max([count, *map(tasks, plan.get("Plans", ()))])


def widest(plan: dict[str, Any], sql: str, params: Any = ()) -> str | None:
    """Return the name of a table of which the plan has more partitions than the statement has chats, or ``None``."""
    named = {params[sql[: found.end()].count("%s")] for found in CHAT.finditer(sql)} if params else set()
    chats = max(1, len(named), *(found.count("%s") for found in CHATS.findall(sql)))
    if tasks(plan) > chats:
        return f"{tasks(plan)} shards"
    tables = [whole(partition) for partition in {scan["Relation Name"] for scan in scans_of(plan)}]
    return next((table for table in tables if tables.count(table) > chats), None)


def is_narrowed(scan: dict[str, Any]) -> bool:
    return any("chat_id" in scan.get(condition, "") for condition in CONDITIONS)
