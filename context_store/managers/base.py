"""What all QuerySets of the store share: an owner's scope, which holds for whatever is read and written."""

from collections.abc import Callable
from typing import Any, ClassVar, Self, TypeVar

from django.db import models, router, transaction
from django.db.models import Exists

from context_store.db import database_for_read, driver_errors, outside_trash
from context_store.graph import LockedChat, locked
from context_store.graph.chains import chats_of, missing
from context_store.graph.holds import require_no_hold
from context_store.graph.locked import COUNTED, recount
from context_store.validation import check_count, check_identifier

Model = TypeVar("Model", bound=models.Model)
Result = TypeVar("Result")

# What says nothing of a conversation: a hold lets it change.
UNHELD_COLUMNS = {"archived_at", "pinned_at", "read_at", "held"}


class ScopedManager(models.Manager[Model]):
    """The manager of a model of the store: what lies in the trash is not there."""

    def get_queryset(self) -> Any:
        found: Any = super().get_queryset()
        # Made once: every request asks several times.
        query = self.__dict__.get("_outside_trash")
        if query is None:
            query = self.__dict__["_outside_trash"] = self._narrowed(found).query
        found.query = query.clone()
        found._conditions = 1
        return found

    def _narrowed(self, found: Any) -> Any:
        return outside_trash(found)


class TrashManager(ScopedManager[Model]):
    """The manager of the chats in the trash; one that is being deleted has the time 0 and is not there any more."""

    def _narrowed(self, found: Any) -> Any:
        return found.filter(trashed_at__gt=0)


class ScopedQuerySet(models.QuerySet[Model]):
    """
    A QuerySet that can be narrowed to one owner: ``visible_to``. That of a model's manager has nothing of the trash.

    Methods of the store that take ids look at the scope alone, so they work on ``Model.objects``, with ``using`` and
    ``visible_to``, and refuse a QuerySet that was narrowed otherwise: none of them reaches beyond what it shows.
    """

    owner_lookup: ClassVar[str] = "chat__user_id"
    _owner: str | None = None
    # How many conditions the manager and the owner make.
    _conditions = 0

    @property
    def owner(self) -> str | None:
        """The user that the QuerySet is narrowed to, or ``None``."""
        return self._owner

    def visible_to(self, user_id: str | None) -> Self:
        """Narrow to what belongs to the user; ``None`` is no limit. Two users see nothing of each other."""
        if user_id is None or user_id == self._owner:
            return self.all()
        if self._owner is not None:
            return self.none()
        scoped: Self = self.filter(**{self.owner_lookup: check_identifier(user_id, "user_id")})
        scoped._owner = user_id
        scoped._conditions += 1
        return scoped

    def _is_plain(self) -> bool:
        """Tell whether the QuerySet is all that its owner has: it was narrowed by ``visible_to`` alone."""
        query: Any = self.query
        # Django keeps the conditions of a QuerySet as children of one AND. Those of the manager and of ``visible_to``
        # are counted as they are made: one more is from a ``filter`` of somebody else's.
        is_narrowed = len(query.where.children) != self._conditions
        return not (is_narrowed or query.is_sliced or query.distinct or query.combinator)

    def _scope(self, method: str) -> str | None:
        """Return the owner for a method that looks at nothing else of the QuerySet, or refuse the QuerySet."""
        if not self._is_plain():
            raise self._refused(method)
        return self._owner

    def _refused(self, method: str) -> TypeError:
        return TypeError(
            f"{method}() cannot follow filter(), exclude(), none() or a slice: "
            f"call it on {self.model.__name__}.objects, with using() and visible_to() alone."
        )

    def window(self, limit: int | None, offset: int = 0) -> Self:
        """Keep ``limit`` rows, or all, after the first ``offset``."""
        start = check_count(offset, "offset")
        window: Self = self[start : None if limit is None else start + check_count(limit, "limit")]
        return window

    @property
    def db(self) -> str:
        """The alias of the database that a read uses; see ``db.replicas``."""
        queryset: Any = self
        if queryset._db:
            return str(queryset._db)
        return self.write_db if queryset._for_write else database_for_read(self.model, **queryset._hints)

    @property
    def write_db(self) -> str:
        """Return the alias of the database for writes."""
        queryset: Any = self
        return queryset._db or router.db_for_write(self.model, **queryset._hints)

    def _locked(self, method: str, chat_id: str, work: Callable[[LockedChat], Result], **options: Any) -> Result:
        """Return what the work does with the locked chat of this scope; see ``graph.locked``."""
        if not self._is_plain():
            raise self._refused(method)
        queryset: Any = self
        using = queryset._db or router.db_for_write(self.model, **queryset._hints)
        return locked(using, chat_id, work, user_id=self._owner, **options)

    def update(self, **values: Any) -> int:
        """Update the rows. Raises ``LegalHoldError`` where a hold covers one of them, but for marks beside it."""
        if values.keys() - UNHELD_COLUMNS:
            self._require_no_hold()
        return super().update(**values)

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete the rows. Raises ``LegalHoldError`` where a hold covers one of them."""
        self._require_no_hold()
        return super().delete()

    delete.alters_data = update.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]

    def _require_no_hold(self) -> None:
        key = "pk" if self.owner_lookup == "user_id" and self.model.__name__ == "Chat" else "chat_id"
        if self.query.is_sliced or self.query.is_empty():
            return
        held = "held" if key == "pk" else "chat__held"
        using = self.write_db
        for chat_id in self.using(using).order_by().filter(**{held: True}).values_list(key, flat=True)[:1]:
            require_no_hold(using, [chat_id])

    def missing(self, what: object) -> Exception:
        """Return the model's ``DoesNotExist`` that names what was asked for."""
        return missing(self.model.__name__, what)

    def exists(self) -> bool:
        with driver_errors():
            return super().exists()

    def _fetch_all(self) -> None:
        with driver_errors():
            super()._fetch_all()

    def _clone(self) -> Self:
        clone: Self = super()._clone()  # type: ignore[misc]
        clone._owner = self._owner
        clone._conditions = self._conditions
        return clone


class ContentsQuerySet(ScopedQuerySet[Model]):
    """A QuerySet of what is in chats."""

    def in_chat(self, chat_id: str) -> Self:
        """
        Narrow to what is in a chat, if that is the owner's and not in the trash.

        The chat is looked at once, not for each row: so planners see how many rows there are, and read a page of them
        by an index that has its order.
        """
        queryset: Any = self
        chats = chats_of(self._scope("in_chat")).filter(pk=chat_id)
        everything = type(self)(self.model, using=queryset._db, hints=queryset._hints)
        found: Self = everything.filter(Exists(chats), chat_id=chat_id)
        found._owner = self._owner
        return found

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete the rows, as Django does, and count what is left. Raises ``LegalHoldError``."""
        model: Any = self.model._meta.concrete_model
        using = self.write_db
        if model.__name__ not in COUNTED:
            return super().delete()
        with transaction.atomic(using=using):
            chat_ids = sorted(set(self.using(using).order_by().values_list("chat_id", flat=True).distinct()))
            deleted = super().delete()
            for chat_id in chat_ids:
                recount(using, chat_id, model.__name__)
        return deleted

    delete.alters_data = delete.queryset_only = True  # type: ignore[attr-defined]
