"""Tasks of a server in the database, beside the SDK's own store in memory."""

import base64
import io
import time
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from a2a.helpers import get_stream_response_text, new_task
from a2a.server.tasks import InMemoryTaskStore
from a2a.types import GetTaskRequest, ListTasksRequest, Task, TaskState
from a2a.utils.errors import InvalidParamsError, TaskNotFoundError
from asgiref.sync import async_to_sync
from django.core.management import CommandError, call_command
from django.db import connection

from context_store.adapters.a2a import DjangoTaskStore, RemoteAgent
from context_store.adapters.a2a.models import AgentTask
from context_store.adapters.a2a.tasks import purge_tasks
from context_store.exceptions import CorruptData
from tests.adapters.agents import artifact, call_of, running_agent
from tests.adapters.test_a2a_client import config, run, store
from tests.races import run_processes

pytestmark = pytest.mark.django_db(transaction=True)
ALICE, BOB, NOBODY = call_of("alice"), call_of("bob"), call_of("")


def task(number: int, *, seconds: int | None = None, nanos: int = 0, **values: Any) -> Task:
    made = new_task(
        f"task-{number:03}", values.pop("context_id", "c"), values.pop("state", TaskState.TASK_STATE_WORKING)
    )
    made.status.ClearField("timestamp")
    if seconds is not None:
        made.status.timestamp.FromNanoseconds(seconds * 10**9 + nanos)
    made.artifacts.append(artifact(values.pop("text", f"text {number} \0 \U0001f40d")))
    made.metadata.update({"n": number, "x": [1.5, None, True]})
    return made


@async_to_sync
async def call(method: Any, *arguments: Any) -> Any:
    return await method(*arguments)


def test_task_comes_back_as_it_went_in() -> None:
    tasks = DjangoTaskStore()
    saved = task(1, seconds=1_700_000_000, nanos=123_456_789)
    call(tasks.save, saved, ALICE)
    assert call(tasks.get, "task-001", ALICE) == saved
    saved.status.state = TaskState.TASK_STATE_COMPLETED
    call(tasks.save, saved, ALICE)
    assert call(tasks.get, "task-001", ALICE) == saved
    assert AgentTask.objects.count() == 1
    call(tasks.delete, "task-001", ALICE)
    call(tasks.delete, "task-001", ALICE)
    assert call(tasks.get, "task-001", ALICE) is None


@pytest.mark.vendor("postgresql")
def test_no_connection_is_left_between_calls() -> None:
    call(DjangoTaskStore().get, "task-001", ALICE)
    # No request ends in an agent's server, after which Django would close it.
    assert connection.connection is None


def test_owners_are_apart() -> None:
    tasks = DjangoTaskStore()
    for context, text in ((ALICE, "alice's"), (BOB, "bob's"), (NOBODY, "nobody's")):
        call(tasks.save, task(1, text=text), context)
    for context, text in ((ALICE, "alice's"), (BOB, "bob's"), (NOBODY, "nobody's")):
        assert call(tasks.get, "task-001", context).artifacts[0].parts[0].text == text
        assert call(tasks.list, ListTasksRequest(), context).total_size == 1
    call(tasks.delete, "task-001", BOB)
    assert call(tasks.get, "task-001", BOB) is None
    assert call(tasks.get, "task-001", ALICE) is not None


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 300, "\U0001f40d" * 200, "sha256:", "ключ"])
def test_any_name_is_kept(name: str) -> None:
    tasks, caller = DjangoTaskStore(), call_of(name)
    made = Task(id=name, context_id=name)
    call(tasks.save, made, caller)
    assert call(tasks.get, name, caller) == made
    assert list(call(tasks.list, ListTasksRequest(context_id=name), caller).tasks) == [made]
    assert call(tasks.list, ListTasksRequest(), call_of(f"{name}x")).total_size == 0


def test_owner_with_a_lone_surrogate_is_one_of_its_own() -> None:
    tasks, made = DjangoTaskStore(), task(1)
    call(tasks.save, made, call_of("\ud800"))
    assert call(tasks.get, "task-001", call_of("\ud800")) == made
    assert call(tasks.get, "task-001", call_of("\udfff")) is None


def test_large_tasks_are_kept(settings: Any) -> None:
    settings.CONTEXT_STORE_MAX_PAYLOAD_BYTES = 1000
    call(DjangoTaskStore().save, task(1, text="x" * 2_000_000), ALICE)
    assert len(call(DjangoTaskStore().get, "task-001", ALICE).artifacts[0].parts[0].text) == 2_000_000


def test_a_page_ends_before_it_is_large(settings: Any) -> None:
    settings.CONTEXT_STORE_MAX_PAYLOAD_BYTES = 10_000
    for number in range(8):
        call(DjangoTaskStore().save, task(number, seconds=number, text="x" * (9_000 if number < 7 else 30_000)), ALICE)
    pages, token = [], ""
    while not pages or token:
        page = call(DjangoTaskStore().list, ListTasksRequest(page_size=5, page_token=token), ALICE)
        pages.append([found.metadata["n"] for found in page.tasks])
        token = page.next_page_token
        assert page.total_size == 8
    assert pages == [[7], [6, 5], [4, 3], [2, 1], [0]]


def purge(**options: Any) -> str:
    output = io.StringIO()
    call_command("purge_agent_tasks", stdout=output, no_color=True, **options)
    return output.getvalue()


def test_purge_removes_what_finished_long_ago_of_every_owner() -> None:
    tasks, day, now = DjangoTaskStore(), 86_400, int(time.time())
    for owner in (ALICE, BOB):
        for number, (state, seconds) in enumerate(
            [
                (TaskState.TASK_STATE_COMPLETED, now - 31 * day),
                (TaskState.TASK_STATE_FAILED, now - 31 * day),
                (TaskState.TASK_STATE_COMPLETED, now - 29 * day),
                (TaskState.TASK_STATE_WORKING, now - 31 * day),
                (TaskState.TASK_STATE_COMPLETED, None),
            ]
        ):
            call(tasks.save, task(number, seconds=seconds, state=state), owner)
    assert purge() == "Removed 4 finished tasks.\n"
    assert sorted(AgentTask.objects.values_list("task_id", flat=True)) == sorted(
        ["task-002", "task-003", "task-004"] * 2
    )
    assert purge_tasks(timedelta(days=28), batch_size=1) == 2
    assert purge(days=0) == "Removed 0 finished tasks.\n"


@pytest.mark.parametrize("days", [-1, 40_000])
def test_purge_refuses_ages_out_of_range(days: int) -> None:
    with pytest.raises(CommandError, match="--days"):
        purge(days=days)


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_purge_keeps_to_its_database() -> None:
    call(DjangoTaskStore("other").save, task(1, seconds=1, state=TaskState.TASK_STATE_COMPLETED), ALICE)
    assert purge() == "Removed 0 finished tasks.\n"
    assert purge(database="other") == "Removed 1 finished tasks.\n"


REQUESTS = {
    "all": {},
    "context": {"context_id": "other"},
    "state": {"status": TaskState.TASK_STATE_COMPLETED},
    "both": {"context_id": "other", "status": TaskState.TASK_STATE_COMPLETED},
    "none": {"context_id": "nowhere"},
}


@pytest.mark.parametrize("name", [*REQUESTS, "after"])
@pytest.mark.parametrize("page_size", [0, 1, 3, 100])
def test_lists_are_those_of_the_sdk(name: str, page_size: int) -> None:
    ours, theirs = DjangoTaskStore(), InMemoryTaskStore()
    for number in range(12):
        made = task(
            number,
            seconds=None if number % 5 == 0 else 1000 + number // 3,
            nanos=1 if number == 4 else 0,
            context_id="other" if number % 2 else "c",
            state=TaskState.TASK_STATE_COMPLETED if number % 3 else TaskState.TASK_STATE_WORKING,
        )
        for tasks in (ours, theirs):
            call(tasks.save, made, ALICE)
    pages = []
    for tasks in (ours, theirs):
        request = ListTasksRequest(**REQUESTS.get(name, {}), page_size=page_size)
        if name == "after":
            request.status_timestamp_after.FromNanoseconds(1001 * 10**9 + 1)
        pages.append([])
        while True:
            page = call(tasks.list, request, ALICE)
            pages[-1].append(page)
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
    assert pages[0] == pages[1]


def test_page_stays_valid_when_its_last_task_goes() -> None:
    tasks = DjangoTaskStore()
    for number in range(4):
        call(tasks.save, task(number, seconds=number), ALICE)
    page = call(tasks.list, ListTasksRequest(page_size=2), ALICE)
    call(tasks.delete, "task-002", ALICE)
    rest = call(tasks.list, ListTasksRequest(page_size=2, page_token=page.next_page_token), ALICE)
    assert [item.id for item in rest.tasks] == ["task-001", "task-000"]


@pytest.mark.parametrize("token", ["x", "!", "dGFzaw", "eyJ0cyI6MSwiaWQiOiIgIn0", "eyJ0cyI6MWU0MDAsImlkIjoiYSJ9"])
def test_bad_tokens_are_refused(token: str) -> None:
    with pytest.raises(InvalidParamsError):
        call(DjangoTaskStore().list, ListTasksRequest(page_token=token), ALICE)


def test_times_beyond_the_column_are_kept() -> None:
    tasks, far = DjangoTaskStore(), task(1)
    far.status.timestamp.FromJsonString("9999-12-31T23:59:59Z")
    call(tasks.save, far, ALICE)
    assert list(call(tasks.list, ListTasksRequest(), ALICE).tasks) == [far]


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_another_database() -> None:
    made = task(1)
    call(DjangoTaskStore("other").save, made, ALICE)
    assert call(DjangoTaskStore().get, "task-001", ALICE) is None
    assert call(DjangoTaskStore("other").get, "task-001", ALICE) == made


def save(number: int) -> None:
    for count in range(5):
        call(DjangoTaskStore().save, task(1, text=f"{number}-{count}"), call_of("alice"))


def test_racing_saves_leave_one_task() -> None:
    run_processes(*[partial(save, number) for number in range(4)]).raise_errors()
    assert AgentTask.objects.count() == 1
    assert call(DjangoTaskStore().get, "task-001", ALICE).artifacts[0].parts[0].text.endswith("-4")


@pytest.mark.usefixtures("redis_url")
def test_server_goes_on_with_its_tasks_after_a_restart() -> None:
    async def ask(url: str, user: str, text: str) -> tuple[str, str]:
        options = {"scope": user, "contexts": store(), "client_config": config(user)}
        async with await RemoteAgent.connect(url, **options) as remote:
            answer = get_stream_response_text(await remote.send(text))
            if user == "alice":
                found = await remote.get_task(GetTaskRequest(id=remote.task_id))
                assert [item.text for item in found.status.message.parts] == [answer]
            return answer, remote.task_id

    with running_agent(DjangoTaskStore()) as agent:
        _, task_id = run(ask(agent.url, "alice", "ask me"))
        port = int(agent.url.rpartition(":")[2])
    assert AgentTask.objects.get().state == TaskState.TASK_STATE_INPUT_REQUIRED
    with running_agent(DjangoTaskStore(), port=port) as restarted:
        assert run(ask(restarted.url, "alice", "ask on"))[1] == task_id
        run(ask(restarted.url, "bob", "do it"))

        async def look() -> None:
            async with await RemoteAgent.connect(
                restarted.url, client_config=config("bob"), contexts=store()
            ) as remote:
                listed = await remote.list_tasks(ListTasksRequest(include_artifacts=True))
                assert [item.status.state for item in listed.tasks] == [TaskState.TASK_STATE_COMPLETED]
                assert listed.tasks[0].artifacts[0].parts[0].text == "do it"
                with pytest.raises(TaskNotFoundError):
                    await remote.get_task(GetTaskRequest(id=task_id))

        run(look())
    assert len(call(DjangoTaskStore().get, task_id, ALICE).history) >= 2


def nested(levels: int) -> Task:
    made = task(1)
    inner = made.metadata
    for _ in range(levels):
        inner = inner.fields["x"].struct_value
    inner.fields["x"].number_value = 1
    return made


@pytest.mark.parametrize("levels", [30, 45, 60, 95])
def test_a_task_that_is_stored_can_be_read(levels: int) -> None:
    tasks, made = DjangoTaskStore(), nested(levels)
    call(tasks.save, made, ALICE)
    assert call(tasks.get, made.id, ALICE).SerializeToString() == made.SerializeToString()
    (listed,) = call(tasks.list, ListTasksRequest(), ALICE).tasks
    assert listed.SerializeToString() == made.SerializeToString()


def test_a_task_that_could_not_be_read_is_refused() -> None:
    tasks = DjangoTaskStore()
    worthless = task(1)
    worthless.metadata.fields["x"].number_value = float("nan")
    for made in (nested(110), nested(2_000), worthless):
        with pytest.raises(InvalidParamsError, match="cannot be stored"):
            call(tasks.save, made, ALICE)
    assert call(tasks.list, ListTasksRequest(), ALICE).total_size == 0


def test_a_page_token_of_brackets_is_refused() -> None:
    token = base64.urlsafe_b64encode(b"[" * 200_000).decode()
    with pytest.raises(InvalidParamsError) as refused:
        call(DjangoTaskStore().list, ListTasksRequest(page_token=token), ALICE)
    # The answer does not repeat all of it.
    assert len(str(refused.value)) < 200


def test_a_row_that_holds_no_task_is_an_error() -> None:
    call(DjangoTaskStore().save, task(1), ALICE)
    AgentTask.objects.update(data=[1])
    with pytest.raises(CorruptData):
        call(DjangoTaskStore().get, "task-001", ALICE)
    with pytest.raises(CorruptData):
        call(DjangoTaskStore().list, ListTasksRequest(), ALICE)
