"""
Run the benchmarks: print each row with its baseline, ratio and budget, and exit with 1 if one is missed.

The run starts the servers that it needs, from the wheels of the ``test`` extra. docs/benchmarks.md explains the rows.
"""

import argparse
import importlib
import importlib.util
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.servers import PostgresServer, RedisServer, ServerFolder

DATABASES = ("sqlite", "postgresql")
SCALES = ("tiny", "small", "full", "huge")
# What knows stores larger than the full one; the others are measured at that.
KNOWS_HUGE = ("core", "growth")
OK, MISSED, NO_ROWS = 0, 1, 2
# Each has ``rows()``, which may take ``database``, ``scale`` and ``only``; a module that is not there is left out.
MODULES = (
    "core",
    "turns",
    "contexts",
    "sessions",
    "streams",
    "rest",
    "engine",
    "hostile",
    "adapters",
    "adapters_langgraph",
    "partitions",
    "bytes",
    "growth",
    "writers",
    "servers",
)
# What needs the extra ``peers``, and is asked for by ``--peers``.
PEERS = ("peers",)
# They use no database: a run over all of them measures these once.
WITHOUT_DATABASE = ("contexts",)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    if options.database is None:
        return run_each(options)
    with ExitStack() as stack:
        keep = Path(options.keep, f"{options.database}-{options.scale}") if options.keep else None
        start_services(stack, options.database, keep)
        set_up_databases()
        return report(options)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--scale", choices=SCALES, default="small", help="tiny only proves that everything runs")
    parser.add_argument("--database", choices=DATABASES, help="default: one after the other")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--only", default="", metavar="NAME", help="only rows whose name has this in it")
    parser.add_argument("--keep", metavar="FOLDER", help="keep the stores there, and use those that are there")
    parser.add_argument("--peers", action="store_true", help="compare with other stores of conversations instead")
    # Leaves out what the process of another database measures.
    parser.add_argument("--of-database", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def run_each(options: argparse.Namespace) -> int:
    """Run each database in a process of its own, as Django's settings are made for one."""
    command = [sys.executable, "-m", "benchmarks", "--scale", options.scale, "--only", options.only]
    command += ["--keep", options.keep] if options.keep else []
    command += [flag for flag, given in (("--json", options.json), ("--peers", options.peers)) if given]
    verdicts = set()
    for name in DATABASES:
        process = subprocess.run([*command, "--database", name], check=False)
        verdicts.add(process.returncode)
        if "--of-database" not in command:
            command.append("--of-database")
    return NO_ROWS if verdicts == {NO_ROWS} else max(verdicts - {NO_ROWS})


def start_services(stack: ExitStack, database: str, keep: Path | None = None) -> None:
    """Start the servers, and tell the tests' settings by the environment where they are; ``keep``: in this folder."""
    if keep is None:
        folder = stack.enter_context(ServerFolder())
    else:
        folder = keep.resolve()
        folder.mkdir(parents=True, exist_ok=True)
    redis = stack.enter_context(RedisServer(folder))
    os.environ.update(
        DJANGO_SETTINGS_MODULE="tests.settings",
        CONTEXT_STORE_TEST_FOLDER=str(folder),
        TEST_DATABASE=database,
        REDIS_URL=redis.url(),
    )
    if database == "postgresql":
        # psycopg prepares what is sent again and again, as it does for the raw driver.
        os.environ["TEST_PREPARED_STATEMENTS"] = "1"
        os.environ["DATABASE_URL"] = stack.enter_context(PostgresServer(folder)).url("context_store")


def set_up_databases() -> None:
    """Create the databases ``default`` and ``other``, migrated and empty."""
    import django
    from django.core.management import call_command
    from django.db import connections

    django.setup()
    for alias in ("default", "other"):
        create_database(connections[alias].settings_dict)
        call_command("migrate", database=alias, verbosity=0, interactive=False)


def create_database(settings: Mapping[str, Any]) -> None:
    if settings["ENGINE"].endswith("postgresql"):
        import psycopg

        with psycopg.connect(
            host=settings["HOST"], user=settings["USER"], dbname="postgres", autocommit=True
        ) as server:
            known = server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [settings["NAME"]]).fetchone()
            if known is None:
                server.execute(f'CREATE DATABASE "{settings["NAME"]}"')


def report(options: argparse.Namespace) -> int:
    """Print the rows as they come, and return the exit status."""
    verdicts = []
    for row in measured(options):
        if not (options.json or verdicts):
            print(f"\n{heading(options)}")
        verdicts.append(row.ok)
        print(as_json(row, options.database) if options.json else as_text(row), flush=True)
    if not verdicts:
        return NO_ROWS
    return OK if all(verdicts) else MISSED


def measured(options: argparse.Namespace) -> Iterator[Any]:
    from .measure import Row

    for name in PEERS if options.peers else MODULES:
        left_out = options.of_database and name in WITHOUT_DATABASE
        if left_out or importlib.util.find_spec(f"benchmarks.{name}") is None:
            continue
        rows = importlib.import_module(f"benchmarks.{name}").rows
        accepted = inspect.signature(rows).parameters
        scale = "full" if options.scale == "huge" and name not in KNOWS_HUGE else options.scale
        known = {"database": options.database, "scale": scale, "only": options.only}
        for row in rows(**{key: value for key, value in known.items() if key in accepted}):
            row = Row(**row) if isinstance(row, Mapping) else row
            if options.only in row.name:
                yield row


def heading(options: argparse.Namespace) -> str:
    title = f"{options.database}, scale {options.scale}"
    return f"{title:64}{'baseline':>12}{'ours':>12}{'ratio':>8}{'budget':>8}"


def as_text(row: Any) -> str:
    baseline = "" if row.baseline is None else amount(row.baseline, row.unit)
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    budget, verdict = "", ""
    if row.budget is not None:
        budget, verdict = f"{row.budget:g}", "  ok" if row.ok else "  MISSED"
    return f"{row.name:64}{baseline:>12}{amount(row.ours, row.unit):>12}{ratio:>8}{budget:>8}{verdict}"


def amount(value: float, unit: str) -> str:
    return {"s": f"{value * 1000:.3f} ms", "bytes": f"{value / 1024:.0f} KiB"}.get(unit, f"{value:g}")


def as_json(row: Any, database: str) -> str:
    return json.dumps({"database": database, **row._asdict(), "ratio": row.ratio, "ok": row.ok})


if __name__ == "__main__":
    sys.exit(main())
