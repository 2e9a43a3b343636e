"""Links that show a conversation as it was, read-only, to whoever has the link."""

import secrets
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from django.db.models import Q

from context_store.db import outside_trash
from context_store.graph import LockedChat
from context_store.graph.chains import chats_of, fitted, missing, read_chain, read_places, rows
from context_store.ids import new_id, now_ms
from context_store.records import SharedChat, SharedMessage, ShareRecord
from context_store.validation import check_count, check_identifier, check_time

from .base import ScopedQuerySet

if TYPE_CHECKING:
    from context_store import models  # noqa: F401 - the type of the rows

# Nobody guesses 256 bits.
TOKEN_BYTES = 32
LONGEST_TOKEN = 200


class ShareLinkQuerySet(ScopedQuerySet["models.ShareLink"]):
    """Links to chains. They go with their chat, and show nothing while it lies in the trash."""

    def records(self, *, limit: int | None = None, offset: int = 0) -> list[ShareRecord]:
        """Return the links, or a page of them, the newest first. No token is stored that could be among it."""
        columns = [name for name in ShareRecord._fields if name != "token"]
        page = self.order_by("-created_at", "-id").window(limit, offset)
        return [ShareRecord(*row) for row in page.values_list(*columns)]

    def of_chat(self, chat_id: str, *, limit: int | None = None, offset: int = 0) -> list[ShareRecord]:
        """Return the links of a chat, or a page of them, the newest first. Raises ``Chat.DoesNotExist``."""
        if not chats_of(self._scope("of_chat")).using(self.db).filter(pk=check_identifier(chat_id, "chat_id")).exists():
            raise missing("Chat", chat_id)
        return self.filter(chat_id=chat_id).records(limit=limit, offset=offset)

    def share(self, chat_id: str, *, branch: str | None = None, until: int | None = None) -> ShareRecord:
        """
        Make a link to the chain that the branch has now; ``until`` is when it ends, in milliseconds.

        The record has the ``token``, this once. Raises ``Chat.DoesNotExist``, ``Branch.DoesNotExist``, and
        ``Message.DoesNotExist`` for an empty branch.
        """
        if branch is not None:
            check_identifier(branch, "branch")
        if until is not None:
            check_time(until, "until")
        token = secrets.token_urlsafe(TOKEN_BYTES)

        def work(chat: LockedChat) -> ShareRecord:
            head = chat.use_branch(branch).head_message_id
            if head is None:
                raise rows("Message").model.DoesNotExist("The branch is empty: there is nothing to share.")
            title = rows("Chat").using(chat.using).filter(pk=chat.id).values_list("title", flat=True).get()
            shown = {
                "id": new_id(),
                "title": title,
                "head_message_id": head,
                "created_at": now_ms(),
                "expires_at": until,
            }
            chat.attach("ShareLink", {"token_hash": _digest(token), **shown})
            return ShareRecord(chat_id=chat.id, revoked_at=None, token=token, **shown)

        return self._locked("share", chat_id, work, touch=False)

    def unshare(self, chat_id: str, share_id: str | None = None) -> int:
        """Revoke one link of the chat, or all; return how many went. Raises ``Chat.DoesNotExist``."""
        if share_id is not None:
            check_identifier(share_id, "share_id")

        def work(chat: LockedChat) -> int:
            links = self.model._base_manager.using(chat.using).filter(chat_id=chat.id, revoked_at__isnull=True)
            if share_id is not None:
                links = links.filter(id=share_id)
            return links.update(revoked_at=now_ms())

        return self._locked("unshare", chat_id, work, touch=False)

    def shared(
        self, token: str, *, limit: int | None = None, before: int | None = None, max_bytes: int | None = None
    ) -> SharedChat | None:
        """
        Return what the token shows, whosever it is; ``None`` if it shows nothing, or no longer.

        Messages have a number instead of their ids, from 1; ``limit``, ``max_bytes`` and ``before`` page backwards from
        the last.
        """
        if limit is not None:
            check_count(limit, "limit")
        if before is not None:
            check_count(before, "before")
        if not isinstance(token, str) or not 0 < len(token) <= LONGEST_TOKEN or not token.isascii():
            return None
        # No replica is asked: a link that was ended shows nothing from then on.
        using = self.write_db
        links: Any = outside_trash(self.model._base_manager.using(using).filter(token_hash=_digest(token)))
        links = links.filter(Q(expires_at__isnull=True) | Q(expires_at__gt=now_ms()), revoked_at__isnull=True)
        for chat_id, head, title, created_at in links.values_list("chat_id", "head_message_id", "title", "created_at"):
            place = read_places(using, chat_id, [head]).get(head)
            if place is None:
                return None
            # A chain of 10 with before=8 and limit=3: last = 7, wanted = 3 + 10 - 7 = 6.
            #
            #     1 2 3 4 | 5 6 7 | 8 9 10      the last 6 are read but for those from 8 on: numbers 7 - 3 + 1 = 5 to 7
            length = place.depth + 1
            last = length if before is None else max(0, min(length, before - 1))
            wanted = None if limit is None else limit + length - last
            is_lean = max_bytes is not None
            chain = read_chain(using, chat_id, place, limit=wanted, only=Q(depth__lt=last), is_lean=is_lean)
            if max_bytes is not None:
                chain = fitted(using, chat_id, chain, max_bytes, newest=True)
            numbers = range(last - len(chain) + 1, last + 1)
            messages = [
                SharedMessage(number, message.name, message.type, message.data, message.created_at)
                for number, message in zip(numbers, chain, strict=True)
            ]
            return SharedChat(title, length, created_at, messages)
        return None


# Whoever reads the table or a backup of it has no link. Plain SHA-256 is enough, without a salt or a slow hash: of 256
# random bits nothing can be tried out, as of passwords, and the same token gives the same text, for the index.
def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()
