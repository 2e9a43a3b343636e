"""
Fragments: what an engine is given. Context fragments are rendered, message fragments are saved.

The callables and awaitables in a value are resolved once, before anything is rendered or stored.
"""

from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Mapping
from functools import partial, wraps
from inspect import isawaitable
from typing import Any, Concatenate, ParamSpec, TypeVar

from asgiref.sync import async_to_sync, sync_to_async
from django.utils.functional import Promise

from context_store.asynchronous import asynchronous
from context_store.exceptions import InvalidData
from context_store.graph import Input
from context_store.ids import new_id, now_ms
from context_store.records import MessageRecord
from context_store.search.text import searchable_text
from context_store.validation import JSONText, check_identifier, check_json

Owner = TypeVar("Owner")
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
# What gives its awaitables to whoever drives it, and is sent what each of them gave.
Steps = Generator[Awaitable[Any], Any, Result]

# An object of its own, as ``None`` is a value.
_PENDING = object()
# Most values: nothing is in them.
_PLAIN = frozenset({str, int, float, bool, type(None)})


class Pairs(list[tuple[str, Any]]):
    """Named values in order. A name may occur more than once: three hints are three pairs."""

    def merged(self) -> dict[str, Any]:
        """Return an object of plain JSON; values that share a name become an array."""
        # [("hint", "short"), ("role", "guide"), ("hint", "kind")]   ->   {"hint": ["short", "kind"], "role": "guide"}
        values: dict[str, list[Any]] = {}
        for name, value in self:
            values.setdefault(name, []).append(_merged(value))
        return {name: value[0] if len(value) == 1 else value for name, value in values.items()}


def _merged(value: Any) -> Any:
    if isinstance(value, Pairs):
        return value.merged()
    return [_merged(item) for item in value] if isinstance(value, list) else value


class Fragment:
    """A named piece of context: it goes into the system prompt and is never stored."""

    def __init__(self, name: str, value: Any) -> None:
        self.name = check_identifier(name, "name")
        self._given = value
        self._resolved: Any = _PENDING

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.name!r}, {self._given if self._resolved is _PENDING else self._resolved!r})"
        )

    def value(self) -> Any:
        """
        Return the value, its callables and awaitables resolved: the first call does that, once.

        Awaitables run on a loop of their own; async methods of the engine have awaited them before.
        """
        return self._resolved if self._resolved is not _PENDING else _driven(self._steps())

    def _steps(self) -> Steps[Any]:
        """Resolve the value; whoever drives this awaits."""
        if self._resolved is _PENDING:
            self._resolved = self._checked((yield from _resolving(self._given)))
        return self._resolved

    def pair(self) -> tuple[str, Any]:
        """Return the name with the resolved value."""
        return self.name, self.value()

    def _checked(self, value: Any) -> Any:
        """Return the value as scalars, lists and ``Pairs``. Raises ``InvalidData``."""
        pairs = _as_pairs(value, (self.name,))
        check_json(_merged(pairs), self.name)
        return pairs


class MessageFragment(Fragment):
    """
    A message on its way into the store.

    Its id is made here, so that a save can be repeated; ``edit_id`` is the one that it gets where it is an edit.
    """

    def __init__(self, name: str, value: Any, *, id: str | None = None, type: str | None = "message") -> None:
        super().__init__(name, value)
        self.id = new_id() if id is None else check_identifier(id, "id")
        self.type = type if type is None else check_identifier(type, "type")
        self.has_id = id is not None
        # Made before the save, so that a repeated one finds its own edit.
        self.edit_id = new_id()
        self.created_at = now_ms()
        self._text, self._content = JSONText(), ""

    def input(self, chat_id: str) -> Input:
        """Return the message as it would be stored, for those who write to the graph."""
        data = self.value()
        record = MessageRecord(self.id, chat_id, None, self.name, self.type, data, self.created_at)
        return Input(0, record, self._text, has_id=True, content=self._content)

    def _checked(self, value: Any) -> Any:
        self._text, self._content = check_json(value, self.name), searchable_text(value)
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


def awaiting(
    method: Callable[Concatenate[Owner, Arguments], Result],
    needed: Callable[[Owner], Iterable[Fragment]],
) -> Callable[Concatenate[Owner, Arguments], Coroutine[Any, Any, Result]]:
    """
    Return the async twin of a method, which awaits what the fragments hold that the method needs.

    That happens on the caller's loop, while Django's thread is free for others: an awaitable may wait for them.
    """
    call = asynchronous(method)

    @wraps(call)
    async def twin(self: Owner, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        step = sync_to_async(partial(_step, _resolving(list(needed(self)))))
        found, _ = await step(None)
        while found is not None:
            found, _ = await step(await found)
        return await call(self, *args, **kwargs)

    return twin


def _driven(steps: Steps[Any]) -> Any:
    found, result = _step(steps, None)
    while found is not None:
        found, result = _step(steps, async_to_sync(_awaited)(found))
    return result


def _step(steps: Steps[Any], answer: Any) -> tuple[Awaitable[Any] | None, Any]:
    """Return the next awaitable, or ``None`` and what the steps return."""
    try:
        return steps.send(answer), None
    except StopIteration as end:
        return None, end.value


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


def _resolving(value: Any) -> Steps[Any]:
    """Return the value with every callable called and every awaitable awaited, at any depth."""
    while type(value) not in _PLAIN and (callable(value) or isawaitable(value)):
        value = (yield value) if isawaitable(value) else value()
    if isinstance(value, Promise):  # A lazy translation.
        return str(value)
    if isinstance(value, Fragment):
        yield from value._steps()
    elif isinstance(value, Mapping):
        entries = {}
        for key, item in value.items():
            entries[key] = item if type(item) in _PLAIN else (yield from _resolving(item))
        return entries
    elif isinstance(value, (list, tuple)):
        items = []
        for item in value:
            items.append(item if type(item) in _PLAIN else (yield from _resolving(item)))
        return items
    return value


def _as_pairs(value: Any, path: tuple[str | int, ...]) -> Any:
    """Return the value with its objects and fragments as ``Pairs``: several fragments may share a name."""
    if isinstance(value, Fragment):
        return Pairs([value.pair()])
    if isinstance(value, Mapping):
        if wrong := [key for key in value if not isinstance(key, str)]:
            raise InvalidData(f"has the key {wrong[0]!r}: keys are text", path)
        return Pairs((key, _as_pairs(item, (*path, key))) for key, item in value.items())
    if isinstance(value, list):
        if value and all(isinstance(item, Fragment) for item in value):
            return Pairs(item.pair() for item in value)
        return [_as_pairs(item, (*path, index)) for index, item in enumerate(value)]
    return value
