"""Tasks of agents as personal data: what an erasure and an export ask for."""

from collections.abc import Iterable, Iterator
from typing import Any

from django.db.models import QuerySet

from context_store.adapters.base import stored_name
from context_store.db import chunked
from context_store.lifecycle.holders import Holder

from .client import FINISHED
from .models import AgentTask


class TasksHolder(Holder):
    """The tasks of agents, on the database that is asked about."""

    name = "agent_tasks"

    def users(self, using: str) -> Iterable[str]:
        return list(AgentTask.objects.using(using).order_by().values_list("user_id", flat=True).distinct())

    def export(self, using: str, user_id: str) -> Iterator[dict[str, Any]]:
        tasks: Any = self._tasks(using, user_id).order_by("pk")
        yield from tasks.values("task_id", "context_id", "state", "status_time", "data").iterator(chunk_size=100)

    def restore(self, using: str, user_id: str, item: dict[str, Any]) -> bool:
        tasks = AgentTask.objects.using(using)
        key = {"user_id": stored_name(user_id), "task_id": item["task_id"]}
        # Named one by one: ``defaults`` come before what is looked up, and an archive may name another's ``user_id``.
        rest = {name: item[name] for name in ("context_id", "state", "status_time", "data")}
        return tasks.get_or_create(**key, defaults=rest)[1]

    def erase(self, using: str, user_id: str) -> Iterator[int]:
        return self._delete(self._tasks(using, user_id))

    def purge(self, using: str, before: int, *, dry_run: bool = False) -> Iterator[int]:
        finished = AgentTask.objects.using(using).filter(state__in=FINISHED)
        # From milliseconds to nanoseconds. The bound is ``tasks.NO_TIME``: a task without a time is never old.
        old = finished.filter(status_time__lt=before * 10**6, status_time__gt=-(2**63))
        return iter([old.count()]) if dry_run else self._delete(old)

    @staticmethod
    def _tasks(using: str, user_id: str) -> QuerySet[AgentTask]:
        return AgentTask.objects.using(using).filter(user_id=stored_name(user_id))

    @staticmethod
    def _delete(tasks: QuerySet[AgentTask]) -> Iterator[int]:
        for some in chunked(list(tasks.order_by().values_list("pk", flat=True))):
            yield tasks.filter(pk__in=some).delete()[0]
