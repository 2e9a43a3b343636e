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
    "reason": "requestReason",
    "isAutomatic": "isAutomatic",
    "signature": "signature",
}

# What a chunk of a call, named without its "tool-", makes of its part.
STATES = {
    "input-start": "input-streaming",
    "input-available": "input-available",
    "input-error": "output-error",
    "output-available": "output-available",
    "output-error": "output-error",
    "output-denied": "output-denied",
    "approval-request": "approval-requested",
}

Chunk = dict[str, Any]
Part = dict[str, Any]


class _Pieces(list[str]):
    """A text in pieces: adding to a text copies it."""


def answer_of(format: str, chunks: Iterable[Any], stored: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """
    Return the data of the assistant's message, or ``None`` where the chunks say nothing.

    A UI message that is ``stored`` goes on with them: they answer the calls in it.
    """
    if format == TEXT:
        text = "".join(chunk for chunk in chunks if isinstance(chunk, str))
        return {"content": text} if text else None
    if format == UI:
        answer = UIAnswer(stored)
        for chunk in chunks:
            answer.add(chunk)
        return answer.data
    return None


def goes_on(stored: Any) -> bool:
    """
    Tell whether the data is a UI message whose last step has called tools: what a stream says comes behind it.

    One that failed or was cancelled is said anew.
    """
    if not isinstance(stored, dict) or not isinstance(parts := stored.get("parts"), list):
        return False
    metadata = stored.get("metadata")
    if isinstance(metadata, dict) and metadata.get("status") in ("failed", "cancelled"):
        return False
    if not all(isinstance(part, dict) and isinstance(part.get("type"), str) for part in parts):
        return False
    last = (part for part in reversed(parts) if part["type"] == "step-start" or "toolCallId" in part)
    return "toolCallId" in next(last, {})


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
# A call of another step is another one, though it have the same id; an answer may come in a later step.
class UIAnswer:
    """
    The parts of a UI message, put together of the chunks of its stream, as the AI SDK's client does.

    ``stored`` is the message that the stream goes on with. Each chunk takes the same time, whatever came before:
    whoever writes a stream may write very many.
    """

    def __init__(self, stored: dict[str, Any] | None = None) -> None:
        self._stored = stored or {}
        self.parts: list[Part] = []
        metadata = self._stored.get("metadata")
        self.metadata: dict[str, Any] = deepcopy(metadata) if isinstance(metadata, dict) else {}
        # Texts that go on.
        self._texts: dict[tuple[str, str], Part] = {}
        # All parts of a call: the last is answered. One of the step that goes on is also in the other.
        self._calls: dict[str, list[Part]] = {}
        self._step: dict[str, Part] = {}
        self._asking: dict[str, Part] = {}
        self._data: dict[tuple[str, str], Part] = {}
        for part in self._stored.get("parts", ()):
            self._take(dict(part))

    @property
    def data(self) -> dict[str, Any] | None:
        """The data of the message, ``None`` without any part."""
        if not any(part["type"] != "step-start" for part in self.parts):
            return None
        parts = [
            {**part, "text": "".join(part["text"])} if isinstance(part.get("text"), _Pieces) else part
            for part in self.parts
        ]
        metadata = {"metadata": self.metadata} if self.metadata else {}
        return {"role": "assistant", **self._stored, "parts": parts, **metadata}

    def add(self, chunk: Any) -> None:
        """Take in a chunk; one that is no chunk of the format says nothing."""
        kind = chunk.get("type") if isinstance(chunk, dict) else None
        if not isinstance(kind, str):
            return
        if isinstance(chunk.get("messageMetadata"), dict):
            _merge(self.metadata, chunk["messageMetadata"])
        if kind in WHOLE:
            self._take(dict(chunk))
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
            self._take({"type": "step-start"})
        elif kind == "reset-step":
            # The model begins the step anew.
            while self.parts and self.parts[-1]["type"] != "step-start":
                self._forget(self.parts.pop())
            self._texts, self._step = {}, {}

    def _take(self, part: Part) -> None:
        """Add a part, to be found by what a later chunk names it by."""
        self.parts.append(part)
        if part["type"] == "step-start":
            self._step = {}
        if _is_tool(part):
            call_id = str(part.get("toolCallId"))
            self._step[call_id] = part
            self._calls.setdefault(call_id, []).append(part)
            if approval_id := _approval_of(part):
                self._asking.setdefault(approval_id, part)
        elif part["type"].startswith("data-") and isinstance(part.get("id"), str):
            self._data.setdefault((part["type"], part["id"]), part)

    def _forget(self, part: Part) -> None:
        if _is_tool(part):
            self._calls[str(part.get("toolCallId"))].pop()
            self._asking.pop(_approval_of(part), None)
        elif isinstance(part.get("id"), str):
            self._data.pop((part["type"], part["id"]), None)

    def _add_text(self, kind: str, what: str, chunk: Chunk) -> None:
        key = (kind, str(chunk.get("id")))
        if what == "start" or (what == "delta" and key not in self._texts):
            self._texts[key] = {"type": kind, "text": _Pieces()}
            self.parts.append(self._texts[key])
        if what == "delta":
            self._texts[key]["text"].append(str(chunk.get("delta", "")))
        if key in self._texts:
            self._texts[key] |= {name: chunk[name] for name in ("providerMetadata", "citations") if name in chunk}
        if what == "end":
            self._texts.pop(key, None)

    def _add_tool(self, what: str, chunk: Chunk) -> None:
        # Input that is not whole is none.
        if what == "input-delta":
            return
        part = self._tool(what, chunk)
        part["state"] = STATES.get(what, part.get("state"))
        if what.startswith(("input-", "output-")) and what != "output-denied":
            # Only the last output is not preliminary, and a call that is made anew has none.
            for name in ("output", "errorText", "preliminary", *(("input",) if what.startswith("input-") else ())):
                part.pop(name, None)
        names = ("input", "output", "errorText", "providerExecuted", "preliminary", "title", "toolMetadata")
        part.update({name: chunk[name] for name in names if name in chunk})
        if "providerMetadata" in chunk:
            # Some models take a call back only with what they said beside it.
            of = "result" if part["state"] in ("output-available", "output-error") else "call"
            part[f"{of}ProviderMetadata"] = chunk["providerMetadata"]
        if "approvalId" in chunk:
            asked = {name: chunk[key] for key, name in ASKED.items() if chunk.get(key) is not None}
            if "inputSchemaInput" in chunk:  # A schema may take null.
                asked["inputSchemaInput"] = chunk["inputSchemaInput"]
            part["approval"] = {"id": chunk["approvalId"], **asked}
            self._asking[str(chunk["approvalId"])] = part

    def _tool(self, what: str, chunk: Chunk) -> Part:
        """Return the part of the call: what is called lies in this step, an answer goes to the last of its id."""
        call_id = str(chunk.get("toolCallId"))
        part = self._step.get(call_id)
        if part is None and not what.startswith("input-") and self._calls.get(call_id):
            part = self._calls[call_id][-1]
        if part is None:
            dynamic = {"type": "dynamic-tool", "toolName": "unknown"}
            kind = dynamic if chunk.get("dynamic") else {"type": "tool-unknown"}
            part = {**kind, "toolCallId": call_id, "state": "input-streaming"}
            self._take(part)
        if "toolName" in chunk:
            name = str(chunk["toolName"])
            part.update({"toolName": name} if part["type"] == "dynamic-tool" else {"type": f"tool-{name}"})
        return part

    def _add_approval(self, chunk: Chunk) -> None:
        part = self._asking.get(str(chunk.get("approvalId")))
        if part is not None and "approvalId" in chunk and _approval_of(part) == str(chunk["approvalId"]):
            part["state"] = "approval-responded"
            given = {name: chunk[name] for name in ("approved", "reason") if name in chunk}
            part["approval"] = {**part["approval"], **given}
            if "providerExecuted" in chunk:
                part["providerExecuted"] = chunk["providerExecuted"]
            if "providerMetadata" in chunk:
                part["callProviderMetadata"] = chunk["providerMetadata"]

    def _add_data(self, kind: str, chunk: Chunk) -> None:
        if chunk.get("transient"):
            return
        known = self._data.get((kind, chunk["id"])) if isinstance(chunk.get("id"), str) else None
        if known is not None:
            known["data"] = chunk.get("data")
        else:
            self._take({name: value for name, value in chunk.items() if name in ("type", "id", "data")})


def _is_tool(part: Part) -> bool:
    return part["type"] == "dynamic-tool" or str(part["type"]).startswith("tool-")


def _approval_of(part: Part) -> str:
    approval = part.get("approval")
    return str(approval.get("id")) if isinstance(approval, dict) else ""


def _merge(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Add the new object to the old one; what both have is the new one's, of objects again both in one."""
    for key, value in new.items():
        if isinstance(old.get(key), dict) and isinstance(value, dict):
            _merge(old[key], value)
        else:
            # The old one is changed later on, the chunk is somebody else's.
            old[key] = deepcopy(value) if isinstance(value, dict) else value
