"""The plugin notices what it is there for."""

import os
import sqlite3
import subprocess
import sys

import pytest
from django.db import connection, transaction
from django.db.backends.sqlite3.base import SQLiteCursorWrapper
from django.db.models import Count

from context_store.models import Chat, ContextEntry, Message
from context_store.store import ContextStore
from tests.data import REPOSITORY
from tests.mssql.corpus import PACKAGE, Corpus, _reading_cursor
from tests.mssql.servers import VERSIONS

pytestmark = pytest.mark.vendor("sqlite")


@pytest.fixture
def corpus(backend, request):
    """Return an empty corpus that the plugin of this run fills meanwhile."""
    plugin = request.config.pluginmanager.get_plugin("mssql-corpus")
    before = plugin.corpus.__dict__.copy()
    plugin.corpus.__init__()
    plugin.corpus.test = request.node.nodeid
    yield plugin.corpus
    plugin.corpus.__dict__.update(before)


def reasons(corpus):
    return [problem.reason for problem in corpus.problems.values()]


@pytest.mark.django_db
def test_every_query_is_compiled_for_every_version(corpus):
    store = ContextStore()
    store.create_chat("c", user_id="alice")
    store.append_messages("c", [{"name": "user", "data": number} for number in range(3)])
    assert reasons(corpus) == []
    for version in VERSIONS:
        statements = [sql for found, sql in corpus.statements if found == version]
        for verb in (
            "INTO [context_store_message]",
            "UPDATE [context_store_chat]",
            "FROM [context_store_branch]",
        ):
            assert [sql for sql in statements if verb in sql]


@pytest.mark.django_db
def test_a_query_in_a_pass_over_another_is_noticed(corpus):
    # The plugin has put its own cursor on top of the backend's.
    cursor_class = _reading_cursor(corpus, SQLiteCursorWrapper.__base__)
    database = sqlite3.connect(":memory:")
    first, second = (database.cursor(cursor_class) for _ in range(2))
    first.execute("SELECT 1 UNION SELECT 2")
    first.fetchone()
    second.execute("SELECT 3")
    assert reasons(corpus) == ["a query while the rows of another are still being read (MARS)"]
    first.fetchall()
    second.fetchall()
    first.execute("SELECT 4")
    assert len(corpus.problems) == 1
    database.close()


@pytest.mark.django_db
def test_iterating_over_a_queryset_reads_it_whole_first(corpus):
    for number in range(3):
        ContextEntry(key=f"k{number}", value=number).save()
    for entry in ContextEntry.objects.iterator(chunk_size=1):
        ContextEntry.objects.filter(pk=entry.pk).exists()
    assert reasons(corpus) == []


@pytest.mark.django_db
def test_a_query_that_the_backend_cannot_compile_is_noticed(corpus):
    Message.objects.filter(id__in=[f"m{number}" for number in range(2100)]).exists()
    assert any("must not need a server" in reason for reason in reasons(corpus))


@pytest.mark.django_db
def test_text_in_a_query_that_groups_is_noticed(corpus):
    list(Chat.objects.filter(user_id="alice").annotate(count=Count("messages")))
    assert any("GROUP BY" in reason for reason in reasons(corpus))


@pytest.mark.django_db
def test_raw_sql_outside_the_modules_of_one_vendor_is_noticed(corpus):
    code = "def ask(connection):\n    with connection.cursor() as cursor:\n        cursor.execute('SELECT 1')"
    for place, count in (("search/backends/sqlite.py", 0), ("migrations/0001_initial.py", 0), ("managers/chats.py", 1)):
        namespace = {}
        exec(compile(code, str(PACKAGE / place), "exec"), namespace)  # noqa: S102
        namespace["ask"](connection)
        assert len(corpus.problems) == count
    (problem,) = corpus.problems.values()
    assert problem.reason == "raw SQL outside the modules of one vendor"
    assert problem.origin.startswith("context_store/managers/chats.py:3, tests/mssql/test_corpus.py")


@pytest.mark.django_db
def test_a_write_with_conflict_options_is_refused_in_the_run(backend):
    from django.db import NotSupportedError

    with pytest.raises(NotSupportedError), transaction.atomic():
        ContextEntry.objects.bulk_create([ContextEntry(key="k", value=1)], ignore_conflicts=True)


def test_a_run_with_a_problem_fails_and_names_it(grammar, tmp_path):
    test = tmp_path / "test_problem.py"
    test.write_text(
        "import pytest\n"
        "from django.db.models.expressions import RawSQL\n"
        "from context_store.models import Chat\n"
        "@pytest.mark.django_db\n"
        "def test_with_foreign_sql():\n"
        "    list(Chat.objects.annotate(both=RawSQL(\"id || 'x'\", ())))\n"
    )
    options = ["-c", "pyproject.toml", "-p", "no:cacheprovider", "-p", "tests.mssql.corpus", "--database", "sqlite"]
    command = [sys.executable, "-m", "pytest", *options, str(test)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert "1 passed" in done.stdout, done.stdout
    assert "Incorrect syntax near |" in done.stdout
    assert "::test_with_foreign_sql" in done.stdout


def test_a_corpus_starts_empty():
    assert Corpus().statements == {}
