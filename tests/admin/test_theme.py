"""The pages with a theme installed, in a process of its own: which admin is used is decided once."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

from tests.conftest import missing

PAGES = """
import django
django.setup()
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from context_store.store import ContextStore
call_command("migrate", verbosity=0)
store = ContextStore()
store.create_chat("c1", user_id="alice", metadata={"a": 1})
store.append_messages("c1", [{"id": "m1", "name": "user", "data": "zebra"}])
client = Client()
client.force_login(User.objects.create_superuser("boss"))
for page in ("", "?q=zebra", "c1/change/", "c1/graph/", "c1/edit/", "c1/fork/", "c1/checkpoint/m1/", "c1/messages/m1/",
             "c1/search/?q=zebra", "c1/history/", "c1/delete/"):
    response = client.get(f"/admin/context_store/chat/{page}")
    assert response.status_code == 200, (page, response.status_code)
    text = response.content.decode()
    assert "unfold" in text, page
    assert "zebra" in text or page not in ("?q=zebra", "c1/change/", "c1/graph/", "c1/messages/m1/"), page
for page in ("", "lookup/", "lookup/?alias=default&key=a"):
    response = client.get(f"/admin/context_store/contextentry/{page}")
    assert response.status_code == 200, (page, response.status_code)
    assert "unfold" in response.content.decode(), page
response = client.get("/admin/context_store/chat/sessions/")
assert response.status_code == 200
"""


def test_the_pages_are_at_home_in_a_theme() -> None:
    if find_spec("unfold") is None:
        missing("django-unfold is not installed: install the `test` extra.")
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.admin.themed", "TEST_DATABASE": "sqlite"}
    done = subprocess.run([sys.executable, "-c", PAGES], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
