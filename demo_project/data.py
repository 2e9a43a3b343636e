"""The demo's data: conversations whose times end today, and what lies beside them."""

import json
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.core.management import call_command

from context_store import ContextStore, contexts, sessions
from context_store.ids import now_ms
from context_store.lifecycle import erase_user, hold
from context_store.models import Erasure, Message, UsageEntry

from .model import PICTURE

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
    load_conversations(output)
    load_rest()
    load_usage()
    load_records()


def load_rest() -> None:
    """Load what lies beside the conversations: a session, contexts, and a chat with pictures."""
    contexts["default"].scoped("user:demo").add("theme", {"name": "dark", "since": now_ms()})
    contexts["default"].scoped("user:alice").add("basket", {"items": ["Sencha 100 g", "Teapot Kyoto"], "total": 64.9})
    contexts["default"].scoped("user:bruno").add("draft", "Dear Sir or Madam, …")
    session = sessions["default"].for_user("bruno")
    if not session.count("demo-session"):
        session.append("demo-session", SESSION)
    store = ContextStore(user_id="demo")
    _chat, is_new = store.upsert_chat("demo-pictures", title="Where was this taken?", metadata={"tags": ["travel"]})
    if is_new:
        store.append_messages("demo-pictures", PICTURES)


def load_usage() -> None:
    """Record what the answers of the conversations would have taken, once."""
    store = ContextStore()
    if UsageEntry.objects.exists():
        return
    for message in Message.objects.filter(name="assistant").order_by("created_at", "id").records():
        size = len(json.dumps(message.data))
        model = "large-1" if size % 3 else "small-1"
        given, said = 400 + 7 * (size % 500), size // 4
        cost = (Decimal(given) + 4 * Decimal(said)) * (5 if model == "large-1" else 1) / 10**6
        store.record_usage(
            message.chat_id,
            model=model,
            message_id=message.id,
            input_tokens=given,
            output_tokens=said,
            cached_tokens=given // 3,
            cost=cost,
            currency="USD",
            created_at=message.created_at,
            usage_id=f"demo-{message.id}",
        )


def load_records() -> None:
    """Leave what a site's lists of links, holds and erasures show, and its audit log, once; no chat is held."""
    if Erasure.objects.exists():
        return
    ContextStore().share("demo-refund")
    hold(user_id="carla", reason="Case 2026/117", who="demo")
    erase_user("dora", reason="Asked for by e-mail", who="demo")


SESSION = [
    {"name": "user", "data": "Remind me of the dentist."},
    {"name": "assistant", "data": "I will. **When** is it?"},
    {"name": "user", "data": "Tomorrow at nine."},
]
PICTURES = [
    {
        "name": "user",
        "data": {
            "parts": [
                {"type": "text", "text": "Where was this taken?"},
                {
                    "type": "file",
                    "mediaType": "image/png",
                    "url": f"data:image/png;base64,{PICTURE}",
                    "filename": "hills.png",
                },
            ]
        },
    },
    {
        "name": "assistant",
        "data": {
            "parts": [
                {"type": "text", "text": "Green hills below a *low sun*: the Azores, I would say. Compare this one:"},
                {
                    "type": "file",
                    "mediaType": "image/jpeg",
                    "url": "https://example.com/azores.jpg",
                    "filename": "azores.jpg",
                },
            ]
        },
    },
]


def load_conversations(output: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, group in documents().items():
            path = Path(folder, name)
            path.write_text("".join(f"{json.dumps(document, ensure_ascii=False)}\n" for document in group))
            output.write(f"{name}: ", ending="")
            call_command("import_chats", str(path), format="context-store", strict=True, stdout=output)
