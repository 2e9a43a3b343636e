"""
What a stream has said so far, as the data of a message.

Formats: ``ui``, the UI message stream of Vercel's AI SDK (https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol), and
``text``, where a chunk is a piece of text. Of other formats only who writes them knows what they say.
"""

from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import Any

UI, TEXT = "ui", "text"
# Chunks of a UI message stream that are a part as they are.
WHOLE = ("source-url", "source-document", "file", "reasoning-file", "custom", "steering-message")
# What a chunk asks an approval with, and where its part has it: an answer is taken only with the signature.
ASKED = {
    "approvalDescriptor": "descriptor",
    "inputSchemaInput": "inputSchemaInput",
    "reason": "requestReason",
    "isAutomatic": "isAutomatic",
    "signature": "signature",
}

Chunk = dict[str, Any]
Part = dict[str, Any]


def answer_of(format: str, chunks: Iterable[Any]) -> dict[str, Any] | None:
    """Return the data of the assistant's message, or ``None`` where the chunks say nothing."""
    if format == TEXT:
        text = "".join(chunk for chunk in chunks if isinstance(chunk, str))
        return {"content": text} if text else None
    if format == UI:
        answer = UIAnswer()
        for chunk in chunks:
            answer.add(chunk)
        return answer.data
    return None


def error_of(chunk: Any) -> str | None:
    """Return the text of a chunk of type ``error``, ``None`` of any other."""
    if not isinstance(chunk, dict) or chunk.get("type") != "error":
        return None
    text = chunk.get("errorText", chunk.get("error"))
    if isinstance(text, dict):
        text = text.get("message")
    return text if isinstance(text, str) and text else "The model reported an error."


def as_ui_chunks(format: str, chunks: Iterable[Any], message_id: str) -> Iterator[Chunk]:
    """Return the chunks as those of a UI message stream; of an unknown format each lies in a ``data-chunk``."""
    if format == UI:
        # With this pydantic-ai ends, and the AI SDK's client refuses what it does not know.
        yield from (chunk for chunk in chunks if chunk != {"type": "done"})
        return
    for chunk in chunks:
        if isinstance(chunk, str) and format == TEXT:
            yield {"type": "text-delta", "id": message_id, "delta": chunk}
        elif (error := error_of(chunk)) is not None:
            yield {"type": "error", "errorText": error}
        else:
            yield {"type": "data-chunk", "data": chunk}


# Chunks, and what becomes of the parts:
#
#     {"type": "start-step"}                                          step-start
#     {"type": "text-start", "id": "1"}                               text, pieces []
#     {"type": "text-delta", "id": "1", "delta": "Two "}              text, pieces ["Two "]
#     {"type": "text-delta", "id": "1", "delta": "minutes"}           text, pieces ["Two ", "minutes"]
#     {"type": "tool-input-available", "toolCallId": "c", …}          tool, state input-available
#     {"type": "tool-output-available", "toolCallId": "c", …}         the same part, state output-available
#
# Texts are open from start to end, and at most for a step; calls stay open, as an answer may come in a later step.
class UIAnswer:
    """
    The parts of a UI message, put together of the chunks of its stream, as the AI SDK's client does.

    Each chunk takes the same time, whatever came before: whoever writes a stream may write very many.
    """

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.metadata: dict[str, Any] = {}
        self._open: dict[tuple[str, Any], Part] = {}
        # Texts that go on, as pieces: adding to a text copies it.
        self._texts: dict[tuple[str, str], Part] = {}
        self._asking: dict[str, Part] = {}

    @property
    def data(self) -> dict[str, Any] | None:
        """The data of the message, ``None`` without any part."""
        if not any(part["type"] != "step-start" for part in self.parts):
            return None
        parts = [
            {**part, "text": "".join(part["text"])} if part["type"] in ("text", "reasoning") else part
            for part in self.parts
        ]
        return {"role": "assistant", "parts": parts, **({"metadata": self.metadata} if self.metadata else {})}

    def add(self, chunk: Any) -> None:
        """Take in a chunk; one that is no chunk of the format says nothing."""
        kind = chunk.get("type") if isinstance(chunk, dict) else None
        if not isinstance(kind, str):
            return
        if isinstance(chunk.get("messageMetadata"), dict):
            _merge(self.metadata, chunk["messageMetadata"])
        if kind in WHOLE:
            self.parts.append(dict(chunk))
        elif kind.startswith(("text-", "reasoning-")):
            name, what = kind.split("-", 1)
            self._add_text(name, what, chunk)
        elif kind == "tool-approval-response":
            self._add_approval(chunk)
        elif kind.startswith("tool-"):
            self._add_tool(kind.removeprefix("tool-"), chunk)
        elif kind.startswith("data-"):
            self._add_data(kind, chunk)
        elif kind == "start-step":
            self.parts.append({"type": "step-start"})
            self._texts = {}
        elif kind == "reset-step":
            # The model begins the step anew.
            while self.parts and self.parts[-1]["type"] != "step-start":
                self.parts.pop()
            self._texts = {}

    def _add_text(self, kind: str, what: str, chunk: Chunk) -> None:
        key = (kind, str(chunk.get("id")))
        if what == "start" or (what == "delta" and key not in self._texts):
            self._texts[key] = {"type": kind, "text": []}
            self.parts.append(self._texts[key])
        if what == "delta":
            self._texts[key]["text"].append(str(chunk.get("delta", "")))
        if key in self._texts and "providerMetadata" in chunk:
            self._texts[key]["providerMetadata"] = chunk["providerMetadata"]
        if what == "end":
            self._texts.pop(key, None)

    def _add_tool(self, what: str, chunk: Chunk) -> None:
        key = ("tool", str(chunk.get("toolCallId")))
        part = self._open.get(key)
        if part is None:
            name = str(chunk.get("toolName", "unknown"))
            kind = {"type": "dynamic-tool", "toolName": name} if chunk.get("dynamic") else {"type": f"tool-{name}"}
            part = self._open[key] = {**kind, "toolCallId": key[1], "state": "input-streaming"}
            self.parts.append(part)
        if what == "input-delta":
            return
        states = {
            "input-available": "input-available",
            "input-error": "output-error",
            "output-available": "output-available",
            "output-error": "output-error",
            "output-denied": "output-denied",
            "approval-request": "approval-requested",
        }
        part["state"] = states.get(what, part["state"])
        # Only the last output is not preliminary.
        part.pop("preliminary", None)
        if what == "output-error":
            # A tool that told how far it is may fail.
            part.pop("output", None)
        names = ("input", "output", "errorText", "providerExecuted", "preliminary", "title", "toolMetadata")
        part.update({name: chunk[name] for name in names if name in chunk})
        if "providerMetadata" in chunk:
            # Some models take a call back only with what they said beside it.
            of = "result" if what in ("output-available", "output-error") else "call"
            part[f"{of}ProviderMetadata"] = chunk["providerMetadata"]
        if "approvalId" in chunk:
            asked = {name: chunk[key] for key, name in ASKED.items() if chunk.get(key) is not None}
            part["approval"] = {"id": chunk["approvalId"], **asked}
            self._asking[str(chunk["approvalId"])] = part

    def _add_approval(self, chunk: Chunk) -> None:
        part = self._asking.get(str(chunk.get("approvalId")))
        if part is not None and part["approval"]["id"] == chunk.get("approvalId"):
            part["state"] = "approval-responded"
            part["approval"] |= {name: chunk[name] for name in ("approved", "reason") if name in chunk}

    def _add_data(self, kind: str, chunk: Chunk) -> None:
        if chunk.get("transient"):
            return
        key = (kind, chunk["id"]) if isinstance(chunk.get("id"), str) else None
        if key in self._open:
            self._open[key]["data"] = chunk.get("data")
            return
        part: Part = {name: value for name, value in chunk.items() if name in ("type", "id", "data")}
        self.parts.append(part)
        if key is not None:
            self._open[key] = part


def _merge(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Add the new object to the old one; what both have is the new one's, of objects again both in one."""
    for key, value in new.items():
        if isinstance(old.get(key), dict) and isinstance(value, dict):
            _merge(old[key], value)
        else:
            # The old one is changed later on, the chunk is somebody else's.
            old[key] = deepcopy(value) if isinstance(value, dict) else value
