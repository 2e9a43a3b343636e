"""Erasing users, releasing holds and exporting the audit log in the admin, each by its permission."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from context_store.lifecycle import erase_user, hold
from context_store.models import AuditEntry, Chat, Erasure, LegalHold
from context_store.store import ContextStore

APP = "/admin/context_store/"
ERASE = f"{APP}erasure/erase/"
GIVEN = {"user_id": "alice", "typed": "alice", "reason": "Asked by mail", "copies": "erase", "usage": "erase"}
Staff = Callable[..., Client]


def body(response: Any) -> str:
    return b"".join(response.streaming_content).decode()


def test_a_chat_leads_to_erasing_its_user(staff: Staff, chat: str, store: ContextStore) -> None:
    officer = staff("view_chat", "erase_user")
    asked = {"action": "erase_user", "_selected_action": ["c1"]}
    assert officer.post(f"{APP}chat/", asked)["Location"] == f"{ERASE}?user_id=alice"
    store.create_chat("bobs", user_id="bob")
    officer.post(f"{APP}chat/", {**asked, "_selected_action": ["c1", "bobs"]})
    assert 'value="alice"' in officer.get(f"{ERASE}?user_id=alice").content.decode()
    assert Chat.objects.count() == 2


def test_the_id_has_to_be_typed(staff: Staff, chat: str) -> None:
    officer = staff("erase_user")
    for typed in ("", "Alice", "alice2"):
        assert officer.post(ERASE, {**GIVEN, "typed": typed}).status_code == 200
    assert Chat.objects.filter(pk="c1").exists()
    assert officer.post(ERASE, GIVEN).status_code == 302
    assert not Chat.objects.exists()
    assert Erasure.objects.get().requested_by == "sam"
    assert AuditEntry.objects.values_list("action", "actor").get() == ("erase", "sam")
    assert "alice" not in repr(LogEntry.objects.values_list("object_repr", "change_message"))


def test_a_hold_refuses_with_its_number(staff: Staff, chat: str) -> None:
    placed = hold(user_id="alice", reason="Case 7", who="counsel")
    page = staff("erase_user").post(ERASE, GIVEN).content.decode()
    assert f"Legal hold {placed.pk} covers" in page
    assert Chat.objects.filter(pk="c1").exists()


def test_releasing_asks_who(staff: Staff, chat: str) -> None:
    placed = hold(user_id="alice", reason="Case 7", who="counsel")
    officer = staff("view_legalhold", "release_legalhold")
    asked = officer.post(f"{APP}legalhold/", {"action": "release_selected", "_selected_action": [placed.pk]})
    assert asked["Location"] == f"{APP}legalhold/release/?ids={placed.pk}"
    assert officer.post(asked["Location"], {"who": ""}).status_code == 200
    assert LegalHold.objects.get().released_at is None
    assert officer.post(asked["Location"], {"who": "judge"}).status_code == 302
    assert LegalHold.objects.get().released_by == "judge"
    assert AuditEntry.objects.filter(action="release", actor="sam").exists()
    assert officer.get(asked["Location"]).status_code == 404


@pytest.mark.parametrize("page", [ERASE, f"{APP}legalhold/release/?ids=1", f"{APP}auditentry/export/?format=csv"])
def test_each_takes_a_permission_of_its_own(staff: Staff, page: str, chat: str) -> None:
    hold(user_id="alice", reason="Case 7", who="counsel")
    other = staff("view_chat", "view_legalhold", "view_erasure")
    assert other.get(page).status_code == 403
    assert other.post(page, {**GIVEN, "who": "judge"}).status_code == 403
    assert Chat.objects.filter(pk="c1").exists()
    assert LegalHold.objects.get().released_at is None
    actions = other.get(f"{APP}legalhold/").content.decode() + other.get(f"{APP}chat/").content.decode()
    assert "release_selected" not in actions
    assert "erase_user" not in actions


def test_the_audit_log_is_exported_as_csv_and_as_json_lines(staff: Staff) -> None:
    for number in range(3):
        AuditEntry.objects.create(action="delete", user_id="=1+1", detail={"number": number}, created_at=number)
    officer = staff("view_auditentry")
    rows = list(csv.DictReader(body(officer.get(f"{APP}auditentry/export/?format=csv")).splitlines()))
    assert [(row["created_at"], row["user_id"]) for row in rows] == [(str(n), "'=1+1") for n in (2, 1, 0)]
    lines = body(officer.get(f"{APP}auditentry/export/?format=jsonl")).splitlines()
    assert [json.loads(line)["detail"] for line in lines] == [{"number": n} for n in (2, 1, 0)]
    assert officer.get(f"{APP}auditentry/export/?format=xml").status_code == 404
    assert LogEntry.objects.filter(object_repr="Audit log").count() == 2


@pytest.mark.django_db(transaction=True)
def test_the_audit_log_names_who_is_logged_in(staff: Staff, chat: str) -> None:
    staff("view_chat", "delete_chat").post(f"{APP}chat/c1/delete/", {"post": "yes"})
    assert AuditEntry.objects.values_list("action", "actor", "chat_id").get() == ("trash", "sam", "c1")


def test_the_audit_log_is_filtered_by_action_and_searched_by_ids(staff: Staff) -> None:
    for action, user_id, actor in (
        ("read", "alice", "service"),
        ("change", "bob", "service"),
        ("read", "carol", "ann"),
    ):
        AuditEntry.objects.create(action=action, user_id=user_id, actor=actor, chat_id=f"chat of {user_id}")
    officer = staff("view_auditentry")
    for query, found in {
        "": ["carol", "bob", "alice"],
        "action=read": ["carol", "alice"],
        "q=service": ["bob", "alice"],
        "q=chat+of+bob": ["bob"],
        "action=read&q=alice": ["alice"],
    }.items():
        assert [entry.user_id for entry in officer.get(f"{APP}auditentry/?{query}").context["cl"].result_list] == found
    for no_id in ("x" * 300, "a%0Ab", "a%E2%80%AEb"):
        assert list(officer.get(f"{APP}auditentry/?q={no_id}").context["cl"].result_list) == []
    assert officer.get(f"{APP}auditentry/?action=unknown")["Location"].endswith("?e=1")
    erase_user("alice", reason="Asked by mail")
    assert "alice" not in repr(LogEntry.objects.values_list("object_repr", "change_message"))


@pytest.mark.parametrize("key", ["", "x" * 256, "a\x00b", " ", '["a","b"]', "9" * 30, "9" * 5_000], ids=range(7))
@pytest.mark.parametrize("name", ["chat", "contextentry", "legalhold"])
def test_an_action_on_what_is_no_key_finds_nothing(boss: Client, chat: str, name: str, key: str) -> None:
    hold(user_id="bob", reason="Case 7", who="counsel")
    action = "release_selected" if name == "legalhold" else "delete_selected"
    chosen = {"action": action, "_selected_action": [key], "post": "yes"}
    assert boss.post(f"{APP}{name}/", chosen).status_code == 302
    assert (Chat.objects.count(), LegalHold.objects.filter(released_at=None).count()) == (1, 1)
    # With others it is left out.
    boss.post(f"{APP}{name}/", {**chosen, "_selected_action": [key, "c1"]})
    assert Chat.objects.count() == (name != "chat")
