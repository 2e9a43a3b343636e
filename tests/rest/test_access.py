"""What callers read and change of others' data over HTTP is in the audit log, an entry a request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import override_settings
from rest_framework.exceptions import ValidationError
from rest_framework.test import APIRequestFactory, force_authenticate

from context_store.lifecycle import erase_user
from context_store.models import AuditEntry, Chat, Message
from context_store.rest.views import ChatViewSet
from tests.rest.client import Client

AS_ALICE = "?user_id=alice"
TEXT = {"messages": [{"name": "user", "data": "text"}]}


def entries() -> list[tuple[Any, ...]]:
    """Each entry as action, operation, actor, user and chat, the oldest first."""
    found = AuditEntry.objects.order_by("id").values_list("action", "detail", "actor", "user_id", "chat_id")
    return [(action, detail.get("operation"), *rest) for action, detail, *rest in found]


@pytest.mark.parametrize(
    ("method", "path", "body", "recorded"),
    [
        ("get", "chats/chat/messages/", None, ("read", "list_messages", "chat")),
        ("get", "messages/m1/", None, ("read", "get_message_by_id", "chat")),
        ("get", "chats/", None, ("read", "list_chats", None)),
        ("get", "search/", None, ("read", "search_chats", None)),
        ("get", "contexts/missing/", None, None),
        ("get", "sessions/chat/messages/", None, ("read", "load_session", "chat")),
        ("post", "chats/chat/messages/", TEXT, ("change", "append_messages", "chat")),
        ("post", "chats/", {"id": "new"}, ("change", "create_chat", "new")),
        ("post", "chats/chat/fork/", {"id": "copy"}, ("change", "fork_chat", "copy")),
        ("put", "contexts/key/", {"value": 1}, ("change", "set_context", None)),
        ("post", "sessions/new/messages/", TEXT, ("change", "append_to_session", "new")),
        ("patch", "chats/chat/", {"title": "Other"}, ("change", "update_chat", "chat")),
    ],
)
def test_what_is_done_for_another_is_recorded(
    service: User, chat: str, method: str, path: str, body: Any, recorded: Any
) -> None:
    query = f"{AS_ALICE}&q=text" if path == "search/" else AS_ALICE
    answer = Client(service).request(method, f"/api/{path}{query}", body)
    assert (answer.status_code < 300) == (recorded is not None)
    expected = [] if recorded is None else [(*recorded[:2], "service", "alice", recorded[2])]
    assert entries() == expected


def test_owners_leave_no_entries_unless_all_are_asked_for(api: Client, service: User, chat: str) -> None:
    def read_and_append() -> None:
        assert api.get("chats/chat/messages/").status_code == 200
        assert api.post("chats/chat/messages/", TEXT).status_code == 201

    read_and_append()
    assert entries() == []
    with override_settings(CONTEXT_STORE_AUDIT_ACCESS="all"):
        read_and_append()
    assert entries() == [
        ("read", "list_messages", "alice", "alice", "chat"),
        ("change", "append_messages", "alice", "alice", "chat"),
    ]
    with override_settings(CONTEXT_STORE_AUDIT_ACCESS=None):
        Client(service).get(f"chats/chat/{AS_ALICE}")
    assert len(entries()) == 2


def test_the_body_can_name_the_other_and_a_fork_two(service: User, chat: str) -> None:
    client = Client(service)
    client.post("chats/", {"id": "new", "user_id": "carol"})
    client.post(f"chats/chat/fork/{AS_ALICE}", {"id": "copy", "user_id": "carol"})
    client.get("chats/?user_id=*")
    assert entries() == [
        ("change", "create_chat", "service", "carol", "new"),
        ("change", "fork_chat", "service", "alice", "chat"),
        ("change", "fork_chat", "service", "carol", "copy"),
        ("read", "list_chats", "service", None, None),
    ]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("get", f"chats/none/{AS_ALICE}", None, 404),
        ("get", "chats/chat/?user_id=carol", None, 404),
        ("post", f"chats/none/messages/{AS_ALICE}", TEXT, 404),
        ("post", f"chats/chat/messages/{AS_ALICE}", {"messages": [{"name": "", "data": 1}]}, 400),
        ("post", f"chats/{AS_ALICE}", {"id": "chat"}, 409),
    ],
)
def test_what_is_refused_leaves_no_entry(
    service: User, chat: str, method: str, path: str, body: Any, status: int
) -> None:
    assert Client(service).request(method, f"/api/{path}", body).status_code == status
    assert entries() == []
    assert (Chat.objects.count(), Message.objects.count()) == (1, 3)


class RefusingViewSet(ChatViewSet):
    """A project's own, which looks again at what was written."""

    def create(self, request: Any) -> Any:
        super().create(request)
        raise ValidationError({"title": ["Not here."]})


def test_what_was_written_before_it_was_refused_is_undone(service: User, chat: str) -> None:
    request = APIRequestFactory().post(f"/{AS_ALICE}", {"id": "new"}, format="json")
    force_authenticate(request, service)
    assert RefusingViewSet.as_view({"post": "create"})(request).status_code == 400
    assert (entries(), Chat.objects.count()) == ([], 1)


def test_who_may_not_act_for_others_leaves_none(mallory: User, chat: str) -> None:
    assert Client(mallory).get(f"chats/chat/{AS_ALICE}").status_code == 403
    assert entries() == []


def test_who_has_the_answer_already_reads_nothing(service: User, chat: str) -> None:
    client = Client(service)
    tag = client.get(f"chats/chat/{AS_ALICE}")["ETag"]
    assert client.get(f"chats/chat/{AS_ALICE}", if_none_match=tag).status_code == 304
    assert len(entries()) == 1


@contextmanager
def without_log() -> Iterator[None]:
    """Take the audit log away."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE context_store_auditentry RENAME TO away")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE away RENAME TO context_store_auditentry")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("method", "path"), [("get", "messages/"), ("post", "messages/"), ("delete", "")])
def test_what_cannot_be_recorded_is_not_done(service: User, chat: str, method: str, path: str) -> None:
    client = Client(service)
    client.client.raise_request_exception = False
    with without_log():
        body = TEXT if method == "post" else None
        answer = client.request(method, f"/api/chats/chat/{path}{AS_ALICE}", body)
    # On SQLite a table that is missing is an OperationalError.
    assert answer.status_code in (500, 503)
    assert b"text of m1" not in answer.content
    assert Message.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_a_reader_who_cannot_be_recorded_gives_its_place_back(service: User, chat: str) -> None:
    client = Client(service)
    client.client.raise_request_exception = False
    with override_settings(CONTEXT_STORE_MAX_STREAM_READERS=1):
        with without_log():
            assert client.get(f"chats/chat/events/{AS_ALICE}").status_code in (500, 503)
        answer = client.get(f"chats/chat/events/{AS_ALICE}")
        assert answer.status_code == 200
        answer.close()


@pytest.mark.django_db(transaction=True)
def test_a_deletion_has_the_entry_of_its_request_and_its_own(service: User, chat: str) -> None:
    Client(service).delete(f"chats/chat/{AS_ALICE}")
    assert entries() == [
        ("change", "delete_chat", "service", "alice", "chat"),
        ("delete", None, "service", "alice", "chat"),
    ]


def test_a_read_for_another_takes_two_statements_more(service: User, chat: str, django_assert_num_queries: Any) -> None:
    client = Client(service, session=False)
    client.get(f"chats/chat/messages/{AS_ALICE}")
    with django_assert_num_queries(3 + 2):
        client.get(f"chats/chat/messages/{AS_ALICE}")
    # The transaction around it begins and ends.
    with django_assert_num_queries(7 + 2 + 2):
        client.post(f"chats/chat/messages/{AS_ALICE}", TEXT)


def test_the_log_is_asked_by_user_action_caller_and_chat(service: User, chat: str) -> None:
    service.user_permissions.add(Permission.objects.get(codename="view_auditentry"))
    client = Client(User.objects.get(pk=service.pk))
    client.get(f"chats/chat/{AS_ALICE}")
    client.put("contexts/key/?user_id=carol", {"value": 1})
    for query, users in {
        "user=alice": ["alice"],
        "action=change": ["carol"],
        "actor=service": ["carol", "alice"],
        "actor=alice": [],
        "chat=chat": ["alice"],
    }.items():
        assert [entry["user_id"] for entry in client.get(f"audit/?{query}").json()["results"]] == users


def test_an_erasure_leaves_pseudonyms_also_of_those_who_ask_later(service: User, chat: str) -> None:
    client = Client(service)
    client.get(f"chats/chat/{AS_ALICE}")
    subject = erase_user("alice", reason="Asked").subject
    client.get(f"chats/{AS_ALICE}")
    assert [entry[-2:] for entry in entries()] == [(subject, None)] * 3
    erase_user("service", reason="Asked")
    assert not AuditEntry.objects.filter(actor="service").exists()
