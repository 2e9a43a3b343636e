import json
from pathlib import Path
from typing import Any

import pytest

from context_store.exceptions import InvalidData
from context_store.importers.oasst import to_document


def node(message_id: str, *replies: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "message_id": message_id,
        "text": f"Text of {message_id}",
        "role": "prompter",
        **fields,
        "replies": list(replies),
    }


def tree(*replies: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"message_tree_id": "t", "tree_state": "ready_for_export", "prompt": node("p", *replies, **fields)}


def test_every_real_tree_arrives_whole(oasst_path: Path) -> None:
    documents = [to_document(json.loads(line), "alice") for line in oasst_path.read_text().splitlines()]
    messages = [message for document in documents for message in document["messages"]]
    parents = [message["parent_id"] for message in messages]
    assert len(documents) == 100
    assert len(messages) == 1167
    assert sum(parents.count(parent) > 1 for parent in set(parents) - {None}) == 260
    assert {message["name"] for message in messages} == {"user", "assistant"}
    assert sum(len(document["branches"]) for document in documents) == 626


def test_siblings_stand_by_rank_those_without_one_last() -> None:
    document = to_document(tree(node("a"), node("b", rank=1), node("c", rank=0), node("d", rank=None)), "alice")
    assert [message["id"] for message in document["messages"]] == ["p", "c", "b", "a", "d"]
    assert [message["created_at"] for message in document["messages"]] == sorted(
        {message["created_at"] for message in document["messages"]}
    )


def test_the_first_ranked_path_is_active_and_each_leaf_a_branch() -> None:
    document = to_document(tree(node("a", rank=1), node("b", node("c", rank=1), node("d", rank=0), rank=0)), "alice")
    branches = [(branch["name"], branch["head_message_id"], branch["is_active"]) for branch in document["branches"]]
    assert branches == [("main", "d", True), ("branch-2", "c", False), ("branch-3", "a", False)]


def test_the_other_fields_are_kept() -> None:
    document = to_document(tree(lang="en", labels={"spam": 0.5}, emojis={"+1": 3}), "alice")
    assert document["messages"][0]["data"] == {
        "content": "Text of p",
        "lang": "en",
        "labels": {"spam": 0.5},
        "emojis": {"+1": 3},
    }
    assert document["chat"]["metadata"] == {"source": "oasst", "lang": "en", "tree_state": "ready_for_export"}
    assert document["chat"]["title"] == "Text of p"


def test_dates_become_times() -> None:
    document = to_document(tree(created_date="2023-02-05T14:23:50.983374+00:00"), "alice")
    assert document["messages"][0]["created_at"] == document["chat"]["created_at"] == 1_675_607_030_983


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (7, ""),
        ({}, "prompt"),
        (tree(node("a", rank="best")), "replies.rank"),
        (tree({"message_id": "a"}), "a.text"),
        (tree({"text": "no id"}), "message_id"),
        (tree(created_date="yesterday"), "p.created_date"),
        ({"prompt": node("p") | {"replies": 3}}, "replies"),
    ],
)
def test_what_is_no_tree_is_refused(value: Any, place: str) -> None:
    with pytest.raises(InvalidData) as caught:
        to_document(value, "alice")
    assert caught.value.location == place
