"""System checks of the chat page."""

from collections.abc import Iterator
from inspect import isasyncgenfunction
from typing import Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.urls import NoReverseMatch, reverse
from django.utils.module_loading import import_string

from context_store.conf import settings
from context_store.exporters.html import renders_markdown


@register
def check_answer(**kwargs: Any) -> list[CheckMessage]:
    """Check what answers, and what renders."""
    return list(_problems())


@register(Tags.urls)
def check_routes(**kwargs: Any) -> list[CheckMessage]:
    """Check that the page finds its own routes and those of the REST API."""
    found: list[CheckMessage] = []
    wanted = {
        "context_store:chat-list": "context_store.rest.urls",
        "context_store_chat:page": "context_store.chat.urls",
    }
    for name, module in wanted.items() if getattr(django_settings, "ROOT_URLCONF", None) else ():
        try:
            reverse(name)
        except NoReverseMatch:
            text = f"The chat page does not find {name!r}: {module} is not included, or within another namespace."
            hint = "Include it in the ROOT_URLCONF beside the namespaces, at any path; silence this if another has it."
            found.append(Warning(text, hint=hint, id="context_store.W604"))
    return found


def _problems() -> Iterator[CheckMessage]:
    path = settings.CHAT_ANSWER
    if not path:
        yield Error(
            "CONTEXT_STORE_CHAT_ANSWER is not set.",
            hint="Name an async generator that takes a prompt and yields text: see docs/chat.md.",
            id="context_store.E601",
        )
    else:
        try:
            function = import_string(path) if isinstance(path, str) else path
        except ImportError as error:
            function, reason = None, str(error)
        else:
            reason = "it is no async generator function"
        if not isasyncgenfunction(function):
            yield Error(
                f"CONTEXT_STORE_CHAT_ANSWER is {path!r}: {reason}.",
                hint="Name a function such as `async def answer(prompt): yield 'Hello'` by its dotted path.",
                id="context_store.E602",
            )
    if not renders_markdown():
        yield Error(
            "context_store.chat renders Markdown by markdown-it-py and nh3, which are not installed.",
            hint="Install the extra: pip install 'django-context-store[chat]'.",
            id="context_store.E603",
        )
