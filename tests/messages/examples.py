"""Messages as the providers document them, and what each says: one table for all tests of formats."""

from typing import Any, NamedTuple

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA="
PDF = "JVBERi0xLjQKJcfsj6IKNSAwIG9iago8PC9MZW5ndGggNiAwIFI+PgpzdHJlYW0K"
ENCRYPTED = "EqgfCioIARgBIiQ3YTAwMjY1Mi1mZjM5LTQ1NGUtODgxNC1kNjNjNTk1ZWI3Y" * 4
ARGUMENTS = '{"city": "Rome", "limit": 49.90}'
WEATHER = {"city": "Rome"}


class Example(NamedTuple):
    """``parts`` name the kind of each part and what it says."""

    id: str
    role: str
    data: Any
    parts: list[tuple[Any, ...]]


TEXT = ("text", "Hello")
CALL = ("call", "c1", "weather", WEATHER)
WRITTEN_CALL = ("call", "c1", "weather", ARGUMENTS)
RESULT = ("result", "c1", "Sunny, 49.90 lux")
IMAGE = ("image", f"data:image/png;base64,{PNG}")
IMAGE_LINK = ("image", "https://example.com/a.png")

EXAMPLES = [
    # Plain text
    Example("text", "user", "Hello", [TEXT]),
    Example("texts", "user", ["Hello", "there"], [TEXT, ("text", "there")]),
    Example("text of nothing", "assistant", " \n", []),
    Example("nothing", "assistant", None, []),
    Example("own shape", "user", {"note": "Hello", "n": 1}, [("other", {"note": "Hello", "n": 1})]),
    Example("number", "user", 49.5, [("other", 49.5)]),
    # OpenAI, Chat Completions
    Example("openai user", "user", {"role": "user", "content": "Hello"}, [TEXT]),
    Example(
        "openai user with parts",
        "user",
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Hello"},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}},
                {"type": "file", "file": {"file_id": "file-123"}},
            ],
        },
        [
            TEXT,
            IMAGE_LINK,
            IMAGE,
            ("audio", f"data:audio/wav;base64,{WAV}"),
            ("file", f"data:application/pdf;base64,{PDF}", "a.pdf"),
            ("file", "", "file-123"),
        ],
    ),
    Example(
        "openai assistant",
        "assistant",
        {
            "role": "assistant",
            "content": "Hello",
            "refusal": None,
            "annotations": [
                {
                    "type": "url_citation",
                    "url_citation": {"url": "https://example.com/", "title": "Example", "start_index": 0},
                }
            ],
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": ARGUMENTS}},
                {"id": "c2", "type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}},
            ],
        },
        [TEXT, WRITTEN_CALL, ("call", "c2", "sql", "SELECT 1"), ("source", "https://example.com/", "Example")],
    ),
    Example(
        "openai refusal",
        "assistant",
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "I can't help with that."}]},
        [("text", "I can't help with that.")],
    ),
    Example(
        "openai audio",
        "assistant",
        {"role": "assistant", "content": None, "audio": {"id": "audio_1", "data": WAV, "transcript": "Hello"}},
        [TEXT, ("audio", f"data:audio/*;base64,{WAV}")],
    ),
    Example(
        "openai function_call",
        "assistant",
        {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": ARGUMENTS}},
        [("call", "weather", "weather", ARGUMENTS)],
    ),
    Example(
        "openai function",
        "function",
        {"role": "function", "name": "weather", "content": "Sunny, 49.90 lux"},
        [("result", "weather", "Sunny, 49.90 lux")],
    ),
    Example("openai tool", "tool", {"role": "tool", "tool_call_id": "c1", "content": "Sunny, 49.90 lux"}, [RESULT]),
    Example(
        "deepseek",
        "assistant",
        {"role": "assistant", "reasoning_content": "Hm", "content": "Hello"},
        [("reasoning", "Hm"), TEXT],
    ),
    # OpenAI, Responses
    Example(
        "responses input",
        "user",
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Hello"},
                {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "auto"},
                {"type": "input_image", "file_id": "file-123"},
                {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
                {"type": "input_file", "file_url": "https://example.com/a.pdf"},
            ],
        },
        [
            TEXT,
            IMAGE_LINK,
            ("image", "", "file-123"),
            ("file", f"data:application/pdf;base64,{PDF}", "a.pdf"),
            ("file", "https://example.com/a.pdf"),
        ],
    ),
    Example(
        "responses output",
        "assistant",
        [
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "Hm"}],
                "encrypted_content": ENCRYPTED,
            },
            {
                "type": "web_search_call",
                "id": "ws_1",
                "status": "completed",
                "action": {"type": "search", "query": "x"},
            },
            {
                "type": "message",
                "id": "msg_1",
                "role": "assistant",
                "status": "completed",
                "content": [
                    {
                        "type": "output_text",
                        "text": "Hello",
                        "annotations": [{"type": "url_citation", "url": "https://example.com/", "title": "Example"}],
                    }
                ],
            },
            {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "weather", "arguments": ARGUMENTS},
        ],
        [
            ("reasoning", "Hm"),
            ("hosted call", "ws_1", "web_search", {"type": "search", "query": "x"}),
            TEXT,
            ("source", "https://example.com/", "Example"),
            WRITTEN_CALL,
        ],
    ),
    Example(
        "responses reasoning text",
        "assistant",
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm"}]},
        [("reasoning", "Hm")],
    ),
    Example(
        "responses image",
        "assistant",
        [{"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": PNG}],
        [IMAGE],
    ),
    Example(
        "responses mcp",
        "assistant",
        [{"type": "mcp_call", "id": "mcp_1", "name": "roll", "arguments": "{}", "output": "4", "server_label": "dice"}],
        [("hosted call", "mcp_1", "roll", "{}"), ("hosted result", "mcp_1", "4")],
    ),
    Example(
        "responses tool",
        "tool",
        {"type": "function_call_output", "call_id": "c1", "output": "Sunny, 49.90 lux"},
        [RESULT],
    ),
    Example(
        "responses custom tool",
        "assistant",
        [
            {"type": "custom_tool_call", "call_id": "c1", "name": "sql", "input": "SELECT 1"},
            {"type": "custom_tool_call_output", "call_id": "c1", "output": "1 row"},
        ],
        [("call", "c1", "sql", "SELECT 1"), ("result", "c1", "1 row")],
    ),
    Example(
        "responses mcp that failed",
        "assistant",
        [
            {
                "type": "mcp_call",
                "id": "mcp_1",
                "name": "roll",
                "arguments": "{}",
                "output": None,
                "status": "failed",
                "error": {"type": "http_error", "code": 502, "message": "The dice are gone"},
            },
            {"type": "mcp_call", "id": "mcp_2", "name": "roll", "arguments": "{}", "error": "Timed out"},
        ],
        [
            ("hosted call", "mcp_1", "roll", "{}"),
            ("hosted error", "mcp_1", "The dice are gone"),
            ("hosted call", "mcp_2", "roll", "{}"),
            ("hosted error", "mcp_2", "Timed out"),
        ],
    ),
    Example(
        "responses searches",
        "assistant",
        [
            {
                "type": "file_search_call",
                "id": "fs_1",
                "queries": ["refunds"],
                "results": [{"file_id": "file-1", "filename": "policy.md", "text": "Within 30 days"}],
            },
            {"type": "tool_search_call", "id": "ts_1", "execution": "server", "arguments": {"goal": "mail"}},
        ],
        [
            ("hosted call", "fs_1", "file_search", ["refunds"]),
            ("hosted result", "fs_1", '[{"file_id":"file-1","filename":"policy.md","text":"Within 30 days"}]'),
            ("hosted call", "ts_1", "tool_search", {"goal": "mail"}),
        ],
    ),
    Example(
        "responses images",
        "assistant",
        [
            {"type": "image_generation_call", "id": "ig_1", "status": "generating", "result": None},
            {"type": "image_generation_call", "id": "ig_2", "result": PNG, "output_format": "webp"},
            {"type": "image_generation_call", "id": "ig_3", "result": None, "error": {"message": "Refused"}},
        ],
        [
            ("hosted call", "ig_1", "image_generation", {}),
            ("image", f"data:image/webp;base64,{PNG}"),
            ("hosted call", "ig_3", "image_generation", {}),
            ("hosted error", "ig_3", "Refused"),
        ],
    ),
    Example(
        "responses computer",
        "assistant",
        [
            {"type": "computer_call", "id": "cu_1", "call_id": "c1", "actions": [{"type": "screenshot"}]},
            {
                "type": "computer_call_output",
                "call_id": "c1",
                "output": {"type": "computer_screenshot", "image_url": f"data:image/png;base64,{PNG}"},
            },
        ],
        [("call", "c1", "computer", [{"type": "screenshot"}]), ("result", "c1", "[image/png]")],
    ),
    Example(
        "responses shells",
        "assistant",
        [
            {
                "type": "shell_call",
                "id": "sh_1",
                "call_id": "c1",
                "action": {"commands": ["ls"]},
                "status": "completed",
            },
            {
                "type": "shell_call_output",
                "call_id": "c1",
                "output": [{"stdout": "a.txt", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}],
            },
            {"type": "local_shell_call", "id": "ls_1", "call_id": "c2", "action": {"type": "exec", "command": ["ls"]}},
            {"type": "local_shell_call_output", "id": "c2", "output": "b.txt"},
            {
                "type": "apply_patch_call",
                "id": "ap_1",
                "call_id": "c3",
                "operation": {"type": "delete_file", "path": "a.txt"},
            },
            {"type": "apply_patch_call_output", "call_id": "c3", "status": "failed", "output": "No such file"},
        ],
        [
            ("call", "c1", "shell", {"commands": ["ls"]}),
            ("result", "c1", '[{"stdout":"a.txt","stderr":"","outcome":{"type":"exit","exit_code":0}}]'),
            ("call", "c2", "local_shell", {"type": "exec", "command": ["ls"]}),
            ("result", "c2", "b.txt"),
            ("call", "c3", "apply_patch", {"type": "delete_file", "path": "a.txt"}),
            ("error", "c3", "No such file"),
        ],
    ),
    Example(
        "responses program",
        "assistant",
        [
            {"type": "program", "id": "p_1", "call_id": "c1", "code": "print(1)", "fingerprint": ENCRYPTED},
            {"type": "program_output", "id": "p_2", "call_id": "c1", "result": "1 line", "status": "completed"},
        ],
        [("hosted call", "c1", "program", "print(1)"), ("hosted result", "c1", "1 line")],
    ),
    Example(
        "responses compaction",
        "assistant",
        [
            {"type": "compaction", "id": "cmp_1", "encrypted_content": ENCRYPTED},
            {"type": "output_text", "text": "Hello"},
        ],
        [("reasoning", ""), TEXT],
    ),
    # Anthropic
    Example(
        "anthropic user",
        "user",
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Hello", "cache_control": {"type": "ephemeral"}},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
                {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
                {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}},
                {"type": "document", "source": {"type": "file", "file_id": "file_123"}, "title": "A"},
                {
                    "type": "document",
                    "title": "Note",
                    "source": {"type": "text", "media_type": "text/plain", "data": "A plain document"},
                },
                {
                    "type": "search_result",
                    "source": "https://example.com/doc",
                    "title": "Doc",
                    "content": [{"type": "text", "text": "A passage"}],
                },
            ],
        },
        [
            TEXT,
            IMAGE,
            IMAGE_LINK,
            ("file", f"data:application/pdf;base64,{PDF}"),
            ("file", "", "A"),
            ("source", "", "Note", "A plain document"),
            ("source", "https://example.com/doc", "Doc", "A passage"),
        ],
    ),
    Example(
        "anthropic assistant",
        "assistant",
        [
            {"type": "thinking", "thinking": "Hm", "signature": ENCRYPTED},
            {"type": "redacted_thinking", "data": ENCRYPTED},
            {
                "type": "text",
                "text": "Hello",
                "citations": [
                    {
                        "type": "web_search_result_location",
                        "url": "https://example.com/",
                        "title": "Example",
                        "cited_text": "Hello",
                        "encrypted_index": ENCRYPTED,
                    }
                ],
            },
            {"type": "tool_use", "id": "c1", "name": "weather", "input": WEATHER},
        ],
        [("reasoning", "Hm"), ("reasoning", ""), TEXT, ("source", "https://example.com/", "Example"), CALL],
    ),
    Example(
        "anthropic tool",
        "user",
        [{"type": "tool_result", "tool_use_id": "c1", "content": "Sunny, 49.90 lux"}],
        [RESULT],
    ),
    Example(
        "anthropic tool with blocks",
        "user",
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "c1",
                    "is_error": True,
                    "content": [
                        {"type": "text", "text": "Sunny, 49.90 lux"},
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
                    ],
                }
            ],
        },
        [("error", "c1", "Sunny, 49.90 lux\n[image/png]")],
    ),
    Example(
        "anthropic web search",
        "assistant",
        [
            {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "tea"}},
            {
                "type": "web_search_tool_result",
                "tool_use_id": "srv_1",
                "content": [
                    {
                        "type": "web_search_result",
                        "url": "https://example.com/tea",
                        "title": "Tea",
                        "encrypted_content": ENCRYPTED,
                        "page_age": "April 30, 2025",
                    }
                ],
            },
            {"type": "text", "text": "Hello"},
        ],
        [("hosted call", "srv_1", "web_search", {"query": "tea"}), ("hosted result", "srv_1", "Tea"), TEXT],
    ),
    Example(
        "anthropic web fetch",
        "assistant",
        [
            {"type": "server_tool_use", "id": "srv_1", "name": "web_fetch", "input": {"url": "https://example.com/"}},
            {
                "type": "web_fetch_tool_result",
                "tool_use_id": "srv_1",
                "content": {
                    "type": "web_fetch_result",
                    "url": "https://example.com/",
                    "retrieved_at": "2026-11-21",
                    "content": {
                        "type": "document",
                        "title": "Tea",
                        "citations": {"enabled": True},
                        "source": {"type": "text", "media_type": "text/plain", "data": "A page on tea"},
                    },
                },
            },
            {
                "type": "web_fetch_tool_result",
                "tool_use_id": "srv_2",
                "content": {
                    "type": "web_fetch_result",
                    "url": "https://example.com/a.pdf",
                    "content": {
                        "type": "document",
                        "title": "A",
                        "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
                    },
                },
            },
            {
                "type": "web_fetch_tool_result",
                "tool_use_id": "srv_3",
                "content": {"type": "web_fetch_tool_error", "error_code": "url_not_accessible"},
            },
        ],
        [
            ("hosted call", "srv_1", "web_fetch", {"url": "https://example.com/"}),
            ("hosted result", "srv_1", "A page on tea"),
            ("hosted result", "srv_2", "[A]"),
            ("hosted error", "srv_3", '{"type":"web_fetch_tool_error","error_code":"url_not_accessible"}'),
        ],
    ),
    Example(
        "anthropic code execution",
        "assistant",
        [
            {"type": "server_tool_use", "id": "srv_1", "name": "bash_code_execution", "input": {"command": "ls"}},
            {
                "type": "bash_code_execution_tool_result",
                "tool_use_id": "srv_1",
                "content": {
                    "type": "bash_code_execution_result",
                    "stdout": "a.txt",
                    "stderr": "",
                    "return_code": 0,
                },
            },
            {
                "type": "code_execution_tool_result",
                "tool_use_id": "srv_2",
                "content": {
                    "type": "encrypted_code_execution_result",
                    "encrypted_stdout": ENCRYPTED,
                    "stderr": "Slow",
                    "return_code": 0,
                },
            },
            {"type": "container_upload", "file_id": "file_123"},
        ],
        [
            ("hosted call", "srv_1", "bash_code_execution", {"command": "ls"}),
            (
                "hosted result",
                "srv_1",
                '{"type":"bash_code_execution_result","stdout":"a.txt","stderr":"","return_code":0}',
            ),
            (
                "hosted result",
                "srv_2",
                '{"type":"encrypted_code_execution_result","stderr":"Slow","return_code":0}',
            ),
            ("file", "", "file_123"),
        ],
    ),
    Example(
        "anthropic citations",
        "assistant",
        [
            {
                "type": "text",
                "text": "Hello",
                "citations": [
                    {"type": "char_location", "cited_text": "Hello", "document_index": 0, "document_title": "A"},
                    {"type": "search_result_location", "source": "https://example.com/doc", "title": "Doc"},
                ],
            },
            {"type": "compaction", "content": "They greeted"},
        ],
        [TEXT, ("source", "https://example.com/doc", "Doc"), ("text", "They greeted")],
    ),
    # Gemini
    Example(
        "gemini user",
        "user",
        {
            "role": "user",
            "parts": [
                {"text": "Hello"},
                {"inlineData": {"mimeType": "image/png", "data": PNG}},
                {"fileData": {"mimeType": "audio/mp3", "fileUri": "https://example.com/files/a.mp3"}},
            ],
        },
        [TEXT, IMAGE, ("audio", "https://example.com/files/a.mp3")],
    ),
    Example(
        "gemini model",
        "model",
        {
            "role": "model",
            "parts": [
                {"text": "Hm", "thought": True},
                {"text": "Hello", "thoughtSignature": ENCRYPTED},
                {"functionCall": {"name": "weather", "args": WEATHER}},
                {"executableCode": {"language": "PYTHON", "code": "print(1)"}},
                {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1\n"}},
            ],
        },
        [
            ("reasoning", "Hm"),
            TEXT,
            ("call", "weather", "weather", WEATHER),
            ("hosted call", "code_execution", "code_execution", {"language": "PYTHON", "code": "print(1)"}),
            ("hosted result", "code_execution", "1\n"),
        ],
    ),
    Example(
        "gemini tool",
        "tool",
        {"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": {"sky": "blue"}}}]},
        [("result", "weather", '{"sky":"blue"}')],
    ),
    Example(
        "gemini tool with files",
        "tool",
        {
            "role": "user",
            "parts": [
                {
                    "functionResponse": {
                        "id": "c1",
                        "name": "draw",
                        "response": {"output": "Drawn"},
                        "parts": [{"inlineData": {"mimeType": "image/png", "data": PNG, "displayName": "a.png"}}],
                    },
                },
                {"functionResponse": {"id": "c2", "name": "draw", "response": {"error": "No ink"}}},
            ],
        },
        [("result", "c1", '{"output":"Drawn"}\n[image/png]'), ("error", "c2", '{"error":"No ink"}')],
    ),
    Example(
        "gemini signatures and tools of Google's",
        "model",
        {
            "role": "model",
            "parts": [
                {"thoughtSignature": ENCRYPTED},
                {"toolCall": {"id": "t1", "toolType": "GOOGLE_SEARCH_WEB", "args": {"queries": ["tea"]}}},
                {"toolResponse": {"id": "t1", "toolType": "GOOGLE_SEARCH_WEB", "response": {"found": "Tea"}}},
                {"executableCode": {"id": "x1", "language": "PYTHON", "code": "1 / 0"}, "thoughtSignature": ENCRYPTED},
                {"codeExecutionResult": {"id": "x1", "outcome": "OUTCOME_FAILED", "output": "ZeroDivisionError"}},
                {"text": "Hello"},
            ],
        },
        [
            ("reasoning", ""),
            ("hosted call", "t1", "google_search_web", {"queries": ["tea"]}),
            ("hosted result", "t1", '{"found":"Tea"}'),
            ("hosted call", "x1", "code_execution", {"language": "PYTHON", "code": "1 / 0"}),
            ("hosted error", "x1", "ZeroDivisionError"),
            TEXT,
        ],
    ),
    Example(
        "gemini snake case",
        "model",
        {"parts": [{"function_call": {"id": "c1", "name": "weather", "args": WEATHER}}, {"text": "Hello"}]},
        [CALL, TEXT],
    ),
    Example(
        "gemini with nulls",
        "model",
        {
            "role": "model",
            "parts": [
                {
                    "function_call": None,
                    "function_response": None,
                    "inline_data": None,
                    "thought": None,
                    "text": "Hello",
                },
                {
                    "function_response": None,
                    "function_call": {"id": None, "name": "weather", "args": WEATHER},
                    "text": None,
                },
                {"function_call": None, "inline_data": {"data": PNG, "mime_type": "image/png"}, "text": None},
                {
                    "function_call": None,
                    "executable_code": None,
                    "code_execution_result": {"output": "1\n"},
                    "text": None,
                },
            ],
        },
        [TEXT, ("call", "weather", "weather", WEATHER), IMAGE, ("hosted result", "code_execution", "1\n")],
    ),
    # AI SDK, UI messages
    Example(
        "ui user",
        "user",
        {
            "id": "m1",
            "role": "user",
            "parts": [
                {"type": "text", "text": "Hello"},
                {"type": "file", "mediaType": "image/png", "url": "https://example.com/a.png", "filename": "a.png"},
            ],
        },
        [TEXT, ("image", "https://example.com/a.png", "a.png")],
    ),
    Example(
        "ui assistant",
        "assistant",
        {
            "role": "assistant",
            "parts": [
                {"type": "step-start"},
                {"type": "reasoning", "text": "Hm", "state": "done"},
                {
                    "type": "tool-weather",
                    "toolCallId": "c1",
                    "state": "output-available",
                    "input": WEATHER,
                    "output": "Sunny, 49.90 lux",
                },
                {"type": "step-start"},
                {"type": "text", "text": "Hello", "state": "done"},
                {"type": "source-url", "sourceId": "s1", "url": "https://example.com/", "title": "Example"},
                {"type": "source-document", "sourceId": "s2", "mediaType": "application/pdf", "title": "Doc"},
                {"type": "data-chart", "id": "d1", "data": {"label": "Sales"}},
            ],
        },
        [
            ("break",),
            ("reasoning", "Hm"),
            CALL,
            RESULT,
            ("break",),
            TEXT,
            ("source", "https://example.com/", "Example"),
            ("source", "", "Doc"),
            ("other", {"type": "data-chart", "id": "d1", "data": {"label": "Sales"}}),
        ],
    ),
    Example(
        "ui tool of the provider",
        "assistant",
        {
            "parts": [
                {
                    "type": "tool-web_search",
                    "toolCallId": "srv_1",
                    "state": "output-available",
                    "providerExecuted": True,
                    "input": {"query": "tea"},
                    "output": "Tea",
                },
                {"type": "text", "text": "Hello"},
            ]
        },
        [("hosted call", "srv_1", "web_search", {"query": "tea"}), ("hosted result", "srv_1", "Tea"), TEXT],
    ),
    Example(
        "ui tools that are not done",
        "assistant",
        {
            "parts": [
                {"type": "tool-weather", "toolCallId": "c0", "state": "input-streaming", "input": {"ci": ""}},
                {"type": "tool-weather", "toolCallId": "c1", "state": "input-available", "input": WEATHER},
                {
                    "type": "dynamic-tool",
                    "toolName": "roll",
                    "toolCallId": "c2",
                    "state": "output-error",
                    "input": {},
                    "errorText": "down",
                },
                {"type": "tool-roll", "toolCallId": "c3", "state": "output-denied", "input": {}},
            ]
        },
        [
            CALL,
            ("call", "c2", "roll", {}),
            ("error", "c2", "down"),
            ("call", "c3", "roll", {}),
            ("error", "c3", "The user denied this call."),
        ],
    ),
    Example(
        "ui version 4",
        "assistant",
        {
            "role": "assistant",
            "content": "Hello",
            "parts": [
                {"type": "reasoning", "reasoning": "Hm", "details": [{"type": "text", "text": "Hm"}]},
                {
                    "type": "tool-invocation",
                    "toolInvocation": {
                        "state": "result",
                        "toolCallId": "c1",
                        "toolName": "weather",
                        "args": WEATHER,
                        "result": "Sunny, 49.90 lux",
                    },
                },
                {"type": "source", "source": {"sourceType": "url", "id": "s1", "url": "https://example.com/"}},
                {"type": "text", "text": "Hello"},
            ],
            "toolInvocations": [
                {
                    "state": "result",
                    "toolCallId": "c1",
                    "toolName": "weather",
                    "args": WEATHER,
                    "result": "Sunny, 49.90 lux",
                },
            ],
            "experimental_attachments": [
                {"name": "a.png", "contentType": "image/png", "url": "https://example.com/a.png"}
            ],
        },
        [
            ("reasoning", "Hm"),
            CALL,
            RESULT,
            ("source", "https://example.com/", ""),
            TEXT,
            ("image", "https://example.com/a.png", "a.png"),
        ],
    ),
    # AI SDK, model messages
    Example(
        "model user",
        "user",
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Hello"},
                {"type": "image", "image": "https://example.com/a.png"},
                {"type": "image", "image": PNG, "mediaType": "image/png"},
                {"type": "file", "data": PDF, "mediaType": "application/pdf", "filename": "a.pdf"},
            ],
        },
        [TEXT, IMAGE_LINK, IMAGE, ("file", f"data:application/pdf;base64,{PDF}", "a.pdf")],
    ),
    Example(
        "model assistant",
        "assistant",
        {
            "role": "assistant",
            "content": [
                {"type": "reasoning", "text": "Hm"},
                {"type": "text", "text": "Hello"},
                {"type": "tool-call", "toolCallId": "c1", "toolName": "weather", "input": WEATHER},
            ],
        },
        [("reasoning", "Hm"), TEXT, CALL],
    ),
    Example(
        "model web search",
        "assistant",
        {
            "role": "assistant",
            "content": [
                {
                    "type": "tool-call",
                    "toolCallId": "srv_1",
                    "toolName": "web_search",
                    "input": {"query": "tea"},
                    "providerExecuted": True,
                },
                {
                    "type": "tool-result",
                    "toolCallId": "srv_1",
                    "toolName": "web_search",
                    "output": {"type": "json", "value": {"title": "Tea"}},
                },
                {"type": "text", "text": "Hello"},
                {"type": "tool-call", "toolCallId": "c1", "toolName": "weather", "input": WEATHER},
            ],
        },
        [
            ("hosted call", "srv_1", "web_search", {"query": "tea"}),
            ("hosted result", "srv_1", '{"title":"Tea"}'),
            TEXT,
            CALL,
        ],
    ),
    Example(
        "model tool",
        "tool",
        {
            "role": "tool",
            "content": [
                {
                    "type": "tool-result",
                    "toolCallId": "c1",
                    "toolName": "weather",
                    "output": {"type": "text", "value": "Sunny, 49.90 lux"},
                },
                {
                    "type": "tool-result",
                    "toolCallId": "c2",
                    "toolName": "weather",
                    "output": {"type": "error-json", "value": {"code": "down"}},
                },
                {
                    "type": "tool-result",
                    "toolCallId": "c3",
                    "toolName": "draw",
                    "output": {
                        "type": "content",
                        "value": [
                            {"type": "text", "text": "Drawn"},
                            {"type": "media", "data": PNG, "mediaType": "image/png"},
                        ],
                    },
                },
            ],
        },
        [RESULT, ("error", "c2", '{"code":"down"}'), ("result", "c3", "Drawn\n[image/png]")],
    ),
    # pydantic-ai
    Example(
        "pydantic-ai request",
        "user",
        {
            "kind": "request",
            "instructions": None,
            "parts": [
                {"part_kind": "system-prompt", "content": "Be brief", "dynamic_ref": None},
                {
                    "part_kind": "user-prompt",
                    "timestamp": "2026-11-21T18:02:36Z",
                    "content": [
                        "Hello",
                        {"kind": "image-url", "url": "https://example.com/a.png", "media_type": "image/png"},
                        {"kind": "binary", "data": PNG, "media_type": "image/png", "identifier": "3c01bd"},
                    ],
                },
                {
                    "part_kind": "tool-return",
                    "tool_name": "weather",
                    "tool_call_id": "c1",
                    "content": "Sunny, 49.90 lux",
                    "outcome": "success",
                },
                {
                    "part_kind": "tool-return",
                    "tool_name": "roll",
                    "tool_call_id": "c4",
                    "content": "try once more",
                    "outcome": "retried",
                    "retry": {"cause": "model_retry", "attempt": 1, "max_retries": 3},
                },
                {
                    "part_kind": "tool-return",
                    "tool_name": "draw",
                    "tool_call_id": "c5",
                    "content": ["Drawn", {"kind": "binary", "data": PNG, "media_type": "image/png"}],
                    "outcome": "success",
                },
                {"part_kind": "retry-prompt", "tool_name": "roll", "tool_call_id": "c2", "content": "try again"},
                {"part_kind": "retry-prompt", "tool_name": None, "tool_call_id": "c3", "content": "Plain text please"},
            ],
        },
        [
            TEXT,
            IMAGE_LINK,
            IMAGE,
            RESULT,
            ("error", "c4", "try once more"),
            ("result", "c5", "Drawn\n[image/png]"),
            ("error", "c2", "try again"),
            ("text", "Plain text please"),
        ],
    ),
    Example(
        "pydantic-ai speech",
        "user",
        {
            "kind": "request",
            "parts": [
                {"part_kind": "capability-load-delta", "loaded": ["search"]},
                {"part_kind": "model-settings-delta", "settings": {"effort": "low"}},
                {
                    "part_kind": "speech",
                    "speaker": "user",
                    "transcript": "Hello",
                    "audio": {"kind": "binary", "data": WAV, "media_type": "audio/wav"},
                },
                {"part_kind": "speech", "speaker": "user", "transcript": None, "audio": None},
            ],
        },
        [TEXT, ("audio", f"data:audio/wav;base64,{WAV}")],
    ),
    Example(
        "pydantic-ai system prompt",
        "system",
        {"kind": "request", "parts": [{"part_kind": "system-prompt", "content": "Hello", "dynamic_ref": None}]},
        [TEXT],
    ),
    Example(
        "pydantic-ai response",
        "assistant",
        {
            "kind": "response",
            "model_name": "m-1",
            "parts": [
                {"part_kind": "thinking", "content": "Hm", "id": None, "signature": ENCRYPTED},
                {"part_kind": "text", "content": "Hello"},
                {"part_kind": "tool-call", "tool_name": "weather", "args": ARGUMENTS, "tool_call_id": "c1"},
                {
                    "part_kind": "builtin-tool-call",
                    "tool_name": "web_search",
                    "args": {"q": 1},
                    "tool_call_id": "b1",
                },
                {"part_kind": "builtin-tool-return", "tool_name": "web_search", "content": "Tea", "tool_call_id": "b1"},
                {"part_kind": "file", "content": {"kind": "binary", "data": PNG, "media_type": "image/png"}},
            ],
        },
        [
            ("reasoning", "Hm"),
            TEXT,
            WRITTEN_CALL,
            ("hosted call", "b1", "web_search", {"q": 1}),
            ("hosted result", "b1", "Tea"),
            IMAGE,
        ],
    ),
    # LangChain
    Example(
        "langchain refusal",
        "ai",
        {
            "type": "ai",
            "data": {
                "type": "ai",
                "content": "",
                "additional_kwargs": {"refusal": "Hello", "reasoning_content": "Hm"},
                "tool_calls": [],
            },
        },
        [("reasoning", "Hm"), TEXT],
    ),
    Example("langchain human", "human", {"type": "human", "content": "Hello", "additional_kwargs": {}}, [TEXT]),
    Example(
        "langchain ai",
        "ai",
        {
            "type": "ai",
            "data": {
                "type": "ai",
                "content": [
                    {"type": "reasoning", "reasoning": "Hm"},
                    {"type": "text", "text": "Hello"},
                    {"type": "tool_use", "id": "c1", "name": "weather", "input": WEATHER},
                ],
                "additional_kwargs": {},
                "tool_calls": [{"type": "tool_call", "id": "c1", "name": "weather", "args": WEATHER}],
                "invalid_tool_calls": [],
            },
        },
        [("reasoning", "Hm"), TEXT, CALL],
    ),
    Example(
        "langchain ai with calls",
        "ai",
        {
            "type": "ai",
            "content": "",
            "tool_calls": [{"type": "tool_call", "id": "c1", "name": "weather", "args": WEATHER}],
        },
        [CALL],
    ),
    Example(
        "langchain invalid calls",
        "ai",
        {
            "type": "ai",
            "content": [{"type": "non_standard", "value": {"type": "redacted_thinking", "data": ENCRYPTED}}],
            "tool_calls": [],
            "invalid_tool_calls": [
                {"type": "invalid_tool_call", "id": "c1", "name": "weather", "args": '{"city":', "error": "No JSON"},
            ],
        },
        [("reasoning", ""), ("call", "c1", "weather", '{"city":')],
    ),
    Example(
        "langchain chunks",
        "ai",
        {
            "type": "AIMessageChunk",
            "content": [
                {"type": "tool_call_chunk", "id": "c1", "name": "weather", "args": ARGUMENTS, "index": 0},
                {"type": "server_tool_call_chunk", "id": "s1", "name": "web_search", "args": "{}"},
                {"type": "server_tool_result", "tool_call_id": "s1", "status": "error", "output": "Closed"},
            ],
            "tool_calls": [{"type": "tool_call", "id": "c1", "name": "weather", "args": WEATHER}],
        },
        [WRITTEN_CALL, ("hosted call", "s1", "web_search", "{}"), ("hosted error", "s1", "Closed")],
    ),
    Example(
        "langchain constructor",
        "human",
        {"lc": 1, "type": "constructor", "id": ["langchain", "HumanMessage"], "kwargs": {"content": "Hello"}},
        [TEXT],
    ),
    Example(
        "langchain blocks",
        "human",
        {
            "type": "human",
            "content": [
                {"type": "text-plain", "text": "A note", "mime_type": "text/plain", "title": "Note"},
                {"type": "image", "base64": PNG, "mime_type": "image/png"},
                {"type": "image", "source_type": "url", "url": "https://example.com/a.png"},
                {"type": "audio", "source_type": "base64", "data": WAV, "mime_type": "audio/wav"},
                {"type": "file", "file_id": "file-123", "mime_type": "application/pdf"},
            ],
        },
        [
            ("source", "", "Note", "A note"),
            IMAGE,
            IMAGE_LINK,
            ("audio", f"data:audio/wav;base64,{WAV}"),
            ("file", "", "file-123"),
        ],
    ),
    Example(
        "langchain function",
        "function",
        {"type": "function", "data": {"type": "function", "id": "m1", "name": "weather", "content": "Sunny"}},
        [("result", "weather", "Sunny")],
    ),
    Example(
        "langchain tool",
        "tool",
        {"type": "tool", "content": "Sunny, 49.90 lux", "tool_call_id": "c1", "name": "weather", "status": "error"},
        [("error", "c1", "Sunny, 49.90 lux")],
    ),
    # A2A
    Example(
        "a2a 0.3",
        "agent",
        {
            "kind": "message",
            "role": "agent",
            "messageId": "m1",
            "parts": [
                {"kind": "text", "text": "Hello"},
                {"kind": "file", "file": {"bytes": PNG, "mimeType": "image/png", "name": "a.png"}},
                {"kind": "file", "file": {"uri": "https://example.com/a.pdf", "mimeType": "application/pdf"}},
                {"kind": "data", "data": {"sky": "blue"}},
            ],
        },
        [
            TEXT,
            ("image", f"data:image/png;base64,{PNG}", "a.png"),
            ("file", "https://example.com/a.pdf"),
            ("other", {"kind": "data", "data": {"sky": "blue"}}),
        ],
    ),
    Example(
        "a2a 1.0",
        "agent",
        {
            "messageId": "m1",
            "role": "ROLE_AGENT",
            "parts": [
                {"text": "Hello"},
                {"raw": PNG, "mediaType": "image/png", "filename": "a.png"},
                {"url": "https://example.com/a.png", "mediaType": "image/png"},
                {"data": {"sky": "blue"}},
            ],
        },
        [
            TEXT,
            ("image", f"data:image/png;base64,{PNG}", "a.png"),
            IMAGE_LINK,
            ("other", {"data": {"sky": "blue"}}),
        ],
    ),
    # ChatGPT's export
    Example(
        "chatgpt",
        "user",
        {
            "content": {
                "content_type": "multimodal_text",
                "parts": [
                    "Hello",
                    {"content_type": "image_asset_pointer", "asset_pointer": "file-service://file-1", "width": 1},
                ],
            }
        },
        [TEXT, ("image", "", "file-service://file-1")],
    ),
]
