"""schemathesis against the live demo, with all its checks."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.demo.running import running_demo
from tests.servers import free_port

CONFIG = Path(__file__).with_name("schemathesis.toml")
EXAMPLES = 4
TIMEOUT = 600  # seconds


@pytest.mark.slow
def test_fuzzing_the_demo_finds_nothing(tmp_path):
    if find_spec("schemathesis") is None:
        missing("schemathesis is not installed.")
    port = free_port()
    schema = f"http://127.0.0.1:{port}/api/schema/"
    with running_demo(tmp_path, port, "--settings", "tests.demo.fast_settings"):
        credentials = f"demo:{(tmp_path / 'password').read_text()}"
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", schema),
            *("--checks", "all", "--max-examples", str(EXAMPLES), "--seed", "1", "--auth", credentials),
            *("--continue-on-failure", "--no-color", "--generation-database", str(tmp_path / "examples")),
        ]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Tested: 42" in result.stdout
