"""The engine: one conversation as its agent sees it."""

from collections.abc import Mapping
from functools import partial
from itertools import chain
from typing import Any, Literal, Self

from context_store.asynchronous import asynchronous
from context_store.exceptions import InvalidData
from context_store.graph import MAIN
from context_store.messages import text_of
from context_store.records import BranchRecord, ChatRecord, CheckpointRecord, MessageRecord
from context_store.store import ContextStore
from context_store.types import UNSET, Unset, Updater

from . import branching, saving
from .access import Access
from .fragments import Fragment, MessageFragment, Pairs
from .records import Inspection, Outcome, Prompt, Saved
from .renderers import Renderer, XmlRenderer
from .tokens import TokenCount, Tokenizer, count_message, count_prompt, default_tokenizer
from .usage import check_usage, usage_of
from .windows import Window, newest_first, take, with_queue

TITLE_LENGTH = 100


class ContextEngine:
    """
    One conversation of one user: context fragments, which are rendered, around messages, which are stored.

    Each method that reaches the database has an async twin with the prefix ``a``. An engine belongs to one task or
    thread; any number of engines may work on one chat at a time. The chat comes into being with the first write. A chat
    of another user raises ``OwnerMismatch``; one that was there and has been deleted, ``Chat.DoesNotExist``.
    """

    def __init__(
        self,
        store: ContextStore,
        chat_id: str,
        user_id: str | None = None,
        *,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        self._chat = Access(store, chat_id, user_id)
        self.store, self.chat_id, self.user_id = self._chat.store, self._chat.chat_id, self._chat.user_id
        self.tokenizer = tokenizer or default_tokenizer()
        self._context: list[Fragment] = []
        self._queue: dict[str, MessageFragment] = {}
        self._head: str | None | Unset = UNSET

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
            return self._unchanged()
        return self._save(queued, branch=branch, reject=on_conflict == "reject")

    asave = asynchronous(save)

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

        ``max_messages`` and ``max_tokens`` (of messages and context together) keep the newest that fit, without parting
        a tool call from its answer; what cannot be parted is kept even where it is more.
        """
        window = Window.checked(max_messages, max_tokens)
        system_prompt = (renderer or XmlRenderer()).render(self._pairs())
        window = window.beside(self.tokenizer.count(system_prompt))
        queued = self._resolved_queue()
        if 0 in window:
            return Prompt(system_prompt, [])
        page, in_store = self._chat.read(
            lambda: (self.store.get_messages(self.chat_id, limit=window.page_size), self._chat.rows.stored(queued)),
            otherwise=lambda: ([], {}),
        )
        self._head = page[-1].id if page else None
        stored = newest_first(self.store, page, window.page_size)
        messages = with_queue(stored, queued, in_store, self.chat_id)
        return Prompt(system_prompt, take(messages, window, partial(count_message, self.tokenizer)))

    aresolve = asynchronous(resolve)

    def inspect(self, renderer: Renderer | None = None, *, max_messages: int | None = None) -> Inspection:
        """
        Return what is rendered, queued and stored, how many tokens the prompt has, and the graph of the whole chat.

        ``max_messages`` limits the prompt and what is shown as stored.
        """
        prompt = self.resolve(renderer, max_messages=max_messages)
        chat = self._chat.read(lambda: self._chat.rows.chat(), otherwise=lambda: None)
        return Inspection(
            system_prompt=prompt.system_prompt,
            context=self._pairs().merged(),
            queued=[fragment.record(self.chat_id) for fragment in self._resolved_queue()],
            stored=self.store.get_messages(self.chat_id, limit=max_messages) if chat else [],
            tokens=self.count_tokens(prompt),
            chat=chat,
            branch=self.store.get_active_branch(self.chat_id) if chat else None,
            graph=self.store.get_graph(self.chat_id) if chat else None,
        )

    ainspect = asynchronous(inspect)

    def count_tokens(self, prompt: Prompt) -> TokenCount:
        """Return how many tokens a prompt has, and whether that is an estimate."""
        return count_prompt(self.tokenizer, *prompt)

    # Branches and checkpoints

    def rewind(self, message_id: str) -> BranchRecord:
        """Continue from a message, on a new branch. Raises ``Message.DoesNotExist``."""
        return self._at(self._chat.read(lambda: self.store.rewind(self.chat_id, message_id)))

    arewind = asynchronous(rewind)

    def checkpoint(self, name: str, message_id: str | None = None) -> CheckpointRecord:
        """Name a message, by default the head. Raises ``InvalidData`` where there is none yet."""
        return self._chat.read(lambda: branching.checkpoint(self._chat.rows, name, message_id))

    acheckpoint = asynchronous(checkpoint)

    def restore(self, name: str) -> BranchRecord:
        """Continue from a checkpoint, on a new branch. Raises ``Checkpoint.DoesNotExist``."""
        return self._at(self._chat.read(lambda: self.store.restore_checkpoint(self.chat_id, name)))

    arestore = asynchronous(restore)

    def switch_branch(self, name: str) -> BranchRecord:
        """Continue on a branch, which becomes the active one. Raises ``Branch.DoesNotExist``."""
        return self._at(self._chat.read(lambda: branching.switch(self._chat.rows, name)))

    aswitch_branch = asynchronous(switch_branch)

    def aside(self, name: str | None = None) -> BranchRecord:
        """Make a branch at the head without switching to it. Raises ``IdConflict`` for a name that is taken."""
        return self._chat.write(lambda: branching.aside(self._chat.rows, name))

    aaside = asynchronous(aside)

    def regenerate(self, message_id: str) -> BranchRecord:
        """
        Continue from where a message was said, on a new branch: what is saved next is another version beside it.

        Give the first message of an answer that has several. Raises ``Message.DoesNotExist``.
        """
        return self._at(self._chat.read(lambda: branching.regenerate(self._chat.rows, message_id)))

    aregenerate = asynchronous(regenerate)

    def edit(self, message_id: str, new: Any) -> Saved:
        """
        Say a message anew, on a new branch that ends with it.

        ``new`` is the data, or a message fragment, whose id the new version gets: with one, the call can be repeated.
        Raises ``Message.DoesNotExist``.
        """
        saved = self._chat.read(lambda: branching.edit(self._chat.rows, message_id, new))
        self._head = saved.head_message_id
        return saved

    aedit = asynchronous(edit)

    def siblings(self, message_id: str) -> list[MessageRecord]:
        """Return all versions of a message, itself among them, oldest first. Raises ``Message.DoesNotExist``."""
        return self._chat.read(lambda: self._chat.rows.siblings(message_id))

    asiblings = asynchronous(siblings)

    def flip(self, message_id: str) -> BranchRecord:
        """
        Continue on the newest branch that has the message, or on a new one at it if none has.

        Nothing changes where the active branch has it. Raises ``Message.DoesNotExist``.
        """
        return self._at(self._chat.read(lambda: branching.flip(self._chat.rows, message_id)))

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
        return self._chat.write(
            lambda: self.store.update_chat(self.chat_id, title=title, metadata=metadata, merge=merge, updater=updater)
        )

    aupdate_chat = asynchronous(update_chat)

    def track_usage(self, usage: Mapping[str, Any], message_id: str | None = None) -> dict[str, Any]:
        """
        Add what a model charged to the chat's ``metadata["usage"]``, and to a message of it; return the chat's sum.

        Numbers are added up, also those in objects; other values are replaced. Racing calls are all counted. Raises
        ``Message.DoesNotExist``, and then has added nothing.
        """
        check_usage(usage)
        return self._chat.write(lambda: branching.track_usage(self._chat.rows, dict(usage), message_id))

    atrack_usage = asynchronous(track_usage)

    def usage(self, message_id: str | None = None) -> dict[str, Any]:
        """Return the usage of the chat, or of one message. Raises ``Message.DoesNotExist``."""
        if message_id is not None:
            return usage_of(self._chat.read(lambda: self._chat.rows.message(message_id)).data)
        return self._chat.read(lambda: usage_of(self._chat.rows.chat()._asdict()), otherwise=dict)

    ausage = asynchronous(usage)

    def title(self) -> str | None:
        """
        Return the chat's title; where it has none, make it the user's first text, at most 100 characters, once.

        ``None`` as long as the user has said nothing.
        """
        chat = self._chat.read(lambda: self._chat.rows.chat(), otherwise=lambda: None)
        if chat and chat.title:
            return chat.title
        queued = [fragment.record(self.chat_id) for fragment in self._resolved_queue() if fragment.name == "user"]
        said = chain(self._chat.rows.opening() if chat else [], queued)
        texts = (" ".join(text_of(message).replace("\0", "").split())[:TITLE_LENGTH] for message in said)
        text = next(filter(None, texts), None)
        return self.update_chat(updater=lambda chat: None if chat.title else {"title": text}).title if text else None

    atitle = asynchronous(title)

    # What the methods share

    def _save(self, queued: list[MessageFragment], *, branch: bool, reject: bool) -> Saved:
        saved = self._chat.write(
            lambda: saving.save(self._chat.rows, queued, expected_head=self._head, branch=branch, reject=reject)
        )
        for fragment in queued:
            # What was queued meanwhile, also under the same id, stays queued.
            if self._queue.get(fragment.id) is fragment:
                del self._queue[fragment.id]
        self._head = saved.head_message_id
        return saved

    def _unchanged(self) -> Saved:
        branch = self._chat.read(self._chat.rows.active_branch, otherwise=lambda: None)
        self._head = branch.head_message_id if branch else None
        return Saved(self._head, branch.name if branch else MAIN, Outcome.UNCHANGED, [])

    def _at(self, branch: BranchRecord) -> BranchRecord:
        """Take the branch's head for the one that this engine continues from."""
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
