"""
The one reader of messages: from the data of a message to its parts.

Known are plain text, OpenAI's Chat Completions and Responses, Anthropic, Gemini, the AI SDK's UI and model messages,
pydantic-ai, LangChain, A2A and ChatGPT's export. They differ in the names of things more than in the things: a block
is of a kind (``type``, ``part_kind`` or ``kind``), or is known by a key, and what belongs to it has one of a few names.
Readers of ``CONTEXT_STORE_MESSAGE_FORMATS`` are asked before.

Parts are read one by one as they are asked for, in time that is linear in the data.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from django.utils.module_loading import import_string

from context_store.conf import settings
from context_store.exact_json import loads
from context_store.records import MessageRecord

from .parts import (
    Block,
    Break,
    File,
    Other,
    Part,
    Reasoning,
    Source,
    Text,
    ToolCall,
    ToolResult,
    as_text,
    is_call,
    is_result,
    joined,
)

# Messages in messages, as in content of content of content: what lies deeper is JSON.
MAX_LEVELS = 8

# A reader of one's own: the parts of a message or a block, ``None`` if it is of another format.
Reader = Callable[[Block], Iterable[Part] | None]
_BlockReader = Callable[[Block, int], Iterator[Part]]

TOOL_NAMES = ("tool", "function")

_TEXTS = ("content", "text", "refusal", "output")
_PLAIN_KEYS = {"id", "role", "name", "content", "created_at", "metadata", "usage"}
_THOUGHTS = ("thinking", "reasoning", "reasoning_content", "text", "content")
_ADDED = ("reasoning_content", "refusal", "audio")
_LISTED_CALLS = ("tool_calls", "invalid_tool_calls", "toolInvocations", "function_call")
_LISTED_FILES = ("attachments", "experimental_attachments", "files", "images")
_CALL_IDS = ("call_id", "toolCallId", "tool_call_id", "tool_use_id", "id")
_NAMES = ("name", "toolName", "tool_name")
_LANGCHAIN = ("human", "ai", "system", "tool", "chat", "function", "AIMessageChunk")
# What no person says in a request of pydantic-ai.
_TOLD = {"system-prompt", "instruction-baseline", "instruction-delta", "tool-availability-delta", "retry-feedback"}
_TOLD |= {"capability-load-delta", "model-settings-delta"}
# What a tool of pydantic-ai returns where it returns a file alone.
_FILE_KINDS = ("binary", "image-url", "audio-url", "video-url", "document-url")
_MCP_KEYS = {"content", "isError", "structuredContent", "_meta"}
_ARGUMENTS = ("arguments", "input", "args", "rawInput", "action", "actions", "operation", "code", "queries")
_OUTPUTS = ("content", "output", "result", "response", "results", "outputs")
_MEDIA_TYPES = ("media_type", "mediaType", "mimeType", "mime_type", "contentType")
_MEDIA = ("source", "file", "image_url", "input_audio", "audio", "inlineData", "inline_data", "fileData", "file_data")
_URLS = ("url", "uri", "fileUri", "file_uri", "file_url", "image_url", "href")
_BYTES = ("data", "base64", "bytes", "raw", "image", "file_data")
_FILE_NAMES = ("filename", "file_name", "title", "name", "file_id", "fileId", "asset_pointer")
_FILE_KEYS = (*_MEDIA_TYPES, *_BYTES, "file_id", "file_url")
_DEFAULT_MEDIA_TYPES = {"image": "image/*", "computer_screenshot": "image/*", "audio": "audio/*", "video": "video/*"}


def read(data: Any) -> Iterator[Part]:
    """
    Yield what a message says. A placeholder, which says nothing yet, has no parts.

    Text of white space is nothing. What is in no known format is ``Other``; never an error.

    >>> list(read({"role": "user", "content": [{"type": "text", "text": "Green or black?"}]}))
    [Text(text='Green or black?')]
    """
    return _read(data, MAX_LEVELS)


def read_output(output: Any) -> Iterator[Part]:
    """Yield the parts of a tool's answer: ``Text``, content of a message, or ``Other`` for any other JSON."""
    return read(output) if isinstance(output, str) or is_content(output) else iter((Other(output),))


def is_content(output: Any) -> bool:
    """Tell whether a tool's answer is content of a message, as MCP's servers give it, and no JSON of its own."""
    if isinstance(output, dict):
        if output.get("kind") in _FILE_KINDS or output.get("type") == "computer_screenshot":
            return True
        output = output.get("content") if output.keys() <= _MCP_KEYS else None
    if not isinstance(output, list):
        return False
    # pydantic-ai's have plain text beside files; text alone is a list like any other.
    blocks = [item for item in output if not isinstance(item, str)]
    return bool(blocks) and all(map(_is_content_block, blocks))


def _is_content_block(item: Any) -> bool:
    """Tell a block of content from a record whose type has the same name: it holds its text or its file."""
    if (kind := _kind(item)) not in _KINDS:
        return False
    if _KINDS[kind] is _message:
        return isinstance(item.get("text"), str)
    part = next(read(item), None)
    if isinstance(part, File):
        is_link = bool(part.url) and (part.kind == "image" or kind.endswith("url"))
        is_held = any(isinstance(item.get(key), dict) for key in _MEDIA)
        return is_link or is_held or any(isinstance(item.get(key), str) for key in _FILE_KEYS)
    if isinstance(part, (Source, Reasoning)):
        return bool(part.text) or kind in ("web_search_result", "source-url", "source-document")
    return not isinstance(part, Other)


def output_text(output: Any) -> str:
    """Return a tool's answer as text: the text of content, with the names of files in brackets, else JSON."""
    return output if isinstance(output, str) else "\n".join(map(_described, read_output(output)))


def _described(part: Part) -> str:
    if isinstance(part, (Text, Reasoning)):
        return part.text
    if isinstance(part, Source):
        return part.text or part.title or part.url
    if isinstance(part, File):
        return f"[{part.name or part.media_type}]"
    return as_text(part.data if isinstance(part, Other) else getattr(part, "block", {}))


def parsed(text: Any) -> Any:
    """Return the JSON that a text holds, or what is given if it holds none."""
    if isinstance(text, str) and text.lstrip()[:1] in ("{", "["):
        try:
            return loads(text.strip())
        except (ValueError, RecursionError):
            return text
    return text


def _read(data: Any, levels: int) -> Iterator[Part]:
    if isinstance(data, str):
        if data and not data.isspace():
            yield Text(data)
    elif isinstance(data, (list, tuple)) and levels and all(isinstance(item, (str, dict)) for item in data):
        # The AI SDK's model messages mark the call alone as the provider's own; its answer lies beside it.
        hosted = {
            _text(item, _CALL_IDS) for item in data if isinstance(item, dict) and item.get("providerExecuted") is True
        }
        for item in data:
            for part in _read(item, levels - 1):
                if isinstance(part, ToolResult) and part.id in hosted:
                    part = part._replace(is_hosted=True)
                yield part
    elif isinstance(data, dict) and levels:
        if data:
            yield from _block(data, levels)
    elif data is not None:
        yield Other(data)


def _block(block: Block, levels: int) -> Iterator[Part]:
    for reader in _own_readers(tuple(settings.MESSAGE_FORMATS)):
        if (parts := reader(block)) is not None:
            return iter(parts)
    if "content" in block and block.keys() <= _PLAIN_KEYS and block.get("role") != "function":
        return _read(block.get("content"), levels - 1)  # Most messages: there is nothing beside the text.
    kind = _kind(block)
    if (read_kind := _KINDS.get(kind)) is not None:
        return read_kind(block, levels)
    if kind.endswith("_tool_result"):  # Anthropic's own tools: web_search_tool_result and the like.
        return _hosted_result(block, levels)
    if kind.startswith("tool-") and "toolCallId" in block:
        return _ui_tool(block, levels)
    if found := [key for key in _KEYS if key in block]:
        # Google's library writes every key of a part, all but one of them null.
        key = next((key for key in found if block[key] is not None), found[0])
        return _KEYS[key](block, levels)
    return iter((Other(block),))


@lru_cache(maxsize=8)
def _own_readers(paths: tuple[str, ...]) -> tuple[Reader, ...]:
    return tuple(import_string(path) for path in paths)


def _kind(block: Any) -> str:
    if not isinstance(block, dict):
        return ""
    return next((kind for key in ("type", "part_kind", "kind") if isinstance(kind := block.get(key), str)), "")


def _text(block: Mapping[str, Any], keys: Iterable[str]) -> str:
    """Return the first text under the keys that is not empty."""
    return next((value for key in keys if isinstance(value := block.get(key), str) and value), "")


def _value(block: Mapping[str, Any], keys: Iterable[str], default: Any = None) -> Any:
    """Return the value of the first of the keys that is there."""
    return next((block[key] for key in keys if key in block), default)


def _items(block: Mapping[str, Any], keys: Iterable[str]) -> Iterator[Any]:
    """Yield what the lists under the keys hold; an object counts as a list of one."""
    for key in keys:
        if value := block.get(key):
            yield from value if isinstance(value, list) else [value] if isinstance(value, dict) else ()


# --- Messages, and blocks of text


def _message(block: Block, levels: int) -> Iterator[Part]:
    """Read what holds text or content, and may have calls, thoughts, citations and files beside it."""
    if isinstance(block.get("tool_call_id"), str):
        yield from _result(block, levels)
        return
    if "function" in (block.get("role"), block.get("type")) and (name := _text(block, ("name",))):
        # OpenAI, before there were ids: the answer to a ``function_call`` has its name.
        yield from _result({**block, "call_id": name}, levels)
        return
    if block.get("thought") is True:  # Gemini
        yield from _reasoning(block, levels)
        return
    if isinstance(added := block.get("additional_kwargs"), dict):  # LangChain: what a provider has beside the text.
        block = {**{key: added[key] for key in _ADDED if key in added}, **block}
    for key in ("reasoning_content", "reasoning", "thinking"):
        if isinstance(block.get(key), str) and block[key]:
            yield Reasoning(block[key], {})
    calls = set()
    # The AI SDK keeps the text of the parts in ``content`` too.
    for key in ("parts",) if block.get("parts") is not None else _TEXTS:
        if block.get(key) is not None:
            for part in _read(_said(block[key]) if key == "parts" else block[key], levels - 1):
                if isinstance(part, ToolCall):
                    calls.add(part.id)
                yield part
    if isinstance(block.get("audio"), dict):  # OpenAI: the answer is spoken.
        yield from _read(block["audio"].get("transcript"), levels - 1)
        yield from _file({"type": "audio", **block["audio"]}, levels)
    for call in _items(block, _LISTED_CALLS):
        # LangChain has calls twice: also in the content, as the provider wrote them.
        yield from (part for part in _listed_call(call, levels) if isinstance(part, Other) or part.id not in calls)
    yield from filter(None, map(_citation, _items(block, ("annotations", "citations"))))
    for item in _items(block, _LISTED_FILES):
        yield from _file(item, levels) if isinstance(item, dict) else ()


def _said(parts: Any) -> Any:
    """Return the parts of a message without what pydantic-ai tells the model itself, unless that is all."""
    if not isinstance(parts, list):
        return parts
    return [part for part in parts if not isinstance(part, dict) or part.get("part_kind") not in _TOLD] or parts


def _wrapped(block: Block, levels: int) -> Iterator[Part]:
    """Read what LangChain's ``dumpd`` and ``messages_to_dict`` make of a message."""
    inner = block.get("kwargs", block.get("data"))
    is_message = "lc" in block or _kind(block) in _LANGCHAIN
    return _block(inner, levels - 1) if is_message and levels and isinstance(inner, dict) else iter((Other(block),))


def _non_standard(block: Block, levels: int) -> Iterator[Part]:
    """Read a provider's block that LangChain has no name for."""
    inner = block.get("value")
    return _block(inner, levels - 1) if isinstance(inner, dict) and inner and levels else iter((Other(block),))


def _entry(block: Block, levels: int) -> Iterator[Part]:
    """Read an entry of a transcript of Claude, which has the message in it."""
    inner = block["message"]
    is_entry = isinstance(inner, dict) and "content" in inner and levels
    return _read(inner["content"], levels - 1) if is_entry else iter((Other(block),))


def _citation(item: Any) -> Source | None:
    if isinstance(item, dict):
        inner = item["url_citation"] if isinstance(item.get("url_citation"), dict) else item
        if url := _text(inner, ("url", "source")):
            return Source(url, _text(inner, ("title",)), "", {})
    return None


def _reasoning(block: Block, levels: int) -> Iterator[Part]:
    text = _text(block, _THOUGHTS)
    if not text:  # OpenAI's Responses: a summary, or all of it, as lists of texts.
        text = "\n".join(_texts(value, levels) for key in ("summary", "content") if (value := block.get(key)))
    yield Reasoning(text, block)


def _compaction(block: Block, levels: int) -> Iterator[Part]:
    """Read what a provider keeps of a conversation that was too long: a summary, or what only itself can read."""
    return _message(block, levels) if block.get("content") else iter((Reasoning("", block),))


def _texts(content: Any, levels: int) -> str:
    return "\n".join(part.text for part in _read(content, levels - 1) if isinstance(part, Text))


# --- Tools


def _call(block: Block, levels: int, *, is_hosted: bool = False) -> Iterator[ToolCall | Other]:
    inner = _value(block, ("function", "custom", "functionCall", "function_call"), block)
    name = _text(inner, _NAMES) if isinstance(inner, dict) else ""
    if name:
        # Gemini's calls have no ids: there a name is one.
        call_id = _text(block, _CALL_IDS) or _text(inner, ("id",)) or name
        is_hosted = is_hosted or block.get("providerExecuted") is True
        yield ToolCall(call_id, name, _value(inner, _ARGUMENTS, {}), block, is_hosted)
    else:
        yield Other(block)


def _listed_call(call: Any, levels: int) -> Iterator[ToolCall | ToolResult | Other]:
    if isinstance(call, dict) and "toolCallId" in call:
        yield from _ui_tool(call, levels)
    elif isinstance(call, dict) and any(isinstance(part, ToolCall) for part in _call(call, levels)):
        yield from _call(call, levels)
    else:
        yield Other({"type": "tool_call", "call": call})


def _result(block: Block, levels: int, *, is_hosted: bool = False) -> Iterator[ToolResult | Other]:
    inner = _value(block, ("functionResponse", "function_response"), block)
    name = _text(inner, _NAMES) if isinstance(inner, dict) else ""
    call_id = _text(block, _CALL_IDS) or (_text(inner, ("id",)) if isinstance(inner, dict) else "") or name
    if not isinstance(inner, dict) or not (call_id or any(key in block for key in _OUTPUTS)):
        yield Other(block)
        return
    output, kind = _value(inner, _OUTPUTS), ""
    has_failed = inner is not block and isinstance(output, dict) and output.keys() == {"error"}  # Gemini
    if inner is not block and isinstance(files := inner.get("parts"), list) and files:
        files = [{**part, "type": "file"} for part in files if isinstance(part, dict)]
        output = [{"type": "text", "text": as_text(output)}, *files]
    if isinstance(output, dict) and output.keys() == {"type", "value"}:  # The AI SDK's model messages.
        kind, output = str(output["type"]), output["value"]
    is_error = (
        has_failed
        or kind.startswith("error")
        or True in (block.get("is_error"), block.get("isError"))
        or _kind(block) == "retry-prompt"
        or block.get("status") in ("error", "failed")
        or block.get("outcome") in ("failed", "denied", "retried")
    )
    yield ToolResult(call_id, name or None, output, is_error, block, is_hosted)


def _retry(block: Block, levels: int) -> Iterator[Part]:
    """Read pydantic-ai's request to try again, which answers a call or the model's text."""
    return _result(block, levels) if block.get("tool_name") else _read(block.get("content"), levels - 1)


def _hosted_call(block: Block, levels: int) -> Iterator[Part]:
    """Read a call of a provider's own tool; OpenAI's hold their answers too."""
    named = block if _text(block, _NAMES) else {**block, "name": _kind(block).removesuffix("_call")}
    for part in _call(named, levels, is_hosted=True):
        yield part._replace(block=block) if isinstance(part, ToolCall) else part
    if (error := block.get("error")) is not None:
        told = _value(error, ("content", "message"), error) if isinstance(error, dict) else error
        yield from _result({**named, "output": told, "status": "error"}, levels, is_hosted=True)
    elif any(block.get(key) is not None for key in _OUTPUTS):
        yield from _result(named, levels, is_hosted=True)


def _client_call(block: Block, levels: int) -> Iterator[Part]:
    """Read a call of a tool that OpenAI names and the caller runs: a shell, a computer."""
    for part in _call({"name": _kind(block).removesuffix("_call"), **block}, levels):
        yield part._replace(block=block) if isinstance(part, ToolCall) else part


def _hosted_result(block: Block, levels: int) -> Iterator[Part]:
    content = block.get("content")
    told = block
    if isinstance(content, dict) and isinstance(kind := content.get("type"), str):  # Anthropic
        if kind.endswith("_error"):
            told = {**block, "is_error": True}
        elif kind == "web_fetch_result" and isinstance(content.get("content"), dict):
            told = {**block, "content": [content["content"]]}
        elif kind == "encrypted_code_execution_result":
            told = {**block, "content": {key: content[key] for key in content if key != "encrypted_stdout"}}
    # The API takes back what it wrote, and that alone.
    return (
        part._replace(block=block) if isinstance(part, ToolResult) else part
        for part in _result(told, levels, is_hosted=True)
    )


def _ui_tool(block: Block, levels: int) -> Iterator[ToolCall | ToolResult]:
    """Read a tool of a UI message: a call and, where it has come, its answer."""
    state = block.get("state")
    name = _text(block, ("toolName",)) or _kind(block).removeprefix("tool-")
    call_id = _text(block, ("toolCallId",)) or name
    if state in ("input-streaming", "partial-call"):
        return
    is_hosted = block.get("providerExecuted") is True
    yield ToolCall(call_id, name, _value(block, _ARGUMENTS, {}), block, is_hosted)
    if state in ("output-available", "result") or (state is None and {"output", "result"} & block.keys()):
        output, is_error = _value(block, ("output", "result")), False
    elif state == "output-error":
        output, is_error = block.get("errorText", "The tool failed."), True
    elif state == "output-denied":
        output, is_error = "The user denied this call.", True
    else:
        return
    yield ToolResult(call_id, name, output, is_error, block, is_hosted)


def _ui_invocation(block: Block, levels: int) -> Iterator[Part]:
    invocation = block.get("toolInvocation")
    return _ui_tool(invocation, levels) if isinstance(invocation, dict) else iter((Other(block),))


def _code(block: Block, levels: int) -> Iterator[Part]:
    """Read code that Gemini runs, or what came of it."""
    code = _value(block, ("executableCode", "executable_code"))
    if isinstance(code, dict):
        written = {key: code[key] for key in code if key != "id"}
        call = {"id": _text(code, ("id",)) or "code_execution", "name": "code_execution", "arguments": written}
        return _call(call, levels, is_hosted=True)
    result = _value(block, ("codeExecutionResult", "code_execution_result"))
    if not isinstance(result, dict):
        result = {"output": result}
    is_error = _text(result, ("outcome",)) in ("OUTCOME_FAILED", "OUTCOME_DEADLINE_EXCEEDED")
    told = {"id": _text(result, ("id",)) or "code_execution", "output": result.get("output"), "is_error": is_error}
    return _result(told, levels, is_hosted=True)


def _google_tool(block: Block, levels: int) -> Iterator[Part]:
    """Read a call of one of Google's own tools, or its answer: both have the tool's type."""
    keys = ("toolCall", "tool_call", "toolResponse", "tool_response")
    key, inner = next(((key, block[key]) for key in keys if isinstance(block.get(key), dict)), ("", {}))
    if not (kind := _text(inner, ("toolType", "tool_type"))):
        return iter((Other(block),))
    named = {**inner, "name": kind.lower()}
    return (_call if key in keys[:2] else _result)(named, levels, is_hosted=True)


# --- Files and sources


def _file(block: Block, levels: int) -> Iterator[Part]:
    inner = block
    for key in _MEDIA:
        if isinstance(block.get(key), dict):
            inner = {**inner, **block[key]}
    if inner is not block and inner.get("type") in ("text", "content"):  # Anthropic: a document given as text.
        yield Source("", _text(block, ("title",)), _texts(_value(inner, ("data", "content")), levels), block)
        return
    url, data = _text(inner, _URLS), _text(inner, _BYTES)
    if not url and (data.startswith("data:") or "://" in data[:20]):
        url, data = data, ""
    kind = _kind(block).removeprefix("input_").removesuffix("_url").removesuffix("-url").removesuffix("-data")
    media_type = _text(inner, _MEDIA_TYPES) or _DEFAULT_MEDIA_TYPES.get(kind, "application/pdf")
    if url.startswith("data:"):
        media_type = url[5:105].partition(",")[0].partition(";")[0] or media_type
    elif isinstance(inner.get("format"), str) and media_type == "audio/*":
        media_type = f"audio/{inner['format']}"
    name = _text(inner, _FILE_NAMES)
    if data and not url:
        url = f"data:{media_type};base64,{data}"
    yield File(url, media_type, name, block) if url or name else Other(block)


def _file_part(block: Block, levels: int) -> Iterator[Part]:
    """Read a ``file``, which pydantic-ai holds in ``content``."""
    return _file(block["content"] if isinstance(block.get("content"), dict) else block, levels)


def _generated_image(block: Block, levels: int) -> Iterator[Part]:
    if not block.get("result"):  # It is being made, or has failed.
        return _hosted_call(block, levels)
    media_type = f"image/{_text(block, ('output_format',)) or 'png'}"
    return _file({"type": "image", "data": block["result"], "media_type": media_type}, levels)


def _speech(block: Block, levels: int) -> Iterator[Part]:
    """Read what was spoken in a realtime session of pydantic-ai."""
    yield from _read(_text(block, ("transcript",)), levels - 1)
    if isinstance(block.get("audio"), dict):
        yield from _file({"type": "audio", **block["audio"]}, levels)


def _source(block: Block, levels: int) -> Iterator[Part]:
    inner = {**block, **block["source"]} if isinstance(block.get("source"), dict) else block
    text = _texts(_value(inner, ("content", "text")), levels)
    yield Source(_text(inner, ("url", "source")), _text(inner, ("title", "filename")), text, block)


def _one(part: Part) -> _BlockReader:
    return lambda block, levels: iter((part,))


_KINDS: dict[str, _BlockReader] = {
    **dict.fromkeys(("text", "input_text", "output_text"), _message),
    **dict.fromkeys(("reasoning", "thinking", "redacted_thinking"), _reasoning),
    "non_standard": _non_standard,
    "compaction": _compaction,
    # OpenAI; Anthropic, the AI SDK and pydantic-ai, LangChain
    **dict.fromkeys(("function_call", "custom_tool_call", "custom"), _call),
    **dict.fromkeys(("tool_use", "tool-call", "tool_call", "tool_call_chunk", "invalid_tool_call"), _call),
    **dict.fromkeys(("function_call_output", "custom_tool_call_output", "computer_call_output"), _result),
    **dict.fromkeys(("local_shell_call_output", "shell_call_output", "apply_patch_call_output"), _result),
    **dict.fromkeys(("tool_result", "tool-result", "tool-return"), _result),
    **dict.fromkeys(("computer_call", "local_shell_call", "shell_call", "apply_patch_call"), _client_call),
    "retry-prompt": _retry,
    **dict.fromkeys(("web_search_call", "file_search_call", "code_interpreter_call", "tool_search_call"), _hosted_call),
    **dict.fromkeys(("program", "mcp_call", "mcp_tool_use", "server_tool_use"), _hosted_call),
    **dict.fromkeys(("server_tool_call", "server_tool_call_chunk", "builtin-tool-call"), _hosted_call),
    **dict.fromkeys(("server_tool_result", "builtin-tool-return", "program_output"), _hosted_result),
    "dynamic-tool": _ui_tool,
    "tool-invocation": _ui_invocation,
    **dict.fromkeys(("image", "image_url", "input_image", "image-url", "image-data", "input_file"), _file),
    **dict.fromkeys(("document", "document-url", "file-url", "file-data", "media", "binary"), _file),
    **dict.fromkeys(("audio", "input_audio", "audio-url", "video", "video-url", "uploaded-file"), _file),
    **dict.fromkeys(("container_upload", "computer_screenshot"), _file),
    "file": _file_part,
    "speech": _speech,
    "image_generation_call": _generated_image,
    **dict.fromkeys(("source", "source-url", "source-document", "search_result", "web_search_result"), _source),
    "text-plain": _source,
    "step-start": _one(Break()),
    "cache-point": _one(Break()),
}
# Blocks of no kind, or of one that is unknown here, by what they have.
# The order decides: of a block that has several of the keys the first one here tells what it is.
_KEYS: dict[str, _BlockReader] = {
    **dict.fromkeys(("functionResponse", "function_response"), _result),
    **dict.fromkeys(("functionCall", "function"), _call),
    **dict.fromkeys(("executableCode", "executable_code", "codeExecutionResult", "code_execution_result"), _code),
    **dict.fromkeys(("inlineData", "inline_data", "fileData", "file_data"), _file),
    "asset_pointer": lambda block, levels: _file({"type": "image", **block}, levels),  # ChatGPT's export
    **dict.fromkeys((*_TEXTS, "parts", "tool_calls", "toolInvocations", "function_call"), _message),
    **dict.fromkeys(("kwargs", "data"), _wrapped),
    **dict.fromkeys(("toolCall", "tool_call", "toolResponse", "tool_response"), _google_tool),
    **dict.fromkeys(("raw", "mediaType"), _file),  # A2A
    "message": _entry,
    # Gemini: a signature alone belongs to the thoughts that it does not show.
    **dict.fromkeys(("thoughtSignature", "thought_signature"), lambda block, levels: iter((Reasoning("", block),))),
}


# --- Messages of the store


def parts_of(message: MessageRecord) -> list[Part]:
    """Return what the message says. A placeholder, which says nothing yet, has no parts."""
    return list(read(message.data))


def text_of(message: MessageRecord) -> str:
    """Return the text that the message says, its pieces on lines of their own."""
    return joined(read(message.data))


def is_empty(message: MessageRecord) -> bool:
    """Tell whether the message is a placeholder without content."""
    return all(isinstance(part, Break) for part in read(message.data))


def calls_in(message: MessageRecord) -> set[str]:
    """Return the ids of the tool calls in the message; "" stands for whatever an answer without an id answers."""
    calls = {part.id for part in read(message.data) if is_call(part)}
    return calls if message.name in TOOL_NAMES else {*calls, ""}


def needs_call(message: MessageRecord) -> set[str]:
    """Return the ids of the tool calls that the message answers and that lie further up."""
    parts = parts_of(message)
    results = {part.id for part in parts if is_result(part)}
    if not results and message.name in TOOL_NAMES:
        return {""}
    return results - {part.id for part in parts if is_call(part)}
