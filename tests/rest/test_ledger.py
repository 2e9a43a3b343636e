import pytest

from context_store.rest.views import ledger
from context_store.store import ContextStore
from tests.rest.client import Client


def test_usage_is_recorded_and_summed(api, chat):
    body = {"model": "small", "message_id": "m2", "input_tokens": 7, "cost": "0.0420", "currency": "USD", "id": "u"}
    answer = api.post("chats/chat/usage/", body)
    assert (answer.status_code, answer.json()["cost"], answer.json()["user_id"]) == (201, "0.042", "alice")
    assert api.post("chats/chat/usage/", body).json() == answer.json()
    [one] = api.get("usage/?by=model&by=month").json()["results"]
    assert (one["model"], one["calls"], one["input_tokens"], one["cost"]) == ("small", 1, 7, "0.042")
    assert len(one["month"]) == 7
    assert api.get("chats/chat/usage/?by=chat&active_branch=true").json()["results"][0]["chat_id"] == "chat"
    assert api.get("chats/chat/usage/?branch=side").json()["results"] == []


@pytest.mark.parametrize(
    "cost", ["1e3", "1_000", " 1", "1\n", "\uff11", "+1", "-0", "-1", ".5", "5.", "", "NaN", "1e-1000"]
)
def test_a_cost_that_the_schema_does_not_have_is_400(api, chat, cost):
    answer = api.post("chats/chat/usage/", {"model": "small", "cost": cost})
    assert (answer.status_code, list(answer.json()["errors"])) == (400, ["cost"])


@pytest.mark.parametrize(
    ("cost", "stored"), [("1E-7", "0.0000001"), ("0.30000000000000004", "0.3"), ("0001.50", "1.5")]
)
def test_a_cost_as_languages_write_it_is_taken(api, chat, cost, stored):
    assert api.post("chats/chat/usage/", {"model": "small", "cost": cost}).json()["cost"] == stored


@pytest.mark.parametrize("path", ["usage/?by=data", "usage/?since=x", "chats/chat/usage/?active_branch=1"])
def test_a_wrong_sum_is_400(api, chat, path):
    assert api.get(path).status_code == 400


@pytest.mark.parametrize("body", [{}, {"model": "m", "cost": 1}, {"model": "m", "input_tokens": -1}, {"model": ""}])
def test_wrong_usage_is_400(api, chat, body):
    assert api.post("chats/chat/usage/", body).status_code == 400


def test_links_are_made_listed_and_ended(api, chat):
    made = api.post("chats/chat/share/", {"until": 2**45})
    assert made.status_code == 201
    assert ContextStore().shared(made.json()["token"]).title == "A chat"
    [listed] = api.get("chats/chat/share/").json()["results"]
    assert listed == {**made.json(), "token": None}
    assert api.delete(f"chats/chat/share/?share_id={listed['id']}").status_code == 204
    assert api.delete(f"chats/chat/share/?share_id={listed['id']}").status_code == 404
    assert api.delete("chats/chat/share/").status_code == 204
    assert ContextStore().shared(made.json()["token"]) is None


def test_another_user_reaches_neither_usage_nor_links(chat, mallory):
    other = Client(mallory)
    assert other.get("usage/").json()["results"] == []
    for path in ("chats/chat/usage/", "chats/chat/share/"):
        assert other.get(path).status_code == 404
    assert other.post("chats/chat/usage/", {"model": "m"}).status_code == 404
    assert other.post("chats/chat/share/").status_code == 404
    assert other.delete("chats/chat/share/").status_code == 404


def test_links_come_in_pages(api, chat):
    for _ in range(3):
        api.post("chats/chat/share/", {})
    first = api.get("chats/chat/share/?limit=2").json()
    rest = api.get(first["next"]).json()
    assert (len(first["results"]), len(rest["results"]), rest["next"]) == (2, 1, None)
    assert api.get("chats/chat/share/?limit=201").status_code == 400


def test_sums_without_end_are_400(api, chat, monkeypatch):
    monkeypatch.setattr(ledger, "MAX_SUMS", 2)
    for number in range(3):
        api.post("chats/chat/usage/", {"model": f"m{number}", "currency": f"c{number}"})
    for path in ("usage/", "usage/?by=model", "usage/?by=month", "chats/chat/usage/?by=model"):
        answer = api.get(path)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_data"), path
    assert len(api.get("chats/chat/usage/?by=model&until=0").json()["results"]) == 0
