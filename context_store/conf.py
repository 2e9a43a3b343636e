"""The app's settings: ``CONTEXT_STORE_<NAME>``, read when they are used, never at import."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Generic, TypeVar

from django.conf import settings as django_settings
from django.core.signals import setting_changed

T = TypeVar("T")

PREFIX = "CONTEXT_STORE_"
DEFAULT_USER_ID = "context_store.rest.requests.request_user_id"


class Setting(Generic[T]):
    """One setting with its default."""

    def __init__(self, default: T) -> None:
        self.default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = f"{PREFIX}{name}"

    def __get__(self, instance: object, owner: type | None = None) -> T:
        value: T = getattr(django_settings, self.name, self.default)
        # Found there from now on, without this method: to ask Django takes a microsecond, and every message asks.
        vars(instance)[self.name.removeprefix(PREFIX)] = value
        return value


class Settings:
    """Every setting of the app; ``docs/settings.md`` explains them."""

    # Bytes of a message's data, and of metadata or a text such as a title, of which a list has many.
    MAX_PAYLOAD_BYTES = Setting(4 * 1024 * 1024)
    MAX_METADATA_BYTES = Setting(64 * 1024)
    SEARCH: Setting[dict[str, dict[str, Any]]] = Setting({})
    SEARCH_BUDGET: Setting[dict[str, Any]] = Setting({})
    SEARCH_LANGUAGE = Setting("english")
    TEXT_EXTRACTOR = Setting("context_store.search.text.extract_text")
    # Readers of message formats of one's own, asked before the app's.
    MESSAGE_FORMATS: Setting[Sequence[str]] = Setting(())
    # The REST API: request -> user_id, messages or chats a page, bytes a body (None: a payload and what
    # surrounds it), bytes a chat that is imported, messages a request.
    USER_ID: Setting[str | Callable[[Any], str | None]] = Setting(DEFAULT_USER_ID)
    # The admin: the people behind ids; by default users by name where USER_ID is the default, too.
    PEOPLE: Setting[str | Callable[..., dict[str, Any]] | None] = Setting(None)
    PAGE_SIZE = Setting(50)
    MAX_PAGE_SIZE = Setting(200)
    MAX_BODY_BYTES: Setting[int | None] = Setting(None)
    MAX_IMPORT_BYTES = Setting(16 * 1024 * 1024)
    MAX_MESSAGES_PER_REQUEST = Setting(1000)
    CONTEXTS: Setting[dict[str, dict[str, Any]]] = Setting({})
    # The form of the tables of new databases: a number of hash partitions, or "citus"; None leaves them whole.
    DISTRIBUTION: Setting[int | str | None] = Setting(None)
    # Days that a chat lies in the trash, and rules by which chats and the rest go; see docs/lifecycle.md.
    TRASH_DAYS = Setting(30)
    RETENTION: Setting[dict[str, Any]] = Setting({})
    # Requests that the audit log has an entry of: those for "others" than the caller, "all", or None.
    AUDIT_ACCESS: Setting[str | None] = Setting("others")
    SESSIONS: Setting[dict[str, dict[str, Any]]] = Setting({})
    STREAMS: Setting[dict[str, dict[str, Any]]] = Setting({})
    # Readers of streams and changes a process under WSGI, where each holds a thread.
    MAX_STREAM_READERS = Setting(8)
    # The chat page: a function, or its dotted path, from the engine's prompt to the pieces of an answer; how many
    # messages a prompt has.
    CHAT_ANSWER: Setting[str | Callable[[Any], AsyncIterator[Any]] | None] = Setting(None)
    CHAT_MESSAGES: Setting[int | None] = Setting(100)


settings = Settings()


def forget(*, setting: str, **kwargs: Any) -> None:
    """Read a setting anew after ``override_settings``."""
    vars(settings).pop(setting.removeprefix(PREFIX), None)


setting_changed.connect(forget)
