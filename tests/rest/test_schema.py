"""The OpenAPI schema: valid, without warnings, and the one that is in the repository."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from django.core.management import call_command
from drf_spectacular.settings import patched_settings

from tests.rest.walk import operations, schema

FILE = Path(__file__).parents[2] / "docs" / "openapi.yaml"


def test_the_schema_is_the_one_in_the_repository(tmp_path):
    generated = tmp_path / "openapi.yaml"
    call_command("spectacular", validate=True, fail_on_warn=True, file=str(generated))
    assert generated.read_text() == FILE.read_text(), (
        "The contract of the API has changed. If that is meant, write it down:"
        " python -m django spectacular --validate --fail-on-warn --file docs/openapi.yaml --settings tests.settings"
    )


def test_it_is_openapi_3_1():
    assert yaml.safe_load(FILE.read_text())["openapi"] == "3.1.0"


def test_a_project_may_write_openapi_3_0(tmp_path):
    generated = tmp_path / "openapi.yaml"
    with patched_settings({"OAS_VERSION": "3.0.3"}):
        call_command("spectacular", validate=True, fail_on_warn=True, file=str(generated))
    assert yaml.safe_load(generated.read_text())["openapi"] == "3.0.3"


def test_operation_ids_are_readable():
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names))
    assert all(re.fullmatch("[a-z]+(_[a-z]+)+", name) for name in names)


def test_every_operation_says_what_it_does_with_an_example():
    for _, method, operation in operations():
        name = operation["operationId"]
        assert operation["description"], name
        assert operation["tags"], name
        if "requestBody" in operation:
            assert operation["requestBody"]["content"]["application/json"]["examples"], name
        for status, answer in operation["responses"].items():
            if status in ("200", "201"):
                [content] = answer["content"].values()
                assert content["examples"], (name, status)
        assert method != "DELETE" or operation["responses"]["204"], name


def test_every_operation_says_how_it_refuses():
    for path, method, operation in operations():
        expected = {"400", "401", "403", "406", "429"}
        expected |= {"404"} if "{" in path else set()
        expected |= {"411", "413", "415"} if method in ("POST", "PUT", "PATCH") else set()
        assert expected <= operation["responses"].keys(), operation["operationId"]


def test_what_has_an_etag_says_that_it_heeds_if_match():
    conditional = [operation for _, _, operation in operations() if "304" in operation["responses"]]
    assert len(conditional) == 4
    for operation in conditional:
        assert "If-Match" in [parameter["name"] for parameter in operation["parameters"]], operation["operationId"]
        assert "412" in operation["responses"], operation["operationId"]


def test_every_refusal_has_an_example_with_its_own_code():
    from context_store.rest.examples import PROBLEM_EXAMPLES

    for _, _, operation in operations():
        for status, answer in operation["responses"].items():
            if status >= "400":
                [example] = answer["content"]["application/json"]["examples"].values()
                assert example["value"] == PROBLEM_EXAMPLES[int(status)], (operation["operationId"], status)


def test_examples_fit_their_schemas():
    from jsonschema import Draft202012Validator

    components = {"components": schema()["components"]}
    for _, _, operation in operations():
        bodies = [operation["requestBody"]] if "requestBody" in operation else []
        for content in [*bodies, *operation["responses"].values()]:
            media = content.get("content", {}).get("application/json")
            for example in (media or {}).get("examples", {}).values():
                Draft202012Validator({**media["schema"], **components}).validate(example["value"])


def test_callers_are_always_asked_for():
    assert all(operation["security"] and {} not in operation["security"] for _, _, operation in operations())


def test_limits_in_the_schema_follow_the_setting(settings):
    from drf_spectacular.generators import SchemaGenerator

    settings.CONTEXT_STORE_MAX_PAGE_SIZE = 7
    document = SchemaGenerator().get_schema(request=None, public=True)
    limit = next(item for item in document["paths"]["/api/chats/"]["get"]["parameters"] if item["name"] == "limit")
    assert limit["schema"]["maximum"] == 7


@pytest.mark.parametrize("path", ["/api/docs/", "/api/schema/"])
def test_schema_and_docs_are_served_from_local_files(client, path):
    response = client.get(path)
    assert response.status_code == 200
    assert not re.search(r"(src|href)=\"(https?:)?//", response.content.decode())


WITHOUT_SPECTACULAR = """
import sys
sys.modules["drf_spectacular"] = None
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "rest_framework", "context_store"],
    ROOT_URLCONF="context_store.rest.urls", ALLOWED_HOSTS=["*"], SECRET_KEY="x",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from django.contrib.auth.models import User
from rest_framework.test import APIClient
client = APIClient()
assert client.get("/chats/").status_code in (401, 403)
client.force_authenticate(User.objects.create_user("alice"))
assert client.put("/chats/c/", {}, format="json").status_code == 201
assert client.get("/chats/").json()["count"] == 1
"""


def test_the_api_works_without_spectacular_and_any_settings():
    result = subprocess.run([sys.executable, "-c", WITHOUT_SPECTACULAR], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
