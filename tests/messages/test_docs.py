"""Hold the table of parts in docs/messages.md against the code."""

from context_store import messages
from tests.data import REPOSITORY


def test_every_part_is_on_the_page() -> None:
    page = (REPOSITORY / "docs" / "messages.md").read_text()
    for name in ("Break", "File", "Other", "Reasoning", "Source", "Text", "ToolCall", "ToolResult"):
        assert f"| `{name}({', '.join(getattr(messages, name)._fields)})` |" in page
