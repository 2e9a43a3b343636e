from typing import Any

import pytest

from context_store.exceptions import InvalidData
from context_store.importers.messages import to_document

CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "f"}}],
}
MESSAGES = [{"role": "user", "content": "Hi"}, CALL, {"role": "tool", "tool_call_id": "t1", "content": "42"}]


def test_messages_are_one_chain_and_stay_as_they_are() -> None:
    document = to_document({"messages": MESSAGES}, "alice")
    messages = document["messages"]
    assert [message["data"] for message in messages] == MESSAGES
    assert [message["name"] for message in messages] == ["user", "assistant", "tool"]
    assert [message["parent_id"] for message in messages] == [None, messages[0]["id"], messages[1]["id"]]
    assert document["branches"][0]["head_message_id"] == messages[2]["id"]


def test_the_record_may_have_id_title_metadata_and_more() -> None:
    document = to_document({"id": "c1", "title": "T", "metadata": {"a": 1}, "tools": ["f"], "messages": []}, "alice")
    assert (document["chat"]["id"], document["chat"]["title"]) == ("c1", "T")
    assert document["chat"]["metadata"] == {"tools": ["f"], "a": 1}


def test_ids_follow_from_user_and_content() -> None:
    def ids(content: str, user_id: str) -> list[str]:
        document = to_document({"messages": [{"role": "user", "content": content}]}, user_id)
        return [document["chat"]["id"], document["messages"][0]["id"]]

    assert ids("a", "alice") == ids("a", "alice")
    assert not set(ids("a", "alice")) & {*ids("a", "bob"), *ids("b", "alice")}


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ("text", ""),
        ({}, "messages"),
        ({"messages": ["Hi"]}, "messages[0]"),
        ({"messages": [{"content": "Hi"}]}, "messages[0].role"),
        ({"messages": [], "metadata": []}, "metadata"),
    ],
)
def test_what_is_no_list_of_messages_is_refused(value: Any, place: str) -> None:
    with pytest.raises(InvalidData) as caught:
        to_document(value, "alice")
    assert caught.value.location == place
