"""
Two tabs write at once: both turns survive, one after the other in one chain.

Question and answer are saved together, so that a turn of the other tab comes before or after them, never in between.
"""

import json

from django.http import HttpRequest, JsonResponse

from context_store.engine import ContextEngine, assistant, user
from context_store.store import ContextStore

from .model import complete


def turn(request: HttpRequest, chat_id: str) -> JsonResponse:
    """POST ``{"id", "text"}``: answer the question, and store both."""
    body = json.loads(request.body)
    engine = ContextEngine(ContextStore(), chat_id=chat_id, user_id=str(request.user.pk))
    engine.set(user(body["text"], id=body["id"]))
    # What is queued is in the prompt already.
    answer, usage = complete(engine.resolve(max_messages=50).openai())
    # The other tab may have been faster: then the turn goes below its turn, and the page is told to load that one.
    saved = engine.set(assistant(answer)).save()
    engine.record_usage(message_id=saved.head_message_id, **usage)
    return JsonResponse({"answer": answer, "reload": saved.outcome == "grafted"})
