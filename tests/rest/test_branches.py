from tests.rest.client import ids


def test_list_branches_counts_messages(api, chat):
    results = api.get("chats/chat/branches/").json()["results"]
    assert [(branch["name"], branch["message_count"], branch["is_active"]) for branch in results] == [
        ("main", 3, True),
        ("side", 1, False),
    ]


def test_lists_of_a_missing_chat_are_404(api):
    assert api.get("chats/none/branches/").status_code == 404
    assert api.get("chats/none/checkpoints/").status_code == 404


def test_create_branch(api, chat):
    body = {"name": "new", "id": "new-id", "head_message_id": "m2", "is_active": True}
    response = api.post("chats/chat/branches/", body)
    assert response.status_code == 201
    assert {**response.json(), **body} == response.json()
    assert ids(api.get("chats/chat/messages/")) == ["m1", "m2"]


def test_create_branch_with_a_taken_name_conflicts(api, chat):
    assert api.post("chats/chat/branches/", {"name": "main"}).status_code == 409


def test_create_branch_at_a_missing_message_is_404(api, chat):
    assert api.post("chats/chat/branches/", {"name": "x", "head_message_id": "none"}).status_code == 404


def test_get_branch(api, chat, store):
    assert api.get("chats/chat/branches/side/").json() == store.get_branch(chat, "side")._asdict()
    assert api.get("chats/chat/branches/none/").status_code == 404


def test_move_branch(api, chat):
    response = api.patch("chats/chat/branches/side/", {"head_message_id": "m2", "expected_head": "m1"})
    assert (response.status_code, response.json()["head_message_id"]) == (200, "m2")
    assert api.patch("chats/chat/branches/side/", {"head_message_id": None}).json()["head_message_id"] is None


def test_move_branch_with_stale_head_conflicts(api, chat):
    response = api.patch("chats/chat/branches/side/", {"head_message_id": "m2", "expected_head": None})
    assert response.status_code == 409
    assert (response.json()["code"], response.json()["head_message_id"]) == ("head_conflict", "m1")


def test_delete_branch(api, chat):
    assert api.delete("chats/chat/branches/side/").status_code == 204
    assert api.delete("chats/chat/branches/side/").status_code == 404


def test_delete_active_branch_is_400(api, chat):
    response = api.delete("chats/chat/branches/main/")
    assert (response.status_code, response.json()["code"]) == (400, "invalid_data")


def test_activate_branch(api, chat):
    assert api.post("chats/chat/branches/side/activate/").json()["is_active"] is True
    assert ids(api.get("chats/chat/messages/")) == ["m1"]
    assert api.post("chats/chat/branches/none/activate/").status_code == 404


def test_list_checkpoints(api, chat, store):
    store.create_checkpoint(chat, "later", "m3")
    results = api.get("chats/chat/checkpoints/").json()["results"]
    assert sorted(checkpoint["name"] for checkpoint in results) == ["later", "saved"]


def test_create_checkpoint_or_move_it(api, chat):
    first = api.post("chats/chat/checkpoints/", {"name": "x", "message_id": "m1", "id": "x-id"})
    second = api.post("chats/chat/checkpoints/", {"name": "x", "message_id": "m2"})
    assert (first.status_code, second.status_code) == (201, 200)
    assert (second.json()["id"], second.json()["message_id"]) == ("x-id", "m2")


def test_put_checkpoint(api, chat):
    assert api.put("chats/chat/checkpoints/x/", {"message_id": "m1"}).status_code == 201
    assert api.put("chats/chat/checkpoints/x/", {"message_id": "m2"}).status_code == 200
    assert api.get("chats/chat/checkpoints/x/").json()["message_id"] == "m2"
    assert api.put("chats/chat/checkpoints/x/", {"message_id": "none"}).status_code == 404


def test_delete_checkpoint(api, chat):
    assert api.delete("chats/chat/checkpoints/saved/").status_code == 204
    assert api.delete("chats/chat/checkpoints/saved/").status_code == 404
    assert api.get("chats/chat/checkpoints/saved/").status_code == 404


def test_restore_checkpoint(api, chat):
    response = api.post("chats/chat/checkpoints/saved/restore/")
    assert (response.status_code, response.json()["head_message_id"]) == (201, "m2")
    assert ids(api.get("chats/chat/messages/")) == ["m1", "m2"]
    assert api.post("chats/chat/checkpoints/none/restore/").status_code == 404


def test_active_is_the_name_of_the_active_branch(api, chat):
    assert api.get("chats/chat/branches/active/").json()["name"] == "main"
    api.post("chats/chat/branches/side/activate/")
    assert api.get("chats/chat/branches/active/").json()["name"] == "side"
    moved = api.patch("chats/chat/branches/active/", {"head_message_id": "m2", "expected_head": "m1"}).json()
    assert (moved["name"], moved["head_message_id"]) == ("side", "m2")
    stale = api.patch("chats/chat/branches/active/", {"head_message_id": "m1", "expected_head": "m1"})
    assert (stale.status_code, stale.json()["head_message_id"]) == (409, "m2")
    assert api.get("chats/none/branches/active/").status_code == 404


def test_a_branch_that_is_named_active_is_itself(api, chat):
    api.post("chats/chat/branches/", {"name": "active", "head_message_id": "m2"})
    branch = api.get("chats/chat/branches/active/").json()
    assert (branch["name"], branch["is_active"], branch["head_message_id"]) == ("active", False, "m2")
    assert api.delete("chats/chat/branches/active/").status_code == 204
    assert api.get("chats/chat/branches/active/").json()["name"] == "main"


def test_the_active_branch_is_not_deleted_by_its_other_name(api, chat):
    assert api.delete("chats/chat/branches/active/").status_code in (400, 404)
    assert len(ids(api.get("chats/chat/branches/"))) == 2
