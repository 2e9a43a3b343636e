"""Examples for the schema, by the name of the shape."""

from typing import Any

CHAT = {
    "id": "trip",
    "user_id": "7",
    "title": "A trip to Nepal",
    "metadata": {"archived": False, "tier": 2},
    "message_count": 2,
    "branch_count": 1,
    "created_at": 1767225600000,
    "updated_at": 1767225660000,
    "last_message_at": 1767225660000,
    "archived_at": None,
    "pinned_at": None,
    "read_at": 1767225660000,
    "preview": None,
    "unread_count": None,
}
QUESTION = {
    "id": "trip-1",
    "chat_id": "trip",
    "parent_id": None,
    "name": "user",
    "type": "message",
    "data": {"content": "When is the best time to go?"},
    "created_at": 1767225600000,
}
ANSWER = {
    "id": "trip-2",
    "chat_id": "trip",
    "parent_id": "trip-1",
    "name": "assistant",
    "type": "message",
    "data": {"content": "October and November, after the monsoon."},
    "created_at": 1767225660000,
}
BRANCH = {
    "id": "019b76da-a800-7000-8000-000000000001",
    "chat_id": "trip",
    "name": "main",
    "head_message_id": "trip-2",
    "is_active": True,
    "message_count": 2,
    "created_at": 1767225600000,
}
REWOUND = {**BRANCH, "id": "019b76db-9260-7000-8000-000000000002", "name": "branch-2", "head_message_id": "trip-1"}
CHECKPOINT = {
    "id": "019b76db-9260-7000-8000-000000000003",
    "chat_id": "trip",
    "name": "before the plan",
    "message_id": "trip-2",
    "created_at": 1767225660000,
}
HIT = {
    "message": ANSWER,
    "rank": 0.6,
    "snippet": "October and November, after the <mark>monsoon</mark>.",
    "is_cut": False,
}

STREAM = {
    "id": "019b76db-9260-7000-8000-000000000004",
    "chat_id": "trip",
    "message_id": "trip-2",
    "format": "ui",
    "status": "running",
    "last_seq": 1,
    "error": None,
    "created_at": 1767225600000,
    "started_at": 1767225600100,
    "finished_at": None,
    "cancel_requested_at": None,
    "lease_expires_at": 1767225615200,
    "revision": 1767225600000001,
}
CHUNKS = [
    {"seq": 0, "data": {"type": "text-start", "id": "1"}, "created_at": 1767225600150},
    {"seq": 1, "data": {"type": "text-delta", "id": "1", "delta": "October"}, "created_at": 1767225600200},
]
SESSION = {
    "id": "support-42",
    "user_id": "7",
    "metadata": {"topic": "refund"},
    "message_count": 2,
    "created_at": 1767225600000,
    "updated_at": 1767225660000,
}
SESSION_MESSAGES = [
    {key: message[key] for key in ("id", "name", "type", "data", "created_at")} for message in (QUESTION, ANSWER)
]


HOLD = {
    "id": 17,
    "user_id": "7",
    "chat_id": None,
    "metadata": None,
    "reason": "Case 2026-17",
    "placed_by": "counsel",
    "since": 1767225600000,
    "until": None,
    "released_at": None,
    "released_by": None,
}
AUDIT_ENTRY = {
    "id": 4711,
    "action": "hold",
    "actor": "counsel",
    "user_id": "7",
    "chat_id": None,
    "detail": {"hold": 17},
    "created_at": 1767225600000,
}
USAGE = {
    "id": "019b76db-9260-7000-8000-000000000004",
    "chat_id": "trip",
    "message_id": "trip-2",
    "user_id": "7",
    "model": "small-1",
    "input_tokens": 120,
    "output_tokens": 40,
    "cached_tokens": 100,
    "reasoning_tokens": 0,
    "cost": "0.00042",
    "currency": "USD",
    "created_at": 1767225660000,
}
USAGE_SUM = {
    "user_id": None,
    "model": "small-1",
    "chat_id": None,
    "day": None,
    "month": "2026-01",
    "currency": "USD",
    "calls": 12,
    "input_tokens": 1440,
    "output_tokens": 480,
    "cached_tokens": 1200,
    "reasoning_tokens": 0,
    "cost": "0.00504",
}
SHARE = {
    "id": "019b76db-9260-7000-8000-000000000005",
    "chat_id": "trip",
    "title": "A trip to Nepal",
    "head_message_id": "trip-2",
    "created_at": 1767225660000,
    "expires_at": 1767830460000,
    "revoked_at": None,
    "token": None,
}


def _page(*results: Any, **more: Any) -> dict[str, Any]:
    return {**more, "next": None, "previous": None, "results": list(results)}


EXAMPLES: dict[str, Any] = {
    "ChatCreate": {"id": "trip", "title": "A trip to Nepal", "metadata": {"archived": False, "tier": 2}},
    "ChatUpsert": {"title": "A trip to Nepal", "metadata": {"archived": False, "tier": 2}},
    "ChatUpdate": {"title": "Nepal in autumn", "metadata": {"season": "autumn", "tier": None}, "pinned": True},
    "MetadataReplace": {"metadata": {"archived": None, "topics": ["travel"]}},
    "ChatFork": {"id": "trip-copy", "head_message_id": "trip-2"},
    "ChatRewind": {"message_id": "trip-1"},
    "ChatRead": {"message_id": "trip-2"},
    "MessagesAppend": {
        "messages": [
            {"id": "trip-1", "name": "user", "data": QUESTION["data"]},
            {"id": "trip-2", "name": "assistant", "data": ANSWER["data"]},
        ],
        "expected_head": None,
    },
    "MessagesUpsert": {
        "messages": [
            {"id": "trip-1", "name": "user", "data": QUESTION["data"], "parent_id": None},
            {"id": "trip-2", "name": "assistant", "data": ANSWER["data"], "parent_id": "trip-1"},
        ]
    },
    "MessageUpsert": {"name": "user", "data": QUESTION["data"], "parent_id": None},
    "MessagePut": {"chat_id": "trip", "name": "user", "data": QUESTION["data"], "parent_id": None},
    "MessageEdit": {"data": {"content": "When is the cheapest time to go?"}, "id": "trip-1b"},
    "MessageMove": {"parent_id": "trip-1"},
    "BranchCreate": {"name": "idea", "head_message_id": "trip-1", "is_active": False},
    "BranchMove": {"head_message_id": "trip-1", "expected_head": "trip-2"},
    "CheckpointCreate": {"name": "before the plan", "message_id": "trip-2"},
    "CheckpointUpsert": {"message_id": "trip-2"},
    "ContextPut": {"value": {"step": 3}, "ttl": 3600},
    "StreamCreate": {"id": STREAM["id"], "message_id": "trip-2", "format": "ui"},
    "StreamUpsert": {"message_id": "trip-2", "format": "ui"},
    "StreamUpdate": {"status": "failed", "error": "The model is overloaded."},
    "ChunksAppend": {"chunks": [chunk["data"] for chunk in CHUNKS], "started_at": STREAM["started_at"]},
    "Stream": STREAM,
    "StreamPage": _page(STREAM),
    "ChunkPage": _page(*CHUNKS),
    "Appended": {"last_seq": 1},
    # Server-sent events.
    "str": 'id: 1\ndata: {"type":"text-delta","id":"1","delta":"October"}\n\n',
    "SessionUpdate": {"metadata": {"topic": "refund", "draft": None}},
    "SessionSave": {"messages": SESSION_MESSAGES},
    "SessionAppend": {"messages": [{"id": "trip-1", "name": "user", "data": QUESTION["data"]}]},
    "SessionFork": {"id": "support-42-retry"},
    "Session": SESSION,
    "SessionPage": _page(SESSION),
    "UsageCreate": {
        key: USAGE[key] for key in ("model", "message_id", "input_tokens", "output_tokens", "cost", "currency")
    },
    "Usage": USAGE,
    "UsageSumPage": _page(USAGE_SUM),
    "ShareCreate": {"until": 1767830460000},
    "Share": {**SHARE, "token": "M0m1oDpVSGmZ2eSyfHIHhmYv0gCDFcPWJmH4DF9ykSY"},
    "SharePage": _page(SHARE),
    "SessionMessages": {"messages": SESSION_MESSAGES},
    "SessionMessagePage": _page(*SESSION_MESSAGES),
    "Chat": CHAT,
    "Message": ANSWER,
    "Messages": {"messages": [QUESTION, ANSWER]},
    "Branch": BRANCH,
    "Checkpoint": CHECKPOINT,
    "ChatPage": _page(CHAT, count=1),
    "MessagePage": _page(QUESTION, ANSWER),
    "BranchPage": _page(BRANCH),
    "CheckpointPage": _page(CHECKPOINT),
    "SearchHitPage": {**_page(HIT), "is_complete": True},
    "Graph": {
        "next": None,
        "nodes": [
            {
                "id": "trip-1",
                "parent_id": None,
                "role": "user",
                "content": "When is the best time to go?",
                "created_at": 1767225600000,
                "is_cut": False,
            }
        ],
        "branches": [REWOUND],
        "checkpoints": [],
    },
    "Export": {
        "format": "context-store-chat",
        "version": 1,
        "chat": {key: value for key, value in CHAT.items() if key != "preview" and not key.endswith("_count")},
        "messages": [{key: value for key, value in QUESTION.items() if key != "chat_id"}],
        "branches": [{key: value for key, value in REWOUND.items() if key not in ("chat_id", "message_count")}],
        "checkpoints": [],
    },
    "ErasureCreate": {"reason": "Asked for it by mail", "copies": "erase", "usage": "sums"},
    "Receipt": {
        "id": 3,
        "subject": "erased-1f0c3b5f7d2e4a6988aa00bb11cc22dd33ee44ff",
        "reason": "Asked for it by mail",
        "counts": {"chat": 12, "message": 340, "contexts": 2},
        "started_at": 1767225600000,
        "finished_at": 1767225600900,
        "hint": "VACUUM the tables of context_store, and drop old backups.",
    },
    # A file.
    "bytes": "PK…",
    "HoldCreate": {"metadata": {"case": 17}, "reason": "Case 2026-17"},
    "Hold": HOLD,
    "HoldPage": _page(HOLD),
    "AuditPage": _page(AUDIT_ENTRY),
    "Context": {"key": "wizard", "value": {"step": 3}},
}
PROBLEM_EXAMPLES: dict[int, Any] = {
    400: {
        "detail": "messages[0].data.x: contains a lone surrogate",
        "code": "invalid_data",
        "errors": {"messages[0].data.x": ["contains a lone surrogate"]},
        "path": ["messages", 0, "data", "x"],
    },
    401: {"detail": "Authentication credentials were not provided.", "code": "not_authenticated"},
    403: {"detail": "You do not have permission to perform this action.", "code": "permission_denied"},
    404: {"detail": "There is no chat 'trip'.", "code": "not_found"},
    406: {"detail": "Could not satisfy the request Accept header.", "code": "not_acceptable"},
    409: {
        "detail": "The head of branch 'main' has moved: it is 'trip-2' now.",
        "code": "head_conflict",
        "head_message_id": "trip-2",
    },
    411: {"detail": "A body takes a Content-Length.", "code": "length_required"},
    412: {"detail": "Chat 'trip' has changed.", "code": "revision_conflict"},
    413: {"detail": "The body is too large.", "code": "payload_too_large"},
    415: {"detail": 'Unsupported media type "text/plain" in request.', "code": "unsupported_media_type"},
    423: {"detail": "Legal hold 3 covers chat 'trip': it cannot be changed or deleted.", "code": "legal_hold"},
    429: {"detail": "Request was throttled. Expected available in 12 seconds.", "code": "throttled"},
    503: {"detail": "The database does not answer, or takes no writes.", "code": "database_unavailable"},
}
