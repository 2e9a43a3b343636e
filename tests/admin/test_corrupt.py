"""Rows that were changed by hand: a page that says so, never a server error."""

import pytest
from django.db import connection

from context_store.contexts import contexts

LIST = "/admin/context_store/chat/"


def changed(statement, text):
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA ignore_check_constraints = ON")
        cursor.execute(statement, [text])
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA ignore_check_constraints = OFF")


def assert_says_so(boss, *paths):
    for path in paths:
        response = boss.get(path)
        assert response.status_code == 409, path
        assert "cannot be shown" in response.text


@pytest.mark.parametrize("text", ["[1]", "5", "null"])
def test_metadata_that_are_no_object_are_said(boss, chat, text):
    changed("UPDATE context_store_chat SET metadata = %s", text)
    assert_says_so(boss, LIST, f"{LIST}c1/change/", f"{LIST}c1/edit/", f"{LIST}c1/export/")


@pytest.mark.vendor("sqlite")
@pytest.mark.parametrize("text", ["garbage", '"\\ud800"', "9" * 5_000])
def test_data_that_are_no_json_are_said_and_shown_as_they_are(boss, chat, text):
    changed("UPDATE context_store_message SET data = %s", text)
    assert_says_so(boss, f"{LIST}c1/change/")
    # What an operator needs to mend it.
    assert text.strip('"')[:10] in boss.get(f"{LIST}c1/messages/m1/").text


@pytest.mark.vendor("sqlite")
def test_bytes_that_are_no_text_are_said(boss, chat):
    changed("UPDATE context_store_message SET data = CAST(x'ff22fe' || %s AS TEXT)", "")
    assert_says_so(boss, f"{LIST}c1/change/")
    changed("UPDATE context_store_chat SET title = CAST(x'ff22fe' || %s AS TEXT)", "")
    assert_says_so(boss, LIST, f"{LIST}c1/change/")


@pytest.mark.vendor("sqlite")
def test_a_context_that_is_no_json_is_said(boss, settings):
    settings.CONTEXT_STORE_CONTEXTS = {"default": {"BACKEND": "context_store.contexts.database.DatabaseContexts"}}
    contexts["default"].set("k", 1)
    changed("UPDATE context_store_contextentry SET value = %s", "garbage")
    assert_says_so(boss, "/admin/context_store/contextentry/k/change/")
    assert boss.get("/admin/context_store/contextentry/").status_code == 200
