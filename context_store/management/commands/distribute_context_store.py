"""Turn the tables of chats' contents into partitions, or into distributed tables, and back."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections, router

from context_store.db.distribution import (
    MAX_PARTITIONS,
    MIN_PARTITIONS,
    Move,
    citus_statements,
    citus_undo_statements,
    execute_at_once,
    state_of,
)
from context_store.management.progress import progress_bar
from context_store.models import Chat

PARTITIONS = 16


class Command(BaseCommand):
    help = (
        "Turns the tables of chats' contents into hash partitions of PostgreSQL by chat_id. The site may go on writing"
        " meanwhile. A move that broke off is taken up again by the same call, and dropped by --undo. --citus makes"
        " distributed tables of Citus instead: there writers wait until it is done."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        form = parser.add_mutually_exclusive_group()
        form.add_argument("--partitions", type=int, default=PARTITIONS, help="How many; %(default)s unless told.")
        form.add_argument("--citus", action="store_true", help="Distributed tables of Citus, colocated by chat.")
        form.add_argument("--undo", action="store_true", help="Make whole tables again.")
        parser.add_argument("--dry-run", action="store_true", help="Print the SQL, and change nothing.")
        parser.add_argument("--database", choices=tuple(connections), help="The database; else the routers decide.")

    def handle(
        self,
        *,
        partitions: int,
        citus: bool,
        undo: bool,
        dry_run: bool,
        database: str | None,
        verbosity: int,
        **options: Any,
    ) -> None:
        database = database or router.db_for_write(Chat)
        if connections[database].vendor != "postgresql":
            raise CommandError(f"{database!r} is no PostgreSQL: other databases have no hash partitions for the store.")
        if not MIN_PARTITIONS <= partitions <= MAX_PARTITIONS:
            raise CommandError(f"--partitions must be from {MIN_PARTITIONS} to {MAX_PARTITIONS}.")
        script: list[str] | None = [] if dry_run else None
        state = state_of(database)
        if citus or state.is_citus:
            self._citus(database, script, undo=undo, is_citus=state.is_citus)
        else:
            self._move(database, 0 if undo else partitions, script)
        for statement in script or ():
            self.stdout.write(f"{statement};")
        if not dry_run and verbosity > 0:
            self.stdout.write(self.style.SUCCESS(f"{database!r}: {state_of(database).described()}."))

    def _citus(self, database: str, script: list[str] | None, *, undo: bool, is_citus: bool) -> None:
        if undo and not is_citus:
            raise CommandError(f"The tables of {database!r} are not distributed.")
        if is_citus and not undo:
            return
        statements = citus_undo_statements(database) if undo else citus_statements(database)
        if script is None:
            execute_at_once(database, statements)
        else:
            # As ``execute_at_once`` does: halfway there would be tables in two forms.
            script += ["BEGIN", *statements, "COMMIT"]

    def _move(self, database: str, partitions: int, script: list[str] | None) -> None:
        state = state_of(database)
        done = [table for table in state.tables if table.partitions == partitions]
        # What is begun and not wanted goes, and what came later, such as an adapter's table, follows the others.
        if stale := [table for table in done if table.is_moving]:
            Move(database, partitions, stale, script).abandon()
        rest = [table for table in state.tables if table.partitions != partitions]
        if not rest:
            return
        move = Move(database, partitions, rest, script, others=done)
        move.prepare()
        with progress_bar(self.stderr, Chat.objects.using(database).count(), " chats") as bar:
            for count in move.copy():
                bar.update(count)
        move.connect()
        move.analyze()
        move.swap()
