"""Erasure, export, holds and the audit log over HTTP, each by a permission of its own."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any
from zipfile import ZipFile

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection

from context_store.lifecycle import hold
from context_store.models import AuditEntry, Chat, Erasure, LegalHold
from context_store.rest.views.lifecycle import UserViewSet
from context_store.signals import audited
from tests.rest.client import Client, ids

WHY = {"reason": "Asked for it by mail"}
CALLS: dict[str, Callable[[Client], Any]] = {
    "erase_user": lambda client: client.post("users/alice/erasure/", WHY),
    "lift_erasure": lambda client: client.delete("users/alice/erasure/"),
    "export_user": lambda client: client.get("users/alice/export/"),
    "view_legalhold": lambda client: client.get("holds/"),
    "add_legalhold": lambda client: client.post("holds/", {"user_id": "carol", **WHY}),
    "release_legalhold": lambda client: client.post(f"holds/{LegalHold.objects.get().pk}/release/"),
    "view_auditentry": lambda client: client.get("audit/"),
}


def client_with(*permissions: str) -> Client:
    user = User.objects.create_user("officer")
    user.user_permissions.add(*Permission.objects.filter(codename__in=permissions))
    return Client(user)


@pytest.mark.parametrize("name", CALLS)
def test_each_takes_a_permission_of_its_own(chat: str, name: str) -> None:
    Erasure.objects.create(subject="somebody", reason="Asked")
    hold(user_id="dave", reason="Case 7", who="counsel")
    without = client_with("act_for_any_user", *(other for other in CALLS if other != name))
    answer = CALLS[name](without)
    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert Chat.objects.filter(pk="chat").exists()
    User.objects.all().delete()
    # Of an erasure that is not there the answer is 404.
    assert CALLS[name](client_with(name)).status_code in (200, 201, 404)


def test_an_erasure_can_be_repeated_and_refuses_what_comes_late(api: Client, chat: str) -> None:
    officer = client_with("erase_user", "lift_erasure")
    first = officer.post("users/alice/erasure/", WHY)
    assert (first.status_code, first.json()["counts"]["chat"]) == (200, 1)
    assert officer.post("users/alice/erasure/", {"reason": "Again"}).json() == first.json()
    refused = api.post("chats/", {"id": "late"})
    assert (refused.status_code, refused.json()["code"]) == (403, "user_erased")
    assert officer.delete("users/alice/erasure/").status_code == 204
    assert officer.delete("users/alice/erasure/").status_code == 404
    assert api.post("chats/", {"id": "late"}).status_code == 201


def test_sums_of_usage_stay_by_choice(api: Client, service: User, chat: str) -> None:
    api.post(f"chats/{chat}/usage/", {"model": "small", "input_tokens": 5})
    assert client_with("erase_user").post("users/alice/erasure/", {**WHY, "usage": "sums"}).status_code == 200
    [total] = Client(service).get("usage/?user_id=*&by=user&by=model").json()["results"]
    assert (total["user_id"], total["model"], total["input_tokens"]) == (None, "small", 5)
    assert api.get("usage/").json()["results"] == []


def test_an_erasure_of_much_is_sent_again_until_it_is_done(
    api: Client, chat: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(UserViewSet, "erasure_seconds", 0)
    officer = client_with("erase_user")
    answers = [officer.post("users/alice/erasure/", WHY)]
    while answers[-1].status_code == 202:
        assert answers[-1].json()["finished_at"] is None
        assert api.post("chats/", {"id": "late"}).status_code == 403
        answers.append(officer.post("users/alice/erasure/", WHY))
    assert (len(answers) > 1, answers[-1].status_code, answers[-1].json()["counts"]["chat"]) == (True, 200, 1)


@pytest.mark.parametrize(
    "body",
    [{}, {"reason": " "}, {"reason": "a\0"}, {**WHY, "copies": "all"}, {**WHY, "usage": "all"}, {**WHY, "who": "x"}],
)
def test_a_malformed_erasure_erases_nothing(chat: str, body: dict[str, Any]) -> None:
    assert client_with("erase_user").post("users/alice/erasure/", body).status_code == 400
    assert Chat.objects.filter(pk="chat").exists()


def test_what_is_held_is_not_erased(chat: str) -> None:
    hold(chat_id="chat", reason="Case 7", who="counsel")
    assert client_with("erase_user").post("users/alice/erasure/", WHY).status_code == 423
    assert Chat.objects.filter(pk="chat").exists()


def test_an_export_is_a_zip_and_is_recorded_under_the_caller(chat: str) -> None:
    answer = client_with("export_user").get("users/alice/export/", accept="application/zip")
    assert (answer.status_code, answer["Content-Type"], answer.streaming) == (200, "application/zip", True)
    with ZipFile(BytesIO(b"".join(answer.streaming_content))) as archive:  # type: ignore[attr-defined]
        assert b"text of m1" in archive.read("chats.jsonl")
    assert AuditEntry.objects.values_list("action", "actor", "user_id").get() == ("export_user", "officer", "alice")


def test_holds_are_placed_listed_and_released(api: Client, chat: str) -> None:
    officer = client_with("view_legalhold", "add_legalhold", "release_legalhold")
    placed = officer.post("holds/", {"chat_id": "chat", **WHY})
    assert (placed.status_code, placed.json()["placed_by"]) == (201, "officer")
    assert api.delete("chats/chat/").status_code == 423
    assert ids(officer.get("holds/?active=true")) == [placed.json()["id"]]
    released = officer.post(f"holds/{placed.json()['id']}/release/").json()
    assert (released["released_by"], officer.get("holds/?active=true").json()["results"]) == ("officer", [])
    assert officer.post(f"holds/{released['id']}/release/").json() == released
    assert officer.get("holds/?active=false").json()["results"] == [released]
    assert api.delete("chats/chat/").status_code == 204


@pytest.mark.parametrize("hold_id", ["0", "4711", "-1", "x", "٣", "9" * 30])
def test_a_hold_that_is_not_there_is_404(db: None, hold_id: str) -> None:
    answer = client_with("release_legalhold").post(f"holds/{hold_id}/release/")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "about", [{}, {"user_id": "a", "chat_id": "b"}, {"metadata": {}}, {"metadata": {"a": 1, "b": 2}}]
)
def test_a_hold_is_about_one_thing(db: None, about: dict[str, Any]) -> None:
    assert client_with("add_legalhold").post("holds/", {**about, **WHY}).status_code == 400
    assert not LegalHold.objects.exists()


def test_the_audit_log_comes_in_pages_newest_first(db: None) -> None:
    for number in range(5):
        AuditEntry.objects.create(action="delete", user_id=f"user {number % 2}", created_at=number)
    officer = client_with("view_auditentry")
    page = officer.get("audit/?limit=2").json()
    times = [entry["created_at"] for entry in page["results"]]
    while page["next"]:
        page = officer.get(page["next"]).json()
        times += [entry["created_at"] for entry in page["results"]]
    assert times == [4, 3, 2, 1, 0]
    assert [entry["created_at"] for entry in officer.get("audit/?user=user 1").json()["results"]] == [3, 1]
    assert officer.get("audit/?action=erase").json()["results"] == []
    assert officer.get("audit/?before=x").status_code == 400


@pytest.mark.django_db(transaction=True)
def test_the_audit_log_names_the_caller_whoever_it_acts_for(service: User, chat: str) -> None:
    assert Client(service).delete("chats/chat/?user_id=alice").status_code == 204
    deleted = AuditEntry.objects.filter(action="delete").values_list("actor", "user_id")
    assert deleted.get() == ("service", "alice")


@pytest.mark.django_db(transaction=True)
def test_an_erasure_takes_no_transaction_of_the_request(chat: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    in_transaction: list[bool] = []
    receiver = lambda **kwargs: in_transaction.append(connection.in_atomic_block)  # noqa: E731
    audited.connect(receiver)
    try:
        assert client_with("erase_user").post("users/alice/erasure/", WHY).status_code == 200
    finally:
        audited.disconnect(receiver)
    assert in_transaction == [False]
