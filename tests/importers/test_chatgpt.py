from typing import Any

import pytest

from context_store.exceptions import InvalidData
from context_store.importers.chatgpt import to_document


def node(node_id: str, parent: str | None, text: Any = None, *, role: str = "user", **fields: Any) -> dict[str, Any]:
    """Return a node, without a message if it has no text."""
    content = {"content_type": "text", "parts": text if isinstance(text, list) else [text]}
    message = {"id": node_id, "author": {"role": role}, "create_time": None, "content": content, **fields}
    return {"id": node_id, "parent": parent, "children": [], "message": None if text is None else message}


def conversation(*nodes: dict[str, Any], current: str | None = None, **fields: Any) -> dict[str, Any]:
    mapping = {item["id"]: item for item in nodes}
    for item in nodes:
        if item["parent"] in mapping:
            mapping[item["parent"]]["children"].append(item["id"])
    return {
        "conversation_id": "c",
        "title": "T",
        "create_time": 1.5,
        "mapping": mapping,
        "current_node": current,
        **fields,
    }


def parents(document: dict[str, Any]) -> dict[str, str | None]:
    return {message["id"]: message["parent_id"] for message in document["messages"]}


def heads(document: dict[str, Any]) -> dict[str, str | None]:
    return {branch["name"]: branch["head_message_id"] for branch in document["branches"]}


def test_nodes_without_a_message_are_left_out_and_their_children_linked() -> None:
    document = to_document(
        conversation(
            node("client-created-root", None),
            node("hidden", "client-created-root", "", role="system"),
            node("q", "hidden", "Hello?"),
            node("gone", "q"),
            node("gone too", "gone"),
            node("a", "gone too", "Hi!", role="assistant"),
            current="a",
        ),
        "alice",
    )
    assert parents(document) == {"q": None, "a": "q"}
    assert heads(document) == {"main": "a"}


def test_the_current_node_is_the_active_head_and_each_leaf_a_branch() -> None:
    document = to_document(
        conversation(
            node("q", None, "?"),
            node("a1", "q", "first", role="assistant"),
            node("a2", "q", "again", role="assistant"),
            node("q2", "a2", "more?"),
            current="a2",
        ),
        "alice",
    )
    assert heads(document) == {"main": "a2", "branch-2": "a1", "branch-3": "q2"}
    assert [branch["is_active"] for branch in document["branches"]] == [True, False, False]


def test_a_current_node_that_is_left_out_stands_for_the_nearest_above() -> None:
    nodes = (node("q", None, "?"), node("x", "q"), node("y", "x"))
    assert heads(to_document(conversation(*nodes, current="y"), "alice")) == {"main": "q"}


def test_without_a_current_node_the_last_message_is_active() -> None:
    nodes = (node("q", None, "?"), node("new", "q", "n", create_time=9.0), node("old", "q", "o", create_time=8.0))
    assert heads(to_document(conversation(*nodes), "alice"))["main"] == "new"


def test_a_conversation_without_messages_is_an_empty_chat() -> None:
    document = to_document(conversation(node("root", None), current="root"), "alice")
    assert document["messages"] == []
    assert heads(document) == {"main": None}


def test_times_are_milliseconds_and_a_missing_one_is_that_of_the_parent() -> None:
    nodes = (node("q", None, "?", create_time=1700000000.1234), node("a", "q", "!"), node("r", None, "root"))
    document = to_document(conversation(*nodes, update_time=1700000009), "alice")
    assert {message["id"]: message["created_at"] for message in document["messages"]} == {
        "q": 1_700_000_000_123,
        "a": 1_700_000_000_123,
        "r": 1_500,
    }
    assert (document["chat"]["created_at"], document["chat"]["updated_at"]) == (1_500, 1_700_000_009_000)


def test_parts_that_are_no_text_are_kept() -> None:
    image = {"content_type": "image_asset_pointer", "asset_pointer": "file-service://file-1", "width": 10}
    document = to_document(conversation(node("q", None, ["Look:", image])), "alice")
    data = document["messages"][0]["data"]
    assert data["content"] == {"content_type": "text", "parts": ["Look:", image]}
    assert "id" not in data


def test_hidden_messages_that_say_something_are_kept_as_hidden() -> None:
    hidden = {"metadata": {"is_visually_hidden_from_conversation": True}}
    document = to_document(conversation(node("s", None, "Be brief.", role="system", **hidden)), "alice")
    assert [(message["name"], message["type"]) for message in document["messages"]] == [("system", "hidden")]


def test_what_the_export_tells_of_the_conversation_is_metadata() -> None:
    document = to_document(
        conversation(is_archived=False, gizmo_id=None, plugin_ids=[], default_model_slug="gpt-x"), "alice"
    )
    assert document["chat"]["metadata"] == {"source": "chatgpt", "is_archived": False, "default_model_slug": "gpt-x"}


def test_siblings_stand_as_their_parent_lists_them() -> None:
    value = conversation(node("q", None, "?"), node("b", "q", "b"), node("a", "q", "a"))
    value["mapping"]["q"]["children"] = ["a", "b"]
    assert list(parents(to_document(value, "alice"))) == ["q", "a", "b"]


def test_a_node_without_parent_is_below_the_one_that_lists_it() -> None:
    value = conversation(node("q", None, "?"), node("a", "q", "a"))
    del value["mapping"]["a"]["parent"]
    assert parents(to_document(value, "alice")) == {"q": None, "a": "q"}


def test_a_conversation_without_id_has_one_by_its_content_and_user() -> None:
    value = conversation(node("q", None, "?"), conversation_id=None)
    ids = [to_document(item, user)["chat"]["id"] for item, user in ((value, "a"), (value, "a"), (value, "b"))]
    assert ids[0] == ids[1] != ids[2]
    assert to_document({**value, "id": "own"}, "a")["chat"]["id"] == "own"


def test_thousands_of_nodes_are_no_recursion() -> None:
    nodes = [node("0", None, "0"), *(node(str(number), str(number - 1), "x") for number in range(1, 5000))]
    assert len(to_document(conversation(*nodes, current="4999"), "alice")["messages"]) == 5000


CIRCLE = conversation(node("a", "b", "a"), node("b", "a", "b"))


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ([], ""),
        ({"title": "T"}, "mapping"),
        ({"mapping": {"a": None}}, "mapping.a"),
        (CIRCLE, "mapping.a.parent"),
        (conversation(node("a", "lost", "a")), "mapping.a.parent"),
        (conversation(node("a", None, "a"), current="lost"), "current_node"),
        (conversation(node("a", None, "a", create_time="noon")), "mapping.a.message.create_time"),
        (conversation(node("a", None, "a", create_time=float("inf"))), "mapping.a.message.create_time"),
        (conversation(node("a", None, "a", author=None)), "mapping.a.message.author"),
        (conversation(node("a", None) | {"children": [[]]}), "mapping.a.children"),
        (conversation(node("a", None) | {"message": "text"}), "mapping.a.message"),
    ],
)
def test_what_is_no_conversation_is_refused(value: Any, place: str) -> None:
    with pytest.raises(InvalidData) as caught:
        to_document(value, "alice")
    assert caught.value.location == place


@pytest.mark.parametrize(
    ("given", "title"), [("\ufeffTea", "Tea"), ("T\0ea", "Tea"), ("\ufeff ", None), ("Te\ufeffa", "Te\ufeffa")]
)
def test_a_title_is_one_that_a_chat_can_have(given: str, title: str | None) -> None:
    assert to_document(conversation(title=given), "alice")["chat"]["title"] == title
