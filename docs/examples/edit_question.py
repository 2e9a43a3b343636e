"""
Edit an earlier question: the conversation goes on from the new version, and the old one stays to go back to.
"""

import json

from django.http import HttpRequest, JsonResponse

from context_store.engine import ContextEngine, assistant, user
from context_store.store import ContextStore

from .model import complete


def edit(request: HttpRequest, chat_id: str, message_id: str) -> JsonResponse:
    """POST ``{"id", "text"}``: the question again, under a new id that the page has made, and its answer."""
    body = json.loads(request.body)
    engine = ContextEngine(ContextStore(), chat_id=chat_id, user_id=str(request.user.pk))
    saved = engine.edit(message_id, user(body["text"], id=body["id"]))
    answer, usage = complete(engine.resolve(max_messages=50).openai())
    saved = engine.set(assistant(answer)).save()
    engine.record_usage(message_id=saved.head_message_id, **usage)
    return JsonResponse({"branch": saved.branch, "messages": engine.resolve().ui_messages()})


def go_back(request: HttpRequest, chat_id: str, message_id: str) -> JsonResponse:
    """POST: show the version of the question that has this id, with all that followed it."""
    engine = ContextEngine(ContextStore(), chat_id=chat_id, user_id=str(request.user.pk))
    branch = engine.flip(message_id)
    return JsonResponse({"branch": branch.name, "messages": engine.resolve().ui_messages()})
