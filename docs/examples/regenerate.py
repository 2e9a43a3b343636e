"""
Regenerate an answer and flip between the versions: the "2 of 3" below an answer, with its two arrows.
"""

from django.http import HttpRequest, JsonResponse

from context_store.engine import ContextEngine, assistant, hint
from context_store.store import ContextStore

from .model import complete


def regenerate(request: HttpRequest, chat_id: str, message_id: str) -> JsonResponse:
    """POST: one more answer beside this one."""
    engine = _engine(request, chat_id)
    engine.regenerate(message_id)
    answer, usage = complete(engine.set(hint("Answer differently than before.")).resolve(max_messages=50).openai())
    saved = engine.set(assistant(answer)).save()
    engine.record_usage(message_id=saved.head_message_id, **usage)
    return _shown(engine, saved.messages[0].id)


def flip(request: HttpRequest, chat_id: str, message_id: str) -> JsonResponse:
    """POST: show this version, with all that followed it."""
    engine = _engine(request, chat_id)
    engine.flip(message_id)
    return _shown(engine, message_id)


def _engine(request: HttpRequest, chat_id: str) -> ContextEngine:
    return ContextEngine(ContextStore(), chat_id=chat_id, user_id=str(request.user.pk))


def _shown(engine: ContextEngine, message_id: str) -> JsonResponse:
    """Return the conversation, and of the message which of how many versions it is, and the ids for the arrows."""
    versions = [record.id for record in engine.siblings(message_id)]
    number = versions.index(message_id)
    return JsonResponse(
        {
            "messages": engine.resolve().ui_messages(),
            "version": f"{number + 1} of {len(versions)}",
            "before": versions[number - 1] if number else None,
            "after": versions[number + 1] if number + 1 < len(versions) else None,
        }
    )
