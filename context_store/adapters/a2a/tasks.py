"""Tasks of an A2A server, in the database."""

import json
from datetime import timedelta
from itertools import accumulate
from typing import Any

from a2a.server.context import ServerCallContext
from a2a.server.owner_resolver import OwnerResolver, resolve_user_scope
from a2a.server.tasks import TaskStore
from a2a.types import ListTasksRequest, ListTasksResponse, Task
from a2a.utils.constants import DEFAULT_LIST_TASKS_PAGE_SIZE
from a2a.utils.errors import InvalidParamsError
from a2a.utils.task import ListTasksCursor, decode_list_tasks_cursor, encode_list_tasks_cursor
from asgiref.sync import sync_to_async
from django.db import IntegrityError, close_old_connections, router, transaction
from django.db.models import Q, QuerySet
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError, SerializeToJsonError

from context_store.adapters.base import stored_name
from context_store.conf import settings
from context_store.exceptions import CorruptData, InvalidData
from context_store.graph.chains import Octets
from context_store.graph.holds import require_not_erased
from context_store.ids import now_ms
from context_store.validation import MAX_NESTING, JSONText

from .client import FINISHED
from .models import AgentTask

# Payloads that the tasks of a page may take in all; one task may be larger.
PAYLOADS = 2
# The status of a task without a time: before all others, so that it is listed last.
NO_TIME = -(2**63)
LAST_TIME = 2**63 - 1


class DjangoTaskStore(TaskStore):  # type: ignore[misc] # The SDK's types are not looked at.
    """
    The tasks of an A2A server in the table of ``AgentTask``, on the database ``using`` or the one that routers choose.

    Tasks belong to the owner whom ``owner_resolver`` finds in the call: by default the name of its user, for whom the
    tasks of others do not exist. Lists are ordered, filtered and paged as those of the SDK's own stores.
    """

    def __init__(self, using: str | None = None, owner_resolver: OwnerResolver = resolve_user_scope) -> None:
        self._using = using
        self._owner_resolver = owner_resolver

    async def save(self, task: Task, context: ServerCallContext) -> None:
        """Create or replace the task."""
        await self._run(self._save, self._owner_resolver(context), task)

    async def get(self, task_id: str, context: ServerCallContext) -> Task | None:
        """Return the task, or ``None``."""
        return await self._run(self._get, self._owner_resolver(context), task_id)

    async def list(self, params: ListTasksRequest, context: ServerCallContext) -> ListTasksResponse:
        """Return a page of tasks, the one whose status is newest first."""
        return await self._run(self._list, self._owner_resolver(context), params)

    async def delete(self, task_id: str, context: ServerCallContext) -> None:
        """Delete the task, if there is one."""
        await self._run(self._delete, self._owner_resolver(context), task_id)

    async def _run(self, function: Any, *arguments: Any) -> Any:
        def run() -> Any:
            # What Django does before and after a request, of which an A2A server has none.
            close_old_connections()
            try:
                return function(*arguments)
            finally:
                close_old_connections()

        return await sync_to_async(run)()

    def _save(self, owner: str, task: Task) -> None:
        columns = {
            "context_id": stored_name(task.context_id),
            "state": task.status.state,
            "status_time": status_time(task),
            # Whatever its size: the SDK has no limit.
            "data": _text(task),
        }
        tasks = self._tasks(owner)
        row = tasks.filter(task_id=stored_name(task.id))
        if row.update(**columns):
            return
        try:
            with transaction.atomic(using=tasks.db):
                AgentTask(user_id=stored_name(owner), task_id=stored_name(task.id), **columns).save(
                    using=tasks.db, force_insert=True
                )
                # Behind the INSERT, which it undoes: see ``require_scope_not_erased``.
                require_not_erased(stored_name(owner), using=tasks.db)
        except IntegrityError:
            # Somebody else has created it just now.
            row.update(**columns)

    def _get(self, owner: str, task_id: str) -> Task | None:
        for data in self._tasks(owner).filter(task_id=stored_name(task_id)).values_list("data", flat=True):
            return _read(data, Task())
        return None

    def _delete(self, owner: str, task_id: str) -> None:
        self._tasks(owner).filter(task_id=stored_name(task_id)).delete()

    def _list(self, owner: str, params: ListTasksRequest) -> ListTasksResponse:
        tasks = self._tasks(owner)
        if params.context_id:
            tasks = tasks.filter(context_id=stored_name(params.context_id))
        if params.status:
            tasks = tasks.filter(state=params.status)
        if params.HasField("status_timestamp_after"):
            tasks = tasks.filter(status_time__gte=_nanoseconds(params.status_timestamp_after))
        page_size = params.page_size or DEFAULT_LIST_TASKS_PAGE_SIZE
        page = _after(tasks, params.page_token) if params.page_token else tasks
        ordered = page.order_by("-status_time", "-task_id").values_list("task_id", "status_time", Octets("data"))
        rows = list(ordered[: page_size + 1])
        # The page ends early where its tasks would be too large together: clients go on with its token.
        sums = accumulate(size for _, _, size in rows[:page_size])
        shown = rows[: max(1, sum(total <= PAYLOADS * settings.MAX_PAYLOAD_BYTES for total in sums))]
        response = ListTasksResponse(page_size=page_size, total_size=tasks.count())
        if len(rows) > len(shown):
            task_id, time, _ = shown[-1]
            response.next_page_token = encode_list_tasks_cursor(
                ListTasksCursor(None if time == NO_TIME else time, task_id)
            )
        found = dict(tasks.filter(task_id__in=[row[0] for row in shown]).values_list("task_id", "data"))
        for task_id, _, _ in shown:
            # One that was deleted meanwhile is left out. In place: a task that is handed over goes through its bytes,
            # which take fewer levels than JSON.
            if task_id in found:
                _read(found[task_id], response.tasks.add())
        return response

    def _tasks(self, owner: str) -> QuerySet[AgentTask]:
        """Return the owner's tasks, always where they are written: a server sees what it has just saved."""
        return AgentTask.objects.using(self._using or router.db_for_write(AgentTask)).filter(user_id=stored_name(owner))


def purge_tasks(age: timedelta, *, using: str | None = None, batch_size: int = 500) -> int:
    """
    Delete all owners' tasks that have been finished for this long, in batches, and return how many.

    A task whose status has no time is never old.
    """
    before = (now_ms() - age // timedelta(milliseconds=1)) * 10**6
    tasks = AgentTask.objects.using(using or router.db_for_write(AgentTask)).filter(
        state__in=FINISHED, status_time__gt=NO_TIME, status_time__lt=before
    )
    removed = 0
    while keys := list(tasks.order_by().values_list("pk", flat=True)[:batch_size]):
        # Asked again: a task may have been saved anew since.
        removed += tasks.filter(pk__in=keys).delete()[0]
    return removed


def status_time(task: Task) -> int:
    """Return the time of the task's status in nanoseconds since the Unix epoch."""
    return _nanoseconds(task.status.timestamp) if task.status.HasField("timestamp") else NO_TIME


def _nanoseconds(timestamp: Any) -> int:
    # A Timestamp may be of the years 1 to 9999, nanoseconds in 64 bits reach from 1677 to 2262.
    return max(NO_TIME + 1, min(int(timestamp.ToNanoseconds()), LAST_TIME))


def _text(task: Task) -> JSONText:
    """Return the task as JSON text. Raises ``InvalidParamsError`` for what could not be read again."""
    try:
        value = MessageToDict(task)
    # NaN is a number to protobuf.
    except (SerializeToJsonError, RecursionError) as error:
        raise InvalidParamsError(f"Task {task.id!r} cannot be stored: it holds what JSON has not.") from error
    level: list[Any] = [value]
    for _ in range(MAX_NESTING):
        level = [
            inner
            for item in level
            for inner in (item.values() if isinstance(item, dict) else item)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return JSONText(json.dumps(value, ensure_ascii=False))
    raise InvalidParamsError(f"Task {task.id!r} cannot be stored: it is nested over {MAX_NESTING} levels.")


def _read(data: Any, task: Task) -> Task:
    # Each level of JSON is up to three messages of protobuf: a Value, in it a Struct, in that an entry.
    try:
        return ParseDict(data, task, ignore_unknown_fields=True, max_recursion_depth=4 * MAX_NESTING)
    except ParseError as error:
        raise CorruptData("What is stored of a task is no task, so it was not read.") from error


def _after(tasks: QuerySet[AgentTask], token: str) -> QuerySet[AgentTask]:
    """Return the tasks behind the one that the token names. Raises ``InvalidParamsError``."""
    try:
        cursor = decode_list_tasks_cursor(token)
    except RecursionError:
        cursor = None
    if cursor is None:
        raise InvalidParamsError(f"Invalid page token: {token[:100]}")
    # The token is base64url of {"ts": 1700000000000000000, "id": "t7"}, the last task of the page before; "ts" is null
    # for one without a time. The id is the stored one, by which rows are ordered: of a long id the digest.
    time = NO_TIME if cursor.timestamp_ns is None else max(NO_TIME, min(cursor.timestamp_ns, LAST_TIME))
    try:
        return tasks.filter(Q(status_time__lt=time) | Q(status_time=time, task_id__lt=cursor.task_id))
    except InvalidData as error:
        raise InvalidParamsError(f"Invalid page token: {token[:100]}") from error
