"""The benchmarks run and report; how fast anything is, is not judged here."""

import json
import subprocess
import sys
import time
from io import StringIO

import pytest
from django.core.management import call_command

from benchmarks import __main__ as benchmarks
from benchmarks.data import COMMON_WORD, fill, filling
from benchmarks.measure import Row, ratio_row, side_by_side
from context_store.store import ContextStore
from tests.data import REPOSITORY

COUNTED = {"append", "list_chats", "list_branches", "delete", "turn"}
GROUPS = COUNTED | {"chain", "last", "add_messages", "search", "read", "async"}
# Seconds after which a run hangs, ten times what it takes on a busy machine.
FOREVER = 1_200
# What is measured when asked for by name, and a row of it.
MEASURES = {
    "bytes": "bytes: a message in all",
    "growth": "growth: 1,400: search",
    "writers": "writers: 64 on one chat",
    "servers": "servers: uvicorn",
}


def run_tiny(*options):
    """Run the benchmarks at the smallest scale, and return their status, rows and errors."""
    command = [sys.executable, "-m", "benchmarks", "--scale", "tiny", "--json", *options]
    run = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=FOREVER, check=False)
    return run.returncode, [json.loads(line) for line in run.stdout.splitlines()], run.stderr


@pytest.mark.slow
@pytest.mark.vendor("sqlite", "postgresql")
def test_a_tiny_run_reports_every_group_and_keeps_to_the_statements(database_vendor):
    status, rows, errors = run_tiny("--database", database_vendor)
    assert {row["name"].partition(":")[0] for row in rows} >= GROUPS, errors
    assert {row["database"] for row in rows} == {database_vendor}
    assert status == (benchmarks.OK if all(row["ok"] for row in rows) else benchmarks.MISSED)
    counted = [row for row in rows if row["unit"] == "statements"]
    assert {row["name"].partition(":")[0] for row in counted} >= COUNTED
    assert [row for row in counted if not row["ok"]] == []


@pytest.mark.slow
@pytest.mark.vendor("sqlite", "postgresql")
def test_a_tiny_run_sends_every_hostile_request(database_vendor):
    _, rows, errors = run_tiny("--database", database_vendor, "--only", "hostile")
    # Of each the time, the memory and how long another user waits; the last ones are the admin's.
    assert len(rows) > 100, errors
    assert rows[-1]["name"].startswith("hostile: admin"), errors


@pytest.mark.slow
@pytest.mark.vendor("sqlite", "postgresql")
@pytest.mark.parametrize("only", MEASURES)
def test_what_is_measured_by_name_reports(database_vendor, only):
    _, rows, errors = run_tiny("--database", database_vendor, "--only", only)
    assert any(row["name"].startswith(MEASURES[only]) for row in rows), errors


@pytest.mark.parametrize(
    ("row", "ok"),
    [
        (Row("ratio within", ours=3.0, budget=1.5, baseline=2.0), True),
        (Row("ratio over", ours=3.1, budget=1.5, baseline=2.0), False),
        (Row("count within", ours=6, budget=6, unit="statements"), True),
        (Row("count over", ours=7, budget=6, unit="statements"), False),
    ],
)
def test_a_row_is_judged_by_its_ratio_or_its_count(row, ok):
    assert row.ok is ok
    assert benchmarks.as_text(row).endswith("ok" if ok else "MISSED")


def test_a_row_without_a_budget_only_tells():
    row = Row("bytes", ours=7, baseline=2, unit="B")
    assert row.ok
    assert benchmarks.as_text(row).split() == ["bytes", "2", "7", "3.50"]


def test_calls_are_compared_side_by_side_with_fresh_arguments():
    numbers = iter(range(10_000))
    seen = {"baseline": [], "ours": []}
    side_by_side(seen["baseline"].append, seen["ours"].append, setup=lambda: (next(numbers),), seconds=0.2)
    assert len(seen["baseline"]) == len(seen["ours"]) > 10
    assert not set(seen["baseline"]) & set(seen["ours"])


def test_a_missed_row_is_measured_once_more():
    calls = []
    row = ratio_row("slow", lambda: None, lambda: calls.append(time.sleep(0.001)), budget=1, seconds=0)
    assert not row.ok
    assert len(calls) == 4


@pytest.mark.parametrize(
    ("rows", "status"),
    [
        ([], benchmarks.NO_ROWS),
        ([Row("one", ours=1, budget=1)], benchmarks.OK),
        ([Row("one", ours=1, budget=1), Row("two", ours=2, budget=1)], benchmarks.MISSED),
    ],
)
def test_the_report_returns_the_status(monkeypatch, capsys, rows, status):
    monkeypatch.setattr(benchmarks, "measured", lambda options: iter(rows))
    assert benchmarks.report(benchmarks.parse(["--database", "sqlite"])) == status
    assert capsys.readouterr().out.count("MISSED") == (status == benchmarks.MISSED)


@pytest.mark.django_db(transaction=True)
@pytest.mark.vendor("sqlite", "postgresql")
def test_a_store_that_was_filled_in_bulk_is_sound_and_searched():
    fill("default", filling(300))
    call_command("check_context_store", stdout=StringIO())
    assert len(ContextStore().search_chats(COMMON_WORD, user_id="user-1", limit=100)) == 100
