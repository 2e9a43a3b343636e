"""What all QuerySets of the store share: an owner's scope, and one way to write."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, ClassVar, Self, TypeVar

from django.db import IntegrityError, connections, models, transaction
from django.db.models import Func, IntegerField, Subquery

from context_store.db import driver_errors, rows_in_statement
from context_store.exceptions import IdConflict
from context_store.fields import saved_rows

Model = TypeVar("Model", bound=models.Model)
Scoped = TypeVar("Scoped", bound="ScopedQuerySet[Any]")
Item = TypeVar("Item")

# Ids in one IN list: SQL Server takes fewer than 2,100 parameters a statement.
CHUNK_SIZE = 500


class ScopedQuerySet(models.QuerySet[Model]):
    """A QuerySet that can be narrowed to one owner; the scope goes with it to the QuerySets of related models."""

    owner_lookup: ClassVar[str] = "chat__user_id"
    _owner: str | None = None

    @property
    def owner(self) -> str | None:
        """The user that the QuerySet is narrowed to, or ``None``."""
        return self._owner

    def visible_to(self, user_id: str | None) -> Self:
        """Narrow to what belongs to the user; ``None`` is no limit."""
        if user_id is None:
            return self.all()
        scoped: Self = self.filter(**{self.owner_lookup: user_id})
        scoped._owner = user_id
        return scoped

    def unscoped(self) -> Self:
        """Return everything there is on the same database: to find out whether an id is taken, never to show it."""
        return type(self)(self.model, using=self.db)

    def beside(self, queryset: Scoped) -> Scoped:
        """Return a QuerySet of another model on the same database and in the same scope."""
        return queryset.using(self.db).visible_to(self._owner)

    @contextmanager
    def writing(self) -> Iterator[Self]:
        """Open one transaction on the database for writes, and give the QuerySet bound to it."""
        self._for_write = True
        with driver_errors(), transaction.atomic(using=self.db):
            yield self.using(self.db)

    def insert_rows(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """
        Insert rows of values that are checked already.

        ``bulk_create`` does the same in three times the time: it makes instances and prepares their values one by one.
        """
        connection = connections[self.db]
        rows = saved_rows(connection, list(map(self.model._meta.get_field, columns)), rows)
        names = ", ".join(map(connection.ops.quote_name, columns))
        table = connection.ops.quote_name(self.model._meta.db_table)
        values = f"({', '.join(['%s'] * len(columns))})"
        size = min(rows_in_statement(connection, columns, rows), CHUNK_SIZE)
        with connection.cursor() as cursor:
            for batch in chunked(rows, size):
                sql = f"INSERT INTO {table} ({names}) VALUES {', '.join([values] * len(batch))}"  # noqa: S608
                cursor.execute(sql, list(chain.from_iterable(batch)))

    def missing(self, what: object) -> Exception:
        """Return the model's ``DoesNotExist`` that names what was asked for."""
        error: type[Exception] = self.model.DoesNotExist  # type: ignore[attr-defined]
        return error(f"There is no {self.model._meta.verbose_name} {what!r}.")

    def exists(self) -> bool:
        with driver_errors():
            return super().exists()

    def _fetch_all(self) -> None:
        with driver_errors():
            super()._fetch_all()

    def _clone(self) -> Self:
        clone: Self = super()._clone()  # type: ignore[misc]
        clone._owner = self._owner
        return clone


def count_of(rows: models.QuerySet[Any]) -> Subquery:
    """
    Return the number of rows as a subquery.

    Not Count, which groups: mssql-django cuts text beyond U+FFFF short in the parameters of a query with GROUP BY.
    """
    count = Func("pk", function="COUNT", output_field=IntegerField())
    return Subquery(rows.order_by().annotate(count=count).values("count"))


@contextmanager
def id_conflicts(what: str) -> Iterator[None]:
    """Turn the database's refusal of a taken id or name into ``IdConflict``."""
    try:
        yield
    except IntegrityError as error:
        raise IdConflict(f"{what} is taken.") from error


def chunked(items: Iterable[Item], size: int = CHUNK_SIZE) -> Iterator[list[Item]]:
    """Give the items in lists of at most ``size``."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
