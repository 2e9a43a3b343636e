"""The models keep to what SQL Server can do; each rule is seen to fail on a model that breaks it."""

import pytest
from django.apps import apps
from django.db import models
from django.db.models import Q
from django.test.utils import isolate_apps

from context_store.fields import IdentifierField
from context_store.models import Branch, Chat, Checkpoint, Message, SearchEntry
from tests.mssql.migrations import APPS, migration_statements
from tests.mssql.schema_rules import all_problems


def test_the_models_keep_to_the_rules(server):
    models = [model for app in APPS for model in apps.get_app_config(app).get_models()]
    assert all_problems(models, server) == []


@pytest.mark.parametrize("model", [Message, Branch, Checkpoint])
def test_keys_of_two_ids_are_no_clustered_index(server, model):
    """One of those has 900 bytes, two ids may have 1,020."""
    sql = "\n".join(statement for statement in map(str, migration_statements(server)))
    assert f"ADD CONSTRAINT {model._meta.db_table}_key PRIMARY KEY NONCLUSTERED (chat_id, id)" in sql


def broken(fields, **options):
    """Return a model with these fields that breaks a rule."""
    meta = type("Meta", (), {"app_label": "context_store", **options})
    return type("Broken", (models.Model,), {"__module__": __name__, "Meta": meta, **fields})


def unique(*fields, **options):
    return models.UniqueConstraint(fields=fields, name="rule", **options)


def number(**options):
    return models.IntegerField(**options)


BROKEN = {
    "may be null": lambda: broken({"a": number(null=True)}, constraints=[unique("a")]),
    "a, which may be null": lambda: broken({"a": number(null=True, unique=True)}),
    "b, which may be null": lambda: broken(
        {"a": number(), "b": number(null=True)}, unique_together=[("a", "b")]
    ),
    "condition with OR or NOT": lambda: broken({"a": number()}, constraints=[unique("a", condition=Q(a=1) | Q(a=2))]),
    "rule has a condition": lambda: broken({"a": number()}, constraints=[unique("a", condition=~Q(a=1))]),
    "index has a condition": lambda: broken(
        {"a": number()}, indexes=[models.Index(fields=["a"], name="index", condition=Q(Q(a=3) & ~Q(a=1)))]
    ),
    "nvarchar(max)": lambda: broken(
        {"a": models.TextField()}, indexes=[models.Index(fields=["-a"], name="index")]
    ),
    "keys of 1020 bytes": lambda: broken({"id": IdentifierField(primary_key=True, max_length=510)}),
    "keys of 2040 bytes": lambda: broken(
        {name: IdentifierField() for name in "abcd"},
        indexes=[models.Index(fields=["a", "b", "c", "d"], name="index")],
    ),
    "no identifier field": lambda: broken({"a": models.CharField(max_length=10)}),
    "JSON objects and lists only": lambda: broken({"a": models.JSONField()}),
}  # fmt: skip


@pytest.mark.parametrize("problem", BROKEN)
@isolate_apps("context_store")
def test_a_model_that_breaks_a_rule_is_found(newest_server, problem):
    assert [found for found in all_problems([BROKEN[problem]()], newest_server) if problem in found]


@isolate_apps("context_store")
def test_an_identifier_without_its_collation_is_found(newest_server, monkeypatch):
    monkeypatch.setattr("context_store.fields.EXACT_COLLATIONS", {})
    assert all_problems([broken({"a": IdentifierField()})], newest_server) == ["Broken: a does not compare exactly"]


@isolate_apps("context_store")
def test_a_cascade_in_the_database_is_found(newest_server):
    if not hasattr(models, "DB_CASCADE"):
        pytest.skip("This Django leaves no deleting to the database.")
    target = broken({"id": number(primary_key=True)})
    model = type(
        "Pointer",
        (models.Model,),
        {
            "__module__": __name__,
            "Meta": type("Meta", (), {"app_label": "context_store"}),
            "to": models.ForeignKey(target, models.DB_CASCADE),
        },
    )
    assert "leaves deleting to the database" in all_problems([model], newest_server)[0]


def test_columns_of_identifiers_compare_exactly_in_the_ddl(newest_server):
    ddl = "".join(sql for name, sql in migration_statements(newest_server) if name.endswith(" forwards"))
    assert ddl.count("nvarchar(255)  COLLATE Latin1_General_100_BIN2") == ddl.count("nvarchar(255)") > 10


@pytest.mark.vendor("sqlite")
def test_the_collation_is_for_this_vendor_only():
    from django.db import connection

    assert Chat._meta.get_field("id").db_parameters(connection)["collation"] is None
    assert SearchEntry._meta.get_field("content").db_parameters(connection)["collation"] is None


def test_the_one_active_branch_is_a_filtered_index(newest_server):
    assert "CREATE UNIQUE INDEX [ctx_branch_active] ON [context_store_branch] ([chat_id]) WHERE [is_active] = 1;" in [
        sql for _, sql in migration_statements(newest_server)
    ]


def test_text_is_shortened_by_whole_characters(newest_server):
    """LEFT cuts a surrogate pair in half where the collation is not _SC, and the driver fails on the half."""
    content = SearchEntry._meta.get_field("content")
    assert content.db_parameters(newest_server)["collation"].endswith("_SC")
    assert Message._meta.get_field("data").db_parameters(newest_server).get("collation") is None
