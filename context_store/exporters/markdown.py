"""Markdown transcripts of conversations, for people."""

import re
from collections.abc import Iterable, Iterator
from zipfile import ZIP_DEFLATED

from zipstream import ZipStream

from context_store.records import ChatRecord, MessageRecord

from .legible import ATTACHMENT, SOURCE, THINKING, TOOL_CALL, TOOL_RESULT, blocks, time_text, visible

UNSAFE = re.compile(r"[^\w.-]+")
HEADINGS = {
    TOOL_CALL: "Tool call",
    TOOL_RESULT: "Tool result",
    THINKING: "Thinking",
    SOURCE: "Source",
    ATTACHMENT: "Attachment",
}
BACKTICKS = re.compile("`{3,}")


def file_name(chat_id: str) -> str:
    """Return a name for the chat's file that is harmless everywhere."""
    return UNSAFE.sub("-", chat_id).strip("-.")[:80] or "chat"


def archive(transcripts: Iterable[tuple[str, Iterator[str]]]) -> Iterator[bytes]:
    """Yield a ZIP of transcripts, given with the ids of their chats, as it is written: none is held whole."""
    stream = ZipStream(compress_type=ZIP_DEFLATED)
    for number, (chat_id, texts) in enumerate(transcripts, 1):
        # Numbered, as "a/b" and "a b" become one name.
        stream.add((text.encode() for text in texts), f"{number:04d}-{file_name(chat_id)}.md")
        yield from stream.file()
    yield from stream.finalize()


def transcript(
    chat: ChatRecord, messages: Iterable[tuple[int, MessageRecord]], *, length: int, kind: str = "Branch", name: str
) -> Iterator[str]:
    """
    Yield the transcript of one path through a chat: ``messages`` with their distances from the root.

    What people and models wrote stands in fences longer than any in it, to the letter: no viewer makes markup of it.
    ``kind`` and ``name`` tell which path it is, ``length`` how many messages are on it.
    """
    yield f"# {_line(chat.title or chat.id)}\n\n"
    yield f"- Chat: {_code(chat.id)}\n- User: {_code(chat.user_id)}\n"
    yield f"- {kind}: {_code(name)}\n- Messages: {length} of {chat.message_count}\n"
    yield f"- Created: {time_text(chat.created_at)}\n- Last activity: {time_text(chat.updated_at)}\n"
    for depth, record in messages:
        yield from markdown_message(depth, record)


def markdown_message(depth: int, record: MessageRecord) -> Iterator[str]:
    """Yield one message of a transcript; ``depth`` is its distance from the root."""
    kind = f" ({_line(record.type)})" if record.type not in (None, "message") else ""
    yield f"\n## {depth + 1}. {_line(record.name)}{kind}, {time_text(record.created_at)}\n"
    for block in blocks(record.data):
        heading = HEADINGS.get(block.kind, "")
        if heading:
            yield f"\n**{heading}** {_code(block.label)}\n" if block.label else f"\n**{heading}**\n"
        text = visible(block.text)
        fence = "`" * max([3, *(len(match[0]) + 1 for match in BACKTICKS.finditer(text))])
        yield f"\n{fence}text\n{text}\n{fence}\n"


def _code(text: str) -> str:
    """Return a code span of one line."""
    text = visible(" ".join(text.split()))[:500]
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{ticks} {text} {ticks}" if "`" in text else f"`{text}`"


def _line(text: str) -> str:
    """Return text of one line with everything escaped that Markdown or HTML could take for markup."""
    line = visible(" ".join(text.split()))[:500]
    return re.sub(r"([\\`*_{}\[\]()#+!|~<>&:])", r"\\\1", line)
