"""
A retry after a crash between saving the question and the answer: one question, one answer, whatever went wrong.

The page makes the question's id and sends it again with each attempt. A question that is stored is not stored again;
a question that has been answered is not answered again.
"""

import json

from django.http import HttpRequest, JsonResponse

from context_store.engine import ContextEngine, assistant, text_of, user
from context_store.records import MessageRecord
from context_store.store import ContextStore

from .model import complete


def ask(request: HttpRequest, chat_id: str) -> JsonResponse:
    """POST ``{"id", "text"}``, once or as often as it takes."""
    body = json.loads(request.body)
    engine = ContextEngine(ContextStore(), chat_id=chat_id, user_id=str(request.user.pk))
    engine.set(user(body["text"], id=body["id"])).save()
    answer = _answer_to(engine, body["id"]) or _answered(engine)
    return JsonResponse({"answer": text_of(answer)})


def _answer_to(engine: ContextEngine, question_id: str) -> MessageRecord | None:
    replies = engine.store.get_children(question_id)
    return next((reply for reply in replies if reply.name == "assistant"), None)


def _answered(engine: ContextEngine) -> MessageRecord:
    answer, usage = complete(engine.resolve(max_messages=50).openai())
    saved = engine.set(assistant(answer)).save()
    engine.record_usage(message_id=saved.head_message_id, **usage)
    return saved.messages[0]
