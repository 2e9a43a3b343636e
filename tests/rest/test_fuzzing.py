"""schemathesis against a live server, with all its checks."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User

from tests.conftest import missing
from tests.demo.running import running_demo
from tests.servers import free_port

CONFIG = Path(__file__).with_name("schemathesis.toml")
EXAMPLES = 4
TIMEOUT = 3_600  # seconds


pytestmark = pytest.mark.slow


@pytest.mark.django_db(transaction=True)
def test_fuzzing_the_database_of_the_run_finds_nothing(live_server, tmp_path):
    user = User.objects.create_user("alice", password="password")
    user.user_permissions.add(Permission.objects.get(codename="act_for_any_user"))
    fuzz(live_server.url, "alice:password", tmp_path)


def test_fuzzing_the_demo_finds_nothing(tmp_path):
    port = free_port()
    with running_demo(tmp_path, port, "--settings", "tests.demo.fast_settings"):
        # Without the phase of thousands of bad values: what they find does not depend on the settings.
        phases = ("--phases", "examples,fuzzing,stateful")
        fuzz(f"http://127.0.0.1:{port}", f"demo:{(tmp_path / 'password').read_text()}", tmp_path, *phases)


def fuzz(site: str, credentials: str, folder: Path, *options: str) -> None:
    if find_spec("schemathesis") is None:
        missing("schemathesis is not installed.")
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", f"{site}/api/schema/"),
        *("--checks", "all", "--max-examples", str(EXAMPLES), "--seed", "1", "--auth", credentials),
        *("--continue-on-failure", "--no-color", "--generation-database", str(folder / "examples")),
        *options,
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Tested: 78" in result.stdout
