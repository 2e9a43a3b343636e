"""schemathesis against a live server, with all its checks."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User

from tests.conftest import missing

CONFIG = Path(__file__).with_name("schemathesis.toml")
EXAMPLES = 4
TIMEOUT = 600  # seconds


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_fuzzing_finds_nothing(live_server, tmp_path):
    if find_spec("schemathesis") is None:
        missing("schemathesis is not installed.")
    user = User.objects.create_user("alice", password="password")
    user.user_permissions.add(Permission.objects.get(codename="act_for_any_user"))
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", f"{live_server}/api/schema/"),
        *("--checks", "all", "--max-examples", str(EXAMPLES), "--seed", "1", "--auth", "alice:password"),
        *("--continue-on-failure", "--no-color", "--generation-database", str(tmp_path / "examples")),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Tested: 42" in result.stdout
