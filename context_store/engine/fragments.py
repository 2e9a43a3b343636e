"""Fragments: what an engine is given. Context fragments are rendered, message fragments are saved."""

from typing import Any

from context_store.ids import new_id, now_ms
from context_store.records import MessageRecord
from context_store.validation import check_identifier, check_json

from .values import check_context, settle

_PENDING = object()


class Fragment:
    """A named piece of context: it goes into the system prompt and is never stored."""

    def __init__(self, name: str, value: Any) -> None:
        self.name = check_identifier(name, "name")
        self._given = value
        self._settled: Any = _PENDING

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self._given if self._settled is _PENDING else self._settled!r})"

    def value(self) -> Any:
        """Return the value, its callables and awaitables resolved: the first call does that, once."""
        if self._settled is _PENDING:
            self._settled = self._check(settle(self._given))
        return self._settled

    def pair(self) -> tuple[str, Any]:
        """Return the name with the resolved value."""
        return self.name, self.value()

    def _check(self, value: Any) -> Any:
        return check_context(value, self.name)


class MessageFragment(Fragment):
    """
    A message on its way into the store.

    Its id is made here, and so is the one that it gets should it turn out to be an edit: a save can be repeated.
    """

    def __init__(self, name: str, value: Any, *, id: str | None = None, type: str | None = "message") -> None:
        super().__init__(name, value)
        self.id = new_id() if id is None else check_identifier(id, "id")
        self.type = type if type is None else check_identifier(type, "type")
        self.has_id = id is not None
        self.edit_id = new_id()
        self.created_at = now_ms()

    def record(self, chat_id: str, parent_id: str | None = None) -> MessageRecord:
        """Return the message as it would be stored."""
        return MessageRecord(self.id, chat_id, parent_id, self.name, self.type, self.value(), self.created_at)

    def _check(self, value: Any) -> Any:
        check_json(value, self.name)
        return value


def fragment(name: str, value: Any) -> Fragment:
    """Make a context fragment; ``value`` is JSON, a fragment, a list of fragments, or something that gives these."""
    return Fragment(name, value)


def role(value: Any) -> Fragment:
    """Say who the model is."""
    return Fragment("role", value)


def hint(value: Any) -> Fragment:
    """Ask the model for something."""
    return Fragment("hint", value)


def message(name: str, data: Any, *, id: str | None = None, type: str | None = "message") -> MessageFragment:
    """Make a message of any name (role) and type."""
    return MessageFragment(name, data, id=id, type=type)


def user(data: Any, *, id: str | None = None) -> MessageFragment:
    """Make a message of the user: text, or any JSON such as the parts of a provider's format."""
    return MessageFragment("user", data, id=id)


def assistant(data: Any, *, id: str | None = None) -> MessageFragment:
    """Make a message of the model; with empty text it is a placeholder, which no prompt contains."""
    return MessageFragment("assistant", data, id=id)


def system(data: Any, *, id: str | None = None) -> MessageFragment:
    """Make a system message that lies in the chain, unlike a context fragment."""
    return MessageFragment("system", data, id=id)


def tool(data: Any, *, call_id: str | None = None, id: str | None = None) -> MessageFragment:
    """Make a tool's answer, to the call ``call_id`` unless the data names it in a provider's format."""
    if call_id is not None:
        data = {"tool_call_id": call_id, "content": data}
    return MessageFragment("tool", data, id=id)
