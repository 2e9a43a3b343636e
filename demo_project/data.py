"""The demo's data: conversations whose times end today, and what lies beside them."""

import json
import tempfile
from pathlib import Path
from typing import Any

from django.core.management import call_command

from context_store.ids import now_ms

DATA = Path(__file__).resolve().parent / "data"
# How long ago the newest conversation ended, in milliseconds.
AGO = 40 * 60 * 1000


def documents() -> dict[str, list[dict[str, Any]]]:
    """Return the conversations by the names of their files, their times moved so that the newest is of today."""
    found = {
        path.name: [json.loads(line) for line in path.read_text().splitlines()] for path in sorted(DATA.glob("*.jsonl"))
    }
    newest = max(document["chat"]["updated_at"] for group in found.values() for document in group)
    shift = now_ms() - AGO - newest
    return {name: [moved(document, shift) for document in group] for name, group in found.items()}


def moved(value: Any, shift: int, name: str = "") -> Any:
    """Return a document with later times; the data of messages stays."""
    if isinstance(value, dict):
        return {key: item if key in ("data", "metadata") else moved(item, shift, key) for key, item in value.items()}
    if isinstance(value, list):
        return [moved(item, shift) for item in value]
    return value + shift if name.endswith("_at") and isinstance(value, int) else value


def load(output: Any) -> None:
    """Load what is not there yet."""
    with tempfile.TemporaryDirectory() as folder:
        for name, group in documents().items():
            path = Path(folder, name)
            path.write_text("".join(f"{json.dumps(document, ensure_ascii=False)}\n" for document in group))
            output.write(f"{name}: ", ending="")
            call_command("import_chats", str(path), format="context-store", strict=True, stdout=output)
