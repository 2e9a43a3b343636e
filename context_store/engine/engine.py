"""The engine: one conversation as its agent sees it."""

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, Self, TypeVar

from django.core.exceptions import ObjectDoesNotExist
from django.db import router

from context_store.asynchronous import asynchronous
from context_store.db import OwnWrites, database_for_read
from context_store.exceptions import InvalidData, OwnerMismatch
from context_store.graph import MAIN, LockedChat, locked, read_messages
from context_store.graph.chains import model_of
from context_store.managers.chats import ChatQuerySet
from context_store.messages import text_of
from context_store.records import BranchRecord, ChatRecord, CheckpointRecord, MessageRecord, UsageRecord
from context_store.store import ContextStore, reads_own_writes
from context_store.types import UNSET, Unset, Updater
from context_store.validation import check_identifier

from .fragments import Fragment, MessageFragment, Pairs, awaiting
from .records import Inspection, Outcome, Prompt, Saved
from .renderers import Renderer, XmlRenderer
from .saving import save
from .tokens import TokenCount, Tokenizer, count_message, count_prompt, default_tokenizer
from .windows import Window, newest_first, take, with_queue

Result = TypeVar("Result")

TITLE_LENGTH = 100
# How far down the chain the first text of the user is looked for.
OPENING = 100


@reads_own_writes
class ContextEngine:
    """
    One conversation of one user: context fragments, which are rendered, around messages, which are stored.

    Each method that reaches the database has an async twin with the prefix ``a``. An engine belongs to one task or
    thread; any number of engines may work on one chat at a time. The chat comes into being with the first write. A chat
    of another user raises ``OwnerMismatch``; one that was there and has been deleted, ``Chat.DoesNotExist``.

    >>> from context_store import ContextStore
    >>> from context_store.engine import ContextEngine, role, user
    >>> engine = ContextEngine(ContextStore(), "tea-time", user_id="ada")
    >>> prompt = engine.set(role("You know tea.")).set(user("Green or black?")).resolve()
    >>> [(message.name, message.data) for message in prompt.messages]
    [('user', 'Green or black?')]
    >>> print(prompt.system_prompt)
    <context>
      <role>You know tea.</role>
    </context>
    """

    def __init__(
        self,
        store: ContextStore,
        chat_id: str,
        user_id: str | None = None,
        *,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        if user_id is None and store.user_id is None:
            raise InvalidData("is required: an engine works for one user", ("user_id",))
        if user_id is not None and store.user_id not in (None, user_id):
            raise OwnerMismatch(f"The store is that of {store.user_id!r}, the engine that of {user_id!r}.")
        self.user_id = check_identifier(store.user_id if user_id is None else user_id, "user_id")
        self.chat_id = check_identifier(chat_id, "chat_id")
        # A copy, which gets the user; the caller's store keeps its own. Both note writes in one place: each reads the
        # other's.
        self.store = copy.copy(store)
        self.store.user_id = self.user_id
        self.tokenizer = tokenizer or default_tokenizer()
        self._context: list[Fragment] = []
        self._queue: dict[str, MessageFragment] = {}
        self._head: str | None | Unset = UNSET
        # Once it has been seen, a chat is not created again: an answer that comes late must not bring it back.
        self._was_seen = False

    def __repr__(self) -> str:
        return f"ContextEngine({self.store!r}, chat_id={self.chat_id!r}, user_id={self.user_id!r})"

    # Context and queue

    def set(self, *fragments: Fragment) -> Self:
        """Add context fragments, and queue messages; one with the id of a queued message takes its place."""
        for fragment in fragments:
            if not isinstance(fragment, Fragment):
                raise InvalidData(f"must be a fragment, such as user(…) or hint(…), not {fragment!r}", ("fragments",))
            if isinstance(fragment, MessageFragment):
                self._queue[fragment.id] = fragment
            else:
                self._context.append(fragment)
        return self

    def clear(self) -> None:
        """Forget the context fragments and what is queued."""
        self._context.clear()
        self._queue.clear()

    def save(self, *, branch: bool = True, on_conflict: Literal["graft", "reject"] = "graft") -> Saved:
        """
        Store what is queued on the active branch, in order and all or none, and return where its head is now.

        What is stored already is not stored again: a save can be repeated. A queued message whose id is stored with
        other content is an edit: with ``branch`` a new branch gets it, under a new id, beside the old version; without,
        the stored message is changed in place. Where another writer has moved the head since this engine last looked,
        messages go below what that one added, or with ``on_conflict="reject"`` ``HeadConflict`` is raised. A save that
        fails keeps the queue.
        """
        if on_conflict not in ("graft", "reject"):
            raise InvalidData("must be 'graft' or 'reject'", ("on_conflict",))
        queued = self._resolved_queue()
        if not queued:
            active = self._read(lambda: self.store.get_active_branch(self.chat_id), otherwise=lambda: None)
            self._head = active.head_message_id if active else None
            return Saved(self._head, active.name if active else MAIN, Outcome.UNCHANGED, [])
        work = partial(
            save,
            queued=queued,
            expected_head=self._head,
            edits_on_new_branch=branch,
            rejects_moved_head=on_conflict == "reject",
        )
        # The lock counts the new messages: an id that was given and may be updated in place is likely to be stored.
        adding = sum(branch or not fragment.has_id for fragment in queued)
        # The queue is cleared behind the commit: a save that fails, or whose answer is lost, is repeated with the same
        # ids.
        saved = self._write(self._locked(work, adding=adding))
        for fragment in queued:
            # A fragment may have been replaced meanwhile, by another task: that one stays queued.
            if self._queue.get(fragment.id) is fragment:
                del self._queue[fragment.id]
        self._head = saved.head_message_id
        return saved

    asave = awaiting(save, lambda engine: [*engine._queue.values()])

    # Prompts

    def resolve(
        self,
        renderer: Renderer | None = None,
        *,
        max_messages: int | None = None,
        max_tokens: int | None = None,
    ) -> Prompt:
        """
        Return the rendered context, as XML by default, and the messages stored and queued, oldest first.

        ``max_messages`` and ``max_tokens`` (of messages and context together) keep the newest that fit. A tool call is
        not split from its result: an exchange that has to stay together is kept even where it is more.
        """
        window = Window.checked(max_messages, max_tokens)
        renderer = renderer or XmlRenderer()
        if not isinstance(renderer, Renderer):
            raise InvalidData("must be a renderer, such as MarkdownRenderer()", ("renderer",))
        system_prompt = renderer.render(self._pairs())
        window = window.beside(self.tokenizer.count(system_prompt))
        queued = self._resolved_queue()
        if 0 in window:
            return Prompt(system_prompt, [])
        page: list[MessageRecord] = self._read(
            lambda: self.store.get_messages(self.chat_id, limit=window.page_size), otherwise=list
        )
        self._head = page[-1].id if page else None
        # ``read_messages`` asks for no owner: a chat that was seen was found in this user's scope.
        ids = [key for fragment in queued for key in (fragment.id, fragment.edit_id)] if self._was_seen else []
        stored_ids = read_messages(self.store.using or database_for_read(model_of("Message")), self.chat_id, ids)
        stored = newest_first(self.store, page, window.page_size)
        messages = with_queue(stored, queued, stored_ids, self.chat_id)
        return Prompt(system_prompt, take(messages, window, partial(count_message, self.tokenizer)))

    aresolve = awaiting(resolve, lambda engine: engine._fragments)

    def inspect(self, renderer: Renderer | None = None, *, max_messages: int | None = None) -> Inspection:
        """
        Return what is rendered, queued and stored, how many tokens the prompt has, and the graph of the whole chat.

        ``max_messages`` limits the prompt and what is shown as stored.
        """
        prompt = self.resolve(renderer, max_messages=max_messages)
        chat = self._find_chat()
        return Inspection(
            system_prompt=prompt.system_prompt,
            context=self._pairs().merged(),
            queued=[fragment.input(self.chat_id).record for fragment in self._resolved_queue()],
            stored=self.store.get_messages(self.chat_id, limit=max_messages) if chat else [],
            tokens=self.count_tokens(prompt),
            chat=chat,
            branch=self.store.get_active_branch(self.chat_id) if chat else None,
            graph=self.store.get_graph(self.chat_id) if chat else None,
        )

    ainspect = awaiting(inspect, lambda engine: engine._fragments)

    def count_tokens(self, prompt: Prompt) -> TokenCount:
        """Return how many tokens a prompt has, and whether that is an estimate."""
        return count_prompt(self.tokenizer, *prompt)

    # Branches and checkpoints

    def rewind(self, message_id: str) -> BranchRecord:
        """Continue from a message, on a new branch. Raises ``Message.DoesNotExist``."""
        return self._continue_from(self._read(lambda: self.store.rewind(self.chat_id, message_id)))

    arewind = asynchronous(rewind)

    def checkpoint(self, name: str, message_id: str | None = None) -> CheckpointRecord:
        """Name a message, by default the head. Raises ``InvalidData`` where there is none yet."""

        def work(chat: LockedChat) -> CheckpointRecord:
            named = chat.branch.head_message_id if message_id is None else message_id
            if named is None:
                raise InvalidData(f"is empty: there is no message to name {name!r}", ("chat",))
            return chat.checkpoint(name, named)[0]

        return self._read(self._locked(work, touch=False))

    acheckpoint = asynchronous(checkpoint)

    def restore(self, name: str) -> BranchRecord:
        """Continue from a checkpoint, on a new branch. Raises ``Checkpoint.DoesNotExist``."""
        return self._continue_from(self._read(lambda: self.store.restore_checkpoint(self.chat_id, name)))

    arestore = asynchronous(restore)

    def switch_branch(self, name: str) -> BranchRecord:
        """Continue on a branch, which becomes the active one. Raises ``Branch.DoesNotExist``."""

        def work(chat: LockedChat) -> BranchRecord:
            return chat.activate(chat.use_branch(check_identifier(name, "name"))).record()

        return self._continue_from(self._read(self._locked(work, touch=False)))

    aswitch_branch = asynchronous(switch_branch)

    def aside(self, name: str | None = None) -> BranchRecord:
        """Make a branch at the head without switching to it. Raises ``IdConflict`` for a name that is taken."""

        def work(chat: LockedChat) -> BranchRecord:
            head = chat.branch
            return chat.start_branch(head.head_message_id, name, is_active=False, place=head.place).record()

        return self._write(self._locked(work, branching=1, touch=False))

    aaside = asynchronous(aside)

    def regenerate(self, message_id: str) -> BranchRecord:
        """
        Continue from where a message was said, on a new branch: what is saved next is another version beside it.

        Give the first message of an answer that has several. Raises ``Message.DoesNotExist``.
        """
        return self._continue_from(self._read(lambda: self.store.regenerate(self.chat_id, message_id)))

    aregenerate = asynchronous(regenerate)

    def edit(self, message_id: str, new: Any) -> Saved:
        """
        Say a message anew, on a new branch that ends with it.

        ``new`` is the data, or a message fragment, whose id the new version gets: with one, the call can be repeated.
        Raises ``Message.DoesNotExist``, and ``IdConflict`` for an id that another message has.
        """
        fragment = new if isinstance(new, MessageFragment) else MessageFragment("user", new)
        given = fragment.input(self.chat_id)
        # Data alone leaves the message its name and type.
        options = {"name": fragment.name, "type": fragment.type} if fragment is new else {}

        def work(chat: LockedChat) -> Saved:
            message, is_new = chat.edit(message_id, given, **options)
            outcome = Outcome.EDITED if is_new else Outcome.CONTAINED
            return Saved(chat.branch.head_message_id, chat.branch.name, outcome, [message])

        saved = self._read(self._locked(work, adding=1, branching=1, undo_unless_added=True))
        self._head = saved.head_message_id
        return saved

    aedit = asynchronous(edit)

    def siblings(self, message_id: str) -> list[MessageRecord]:
        """Return all versions of a message, itself among them, oldest first. Raises ``Message.DoesNotExist``."""
        return self._read(lambda: self.store.get_siblings(message_id, chat_id=self.chat_id))

    asiblings = asynchronous(siblings)

    def flip(self, message_id: str) -> BranchRecord:
        """
        Continue on the newest branch that has the message, or on a new one at it if none has.

        Nothing changes where the active branch has it. Raises ``Message.DoesNotExist``.
        """
        return self._continue_from(self._read(lambda: self.store.activate_message(self.chat_id, message_id)))

    aflip = asynchronous(flip)

    # The chat

    def update_chat(
        self,
        *,
        title: str | None | Unset = UNSET,
        metadata: Mapping[str, Any] | Unset = UNSET,
        merge: bool = False,
        updater: Updater | None = None,
    ) -> ChatRecord:
        """Change the chat under its lock, see ``ContextStore.update_chat``."""
        return self._write(
            lambda: self.store.update_chat(self.chat_id, title=title, metadata=metadata, merge=merge, updater=updater)
        )

    aupdate_chat = asynchronous(update_chat)

    def record_usage(self, /, *, model: str, **entry: Any) -> UsageRecord:
        """Store what one call of a model took, as ``ContextStore.record_usage`` does; messages stay as they are."""
        return self._write(lambda: self.store.record_usage(self.chat_id, model=model, **entry))

    arecord_usage = asynchronous(record_usage)

    def title(self) -> str | None:
        """
        Return the chat's title; where it has none, make it the user's first text, at most 100 characters, once.

        ``None`` as long as the user has said nothing.
        """
        chat = self._find_chat()
        if chat and chat.title:
            return chat.title
        messages = model_of("Message").objects.using(self.store.using).visible_to(self.user_id)
        stored = messages.opening(self.chat_id, OPENING, name="user") if chat else []
        queued = [fragment.input(self.chat_id).record for fragment in self._resolved_queue() if fragment.name == "user"]
        texts = (" ".join(text_of(message).replace("\0", "").split()) for message in [*stored, *queued])
        # A title begins with no mark of the byte order, as texts from files do.
        text = next(filter(None, (text.lstrip("\ufeff\ufffe ")[:TITLE_LENGTH] for text in texts)), None)
        # Looked at once more under the lock: of racing calls the first one names the chat.
        return self.update_chat(updater=lambda chat: None if chat.title else {"title": text}).title if text else None

    atitle = awaiting(title, lambda engine: [*engine._queue.values()])

    # What the methods share

    @property
    def _fragments(self) -> list[Fragment]:
        return [*self._context, *self._queue.values()]

    @property
    def _own_writes(self) -> OwnWrites:
        """What the engine's store has written: the engine reads it."""
        return self.store._own_writes

    def _read(self, operation: Callable[[], Result], otherwise: Callable[[], Result] | None = None) -> Result:
        """Return what the operation gives, or ``otherwise`` where there is no chat yet. Raises ``OwnerMismatch``."""
        try:
            result = operation()
        except ObjectDoesNotExist as error:
            if not self._was_seen:
                chats = model_of("Chat").objects.using(self.store.using).filter(pk=self.chat_id)
                if chats.exclude(user_id=self.user_id).exists():
                    raise OwnerMismatch(f"Chat {self.chat_id!r} belongs to another user.") from error
            if self._was_seen or otherwise is None or not isinstance(error, model_of("Chat").DoesNotExist):
                raise
            return otherwise()
        self._was_seen = True
        return result

    def _write(self, operation: Callable[[], Result]) -> Result:
        """Return what the operation gives; create the chat for it. Raises ``OwnerMismatch``."""
        try:
            result = operation()
        except model_of("Chat").DoesNotExist:
            if self._was_seen:
                raise
            self.store.upsert_chat(self.chat_id)
            result = operation()
        self._was_seen = True
        return result

    def _locked(self, work: Callable[[LockedChat], Result], **options: Any) -> Callable[[], Result]:
        """Return the work as an operation on the locked chat: one transaction, repeated after a deadlock."""
        using = self.store.using or router.db_for_write(model_of("Chat"))
        return partial(locked, using, self.chat_id, work, user_id=self.user_id, **options)

    def _find_chat(self) -> ChatRecord | None:
        chats: ChatQuerySet = model_of("Chat").objects.using(self.store.using).visible_to(self.user_id)
        return self._read(lambda: chats.record(self.chat_id), otherwise=lambda: None)

    def _continue_from(self, branch: BranchRecord) -> BranchRecord:
        """Remember the branch's head: another writer has moved it where a save finds another one."""
        self._head = branch.head_message_id
        return branch

    def _resolved_queue(self) -> list[MessageFragment]:
        """Return the queue, its values resolved: that may take long, and must not happen in a transaction."""
        queued = list(self._queue.values())
        for fragment in queued:
            fragment.value()
        return queued

    def _pairs(self) -> Pairs:
        return Pairs(fragment.pair() for fragment in self._context)
