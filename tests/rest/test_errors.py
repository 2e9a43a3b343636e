"""Every error is ``{"detail", "code"}``, and none is a 500."""

import json

import pytest
from rest_framework.exceptions import Throttled
from rest_framework.views import APIView

from context_store.exceptions import SearchUnavailable
from context_store.managers.search import SearchEntryQuerySet


def assert_error(response, status, code=None):
    assert response.status_code == status, response.content
    body = response.json()
    assert isinstance(body["detail"], str)
    assert isinstance(body["code"], str)
    assert body.keys() <= {"detail", "code", "errors", "path", "head_message_id"}
    if code is not None:
        assert body["code"] == code
    return body


BODIES = [
    (b"{", 400, "parse_error"),
    (b"", 400, "invalid"),
    (b"null", 400, "invalid"),
    (b"[]", 400, "invalid"),
    (b'"text"', 400, "invalid"),
    (b"\xff\xfe", 400, "parse_error"),
    (b'{"messages": [{"name": "u", "data": "\xff"}]}', 400, "parse_error"),
    (b"\xef\xbb\xbf{}", 400, "parse_error"),
    (b'{"messages": [{"name": "u", "data": NaN}]}', 400, "parse_error"),
    (b'{"messages": [{"name": "u", "data": -Infinity}]}', 400, "parse_error"),
    (b'{"messages": [{"name": "u", "data": 1e999}]}', 400, "invalid_data"),
    (b'{"messages": [{"name": "u", "data": %s}]}' % (b"9" * 5000), 400, "parse_error"),
    (b"[" * 10_000, 400, "parse_error"),
    (b"[" * 10_000 + b"]" * 10_000, 400, None),
    (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 400, None),
    (b'{"messages": [{"name": "u", "data": %s1%s}]}' % (b"[" * 101, b"]" * 101), 400, "invalid_data"),
    (b'{"messages": [{"name": "u", "data": "\\ud800"}]}', 400, "invalid_data"),
    (b'{"messages": [{"name": "u\\u0000", "data": 1}]}', 400, "invalid_data"),
    (b'{"messages": [{"name": "", "data": 1}]}', 400, "invalid_data"),
    (b'{"messages": [{"name": " u", "data": 1}]}', 400, "invalid_data"),
    (b'{"messages": [{"name": 1, "data": 1}]}', 400, "invalid"),
    (b'{"messages": [{"name": "u"}]}', 400, "invalid"),
    (b'{"messages": [{"data": 1}]}', 400, "invalid"),
    (b'{"messages": [{"name": "u", "data": 1, "parent_id": "m1"}]}', 400, "invalid"),
    (b'{"messages": [{"name": "u", "data": 1, "chat_id": "chat"}]}', 400, "invalid"),
    (b'{"messages": [{"name": "u", "data": 1, "created_at": "1"}]}', 400, "invalid"),
    (b'{"messages": [{"name": "u", "data": 1, "created_at": true}]}', 400, "invalid"),
    (b'{"messages": [{"name": "u", "data": 1, "created_at": -1}]}', 400, "invalid_data"),
    (b'{"messages": [{"name": "u", "data": 1, "created_at": 1e30}]}', 400, "invalid_data"),
    (b'{"messages": [{"id": null, "name": "u", "data": 1}]}', 400, "invalid"),
    (b'{"messages": [{"id": "x", "name": "u", "data": 1}, {"id": "x", "name": "u", "data": 1}]}', 400, "invalid_data"),
    (b'{"messages": []}', 400, "invalid"),
    (b'{"messages": {}}', 400, "invalid"),
    (b'{"messages": [1]}', 400, "invalid"),
    (b'{"messages": [{"name": "u", "data": 1}], "branch": null}', 400, "invalid"),
    (b'{"messages": [{"name": "u", "data": 1}], "expected_head": 1}', 400, "invalid"),
    (b'{"messages": [{"name": "u", "data": 1}], "more": 1}', 400, "invalid"),
    (b'{"messages": [{"name": "u", "data": "%s"}]}' % (b"x" * (4 * 2**20 + 1)), 400, "invalid_data"),
    (b'{"messages": [{"name": "u", "data": "%s"}]}' % (b"x" * (5 * 2**20)), 413, "payload_too_large"),
    (b" " * (5 * 2**20), 413, "payload_too_large"),
]


@pytest.mark.parametrize(("body", "status", "code"), BODIES, ids=range(len(BODIES)))
def test_bad_bodies_are_refused(api, chat, store, body, status, code):
    before = store.export_chat(chat)
    assert_error(api.post("chats/chat/messages/", body), status, code)
    assert store.export_chat(chat) == before


def test_the_greatest_payload_is_taken(api, chat):
    data = "x" * (4 * 2**20 - 2)
    assert api.post("chats/chat/messages/", {"messages": [{"name": "u", "data": data}]}).status_code == 201


@pytest.mark.parametrize(("value", "most"), [("[]", 20_000), ('{"":0}', 10_000), ("1e1", 5_000)])
def test_values_of_a_body_are_counted(api, chat, settings, value, most):
    settings.CONTEXT_STORE_MAX_BODY_BYTES = 200_000

    def append(times, note=""):
        values = ",".join([value] * times)
        return api.post("chats/chat/messages/", f'{{"messages":[{{"name":"u","data":["{note}",{values}]}}]}}'.encode())

    # Some stand around them; those in strings do not count.
    assert append(most - 5, note=',:\\"' * 30_000).status_code == 201
    assert_error(append(most + 1, note="," * 100_000), 413, "payload_too_large")


@pytest.mark.parametrize("end", ['"', "", "\\"])
def test_a_string_without_end_takes_no_time(api, chat, end):
    assert_error(api.post("chats/chat/messages/", ('"' + ',\\"' * 200_000 + end).encode()), 400)


def test_the_limit_of_bodies_is_a_setting(api, chat, settings):
    settings.CONTEXT_STORE_MAX_BODY_BYTES = 10
    assert_error(api.patch("chats/chat/", {"title": "long"}), 413)
    assert api.patch("chats/chat/", {}).status_code == 200


def test_a_bad_value_is_named_with_its_path(api, chat):
    data = {"parts": [{"text": "fine"}, {"text": "\ud800"}]}
    body = assert_error(api.post("chats/chat/messages/", {"messages": [{"name": "u", "data": data}]}), 400)
    assert body == {
        "detail": "messages[0].data.parts[1].text: contains a lone surrogate",
        "code": "invalid_data",
        "errors": {"messages[0].data.parts[1].text": ["contains a lone surrogate"]},
        "path": ["messages", 0, "data", "parts", 1, "text"],
    }


def test_a_bad_value_of_a_single_message_is_named_with_its_path(api, chat):
    body = assert_error(api.put("chats/chat/messages/x/", {"name": "u", "data": {"x": "\ud800"}}), 400)
    assert (body["path"], body["detail"]) == (["data", "x"], "data.x: contains a lone surrogate")


def test_field_errors_are_as_drf_gives_them(api, chat):
    body = assert_error(api.post("chats/chat/messages/", {"messages": [{"name": "u", "data": 1}, {"data": 1}]}), 400)
    assert body["detail"] == "messages.1.name: This field is required."
    assert "This field is required." in json.dumps(body["errors"])


@pytest.mark.parametrize("field", ["user", "messages", "created_at", "__class__", "\ud800"])
def test_unknown_fields_are_refused(api, chat, field):
    body = assert_error(api.patch("chats/chat/", {field: 1}), 400, "invalid")
    assert body["errors"] == {field.replace("\ud800", "\\ud800"): ["There is no such field."]}


def test_keys_that_cannot_be_sent_back_are_written_out(api, chat):
    body = b'{"messages": [{"name": "u", "data": {"\\ud800": 1e999}}]}'
    assert assert_error(api.post("chats/chat/messages/", body), 400)["path"][-1] == "\\ud800"


@pytest.mark.parametrize("metadata", [None, [], "x", {"a": "\0"}, {"\0": 1}, {"a": "\ud800"}, {"a": float("inf")}])
def test_bad_metadata_is_refused(api, chat, metadata):
    assert 400 <= api.patch("chats/chat/", {"metadata": metadata}).status_code < 500


@pytest.mark.parametrize("title", ["\0", "\ud800", 1, [], False])
def test_bad_titles_are_refused(api, chat, title):
    assert_error(api.patch("chats/chat/", {"title": title}), 400)


@pytest.mark.parametrize("limit", ["0", "-1", "201", "1.5", "x", "", "1e3", "٣", "9" * 5000, "NaN", "%00", " 5", "+5"])
@pytest.mark.parametrize("path", ["chats/", "chats/chat/messages/", "chats/chat/messages/m3/chain/", "search/"])
def test_wrong_limits_are_refused(api, chat, path, limit):
    body = assert_error(api.get(f"{path}?q=x&limit={limit}"), 400, "invalid")
    assert body["errors"] == {"limit": ["Must be a whole number from 1 to 200."]}


@pytest.mark.parametrize("offset", ["-1", "x", "9" * 20, "2147483648"])
def test_wrong_offsets_are_refused(api, chat, offset):
    assert_error(api.get(f"chats/?offset={offset}"), 400, "invalid")


def test_the_cap_of_limits_is_a_setting(api, chat, settings):
    settings.CONTEXT_STORE_MAX_PAGE_SIZE = 2
    assert_error(api.get("chats/chat/messages/?limit=3"), 400)
    assert len(api.get("chats/chat/messages/").json()["results"]) == 2


@pytest.mark.parametrize(
    "path",
    [
        "chats/%00/",
        "chats/%FF/",
        "chats/ a/",
        "chats/%0A/",
        "chats/%20/",
        "chats/%F0%9F%92%A9%00/",
        f"chats/{'x' * 256}/",
        "chats/%ED%A0%80/",
        "chats/chat/messages/%00/",
        "chats/chat/branches/%00/",
        "chats/chat/checkpoints/%00/",
        "chats/chat/messages/?branch=%00",
        "chats/chat/messages/?before=%00",
        "chats/chat/messages/?branch=",
        "chats/chat/search/?q=x&role=%00",
        "chats/?metadata.a=%00",
        "chats/?metadata.%00=1",
        f"chats/?metadata.a={'[' * 5000}{']' * 5000}",
        "chats/?user_id=%00",
    ],
)
def test_bad_ids_are_refused(api, chat, path):
    response = api.get(path)
    assert response.status_code in (400, 403, 404)
    assert_error(response, response.status_code)


@pytest.mark.parametrize("query", ["", "%00", "%22", "*+AND", "x" * 10_000, "%FF", "%F0%9F%92%A9", "'; DROP"])
def test_no_search_is_an_error(api, chat, query):
    assert api.get(f"chats/chat/search/?q={query}").status_code == 200
    assert api.get(f"search/?q={query}").status_code == 200


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "x"]
)
def test_wrong_content_types_are_refused(api, chat, content_type):
    response = api.request("POST", "chats/chat/rewind/", {"message_id": "m1"}, content_type=content_type)
    assert_error(response, 415, "unsupported_media_type")


def test_formats_that_are_not_there_are_refused(api, chat):
    assert_error(api.get("chats/chat/", Accept="application/xml"), 406, "not_acceptable")


def test_wrong_methods_are_refused(api, chat):
    response = api.post("chats/chat/", {})
    assert_error(response, 405, "method_not_allowed")
    assert "PATCH" in response["Allow"]


def test_search_without_an_index_is_503(api, chat, monkeypatch):
    def unavailable(*args, **kwargs):
        raise SearchUnavailable("Run migrate.")

    monkeypatch.setattr(SearchEntryQuerySet, "hits", unavailable)
    body = assert_error(api.get("search/?q=x"), 503, "search_unavailable")
    assert body["detail"] == "Run migrate."


def test_throttled_callers_are_told_when_to_come_back(api, chat, monkeypatch):
    def throttled(self, request):
        raise Throttled(7)

    monkeypatch.setattr(APIView, "check_throttles", throttled)
    response = api.get("chats/")
    assert_error(response, 429, "throttled")
    assert response["Retry-After"] == "7"


def refuse_to_answer(error, context):
    raise AssertionError("The project's handler was asked.")


def test_a_projects_own_handler_does_not_change_the_errors(api, settings):
    settings.REST_FRAMEWORK = {
        **settings.REST_FRAMEWORK,
        "EXCEPTION_HANDLER": "tests.rest.test_errors.refuse_to_answer",
    }
    assert_error(api.get("chats/none/"), 404, "not_found")


def test_an_error_rolls_the_request_back(api, chat, settings):
    from django.db import connection

    connection.settings_dict["ATOMIC_REQUESTS"] = True
    try:
        assert_error(api.post("chats/", {"id": "chat"}), 409)
        assert api.get("chats/chat/").status_code == 200
        assert api.put("chats/chat/", {}).status_code == 200
        assert api.put("chats/new/", {}).status_code == 201
    finally:
        connection.settings_dict["ATOMIC_REQUESTS"] = False
