import pytest
from django.core.cache import cache


@pytest.fixture(autouse=True)
def no_contexts():
    cache.clear()


def test_set_get_delete(api):
    assert api.get("contexts/k/").status_code == 404
    assert api.put("contexts/k/", {"value": {"step": [1, 1e22, None]}}).json() == {
        "key": "k",
        "value": {"step": [1, 1e22, None]},
    }
    assert api.get("contexts/k/").json()["value"] == {"step": [1, 1e22, None]}
    assert api.delete("contexts/k/").status_code == 204
    assert api.delete("contexts/k/").status_code == 404


def test_null_is_a_value(api):
    assert api.put("contexts/k/", {"value": None}).status_code == 200
    assert api.get("contexts/k/").json() == {"key": "k", "value": None}


def test_keys_have_slashes_and_colons(api):
    assert api.put("contexts/saga:1~1step/", {"value": 1}).json()["key"] == "saga:1/step"
    assert api.get("contexts/saga%3A1~1step/").json()["value"] == 1


@pytest.mark.parametrize("ttl", [0, None, 60, 0.5])
def test_time_to_live(api, ttl):
    assert api.put("contexts/k/", {"value": 1, "ttl": ttl}).status_code == 200
    assert api.get("contexts/k/").status_code == 200


@pytest.mark.parametrize(
    "body", [{}, {"ttl": 1}, {"value": 1, "ttl": "1"}, {"value": 1, "ttl": -1}, {"value": 1, "x": 1}]
)
def test_bad_bodies_are_refused(api, body):
    assert api.put("contexts/k/", body).status_code == 400


@pytest.mark.parametrize("key", ["%00", "x" * 256, "%20", "a~b"])
def test_bad_keys_are_refused(api, key):
    assert api.get(f"contexts/{key}/").status_code == 400


def test_keys_are_ones_own(api, mallory):
    from tests.rest.client import Client

    api.put("contexts/k/", {"value": "alice's"})
    other = Client(mallory)
    assert other.get("contexts/k/").status_code == 404
    assert other.delete("contexts/k/").status_code == 404
    other.put("contexts/k/", {"value": "mallory's"})
    assert api.get("contexts/k/").json()["value"] == "alice's"


def test_a_server_that_is_not_there_is_503(api, monkeypatch):
    from context_store.contexts import BaseContexts
    from context_store.exceptions import ContextsUnavailable

    def unavailable(*args, **kwargs):
        raise ContextsUnavailable("Redis does not answer.")

    monkeypatch.setattr(BaseContexts, "get", unavailable)
    response = api.get("contexts/k/")
    assert (response.status_code, response.json()["code"]) == (503, "contexts_unavailable")


def test_long_user_ids_have_contexts_of_their_own(settings, db):
    from tests.rest.client import Client

    settings.CONTEXT_STORE_USER_ID = "tests.rest.callers.visitor"
    first, second = "a" * 255, "a" * 254 + "b"
    assert Client().put("contexts/k/", {"value": 1}, X_Visitor=first).status_code == 200
    assert Client().get("contexts/k/", X_Visitor=second).status_code == 404
    assert Client().get("contexts/k/", X_Visitor=first).json()["value"] == 1
