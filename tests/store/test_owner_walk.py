"""
A walk: every public method of every manager, called as another owner with ids of Alice's, shows and changes nothing.

A method that the walk does not know fails it: whoever adds one says here how it is called.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import closing
from io import BytesIO
from typing import Any

import pytest
from django.core.exceptions import ObjectDoesNotExist
from django.db import transaction
from django.db.models import QuerySet

from context_store.exceptions import ContextStoreError
from context_store.models import Branch, Chat, Checkpoint, Message, SearchEntry, ShareLink, UsageEntry
from context_store.store import ContextStore

MODELS = (Chat, Message, Branch, Checkpoint, SearchEntry, UsageEntry, ShareLink)
# In every value of Alice's that a caller could not know; ids are known.
SECRET = "axolotl"
NEW = [{"name": "user", "data": "Hi"}]
INTO_CHAT = {**NEW[0], "chat_id": "alice"}


def of_message(name: str) -> list[Callable[[Any], Any]]:
    """Return the calls of a method that takes a message: alone, in its chat, and in another's."""
    return [
        lambda messages: getattr(messages, name)("m2"),
        lambda messages: getattr(messages, name)("m2", chat_id="alice"),
        lambda messages: getattr(messages, name)("m2", chat_id="mallory"),
    ]


def document(chat_id: str) -> dict[str, Any]:
    """Return a chat as a document, under the id of a chat, a message and a branch of Alice's."""
    return {
        "format": "context-store-chat",
        "version": 1,
        "chat": {"id": chat_id},
        "messages": [{"id": "m1", **NEW[0]}],
        "branches": [{"id": "b1", "name": "main", "head_message_id": "m1", "is_active": True}],
        "checkpoints": [],
    }


def written(chats: Any, chat_id: str) -> bytes:
    """Return what is written of a chat."""
    file = BytesIO()
    chats.export_chat_to(chat_id, file)
    return file.getvalue()


# How each method is called, under its name, or with the model where models differ: with the id of Alice's chat, and of
# messages, branches and checkpoints in it.
CALLS: dict[str, list[Callable[[Any], Any]]] = {
    # All QuerySets
    "exists": [lambda rows: rows.exists()],
    "missing": [lambda rows: rows.missing("m1")],
    "records": [lambda rows: rows.records()],
    "visible_to": [lambda rows: rows.visible_to("alice"), lambda rows: rows.visible_to(None)],
    "window": [lambda rows: rows.window(None), lambda rows: rows.window(5, 0)],
    "in_chat": [lambda rows: rows.in_chat("alice")],
    # Chats
    "create_chat": [
        lambda chats: chats.create_chat("alice", user_id="mallory"),
        lambda chats: chats.create_chat("new", user_id="alice", title="planted"),
    ],
    "Chat.delete": [lambda chats: chats.delete(), lambda chats: chats.filter(pk="alice").delete()],
    "delete_chat": [
        lambda chats: chats.delete_chat("alice"),
        lambda chats: chats.delete_chat("alice", user_id="alice"),
        lambda chats: chats.delete_chat("alice", user_id="mallory", expected_revision=1),
    ],
    "export_chat": [lambda chats: chats.export_chat("alice")],
    "export_chat_to": [lambda chats: written(chats, "alice")],
    "Chat.find": [lambda chats: chats.find("alice")],
    "for_user": [lambda chats: chats.for_user("alice")],
    "fork_chat": [
        lambda chats: chats.fork_chat("alice", "copy"),
        lambda chats: chats.fork_chat("alice", "copy", user_id="mallory", head="m2"),
        lambda chats: chats.fork_chat("mallory", "alice"),
        lambda chats: chats.fork_chat("mallory", "copy", head="m2"),
        lambda chats: chats.fork_chat("mallory", "copy", user_id="alice"),
    ],
    "get_graph": [lambda chats: chats.get_graph("alice")],
    "import_chat": [
        lambda chats: chats.import_chat(document("alice"), user_id="mallory"),
        lambda chats: chats.import_chat(document("new"), user_id="alice"),
    ],
    "in_list_order": [lambda chats: chats.in_list_order("title")],
    "listed": [
        lambda chats: chats.listed(title_prefix="a", archived=False, contains={"tags": SECRET}),
        lambda chats: chats.listed(user_id="alice"),
    ],
    "mark_read": [
        lambda chats: chats.mark_read("alice"),
        lambda chats: chats.mark_read("alice", "m2"),
        lambda chats: chats.mark_read("mallory", "m2"),
    ],
    "matching": [lambda chats: chats.matching({"secret": SECRET})],
    "Chat.newest_first": [lambda chats: chats.newest_first()],
    "owner_of_new": [lambda chats: chats.owner_of_new("alice")],
    "Chat.page": [lambda chats: chats.page(), lambda chats: chats.page(limit=5, preview=True)],
    "Chat.record": [lambda chats: chats.record("alice")],
    # Those of every QuerySet, which look for holds.
    "delete": [lambda rows: rows.delete()],
    "Chat.update": [lambda chats: chats.update(title="changed")],
    "Branch.update": [lambda branches: branches.update(is_active=False)],
    "update": [lambda rows: rows.update(name="changed")],
    "require": [lambda chats: chats.require("alice")],
    "restore_chat": [
        lambda chats: chats.restore_chat("alice"),
        lambda chats: chats.restore_chat("alice", user_id="alice"),
    ],
    "revision": [lambda chats: chats.revision("alice")],
    "trash_chat": [
        lambda chats: chats.trash_chat("alice"),
        lambda chats: chats.trash_chat("alice", user_id="alice"),
        lambda chats: chats.trash_chat("alice", expected_revision=1),
    ],
    "update_chat": [
        lambda chats: chats.update_chat("alice", title="changed"),
        lambda chats: chats.update_chat("alice", metadata={"a": 1}, merge=True),
        lambda chats: chats.update_chat("alice", updater=lambda chat: {"title": f"was {chat.title}"}),
        lambda chats: chats.update_chat("alice", title="changed", expected_revision=1),
        lambda chats: chats.update_chat("alice", archived=True, pinned=True),
    ],
    "upsert_chat": [
        lambda chats: chats.upsert_chat("alice"),
        lambda chats: chats.upsert_chat("alice", user_id="mallory"),
        lambda chats: chats.upsert_chat("alice", user_id="alice"),
    ],
    # The ledger, and links
    "UsageEntry.update": [lambda rows: rows.update(model="changed")],
    "ShareLink.update": [lambda rows: rows.update(title="changed")],
    "UsageEntry.kept": [lambda rows: rows.kept(), lambda rows: rows.visible_to("alice").kept()],
    "UsageEntry.record": [
        lambda usage: usage.record("alice", model="m", tokens={}),
        lambda usage: usage.record("mallory", model="m", tokens={}, message_id="m2"),
        lambda usage: usage.record("alice", model="m", tokens={}, entry_id="u1"),
    ],
    "within": [
        lambda usage: usage.within(user_id="alice"),
        lambda usage: usage.within(chat_id="alice"),
        lambda usage: usage.within(chat_id="alice", branch=None),
        lambda usage: usage.within(chat_id="alice", branch="main", since=1, until=5),
    ],
    "sums": [lambda usage: usage.sums(), lambda usage: usage.sums(["user", "model", "chat", "day", "month"])],
    "of_chat": [lambda links: links.of_chat("alice")],
    "share": [lambda links: links.share("alice"), lambda links: links.share("mallory", branch="other")],
    "unshare": [lambda links: links.unshare("alice"), lambda links: links.unshare("mallory", "s1")],
    # A link is for whoever has its token.
    "shared": [lambda links: links.shared("s1"), lambda links: links.shared("token of somebody", limit=5)],
    # Messages
    "add": [
        lambda messages: messages.add([{**INTO_CHAT, "id": "m1"}]),
        lambda messages: messages.add([{**INTO_CHAT, "parent_id": "m1"}]),
        lambda messages: messages.add([{**INTO_CHAT, "chat_id": "mallory", "parent_id": "m2"}]),
    ],
    "append": [
        lambda messages: messages.append("alice", NEW),
        lambda messages: messages.append("alice", [{**NEW[0], "id": "m1"}]),
        lambda messages: messages.append("alice", NEW, branch="main", expected_head="m1"),
        lambda messages: messages.append("mallory", NEW, expected_head="m2"),
    ],
    "chain_of": of_message("chain_of"),
    "chat_of": [lambda messages: messages.chat_of("m2"), lambda messages: messages.chat_of("m2", "alice")],
    "children": of_message("children"),
    "edit": [
        lambda messages: messages.edit("alice", "m2", "anew"),
        lambda messages: messages.edit("mallory", "m2", "anew"),
    ],
    "Message.find": of_message("find"),
    "has_children": of_message("has_children"),
    "in_order": [lambda messages: messages.in_order()],
    "keep_newest": [lambda messages: messages.keep_newest("alice", 1)],
    "opening": [lambda messages: messages.opening("alice", 100)],
    "Message.page": [
        lambda messages: messages.page("alice"),
        lambda messages: messages.page("alice", branch="main", limit=5),
        lambda messages: messages.page("alice", before="m2"),
        lambda messages: messages.page("mallory", before="m2"),
    ],
    "Message.record": of_message("record"),
    "replace": [
        lambda messages: messages.replace("alice", NEW),
        lambda messages: messages.replace("alice", []),
        lambda messages: messages.replace("mallory", [{**NEW[0], "id": "m1"}]),
    ],
    "set_parent": [
        lambda messages: messages.set_parent("m2", None),
        lambda messages: messages.set_parent("m2", None, chat_id="alice"),
        lambda messages: messages.set_parent("own", "m2"),
        lambda messages: messages.set_parent("own", "m2", chat_id="mallory"),
    ],
    "siblings": of_message("siblings"),
    "wrong_places": [lambda messages: messages.wrong_places("alice")],
    # Branches
    "activate": [
        lambda branches: branches.activate("alice", "b1"),
        lambda branches: branches.activate("mallory", "b1"),
    ],
    "activate_message": [
        lambda branches: branches.activate_message("alice", "m1"),
        lambda branches: branches.activate_message("mallory", "m1"),
    ],
    "active": [lambda branches: branches.active("alice")],
    "create_branch": [
        lambda branches: branches.create_branch("alice", "new", is_active=True),
        lambda branches: branches.create_branch("mallory", "new", head_message_id="m1"),
    ],
    "delete_branch": [lambda branches: branches.delete_branch("alice", SECRET)],
    "Branch.of": [lambda branches: branches.of("alice"), lambda branches: branches.of("alice", "main")],
    "move": [
        lambda branches: branches.move("alice", "main", "m1"),
        lambda branches: branches.move("alice", None, None, expected_head="m1"),
        lambda branches: branches.move("mallory", None, "m1"),
    ],
    "oldest_first": [lambda branches: branches.oldest_first()],
    "Branch.record": [
        lambda branches: branches.record("b1"),
        lambda branches: branches.record("b1", chat_id="alice"),
        lambda branches: branches.record("b1", chat_id="mallory"),
    ],
    "regenerate": [
        lambda branches: branches.regenerate("alice", "m2"),
        lambda branches: branches.regenerate("mallory", "m2"),
    ],
    "rewind": [
        lambda branches: branches.rewind("alice", "m1"),
        lambda branches: branches.rewind("alice", None),
        lambda branches: branches.rewind("mallory", "m1"),
    ],
    "start_branch": [
        lambda branches: branches.start_branch("alice", "m1"),
        lambda branches: branches.start_branch("mallory", "m1"),
    ],
    "switch": [lambda branches: branches.switch("alice", "main")],
    "update_head": [
        lambda branches: branches.update_head("b1", None),
        lambda branches: branches.update_head("b1", "m1", chat_id="alice"),
        lambda branches: branches.update_head("b1", "m1", expected_head="m2"),
        lambda branches: branches.update_head("own", "m1"),
        lambda branches: branches.update_head("own", "m1", chat_id="mallory"),
    ],
    # Checkpoints
    "delete_checkpoint": [lambda checkpoints: checkpoints.delete_checkpoint("alice", "here")],
    "Checkpoint.newest_first": [lambda checkpoints: checkpoints.newest_first()],
    "Checkpoint.of": [lambda checkpoints: checkpoints.of("alice", "here")],
    "Checkpoint.record": [lambda checkpoints: checkpoints.record("alice", "here")],
    "restore": [lambda checkpoints: checkpoints.restore("alice", "here")],
    "upsert": [
        lambda checkpoints: checkpoints.upsert("alice", "here", "m2"),
        lambda checkpoints: checkpoints.upsert("alice", "new", "m2"),
        lambda checkpoints: checkpoints.upsert("mallory", "new", "m2"),
    ],
    # Search
    "hits": [
        lambda entries: entries.hits(SECRET),
        lambda entries: entries.hits(SECRET, chat_id="alice"),
        lambda entries: entries.hits(SECRET, user_id="alice"),
        lambda entries: entries.hits(SECRET, chats=Chat.objects.all()),
        lambda entries: entries.hits(SECRET, roles=["user"], limit=5),
    ],
}
# What QuerySets can do by themselves.
INHERITED: list[Callable[[Any], Any]] = [
    lambda rows: rows.all(),
    lambda rows: rows.count(),
    lambda rows: rows.first(),
    lambda rows: rows.values_list(),
    lambda rows: list(rows.iterator()),
    lambda rows: rows.order_by("?").select_related(None)[:5],
    lambda rows: rows.update(**{rows.model._meta.local_concrete_fields[-1].name: "1"}),
    lambda rows: rows.all().delete(),
]

SCOPES: dict[str, Callable[[Any], Any]] = {
    "visible_to": lambda model: model.objects.visible_to("mallory"),
    "visible_to both": lambda model: model.objects.visible_to("mallory").visible_to("alice"),
    "visible_to none": lambda model: model.objects.visible_to("mallory").none(),
    "filter": lambda model: model.objects.filter(**{model.objects.all().owner_lookup: "mallory"}),
    "none": lambda model: model.objects.none(),
}


def walked(model: type[Any]) -> dict[str, Any]:
    """Return the public methods of a model's QuerySet that are the package's own, with their calls."""
    kind = type(model.objects.all())
    names = [name for name in dir(kind) if not name.startswith("_") and is_ours(kind, name)]
    return {name: CALLS.get(f"{model.__name__}.{name}", CALLS.get(name)) for name in names}


def is_ours(kind: type[Any], name: str) -> bool:
    owner = next(base for base in kind.__mro__ if name in vars(base))
    return owner.__module__.startswith("context_store") and inspect.isfunction(vars(owner)[name])


CASES = [
    pytest.param(model, name, calls, id=f"{model.__name__}.{name}")
    for model in MODELS
    for name, calls in walked(model).items()
]


@pytest.fixture
def stored(db):
    """A chat of Alice's full of what only she knows, and one of Mallory's."""
    store = ContextStore()
    store.create_chat("alice", user_id="alice", title=SECRET, metadata={"secret": SECRET})
    data = {"content": f"the {SECRET} sleeps"}
    store.append_messages("alice", [{"id": f"m{n}", "name": "user", "data": data} for n in range(1, 4)])
    store.append_messages("alice", [{"id": SECRET, "name": "assistant", "data": data}])
    store.create_branch("alice", SECRET, head_message_id=SECRET, branch_id="b1")
    store.create_checkpoint("alice", "here", SECRET)
    store.record_usage("alice", model=SECRET, usage_id="u1", message_id="m2", input_tokens=5)
    store.share("alice")
    store.create_chat("mallory", user_id="mallory")
    store.append_messages("mallory", [{"id": f"own-{n}", "name": "user", "data": n} for n in range(2)])
    store.add_message({"chat_id": "mallory", "id": "own", "name": "user", "data": "Hi"})
    store.create_branch("mallory", "other", branch_id="own")


def of_alice() -> dict[str, Any]:
    """Return all rows of Alice's."""
    return {
        model.__name__: sorted(map(repr, model.objects.filter(**{model.objects.all().owner_lookup: "alice"}).values()))
        for model in MODELS
    }


def answers(rows: Any, call: Callable[[Any], Any]) -> str:
    """Return what a caller sees of a call: a value, or an error with all that it carries."""
    try:
        with transaction.atomic():
            result = call(rows)
            if isinstance(result, QuerySet):
                result = list(result.values()) if result._fields is None else list(result)
            return repr(list(result) if isinstance(result, Iterator) else result)
    except (ContextStoreError, ObjectDoesNotExist) as error:
        return f"{error!r} {vars(error)}"
    except TypeError as error:
        # The method looks at no other condition than its owner, and says so.
        if "cannot follow" not in str(error):
            raise
        return str(error)


@pytest.mark.parametrize(("model", "name", "calls"), CASES)
def test_another_owner_sees_and_changes_nothing(stored, model, name, calls):
    assert calls, f"Say in CALLS how {model.__name__}.objects.{name}() is called with ids of another owner."
    check(model, calls)


@pytest.mark.parametrize("model", MODELS)
def test_another_owner_sees_and_changes_nothing_by_the_methods_of_django(stored, model):
    check(model, INHERITED)


def check(model: Any, calls: list[Callable[[Any], Any]]) -> None:
    before = of_alice()
    for scope, narrowed in SCOPES.items():
        for number, call in enumerate(calls):
            with transaction.atomic():
                shown = answers(narrowed(model), call)
                assert SECRET not in shown, (scope, number)
                assert of_alice() == before, (scope, number)
                transaction.set_rollback(True)


@pytest.mark.parametrize("model", MODELS)
def test_the_owner_sees_what_others_do_not(stored, model):
    assert any(SECRET in answers(model.objects.visible_to("alice"), call) for call in (lambda rows: rows.all(),))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kwargs", [{}, {"after": 0}, {"after": 10**6}])
def test_another_owner_cannot_watch_a_chat(stored, kwargs):
    watching = ContextStore(user_id="mallory").watch("alice", **kwargs)
    with pytest.raises(ObjectDoesNotExist) as caught:
        next(iter(watching))
    assert SECRET not in repr(caught.value)


@pytest.mark.django_db(transaction=True)
def test_another_owner_learns_nothing_of_a_list(stored):
    store = ContextStore(user_id="mallory")
    with pytest.raises((ContextStoreError, ObjectDoesNotExist)):
        store.watch_list("alice")
    with closing(store.watch_list(tag="of another list").batches(timeout=0.5)) as batches:
        seen = [next(batches)]
        ContextStore().update_chat("alice", title=f"{SECRET} wakes")
        ContextStore().append_messages("mallory", NEW)
        while "'mallory'" not in repr(seen):
            seen.append(next(batches))
    assert SECRET not in repr(seen)
    assert "alice" not in repr(seen)
