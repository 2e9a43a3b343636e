"""Aliases, routers, signals, async twins and the facade's own form."""

import inspect
from contextvars import ContextVar, copy_context
from io import BytesIO, StringIO
from zipfile import ZipFile

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connections, transaction

from context_store import signals
from context_store.asynchronous import asynchronous
from context_store.contexts import contexts
from context_store.contexts.database import DatabaseContexts
from context_store.contexts.tiered import TieredContexts
from context_store.exceptions import IdConflict
from context_store.lifecycle import erase_user, export_user
from context_store.models import Chat, ContextEntry, Message
from context_store.store import ContextStore
from context_store.streams import streams
from tests.store.data import ids, message


class ToOther:
    """Route everything of the app to the second database."""

    def db_for_read(self, model, **hints):
        return "other"

    def db_for_write(self, model, **hints):
        return "other"


class WritesToDefault(ToOther):
    """Read from the second database, write to the first."""

    def db_for_write(self, model, **hints):
        return "default"


def work(store: ContextStore) -> None:
    """Go through every kind of write once."""
    store.upsert_chat("chat", user_id="alice")
    store.append_messages("chat", [message("m1"), message("m2")])
    store.add_message(message("n2", chat_id="chat", parent_id="m1"))
    store.add_message(message("n2", chat_id="chat", data="searched"))
    store.set_message_parent("n2", "m2")
    store.create_checkpoint("chat", "c", "m1")
    branch = store.restore_checkpoint("chat", "c")
    store.update_branch_head(branch.id, "n2", expected_head="m1")
    store.set_active_branch("chat", store.list_branches("chat")[0].id)
    store.delete_branch("chat", branch.name)
    store.update_chat("chat", metadata={"a": 1}, merge=True)
    store.fork_chat("chat", "fork")
    document = store.export_chat("chat")
    store.delete_chat("chat")
    store.import_chat(document)
    store.delete_checkpoint("chat", "c")
    assert len(store.search_messages("chat", "searched")) == 1
    assert len(store.search_chats("searched", user_id="alice")) == 2
    assert len(store.get_graph("chat").nodes) == 3


@pytest.mark.django_db(databases=["default", "other"])
def test_using_keeps_to_one_database(django_assert_num_queries):
    with django_assert_num_queries(0):
        work(ContextStore(using="other"))
    assert Chat.objects.using("other").count() == 2
    assert not Chat.objects.using("default").exists()


@pytest.mark.django_db(databases=["default", "other"])
def test_routers_are_honoured(settings, django_assert_num_queries):
    settings.DATABASE_ROUTERS = [f"{__name__}.ToOther"]
    with django_assert_num_queries(0):
        work(ContextStore())
        Chat.objects.get(pk="fork").delete()
    assert ids(Chat.objects.using("other").all()) == ["chat"]


@pytest.mark.django_db(databases=["default", "other"])
@pytest.mark.parametrize("command", ["rebuild_search_index", "purge_contexts"])
def test_commands_ask_the_routers(settings, command):
    settings.DATABASE_ROUTERS = [f"{__name__}.ToOther"]
    work(ContextStore())
    output = StringIO()
    call_command(command, stdout=output)
    assert "'other'" in output.getvalue()


@pytest.mark.vendor("sqlite")
def test_partitions_are_made_where_the_routers_say(settings):
    settings.DATABASE_ROUTERS = [f"{__name__}.ToOther"]
    with pytest.raises(CommandError, match="'other' is no PostgreSQL"):
        call_command("distribute_context_store")


class ByTenant:
    """Route everything of the app to the database of the tenant, where there is one."""

    tenant: ContextVar[str | None] = ContextVar("tenant", default=None)

    def db_for_read(self, model, **hints):
        return self.tenant.get() if model._meta.app_label == "context_store" else None

    db_for_write = db_for_read


def of_tenant(get_response):
    """Say whose each request is: a middleware."""
    return lambda request: in_tenant(lambda: get_response(request))


def in_tenant(function):
    """Run a function in a context that goes with it, as a middleware's goes with the request."""
    return copy_context().run(lambda: (ByTenant.tenant.set("other"), function())[1])


@pytest.mark.django_db(databases=["default", "other"], transaction=True)
def test_who_reads_on_stays_in_the_database_of_the_request(settings):
    settings.DATABASE_ROUTERS = [f"{__name__}.ByTenant"]
    answers, store = streams["default"].for_user("alice"), ContextStore(user_id="alice")

    def begin():
        store.create_chat("chat")
        revision = store.get_revision("chat")
        answers.create("chat", "s", format="text")
        return answers.produce("s"), answers.follow("s"), store.watch("chat", after=revision)

    production, follower, changes = in_tenant(begin)
    with production as producer:
        producer.write("Sencha.")
        first, changed = next(iter(follower)), next(iter(changes))
    assert (first.data, changed.kind) == ("Sencha.", "stream")
    assert in_tenant(lambda: store.get_messages("chat")[-1].data) == {"content": "Sencha."}


@pytest.mark.django_db(databases=["default", "other"])
def test_what_is_downloaded_comes_from_the_database_of_the_request(settings, client):
    settings.DATABASE_ROUTERS = [f"{__name__}.ByTenant"]
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.of_tenant"]
    client.force_login(User.objects.create_superuser("boss"))
    in_tenant(lambda: ContextStore(user_id="alice").create_chat("chat"))
    chosen = {"action": "export_json", "_selected_action": ["chat"]}
    assert b'"chat"' in b"".join(client.post("/admin/context_store/chat/", chosen).streaming_content)
    with ZipFile(BytesIO(b"".join(client.get("/api/users/alice/export/").streaming_content))) as archive:
        assert b'"chat"' in archive.read("chats.jsonl")
    log = client.get("/admin/context_store/auditentry/export/?format=jsonl")
    assert b"export_user" in b"".join(log.streaming_content)


@pytest.mark.django_db(databases=["default", "other"])
def test_an_export_stays_in_the_database_where_it_was_asked_for(settings):
    settings.DATABASE_ROUTERS = [f"{__name__}.ByTenant"]
    in_tenant(lambda: ContextStore(user_id="alice").create_chat("chat"))
    with ZipFile(BytesIO(b"".join(in_tenant(lambda: export_user("alice"))))) as archive:
        assert b'"chat"' in archive.read("chats.jsonl")


@pytest.mark.django_db(databases=["default", "other"], transaction=True)
def test_who_watches_a_context_stays_in_the_database_of_the_request(settings):
    settings.DATABASE_ROUTERS = [f"{__name__}.ByTenant"]
    notes = DatabaseContexts("notes", {})
    notes.set("k", "south")
    watcher = in_tenant(lambda: (notes.set("k", "north"), notes.watched("k", "none"))[1])
    assert next(watcher.batches(5)) == ["north"]


@pytest.mark.django_db(databases=["default", "other"], transaction=True)
def test_a_cache_in_front_answers_nothing_of_another_tenant(settings):
    settings.DATABASE_ROUTERS = [f"{__name__}.ByTenant"]
    notes = TieredContexts("tenants", {"CACHE_PREFIX": "tenants:"})
    in_tenant(lambda: notes.set("k", "north"))
    assert (notes.get("k"), in_tenant(lambda: notes.get("k"))) == (None, "north")


@pytest.mark.django_db(databases=["default", "other"])
def test_an_erasure_finds_the_contexts_of_its_database(settings):
    settings.CONTEXT_STORE_CONTEXTS = {"default": {"BACKEND": "context_store.contexts.database.DatabaseContexts"}}
    settings.DATABASE_ROUTERS = [f"{__name__}.ByTenant"]
    in_tenant(lambda: contexts["default"].scoped("user:alice").set("k", "secret"))
    # As a command does, for which no middleware has said whose it is.
    assert b"secret" in ZipFile(BytesIO(b"".join(export_user("alice", using="other")))).read("contexts.jsonl")
    erase_user("alice", reason="Asked", using="other")
    assert not ContextEntry.objects.using("other").exists()


@pytest.mark.django_db(databases=["default", "other"])
def test_writes_read_where_they_write(settings):
    settings.DATABASE_ROUTERS = [f"{__name__}.WritesToDefault"]
    store = ContextStore()
    store.create_chat("chat", user_id="alice")
    store.append_messages("chat", [message("m1"), message("m2")])
    store.add_message(message("n2", chat_id="chat", parent_id="m1"))
    store.set_message_parent("n2", "m2")
    store.create_checkpoint("chat", "c", "m1")
    store.update_chat("chat", updater=lambda chat: {"title": chat.id})
    branch = store.rewind("chat", "m1")
    store.update_branch_head(branch.id, "m2", expected_head="m1")
    store.fork_chat("chat", "fork")
    assert store.upsert_chat("chat", user_id="alice")[0].title == "chat"
    assert ContextStore().get_chat("chat") is None
    assert store.delete_chat("chat") is True


@pytest.mark.django_db
def test_signals_are_sent_after_commit(django_capture_on_commit_callbacks):
    received = []

    def receive(signal, **arguments):
        received.append({key: value for key, value in arguments.items() if key not in {"sender", "signal"}})

    store = ContextStore()
    for signal in (signals.messages_appended, signals.branch_head_moved, signals.chat_deleted):
        signal.connect(receive)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            store.create_chat("chat", user_id="alice")
            records = store.append_messages("chat", [message("m1")])
            branch = store.get_active_branch("chat")
            store.delete_chat("chat")
            assert received == []
    finally:
        for signal in (signals.messages_appended, signals.branch_head_moved, signals.chat_deleted):
            signal.disconnect(receive)
    assert received == [
        {"using": "default", "chat_id": "chat", "messages": records},
        {"using": "default", "chat_id": "chat", "branch_id": branch.id, "name": "main", "head_message_id": "m1"},
        {"using": "default", "chat_id": "chat", "user_id": "alice"},
    ]


@pytest.mark.django_db
def test_what_is_rolled_back_sends_nothing(django_capture_on_commit_callbacks):
    store = ContextStore()
    store.create_chat("chat", user_id="alice")
    store.append_messages("chat", [message("m1")])
    store.create_chat("other", user_id="alice")
    with django_capture_on_commit_callbacks() as callbacks, pytest.raises(IdConflict):
        store.append_messages("chat", [message("m2"), message("m1")])
    assert callbacks == []


@pytest.mark.django_db
def test_a_call_that_fails_leaves_the_callers_transaction_usable():
    store = ContextStore()
    with transaction.atomic():
        store.create_chat("chat", user_id="alice")
        with pytest.raises(IdConflict):
            store.create_chat("chat", user_id="alice")
        store.append_messages("chat", [message("m1")])
    assert Message.objects.count() == 1


def test_every_method_has_an_async_twin_below_it():
    functions = [name for name, _ in inspect.getmembers(ContextStore, inspect.isfunction) if not name.startswith("_")]
    # What watches gives iterators of both kinds.
    methods = [name for name in vars(ContextStore) if name in functions and not name.startswith("watch")]
    sync, twins = methods[::2], methods[1::2]
    assert twins == [f"a{name}" for name in sync]
    assert all(inspect.iscoroutinefunction(getattr(ContextStore, name)) for name in twins)
    assert ContextStore.aget_chat.__name__ == "aget_chat"


def test_async_twins_take_positional_and_keyword_arguments():
    class Adder:
        def add(self, one: int, *, two: int) -> int:
            return one + two

        aadd = asynchronous(add)

    assert async_to_sync(Adder().aadd)(1, two=2) == 3


@pytest.mark.django_db(transaction=True)
def test_async_twins_work_on_the_store():
    store = ContextStore(user_id="alice")

    async def converse() -> list[str]:
        await store.acreate_chat("chat")
        await store.aappend_messages("chat", [message("m1")])
        return ids(await store.aget_messages("chat"))

    assert async_to_sync(converse)() == ["m1"]
    assert store.delete_chat("chat") is True


@pytest.mark.django_db(transaction=True)
def test_migrations_reverse_and_apply_again():
    call_command("migrate", "context_store", "zero", verbosity=0)
    assert "context_store_chat" not in connections["default"].introspection.table_names()
    # All of them: the adapters' tables went, too.
    call_command("migrate", verbosity=0)
    work(ContextStore())
